"""Problem 1 in Pyomo: how does each client split its time between training and mining, at given prices?

Time form (``form="time"``), convex. Variables by client i: training_time t, mining_time s >= 0.

    maximise    utility                 sum_i  p_t t + p_m s - rho mu^3 / t^2 - rho psi^3 / s^2              (1)
    subject to  training_rationality    t >= mu (rho / p_t)^(1/3)                                           (8)
                mining_rationality      s >= psi (rho / p_m)^(1/3)                                          (9)
                deadline                t + s <= T                                                          (10)
                training_speed_limit    t >= mu / q                    where q is finite       (section 2.2.1)
                mining_speed_limit      s >= psi / q                   where q is finite       (section 2.2.1)
    and with reward_caps=True
                training_budget         t p_t <= R_t                                                        (7)
                mining_budget           s p_m <= R_m                                                        (3)

(8) reads t p_t >= rho mu^3 / t^2 in the paper, which is the bound above when p_t > 0 (p_t = 0 keeps the paper's form).

Speed form (``form="speed"``), as the paper prints it; not convex, same answers. Variables: training_speed q_t,
mining_speed q_m >= 0, with t = mu / q_t and s = psi / q_m.

    maximise    utility                 sum_i  mu p_t / q_t + psi p_m / q_m - rho mu q_t^2 - rho psi q_m^2   (1)
    subject to  training_rationality    mu p_t / q_t - rho mu q_t^2 >= 0                                    (8)
                mining_rationality      psi p_m / q_m - rho psi q_m^2 >= 0                                  (9)
                deadline                mu / q_t + psi / q_m <= T                                           (10)
                training_speed_limit    q_t <= q, mining_speed_limit  q_m <= q                  (section 2.2.1)
                training_budget, mining_budget as above                                                 (7), (3)

Expressions by client: training_time, mining_time, training_speed, mining_speed (whichever are not variables),
training_reward, mining_reward, training_energy, mining_energy, energy_cost (their sum), client_utility. Units: see
:class:`bcfl_opt.Game`.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyomo.environ as pyo
from pyomo.common.gc_manager import PauseGC

from bcfl_opt import participation
from bcfl_opt.context import Context
from bcfl_opt.errors import choice
from bcfl_opt.game import Game
from bcfl_opt.models._owner import client_set

if __name__ != "bcfl_opt.models.problem1_pyomo":
    raise ImportError("import this model as bcfl_opt.models.problem1_pyomo, from the installed package (pip install .)")

#: Of the interval that the limits leave, for a start: closer than the middle's share in it is no use.
HALVINGS = 20
#: The share in a start of the middle of what the limits leave: an interior-point method begins inside.
INSIDE = 1e-4


def build(
    game: Game, prices: pd.DataFrame, *, form: str = "time", reward_caps: bool = False, screen: bool = True
) -> pyo.ConcreteModel:
    """The programme above as a Pyomo model.

    Parameters
    ----------
    game : the game. prices : ``game.prices(training=..., mining=...)``, by client [money / time].
    form : "time" or "speed". reward_caps : clients also face (7) and (3).
    screen : leave out clients that have no feasible point, with the reason in ``model.bcfl.excluded``; with False
        everyone is kept, for a user who then changes the constraint that excluded them.

    Raises
    ------
    InputError : prices do not fit the game, or an unknown form.
    """
    choice("form", form, ("time", "speed"))
    prices = game.checked_prices(prices)
    with PauseGC():  # a model is many small objects, none of them garbage
        return _model(game, prices, form, reward_caps, screen)


def _model(game: Game, prices: pd.DataFrame, form: str, reward_caps: bool, screen: bool) -> pyo.ConcreteModel:
    bounds = participation.response_bounds(game, prices, reward_caps=reward_caps)
    reason = participation.screen_response(game, prices, reward_caps=reward_caps, bounds=bounds)
    kept = (reason == "").to_numpy() if screen else prices.notna().all(axis=1).to_numpy()
    ids = game.population.ids[kept]
    excluded = {} if kept.all() else reason[~kept].to_dict()

    m = pyo.ConcreteModel(name="problem1")
    m.bcfl = Context(game, f"Problem 1, {form} form", ids, excluded, prices)
    m.clients = client_set(ids)

    mu, rho, q = (
        dict(zip(ids, values[kept].tolist(), strict=True))
        for values in (game.population.training_cycles, game.population.energy_coefficient, game.population.max_speed)
    )
    p_t, p_m = (
        dict(zip(ids, prices[name].to_numpy()[kept].tolist(), strict=True))
        for name in ("training_price", "mining_price")
    )
    psi, deadline = game.mining_cycles, game.deadline
    start_t, start_s = (dict(zip(ids, times[kept].tolist(), strict=True)) for times in _start(game, prices, bounds))
    limited = m.clients if max(q.values(), default=0.0) < np.inf else [i for i in ids if q[i] < np.inf]

    # Rules look components up in plain dicts, which takes a tenth of the time.
    if form == "time":
        m.training_time = pyo.Var(m.clients, domain=pyo.NonNegativeReals)
        m.mining_time = pyo.Var(m.clients, domain=pyo.NonNegativeReals)
        # initialize= would check every number against the domain, at ten times the cost.
        m.training_time.set_values(start_t, skip_validation=True)
        m.mining_time.set_values(start_s, skip_validation=True)
        t, s = dict(m.training_time.items()), dict(m.mining_time.items())
        train, mine = {i: rho[i] * mu[i] ** 3 for i in ids}, {i: rho[i] * psi**3 for i in ids}
        least_t = {i: mu[i] * (rho[i] / p_t[i]) ** (1 / 3) if p_t[i] > 0 else None for i in ids}
        least_s = {i: psi * (rho[i] / p_m[i]) ** (1 / 3) if p_m[i] > 0 else None for i in ids}

        m.training_speed = pyo.Expression(m.clients, rule=lambda _, i: mu[i] / t[i])
        m.mining_speed = pyo.Expression(m.clients, rule=lambda _, i: psi / s[i])
        m.training_energy = pyo.Expression(m.clients, rule=lambda _, i: train[i] / t[i] ** 2)
        m.mining_energy = pyo.Expression(m.clients, rule=lambda _, i: mine[i] / s[i] ** 2)
        m.training_rationality = pyo.Constraint(
            m.clients, rule=lambda _, i: t[i] >= least_t[i] if p_t[i] > 0 else p_t[i] * t[i] >= train[i] / t[i] ** 2
        )
        m.mining_rationality = pyo.Constraint(
            m.clients, rule=lambda _, i: s[i] >= least_s[i] if p_m[i] > 0 else p_m[i] * s[i] >= mine[i] / s[i] ** 2
        )
        m.training_speed_limit = pyo.Constraint(limited, rule=lambda _, i: t[i] >= mu[i] / q[i])
        m.mining_speed_limit = pyo.Constraint(limited, rule=lambda _, i: s[i] >= psi / q[i])
    else:
        m.training_speed = pyo.Var(
            m.clients, domain=pyo.NonNegativeReals, initialize={i: mu[i] / start_t[i] for i in ids}
        )
        m.mining_speed = pyo.Var(m.clients, domain=pyo.NonNegativeReals, initialize={i: psi / start_s[i] for i in ids})
        q_t, q_m = dict(m.training_speed.items()), dict(m.mining_speed.items())

        m.training_time = pyo.Expression(m.clients, rule=lambda _, i: mu[i] / q_t[i])
        m.mining_time = pyo.Expression(m.clients, rule=lambda _, i: psi / q_m[i])
        t, s = dict(m.training_time.items()), dict(m.mining_time.items())
        m.training_energy = pyo.Expression(m.clients, rule=lambda _, i: rho[i] * mu[i] * q_t[i] ** 2)
        m.mining_energy = pyo.Expression(m.clients, rule=lambda _, i: rho[i] * psi * q_m[i] ** 2)
        m.training_rationality = pyo.Constraint(
            m.clients, rule=lambda _, i: mu[i] * p_t[i] / q_t[i] - rho[i] * mu[i] * q_t[i] ** 2 >= 0
        )
        m.mining_rationality = pyo.Constraint(
            m.clients, rule=lambda _, i: psi * p_m[i] / q_m[i] - rho[i] * psi * q_m[i] ** 2 >= 0
        )
        m.training_speed_limit = pyo.Constraint(limited, rule=lambda _, i: q_t[i] <= q[i])
        m.mining_speed_limit = pyo.Constraint(limited, rule=lambda _, i: q_m[i] <= q[i])

    e_t, e_m = dict(m.training_energy.items()), dict(m.mining_energy.items())
    m.energy_cost = pyo.Expression(m.clients, rule=lambda _, i: e_t[i] + e_m[i])
    m.training_reward = pyo.Expression(m.clients, rule=lambda _, i: p_t[i] * t[i])
    m.mining_reward = pyo.Expression(m.clients, rule=lambda _, i: p_m[i] * s[i])
    pay_t, pay_m, cost = (dict(c.items()) for c in (m.training_reward, m.mining_reward, m.energy_cost))
    m.client_utility = pyo.Expression(m.clients, rule=lambda _, i: pay_t[i] + pay_m[i] - cost[i])
    m.deadline = pyo.Constraint(m.clients, rule=lambda _, i: t[i] + s[i] <= deadline)
    if reward_caps:
        r_t, r_m = (game.caps[name][kept].to_dict() for name in ("training_cap", "mining_cap"))
        m.training_budget = pyo.Constraint(m.clients, rule=lambda _, i: pay_t[i] <= r_t[i])
        m.mining_budget = pyo.Constraint(m.clients, rule=lambda _, i: pay_m[i] <= r_m[i])
    m.utility = pyo.Objective(expr=pyo.quicksum(m.client_utility.values()), sense=pyo.maximize)
    return m


def _start(game: Game, prices: pd.DataFrame, bounds: participation.TimeBounds) -> tuple[np.ndarray, np.ndarray]:
    """Times strictly inside every client's own limits, where it has any room: near its best division of the deadline."""
    deadline = game.deadline
    room = (deadline - bounds.training_low - bounds.mining_low) / 3
    able = room > 0
    with np.errstate(invalid="ignore"):
        t = np.minimum(bounds.training_low + room, (bounds.training_low + bounds.training_high) / 2)
        s = np.minimum(bounds.mining_low + room, (bounds.mining_low + bounds.mining_high) / 2)
    rho, psi = game.population.energy_coefficient, game.mining_cycles
    train, mine = rho * game.population.training_cycles**3, rho * psi**3
    difference = (prices["training_price"] - prices["mining_price"]).to_numpy()
    low = np.maximum(bounds.training_low, deadline - bounds.mining_high)
    high = np.minimum(bounds.training_high, deadline - bounds.mining_low)

    low, high = np.where(able, low, deadline / 2), np.where(able, high, deadline / 2)
    for _ in range(HALVINGS):  # the utility (1) is concave along t + s = T
        middle = (low + high) / 2
        with np.errstate(divide="ignore", invalid="ignore"):
            rises = difference + 2.0 * train / middle**3 > 2.0 * mine / (deadline - middle) ** 3
        low, high = np.where(rises, middle, low), np.where(rises, high, middle)
    best = np.clip((low + high) / 2, bounds.training_low, bounds.training_high)
    rest = np.clip(deadline - best, bounds.mining_low, bounds.mining_high)
    with np.errstate(invalid="ignore"):
        t, s = best + INSIDE * (t - best), rest + INSIDE * (s - rest)
    return np.where(able, t, deadline / 2), np.where(able, s, deadline / 2)
