"""Is a programme convex, provably? Rules of disciplined convex programming, applied to shapes over all their terms.

Each node of a shape gets its range (from the variables' bounds) and whether it is surely convex, surely concave. The
rules are sufficient, not necessary: "not known to be convex" says nothing against the model.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np

from bcfl_opt.nlp.program import Family, Program
from bcfl_opt.nlp.shapes import deeply

#: Increasing functions: name -> (convex, concave, lower end of the domain).
_CURVES = {
    "exp": (True, False, -np.inf),
    "log": (False, True, 0.0),
    "log10": (False, True, 0.0),
    "sqrt": (False, True, 0.0),
}


@dataclasses.dataclass(frozen=True, slots=True)
class _Node:
    """Arrays over terms: range, and curvature."""

    low: np.ndarray
    high: np.ndarray
    convex: np.ndarray
    concave: np.ndarray

    @property
    def affine(self) -> np.ndarray:
        return self.convex & self.concave

    @property
    def constant(self) -> np.ndarray:
        return (self.low == self.high) & np.isfinite(self.low)


def is_convex(program: Program, x_lower: np.ndarray, x_upper: np.ndarray) -> bool:
    """Is it surely a minimisation of a convex function over a convex set, for x within these bounds?

    Objective convex; rows with an upper side convex; rows with a lower side concave (so equalities affine). A row's
    other terms are linear, so a row is convex if all its nonlinear terms are.
    """
    # The objective, row -1, is bounded above as it were: what is minimised must be convex.
    has_upper, has_lower = np.append(np.isfinite(program.upper), True), np.append(np.isfinite(program.lower), False)
    for family in program.functions.families:
        node = _analyse(family, x_lower, x_upper)
        upper, lower = has_upper[family.rows], has_lower[family.rows]
        if np.any(upper & ~node.convex) or np.any(lower & ~node.concave):
            return False
    return True


def _analyse(family: Family, x_lower: np.ndarray, x_upper: np.ndarray) -> _Node:
    low, high = family.at(x_lower), family.at(x_upper)
    constants = family.constants
    everywhere = np.ones(family.columns.shape[1], dtype=bool)

    def visit(shape: Any) -> _Node:
        if isinstance(shape, float):
            values = np.full(len(everywhere), shape)
            return _Node(values, values, everywhere, everywhere)
        operator, *operands = shape
        if operator == "v":
            return _Node(low[operands[0]], high[operands[0]], everywhere, everywhere)
        if operator == "p":
            return _Node(constants[operands[0]], constants[operands[0]], everywhere, everywhere)
        if operator == "/" and operands[1][0] == "^" and isinstance(operands[1][2], float):
            # a / b^k as a b^(-k): 1 / (convex b^2) alone would be of unknown curvature.
            _, base, exponent = operands[1]
            return _product(visit(operands[0]), _power(visit(base), -exponent), ~everywhere)
        if operator == "*":
            factors = _factors(shape)
            numbers = [factor for factor in factors if factor[0] == "p"]
            others = [factor for factor in factors if factor[0] != "p"]
            if all(other == others[0] for other in others):
                node = _power(visit(others[0]), float(len(others))) if len(others) > 1 else visit(others[0])
            else:
                node = functools.reduce(lambda a, b: _product(a, b, ~everywhere), map(visit, others))
            for number in numbers:
                node = _scaled(node, constants[number[1]])
            return node
        parts = [visit(operand) for operand in operands]
        return _combine(operator, parts, operands, ~everywhere)

    with np.errstate(all="ignore"):
        return _scaled(deeply(visit, family.shape), constants[0])


def _factors(shape: Any) -> list[Any]:
    """0.5 x x is 0.5 x^2, however it is nested."""
    return [factor for part in shape[1:] for factor in _factors(part)] if shape[0] == "*" else [shape]


def _combine(operator: str, parts: list[_Node], operands: list[Any], nowhere: np.ndarray) -> _Node:
    first = parts[0]
    if operator == "+":
        return _Node(
            sum((p.low for p in parts[1:]), first.low),
            sum((p.high for p in parts[1:]), first.high),
            np.logical_and.reduce([p.convex for p in parts]),
            np.logical_and.reduce([p.concave for p in parts]),
        )
    if operator == "-":
        return _Node(-first.high, -first.low, first.concave, first.convex)
    if operator == "/":
        return _product(first, _power(parts[1], -1.0), nowhere)
    if operator == "^" and isinstance(operands[1], float):
        return _power(first, operands[1])
    if operator in ("min", "max"):
        extremum = np.maximum if operator == "max" else np.minimum
        convex = np.logical_and.reduce([p.convex for p in parts]) & (operator == "max")
        concave = np.logical_and.reduce([p.concave for p in parts]) & (operator == "min")
        low = extremum.reduce([p.low for p in parts])
        return _Node(low, extremum.reduce([p.high for p in parts]), convex, concave)
    if operator == "abs":
        both = np.maximum(np.abs(first.low), np.abs(first.high))
        least = np.where((first.low <= 0) & (first.high >= 0), 0.0, np.minimum(np.abs(first.low), np.abs(first.high)))
        same_sign = (first.low >= 0) | (first.high <= 0)
        convex = first.affine | ((first.low >= 0) & first.convex) | ((first.high <= 0) & first.concave)
        return _Node(least, both, convex, same_sign & first.affine)
    if operator in _CURVES:
        convex, concave, domain = _CURVES[operator]
        function = getattr(np, operator)
        inside = np.maximum(first.low, domain)
        return _Node(
            np.nan_to_num(function(inside), nan=-np.inf),
            np.nan_to_num(function(np.maximum(first.high, domain)), nan=np.inf, posinf=np.inf),
            first.convex & convex,
            first.concave & concave,
        )
    unknown = np.full(len(nowhere), np.inf)
    return _Node(-unknown, unknown, nowhere, nowhere)


def _scaled(node: _Node, factor: np.ndarray) -> _Node:
    up, down = factor >= 0, factor <= 0
    ends = _ends(node.low, node.high, factor, factor)
    return _Node(*ends, (up & node.convex) | (down & node.concave), (up & node.concave) | (down & node.convex))


def _product(left: _Node, right: _Node, nowhere: np.ndarray) -> _Node:
    if left.constant.all():
        return _scaled(right, left.low)
    if right.constant.all():
        return _scaled(left, right.low)
    return _Node(*_ends(left.low, left.high, right.low, right.high), nowhere, nowhere)


def _ends(a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    corners = [np.nan_to_num(x * y, nan=0.0, posinf=np.inf, neginf=-np.inf) for x in (a, b) for y in (c, d)]
    return np.minimum.reduce(corners), np.maximum.reduce(corners)


def _power(node: _Node, exponent: float) -> _Node:
    """x^p on x >= 0 (x > 0 for p < 0, where the function's own domain keeps it), or an even whole p anywhere."""
    low, high = node.low, node.high
    positive = low >= 0
    if exponent == 2.0 * round(exponent / 2.0) and exponent > 0:
        straddles = (low < 0) & (high > 0)
        ends = np.minimum(np.abs(low) ** exponent, np.abs(high) ** exponent)
        top = np.maximum(np.abs(low) ** exponent, np.abs(high) ** exponent)
        convex = node.affine | (positive & node.convex) | ((high <= 0) & node.concave)
        return _Node(np.where(straddles, 0.0, ends), top, convex, np.zeros_like(convex))
    nowhere = np.zeros_like(positive)
    unknown = np.full(len(low), np.inf)
    base_low, base_high = np.where(positive, low, 0.0), np.where(positive, high, 0.0)
    if exponent >= 1:
        ends = (base_low**exponent, base_high**exponent)
        convex, concave = positive & node.convex, nowhere if exponent > 1 else positive & node.concave
    elif exponent >= 0:
        ends = (base_low**exponent, base_high**exponent)
        convex, concave = nowhere, positive & node.concave
    else:
        ends = (base_high**exponent, base_low**exponent)
        convex, concave = positive & node.concave, nowhere
    return _Node(np.where(positive, ends[0], -unknown), np.where(positive, ends[1], unknown), convex, concave)
