"""How wide is a text that a person reads? Eighty columns: what a result says of itself fits every terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

WIDTH = 80
#: Where texts begin that stand beside a label: "  objective    0.5".
LABEL = 15


def laid_out(lines: Iterable[str]) -> str:
    """Lines of at most 80 columns; what a line has too much goes on below its text.

    >>> print(laid_out(["Problem 1 by ipopt: solved", "  objective    " + "1 " * 40]))
    Problem 1 by ipopt: solved
      objective    1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1
                   1 1 1 1 1 1 1
    """
    return "\n".join(
        textwrap.fill(
            line,
            WIDTH,
            subsequent_indent=" " * (LABEL if line.startswith("  ") and line[LABEL - 2 : LABEL].startswith(" ") else 4),
            break_on_hyphens=False,
            drop_whitespace=True,
            replace_whitespace=False,
        )
        for text in lines
        for line in text.split("\n")
    )
