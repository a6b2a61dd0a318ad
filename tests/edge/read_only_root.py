"""Run a command where the whole file system is read-only but one folder.

unshare -Urm python read_only_root.py FOLDER COMMAND...
"""

import ctypes
import errno
import os
import sys
from pathlib import Path

_MOUNT_SETATTR = 442  # the same number on all Linux architectures
_AT_FDCWD, _AT_RECURSIVE, _MS_BIND = -100, 0x8000, 4096
_READ_ONLY = 1


def set_read_only(path: str, *, read_only: bool, recursive: bool) -> None:
    attributes = (ctypes.c_uint64 * 4)(_READ_ONLY if read_only else 0, 0 if read_only else _READ_ONLY, 0, 0)
    flags = _AT_RECURSIVE if recursive else 0
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(_MOUNT_SETATTR, _AT_FDCWD, path.encode(), flags, attributes, ctypes.sizeof(attributes)):
        raise OSError(ctypes.get_errno(), f"mount_setattr {path}")


if __name__ == "__main__":
    writable, command = sys.argv[1], sys.argv[2:]
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(writable.encode(), writable.encode(), None, _MS_BIND, None):
        raise OSError(ctypes.get_errno(), f"mount {writable}")
    set_read_only("/", read_only=True, recursive=True)
    set_read_only(writable, read_only=False, recursive=False)
    for folder in (Path.cwd(), Path("/tmp"), Path("/var/tmp"), Path(writable).parent):
        try:
            (folder / "probe").touch()
        except OSError as error:
            if error.errno != errno.EROFS:
                raise
        else:
            sys.exit(f"{folder} can be written to")
    (Path(writable) / "probe").touch()
    (Path(writable) / "probe").unlink()
    os.execvp(command[0], command)
