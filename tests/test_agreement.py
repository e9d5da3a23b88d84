"""Every route to Problems 1-3 on seeded random games, against references of its own; tests/fuzz_agreement.py has more."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pandas as pd
import pytest
from fuzz_agreement import (
    Client,
    clients_of,
    disagreements_exhausted,
    disagreements_problem_1,
    disagreements_problems_2_and_3,
    draw_game,
    exhausted_prices,
    recruitment,
    response,
)

import bcfl_opt as bo
from bcfl_opt.models import problem2_pyomo, problem3_pyomo

SIZES = [1, 1, 2, 3, 4, 6, 9, 14, 20, 30, 45, 70, 100]
LARGE = [(300, 101), (1000, 102), (1000, 204)]
GAMES = [(n, seed) for seed, n in enumerate(SIZES)] + LARGE


@pytest.mark.parametrize(("n", "seed"), GAMES)
def test_problem_1_by_ipopt_clarabel_and_the_exact_response(n: int, seed: int) -> None:
    game, prices = draw_game(np.random.default_rng(seed), n)
    assert disagreements_problem_1(game, prices) == []


@pytest.mark.parametrize(("n", "seed"), [*GAMES[:-3], (300, 101)])
def test_problems_2_and_3_by_ipopt_clarabel_and_the_exact_equilibrium(n: int, seed: int) -> None:
    game, _ = draw_game(np.random.default_rng(seed), n)
    assert disagreements_problems_2_and_3(game) == []


@pytest.mark.parametrize(("n", "seed"), [*GAMES[:-3], (300, 101)])
def test_the_papers_prices_when_the_caps_are_spent(n: int, seed: int) -> None:
    game, _ = draw_game(np.random.default_rng(seed), n)
    assert disagreements_exhausted(game) == []


@pytest.mark.parametrize("problem", [problem2_pyomo, problem3_pyomo])
def test_a_cap_far_beyond_the_energy_is_spent(problem: object) -> None:
    # (15) for mu = 0.5, rho = 0.002, R_t = 40: p_t = rho^-0.5 (R_t / mu)^1.5 = 22.36 x 715.5 = 16000, at t = 0.0025 of
    # T = 30. Prices go with t^-3: a start at a tenth of T would be wrong by 1e9, and IPOPT used to give up there.
    frame = pd.DataFrame({"mu": [0.5, 10.0, 19.5], "rho": [0.002, 0.05, 0.002]})
    game = bo.Game(frame, mining_cycles=2.7, deadline=30.0, mining_cap=0.5, reward_budget=121.5, target=10)
    assert float(game.caps["training_cap"].iloc[0]) > 20
    m = problem.build(game, response="theorem", budgets="exhausted")  # type: ignore[attr-defined]
    for name, c in clients_of(game):
        prices = exhausted_prices(c, zero_utility=False)
        assert prices is not None
        assert 0.5 < m.training_price[name].value / prices[0] < 1
    solution = bo.solve(m)
    assert solution.succeeded and solution.clients is not None, solution
    for name, c in clients_of(game):
        found = solution.clients.loc[name, ["training_price", "mining_price"]].tolist()
        assert found == pytest.approx(exhausted_prices(c, zero_utility=problem is problem3_pyomo), rel=1e-6)


def test_a_payment_of_a_twenty_millionth_of_another_is_still_the_clients_own_answer() -> None:
    # R_t = 295 against a mining payment of rho psi^3 / s^2 = 1.24e-5: to a millionth of the whole, any t is optimal; the
    # client's own answer is one t.
    frame = pd.DataFrame({"mu": [18.367201899178664], "rho": [0.006842922234275801]}, index=["c0"])
    game = bo.Game(
        frame,
        mining_cycles=0.6450665259348879,
        deadline=12.538343539112509,
        cost_weight=0.01,
        mining_cap=5.0,
        reward_budget=300.0,
        target=10.0,
    )
    solution = bo.solve(problem3_pyomo.build(game, budgets="exhausted")).raise_if_failed()
    ((_, c),) = clients_of(game)
    assert solution.clients is not None and solution.clients.loc["c0", "training_time"] == pytest.approx(
        math.sqrt(c.rho * c.mu**3 / c.training_cap), rel=1e-7
    )


# ---------------------------------------------------------------------------------- the references


def some_clients(seed: int, n: int) -> list[tuple[Client, float, float]]:
    game, prices = draw_game(np.random.default_rng(seed), n)
    return [(c, *map(float, prices.loc[name])) for name, c in clients_of(game)]


@pytest.mark.parametrize("seed", range(6))
def test_the_reference_of_problem_1_against_fifty_digits(seed: int) -> None:
    """Bisection of dU/dt in mpmath: nothing in common with brentq, or with Newton's method in the package."""
    for c, p_t, p_m in some_clients(seed, 8):
        found = response(c, p_t, p_m)
        with mpmath.workdps(50):
            mu, rho, psi, total = map(mpmath.mpf, (c.mu, c.rho, c.psi, c.deadline))
            a, b = mpmath.mpf(p_t), mpmath.mpf(p_m)
            low = mu * max(mpmath.cbrt(rho / a), 1 / mpmath.mpf(c.q))
            high = total - psi * max(mpmath.cbrt(rho / b), 1 / mpmath.mpf(c.q))
            assert (found is None) == (low > high)
            if found is None:
                continue
            for _ in range(100):
                t = (low + high) / 2
                rising = a - b + 2 * rho * (mu / t) ** 3 - 2 * rho * (psi / (total - t)) ** 3 > 0
                low, high = (t, high) if rising else (low, t)
            best = a * t + b * (total - t) - rho * mu**3 / t**2 - rho * psi**3 / (total - t) ** 2
            assert found[2] == pytest.approx(float(best), rel=1e-12)


@pytest.mark.parametrize("seed", range(6))
def test_the_reference_of_problems_2_and_3_against_a_grid_of_prices(seed: int) -> None:
    """Theory 5.1: no pair of prices within the caps recruits a client, who answers as it likes, for less."""
    for c, _, _ in some_clients(seed, 2):
        found = recruitment(c)
        cheapest = math.inf
        if found is None:
            scale = max(c.rho * ((c.mu + c.psi) / c.deadline) ** 3, 1e-6)
            centre = (scale, scale)
        else:
            t, s = found
            energy = c.rho * c.mu**3 / t**2 + c.rho * c.psi**3 / s**2
            centre = (c.rho * (c.mu / t) ** 3, c.rho * (c.psi / s) ** 3)
        for p_t in centre[0] * np.geomspace(0.2, 5, 25):
            for p_m in centre[1] * np.geomspace(0.2, 5, 25):
                answer = response(c, p_t, p_m)
                if answer is None:
                    continue
                paid = answer[0] * p_t, answer[1] * p_m
                if paid[0] <= c.training_cap and paid[1] <= c.mining_cap:
                    cheapest = min(cheapest, sum(paid))
        if found is None:
            assert cheapest == math.inf
        else:
            assert cheapest >= energy * (1 - 1e-9)
            assert cheapest <= energy * 2  # the grid comes near it, unless its neighbours are not feasible
