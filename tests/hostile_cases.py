"""What is a hostile game, how is it solved by one route, and what would be right? Small, random, one for each seed.

Games are told in units of money, time and cycles from 1e-12 to 1e12, clients may lie 1e-6 ... 1e6 apart, prices are 0 or leave
a single point, or a hair less or more than that. A case is one solve of such a game by one route, as it is or with a constraint
or the objective swapped, and the contracts that fifty digits find for it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import cvxpy as cp
import fifty_digits as reference
import numpy as np
import pandas as pd
import pyomo.environ as pyo
from fifty_digits import INF, Contract, mp
from fuzz_agreement import Client, clients_of

import bcfl_opt as bo
from bcfl_opt.models import (
    problem1_cvxpy,
    problem1_pyomo,
    problem2_cvxpy,
    problem2_pyomo,
    problem3_cvxpy,
    problem3_pyomo,
)

#: Where the feasible set is closer than this to being empty, either verdict is right.
BAND = 1e-9
#: Seconds after which a solve is given up (and counts as refused).
TIME_LIMIT = 10.0


# ---------------------------------------------------------------------------------- hostile games


@dataclasses.dataclass(frozen=True)
class Units:
    """Factors on numbers of cycles, time and money."""

    cycles: float
    time: float
    money: float

    @property
    def price(self) -> float:
        return self.money / self.time


def draw(rng: np.random.Generator) -> tuple[bo.Game, pd.DataFrame]:
    """A hostile game and prices for Problem 1."""
    n = int(rng.choice([1, 1, 2, 3, 4]))
    spread = float(rng.choice([0.0, 0.0, 1.0, 6.0]))

    def apart(size: int | None = None) -> Any:
        return 10 ** rng.uniform(-spread, spread, size)

    reach = float(rng.choice([0.0, 6.0, 12.0]))
    units = Units(*(10 ** rng.uniform(-reach, reach, 3)))
    mu, rho = rng.uniform(0.5, 20, n) * apart(n), rng.uniform(0.002, 0.05, n) * apart(n)
    psi, deadline = 10 ** rng.uniform(-0.5, 1.5), 10 ** rng.uniform(0.5, 2)
    if rng.random() < 0.1:
        mu[rng.integers(n)] *= 10 ** rng.uniform(-30, -6)  # next to no training
    speed = (mu + psi) / deadline  # what it takes at one speed for both
    q = np.full(n, np.inf)
    limited = rng.random(n) < rng.choice([0.0, 0.5, 1.0])
    q[limited] = (speed * hair_or_factor(rng, n, 0.0, 1.0))[limited]

    share = rng.uniform(0.05, 0.95, n)  # where the training time would be, of the deadline
    p_t, p_m = rho * (mu / (share * deadline)) ** 3, rho * (psi / ((1 - share) * deadline)) ** 3
    p_t, p_m = p_t * hair_or_factor(rng, n, -0.5, 3.0), p_m * hair_or_factor(rng, n, -0.5, 3.0)
    if rng.random() < 0.03:
        (p_t if rng.random() < 0.5 else p_m)[rng.integers(n)] = 0.0

    client = int(rng.integers(n))
    pay_t = rho * mu**3 / (share * deadline) ** 2
    pay_m = rho[client] * psi**3 / ((1 - share[client]) * deadline) ** 2
    mining_cap = pay_m * hair_or_factor(rng, 1, -0.5, 3.0)[0]
    training = pay_t.sum() * hair_or_factor(rng, 1, -0.5, 3.0)[0]
    training = max(training, 1e-9 * n * mining_cap)  # what is left of the budget for training is a difference
    frame = pd.DataFrame(
        {
            "mu": mu * units.cycles,
            "rho": rho * (units.money * units.time**2 / units.cycles**3),
            "q": q * (units.cycles / units.time),
        },
        index=[f"c{k}" for k in range(n)],
    )
    game = bo.Game(
        frame,
        mining_cycles=float(psi * units.cycles),
        deadline=float(deadline * units.time),
        cost_weight=float(10 ** rng.uniform(-3, 3) if rng.random() < 0.5 else 0.1),
        mining_cap=float(mining_cap * units.money),
        reward_budget=float((training + n * mining_cap) * units.money),
        target=float((mu.mean() if rng.random() < 0.7 else rng.uniform(0, 20)) * units.cycles),
    )
    return game, game.prices(p_t * units.price, p_m * units.price)


def hair_or_factor(rng: np.random.Generator, n: int, low: float, high: float) -> np.ndarray:
    """Factors 10^U(low, high), or 1 and a hair: exactly 1, a unit in the last place, or 1e-15 ... 1e-3 beside it."""
    kind = rng.random()
    if kind < 0.6:
        return 10 ** rng.uniform(low, high, n)
    if kind < 0.7:
        return np.ones(n)
    if kind < 0.8:
        return np.nextafter(1.0, rng.choice([0.0, 2.0], n))
    return 1 + rng.choice([-1, 1], n) * 10 ** rng.uniform(-15, -3, n)


# ---------------------------------------------------------------------------------- what a case is

#: Value of a contract and size of the terms it is made of.
Value = Callable[[Client, Contract], tuple[Any, Any]]


@dataclasses.dataclass(frozen=True)
class Case:
    """One solve, and what is right.

    contracts : by client id, the right times and payments, and the room for any. value : what of a contract is compared.
    screened : the room by which the model itself leaves clients out; None if it keeps all. room : of a
    constraint that all clients share. total : the objective from the values of those who take part, and the size of its
    terms; None where it is not comparable. answers : clients answer optimally to the prices found. bounds : what a contract
    must keep, as relative violations by name.
    """

    route: str
    solve: Callable[[], bo.Solution]
    contracts: dict[str, Contract]
    value: Value
    bounds: Callable[[Client, Contract], dict[str, Any]]
    total: Callable[[list[str], list[Any], list[Any]], tuple[Any, Any]] | None
    screened: dict[str, Any] | None = None
    room: Any = INF
    answers: bool = False
    by_client: bool = True


def utility(c: Client, contract: Contract) -> tuple[Any, Any]:
    rewards, cost = contract.training_reward + contract.mining_reward, reference.energy(c, contract.t, contract.s)
    return rewards - cost, rewards + cost


def energy(c: Client, contract: Contract) -> tuple[Any, Any]:
    cost = reference.energy(c, contract.t, contract.s)
    return cost, cost


def payment(_: Client, contract: Contract) -> tuple[Any, Any]:
    paid = contract.training_reward + contract.mining_reward
    return paid, paid


def plain_sum(_: list[str], values: list[Any], sizes: list[Any]) -> tuple[Any, Any]:
    return mp.fsum(values), mp.fsum(sizes)


def client_case(rng: np.random.Generator, game: bo.Game, prices: pd.DataFrame) -> Case:
    """Problem 1, by one of its routes, as it is or changed."""
    route = str(rng.choice(["exact", "Pyomo times", "Pyomo speeds", "CVXPY Clarabel", "CVXPY IPOPT"]))
    changes = [
        "none",
        "none",
        "none",
        "reward caps",
        "speed cap",
        "least energy",
        "no deadline",
        "shared time",
        "worst off",
    ]
    change = str(rng.choice(changes[:4] if route == "exact" else changes))
    reward_caps = change in ("reward caps", "no deadline")
    screened = route == "exact" or bool(rng.random() < 0.8)
    clients = dict(clients_of(game))
    p = {name: (float(prices.at[name, "training_price"]), float(prices.at[name, "mining_price"])) for name in clients}
    splits = {name: reference.client_problem(c, *p[name], reward_caps=reward_caps) for name, c in clients.items()}
    screen = {name: split.room for name, split in splits.items()}  # what the package leaves out by itself
    inside = [name for name in clients if not screened or screen[name] >= 0]

    swap: dict[str, Any] = {}
    room: Any = INF
    if change == "speed cap":
        k = {
            name: float(c.mu / splits[name].low_t * hair_or_factor(rng, 1, -0.3, 0.3)[0])
            if splits[name].low_t < INF
            else 1.0
            for name, c in clients.items()
        }
        swap["cap"] = k
        splits = {
            name: dataclasses.replace(split, low_t=max(split.low_t, clients[name].mu / mp.mpf(k[name])))
            for name, split in splits.items()
        }
    elif change == "least energy":
        splits = {name: dataclasses.replace(split, w_t=mp.zero, w_s=mp.zero) for name, split in splits.items()}
    elif change == "no deadline" and max(max(s.high_t, s.high_s) for s in splits.values()) > 1e12 * game.deadline:
        change = "reward caps"  # what is 1e20 times as long as it was thought to be is taken for unbounded
    elif change == "no deadline":
        splits = {name: dataclasses.replace(split, deadline=INF) for name, split in splits.items()}
    elif change == "shared time" and inside and min(abs(room) for room in screen.values()) > BAND:
        # The multiplier first, then the limit it belongs to.
        slopes = [
            splits[n].w_t + 2 * reference.energy_constant(clients[n], clients[n].mu) / splits[n].low_t ** 3
            for n in inside
        ]
        nu = mp.mpf(float(rng.uniform(0, 1))) * max(slopes) * (10 ** float(rng.uniform(-3, 0)))
        splits = {name: dataclasses.replace(split, w_t=split.w_t - nu) for name, split in splits.items()}
        limit = float(mp.fsum(splits[name].times()[0] for name in inside))
        least = mp.fsum(splits[name].low_t for name in inside)
        if rng.random() < 0.2:
            limit = float(least * (1 + rng.choice([-1, 1]) * 10 ** rng.uniform(-12, -2)))
            change = "shared time, least"
        swap["limit"] = limit
        room = (limit - least) / least
    elif change == "shared time":
        change = "none"

    def solve() -> bo.Solution:
        if route == "exact":
            return bo.best_response(game, prices, reward_caps=reward_caps)
        if route.startswith("Pyomo"):
            m = problem1_pyomo.build(game, prices, form=route.split()[1][:-1], reward_caps=reward_caps, screen=screened)
            change_pyomo(m, change, swap)
            return bo.solve(m, time_limit=TIME_LIMIT)
        c = problem1_cvxpy.build(game, prices, reward_caps=reward_caps, screen=screened)
        change_cvxpy(c, change, swap)
        return bo.solve(c, solver=route.split()[1].lower(), time_limit=TIME_LIMIT)

    contracts = {}
    for name, split in splits.items():
        t, s = split.times() if split.room > -INF else (mp.nan, mp.nan)
        contracts[name] = Contract(t, s, t * p[name][0], s * p[name][1], split.room)

    def bounds(c: Client, contract: Contract) -> dict[str, Any]:
        split = by_numbers[c]
        return {
            "deadline": -mp.inf if split.total == INF else (contract.t + contract.s - split.total) / split.total,
            "least training time": (split.low_t - contract.t) / split.low_t,
            "least mining time": (split.low_s - contract.s) / split.low_s,
            "training budget": -mp.inf if split.high_t == INF else (contract.t - split.high_t) / split.high_t,
            "mining budget": -mp.inf if split.high_s == INF else (contract.s - split.high_s) / split.high_s,
        }

    by_numbers = {clients[name]: split for name, split in splits.items()}
    total: Any = plain_sum
    if change == "worst off":

        def total(_: list[str], values: list[Any], sizes: list[Any]) -> tuple[Any, Any]:
            k = min(range(len(values)), key=values.__getitem__)
            return values[k], sizes[k]

    if change == "shared time, least":
        total = None
    return Case(
        f"Problem 1, {route}, {change}{'' if screened else ', unscreened'}",
        solve,
        contracts,
        energy if change == "least energy" else utility,
        bounds,
        total,
        screen if screened else None,
        room,
        by_client=change not in ("worst off", "shared time, least"),
    )


def change_pyomo(m: pyo.ConcreteModel, change: str, swap: dict[str, Any]) -> None:
    if change == "speed cap":
        m.cap = pyo.Constraint(m.clients, rule=lambda m, i: m.training_speed[i] <= swap["cap"][i])
    elif change == "least energy":
        m.utility.deactivate()
        m.energy = pyo.Objective(expr=pyo.quicksum(m.energy_cost.values()), sense=pyo.minimize)
    elif change == "no deadline":
        m.deadline.deactivate()
    elif change.startswith("shared time"):
        m.shared = pyo.Constraint(expr=pyo.quicksum(m.training_time.values()) <= swap["limit"])
    elif change == "worst off" and len(m.clients):
        m.worst = pyo.Var(initialize=min(pyo.value(u) for u in m.client_utility.values()))
        m.floor = pyo.Constraint(m.clients, rule=lambda m, i: m.client_utility[i] >= m.worst)
        m.utility.set_value(m.worst)


def change_cvxpy(c: Any, change: str, swap: dict[str, Any]) -> None:
    e = c.expressions
    if change == "speed cap":
        c.constraints["cap"] = e["training_speed"] <= np.array([swap["cap"][i] for i in c.context.clients])
    elif change == "least energy":
        c.objective = cp.Minimize(cp.sum(e["energy_cost"]))
    elif change == "no deadline":
        del c.constraints["deadline"]
    elif change.startswith("shared time"):
        c.constraints["shared"] = cp.sum(e["training_time"]) <= swap["limit"]
    elif change == "worst off" and len(c.context.clients):
        c.objective = cp.Maximize(cp.min(e["client_utility"]))


OWNERS = {
    "Pyomo": (problem2_pyomo, problem3_pyomo),
    "CVXPY Clarabel": (problem2_cvxpy, problem3_cvxpy),
    "CVXPY IPOPT": (problem2_cvxpy, problem3_cvxpy),
}


def owner_case(rng: np.random.Generator, game: bo.Game) -> Case:
    """Problem 2 or 3 in one of its readings, by one of its routes, as it is or changed."""
    route = str(rng.choice(["exact", *OWNERS, *OWNERS]))
    clients = dict(clients_of(game))
    splits = {name: reference.recruitment(c) for name, c in clients.items()}
    problem = int(rng.choice([2, 3]))
    response = "optimal" if route == "exact" else str(rng.choice(["optimal", "theorem"]))
    budgets = "at_most" if route == "exact" else str(rng.choice(["at_most", "exhausted"]))
    screened = route == "exact" or bool(rng.random() < 0.8)
    change = "none"
    swap: dict[str, Any] = {}
    if problem == 3 and budgets == "exhausted" and route == "Pyomo":
        screened = True  # its file says so: without screening, a speed limit may leave such a client with a profit
    if route != "exact" and budgets == "at_most" and response == "optimal" and rng.random() < 0.3:
        change = "speed cap"
        swap["cap"] = {
            name: float(c.mu / splits[name].low_t * hair_or_factor(rng, 1, -0.3, 0.3)[0])
            if splits[name].low_t < INF
            else 1.0
            for name, c in clients.items()
        }
    contracts, screen = {}, {name: split.room for name, split in splits.items()}
    for name, c in clients.items():
        if budgets == "at_most":
            split = splits[name]
            if change == "speed cap" and split.low_t < INF:
                split = dataclasses.replace(split, low_t=max(split.low_t, c.mu / mp.mpf(swap["cap"][name])))
            contracts[name] = Contract.at_cost(split)
        elif problem == 2 and response == "optimal":
            contracts[name] = reference.spent_contract(c)
        else:
            contracts[name] = reference.theorem_contract(c, zero_utility=problem == 3)
        if change == "none":
            screen[name] = contracts[name].room

    def solve() -> bo.Solution:
        if route == "exact":
            return bo.equilibrium(game)
        m = OWNERS[route][problem - 2].build(game, response=response, budgets=budgets, screen=screened)
        if route == "Pyomo":
            change_pyomo(m, change, swap)
            return bo.solve(m, time_limit=TIME_LIMIT)
        change_cvxpy(m, change, swap)
        return bo.solve(m, solver=route.split()[1].lower(), time_limit=TIME_LIMIT)

    def bounds(c: Client, contract: Contract) -> dict[str, Any]:
        cost_t = reference.energy_constant(c, c.mu) / contract.t**2
        cost_s = reference.energy_constant(c, c.psi) / contract.s**2
        total = mp.mpf(c.deadline)
        return {
            "deadline": abs(contract.t + contract.s - total) / total,
            "training rationality": (cost_t - contract.training_reward) / cost_t,
            "mining rationality": (cost_s - contract.mining_reward) / cost_s,
            "training budget": (contract.training_reward - c.training_cap) / mp.mpf(c.training_cap),
            "mining budget": (contract.mining_reward - c.mining_cap) / mp.mpf(c.mining_cap),
            "training speed": (c.mu / contract.t - c.q) / c.q if c.q < math.inf else -INF,
            "mining speed": (c.psi / contract.s - c.q) / c.q if c.q < math.inf else -INF,
        }

    def total(names: list[str], values: list[Any], _: list[Any]) -> tuple[Any, Any]:
        f = mp.log1p(mp.fsum(clients[name].mu for name in names))
        cost = game.cost_weight * (len(names) * mp.mpf(game.deadline) + mp.fsum(values))
        return f - cost, f + cost

    return Case(
        f"Problem {problem}, {route}, {response}, {budgets}, {change}{'' if screened else ', unscreened'}",
        solve,
        contracts,
        payment,
        bounds,
        None if budgets == "exhausted" and problem == 2 and response == "optimal" else total,
        screen if screened else None,
        answers=response == "optimal",
    )


def make(seed: int) -> tuple[Case, dict[str, Client]]:
    rng = np.random.default_rng(seed)
    game, prices = draw(rng)
    clients = dict(clients_of(game))
    return (client_case(rng, game, prices) if rng.random() < 0.5 else owner_case(rng, game)), clients
