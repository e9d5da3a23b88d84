"""Problems 1-3 in CVXPY: names, convexity, screening, what each constraint does, and answers found without the package."""

from __future__ import annotations

import dataclasses
import importlib.util
import math
from collections.abc import Callable
from pathlib import Path

import cvxpy as cp
import numpy as np
import pandas as pd
import pytest
from convex_games import a_game, some_prices
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq

import bcfl_opt as bo
from bcfl_opt.context import ConvexModel
from bcfl_opt.models import problem1_cvxpy, problem2_cvxpy, problem3_cvxpy

TIMES_AND_REWARDS = ["training_time", "mining_time", "training_reward", "mining_reward"]
CLIENT = {*TIMES_AND_REWARDS, "training_speed", "mining_speed", "training_price", "mining_price"} | {
    *("training_energy", "mining_energy", "energy_cost"),
}
CLIENT |= {"client_utility"}
RATIONAL = {"training_rationality", "mining_rationality", "deadline"}
LIMITS = {"training_speed_limit", "mining_speed_limit"}
BUDGETS = {"training_budget", "mining_budget"}
PRIVATE = {"individual_rationality", "incentive_compatibility"}
OWNERS = [
    (problem, response, budgets)
    for problem in (problem2_cvxpy, problem3_cvxpy)
    for response in ("optimal", "theorem")
    for budgets in ("at_most", "exhausted")
]


def numbers(game: bo.Game) -> list[tuple[float, float, float, float, float]]:
    """mu, rho, q, R_t, R_m by client."""
    p, caps = game.population, game.caps
    columns = (p.training_cycles, p.energy_coefficient, p.max_speed, caps["training_cap"], caps["mining_cap"])
    return [tuple(map(float, row)) for row in zip(*columns, strict=True)]  # type: ignore[misc]


def root(falling: Callable[[float], float], low: float, high: float) -> float:
    """Where a falling function crosses 0, or the end of the interval that is nearest to that."""
    if falling(low) <= 0:
        return low
    return high if falling(high) >= 0 else float(brentq(falling, low, high, xtol=1e-15 * high, rtol=1e-15))


# ---------------------------------------------------------------------------------- what is in a model


@pytest.mark.parametrize("reward_caps", [False, True])
def test_the_parts_of_problem_1(reward_caps: bool) -> None:
    game = a_game(limit=60.0)
    c = problem1_cvxpy.build(game, some_prices(game), reward_caps=reward_caps)
    assert set(c.variables) == {"training_time", "mining_time"}
    assert set(c.constraints) == RATIONAL | LIMITS | (BUDGETS if reward_caps else set())
    assert set(c.expressions) == CLIENT
    assert c.problem().is_dcp() and not c.checks
    assert not c.context.follower_optimal and c.context.prices is not None
    assert all(expression.shape == (6,) for expression in c.expressions.values())


@pytest.mark.parametrize(("problem", "response", "budgets"), OWNERS)
def test_the_parts_of_the_owners_problems(problem: object, response: str, budgets: str) -> None:
    c: ConvexModel = problem.build(a_game(limit=60.0), response=response, budgets=budgets)  # type: ignore[attr-defined]
    third, optimal = problem is problem3_cvxpy, response == "optimal"
    payments = {"training_payment", "mining_payment"} if optimal else {"mining_payment"}
    assert set(c.variables) == {"training_time", "mining_time", *payments}
    assert set(c.constraints) == RATIONAL | LIMITS | BUDGETS | (PRIVATE if third else set())
    assert CLIENT | {"owner_cost", "owner_utility"} <= set(c.expressions)
    assert c.problem().is_dcp()
    assert c.context.follower_optimal == optimal
    assert set(c.checks) == (
        ({"incentive_compatibility_over_reporting"} if third and optimal else set())
        | ({"zero_utility"} if third and budgets == "exhausted" else set())
    )
    # What Theorem 3.1 makes an identity is there, to be found and removed, and has no entries.
    empty = {name for name, constraint in c.constraints.items() if constraint.size == 0}
    assert empty == (set() if optimal else {"training_rationality"} | ({"incentive_compatibility"} if third else set()))


def test_without_any_speed_limit_there_is_no_such_constraint() -> None:
    game = a_game(limit=math.inf)
    assert set(problem1_cvxpy.build(game, some_prices(game)).constraints) == RATIONAL
    assert set(problem2_cvxpy.build(game).constraints) == RATIONAL | BUDGETS


@pytest.mark.parametrize(("problem", "response", "budgets"), OWNERS)
def test_every_constraint_can_be_removed(problem: object, response: str, budgets: str) -> None:
    build = problem.build  # type: ignore[attr-defined]
    for name in build(a_game(3, limit=60.0), response=response, budgets=budgets).constraints:
        c = build(a_game(3, limit=60.0), response=response, budgets=budgets)
        del c.constraints[name]
        assert c.problem().is_dcp()
        assert len(c.problem().constraints) == len(c.constraints)


def test_the_speed_form_is_refused_by_name() -> None:
    game = a_game(limit=60.0)
    with pytest.raises(bo.InputError, match=r"not convex in speeds.*problem1_pyomo.*form=\"speed\""):
        problem1_cvxpy.build(game, some_prices(game), form="speed")
    with pytest.raises(bo.InputError, match="did you mean 'time'"):
        problem1_cvxpy.build(game, some_prices(game), form="tine")
    with pytest.raises(bo.InputError, match="did you mean 'optimal'"):
        problem2_cvxpy.build(game, response="optimum")
    with pytest.raises(bo.InputError, match="did you mean 'exhausted'"):
        problem3_cvxpy.build(game, budgets="exhaust")


@pytest.mark.parametrize("name", ["problem1_cvxpy", "problem2_cvxpy", "problem3_cvxpy"])
def test_a_model_refuses_to_be_imported_by_its_place(name: str) -> None:
    place = Path(problem1_cvxpy.__file__).with_name(f"{name}.py")
    spec = importlib.util.spec_from_file_location(f"models.{name}", place)
    assert spec is not None and spec.loader is not None
    with pytest.raises(ImportError, match=f"bcfl_opt.models.{name}"):
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


# ---------------------------------------------------------------------------------- who is in a model


def test_clients_without_an_answer_are_left_out_with_their_reason() -> None:
    game = a_game(limit=60.0)
    prices = some_prices(game)
    prices.loc["c1", "training_price"] = 1e-9
    prices.loc["c2", "mining_price"] = 0.0
    prices.loc["c4"] = np.nan
    c = problem1_cvxpy.build(game, prices)
    assert list(c.context.clients) == ["c0", "c3", "c5"]
    assert set(c.context.excluded) == {"c1", "c2", "c4"}
    solution = bo.solve(c)
    assert solution.succeeded and solution.clients is not None
    assert solution.clients["reason"].loc[["c1", "c2", "c4"]].tolist() == [
        c.context.excluded[i] for i in ("c1", "c2", "c4")
    ]
    assert solution.objective == pytest.approx(bo.best_response(game, prices).objective, rel=1e-12)
    # Everyone who is offered something is kept on request; then one client's impossible limit is everyone's.
    kept = problem1_cvxpy.build(game, prices, screen=False)
    assert list(kept.context.clients) == ["c0", "c1", "c2", "c3", "c5"]
    assert bo.solve(kept).status is bo.Status.INFEASIBLE
    del kept.constraints["training_rationality"], kept.constraints["mining_rationality"]
    assert bo.solve(kept).succeeded


def test_a_price_of_zero_that_is_kept_is_proven_infeasible_by_name() -> None:
    game = a_game(limit=60.0)
    solution = bo.solve(problem1_cvxpy.build(game, game.prices(0.0, 0.1), screen=False))
    assert solution.status is bo.Status.INFEASIBLE
    assert "training_rationality['c0']" in solution.detail


@pytest.mark.parametrize(("problem", "response", "budgets"), OWNERS)
def test_a_model_of_no_clients_builds_and_reports_it(problem: object, response: str, budgets: str) -> None:
    c = problem.build(a_game(limit=60.0, deadline=1e-4), response=response, budgets=budgets)  # type: ignore[attr-defined]
    assert len(c.context.clients) == 0 and len(c.context.excluded) == 6
    solution = bo.solve(c)
    assert solution.status is bo.Status.NO_CLIENTS
    assert solution.clients is not None and not solution.clients["recruited"].any()


def test_problem_1_of_no_clients_builds_and_reports_it() -> None:
    game = a_game(limit=60.0)
    c = problem1_cvxpy.build(game, game.prices(1e-9, 1e-9), reward_caps=True)
    assert len(c.context.clients) == 0
    assert bo.solve(c).status is bo.Status.NO_CLIENTS


def test_who_cannot_spend_its_cap_without_profit_is_left_out_of_problem_3_exhausted() -> None:
    # c0 may run at 1 at most, and spends R_t only at sqrt(R_t / (rho mu)), far above: it would keep a profit.
    game = a_game(limit=60.0)
    frame = game.population.frame
    frame.loc["c0", "max_speed"] = 1.0
    game = game.replace(population=bo.Population(frame))
    for response in ("optimal", "theorem"):
        c = problem3_cvxpy.build(game, response=response, budgets="exhausted")
        assert "without profit" in c.context.excluded["c0"]
        assert bo.solve(c).succeeded
    assert not problem2_cvxpy.build(game, budgets="exhausted").context.excluded


# ---------------------------------------------------------------------------------- answers


@settings(max_examples=25, derandomize=True, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    n=st.integers(1, 8),
    psi=st.floats(0.5, 20),
    deadline=st.floats(4, 60),
    reward_caps=st.booleans(),
)
def test_problem_1_against_one_root_per_client(
    seed: int, n: int, psi: float, deadline: float, reward_caps: bool
) -> None:
    rng = np.random.default_rng(seed)
    q = rng.choice([np.inf, 2.0, 6.0], n)
    frame = pd.DataFrame({"mu": rng.uniform(0.5, 20, n), "rho": rng.uniform(0.002, 0.05, n), "q": q})
    game = bo.Game(frame, mining_cycles=psi, deadline=deadline)
    prices = game.prices(10 ** rng.uniform(-2, 1, n), 10 ** rng.uniform(-2, 1, n))
    total, able = 0.0, 0
    for (mu, rho, limit, r_t, r_m), (p_t, p_m) in zip(numbers(game), prices.to_numpy().tolist(), strict=True):
        low_t, low_s = mu * max((rho / p_t) ** (1 / 3), 1 / limit), psi * max((rho / p_m) ** (1 / 3), 1 / limit)
        high_t, high_s = (r_t / p_t, r_m / p_m) if reward_caps else (math.inf, math.inf)
        if low_t + low_s > deadline or low_t > high_t or low_s > high_s:
            continue
        able += 1
        if high_t + high_s <= deadline:  # U rises in both times: the caps end them
            t, s = high_t, high_s
        else:  # dU/dt along t + s = T falls
            t = root(
                lambda t, mu=mu, rho=rho, p_t=p_t, p_m=p_m: (
                    p_t - p_m + 2 * rho * (mu / t) ** 3 - 2 * rho * (psi / (deadline - t)) ** 3
                ),
                max(low_t, deadline - high_s),
                min(high_t, deadline - low_s),
            )
            s = deadline - t
        total += p_t * t + p_m * s - rho * mu**3 / t**2 - rho * psi**3 / s**2
    solution = bo.solve(problem1_cvxpy.build(game, prices, reward_caps=reward_caps))
    if able == 0:
        assert solution.status is bo.Status.NO_CLIENTS
        return
    assert solution.succeeded, solution
    assert solution.quality is bo.Quality.GLOBAL
    assert solution.clients is not None and solution.clients["recruited"].sum() == able
    # 1e-8 of the terms: U itself can be the small difference of large ones.
    size = solution.clients[["training_reward", "mining_reward", "energy_cost"]].to_numpy().sum()
    assert solution.objective == pytest.approx(total, abs=1e-8 * size)


@pytest.mark.parametrize("problem", [problem2_cvxpy, problem3_cvxpy])
@pytest.mark.parametrize("response", ["optimal", "theorem"])
def test_at_most_is_the_equilibrium_under_either_response(problem: object, response: str) -> None:
    game = a_game(limit=60.0, mining_cap=0.05, reward_budget=2.0)
    solution = bo.solve(problem.build(game, response=response))  # type: ignore[attr-defined]
    assert solution.succeeded and solution.quality is bo.Quality.GLOBAL and solution.clients is not None
    cost, binding = 0.0, 0
    for name, (mu, rho, q, r_t, r_m) in zip(game.population.ids, numbers(game), strict=True):
        # Theory 5.1: t* = clip(mu T / (mu + psi), energy within R_t, energy within R_m), and payments equal energy.
        psi, deadline = game.mining_cycles, game.deadline
        low = max(mu / q, math.sqrt(rho * mu**3 / r_t))
        high = deadline - max(psi / q, math.sqrt(rho * psi**3 / r_m))
        free = mu * deadline / (mu + psi)
        t = min(max(free, low), high)
        binding += t != free
        row = [t, deadline - t, rho * mu**3 / t**2, rho * psi**3 / (deadline - t) ** 2]
        np.testing.assert_allclose(solution.clients.loc[name, TIMES_AND_REWARDS].to_numpy(dtype=float), row, rtol=1e-9)
        cost += sum(row)
    assert 0 < binding < len(game)
    cycles = game.population.training_cycles.sum()
    assert solution.objective == pytest.approx(math.log1p(cycles) - game.cost_weight * cost, rel=1e-12)


def test_exhausted_budgets_and_the_theorems_response_give_15_and_the_corrected_16() -> None:
    game = a_game(limit=60.0)
    solution = bo.solve(problem2_cvxpy.build(game, response="theorem", budgets="exhausted"))
    assert solution.succeeded and solution.clients is not None
    for name, (mu, rho, _, r_t, r_m) in zip(game.population.ids, numbers(game), strict=True):
        p_t = rho**-0.5 * (r_t / mu) ** 1.5  # (15)
        p_m = r_m / (game.deadline - rho**0.5 * mu**1.5 * r_t**-0.5)  # (16), corrected
        prices = solution.clients.loc[name, ["training_price", "mining_price"]].to_numpy(dtype=float)
        np.testing.assert_allclose(prices, [p_t, p_m], rtol=1e-9)


@pytest.mark.parametrize("response", ["optimal", "theorem"])
def test_problem_3_exhausted_is_theorem_4_1_under_either_response(response: str) -> None:
    game = a_game(limit=60.0)
    solution = bo.solve(problem3_cvxpy.build(game, response=response, budgets="exhausted"))
    assert solution.succeeded and solution.clients is not None, solution
    for name, (mu, rho, _, r_t, _) in zip(game.population.ids, numbers(game), strict=True):
        p_t = rho**-0.5 * (r_t / mu) ** 1.5  # (15)
        p_m = rho * (game.mining_cycles / (game.deadline - mu * (rho / p_t) ** (1 / 3))) ** 3  # (20)
        prices = solution.clients.loc[name, ["training_price", "mining_price"]].to_numpy(dtype=float)
        np.testing.assert_allclose(prices, [p_t, p_m], rtol=1e-7)
    np.testing.assert_allclose(solution.clients["client_utility"], 0, atol=1e-7)


@pytest.mark.parametrize("psi", [0.5, 6.0, 20.0])
@pytest.mark.parametrize("q", [1.5, math.inf])
def test_problem_2_exhausted_with_optimal_responses_is_one_root_per_client(psi: float, q: float) -> None:
    # Theory: with p_t = R_t / t and p_m = R_m / s, h = R_t/t + 2 rho mu^3/t^3 - R_m/s - 2 rho psi^3/s^3 falls in t.
    rng = np.random.default_rng(3)
    frame = pd.DataFrame({"mu": rng.uniform(6, 14, 8), "rho": rng.uniform(0.005, 0.02, 8), "q": q})
    game = bo.Game(frame, mining_cycles=psi, deadline=30.0, mining_cap=2.0, reward_budget=40.0)
    c = problem2_cvxpy.build(game, budgets="exhausted")
    solution = bo.solve(c)
    assert solution.succeeded and solution.clients is not None, solution
    assert solution.certificate is not None and solution.certificate.follower_gap is not None
    for k, (mu, rho, _, r_t, r_m) in enumerate(numbers(game)):
        if not solution.clients["recruited"].iloc[k]:
            continue
        t = root(
            lambda t, mu=mu, rho=rho, r_t=r_t, r_m=r_m: (
                r_t / t + 2 * rho * (mu / t) ** 3 - r_m / (30 - t) - 2 * rho * (psi / (30 - t)) ** 3
            ),
            max(mu / q, math.sqrt(rho * mu**3 / r_t)),
            30 - max(psi / q, math.sqrt(rho * psi**3 / r_m)),
        )
        row = solution.clients.iloc[k][TIMES_AND_REWARDS].to_numpy(dtype=float)
        np.testing.assert_allclose(row, [t, 30 - t, r_t, r_m], rtol=1e-9)
    # The objective carries the potential; what the owner gets is an expression of its own.
    owner = solution.owner_utility
    assert float(c.expressions["owner_utility"].value) == pytest.approx(owner, rel=1e-12)
    assert solution.objective == pytest.approx(owner + float(c.expressions["potential"].value), rel=1e-12)


@pytest.mark.parametrize("money", [1e-6, 1e6])
@pytest.mark.parametrize("time", [1e-6, 1e6])
@pytest.mark.parametrize("cycles", [1e-6, 1e6])
def test_units_do_not_matter(money: float, time: float, cycles: float) -> None:
    game = a_game(limit=60.0)
    frame = game.population.frame
    frame["training_cycles"] *= cycles
    frame["max_speed"] *= cycles / time
    frame["energy_coefficient"] *= money / (cycles * (cycles / time) ** 2)
    other = bo.Game(
        frame,
        mining_cycles=6.0 * cycles,
        deadline=25.0 * time,
        mining_cap=4.0 * money,
        reward_budget=180.0 * money,
        target=10 * cycles,
    )
    rewards = {"training_reward": money, "mining_reward": money, "training_time": time, "mining_time": time}

    def same(model: ConvexModel, scaled: ConvexModel) -> None:
        first, second = bo.solve(model), bo.solve(scaled)
        assert first.succeeded and second.succeeded, second
        assert first.clients is not None and second.clients is not None
        for column, unit in rewards.items():
            np.testing.assert_allclose(second.clients[column] / unit, first.clients[column], rtol=1e-7)

    prices = some_prices(game)
    same(problem1_cvxpy.build(game, prices), problem1_cvxpy.build(other, prices * (money / time)))
    same(problem2_cvxpy.build(game), problem2_cvxpy.build(other))
    same(problem3_cvxpy.build(game), problem3_cvxpy.build(other))


def test_expressions_have_the_values_of_the_clients_table() -> None:
    game = a_game(limit=60.0)
    for c in (
        problem1_cvxpy.build(game, some_prices(game)),
        *(problem.build(game, response=r, budgets=b) for problem, r, b in OWNERS),  # type: ignore[attr-defined]
    ):
        solution = bo.solve(c)
        assert solution.succeeded and solution.clients is not None, solution
        size = solution.clients["training_reward"].max()
        people, times = game.population, solution.clients[["training_time", "mining_time"]].to_numpy().T
        cubes = people.energy_coefficient * np.stack([people.training_cycles, np.full(6, game.mining_cycles)]) ** 3
        parts = dict(zip(("training_energy", "mining_energy"), cubes / times**2, strict=True))
        for name in CLIENT:
            values, column = (
                c.expressions[name].value,
                solution.clients[name] if name in solution.clients else parts[name],
            )
            np.testing.assert_allclose(
                values, column, rtol=1e-9, atol=1e-9 * size, err_msg=f"{solution.problem} {name}"
            )


# ---------------------------------------------------------------------------------- what is checked and not imposed


def test_over_reporting_is_checked_at_the_answer() -> None:
    # An owner that loves its clients pays the caps: training then has a profit, and a larger report would have more.
    c = problem3_cvxpy.build(a_game(limit=60.0))
    c.objective = cp.Maximize(cp.sum(c.expressions["client_utility"]))
    solution = bo.solve(c)
    assert solution.status is bo.Status.NOT_CERTIFIED
    assert "incentive_compatibility_over_reporting" in solution.detail
    # Under-reporting is imposed: nobody but the least type may train at a loss, even where (8) and (17) are gone.
    game = a_game(limit=60.0)
    c = problem3_cvxpy.build(game)
    del c.constraints["training_rationality"], c.constraints["individual_rationality"]
    c.checks.clear()
    c.context = dataclasses.replace(c.context, follower_optimal=False)
    c.constraints["pays"] = c.variables["training_payment"] >= 0
    assert bo.solve(c).succeeded
    profit = c.variables["training_payment"].value - game.population.energy_coefficient * (
        game.population.training_cycles**3 / c.variables["training_time"].value ** 2
    )
    least = game.population.training_cycles.argmin()
    assert profit[least] < -1e-3
    assert np.delete(profit, least).min() > -1e-8


def test_zero_utility_is_checked_at_the_answer() -> None:
    c = problem3_cvxpy.build(a_game(limit=60.0), response="theorem", budgets="exhausted")
    c.objective = cp.Maximize(cp.sum(c.variables["mining_payment"]))
    solution = bo.solve(c)
    assert solution.status is bo.Status.NOT_CERTIFIED and "zero_utility" in solution.detail
