"""Problems 1-3 in CVXPY, changed in a few lines of plain CVXPY: each against an answer found without the package."""

from __future__ import annotations

import dataclasses
import math

import cvxpy as cp
import numpy as np
import pandas as pd
import pytest
from convex_games import a_game, some_prices
from scipy.optimize import brentq, minimize_scalar

import bcfl_opt as bo
from bcfl_opt.models import problem1_cvxpy, problem2_cvxpy

SOLVERS = ["clarabel", "ipopt"]


@pytest.mark.parametrize("solver", SOLVERS)
def test_without_the_deadline_and_with_a_cap_on_a_speed(solver: str) -> None:
    game = a_game()
    prices = some_prices(game)
    c = problem1_cvxpy.build(game, prices, reward_caps=True)
    del c.constraints["deadline"]
    c.constraints["cap"] = c.expressions["training_speed"] <= 0.35
    solution = bo.solve(c, solver=solver)
    assert solution.succeeded and solution.clients is not None, solution
    # U rises in both times, so the reward caps end them: t = R_t / p_t, s = R_m / p_m. The cap on the speed is t >= mu / .35.
    times = game.caps[["training_cap", "mining_cap"]].to_numpy() / prices.to_numpy()
    assert np.all(times[:, 0] > game.population.training_cycles / 0.35)
    np.testing.assert_allclose(solution.clients[["training_time", "mining_time"]], times, rtol=1e-6)


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_cap_on_a_speed_that_binds(solver: str) -> None:
    game = a_game()
    c = problem2_cvxpy.build(game)
    c.constraints["cap"] = c.expressions["training_speed"] <= 0.6
    solution = bo.solve(c, solver=solver)
    assert solution.succeeded and solution.clients is not None, solution
    # Theory 5.1: equal speeds (mu + psi) / T, or t = mu / 0.6 where that would be faster.
    mu = game.population.training_cycles
    t = np.maximum(mu * 25 / (mu + 6), mu / 0.6)
    assert 0 < np.count_nonzero(t == mu / 0.6) < 6
    np.testing.assert_allclose(solution.clients["training_time"], t, rtol=1e-6)
    assert np.all((solution.shadow_prices["cap"] > 1e-6) == (t == mu / 0.6))


@pytest.mark.parametrize("solver", SOLVERS)
def test_another_objective(solver: str) -> None:
    # Clients are not coupled, so the best for the worst-off is the least of their best utilities.
    game = a_game()
    prices = some_prices(game)
    c = problem1_cvxpy.build(game, prices)
    c.objective = cp.Maximize(cp.min(c.expressions["client_utility"]))
    solution = bo.solve(c, solver=solver)
    assert solution.succeeded, solution
    best = bo.best_response(game, prices).clients
    assert best is not None
    assert solution.objective == pytest.approx(best["client_utility"].min(), rel=1e-6)


def own_deadlines(game: bo.Game) -> bo.models.problem2_cvxpy.ConvexModel:  # type: ignore[name-defined]
    """The owner may end a client's round early (theory 5.2); clients that are paid by time would not, so no follower."""
    c = problem2_cvxpy.build(game)
    c.constraints["deadline"] = c.variables["training_time"] + c.variables["mining_time"] <= game.deadline
    c.context = dataclasses.replace(c.context, follower_optimal=False)
    return c


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_shared_payment_budget_over_all_clients(solver: str) -> None:
    # Theory 5.2: min sum T_i + rho_i (mu_i + psi)^3 / T_i^2, the payments at most B: T_i = min(T, (2 rho_i (1 + nu))^(1/3)
    # (mu_i + psi)), one root in the multiplier nu. Speeds are equal, and here below every limit.
    game = a_game()
    mu, rho, psi = game.population.training_cycles, game.population.energy_coefficient, game.mining_cycles

    def times(nu: float) -> np.ndarray:
        return np.minimum(game.deadline, np.cbrt(2 * rho * (1 + nu)) * (mu + psi))

    def payments(nu: float) -> float:
        return float((rho * (mu + psi) ** 3 / times(nu) ** 2).sum())

    budget = 0.045 * payments(0.0)
    nu = brentq(lambda nu: payments(nu) - budget, 0, 1e4, xtol=1e-14, rtol=1e-14)
    assert 0 < np.count_nonzero(times(nu) == game.deadline) < 6
    c = own_deadlines(game)
    c.constraints["budget"] = cp.sum(c.expressions["training_reward"] + c.expressions["mining_reward"]) <= budget
    solution = bo.solve(c, solver=solver)
    assert solution.succeeded and solution.clients is not None, solution
    cost = times(nu).sum() + budget
    assert solution.objective == pytest.approx(math.log1p(mu.sum()) - 0.1 * cost, rel=1e-7)
    spent = solution.clients["training_time"] + solution.clients["mining_time"]
    np.testing.assert_allclose(spent, times(nu), rtol=1e-5)
    assert solution.shadow_prices["budget"] == pytest.approx(0.1 * nu, rel=1e-5)


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_common_round_time(solver: str) -> None:
    # min N D + sum rho_i (mu_i + psi)^3 / D^2: D^3 = 2 mean(rho_i (mu_i + psi)^3), with all speeds below their limits.
    game = a_game()
    energy = game.population.energy_coefficient * (game.population.training_cycles + game.mining_cycles) ** 3
    answer = np.cbrt(2 * energy.mean())
    c = own_deadlines(game)
    for limit in ("training_speed_limit", "mining_speed_limit"):
        del c.constraints[limit]
    round_time = cp.Variable(name="round_time", value=20.0)
    c.constraints["deadline"] = c.variables["training_time"] + c.variables["mining_time"] == round_time
    c.constraints["latest"] = round_time <= game.deadline
    solution = bo.solve(c, solver=solver)
    assert solution.succeeded, solution
    assert answer < game.deadline
    assert solution.variables["round_time"] == pytest.approx(answer, rel=1e-6)
    cost = 6 * answer + energy.sum() / answer**2
    assert solution.objective == pytest.approx(math.log1p(game.population.training_cycles.sum()) - 0.1 * cost, rel=1e-8)


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_common_round_time_at_given_prices(solver: str) -> None:
    # sum U_i(D) - 3 D over one D: every client uses all of it, and U_i(D) is a scalar problem of its own.
    game = a_game(4, deadline=40.0)
    prices = some_prices(game)
    c = problem1_cvxpy.build(game, prices)
    round_time = cp.Variable(name="round_time", value=40.0)
    c.constraints["deadline"] = c.variables["training_time"] + c.variables["mining_time"] <= round_time
    c.constraints["latest"] = round_time <= game.deadline
    c.objective = cp.Maximize(cp.sum(c.expressions["client_utility"]) - 1.0 * round_time)
    solution = bo.solve(c, solver=solver)
    assert solution.succeeded, solution

    def total(end: float) -> float:
        response = bo.best_response(game.replace(deadline=end), prices)
        assert response.clients is not None
        return response.objective - end if response.clients["recruited"].all() else -math.inf

    shortest = sum(least_times(game, prices))
    best = minimize_scalar(
        lambda end: -total(end), bounds=(shortest * (1 + 1e-9), 40.0), method="bounded", options={"xatol": 1e-9}
    )
    assert solution.objective == pytest.approx(-best.fun, rel=1e-7)


def least_times(game: bo.Game, prices: pd.DataFrame) -> tuple[float, float]:
    """Bounds of the client that needs longest."""
    p, q = game.population, game.population.max_speed
    t = p.training_cycles * np.maximum(np.cbrt(p.energy_coefficient / prices["training_price"].to_numpy()), 1 / q)
    s = game.mining_cycles * np.maximum(np.cbrt(p.energy_coefficient / prices["mining_price"].to_numpy()), 1 / q)
    k = int((t + s).argmax())
    return float(t[k]), float(s[k])


def test_an_owner_that_ends_rounds_early_is_told_that_clients_would_not() -> None:
    c = own_deadlines(a_game())
    c.context = dataclasses.replace(c.context, follower_optimal=True)
    before = {name: variable.value.tolist() for name, variable in c.variables.items()}
    assert bo.solve(c).status is bo.Status.FOLLOWER_NOT_OPTIMAL
    assert {name: variable.value.tolist() for name, variable in c.variables.items()} == before
    assert all(constraint.dual_value is None for constraint in c.constraints.values())
