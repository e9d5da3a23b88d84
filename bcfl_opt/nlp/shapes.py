"""Which expression shapes does a Pyomo model hold, and with which variables and constants does each occur?

A model of N clients repeats a handful of shapes N times: ``c / t**2`` with another ``c`` and another ``t``. A
:class:`Reader` splits every expression into constant + linear part + nonlinear terms and files each term under its
shape, so that derivatives are built once a shape (:mod:`bcfl_opt.nlp.derivatives`) and evaluated over arrays.

A shape is a nested tuple: ("v", k) the term's k-th variable, ("p", k) its k-th constant, a float only as an exponent,
and (operator, operand, ...). A term's constant 0 is the coefficient the whole term is multiplied by.
"""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from pyomo.common.numeric_types import native_numeric_types
from pyomo.core.base.expression import NamedExpressionData
from pyomo.core.base.var import VarData
from pyomo.core.expr import numeric_expr as nodes
from pyomo.core.expr.numvalue import value

from bcfl_opt.errors import ModelError

#: Pyomo's unary functions that IPOPT can differentiate, by Pyomo's name. (abs is, except at 0.)
UNARY: dict[str, Callable[[float], float]] = {
    "exp": math.exp,
    "log": math.log,
    "log10": math.log10,
    "sqrt": math.sqrt,
    "sin": math.sin,
    "cos": math.cos,
    "tan": math.tan,
    "asin": math.asin,
    "acos": math.acos,
    "atan": math.atan,
    "sinh": math.sinh,
    "cosh": math.cosh,
    "tanh": math.tanh,
    "asinh": math.asinh,
    "acosh": math.acosh,
    "atanh": math.atanh,
    "abs": abs,
}

#: What a node may be to a sum that is taken apart.
_NUMBER, _VARIABLE, _NAMED, _SUM, _MONOMIAL = "number", "variable", "named", "sum", "monomial"
_NEGATION, _PRODUCT, _DIVISION, _OTHER = "negation", "product", "division", "other"
_EXACTLY = {
    nodes.MonomialTermExpression: _MONOMIAL,
    nodes.NegationExpression: _NEGATION,
    nodes.ProductExpression: _PRODUCT,
    nodes.DivisionExpression: _DIVISION,
}

Shape = tuple[Any, ...]
Result = TypeVar("Result")

#: Comparisons in an Expr_if: (Pyomo's class, strict) -> what the shape calls it.
RELATIONS = {
    ("InequalityExpression", False): "<=",
    ("InequalityExpression", True): "<",
    ("EqualityExpression", False): "==",
}


@dataclasses.dataclass(slots=True)
class Occurrences:
    """Where one shape occurs: per term its row, its variables (columns of the programme) and its constants."""

    rows: list[int]
    columns: list[int]
    constants: list[float]

    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """rows (K,), columns (variables per term, K), constants (constants per term, K), each row contiguous."""
        count = len(self.rows)
        columns = np.asarray(self.columns, dtype=np.int64).reshape(count, -1).T
        constants = np.asarray(self.constants, dtype=float).reshape(count, -1).T
        return np.asarray(self.rows, dtype=np.int64), np.ascontiguousarray(columns), np.ascontiguousarray(constants)


def deeply(function: Callable[..., Result], *arguments: Any) -> Result:
    """The function's result, however deep it recurses over a deeply nested expression.

    Recursion costs no C stack in Python 3.11+, so such an expression only needs a higher limit.
    """
    try:
        return function(*arguments)
    except RecursionError:
        limit = sys.getrecursionlimit()
        sys.setrecursionlimit(1_000_000)
        try:
            return function(*arguments)
        finally:
            sys.setrecursionlimit(limit)


def degree(shape: Shape) -> float:
    """Of the polynomial that a shape is; infinite where it is none, or none at first sight."""
    kind, *operands = shape
    if kind in ("v", "p"):
        return 1.0 if kind == "v" else 0.0
    if kind == "^":
        base, exponent = degree(operands[0]), operands[1]
        whole = isinstance(exponent, float) and exponent >= 0 and exponent == int(exponent)
        return base * exponent if whole else math.inf
    degrees = [degree(operand) for operand in operands]
    if kind in ("+", "-"):
        return max(degrees)
    if kind == "*" or (kind == "/" and degrees[1] == 0):
        return sum(degrees)
    return 0.0 if not any(degrees) else math.inf


class Reader:
    """Reads Pyomo expressions, row by row, into constants, linear entries and nonlinear terms grouped by shape.

    Attributes
    ----------
    variables : the unfixed variables met so far; a variable's column is its place in this list.
    row, column, coefficient : the linear entries, as triplets.
    constant : constant part by row.
    terms : shape -> Occurrences.
    """

    def __init__(self) -> None:
        self.variables: list[VarData] = []
        self.row: list[int] = []
        self.column: list[int] = []
        self.coefficient: list[float] = []
        self.constant: list[float] = []
        self.terms: dict[Shape, Occurrences] = {}
        self._columns: dict[int, int] = {}
        self._slots: dict[int, int] = {}
        self._constants: list[float] = []
        self._quotients: dict[int, Occurrences] = {}
        self._component: Any = None
        self._kinds: dict[type, str] = {}
        self._encoders: dict[type, Callable[[Any], Any]] = {}

    def read(self, expression: Any, component: Any) -> int:
        """Read the next row; ``component`` is only for messages. Returns the row's number."""
        row = len(self.constant)
        self.constant.append(0.0)
        column = self._columns.get(id(expression))
        if column is not None:  # a bound written as a constraint
            self.row.append(row)
            self.column.append(column)
            self.coefficient.append(1.0)
            return row
        self._component = component
        try:
            self._split(expression, row)
        except RecursionError:
            deeply(self._again, expression, row)
        return row

    def _again(self, expression: Any, row: int) -> None:
        self._forget(row)
        self._split(expression, row)

    def _forget(self, row: int) -> None:
        while self.row and self.row[-1] == row:
            for entries in (self.row, self.column, self.coefficient):
                entries.pop()
        for occurrences in self.terms.values():
            while occurrences.rows and occurrences.rows[-1] == row:
                count = len(occurrences.rows)
                del occurrences.columns[-(len(occurrences.columns) // count) :]
                del occurrences.constants[-(len(occurrences.constants) // count) :]
                occurrences.rows.pop()
        self.constant[row] = 0.0

    # ------------------------------------------------------------------ sums apart

    def _split(self, expression: Any, row: int) -> None:
        stack: list[tuple[Any, float]] = [(expression, 1.0)]
        kinds, columns = self._kinds, self._columns
        while stack:
            node, factor = stack.pop()
            kind = kinds.get(node.__class__) or self._kind(node)
            while kind is _NAMED:
                inner = node.args[0]
                node = self._unnamed(node) if inner is None else inner
                kind = kinds.get(node.__class__) or self._kind(node)
            if kind is _MONOMIAL:
                coefficient, node = node.args
                factor *= coefficient if coefficient.__class__ is float else self._number(coefficient)
                kind = kinds.get(node.__class__) or self._kind(node)
            if kind is _VARIABLE:
                if node.fixed:
                    self.constant[row] += factor * self._fixed(node)
                else:
                    column = columns.get(id(node))
                    self.row.append(row)
                    self.column.append(self._column(node) if column is None else column)
                    self.coefficient.append(factor)
            elif kind is _NUMBER:
                self.constant[row] += factor * node
            elif kind is _SUM:
                stack.extend([(term, factor) for term in node.args])
            elif kind is _OTHER and not node.is_potentially_variable():
                self.constant[row] += factor * self._number(node)
            elif kind is _NEGATION:
                stack.append((node.args[0], -factor))
            elif kind is _PRODUCT:
                left, right = node.args
                if self._is_number(left):
                    stack.append((right, factor * self._number(left)))
                elif self._is_number(right):
                    stack.append((left, factor * self._number(right)))
                else:
                    self._file(node, factor, row)
            elif kind is _DIVISION:
                top, bottom = node.args
                if bottom.__class__ is nodes.PowExpression and self._filed_at_once(top, bottom, factor, row):
                    continue
                if not self._is_number(bottom):
                    self._file(node, factor, row)
                    continue
                divisor = self._number(bottom)
                if divisor == 0:
                    raise ModelError(f"{self._place()}: division by zero in {node}")
                stack.append((top, factor / divisor))
            else:
                self._file(node, factor, row)

    def _kind(self, node: Any) -> str:
        """What a node is to a sum. Asked once a class: a model has many nodes, of a handful of classes."""
        kind = node.__class__
        if kind in native_numeric_types:
            found = _NUMBER
        elif issubclass(kind, VarData):
            found = _VARIABLE
        elif issubclass(kind, NamedExpressionData):
            found = _NAMED
        elif issubclass(kind, nodes.SumExpression):
            found = _SUM
        else:
            found = _EXACTLY.get(kind, _OTHER)
        self._kinds[kind] = found
        return found

    def _file(self, node: Any, factor: float, row: int) -> None:
        """File a nonlinear term under its shape; what turns out to hold no variable goes to the constant."""
        slots: dict[int, int] = {}
        self._slots = slots
        self._constants = constants = [factor]
        shape = self._encode(node)
        if shape.__class__ is float:
            self.constant[row] += factor * shape
            return
        if shape[0] == "v":  # x**1, or what a condition on fixed variables chose
            self.row.append(row)
            self.column.extend(slots)
            self.coefficient.append(factor)
            return
        occurrences = self.terms.get(shape)
        if occurrences is None:
            occurrences = self.terms[shape] = Occurrences([], [], [])
        occurrences.rows.append(row)
        occurrences.columns.extend(slots)  # keys in order of first appearance: columns of the programme
        occurrences.constants.extend(constants)

    def _filed_at_once(self, top: Any, bottom: Any, factor: float, row: int) -> bool:
        """File c / x^k, as the energies of a game are, in a third of the time; False where it is something else."""
        base, exponent = bottom.args
        if top.__class__ is not float or exponent.__class__ is not int or exponent < 2:
            return False
        column = self._columns.get(id(base))
        if column is None:
            if self._kinds.get(base.__class__) is not _VARIABLE or base.fixed:
                return False
            column = self._column(base)
        occurrences = self._quotients.get(exponent)
        if occurrences is None:
            shape = ("/", ("p", 1), ("^", ("v", 0), float(exponent)))
            occurrences = self._quotients[exponent] = self.terms.setdefault(shape, Occurrences([], [], []))
        occurrences.rows.append(row)
        occurrences.columns.append(column)
        occurrences.constants += (factor, top)
        return True

    # ------------------------------------------------------------------ one term to its shape

    def _encode(self, node: Any) -> Any:
        """A float if the node holds no free variable, else its shape; fills ``_slots`` and ``_constants``."""
        kind = node.__class__
        encoder = self._encoders.get(kind)
        if encoder is None:
            encoder = self._encoders[kind] = float if kind in native_numeric_types else self._encoder(node)
        return encoder(node)

    def _encoder(self, node: Any) -> Callable[[Any], Any]:
        kind = node.__class__
        if isinstance(node, VarData):
            return self._encode_variable
        if not node.is_potentially_variable():
            return self._number
        if isinstance(node, NamedExpressionData):
            return lambda named: self._encode(self._unnamed(named))
        if issubclass(kind, nodes.SumExpression):
            return self._encode_sum
        if issubclass(kind, nodes.ProductExpression):
            return self._encode_product
        if kind is nodes.DivisionExpression:
            return self._encode_division
        if kind is nodes.PowExpression:
            return self._encode_power
        if kind is nodes.NegationExpression:
            return self._encode_negation
        if issubclass(kind, nodes.UnaryFunctionExpression):
            return self._encode_unary
        if kind in (nodes.MinExpression, nodes.MaxExpression):
            return self._encode_extremum
        if kind is nodes.Expr_ifExpression:
            return self._encode_condition
        raise ModelError(
            f"{self._place()}: IPOPT needs derivatives, and {kind.__name__} has none here (in {node}); "
            f"rewrite it with arithmetic, powers and {', '.join(UNARY)}"
        )

    def _encode_variable(self, variable: VarData) -> Any:
        if variable.fixed:
            return self._fixed(variable)
        column = self._columns.get(id(variable))
        if column is None:
            column = self._column(variable)
        slot = self._slots.get(column)
        if slot is None:
            slot = self._slots[column] = len(self._slots)
        return ("v", slot)

    def _operand(self, encoded: Any) -> Any:
        """An operand as it stands in a shape: a number becomes one of the term's constants."""
        if encoded.__class__ is float:
            self._constants.append(encoded)
            return ("p", len(self._constants) - 1)
        return encoded

    def _encode_sum(self, node: Any) -> Any:
        total, parts = 0.0, []
        for argument in node.args:
            encoded = self._encode(argument)
            if encoded.__class__ is float:
                total += encoded
            else:
                parts.append(encoded)
        if not parts:
            return total
        if total != 0.0:
            parts.append(self._operand(total))
        return ("+", *parts) if len(parts) > 1 else parts[0]

    def _encode_product(self, node: Any) -> Any:
        left, right = map(self._encode, node.args)
        if left.__class__ is float and right.__class__ is float:
            return left * right
        return ("*", self._operand(left), self._operand(right))

    def _encode_division(self, node: Any) -> Any:
        top, bottom = node.args
        top, bottom = top if top.__class__ is float else self._encode(top), self._encode(bottom)
        if bottom.__class__ is float:
            if bottom == 0.0:
                raise ModelError(f"{self._place()}: division by zero in {node}")
            if top.__class__ is float:
                return top / bottom
        return ("/", self._operand(top), self._operand(bottom))

    def _encode_power(self, node: Any) -> Any:
        below, above = node.args
        exponent = self._encode(above)
        if exponent == 0.0:
            return (
                1.0  # before the base is encoded: what a shape does not hold must not become a slot or a constant of it
            )
        base = self._encode(below)
        if exponent.__class__ is float:
            if base.__class__ is float:
                return self._power(base, exponent, node)
            if not math.isfinite(exponent):
                raise ModelError(f"{self._place()}: the exponent of {node} is {exponent:g}; it must be finite")
            # The exponent is part of the shape: d x^2 = 2x, while a constant known only as a number would bring log x.
            return base if exponent == 1.0 else ("^", base, exponent)
        return ("^", self._operand(base), exponent)

    def _encode_negation(self, node: Any) -> Any:
        encoded = self._encode(node.args[0])
        return -encoded if encoded.__class__ is float else ("-", encoded)

    def _encode_unary(self, node: Any) -> Any:
        name = node.getname()
        if name not in UNARY:
            raise ModelError(f"{self._place()}: IPOPT cannot differentiate {name}(); it knows {', '.join(UNARY)}")
        encoded = self._encode(node.args[0])
        if encoded.__class__ is float:
            try:
                return float(UNARY[name](encoded))
            except (ValueError, OverflowError) as error:
                raise ModelError(f"{self._place()}: {name}({encoded:g}) is not a real number, in {node}") from error
        return (name, encoded)

    def _encode_extremum(self, node: Any) -> Any:
        name = "min" if node.__class__ is nodes.MinExpression else "max"
        encoded = [self._encode(argument) for argument in node.args]
        if all(part.__class__ is float for part in encoded):
            return float(min(encoded) if name == "min" else max(encoded))
        return (name, *[self._operand(part) for part in encoded])

    def _encode_condition(self, node: Any) -> Any:
        condition, yes, no = node.args
        if condition.__class__ is bool or not condition.is_potentially_variable():
            return self._encode(yes if value(condition) else no)
        kind = type(condition).__name__
        strict: Any = getattr(condition, "strict", False)
        ranged = kind == "RangedExpression"  # low <= middle <= high: two comparisons
        kinds = [("InequalityExpression", bool(s)) for s in strict] if ranged else [(kind, bool(strict))]
        relations = [RELATIONS.get(key) for key in kinds]
        if None in relations:
            raise ModelError(f"{self._place()}: the condition {condition} is not a comparison of two expressions")
        sides = [self._encode(side) for side in condition.args]
        if all(side.__class__ is float for side in sides):  # all its variables are fixed
            return self._encode(yes if value(condition) else no)
        sides = [self._operand(side) for side in sides]
        chosen, other = (self._operand(self._encode(branch)) for branch in (yes, no))
        for relation, left, right in reversed(list(zip(relations, sides, sides[1:], strict=False))):
            chosen = (f"if{relation}", left, right, chosen, other)
        return chosen

    # ------------------------------------------------------------------ leaves

    def _column(self, variable: VarData) -> int:
        key = id(variable)
        column = self._columns.get(key)
        if column is None:
            if not variable.is_continuous():
                raise ModelError(
                    f"{self._place()}: variable {variable.name} is {variable.domain.name}; IPOPT solves continuous problems "
                    "only, so fix it or give it a continuous domain"
                )
            column = self._columns[key] = len(self.variables)
            self.variables.append(variable)
        return column

    def _fixed(self, variable: VarData) -> float:
        if variable.value is None:
            raise ModelError(f"{self._place()}: variable {variable.name} is fixed but has no value")
        return float(variable.value)

    def _is_number(self, node: Any) -> bool:
        kind = self._kinds.get(node.__class__) or self._kind(node)
        if kind is _VARIABLE:
            return bool(node.fixed)
        return kind is _NUMBER or not node.is_potentially_variable()

    def _number(self, node: Any) -> float:
        try:
            number = value(node, exception=False)
        except (ZeroDivisionError, OverflowError, ValueError) as error:
            raise ModelError(f"{self._place()}: {error} in {node}") from error
        if number is None or isinstance(number, complex):
            raise ModelError(f"{self._place()}: {node} has no real value; give its parameters values")
        return float(number)

    def _power(self, base: float, exponent: float, node: Any) -> float:
        try:
            result = base**exponent
        except (ZeroDivisionError, OverflowError) as error:
            raise ModelError(f"{self._place()}: {base:g}**{exponent:g} is not finite, in {node}") from error
        if isinstance(result, complex):
            raise ModelError(f"{self._place()}: {base:g}**{exponent:g} is not a real number, in {node}")
        return float(result)

    def _unnamed(self, node: Any) -> Any:
        inner = node.args[0]
        if inner is None:
            raise ModelError(f"{self._place()}: expression {node.name} is empty; give it a value")
        return inner

    def _place(self) -> str:
        return str(getattr(self._component, "name", self._component))
