"""How does the answer change? ``sweep``: a grid of games on one core, on all, or on a cluster, as a labelled data set."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from bcfl_opt.distributions import versions
from bcfl_opt.errors import InputError
from bcfl_opt.executors import results
from bcfl_opt.game import Game
from bcfl_opt.memory import available_memory, size_text
from bcfl_opt.progress import progress_bar
from bcfl_opt.sweeps.checkpoints import Checkpoints
from bcfl_opt.sweeps.grid import Plan, plan
from bcfl_opt.sweeps.records import to_dataset

if TYPE_CHECKING:
    import xarray as xr


def sweep(
    function: Callable[..., Any],
    grid: Mapping[str, Any],
    *,
    game: Game | None = None,
    executor: Any = None,
    out: str | PathLike[str] | None = None,
    resume: bool = True,
    warm_start: bool = True,
    chunk: int | None = None,
    progress: bool | None = None,
    max_cells: int = 100_000,
    **fixed: Any,
) -> xr.Dataset:
    """Call ``function(game, ...)`` on every game of a grid; returns the results as variables over the grid.

    Parameters
    ----------
    function : of this package (``bo.equilibrium``, ``bo.best_response``, ``bo.cross_check``, a ``build`` of
        :mod:`bcfl_opt.models`), or your own. It gets the game and, by keyword, every parameter that is none of the game's;
        if it takes ``prices``, these are made from ``training_price`` and ``mining_price``. A model that it returns is solved
        by :func:`bcfl_opt.solve`. See :func:`bcfl_opt.sweeps.records.record_of` for what it may return.
    grid : parameter -> its values: any parameter of :class:`Game` (``population`` too), the prices, any other argument of
        the function. A list or array of values, or a dict of values by label.
    game : the game that the grid changes; or give ``population``, in the grid or beside it.
    executor : None: here, one cell after the other. "processes": on all cores; a whole number: in so many processes; the
        name of a joblib backend; a ``dask.distributed.Client`` or the address of its scheduler: on that cluster.
    out : a directory where finished chunks are kept as they come. The same sweep, started again, goes on where it was: at
        most one chunk a worker is computed twice. ``resume=False`` starts it anew.
    warm_start : start each solve from its neighbour in the grid, where the function takes ``warm_start`` or returns Pyomo
        models. The neighbours are the same ones whatever the executor.
    chunk : cells that are computed, sent and written together; by default 64 chunks of at most 256 cells.
    progress : a bar on standard error; by default on a terminal, for what takes longer than a second.
    max_cells : the largest grid that is begun.
    fixed : parameters with one value in all cells.

    Returns
    -------
    Dataset with a coordinate for every parameter of the grid, and over the grid: ``succeeded``, ``status``, ``message``, and
    what the function returned; what it returned by client has the dimension ``client`` besides. A variable that is called
    like a parameter of the grid becomes ``result_...``. A cell that fails is recorded, with NaN for its results: the
    exception's text is its message. ``long_name`` and ``units`` stand in the variables' attributes.

    The numbers are the same to the last bit whichever executor computes them (on the same kind of machine), and whether or
    not a sweep was interrupted.

    Raises
    ------
    InputError : naming the argument, the parameter and what is allowed. WorkerLostError : a worker process died.

    Examples
    --------
    >>> import bcfl_opt as bo
    >>> game = bo.Game(bo.Population.sample())
    >>> answer = bo.sweep(bo.equilibrium, {"deadline": [10.0, 15.0, 20.0], "mining_cycles": [1.0, 5.0]}, game=game)
    >>> dict(answer.sizes), answer["deadline"].attrs["units"]
    ({'deadline': 3, 'mining_cycles': 2, 'client': 50}, 'min')
    >>> answer["recruited"].sum("client").values.tolist()
    [[44, 43], [48, 47], [49, 48]]
    """
    planned = plan(function, grid, game, fixed, warm_start=warm_start, chunk=chunk, max_cells=max_cells)
    facts = {"function": planned.name, "units": "GHz and minutes, or any other consistent system"}
    facts["versions"] = json.dumps(versions())
    if game is not None:
        facts["game"] = " ".join(repr(game).split())
    tables: dict[int, pa.Table] = {}
    kept: Checkpoints | None = None
    if out is not None:
        description = {**planned.description(), "versions": versions()}
        kept = Checkpoints(Path(out), description, resume=resume)
        for number in range(planned.chunks):
            table = kept.finished(number, planned.positions(number))
            if table is not None:
                tables[number] = table
    left = [number for number in range(planned.chunks) if number not in tables]
    with progress_bar(f"sweep of {planned.name}", planned.cells, progress) as advance:
        advance(sum(len(table) for table in tables.values()))
        for position, table in results(executor, planned, left):
            if len(tables) == 0:
                _check_size(planned, table)
            tables[left[position]] = table
            if kept is not None:
                kept.keep(left[position], table)
            advance(len(table))
    return to_dataset(planned.axes, [tables[number] for number in range(planned.chunks)], facts)


def _check_size(planned: Plan, first: pa.Table) -> None:
    """Stop after the first chunk if the results cannot be held: they are held twice while the data set is made."""
    needed = 2 * first.nbytes / len(first) * planned.cells
    available = available_memory()
    if available is not None and needed > available:
        raise InputError(
            f"the results of {planned.cells:,} cells take about {size_text(needed)} of memory and {size_text(available)} are "
            "available; let the function return only what you need, such as one number, or sweep parts of the grid"
        )
