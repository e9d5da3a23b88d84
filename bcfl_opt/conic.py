"""How does a CVXPY problem reach Clarabel, or IPOPT? Compiled, scaled, solved, refined; judged by residuals of our own."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np
import scipy.sparse as sp

from bcfl_opt.certificate import Certificate
from bcfl_opt.context import ConvexModel
from bcfl_opt.convex.compiled import Compiled
from bcfl_opt.convex.conflict import missing_room
from bcfl_opt.convex.conic_program import ConicProgram
from bcfl_opt.convex.convex_problem import ConvexProblem, judged, quality, restore
from bcfl_opt.convex.iterates import iterates
from bcfl_opt.convex.refinement import refine
from bcfl_opt.convex.rules import broken_rules, first_ones
from bcfl_opt.errors import InputError, ModelError, choice, require, unknown_name
from bcfl_opt.provenance import record
from bcfl_opt.solution import WISHED, Quality, Solution, Status
from bcfl_opt.threads import one_thread

if TYPE_CHECKING:
    import cvxpy as cp

#: What we ask of Clarabel unless the user says otherwise: a point from which Newton's method converges, and one thread.
DEFAULTS: dict[str, Any] = {
    "tol_gap_abs": 1e-10,
    "tol_gap_rel": 1e-10,
    "tol_feas": 1e-10,
    "tol_infeas_abs": 1e-11,
    "tol_infeas_rel": 1e-11,
    "max_threads": 1,
}
#: Tried in order until one is certified; a user's own options come on top. Refining the steps takes a third of Clarabel's time
#: and rarely changes their number; what the answer lacks without, Newton's steps afterwards give.
ATTEMPTS: tuple[dict[str, Any], ...] = (
    {"iterative_refinement_enable": False},
    {},
    {"static_regularization_constant": 1e-11, "iterative_refinement_max_iter": 30, "max_step_fraction": 0.9},
)
#: Share of a scaled programme's unit (1) below which nothing counts.
UNIT = 1e-3
STATUSES = {
    "Solved": Status.SOLVED,
    "AlmostSolved": Status.NUMERICAL_FAILURE,
    "PrimalInfeasible": Status.INFEASIBLE,
    "AlmostPrimalInfeasible": Status.INFEASIBLE,
    "DualInfeasible": Status.UNBOUNDED,
    "AlmostDualInfeasible": Status.UNBOUNDED,
    "MaxIterations": Status.ITERATION_LIMIT,
    "MaxTime": Status.TIME_LIMIT,
    "NumericalError": Status.NUMERICAL_FAILURE,
    "InsufficientProgress": Status.NUMERICAL_FAILURE,
    "CallbackTerminated": Status.INTERRUPTED,
}
#: Stops that another attempt would only repeat.
FINAL = (Status.SOLVED, Status.INFEASIBLE, Status.UNBOUNDED, Status.TIME_LIMIT, Status.INTERRUPTED)
#: Where violations are found to be the least possible, and a problem therefore infeasible, a residual counts by what a move of
#: this size would bring: where scaling has failed, a variable that is nearly 0 at the point may be far from it elsewhere.
FAR = 1e6


@one_thread()
def solve_convex(
    model: ConvexModel | cp.Problem,
    *,
    solver: str = "clarabel",
    options: Mapping[str, Any] | None = None,
    time_limit: float | None = None,
    warm_start: Solution | None = None,
    streams: Sequence[TextIO] = (),
    examine: bool = True,
) -> Solution:
    """Solve a CVXPY model and certify the point; the clients' table is made by :func:`bcfl_opt.solve`.

    Parameters
    ----------
    model : a convex model of :mod:`bcfl_opt.models`, changed as you like, or any CVXPY problem.
    solver : "clarabel" for DCP problems, to the global optimum; "ipopt" for all smooth (DNLP) ones, to a local optimum.
    options : the solver's own options, over :data:`DEFAULTS`. time_limit : seconds of wall time.
    warm_start : a previous solution to start from ("ipopt" only; an interior-point cone solver cannot use one).
    streams : text streams that get the solver's log, IPOPT's as it goes.
    examine : where the solver stops in doubt, ask whether any point is feasible (the least violations; one more solve).

    Returns
    -------
    Solution; ``quality`` is GLOBAL where the duality gap closes. A solve that succeeds sets the variables' values, one
    that does not leaves them as they were.

    Raises
    ------
    InputError : an unknown solver or option. ModelError : the problem does not fit the solver; names the part.
    SolverMissingError : the solver is not installed.
    """
    choice("solver for a CVXPY model", solver, ("clarabel", "ipopt"))
    problem = ConvexProblem.of(model)
    settle(solver, options)
    impossible = problem.impossible()
    if impossible:
        detail = f"{impossible} asks for an infinite value"
        done = record(options=options, time_limit=time_limit)
        return Solution(problem.title, solver, Status.INFEASIBLE, Quality.NONE, None, detail, provenance=done)
    if not problem.problem.variables():
        return _constant(problem, solver)
    if solver == "ipopt":
        require("sparsediffpy", "casadi", "pyomo", "cyipopt")
        from bcfl_opt.convex.smooth import solve_smooth

        room = (lambda: missing_room(problem, solve_elastic)) if examine else None
        return solve_smooth(
            problem, options=options, time_limit=time_limit, warm_start=warm_start, streams=streams, missing_room=room
        )
    if warm_start is not None:
        raise InputError('Clarabel cannot start from a previous solution; leave warm_start out, or use solver="ipopt"')
    solution = _solve_clarabel(problem, dict(options or {}), time_limit, examine)
    for stream in streams:
        stream.write(solution.log)
        stream.flush()
    return solution


def solve_elastic(problem: cp.Problem, solver: str) -> Solution:
    """What :mod:`bcfl_opt.convex.conflict` asks for: a solve that does not ask back."""
    return solve_convex(problem, solver=solver, examine=False)


def available() -> bool:
    """Can Clarabel be imported here? Probed without importing it."""
    return importlib.util.find_spec("clarabel") is not None


def settle(solver: str, options: Mapping[str, Any] | None) -> None:
    """Refuse a solver that is not installed, and options it does not know, before anything is compiled."""
    if solver == "ipopt":
        from bcfl_opt import ipopt
        from bcfl_opt.nlp.ipopt_options import validated

        ipopt.require()
        validated(options or {})
        return
    require("clarabel")
    _settings(options or {})


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class _Outcome:
    """What Clarabel left behind, in the programme's own units, with what we think of it."""

    status: Status
    detail: str
    x: np.ndarray
    z: np.ndarray
    certificate: Certificate | None
    iterations: int
    log: str
    history: tuple[tuple[float, ...], ...] = ()


def _solve_clarabel(
    problem: ConvexProblem, options: dict[str, Any], time_limit: float | None, examine: bool
) -> Solution:
    broken = broken_rules(problem)
    if broken:
        raise ModelError(
            f"Clarabel solves convex problems, and this is not known to be one by CVXPY's rules (DCP): {first_ones(broken)}. "
            'Write it in a convex form, or solve for a local optimum with solver="ipopt".'
        )
    begin = time.perf_counter()
    compiled = Compiled.of(problem.problem)
    program, kept = ConicProgram.of(compiled.data).without_empty_rows()
    if not program.finite:
        raise ModelError("the problem's data hold NaN or infinite numbers; check constants and parameters")
    timing = {"compile": time.perf_counter() - begin}

    names, owners = _column_names(problem, compiled), _owners(problem, compiled, program)
    provenance = record(options=options, defaults=DEFAULTS, time_limit=time_limit)
    outcome = _attempts(
        program, options, time_limit, names, owners, timing, provenance, 0.0 if examine else FAR, problem.is_game
    )
    duals = np.zeros(len(kept))
    duals[kept] = outcome.z

    check = time.perf_counter()
    status, detail, certificate = outcome.status, outcome.detail, outcome.certificate
    saved = problem.saved()
    held: dict[str, Any] = {}
    objective = np.nan
    if status is Status.SOLVED and certificate is not None:
        solution = _unpacked(compiled, "Solved", outcome.x, duals)
        for variable, _ in saved:
            variable.save_value(solution.primal_vars[variable.id])
        certificate, status, detail = judged(problem, certificate)
        objective = float(problem.problem.objective.value)
        if status is Status.SOLVED:
            held = problem.held(solution.duals)
    elif status is Status.INFEASIBLE:
        detail = problem.conflict(_unpacked(compiled, "PrimalInfeasible", outcome.x, duals).duals)
    elif status is Status.NUMERICAL_FAILURE and examine and (missing := missing_room(problem, solve_elastic)):
        status, detail = Status.INFEASIBLE, missing
    elif status is Status.UNBOUNDED:
        held = {"_direction": _direction(problem, compiled, outcome.x)}
    solved = status is Status.SOLVED
    if not solved:
        restore(saved)
    timing["check"] = time.perf_counter() - check
    return Solution(
        problem=problem.title,
        solver="clarabel",
        status=status,
        quality=quality(solved, certificate),
        certificate=certificate,
        detail=detail,
        timing=timing,
        iterations=outcome.iterations,
        log=outcome.log,
        provenance=provenance,
        _history=tuple((k, problem.sense * (f + compiled.offset), *rest) for k, f, *rest in outcome.history),
        _objective=objective if solved else np.nan,
        _model=problem.model,
        **held,
    )


def _attempts(
    program: ConicProgram,
    options: dict[str, Any],
    time_limit: float | None,
    names: Any,
    owners: np.ndarray | None,
    timing: dict[str, float],
    provenance: dict[str, Any],
    reach: float,
    game: bool,
) -> _Outcome:
    """Clarabel on the scaled programme, again with other settings where the certificate does not hold."""
    begin = time.perf_counter()
    reduced, shift = program.without_constant_cost()
    scaled, scaling = reduced.scaled()
    best: _Outcome | None = None
    for attempt in ATTEMPTS:
        left = None if time_limit is None else max(time_limit - (time.perf_counter() - begin), 1e-3)
        outcome = _run(scaled, {**attempt, **options}, left, names, owners, reach, game)
        x, z = scaling.back(outcome.x, outcome.z)
        if outcome.certificate is not None:
            z[: len(shift)] += shift
            certificate = dataclasses.replace(outcome.certificate, unscaled=program.unscaled(x, z))
            outcome = dataclasses.replace(outcome, certificate=certificate)
        # What Clarabel calls its objective, in the programme's own units: without what the equalities fix.
        constant = -float(shift @ program.b[: len(shift)])
        rows = tuple(iterates(outcome.log, scaling.money, constant))
        outcome = dataclasses.replace(outcome, x=x, z=z, history=rows)
        provenance["attempts"].append({"options": attempt, "status": outcome.status.name, "detail": outcome.detail})
        if best is None or outcome.status in FINAL:
            best = outcome
        if outcome.status in FINAL or set(attempt) & set(options):
            break
    assert best is not None
    timing["solve"] = time.perf_counter() - begin
    return best


def _run(
    program: ConicProgram,
    options: dict[str, Any],
    time_limit: float | None,
    names: Any,
    owners: np.ndarray | None,
    reach: float,
    game: bool,
) -> _Outcome:
    """One run of Clarabel and the Newton steps after it; the certificate decides, not the solver's word."""
    word, x, z, iterations, log = _clarabel(program, options, time_limit)
    status, detail, certificate = STATUSES.get(word, Status.UNKNOWN), f"Clarabel: {word}", None
    if status is Status.INFEASIBLE:
        proof = program.proof_of_infeasibility(z)
        if proof is None:
            status, detail = Status.NUMERICAL_FAILURE, "Clarabel takes it for infeasible, but its proof does not hold"
        else:
            z = proof
    elif status is Status.UNBOUNDED:
        nothing = dataclasses.replace(program, P=0 * program.P, q=0 * program.q)
        word, _, z_feasible, _, _ = _clarabel(nothing, options, time_limit)
        proof = program.proof_of_infeasibility(z_feasible) if word == "PrimalInfeasible" else None
        if proof is not None:
            status, z = Status.INFEASIBLE, proof
        elif not program.proves_unbounded(x):
            status, detail = Status.NUMERICAL_FAILURE, "Clarabel takes it for unbounded, but its proof does not hold"
        else:
            feasible = "" if word == "Solved" else ", if any point is feasible"
            detail = f"along {names(int(np.abs(x).argmax()))}{feasible}"
    elif np.isfinite(x).all() and np.isfinite(z).all():
        x, z, _ = refine(program, x, z)
        certificate = program.certify(x, z, unit=UNIT, names=names, owners=owners)
        if certificate.holds() and reach and not program.proves_cost(x, z, reach):
            status, detail = Status.NOT_CERTIFIED, "whether any violation is needed is lost to rounding"
        elif certificate.accepted(game=game):
            status, detail = Status.SOLVED, ""
        elif status is Status.SOLVED or (certificate.holds() and status not in WISHED):
            status, detail = Status.NOT_CERTIFIED, certificate.failure(game=game)
        else:
            detail = f"{detail}; {certificate.failure(game=game)}"
    return _Outcome(status, detail, x, z, certificate, iterations, log)


def _clarabel(
    program: ConicProgram, options: dict[str, Any], time_limit: float | None
) -> tuple[str, np.ndarray, np.ndarray, int, str]:
    """Clarabel's word, x, z, iterations and log."""
    import clarabel
    from cvxpy.reductions.solvers.conic_solvers.clarabel_conif import dims_to_solver_cones

    cones = program.cones
    dims = SimpleNamespace(
        zero=cones.zero,
        nonneg=cones.nonneg,
        soc=cones.soc,
        psd=cones.psd,
        exp=cones.exp,
        p3d=cones.power,
        pnd=[list(alphas) for alphas in cones.powers],
    )
    settings = _settings(options, time_limit)
    upper = sp.csc_array(sp.triu(program.P))
    try:
        solver = clarabel.DefaultSolver(upper, program.q, program.A, program.b, dims_to_solver_cones(dims), settings)
    except Exception as error:
        if type(error) is not Exception:  # Clarabel has no class of its own for values it refuses
            raise
        raise InputError(f"Clarabel refuses its options: {error}") from error
    if settings.verbose:
        solver.print_to_buffer()
    with _stopped_by_ctrl_c(solver):
        result = solver.solve()
    log = solver.get_print_buffer() if settings.verbose else ""
    return str(result.status), np.array(result.x), np.array(result.z), int(result.iterations), log


@contextlib.contextmanager
def _stopped_by_ctrl_c(solver: Any) -> Iterator[None]:
    """Let Ctrl-C stop Clarabel after its present iteration instead of after its last; then it means what it always does.

    Clarabel prints and forgets what its callback raises, so that the callback must stop it by its answer.
    """
    usual = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(usual):
        yield  # signals reach the main thread only; or whoever started us ignores them
        return
    pressed: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _: pressed.append(number))
    solver.set_termination_callback(lambda _: bool(pressed))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, usual)
    if pressed:
        usual(signal.SIGINT, None)


def _settings(options: Mapping[str, Any], time_limit: float | None = None) -> Any:
    import clarabel

    settings = clarabel.DefaultSettings()
    known = [name for name in dir(settings) if not name.startswith("_") and name != "default"]
    limit = {} if time_limit is None else {"time_limit": float(time_limit)}
    for name, value in {**DEFAULTS, **limit, **options}.items():
        if name not in known:
            raise InputError(unknown_name("Clarabel option", name, known))
        try:
            setattr(settings, name, value)
        except (TypeError, OverflowError) as error:
            raise InputError(f"Clarabel option {name}: {value!r} does not fit: {error}") from error
    # The log goes to a buffer; without that ability it would go to the terminal.
    settings.verbose = hasattr(clarabel.DefaultSolver, "print_to_buffer")
    return settings


# ---------------------------------------------------------------------------------- what the answer means


def _unpacked(compiled: Compiled, word: str, x: np.ndarray, z: np.ndarray) -> Any:
    return compiled.unpacked(word, x, z)


def _column_names(problem: ConvexProblem, compiled: Compiled) -> Any:
    places = compiled.places(problem.problem)

    def name(k: int) -> str:
        found = ((v, k - start) for v, start in places if start <= k < start + v.size)
        return next((problem.entry(v, entry) for v, entry in found), "an auxiliary variable of CVXPY")

    return name


def _owners(problem: ConvexProblem, compiled: Compiled, program: ConicProgram) -> np.ndarray | None:
    """Place among the clients of whom each column belongs to, -1 where it is nobody's; None without clients."""
    if problem.clients is None:
        return None
    owners = np.full(len(program.q), -1)
    for variable, start in compiled.places(problem.problem):
        if variable.shape == (len(problem.clients),):
            owners[start : start + variable.size] = np.arange(variable.size)
    return owners


def _direction(problem: ConvexProblem, compiled: Compiled, ray: np.ndarray) -> dict[str, Any]:
    """Variable -> its part of a ray, the largest of all being 1."""
    parts = {variable.id: ray[start : start + variable.size] for variable, start in compiled.places(problem.problem)}
    return problem.direction({key: part.tolist() for key, part in parts.items()})


def _constant(problem: ConvexProblem, solver: str) -> Solution:
    """No variables: the objective is a number, and the constraints hold or do not."""
    violation, place = problem.worst_violation(problem.constraints)
    certificate = Certificate(
        violation, 0.0, 0.0, 0.0, gap=0.0, where={"primal": place}, unscaled={"primal": problem.largest_residual()}
    )
    solved = certificate.holds()
    return Solution(
        problem=problem.title,
        solver=solver,
        status=Status.SOLVED if solved else Status.INFEASIBLE,
        quality=quality(solved, certificate),
        certificate=certificate,
        detail="" if solved else f"{place} does not hold, and there is no variable",
        provenance=record(),
        _objective=float(problem.problem.objective.value) if solved else np.nan,
    )
