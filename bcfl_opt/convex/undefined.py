"""Which sub-expression of a CVXPY problem has no finite value or derivative at its variables' present values?"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from bcfl_opt.convex.convex_problem import ConvexProblem
from bcfl_opt.convex.rules import shown

#: Terms told at most.
SHOWN = 5


def undefined_terms(problem: ConvexProblem) -> list[str]:
    """One sentence for each innermost expression without a finite value (or derivative): place, expression, point.

    Nothing is said of expressions in variables that have no values.
    """
    parts: list[tuple[str, Any]] = [("the objective", problem.problem.objective.expr)]
    parts += [(f"constraint {name!r}", side) for name, c in problem.constraints.items() for side in c.args]
    result: list[str] = []
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        for place, expression in parts:
            found = _culprit(expression)
            if found is not None and len(result) < SHOWN:
                culprit, what, k = found
                entry = problem.place(k, culprit)
                result.append(f"{place}: {shown(culprit)}{entry} has no finite {what}{_point(problem, culprit, k)}")
    return result


def _culprit(expression: Any) -> tuple[Any, str, int] | None:
    """The innermost expression without a value although its arguments have one; else one without a derivative."""
    for argument in expression.args:
        found = _culprit(argument)
        if found is not None:
            return found
    value = _finite(expression)
    if value is None:
        return None
    if not value.all():
        return (expression, "value", int(np.flatnonzero(~value)[0])) if expression.args else None
    if not expression.args or expression.is_atom_affine():
        return None
    # grad is None outside of the domain, its boundary included
    undefined = any(
        part is None or not np.isfinite(np.asarray(part.data if hasattr(part, "tocsc") else part, dtype=float)).all()
        for part in expression.grad.values()
    )
    return (
        (expression, "derivative", int(np.abs(np.ravel(expression.value, order="F")).argmin())) if undefined else None
    )


def _finite(expression: Any) -> np.ndarray | None:
    """Which entries have a finite value; None where a variable has none."""
    try:
        value = expression.value
    except (ValueError, FloatingPointError, ZeroDivisionError):
        return np.zeros(max(expression.size, 1), dtype=bool)
    if value is None:
        missing = any(variable.value is None for variable in expression.variables())
        return None if missing else np.zeros(max(expression.size, 1), dtype=bool)
    value = np.ravel(value.toarray() if hasattr(value, "toarray") else value, order="F")
    return np.isfinite(value)


def _point(problem: ConvexProblem, expression: Any, k: int) -> str:
    """The variables of an expression with their values: the entry in question where they have the same shape."""
    parts = []
    for variable in expression.variables():
        value = np.ravel(variable.value, order="F")
        if variable.size == 1:
            parts.append(f"{variable.name()} = {value[0]:.6g}")
        elif variable.shape == expression.shape:
            parts.append(f"{problem.entry(variable, k)} = {value[k]:.6g}")
        else:
            j = int(value.argmin())
            parts.append(f"{problem.entry(variable, j)} = {value[j]:.6g} (its least entry)")
    return f" at {', '.join(parts)}" if parts else ""
