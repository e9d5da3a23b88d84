"""Variant: prices per cycle of work instead of per unit of time.

The owner posts r_t and r_m, money per cycle; the rewards are mu r_t and psi r_m, however long the work takes. The client

    max  mu r_t + psi r_m - rho mu^3 / t^2 - rho psi^3 / s^2
    s.t. t >= mu max(sqrt(rho / r_t), 1 / q)                                                                (8')
         s >= psi max(sqrt(rho / r_m), 1 / q)                                                               (9')
         t + s <= T                                                                                         (10)

still works until the deadline, for slower is cheaper: being paid by the minute is not why it dawdles. But the prices no
longer steer it: it divides T so that its energy is least, at equal speeds, t = T mu / (mu + psi), moved into its interval
(theory 5.9). The owner pays energy at least, and pays no more at r_t = rho (mu / t)^2, r_m = rho (psi / s)^2, where t and s
are the client's only feasible times. So the programme in times and payments a = mu r_t, b = psi r_m is Problem 2's,

    maximise    utility     f(sum mu) - xi sum_i (t + s + a + b)   s.t. (8), (9), (10), (13), (14) and the speed limits,

with the same times, payments and owner's utility; prices are read off as r_t = a / mu, r_m = b / psi. What differs is off
the equilibrium: a client that is paid more, and unevenly, keeps to the times of least energy.

Expressions by client: training_price_per_cycle r_t, mining_price_per_cycle r_m, in the clients' table too; there
training_price and mining_price are what they come to per unit of time, a / t and b / s.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pyomo.environ as pyo

from bcfl_opt.context import Context, ConvexModel
from bcfl_opt.game import Game
from bcfl_opt.models import problem2_cvxpy, problem2_pyomo
from bcfl_opt.models._owner import over_clients

if __name__ != "bcfl_opt.models.variant_prices_per_cycle":
    raise ImportError("import this model as bcfl_opt.models.variant_prices_per_cycle, from the installed package")


def build(game: Game, *, screen: bool = True) -> pyo.ConcreteModel:
    """The programme of ``game`` as a Pyomo model; ``screen`` as in Problem 2: leave out clients that no prices recruit."""
    m = problem2_pyomo.build(game, screen=screen)
    mu = dict(zip(game.population.ids, game.population.training_cycles.tolist(), strict=True))
    a, b = m.training_payment, m.mining_payment
    m.training_price_per_cycle = over_clients(m, pyo.Expression, lambda i: a[i] / mu[i])
    m.mining_price_per_cycle = over_clients(m, pyo.Expression, lambda i: b[i] / game.mining_cycles)
    m.bcfl = _context(m.bcfl)
    return m


def build_convex(game: Game, *, screen: bool = True) -> ConvexModel:
    """The programme above as CVXPY objects by name; arguments as for :func:`build`."""
    model = problem2_cvxpy.build(game, screen=screen)
    kept = game.population.ids.isin(model.context.clients)
    model.expressions |= {
        "training_price_per_cycle": model.variables["training_payment"] / game.population.training_cycles[kept],
        "mining_price_per_cycle": model.variables["mining_payment"] / game.mining_cycles,
    }
    return dataclasses.replace(model, context=_context(model.context))


def response(game: Game, clients: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Optimal times t, s of the game's ``clients`` (a table of answers) at the prices per cycle in it."""
    people, psi, deadline = game.population.select(clients.index), game.mining_cycles, game.deadline
    mu, rho, q = people.training_cycles, people.energy_coefficient, people.max_speed
    r_t, r_m = (clients[f"{task}_price_per_cycle"].to_numpy() for task in ("training", "mining"))
    with np.errstate(divide="ignore", invalid="ignore"):
        low_t, low_s = mu * np.maximum(np.sqrt(rho / r_t), 1 / q), psi * np.maximum(np.sqrt(rho / r_m), 1 / q)
    t = np.clip(deadline * mu / (mu + psi), low_t, np.maximum(low_t, deadline - low_s))
    return t, deadline - t


def _context(context: Context) -> Context:
    names = ("training_price_per_cycle", "mining_price_per_cycle")
    return dataclasses.replace(
        context,
        problem="Problem 2 with prices per cycle",
        columns={name: name for name in names},
        response=lambda clients: response(context.game, clients),
    )
