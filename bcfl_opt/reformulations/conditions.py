"""What are the followers' optimality conditions, as variables and constraints of the leader's model?

For a follower min f(x, y) over y s.t. lower <= g(x, y) <= upper, y within its bounds, all in its own sizes:

    slack            body + slack = upper  or  body - slack = lower,  slack >= 0     (replaces each inequality)
    multiplier       >= 0 for each inequality and each bound of a decision; free for an equality
    stationarity     df/dy + sum multiplier x dg/dy = 0                              by decision
    multiplier x slack = 0                                                           left to a reformulation

Pyomo's ``core.kkt`` writes the same system; here every row carries the name of what it came from, slacks are variables of
their own (products of two bounded variables are what an interior-point method likes to relax), and everything is
scaled by the follower's own sizes. Everything is added in one temporary Block, and the model comes back as it was.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyomo.environ as pyo
from pyomo.common.modeling import unique_component_name
from pyomo.core.base.block import BlockData
from pyomo.core.base.constraint import ConstraintData
from pyomo.core.base.var import VarData

from bcfl_opt.nlp.program import INFINITE
from bcfl_opt.reformulations.followers import Follower
from bcfl_opt.reformulations.gradients import gradient

#: Name of the temporary Block, unless the model has something of that name.
BLOCK = "follower_conditions"


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Sizes:
    """What counts as one unit: of the follower's objective, of each decision, of each constraint."""

    objective: float
    decisions: tuple[float, ...]
    constraints: tuple[float, ...]

    @classmethod
    def at_values(cls, follower: Follower) -> Sizes:
        """At the model's present values: the sum of the terms' absolute values; 1 where that is 0 or unknown."""
        read = follower.program
        x = read.start()
        with np.errstate(all="ignore"):
            objective = read.functions.objective_size(x)
            rows = np.abs(read.functions.jacobian_matrix(x)) @ np.abs(x)
        values = {id(variable): number for variable, number in zip(read.variables, np.abs(x).tolist(), strict=True)}
        decisions = [values.get(id(variable), 0.0) for variable in follower.decisions]
        return cls(_usable(objective), tuple(map(_usable, decisions)), tuple(map(_usable, rows.tolist())))


def _usable(size: float) -> float:
    return size if np.isfinite(size) and size > 1e-9 else 1.0


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """multiplier x slack = 0, with slack = sign (variable - bound) / size, both at least 0.

    follower : whose. name : the constraint or bound it belongs to.
    """

    follower: Follower
    name: str
    multiplier: VarData
    variable: VarData
    sign: float
    bound: float
    size: float

    @property
    def slack(self) -> Any:
        """As a Pyomo expression."""
        return self.variable if (self.sign, self.bound, self.size) == (1.0, 0.0, 1.0) else self._shifted()

    def _shifted(self) -> Any:
        return (self.sign / self.size) * (self.variable - self.bound)


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Conditions:
    """The temporary Block, and how to find one's way in it.

    pairs : all complementarity pairs. multipliers : by follower's name, then (id of constraint or decision, side):
        (multiplier variable, its unit); the follower's own multiplier is the product.
    slack_of : by inequality: (slack variable, side, its unit). sizes : of objectives, constraints and decisions, by their id.
    """

    block: BlockData
    pairs: tuple[Pair, ...]
    multipliers: dict[str, dict[tuple[int, str], tuple[VarData, float]]]
    slack_of: dict[int, tuple[tuple[VarData, str, float], ...]]
    sizes: dict[int, float]


@contextlib.contextmanager
def imposed(leader: BlockData, followers: Sequence[Follower], sizes: Sequence[Sizes]) -> Iterator[Conditions]:
    """The leader's model with the followers' conditions in it; afterwards as it was, but for values."""
    name = unique_component_name(leader, BLOCK)
    changed: list[Any] = []
    try:
        block = pyo.Block(concrete=True)
        leader.add_component(name, block)
        for component, kind in (
            ("multiplier", pyo.Var(pyo.Any, dense=False)),
            ("slack", pyo.Var(pyo.Any, dense=False, domain=pyo.NonNegativeReals)),
            ("feasibility", pyo.Constraint(pyo.Any)),
            ("stationarity", pyo.Constraint(pyo.Any)),
            ("complementarity", pyo.Constraint(pyo.Any)),
        ):
            block.add_component(component, kind)
        writer = _Writer(block, changed)
        for follower, size in zip(followers, sizes, strict=True):
            writer.write(follower, size)
        yield Conditions(block, tuple(writer.pairs), writer.multipliers, writer.slack_of, writer.sizes)
    finally:
        if leader.component(name) is not None:
            leader.del_component(name)
        for item in changed:
            item.activate()


class _Writer:
    def __init__(self, block: BlockData, changed: list[Any]) -> None:
        self.block, self.changed = block, changed
        self.pairs: list[Pair] = []
        self.multipliers: dict[str, dict[tuple[int, str], tuple[VarData, float]]] = {}
        self.slack_of: dict[int, tuple[tuple[VarData, str, float], ...]] = {}
        self.sizes: dict[int, float] = {}

    def write(self, follower: Follower, size: Sizes) -> None:
        self.follower = follower
        self.own = self.multipliers[follower.name] = {}
        used = {id(variable) for variable in follower.program.variables}
        self.decisions = [variable for variable in follower.decisions if id(variable) in used]
        self.sizes[id(follower.objective)] = size.objective
        for item, number in zip(
            (*follower.decisions, *follower.constraints), (*size.decisions, *size.constraints), strict=True
        ):
            self.sizes[id(item)] = number
        self.rows: dict[int, list[Any]] = {id(variable): [] for variable in self.decisions}
        self._add(
            gradient(follower.objective.expr, self.decisions, follower.objective.name), follower.sense / size.objective
        )
        self._deactivate(follower.objective)
        for constraint, scale in zip(follower.constraints, size.constraints, strict=True):
            self._constraint(constraint, scale, size.objective)
        for variable in self.decisions:
            self._bounds(variable, size.objective)
        for variable in self.decisions:
            body = self.sizes[id(variable)] * sum(self.rows[id(variable)])
            if body.__class__ in (int, float):  # nothing in the follower's problem answers to it
                continue
            self.block.stationarity[variable.name] = body == 0

    def _deactivate(self, item: Any) -> None:
        item.deactivate()
        self.changed.append(item)

    def _add(self, derivatives: list[tuple[VarData, Any]], factor: Any) -> None:
        for variable, derivative in derivatives:
            self.rows[id(variable)].append(factor * derivative)

    def _multiplier(self, name: str, side: str, free: bool, unit: float) -> VarData:
        multiplier = self.block.multiplier.add(f"{name} {side}".rstrip())
        if not free:
            multiplier.setlb(0.0)
        multiplier.set_value(0.0)
        return multiplier

    def _constraint(self, constraint: ConstraintData, scale: float, objective: float) -> None:
        low, body, high = constraint.to_bounded_expression(evaluate_bounds=True)
        low, high = (None if side is None or abs(side) >= INFINITE else side for side in (low, high))
        derivatives = gradient(body, self.decisions, constraint.name)
        if not derivatives:
            return  # the leader alone decides whether it holds: a condition on the leader
        if low is not None and low == high:
            multiplier = self._multiplier(constraint.name, "", True, 1.0)
            self.own[id(constraint), ""] = (multiplier, objective / scale)
            self._add(derivatives, multiplier / scale)
            return
        slacks = []
        for side, bound, sign in (("upper", high, 1.0), ("lower", low, -1.0)):
            if bound is None:
                continue
            key = f"{constraint.name} {side}"
            slack = self.block.slack.add(key)
            self.block.feasibility[key] = body / scale + sign * slack == bound / scale
            multiplier = self._multiplier(constraint.name, side, False, 1.0)
            self.own[id(constraint), side] = (multiplier, objective / scale)
            self._add(derivatives, sign * multiplier / scale)
            self.pairs.append(Pair(self.follower, constraint.name, multiplier, slack, 1.0, 0.0, 1.0))
            slacks.append((slack, side, scale))
        self.slack_of[id(constraint)] = tuple(slacks)
        self._deactivate(constraint)

    def _bounds(self, variable: VarData, objective: float) -> None:
        size = self.sizes[id(variable)]
        low, high = variable.bounds
        for side, bound, sign in (("lower bound", low, 1.0), ("upper bound", high, -1.0)):
            if bound is None or abs(bound) >= INFINITE:
                continue
            multiplier = self._multiplier(variable.name, side, False, 1.0)
            self.own[id(variable), side] = (multiplier, objective / size)
            self.rows[id(variable)].append(-sign * multiplier / size)
            self.pairs.append(Pair(self.follower, f"{variable.name} {side}", multiplier, variable, sign, bound, size))
