"""The error tree of shelfgap.

ShelfgapError                 a domain failure; its text is one line that a user can act on
├── FrameError                a frame that cannot be decoded or has no usable pixels
├── BundleError               a bundle that must not be run
│   └── SignatureError        its signature, or the keys to check it with, cannot be trusted
├── PullError                 an update that cannot be taken; what is installed runs on
│   └── TransferError         a transfer that broke off and may succeed when tried again
├── OutboxError               the file in which alerts wait cannot be used
├── MissingRuntimeError       a runtime that was asked for and is not installed
├── BenchError                a measurement that could not be taken, or not be compared
├── DatasetError              (platform) a dataset that cannot be used
└── ...                       each platform package adds its own below ShelfgapError
"""


class ShelfgapError(Exception):
    """A failure the user can act on: commands print its text as one line and exit with 1."""


class FrameError(ShelfgapError):
    """A frame cannot be decoded, or has no usable pixels.

    Args:
        text: the message.
        reason: one word for counting: empty, not-jpeg, truncated, cmyk, too-large, too-many-pixels, too-many-scans or
            undecodable.
    """

    def __init__(self, text: str, reason: str = "undecodable") -> None:
        super().__init__(text)
        self.reason = reason


class BundleError(ShelfgapError):
    """A bundle is incomplete, altered, of an unknown version or otherwise not to be run."""


class SignatureError(BundleError):
    """A signature is missing, does not hold or is of no trusted key; or the trusted keys cannot be read."""


class MissingRuntimeError(ShelfgapError):
    """A runtime was asked for that is not installed here."""


class PullError(ShelfgapError):
    """An update cannot be taken; what is installed runs on."""


class TransferError(PullError):
    """A transfer broke off; the same may succeed when tried again."""


class BenchError(ShelfgapError):
    """A measurement could not be taken, or cannot be compared with another."""
