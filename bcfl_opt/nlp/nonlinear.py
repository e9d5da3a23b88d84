"""How is a Pyomo model solved? Read, presolved, run through IPOPT, and judged by residuals of our own."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TextIO

import numpy as np
from pyomo.common.gc_manager import PauseGC
from pyomo.core.base.block import BlockData
from pyomo.core.base.component import ComponentData
from pyomo.core.base.var import Var
from pyomo.core.expr.numvalue import value

from bcfl_opt import ipopt
from bcfl_opt.certificate import TOLERANCE, Certificate
from bcfl_opt.context import Context
from bcfl_opt.nlp.attempts import (
    ADAPTIVE,
    EFFORT,
    FINER,
    LOOSE,
    NOTICEABLE,
    RELAXED,
    Attempt,
    as_near,
    gain,
    general,
    limited,
)
from bcfl_opt.nlp.conflict import missing_room
from bcfl_opt.nlp.convexity import is_convex
from bcfl_opt.nlp.duals import Names
from bcfl_opt.nlp.elimination import Eliminated, eliminate
from bcfl_opt.nlp.infeasibility import linear_conflict
from bcfl_opt.nlp.ipopt_options import refuse_crashes, validated
from bcfl_opt.nlp.kkt import certify
from bcfl_opt.nlp.normal_form import NormalForm, by_index, tight
from bcfl_opt.nlp.presolve import Multipliers, Presolved, presolve
from bcfl_opt.nlp.program import Program, program
from bcfl_opt.nlp.second_order import second_order
from bcfl_opt.nlp.undefined import undefined_terms
from bcfl_opt.solution import WISHED, Quality, Status
from bcfl_opt.threads import one_thread

#: How often a stationary point that is no local optimum is left along a direction in which the objective improves.
ESCAPES = 3
#: Stops after which it is asked whether any point is feasible. Unbounded is among them: relative to the size of variables
#: that run away, no violation is large.
DOUBTFUL = (Status.UNBOUNDED, Status.LOCALLY_INFEASIBLE, Status.NUMERICAL_FAILURE)
#: Stops that another attempt would only repeat.
FINAL = (Status.TIME_LIMIT, Status.INTERRUPTED, Status.NO_FREEDOM, Status.UNBOUNDED)


class Named(NamedTuple):
    """By component name, Series by index (floats for scalars); see :class:`bcfl_opt.nlp.duals.Names`."""

    variables: Mapping[str, Any]
    shadow_prices: Mapping[str, Any]
    raw_multipliers: Mapping[str, Any]


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """Status, point and certificate of a Pyomo model, before anyone asks about clients."""

    program: Program
    status: Status
    quality: Quality
    detail: str
    certificate: Certificate | None
    x: np.ndarray
    multipliers: Multipliers | None
    iterations: int | None
    log: str
    timing: Mapping[str, float]
    provenance: Mapping[str, Any]
    history: tuple[tuple[float, ...], ...] = ()
    #: Where parts of the programme that are independent of the rest have no answer: theirs, and that of the others.
    part: Answer | None = None
    failures: tuple[Answer, ...] = ()

    @property
    def objective(self) -> float:
        """In the user's own sense; NaN without a point."""
        if self.multipliers is None:
            return np.nan
        with np.errstate(all="ignore"):
            return self.program.sense * self.program.functions.objective(self.x)

    def load(self) -> None:
        """Set the model's variables to the point."""
        for variable, number in zip(self.program.variables, self.x.tolist(), strict=True):
            variable.set_value(number, skip_validation=True)

    def named(self) -> Named:
        """What the model's components hold at the point."""
        assert self.multipliers is not None
        names = Names(self.program)
        return Named(
            names.variables(self.x), names.shadow_prices(self.multipliers), names.raw_multipliers(self.multipliers)
        )

    def client_values(self, context: Context, variables: Mapping[str, Any]) -> dict[str, np.ndarray] | None:
        """Times and prices of the model's clients at the point; None where the model no longer has them.

        variables : of the model at the point, see :meth:`named`.
        """
        model, clients = self.program.model, context.clients
        result: dict[str, np.ndarray] = {}
        for name in ("training_time", "mining_time", "training_price", "mining_price", *context.columns.values()):
            component = model.component(name)
            if component is None and context.prices is not None:
                result[name] = context.prices.loc[clients, name].to_numpy()
            elif component is None:
                return None
            elif component.ctype is Var:
                result[name] = variables[component.name].loc[clients].to_numpy()
            else:
                result[name] = self._evaluated([component[i] for i in clients])
        return result

    def _evaluated(self, expressions: list[Any]) -> np.ndarray:
        before = [variable.value for variable in self.program.variables]
        try:
            self.load()
            return np.array([value(expression) for expression in expressions], dtype=float)
        finally:
            for variable, number in zip(self.program.variables, before, strict=True):
                variable.set_value(number, skip_validation=True)


@one_thread()
def solve_program(
    model: BlockData | Program,
    *,
    options: Mapping[str, Any] | None = None,
    warm_start: Answer | None = None,
    time_limit: float | None = None,
    streams: Sequence[TextIO] = (),
    unit: float = 1.0,
    finest: bool = False,
    engine: str = "cyipopt",
    start: np.ndarray | None = None,
    attempts: slice = slice(None),
) -> Answer:
    """Solve a Pyomo model by IPOPT and certify the point; see :func:`bcfl_opt.solve` for the arguments.

    model : or the programme that was read from it.
    streams : text streams that get IPOPT's log as it goes.
    unit : what counts as small in this model's objective. Other than 1, the model is a game's, which starts at a
        representative point, and is solved and judged in its own units, see :mod:`bcfl_opt.nlp.normal_form`.
    finest : go on to where doubles end.
    start : another point than the model's values, which still tell its units.
    attempts : which of them to make. Short of the last one, it is not asked whether any point is feasible.
    """
    begin = time.perf_counter()
    options = validated(options or {})
    with PauseGC():  # reading makes many small objects, none of them garbage
        read = model if isinstance(model, Program) else program(model)
    refuse_crashes(options, quadratic=all(family.quadratic for family in read.functions.families))
    x, multipliers = read.start(), None
    normal = None if unit == 1.0 or not len(x) else NormalForm.of(read, x)
    told, small = (read, 1.0) if normal is None else (normal.told(read), normal.small(by_index(read)))
    reduced = presolve(told)
    timing = {"read": time.perf_counter() - begin}
    provenance = ipopt.provenance(options, time_limit=time_limit, warm_start=warm_start is not None, engine=engine)
    if reduced.conflict:
        conflict = presolve(read).conflict or reduced.conflict  # its numbers in the user's units
        return Answer(read, Status.INFEASIBLE, Quality.NONE, conflict, None, x, None, None, "", timing, provenance)
    if warm_start is not None:
        x, multipliers = _from_previous(warm_start, read, x)
    if start is not None:
        x, multipliers = start, None
    if normal is not None:
        x, multipliers = x / normal.sizes, None if multipliers is None else normal.there(multipliers)
    convex = is_convex(told, reduced.x_lower, reduced.x_upper)
    best: Answer | None = None
    # Where the programme is not convex, IPOPT takes more steps along rows that hold than across them.
    smallest = eliminate(reduced, x) if convex and normal is not None else reduced
    left_to_try = _attempts(reduced, smallest, x, small, convex, finest)[attempts]
    to_the_end = attempts.stop is None
    escapes, effort = 0, 0
    missing: str | None = None  # None: not asked yet
    tried: list[Attempt] = []
    while left_to_try:
        attempt = left_to_try.pop(0)
        attempt = dataclasses.replace(attempt, options={**attempt.options, **options})
        if any(attempt.same(other) for other in tried):
            continue  # the user's options leave nothing of what sets this attempt apart
        tried.append(attempt)
        outcome = ipopt.run(
            smallest if attempt.eliminating else reduced,
            x if attempt.start is None else attempt.start,
            options=attempt.options,
            warm_start=multipliers if attempt.start is None else None,
            time_limit=None if time_limit is None else max(time_limit - (time.perf_counter() - begin), 1e-3),
            streams=streams,
            scaling=attempt.scaling,
            engine=engine,
            objective=None if normal is None else normal.original(read),
        )
        provenance["attempts"].append(
            {
                "options": attempt.options,
                "start": "the model's" if attempt.start is None else "another",
                "eliminated": len(smallest.pairs.rows)
                if attempt.eliminating and isinstance(smallest, Eliminated)
                else 0,
                "status": outcome.status.name,
                "detail": outcome.detail,
            }
        )
        effort += outcome.iterations * read.functions.size
        timing["solve"] = timing.get("solve", 0.0) + outcome.seconds
        check = time.perf_counter()
        certificate = _certificate(read, told, normal, small, convex, outcome.x, outcome.multipliers)
        answer = _judged(read, outcome, normal, certificate, timing, provenance)
        downhill = None
        if answer.status is Status.SOLVED and not convex:
            bent = second_order(told, outcome.x, outcome.multipliers, unit=small)
            if bent.downhill is not None and gain(told, outcome.x, outcome.multipliers, bent.downhill) > NOTICEABLE:
                downhill = bent.downhill
            answer = dataclasses.replace(answer, certificate=dataclasses.replace(certificate, curvature=bent.curvature))
        timing["certify"] = timing.get("certify", 0.0) + time.perf_counter() - check
        if downhill is not None:
            along = read.variables[int(np.abs(downhill).argmax())].name
            answer = dataclasses.replace(answer, status=Status.SADDLE, quality=Quality.NONE, detail=f"along {along}")
            if escapes < ESCAPES:
                escapes += 1
                step = 0.01 * max(1.0, float(np.abs(outcome.x).max()))
                x, multipliers = outcome.x + step * downhill / np.abs(downhill).max(), None
                left_to_try.insert(0, dataclasses.replace(attempt, start=x))
        if outcome.status is Status.EVALUATION_ERROR and not outcome.iterations:
            left_to_try = [other for other in left_to_try if other.start is not attempt.start]
        if answer.status is Status.NOT_CERTIFIED and unit == 1.0 and not FINER.items() <= attempt.options.items():
            left_to_try.insert(0, Attempt({**attempt.options, **FINER}, start=outcome.x))
        if best is None or answer.status in (Status.SOLVED, Status.UNBOUNDED):
            best = answer
        first = to_the_end and len(provenance["attempts"]) == 1
        if first and answer.status not in (Status.SOLVED, Status.SADDLE):
            # Iterates may diverge along rows that can never meet; relative to their size such a point looks feasible.
            conflict = linear_conflict(told)
            if conflict:
                return dataclasses.replace(answer, status=Status.INFEASIBLE, detail=conflict)
        if to_the_end and convex and answer.status is Status.LOCALLY_INFEASIBLE and missing is None:
            missing = missing_room(read, convex=True)  # a proof, for less than another attempt
            if missing:
                best = answer
                break
        final = answer.status in FINAL or (answer.status is Status.ITERATION_LIMIT and "max_iter" in options)
        if answer.status is Status.SOLVED or final or effort > EFFORT:
            break
    assert best is not None
    if to_the_end and best.status in DOUBTFUL:
        missing = missing_room(read, convex=convex) if missing is None else missing
        if missing:
            status = Status.INFEASIBLE if convex else Status.LOCALLY_INFEASIBLE
            best = dataclasses.replace(best, status=status, detail=missing)
    if warm_start is not None and warm_start.iterations is not None and best.iterations is not None:
        provenance["iterations_saved"] = warm_start.iterations - best.iterations
    return best


def _certificate(
    read: Program,
    told: Program,
    normal: NormalForm | None,
    small: float | np.ndarray,
    convex: bool,
    x: np.ndarray,
    multipliers: Multipliers,
) -> Certificate:
    """Of a point of ``told``, the programme ``read`` in its own units."""
    certificate = certify(told, x, multipliers, convex=convex, unit=small)
    if normal is None:
        return certificate
    own = certify(read, x * normal.sizes, normal.back(multipliers), convex=convex)
    return dataclasses.replace(certificate, unscaled=own.unscaled)


def certified(read: Program, x: np.ndarray, multipliers: Multipliers, *, unit: float = 1.0) -> Certificate:
    """The certificate of a point and multipliers of the programme as written, by the rule of :func:`solve_program`."""
    normal = None if unit == 1.0 or not len(x) else NormalForm.of(read, read.start())
    told, small = (read, 1.0) if normal is None else (normal.told(read), normal.small(by_index(read)))
    reduced = presolve(told)
    convex = is_convex(told, reduced.x_lower, reduced.x_upper)
    if normal is not None:
        x, multipliers = x / normal.sizes, normal.there(multipliers)
    return _certificate(read, told, normal, small, convex, x, multipliers)


def _attempts(
    reduced: Presolved,
    smallest: Presolved | Eliminated,
    x: np.ndarray,
    small: float | np.ndarray,
    convex: bool,
    finest: bool,
) -> list[Attempt]:
    """Options and scalings to try, in order.

    A model of unknown units is left to IPOPT's own scaling. In a game's own units, IPOPT's tolerances, which are absolute,
    are set to mean a millionth of what counts as small; a high barrier pays where the model is not convex, and solving each
    barrier problem less tightly before the barrier is lowered, and refining only the steps that need it, where it is.
    """
    if not isinstance(small, np.ndarray):
        return general(reduced, x)
    own_units = tight(float(small.min(initial=1.0)), finest)
    lax = {"barrier_tol_factor": 100.0, "min_refinement_steps": 0} if convex else {}
    smaller = tight(1e-3 * float(small.min(initial=1.0)), finest)
    own = [{**own_units, **lax}, {**smaller, "mu_init": 1e-2}]
    relaxed = [{**own_units, **RELAXED, **options} for options in ({}, ADAPTIVE)]
    attempts = [Attempt(options) for options in limited([*(own if convex else own[::-1]), *relaxed])]
    if smallest is reduced:
        return attempts
    return [Attempt({**attempts[0].options, **LOOSE, **as_near(smallest, x)}, eliminating=True), *attempts]


def _judged(
    read: Program,
    outcome: ipopt.Outcome,
    normal: NormalForm | None,
    certificate: Certificate,
    timing: dict[str, float],
    provenance: dict[str, Any],
) -> Answer:
    """The certificate decides: a point that holds is solved whatever IPOPT says of it, and one that does not is not."""
    x, multipliers = outcome.x, outcome.multipliers
    if normal is not None:
        x, multipliers = x * normal.sizes, normal.back(multipliers)
    status, detail = outcome.status, outcome.detail
    with np.errstate(all="ignore"):
        finite = bool(np.isfinite(x).all() and np.isfinite(read.functions.objective(x)))
    game = normal is not None
    if finite and certificate.accepted(game=game):
        status, detail = Status.SOLVED, ""
    elif status is Status.SOLVED or (finite and certificate.holds() and status not in WISHED):
        status, detail = Status.NOT_CERTIFIED, certificate.failure(game=game)
    elif status is not Status.UNBOUNDED or not certificate.primal <= TOLERANCE:
        # Iterates that diverge without being feasible say nothing about the objective.
        status = Status.NUMERICAL_FAILURE if status is Status.UNBOUNDED else status
        place = certificate.where.get("primal", "")
        if status is Status.EVALUATION_ERROR:
            detail = "; ".join([detail, *undefined_terms(read, x)[:1]])
        elif place and not certificate.primal <= TOLERANCE:
            detail = f"{detail}; {place} is violated most, by {certificate.primal:.3g} of its size"
    solved = status is Status.SOLVED
    quality = Quality.NONE if not solved else Quality.GLOBAL if certificate.closes_gap else Quality.LOCAL
    return Answer(
        read,
        status,
        quality,
        detail,
        certificate,
        x,
        multipliers,
        outcome.iterations,
        outcome.log,
        timing,
        provenance,
        tuple((k, read.sense * objective, *rest) for k, objective, *rest in outcome.history),
    )


def _from_previous(previous: Answer, read: Program, x: np.ndarray) -> tuple[np.ndarray, Multipliers | None]:
    """Point and multipliers of a previous answer, matched by component (by name where the model is another one)."""
    while previous.part is not None:
        previous = previous.part
    same = previous.program.model is read.model

    def key(item: ComponentData) -> Any:
        return id(item) if same else item.name

    old = previous.multipliers
    if old is None or not all(np.isfinite(values).all() for values in (previous.x, old.rows, old.x_lower, old.x_upper)):
        return x, None
    places = {key(variable): k for k, variable in enumerate(previous.program.variables)}
    columns = np.array([places.get(key(variable), -1) for variable in read.variables], dtype=np.int64)
    places = {key(constraint): k for k, constraint in enumerate(previous.program.constraints)}
    rows = np.array([places.get(key(constraint), -1) for constraint in read.constraints], dtype=np.int64)

    def taken(values: np.ndarray, where: np.ndarray, otherwise: np.ndarray) -> np.ndarray:
        return np.where(where >= 0, values[where], otherwise) if len(values) else otherwise

    zero = np.zeros(len(columns))
    return taken(previous.x, columns, x), Multipliers(
        taken(old.rows, rows, np.zeros(len(rows))),
        taken(old.x_lower, columns, zero),
        taken(old.x_upper, columns, zero),
    )
