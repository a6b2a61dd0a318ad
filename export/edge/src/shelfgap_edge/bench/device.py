"""Facts about the machine, without which a latency means nothing; what cannot be read is None."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

# Instructions that decide how fast INT8 runs, as /proc/cpuinfo names them.
_TELLING_FLAGS = (
    *("avx2", "fma", "avx512f", "avx512bw", "avx512_vnni", "avx512_bf16", "avx_vnni", "amx_int8"),
    *("neon", "asimd", "asimddp", "i8mm", "sve", "bf16"),
)
_PACKAGES = ("onnxruntime", "openvino", "numpy", "simplejpeg", "shelfgap-edge")


def device_facts() -> dict[str, Any]:
    """Return the facts as a JSON-ready dict; load is that of the moment."""
    cpuinfo = _cpuinfo(_read("/proc/cpuinfo") or "")
    flags = (cpuinfo.get("flags") or cpuinfo.get("Features") or "").split()
    meminfo = _cpuinfo(_read("/proc/meminfo") or "")
    return {
        "cpu_model": cpuinfo.get("model name") or cpuinfo.get("Model") or platform.processor() or None,
        "board": (_read("/proc/device-tree/model") or "").strip("\0\n ") or None,
        "architecture": platform.machine(),
        "cpu_flags": [flag for flag in _TELLING_FLAGS if flag in flags],
        "cores": os.cpu_count(),
        "cores_usable": _usable_cores(),
        "cpu_quota": (_read("/sys/fs/cgroup/cpu.max") or "").strip() or None,
        "governor": (_read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor") or "").strip() or None,
        "load_average_1min": _load_average(),
        "memory_mb": _kilobytes_to_mb(meminfo.get("MemTotal")),
        "memory_available_mb": _kilobytes_to_mb(meminfo.get("MemAvailable")),
        "os": platform.platform(),
        "python": platform.python_version(),
        "packages": {name: _package_version(name) for name in _PACKAGES},
    }


def peak_memory_mb() -> float | None:
    """Return the largest resident size of this process so far, in MiB; None where it cannot be read."""
    return _own_memory_mb("VmHWM")


def resident_memory_mb() -> float | None:
    """Return the resident size of this process now, in MiB; None where it cannot be read."""
    return _own_memory_mb("VmRSS")


def _own_memory_mb(key: str) -> float | None:
    return _kilobytes_to_mb(_cpuinfo(_read("/proc/self/status") or "").get(key))


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None


def _cpuinfo(text: str) -> dict[str, str]:
    """Parse `key : value` lines; the first of a key counts."""
    facts: dict[str, str] = {}
    for line in text.splitlines():
        key, colon, value = line.partition(":")
        if colon:
            facts.setdefault(key.strip(), value.strip())
    return facts


def _usable_cores() -> list[int] | None:
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None


def _load_average() -> float | None:
    try:
        return round(os.getloadavg()[0], 2)
    except (OSError, AttributeError):
        return None


def _kilobytes_to_mb(text: str | None) -> float | None:
    number = (text or "").partition(" ")[0]
    return round(int(number) / 1024, 1) if number.isdigit() else None


def _package_version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
