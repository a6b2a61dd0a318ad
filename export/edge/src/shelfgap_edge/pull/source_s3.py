"""Reading from S3 and what speaks its protocol. Credentials and endpoint come from where boto3 looks for them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any
from urllib.parse import urlsplit

from shelfgap_edge.errors import PullError, TransferError
from shelfgap_edge.pull.source import CHUNK_BYTES, MISSING_EXTRA, Body

_TIMEOUT_SECONDS = 30


class S3Source:
    """A bucket, or what lies in it below a prefix."""

    def __init__(self, uri: str) -> None:
        self.where = uri.rstrip("/")
        self.bucket, self._prefix = bucket_and_prefix(uri)
        self.client = s3_client()

    def key(self, name: str) -> str:
        """Return the key of a file in the bucket."""
        return f"{self._prefix}/{name}" if self._prefix else name

    @contextmanager
    def open(self, name: str, offset: int = 0) -> Iterator[Body]:
        """Open the object of that name below the prefix."""
        part = {"Range": f"bytes={offset}-"} if offset else {}
        where = f"{self.where}/{name}"
        try:
            answer = self.client.get_object(Bucket=self.bucket, Key=self.key(name), **part)
        except Exception as error:  # botocore and urllib3 raise types of their own
            raise s3_failure(where, error) from None
        with closing(answer["Body"]) as body:
            ranged = answer["ResponseMetadata"]["HTTPStatusCode"] == 206
            yield Body(offset if ranged else 0, _chunks(body, where))


def bucket_and_prefix(uri: str) -> tuple[str, str]:
    """Return bucket and prefix of s3://bucket/prefix, the prefix without slashes around it.

    Raises:
        PullError: no bucket in it.
    """
    parts = urlsplit(uri)
    if not parts.netloc or "@" in parts.netloc or parts.query or parts.fragment:
        # the address itself is not told: it may hold a secret
        raise PullError("expected an address s3://BUCKET or s3://BUCKET/PREFIX; credentials come from the environment")
    return parts.netloc, parts.path.strip("/")


def s3_client() -> Any:
    """Return a client with timeouts.

    Raises:
        PullError: boto3 is not installed, or no region or profile can be found.
    """
    try:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError
    except ImportError:
        raise PullError(MISSING_EXTRA) from None
    try:
        return boto3.client(
            "s3",
            config=Config(
                connect_timeout=_TIMEOUT_SECONDS,
                read_timeout=_TIMEOUT_SECONDS,
                retries={"max_attempts": 3, "mode": "standard"},
            ),
        )
    except BotoCoreError as error:
        raise PullError(f"S3: {error}") from None


def s3_failure(where: str, error: Exception) -> Exception:
    """Return what to raise for a request that failed: FileNotFoundError, TransferError or PullError."""
    from botocore.exceptions import ClientError, NoCredentialsError

    if isinstance(error, ClientError):
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        code = error.response.get("Error", {}).get("Code", "")
        if status == 404 and code != "NoSuchBucket":
            return FileNotFoundError(f"{where}: not found ({code})")
        if status == 416 or status >= 500 or status == 429:
            return TransferError(f"{where}: the server answered {status} {code}")
        return PullError(f"{where}: the server answered {status} {code}; check bucket and credentials")
    if isinstance(error, NoCredentialsError):
        return PullError(f"{where}: no credentials for S3; set AWS_ACCESS_KEY_ID or a profile")
    return TransferError(f"{where}: the transfer failed ({type(error).__name__}: {error})")


def _chunks(body: Any, where: str) -> Iterator[bytes]:
    try:
        while chunk := body.read(CHUNK_BYTES):
            yield chunk
    except Exception as error:
        raise s3_failure(where, error) from None
