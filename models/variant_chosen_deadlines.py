"""Variant: the owner also chooses each client's deadline, no later than the common one.

Problem 2 with the optimal response, but for (10):

    deadline            t + s <= T                  (the client gets the deadline T_i = t + s and uses all of it)    (10')

A client is paid by the minute and dawdles until its deadline, so the owner shortens it. Given T_i the owner pays energy alone
(theory 5.1), so with slack caps client i costs T_i + rho (mu + psi)^3 / T_i^2, which is least at

    T_i = min(T, (2 rho)^(1/3) (mu + psi))                                                                 (theory 5.2)

The client's optimality is dropped and comes back at the optimum as in Problem 2: a and b pay for the energy alone, so t and s
are the least times that the prices a / t and b / s allow, and they fill T_i: the client has one feasible point. The programme
is convex (DCP). ``build`` and ``build_convex`` are Problem 2's models with that one constraint exchanged.

Expression by client: client_deadline T_i, the column ``deadline`` of the clients' table.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pyomo.environ as pyo
from pyomo.common.gc_manager import PauseGC

from bcfl_opt import participation
from bcfl_opt.context import Context, ConvexModel
from bcfl_opt.game import Game
from bcfl_opt.models import problem2_cvxpy, problem2_pyomo
from bcfl_opt.models._owner import INSIDE, over_clients, start_at

if __name__ != "bcfl_opt.models.variant_chosen_deadlines":
    raise ImportError("import this model as bcfl_opt.models.variant_chosen_deadlines, from the installed package")


def build(game: Game, *, screen: bool = True) -> pyo.ConcreteModel:
    """The programme of ``game`` as a Pyomo model; ``screen`` as in Problem 2: leave out clients that no prices recruit."""
    with PauseGC():  # a model is many small objects, none of them garbage
        m = problem2_pyomo.build(game, screen=screen)
        t, s = m.training_time, m.mining_time
        m.client_deadline = over_clients(m, pyo.Expression, lambda i: t[i] + s[i])
        m.del_component("deadline")
        m.deadline = over_clients(m, pyo.Constraint, lambda i: m.client_deadline[i] <= game.deadline)
        m.bcfl = _context(m.bcfl)
        kept = game.population.ids.isin(list(m.clients))
        start_at(m, game, kept, *_start_times(game, kept))
    return m


def _start_times(game: Game, kept: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Strictly inside the limits of the kept clients, near the optimum of slack caps above (T / 2 where they leave nothing)."""
    bounds, people, psi = participation.recruitment_bounds(game), game.population, game.mining_cycles
    mu, least_t, least_s = (column[kept] for column in (people.training_cycles, bounds.training_low, bounds.mining_low))
    pace = np.minimum(np.cbrt(2 * people.energy_coefficient[kept]), game.deadline / (mu + psi))
    t = np.clip(mu * pace, least_t, np.maximum(game.deadline - least_s, least_t))
    s = np.clip(psi * pace, least_s, np.maximum(game.deadline - t, least_s))
    room = (game.deadline - least_t - least_s) / 3
    with np.errstate(invalid="ignore"):
        t, s = t + INSIDE * (least_t + room - t), s + INSIDE * (least_s + room - s)
    return np.where(room > 0, t, game.deadline / 2), np.where(room > 0, s, game.deadline / 2)


def build_convex(game: Game, *, screen: bool = True) -> ConvexModel:
    """The programme above as CVXPY objects by name; arguments as for :func:`build`."""
    model = problem2_cvxpy.build(game, screen=screen)
    model.expressions["client_deadline"] = model.variables["training_time"] + model.variables["mining_time"]
    model.constraints["deadline"] = model.expressions["client_deadline"] <= game.deadline
    return dataclasses.replace(model, context=_context(model.context))


def _context(context: Context) -> Context:
    columns = {"deadline": "client_deadline"}
    return dataclasses.replace(context, problem="Problem 2 with chosen deadlines", columns=columns)
