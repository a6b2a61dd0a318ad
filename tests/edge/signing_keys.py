"""A signer for tests that knows no limits: any statement, any envelope, written down from the specifications."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

HASHES = {"secp256r1": hashes.SHA256(), "secp384r1": hashes.SHA384(), "secp521r1": hashes.SHA512()}


class Signer:
    """A key, its files in a folder, and signatures over anything."""

    def __init__(self, folder: Path, name: str = "release", curve: ec.EllipticCurve | None = None) -> None:
        folder.mkdir(exist_ok=True)
        self.key = ec.generate_private_key(curve or ec.SECP256R1())
        self.private, self.public = folder / name, folder / f"{name}.pub"
        pem = serialization.Encoding.PEM
        self.private.write_bytes(
            self.key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        )
        self.pem = self.key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo)
        self.public.write_bytes(self.pem)
        der = self.key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        self.key_id = hashlib.sha256(der).hexdigest()

    def entry(self, **bounds: object) -> dict[str, Any]:
        """Return the entry of a keys file."""
        return {"key_id": self.key_id, "public_key": self.pem.decode(), **bounds}

    def sign(self, statement: object, kind: str = "application/vnd.in-toto+json") -> dict[str, Any]:
        """Return the JSON of a signature file over a statement; bytes are taken as they are."""
        payload = statement if isinstance(statement, bytes) else json.dumps(statement).encode()
        pae = f"DSSEv1 {len(kind)} {kind} {len(payload)} ".encode() + payload
        signature = self.key.sign(pae, ec.ECDSA(HASHES[self.key.curve.name]))
        return {
            "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
            "verificationMaterial": {
                "publicKey": {"hint": hashlib.sha256(self.pem).hexdigest()},
                "tlogEntries": [],
            },
            "dsseEnvelope": {
                "payload": base64.b64encode(payload).decode(),
                "payloadType": kind,
                "signatures": [{"sig": base64.b64encode(signature).decode(), "keyid": ""}],
            },
        }


def statement(digests: dict[str, str] | list[tuple[str, str]]) -> dict[str, Any]:
    """Return the statement that lists files with their SHA-256."""
    pairs = list(digests.items()) if isinstance(digests, dict) else digests
    together = hashlib.sha256(b"".join(bytes.fromhex(digest) for _, digest in pairs)).hexdigest()
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "bundle", "digest": {"sha256": together}}],
        "predicateType": "https://model_signing/signature/v1.0",
        "predicate": {
            "serialization": {"method": "files", "hash_type": "sha256", "allow_symlinks": False},
            "resources": [{"name": name, "algorithm": "sha256", "digest": digest} for name, digest in pairs],
        },
    }


def file_digests(root: Path) -> dict[str, str]:
    """Return the SHA-256 of each file below a folder but its signature."""
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path != root / "signature"
    }


def sign_folder(root: Path, signer: Signer) -> Path:
    """Sign a bundle directory."""
    (root / "signature").write_text(json.dumps(signer.sign(statement(file_digests(root)))))
    return root


def keys_file(path: Path, *entries: dict[str, Any], revoked: tuple[str, ...] = ()) -> Path:
    """Write a device's keys file."""
    path.write_text(json.dumps({"schema_version": 1, "keys": list(entries), "revoked": list(revoked)}))
    return path
