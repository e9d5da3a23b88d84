"""How does a result look on a terminal, and in a pipe?

On a terminal: tables that fit its width, with rules and a little colour (none with ``NO_COLOR``). In a pipe or a file:
plain aligned columns, one row a line, nothing wrapped, no escape codes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

#: Width of a pipe: nothing is wrapped.
UNLIMITED = 10_000


def printable(value: object) -> str:
    """Text of a cell without control characters, which an id could carry to the terminal.

    >>> printable("phone\\x1b[31m 7")
    'phone?[31m 7'
    """
    return "".join(letter if letter.isprintable() else "?" for letter in str(value))


def number(digits: int) -> Callable[[Any], str]:
    """Format with so many significant digits; a dash where there is no value.

    >>> number(4)(0.123456), number(4)(float("nan")), number(4)(None)
    ('0.1235', '-', '-')
    """

    def text(value: Any) -> str:
        if value is None or (isinstance(value, float) and math.isnan(value)):
            return "-"
        return printable(value) if isinstance(value, str) else f"{value:.{digits}g}"

    return text


def yes_no(value: Any) -> str:
    return "yes" if value else "no"


class _Console(Console):
    def on_broken_pipe(self) -> None:
        raise BrokenPipeError  # not the SystemExit(1) of rich: 1 means "not solved" here


class Terminal:
    """Standard output: prints text and tables in the way its reader needs."""

    def __init__(self) -> None:
        self._console = _Console(highlight=False, markup=False, emoji=False)
        if not self._console.is_terminal:
            self._console.width = UNLIMITED

    def text(self, text: str = "") -> None:
        """Print lines of text, wrapped at words on a terminal."""
        self._show(Text("\n".join(printable(line) for line in text.split("\n"))))

    def heading(self, text: str) -> None:
        self._show(Text("\n" + printable(text), style="bold"))

    def table(
        self,
        frame: pd.DataFrame,
        formats: Mapping[str, Callable[[Any], str]],
        *,
        headers: Mapping[str, str] | None = None,
        alert: Sequence[bool] | None = None,
    ) -> None:
        """Print the columns named in ``formats`` that ``frame`` has, in that order.

        headers : other headings by column. alert : rows to print in red.
        """
        on_terminal = self._console.is_terminal
        table = (
            Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
            if on_terminal
            else Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        )
        columns = [name for name in formats if name in frame]
        for name in columns:
            numeric = pd.api.types.is_numeric_dtype(frame[name].dtype) and not pd.api.types.is_bool_dtype(frame[name])
            heading = (headers or {}).get(name, name.replace("_", " "))
            # A number that is broken over two lines reads as two numbers.
            table.add_column(Text(heading), justify="right" if numeric else "left", no_wrap=numeric, overflow="fold")
        for k, cells in enumerate(zip(*(frame[name] for name in columns), strict=True)):
            texts = [Text(formats[name](cell)) for name, cell in zip(columns, cells, strict=True)]
            table.add_row(*texts, style="red" if alert is not None and alert[k] else None)
        self._show(table)

    def _show(self, content: Text | Table) -> None:
        if self._console.is_terminal:
            self._console.print(content)
            return
        with self._console.capture() as capture:
            self._console.print(content)
        lines = [line.rstrip() for line in capture.get().rstrip("\n").split("\n")]
        self._console.out("\n".join(lines), highlight=False)
