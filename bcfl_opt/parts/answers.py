"""Who asks all the parts, and when is there an answer? Sums, the budget that couples the clients, ids, and then the table."""

from __future__ import annotations

import dataclasses
import functools
import math
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from bcfl_opt.certificate import Certificate
from bcfl_opt.errors import InputError
from bcfl_opt.executors import results
from bcfl_opt.parts.budget import ROUNDING, Spending, multiplier
from bcfl_opt.parts.question import Question
from bcfl_opt.parts.source import IdRange, Source, check_unique, hashes, open_source, rows_with, surely_unique
from bcfl_opt.parts.target import Target
from bcfl_opt.parts.totals import PartitionedSolution, Totals
from bcfl_opt.progress import progress_bar
from bcfl_opt.solution import Quality, Status


def answered(
    question: Question,
    source: Any,
    out: Any,
    overwrite: bool,
    executor: Any,
    check_ids: bool,
    progress: bool | None,
    budget: float | None = None,
) -> PartitionedSolution:
    """Ask every part of the source, add up, compare ids, and only then let the table of clients appear.

    budget : of all payments together; ``question.multiplier`` then stands for its own, which is looked for first.
    """
    return _Inquiry(open_source(source), executor, progress, time.perf_counter()).answer(
        question, out, overwrite, check_ids, budget
    )


@dataclasses.dataclass(frozen=True, eq=False)
class _Inquiry:
    """A source, and who asks it. begin : when it began."""

    source: Source
    executor: Any
    progress: bool | None
    begin: float

    @property
    def here(self) -> bool:
        """Is all done in this process?"""
        return self.executor is None or (self.executor == 1 and not isinstance(self.executor, bool))

    def answer(
        self, question: Question, out: Any, overwrite: bool, check_ids: bool, budget: float | None
    ) -> PartitionedSolution:
        with Target.opened(out, overwrite, one_process=self.here) as target:
            if budget is not None and question.multiplier is not None:
                nu, least, clients = self._multiplier(question, budget)
                if math.isnan(nu):
                    _abandon(target)
                    totals = Totals(clients=clients)
                    return self._solution(question, totals, None, Status.INFEASIBLE, _too_little(budget, least))
                question = dataclasses.replace(question, multiplier=nu)
            totals, ranges = self._totals(question, target)
            if check_ids and not surely_unique(ranges):
                self._check_ids(question.rows)
            spent = totals.sum("training_reward") + totals.sum("mining_reward")
            if budget is not None and question.multiplier is None and spent > budget * (1.0 + ROUNDING):
                _abandon(target)
                return self._solution(question, totals, None, Status.INFEASIBLE, _too_little(budget, spent))
            status, detail = Status.SOLVED if totals.recruited else Status.NO_CLIENTS, ""
            if totals.failures:
                status, detail = totals.failed[0]
                detail = f"{totals.failures} chunks have no answer; {detail}"
            return self._solution(question, totals, target, status, detail, budget)

    def _totals(self, question: Question, target: Target | None) -> tuple[Totals, list[IdRange]]:
        """Sums over all parts, and what each chunk tells of its ids."""
        outcomes: dict[int, tuple[Totals, list[IdRange]]] = {}
        items = list(enumerate(self.source.parts))
        with progress_bar(f"{question.problem} for {self.source.name}", self.source.rows, self.progress) as advance:
            question = dataclasses.replace(question, target=target, tick=advance if self.here else None)
            for position, outcome in results(self.executor, question, items, self.source.data):
                outcomes[position] = outcome
                if not self.here:
                    advance(outcome[0].clients)
        parts = [outcomes[k] for k in range(len(items))]
        ranges = [each for _, found in parts for each in found]
        if not ranges:
            raise InputError(f"{self.source.name}: the table is empty; a population needs at least one client")
        return functools.reduce(Totals.__add__, (total for total, _ in parts)), ranges

    # ------------------------------------------------------------------ a shared budget

    def _multiplier(self, question: Question, budget: float) -> tuple[float, float, int]:
        """nu, the least payments, and how many clients there are."""
        clients = 0

        def evaluate(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            nonlocal clients
            work, found = Spending(question, points), {}
            with progress_bar(f"budget of {self.source.name}", len(self.source.parts), self.progress) as advance:
                for position, outcome in results(self.executor, work, self.source.parts, self.source.data):
                    found[position] = outcome
                    advance(1)
            total, ends, counts = zip(*(found[k] for k in range(len(found))), strict=True)  # in order, to the last bit
            clients = sum(counts)
            return np.sum(total, axis=0), np.sum(ends, axis=0)

        return *multiplier(evaluate, budget), clients

    # ------------------------------------------------------------------ the result

    def _solution(
        self,
        question: Question,
        totals: Totals,
        target: Target | None,
        status: Status,
        detail: str,
        budget: float | None = None,
    ) -> PartitionedSolution:
        certificate = None
        if totals.residuals:
            residuals = {name: value for name, (value, _) in totals.residuals.items()}
            where = {name: place for name, (_, place) in totals.residuals.items()}
            certificate = Certificate(**residuals, where=where)  # type: ignore[arg-type]
        if certificate is not None and budget is not None:
            certificate = _with_budget(certificate, totals, budget, question.multiplier or 0.0)
        if status is Status.SOLVED and not (certificate is not None and certificate.holds()):
            status, detail = Status.NOT_CERTIFIED, "" if certificate is None else certificate.failure()
        solved = status is Status.SOLVED
        quality = Quality.GLOBAL if certificate is not None and certificate.closes_gap else Quality.LOCAL
        return PartitionedSolution(
            problem=question.problem,
            solver=question.solver,
            status=status,
            quality=quality if solved else Quality.NONE,
            certificate=certificate,
            source=self.source.name,
            out=None if target is None else target.path,
            clients=totals.clients,
            recruited=totals.recruited,
            sums={name: totals.sum(name) for name in totals.sums},
            absent=dict(totals.absent),
            shadow_prices={}
            if budget is None
            else {"payment_budget": question.cost_weight * (question.multiplier or 0.0)},
            seconds=time.perf_counter() - self.begin,
            detail=detail,
            _objective=question.objective(totals) if solved else math.nan,
        )

    # ------------------------------------------------------------------ ids

    def _check_ids(self, rows: int) -> None:
        source = self.source
        with progress_bar(f"ids of {source.name}", source.rows, self.progress) as advance:

            def arrays() -> Iterator[np.ndarray]:
                if self.here and source.data is None:  # chunk by chunk: one part may be larger than memory
                    found = (each for part in source.parts for each in hashes(part, rows))
                else:
                    parts = results(self.executor, _Ids(rows), source.parts, source.data)
                    found = (each for _, part in parts for each in part)
                for array in found:
                    advance(len(array))
                    yield array

            def again(suspects: np.ndarray) -> Iterator[tuple[str, Any, str]]:
                found = dict(results(self.executor, _Ids(rows, suspects), source.parts, source.data))
                for k in range(len(source.parts)):
                    yield from found[k]

            check_unique(arrays(), again)


def _abandon(target: Target | None) -> None:
    if target is not None:
        target.abandoned = True


def _too_little(budget: float, least: float) -> str:
    return f"the payment budget {budget:.6g} is less than the least possible payment {least:.6g}"


def _with_budget(certificate: Certificate, totals: Totals, budget: float, nu: float) -> Certificate:
    """The certificate of the parts with what they cannot know: is the budget kept, and spent where it has a price?

    The gap of the Lagrangian, in which a coin costs 1 + nu, and nu x the coins left over bound the loss together.
    """
    spent = totals.sum("training_reward") + totals.sum("mining_reward")
    over = max(spent / budget - 1.0, 0.0)
    size = totals.sum("training_time") + totals.sum("mining_time") + (1.0 + nu) * spent
    slack = nu * max(budget - spent, 0.0) / size
    where = dict(certificate.where)
    if over > certificate.primal:
        where["primal"] = "the payment budget"
    if slack > certificate.complementarity:
        where["complementarity"] = "the payment budget"
    return dataclasses.replace(
        certificate,
        primal=max(certificate.primal, over),
        complementarity=max(certificate.complementarity, slack),
        gap=None if certificate.gap is None else certificate.gap + slack,
        where=where,
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
