"""Fischer and Burmeister's function, smoothed: a + b - sqrt(a^2 + b^2 + 2t) = 0 says a > 0, b > 0, ab = t; t -> 0.

Source: Kanzow, SIAM J. Matrix Anal. Appl. 17 (1996), with t for the square of the smoothing parameter; for leaders:
Facchinei, Jiang and Qi, Math. Program. 85 (1999).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyomo.environ as pyo
from pyomo.core.base.constraint import ConstraintData

from bcfl_opt.reformulations.conditions import Conditions
from bcfl_opt.reformulations.followers import Follower
from bcfl_opt.reformulations.reformulation import Reformulation


def impose(conditions: Conditions, followers: Sequence[Follower], relaxation: Any) -> list[ConstraintData]:
    """multiplier + slack - sqrt(multiplier^2 + slack^2 + 2t) = 0, one row a pair."""
    rows = conditions.block.complementarity
    for pair in conditions.pairs:
        a, b = pair.multiplier, pair.slack
        rows[pair.name] = a + b - pyo.sqrt(a**2 + b**2 + 2 * relaxation) == 0
    return []


FISCHER_BURMEISTER = Reformulation("fischer_burmeister", (1.0, 1e-2, 1e-4, 1e-6), impose)
