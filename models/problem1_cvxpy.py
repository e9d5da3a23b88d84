"""Problem 1 in CVXPY: how does each client split its time between training and mining, at given prices?

Time form, a convex programme (DCP). Variables by client, vectors over ``context.clients``:

    training_time   t                                                                           [time]
    mining_time     s                                                                           [time]

    maximise        sum_i  p_t t + p_m s - rho mu^3 / t^2 - rho psi^3 / s^2                      [money]      (1)
    subject to      training_rationality    t >= mu (rho / p_t)^(1/3)                           [time]       (8)
                    mining_rationality      s >= psi (rho / p_m)^(1/3)                          [time]       (9)
                    deadline                t + s <= T                                          [time]       (10)
                    training_speed_limit    t >= mu / q                                         [time]  (section 2.2.1)
                    mining_speed_limit      s >= psi / q                                        [time]  (section 2.2.1)
    and with reward_caps=True
                    training_budget         t p_t <= R_t                                        [money]      (7)
                    mining_budget           s p_m <= R_m                                        [money]      (3)

The speed limits are there if any client has one; for a client without, they read t >= 0 and s >= 0.

Nothing is dropped: with t = mu / q_t and s = psi / q_m this is the paper's programme. (8) reads t p_t >= rho mu^3 / t^2
there, which is the bound above. Only the paper's variables are in the way: in speeds the utility is convex where (8)
holds, in times it is concave (theory 1.1), so Clarabel's answer is the global optimum.

Expressions by client: training_time, mining_time, training_speed mu / t, mining_speed psi / s (convex),
training_price, mining_price (constants), training_reward, mining_reward (affine), training_energy, mining_energy and their sum
energy_cost (convex), client_utility (concave).
"""

from __future__ import annotations

import cvxpy as cp
import numpy as np
import pandas as pd

from bcfl_opt import participation
from bcfl_opt.context import Context, ConvexModel
from bcfl_opt.errors import InputError, choice
from bcfl_opt.game import Game
from bcfl_opt.models._times import Work, speed_limits

if __name__ != "bcfl_opt.models.problem1_cvxpy":
    raise ImportError("import this model as bcfl_opt.models.problem1_cvxpy, from the installed package (pip install .)")


def build(
    game: Game, prices: pd.DataFrame, *, form: str = "time", reward_caps: bool = False, screen: bool = True
) -> ConvexModel:
    """The programme above as CVXPY objects by name.

    Parameters
    ----------
    game : the game. prices : ``game.prices(training=..., mining=...)``, by client [money / time].
    form : "time"; the speed form is not convex. reward_caps : clients also face (7) and (3).
    screen : leave out clients that have no feasible point, with the reason in ``context.excluded``; with False everyone
        is kept, for a user who then changes the constraint that excluded them.

    Raises
    ------
    InputError : prices do not fit the game, or another form than "time".
    """
    if choice("form", form, ("time", "speed")) == "speed":
        raise InputError(
            "Problem 1 is not convex in speeds, so CVXPY has it in times only; for speeds use problem1_pyomo with "
            'form="speed" (same answers)'
        )
    prices = game.checked_prices(prices)
    reason = participation.screen_response(game, prices, reward_caps=reward_caps)
    kept = (reason == "").to_numpy() if screen else prices.notna().all(axis=1).to_numpy()
    population, psi, deadline = game.population, game.mining_cycles, game.deadline
    mu, rho, q = population.training_cycles[kept], population.energy_coefficient[kept], population.max_speed[kept]
    p_t, p_m = prices["training_price"].to_numpy()[kept], prices["mining_price"].to_numpy()[kept]
    with np.errstate(divide="ignore"):  # a price of 0 pays for no energy at any speed: the bound is infinite
        least_t, least_s = mu * np.cbrt(rho / p_t), psi * np.cbrt(rho / p_m)

    t = cp.Variable(len(mu), name="training_time")
    s = cp.Variable(len(mu), name="mining_time")
    usual_t, usual_s = t.value, s.value = _start(game, prices, reward_caps, kept)
    training, mining = Work(t, mu, rho, usual_t), Work(s, np.full_like(mu, psi), rho, usual_s)
    training_reward, mining_reward = cp.multiply(p_t, t), cp.multiply(p_m, s)
    energy_cost = training.energy + mining.energy
    client_utility = training_reward + mining_reward - energy_cost

    constraints = {
        "training_rationality": t >= least_t,
        "mining_rationality": s >= least_s,
        "deadline": t + s <= deadline,
        **speed_limits(t, s, mu, psi, q),
    }
    if reward_caps:
        constraints["training_budget"] = training_reward <= game.caps["training_cap"].to_numpy()[kept]
        constraints["mining_budget"] = mining_reward <= game.caps["mining_cap"].to_numpy()[kept]
    return ConvexModel(
        context=Context(game, "Problem 1, time form", population.ids[kept], reason[~kept].to_dict(), prices),
        variables={"training_time": t, "mining_time": s},
        constraints=constraints,
        expressions={
            "training_time": t,
            "mining_time": s,
            "training_speed": training.speed,
            "mining_speed": mining.speed,
            "training_price": cp.Constant(p_t),
            "mining_price": cp.Constant(p_m),
            "training_reward": training_reward,
            "mining_reward": mining_reward,
            "training_energy": training.energy,
            "mining_energy": mining.energy,
            "energy_cost": energy_cost,
            "client_utility": client_utility,
        },
        objective=cp.Maximize(cp.sum(client_utility)),
    )


def _start(game: Game, prices: pd.DataFrame, reward_caps: bool, kept: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Times strictly inside every client's own limits, where it has any room; for solvers that take a start."""
    bounds = participation.response_bounds(game, prices, reward_caps=reward_caps)
    room = (game.deadline - bounds.training_low - bounds.mining_low) / 3
    with np.errstate(invalid="ignore"):
        t = np.minimum(bounds.training_low + room, (bounds.training_low + bounds.training_high) / 2)
        s = np.minimum(bounds.mining_low + room, (bounds.mining_low + bounds.mining_high) / 2)
    half, able = game.deadline / 2, room > 0
    return np.where(able, t, half)[kept], np.where(able, s, half)[kept]
