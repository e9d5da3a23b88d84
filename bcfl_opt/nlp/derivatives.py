"""What are the value, gradient and Hessian of a shape? CasADi derives them once; numpy evaluates them over all terms."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from typing import Any

import casadi as ca
import numpy as np

from bcfl_opt.nlp.shapes import Shape, deeply

_UNARY: dict[str, Callable[[Any], Any]] = {
    "exp": ca.exp,
    "log": ca.log,
    "log10": lambda x: ca.log(x) / np.log(10.0),
    "sqrt": ca.sqrt,
    "sin": ca.sin,
    "cos": ca.cos,
    "tan": ca.tan,
    "asin": ca.asin,
    "acos": ca.acos,
    "atan": ca.atan,
    "sinh": ca.sinh,
    "cosh": ca.cosh,
    "tanh": ca.tanh,
    "asinh": ca.asinh,
    "acosh": ca.acosh,
    "atanh": ca.atanh,
    "abs": ca.fabs,
    "-": lambda x: -x,
}
_NARY: dict[str, Callable[[Any, Any], Any]] = {
    "+": lambda x, y: x + y,
    "*": lambda x, y: x * y,
    "/": lambda x, y: x / y,
    "^": lambda x, y: x**y,
    "min": ca.fmin,
    "max": ca.fmax,
}
_CONDITIONS: dict[str, Callable[[Any, Any], Any]] = {
    "if<=": lambda x, y: x <= y,
    "if<": lambda x, y: x < y,
    "if==": lambda x, y: x == y,
}

#: A shape's operators as numpy's, one by one.
OPERATIONS: dict[str, Callable[..., Any]] = {
    **{
        name: getattr(np, name)
        for name in ("exp", "log", "log10", "sqrt", "sin", "cos", "tan", "sinh", "cosh", "tanh", "abs")
    },
    **{f"a{name}": getattr(np, f"arc{name}") for name in ("sin", "cos", "tan", "sinh", "cosh", "tanh")},
    "-": np.negative,
    "+": np.add,
    "*": np.multiply,
    "/": np.divide,
    "^": operator.pow,
    "min": np.minimum,  # not np.fmin: what cannot be evaluated must not pass for the other operand
    "max": np.maximum,
    "if<=": lambda x, y, yes, no: np.where(x <= y, yes, no),
    "if<": lambda x, y, yes, no: np.where(x < y, yes, no),
    "if==": lambda x, y, yes, no: np.where(x == y, yes, no),
}

#: CasADi's elementary operations as numpy's. CasADi's scalar graphs consist of nothing else.
_NUMPY: dict[int, Callable[..., Any]] = {
    ca.OP_ASSIGN: lambda x: x,
    ca.OP_ADD: np.add,
    ca.OP_SUB: np.subtract,
    ca.OP_MUL: np.multiply,
    ca.OP_DIV: np.divide,
    ca.OP_NEG: np.negative,
    ca.OP_EXP: np.exp,
    ca.OP_LOG: np.log,
    ca.OP_POW: np.power,
    ca.OP_CONSTPOW: np.power,
    ca.OP_SQRT: np.sqrt,
    ca.OP_SQ: np.square,
    ca.OP_TWICE: lambda x: x + x,
    ca.OP_SIN: np.sin,
    ca.OP_COS: np.cos,
    ca.OP_TAN: np.tan,
    ca.OP_ASIN: np.arcsin,
    ca.OP_ACOS: np.arccos,
    ca.OP_ATAN: np.arctan,
    ca.OP_LT: lambda x, y: np.less(x, y).astype(float),
    ca.OP_LE: lambda x, y: np.less_equal(x, y).astype(float),
    ca.OP_EQ: lambda x, y: np.equal(x, y).astype(float),
    ca.OP_NE: lambda x, y: np.not_equal(x, y).astype(float),
    ca.OP_NOT: lambda x: np.equal(x, 0.0).astype(float),
    ca.OP_AND: lambda x, y: np.logical_and(x, y).astype(float),
    ca.OP_OR: lambda x, y: np.logical_or(x, y).astype(float),
    ca.OP_FABS: np.abs,
    ca.OP_SIGN: np.sign,
    ca.OP_COPYSIGN: np.copysign,
    ca.OP_IF_ELSE_ZERO: lambda x, y: np.where(x != 0, y, 0.0),
    ca.OP_FMIN: np.minimum,
    ca.OP_FMAX: np.maximum,
    ca.OP_INV: np.reciprocal,
    ca.OP_SINH: np.sinh,
    ca.OP_COSH: np.cosh,
    ca.OP_TANH: np.tanh,
    ca.OP_ASINH: np.arcsinh,
    ca.OP_ACOSH: np.arccosh,
    ca.OP_ATANH: np.arctanh,
}

#: x (variables, K), p (constants, K) -> outputs (rows, K)
ArrayFunction = Callable[[np.ndarray, np.ndarray], np.ndarray]


class ShapeDerivatives:
    """Value, gradient and Hessian of one shape, as functions over K terms at a time.

    value : (S, K), (P, K) -> (1, K). Operation by operation as written, not by CasADi, which takes sqrt(x)^2 for x and
        x / x for 1: where the user's expression is undefined, so is the value.
    gradient : -> (number of entries, K); entry e is the derivative by the term's variable ``gradient_slots[e]``.
    hessian : -> (number of entries, K); entry e is the second derivative by ``hessian_rows[e]`` and
        ``hessian_columns[e]`` (lower triangle of the term's own Hessian, structural zeros left out).
    """

    def __init__(self, shape: Shape, variables: int, constants: int) -> None:
        x, p = ca.SX.sym("x", variables), ca.SX.sym("p", constants)
        expression = p[0] * _expression(shape, x, p)
        gradient = ca.gradient(expression, x)
        hessian = ca.tril(ca.jacobian(gradient, x))
        hessian = ca.sparsify(hessian)
        self.gradient_slots = np.asarray(gradient.sparsity().row(), dtype=np.int64)
        rows, columns = hessian.sparsity().get_triplet()
        self.hessian_rows, self.hessian_columns = np.asarray(rows, dtype=np.int64), np.asarray(columns, dtype=np.int64)
        self.value = _as_written(shape)
        self.gradient = _over_arrays(x, p, gradient)
        self.hessian = _over_arrays(x, p, hessian)


def derivatives(shape: Shape, variables: int, constants: int) -> ShapeDerivatives:
    """:class:`ShapeDerivatives` of a shape, remembered between solves: a sweep meets the same shapes again and again."""
    return deeply(_remembered, shape, variables, constants)


_remembered = functools.lru_cache(maxsize=512)(ShapeDerivatives)


def _expression(shape: Any, x: ca.SX, p: ca.SX) -> Any:
    if isinstance(shape, float):
        return shape
    name, *operands = shape
    if name == "v":
        return x[operands[0]]
    if name == "p":
        return p[operands[0]]
    parts = [_expression(operand, x, p) for operand in operands]
    if name in _CONDITIONS:
        left, right, yes, no = parts
        return ca.if_else(_CONDITIONS[name](left, right), yes, no)
    if name in _UNARY:
        return _UNARY[name](parts[0])
    return functools.reduce(_NARY[name], parts)


def _as_written(shape: Shape) -> ArrayFunction:
    """The shape times its constant 0, as a function of arrays."""
    program: list[tuple[str, tuple[Any, ...]]] = []

    def compiled(node: Any) -> int:
        """Appends what computes a node; returns its place."""
        if isinstance(node, float):
            program.append(("number", (node,)))
        elif node[0] in ("v", "p"):
            program.append((node[0], (node[1],)))
        else:
            places = [compiled(operand) for operand in node[1:]]
            if node[0] in _NARY and len(places) > 1:
                for place in places[1:]:
                    program.append((node[0], (places[0], place)))
                    places[0] = len(program) - 1
            else:
                program.append((node[0], tuple(places)))
        return len(program) - 1

    compiled(("*", ("p", 0), shape))

    def evaluate(variables: np.ndarray, parameters: np.ndarray) -> np.ndarray:
        work: list[Any] = []
        for name, arguments in program:
            if name == "v":
                work.append(variables[arguments[0]])
            elif name == "p":
                work.append(parameters[arguments[0]])
            elif name == "number":
                work.append(arguments[0])
            else:
                work.append(OPERATIONS[name](*[work[a] for a in arguments]))
        return np.atleast_2d(work[-1])

    return evaluate


def _over_arrays(x: ca.SX, p: ca.SX, output: ca.SX) -> ArrayFunction:
    """The nonzeros of a CasADi expression as a function of arrays: its scalar operations, each done for all terms."""
    function = ca.Function("f", [x, p], [output])
    program: list[tuple[str, Any]] = []
    for k in range(function.n_instructions()):
        operation = function.instruction_id(k)
        arguments, results = function.instruction_input(k), function.instruction_output(k)
        if operation == ca.OP_INPUT:
            program.append(("input", (arguments[0], arguments[1], results[0])))
        elif operation == ca.OP_CONST:
            program.append(("constant", (function.instruction_constant(k), results[0])))
        elif operation == ca.OP_OUTPUT:
            program.append(("output", (arguments[0], results[1])))
        else:
            program.append(("do", (_NUMPY[operation], tuple(arguments), results[0])))
    registers, rows = function.sz_w(), output.nnz()

    def evaluate(variables: np.ndarray, parameters: np.ndarray) -> np.ndarray:
        work: list[Any] = [0.0] * registers
        result = np.empty((rows, variables.shape[1]))
        for kind, step in program:
            if kind == "do":
                operation, arguments, register = step
                work[register] = operation(*[work[a] for a in arguments])
            elif kind == "input":
                which, index, register = step
                work[register] = (parameters if which else variables)[index]
            elif kind == "output":
                register, row = step
                result[row] = work[register]
            else:
                number, register = step
                work[register] = number
        return result

    return evaluate
