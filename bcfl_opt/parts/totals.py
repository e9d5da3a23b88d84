"""How do the answers of parts add up? ``Totals`` of some clients, and ``PartitionedSolution``, the result for all of them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bcfl_opt.certificate import Certificate
from bcfl_opt.errors import NoSolutionError
from bcfl_opt.layout import laid_out
from bcfl_opt.solution import Quality, Solution, Status

#: Clients that take no part, and chunks without an answer, that a result names.
NAMED = 5
#: Columns of the clients' table that are added up.
SUMMED = ("training_time", "mining_time", "training_reward", "mining_reward", "energy_cost", "client_utility")


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
    shadow_prices : ``payment_budget``, d objective / d budget, where there is one. seconds : wall time.
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
    shadow_prices: Mapping[str, float]
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
            lines.append(f"  certificate  {self.certificate.text}")
        if self.out is not None:
            lines.append(f"  table        {self.out}")
        return laid_out([*lines, f"  effort       {self.seconds:.3g} s"])
