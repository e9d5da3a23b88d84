"""In which order is what tried, and which answer wins? One bilevel solve, from reading the model to its Solution."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from pyomo.core.base.block import BlockData
from pyomo.core.base.objective import ObjectiveData
from pyomo.core.base.var import VarData

from bcfl_opt.certificate import TOLERANCE
from bcfl_opt.errors import ModelError
from bcfl_opt.nlp.nonlinear import Answer
from bcfl_opt.nlp.program import program
from bcfl_opt.reformulations.assembly import Confirmed, Whole, assembled
from bcfl_opt.reformulations.branching import branch_and_bound, can_branch, linear_relaxation
from bcfl_opt.reformulations.conditions import Conditions, Sizes, imposed
from bcfl_opt.reformulations.continuation import Clock
from bcfl_opt.reformulations.convex_followers import proven_convex
from bcfl_opt.reformulations.fischer_burmeister import FISCHER_BURMEISTER
from bcfl_opt.reformulations.followers import Follower, find_followers
from bcfl_opt.reformulations.reformulation import Reformulation
from bcfl_opt.reformulations.relaxed_products import KKT
from bcfl_opt.reformulations.report import Report
from bcfl_opt.reformulations.responses import held
from bcfl_opt.reformulations.search import Attempt, attempts, system_of
from bcfl_opt.reformulations.single_level import inactive, solve_single_level
from bcfl_opt.reformulations.starts import Start
from bcfl_opt.reformulations.starts import starts as make_starts
from bcfl_opt.reformulations.strong_duality import STRONG_DUALITY
from bcfl_opt.reformulations.system import System
from bcfl_opt.reformulations.verification import Check, check, pessimistic
from bcfl_opt.solution import Quality, Solution, Status

#: By method, the reformulations that are tried in turn until every part of the problem has an answer.
METHODS: dict[str, tuple[Reformulation, ...]] = {
    "auto": (KKT, FISCHER_BURMEISTER),
    "kkt": (KKT,),
    "fischer_burmeister": (FISCHER_BURMEISTER,),
    "strong_duality": (STRONG_DUALITY,),
    "single_level": (),
}
CONVEX = "the single-level programme is convex"
BRANCHED = "branch and bound over the complementarity pairs"
#: Starts by default: for a few followers, and for many.
STARTS = (8, 2)
FEW = 8
#: Of the time limit, what the search may take; the rest is for asking the followers.
SEARCH = 0.7


class Course:
    """One bilevel solve.

    single : the answer of the single-level programme, where the caller has it. complete : sets what that leaves open.
    Other arguments as in :func:`bcfl_opt.solve_bilevel`.
    """

    def __init__(
        self,
        leader: BlockData,
        follower: Any,
        *,
        method: str,
        starts: int | None,
        seed: int,
        options: Mapping[str, Any],
        time_limit: float | None,
        tee: bool,
        single: Answer | None = None,
        complete: Callable[[], None] = lambda: None,
    ) -> None:
        context = getattr(leader, "bcfl", None)
        self.leader, self.method, self.seed, self.options = leader, method, seed, options
        self.single, self.complete = single, complete
        self.unit = context.unit if context is not None else 1.0
        self.clock = Clock(time_limit)
        self.search_clock = Clock(None if time_limit is None else SEARCH * time_limit)
        self.followers = find_followers(leader, follower)
        self.count = starts or STARTS[len(self.followers) > FEW]
        with inactive([f.objective for f in self.followers]):
            self.read = program(leader)
        if self.read.objective is None:
            raise ModelError(f"model {leader.name} has no active objective outside its followers; give the leader one")
        self.objective: ObjectiveData = self.read.objective
        found = {id(variable): variable for variable in self.read.variables}
        for f in self.followers:
            found.update({id(variable): variable for variable in (*f.decisions, *f.parameters)})
        self.variables: list[VarData] = list(found.values())
        self.report = Report(
            leader,
            self.followers,
            self.read,
            self.unit,
            context.problem if context is not None else f"bilevel model {leader.name}",
            method,
            {"options": dict(options), "time_limit": time_limit, "method": method, "starts": self.count, "seed": seed},
            tee,
        )

    def solve(self) -> Solution:
        """The Solution; the model's variables hold it if it succeeded, and what they held before otherwise."""
        before = [variable.value for variable in self.variables]
        solution = None
        try:
            solution = self._solve()
        finally:
            if solution is None or not solution.succeeded:
                self._load(before)
        return solution

    def _solve(self) -> Solution:
        single = self.single or solve_single_level(
            self.leader, self.followers, unit=self.unit, options=self.options, clock=self.search_clock
        )
        self.report.timing.update(single.timing)
        values = "the model's values"
        self.report.line(values, "single_level", 0, single.status.value, single.objective, single.detail)
        if single.status is Status.INFEASIBLE:
            return self.report.failure(single.status, f"even if the leader decided for all: {single.detail}")
        whole = None
        if self.method in ("auto", "single_level"):
            whole, checks = self._confirmed_single_level(single)
            if whole is not None and (self.method == "single_level" or single.quality is Quality.GLOBAL):
                return self._answer(whole, self._lowest(single), CONVEX)
            if self.method == "single_level":
                if single.status is not Status.SOLVED:
                    return self.report.failure(single.status, single.detail)
                return self.report.not_confirmed(checks, self.clock.over)
        solution = self._by_conditions(single)
        if whole is None or solution.status is Status.UNBOUNDED:
            return solution
        mine = self.read.sense * float(single.objective)
        if solution.succeeded and self.read.sense * solution.objective <= mine:
            return solution
        single.load()
        self.complete()
        return self._answer(whole, self._lowest(single), CONVEX)

    def _confirmed_single_level(self, single: Answer) -> tuple[Whole | None, tuple[Check, ...]]:
        """The leader's choice for all where the followers confirm it, and what they say."""
        if single.status is not Status.SOLVED:
            return None, ()
        before = [variable.value for variable in self.variables]
        single.load()
        self.complete()
        checks = tuple(self._check(f, {}) for f in self.followers)
        if all(c.holds for c in checks):
            return Whole.of_single_level(single, checks), checks
        self._load(before)
        return None, checks

    # ------------------------------------------------------------------ by the followers' conditions

    def _by_conditions(self, single: Answer) -> Solution:
        mark = time.perf_counter()
        points = list(
            make_starts(
                self.leader,
                self.followers,
                self.objective,
                self.read,
                self.variables,
                single,
                self.complete,
                count=self.count,
                seed=self.seed,
                unit=self.unit,
                clock=self.search_clock,
            )
        )
        self.report.timing["starts"] = time.perf_counter() - mark
        self._load(points[0].values)
        sizes = [Sizes.at_values(f) for f in self.followers]
        mark = time.perf_counter()
        with imposed(self.leader, self.followers, sizes) as conditions:
            system, found = self._search(conditions, points, self._lowest(single))
            parts = system.parts(self.followers)
            bounds = self._branch(parts, system, found, self._lowest(single)) if self.method == "auto" else {}
        self.report.timing["search"] = time.perf_counter() - mark
        mark = time.perf_counter()
        solution = self._best(system, parts, conditions, found, points, single, bounds)
        self.report.timing["verify"] = time.perf_counter() - mark
        return solution

    def _search(self, conditions: Conditions, points: Sequence[Start], lowest: float) -> tuple[System, list[Attempt]]:
        """Every start through the method's reformulations, in turn until each part has an answer."""
        found: list[Attempt] = []
        system = None
        for method in METHODS[self.method]:
            system = system_of(self.leader, self.followers, conditions, method)
            done = {attempt.part for attempt in found if attempt.solved}
            parts = system.parts(self.followers)
            left = [k for k in range(len(parts)) if k not in done]
            if not left:
                break
            found += attempts(
                system,
                parts,
                method,
                self.followers,
                conditions,
                self.variables,
                points,
                unit=self.unit,
                options=self.options,
                clock=self.search_clock,
                tell=self.report.attempt,
                wanted=left,
                directly=self.method == "auto" and method is METHODS["auto"][0],
                enough=lowest,
            )
        assert system is not None
        return system, found

    def _branch(
        self,
        parts: Sequence[tuple[System, np.ndarray, np.ndarray]],
        system: System,
        found: list[Attempt],
        lowest: float,
    ) -> dict[int, float]:
        """Branch and bound on the parts that allow it: their bounds; better pieces are added to what was found."""
        bounds: dict[int, float] = {}
        begin = system.program.start()
        for k, (part, columns, _) in enumerate(parts):
            known = min((a.objective for a in found if a.part == k and a.solved), default=np.inf)
            if len(parts) == 1 and np.isfinite(known) and known <= lowest + TOLERANCE * (1 + abs(known)):
                continue  # nothing is left to prove
            if self.search_clock.over or not can_branch(part):
                continue
            tree = branch_and_bound(part, begin[columns], known, self.unit, self.options, self.search_clock)
            if np.isfinite(tree.bound):
                bounds[k] = tree.bound
            found.append(Attempt("branch and bound", "branch_and_bound", k, part, tree.best, tree.outcome))
            self.report.attempt(found[-1])
        return bounds

    # ------------------------------------------------------------------ the best answer that the followers confirm

    def _best(
        self,
        system: System,
        parts: Sequence[tuple[System, np.ndarray, np.ndarray]],
        conditions: Conditions,
        found: Sequence[Attempt],
        points: Sequence[Start],
        single: Answer,
        bounds: Mapping[int, float],
    ) -> Solution:
        chosen: list[Confirmed] = []
        for k, (part, _, _) in enumerate(parts):
            mine = [attempt for attempt in found if attempt.part == k]
            inside = {id(variable) for variable in part.program.variables}
            followers = [f for f in self.followers if any(id(v) in inside for v in f.decisions)]
            best = self._best_of_part(mine, followers, conditions)
            if any(_unbounded(attempt) for attempt in mine) and all(_convex_here(f) for f in followers):
                without_limit = "the leader's objective improves without limit over the followers' optima"
                return self.report.failure(Status.UNBOUNDED, without_limit)
            if best is None:
                return self._nothing(mine, points, single)
            chosen.append(best)
        if not all(candidate.holds for candidate in chosen):
            checks = [c for candidate in chosen for c in candidate.checks]
            return self.report.not_confirmed(checks, self.clock.over)
        lowest, by = self._lowest(single), CONVEX
        if len(bounds) == len(parts):
            total = sum(bounds.values()) - (len(parts) - 1) * self.read.functions.objective_constant
            if total > lowest:
                lowest, by = total, BRANCHED
        return self._answer(assembled(system.program, chosen, self.unit), lowest, by)

    def _best_of_part(
        self, mine: Sequence[Attempt], followers: Sequence[Follower], conditions: Conditions
    ) -> Confirmed | None:
        """The best candidate that the followers confirm; the best one if they confirm none; None if there is none."""
        first: Confirmed | None = None
        seen: list[Attempt] = []
        for attempt in sorted((a for a in mine if a.solved), key=lambda a: a.objective):
            if any(_same(attempt, other) for other in seen):
                continue
            seen.append(attempt)
            attempt.load()
            checks = tuple(self._check(f, _multipliers(f, attempt, conditions)) for f in followers)
            confirmed = Confirmed(attempt, checks)
            if confirmed.holds:
                return confirmed
            first = first or confirmed
            if self.clock.over:
                break
        return first

    def _check(self, follower: Follower, multipliers: Mapping[tuple[int, str], float]) -> Check:
        return check(follower, multipliers, unit=self.unit, clock=self.clock, seed=self.seed)

    def _answer(self, whole: Whole, lowest: float, by: str) -> Solution:
        worst = pessimistic(
            self.leader,
            self.followers,
            whole.checks,
            self.objective,
            self.variables,
            unit=self.unit,
            clock=self.clock,
        )
        return self.report.answer(whole, lowest, by, worst)

    def _nothing(self, mine: Sequence[Attempt], points: Sequence[Start], single: Answer) -> Solution:
        """No start led anywhere: why?"""
        if self.search_clock.over:
            return self.report.failure(Status.TIME_LIMIT, "no start had led to an answer by then")
        if single.status is Status.LOCALLY_INFEASIBLE:
            return self.report.failure(single.status, f"even if the leader decided for all; {single.detail}")
        trouble = next((point.trouble for point in points if point.trouble), "")
        outcomes = [attempt.outcome for attempt in mine]
        if Status.INFEASIBLE.value in outcomes:
            none = "no choice of sides of the complementarity pairs leaves a feasible point (branch and bound)"
            return self.report.failure(Status.INFEASIBLE, f"{none}{'; ' if trouble else ''}{trouble}")
        usual = max(set(outcomes), key=outcomes.count) if outcomes else ""
        known = next((status for status in Status if status.value == usual), Status.NUMERICAL_FAILURE)
        known = Status.NUMERICAL_FAILURE if known is Status.SOLVED else known
        sentences = (f"none of {len(points)} starts led to an answer", "" if known.value == usual else usual, trouble)
        return self.report.failure(known, "; ".join(sentence for sentence in sentences if sentence))

    # ------------------------------------------------------------------ small things

    def _lowest(self, single: Answer) -> float:
        """What the leader's minimised objective cannot fall below; minus infinity if that is not known."""
        return self.read.sense * float(single.objective) if single.quality is Quality.GLOBAL else -np.inf

    def _load(self, values: Sequence[float | None]) -> None:
        for variable, number in zip(self.variables, values, strict=True):
            variable.set_value(number, skip_validation=True)


def _multipliers(follower: Follower, attempt: Attempt, conditions: Conditions) -> dict[tuple[int, str], float]:
    """The follower's own multipliers at a candidate."""
    assert attempt.piece is not None
    place = {id(variable): k for k, variable in enumerate(attempt.system.program.variables)}
    return {
        key: float(attempt.piece.x[place[id(variable)]]) * unit
        for key, (variable, unit) in conditions.multipliers[follower.name].items()
        if id(variable) in place
    }


def _unbounded(attempt: Attempt) -> bool:
    """Is there a piece on which the leader improves without limit? Of a linear one HiGHS must say the same."""
    piece = attempt.piece
    if piece is None:
        return attempt.outcome == Status.UNBOUNDED.value
    if piece.status is not Status.UNBOUNDED:
        return False
    functions = piece.program.functions
    return bool(functions.families) or linear_relaxation(piece.program, functions.objective_linear).status == 3


def _convex_here(follower: Follower) -> bool:
    with held(follower.parameters):
        return proven_convex(program(follower.block))


def _same(one: Attempt, other: Attempt) -> bool:
    """The same point, as far as a follower could tell?"""
    assert one.piece is not None and other.piece is not None
    if one.system is not other.system or abs(one.objective - other.objective) > 1e-9 * (1 + abs(one.objective)):
        return False
    kept = np.setdiff1d(np.arange(len(one.piece.x)), one.system.multiplier)
    difference = np.abs(one.piece.x - other.piece.x)[kept]
    return bool((difference <= 1e-7 * (1 + np.abs(one.piece.x[kept]))).all())
