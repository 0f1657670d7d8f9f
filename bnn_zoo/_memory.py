"""How much memory is free, so that what cannot fit is refused before the work and not by the kernel in its midst."""

from __future__ import annotations

import math
import os
from pathlib import Path


def free_memory() -> float:
    """Bytes that this process may still take: of the machine, of its control group, of its own limits; inf if unknown."""
    return max(min(_machine(), _control_group(), _limits()), 0.0)


def said(size: float) -> str:
    """``1.2 GB``."""
    power = min(int(math.log(max(size, 1.0), 1000)), 8)
    return f"{size / 1000**power:.3g} {'kMGTPEZY'[power - 1] if power else ''}B"


def _machine() -> float:
    kilobytes = _table("/proc/meminfo").get("MemAvailable")
    if kilobytes is not None:
        return 1024.0 * kilobytes
    try:
        return float(os.sysconf("SC_PHYS_PAGES")) * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return math.inf


def _control_group() -> float:
    """What a container or a batch system allows (version 2 of Linux's control groups), less what is in use."""
    try:
        own = Path("/proc/self/cgroup").read_text().strip().rpartition("::")[2]
    except OSError:
        return math.inf
    left = math.inf
    for folder in {Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup") / own.lstrip("/")}:
        try:
            allowed = float((folder / "memory.max").read_text())
            used = float((folder / "memory.current").read_text())
        except (OSError, ValueError):  # no such group, or "max": no limit
            continue
        left = min(left, allowed - used + _table(folder / "memory.stat").get("inactive_file", 0))
    return left


def _limits() -> float:
    """``ulimit -v`` and ``ulimit -d``, less what is in use."""
    try:
        import resource
    except ImportError:  # Windows
        return math.inf
    used = _table("/proc/self/status")
    left = math.inf
    for limit, name in ((resource.RLIMIT_AS, "VmSize"), (resource.RLIMIT_DATA, "VmData")):
        soft = resource.getrlimit(limit)[0]
        if soft != resource.RLIM_INFINITY:
            left = min(left, soft - 1024.0 * used.get(name, 0))
    return left


def _table(path: str | Path) -> dict[str, int]:
    """The whole numbers of a file of lines ``name: number unit``."""
    try:
        lines = [line.replace(":", " ").split() for line in Path(path).read_text().splitlines()]
    except OSError:
        return {}
    return {line[0]: int(line[1]) for line in lines if len(line) > 1 and line[1].isdigit()}
