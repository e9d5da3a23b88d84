"""Which term of a Pyomo model has no finite value or derivative at a point, whose is it, and where is the point?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from bcfl_opt.context import Context
from bcfl_opt.nlp.derivatives import OPERATIONS
from bcfl_opt.nlp.program import Family, Program
from bcfl_opt.nlp.shapes import deeply

#: Terms told at most.
SHOWN = 5
#: Operators written between their operands, and how tightly they bind.
_INFIX = {"+": 1, "-": 2, "*": 2, "/": 2, "^": 3}


def undefined_terms(program: Program, x: np.ndarray) -> list[str]:
    """One sentence for each term without a finite value, first or second derivative at ``x``: place, term, point, client."""
    result: list[str] = []
    for family in program.functions.families:
        with np.errstate(all="ignore"):
            for what, values in (
                ("value", family.value(x)[None]),
                ("derivative", family.gradient(x)),
                ("second derivative", family.hessian(x)),
            ):
                bad = np.flatnonzero(~np.isfinite(values).all(axis=0))
                if bad.size:
                    result += [_sentence(program, family, int(k), x, what) for k in bad[: SHOWN - len(result)]]
                    break
        if len(result) >= SHOWN:
            break
    return result


def _sentence(program: Program, family: Family, k: int, x: np.ndarray, what: str) -> str:
    row = int(family.rows[k])
    place = f"constraint {program.constraints[row].name}" if row >= 0 else "the objective"
    names = [str(program.variables[c].name) for c in family.columns[:, k]]
    values, constants = [float(x[c]) for c in family.columns[:, k]], family.constants[:, k].tolist()
    shape = family.shape
    if what == "value":
        with np.errstate(all="ignore"):
            shape = deeply(_culprit, shape, values, constants)
    term = deeply(_text, shape, names, constants)
    used = sorted(set(deeply(lambda s: list(_slots(s)), shape)))
    at = ", ".join(f"{names[slot]} = {values[slot]:.6g}" for slot in used)
    owner = _client(program, row, family.columns[:, k].tolist())
    return f"{place}{owner}: {term} has no finite {what}{' at ' if at else ''}{at}"


def _client(program: Program, row: int, columns: Sequence[int]) -> str:
    """of client ..., where the model is a game's and the term is one client's."""
    context = getattr(program.model, "bcfl", None)
    if not isinstance(context, Context):
        return ""
    parts = [program.constraints[row]] if row >= 0 else [program.variables[c] for c in columns]
    clients = {part.index() for part in parts} & set(context.clients)
    return f" of client {clients.pop()!r}" if len(clients) == 1 else ""


def _value(shape: Any, values: Sequence[float], constants: Sequence[float]) -> float:
    if isinstance(shape, float):
        return shape
    operator, *operands = shape
    if operator in ("v", "p"):
        return (values if operator == "v" else constants)[operands[0]]
    numbers = [_value(operand, values, constants) for operand in operands]
    operation = OPERATIONS[operator]
    if operator.startswith("if") or len(numbers) == 1:
        return float(operation(*map(np.float64, numbers)))
    result = np.float64(numbers[0])
    for number in numbers[1:]:
        result = operation(result, np.float64(number))
    return float(result)


def _culprit(shape: Any, values: Sequence[float], constants: Sequence[float]) -> Any:
    """The innermost part that is not finite although its operands are."""
    if not isinstance(shape, float) and shape[0] not in ("v", "p"):
        for operand in shape[1:]:
            if not np.isfinite(_value(operand, values, constants)):
                return _culprit(operand, values, constants)
    return shape


def _slots(shape: Any) -> Iterator[int]:
    if isinstance(shape, float) or shape[0] == "p":
        return
    if shape[0] == "v":
        yield shape[1]
        return
    for operand in shape[1:]:
        yield from _slots(operand)


def _text(shape: Any, names: Sequence[str], constants: Sequence[float], within: int = 0) -> str:
    """A shape as one would write it, with names for variables and numbers for constants."""
    if isinstance(shape, float):
        return f"{shape:.6g}"
    operator, *operands = shape
    if operator == "v":
        return names[operands[0]]
    if operator == "p":
        return f"{constants[operands[0]]:.6g}"
    if operator not in _INFIX:
        inner = ", ".join(_text(operand, names, constants) for operand in operands)
        return f"{'if' if operator.startswith('if') else operator}({inner})"
    tight = _INFIX[operator]
    parts = [_text(operand, names, constants, tight + (k > 0)) for k, operand in enumerate(operands)]
    between = "**" if operator == "^" else operator if operator in "*/" else f" {operator} "
    text = f"-{parts[0]}" if len(parts) == 1 else between.join(parts)
    return f"({text})" if tight < within else text
