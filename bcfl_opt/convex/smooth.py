"""How does a CVXPY problem reach IPOPT? In CVXPY's smooth form, by the run and the checks that Pyomo models get.

CVXPY's own ``solve(nlp=True)`` returns neither multipliers nor log nor iterations, and prints.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TextIO

import cvxpy as cp
import numpy as np

from bcfl_opt import ipopt
from bcfl_opt.certificate import TOLERANCE, Certificate
from bcfl_opt.convex.convex_problem import ConvexProblem, judged, quality, restore
from bcfl_opt.convex.rules import DNLP, broken_rules, first_ones
from bcfl_opt.convex.smooth_program import SmoothProgram, expression_bounds, odd_power_domains, two_sided
from bcfl_opt.convex.undefined import undefined_terms
from bcfl_opt.errors import InputError, ModelError, listing
from bcfl_opt.nlp.attempts import limited
from bcfl_opt.nlp.ipopt_options import refuse_crashes, validated
from bcfl_opt.nlp.kkt import certify
from bcfl_opt.nlp.normal_form import tight
from bcfl_opt.nlp.presolve import Multipliers, presolve
from bcfl_opt.nlp.second_order import second_order
from bcfl_opt.solution import WISHED, Solution, Status

#: Tried in order until one is certified; a user's own options come on top. See :mod:`bcfl_opt.nlp.nonlinear`.
ATTEMPTS: tuple[dict[str, Any], ...] = (
    {},
    {"mu_strategy": "adaptive"},
    {"bound_relax_factor": 1e-8},
    {"bound_relax_factor": 1e-8, "mu_strategy": "adaptive"},
)
#: A fixed part of the objective whose rounding is a larger share than this of the rest leaves the rest undecided.
DROWNED = 1e-8
#: How often a stationary point that is no local optimum is left along a direction in which the objective improves.
ESCAPES = 3
#: Stops after which it is asked whether any point is feasible.
DOUBTFUL = (Status.UNBOUNDED, Status.LOCALLY_INFEASIBLE, Status.NUMERICAL_FAILURE)
#: Stops that another attempt would only repeat.
FINAL = (Status.SOLVED, Status.TIME_LIMIT, Status.INTERRUPTED, Status.NO_FREEDOM, Status.UNBOUNDED)


def solve_smooth(
    problem: ConvexProblem,
    *,
    options: Mapping[str, Any] | None = None,
    time_limit: float | None = None,
    warm_start: Solution | None = None,
    streams: Sequence[TextIO] = (),
    missing_room: Callable[[], str] | None = None,
) -> Solution:
    """Solve a DNLP problem by IPOPT from the variables' values (or ``warm_start``'s), and certify the point.

    Where the problem is DCP too, the certificate has a duality gap: with the auxiliary variables eliminated, the Lagrangian
    is convex in the user's variables, its gradient there is the residual, and f(y) >= f(x) - sum(multiplier x slack)
    - sum |residual| |y - x| for every feasible y. Arguments and errors: see :func:`bcfl_opt.conic.solve_convex`.

    missing_room : asked where IPOPT stops in doubt: what would have to give way for any point to be feasible.
    """
    settings = validated(options or {})
    refuse_crashes(settings, quadratic=problem.problem.is_qp())
    rows = two_sided(problem)
    if problem.problem.is_dcp():
        rows += odd_power_domains(problem)
    bounds = expression_bounds(problem)
    rows += [(f"{variable.name()}.{side}", row, row) for variable, side, row in bounds]
    twin = cp.Problem(problem.problem.objective, [row for _, _, row in rows])
    broken = broken_rules(problem, DNLP)
    if broken:
        raise ModelError(f"IPOPT needs smooth expressions, by CVXPY's rules (DNLP): {first_ones(broken)}")
    begin = time.perf_counter()
    saved = problem.saved()
    try:
        _set_start(problem, warm_start)
        smooth = SmoothProgram.of(twin, rows, bounds)
        timing = {"compile": time.perf_counter() - begin}
        answer = _attempts(problem, smooth, settings, time_limit, warm_start, streams, timing)
    except BaseException:
        restore(saved)
        raise
    check = time.perf_counter()
    status, detail, certificate = answer.status, answer.detail, answer.certificate
    objective, held = np.nan, {}
    if status is Status.SOLVED and certificate is not None:
        smooth.load(answer.x)
        certificate, status, detail = judged(problem, certificate)
        objective = float(problem.problem.objective.value)
        if status is Status.SOLVED:
            held = problem.held(smooth.duals(answer.multipliers))
    elif status in DOUBTFUL and missing_room is not None and (missing := missing_room()):
        convex = problem.problem.is_dcp()
        status, detail = Status.INFEASIBLE if convex else Status.LOCALLY_INFEASIBLE, missing
    elif status is Status.UNBOUNDED:
        held = {"_direction": smooth.direction(problem, answer.x - smooth.x)}
    elif status is Status.EVALUATION_ERROR:
        smooth.load(answer.x)
        detail = "; ".join([detail, *undefined_terms(problem)[:1]])
    solved = status is Status.SOLVED
    if not solved:
        restore(saved)
    timing["check"] = timing.get("check", 0.0) + time.perf_counter() - check
    return Solution(
        problem=problem.title,
        solver="ipopt",
        status=status,
        quality=quality(solved, certificate),
        certificate=certificate,
        detail=detail,
        timing=timing,
        iterations=answer.iterations,
        log=answer.log,
        provenance=answer.provenance,
        _history=tuple((k, problem.sense * f, *rest) for k, f, *rest in answer.history),
        _objective=objective if solved else np.nan,
        **held,
        _warm_start=answer.multipliers,
        _model=problem.model,
    )


def _set_start(problem: ConvexProblem, warm_start: Solution | None) -> None:
    """The previous solution's values; else the variables' own; else a point inside their bounds, 0 where there are none."""
    previous = warm_start.variables if warm_start is not None and warm_start.succeeded else {}
    if previous and not set(previous) & set(problem.named_variables()):
        raise InputError(
            f"warm_start has {listing(previous)} and this problem {listing(problem.named_variables())}: no variable of the "
            "same name to start from; name variables (cp.Variable(name=...)) to match them"
        )
    for name, variable in problem.named_variables().items():
        if name in previous:
            value = np.asarray(previous[name], dtype=float)
            if value.shape != variable.shape:
                raise InputError(f"warm_start: {name} has shape {value.shape} there and {variable.shape} here")
            variable.save_value(value)
        elif variable.value is None:
            low, high = (np.broadcast_to(bound, variable.shape) for bound in variable.get_bounds())
            both = np.isfinite(low) & np.isfinite(high)
            with np.errstate(invalid="ignore"):
                inside = np.select(
                    [both, np.isfinite(low), np.isfinite(high)], [(low + high) / 2, low + 1.0, high - 1.0], 0.0
                )
            variable.save_value(inside)


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class _Answer:
    status: Status
    detail: str
    certificate: Certificate | None
    x: np.ndarray
    multipliers: Multipliers
    iterations: int
    log: str
    history: tuple[tuple[float, ...], ...]
    provenance: Mapping[str, Any]


def _attempts(
    problem: ConvexProblem,
    smooth: SmoothProgram,
    options: Mapping[str, Any],
    time_limit: float | None,
    warm_start: Solution | None,
    streams: Sequence[TextIO],
    timing: dict[str, float],
) -> _Answer:
    """IPOPT, again with other settings where the certificate does not hold or the point is no local optimum."""
    begin = time.perf_counter()
    convex = problem.problem.is_dcp()
    provenance = ipopt.provenance(options, time_limit=time_limit, warm_start=warm_start is not None)
    x, escapes = smooth.x, 0
    multipliers = None
    if warm_start is not None and warm_start.succeeded:
        multipliers = _fitting(warm_start._warm_start, smooth)
    own: dict[str, Any] = {}
    told, normal, small, drowned = smooth, None, np.zeros(0), 0.0
    if problem.unit != 1.0:  # a game's model starts at a representative point, and is told in its units
        told, normal = smooth.in_own_units()
        small, drowned = normal.small(smooth.groups), normal.drowned(smooth.program, smooth.groups)
        own = tight(float(small.min(initial=1.0)))
        x, multipliers = told.x, None if multipliers is None else normal.there(multipliers)
        if told.presolved.conflict:
            conflict = presolve(smooth.program).conflict or told.presolved.conflict  # its numbers in the user's units
            rows, columns = np.zeros(len(smooth.program.constraints)), np.zeros(len(x))
            nothing = Multipliers(rows, columns, columns)
            return _Answer(Status.INFEASIBLE, conflict, None, smooth.x, nothing, 0, "", (), provenance)
    game = normal is not None
    best: _Answer | None = None
    attempts = list(ATTEMPTS)
    if normal is not None:
        attempts.insert(1, tight(1e-3 * float(small.min(initial=1.0))))
        attempts = limited(attempts)
    while attempts:
        attempt = attempts.pop(0)
        settings = {**own, **attempt, **options}
        left = None if time_limit is None else max(time_limit - (time.perf_counter() - begin), 1e-3)
        outcome = ipopt.run(
            told.presolved,
            x,
            options=settings,
            warm_start=multipliers,
            time_limit=left,
            streams=streams,
            objective=None if normal is None else normal.original(smooth.program),
        )
        timing["solve"] = timing.get("solve", 0.0) + outcome.seconds
        check = time.perf_counter()
        found, held = outcome.x, outcome.multipliers
        unit: float | np.ndarray = 1.0 if normal is None else small
        certificate = certify(told.program, found, held, convex=convex, unit=unit)
        if normal is not None:
            found, held = found * normal.sizes, normal.back(held)
            certificate = dataclasses.replace(
                certificate, unscaled=certify(smooth.program, found, held, convex=convex).unscaled
            )
        status, detail = outcome.status, outcome.detail
        if np.isfinite(outcome.x).all() and certificate.accepted(game=game):
            status, detail = Status.SOLVED, ""
        elif status is Status.SOLVED or (certificate.holds() and status not in WISHED):
            status, detail = Status.NOT_CERTIFIED, certificate.failure(game=game)
        elif status is Status.UNBOUNDED and not certificate.primal <= TOLERANCE:
            status = Status.NUMERICAL_FAILURE  # iterates that diverge without being feasible say nothing
        if status is Status.SOLVED and drowned > DROWNED:
            status, detail = (
                Status.NOT_CERTIFIED,
                "what the equalities fix of the objective drowns what is left to decide",
            )
        if status is Status.SOLVED and not convex:
            bent = second_order(told.program, outcome.x, outcome.multipliers, unit=unit)
            certificate, downhill = dataclasses.replace(certificate, curvature=bent.curvature), bent.downhill
            if downhill is not None:
                along = smooth.program.variables[int(np.abs(downhill).argmax())].name
                status, detail = Status.SADDLE, f"along {along}"
                if escapes < ESCAPES:
                    escapes, multipliers = escapes + 1, None
                    step = 0.01 * max(1.0, float(np.abs(outcome.x).max()))
                    x = outcome.x + step * downhill / np.abs(downhill).max()
                    attempts.insert(0, attempt)
        timing["check"] = timing.get("check", 0.0) + time.perf_counter() - check
        provenance["attempts"].append({"options": settings, "status": status.name, "detail": detail})
        answer = _Answer(
            status,
            detail,
            certificate,
            found,
            held,
            outcome.iterations,
            outcome.log,
            outcome.history,
            provenance,
        )
        if best is None or status is Status.SOLVED:
            best = answer
        if status in FINAL or (status is Status.ITERATION_LIMIT and "max_iter" in options):
            break
    assert best is not None
    if warm_start is not None and isinstance(warm_start._warm_start, Multipliers) and warm_start.iterations is not None:
        provenance["iterations_saved"] = warm_start.iterations - best.iterations
    return best


def _fitting(multipliers: Any, smooth: SmoothProgram) -> Multipliers | None:
    """A previous solve's multipliers, if they fit this problem."""
    if not isinstance(multipliers, Multipliers):
        return None
    fits = len(multipliers.rows) == len(smooth.program.lower) and len(multipliers.x_lower) == len(smooth.x)
    return multipliers if fits else None
