"""Variant: clients choose how much data to train on; the owner pays per training cycle and values what is trained.

Client i has data for mu_i cycles and trains x of them, 0 <= x <= mu_i. The owner pays r money per training cycle and b
for the block. The client

    max  r x + b - rho x^3 / t^2 - rho psi^3 / s^2   over x, t, s   s.t. t + s <= T, x / t <= q, psi / s <= q,
         r x >= rho x^3 / t^2 (8), b >= rho psi^3 / s^2 (9),

works until the deadline at one speed v = (x + psi) / T, which costs rho (x + psi)^3 / T^2, and adds data until a cycle costs
what it earns (theory 5.10):

    r = 3 rho v^2,   that is   x = T sqrt(r / (3 rho)) - psi,   moved into [0, min(mu, q T - psi)].

(8) is slack there: the last cycle costs three times the mean. The owner picks x through r, and pays for the block its energy,
b = rho psi v^2. With the client's answer put in, variables by client: training_cycles x.

    maximise    utility             f(sum_i x) - xi sum_i (T + 3 rho x v^2 + rho psi v^2)                  (2)
    subject to  data                x <= mu                                                  [cycles]
                training_budget     3 rho x v^2 <= R_t                                       [money]       (13)
                mining_budget       rho psi v^2 <= R_m                                                     (14)
                speed_limit         v <= q                                      where q is finite

convex (DCP), for 3 x v^2 T^2 = 3 (x + psi)^3 - 3 psi (x + psi)^2 rises and bends upwards on x >= 0. Where no bound binds the
last cycle of each client costs the owner what it is worth, f'(sum x) = xi rho (x + psi) (9 x + 5 psi) / T^2.

f is the game's: "log", "sqrt" or "linear". Expressions by client: training_time x / v, mining_time psi / v, both speeds v,
training_price_per_cycle r; training_price is 3 rho v^3 and mining_price rho v^3 per unit of time. The clients' table has
columns ``training_cycles`` and ``training_price_per_cycle`` besides.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cvxpy as cp
import numpy as np
import pandas as pd
import pyomo.environ as pyo

from bcfl_opt import participation
from bcfl_opt.context import Context, ConvexModel
from bcfl_opt.errors import InputError
from bcfl_opt.game import Game
from bcfl_opt.models._owner import client_set, data, over_clients
from bcfl_opt.wording import Reasons, sentences

if __name__ != "bcfl_opt.models.variant_chosen_data":
    raise ImportError("import this model as bcfl_opt.models.variant_chosen_data, from the installed package")

#: f in both languages, by the game's name for it.
PERFORMANCES: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "log": (lambda total: pyo.log(1 + total), cp.log1p),
    "sqrt": (lambda total: total**0.5, cp.sqrt),
    "linear": (lambda total: total, lambda total: total),
}


def build(game: Game, *, screen: bool = True) -> pyo.ConcreteModel:
    """The programme of ``game`` in Pyomo; ``screen``: leave out clients that cannot even mine within cap and speed limit."""
    performance, _ = _performance(game)
    context, kept = _prepared(game, screen)
    mu, rho, q, r_t, r_m = data(
        game, kept, "training_cycles", "energy_coefficient", "max_speed", "training_cap", "mining_cap"
    )
    psi, deadline = game.mining_cycles, game.deadline
    m = pyo.ConcreteModel(name="chosen_data")
    m.bcfl = context
    m.clients = client_set(context.clients)
    m.training_cycles = pyo.Var(m.clients, domain=pyo.NonNegativeReals, initialize={i: mu[i] / 2 for i in mu})
    x = m.training_cycles
    m.training_speed = over_clients(m, pyo.Expression, lambda i: (x[i] + psi) / deadline)
    m.mining_speed = over_clients(m, pyo.Expression, lambda i: (x[i] + psi) / deadline)
    v = m.training_speed
    m.training_time = over_clients(m, pyo.Expression, lambda i: x[i] / v[i])
    m.mining_time = over_clients(m, pyo.Expression, lambda i: psi / v[i])
    m.training_price_per_cycle = over_clients(m, pyo.Expression, lambda i: 3 * rho[i] * v[i] ** 2)
    m.training_price = over_clients(m, pyo.Expression, lambda i: 3 * rho[i] * v[i] ** 3)
    m.mining_price = over_clients(m, pyo.Expression, lambda i: rho[i] * v[i] ** 3)
    m.training_reward = over_clients(m, pyo.Expression, lambda i: 3 * rho[i] * x[i] * v[i] ** 2)
    m.mining_reward = over_clients(m, pyo.Expression, lambda i: rho[i] * psi * v[i] ** 2)
    m.energy_cost = over_clients(m, pyo.Expression, lambda i: rho[i] * (x[i] + psi) * v[i] ** 2)
    m.client_utility = over_clients(
        m, pyo.Expression, lambda i: m.training_reward[i] + m.mining_reward[i] - m.energy_cost[i]
    )
    m.data = over_clients(m, pyo.Constraint, lambda i: x[i] <= mu[i])
    m.training_budget = over_clients(m, pyo.Constraint, lambda i: m.training_reward[i] <= r_t[i])
    m.mining_budget = over_clients(m, pyo.Constraint, lambda i: m.mining_reward[i] <= r_m[i])
    m.speed_limit = over_clients(m, pyo.Constraint, lambda i: v[i] <= q[i], [i for i in m.clients if q[i] < np.inf])
    total = pyo.quicksum(deadline + m.training_reward[i] + m.mining_reward[i] for i in m.clients)
    m.utility = pyo.Objective(expr=performance(pyo.quicksum(x.values())) - game.cost_weight * total, sense=pyo.maximize)
    return m


def build_convex(game: Game, *, screen: bool = True) -> ConvexModel:
    """The programme above as CVXPY objects by name; arguments as for :func:`build`."""
    _, performance = _performance(game)
    context, kept = _prepared(game, screen)
    people, psi, deadline, caps = game.population, game.mining_cycles, game.deadline, game.caps
    mu, rho, q = people.training_cycles[kept], people.energy_coefficient[kept], people.max_speed[kept]
    x = cp.Variable(mu.size, name="training_cycles", nonneg=True)
    x.value = mu / 2
    speed, share = (x + psi) / deadline, x / deadline
    # 3 x v^2 = T (3 share^3 + 6 share^2 psi / T + 3 share (psi / T)^2), each convex on x >= 0
    rate = psi / deadline
    spread = 3 * cp.power(share, 3) + 6 * rate * cp.square(share) + 3 * rate**2 * share
    training, mining = cp.multiply(deadline * rho, spread), cp.multiply(rho * psi, cp.square(speed))
    energy = cp.multiply(rho * deadline, cp.power(speed, 3))
    utility = performance(cp.sum(x)) - game.cost_weight * (deadline * mu.size + cp.sum(training) + cp.sum(mining))
    return ConvexModel(
        context=context,
        variables={"training_cycles": x},
        constraints={
            "data": x <= mu,
            "training_budget": training <= caps["training_cap"].to_numpy()[kept],
            "mining_budget": mining <= caps["mining_cap"].to_numpy()[kept],
            **({"speed_limit": speed <= q} if np.isfinite(q).any() else {}),
        },
        expressions={
            "training_cycles": x,
            "training_speed": speed,
            "mining_speed": speed,
            "training_time": x / speed,
            "mining_time": psi * cp.inv_pos(speed),
            "training_price_per_cycle": cp.multiply(3 * rho, cp.square(speed)),
            "training_price": cp.multiply(3 * rho, cp.power(speed, 3)),
            "mining_price": cp.multiply(rho, cp.power(speed, 3)),
            "training_reward": training,
            "mining_reward": mining,
            "energy_cost": energy,
            "client_utility": training + mining - energy,
        },
        objective=cp.Maximize(utility),
    )


def response(game: Game, clients: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """The optimal times t, s of ``clients`` (a table of answers), at the data they would choose for the price per cycle in it."""
    people, psi, deadline = game.population.select(clients.index), game.mining_cycles, game.deadline
    most = np.minimum(people.training_cycles, people.max_speed * deadline - psi)
    price = clients["training_price_per_cycle"].to_numpy()
    x = np.clip(deadline * np.sqrt(price / (3 * people.energy_coefficient)) - psi, 0.0, np.maximum(most, 0.0))
    return deadline * x / (x + psi), deadline * psi / (x + psi)


def _performance(game: Game) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    if not isinstance(game.performance, str):
        names = ", ".join(repr(name) for name in PERFORMANCES)
        raise InputError(f"performance: this model needs f as a formula; give the game one of {names}")
    return PERFORMANCES[game.performance]


def _prepared(game: Game, screen: bool) -> tuple[Context, np.ndarray]:
    """Who can mine at the least speed, psi / T."""
    people, psi, cap = game.population, game.mining_cycles, game.caps["mining_cap"].to_numpy()
    slowest = psi / game.deadline
    least = people.energy_coefficient * psi * slowest**2
    reasons, slack = Reasons(len(game)), 1 + participation.ROUNDING
    reasons.say(
        least > cap * slack,
        lambda k: sentences(
            "cannot be paid for mining within its mining cap ", cap[k], ": that costs at least ", least[k]
        ),
    )
    reasons.say(
        slowest > people.max_speed * slack,
        lambda k: sentences(
            f"cannot meet the deadline {game.deadline:.6g}: mining alone takes a speed of {slowest:.6g}, and its max_speed is ",
            people.max_speed[k],
        ),
    )
    reason = reasons.column(people.ids)
    kept = (reason == "").to_numpy() if screen else np.ones(len(game), dtype=bool)
    names = (
        "training_cycles", "training_speed", "training_price_per_cycle", "training_reward", "energy_cost", "client_utility"
    )  # fmt: skip
    context = Context(
        game, "Problem 2 with chosen data", people.ids[kept], reason[~kept].to_dict(), follower_optimal=True,
        columns={name: name for name in names}, response=lambda clients: response(game, clients),
    )  # fmt: skip
    return context, kept
