"""How does a CVXPY problem reach IPOPT? In CVXPY's smooth form, by the run and the checks that Pyomo models get.

CVXPY's own ``solve(nlp=True)`` returns neither multipliers nor log nor iterations, and prints.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import time
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

import cvxpy as cp
import numpy as np

from bcfl_opt import ipopt
from bcfl_opt.certificate import Certificate
from bcfl_opt.convex.convex_problem import ConvexProblem, judged, quality, restore
from bcfl_opt.convex.smooth_program import SmoothProgram, odd_power_domains, two_sided
from bcfl_opt.errors import InputError, ModelError, listing
from bcfl_opt.nlp.ipopt_options import validated
from bcfl_opt.nlp.kkt import certify
from bcfl_opt.nlp.presolve import Multipliers
from bcfl_opt.nlp.second_order import descent_direction
from bcfl_opt.solution import Solution, Status

#: Tried in order until one is certified; a user's own options come on top. See :mod:`bcfl_opt.nlp.nonlinear`.
ATTEMPTS: tuple[dict[str, Any], ...] = (
    {},
    {"mu_strategy": "adaptive"},
    {"bound_relax_factor": 1e-8},
    {"bound_relax_factor": 1e-8, "mu_strategy": "adaptive"},
)
#: How often a stationary point that is no local optimum is left along a direction in which the objective improves.
ESCAPES = 3
#: Stops that another attempt would only repeat.
FINAL = (Status.SOLVED, Status.TIME_LIMIT, Status.INTERRUPTED, Status.NO_FREEDOM, Status.UNBOUNDED)


def solve_smooth(
    problem: ConvexProblem,
    *,
    options: Mapping[str, Any] | None = None,
    time_limit: float | None = None,
    warm_start: Solution | None = None,
    streams: Sequence[TextIO] = (),
) -> Solution:
    """Solve a DNLP problem by IPOPT from the variables' values (or ``warm_start``'s), and certify the point.

    Where the problem is DCP too, the certificate has a duality gap: with the auxiliary variables eliminated, the Lagrangian
    is convex in the user's variables, its gradient there is the residual, and f(y) >= f(x) - sum(multiplier x slack)
    - sum |residual| |y - x| for every feasible y. Arguments and errors: see :func:`bcfl_opt.conic.solve_convex`.
    """
    settings = validated(options or {})
    rows = two_sided(problem)
    if problem.problem.is_dcp():
        rows += odd_power_domains(problem)
    twin = cp.Problem(problem.problem.objective, [row for _, _, row in rows])
    offenders = dataclasses.replace(problem, problem=twin).offenders("is_dnlp")
    if offenders:
        raise ModelError(
            f"IPOPT needs smooth expressions, by CVXPY's rules (DNLP), and these are not: {listing(offenders, 3)}"
        )
    begin = time.perf_counter()
    saved = problem.saved()
    try:
        _set_start(problem, warm_start)
        smooth = SmoothProgram.of(twin, rows)
        timing = {"compile": time.perf_counter() - begin}
        answer = _attempts(problem, smooth, settings, time_limit, warm_start, streams, timing)
    except BaseException:
        restore(saved)
        raise
    check = time.perf_counter()
    status, detail, certificate = answer.status, answer.detail, answer.certificate
    objective, variables, shadow_prices = np.nan, {}, {}
    if status is Status.SOLVED and certificate is not None:
        smooth.load(answer.x)
        certificate, status, detail = judged(problem, certificate)
        objective, variables = float(problem.problem.objective.value), problem.values()
        shadow_prices = problem.shadow_prices(smooth.duals(answer.multipliers))
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
        _variables=variables if solved else {},
        _shadow_prices=shadow_prices if solved else {},
        _warm_start=answer.multipliers,
    )


def _set_start(problem: ConvexProblem, warm_start: Solution | None) -> None:
    """The previous solution's values; else the variables' own; else a point inside their bounds, 0 where there are none."""
    previous = {} if warm_start is None else warm_start.variables
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
    provenance: dict[str, Any] = {
        "versions": {"cvxpy": importlib.metadata.version("cvxpy"), **ipopt.versions()},
        "options": dict(options),
        "attempts": [],
    }
    x, escapes = smooth.x, 0
    multipliers = None if warm_start is None else _fitting(warm_start._warm_start, smooth)
    own: dict[str, Any] = {}
    scaling = None
    if problem.unit != 1.0:  # a game's model starts at a representative point, and its tolerances follow its units
        tolerance = float(np.clip(1e-6 * problem.unit, 1e-14, 1e-9))
        own = dict.fromkeys(("tol", "compl_inf_tol", "constr_viol_tol"), tolerance)
        with np.errstate(all="ignore"):
            pull = np.abs(smooth.program.functions.gradient(x) * x)
        pull = pull[np.isfinite(pull) & (pull > 0)]
        scaling = ipopt.Scaling.at(smooth.presolved, x, 1.0 / float(np.median(pull)) if pull.size else 1.0)
    sizes = None if problem.unit == 1.0 else np.where(x != 0, np.abs(x), 1.0)
    best: _Answer | None = None
    attempts = list(ATTEMPTS)
    while attempts:
        attempt = attempts.pop(0)
        settings = {**own, **attempt, **options}
        left = None if time_limit is None else max(time_limit - (time.perf_counter() - begin), 1e-3)
        outcome = ipopt.run(
            smooth.presolved,
            x,
            options=settings,
            warm_start=multipliers,
            time_limit=left,
            streams=streams,
            scaling=scaling,
        )
        timing["solve"] = timing.get("solve", 0.0) + outcome.seconds
        check = time.perf_counter()
        certificate = certify(
            smooth.program, outcome.x, outcome.multipliers, convex=convex, unit=problem.unit, sizes=sizes
        )
        status, detail = outcome.status, outcome.detail
        if np.isfinite(outcome.x).all() and certificate.holds():
            status, detail = Status.SOLVED, ""
        elif status is Status.SOLVED:
            status, detail = Status.NOT_CERTIFIED, certificate.failure()
        if status is Status.SOLVED and not convex:
            downhill = descent_direction(smooth.program, outcome.x, outcome.multipliers)
            if downhill is not None:
                status = Status.SADDLE
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
            outcome.x,
            outcome.multipliers,
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
    return best


def _fitting(multipliers: Any, smooth: SmoothProgram) -> Multipliers | None:
    """A previous solve's multipliers, if they fit this problem."""
    if not isinstance(multipliers, Multipliers):
        return None
    fits = len(multipliers.rows) == len(smooth.program.lower) and len(multipliers.x_lower) == len(smooth.x)
    return multipliers if fits else None
