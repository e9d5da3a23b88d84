"""What do we call the parts of a CVXPY problem, what are they worth at a point, and what does a dual mean to its user?

One convention for shadow prices: d objective* / d right-hand side, in the user's own sense of objective. The right-hand
side is the constant side if one side of the constraint is constant (CVXPY keeps ``x >= b`` as ``b <= x``), else the side
written on the right of the stored ``<=`` or ``==``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import cvxpy as cp
import numpy as np
import pandas as pd
from cvxpy.constraints import Equality, Inequality, NonNeg, NonPos, Zero
from cvxpy.constraints.constraint import Constraint
from cvxpy.expressions.expression import Expression

from bcfl_opt.certificate import FEASIBLE, TOLERANCE, Certificate
from bcfl_opt.context import ConvexModel
from bcfl_opt.errors import InputError, ModelError
from bcfl_opt.solution import Quality, Status


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Duals:
    """Multipliers in CVXPY's convention, of the minimised objective.

    constraints : constraint id -> multiplier y, where the Lagrangian has + y'(lhs - rhs) for ``lhs <= rhs`` and
        ``lhs == rhs``, + y'expr for ``expr == 0``, and - y'expr for ``expr >= 0`` (semidefinite too).
    lower, upper : variable id -> multipliers >= 0 of the variable's own bounds (``bounds``, ``nonneg``, ...), in its shape;
        0 for entries without a bound, and no key for variables without any.
    """

    constraints: Mapping[int, Any]
    lower: Mapping[int, np.ndarray]
    upper: Mapping[int, np.ndarray]


@dataclasses.dataclass(frozen=True, eq=False)
class ConvexProblem:
    """A CVXPY problem with names.

    model : what the user gave. problem : of its constraints that have entries. title : how to call it.
    constraints, checks : by name. clients : the labels of vectors of that length, if the problem knows any.
    unit : what counts as small in its objective (1: unknown scale). small : what counts as small in a constraint, by name:
    a millionth of its terms at the values that a game's model starts with.
    """

    model: ConvexModel | cp.Problem
    problem: cp.Problem
    title: str
    constraints: Mapping[str, Constraint]
    checks: Mapping[str, Constraint]
    clients: pd.Index | None
    unit: float
    small: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)

    @property
    def is_game(self) -> bool:
        """Is it a game's, whose sizes are known?"""
        return self.unit != 1.0

    @classmethod
    def of(cls, model: ConvexModel | cp.Problem) -> ConvexProblem:
        """Raises InputError or ModelError where the problem cannot be solved as it is."""
        if isinstance(model, ConvexModel):
            context = model.context
            constraints, objective = dict(model.constraints), model.objective
            title, clients = context.problem, context.clients
            unit, checks = context.unit, model.checks
        elif isinstance(model, cp.Problem):
            constraints = _distinct((c.label or f"constraint {k}", c) for k, c in enumerate(model.constraints))
            title, objective, clients, unit, checks = "CVXPY problem", model.objective, None, 1.0, {}
        else:
            raise InputError(f"expected a CVXPY problem or a model of bcfl_opt.models, not {type(model).__name__}")
        for name, constraint in constraints.items():
            if not isinstance(constraint, Constraint):
                raise ModelError(
                    f"constraint {name!r} is {constraint!r}, not a CVXPY constraint; write it with <=, >= or =="
                )
        present = {name: constraint for name, constraint in constraints.items() if constraint.size}
        problem = cp.Problem(objective, list(present.values()))
        for parameter in problem.parameters():
            if parameter.value is None:
                raise InputError(f"parameter {parameter.name()!r} has no value; set its .value before solving")
        if problem.is_mixed_integer():
            raise ModelError("integer and boolean variables cannot be solved here; relax them")
        small = {} if unit == 1.0 else {n: 1e-6 * _sizes(c) for n, c in {**checks, **constraints}.items()}
        return cls(model, problem, title, constraints, checks, clients, unit, small)

    @property
    def sense(self) -> int:
        """+1 where the user minimises, -1 where they maximise."""
        return -1 if isinstance(self.problem.objective, cp.Maximize) else 1

    def impossible(self) -> str:
        """Name of a constraint that no number satisfies because its constant side is infinite; "" if there is none."""
        for name, constraint in self.constraints.items():
            if isinstance(constraint, Inequality | Equality):
                low, high = (np.asarray(side.value) if side.is_constant() else None for side in constraint.args)
                bad = [low == np.inf] if low is not None else []
                bad += [high == -np.inf] if high is not None else []
                if isinstance(constraint, Equality):
                    bad = [np.isinf(side) for side in (low, high) if side is not None]
                for where in bad:
                    if where.any():
                        return f"{name}{self.place(int(np.flatnonzero(np.broadcast_to(where, constraint.shape))[0]), constraint)}"
        return ""

    # ------------------------------------------------------------------ values

    def named_variables(self) -> dict[str, cp.Variable]:
        """Variables by name; a name that comes again is numbered."""
        return _distinct((variable.name(), variable) for variable in self.problem.variables())

    def values(self) -> dict[str, Any]:
        """Name -> value of every variable; vectors over the clients as Series."""
        return {name: self._labelled(variable.value) for name, variable in self.named_variables().items()}

    def saved(self, *, duals: bool = False) -> list[tuple[cp.Variable, Any]]:
        """The variables (and the constraints' dual variables) with their present values, for :func:`restore`."""
        variables = list(self.problem.variables())
        if duals:
            variables += [dual for constraint in self.problem.constraints for dual in constraint.dual_variables]
        return [(variable, variable.value) for variable in variables]

    def _labelled(self, value: Any) -> Any:
        if isinstance(value, list):  # a cone's multipliers, one by argument
            return [self._labelled(part) for part in value]
        array = np.asarray(value, dtype=complex if np.iscomplexobj(value) else float)
        if array.ndim == 0:
            return array.item()
        if self.clients is not None and array.shape == (len(self.clients),):
            return pd.Series(array, index=self.clients)
        return array

    def place(self, k: int, part: Any) -> str:
        """Where the k-th entry of a part is: "['client-3']", "[4]", or "" for a scalar."""
        if self._of_clients(part):
            assert self.clients is not None
            return f"[{self.clients[k]!r}]"
        return f"[{k}]" if part.size > 1 else ""

    def _of_clients(self, part: Any) -> bool:
        return self.clients is not None and part.shape == (len(self.clients),)

    def entry(self, variable: cp.Variable, k: int) -> str:
        """Name of a variable's k-th entry."""
        return f"{variable.name()}{self.place(k, variable)}"

    def worst_violation(self, constraints: Mapping[str, Constraint]) -> tuple[float, str]:
        """Largest violation at the present values, relative to the size of the constraint's terms; and where.

        Constraints with two sides and constraints on a sign. The others (cones, matrices) are judged in conic form.
        """
        worst, where = 0.0, ""
        for name, constraint in constraints.items():
            if constraint.size and isinstance(constraint, Inequality | Equality | Zero | NonNeg | NonPos):
                size = np.fmax(np.fmax(_sizes(constraint), self.small.get(name, self.unit)), np.finfo(float).tiny)
                relative = np.ravel(np.asarray(constraint.residual) / size, order="F")
                relative = np.where(np.isnan(relative), np.inf, relative)
                if relative.max() > worst:
                    k = int(relative.argmax())
                    worst, where = float(relative[k]), f"{name}{self.place(k, constraint)}"
        return worst, where

    def largest_residual(self) -> float:
        """Largest violation of a constraint at the present values, in its own units; cones as well."""
        with np.errstate(all="ignore"):  # CVXPY divides by a norm of 0
            residuals = [np.asarray(c.residual) for c in self.constraints.values() if c.size]
        return max((float(np.max(residual, initial=0.0)) for residual in residuals), default=0.0)

    def direction(self, parts: Mapping[int, Any]) -> dict[str, Any]:
        """Variable name -> its part of a direction (given by variable id), the largest of all being 1."""
        arrays = {key: np.asarray(part, dtype=float) for key, part in parts.items()}
        largest = max((float(np.abs(part).max(initial=0.0)) for part in arrays.values()), default=0.0)
        return {
            name: self._labelled((arrays[variable.id] / largest).reshape(variable.shape, order="F"))
            for name, variable in self.named_variables().items()
            if largest > 0 and variable.id in arrays
        }

    # ------------------------------------------------------------------ duals

    def shadow_prices(self, duals: Duals) -> dict[str, Any]:
        """Constraint name -> d objective* / d right-hand side; "x.lower", "x.upper" -> d objective* / d bound.

        Constraints without a right-hand side (cones) have no shadow price; entries without a bound have 0.
        """
        prices = {}
        for name, constraint in self.constraints.items():
            if isinstance(constraint, Inequality | Equality):
                left, right = constraint.args
                side = 1 if left.is_constant() and not right.is_constant() else -1
            elif isinstance(constraint, NonNeg | cp.PSD):
                side = 1
            elif isinstance(constraint, Zero | NonPos):
                side = -1
            else:
                continue
            dual = np.asarray(duals.constraints.get(constraint.id, 0.0), dtype=float)
            value = (
                np.broadcast_to(dual, constraint.shape) if dual.ndim == 0 else dual.reshape(constraint.shape, order="F")
            )
            prices[name] = self._labelled(self.sense * side * value + 0.0)
        bounds = ((name, self._labelled(self.sense * sign * y + 0.0)) for name, sign, y in self._bounds(duals))
        return _distinct([*prices.items(), *bounds])

    def held(self, duals: Duals) -> dict[str, Any]:
        """What a Solution holds of a success, at the present values; also sets the constraints' ``dual_value``."""
        self.save(duals)
        return {
            "_variables": self.values(),
            "_shadow_prices": self.shadow_prices(duals),
            "_multipliers": self.multipliers(duals),
        }

    def multipliers(self, duals: Duals) -> dict[str, Any]:
        """The same names (and cones) -> multipliers in CVXPY's convention; of constraints, their ``dual_value``."""
        found = ((name, constraint.dual_value) for name, constraint in self.constraints.items())
        held = [(name, self._labelled(y)) for name, y in found if y is not None]
        return _distinct([*held, *((name, self._labelled(y + 0.0)) for name, _, y in self._bounds(duals))])

    def save(self, duals: Duals) -> None:
        """Set the constraints' ``dual_value``, as CVXPY's own solve does."""
        for constraint in self.problem.constraints:
            if constraint.id in duals.constraints:
                constraint.save_dual_value(duals.constraints[constraint.id])

    def _bounds(self, duals: Duals) -> Iterator[tuple[str, int, np.ndarray]]:
        """Name, sign of the effect on the minimised objective, and multipliers of the variables' own bounds."""
        for name, variable in self.named_variables().items():
            for side, sign in (("lower", 1), ("upper", -1)):
                values = getattr(duals, side).get(variable.id)
                if values is not None:
                    yield f"{name}.{side}", sign, values

    def conflict(self, duals: Duals) -> str:
        """Which constraints a proof of infeasibility needs: its multipliers, in CVXPY's convention, say so.

        Where clients are in conflict each on its own account, the one that weighs most stands for them.
        """
        weights = {
            name: np.abs(
                np.broadcast_to(np.asarray(duals.constraints.get(c.id, 0.0), dtype=float).ravel(order="F"), (c.size,))
            )
            for name, c in self.constraints.items()
            if c.size
        }
        parts: dict[str, Any] = dict(self.constraints)
        for name, _, values in self._bounds(duals):
            weights.setdefault(name, values.ravel(order="F"))
            parts.setdefault(name, values)
        least = 1e-3 * max((float(weight.max()) for weight in weights.values()), default=0.0)
        by_client = {n: w for n, w in weights.items() if self._of_clients(parts[n])}
        loads = sum(by_client.values(), np.zeros(0 if self.clients is None else len(self.clients)))
        heaviest, others = (int(loads.argmax()), int(np.count_nonzero(loads > least)) - 1) if by_client else (0, 0)
        found = []
        for name, weight in weights.items():
            k = heaviest if name in by_client else int(weight.argmax())
            if weight[k] > least:
                found.append(f"{name}{self.place(k, parts[name])}")
        more = f" (and {others} more client{'s' if others > 1 else ''})" if others > 0 else ""
        return f"in conflict: {', '.join(found)}{more}" if found else ""


def restore(saved: list[tuple[cp.Variable, Any]]) -> None:
    """Give variables the values they had; a failed solve leaves the model as it was."""
    for variable, value in saved:
        variable.save_value(value)


def _distinct(named: Any) -> dict[str, Any]:
    """A dict in which a name that comes again is numbered."""
    result: dict[str, Any] = {}
    for name, item in named:
        key, k = name, 2
        while key in result:
            key, k = f"{name} ({k})", k + 1
        result[key] = item
    return result


def _sizes(constraint: Constraint) -> np.ndarray:
    """Size of the terms of a constraint, by entry, at the present values; NaN where there is none."""
    return np.broadcast_to(sum(_size(side) for side in constraint.args), constraint.shape)


def _size(expression: Expression) -> np.ndarray:
    """Sum of the absolute values of the terms of a sum, so that what cancels in it still counts."""
    kind = type(expression).__name__
    if kind == "AddExpression":
        return sum((_size(term) for term in expression.args), np.zeros(expression.shape))
    if kind == "NegExpression":
        return _size(expression.args[0])
    if kind == "Sum" and expression.size == 1:
        return np.sum(_size(expression.args[0]))
    if kind == "multiply" and expression.args[0].is_constant():
        return np.abs(expression.args[0].value) * _size(expression.args[1])
    return np.abs(np.asarray(expression.value, dtype=float))


def judged(problem: ConvexProblem, certificate: Certificate) -> tuple[Certificate, Status, str]:
    """The certificate with the violation of the user's own constraints at the present values, and what follows."""
    violation, place = problem.worst_violation(problem.constraints)
    largest = max(problem.largest_residual(), certificate.unscaled.get("primal", 0.0))
    certificate = dataclasses.replace(certificate, unscaled={**certificate.unscaled, "primal": largest})
    if violation >= certificate.primal:
        where = {**certificate.where, "primal": place}
        certificate = dataclasses.replace(certificate, primal=violation, where=where)
    if not certificate.accepted(game=problem.is_game):
        return certificate, Status.NOT_CERTIFIED, certificate.failure(game=problem.is_game)
    violation, place = problem.worst_violation(problem.checks)
    if not violation <= (FEASIBLE if problem.is_game else TOLERANCE):
        certificate = dataclasses.replace(certificate, primal=violation, where={**certificate.where, "primal": place})
        return (
            certificate,
            Status.NOT_CERTIFIED,
            f"{place}, which is not convex and so not imposed, fails by {violation:.3g}",
        )
    return certificate, Status.SOLVED, ""


def quality(solved: bool, certificate: Certificate | None) -> Quality:
    """GLOBAL only where a duality gap is known, and closed."""
    if not solved or certificate is None:
        return Quality.NONE
    return Quality.GLOBAL if certificate.closes_gap else Quality.LOCAL
