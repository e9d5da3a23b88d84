"""The one front door: ``solve`` takes any of the models, changed as the user likes, or the user's own."""

from __future__ import annotations

import dataclasses
import numbers
import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from bcfl_opt.client_answers import CLIENT_VALUES, nobody, renamed, with_clients
from bcfl_opt.context import Context, ConvexModel
from bcfl_opt.errors import InputError, ModelError, choice, require
from bcfl_opt.follower import SPEED_LIMITS
from bcfl_opt.solution import Solution, SolvedPart, Status

if TYPE_CHECKING:
    import cvxpy as cp
    from pyomo.core.base.block import BlockData

    from bcfl_opt.nlp.nonlinear import Answer


def solve(
    model: BlockData | ConvexModel | cp.Problem,
    *,
    solver: str | None = None,
    engine: str | None = None,
    method: str | None = None,
    options: Mapping[str, Any] | None = None,
    warm_start: Solution | None = None,
    starts: int = 1,
    seed: int = 0,
    time_limit: float | None = None,
    tee: bool = False,
    raise_on_failure: bool = False,
) -> Solution:
    """Solve a Pyomo model by IPOPT, or a CVXPY model by Clarabel or IPOPT, and check the answer.

    Parameters
    ----------
    model : a model of :mod:`bcfl_opt.models`, changed as you like; any Pyomo model; any CVXPY problem.
    solver : "ipopt" or "clarabel"; by default IPOPT for Pyomo and Clarabel for CVXPY.
    engine : for a Pyomo model, whose IPOPT: "cyipopt", the default, or "casadi", the one inside CasADi's wheel, which takes
        less time an iteration (README, benchmarks); the answers are certified alike.
    method : "bilevel" for a Pyomo model with followers, and for the owner's models with ``response="optimal"`` *after your
        changes*: the clients' optimality is imposed instead of dropped; :func:`bcfl_opt.solve_bilevel` without its options.
    options : the solver's own options, by its own names.
    warm_start : a previous solution of the same model to start from (Pyomo).
    starts : how many starting points, for a Pyomo model that is not convex: the model's values, then the best of many points
        within the bounds, drawn with ``seed``. The best answer counts, part by part where parts are independent, and an
        answer that is proven global ends it. ``provenance["starts"]`` has status, objective and iterations of each.
    time_limit : seconds of wall time.
    tee : print the solver's log as it goes; it is kept in ``solution.log`` either way.
    raise_on_failure : raise NoSolutionError instead of returning a solution that did not succeed.

    Returns
    -------
    Solution; ``succeeded`` only if the residuals recomputed from the model and the point hold, and, for the owner's
    models with ``response="optimal"``, the clients' own problems confirm the times. A successful solve of a Pyomo model
    also sets the model's variables. Where clients of a Pyomo model that nothing couples with the others have no answer, the
    others do: ``status`` is PARTLY_SOLVED, ``clients`` has their answers and the reasons of those without, and
    ``solved_part`` the rest.

    Raises
    ------
    InputError, ModelError, SolverMissingError : the model or an argument cannot be used as given.
    """
    _check_arguments(options, warm_start, time_limit)
    _check_starts(starts, seed)
    if method is not None:
        choice("method", method, ("bilevel",))
        several = {"starts": None if starts == 1 else starts, "seed": seed}
        return _solve_bilevel(model, solver, engine, options, warm_start, time_limit, tee, raise_on_failure, several)
    if isinstance(model, ConvexModel) or _comes_from(model, "cvxpy"):
        if engine is not None:
            raise InputError(f"engine={engine!r} belongs to Pyomo models; a CVXPY model takes solver=")
        if starts != 1:
            raise InputError(
                f"starts={starts} belongs to Pyomo models; a CVXPY model starts from its variables' values"
            )
        solution = _solve_cvxpy(model, solver, options, warm_start, time_limit, tee)
    elif _comes_from(model, "pyomo"):
        choice("solver for a Pyomo model", solver or "ipopt", ("ipopt",))
        engine = choice("engine", engine or "cyipopt", ("cyipopt", "casadi"))
        solution = _solve_pyomo(model, engine, options, warm_start, starts, seed, time_limit, tee)
    else:
        raise InputError(
            f"solve takes a Pyomo model, a CVXPY problem or a model of bcfl_opt.models, not {type(model).__name__}"
        )
    return solution.raise_if_failed() if raise_on_failure else solution


def _check_arguments(options: Any, warm_start: Any, time_limit: Any) -> None:
    if options is not None and not isinstance(options, Mapping):
        raise InputError(f"options is a mapping from the solver's own names to values, not {type(options).__name__}")
    if warm_start is not None and not isinstance(warm_start, Solution):
        raise InputError(f"warm_start is a Solution of an earlier solve, not {type(warm_start).__name__}")
    if time_limit is not None:
        number = isinstance(time_limit, numbers.Real) and not isinstance(time_limit, bool)
        if not number or not 0 < time_limit < float("inf"):
            raise InputError(f"time_limit is a positive number of seconds, not {time_limit!r}")


def _check_starts(starts: Any, seed: Any) -> None:
    for name, number, least in (("starts", starts, 1), ("seed", seed, 0)):
        if not isinstance(number, numbers.Integral) or isinstance(number, bool) or number < least:
            raise InputError(f"{name} is a whole number of at least {least}, not {number!r}")


def _solve_bilevel(
    model: Any,
    solver: str | None,
    engine: str | None,
    options: Mapping[str, Any] | None,
    warm_start: Solution | None,
    time_limit: float | None,
    tee: bool,
    raise_on_failure: bool,
    several: dict[str, Any],
) -> Solution:
    if not _comes_from(model, "pyomo"):
        raise InputError(f'method="bilevel" takes a Pyomo model, not {type(model).__name__}')
    choice("solver for a Pyomo model", solver or "ipopt", ("ipopt",))
    if engine is not None:
        raise InputError('method="bilevel" runs on cyipopt; leave out engine')
    if warm_start is not None:
        raise InputError('method="bilevel" begins from the model\'s own values; load them, and leave out warm_start')
    from bcfl_opt.bilevel import solve_bilevel

    return solve_bilevel(
        model, options=options, time_limit=time_limit, tee=tee, raise_on_failure=raise_on_failure, **several
    )


def _comes_from(model: Any, package: str) -> bool:
    return any(kind.__module__.split(".")[0] == package for kind in type(model).__mro__)


# ---------------------------------------------------------------------------------- Pyomo


def _solve_pyomo(
    model: BlockData,
    engine: str,
    options: Mapping[str, Any] | None,
    warm_start: Solution | None,
    starts: int,
    seed: int,
    time_limit: float | None,
    tee: bool,
    finest: bool = False,
) -> Solution:
    require("casadi", "cyipopt")
    from bcfl_opt.nlp.decomposition import clients_of, reason, solve_by_parts
    from bcfl_opt.nlp.nonlinear import Answer, Named
    from bcfl_opt.nlp.unbounded import direction

    previous = None if warm_start is None else warm_start._warm_start
    if warm_start is not None and previous is None:
        raise InputError(
            "warm_start: a Pyomo model starts from a solution that IPOPT found in this session; this one is exact, is of "
            "another solver, or was read from a file. Set the variables' values to start from a point alone."
        )
    if warm_start is not None and not isinstance(previous, Answer):
        raise InputError(
            f"a Pyomo model starts from a previous solution of a Pyomo model; this one is of {warm_start.problem} by "
            f"{warm_start.solver}. Set the variables' values to start from a point alone."
        )
    context: Context | None = getattr(model, "bcfl", None)
    name = context.problem if context else f"model {model.name}"
    if context is not None and not len(context.clients):
        return nobody(context, "ipopt")
    if context is not None:
        for column in (*CLIENT_VALUES, *context.columns.values()):
            if model.component(column) is None and (context.prices is None or column.endswith("time")):
                raise ModelError(renamed(column))
    answer = solve_by_parts(
        model,
        options=options,
        warm_start=previous,
        starts=starts,
        seed=seed,
        time_limit=time_limit,
        streams=(sys.stdout,) if tee else (),
        unit=context.unit if context else 1.0,
        finest=finest,
        engine=engine,
    )
    begin = time.perf_counter()
    worst = answer.failures[0] if answer.failures else answer
    solved, partly = answer.status is Status.SOLVED, answer.status is Status.PARTLY_SOLVED
    named = answer.named() if solved or partly else Named({}, {}, {})
    kept = named if solved else Named({}, {}, {})
    solution = Solution(
        problem=name,
        solver="ipopt",
        status=answer.status,
        quality=answer.quality,
        certificate=answer.certificate,
        detail=answer.detail,
        timing=answer.timing,
        iterations=answer.iterations,
        log=answer.log,
        provenance=answer.provenance,
        _history=answer.history,
        _objective=answer.objective,
        _variables=kept.variables,
        _shadow_prices=kept.shadow_prices,
        _multipliers=kept.raw_multipliers,
        _warm_start=answer,
        _model=model,
        _direction=direction(worst.program, worst.x) if answer.status is Status.UNBOUNDED else {},
        _part=_solved_part(answer if partly else answer.part),
    )
    if context is not None:
        values = answer.client_values(context, named.variables) if solved or partly else None
        dropped = {}
        if context.follower_optimal:
            dropped = {limit: _without(model.component(limit), context) for limit in SPEED_LIMITS}
        lost = {client: reason(failure) for client, failure in clients_of(answer.failures, model).items()}
        solution = with_clients(solution, context, values, dropped, lost)
        if solution.status is Status.FOLLOWER_NOT_OPTIMAL and not finest and _nearly(solution):
            # A client whose pay is a millionth of the whole can miss its own tolerance where the whole meets it.
            finer = _solve_pyomo(model, engine, options, warm_start, starts, seed, time_limit, tee, finest=True)
            return finer if finer.succeeded or finer.status is Status.PARTLY_SOLVED else solution
    if solution.succeeded:
        answer.load()
    return dataclasses.replace(solution, timing={**solution.timing, "report": time.perf_counter() - begin})


def _solved_part(told: Answer | None) -> SolvedPart | None:
    """told : with NaN for what has no answer."""
    if told is None or told.part is None:
        return None
    return SolvedPart(told.part.objective, told.certificate, *told.named())


def _nearly(solution: Solution) -> bool:
    gap = solution.certificate.follower_gap if solution.certificate is not None else None
    return gap is not None and gap <= 1e-3


def _without(limit: Any, context: Context) -> list[Any]:
    """Ids of the clients whose speed limit is not, or no longer, in the model."""
    return [i for i in context.clients if limit is None or i not in limit or not limit[i].active]


# ---------------------------------------------------------------------------------- CVXPY


def _solve_cvxpy(
    model: ConvexModel | cp.Problem,
    solver: str | None,
    options: Mapping[str, Any] | None,
    warm_start: Solution | None,
    time_limit: float | None,
    tee: bool,
) -> Solution:
    from bcfl_opt import conic
    from bcfl_opt.convex.convex_problem import ConvexProblem, restore

    context = model.context if isinstance(model, ConvexModel) else None
    solver = choice("solver for a CVXPY model", solver or "clarabel", ("clarabel", "ipopt"))
    if context is not None and not len(context.clients):
        return nobody(context, solver)
    streams = (sys.stdout,) if tee else ()
    saved = ConvexProblem.of(model).saved(duals=True)
    solution = conic.solve_convex(
        model, solver=solver, options=options, time_limit=time_limit, warm_start=warm_start, streams=streams
    )
    if isinstance(model, ConvexModel):
        values = None
        if solution.succeeded:
            values = {name: _column(model, name) for name in (*CLIENT_VALUES, *model.context.columns.values())}
        dropped = {limit: list(model.context.clients) for limit in SPEED_LIMITS if limit not in model.constraints}
        solution = with_clients(solution, model.context, values, dropped)
    if not solution.succeeded:
        restore(saved)  # a solve that only the clients reject has set the values
    return solution


def _column(model: ConvexModel, name: str) -> np.ndarray:
    expression = model.expressions[name] if name in model.expressions else model.variables.get(name)
    if expression is not None:
        return np.broadcast_to(np.asarray(expression.value, dtype=float), (len(model.context.clients),))
    prices = model.context.prices
    if prices is None:
        raise ModelError(renamed(name))
    return prices.loc[model.context.clients, name].to_numpy()
