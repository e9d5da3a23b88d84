"""Is a programme convex, and with which variables does its objective only rise or only fall, provably?

Rules of disciplined convex programming, applied to shapes over all their terms: each node of a shape gets its range (from
the variables' bounds), whether it is surely convex, surely concave, and with which variables it surely never falls, never
rises. The rules are sufficient, not necessary: "not known to be convex" says nothing against the model.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np

from bcfl_opt.nlp.program import Family, Functions, Program
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
    """Arrays over terms: range, and curvature; by variable of the term and term: does it never fall with it, never rise?"""

    low: np.ndarray
    high: np.ndarray
    convex: np.ndarray
    concave: np.ndarray
    rising: np.ndarray
    falling: np.ndarray

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


def monotone(functions: Functions, x_lower: np.ndarray, x_upper: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """By column: does the objective surely never fall, and surely never rise, with this variable, wherever the others are?"""
    rising, falling = functions.objective_linear >= 0, functions.objective_linear <= 0
    for family in functions.families:
        here = family.rows < 0
        if not here.any():
            continue
        node, columns = _analyse(family, x_lower, x_upper), family.columns[:, here]
        rising[columns[~node.rising[:, here]]] = False
        falling[columns[~node.falling[:, here]]] = False
    return rising, falling


def _analyse(family: Family, x_lower: np.ndarray, x_upper: np.ndarray) -> _Node:
    low, high = family.at(x_lower), family.at(x_upper)
    constants = family.constants
    everywhere, always = np.ones(family.columns.shape[1], dtype=bool), np.ones(family.columns.shape, dtype=bool)

    def visit(shape: Any) -> _Node:
        if isinstance(shape, float):
            values = np.full(len(everywhere), shape)
            return _Node(values, values, everywhere, everywhere, always, always)
        operator, *operands = shape
        if operator == "v":
            falling = always.copy()
            falling[operands[0]] = False
            return _Node(low[operands[0]], high[operands[0]], everywhere, everywhere, always, falling)
        if operator == "p":
            values = constants[operands[0]]
            return _Node(values, values, everywhere, everywhere, always, always)
        if operator == "/" and operands[1][0] == "^" and isinstance(operands[1][2], float):
            # a / b^k as a b^(-k): 1 / (convex b^2) alone would be of unknown curvature.
            _, base, exponent = operands[1]
            return _product(visit(operands[0]), _power(visit(base), -exponent))
        if operator == "*":
            factors = _factors(shape)
            numbers = [factor for factor in factors if factor[0] == "p"]
            others = [factor for factor in factors if factor[0] != "p"]
            if all(other == others[0] for other in others):
                node = _power(visit(others[0]), float(len(others))) if len(others) > 1 else visit(others[0])
            else:
                node = functools.reduce(_product, map(visit, others))
            for number in numbers:
                node = _scaled(node, constants[number[1]])
            return node
        return _combine(operator, [visit(operand) for operand in operands], operands)

    with np.errstate(all="ignore"):
        return _scaled(deeply(visit, family.shape), constants[0])


def _factors(shape: Any) -> list[Any]:
    """0.5 x x is 0.5 x^2, however it is nested."""
    return [factor for part in shape[1:] for factor in _factors(part)] if shape[0] == "*" else [shape]


def _combine(operator: str, parts: list[_Node], operands: list[Any]) -> _Node:
    first = parts[0]
    if operator == "+":
        return _Node(
            sum((p.low for p in parts[1:]), first.low),
            sum((p.high for p in parts[1:]), first.high),
            *(_all(parts, trait) for trait in ("convex", "concave", "rising", "falling")),
        )
    if operator == "-":
        return _Node(-first.high, -first.low, first.concave, first.convex, first.falling, first.rising)
    if operator == "/":
        return _product(first, _power(parts[1], -1.0))
    if operator == "^" and isinstance(operands[1], float):
        return _power(first, operands[1])
    if operator in ("min", "max"):
        extremum = np.maximum if operator == "max" else np.minimum
        convex, concave = _all(parts, "convex") & (operator == "max"), _all(parts, "concave") & (operator == "min")
        low, high = extremum.reduce([p.low for p in parts]), extremum.reduce([p.high for p in parts])
        return _Node(low, high, convex, concave, _all(parts, "rising"), _all(parts, "falling"))
    if operator == "abs":
        both = np.maximum(np.abs(first.low), np.abs(first.high))
        least = np.where((first.low <= 0) & (first.high >= 0), 0.0, np.minimum(np.abs(first.low), np.abs(first.high)))
        positive, negative = first.low >= 0, first.high <= 0
        return _Node(
            least,
            both,
            first.affine | (positive & first.convex) | (negative & first.concave),
            (positive | negative) & first.affine,
            *_turned(first, positive, negative),
        )
    if operator in _CURVES:
        bends_up, bends_down, domain = _CURVES[operator]
        function = getattr(np, operator)
        inside = np.maximum(first.low, domain)
        defined = first.low >= domain  # elsewhere the function ends before the variables do
        return _Node(
            np.nan_to_num(function(inside), nan=-np.inf),
            np.nan_to_num(function(np.maximum(first.high, domain)), nan=np.inf, posinf=np.inf),
            first.convex & bends_up,
            first.concave & bends_down,
            *_turned(first, defined, np.zeros_like(defined)),
        )
    return _unknown(first)


def _all(parts: list[_Node], trait: str) -> np.ndarray:
    return np.logical_and.reduce([getattr(part, trait) for part in parts])


def _unknown(like: _Node) -> _Node:
    """Of what nothing is known but that it may be anything."""
    infinite, nowhere, never = np.full(len(like.low), np.inf), np.zeros_like(like.convex), np.zeros_like(like.rising)
    return _Node(-infinite, infinite, nowhere, nowhere, never, never)


def _turned(node: _Node, up: np.ndarray, down: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """rising, falling of a function of the node that only rises with it (by term: up), or only falls (down)."""
    return (up & node.rising) | (down & node.falling), (up & node.falling) | (down & node.rising)


def _scaled(node: _Node, factor: np.ndarray) -> _Node:
    up, down = factor >= 0, factor <= 0
    convex, concave = (up & node.convex) | (down & node.concave), (up & node.concave) | (down & node.convex)
    return _Node(*_ends(node.low, node.high, factor, factor), convex, concave, *_turned(node, up, down))


def _product(left: _Node, right: _Node) -> _Node:
    if left.constant.all():
        return _scaled(right, left.low)
    if right.constant.all():
        return _scaled(left, right.low)
    return dataclasses.replace(
        _unknown(left), **dict(zip(("low", "high"), _ends(left.low, left.high, right.low, right.high), strict=True))
    )


def _ends(a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    corners = [np.nan_to_num(x * y, nan=0.0, posinf=np.inf, neginf=-np.inf) for x in (a, b) for y in (c, d)]
    return np.minimum.reduce(corners), np.maximum.reduce(corners)


def _power(node: _Node, exponent: float) -> _Node:
    """x^p on x >= 0 (x > 0 for p < 0, where the function's own domain keeps it), or an even whole p anywhere."""
    low, high = node.low, node.high
    positive, negative = low >= 0, high <= 0
    nowhere = np.zeros_like(positive)
    if exponent == 2.0 * round(exponent / 2.0) and exponent > 0:
        straddles = (low < 0) & (high > 0)
        ends = np.minimum(np.abs(low) ** exponent, np.abs(high) ** exponent)
        top = np.maximum(np.abs(low) ** exponent, np.abs(high) ** exponent)
        convex = node.affine | (positive & node.convex) | (negative & node.concave)
        return _Node(np.where(straddles, 0.0, ends), top, convex, nowhere, *_turned(node, positive, negative))
    unknown = np.full(len(low), np.inf)
    base_low, base_high = np.where(positive, low, 0.0), np.where(positive, high, 0.0)
    slopes = _turned(node, positive, nowhere) if exponent >= 0 else _turned(node, nowhere, positive)
    if exponent >= 1:
        ends = (base_low**exponent, base_high**exponent)
        convex, concave = positive & node.convex, nowhere if exponent > 1 else positive & node.concave
    elif exponent >= 0:
        ends = (base_low**exponent, base_high**exponent)
        convex, concave = nowhere, positive & node.concave
    else:
        ends = (base_high**exponent, base_low**exponent)
        convex, concave = positive & node.concave, nowhere
    low, high = np.where(positive, ends[0], -unknown), np.where(positive, ends[1], unknown)
    return _Node(low, high, convex, concave, *slopes)
