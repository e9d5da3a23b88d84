"""What did Clarabel's iterates look like? Its own table, read back from its log: it has no other way to tell."""

from __future__ import annotations

import re
from collections.abc import Iterator

#: iter, pcost, dcost, gap, pres, dres, k/t, mu, step (dashes in the first row); numbers as Clarabel prints them.
_NUMBER = r"([+-]?(?:\d[\d.]*(?:e[+-]?\d+)?|inf|NaN))"
_ROW = re.compile(
    rf"^\s*(\d+)\s+{_NUMBER}\s+{_NUMBER}\s+" + rf"{_NUMBER}\s+" * 5 + rf"(?:{_NUMBER}|-+)\s*$", re.MULTILINE
)


def iterates(log: str, factor: float, constant: float) -> Iterator[tuple[float, ...]]:
    """Rows of :data:`bcfl_opt.solution.HISTORY_COLUMNS`: iteration, objective, infeasibilities, mu, step.

    factor, constant : the objective is factor * pcost + constant (NaN where the scaled programme has no one unit of
    money). Infeasibilities are relative, of the scaled programme.
    """
    for row in _ROW.finditer(log):
        iteration, primal_cost, _, _, primal, dual, _, barrier, step = row.groups()
        yield (
            int(iteration),
            factor * float(primal_cost) + constant,
            float(primal),
            float(dual),
            float(barrier),
            float(step or 0.0),
        )
