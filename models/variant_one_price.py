"""Variant: one pair of prices for all clients. The followers' optimality is then what the problem is about.

The owner, the leader. Variables: posted_training_price p_t, posted_mining_price p_m >= 0, the same for everybody.

    maximise    utility                 f(sum mu) - xi sum_i (t + s + t p_t + s p_m)                         (2)
    subject to  training_budget         t p_t <= R_t                                                        (13)
                mining_budget           s p_m <= R_m                                                        (14)
    where, for every client i, (t, s) solves the follower ``client[i]``, a Block with variables training_time t,
    mining_time s >= 0:

        maximise    utility                 U_i = p_t t + p_m s - rho mu^3 / t^2 - rho psi^3 / s^2           (1)
        subject to  training_rationality    p_t t >= rho mu^3 / t^2                                          (8)
                    mining_rationality      p_m s >= rho psi^3 / s^2                                         (9)
                    deadline                t + s <= T                                                       (10)
                    training_speed_limit    t >= mu / q, mining_speed_limit  s >= psi / q     where q is finite

Prices that recruit the client with most to do overpay the others: U_i > 0 for them, they divide their time by h(t) = 0
(theory 1.3), and to leave that out, as Problem 2 can, would let the owner decide for them. Every client of the model has to
be recruited, so the prices obey (rho / p_t)^(1/3) mu + (rho / p_m)^(1/3) psi <= T for each. At the optimum that, with speed
limits, is an equality for somebody (theory 5.11), whose feasible set is one point. Not convex: the answers are local.

Expressions by client: training_time, mining_time, training_price, mining_price, training_reward, mining_reward,
client_utility; ``owner_utility``. To be solved by ``bo.solve_bilevel(m)``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyomo.environ as pyo
from pyomo.common.gc_manager import PauseGC

from bcfl_opt import participation
from bcfl_opt.context import Context
from bcfl_opt.game import Game
from bcfl_opt.models._owner import client_set, data, over_clients

if __name__ != "bcfl_opt.models.variant_one_price":
    raise ImportError("import this model as bcfl_opt.models.variant_one_price, from the installed package")


def build(game: Game, *, screen: bool = True) -> pyo.ConcreteModel:
    """The programme above as a Pyomo model, the clients' problems as Blocks in it.

    Parameters
    ----------
    game : the game. screen : leave out clients that no prices at all recruit within their caps. Nobody is left out because
        the common prices suit it badly: to choose whom not to recruit, use ``population.select``.
    """
    with PauseGC():  # a model is many small objects, none of them garbage
        return _model(game, screen)


def _model(game: Game, screen: bool) -> pyo.ConcreteModel:
    reason = participation.screen_recruitment(game)
    kept = (reason == "").to_numpy() if screen else np.ones(len(game), dtype=bool)
    ids = game.population.ids[kept]
    mu, rho, q, r_t, r_m = data(
        game, kept, "training_cycles", "energy_coefficient", "max_speed", "training_cap", "mining_cap"
    )
    psi, deadline = game.mining_cycles, game.deadline
    # Equal prices a tenth above what the client with most to do needs: inside everybody's (8)-(10).
    start = 1.1 * max((rho[i] * ((mu[i] + psi) / deadline) ** 3 for i in mu), default=1.0)

    m = pyo.ConcreteModel(name="one_price")
    m.bcfl = Context(game, "Problem 2 with one price pair for all clients", ids, reason[~kept].to_dict())
    m.clients = client_set(ids)
    m.posted_training_price = pyo.Var(domain=pyo.NonNegativeReals, initialize=start)
    m.posted_mining_price = pyo.Var(domain=pyo.NonNegativeReals, initialize=start)
    p_t, p_m = m.posted_training_price, m.posted_mining_price

    def follower(b: Any, i: Any) -> None:
        b.training_time = pyo.Var(domain=pyo.NonNegativeReals, initialize=deadline * mu[i] / (mu[i] + psi))
        b.mining_time = pyo.Var(domain=pyo.NonNegativeReals, initialize=deadline * psi / (mu[i] + psi))
        t, s = b.training_time, b.mining_time
        b.training_rationality = pyo.Constraint(expr=p_t * t - rho[i] * mu[i] ** 3 / t**2 >= 0)
        b.mining_rationality = pyo.Constraint(expr=p_m * s - rho[i] * psi**3 / s**2 >= 0)
        b.deadline = pyo.Constraint(expr=t + s <= deadline)
        if q[i] < np.inf:
            b.training_speed_limit = pyo.Constraint(expr=t >= mu[i] / q[i])
            b.mining_speed_limit = pyo.Constraint(expr=s >= psi / q[i])
        utility = p_t * t + p_m * s - rho[i] * mu[i] ** 3 / t**2 - rho[i] * psi**3 / s**2
        b.utility = pyo.Objective(expr=utility, sense=pyo.maximize)

    m.client = pyo.Block(m.clients, rule=follower)
    m.training_time = over_clients(m, pyo.Expression, lambda i: m.client[i].training_time)
    m.mining_time = over_clients(m, pyo.Expression, lambda i: m.client[i].mining_time)
    t, s = m.training_time, m.mining_time
    m.training_price = over_clients(m, pyo.Expression, lambda i: 1 * p_t)
    m.mining_price = over_clients(m, pyo.Expression, lambda i: 1 * p_m)
    m.training_reward = over_clients(m, pyo.Expression, lambda i: p_t * t[i])
    m.mining_reward = over_clients(m, pyo.Expression, lambda i: p_m * s[i])
    m.client_utility = over_clients(m, pyo.Expression, lambda i: m.client[i].utility.expr)
    m.training_budget = over_clients(m, pyo.Constraint, lambda i: m.training_reward[i] <= r_t[i])
    m.mining_budget = over_clients(m, pyo.Constraint, lambda i: m.mining_reward[i] <= r_m[i])
    total = pyo.quicksum(t[i] + s[i] + m.training_reward[i] + m.mining_reward[i] for i in m.clients)
    m.owner_utility = pyo.Expression(expr=game.performance_value(kept) - game.cost_weight * total)
    m.utility = pyo.Objective(expr=m.owner_utility, sense=pyo.maximize)
    return m
