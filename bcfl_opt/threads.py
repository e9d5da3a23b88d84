"""How many threads does a solve use? One: sums split over threads come out differently in their last bits.

Solves run in parallel as processes; IPOPT is not safe in threads anyway.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

from threadpoolctl import ThreadpoolController

#: Modules that bring a linear algebra library of their own; a controller knows those that were loaded when it was made.
CARRIERS = ("numpy", "scipy.linalg", "cyipopt", "sparsediffpy")

_controllers: dict[tuple[bool, ...], ThreadpoolController] = {}


def _controller() -> ThreadpoolController:
    loaded = tuple(name in sys.modules for name in CARRIERS)
    if loaded not in _controllers:
        _controllers[loaded] = ThreadpoolController()
    return _controllers[loaded]


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Within it, the linear algebra libraries loaded so far use one thread."""
    with _controller().limit(limits=1):
        yield


def linear_algebra() -> list[str]:
    """The libraries loaded so far: name, version, and the kernel chosen for this processor."""
    found = {
        f"{library.get('internal_api')} {library.get('version')} {library.get('architecture', '')}".strip()
        for library in _controller().info()
    }
    return sorted(found)
