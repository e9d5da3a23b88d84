"""How is a follower placed inside a leader? ``solve_bilevel``: optimality conditions, many starts, and the followers asked."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from pyomo.common.gc_manager import PauseGC

from bcfl_opt.client_answers import CLIENT_VALUES, nobody, renamed, with_clients
from bcfl_opt.context import Context
from bcfl_opt.errors import InputError, ModelError, choice
from bcfl_opt.nlp.ipopt_options import validated
from bcfl_opt.nlp.nonlinear import solve_program
from bcfl_opt.reformulations.client_followers import client_value, clients_as_followers
from bcfl_opt.reformulations.course import METHODS, Course
from bcfl_opt.reformulations.followers import with_objectives
from bcfl_opt.solution import Solution

if TYPE_CHECKING:
    from pyomo.core.base.block import BlockData


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
    settings: dict[str, Any] = {
        "method": method,
        "starts": starts,
        "seed": seed,
        "options": validated(options or {}),
        "time_limit": time_limit,
        "tee": tee,
    }
    context: Context | None = getattr(leader, "bcfl", None)
    with PauseGC():
        if context is None:
            solution = Course(leader, follower, **settings).solve()
        elif not len(context.clients):
            solution = nobody(context, "ipopt")
        elif follower is None and not any(True for _ in with_objectives(leader)):
            solution = _with_its_clients(leader, context, settings)
        else:
            solution = _with_table(Course(leader, follower, **settings).solve(), leader, context)
    return solution.raise_if_failed() if raise_on_failure else solution


def _with_its_clients(model: BlockData, context: Context, settings: dict[str, Any]) -> Solution:
    """An owner's model whose clients become followers; the model itself is the single-level programme."""
    if not context.follower_optimal:
        raise ModelError(
            f"{context.problem} has no followers: its clients' response is data or substituted; build Problem 2 or 3 with "
            'response="optimal", or use stackelberg_pyomo'
        )
    single = solve_program(model, options=settings["options"], unit=context.unit, time_limit=settings["time_limit"])
    with clients_as_followers(model, context) as clients:
        solution = Course(model, clients.blocks, single=single, complete=clients.complete, **settings).solve()
        inside = clients.blocks[0].parent_block().name + "."
    if solution.succeeded:  # what was added for a while is nobody's business
        solution = dataclasses.replace(
            solution,
            _variables={name: x for name, x in solution.variables.items() if not name.startswith(inside)},
            _shadow_prices={name: x for name, x in solution.shadow_prices.items() if not name.startswith(inside)},
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
