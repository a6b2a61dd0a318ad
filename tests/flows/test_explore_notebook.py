"""The notebook that explores a dataset runs, and the two forms of every notebook say the same."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import jupytext
import pytest

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
SOURCE = NOTEBOOKS / "01_explore_dataset.py"

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("source", sorted(NOTEBOOKS.glob("*.py")), ids=lambda path: path.stem)
def test_script_and_notebook_are_paired(source):
    script, notebook = jupytext.read(source), jupytext.read(source.with_suffix(".ipynb"))
    assert [cell.source for cell in script.cells] == [cell.source for cell in notebook.cells]
    assert not any(cell.get("outputs") for cell in notebook.cells)


def test_it_runs(tmp_path):
    environment = {key: value for key, value in os.environ.items() if not key.startswith("SHELFGAP_")}
    environment |= {"SHELFGAP_WORKSPACE": str(NOTEBOOKS.parent)}
    target = tmp_path / "explored.ipynb"
    command = [sys.executable, "-m", "jupytext", "--to", "ipynb", "--execute", "--output", str(target), str(SOURCE)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, cwd=NOTEBOOKS)
    assert done.returncode == 0, done.stderr
    explored = jupytext.read(target)
    text = str([cell.get("outputs") for cell in explored.cells])
    assert "30 pictures, labelled with gap, low, occluder" in text
    assert "data:image/jpeg;base64," in text
    assert "Pictures: 0 added, 1 removed" in text
