"""What do the Pyomo models have in common? The set of clients; Problems 2 and 3 also data, response and objective."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pyomo.environ as pyo

from bcfl_opt import participation
from bcfl_opt.context import Context
from bcfl_opt.errors import InputError, choice
from bcfl_opt.game import Game

if __name__ != "bcfl_opt.models._owner":
    raise ImportError("import these models as bcfl_opt.models, from the installed package (pip install .)")

#: How far a start is inside: its way from the owner's optimum to the middle of what the limits leave, and what it pays beyond
#: the energy. An interior-point method begins inside.
INSIDE = 0.01


def owner_model(
    game: Game, problem: str, response: str, budgets: str, screen: bool, *, exponent: float = 2.0
) -> pyo.ConcreteModel:
    """Problem 2's model without (13), (14): those depend on the problem when budgets are exhausted.

    exponent : k of the energy rho x cycles x speed^k (with the optimal response).
    """
    choice("response", response, ("optimal", "theorem"))
    choice("budgets", budgets, ("at_most", "exhausted"))
    theorem = response == "theorem"
    # Spending the training cap on a client held to utility 0 takes the theorem's speed, whoever chooses it.
    spent_in_vain = theorem or problem == "Problem 3"
    exhausted = budgets == "exhausted"
    reason = participation.screen_recruitment(game, exhausted=exhausted, theorem=spent_in_vain, exponent=exponent)
    kept = (reason == "").to_numpy() if screen else np.ones(len(game), dtype=bool)
    ids = game.population.ids[kept]
    m = pyo.ConcreteModel(name=problem.lower().replace(" ", ""))
    title = f"{problem}, {response} response, budgets {budgets.replace('_', ' ')}"
    m.bcfl = Context(game, title, ids, reason[~kept].to_dict(), follower_optimal=not theorem)
    m.clients = client_set(ids)
    if theorem:
        _theorem_response(m, game, kept, exhausted)
    else:
        _optimal_response(m, game, kept, exhausted, exponent)
    t, s = m.training_time, m.mining_time
    total = pyo.quicksum(t[i] + s[i] + m.training_reward[i] + m.mining_reward[i] for i in m.clients)
    m.owner_utility = pyo.Expression(expr=game.performance_value(kept) - game.cost_weight * total)
    m.utility = pyo.Objective(expr=m.owner_utility, sense=pyo.maximize)
    return m


def client_set(ids: pd.Index) -> pyo.Set:
    """The index set of all components. Pyomo takes a tuple for several indices and would take it apart."""
    for client in ids:
        if isinstance(client, tuple):
            raise InputError(f"client {client!r}: a tuple cannot index a Pyomo model; use text or numbers as ids")
    return pyo.Set(initialize=list(ids), ordered=True, dimen=1)  # also where there is nobody


def over_clients(m: pyo.ConcreteModel, component: type, rule: Callable[[Any], Any], index: Any = None) -> Any:
    """A component over the clients (or some of them) from a rule of the id alone."""
    return component(m.clients if index is None else index, rule=lambda _, i: rule(i))


def data(game: Game, kept: np.ndarray, *names: str) -> tuple[dict[Any, float], ...]:
    """Columns of the population or of the caps, as dicts by id over the kept clients."""
    ids = game.population.ids[kept]
    sources = {name: getattr(game.population, name) for name in ("training_cycles", "energy_coefficient", "max_speed")}
    columns = (sources[name] if name in sources else game.caps[name].to_numpy() for name in names)
    return tuple(dict(zip(ids, column[kept].tolist(), strict=True)) for column in columns)


def _optimal_response(m: pyo.ConcreteModel, game: Game, kept: np.ndarray, exhausted: bool, exponent: float) -> None:
    mu, rho, q = data(game, kept, "training_cycles", "energy_coefficient", "max_speed")
    psi, deadline = game.mining_cycles, game.deadline
    limited = [i for i in m.clients if q[i] < np.inf]
    k = int(exponent) if exponent == int(exponent) else exponent  # a whole power is differentiated more cheaply
    train, mine = {i: rho[i] * mu[i] ** (k + 1) for i in mu}, {i: rho[i] * psi ** (k + 1) for i in mu}

    m.training_time = pyo.Var(m.clients, domain=pyo.NonNegativeReals)
    m.mining_time = pyo.Var(m.clients, domain=pyo.NonNegativeReals)
    m.training_payment = pyo.Var(m.clients, domain=pyo.NonNegativeReals)
    m.mining_payment = pyo.Var(m.clients, domain=pyo.NonNegativeReals)
    start_at(m, game, kept, *start_times(game, kept, exhausted, exponent), exponent)
    t, s, a, b = m.training_time, m.mining_time, m.training_payment, m.mining_payment

    m.training_price = over_clients(m, pyo.Expression, lambda i: a[i] / t[i])
    m.mining_price = over_clients(m, pyo.Expression, lambda i: b[i] / s[i])
    m.training_speed = over_clients(m, pyo.Expression, lambda i: mu[i] / t[i])
    m.mining_speed = over_clients(m, pyo.Expression, lambda i: psi / s[i])
    m.training_reward = over_clients(m, pyo.Expression, lambda i: 1 * a[i])
    m.mining_reward = over_clients(m, pyo.Expression, lambda i: 1 * b[i])
    m.training_energy = over_clients(m, pyo.Expression, lambda i: train[i] / t[i] ** k)
    m.mining_energy = over_clients(m, pyo.Expression, lambda i: mine[i] / s[i] ** k)
    m.energy_cost = over_clients(m, pyo.Expression, lambda i: m.training_energy[i] + m.mining_energy[i])
    m.client_utility = over_clients(
        m, pyo.Expression, lambda i: a[i] + b[i] - m.training_energy[i] - m.mining_energy[i]
    )
    m.training_rationality = over_clients(m, pyo.Constraint, lambda i: a[i] - m.training_energy[i] >= 0)
    m.mining_rationality = over_clients(m, pyo.Constraint, lambda i: b[i] - m.mining_energy[i] >= 0)
    m.deadline = over_clients(m, pyo.Constraint, lambda i: t[i] + s[i] == deadline)
    m.training_speed_limit = over_clients(m, pyo.Constraint, lambda i: t[i] >= mu[i] / q[i], limited)
    m.mining_speed_limit = over_clients(m, pyo.Constraint, lambda i: s[i] >= psi / q[i], limited)


def _theorem_response(m: pyo.ConcreteModel, game: Game, kept: np.ndarray, exhausted: bool) -> None:
    mu, rho, q = data(game, kept, "training_cycles", "energy_coefficient", "max_speed")
    psi, deadline = game.mining_cycles, game.deadline
    limited = [i for i in m.clients if q[i] < np.inf]
    least = {i: rho[i] * (mu[i] / deadline) ** 3 for i in mu}

    m.training_price = pyo.Var(m.clients, domain=pyo.NonNegativeReals)
    m.mining_price = pyo.Var(m.clients, domain=pyo.NonNegativeReals)
    p_t, p_m = m.training_price, m.mining_price
    start_t, start_s = start_times(game, kept, exhausted)
    energies = _energies(game, kept, start_t, start_s)
    _set(p_t, m.clients, energies[0] / start_t)
    _set(p_m, m.clients, _payment(energies[1], game.caps["mining_cap"].to_numpy()[kept]) / start_s)

    m.training_time = over_clients(m, pyo.Expression, lambda i: mu[i] * rho[i] ** (1 / 3) * p_t[i] ** (-1 / 3))
    m.mining_time = over_clients(m, pyo.Expression, lambda i: deadline - m.training_time[i])
    s = m.mining_time
    m.training_speed = over_clients(m, pyo.Expression, lambda i: (p_t[i] / rho[i]) ** (1 / 3))
    m.mining_speed = over_clients(m, pyo.Expression, lambda i: psi / s[i])
    m.training_reward = over_clients(m, pyo.Expression, lambda i: mu[i] * rho[i] ** (1 / 3) * p_t[i] ** (2 / 3))
    m.mining_reward = over_clients(m, pyo.Expression, lambda i: p_m[i] * s[i])
    m.training_energy = over_clients(m, pyo.Expression, lambda i: m.training_reward[i] * 1)
    m.mining_energy = over_clients(m, pyo.Expression, lambda i: rho[i] * psi**3 / s[i] ** 2)
    m.energy_cost = over_clients(m, pyo.Expression, lambda i: m.training_energy[i] + m.mining_energy[i])
    m.client_utility = over_clients(m, pyo.Expression, lambda i: m.mining_reward[i] - m.mining_energy[i])

    # Under (11) training earns exactly nothing, so (8) holds whatever the prices: the component is there, and empty.
    m.training_rationality = over_clients(m, pyo.Constraint, lambda i: pyo.Constraint.Feasible)
    m.mining_rationality = over_clients(m, pyo.Constraint, lambda i: m.mining_reward[i] - m.mining_energy[i] >= 0)
    m.deadline = over_clients(m, pyo.Constraint, lambda i: p_t[i] >= least[i])
    m.training_speed_limit = over_clients(m, pyo.Constraint, lambda i: p_t[i] <= rho[i] * q[i] ** 3, limited)
    m.mining_speed_limit = over_clients(m, pyo.Constraint, lambda i: s[i] >= psi / q[i], limited)


def start_times(game: Game, kept: np.ndarray, exhausted: bool, exponent: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    """Times of the kept clients on the line t + s = T, inside what speed limits and caps leave (T / 2 where they leave nothing).

    Near the division of least energy (theory 5.1), or a tenth above the least training time where the training cap is to be
    spent: more pay, less time. A price goes with t^-3, so near must mean near relative to t, however long the deadline.
    """
    bounds, mu = participation.recruitment_bounds(game, exponent=exponent), game.population.training_cycles
    low, high = bounds.training_low, game.deadline - bounds.mining_low
    with np.errstate(invalid="ignore"):
        if exhausted:
            t = low + 0.1 * np.minimum(low, high - low)
        else:
            t = np.clip(game.deadline * (mu / (mu + game.mining_cycles)), low, np.maximum(low, high))
            t = t + INSIDE * ((low + high) / 2 - t)
        t = np.where(low < high, t, game.deadline / 2)[kept]
    return t, game.deadline - t


def start_at(
    m: pyo.ConcreteModel, game: Game, kept: np.ndarray, t: np.ndarray, s: np.ndarray, exponent: float = 2.0
) -> None:
    """Start at these times of the kept clients, and at payments strictly inside (8), (9), (13), (14) where they leave room."""
    energies = _energies(game, kept, t, s, exponent)
    for task, time, energy in zip(("training", "mining"), (t, s), energies, strict=True):
        _set(m.component(f"{task}_time"), m.clients, time)
        payment = _payment(energy, game.caps[f"{task}_cap"].to_numpy()[kept])
        _set(m.component(f"{task}_payment"), m.clients, payment)


def _energies(
    game: Game, kept: np.ndarray, t: np.ndarray, s: np.ndarray, exponent: float = 2.0
) -> tuple[np.ndarray, np.ndarray]:
    """rho mu (mu / t)^k and rho psi (psi / s)^k of the kept clients."""
    mu, rho, psi = game.population.training_cycles[kept], game.population.energy_coefficient[kept], game.mining_cycles
    return rho * mu * (mu / t) ** exponent, rho * psi * (psi / s) ** exponent


def _payment(energy: np.ndarray, cap: np.ndarray) -> np.ndarray:
    """Above what the energy costs, below the cap if that can be: strictly inside (8), (13) or (9), (14)."""
    return np.minimum((1 + INSIDE) * energy, np.maximum((energy + cap) / 2, energy))


def _set(variables: Any, clients: Any, values: np.ndarray) -> None:
    """What initialize= does, without checking every number against the domain at ten times the cost."""
    variables.set_values(dict(zip(clients, values.tolist(), strict=True)), skip_validation=True)
