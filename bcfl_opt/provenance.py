"""What decided these numbers? Versions, machine, threads, options and tolerances, recorded with every solution."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from typing import Any

from bcfl_opt.certificate import TOLERANCE
from bcfl_opt.distributions import versions
from bcfl_opt.threads import linear_algebra


def record(
    *,
    options: Mapping[str, Any] | None = None,
    defaults: Mapping[str, Any] | None = None,
    time_limit: float | None = None,
    warm_start: bool = False,
    **libraries: str,
) -> dict[str, Any]:
    """The provenance of a solve: all that, with the same data, gives bitwise the same result again.

    versions : by distribution, and of ``libraries`` that are none (IPOPT itself). machine : system, processor and the
    linear algebra libraries with the kernels they chose for it: another kernel adds up in another order. threads : 1.
    options : the user's, by the solver's names; defaults : ours, where the user said nothing. tolerances : what the
    recomputed residuals were held against. attempts : filled in by the solve, one entry a run of the solver.
    """
    return {
        "versions": {**versions(), **libraries},
        "machine": {"system": platform.platform(), "processor": platform.machine(), "linear_algebra": linear_algebra()},
        "threads": 1,
        "options": dict(options or {}),
        "defaults": dict(defaults or {}),
        "tolerances": {"certificate": TOLERANCE},
        "time_limit": time_limit,
        "warm_start": warm_start,
        "attempts": [],
    }
