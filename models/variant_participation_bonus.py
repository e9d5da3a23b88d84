"""Variant: a participation bonus z, a lump sum to every client that takes part; rationality holds for the whole of its pay.

The bonus is no reward for either task, so (8) and (9), which ask each task to pay for itself, give way to

    individual_rationality      p t + p s + z >= rho mu^3 / t^2 + rho psi^3 / s^2                        (17')

and the client maximises its rewards less energy within deadline and speed limits alone. It is paid one price p for both tasks
(theory 5.7); variables by client as there: training_time t, mining_time s, payment y = p T >= 0.

    maximise    utility                 f(sum mu) - xi sum_i (t + s + y + z)                                 (2)
    subject to  (17'), in money, and
                deadline                t + s = T                                               [time]      (10)
                response                psi t = mu s             (the client's optimum at equal prices)
                training_budget         y mu / (mu + psi) <= R_t                                            (13)
                mining_budget           y psi / (mu + psi) <= R_m                                           (14)

The client never works for less energy than e = rho (mu + psi)^3 / T^2, and it works so at any p >= 0, even 0. So

    y = max(0, e - z).

Up to z = e the bonus takes the place of pay, coin by coin: nobody gains, but the caps on rewards bind less, and from z = e on
not at all: then even a client with a negative Shapley share takes part. What is beyond e is a gift to the client.

The programme is convex (DCP). A client's share of caps and speed limit is data here, and screening says who fails them.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import cvxpy as cp
import numpy as np
import pandas as pd
import pyomo.environ as pyo

from bcfl_opt.context import Context, ConvexModel
from bcfl_opt.game import Game
from bcfl_opt.models._even import even_convex, even_model, screened
from bcfl_opt.models._owner import over_clients
from bcfl_opt.split import best_split

if __name__ != "bcfl_opt.models.variant_participation_bonus":
    raise ImportError("import this model as bcfl_opt.models.variant_participation_bonus, from the installed package")


def build(game: Game, bonus: Any, *, screen: bool = True) -> pyo.ConcreteModel:
    """The programme above as a Pyomo model.

    Parameters
    ----------
    game : the game. bonus : z >= 0 [money]: a number, an array or a Series by client.
    screen : leave out clients that no price recruits within their caps beside the bonus.
    """
    context, kept, z, energy = _prepared(game, bonus, screen)
    m = even_model(game, context, kept, np.maximum(energy - z, 0.0) + 0.1 * energy)
    amounts = dict(zip(context.clients, z.tolist(), strict=True))
    m.bonus = over_clients(m, pyo.Expression, lambda i: amounts[i])
    m.client_utility = over_clients(m, pyo.Expression, lambda i: m.payment[i] + m.bonus[i] - m.energy_cost[i])
    m.individual_rationality = over_clients(m, pyo.Constraint, lambda i: m.client_utility[i] >= 0)
    total = pyo.quicksum(m.training_time[i] + m.mining_time[i] + m.payment[i] + m.bonus[i] for i in m.clients)
    m.utility = pyo.Objective(expr=game.performance_value(kept) - game.cost_weight * total, sense=pyo.maximize)
    return m


def build_convex(game: Game, bonus: Any, *, screen: bool = True) -> ConvexModel:
    """The programme above as CVXPY objects by name; arguments as for :func:`build`."""
    context, kept, z, _ = _prepared(game, bonus, screen)
    model = even_convex(game, context, kept)
    t, s, y = model.variables.values()
    utility = y + z - model.expressions["energy_cost"]
    model.expressions |= {"bonus": cp.Constant(z), "client_utility": utility}
    model.constraints["individual_rationality"] = utility >= 0
    owner_utility = game.performance_value(kept) - game.cost_weight * cp.sum(t + s + y + z)
    return dataclasses.replace(model, objective=cp.Maximize(owner_utility))


def response(game: Game, clients: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Optimal times t, s of the game's ``clients`` (a table of answers) at its prices; the bonus does not depend on them."""
    people, psi, deadline = game.population.select(clients.index), game.mining_cycles, game.deadline
    mu, rho, q = people.training_cycles, people.energy_coefficient, people.max_speed
    difference = (clients["training_price"] - clients["mining_price"]).to_numpy()
    tiny = 1e-9 * deadline

    def slope(t: np.ndarray, rows: np.ndarray) -> np.ndarray:
        return difference[rows] + 2 * rho[rows] * ((mu[rows] / t) ** 3 - (psi / (deadline - t)) ** 3)

    t = best_split(slope, np.maximum(mu / q, tiny), deadline - np.maximum(psi / q, tiny))
    return t, deadline - t


def _prepared(game: Game, bonus: Any, screen: bool) -> tuple[Context, np.ndarray, np.ndarray, np.ndarray]:
    z, people = game._by_client("bonus", bonus), game.population
    energy = people.energy_coefficient * (people.training_cycles + game.mining_cycles) ** 3 / game.deadline**2
    reason = screened(game, np.maximum(energy - z, 0.0))
    kept = (reason == "").to_numpy() if screen else np.ones(len(game), dtype=bool)
    context = Context(
        game,
        "Problem 2 with a participation bonus",
        people.ids[kept],
        reason[~kept].to_dict(),
        follower_optimal=True,
        columns={"bonus": "bonus", "client_utility": "client_utility"},
        response=lambda clients: response(game, clients),
    )
    return context, kept, z[kept], energy[kept]
