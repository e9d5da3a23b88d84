"""Whose versions decide a number? The installed ones, recorded with every document, solution and sweep."""

from __future__ import annotations

import functools
import platform
from importlib import metadata

#: Distributions whose version decides a number. cyipopt comes under one of two names.
DISTRIBUTIONS = (
    "bcfl_opt",
    "numpy",
    "pandas",
    "scipy",
    "pyomo",
    "cvxpy",
    "sparsediffpy",
    "clarabel",
    "casadi",
    "cyipopt-wheels",
    "cyipopt",
)


@functools.cache
def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in DISTRIBUTIONS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def versions() -> dict[str, str]:
    """Installed versions by distribution, and Python's."""
    return dict(_versions())
