"""What is told of a bilevel solve? Lines as it goes, tables of attempts and followers, and the Solution."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from pyomo.core.base.block import BlockData
from pyomo.core.base.var import Var

from bcfl_opt import ipopt
from bcfl_opt.bilevel_record import ATTEMPT_COLUMNS, BilevelRecord
from bcfl_opt.certificate import TOLERANCE, Certificate
from bcfl_opt.errors import listing
from bcfl_opt.nlp import duals
from bcfl_opt.nlp.kkt import coefficient_sizes
from bcfl_opt.nlp.presolve import Multipliers
from bcfl_opt.nlp.program import Program
from bcfl_opt.nlp.subprogram import restricted
from bcfl_opt.reformulations.assembly import Whole
from bcfl_opt.reformulations.convex_followers import PROVEN
from bcfl_opt.reformulations.followers import Follower
from bcfl_opt.reformulations.search import Attempt
from bcfl_opt.reformulations.verification import Check
from bcfl_opt.solution import Quality, Solution, Status

#: The leader's objective must move by this much, relative, before ties count.
TIES = 1e-5


class Report:
    """Collects what happens, and makes the Solution of it.

    leader, followers : the models. read : the leader's programme without the followers' optimality. unit : what counts as
    small. provenance : beyond the solver's own: how the search was asked for. tee : print a line for every attempt.
    """

    def __init__(
        self,
        leader: BlockData,
        followers: Sequence[Follower],
        read: Program,
        unit: float,
        problem: str,
        method: str,
        provenance: Mapping[str, Any],
        tee: bool,
    ) -> None:
        self.leader, self.followers, self.read, self.unit = leader, followers, read, unit
        self.problem, self.method, self.provenance, self.tee = problem, method, provenance, tee
        self.rows: list[dict[str, Any]] = []
        self.log: list[str] = []
        self.timing: dict[str, float] = {}

    # ------------------------------------------------------------------ as it goes

    def attempt(self, attempt: Attempt) -> None:
        """One attempt of the search."""
        detail = attempt.piece.detail if attempt.piece is not None else ""
        objective = self.read.sense * attempt.objective
        self.line(attempt.start, attempt.method, attempt.part, attempt.outcome, objective, detail)

    def line(self, start: str, method: str, part: int, outcome: str, objective: float, detail: str) -> None:
        """One line, also printed if asked for."""
        self.rows.append(dict(zip(ATTEMPT_COLUMNS, (start, method, part, outcome, objective, detail), strict=True)))
        text = f"{method:<20} {start:<28} part {part}: {objective:.10g}, {outcome}"
        self.log.append(text)
        if self.tee:
            sys.stdout.write(text + "\n")
            sys.stdout.flush()

    # ------------------------------------------------------------------ solutions

    def answer(self, whole: Whole, lowest: float, by: str, pessimist: float | None) -> Solution:
        """The Solution of an answer that all followers confirm. The model's variables hold it.

        lowest : what the minimised objective cannot fall below (minus infinity: not known), and ``by`` what that is known.
        pessimist : the leader's objective at the followers' worst optima, None if not known.
        """
        read = whole.program
        objective = read.sense * float(read.functions.objective(whole.x))
        least = self.unit if self.unit != 1.0 else min(float(coefficient_sizes(read.functions)[-1]), 1.0)
        size = max(float(read.functions.objective_size(whole.x)), least)
        bound = read.sense * lowest if np.isfinite(lowest) else None
        away = np.inf if bound is None else abs(bound - objective) / size
        worst = max(whole.checks, key=lambda c: c.gap)
        certificate = dataclasses.replace(
            whole.certificate,
            gap=away if away <= TOLERANCE else None,
            follower_gap=worst.gap,
            where={**whole.certificate.where, "follower_gap": f"follower {worst.follower.name}"},
        )
        matter = pessimist is not None and abs(pessimist - objective) > TIES * max(size, abs(objective))
        record = BilevelRecord(
            whole.method,
            self._attempts(),
            _table(whole.checks),
            whole.complementarity,
            whole.biactive,
            whole.strong,
            pessimist,
            matter,
            bound,
            "" if bound is None else by,
        )
        if not certificate.holds():
            return self._made(Status.NOT_CERTIFIED, Quality.NONE, certificate.failure(), certificate, record)
        unproven = [c.follower.name for c in whole.checks if c.convexity != PROVEN]
        detail = ""
        if unproven:
            detail = f"not known to be convex, so that its optimum is not proven: follower {listing(unproven)}"
        return self._made(
            Status.SOLVED,
            Quality.GLOBAL if away <= TOLERANCE else Quality.LOCAL,
            detail,
            certificate,
            record,
            objective,
            self._variables(),
            self._shadow_prices(read, whole.multipliers) if whole.method != "single_level" else {},
        )

    def failure(self, status: Status, detail: str, checks: Sequence[Check] = ()) -> Solution:
        """A Solution without a point."""
        record = BilevelRecord(self.method, self._attempts(), _table(checks), np.nan, (), False, None, False, None, "")
        return self._made(status, Quality.NONE, detail, None, record)

    def not_confirmed(self, checks: Sequence[Check], over: bool) -> Solution:
        """A follower has a better point, or could not be asked (``over``: for lack of time)."""
        wrong = [c for c in checks if not c.holds]
        asked = [c for c in wrong if c.asked]
        first, *others = asked or wrong
        detail = f"follower {first.follower.name}: {first.detail}"
        if others:
            detail += f"; likewise {listing(c.follower.name for c in others)}"
        status = Status.FOLLOWER_NOT_OPTIMAL if asked else Status.TIME_LIMIT if over else Status.NOT_CERTIFIED
        return self.failure(status, detail, checks)

    def _made(
        self,
        status: Status,
        quality: Quality,
        detail: str,
        certificate: Certificate | None,
        record: BilevelRecord,
        objective: float = np.nan,
        variables: Mapping[str, Any] | None = None,
        shadow_prices: Mapping[str, Any] | None = None,
    ) -> Solution:
        return Solution(
            problem=self.problem,
            solver="ipopt",
            status=status,
            quality=quality,
            certificate=certificate,
            detail=detail,
            timing=dict(self.timing),
            log="\n".join(self.log),
            provenance={**ipopt.provenance({}), **self.provenance, "attempts": self.rows},
            bilevel=record,
            _objective=objective,
            _variables=variables or {},
            _shadow_prices=shadow_prices or {},
        )

    # ------------------------------------------------------------------ tables

    def _attempts(self) -> pd.DataFrame:
        return pd.DataFrame(self.rows, columns=list(ATTEMPT_COLUMNS))

    def _variables(self) -> dict[str, Any]:
        components = self.leader.component_objects(Var, active=True, descend_into=True)
        return {c.name: duals.series(c, {index: item.value for index, item in c.items()}) for c in components}

    def _shadow_prices(self, read: Program, multipliers: Multipliers) -> dict[str, Any]:
        """By the leader's constraints and bounds: d objective* / d right-hand side, the followers' active constraints staying."""
        theirs = {id(constraint) for f in self.followers for constraint in f.constraints}
        rows_of = {id(constraint) for constraint in self.read.constraints} - theirs
        rows = np.array([k for k, row in enumerate(read.constraints) if id(row) in rows_of], dtype=np.int64)
        decided = {id(variable) for f in self.followers for variable in f.decisions}
        columns_of = {id(variable) for variable in self.read.variables} - decided
        columns = np.array([k for k, column in enumerate(read.variables) if id(column) in columns_of], dtype=np.int64)
        part = restricted(read, rows, columns)
        prices = duals.Names(part).shadow_prices(
            Multipliers(multipliers.rows[rows], multipliers.x_lower[columns], multipliers.x_upper[columns])
        )
        names = {variable.parent_component().name for f in self.followers for variable in f.decisions}
        return {name: number for name, number in prices.items() if name.rpartition(".")[0] not in names}


def _table(checks: Sequence[Check]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "objective": [c.objective for c in checks],
            "gap": [c.gap for c in checks],
            "convexity": [c.convexity for c in checks],
            "unique": [c.unique is True for c in checks],
            "detail": [c.detail for c in checks],
        },
        index=pd.Index([c.follower.name for c in checks], name="follower", dtype=object),
    )
