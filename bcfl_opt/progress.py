"""How far is it? A bar on standard error for whatever takes longer than a second; silent in a pipe."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

#: Seconds of work before the bar appears.
DELAY = 1.0


@contextlib.contextmanager
def progress_bar(title: str, total: int | None, wanted: bool | None = None) -> Iterator[Callable[[int], None]]:
    """Show a bar while the block runs; yields the function that says how much more is done.

    Parameters
    ----------
    title : what is being done. total : how much there is to do; None if nobody knows.
    wanted : None for a bar on a terminal or in a notebook and silence elsewhere; True or False to insist.
    """
    if wanted is False:
        yield lambda _: None
        return
    from rich.console import Console

    console = Console(stderr=True)
    if wanted is None and not (console.is_terminal or console.is_jupyter):
        yield lambda _: None
        return
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    bar = Progress(*columns, TextColumn("left:"), TimeRemainingColumn(), console=console)
    task = bar.add_task(title, total=total)
    timer = threading.Timer(DELAY, bar.start)
    timer.daemon = True
    timer.start()
    try:
        yield lambda amount: bar.advance(task, amount)
    finally:
        timer.cancel()
        timer.join()  # it may be starting the bar just now
        if bar.live.is_started:
            bar.stop()
