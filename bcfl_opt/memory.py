"""How much memory is there to take, and how does one say an amount of it?"""

from __future__ import annotations

import os
from pathlib import Path

#: Where Linux says what it could hand out, and what a container may take (version 2 of its control groups, then 1).
_MEMINFO = Path("/proc/meminfo")
_LIMITS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)


def available_memory() -> int | None:
    """Bytes that this process can still take before something is swapped out or killed; None where nobody tells.

    The least of what the system has to give, what the container's limit leaves and what the process's own limit
    (``ulimit -v``) leaves.
    """
    found = [_system(), *(_left(*files) for files in _LIMITS), _own()]
    known = [number for number in found if number is not None]
    return max(min(known), 0) if known else None


def size_text(bytes_: float) -> str:
    """An amount of memory for people.

    >>> size_text(96e9), size_text(1.5e6)
    ('96 GB', '1.5 MB')
    """
    for unit, factor in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if bytes_ >= factor:
            return f"{bytes_ / factor:.2g} {unit}" if bytes_ < 100 * factor else f"{bytes_ / factor:.0f} {unit}"
    return f"{bytes_ / 1e3:.2g} kB"


def _system() -> int | None:
    try:
        lines = _MEMINFO.read_text(encoding="ascii").splitlines()
    except OSError:
        try:
            return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")  # macOS: at most this
        except (AttributeError, ValueError, OSError):
            return None
    kilobytes = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    return int(kilobytes[0]) * 1024 if kilobytes else None


def _left(limit: str, used: str) -> int | None:
    try:
        return int(Path(limit).read_text(encoding="ascii")) - int(Path(used).read_text(encoding="ascii"))
    except (OSError, ValueError):  # no such group, or "max"
        return None


def _own() -> int | None:
    try:
        import resource

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        if limit == resource.RLIM_INFINITY:
            return None
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        return limit - pages * resource.getpagesize()
    except (ImportError, OSError, ValueError):
        return None
