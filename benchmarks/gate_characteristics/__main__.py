"""Runs the folder as one command: `python benchmarks/gate_characteristics`."""

import sys
from pathlib import Path

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parent.parent)  # the folder itself would shadow other modules

from gate_characteristics.command import main

if __name__ == "__main__":
    sys.exit(main())
