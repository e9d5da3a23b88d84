"""The game itself in Pyomo: the owner posts prices, and every client's own problem stands in the model as a follower.

The owner, the leader. Variables by client i: training_price p_t, mining_price p_m >= 0.

    maximise    utility                 f(sum mu) - xi sum_i (t + s + t p_t + s p_m)            [money]      (2)
    subject to  training_budget         t p_t <= R_t                   (not with reward_caps=True)           (13)
                mining_budget           s p_m <= R_m                   (not with reward_caps=True)           (14)
                individual_rationality  U_i >= u_min                                                         (17)
    where, for every client i, (t, s) solves the follower ``client[i]``, a Block with variables training_time t,
    mining_time s >= 0:

        maximise    utility                 U_i = p_t t + p_m s - rho mu^3 / t^2 - rho psi^3 / s^2           (1)
        subject to  training_rationality    p_t t >= rho mu^3 / t^2                                          (8)
                    mining_rationality      p_m s >= rho psi^3 / s^2                                         (9)
                    deadline                t + s <= T                                                       (10)
                    training_speed_limit    t >= mu / q                where q is finite       (section 2.2.1)
                    mining_speed_limit      s >= psi / q               where q is finite       (section 2.2.1)
        and with reward_caps=True
                    training_budget         t p_t <= R_t                                                     (7)
                    mining_budget           s p_m <= R_m                                                     (3)

Swap any constraint or objective in either stage, then ``bo.solve_bilevel(m)``: to a client, every variable that is not in
its Block is the owner's. Unchanged, the answer is ``bo.equilibrium(game)`` (theory 5.1), although every client's feasible
set is a single point there; with ``reservation_utility`` and ``reward_caps`` it is the equilibrium with those keywords.

Expressions by client: training_time, mining_time (also References of the same names), training_speed, mining_speed,
training_reward, mining_reward, training_energy, mining_energy, energy_cost (their sum), client_utility;
``owner_utility``. Units: see :class:`bcfl_opt.Game`.
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
from bcfl_opt.utilities import client_utility, energy_cost

if __name__ != "bcfl_opt.models.stackelberg_pyomo":
    raise ImportError(
        "import this model as bcfl_opt.models.stackelberg_pyomo, from the installed package (pip install .)"
    )


def build(
    game: Game, *, reservation_utility: Any = 0.0, reward_caps: bool = False, screen: bool = True
) -> pyo.ConcreteModel:
    """The programme above as a Pyomo model, for :func:`bcfl_opt.solve_bilevel`.

    Parameters
    ----------
    game : the game. reservation_utility : u_min >= 0, what each client can have elsewhere [money]; a number, an array or a
        Series by client. reward_caps : the clients themselves also face (7) and (3).
    screen : leave out clients that no prices recruit within their caps, with the reason in ``model.bcfl.excluded``;
        with False everyone is kept, for a user who then changes the constraint that excluded them.

    Raises
    ------
    InputError : a reservation utility that does not fit the game.
    """
    rent = game._by_client("reservation_utility", reservation_utility)
    with PauseGC():  # a model is many small objects, none of them garbage
        return _model(game, rent, reward_caps, screen)


def _model(game: Game, rent: np.ndarray, reward_caps: bool, screen: bool) -> pyo.ConcreteModel:
    reason = participation.screen_recruitment(game)
    kept = (reason == "").to_numpy() if screen else np.ones(len(game), dtype=bool)
    ids = game.population.ids[kept]
    m = pyo.ConcreteModel(name="stackelberg")
    m.bcfl = Context(game, "Stackelberg game, clients as followers", ids, reason[~kept].to_dict())
    m.clients = client_set(ids)

    mu, rho, q, r_t, r_m = data(
        game, kept, "training_cycles", "energy_coefficient", "max_speed", "training_cap", "mining_cap"
    )
    psi, deadline = game.mining_cycles, game.deadline
    u_min = dict(zip(ids, rent[kept].tolist(), strict=True))
    start_t, start_s = (
        {i: deadline * mu[i] / (mu[i] + psi) for i in ids},
        {i: deadline * psi / (mu[i] + psi) for i in ids},
    )
    # Twice what the energy costs: strictly inside (8) and (9), so that the client has a choice to begin with.
    start_p = {i: 2 * rho[i] * (mu[i] / start_t[i]) ** 3 for i in ids}

    m.training_price = pyo.Var(m.clients, domain=pyo.NonNegativeReals, initialize=start_p)
    m.mining_price = pyo.Var(m.clients, domain=pyo.NonNegativeReals, initialize=start_p)

    def follower(b: Any, i: Any) -> None:
        p_t, p_m = m.training_price[i], m.mining_price[i]
        b.training_time = pyo.Var(domain=pyo.NonNegativeReals, initialize=start_t[i])
        b.mining_time = pyo.Var(domain=pyo.NonNegativeReals, initialize=start_s[i])
        t, s = b.training_time, b.mining_time
        b.training_reward, b.mining_reward = pyo.Expression(expr=p_t * t), pyo.Expression(expr=p_m * s)
        b.training_energy = pyo.Expression(expr=energy_cost(t, mu[i], rho[i]))
        b.mining_energy = pyo.Expression(expr=energy_cost(s, psi, rho[i]))
        b.client_utility = pyo.Expression(
            expr=client_utility(
                t, s, p_t * t, p_m * s, training_cycles=mu[i], mining_cycles=psi, energy_coefficient=rho[i]
            )
        )
        b.training_rationality = pyo.Constraint(expr=b.training_reward - b.training_energy >= 0)
        b.mining_rationality = pyo.Constraint(expr=b.mining_reward - b.mining_energy >= 0)
        b.deadline = pyo.Constraint(expr=t + s <= deadline)
        if q[i] < np.inf:
            b.training_speed_limit = pyo.Constraint(expr=t >= mu[i] / q[i])
            b.mining_speed_limit = pyo.Constraint(expr=s >= psi / q[i])
        if reward_caps:
            b.training_budget = pyo.Constraint(expr=b.training_reward <= r_t[i])
            b.mining_budget = pyo.Constraint(expr=b.mining_reward <= r_m[i])
        b.utility = pyo.Objective(expr=b.client_utility, sense=pyo.maximize)

    m.client = pyo.Block(m.clients, rule=follower)
    m.training_time = pyo.Reference({i: m.client[i].training_time for i in ids}, ctype=pyo.Var)
    m.mining_time = pyo.Reference({i: m.client[i].mining_time for i in ids}, ctype=pyo.Var)
    t, s = m.training_time, m.mining_time
    m.training_speed = over_clients(m, pyo.Expression, lambda i: mu[i] / t[i])
    m.mining_speed = over_clients(m, pyo.Expression, lambda i: psi / s[i])
    m.training_reward = over_clients(m, pyo.Expression, lambda i: m.client[i].training_reward)
    m.mining_reward = over_clients(m, pyo.Expression, lambda i: m.client[i].mining_reward)
    m.training_energy = over_clients(m, pyo.Expression, lambda i: m.client[i].training_energy)
    m.mining_energy = over_clients(m, pyo.Expression, lambda i: m.client[i].mining_energy)
    m.energy_cost = over_clients(m, pyo.Expression, lambda i: m.training_energy[i] + m.mining_energy[i])
    m.client_utility = over_clients(m, pyo.Expression, lambda i: m.client[i].client_utility)
    if not reward_caps:
        m.training_budget = over_clients(m, pyo.Constraint, lambda i: m.training_reward[i] <= r_t[i])
        m.mining_budget = over_clients(m, pyo.Constraint, lambda i: m.mining_reward[i] <= r_m[i])
    m.individual_rationality = over_clients(m, pyo.Constraint, lambda i: m.client_utility[i] >= u_min[i])
    total = pyo.quicksum(t[i] + s[i] + m.training_reward[i] + m.mining_reward[i] for i in m.clients)
    m.owner_utility = pyo.Expression(expr=game.performance_value(kept) - game.cost_weight * total)
    m.utility = pyo.Objective(expr=m.owner_utility, sense=pyo.maximize)
    return m
