"""Variants as bilevel programmes: one price for all, whose clients really decide, and those whose single-level form is exact.

The answers are those of ``test_variants``, derived by hand, and a search over prices with answers at fifty digits.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyomo.environ as pyo
import pytest
from scipy.optimize import minimize_scalar
from test_variants import CLOSE, Data, make_game

import bcfl_opt as bo
from bcfl_opt.models import (
    stackelberg_pyomo,
    variant_chosen_data,
    variant_chosen_deadlines,
    variant_energy_exponent,
    variant_fair_utilities,
    variant_one_price,
    variant_participation_bonus,
    variant_prices_per_cycle,
    variant_shared_budget,
)

# ---------------------------------------------------------------------- one price for all


def recruiting_price(d: Data, q: np.ndarray, p_t: float) -> float:
    """The least p_m at which everyone has a feasible point: psi max((rho / p_m)^(1/3), 1/q) <= T - t_lo."""
    left = d.T - d.mu * np.maximum(np.cbrt(d.rho / p_t), 1 / q)
    if (left < d.psi / q).any():
        return float("inf")
    return float((d.rho * (d.psi / left) ** 3).max())


def rewards(d: Data, q: np.ndarray, p_t: float, p_m: float) -> np.ndarray:
    """t p_t and s p_m, shape (2, N), each client's t by bisection on its utility's slope along the deadline."""
    low = d.mu * np.maximum(np.cbrt(d.rho / p_t), 1 / q)
    high = np.maximum(d.T - d.psi * np.maximum(np.cbrt(d.rho / p_m), 1 / q), low)
    for _ in range(100):
        t = (low + high) / 2
        slope = p_t - p_m + 2 * d.rho * ((d.mu / t) ** 3 - (d.psi / (d.T - t)) ** 3)
        low, high = np.where(slope > 0, t, low), np.where(slope > 0, high, t)
    return np.stack([low * p_t, (d.T - low) * p_m])


def least_pay(d: Data, q: np.ndarray) -> float:
    """The least sum of rewards within the caps: a fine grid of p_t, p_m just recruiting, the best places refined.

    To pay more for mining than recruits all never pays (theory 5.11), which the grid of p_m below asserts at the answer.
    """

    def pay(p_t: float) -> float:
        p_m = recruiting_price(d, q, p_t)
        if not np.isfinite(p_m):
            return np.inf
        given = rewards(d, q, p_t, p_m)
        within = (given[0] <= d.R_t * (1 + 1e-9)).all() and (given[1] <= d.R_m * (1 + 1e-9)).all()
        return float(given.sum()) if within else np.inf

    grid = np.geomspace(float((d.rho * (d.mu / d.T) ** 3).max()) * 1.001, 100 * float(d.rho.max()), 1000)
    pays = np.array([pay(p) for p in grid])
    best = (np.inf, np.nan)
    for k in pays.argsort()[:20]:
        around = (grid[max(k - 1, 0)], grid[min(k + 1, len(grid) - 1)])
        found = minimize_scalar(pay, bounds=around, method="bounded", options={"xatol": 1e-13})
        best = min(best, (float(found.fun), float(found.x)), (float(pays[k]), float(grid[k])))
    p_t = best[1]
    p_m = recruiting_price(d, q, p_t)
    for factor in (1 + 1e-6, 1.01, 1.1, 1.5, 3.0):
        assert rewards(d, q, p_t, p_m * factor).sum() >= best[0]
    return best[0]


INF = float("inf")


@pytest.mark.parametrize(
    ("speeds", "options"),
    [
        ([INF] * 7, {}),
        ([1.5, 2.0, INF, 1.6, INF, 1.3, 1.2], {}),
        ([INF] * 7, {"mining_cycles": 12.0, "deadline": 9.0}),
    ],
    ids=["no limits", "speed limits", "much mining"],
)
def test_one_price_for_all(speeds: list[float], options: dict) -> None:
    """The owner's utility and its payments to 1e-6 of the search over prices."""
    game = make_game(**options)
    frame = game.population.frame.assign(max_speed=speeds)
    game = game.replace(population=bo.Population(frame))
    d, q = Data.of(game), np.array(speeds)
    expected = least_pay(d, q)
    solution = bo.solve_bilevel(variant_one_price.build(game), starts=1)
    assert solution.succeeded, solution
    pay = (solution.clients["training_reward"] + solution.clients["mining_reward"]).sum()
    assert pay == pytest.approx(expected, rel=CLOSE)
    assert solution.objective == pytest.approx(d.f - d.xi * (7 * d.T + expected), rel=CLOSE)
    assert solution.owner_utility == pytest.approx(solution.objective, rel=1e-9)
    assert solution.clients["training_price"].nunique() == 1
    assert solution.bilevel is not None and solution.bilevel.follower_gap <= 1e-6
    # The clients are free: all but the one that just takes part have something left.
    assert (solution.clients["client_utility"] > 1e-6).sum() >= 6


def test_one_price_is_a_model_with_followers() -> None:
    game = make_game()
    m = variant_one_price.build(game)
    assert list(m.client) == list("abcdefg")
    start = {name: getattr(m, f"posted_{name}_price").value for name in ("training", "mining")}
    assert start["training"] == start["mining"] == pytest.approx(1.1 * (0.006 * (18 / 15) ** 3))
    for block in m.client.values():  # and the start is inside every client's limits
        assert all(
            pyo.value(c.body) >= pyo.value(c.lower) - 1e-9
            for c in block.component_data_objects(pyo.Constraint)
            if c.has_lb()
        )
        assert pyo.value(block.deadline.body) <= game.deadline * (1 + 1e-12)


# ---------------------------------------------------------------------- those with an exact single-level form


def expected_cost(name: str, d: Data) -> float:
    """Time and pay of everyone, by theory 5.1, 5.2 and the exponent's formula; caps are slack."""
    total = d.mu + d.psi
    length = np.full(7, d.T)
    if name in ("deadlines", "budget"):
        length = np.minimum(d.T, np.cbrt(2 * d.rho) * total)
    power = 3.0 if name == "exponent" else 2.0
    return float((length + d.rho * total ** (power + 1) / length**power).sum())


@pytest.mark.parametrize("method", ["auto", "kkt"])
@pytest.mark.parametrize(
    ("name", "module", "arguments"),
    [
        ("deadlines", variant_chosen_deadlines, ()),
        ("budget", variant_shared_budget, (1e3,)),
        ("exponent", variant_energy_exponent, (3.0,)),
        ("cycles", variant_prices_per_cycle, ()),
    ],
)
def test_with_the_clients_asked(name: str, module, arguments: tuple, method: str) -> None:
    """As bilevel programmes: the same answers, whether the single-level form is asked first or the clients' conditions are."""
    game = make_game(deadline=3.5 if name in ("deadlines", "budget") else 15.0)
    d = Data.of(game)
    solution = bo.solve_bilevel(module.build(game, *arguments), method=method, starts=2)
    assert solution.succeeded, solution
    assert solution.objective == pytest.approx(d.f - d.xi * expected_cost(name, d), rel=CLOSE)
    if name in ("deadlines", "budget"):
        length = np.minimum(d.T, np.cbrt(2 * d.rho) * (d.mu + d.psi))
        np.testing.assert_allclose(solution.clients["deadline"], length, rtol=1e-4)
        assert 0 < (length < d.T).sum() < 7


def test_a_client_paid_by_the_cycle_does_not_dawdle_for_pay() -> None:
    """Half as much again for training: by the minute a client would train longer, by the cycle it keeps to equal speeds.

    So the owner pays 1.5 times the energy of training at equal speeds and the energy of mining, unless it hurries mining;
    at equal speeds its cost is at most sum (T + 1.5 rho mu v^2 + rho psi v^2), v = (mu + psi) / T.
    """
    game = make_game()
    d = Data.of(game)
    m = variant_prices_per_cycle.build(game)
    m.generous = pyo.Constraint(m.clients, rule=lambda m, i: m.training_payment[i] >= 1.5 * m.training_energy[i])
    solution = bo.solve_bilevel(m, starts=1)
    assert solution.succeeded, solution
    table = solution.clients
    prices = pd.DataFrame(
        {
            "training_price_per_cycle": table["training_reward"] / d.mu,
            "mining_price_per_cycle": table["mining_reward"] / d.psi,
        }
    )
    t, s = variant_prices_per_cycle.response(game, prices)
    np.testing.assert_allclose(table["training_time"], t, rtol=1e-5)
    np.testing.assert_allclose(table["mining_time"], s, rtol=1e-5)
    speed = (d.mu + d.psi) / d.T
    most = (d.T + d.rho * (1.5 * d.mu + d.psi) * speed**2).sum()
    assert solution.objective >= d.f - d.xi * most * (1 + 1e-9)


@pytest.mark.parametrize(
    ("module", "arguments"),
    [(variant_participation_bonus, (0.1,)), (variant_fair_utilities, (50.0,)), (variant_chosen_data, ())],
)
def test_variants_whose_clients_cannot_be_read_off_are_refused_by_name(module, arguments: tuple) -> None:
    with pytest.raises(bo.ModelError, match="the model has no 'training_payment', so its clients' problems cannot be"):
        bo.solve(module.build(make_game(), *arguments), method="bilevel")


# ---------------------------------------------------------------------- written as leader and followers


def chosen_data_with_followers(game: bo.Game) -> pyo.ConcreteModel:
    """Each client picks its cycles x and its times: max r x + b - rho x^3 / t^2 - rho psi^3 / s^2; the owner picks r and b."""
    d = Data.of(game)
    speed = (d.mu / 2 + d.psi) / d.T
    m = pyo.ConcreteModel()
    m.i = pyo.RangeSet(0, len(d.mu) - 1)
    m.r = pyo.Var(m.i, bounds=(0, None), initialize=lambda m, i: float(3 * d.rho[i] * speed[i] ** 2))
    m.b = pyo.Var(m.i, bounds=(0, None), initialize=lambda m, i: float(1.2 * d.rho[i] * d.psi * speed[i] ** 2))

    def client(f: pyo.Block, i: int) -> None:
        f.x = pyo.Var(bounds=(0.01, float(d.mu[i])), initialize=float(d.mu[i] / 2))
        f.t = pyo.Var(bounds=(1e-3, None), initialize=float(d.mu[i] / 2 / speed[i]))
        f.s = pyo.Var(bounds=(1e-3, None), initialize=float(d.psi / speed[i]))
        f.mining = pyo.Expression(expr=float(d.rho[i]) * d.psi**3 / f.s**2)
        pay = m.r[i] * f.x + m.b[i]
        f.utility = pyo.Objective(expr=pay - float(d.rho[i]) * f.x**3 / f.t**2 - f.mining, sense=pyo.maximize)
        f.deadline = pyo.Constraint(expr=f.t + f.s <= d.T)

    m.client = pyo.Block(m.i, rule=client)
    m.mining_rationality = pyo.Constraint(m.i, rule=lambda m, i: m.b[i] >= m.client[i].mining)
    m.training_budget = pyo.Constraint(m.i, rule=lambda m, i: m.r[i] * m.client[i].x <= float(d.R_t[i]))
    m.mining_budget = pyo.Constraint(m.i, rule=lambda m, i: m.b[i] <= game.mining_cap)
    paid = sum(d.T + m.r[i] * m.client[i].x + m.b[i] for i in m.i)
    trained = sum(m.client[i].x for i in m.i)
    m.utility = pyo.Objective(expr=trained**0.5 - d.xi * paid, sense=pyo.maximize)
    return m


def test_chosen_data_is_what_the_followers_choose() -> None:
    game = make_game(performance="sqrt", cost_weight=0.6, deadline=6.0)
    single = bo.solve(variant_chosen_data.build(game)).raise_if_failed()
    m = chosen_data_with_followers(game)
    asked = bo.solve_bilevel(m, starts=1).raise_if_failed()
    assert asked.objective == pytest.approx(single.objective, rel=1e-6)
    cycles = [m.client[i].x.value for i in m.i]
    np.testing.assert_allclose(cycles, single.clients["training_cycles"], rtol=1e-5)


def test_a_bonus_with_followers() -> None:
    game, bonus = bo.Game(bo.Population(pd.DataFrame({"mu": [9.0, 10.0, 11.0], "rho": 0.01}, index=list("abc")))), 0.05
    single = bo.solve(variant_participation_bonus.build(game, bonus)).raise_if_failed()
    m = stackelberg_pyomo.build(game)
    assert len(m.clients) == 3
    for i in m.clients:  # neither task must pay for itself any more
        m.client[i].training_rationality.deactivate()
        m.client[i].mining_rationality.deactivate()
    m.even = pyo.Constraint(m.clients, rule=lambda m, i: m.training_price[i] == m.mining_price[i])
    m.individual_rationality.deactivate()
    m.with_bonus = pyo.Constraint(m.clients, rule=lambda m, i: m.client_utility[i] + bonus >= 0)
    m.utility.set_value(m.owner_utility - game.cost_weight * bonus * len(m.clients))
    asked = bo.solve_bilevel(m, starts=1).raise_if_failed()
    assert asked.objective == pytest.approx(single.objective, rel=1e-6)


@pytest.mark.parametrize("alpha", [1.0, 2.0])
def test_fairness_with_followers(alpha: float) -> None:
    game, budget = bo.Game(bo.Population.random(4, seed=1)), 3.0
    single = bo.solve(variant_fair_utilities.build(game, budget, alpha=alpha)).raise_if_failed()
    m = stackelberg_pyomo.build(game)
    m.training_budget.deactivate()
    m.mining_budget.deactivate()
    paid = sum(m.training_reward[i] + m.mining_reward[i] for i in m.clients)
    m.payment_budget = pyo.Constraint(expr=paid <= budget)
    fair = {1.0: pyo.log, 2.0: lambda u: -1 / u}[alpha]
    m.utility.set_value(sum(fair(m.client_utility[i]) for i in m.clients))
    asked = bo.solve_bilevel(m, starts=1).raise_if_failed()
    assert asked.objective == pytest.approx(single.objective, rel=1e-6)
    rent = single.clients["client_utility"][single.clients["recruited"]]
    np.testing.assert_allclose(asked.clients["client_utility"][list(m.clients)], rent, rtol=1e-5)
