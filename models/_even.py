"""What do the variants share that pay a client one price for both tasks? It then works at one speed, whatever the price.

At p_t = p_m = p the client maximises p (t + s) - rho mu^3 / t^2 - rho psi^3 / s^2: it uses the whole deadline, and divides it
so that the energy is least, at equal speeds (h = 0 in theory 1.3). That is its answer to every p, so two linear equations
say it, and the programmes need no follower:

    deadline            t + s = T                                                                          (10)
    response            psi t = mu s                                     (the client's optimum at equal prices)

Variables by client: training_time t, mining_time s, payment y = p T.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cvxpy as cp
import numpy as np
import pandas as pd
import pyomo.environ as pyo

from bcfl_opt.context import Context, ConvexModel
from bcfl_opt.game import Game
from bcfl_opt.models._owner import client_set, data, over_clients
from bcfl_opt.models._times import Work, usual_times
from bcfl_opt.participation import ROUNDING
from bcfl_opt.wording import Reasons, sentences

if __name__ != "bcfl_opt.models._even":
    raise ImportError("import these models as bcfl_opt.models, from the installed package (pip install .)")


def screened(game: Game, least: np.ndarray) -> pd.Series:
    """Reason by client why it cannot run at one speed, or be paid ``least`` (its least y) within both caps."""
    mu, q, psi = game.population.training_cycles, game.population.max_speed, game.mining_cycles
    speed, caps = (mu + psi) / game.deadline, game.caps
    reasons = Reasons(len(game))
    for task, cycles in (("mining", psi), ("training", mu)):
        cap, pay = caps[f"{task}_cap"].to_numpy(), least * cycles / (mu + psi)
        reasons.say(pay > cap * (1 + ROUNDING), _over(task, cap, pay))
    reasons.say(
        speed > q * (1 + ROUNDING),
        lambda k: sentences(
            f"cannot meet the deadline {game.deadline:.6g}: it takes a speed of ", speed[k], ", and its max_speed is ", q[k]
        ),
    )  # fmt: skip
    return reasons.column(game.population.ids)


def _over(task: str, cap: np.ndarray, pay: np.ndarray) -> Callable[[np.ndarray], Any]:
    return lambda k: sentences(f"cannot be paid within its {task} cap ", cap[k], f": its {task} takes ", pay[k])


def even_model(game: Game, context: Context, kept: np.ndarray, start: np.ndarray) -> pyo.ConcreteModel:
    """Variables, response, caps and expressions; without rationality and objective. start : y by kept client."""
    mu, rho, r_t, r_m = data(game, kept, "training_cycles", "energy_coefficient", "training_cap", "mining_cap")
    psi, deadline = game.mining_cycles, game.deadline
    m = pyo.ConcreteModel(name=context.problem)
    m.bcfl = context
    m.clients = client_set(context.clients)
    m.training_time = pyo.Var(
        m.clients, domain=pyo.NonNegativeReals, initialize={i: deadline * mu[i] / (mu[i] + psi) for i in mu}
    )
    m.mining_time = pyo.Var(
        m.clients, domain=pyo.NonNegativeReals, initialize={i: deadline * psi / (mu[i] + psi) for i in mu}
    )
    m.payment = pyo.Var(m.clients, domain=pyo.NonNegativeReals, initialize=dict(zip(mu, start.tolist(), strict=True)))
    t, s, y = m.training_time, m.mining_time, m.payment
    m.deadline = over_clients(m, pyo.Constraint, lambda i: t[i] + s[i] == deadline)
    m.response = over_clients(m, pyo.Constraint, lambda i: psi * t[i] == mu[i] * s[i])
    m.training_budget = over_clients(m, pyo.Constraint, lambda i: mu[i] / (mu[i] + psi) * y[i] <= r_t[i])
    m.mining_budget = over_clients(m, pyo.Constraint, lambda i: psi / (mu[i] + psi) * y[i] <= r_m[i])
    m.training_price = over_clients(m, pyo.Expression, lambda i: y[i] / deadline)
    m.mining_price = over_clients(m, pyo.Expression, lambda i: y[i] / deadline)
    m.training_energy = over_clients(m, pyo.Expression, lambda i: rho[i] * mu[i] ** 3 / t[i] ** 2)
    m.mining_energy = over_clients(m, pyo.Expression, lambda i: rho[i] * psi**3 / s[i] ** 2)
    m.energy_cost = over_clients(m, pyo.Expression, lambda i: m.training_energy[i] + m.mining_energy[i])
    return m


def even_convex(game: Game, context: Context, kept: np.ndarray) -> ConvexModel:
    """The same as CVXPY objects by name; the objective is a placeholder, 0."""
    people, psi, deadline, caps = game.population, game.mining_cycles, game.deadline, game.caps
    mu, rho = people.training_cycles[kept], people.energy_coefficient[kept]
    t, s, y = (cp.Variable(mu.size, name=name) for name in ("training_time", "mining_time", "payment"))
    usual_t, usual_s = usual_times(mu, psi, deadline)
    t.value, s.value = usual_t, usual_s
    training, mining = Work(t, mu, rho, usual_t), Work(s, np.full_like(mu, psi), rho, usual_s)
    y.value = 2 * (training.energy + mining.energy).value
    return ConvexModel(
        context=context,
        variables={"training_time": t, "mining_time": s, "payment": y},
        constraints={
            "paid": y >= 0,
            "deadline": t + s == deadline,
            "response": cp.multiply(psi / (mu + psi), t) == cp.multiply(mu / (mu + psi), s),
            "training_budget": cp.multiply(mu / (mu + psi), y) <= caps["training_cap"].to_numpy()[kept],
            "mining_budget": cp.multiply(psi / (mu + psi), y) <= caps["mining_cap"].to_numpy()[kept],
        },
        expressions={
            "training_time": t,
            "mining_time": s,
            "training_speed": training.speed,
            "mining_speed": mining.speed,
            "training_price": y / deadline,
            "mining_price": y / deadline,
            "training_energy": training.energy,
            "mining_energy": mining.energy,
            "energy_cost": training.energy + mining.energy,
        },
        objective=cp.Maximize(0),
    )
