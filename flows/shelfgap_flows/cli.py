"""The `shelfgap` command; its stages are not wired up yet."""

from __future__ import annotations

import sys


def main() -> None:
    """Say that the command is not ready."""
    sys.exit("shelfgap: error: this command is not wired up yet; see CHANGELOG.md")
