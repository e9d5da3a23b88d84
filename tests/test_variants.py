"""Every variant against an answer that does not come from the package: a formula derived by hand, a root at fifty digits,
or brute force over prices with the clients' responses found by bisection."""

from __future__ import annotations

import dataclasses
import importlib
from pathlib import Path

import mpmath
import numpy as np
import pandas as pd
import pyomo.environ as pyo
import pytest

import bcfl_opt as bo
from bcfl_opt.models import (
    problem1_pyomo,
    problem2_pyomo,
    variant_chosen_data,
    variant_chosen_deadlines,
    variant_energy_exponent,
    variant_fair_utilities,
    variant_participation_bonus,
    variant_prices_per_cycle,
    variant_shared_budget,
)

mp = mpmath.mp.clone()
mp.dps = 50
INF = float("inf")
LANGUAGES = ("build", "build_convex")
#: The promised agreement with the independent answer, relative.
CLOSE = 1e-6


def make_game(**parameters) -> bo.Game:
    """Seven clients with different work and chips; one so slow that speed limits matter; caps that are slack."""
    mu, rho = [4.0, 7.0, 10.0, 13.0, 5.5, 8.25, 6.0], [0.02, 0.004, 0.01, 0.006, 0.015, 0.01, 0.008]
    frame = pd.DataFrame({"client": list("abcdefg"), "mu": mu, "rho": rho})
    defaults = {"mining_cap": 30.0, "reward_budget": 1e4, "target": 7.5}
    return bo.Game(bo.Population(frame), **{**defaults, **parameters})


@dataclasses.dataclass(frozen=True)
class Data:
    mu: np.ndarray
    rho: np.ndarray
    psi: float
    T: float
    xi: float
    R_t: np.ndarray
    R_m: float
    f: float

    @classmethod
    def of(cls, game: bo.Game) -> Data:
        people = game.population
        return cls(
            people.training_cycles, people.energy_coefficient, game.mining_cycles, game.deadline, game.cost_weight,
            game.caps["training_cap"].to_numpy(), game.mining_cap, float(np.log1p(people.training_cycles.sum())),
        )  # fmt: skip


def solved(module, language: str, *arguments, **options) -> bo.Solution:
    solution = bo.solve(getattr(module, language)(*arguments, **options))
    assert solution.succeeded, solution.message
    assert solution.certificate.holds(1e-7)
    return solution


# ---------------------------------------------------------------------- the deadlines


@pytest.mark.parametrize("language", LANGUAGES)
def test_chosen_deadlines(language: str) -> None:
    """T_i = min(T, (2 rho)^(1/3) (mu + psi)); T = 3.5 binds for some and not for others."""
    game = make_game(deadline=3.5)
    d = Data.of(game)
    deadline = np.minimum(d.T, np.cbrt(2 * d.rho) * (d.mu + d.psi))
    assert 0 < np.count_nonzero(deadline == d.T) < 7
    solution = solved(variant_chosen_deadlines, language, game)
    np.testing.assert_allclose(solution.clients["deadline"], deadline, rtol=CLOSE)
    np.testing.assert_allclose(solution.clients["training_time"], deadline * d.mu / (d.mu + d.psi), rtol=CLOSE)
    objective = d.f - d.xi * (deadline + d.rho * (d.mu + d.psi) ** 3 / deadline**2).sum()
    assert solution.objective == pytest.approx(objective, rel=CLOSE)
    assert solution.owner_utility == pytest.approx(objective, rel=CLOSE)


@pytest.mark.parametrize("language", LANGUAGES)
def test_chosen_deadlines_with_a_cap_that_binds(language: str) -> None:
    """t = sqrt(rho mu^3 / R_t) where that is more than (2 rho)^(1/3) mu, and s as without a cap."""
    game = make_game(mining_cap=0.6, reward_budget=7 * 1.2, deadline=30.0)
    d = Data.of(game)
    t = np.maximum(np.cbrt(2 * d.rho) * d.mu, np.sqrt(d.rho * d.mu**3 / d.R_t))
    s = np.maximum(np.cbrt(2 * d.rho) * d.psi, np.sqrt(d.rho * d.psi**3 / d.R_m))
    assert (t > np.cbrt(2 * d.rho) * d.mu * 1.01).any() and (s > np.cbrt(2 * d.rho) * d.psi * 1.01).any()
    assert (t + s < d.T).all()
    solution = solved(variant_chosen_deadlines, language, game)
    np.testing.assert_allclose(solution.clients["training_time"], t, rtol=CLOSE)
    np.testing.assert_allclose(solution.clients["mining_time"], s, rtol=CLOSE)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_shared_budget(language: str) -> None:
    """nu is the root of sum rho (mu + psi)^3 / T_i^2 = B with T_i = min(T, (2 rho (1 + nu))^(1/3) (mu + psi))."""
    game, budget = make_game(deadline=8.0), 2.6
    d = Data.of(game)

    def deadlines(nu):
        return [
            min(mp.mpf(d.T), mp.cbrt(2 * mp.mpf(r) * (1 + nu)) * (m + d.psi)) for m, r in zip(d.mu, d.rho, strict=True)
        ]

    def over(nu):
        return sum(r * (m + d.psi) ** 3 / t**2 for m, r, t in zip(d.mu, d.rho, deadlines(nu), strict=True)) - budget

    low, high = mp.mpf(0), mp.mpf(100)
    for _ in range(150):
        middle = (low + high) / 2
        low, high = (middle, high) if over(middle) > 0 else (low, middle)
    expected = [float(t) for t in deadlines(high)]
    assert 0 < expected.count(8.0) < 7
    solution = solved(variant_shared_budget, language, game, budget)
    np.testing.assert_allclose(solution.clients["deadline"], expected, rtol=CLOSE)
    assert solution.shadow_prices["payment_budget"] == pytest.approx(float(d.xi * high), rel=CLOSE)
    assert solution.objective == pytest.approx(d.f - d.xi * (sum(expected) + budget), rel=CLOSE)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_budget_with_the_common_deadline(language: str) -> None:
    """Every client gets rho (mu + psi)^3 / T^2, or there is no answer."""
    game = make_game()
    d = Data.of(game)
    least = d.rho * (d.mu + d.psi) ** 3 / d.T**2
    enough = solved(variant_shared_budget, language, game, 1.01 * least.sum(), deadlines="common")
    assert enough.objective == pytest.approx(d.f - d.xi * (7 * d.T + least.sum()), rel=CLOSE)
    model = getattr(variant_shared_budget, language)(game, 0.99 * least.sum(), deadlines="common")
    refused = bo.solve(model)
    assert refused.status in (bo.Status.INFEASIBLE, bo.Status.LOCALLY_INFEASIBLE)
    with pytest.raises(bo.InputError, match="unknown deadlines 'chosn'"):
        getattr(variant_shared_budget, language)(game, 1.0, deadlines="chosn")


def test_a_budget_that_is_too_small_is_proven_so_after_one_attempt() -> None:
    """At the slowest speeds that the deadline allows everyone costs least: rho (mu + psi)^3 / T^2 in all."""
    game = make_game()
    d = Data.of(game)
    least = float((d.rho * (d.mu + d.psi) ** 3).sum()) / d.T**2
    refused = bo.solve(variant_shared_budget.build(game, 0.9 * least))
    assert refused.status is bo.Status.INFEASIBLE and len(refused.provenance["attempts"]) == 1
    assert refused.detail.startswith("no point is feasible unless constraints give way: ")
    assert bo.solve(variant_shared_budget.build(game, (1 + 1e-6) * least)).succeeded


@pytest.mark.parametrize("T", [9.0, 15.0, 400.0])
@pytest.mark.parametrize(
    "build",
    [
        lambda game: problem1_pyomo.build(game, game.prices(training=2.0, mining=3.0)),
        lambda game: problem1_pyomo.build(game, game.prices(training=2.0, mining=3.0), form="speed"),
        problem2_pyomo.build,
        variant_chosen_deadlines.build,
    ],
    ids=["Problem 1 in times", "Problem 1 in speeds", "Problem 2", "chosen deadlines"],
)
def test_a_start_is_strictly_inside_where_there_is_room(build, T: float) -> None:
    """By Pyomo's own evaluation: every inequality leaves something at the start, and every equality holds."""
    m = build(make_game(deadline=T))
    assert len(m.clients) == 7
    for constraint in m.component_data_objects(pyo.Constraint, active=True):
        body = pyo.value(constraint.body)
        if constraint.equality:
            assert body == pytest.approx(pyo.value(constraint.upper), rel=1e-12)
            continue
        assert constraint.lower is None or body > pyo.value(constraint.lower) * (1 + 1e-9), constraint.name
        assert constraint.upper is None or body < pyo.value(constraint.upper) * (1 - 1e-9), constraint.name


# ---------------------------------------------------------------------- the energy


@pytest.mark.parametrize("exponent", [1, 1.5, 2, 3, 2.7182818])
@pytest.mark.parametrize("language", LANGUAGES)
def test_another_energy_exponent(language: str, exponent: float) -> None:
    """Equal speeds, payment rho (mu + psi)^(k + 1) / T^k, price rho ((mu + psi) / T)^(k + 1) for both tasks."""
    game = make_game()
    d = Data.of(game)
    speed = (d.mu + d.psi) / d.T
    solution = solved(variant_energy_exponent, language, game, exponent)
    clients = solution.clients
    for name in ("training_speed", "mining_speed"):
        np.testing.assert_allclose(clients[name], speed, rtol=CLOSE)
    for name in ("training_price", "mining_price"):
        np.testing.assert_allclose(clients[name], d.rho * speed ** (exponent + 1), rtol=CLOSE)
    payment = d.rho * (d.mu + d.psi) ** (exponent + 1) / d.T**exponent
    np.testing.assert_allclose(clients["energy_cost"], payment, rtol=CLOSE)
    np.testing.assert_allclose(clients["client_utility"], 0, atol=CLOSE * payment.min())
    assert solution.objective == pytest.approx(d.f - d.xi * (7 * d.T + payment.sum()), rel=CLOSE)


@pytest.mark.parametrize("language", LANGUAGES)
def test_an_energy_exponent_with_caps(language: str) -> None:
    """t moved to at least (rho mu^(k + 1) / R_t)^(1/k), T - t to at least (rho psi^(k + 1) / R_m)^(1/k); others refused."""
    k, game = 3.0, make_game(mining_cap=0.03, reward_budget=7 * 0.2)
    d = Data.of(game)
    low, high = (d.rho * d.mu ** (k + 1) / d.R_t) ** (1 / k), d.T - (d.rho * d.psi ** (k + 1) / d.R_m) ** (1 / k)
    t = np.clip(d.T * d.mu / (d.mu + d.psi), low, np.maximum(low, high))
    able = low <= high
    moved = np.abs(t - d.T * d.mu / (d.mu + d.psi)) > 1e-3
    assert able.any() and (moved & able).any()
    solution = solved(variant_energy_exponent, language, game, k)
    assert solution.clients["recruited"].tolist() == able.tolist()
    np.testing.assert_allclose(solution.clients["training_time"][able], t[able], rtol=CLOSE)
    for text in solution.clients["reason"][~able]:
        assert text.startswith("cannot meet the deadline 15 within its reward caps")


def test_the_client_of_another_energy_law_by_brute_force() -> None:
    """The response of the follower check: never beaten on a grid of times, at prices around the equilibrium's."""
    game, k = make_game(), 1.5
    d = Data.of(game)
    base = d.rho * ((d.mu + d.psi) / d.T) ** (k + 1)
    for scale_t, scale_m in ((1.5, 1.5), (3.0, 1.2), (1.1, 4.0), (1.0, 9.0)):
        prices = game.prices(base * scale_t, base * scale_m)
        t, s = variant_energy_exponent.response(game, k, prices)
        for i in range(7):
            p_t, p_m = prices.iloc[i]
            low = d.mu[i] * (d.rho[i] / p_t) ** (1 / (k + 1))
            high = d.T - d.psi * (d.rho[i] / p_m) ** (1 / (k + 1))
            grid = np.append(np.linspace(low, high, 20001), t[i])
            utility = p_t * grid + p_m * (d.T - grid) - d.rho[i] * (
                d.mu[i] * (d.mu[i] / grid) ** k + d.psi * (d.psi / (d.T - grid)) ** k
            )  # fmt: skip
            assert low * (1 - 1e-9) <= t[i] <= high * (1 + 1e-9)
            assert t[i] + s[i] == pytest.approx(d.T)
            assert utility[-1] >= utility.max() - 1e-12 * np.abs(utility).max()


# ---------------------------------------------------------------------- the pay


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_participation_bonus(language: str) -> None:
    """y = max(0, e - z) with e = rho (mu + psi)^3 / T^2, one price y / T; what is beyond e is the client's."""
    game = make_game()
    d = Data.of(game)
    energy = d.rho * (d.mu + d.psi) ** 3 / d.T**2
    bonus = energy * np.array([0.0, 0.3, 0.999, 1.0, 1.5, 3.0, 0.7])
    solution = solved(variant_participation_bonus, language, game, bonus)
    clients = solution.clients
    np.testing.assert_allclose(clients["training_speed"], (d.mu + d.psi) / d.T, rtol=CLOSE)
    pay = np.maximum(energy - bonus, 0)
    np.testing.assert_allclose(clients["training_reward"] + clients["mining_reward"], pay, atol=CLOSE * energy.min())
    np.testing.assert_allclose(clients["client_utility"], np.maximum(bonus - energy, 0), atol=CLOSE * energy.min())
    np.testing.assert_allclose(clients["bonus"], bonus)
    objective = d.f - d.xi * (7 * d.T + np.maximum(energy, bonus).sum())
    assert solution.objective == pytest.approx(objective, rel=CLOSE)
    assert solution.owner_utility == pytest.approx(objective, rel=CLOSE)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_bonus_recruits_whom_the_caps_exclude(language: str) -> None:
    """Client a (mu = 1, g = 10) has a negative Shapley share; a bonus of its energy needs no training reward at all."""
    frame = pd.DataFrame({"mu": [1.0, 9.0, 10.0, 11.0], "rho": 0.01}, index=list("abcd"))
    game = bo.Game(bo.Population(frame))
    d = Data.of(game)
    energy = d.rho * (d.mu + d.psi) ** 3 / d.T**2
    without = solved(variant_participation_bonus, language, game, 0.0)
    assert without.clients["recruited"].tolist() == [False, True, True, True]
    assert without.clients["reason"]["a"] == "cannot be paid within its training cap 0: its training takes 0.0016"
    assert without.clients["bonus"]["a"] == without.clients["client_utility"]["a"] == 0
    everybody = solved(variant_participation_bonus, language, game, pd.Series(energy, index=list("abcd")))
    assert everybody.clients["recruited"].all()
    np.testing.assert_allclose(everybody.clients["training_reward"], 0, atol=CLOSE * energy.min())


def test_the_client_with_a_bonus_by_brute_force() -> None:
    """Without (8), (9) it picks its times freely: the response is never beaten on a grid, at price 0 too."""
    game = make_game()
    d = Data.of(game)
    for p_t, p_m in ((0.0, 0.0), (0.02, 0.02), (0.05, 0.0), (0.0, 0.03)):
        t, s = variant_participation_bonus.response(game, game.prices(p_t, p_m))
        for i in range(7):
            grid = np.append(np.linspace(0.01, d.T - 0.01, 20001), t[i])
            utility = p_t * grid + p_m * (d.T - grid) - d.rho[i] * (
                d.mu[i] ** 3 / grid**2 + d.psi**3 / (d.T - grid) ** 2
            )  # fmt: skip
            assert utility[-1] >= utility.max() - 1e-12
            assert t[i] + s[i] == pytest.approx(d.T)


@pytest.mark.parametrize("language", LANGUAGES)
def test_prices_per_cycle(language: str) -> None:
    """r = rho ((mu + psi) / T)^2 per cycle for both tasks; times, payments and owner's utility as per unit of time."""
    game = make_game()
    d = Data.of(game)
    speed = (d.mu + d.psi) / d.T
    solution = solved(variant_prices_per_cycle, language, game)
    for task in ("training", "mining"):
        np.testing.assert_allclose(solution.clients[f"{task}_price_per_cycle"], d.rho * speed**2, rtol=CLOSE)
        np.testing.assert_allclose(solution.clients[f"{task}_speed"], speed, rtol=CLOSE)
    payment = d.rho * (d.mu + d.psi) ** 3 / d.T**2
    assert solution.objective == pytest.approx(d.f - d.xi * (7 * d.T + payment.sum()), rel=CLOSE)


def test_no_prices_per_cycle_are_cheaper() -> None:
    """A grid of both prices, each client's answer by a fine grid of its times: payments are never below the variant's."""
    game = make_game(mining_cap=0.2, reward_budget=7 * 0.6)
    d = Data.of(game)
    clients = solved(variant_prices_per_cycle, "build_convex", game).clients
    for i, row in enumerate(clients.itertuples()):
        if not row.recruited:
            continue
        found = []
        center = d.rho[i] * ((d.mu[i] + d.psi) / d.T) ** 2
        for r_t in center * np.geomspace(0.2, 5, 80):
            for r_m in center * np.geomspace(0.2, 5, 80):
                low, high = d.mu[i] * np.sqrt(d.rho[i] / r_t), d.T - d.psi * np.sqrt(d.rho[i] / r_m)
                if low <= high and d.mu[i] * r_t <= d.R_t[i] and d.psi * r_m <= d.R_m:
                    found.append(d.mu[i] * r_t + d.psi * r_m)
        payment = row.training_reward + row.mining_reward
        assert payment <= min(found) * (1 + 1e-9)
        assert payment == pytest.approx(min(found), rel=0.1)


def test_the_client_paid_per_cycle_by_brute_force() -> None:
    game = make_game()
    d = Data.of(game)
    base = d.rho * ((d.mu + d.psi) / d.T) ** 2
    for scale_t, scale_m in ((1.0, 1.0), (2.0, 2.0), (3.0, 1.1), (0.8, 3.0)):
        table = pd.DataFrame(
            {"training_price_per_cycle": base * scale_t, "mining_price_per_cycle": base * scale_m},
            index=list("abcdefg"),
        )
        t, _ = variant_prices_per_cycle.response(game, table)
        for i in range(7):
            low = d.mu[i] * np.sqrt(d.rho[i] / (base[i] * scale_t))
            grid = np.linspace(low, d.T - d.psi * np.sqrt(d.rho[i] / (base[i] * scale_m)), 20001)
            cost = d.rho[i] * (d.mu[i] ** 3 / grid**2 + d.psi**3 / (d.T - grid) ** 2)
            assert t[i] == pytest.approx(grid[cost.argmin()], abs=2e-3)


# ---------------------------------------------------------------------- fairness


@pytest.mark.parametrize("alpha", [0.5, 1, 2, 4, INF])
@pytest.mark.parametrize("language", LANGUAGES)
def test_fair_utilities(language: str, alpha: float) -> None:
    """U_i = min((w_i / lambda)^(1 / alpha), room_i), lambda the root of sum U = B - sum e, at fifty digits.

    Max-min: l = min(min room / w, (B - sum e) / sum w).
    """
    game, budget = make_game(mining_cap=1.4, reward_budget=7 * 3.6), 13.5
    game = game.replace(population=game.population.select("bcefg"))  # all with a training cap worth the name
    d = Data.of(game)
    weights = np.array([1.0, 2.0, 0.5, 3.0, 1.0])
    energy = d.rho * (d.mu + d.psi) ** 3 / d.T**2
    room = (d.mu + d.psi) * np.minimum(d.R_t / d.mu, d.R_m / d.psi) - energy

    def shares(level):
        powers = [(mp.mpf(w) * level) ** (1 / mp.mpf(alpha)) for w in weights]
        return [min(share, mp.mpf(r)) for share, r in zip(powers, room, strict=True)]

    solution = solved(variant_fair_utilities, language, game, budget, alpha=alpha, weights=weights)
    if alpha == INF:
        least = min((room / weights).min(), (budget - energy.sum()) / weights.sum())
        assert solution.objective == pytest.approx(least, rel=CLOSE)
        assert (solution.clients["client_utility"] >= least * weights * (1 - CLOSE)).all()
        return
    low, high = mp.mpf(0), mp.mpf(10) ** 6
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if sum(shares(middle)) < budget - energy.sum() else (low, middle)
    expected = np.array([float(u) for u in shares(high)])
    assert 0 < np.count_nonzero(expected == room) < 5
    terms = np.log(expected) if alpha == 1 else expected ** (1 - alpha) / (1 - alpha)
    assert solution.objective == pytest.approx((weights * terms).sum(), rel=CLOSE)
    np.testing.assert_allclose(solution.clients["client_utility"], expected, rtol=3e-5)  # the objective is flat there
    assert solution.owner_utility == pytest.approx(d.f - d.xi * (5 * d.T + budget), rel=CLOSE)


@pytest.mark.parametrize("alpha", [0.5, 3.0, INF])
def test_without_weights_every_alpha_shares_alike(alpha: float) -> None:
    game, budget = make_game(), 20.0
    d = Data.of(game)
    share = (budget - (d.rho * (d.mu + d.psi) ** 3 / d.T**2).sum()) / 7
    clients = solved(variant_fair_utilities, "build_convex", game, budget, alpha=alpha).clients
    np.testing.assert_allclose(clients["client_utility"], share, rtol=1e-5)


# ---------------------------------------------------------------------- the data


@pytest.mark.parametrize(("performance", "weight"), [("log", 0.1), ("sqrt", 0.6), ("linear", 4.0)])
@pytest.mark.parametrize("language", LANGUAGES)
def test_chosen_data(language: str, performance: str, weight: float) -> None:
    """f'(sum x) = xi rho (x + psi) (9 x + 5 psi) / T^2: the positive root of a quadratic by client, one scalar root for all."""
    game = make_game(performance=performance, cost_weight=weight, deadline=6.0)
    d = Data.of(game)

    def chosen(worth):  # of a cycle, in money: f' / xi
        cycles = []
        for mu, rho in zip(d.mu, d.rho, strict=True):
            level = worth * d.T**2 / mp.mpf(rho)
            root = (-14 * d.psi + mp.sqrt(196 * mp.mpf(d.psi) ** 2 - 36 * (5 * mp.mpf(d.psi) ** 2 - level))) / 18
            cycles.append(min(max(root, mp.mpf(0)), mp.mpf(mu)))
        return cycles

    slope = {"log": lambda x: 1 / (1 + x), "sqrt": lambda x: 1 / (2 * mp.sqrt(x)), "linear": lambda x: mp.mpf(1)}[
        performance
    ]
    low, high = mp.mpf(10) ** -9, mp.mpf(10) ** 9
    for _ in range(220):  # worth falls as more is trained
        middle = mp.sqrt(low * high)
        total = sum(chosen(middle))
        low, high = (middle, high) if total == 0 or slope(total) / d.xi > middle else (low, middle)
    expected = np.array([float(x) for x in chosen(high)])
    assert (expected < d.mu).any() and expected.sum() > 0
    solution = solved(variant_chosen_data, language, game)
    clients = solution.clients
    np.testing.assert_allclose(clients["training_cycles"], expected, rtol=CLOSE, atol=CLOSE)
    speed = (expected + d.psi) / d.T
    np.testing.assert_allclose(clients["training_price_per_cycle"], 3 * d.rho * speed**2, rtol=CLOSE)
    np.testing.assert_allclose(clients["mining_reward"], d.rho * d.psi * speed**2, rtol=CLOSE)
    f = {"log": np.log1p, "sqrt": np.sqrt, "linear": float}[performance](expected.sum())
    objective = f - d.xi * (7 * d.T + (d.rho * speed**2 * (3 * expected + d.psi)).sum())
    assert solution.objective == pytest.approx(objective, rel=CLOSE)
    assert solution.owner_utility == pytest.approx(objective, rel=CLOSE)
    assert (clients["client_utility"] >= -CLOSE).all()


def test_the_client_that_chooses_its_data_by_brute_force() -> None:
    """Its answer to a price per cycle, on a grid of data and of the split of the deadline."""
    game = make_game(deadline=6.0)
    d = Data.of(game)
    share = np.linspace(0.001, 0.999, 600)
    for price in (0.005, 0.05, 0.2):
        table = pd.DataFrame({"training_price_per_cycle": price}, index=list("abcdefg"))
        t, s = variant_chosen_data.response(game, table)
        for i in range(7):
            x = np.linspace(0, d.mu[i], 801)[:, None]
            utility = price * x - d.rho[i] * (x**3 / (share * d.T) ** 2 + d.psi**3 / ((1 - share) * d.T) ** 2)
            best = x[utility.max(axis=1).argmax(), 0]
            assert t[i] / s[i] * d.psi == pytest.approx(best, abs=0.05)
            assert t[i] + s[i] == pytest.approx(d.T)


@pytest.mark.parametrize("language", LANGUAGES)
def test_chosen_data_within_caps_and_speed_limits(language: str) -> None:
    """3 rho x (x + psi)^2 / T^2 = R_t, or (x + psi) / T = q, where that comes first: scalar roots."""
    frame = pd.DataFrame({"client": list("ab"), "mu": [30.0, 30.0], "rho": [0.01, 0.01], "q": [1.0, INF]})
    game = bo.Game(bo.Population(frame), performance="linear", cost_weight=0.01, mining_cap=5.0, reward_budget=16.0)
    d = Data.of(game)
    by_cap = mp.findroot(lambda x: 3 * 0.01 * x * (x + d.psi) ** 2 / d.T**2 - d.R_t[1], 10)
    by_speed = 1.0 * d.T - d.psi
    solution = solved(variant_chosen_data, language, game)
    assert by_speed < by_cap < 30
    np.testing.assert_allclose(solution.clients["training_cycles"], [by_speed, float(by_cap)], rtol=CLOSE)


# ---------------------------------------------------------------------- who is left out, and what is refused


@pytest.mark.parametrize("language", LANGUAGES)
def test_who_is_too_slow_is_left_out_by_name(language: str) -> None:
    frame = pd.DataFrame({"client": ["slow", "quick"], "mu": [10.0, 10.0], "rho": 0.01, "q": [0.2, 3.0]})
    game = bo.Game(bo.Population(frame), mining_cap=20.0, reward_budget=200.0)
    for module, arguments in (
        (variant_chosen_deadlines, ()),
        (variant_shared_budget, (50.0,)),
        (variant_energy_exponent, (3.0,)),
        (variant_participation_bonus, (0.1,)),
        (variant_fair_utilities, (50.0,)),
        (variant_prices_per_cycle, ()),
        (variant_chosen_data, ()),
    ):
        clients = solved(module, language, game, *arguments).clients
        assert clients["recruited"].tolist() == [False, True], module
        assert "deadline 15" in clients["reason"]["slow"] and "0.2" in clients["reason"]["slow"]
        assert clients["reason"]["quick"] == ""


@pytest.mark.parametrize("language", LANGUAGES)
def test_nobody_left_is_no_crash(language: str) -> None:
    frame = pd.DataFrame({"mu": [10.0, 10.0], "rho": 0.01, "q": 0.2})
    game = bo.Game(bo.Population(frame))
    for module, arguments in (
        (variant_shared_budget, (50.0,)),
        (variant_energy_exponent, (3.0,)),
        (variant_participation_bonus, (0.1,)),
        (variant_fair_utilities, (50.0,)),
        (variant_chosen_data, ()),
    ):
        solution = bo.solve(getattr(module, language)(game, *arguments))
        assert solution.status is bo.Status.NO_CLIENTS, module


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(
    ("module", "arguments", "message"),
    [
        (variant_energy_exponent, {"exponent": 0}, "exponent: 0 must be a finite number, greater than 0"),
        (variant_energy_exponent, {"exponent": True}, "exponent: True must be"),
        (variant_participation_bonus, {"bonus": [0.1, -0.2]}, "bonus"),
        (variant_fair_utilities, {"payment_budget": 9.0, "alpha": 0}, "alpha: 0 must be greater than 0"),
        (variant_fair_utilities, {"payment_budget": 9.0, "weights": 0.0}, "every weight must be greater than 0"),
    ],
)
def test_bad_arguments(language: str, module, arguments, message: str) -> None:
    with pytest.raises(bo.InputError, match=message):
        getattr(module, language)(make_game(), **arguments)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_performance_without_formula_is_refused(language: str) -> None:
    with pytest.raises(bo.InputError, match="needs f as a formula"):
        getattr(variant_chosen_data, language)(make_game(performance=lambda x: x**0.3))


# ---------------------------------------------------------------------- the clients are asked


def overpay_training(m: pyo.ConcreteModel) -> None:
    """Pay half as much again for training, and nothing more for mining."""
    for i in m.clients:
        m.training_rationality[i].deactivate()
    m.generous = pyo.Constraint(m.clients, rule=lambda m, i: m.training_payment[i] >= 1.5 * m.training_energy[i])


@pytest.mark.parametrize(
    ("module", "arguments", "follows"),
    [
        (variant_chosen_deadlines, (), False),
        (variant_shared_budget, (100.0,), False),
        (variant_energy_exponent, (2.5,), False),
        (variant_prices_per_cycle, (), True),  # paid by the cycle, a client does not divide its time by pay
    ],
)
def test_a_client_that_is_paid_unevenly(module, arguments, follows: bool) -> None:
    """At 1.5 times its energy a client would train longer: h = 4.5 rho q^3 ... > 0, unless pay does not depend on time.

    The owner's optimum then has unequal speeds, which a client paid per cycle would not keep either; hold them equal.
    """
    game = make_game()
    m = module.build(game, *arguments)
    overpay_training(m)
    mu = dict(zip(game.population.ids, game.population.training_cycles, strict=True))
    m.even = pyo.Constraint(
        m.clients, rule=lambda m, i: game.mining_cycles * m.training_time[i] == mu[i] * m.mining_time[i]
    )
    # nobody is at its least time of training any more, so mining at its least time decides: leave it a little room
    for i in m.clients:
        m.mining_rationality[i].deactivate()
    m.room = pyo.Constraint(m.clients, rule=lambda m, i: m.mining_payment[i] >= 1.1 * m.mining_energy[i])
    solution = bo.solve(m)
    if follows:
        assert solution.succeeded, solution.message
    else:
        assert solution.status is bo.Status.FOLLOWER_NOT_OPTIMAL
        assert not solution.clients["recruited"].any()


@pytest.mark.parametrize(("module", "argument"), [(variant_participation_bonus, 0.02), (variant_fair_utilities, 30.0)])
def test_a_client_at_equal_prices_keeps_to_equal_speeds(module, argument: float) -> None:
    game = make_game()
    m = module.build(game, argument)
    m.response.deactivate()
    mu = dict(zip(game.population.ids, game.population.training_cycles, strict=True))
    m.hurried = pyo.Constraint(
        m.clients, rule=lambda m, i: game.mining_cycles * m.training_time[i] == 0.8 * mu[i] * m.mining_time[i]
    )
    assert bo.solve(m).status is bo.Status.FOLLOWER_NOT_OPTIMAL


def test_a_client_that_would_train_on_less() -> None:
    """At a price of 2 rho v^2 a cycle the last cycles cost more than they earn."""
    m = variant_chosen_data.build(make_game(deadline=6.0))
    for i in m.clients:
        m.training_price_per_cycle[i].set_value(m.training_price_per_cycle[i].expr * (2 / 3))
    assert bo.solve(m).status is bo.Status.FOLLOWER_NOT_OPTIMAL


def test_every_variant_says_what_it_is() -> None:
    folder = Path(bo.models.__file__).parent
    names = sorted(path.stem for path in folder.glob("variant_*.py"))
    assert len(names) == 8
    listed = bo.models.__doc__
    for name in names:
        module = importlib.import_module(f"bcfl_opt.models.{name}")
        assert module.__doc__.startswith("Variant: ")
        assert "(2)" in module.__doc__ or "Problem 2" in module.__doc__
        assert f"``{name}``" in listed
        assert hasattr(module, "build")
