"""How is a follower placed inside a leader? ``solve_bilevel``: optimality conditions, many starts, and the followers asked."""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from pyomo.common.gc_manager import PauseGC
from pyomo.core.base.objective import ObjectiveData
from pyomo.core.base.var import Var, VarData

from bcfl_opt import ipopt
from bcfl_opt.bilevel_record import BilevelRecord
from bcfl_opt.certificate import TOLERANCE, Certificate
from bcfl_opt.client_answers import CLIENT_VALUES, nobody, renamed, with_clients
from bcfl_opt.context import Context
from bcfl_opt.errors import InputError, ModelError, choice, listing
from bcfl_opt.nlp import duals
from bcfl_opt.nlp.ipopt_options import validated
from bcfl_opt.nlp.kkt import certify
from bcfl_opt.nlp.nonlinear import Answer, solve_program
from bcfl_opt.nlp.presolve import Multipliers
from bcfl_opt.nlp.program import Program, program
from bcfl_opt.nlp.subprogram import restricted
from bcfl_opt.reformulations.branching import branch_and_bound, can_branch, linear_relaxation
from bcfl_opt.reformulations.client_followers import client_value, clients_as_followers
from bcfl_opt.reformulations.conditions import Conditions, Sizes, imposed
from bcfl_opt.reformulations.continuation import Clock
from bcfl_opt.reformulations.fischer_burmeister import FISCHER_BURMEISTER
from bcfl_opt.reformulations.followers import Follower, find_followers, with_objectives
from bcfl_opt.reformulations.pieces import BIACTIVE
from bcfl_opt.reformulations.reformulation import Reformulation
from bcfl_opt.reformulations.relaxed_products import KKT
from bcfl_opt.reformulations.responses import held, proven_convex
from bcfl_opt.reformulations.search import Attempt, attempts, system_of
from bcfl_opt.reformulations.single_level import inactive, solve_single_level
from bcfl_opt.reformulations.starts import Start
from bcfl_opt.reformulations.starts import starts as make_starts
from bcfl_opt.reformulations.system import System
from bcfl_opt.reformulations.verification import Check, check, pessimistic
from bcfl_opt.solution import Quality, Solution, Status

if TYPE_CHECKING:
    from pyomo.core.base.block import BlockData

#: By method, the reformulations that are tried in turn until every part of the problem has an answer.
METHODS: dict[str, tuple[Reformulation, ...]] = {
    "auto": (KKT, FISCHER_BURMEISTER),
    "kkt": (KKT,),
    "fischer_burmeister": (FISCHER_BURMEISTER,),
    "single_level": (),
}
#: The leader's objective must move by this much, relative, before ties count.
TIES = 1e-5


def solve_bilevel(
    leader: BlockData,
    follower: Any = None,
    *,
    method: str = "auto",
    starts: int | None = None,
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
    time_limit: float | None = None,
    tee: bool = False,
    raise_on_failure: bool = False,
) -> Solution:
    """Solve a leader's problem whose followers answer with their own optima, and ask the followers whether they would.

        min F(x, y_1, ..., y_n)  s.t.  G(x, y) <= 0  and  y_i solves  min f_i(x, y_i)  s.t.  g_i(x, y_i) <= 0

    Parameters
    ----------
    leader : any Pyomo model (either sense, equalities, ranges, bounds). Its constraints may hold the followers' decisions.
    follower : one Block of it or several (indexed, a list, or a name); by default every Block with an active objective of
        its own. The variables declared in a follower's Block are its decisions; every other variable in it is the leader's.
        The owner's models of :mod:`bcfl_opt.models` with ``response="optimal"`` need none: their clients are the followers.
    method : "auto", "kkt" (products multiplier x slack <= t), "fischer_burmeister", "strong_duality" (a follower's
        objective at most its dual's, where that has a closed form) or "single_level" (the leader decides for all; right only
        where the followers confirm). "auto" asks for the single-level answer first, then goes through the others.
    starts : how many starting points; by default 8, or 2 where there are more than 8 followers. The first is the model's
        values, the second the leader's choice for all, the others random, drawn with ``seed``. The best answer that the
        followers confirm wins.
    options : IPOPT's own. time_limit : seconds for everything. tee : print a line for every attempt.
    raise_on_failure : raise NoSolutionError instead of returning a solution that did not succeed.

    Returns
    -------
    Solution; ``solution.bilevel`` is a :class:`~bcfl_opt.bilevel_record.BilevelRecord`. SOLVED means: the residuals of the
    leader's problem with the followers' optimality conditions hold, and each follower's own problem, solved again at the
    leader's decision, has no better point; a follower at a KKT point that is not its optimum gives FOLLOWER_NOT_OPTIMAL.
    ``quality`` is LOCAL, or GLOBAL where the single-level programme is convex and its optimum is reached. A successful solve
    sets the model's variables; otherwise the model comes back as it was.

    Raises
    ------
    InputError, ModelError : the model or an argument cannot be used as given; a follower that is not smooth, has integer
        variables, has no objective or several, shares a decision with the leader, or depends on another follower: by name.
    """
    choice("method", method, METHODS)
    if starts is not None and (not isinstance(starts, int) or isinstance(starts, bool) or starts < 1):
        raise InputError(f"starts must be a whole number of at least 1, not {starts!r}")
    clock = Clock(time_limit)
    checked = validated(options or {})
    context: Context | None = getattr(leader, "bcfl", None)
    if context is not None and not len(context.clients):
        solution = nobody(context, "ipopt")
        return solution.raise_if_failed() if raise_on_failure else solution
    with PauseGC():
        if context is not None and follower is None and not any(True for _ in with_objectives(leader)):
            solution = _with_its_clients(leader, context, method, starts, seed, checked, clock, tee)
        else:
            solution = _Search(leader, follower, method, starts, seed, checked, clock, tee).solve()
            if context is not None:
                solution = _with_table(solution, leader, context)
    return solution.raise_if_failed() if raise_on_failure else solution


def _with_its_clients(
    model: BlockData,
    context: Context,
    method: str,
    starts: int | None,
    seed: int,
    options: dict[str, Any],
    clock: Clock,
    tee: bool,
) -> Solution:
    """An owner's model whose clients become followers; the model itself is the single-level programme."""
    if not context.follower_optimal:
        raise ModelError(
            f"{context.problem} has no followers: its clients' response is data or substituted; build Problem 2 or 3 with "
            'response="optimal", or use stackelberg_pyomo'
        )
    single = solve_program(model, options=options, unit=context.unit, time_limit=clock.left)
    with clients_as_followers(model, context) as clients:
        search = _Search(model, clients.blocks, method, starts, seed, options, clock, tee)
        search.single, search.complete = single, clients.complete
        solution = search.solve()
        inside = clients.blocks[0].parent_block().name + "."
    if solution.succeeded:
        solution = dataclasses.replace(
            solution,
            _variables={k: v for k, v in solution.variables.items() if not k.startswith(inside)},
            _shadow_prices={k: v for k, v in solution.shadow_prices.items() if not k.startswith(inside)},
        )
    return _with_table(solution, model, context)


def _with_table(solution: Solution, model: Any, context: Context) -> Solution:
    """The table of all the game's clients; the followers have confirmed their times already."""
    values = None
    if solution.succeeded:
        for name in CLIENT_VALUES:
            if model.component(name) is None:
                raise ModelError(renamed(name))
        values = {
            name: np.array([client_value(model.component(name), i) for i in context.clients]) for name in CLIENT_VALUES
        }
    return with_clients(solution, dataclasses.replace(context, follower_optimal=False), values, {})


@dataclasses.dataclass(slots=True, eq=False)
class _Confirmed:
    """A candidate for one part of the problem, and what its followers say."""

    attempt: Attempt
    checks: tuple[Check, ...]

    @property
    def holds(self) -> bool:
        return all(c.holds for c in self.checks)


class _Search:
    """One call of :func:`solve_bilevel`."""

    def __init__(
        self,
        leader: BlockData,
        follower: Any,
        method: str,
        starts: int | None,
        seed: int,
        options: dict[str, Any],
        clock: Clock,
        tee: bool,
    ) -> None:
        self.begin = time.perf_counter()
        self.leader, self.method, self.seed = leader, method, seed
        self.single: Answer | None = None
        self.complete: Callable[[], None] = lambda: None
        self.fallback: Solution | None = None
        self.options, self.clock, self.tee = options, clock, tee
        context = getattr(leader, "bcfl", None)
        self.unit = context.unit if context is not None else 1.0
        self.name = context.problem if context is not None else f"bilevel model {leader.name}"
        self.followers = find_followers(leader, follower)
        self.count = starts or (8 if len(self.followers) <= 8 else 2)
        with inactive([f.objective for f in self.followers]):
            self.read = program(leader)
        if self.read.objective is None:
            raise ModelError(f"model {leader.name} has no active objective outside its followers; give the leader one")
        self.objective: ObjectiveData = self.read.objective
        found = {id(variable): variable for variable in self.read.variables}
        for f in self.followers:
            found.update({id(variable): variable for variable in (*f.decisions, *f.parameters)})
        self.variables: list[VarData] = list(found.values())
        self.rows: list[dict[str, Any]] = []
        self.log: list[str] = []
        self.timing: dict[str, float] = {}

    # ------------------------------------------------------------------ the course of events

    def solve(self) -> Solution:
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
            self.leader, self.followers, unit=self.unit, options=self.options, clock=self.clock
        )
        self.timing.update(single.timing)
        self._note("the model's values", "single_level", 0, single.status.value, single.objective, single.detail)
        if single.status is Status.INFEASIBLE:
            return self._failed(Status.INFEASIBLE, f"even if the leader decided for all: {single.detail}")
        if self.method in ("auto", "single_level"):
            solution = self._by_single_level(single)
            if solution is not None:
                return solution
        return self._by_conditions(single)

    def _by_single_level(self, single: Answer) -> Solution | None:
        """The single-level answer where the followers confirm it; None where it is worth going on."""
        if single.status is not Status.SOLVED:
            return self._failed(single.status, single.detail) if self.method == "single_level" else None
        before = [variable.value for variable in self.variables]
        single.load()
        self.complete()
        checks = tuple(check(f, {}, unit=self.unit, clock=self.clock, seed=self.seed) for f in self.followers)
        if all(c.holds for c in checks):
            assert single.certificate is not None and single.multipliers is not None
            solution = self._solution(
                "single_level",
                single.program,
                single.x,
                single.multipliers,
                single.certificate,
                checks,
                self._lowest(single),
                "the single-level programme is convex",
                0.0,
                (),
                True,
            )
            if self.method == "single_level" or single.quality is Quality.GLOBAL:
                return solution
            self.fallback = solution  # a local optimum: others may be better
        self._load(before)
        return self._not_optimal(checks) if self.method == "single_level" else None

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
                clock=self.clock,
            )
        )
        self.timing["starts"] = time.perf_counter() - mark
        self._load(points[0].values)
        sizes = [Sizes.at_values(f) for f in self.followers]
        found: list[Attempt] = []
        mark = time.perf_counter()
        with imposed(self.leader, self.followers, sizes) as conditions:
            system = None
            for method in METHODS[self.method]:
                system = system_of(self.leader, self.followers, conditions, method)
                open_parts = self._open_parts(system, found)
                if not open_parts:
                    break
                found += attempts(
                    system,
                    method,
                    self.followers,
                    conditions,
                    self.variables,
                    points,
                    unit=self.unit,
                    options=self.options,
                    clock=self.clock,
                    tell=self._tell,
                    parts=open_parts,
                    directly=self.method == "auto" and method is METHODS["auto"][0],
                    enough=self._lowest(single),
                )
            assert system is not None
            bounds = self._branch(system, found, single) if self.method == "auto" else {}
        self.timing["search"] = time.perf_counter() - mark
        mark = time.perf_counter()
        solution = self._best(system, conditions, found, points, single, bounds)
        self.timing["verify"] = time.perf_counter() - mark
        other = self.fallback
        if other is None or solution.status is Status.UNBOUNDED:
            return solution
        if solution.succeeded and self.read.sense * (solution.objective - other.objective) <= 0:
            return solution
        single.load()
        self.complete()
        return other

    def _lowest(self, single: Answer) -> float:
        """What the leader's minimised objective cannot fall below; minus infinity if that is not known."""
        return self.read.sense * float(single.objective) if single.quality is Quality.GLOBAL else -np.inf

    def _branch(self, system: System, found: list[Attempt], single: Answer) -> dict[int, float]:
        """Branch and bound on the parts that allow it: their bounds; better pieces are added to what was found."""
        bounds: dict[int, float] = {}
        parts = system.parts()
        begin = system.program.start()
        for k, (part, columns, _) in enumerate(parts):
            mine = [attempt for attempt in found if attempt.part == k and attempt.solved]
            known = min((attempt.objective for attempt in mine), default=np.inf)
            if len(parts) == 1 and known <= self._lowest(single) + TOLERANCE * (1 + abs(known)):
                continue  # nothing is left to prove
            if self.clock.over or not can_branch(part):
                continue
            tree = branch_and_bound(part, begin[columns], known, self.unit, self.options, self.clock)
            if np.isfinite(tree.bound):
                bounds[k] = tree.bound
            outcome = f"{tree.nodes} nodes, {'nothing is better' if np.isfinite(tree.bound) else 'not finished'}"
            if tree.unbounded:
                outcome = Status.UNBOUNDED.value
            found.append(Attempt("branch and bound", "branch_and_bound", k, part, tree.best, outcome))
            self._tell(found[-1])
        return bounds

    def _open_parts(self, system: System, found: Sequence[Attempt]) -> list[int]:
        done = {attempt.part for attempt in found if attempt.solved}
        return [k for k in range(len(system.parts())) if k not in done]

    # ------------------------------------------------------------------ the best answer that the followers confirm

    def _best(
        self,
        system: System,
        conditions: Conditions,
        found: Sequence[Attempt],
        points: Sequence[Start],
        single: Answer,
        bounds: Mapping[int, float],
    ) -> Solution:
        parts = system.parts()
        chosen: list[_Confirmed] = []
        for k, (part, _, _) in enumerate(parts):
            mine = [attempt for attempt in found if attempt.part == k]
            inside = {id(variable) for variable in part.program.variables}
            followers = [f for f in self.followers if any(id(v) in inside for v in f.decisions)]
            best = self._best_of_part(mine, followers, conditions)
            if isinstance(best, Solution):
                return best
            if best is None:
                return self._nothing(mine, points, single)
            chosen.append(best)
        if not all(candidate.holds for candidate in chosen):
            return self._not_optimal([c for candidate in chosen for c in candidate.checks])
        lowest, by = self._lowest(single), "the single-level programme is convex"
        if len(bounds) == len(parts):
            constant = self.read.functions.objective_constant
            total = sum(bounds.values()) - (len(parts) - 1) * constant
            if total > lowest:
                lowest, by = total, "branch and bound over the complementarity pairs"
        return self._assembled(system, chosen, lowest, by)

    def _best_of_part(
        self, mine: Sequence[Attempt], followers: Sequence[Follower], conditions: Conditions
    ) -> _Confirmed | Solution | None:
        """The best candidate that the followers confirm; the best one if they confirm none; None if there is none."""
        candidates = sorted((a for a in mine if a.solved), key=lambda attempt: attempt.objective)
        first: _Confirmed | None = None
        seen: list[Attempt] = []
        for attempt in candidates:
            if any(_same(attempt, other) for other in seen):
                continue
            seen.append(attempt)
            attempt.load()
            confirmed = _Confirmed(attempt, tuple(self._check(f, attempt, conditions) for f in followers))
            if confirmed.holds:
                first = confirmed
                break
            first = first or confirmed
            if self.clock.over:
                break
        if any(self._unbounded(attempt) for attempt in mine) and all(self._convex_here(f) for f in followers):
            return self._failed(
                Status.UNBOUNDED, "the leader's objective improves without limit over the followers' optima"
            )
        return first

    @staticmethod
    def _unbounded(attempt: Attempt) -> bool:
        """Is there a piece on which the leader improves without limit? Of a linear one HiGHS must say the same."""
        piece = attempt.piece
        if piece is None:
            return attempt.outcome == Status.UNBOUNDED.value
        if piece.status is not Status.UNBOUNDED:
            return False
        functions = piece.program.functions
        return bool(functions.families) or linear_relaxation(piece.program, functions.objective_linear).status == 3

    @staticmethod
    def _convex_here(follower: Follower) -> bool:
        with held(follower.parameters):
            return proven_convex(program(follower.block))

    def _check(self, follower: Follower, attempt: Attempt, conditions: Conditions) -> Check:
        assert attempt.piece is not None
        place = {id(variable): k for k, variable in enumerate(attempt.system.program.variables)}
        multipliers = {
            key: float(attempt.piece.x[place[id(variable)]]) * unit
            for key, (variable, unit) in conditions.multipliers.items()
            if id(variable) in place
        }
        return check(follower, multipliers, unit=self.unit, clock=self.clock, seed=self.seed)

    def _assembled(self, system: System, chosen: Sequence[_Confirmed], lowest: float, by: str) -> Solution:
        """One point of the whole from the best of each part, and its certificate."""
        base = system.program
        x, low, high = base.start(), base.x_lower.copy(), base.x_upper.copy()
        rows, z_low, z_high = np.zeros(len(base.constraints)), np.zeros(len(x)), np.zeros(len(x))
        columns = {id(variable): k for k, variable in enumerate(base.variables)}
        places = {id(constraint): k for k, constraint in enumerate(base.constraints)}
        complementarity, biactive = 0.0, []
        for candidate in chosen:
            part, piece = candidate.attempt.system, candidate.attempt.piece
            assert piece is not None
            candidate.attempt.load()
            mine = np.array([columns[id(variable)] for variable in part.program.variables])
            here = np.array([places[id(row)] for row in part.program.constraints], dtype=np.int64)
            x[mine], low[mine], high[mine] = piece.x, piece.program.x_lower, piece.program.x_upper
            rows[here] = piece.multipliers.rows
            z_low[mine], z_high[mine] = piece.multipliers.x_lower, piece.multipliers.x_upper
            complementarity = max(complementarity, float(part.complementarity(piece.x).max(initial=0.0)))
            both = np.maximum(np.abs(piece.x[part.multiplier]), np.abs(part.slacks(piece.x))) <= BIACTIVE
            biactive += [part.pairs[j].name for j in np.flatnonzero(both).tolist()]
        whole = dataclasses.replace(base, x_lower=low, x_upper=high)
        multipliers = Multipliers(rows, z_low, z_high)
        certificate = certify(whole, x, multipliers, convex=False, unit=self.unit)
        checks = tuple(c for candidate in chosen for c in candidate.checks)
        methods = sorted({candidate.attempt.method for candidate in chosen})
        strong = all(candidate.attempt.piece is not None and candidate.attempt.piece.strong for candidate in chosen)
        return self._solution(
            ", ".join(methods),
            whole,
            x,
            multipliers,
            certificate,
            checks,
            lowest,
            by,
            complementarity,
            tuple(biactive),
            strong,
        )

    # ------------------------------------------------------------------ solutions

    def _solution(
        self,
        method: str,
        read: Program,
        x: np.ndarray,
        multipliers: Multipliers,
        certificate: Certificate,
        checks: Sequence[Check],
        lowest: float,
        by: str,
        complementarity: float,
        biactive: tuple[str, ...],
        strong: bool,
    ) -> Solution:
        objective = read.sense * float(read.functions.objective(x))
        gap = max((c.gap for c in checks), default=0.0)
        worst = max(checks, key=lambda c: c.gap)
        bound = read.sense * lowest if np.isfinite(lowest) else None
        size = max(float(read.functions.objective_size(x)), self.unit if self.unit != 1.0 else 1e-6)
        closes = bound is not None and abs(bound - objective) <= TOLERANCE * size
        certificate = dataclasses.replace(
            certificate,
            gap=abs(bound - objective) / size if bound is not None and closes else None,
            follower_gap=gap,
            where={**certificate.where, "follower_gap": f"follower {worst.follower.name}"},
        )
        pessimist = pessimistic(
            self.leader, self.followers, checks, self.objective, self.variables, unit=self.unit, clock=self.clock
        )
        matters = pessimist is not None and abs(pessimist - objective) > TIES * max(size, abs(objective))
        record = BilevelRecord(
            method,
            self._attempts_table(),
            _followers_table(checks),
            complementarity,
            biactive,
            strong,
            pessimist,
            matters,
            bound,
            by if bound is not None else "",
        )
        status = Status.SOLVED if certificate.holds() else Status.NOT_CERTIFIED
        solved = status is Status.SOLVED
        quality = Quality.NONE if not solved else Quality.GLOBAL if closes else Quality.LOCAL
        return self._made(
            status,
            quality,
            "" if solved else certificate.failure(),
            certificate,
            record,
            objective,
            self._variable_values() if solved else {},
            self._shadow_prices(read, multipliers) if solved and method != "single_level" else {},
        )

    def _made(
        self,
        status: Status,
        quality: Quality,
        detail: str,
        certificate: Certificate | None = None,
        record: BilevelRecord | None = None,
        objective: float = np.nan,
        variables: Mapping[str, Any] | None = None,
        shadow_prices: Mapping[str, Any] | None = None,
    ) -> Solution:
        return Solution(
            problem=self.name,
            solver="ipopt",
            status=status,
            quality=quality,
            certificate=certificate,
            detail=detail,
            timing=dict(self.timing) or {"solve": time.perf_counter() - self.begin},
            log="\n".join(self.log),
            provenance={
                **ipopt.provenance(self.options, time_limit=self.clock.limit, warm_start=False),
                "method": self.method,
                "starts": self.count,
                "seed": self.seed,
                "attempts": self.rows,
            },
            bilevel=record,
            _objective=objective,
            _variables=variables or {},
            _shadow_prices=shadow_prices or {},
        )

    def _failed(self, status: Status, detail: str) -> Solution:
        record = None
        if self.rows:
            record = BilevelRecord(
                self.method, self._attempts_table(), _followers_table(()), np.nan, (), False, None, False, None, ""
            )
        return self._made(status, Quality.NONE, detail, None, record)

    def _not_optimal(self, checks: Sequence[Check]) -> Solution:
        wrong = [c for c in checks if not c.holds]
        detail = f"follower {wrong[0].follower.name}: {wrong[0].detail}"
        if len(wrong) > 1:
            detail += f"; so do {listing(c.follower.name for c in wrong[1:])}"
        record = BilevelRecord(
            self.method, self._attempts_table(), _followers_table(checks), np.nan, (), False, None, False, None, ""
        )
        return self._made(Status.FOLLOWER_NOT_OPTIMAL, Quality.NONE, detail, None, record)

    def _nothing(self, mine: Sequence[Attempt], points: Sequence[Start], single: Answer) -> Solution:
        """No start led anywhere: why?"""
        if self.clock.over:
            return self._failed(Status.TIME_LIMIT, "no start had led to an answer by then")
        trouble = next((point.trouble for point in points if point.trouble), "")
        if single.status is Status.LOCALLY_INFEASIBLE:
            return self._failed(single.status, f"even if the leader decided for all; {single.detail}")
        outcomes = [attempt.outcome for attempt in mine]
        usual = max(set(outcomes), key=outcomes.count) if outcomes else ""
        known = next((status for status in Status if status.value == usual), Status.NUMERICAL_FAILURE)
        known = Status.NUMERICAL_FAILURE if known is Status.SOLVED else known
        parts = (f"none of {len(points)} starts led to an answer", "" if known.value == usual else usual, trouble)
        detail = "; ".join(part for part in parts if part)
        return self._failed(known, detail)

    # ------------------------------------------------------------------ tables

    def _tell(self, attempt: Attempt) -> None:
        self._note(
            attempt.start,
            attempt.method,
            attempt.part,
            attempt.outcome,
            self.read.sense * attempt.objective,
            attempt.piece.detail if attempt.piece is not None else "",
        )

    def _note(self, start: str, method: str, part: int, outcome: str, objective: float, detail: str) -> None:
        self.rows.append(
            {
                "start": start,
                "method": method,
                "part": part,
                "outcome": outcome,
                "objective": objective,
                "detail": detail,
            }
        )
        line = f"{method:<20} {start:<28} part {part}: {objective:.10g}, {outcome}"
        self.log.append(line)
        if self.tee:
            sys.stdout.write(line + "\n")
            sys.stdout.flush()

    def _attempts_table(self) -> pd.DataFrame:
        return pd.DataFrame(self.rows, columns=["start", "method", "part", "outcome", "objective", "detail"])

    def _load(self, values: Sequence[float | None]) -> None:
        for variable, number in zip(self.variables, values, strict=True):
            variable.set_value(number, skip_validation=True)

    def _variable_values(self) -> dict[str, Any]:
        components = self.leader.component_objects(Var, active=True, descend_into=True)
        return {c.name: duals.series(c, {index: item.value for index, item in c.items()}) for c in components}

    def _shadow_prices(self, read: Program, multipliers: Multipliers) -> dict[str, Any]:
        """By constraint of the leader: d objective* / d right-hand side while the followers' active constraints stay active."""
        mine = {id(constraint) for constraint in self.read.constraints} - {
            id(constraint) for f in self.followers for constraint in f.constraints
        }
        rows = np.array([k for k, constraint in enumerate(read.constraints) if id(constraint) in mine], dtype=np.int64)
        own = {id(variable) for f in self.followers for variable in f.decisions}
        places = {id(variable) for variable in self.read.variables} - own
        columns = np.array([k for k, variable in enumerate(read.variables) if id(variable) in places], dtype=np.int64)
        part = restricted(read, rows, columns)
        of_part = Multipliers(multipliers.rows[rows], multipliers.x_lower[columns], multipliers.x_upper[columns])
        theirs = {variable.parent_component().name for f in self.followers for variable in f.decisions}
        found = duals.shadow_prices(part, of_part)
        return {name: number for name, number in found.items() if name.rpartition(".")[0] not in theirs}


def _same(one: Attempt, other: Attempt) -> bool:
    """The same point, as far as a follower could tell?"""
    assert one.piece is not None and other.piece is not None
    if one.system is not other.system or abs(one.objective - other.objective) > 1e-9 * (1 + abs(one.objective)):
        return False
    kept = np.setdiff1d(np.arange(len(one.piece.x)), one.system.multiplier)
    difference = np.abs(one.piece.x - other.piece.x)[kept]
    return bool((difference <= 1e-7 * (1 + np.abs(one.piece.x[kept]))).all())


def _followers_table(checks: Sequence[Check]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "objective": [c.objective for c in checks],
            "gap": [c.gap for c in checks],
            "convex": [c.convex for c in checks],
            "unique": [c.unique is True for c in checks],
            "detail": [c.detail for c in checks],
        },
        index=pd.Index([c.follower.name for c in checks], name="follower", dtype=object),
    )
