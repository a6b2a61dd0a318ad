"""Rendering on several cores: in order, and nothing is left of it when the command is killed."""

from __future__ import annotations

import subprocess
import sys

import psutil
from shelfgap_datasets.synthetic.parallel import render_in_order


def test_results_come_in_the_order_of_the_jobs():
    assert list(render_in_order(abs, range(-9, 0), workers=2)) == [9, 8, 7, 6, 5, 4, 3, 2, 1]
    assert list(render_in_order(abs, [-1, -2], workers=1)) == [1, 2]


def test_workers_end_with_a_command_that_is_killed():
    script = (
        "import time\n"
        "from shelfgap_datasets.synthetic.parallel import render_in_order\n"
        "if __name__ == '__main__':\n"
        "    for _ in render_in_order(time.sleep, [0, 0, 300, 300], 2):\n"
        "        print('rendered', flush=True)\n"
    )
    command = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert command.stdout is not None
    for _ in range(2):
        assert command.stdout.readline() == b"rendered\n"
    children = psutil.Process(command.pid).children(recursive=True)
    assert len(children) >= 2
    command.kill()
    command.wait()
    command.stdout.close()
    _, alive = psutil.wait_procs(children, timeout=60)
    for process in alive:
        process.kill()
    assert not alive
