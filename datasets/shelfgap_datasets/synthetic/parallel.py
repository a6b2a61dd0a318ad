"""Render on all cores, with results in the order of the jobs."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

import cv2

Job = TypeVar("Job")
Result = TypeVar("Result")


def render_in_order(render: Callable[[Job], Result], jobs: Sequence[Job], workers: int | None) -> Iterator[Result]:
    """Yield `render(job)` for each job; `workers` processes, None for one per core."""
    processes = min(workers or os.cpu_count() or 1, len(jobs))
    if processes == 1:
        yield from map(render, jobs)
        return
    # A forked child would inherit locks of OpenCV's thread pool; a spawned one starts clean.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context, initializer=_begin) as pool:
        try:
            yield from pool.map(render, jobs)
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _begin() -> None:
    cv2.setNumThreads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()  # killed, it tells nobody, and an idle worker would wait for jobs for ever
    os._exit(1)
