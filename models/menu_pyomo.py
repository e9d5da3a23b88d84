"""A menu of contracts in Pyomo: which price pairs recruit every type of client, if clients choose among them and may lie?

Types k: mu, rho, q, with probabilities w_k. A contract is a price pair, and in it the times its own type will work. Variables
by type: training_price p_t, mining_price p_m, training_time t, mining_time s >= 0.

    minimise    cost                      sum_k w_k (t p_t + s p_m + v (t + s))
    subject to  incentive_compatibility   U_k(t_k, s_k; p_k) >= D_kj                 for the pairs (k, j), (k, k) included
                individual_rationality    U_k(t_k, s_k; p_k) >= 0
                training_rationality      t p_t >= rho mu^3 / t^2                                              (8)
                mining_rationality        s p_m >= rho psi^3 / s^2                                             (9)
                deadline                  t + s = T                    (t + s <= T where contracts carry their own deadlines)
                training_speed_limit      t >= mu / q                  where q is finite       (section 2.2.1)
                mining_speed_limit        s >= psi / q                 where q is finite       (section 2.2.1)
    and with reward_caps=True
                training_budget           t p_t <= R_t                                                        (13)
                mining_budget             s p_m <= R_m                                                        (14)

U_k(t, s; p) = t p_t + s p_m - rho mu^3/t^2 - rho psi^3/s^2 with the type's own mu, rho. What type k could have from contract j is
a maximum, and the Lagrange dual of Problem 1 bounds it from above: for any times x, y > 0 and any worth lambda of time with
alpha = lambda - p_t - 2 rho mu^3/x^3 >= 0 and beta = lambda - p_m - 2 rho psi^3/y^3 >= 0,

    D_kj = lambda T_j - alpha t_lo - beta s_lo - 3 rho mu^3/x^2 - 3 rho psi^3/y^2,      t_lo = mu (rho/p_t)^(1/3), s_lo likewise,

at contract j's prices and deadline; the least D_kj is the maximum itself, and is taken at x, y = its answer. No complementarity,
and an offer out of reach needs no special case: its dual has no bound from below. Variables by pair: deviation_training_time x,
deviation_mining_time y, deviation_worth lambda; where q is finite, part of alpha goes to t >= mu/q instead
(deviation_training_limit), and of beta to s >= psi/q.

The pair (k, k) makes the contract's times the type's true answer. It leaves no interior, so it is relaxed by ``slack``.

Source: theory 6.1. Several local optima: see :func:`bcfl_opt.design_menu`, which searches and judges exactly.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import pyomo.environ as pyo
from pyomo.common.gc_manager import PauseGC

from bcfl_opt.context import Context
from bcfl_opt.errors import choice
from bcfl_opt.game import Game
from bcfl_opt.models import screening_pyomo
from bcfl_opt.models._owner import data, over_clients
from bcfl_opt.utilities import client_utility

if __name__ != "bcfl_opt.models.menu_pyomo":
    raise ImportError("import this model as bcfl_opt.models.menu_pyomo, from the installed package (pip install .)")

#: Prices and worths of time beyond this multiple of the pooled price are not looked at.
REACH = 1e3


def build(
    game: Game,
    weights: pd.Series | None = None,
    *,
    deadlines: str = "common",
    time_weight: float | None = None,
    reward_caps: bool = False,
    pairs: Iterable[tuple[Any, Any]] | None = None,
    start: pd.DataFrame | None = None,
    slack: float = 1e-6,
) -> pyo.ConcreteModel:
    """The programme above as a Pyomo model.

    Parameters
    ----------
    game : its clients are the types. weights : probability by client id; equal by default.
    deadlines : "common", all contracts have the game's T, or "chosen", each has its own, t + s <= T.
    time_weight : v [money / time]; by default 0 with a common deadline, where time is a constant, and 1 with chosen ones, (2).
    reward_caps : each type's own rewards respect its caps (13), (14).
    pairs : (k, j) with a row in ``incentive_compatibility``, own pairs (k, k) among them; by default all.
    start : training_price, mining_price, training_time, mining_time by type to start from; by default one equal price
        for all that recruits the costliest type.
    slack : by how much a type's own answer may miss its optimum, relative to the pooled payment.

    Raises
    ------
    InputError : an unknown kind of deadlines.
    """
    choice("deadlines", deadlines, ("common", "chosen"))
    with PauseGC():  # a model is many small objects, none of them garbage
        return _model(game, weights, deadlines == "chosen", time_weight, reward_caps, pairs, start, slack)


def _model(
    game: Game,
    weights: pd.Series | None,
    chosen: bool,
    time_weight: float | None,
    reward_caps: bool,
    pairs: Iterable[tuple[Any, Any]] | None,
    start: pd.DataFrame | None,
    slack: float,
) -> pyo.ConcreteModel:
    ids, everyone = list(game.population.ids), np.ones(len(game), dtype=bool)
    mu, rho, q = data(game, everyone, "training_cycles", "energy_coefficient", "max_speed")
    psi, longest = game.mining_cycles, game.deadline
    time_weight = float(chosen) if time_weight is None else time_weight
    probability = dict.fromkeys(ids, 1 / len(ids)) if weights is None else {k: float(weights[k]) for k in ids}
    length = _pooled_deadline(mu, rho, q, psi, longest, time_weight) if chosen else longest
    pooled = max(rho[k] * ((mu[k] + psi) / length) ** 3 for k in ids)
    begin = _pooled_start(game, pooled, length) if start is None else start
    initial: dict[str, Mapping[Any, float]] = {str(name): column.to_dict() for name, column in begin.items()}

    def term(name: str, high: float) -> dict[str, Any]:
        return {"domain": pyo.NonNegativeReals, "bounds": (0, high), "initialize": initial[name]}

    def utility(k: Any, contract: Any) -> Any:
        return client_utility(
            contract.training_time,
            contract.mining_time,
            contract.training_time * contract.training_price,
            contract.mining_time * contract.mining_price,
            training_cycles=mu[k],
            mining_cycles=psi,
            energy_coefficient=rho[k],
        )

    def cost(_: Any, contract: Any) -> Any:
        t, s = contract.training_time, contract.mining_time
        return t * contract.training_price + s * contract.mining_price + time_weight * (t + s)

    def best(m: pyo.ConcreteModel, k: Any, j: Any) -> Any:
        return _most(m, k, j, mu[k], psi, rho[k], q[k], longest, chosen) - (slack * pooled * length if k == j else 0.0)

    asked = [(k, j) for k in ids for j in ids] if pairs is None else list(pairs)
    m = screening_pyomo.build(
        dict(zip(ids, ids, strict=True)),
        probability,
        {
            "training_price": term("training_price", REACH * pooled),
            "mining_price": term("mining_price", REACH * pooled),
            "training_time": term("training_time", longest),
            "mining_time": term("mining_time", longest),
        },
        utility,
        cost,
        pairs=asked,
        best=lambda m, k, j: best(_with_duals(m, asked, mu, psi, rho, q, longest, pooled), k, j),
    )
    m.bcfl = Context(game, "Menu of contracts", game.population.ids, {})
    m.clients = pyo.Set(initialize=ids, ordered=True)
    p_t, p_m, t, s = m.training_price, m.mining_price, m.training_time, m.mining_time
    m.training_reward = over_clients(m, pyo.Expression, lambda k: t[k] * p_t[k])
    m.mining_reward = over_clients(m, pyo.Expression, lambda k: s[k] * p_m[k])
    m.client_utility = over_clients(m, pyo.Expression, lambda k: m.agent_utility[k] * 1)
    # (8) and (9) without a fraction: t^3 p_t >= rho mu^3
    m.training_rationality = over_clients(m, pyo.Constraint, lambda k: p_t[k] * t[k] ** 3 >= rho[k] * mu[k] ** 3)
    m.mining_rationality = over_clients(m, pyo.Constraint, lambda k: p_m[k] * s[k] ** 3 >= rho[k] * psi**3)
    m.deadline = over_clients(m, pyo.Constraint, lambda k: t[k] + s[k] <= longest if chosen else t[k] + s[k] == longest)
    limited = [k for k in ids if q[k] < np.inf]
    m.training_speed_limit = over_clients(m, pyo.Constraint, lambda k: t[k] >= mu[k] / q[k], limited)
    m.mining_speed_limit = over_clients(m, pyo.Constraint, lambda k: s[k] >= psi / q[k], limited)
    if reward_caps:
        r_t, r_m = (game.caps[name].to_dict() for name in ("training_cap", "mining_cap"))
        m.training_budget = over_clients(m, pyo.Constraint, lambda k: m.training_reward[k] <= r_t[k])
        m.mining_budget = over_clients(m, pyo.Constraint, lambda k: m.mining_reward[k] <= r_m[k])
    return m


def _pooled_deadline(
    mu: Mapping[Any, float],
    rho: Mapping[Any, float],
    q: Mapping[Any, float],
    psi: float,
    longest: float,
    time_weight: float,
) -> float:
    """The deadline of the cheapest equal price for all: min c / T^2 + v T with c the most rho (mu + psi)^3."""
    if not time_weight > 0:
        return longest
    wanted = (2 * max(rho[k] * (mu[k] + psi) ** 3 for k in mu) / time_weight) ** (1 / 3)
    return float(min(max(wanted, *((mu[k] + psi) / q[k] for k in mu)), longest))


def _pooled_start(game: Game, price: float, deadline: float) -> pd.DataFrame:
    """One equal price for all, at which every type's two speeds are equal (or at most its largest)."""
    population = game.population
    share = population.training_cycles / (population.training_cycles + game.mining_cycles)
    columns = {
        "training_price": np.full(len(game), price),
        "mining_price": np.full(len(game), price),
        "training_time": deadline * share,
        "mining_time": deadline * (1 - share),
    }
    return pd.DataFrame(columns, index=population.ids)


def _with_duals(
    m: pyo.ConcreteModel,
    pairs: list[tuple[Any, Any]],
    mu: Mapping[Any, float],
    psi: float,
    rho: Mapping[Any, float],
    q: Mapping[Any, float],
    longest: float,
    pooled: float,
) -> pyo.ConcreteModel:
    """The model with the multipliers of what type k would do under contract j, starting at times in the ratio of the work."""
    if m.component("deviation_worth") is not None:
        return m
    x, y, worth = {}, {}, {}
    for k, j in pairs:
        total = m.training_time[j].value + m.mining_time[j].value
        x[k, j] = total * mu[k] / (mu[k] + psi)
        y[k, j] = total - x[k, j]
        push = 2 * rho[k] * ((mu[k] + psi) / total) ** 3
        worth[k, j] = max(m.training_price[j].value, m.mining_price[j].value) + push
    m.deviation_training_time = pyo.Var(m.pairs, bounds=(0, 2 * longest), initialize=x)
    m.deviation_mining_time = pyo.Var(m.pairs, bounds=(0, 2 * longest), initialize=y)
    m.deviation_worth = pyo.Var(m.pairs, bounds=(0, REACH * pooled), initialize=worth)
    limited = pyo.Set(initialize=[(k, j) for k, j in pairs if q[k] < np.inf], dimen=2, ordered=True)
    m.limited_pairs = limited
    m.deviation_training_limit = pyo.Var(limited, bounds=(0, REACH * pooled), initialize=0.0)
    m.deviation_mining_limit = pyo.Var(limited, bounds=(0, REACH * pooled), initialize=0.0)
    m.deviation_training_multiplier = pyo.Constraint(m.pairs)
    m.deviation_mining_multiplier = pyo.Constraint(m.pairs)
    return m


def _most(
    m: pyo.ConcreteModel, k: Any, j: Any, mu: float, psi: float, rho: float, q: float, longest: float, chosen: bool
) -> Any:
    """D_kj; adds its conditions alpha >= 0 and beta >= 0."""
    p_t, p_m = m.training_price[j], m.mining_price[j]
    x, y, worth = m.deviation_training_time[k, j], m.deviation_mining_time[k, j], m.deviation_worth[k, j]
    deadline = m.training_time[j] + m.mining_time[j] if chosen else longest
    alpha, beta = worth - p_t - 2 * rho * mu**3 / x**3, worth - p_m - 2 * rho * psi**3 / y**3
    at_limit = 0.0
    if q < np.inf:
        to_train, to_mine = m.deviation_training_limit[k, j], m.deviation_mining_limit[k, j]
        alpha, beta = alpha - to_train, beta - to_mine
        at_limit = (to_train * mu + to_mine * psi) / q
    m.deviation_training_multiplier[k, j] = alpha >= 0
    m.deviation_mining_multiplier[k, j] = beta >= 0
    least_training, least_mining = mu * (rho / p_t) ** (1 / 3), psi * (rho / p_m) ** (1 / 3)
    energy = 3 * rho * mu**3 / x**2 + 3 * rho * psi**3 / y**2
    return worth * deadline - alpha * least_training - beta * least_mining - at_limit - energy
