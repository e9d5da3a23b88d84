"""Which sub-expression breaks the rules of disciplined programming, and which rule?

The rules are followed downwards: a minimised objective must be convex, so ... must be concave, so ...; the innermost
expression that is not what it would have to be is told, with what it is and why it would have to be something else.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import cvxpy as cp
from cvxpy.atoms.elementwise.power import Power
from cvxpy.constraints import Equality, Inequality, NonNeg, NonPos, Zero
from cvxpy.constraints.constraint import Constraint

from bcfl_opt.convex.convex_problem import ConvexProblem

#: Longer expressions are cut.
WIDTH = 90


@dataclasses.dataclass(frozen=True, slots=True)
class Ruleset:
    """is_convex, is_concave, is_affine : of an expression. convex, concave, affine : of an atom, whatever its arguments.
    words : what these three are called."""

    title: str
    rule: str
    is_convex: Callable[[Any], bool]
    is_concave: Callable[[Any], bool]
    is_affine: Callable[[Any], bool]
    convex: Callable[[Any], bool]
    concave: Callable[[Any], bool]
    affine: Callable[[Any], bool]
    words: dict[str, str]

    def holds(self, expression: Any, need: str) -> bool:
        return {"convex": self.is_convex, "concave": self.is_concave, "affine": self.is_affine}[need](expression)

    def of_atom(self, atom: Any, need: str) -> bool:
        return {"convex": self.convex, "concave": self.concave, "affine": self.affine}[need](atom)


DCP = Ruleset(
    "DCP",
    "is_dcp",
    lambda e: e.is_convex(),
    lambda e: e.is_concave(),
    lambda e: e.is_affine(),
    lambda a: a.is_atom_convex(),
    lambda a: a.is_atom_concave(),
    lambda a: a.is_atom_affine(),
    {"convex": "convex", "concave": "concave", "affine": "affine"},
)
DNLP = Ruleset(
    "DNLP",
    "is_dnlp",
    lambda e: e.is_linearizable_convex(),
    lambda e: e.is_linearizable_concave(),
    lambda e: e.is_smooth(),
    lambda a: a.is_atom_smooth() or a.is_atom_convex(),
    lambda a: a.is_atom_smooth() or a.is_atom_concave(),
    lambda a: a.is_atom_smooth(),
    {"convex": "smooth or convex", "concave": "smooth or concave", "affine": "smooth"},
)


def broken_rules(problem: ConvexProblem, rules: Ruleset = DCP) -> list[str]:
    """One sentence for the objective and each constraint that breaks the rules: place, sub-expression, rule."""
    return [f"{place}: {why}" for place, why in _broken(problem, rules)]


def first_ones(sentences: list[str], limit: int = 3) -> str:
    """The first sentences, and how many more there are."""
    more = f"; and {len(sentences) - limit} more" if len(sentences) > limit else ""
    return "; ".join(sentences[:limit]) + more


def _broken(problem: ConvexProblem, rules: Ruleset) -> Iterator[tuple[str, str]]:
    objective = problem.problem.objective
    if not getattr(objective, rules.rule)():
        kind, need = ("minimised", "convex") if isinstance(objective, cp.Minimize) else ("maximised", "concave")
        yield "the objective", _why(objective.expr, need, f"what is {kind} must be {rules.words[need]}", rules)
    for name, constraint in problem.constraints.items():
        if not getattr(constraint, rules.rule)():
            for side, need, reason in _sides(constraint, rules):
                if not rules.holds(side, need):
                    yield f"constraint {name!r}", _why(side, need, reason, rules)
                    break


def _sides(constraint: Constraint, rules: Ruleset) -> Iterator[tuple[Any, str, str]]:
    """What each side of a constraint has to be."""
    words = rules.words
    if isinstance(constraint, Inequality):
        left, right = constraint.args
        yield left, "convex", f"the smaller side of an inequality must be {words['convex']}"
        yield right, "concave", f"the larger side of an inequality must be {words['concave']}"
    elif isinstance(constraint, NonNeg):
        yield constraint.args[0], "concave", f"what must not be negative must be {words['concave']}"
    elif isinstance(constraint, NonPos):
        yield constraint.args[0], "convex", f"what must not be positive must be {words['convex']}"
    else:
        kind = "an equality" if isinstance(constraint, Equality | Zero) else f"a {type(constraint).__name__} constraint"
        for side in constraint.args:
            yield side, "affine", f"{kind} takes only what is {words['affine']}"


def _why(expression: Any, need: str, because: str, rules: Ruleset) -> str:
    """``expression`` is not what it needs to be: the innermost reason why."""
    while True:
        inner = None
        if expression.args and rules.of_atom(expression, need):
            for place, argument in enumerate(expression.args):
                below = _needed(expression, place, need, rules)
                if not (rules.is_affine(argument) or rules.holds(argument, below)):
                    inner = argument
                    break
        if inner is None:
            return f"{shown(expression)} is {_kind(expression, rules)}, but must be {rules.words[need]} here: {because}"
        if expression.is_atom_affine():  # sums and the like hand the need on
            because = because if below == need else f"it is subtracted, and {because}"
        else:
            word = _monotone(expression, place)
            because = f"{shown(expression)} must be {rules.words[need]}, and it is {word} in {shown(inner)}"
        expression, need = inner, below


def _needed(atom: Any, place: int, need: str, rules: Ruleset) -> str:
    """What an atom's argument has to be for the atom to be what it needs to be."""
    if need == "affine":
        return "affine"
    other = {"convex": "concave", "concave": "convex"}[need]
    return need if atom.is_incr(place) else other if atom.is_decr(place) else "affine"


def _monotone(atom: Any, place: int) -> str:
    return "increasing" if atom.is_incr(place) else "decreasing" if atom.is_decr(place) else "not monotone"


def _kind(expression: Any, rules: Ruleset) -> str:
    if not expression.args:
        return "affine"
    words = []
    if rules is DNLP:
        smooth = rules.is_affine(expression)
        words.append("smooth" if smooth else "not smooth")
        if smooth:
            return words[0]
    convex, concave = expression.is_convex(), expression.is_concave()
    varying = [argument for argument in expression.args if not argument.is_constant()]
    if convex or concave:
        words.append("affine" if convex and concave else "convex" if convex else "concave")
    elif type(expression).__name__ in ("MulExpression", "multiply", "DivExpression") and len(varying) > 1:
        what = "quotient" if type(expression).__name__ == "DivExpression" else "product"
        words.append(f"a {what} of two expressions that both vary, neither convex nor concave by the rules")
    else:
        words.append("neither convex nor concave by the rules")
    return ", ".join(words)


def shown(expression: Any) -> str:
    """An expression as one would write it, cut where it is long."""
    return shortened(_text(expression))


def shortened(text: str) -> str:
    return text if len(text) <= WIDTH else f"{text[: WIDTH - 4]} ..."


def _text(expression: Any) -> str:
    """An expression as one would write it; CVXPY's own text names its classes (PowerApprox)."""
    kind, parts = type(expression).__name__, [_text(argument) for argument in expression.args]
    if not parts:
        return f"{float(expression.value.sum()):.6g}" if _is_number(expression) else " ".join(str(expression).split())
    if isinstance(expression, Power):
        exponent = float(expression.p_used if expression.p_used is not None else expression.p.value)
        name = {0.5: "sqrt", 2.0: "square"}.get(exponent)
        return f"{name}({parts[0]})" if name else f"power({parts[0]}, {exponent:g})"
    if kind == "AddExpression":
        return " + ".join(parts).replace("+ -", "- ")
    if kind == "NegExpression":
        return f"-{_tight(parts[0])}"
    if kind in ("MulExpression", "multiply", "DivExpression"):
        return ("/" if kind == "DivExpression" else " * ").join(map(_tight, parts))
    if kind in ("index", "special_index"):
        return str(expression)
    if kind in ("Promote", "reshape"):  # what CVXPY wraps around to make shapes fit
        return parts[0]
    return f"{kind.removesuffix('Approx')}({', '.join(parts)})"


def _is_number(expression: Any) -> bool:
    return isinstance(expression, cp.Constant) and expression.size == 1 and not expression.is_complex()


def _tight(text: str) -> str:
    return f"({text})" if " " in text and not text.endswith(")") else text
