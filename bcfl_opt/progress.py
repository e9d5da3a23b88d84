"""How far is it? A bar on standard error for whatever takes longer than a second; silent in a pipe."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

#: Seconds of work before the bar appears.
DELAY = 1.0


@contextlib.contextmanager
def progress_bar(title: str, total: int | None, wanted: bool | None = None) -> Iterator[Callable[[int], Any]]:
    """Show a bar while the block runs; yields the function that says how much more is done.

    Parameters
    ----------
    title : what is being done. total : how much there is to do; None if nobody knows.
    wanted : None for a bar on a terminal or in a notebook and silence elsewhere; True or False to insist.
    """
    shown = sys.stderr.isatty() or _in_a_notebook() if wanted is None else wanted
    if not shown:
        yield lambda _: None
        return
    # The plain bar, in notebooks too: the one made of widgets needs an extension that may not be there.
    from tqdm.std import tqdm

    with tqdm(total=total, desc=title, delay=DELAY, leave=False, file=sys.stderr, dynamic_ncols=True) as bar:
        yield bar.update


def _in_a_notebook() -> bool:
    """Does this process serve a notebook? Having imported its machinery is not enough."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return getattr(shell, "kernel", None) is not None
