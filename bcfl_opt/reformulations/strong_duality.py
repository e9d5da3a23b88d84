"""Strong duality: a follower's objective is at most the value of its dual, where that has a closed form.

Objective and constraints may hold, of a follower's decisions y, linear terms; the objective also a convex quadratic; and
both, of a decision that is in no quadratic term, terms e y^-n with y > 0 (energy, in times). With multipliers the
Lagrangian then is z y + E y^-n in such a decision, and its infimum (n + 1) E^(1/(n+1)) (z/n)^(n/(n+1)); theory 6.1 is the
client's case, n = 2. For the other decisions the infimum is where the Lagrangian is stationary. The duality gap becomes

    sum multiplier x slack + sum (z y + E y^-n - (n + 1) E^(1/(n+1)) (z/n)^(n/(n+1)))  <=  t,   t -> 0,

one row a follower, every term of it at least 0.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import pyomo.environ as pyo
from pyomo.core.base.constraint import ConstraintData
from pyomo.core.base.var import VarData
from pyomo.core.expr import numeric_expr as nodes
from pyomo.core.expr.numvalue import value
from pyomo.core.expr.visitor import identify_variables

from bcfl_opt.errors import ModelError
from bcfl_opt.nlp.program import INFINITE, program
from bcfl_opt.reformulations.conditions import Conditions
from bcfl_opt.reformulations.convex_followers import proven_convex
from bcfl_opt.reformulations.followers import Follower
from bcfl_opt.reformulations.gradients import gradient
from bcfl_opt.reformulations.reformulation import Reformulation
from bcfl_opt.reformulations.responses import held
from bcfl_opt.reformulations.single_level import active


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Term:
    """factor x y^-power of one decision; factor holds no decision."""

    factor: Any
    variable: VarData
    power: float


def impose(conditions: Conditions, followers: Sequence[Follower], relaxation: Any) -> list[ConstraintData]:
    """The row above for every follower; it replaces the stationarity of decisions with terms y^-n.

    Raises
    ------
    ModelError : a follower whose dual has no closed form of this kind; by name.
    """
    block = conditions.block
    if block.component("slope") is None:
        block.slope = pyo.Var(pyo.Any, dense=False, domain=pyo.NonNegativeReals)
    block.slope.clear()
    replaced: list[ConstraintData] = []
    for follower in followers:
        replaced += _Dual(follower, conditions).impose(relaxation)
    return replaced


class _Dual:
    def __init__(self, follower: Follower, conditions: Conditions) -> None:
        self.follower, self.conditions = follower, conditions
        self.decisions = {id(variable) for variable in follower.decisions}
        with held(follower.parameters), active([follower.objective, *follower.constraints]):
            self.convex = proven_convex(program(follower.block))
        self.powers: dict[int, tuple[VarData, float]] = {}
        # Of the Lagrangian, in the follower's own units: by decision, the factor of its y^-n.
        self.heights: dict[int, Any] = {}

    def impose(self, relaxation: Any) -> list[ConstraintData]:
        follower, block = self.follower, self.conditions.block
        unit = self.conditions.sizes[id(follower.objective)]
        self._read(follower.objective.expr, follower.sense / unit, follower.objective.name, 2)
        for constraint in follower.constraints:
            self._constraint(constraint)
        self._check_convex()
        gap = sum(p.multiplier * p.slack for p in self.conditions.pairs if p.follower is follower)
        replaced = []
        for key, (y, n) in self.powers.items():
            row = block.stationarity[y.name]
            size = self.conditions.sizes[key]
            e = self.heights[key]
            # The stationarity row is size x (z - n E y^(-n-1)) = 0; it tells z without reading the Lagrangian again.
            z = block.slope.add(y.name)
            flat = row.body / size + n * e * y ** (-n - 1)
            z.set_value(max(float(value(flat, exception=False) or 1.0), 1e-3), skip_validation=True)
            block.complementarity[f"slope {y.name}"] = z == flat
            lowest = (n + 1) * e ** (1 / (n + 1)) * (z / n) ** (n / (n + 1))
            gap += z * y + e * y**-n - lowest
            replaced.append(row)
        block.complementarity[f"duality {follower.name}"] = gap <= relaxation
        return replaced

    def _constraint(self, constraint: ConstraintData) -> None:
        low, body, high = constraint.to_bounded_expression(evaluate_bounds=True)
        found = self.conditions.multipliers[self.follower.name]
        scale = self.conditions.sizes[id(constraint)]
        weight: Any = 0.0
        if (id(constraint), "") in found:
            weight = found[id(constraint), ""][0]
        for side, bound, sign in (("upper", high, 1.0), ("lower", low, -1.0)):
            if bound is not None and abs(bound) < INFINITE and (id(constraint), side) in found:
                weight = weight + sign * found[id(constraint), side][0]
        self._read(body, weight / scale, constraint.name, 1)

    def _read(self, expression: Any, weight: Any, place: str, degree: int) -> None:
        """Collect the terms y^-n, and see that the rest is a polynomial of this degree at most."""
        rest = []
        for factor, term in _summands(expression, self.decisions):
            power = self._power(factor, term)
            if power is None:
                rest.append(term)
                continue
            y = power.variable
            known = self.powers.setdefault(id(y), (y, power.power))
            if known[1] != power.power:
                raise ModelError(f"{self._refusal(place)}: {y.name} has the powers {-known[1]:g} and {-power.power:g}")
            self.heights[id(y)] = self.heights.get(id(y), 0.0) + weight * power.factor
        with held(self.follower.parameters):
            for term in rest:
                actual = term.polynomial_degree() if hasattr(term, "polynomial_degree") else 0
                if actual is None or actual > degree:
                    raise ModelError(f"{self._refusal(place)}: it holds the term {term}")

    def _power(self, factor: Any, term: Any) -> Term | None:
        """factor x term as a term y^-n, if it is one."""
        if isinstance(term, nodes.DivisionExpression) and not _holds(term.args[0], self.decisions):
            factor, base, exponent = factor * term.args[0], term.args[1], -1.0
            if isinstance(base, nodes.PowExpression) and _number(base.args[1]) is not None:
                base, exponent = base.args[0], -float(_number(base.args[1]) or 0.0)
        elif isinstance(term, nodes.PowExpression) and _number(term.args[1]) is not None:
            base, exponent = term.args[0], float(_number(term.args[1]) or 0.0)
        else:
            return None
        if exponent >= 0:
            return None
        # The base is a decision, times or over something that is none.
        if isinstance(base, VarData):
            return Term(factor, base, -exponent) if id(base) in self.decisions else None
        if isinstance(base, nodes.ProductExpression | nodes.MonomialTermExpression):
            inner, variable = base.args
            if not isinstance(variable, VarData):
                inner, variable = variable, inner
            if isinstance(variable, VarData) and id(variable) in self.decisions and not _holds(inner, self.decisions):
                return Term(factor * inner**exponent, variable, -exponent)
        if isinstance(base, nodes.DivisionExpression):
            variable, under = base.args
            if isinstance(variable, VarData) and id(variable) in self.decisions and not _holds(under, self.decisions):
                return Term(factor * under ** (-exponent), variable, -exponent)
        return None

    def _check_convex(self) -> None:
        follower = self.follower
        if not self.convex:
            raise ModelError(f"{self._refusal(follower.objective.name)}: its problem is not known to be convex")
        derivatives = gradient(follower.objective.expr, [y for y, _ in self.powers.values()], follower.objective.name)
        for y, derivative in derivatives:
            others = {id(v) for v in identify_variables(derivative)} & self.decisions - {id(y)}
            if others:
                raise ModelError(f"{self._refusal(follower.objective.name)}: {y.name} is in a product with a decision")

    def _refusal(self, place: str) -> str:
        return (
            f"follower {self.follower.name} has no dual in closed form ({place}): strong duality takes linear and convex "
            'quadratic followers, and terms e / y^n of single decisions; use method="kkt"'
        )


def _summands(expression: Any, decisions: set[int]) -> Iterator[tuple[Any, Any]]:
    """(factor without a decision, term) of a sum, with products and quotients by such factors distributed."""
    stack: list[tuple[Any, Any]] = [(1.0, expression)]
    while stack:
        factor, node = stack.pop()
        if not _holds(node, decisions):
            continue
        if isinstance(node, nodes.SumExpression):
            stack.extend((factor, term) for term in node.args)
        elif getattr(node, "is_named_expression_type", lambda: False)():
            stack.append((factor, node.expr))
        elif isinstance(node, nodes.NegationExpression):
            stack.append((-1.0 * factor, node.args[0]))
        elif isinstance(node, nodes.ProductExpression) and not _holds(node.args[0], decisions):
            stack.append((factor * node.args[0], node.args[1]))
        elif isinstance(node, nodes.ProductExpression) and not _holds(node.args[1], decisions):
            stack.append((factor * node.args[1], node.args[0]))
        elif isinstance(node, nodes.DivisionExpression) and not _holds(node.args[1], decisions):
            stack.append((factor / node.args[1], node.args[0]))
        else:
            yield factor, node


def _holds(node: Any, decisions: set[int]) -> bool:
    if isinstance(node, int | float):
        return False
    return any(id(variable) in decisions for variable in identify_variables(node, include_fixed=False))


def _number(node: Any) -> float | None:
    if isinstance(node, int | float):
        return float(node)
    return None if node.is_potentially_variable() else float(value(node))


STRONG_DUALITY = Reformulation("strong_duality", (1.0, 1e-2, 1e-4, 1e-6), impose)
