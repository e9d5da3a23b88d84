"""How does a CVXPY problem become a cone programme, and how do point and multipliers get back to its user?

CVXPY's own chain of reductions, with one thing kept that it throws away: the multipliers of the constraints that bounds
and signs of variables become (``cp.Variable(bounds=..., nonneg=True)``).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any

import cvxpy as cp
import numpy as np
import scipy.sparse as sp
from cvxpy.constraints import Inequality
from cvxpy.expressions.expression import Expression
from cvxpy.reductions.cvx_attr2constr import CvxAttr2Constr
from cvxpy.reductions.solvers.solving_chain import SolvingChain, resolve_and_build_chain

from bcfl_opt.convex.convex_problem import Duals


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Compiled:
    """data : as Clarabel's interface in CVXPY takes it. bounds : of each bound, the variable's id, the side, the place of
    its entries within the variable, the variable's shape, and the id of the constraint that stands for it."""

    data: Mapping[str, Any]
    chain: SolvingChain
    inverse: list[Any]
    bounds: list[tuple[int, str, Any, tuple[int, ...], int]]

    @classmethod
    def of(cls, problem: cp.Problem) -> Compiled:
        # ignore_dpp: parameters are numbers here; nothing is kept for a next solve
        chain = resolve_and_build_chain(problem, solver="CLARABEL", ignore_dpp=True, solver_opts={})
        current, inverse, bounds = problem, [], []
        for reduction in chain.reductions:
            before = current
            current, back = reduction.apply(before)
            inverse.append(back)
            if isinstance(reduction, CvxAttr2Constr) and back:
                bounds = list(_bounds(before, current, back))
        return cls(current, chain, inverse, bounds)

    @property
    def offset(self) -> float:
        """The constant of the minimised objective, which the programme does not have."""
        return float(self.inverse[-1]["offset"])

    def places(self, problem: cp.Problem) -> list[tuple[cp.Variable, int]]:
        """The user's variables that are columns of the programme as they are, and the first column of each."""
        starts, renewed = self.data["param_prob"].var_id_to_col, self.chain.compose_var_id_map()
        found = []
        for variable in problem.variables():
            column = starts.get(renewed.get(variable.id, [variable.id])[0])
            shorter = variable.sparse_idx is not None or any(
                variable.attributes[name]
                for name in ("symmetric", "PSD", "NSD", "diag", "complex", "hermitian", "imag")
            )
            if column is not None and not shorter:
                found.append((variable, int(column)))
        return found

    def unpacked(self, word: str, x: np.ndarray, z: np.ndarray) -> SimpleNamespace:
        """The user's variables by id (``primal_vars``) and multipliers (``duals``), whatever word Clarabel ended with."""
        solution: Any = SimpleNamespace(status=word, x=x, z=z, obj_val=0.0, solve_time=0.0, iterations=0)
        sides: dict[str, dict[int, Any]] = {"lower": {}, "upper": {}}
        for reduction, back in zip(reversed(self.chain.reductions), reversed(self.inverse), strict=True):
            if isinstance(reduction, CvxAttr2Constr):
                for variable, side, place, shape, constraint in self.bounds:
                    values = sides[side].setdefault(variable, np.zeros(shape))
                    values[place] += solution.dual_vars.get(constraint, 0.0)
            solution = reduction.invert(solution, back)
        return SimpleNamespace(primal_vars=solution.primal_vars, duals=Duals(solution.dual_vars or {}, **sides))


def _bounds(before: cp.Problem, after: cp.Problem, back: Any) -> Iterator[tuple[int, str, Any, tuple[int, ...], int]]:
    """The constraints that were added for bounds: one expression in a variable, on one side of an inequality."""
    new, old, kept = back
    variables = {new[key].id: variable for key, variable in old.items()}
    known = set(kept.values())
    for constraint in after.constraints:
        if constraint.id in known or not isinstance(constraint, Inequality):
            continue
        left, right = constraint.args
        term, side = (right, "lower") if right.variables() else (left, "upper")
        variable = variables[term.variables()[0].id]
        place: Any = ... if constraint.shape == variable.shape else _bounded(variable, side)
        yield variable.id, side, place, variable.shape, constraint.id


def _bounded(variable: cp.Variable, side: str) -> Any:
    """Which entries CVXPY writes a constraint for where not all of them have this bound."""
    bound = variable.bounds[side == "upper"]
    if sp.issparse(bound):
        entries = sp.coo_array(bound)
        entries.sum_duplicates()
        finite = np.isfinite(entries.data)
        return tuple(coordinate[finite] for coordinate in entries.coords)
    assert not isinstance(bound, Expression)
    return np.isfinite(bound)
