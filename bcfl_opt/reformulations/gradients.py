"""What is the gradient of a Pyomo expression, as Pyomo expressions?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pyomo.environ as pyo
from pyomo.core.base.var import VarData
from pyomo.core.expr.calculus.derivatives import Modes, differentiate
from pyomo.core.expr.calculus.diff_with_pyomo import DifferentiationException
from pyomo.core.expr.numeric_expr import UnaryFunctionExpression
from pyomo.core.expr.visitor import ExpressionReplacementVisitor, identify_variables

from bcfl_opt.errors import ModelError

#: Functions Pyomo cannot differentiate symbolically, by ones that it can.
_REWRITTEN: dict[str, Callable[[Any], Any]] = {
    "sinh": lambda x: (pyo.exp(x) - pyo.exp(-x)) / 2,
    "cosh": lambda x: (pyo.exp(x) + pyo.exp(-x)) / 2,
    "tanh": lambda x: 1 - 2 / (pyo.exp(2 * x) + 1),
    "asinh": lambda x: pyo.log(x + pyo.sqrt(x**2 + 1)),
    "acosh": lambda x: pyo.log(x + pyo.sqrt(x**2 - 1)),
    "atanh": lambda x: pyo.log((1 + x) / (1 - x)) / 2,
}


class _Rewriter(ExpressionReplacementVisitor):
    def __init__(self) -> None:
        super().__init__(descend_into_named_expressions=True, remove_named_expressions=True)

    def exitNode(self, node: Any, data: Any) -> Any:
        result = super().exitNode(node, data)
        if isinstance(result, UnaryFunctionExpression) and result.getname() in _REWRITTEN:
            return _REWRITTEN[result.getname()](result.args[0])
        return result


def gradient(expression: Any, variables: Sequence[VarData], place: str) -> list[tuple[VarData, Any]]:
    """(variable, derivative) for those of the variables that the expression holds; ``place`` is only for messages."""
    held = {id(variable) for variable in identify_variables(expression, include_fixed=False)}
    wanted = [variable for variable in variables if id(variable) in held]
    if not wanted:
        return []
    try:
        found = differentiate(_Rewriter().walk_expression(expression), wrt_list=wanted, mode=Modes.reverse_symbolic)
    except DifferentiationException as error:
        raise ModelError(f"{place}: Pyomo cannot differentiate this expression symbolically: {error}") from error
    return list(zip(wanted, found, strict=True))
