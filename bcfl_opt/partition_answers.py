"""What is asked of every chunk of a population, and how do the answers add up?"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import math
import time
from collections.abc import Callable, Iterator, Mapping
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bcfl_opt import exact
from bcfl_opt.certificate import Certificate
from bcfl_opt.errors import InputError, NoSolutionError
from bcfl_opt.executors import results
from bcfl_opt.game import PERFORMANCES, Game
from bcfl_opt.partition_files import Target
from bcfl_opt.partitions import (
    IdRange,
    Part,
    Source,
    check_unique,
    chunks,
    hashes,
    open_source,
    rows_with,
    surely_unique,
)
from bcfl_opt.population import Population, id_text, line
from bcfl_opt.progress import progress_bar
from bcfl_opt.shapley import RewardShares, ShapleyValues
from bcfl_opt.solution import Quality, Solution, Status

SOLVERS = {"exact": None, "ipopt": "pyomo", "clarabel": "cvxpy"}
#: Rows worked on at a time: some 50 MB with all that a step needs. A solver's models take a hundred times as much.
CHUNK, SOLVER_CHUNK = 1 << 17, 10_000
#: Clients that take no part, and chunks without an answer, that a result names.
NAMED = 5
#: Columns of the clients' table that are added up.
SUMMED = ("training_time", "mining_time", "training_reward", "mining_reward", "energy_cost", "client_utility")


# ---------------------------------------------------------------------- sums


@dataclasses.dataclass(frozen=True, slots=True)
class Totals:
    """Sums over some clients; those of two groups of clients add up.

    clients, recruited : how many there are, and how many of them take part. sums : of the recruited clients' training cycles
    and columns, one number a chunk. residuals : the largest of each residual of the certificate, and where. failed : why
    chunks have no certified answer; failures : how many. absent : the first clients that take no part, with their reasons.
    """

    clients: int = 0
    recruited: int = 0
    sums: Mapping[str, tuple[float, ...]] = dataclasses.field(default_factory=dict)
    residuals: Mapping[str, tuple[float, str]] = dataclasses.field(default_factory=dict)
    failures: int = 0
    failed: tuple[tuple[Status, str], ...] = ()
    absent: tuple[tuple[Any, str], ...] = ()

    @classmethod
    def of(cls, solution: Solution, where: str) -> Totals:
        """Of one chunk; where : its rows, in words."""
        assert solution.clients is not None and solution.game is not None
        clients, certificate = solution.clients, solution.certificate
        taken = clients["recruited"].to_numpy(dtype=bool)
        sums = {"training_cycles": (float(solution.game.population.training_cycles[taken].sum()),)}
        for name in SUMMED:
            sums[name] = (float(clients[name].to_numpy()[taken].sum()),)
        residuals = {} if certificate is None else certificate.residuals
        lost = not solution.succeeded and solution.status is not Status.NO_CLIENTS
        rows = np.flatnonzero(~taken)[:NAMED]
        return cls(
            len(clients),
            int(taken.sum()),
            sums,
            {name: (value, certificate.where.get(name, where)) for name, value in residuals.items() if certificate},
            int(lost),
            ((solution.status, f"{where}: {solution.message}"),) if lost else (),
            tuple(zip(clients.index[rows].tolist(), clients["reason"].iloc[rows].tolist(), strict=True)),
        )

    def __add__(self, other: Totals) -> Totals:
        residuals = {**self.residuals, **other.residuals}
        if self.residuals and other.residuals:  # a gap that is not known everywhere is not known; a NaN is the largest
            pairs = {
                name: (self.residuals[name], other.residuals[name])
                for name in self.residuals
                if name in other.residuals
            }
            residuals = {
                name: one if one[0] >= two[0] or one[0] != one[0] else two for name, (one, two) in pairs.items()
            }
        return Totals(
            self.clients + other.clients,
            self.recruited + other.recruited,
            {name: self.sums.get(name, ()) + other.sums.get(name, ()) for name in {**self.sums, **other.sums}},
            residuals,
            self.failures + other.failures,
            (self.failed + other.failed)[:NAMED],
            (self.absent + other.absent)[:NAMED],
        )

    def sum(self, name: str) -> float:
        """Of a column over the recruited clients, correctly rounded from the chunks' sums in whichever order they came."""
        return math.fsum(self.sums.get(name, ()))


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class PartitionedSolution:
    """The result for a population in parts. Values of a failed solve are not handed out: they raise.

    problem, solver : what was solved, and by whom. status, quality, succeeded, message, objective, certificate : as in
    :class:`bcfl_opt.Solution`; every residual of the certificate is the largest of all chunks.
    source : what was read. out : where the table of clients is, or None. clients, recruited : how many there are, and how
    many of them take part. sums : over the recruited clients: training_cycles, training_time, mining_time, training_reward,
    mining_reward, energy_cost, client_utility. absent : the first clients that take no part, with their reasons.
    seconds : wall time.
    """

    problem: str
    solver: str
    status: Status
    quality: Quality
    certificate: Certificate | None
    source: str
    out: Path | None
    clients: int
    recruited: int
    sums: Mapping[str, float]
    absent: Mapping[Any, str]
    seconds: float
    detail: str = ""
    _objective: float = math.nan

    @property
    def succeeded(self) -> bool:
        return self.status is Status.SOLVED

    @property
    def message(self) -> str:
        return f"{self.status.value}{': ' if self.detail else ''}{self.detail}"

    @property
    def objective(self) -> float:
        return self.raise_if_failed()._objective

    def raise_if_failed(self) -> PartitionedSolution:
        """Return itself, or raise :class:`NoSolutionError` with the message."""
        if not self.succeeded:
            raise NoSolutionError(f"{self.problem} was not solved by {self.solver} for {self.source}: {self.message}")
        return self

    def __repr__(self) -> str:
        lines = [f"{self.problem} by {self.solver} for {self.source}: {self.message}"]
        if self.succeeded:
            lines.append(f"  objective    {self._objective:.10g}   ({self.quality.value})")
        line_ = f"  clients      {self.recruited:,} of {self.clients:,} recruited"
        for client, reason in list(self.absent.items())[:1]:
            line_ += f"; {client!r}: {reason}"
        lines.append(line_)
        if self.certificate is not None:
            lines.append(f"  certificate  {self.certificate!r}")
        if self.out is not None:
            lines.append(f"  table        {self.out}")
        return "\n".join([*lines, f"  effort       {self.seconds:.3g} s"])


# ---------------------------------------------------------------------- one chunk


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
                _checked(np.array([value], dtype=object), functools.partial(_named, name), infinite="cap" in name)

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
        given = {name: self._by_client(population, name, value) for name, value in self.columns.items()}
        caps = {name: given[name] for name in ("training_cap", "mining_cap") if name in given}
        rules: dict[str, Any] = {
            "mining_cycles": self.mining_cycles,
            "deadline": self.deadline,
            "cost_weight": self.cost_weight,
        }
        game = Game(population, **rules)
        if caps:
            game = CappedGame(population, **rules, given_caps=pd.DataFrame(caps, index=population.ids))
        if "training_price" in given:
            prices = _prices(game, given)
            if self.solver == "exact":
                return exact.best_response(game, prices, reward_caps=self.reward_caps)
            return self._solved(1, game, prices, reward_caps=self.reward_caps)
        return exact.equilibrium(game) if self.solver == "exact" else self._solved(2, game)

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

        return _checked(frame[column].to_numpy(), place, infinite="cap" in name, nothing="price" in name)

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


# ---------------------------------------------------------------------- all of them


def answered(
    question: Question,
    source: Any,
    out: Any,
    overwrite: bool,
    executor: Any,
    check_ids: bool,
    progress: bool | None,
) -> PartitionedSolution:
    """Ask every part of the source, add up, compare ids, and only then let the table of clients appear."""
    begin = time.perf_counter()
    opened = open_source(source)
    outcomes: dict[int, tuple[Totals, list[IdRange]]] = {}
    here = executor is None or (executor == 1 and not isinstance(executor, bool))
    with Target.opened(out, overwrite, one_process=here) as target:
        items = list(enumerate(opened.parts))
        with progress_bar(f"{question.problem} for {opened.name}", opened.rows, progress) as advance:
            question = dataclasses.replace(question, target=target, tick=advance if here else None)
            for position, outcome in results(executor, question, items, opened.data):
                outcomes[position] = outcome
                if not here:
                    advance(outcome[0].clients)
            parts = [outcomes[k] for k in range(len(items))]
        ranges = [each for _, found in parts for each in found]
        if not ranges:
            raise InputError(f"{opened.name}: the table is empty; a population needs at least one client")
        if check_ids and not surely_unique(ranges):
            _check_ids(opened, question.rows, executor, progress)
        totals = functools.reduce(Totals.__add__, (total for total, _ in parts))
        solution = _solution(question, opened, totals, target, begin)
    return solution


def _solution(
    question: Question, source: Source, totals: Totals, target: Target | None, begin: float
) -> PartitionedSolution:
    status, detail = Status.SOLVED if totals.recruited else Status.NO_CLIENTS, ""
    if totals.failures:
        status, detail = totals.failed[0]
        detail = f"{totals.failures} chunks have no answer; {detail}"
    certificate = None
    if totals.residuals:
        certificate = Certificate(
            **{name: value for name, (value, _) in totals.residuals.items()},
            where={name: place for name, (_, place) in totals.residuals.items()},
            unscaled={},
        )
    solved = status is Status.SOLVED
    quality = Quality.GLOBAL if certificate is not None and certificate.closes_gap else Quality.LOCAL
    return PartitionedSolution(
        problem=question.problem,
        solver=question.solver,
        status=status,
        quality=quality if solved else Quality.NONE,
        certificate=certificate,
        source=source.name,
        out=None if target is None else target.path,
        clients=totals.clients,
        recruited=totals.recruited,
        sums={name: totals.sum(name) for name in totals.sums},
        absent=dict(totals.absent),
        seconds=time.perf_counter() - begin,
        detail=detail,
        _objective=question.objective(totals) if solved else math.nan,
    )


@dataclasses.dataclass(frozen=True)
class _Ids:
    """The ids of a part: 64 bits of each, or the rows whose bits are suspected."""

    rows: int
    suspects: np.ndarray | None = None

    def __call__(self, item: Any) -> Any:
        part, frame = item if isinstance(item, tuple) else (item, None)
        if self.suspects is None:
            return list(hashes(part, self.rows, frame))
        return rows_with(part, self.rows, self.suspects, frame)


def _check_ids(source: Source, rows: int, executor: Any, progress: bool | None) -> None:
    with progress_bar(f"ids of {source.name}", source.rows, progress) as advance:

        def arrays() -> Iterator[np.ndarray]:
            if executor is None and source.data is None:  # chunk by chunk: one part may be larger than memory
                found = (each for part in source.parts for each in hashes(part, rows))
            else:
                found = (each for _, part in results(executor, _Ids(rows), source.parts, source.data) for each in part)
            for array in found:
                advance(len(array))
                yield array

        def again(suspects: np.ndarray) -> Iterator[tuple[str, Any, str]]:
            asked = results(executor, _Ids(rows, suspects), source.parts, source.data)
            found = dict(asked)
            for k in range(len(source.parts)):
                yield from found[k]

        check_unique(arrays(), again)
