"""The one front door: ``solve`` takes any of the models, changed as the user likes, or the user's own."""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from bcfl_opt.certificate import Certificate
from bcfl_opt.context import Context, ConvexModel
from bcfl_opt.errors import InputError, ModelError, choice, require
from bcfl_opt.follower import SPEED_LIMITS, follower_gap
from bcfl_opt.solution import Quality, Solution, Status, clients_table

if TYPE_CHECKING:
    import cvxpy as cp
    from pyomo.core.base.block import BlockData

#: What the clients' table is made from.
CLIENT_VALUES = ("training_time", "mining_time", "training_price", "mining_price")


def solve(
    model: BlockData | ConvexModel | cp.Problem,
    *,
    solver: str | None = None,
    options: Mapping[str, Any] | None = None,
    warm_start: Solution | None = None,
    time_limit: float | None = None,
    tee: bool = False,
    raise_on_failure: bool = False,
) -> Solution:
    """Solve a Pyomo model by IPOPT, or a CVXPY model by Clarabel or IPOPT, and check the answer.

    Parameters
    ----------
    model : a model of :mod:`bcfl_opt.models`, changed as you like; any Pyomo model; any CVXPY problem.
    solver : "ipopt" or "clarabel"; by default IPOPT for Pyomo and Clarabel for CVXPY.
    options : the solver's own options, by its own names.
    warm_start : a previous solution of the same model to start from (Pyomo).
    time_limit : seconds of wall time.
    tee : print the solver's log as it goes; it is kept in ``solution.log`` either way.
    raise_on_failure : raise NoSolutionError instead of returning a solution that did not succeed.

    Returns
    -------
    Solution; ``succeeded`` only if the residuals recomputed from the model and the point hold, and, for the owner's
    models with ``response="optimal"``, the clients' own problems confirm the times. A successful solve of a Pyomo model
    also sets the model's variables.

    Raises
    ------
    InputError, ModelError, SolverMissingError : the model or an argument cannot be used as given.
    """
    if isinstance(model, ConvexModel) or _comes_from(model, "cvxpy"):
        solution = _solve_cvxpy(model, solver, options, warm_start, time_limit, tee)
    elif _comes_from(model, "pyomo"):
        choice("solver for a Pyomo model", solver or "ipopt", ("ipopt",))
        solution = _solve_pyomo(model, options, warm_start, time_limit, tee)
    else:
        raise InputError(
            f"solve takes a Pyomo model, a CVXPY problem or a model of bcfl_opt.models, not {type(model).__name__}"
        )
    return solution.raise_if_failed() if raise_on_failure else solution


def _comes_from(model: Any, package: str) -> bool:
    return any(kind.__module__.split(".")[0] == package for kind in type(model).__mro__)


# ---------------------------------------------------------------------------------- Pyomo


def _solve_pyomo(
    model: BlockData,
    options: Mapping[str, Any] | None,
    warm_start: Solution | None,
    time_limit: float | None,
    tee: bool,
    finest: bool = False,
) -> Solution:
    require("casadi", "cyipopt")
    from bcfl_opt.nlp.nonlinear import Answer, solve_program

    previous = None if warm_start is None else warm_start._warm_start
    if warm_start is not None and previous is None:
        raise InputError(
            "warm_start: a Pyomo model starts from a solution that IPOPT found in this session; this one is exact, is of "
            "another solver, or was read from a file"
        )
    if previous is not None and not isinstance(previous, Answer):
        raise InputError("a Pyomo model starts from a previous solution of a Pyomo model; this one is of a CVXPY model")
    context: Context | None = getattr(model, "bcfl", None)
    name = context.problem if context else f"model {model.name}"
    if context is not None and not len(context.clients):
        return _nobody(context, "ipopt")
    if context is not None:
        for column in CLIENT_VALUES:
            if model.component(column) is None and (context.prices is None or column.endswith("time")):
                raise ModelError(_renamed(column))
    answer = solve_program(
        model,
        options=options,
        warm_start=previous,
        time_limit=time_limit,
        streams=(sys.stdout,) if tee else (),
        unit=context.unit if context else 1.0,
        finest=finest,
    )
    begin = time.perf_counter()
    solved = answer.status is Status.SOLVED
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
        _variables=answer.variables() if solved else {},
        _shadow_prices=answer.shadow_prices() if solved else {},
        _warm_start=answer,
    )
    if context is not None:
        values = answer.client_values(context) if solved else None
        dropped = {}
        if context.follower_optimal:
            dropped = {limit: _without(model.component(limit), context) for limit in SPEED_LIMITS}
        solution = _with_clients(solution, context, values, dropped)
        if solution.status is Status.FOLLOWER_NOT_OPTIMAL and not finest and _nearly(solution):
            # A client whose pay is a millionth of the whole can miss its own tolerance where the whole meets it.
            finer = _solve_pyomo(model, options, warm_start, time_limit, tee, finest=True)
            return finer if finer.succeeded else solution
    if solution.succeeded:
        answer.load()
    return dataclasses.replace(solution, timing={**solution.timing, "report": time.perf_counter() - begin})


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

    context = model.context if isinstance(model, ConvexModel) else None
    solver = choice("solver for a CVXPY model", solver or "clarabel", ("clarabel", "ipopt"))
    if context is not None and not len(context.clients):
        return _nobody(context, solver)
    streams = (sys.stdout,) if tee else ()
    solution = conic.solve_convex(
        model, solver=solver, options=options, time_limit=time_limit, warm_start=warm_start, streams=streams
    )
    if isinstance(model, ConvexModel):
        values = None
        if solution.succeeded:
            values = {name: _column(model, name) for name in CLIENT_VALUES}
        dropped = {limit: list(model.context.clients) for limit in SPEED_LIMITS if limit not in model.constraints}
        solution = _with_clients(solution, model.context, values, dropped)
    return solution


def _column(model: ConvexModel, name: str) -> np.ndarray:
    expression = model.expressions[name] if name in model.expressions else model.variables.get(name)
    if expression is not None:
        return np.broadcast_to(np.asarray(expression.value, dtype=float), (len(model.context.clients),))
    prices = model.context.prices
    if prices is None:
        raise ModelError(_renamed(name))
    return prices.loc[model.context.clients, name].to_numpy()


# ---------------------------------------------------------------------------------- what both share


def _nobody(context: Context, solver: str) -> Solution:
    solution = Solution(context.problem, solver, Status.NO_CLIENTS, Quality.NONE, None)
    return _with_clients(solution, context, None, {})


def _renamed(name: str) -> str:
    return f"the model has no {name!r} any more, so the clients' table cannot be made; keep that name"


def _with_clients(
    solution: Solution,
    context: Context,
    values: Mapping[str, np.ndarray] | None,
    dropped: Mapping[str, list[Any]],
) -> Solution:
    """Add the table of all the game's clients, and let the clients confirm their times where the model dropped that.

    values : CLIENT_VALUES of the model's clients; None if there are none. dropped : see :func:`follower_gap`.
    """
    game, ids = context.game, context.game.population.ids
    inside = ids.isin(context.clients) if len(context.clients) != len(ids) else np.ones(len(ids), dtype=bool)
    reason = np.full(len(ids), "", dtype=object)
    if len(context.excluded):
        reason[~inside] = [context.excluded.get(i, "left out of the model") for i in ids[~inside]]
    columns = {}
    for name in CLIENT_VALUES:
        columns[name] = np.full(len(ids), np.nan)
        if values is not None:
            columns[name][inside] = values[name]
    recruited = inside if values is not None else np.zeros(len(ids), dtype=bool)
    if values is None:
        reason[inside] = f"no answer: {solution.message}"
    clients = clients_table(game, **columns, recruited=recruited, reason=reason)
    solution = dataclasses.replace(solution, game=game, clients=clients)
    if values is None or not context.follower_optimal or solution.certificate is None:
        return solution
    return _confirmed(solution, solution.certificate, dropped)


def _confirmed(solution: Solution, certificate: Certificate, dropped: Mapping[str, list[Any]]) -> Solution:
    assert solution.game is not None and solution.clients is not None
    gap, client = follower_gap(solution.game, solution.clients, dropped)
    where = {**certificate.where, "follower_gap": f"client {client!r}"}
    certificate = dataclasses.replace(certificate, follower_gap=gap, where=where)
    if certificate.holds():
        return dataclasses.replace(solution, certificate=certificate)
    clients = solution.clients.copy()
    numbers = clients.columns.difference(["recruited", "reason"])
    clients[numbers] = np.nan
    clients["reason"] = clients["reason"].where(
        ~clients["recruited"], f"no answer: {Status.FOLLOWER_NOT_OPTIMAL.value}"
    )
    clients["recruited"] = False
    detail = (
        f"client {client!r} would move its times by {gap:.3g} of the deadline; the model drops the clients' optimality and "
        "gets it back only where the payments are as small as rationality allows"
    )
    return dataclasses.replace(
        solution,
        status=Status.FOLLOWER_NOT_OPTIMAL,
        quality=Quality.NONE,
        detail=detail,
        certificate=certificate,
        clients=clients,
    )
