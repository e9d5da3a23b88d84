"""Which constraints of a CVXPY problem cannot hold together, and how much would each have to give?

Elastic problem: minimise the sum of slacks s.t. constraints, entry by entry, some of which may be violated by their own
slack. Its optimum is 0 exactly where they can hold together: proven by Clarabel where the problem is convex, as local as
IPOPT's answers where it is not. Bounds of variables (``bounds=``, ``nonneg=True``) hold for the least violations; whether a
conflict needs them is asked of free variables in their place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import cvxpy as cp
import numpy as np
from cvxpy.constraints import Equality, Inequality, NonNeg, NonPos, PowCone3D, PowConeND, Zero
from cvxpy.constraints.constraint import Constraint

from bcfl_opt.certificate import TOLERANCE
from bcfl_opt.conflict import Conflict, Least, conflict_of
from bcfl_opt.convex.convex_problem import ConvexProblem, restore
from bcfl_opt.convex.rules import shortened, shown
from bcfl_opt.errors import BcflOptError
from bcfl_opt.solution import Solution

#: Solves an elastic problem by a solver of that name.
Solve = Callable[[cp.Problem, str], Solution]
#: A multiplier above this share of a slack's cost (1) means that the constraint takes part.
PART = 1e-6
#: A variable's attributes that say where 0 is.
SIGNS = ("nonneg", "nonpos", "pos", "neg")
#: A variable's attributes that are bounds and no more.
BOUNDS = (*SIGNS, "bounds")
#: Kinds of constraints that are taken entry by entry; a cone is one.
BY_ENTRY = (Inequality, Equality, NonNeg, NonPos, Zero)


class Entry(NamedTuple):
    """A constraint's entry, in column order; -1 is a cone as a whole."""

    constraint: str
    place: int


def find_conflict(problem: ConvexProblem, solve: Solve) -> Conflict:
    """See :func:`bcfl_opt.conflict.conflict_of`. The variables keep their values.

    solve : an elastic problem and the solver for it -> its solution.
    """
    saved = problem.saved()
    try:
        return conflict_of(_Elastic(problem, solve, bounds=True))
    finally:
        restore(saved)


def missing_room(problem: ConvexProblem, solve: Solve) -> str:
    """Which constraints would have to give way for a point to be feasible; "" if none has to (or if that cannot be told).

    solve : as in :func:`find_conflict`. The variables' values may change.
    """
    elastic = _Elastic(problem, solve, bounds=False)
    least = elastic.least(elastic.constraints(), ())
    if least is None or not least.violation:
        return ""
    parts = [f"{elastic.name(entry)} by {amount:.3g}" for entry, amount in list(least.violation.items())[:3]]
    return f"no point is feasible unless constraints give way: {', '.join(parts)}"


class _Elastic:
    """Elastic problems over the constraints of one problem.

    bounds : make the variables' own bounds constraints, which can be left out, on free variables in their place. Those of
        variables that are more than bounded (symmetric, PSD, ...), and bounds that are expressions, always hold.
    """

    def __init__(self, problem: ConvexProblem, solve: Solve, *, bounds: bool) -> None:
        self.problem, self._solve = problem, solve
        self._rows = {name: c for name, c in problem.constraints.items() if c.size}
        self._bounds: dict[str, tuple[Constraint, np.ndarray]] = {}
        if bounds:
            self._set_bounds_apart()
        self._all = {**self._rows, **{name: constraint for name, (constraint, _) in self._bounds.items()}}
        self.solver = "clarabel" if all(c.is_dcp() for c in self._all.values()) else "ipopt"
        self.sizes = {name: _sizes(c) for name, c in self._all.items() if isinstance(c, BY_ENTRY)}

    def _set_bounds_apart(self) -> None:
        free: dict[int, cp.Variable] = {}  # by the id of what it stands for
        for name, variable in self.problem.named_variables().items():
            limits = _own_bounds(variable)
            if limits is None:
                continue
            free[id(variable)] = clone = cp.Variable(variable.shape, name=variable.name())
            clone.save_value(variable.value)
            for side, limit in zip(("lower", "upper"), limits, strict=True):
                places = np.flatnonzero(np.isfinite(np.ravel(limit, order="F")))
                if places.size:
                    edge = np.where(np.isfinite(limit), limit, 0.0)
                    constraint = clone >= edge if side == "lower" else clone <= edge
                    self._bounds[f"{name}.{side}"] = constraint, places
        if free:
            self._rows = {name: c.tree_copy(free) for name, c in self._rows.items()}

    def name(self, entry: Entry) -> str:
        constraint = self._all[entry.constraint]
        return entry.constraint + ("" if entry.place < 0 else self.problem.place(entry.place, constraint))

    def text(self, entry: Entry) -> str:
        return "" if entry.constraint in self._bounds else _text(self._all[entry.constraint])

    def constraints(self) -> list[Entry]:
        return [
            Entry(name, k)
            for name, c in self._rows.items()
            for k in (range(c.size) if isinstance(c, BY_ENTRY) else (-1,))
        ]

    def bounds(self) -> list[Entry]:
        return [Entry(name, int(k)) for name, (_, places) in self._bounds.items() for k in places]

    def bounds_of(self, members: Iterable[Entry]) -> list[Entry]:
        used = {variable.id for entry in members for variable in self._all[entry.constraint].variables()}
        return [entry for entry in self.bounds() if self._all[entry.constraint].variables()[0].id in used]

    def least(self, soft: Iterable[Entry], hard: Iterable[Entry]) -> Least[Entry] | None:
        """The least violation of the soft entries where the hard ones hold; None if there is no answer."""
        grouped: dict[str, tuple[list[int], list[int]]] = {}
        for group, entries in ((0, soft), (1, hard)):
            for entry in entries:
                grouped.setdefault(entry.constraint, ([], []))[group].append(entry.place)
        constraints: dict[str, Constraint] = {}
        slacks: dict[str, tuple[list[int], cp.Variable]] = {}
        for name, (loose, tight) in grouped.items():
            constraint = self._all[name]
            if tight:
                for k, row in enumerate(_entries(constraint, tight, 0.0)):
                    constraints[f"{name} hard {k}"] = row
            if loose:
                slack = cp.Variable(len(loose), nonneg=True, value=np.ones(len(loose)))
                slacks[name] = loose, slack
                size = self.sizes[name][loose] if name in self.sizes else np.ones(1)
                for k, row in enumerate(_entries(constraint, loose, cp.multiply(size, slack))):
                    constraints[f"{name} soft {k}"] = row
        total = sum(cp.sum(slack) for _, slack in slacks.values())
        rows = [constraint.set_label(name) for name, constraint in constraints.items()]
        solution = self.solved(cp.Problem(cp.Minimize(total), rows))
        if solution is None:
            return None
        violation, part = {}, []
        for name, (loose, slack) in slacks.items():
            sizes = self.sizes[name][loose] if name in self.sizes else np.ones(1)
            weight = sizes * np.max(
                [_weight(y, len(loose)) for key, y in solution.multipliers.items() if key.startswith(f"{name} soft ")],
                axis=0,
                initial=0.0,
            )
            for k, (place, amount) in enumerate(zip(loose, np.ravel(slack.value), strict=True)):
                if amount > TOLERANCE:
                    violation[Entry(name, place)] = float(amount * sizes[k])
                if amount > TOLERANCE or weight[k] > PART:
                    part.append(Entry(name, place))
        held = []
        for name, (_, tight) in grouped.items():
            for key, y in solution.multipliers.items():
                if key.startswith(f"{name} hard ") and tight:
                    held += [
                        Entry(name, k)
                        for k, weight in zip(tight, _weight(y, len(tight)), strict=False)
                        if weight > PART
                    ]
        return Least(violation, part, held)

    def solved(self, problem: cp.Problem) -> Solution | None:
        try:
            solution = self._solve(problem, self.solver)
        except BcflOptError:
            return None
        return solution if solution.succeeded else None


def _weight(multiplier: Any, count: int) -> np.ndarray:
    """Sizes of a constraint's multipliers by entry; of a cone's, the largest."""
    if isinstance(multiplier, list):
        return np.array([max(float(np.max(np.abs(part), initial=0.0)) for part in multiplier)])
    sizes = np.abs(np.ravel(multiplier))
    return sizes if len(sizes) == count else np.array([sizes.max(initial=0.0)])


def _entries(constraint: Constraint, places: list[int], slack: Any) -> list[Constraint]:
    """The constraint's entries (or the whole cone) with a slack; what each kind means is CVXPY's."""
    if isinstance(constraint, BY_ENTRY):
        if isinstance(constraint, Inequality | Equality):
            body = constraint.args[0] - constraint.args[1]
        else:
            body = -constraint.args[0] if isinstance(constraint, NonNeg) else constraint.args[0]
        chosen = cp.vec(body, order="F")[places]
        if isinstance(constraint, Equality | Zero):
            return [chosen <= slack, -chosen <= slack] if isinstance(slack, cp.Expression) else [chosen == 0]
        return [chosen <= slack]
    if not isinstance(slack, cp.Expression):
        return [constraint]
    room = slack[0]
    if isinstance(constraint, cp.PSD):
        size = constraint.args[0].shape[-1]
        return [constraint.args[0] + room * np.eye(size) >> 0]
    if isinstance(constraint, cp.SOC):
        return [cp.SOC(constraint.args[0] + room, constraint.args[1], axis=constraint.axis)]
    if isinstance(constraint, cp.ExpCone):
        x, y, z = constraint.args
        return [cp.ExpCone(x, y, z + room)]
    if isinstance(constraint, PowCone3D):
        x, y, z = constraint.args
        return [PowCone3D(x + room, y + room, z, constraint.alpha)]
    if isinstance(constraint, PowConeND):
        return [PowConeND(constraint.W + room, constraint.z, constraint.alpha, axis=constraint.axis)]
    return [constraint]


def _own_bounds(variable: cp.Variable) -> tuple[np.ndarray, np.ndarray] | None:
    """Least and largest values by entry; None where the variable has no bounds, or is more than bounded."""
    given = variable.attributes
    limits = given["bounds"] or ()
    more = any(given[name] for name in given if name not in BOUNDS)
    if (
        more
        or (not any(given[name] for name in SIGNS) and not limits)
        or any(isinstance(b, cp.Expression) for b in limits)
    ):
        return None
    low, high = variable.get_bounds()
    return np.asarray(low, dtype=float), np.asarray(high, dtype=float)


def _sizes(constraint: Constraint) -> np.ndarray:
    """What counts as one unit of each entry: its constant side, where it has one that is not 0."""
    size = np.ones(constraint.size)
    for side in constraint.args:
        if side.is_constant():
            value = np.abs(np.ravel(np.broadcast_to(side.value, constraint.shape), order="F"))
            size = np.where(np.isfinite(value) & (value > 0), value, size)
    return size


def _text(constraint: Constraint) -> str:
    """As the user would have written it: CVXPY keeps ``x >= b`` as ``b <= x``."""
    if not isinstance(constraint, Inequality | Equality):
        return shortened(" ".join(str(constraint).split()))
    (left, right), sign = constraint.args, "==" if isinstance(constraint, Equality) else "<="
    if left.is_constant() and sign == "<=":
        left, right, sign = right, left, ">="
    return f"{shown(left)} {sign} {shown(right)}"
