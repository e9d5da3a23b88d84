"""Scholtes' relaxation: multiplier x slack <= t for every pair, t -> 0.

For t > 0 the feasible set has an interior where the leader's has one, and for t -> 0 its stationary points lead to
C-stationary points, or better, of the complementarity problem (Scholtes, SIAM J. Optim. 11, 2001).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pyomo.core.base.constraint import ConstraintData

from bcfl_opt.reformulations.conditions import Conditions
from bcfl_opt.reformulations.followers import Follower
from bcfl_opt.reformulations.reformulation import Reformulation


def impose(conditions: Conditions, followers: Sequence[Follower], relaxation: Any) -> list[ConstraintData]:
    """multiplier x slack - t <= 0, one row a pair."""
    rows = conditions.block.complementarity
    for pair in conditions.pairs:
        rows[pair.name] = pair.multiplier * pair.slack - relaxation <= 0
    return []


KKT = Reformulation("kkt", (1.0, 1e-2, 1e-4), impose)
