"""Make the process keep no pictures: no core dumps, nobody reads its memory, what it frees is overwritten."""

from __future__ import annotations

import ctypes
import logging
import resource
import sys

_PR_SET_DUMPABLE = 4  # linux/prctl.h
_M_MMAP_THRESHOLD, _M_PERTURB, _M_ARENA_MAX = -3, -6, -8  # malloc.h of glibc
_FILL = 0xA5
_LARGE_BYTES = 256 * 1024

_log = logging.getLogger(__name__)


def harden_process() -> None:
    """Switch core dumps off and let the allocator overwrite what is freed; what a system lacks is logged.

    The buffers that the service owns are overwritten by itself. Copies made on the way by the HTTP parser or the
    decoder are not its own: glibc fills them when they are freed, and gives large ones back to the kernel at once.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if not sys.platform.startswith("linux"):
        _log.warning("no PR_SET_DUMPABLE on %s: core dumps are limited to 0 bytes only", sys.platform)
        return
    libc = ctypes.CDLL(None, use_errno=True)
    # Without this a core_pattern that is a pipe would get a core in spite of the limit.
    if libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        _log.warning("prctl(PR_SET_DUMPABLE, 0) failed with errno %d", ctypes.get_errno())
    mallopt = getattr(libc, "mallopt", None)
    settings = ((_M_PERTURB, _FILL), (_M_MMAP_THRESHOLD, _LARGE_BYTES), (_M_ARENA_MAX, 2))
    if mallopt is None or not all(mallopt(key, value) for key, value in settings):
        _log.warning("this C library does not overwrite freed memory (no mallopt of glibc)")
