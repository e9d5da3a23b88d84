"""What if a programme falls apart, and some of its parts have no answer? The others are solved without them.

Parts are what no constraint and no term of the objective connects; in a game, a client is one part. They are solved
together, which is fastest while all goes well. Parts that have no room within their bounds, and where that fails those
that the failure points at (terms without a value, violated rows, an objective that ran away), are put aside, and the rest
is solved; those put aside are proven infeasible together, by one elastic programme, or are solved by halves down to one part.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from pyomo.common.gc_manager import PauseGC
from pyomo.core.base.block import BlockData

from bcfl_opt import ipopt
from bcfl_opt.certificate import TOLERANCE
from bcfl_opt.context import Context
from bcfl_opt.nlp.conflict import Elastic
from bcfl_opt.nlp.convexity import is_convex
from bcfl_opt.nlp.ipopt_options import validated
from bcfl_opt.nlp.multistart import best_of_starts
from bcfl_opt.nlp.nonlinear import Answer, certified, solve_program
from bcfl_opt.nlp.presolve import Multipliers, presolve
from bcfl_opt.nlp.program import Program, program
from bcfl_opt.nlp.subprogram import objective_by_part, part_numbers, restricted
from bcfl_opt.solution import WISHED, Quality, Status
from bcfl_opt.threads import one_thread

#: So few parts under suspicion are solved one by one, which tells more of each.
FEW = 4
#: Of an objective that runs away, a part that adds less than this share of what the worst does is not to blame.
FAR = 1e6
#: The status of a whole is that of the part whose trouble settles most.
TELLING = (
    Status.INFEASIBLE,
    Status.LOCALLY_INFEASIBLE,
    Status.UNBOUNDED,
    Status.EVALUATION_ERROR,
    *(status for status in Status if status not in WISHED),
)


@one_thread()
def solve_by_parts(
    model: BlockData, *, time_limit: float | None = None, starts: int = 1, seed: int = 0, **settings: Any
) -> Answer:
    """As :func:`bcfl_opt.nlp.nonlinear.solve_program`, and what is independent of a part without an answer has one.

    A game is then PARTLY_SOLVED: its clients are many problems, told at once. The point and the multipliers are NaN for
    those without an answer, ``answer.part`` is the programme without them, certified by itself, and ``answer.failures`` are
    theirs, the most telling first. Any other model is one problem, which ends as its worst part does; then
    ``answer.part`` is such an answer as a game's.

    starts, seed : as for :func:`bcfl_opt.solve`; ``provenance["starts"]`` tells what each led to, where there are several.
    """
    begin = time.perf_counter()
    settings["options"] = validated(settings.get("options") or {})
    with PauseGC():
        read = program(model)
    reading = time.perf_counter() - begin
    answer = _Course(read, time_limit, settings, starts, seed).answer()
    provenance = {**answer.provenance, "time_limit": time_limit}
    return dataclasses.replace(answer, timing=_added({"read": reading}, answer.timing), provenance=provenance)


def _labels(read: Program) -> np.ndarray:
    """Number of the part of each column, then of each row. In a game, what bears a client's id is that client's."""
    context = getattr(read.model, "bcfl", None)
    if not isinstance(context, Context):
        return part_numbers(read.functions)
    clients = set(context.clients)
    first: dict[Any, int] = {}
    ends: list[tuple[int, int]] = []
    for node, item in enumerate((*read.variables, *read.constraints)):
        index = item.index()
        if index in clients and (known := first.setdefault(index, node)) != node:
            ends.append((known, node))
    links = np.array(ends, dtype=np.int64).reshape(-1, 2).T
    return part_numbers(read.functions, (links[0], links[1]))


def _left(time_limit: float | None, begin: float) -> float | None:
    return None if time_limit is None else max(time_limit - (time.perf_counter() - begin), 1e-3)


def _added(first: Mapping[str, float], second: Mapping[str, float]) -> dict[str, float]:
    return {name: first.get(name, 0.0) + second.get(name, 0.0) for name in {**first, **second}}


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class _Chunk:
    """Some parts as a programme of their own. columns, rows : of the whole. labels : parts, of its columns, then rows."""

    program: Program
    columns: np.ndarray
    rows: np.ndarray
    labels: np.ndarray

    @property
    def parts(self) -> np.ndarray:
        return np.unique(self.labels)

    def of(self, parts: np.ndarray) -> _Chunk:
        inside = np.isin(self.labels, parts)
        n = len(self.columns)
        columns, rows = np.flatnonzero(inside[:n]), np.flatnonzero(inside[n:])
        part = restricted(self.program, rows, columns)
        return _Chunk(part, self.columns[columns], self.rows[rows], self.labels[inside])

    def halves(self) -> Iterator[_Chunk]:
        parts = self.parts
        yield self.of(parts[: len(parts) // 2])
        yield self.of(parts[len(parts) // 2 :])


class _Course:
    """One solve by parts, and what came of it so far."""

    def __init__(
        self, read: Program, time_limit: float | None, settings: Mapping[str, Any], starts: int, seed: int
    ) -> None:
        columns, rows = np.arange(len(read.variables)), np.arange(len(read.constraints))
        self._whole = _Chunk(read, columns, rows, np.zeros(len(columns) + len(rows), dtype=np.int64))
        self._settings, self._time_limit, self._begin = settings, time_limit, time.perf_counter()
        self._answers: list[tuple[_Chunk, Answer]] = []
        self._failures: list[tuple[_Chunk, Answer]] = []
        self._runs: list[Answer] = []
        self._starts, self._seed = starts, seed
        self._started: list[dict[str, Any]] = []

    def answer(self) -> Answer:
        """Solve all there is."""
        read = self._whole.program
        if not part_numbers(read.functions).any():
            self._keep(self._whole, self._solved(self._whole))
        else:
            self._solve_parts()
        if not self._failures and len(self._answers) == 1:
            answer = self._answers[0][1]
        elif not self._answers and len(self._failures) == 1:
            answer = self._failures[0][1]
        else:
            answer = self._joined()
        told = {"starts": self._started} if self._started else {}
        if len(self._runs) <= 1:
            return dataclasses.replace(answer, provenance={**answer.provenance, **told})
        timing: dict[str, float] = {}
        for run in self._runs:
            timing = _added(timing, run.timing)
        tried = [attempt for run in self._runs for attempt in run.provenance["attempts"]]
        iterations = [run.iterations for run in self._runs if run.iterations is not None]
        return dataclasses.replace(
            answer,
            timing=timing,
            provenance={**self._runs[0].provenance, "attempts": tried, "parts": len(self._whole.parts), **told},
            iterations=sum(iterations) if iterations else None,
            log="".join(run.log for run in self._runs),
        )

    # ------------------------------------------------------------------ solving

    def _solve_parts(self) -> None:
        read, first = self._whole.program, None
        if not _cramped(read).any():
            first = self._solved(self._whole, slice(0, 1))
            if self._final(first):
                self._keep(self._whole, first)
                return
        self._whole = dataclasses.replace(self._whole, labels=_labels(read))
        self._settle(self._whole, first)

    def _settle(self, chunk: _Chunk, answer: Answer | None = None) -> None:
        """Solve the parts together, and where that fails find those that are to blame. answer : of the first attempt."""
        if len(chunk.parts) == 1:
            self._keep(chunk, self._solved(chunk))
            return
        if answer is None and (bad := _cramped(chunk.program)).any():
            blamed = np.unique(chunk.labels[bad])
            if len(blamed) < len(chunk.parts):
                self._settle(chunk.of(np.setdiff1d(chunk.parts, blamed)))
            self._examine(chunk.of(blamed))
            return
        answer = answer or self._solved(chunk, slice(0, 1))
        if self._final(answer):
            self._keep(chunk, answer)
            return
        blamed = _blamed(chunk, answer)
        if answer.status is Status.UNBOUNDED and len(blamed) == len(chunk.parts):
            self._keep(chunk, answer)  # all of them ran away at once
            return
        if 0 < len(blamed) < len(chunk.parts):
            rest = chunk.of(np.setdiff1d(chunk.parts, blamed))
            again = answer.status is Status.UNBOUNDED and len(rest.parts) > 1
            answer = self._solved(rest, slice(0, 1)) if again else None
            if answer is not None and answer.status is Status.UNBOUNDED:
                self._examine(rest)  # those that run away show themselves one at a time: by halves, then
            else:
                self._settle(rest, answer)
            self._examine(chunk.of(blamed))
            return
        if not len(blamed):
            answer = self._solved(chunk, slice(1, None))
            if self._final(answer):
                self._keep(chunk, answer)
                return
        self._examine(chunk)

    def _examine(self, chunk: _Chunk) -> None:
        """Tell which of the parts have no room, and solve the others by halves."""
        parts = chunk.parts
        if len(parts) > FEW:
            for part, why in _without_room(chunk).items():
                self._fail(chunk.of(np.array([part])), *why)
                parts = np.setdiff1d(parts, part)
        if len(parts) == len(chunk.parts) > FEW:
            for half in chunk.halves():
                self._settle(half)
        elif len(parts) > FEW:
            self._settle(chunk.of(parts))
        else:
            for part in parts:
                self._settle(chunk.of(np.array([part])))

    def _solved(self, chunk: _Chunk, attempts: slice = slice(None), start: np.ndarray | None = None) -> Answer:
        left = _left(self._time_limit, self._begin)
        answer = solve_program(chunk.program, time_limit=left, attempts=attempts, start=start, **self._settings)
        self._runs.append(answer)
        return answer

    def _final(self, answer: Answer) -> bool:
        """Is it an answer, or a stop that the user asked for?"""
        limited = answer.status is Status.ITERATION_LIMIT and "max_iter" in self._settings["options"]
        return answer.status is Status.SOLVED or answer.status in WISHED or limited

    def _keep(self, chunk: _Chunk, answer: Answer) -> None:
        if self._starts > 1:
            unit = self._settings.get("unit", 1.0)
            answer, told = best_of_starts(
                answer, lambda x: self._solved(chunk, start=x), starts=self._starts, seed=self._seed, unit=unit
            )
            self._started += told
        (self._answers if answer.status is Status.SOLVED else self._failures).append((chunk, answer))

    def _fail(self, chunk: _Chunk, status: Status, detail: str) -> None:
        self._failures.append((chunk, self._without_a_run(chunk.program, status, detail)))

    def _without_a_run(self, read: Program, status: Status, detail: str) -> Answer:
        known = ipopt.provenance(
            self._settings["options"],
            time_limit=self._time_limit,
            warm_start=self._settings.get("warm_start") is not None,
            engine=self._settings.get("engine", "cyipopt"),
        )
        return Answer(read, status, Quality.NONE, detail, None, read.start(), None, None, "", {}, known)

    # ------------------------------------------------------------------ what came of it

    def _joined(self) -> Answer:
        """One answer for the whole, with a certificate for all that is solved."""
        read = self._whole.program
        failures = [answer for _, answer in sorted(self._failures, key=_order)]
        if not failures:
            return self._filled(self._whole)
        worst = failures[0]
        detail = worst.detail + _besides(len(failures), len(self._answers))
        none = self._without_a_run(read, worst.status, detail)
        if self._runs and self._runs[0].program is read:
            none = dataclasses.replace(self._runs[0], status=worst.status, quality=Quality.NONE, detail=detail)
        none = dataclasses.replace(none, failures=tuple(failures))
        if not self._answers or worst.status in WISHED or _nobody_is_left(read, failures):
            return none
        kept = self._whole.of(np.concatenate([chunk.parts for chunk, _ in self._answers]))
        part = self._filled(kept)
        if part.status is not Status.SOLVED:
            return dataclasses.replace(none, status=part.status, detail=part.detail)
        n, m = len(read.variables), len(read.constraints)
        x, rows, low, high = (np.full(size, np.nan) for size in (n, m, n, n))
        assert part.multipliers is not None
        x[kept.columns], rows[kept.rows] = part.x, part.multipliers.rows
        low[kept.columns], high[kept.columns] = part.multipliers.x_lower, part.multipliers.x_upper
        spread = dataclasses.replace(part, program=read, x=x, multipliers=Multipliers(rows, low, high), part=part)
        lost = list(clients_of(failures, read.model))
        if not lost:
            return dataclasses.replace(none, part=spread)
        count = len(read.model.bcfl.clients)
        more = f", nor have {len(lost) - 1} more" if len(lost) > 1 else ""
        return dataclasses.replace(
            spread,
            status=Status.PARTLY_SOLVED,
            quality=Quality.NONE,
            detail=f"{count - len(lost)} of {count} clients; client {lost[0]!r} has no answer{more}: {reason(worst)}",
            failures=tuple(failures),
        )

    def _filled(self, kept: _Chunk) -> Answer:
        """The answers of several chunks as one, judged again; of one chunk, its own."""
        if len(self._answers) == 1:
            return self._answers[0][1]
        n, m = len(kept.columns), len(kept.rows)
        x, rows, low, high = (np.zeros(size) for size in (n, m, n, n))
        for chunk, answer in self._answers:
            columns, places = np.searchsorted(kept.columns, chunk.columns), np.searchsorted(kept.rows, chunk.rows)
            assert answer.multipliers is not None
            x[columns], rows[places] = answer.x, answer.multipliers.rows
            low[columns], high[columns] = answer.multipliers.x_lower, answer.multipliers.x_upper
        multipliers = Multipliers(rows, low, high)
        certificate = certified(kept.program, x, multipliers, unit=self._settings.get("unit", 1.0))
        bent = [answer.certificate.curvature for _, answer in self._answers if answer.certificate is not None]
        known = [curvature for curvature in bent if curvature is not None]
        certificate = dataclasses.replace(certificate, curvature=min(known) if known else None)
        game = self._settings.get("unit", 1.0) != 1.0
        good = certificate.accepted(game=game)
        return dataclasses.replace(
            self._answers[0][1],
            program=kept.program,
            status=Status.SOLVED if good else Status.NOT_CERTIFIED,
            quality=Quality.NONE if not good else Quality.GLOBAL if certificate.closes_gap else Quality.LOCAL,
            detail="" if good else certificate.failure(game=game),
            certificate=certificate,
            x=x,
            multipliers=multipliers,
        )


def _order(failure: tuple[_Chunk, Answer]) -> tuple[int, int]:
    """What the user asked for comes first, then what settles most; then in the model's order."""
    chunk, answer = failure
    rank = -1 if answer.status in WISHED else TELLING.index(answer.status)
    return rank, int(chunk.rows[0]) if len(chunk.rows) else int(chunk.columns[0])


# ---------------------------------------------------------------------- who is to blame


def _blamed(chunk: _Chunk, answer: Answer) -> np.ndarray:
    """Parts that a failed solve points at: without a value where it ended, running away, or out of bounds."""
    read, x = chunk.program, answer.x
    n = len(read.variables)
    with np.errstate(all="ignore"):
        bad = _without_value(read, x)
        if answer.status is Status.UNBOUNDED:
            place = np.searchsorted(chunk.parts, chunk.labels)
            worth = objective_by_part(read.functions, place, x)
            bad |= (worth <= min(worth.min() / FAR, 0.0))[place]
        functions = read.functions
        g = functions.constraints(x)
        size = np.maximum(np.abs(functions.jacobian_matrix(x)) @ np.abs(x), np.abs(g))
        missed = np.maximum(np.maximum(read.lower - g, g - read.upper), 0.0)
        bad[n:] |= ~(missed <= TOLERANCE * size)
        over = np.maximum(np.maximum(read.x_lower - x, x - read.x_upper), 0.0)
        bad[:n] |= ~(over <= TOLERANCE * np.abs(x))
    return np.unique(chunk.labels[bad])


def _cramped(read: Program) -> np.ndarray:
    """By column, then row: surely without room? Bounds cross, or a linear row cannot be met within them."""
    functions, n, reduced = read.functions, len(read.variables), presolve(read)
    bad = np.zeros(n + len(read.constraints), dtype=bool)
    bad[reduced.broken_columns] = True
    bad[n + reduced.broken_rows] = True
    linear = functions.linear.tocoo()
    row, column = linear.coords
    ends = linear.data * reduced.x_lower[column], linear.data * reduced.x_upper[column]
    total = [
        np.bincount(row, weights=end(*ends), minlength=functions.rows) + functions.constant
        for end in (np.minimum, np.maximum)
    ]
    with np.errstate(invalid="ignore"):
        slack = TOLERANCE * np.maximum(np.abs(total[0]), np.abs(total[1]))
        slack = np.where(np.isfinite(slack), slack, TOLERANCE * np.fmin(np.abs(total[0]), np.abs(total[1])))
        beyond = (total[0] > read.upper + slack) | (total[1] < read.lower - slack)
    bad[n:] |= beyond & ~functions.nonlinear_rows
    return bad


def _without_value(read: Program, x: np.ndarray) -> np.ndarray:
    """By column, then row: in a term without a finite value or derivative at x?"""
    bad = np.zeros(len(read.variables) + len(read.constraints), dtype=bool)
    for family in read.functions.families:
        fine = np.isfinite(family.value(x))
        for entries in (family.gradient(x), family.hessian(x)):
            fine &= np.isfinite(entries).all(axis=0)
        bad[family.columns[:, ~fine]] = True
    return bad


def _without_room(chunk: _Chunk) -> dict[int, tuple[Status, str]]:
    """Parts whose constraints cannot hold together, by the least violation of all of them at once, which is each one's."""
    read = chunk.program
    reduced = presolve(read)
    if reduced.conflict:
        return {}
    convex = is_convex(read, reduced.x_lower, reduced.x_upper)
    elastic = Elastic(read, convex=convex)
    least = elastic.least(elastic.constraints(), elastic.bounds())
    result: dict[int, list[str]] = {}
    for limit, amount in least.violation.items() if least is not None else ():
        part = int(chunk.labels[len(read.variables) + limit.place])
        result.setdefault(part, []).append(f"{elastic.name(limit)} by {amount:.3g}")
    status = Status.INFEASIBLE if convex else Status.LOCALLY_INFEASIBLE
    return {
        part: (status, f"no point is feasible unless constraints give way: {', '.join(names[:3])}")
        for part, names in result.items()
    }


# ---------------------------------------------------------------------- in words


def _nobody_is_left(read: Program, failures: list[Answer]) -> bool:
    """In a game: has none of the clients an answer, or does it fail for a reason that is no client's?"""
    if not isinstance(getattr(read.model, "bcfl", None), Context):
        return False
    lost = clients_of(failures, read.model)
    return len(lost) == len(read.model.bcfl.clients) or any(not clients_of([one], read.model) for one in failures)


def _besides(failures: int, answers: int) -> str:
    more = f"; {failures - 1} more independent parts have no answer" if failures > 1 else ""
    return more + ("; the other independent parts are solved" if answers else "")


def reason(failure: Answer) -> str:
    """Why a part has no answer, in a sentence."""
    return f"{failure.status.value}{': ' if failure.detail else ''}{failure.detail}"


def clients_of(failures: list[Answer] | tuple[Answer, ...], model: Any) -> dict[Any, Answer]:
    """Client id -> its failure, of a game's model; a failed part of several clients is all of theirs."""
    context = getattr(model, "bcfl", None)
    if not isinstance(context, Context):
        return {}
    result: dict[Any, Answer] = {}
    for failure in failures:
        for item in (*failure.program.variables, *failure.program.constraints):
            if item.index() in context.clients:
                result.setdefault(item.index(), failure)
    return result
