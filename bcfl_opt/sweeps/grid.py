"""Which games does a sweep play, in which order, and what happens in one of them?

The cells of a grid are visited like a field is ploughed: along the last parameter, back again with the next value of the
one before, so that each cell has a neighbour of the grid before it, to start from. Consecutive cells form chunks; the
first cell of a chunk starts afresh. Order and chunks follow from the grid alone, and so do the results.
"""

from __future__ import annotations

import dataclasses
import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from bcfl_opt.context import ConvexModel
from bcfl_opt.errors import InputError, listing, unknown_name
from bcfl_opt.game import Game
from bcfl_opt.population import Population
from bcfl_opt.solution import Solution
from bcfl_opt.solving import solve
from bcfl_opt.sweeps.fingerprints import describe
from bcfl_opt.sweeps.records import OWN, Axis, Record, failure, record_of, to_arrow

GAME_PARAMETERS = tuple(field.name for field in dataclasses.fields(Game))
PRICES = ("training_price", "mining_price")
#: Chunks that a sweep is cut into if nothing else is asked, the most cells in one, and the least where warm starts pay.
CHUNKS, LARGEST_CHUNK, LEAST_WARM_CHUNK = 64, 256, 8


# ---------------------------------------------------------------------- parameters and their values


def axis(name: str, values: Any) -> Axis:
    """A parameter's values with a label each: the values themselves, or the keys of a dict.

    Raises
    ------
    InputError : no values, a value twice, or something that is no list of values.
    """
    if isinstance(values, Mapping):
        labels, items = list(values), list(values.values())
    elif isinstance(values, str | bytes) or not _is_list(values):
        if isinstance(values, np.ndarray | pd.DataFrame):
            raise InputError(
                f"grid: {name}: an array of shape {values.shape} is no list of values; give it one dimension"
            )
        raise InputError(
            f"grid: {name}: {values!r} is no list of values; write [{values!r}], or give {name}= by itself"
        )
    else:
        items = list(values)
        labels = [_label(item, k, name) for k, item in enumerate(items)]
        if name == "population" and len(set(labels)) < len(labels):
            labels = [f"{label} {k}" for k, label in enumerate(labels)]
    if not items:
        raise InputError(f"grid: {name} has no values")
    labels = [label.item() if isinstance(label, np.generic) else label for label in labels]
    twice = [label for k, label in enumerate(labels) if label in labels[:k]] if len(set(labels)) < len(labels) else []
    if twice:
        raise InputError(f"grid: {name}: {listing(dict.fromkeys(twice))} appears twice")
    kinds = {type(label) for label in labels}
    if kinds <= {int, float} or kinds == {bool}:
        return Axis(name, np.array(labels), items)
    return Axis(name, np.array([str(label) for label in labels], dtype=object), items)


def _is_list(values: Any) -> bool:
    ok = isinstance(values, list | tuple | range | pd.Series | pd.Index)
    return ok or (isinstance(values, np.ndarray) and values.ndim == 1)


def _label(item: Any, k: int, name: str) -> Any:
    if isinstance(item, np.generic):
        item = item.item()
    if item is None or isinstance(item, bool | int | float | str):
        return item
    if isinstance(item, Population):
        return item.source
    if callable(item) and getattr(item, "__name__", "<lambda>") != "<lambda>":
        return item.__name__
    return f"{name} {k}"


def named_arguments(function: Callable[..., Any]) -> tuple[set[str], bool]:
    """Names of the arguments after the first that may be given by keyword, and whether any other name is taken too."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # some built-in functions do not tell
        return set(), True
    if not parameters or parameters[0].kind in (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.VAR_KEYWORD):
        raise InputError(f"{_name_of(function)} takes no game; a function to sweep is called with the game first")
    first = 0 if parameters[0].kind is inspect.Parameter.VAR_POSITIONAL else 1
    by_keyword = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    names = {parameter.name for parameter in parameters[first:] if parameter.kind in by_keyword}
    return names, any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters)


def _name_of(function: Any) -> str:
    return getattr(function, "__qualname__", None) or type(function).__name__


def _required(function: Callable[..., Any]) -> list[str]:
    try:
        parameters = list(inspect.signature(function).parameters.values())[1:]
    except (TypeError, ValueError):
        return []
    plain = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.KEYWORD_ONLY)
    return [each.name for each in parameters if each.default is each.empty and each.kind in plain]


# ---------------------------------------------------------------------- the plan


@dataclasses.dataclass(frozen=True, eq=False)
class Plan:
    """A whole sweep: what is called, on which games, with which parameters. ``plan(number)`` computes one chunk.

    function : called with the game and the parameters that are no parameters of the game.
    axes : the grid's parameters. game : the game that they change; None where each population gets one of its own.
    fixed : parameters with one value in all cells, of the game and of the function.
    prices : the function takes ``prices``, made from training_price and mining_price.
    warm : the function takes ``warm_start``, or returns Pyomo models; it then gets the cell's neighbour to start from.
    chunk : cells in a chunk.
    """

    function: Callable[..., Any]
    axes: tuple[Axis, ...]
    game: Game | None
    fixed: Mapping[str, Any]
    prices: bool
    takes_warm_start: bool
    warm: bool
    chunk: int

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(len(axis.values) for axis in self.axes)

    @property
    def cells(self) -> int:
        return math.prod(self.shape)

    @property
    def chunks(self) -> int:
        return -(-self.cells // self.chunk)

    @property
    def name(self) -> str:
        """What a result without a name is called."""
        name = getattr(self.function, "__name__", "")
        return name if name.isidentifier() and name not in OWN else "value"

    def members(self, number: int) -> list[tuple[int, ...]]:
        """Positions along each axis of the cells in a chunk, in their order."""
        first = number * self.chunk
        return [self._ploughed(k) for k in range(first, min(first + self.chunk, self.cells))]

    def _ploughed(self, k: int) -> tuple[int, ...]:
        place: list[int] = []
        for size in reversed(self.shape):
            k, position = divmod(k, size)
            place.append(position if k % 2 == 0 else size - 1 - position)
        return tuple(reversed(place))

    def positions(self, number: int) -> list[int]:
        """The cells of a chunk, numbered along the last axis of the grid first."""
        members = np.array(self.members(number)).reshape(-1, len(self.axes))
        return [int(k) for k in np.ravel_multi_index(tuple(members.T), self.shape)]

    def description(self) -> dict[str, Any]:
        """What decides the results, in JSON's types."""
        return {
            "function": describe(self.function, _name_of(self.function)),
            "game": describe(self.game, "game"),
            "grid": {axis.name: describe(list(axis.values), axis.name) for axis in self.axes},
            "labels": {axis.name: describe(axis.labels.tolist(), axis.name) for axis in self.axes},
            "fixed": {name: describe(value, name) for name, value in self.fixed.items()},
            "warm_start": self.warm,
            "chunk": self.chunk,
        }

    # ------------------------------------------------------------------ one chunk

    def __call__(self, number: int) -> pa.Table:
        """The chunk's results, one row a cell. What goes wrong in a cell is recorded there."""
        games: dict[int, Game] = {}
        start: Solution | None = None
        records = []
        for member in self.members(number):
            record, start = self._cell(member, games, start)
            records.append(record)
        return to_arrow(self.positions(number), records)

    def _cell(
        self, member: tuple[int, ...], games: dict[int, Game], start: Solution | None
    ) -> tuple[Record, Solution | None]:
        """What is kept of a cell, and what the next one may start from."""
        try:
            game, arguments = self._played(member, games)
            start = start if self.warm else None
            if self.takes_warm_start:
                arguments["warm_start"] = start
            result = self.function(game, **arguments)
            follows = self.takes_warm_start
            if _is_model(result):
                follows = not isinstance(result, ConvexModel) and _comes_from(result, "pyomo")
                result = solve(result, warm_start=start if follows else None)  # Clarabel has no warm start
            record = record_of(result, self.name)
        except Exception as error:  # whatever it is, it is this cell's trouble alone
            return failure(error), None
        return record, result if follows and isinstance(result, Solution) and result.succeeded else None

    def _played(self, member: tuple[int, ...], games: dict[int, Game]) -> tuple[Game, dict[str, Any]]:
        """The cell's game and the function's other arguments.

        games : the last game of each population; the next is made from it, so that Shapley values are computed once.
        """
        given = dict(self.fixed)
        crowd = -1
        for axis_, position in zip(self.axes, member, strict=True):
            given[axis_.name] = axis_.values[position]
            if axis_.name == "population":
                crowd = position
        rules = {name: given.pop(name) for name in GAME_PARAMETERS if name in given}
        population = rules.pop("population", None)
        if crowd not in games:
            if self.game is None:
                # The budgets belong together, so that they are set at once.
                games[crowd] = Game(population, **rules)
            else:
                games[crowd] = self.game if population is None else self.game.replace(population=population)
        game = games[crowd] = games[crowd].replace(**rules) if rules else games[crowd]
        if self.prices:
            training, mining = (given.pop(name) for name in PRICES)
            given["prices"] = game.prices(training, mining)
        return game, given


def _is_model(result: Any) -> bool:
    return isinstance(result, ConvexModel) or _comes_from(result, "pyomo") or _comes_from(result, "cvxpy")


def _comes_from(result: Any, package: str) -> bool:
    """Is it a model of this modelling language? Without loading the language."""
    kind = {"pyomo": "BlockData", "cvxpy": "Problem"}[package]
    return any(each.__name__ == kind and each.__module__.split(".")[0] == package for each in type(result).__mro__)


# ---------------------------------------------------------------------- making a plan


def plan(
    function: Callable[..., Any],
    grid: Mapping[str, Any],
    game: Game | None,
    fixed: Mapping[str, Any],
    *,
    warm_start: bool,
    chunk: int | None,
    max_cells: int,
) -> Plan:
    """The sweep that :func:`bcfl_opt.sweep` was asked for, checked before anything is computed.

    Raises
    ------
    InputError : naming the argument, the parameter and what is allowed.
    """
    if not callable(function):
        raise InputError(f"a function to sweep is called with a game; {type(function).__name__} cannot be called")
    if game is not None and not isinstance(game, Game):
        raise InputError(f"game: expected a Game, not {type(game).__name__}")
    if not isinstance(grid, Mapping) or not grid:
        raise InputError('grid: expected a dict of parameters and their values, such as {"deadline": [10.0, 15.0]}')
    shape = {name: axis(name, values) for name, values in grid.items()}
    _check_count({name: len(each.values) for name, each in shape.items()}, max_cells)
    given = [*grid, *fixed]
    if twice := [name for name in grid if name in fixed]:
        raise InputError(f"{listing(twice)}: in the grid and with one value beside it; choose")
    if game is None and "population" not in given:
        raise InputError("which game? give game=, or population= by itself or in the grid")
    names, takes_any = named_arguments(function)
    prices = "prices" in names and any(name in given and name not in names for name in PRICES)
    if prices and (absent := [name for name in PRICES if name not in given]):
        raise InputError(
            f"{_name_of(function)} takes prices, and {listing(absent)} is missing: put it in the grid or beside"
        )
    if prices and "prices" in given:
        raise InputError("give prices, or training_price and mining_price, not both")
    known = {*GAME_PARAMETERS, *names} - {"warm_start"} | (set(PRICES) if prices else set())
    for name in given:
        if not isinstance(name, str) or (name not in known and not takes_any):
            raise InputError(
                f"{unknown_name(f'parameter of the game or of {_name_of(function)}', name, sorted(known))}"
            )
    reached = {*given, "warm_start", *(("prices",) if prices else ())}
    if missing := [name for name in _required(function) if name not in reached]:
        raise InputError(
            f"{_name_of(function)} needs {listing(missing)} too: put it in the grid, or beside it as a keyword"
        )
    cells = math.prod(len(each.values) for each in shape.values())
    if chunk is None:
        least = LEAST_WARM_CHUNK if warm_start and _starts_warm(function, names) else 1
        chunk = min(max(-(-cells // CHUNKS), least), LARGEST_CHUNK)
    if isinstance(chunk, bool) or not isinstance(chunk, int | np.integer) or chunk < 1:
        raise InputError(f"chunk: {chunk!r} is no number of cells; at least 1")
    return Plan(
        function, tuple(shape.values()), game, dict(fixed), prices, "warm_start" in names, bool(warm_start), int(chunk)
    )


def _starts_warm(function: Callable[..., Any], names: set[str]) -> bool:
    """Is it known before the first call that neighbours help: the function takes ``warm_start``, or builds our models?"""
    return "warm_start" in names or str(getattr(function, "__module__", "")).startswith("bcfl_opt.models.")


def _check_count(sizes: Mapping[str, int], max_cells: int) -> None:
    cells = math.prod(sizes.values())
    if cells > max_cells:
        product = " x ".join(f"{size:,} ({name})" for name, size in sizes.items())
        raise InputError(
            f"the grid has {cells:,} cells, {product}, more than max_cells = {max_cells:,}; take fewer values, or raise it"
        )
