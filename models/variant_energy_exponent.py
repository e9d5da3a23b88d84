"""Variant: another energy law. c cycles at speed v cost rho c v^k, with any k > 0; the paper has k = 2.

Problem 2 with the optimal response, but for the energy (theory 5.6):

    training_rationality    a >= rho mu^(k + 1) / t^k                                                           (8')
    mining_rationality      b >= rho psi^(k + 1) / s^k                                                          (9')

The client maximises p_t t + p_m s - rho mu^(k + 1) / t^k - rho psi^(k + 1) / s^k, concave in the times, within
t >= max(mu (rho / p_t)^(1 / (k + 1)), mu / q), s likewise, t + s <= T. Both rewards rise with time, so t + s = T, and the
optimum is the root of

    h(t) = p_t - p_m + k rho (mu / t)^(k + 1) - k rho (psi / s)^(k + 1),    moved into the client's interval.

The owner pays energy alone, and d energy / dt = 0 says (mu / t)^(k + 1) = (psi / s)^(k + 1): equal speeds again, whatever k.
With slack caps q_t = q_m = (mu + psi) / T, p_t = p_m = rho ((mu + psi) / T)^(k + 1), and the payment is
rho (mu + psi)^(k + 1) / T^k. A cap asks for t >= (rho mu^(k + 1) / R_t)^(1 / k), s likewise, and t* is moved there.

At the equilibrium the client has one feasible point, as in Problem 2. The programme is convex (DCP).
The columns ``energy_cost`` and ``client_utility`` of the clients' table follow this law.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pyomo.environ as pyo

from bcfl_opt.context import Context, ConvexModel
from bcfl_opt.errors import InputError
from bcfl_opt.game import Game
from bcfl_opt.models._owner import data, over_clients, owner_model
from bcfl_opt.models._owner_convex import owner_model as convex_owner_model
from bcfl_opt.split import best_split

if __name__ != "bcfl_opt.models.variant_energy_exponent":
    raise ImportError("import this model as bcfl_opt.models.variant_energy_exponent, from the installed package")


def build(game: Game, exponent: float, *, screen: bool = True) -> pyo.ConcreteModel:
    """The programme above as a Pyomo model.

    Parameters
    ----------
    game : the game. exponent : k > 0. screen : leave out clients that no prices recruit within their caps.
    """
    m = owner_model(game, "Problem 2", "optimal", "at_most", screen, exponent=_checked(exponent))
    r_t, r_m = data(game, game.population.ids.isin(list(m.clients)), "training_cap", "mining_cap")
    m.training_budget = over_clients(m, pyo.Constraint, lambda i: m.training_reward[i] <= r_t[i])
    m.mining_budget = over_clients(m, pyo.Constraint, lambda i: m.mining_reward[i] <= r_m[i])
    m.bcfl = _context(m.bcfl, exponent)
    return m


def build_convex(game: Game, exponent: float, *, screen: bool = True) -> ConvexModel:
    """The programme above as CVXPY objects by name; arguments as for :func:`build`."""
    owner = convex_owner_model(
        game, "Problem 2", "optimal", "at_most", screen, no_profit=False, exponent=_checked(exponent)
    )
    model = owner.model
    model.constraints["training_budget"] = model.expressions["training_reward"] <= owner.training_cap
    model.constraints["mining_budget"] = model.expressions["mining_reward"] <= owner.mining_cap
    return dataclasses.replace(model, context=_context(model.context, exponent))


def response(game: Game, exponent: float, clients: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Optimal times t, s of the game's ``clients`` (a table of answers) at the prices in it, under the exponent k."""
    people = game.population.select(clients.index)
    mu, rho, q, psi, k = (
        people.training_cycles,
        people.energy_coefficient,
        people.max_speed,
        game.mining_cycles,
        exponent,
    )
    p_t, p_m = (clients[name].to_numpy() for name in ("training_price", "mining_price"))
    low_t = mu * np.maximum((rho / p_t) ** (1 / (k + 1)), 1 / q)
    low_s = psi * np.maximum((rho / p_m) ** (1 / (k + 1)), 1 / q)

    def slope(t: np.ndarray, rows: np.ndarray) -> np.ndarray:
        q_t, q_m = mu[rows] / t, psi / (game.deadline - t)
        return p_t[rows] - p_m[rows] + k * rho[rows] * (q_t ** (k + 1) - q_m ** (k + 1))

    t = best_split(slope, low_t, game.deadline - low_s)
    return t, game.deadline - t


def _checked(exponent: float) -> float:
    if isinstance(exponent, bool) or not isinstance(exponent, int | float) or not 0 < exponent < np.inf:
        raise InputError(f"exponent: {exponent!r} must be a finite number, greater than 0")
    return float(exponent)


def _context(context: Context, exponent: float) -> Context:
    return dataclasses.replace(
        context,
        problem=f"Problem 2 with the energy exponent {exponent:g}",
        columns={"energy_cost": "energy_cost", "client_utility": "client_utility"},
        response=lambda clients: response(context.game, exponent, clients),
    )
