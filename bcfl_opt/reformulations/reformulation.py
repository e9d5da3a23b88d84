"""What is a reformulation? Rows that tell complementarity, relaxed by one number that a continuation drives to 0."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from pyomo.core.base.constraint import ConstraintData

from bcfl_opt.reformulations.conditions import Conditions
from bcfl_opt.reformulations.followers import Follower


@dataclasses.dataclass(frozen=True, slots=True)
class Reformulation:
    """name : as the user says it. schedule : values of the relaxation, in order.

    impose : adds rows to ``conditions.block.complementarity``, given the variable that relaxes them; returns the rows of the
        conditions that it replaces.
    """

    name: str
    schedule: tuple[float, ...]
    impose: Callable[[Conditions, Sequence[Follower], Any], list[ConstraintData]]
