"""What is asked of every chunk of a population, and how is it answered?"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import math
from collections.abc import Callable, Iterator, Mapping
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd

from bcfl_opt import equilibria, exact
from bcfl_opt.errors import InputError
from bcfl_opt.game import PERFORMANCES, Game
from bcfl_opt.parts.source import IdRange, Part, chunks
from bcfl_opt.parts.target import Target
from bcfl_opt.parts.totals import Totals
from bcfl_opt.population import Population, id_text, line
from bcfl_opt.shapley import RewardShares, ShapleyValues
from bcfl_opt.solution import Solution

CAPS = ("training_cap", "mining_cap")
SOLVERS = {"exact": None, "ipopt": "pyomo", "clarabel": "cvxpy"}
#: Rows worked on at a time: some 50 MB with all that a step needs. A solver's models take a hundred times as much.
CHUNK, SOLVER_CHUNK = 1 << 17, 10_000


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class CappedGame(Game):
    """A game whose reward caps are data: a part of a population has no Shapley values of its own."""

    given_caps: pd.DataFrame | None = None

    @functools.cached_property
    def _caps(self) -> pd.DataFrame:
        assert self.given_caps is not None
        return pd.DataFrame({"shapley": np.nan, **self.given_caps}, index=self.population.ids)

    @functools.cached_property
    def shapley_values(self) -> ShapleyValues:
        return ShapleyValues(np.zeros(len(self)), np.zeros(len(self)), 0.0, "symmetry")

    @functools.cached_property
    def shapley_shares(self) -> RewardShares:
        nobody = np.zeros(len(self), dtype=bool)
        return RewardShares(np.full(len(self), 1.0 / len(self)), nobody, False, "The reward caps are given.")


@dataclasses.dataclass(frozen=True, eq=False)
class Question:
    """What is asked of every chunk; ``question(part)`` answers it for a part.

    columns : quantity by client -> its value for all clients, or None where a column of the source has it.
    multiplier : nu where the owner chooses the clients' deadlines; None: the deadline is common.
    target : where the tables go. tick : told of every chunk's rows, in this process.
    """

    problem: str
    mining_cycles: float
    deadline: float
    columns: Mapping[str, float | None]
    reward_caps: bool = False
    solver: str = "exact"
    chunk: int | None = None
    cost_weight: float = 0.1
    performance: str | Callable[[float], float] = "log"
    multiplier: float | None = None
    target: Target | None = None
    tick: Callable[[int], None] | None = None

    def __post_init__(self) -> None:
        if self.chunk is not None and (
            isinstance(self.chunk, bool) or not isinstance(self.chunk, int) or self.chunk < 1
        ):
            raise InputError(f"chunk: {self.chunk!r} is no number of rows; at least 1")
        probe = Population(pd.DataFrame({"training_cycles": [1.0], "energy_coefficient": [1.0]}))
        Game(probe, mining_cycles=self.mining_cycles, deadline=self.deadline, cost_weight=self.cost_weight)
        for name, value in self.columns.items():
            if value is not None:
                _checked(np.array([value], dtype=object), functools.partial(_named, name), infinite=name in CAPS)

    @property
    def rows(self) -> int:
        """Rows worked on at a time."""
        return self.chunk or (CHUNK if self.solver == "exact" else SOLVER_CHUNK)

    @property
    def read(self) -> list[str]:
        """Columns that the source must have besides a population's own."""
        return [name for name, value in self.columns.items() if value is None]

    def __call__(self, item: Any) -> tuple[Totals, list[IdRange]]:
        """The sums and ids of a part, whose table goes to a file of its own if there is a directory for it."""
        (number, part), frame = item if isinstance(item[0], tuple) else (item, None)
        totals, ranges = Totals(), []
        with Target.sheet(self.target, number) as write:
            for solution, where in self.answers(part, frame):
                assert solution.clients is not None
                write(solution.clients)
                totals += Totals.of(solution, where)
                ranges.append(IdRange.of(solution.clients.index))
                if self.tick is not None:
                    self.tick(len(solution.clients))
        return totals, ranges

    def answers(self, part: Part, frame: pd.DataFrame | None = None) -> Iterator[tuple[Solution, str]]:
        """Chunk by chunk, the answer and where its rows stand."""
        row = part.first_row
        for population in chunks(part, self.rows, self.read, frame):
            solution = self.answer(population)
            yield solution, f"{part.source}, rows {row} to {row + len(population) - 1}"
            row += len(population)

    def answer(self, population: Population) -> Solution:
        """For a population in memory."""
        game, given = self.game(population)
        if "training_price" in given:
            prices = _prices(game, given)
            if self.solver == "exact":
                return exact.best_response(game, prices, reward_caps=self.reward_caps)
            return self._solved(1, game, prices, reward_caps=self.reward_caps)
        if self.solver != "exact":
            return self._solved(2, game)
        rents = given["reservation_utility"]
        if self.multiplier is None:
            return equilibria.equilibrium(game, reservation_utility=rents, reward_caps=self.reward_caps)
        return equilibria.at_multiplier(game, self.multiplier, rents, self.reward_caps)

    def game(self, population: Population) -> tuple[Game, dict[str, np.ndarray]]:
        """The game of these clients, and their quantities, arrays of shape (N,)."""
        given = {name: self._by_client(population, name, value) for name, value in self.columns.items()}
        caps = {name: given[name] for name in CAPS if name in given}
        rules: dict[str, Any] = {
            "mining_cycles": self.mining_cycles,
            "deadline": self.deadline,
            "cost_weight": self.cost_weight,
        }
        if not caps:
            return Game(population, **rules), given
        return CappedGame(population, **rules, given_caps=pd.DataFrame(caps, index=population.ids)), given

    def _solved(self, problem: int, *given: Any, **options: Any) -> Solution:
        from bcfl_opt.solving import solve

        module = importlib.import_module(f"bcfl_opt.models.problem{problem}_{SOLVERS[self.solver]}")
        return solve(module.build(*given, **options), solver=self.solver)

    def _by_client(self, population: Population, name: str, value: float | None) -> np.ndarray:
        if value is not None:
            return np.full(len(population), float(value))
        frame = population.frame
        column = next((c for c in frame.columns if isinstance(c, str) and c.strip() == name), None)
        if column is None:
            raise InputError(f"{population.source}: no column {name!r}; add it, or give {name} for all clients")

        def place(k: int) -> str:
            row = line(k, population.source)
            return f"{population.source}, {row} (client {id_text(population.ids, k)}), column {name!r}"

        return _checked(frame[column].to_numpy(), place, infinite=name in CAPS, nothing="price" in name)

    def objective(self, totals: Totals) -> float:
        """Of all clients together."""
        if "training_price" in self.columns:
            return totals.sum("client_utility")
        function = self.performance if callable(self.performance) else PERFORMANCES[self.performance]
        parts = ("training_time", "mining_time", "training_reward", "mining_reward")
        cost = math.fsum(number for name in parts for number in totals.sums.get(name, ()))
        return float(function(totals.sum("training_cycles"))) - self.cost_weight * cost


def _named(name: str, _: int) -> str:
    return name


def _prices(game: Game, given: Mapping[str, np.ndarray]) -> pd.DataFrame:
    columns = {name: given[name] for name in ("training_price", "mining_price")}
    prices = pd.DataFrame(columns, index=game.population.ids)
    half = prices.isna().sum(axis=1).to_numpy() == 1
    if half.any():
        k = int(np.flatnonzero(half)[0])
        source = game.population.source
        raise InputError(
            f"{source}, {line(k, source)} (client {id_text(game.population.ids, k)}): one price is given and the other is "
            "missing; give both, or neither to offer nothing"
        )
    return game.checked_prices(prices)


def _checked(values: np.ndarray, place: Callable[[int], str], *, infinite: bool, nothing: bool = False) -> np.ndarray:
    """Numbers >= 0 as floats. infinite : inf is one of them. nothing : a missing number is allowed, and stays NaN."""
    if values.dtype.kind in "fiu":
        numbers, missing = values.astype(float), np.isnan(values)
    else:
        missing = np.asarray(pd.isna(values))
        real = np.fromiter(
            (isinstance(each, Real) and not isinstance(each, bool) for each in values), bool, len(values)
        )
        numbers = np.full(len(values), np.nan)
        numbers[real] = values[real].astype(float)
    good = (numbers >= 0) & (np.isfinite(numbers) | infinite) | (missing & nothing)
    if not good.all():
        k = int(np.flatnonzero(~good)[0])
        cell = values[k : k + 1].tolist()[0]
        must = f"must be {'a number' if infinite else 'a finite number'}, at least 0"
        raise InputError(f"{place(k)}: the value {'is missing; it' if missing[k] else repr(cell)} {must}")
    return numbers
