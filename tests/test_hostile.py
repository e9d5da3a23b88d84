"""Hostile games in the time that a test has: ten thousand exact answers at fifty digits, a sample of all routes, knife edges,
units, and what must not depend on the order of clients. ``tests/fuzz_hostile.py`` is the long run."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import fifty_digits as reference
import fuzz_hostile
import hostile_cases
import numpy as np
import pandas as pd
import pytest
from fifty_digits import INF, Split, mp
from fuzz_agreement import Client, clients_of
from hypothesis import given, settings
from hypothesis import strategies as st

import bcfl_opt as bo
from bcfl_opt.models import problem1_cvxpy, problem1_pyomo, problem2_cvxpy, problem2_pyomo, problem3_pyomo

# ------------------------------------------------------------------ ten thousand cases


def brackets_the_root(split: Split, t: float, *, near: float = 1e-11) -> bool:
    """Is the optimal training time on t + s = T within t (1 -+ near)? The slope, which falls, at fifty digits, changes its
    sign there, or the end of the interval is there."""
    c, total = split.c, split.total
    a, b = 2 * reference.energy_constant(c, c.mu), 2 * reference.energy_constant(c, c.psi)
    low, high = max(split.low_t, total - split.high_s), min(split.high_t, total - split.low_s)

    def slope(t: Any) -> Any:
        return split.w_t - split.w_s + a / t**3 - b / (total - t) ** 3

    left, right = mp.mpf(t) * (1 - near), mp.mpf(t) * (1 + near)
    edge = near * total  # where the rest of the deadline decides, t is known as well as T is
    from_left = left <= low or left - edge <= low or left >= high or slope(left) >= 0
    from_right = right >= high or right + edge >= high or right <= low or slope(right) <= 0
    return bool(from_left and from_right and low - near * t - edge <= t <= high + near * t + edge)


def judge_exactly(name: str, split: Split, row: pd.Series) -> None:
    """Recruited exactly where there is room, outside a band of 1e-9; times on the optimum; worth what it says."""
    if row["recruited"]:
        assert split.room > -hostile_cases.BAND, (name, row)
        t, s = float(row["training_time"]), float(row["mining_time"])
        if split.room <= hostile_cases.BAND:  # no more than a hair between some of its bounds
            assert (
                t >= split.low_t * (1 - 1e-8)
                and s >= split.low_s * (1 - 1e-8)
                and t + s <= split.total * (1 + hostile_cases.BAND)
            )
        elif split.high_t + split.high_s <= split.total:
            assert t == pytest.approx(float(split.high_t), rel=1e-11) and s == pytest.approx(
                float(split.high_s), rel=1e-11
            )
        else:
            assert abs(t + s - float(split.total)) <= 4e-16 * float(split.total), name
            assert brackets_the_root(split, t), (name, row)
        energy = reference.energy(split.c, t, s)
        assert abs(row["energy_cost"] - energy) <= 1e-14 * energy, name
    else:
        assert split.room < hostile_cases.BAND, (name, row)


@pytest.mark.parametrize("chunk", range(20))
def test_ten_thousand_exact_answers(chunk: int) -> None:
    cases = seed = 0
    while cases < 500:
        game, prices = hostile_cases.draw(np.random.default_rng([chunk, seed]))
        seed += 1
        for kind in ("response", "response to capped rewards", "equilibrium"):
            capped = kind == "response to capped rewards"
            answer = bo.equilibrium(game) if kind == "equilibrium" else bo.best_response(game, prices, capped)
            for name, c in clients_of(game):
                paid = reference.client_problem(c, *prices.loc[name], reward_caps=capped)
                judge_exactly(
                    name, reference.recruitment(c) if kind == "equilibrium" else paid, answer.clients.loc[name]
                )
                cases += 1


@pytest.mark.parametrize("chunk", range(4))
def test_no_route_is_ever_wrong(chunk: int) -> None:
    wrong = [v for v in fuzz_hostile.judged(range(500_000 + 25 * chunk, 500_025 + 25 * chunk)) if v.verdict == "WRONG"]
    assert wrong == []


# ------------------------------------------------------------------ knife edges


ROUTES: dict[str, Callable[[bo.Game, pd.DataFrame], bo.Solution]] = {
    "exact": bo.best_response,
    "Pyomo times": lambda game, prices: bo.solve(problem1_pyomo.build(game, prices, screen=False)),
    "Pyomo speeds": lambda game, prices: bo.solve(problem1_pyomo.build(game, prices, form="speed", screen=False)),
    "Clarabel": lambda game, prices: bo.solve(problem1_cvxpy.build(game, prices, screen=False)),
    "CVXPY IPOPT": lambda game, prices: bo.solve(problem1_cvxpy.build(game, prices, screen=False), solver="ipopt"),
}


@pytest.mark.parametrize("route", ROUTES)
def test_the_deadline_exactly_at_the_least_time(route: str) -> None:
    """p = rho = 1/128 makes the least times t = mu = 10 and s = psi = 5, without rounding: T = 15 leaves one point."""
    game = bo.Game(pd.DataFrame({"mu": [10.0], "rho": [2.0**-7]}, index=["a"]), deadline=15.0)
    prices = game.prices(2.0**-7, 2.0**-7)
    solution = ROUTES[route](game, prices)
    if solution.succeeded:  # an interior-point method may find no interior, and must say so
        row = solution.clients.loc["a"]
        assert row["training_time"] == pytest.approx(10.0, rel=1e-6) and row["mining_time"] == pytest.approx(
            5.0, rel=1e-6
        )
        assert abs(row["client_utility"]) <= 1e-6 * row["energy_cost"]
    else:
        assert route != "exact" and solution.status is not bo.Status.INFEASIBLE
    short = ROUTES[route](game.replace(deadline=15.0 * (1 - 1e-6)), prices)
    assert not short.succeeded
    longer = ROUTES[route](game.replace(deadline=15.0 * (1 + 1e-4)), prices)
    assert longer.succeeded and longer.clients.loc["a", "training_time"] == pytest.approx(10.0005, rel=1e-4)


@pytest.mark.parametrize("route", ["exact", "Pyomo", "Clarabel", "CVXPY IPOPT"])
def test_the_owners_optimal_prices_leave_the_client_one_point(route: str) -> None:
    """Theory 5.1: at p = energy / t of each task, (8), (9) and T leave (t, s) alone: Problem 1 finds it, or fails."""
    game = bo.Game(bo.Population.random(5, seed=4))
    found = bo.equilibrium(game)
    solve = {"Pyomo": "Pyomo times"}.get(route, route)
    again = ROUTES[solve](game, found.prices)
    if again.succeeded:
        np.testing.assert_allclose(again.clients["training_time"], found.clients["training_time"], rtol=1e-6)
    else:
        assert route != "exact"


@pytest.mark.parametrize("route", ROUTES)
def test_a_price_of_zero_buys_nothing(route: str) -> None:
    game = bo.Game(pd.DataFrame({"mu": [10.0, 9.0], "rho": 0.01}, index=["a", "b"]))
    solution = ROUTES[route](game, game.prices([0.0, 0.05], [0.05, 0.0]))
    assert not solution.succeeded
    assert solution.clients is None or not solution.clients["recruited"].any()


@pytest.mark.parametrize("n", [1, 100_000])
def test_one_client_and_a_hundred_thousand(n: int) -> None:
    game = bo.Game(bo.Population.random(n, seed=9, speed_limits=True))
    prices = game.prices(0.05, 0.05)
    solution = bo.best_response(game, prices)
    assert len(solution.clients) == n
    for name in solution.clients.index[:: max(n // 50, 1)]:
        mu, rho, q = game.population.frame.loc[name, ["training_cycles", "energy_coefficient", "max_speed"]]
        c = Client(mu, rho, q, math.inf, math.inf, game.mining_cycles, game.deadline)
        judge_exactly(name, reference.client_problem(c, *prices.loc[name]), solution.clients.loc[name])


# ------------------------------------------------------------------ units and order


OWNERS: dict[str, Callable[[bo.Game], Any]] = {
    "Problem 2, Pyomo": lambda game: bo.solve(problem2_pyomo.build(game)),
    "Problem 2, Clarabel": lambda game: bo.solve(problem2_cvxpy.build(game)),
    "Problem 2, CVXPY IPOPT": lambda game: bo.solve(problem2_cvxpy.build(game), solver="ipopt"),
    "Problem 3, Pyomo": lambda game: bo.solve(problem3_pyomo.build(game)),
}


def told_in(game: bo.Game, *, money: float, time: float, cycles: float) -> bo.Game:
    frame = game.population.frame
    frame["training_cycles"] *= cycles
    frame["energy_coefficient"] *= money * time**2 / cycles**3
    frame["max_speed"] *= cycles / time
    return bo.Game(
        frame,
        mining_cycles=game.mining_cycles * cycles,
        deadline=game.deadline * time,
        mining_cap=game.mining_cap * money,
        reward_budget=game.reward_budget * money,
        target=game.target * cycles,
    )


@pytest.mark.parametrize("unit", ["money", "time", "cycles"])
@pytest.mark.parametrize("factor", [1e-6, 1e-3, 1e3, 1e6])
def test_the_same_answer_in_any_units(unit: str, factor: float) -> None:
    factors = {"money": 1.0, "time": 1.0, "cycles": 1.0, unit: factor}
    game = bo.Game(bo.Population.random(6, seed=2, speed_limits=True), target=11.0)
    other = told_in(game, **factors)
    prices = game.prices(0.05, 0.04)
    told = prices * (factors["money"] / factors["time"])
    for route, solve in ROUTES.items():
        here, there = solve(game, prices), solve(other, told)
        assert here.status == there.status, route
        if here.succeeded:
            np.testing.assert_allclose(
                there.clients["training_time"],
                here.clients["training_time"] * factors["time"],
                rtol=1e-6,
                err_msg=route,
            )
            np.testing.assert_allclose(
                there.clients["client_utility"],
                here.clients["client_utility"] * factors["money"],
                rtol=1e-6,
                err_msg=route,
            )
    for route, owner in OWNERS.items():
        here, there = owner(game).raise_if_failed(), owner(other).raise_if_failed()
        for name in ("training_reward", "mining_reward"):
            np.testing.assert_allclose(
                there.clients[name], here.clients[name] * factors["money"], rtol=1e-6, err_msg=route
            )


def test_a_speed_limit_of_1e21_is_one() -> None:
    """IPOPT takes bounds above 1e19 for none; told in small cycles and long seconds, speeds are easily larger."""
    game = bo.Game(bo.Population.random(4, seed=2, speed_limits=True), target=11.0)
    told = told_in(game, money=1.0, time=1e-9, cycles=1e12)
    prices = game.prices(3.0, 0.5)
    assert (told.population.max_speed > 1e20).all()
    for form in ("time", "speed"):
        here, there = (
            bo.solve(problem1_pyomo.build(g, p, form=form)).raise_if_failed()
            for g, p in ((game, prices), (told, prices * 1e9))
        )
        binding = np.isclose(here.clients["mining_speed"], game.population.max_speed, rtol=1e-6)
        assert binding.any()
        np.testing.assert_allclose(there.clients["mining_speed"] / 1e21, here.clients["mining_speed"], rtol=1e-6)


@settings(max_examples=15, derandomize=True, deadline=None)
@given(seed=st.integers(0, 10_000), order=st.permutations(range(5)))
def test_clients_in_another_order_get_the_same(seed: int, order: list[int]) -> None:
    population = bo.Population.random(5, seed=seed, speed_limits=True)
    game = bo.Game(population)
    other = bo.Game(population.select([population.ids[k] for k in order]))
    for route, owner in OWNERS.items():
        here, there = owner(game), owner(other)
        assert here.status == there.status, route
        if here.succeeded:
            np.testing.assert_allclose(there.objective, here.objective, rtol=1e-9)
            np.testing.assert_allclose(
                there.clients["training_time"].loc[here.clients.index], here.clients["training_time"], rtol=1e-6
            )


@settings(max_examples=25, derandomize=True, deadline=None)
@given(seed=st.integers(0, 10_000), factor=st.floats(1.01, 3.0))
def test_more_time_costs_the_client_nothing_and_less_energy(seed: int, factor: float) -> None:
    """Problem 1: a longer T only adds points, so no utility falls; Problem 2 at most: the least energy falls with T."""
    population = bo.Population.random(4, seed=seed, speed_limits=True)
    game = bo.Game(population)
    prices, longer = game.prices(0.06, 0.05), game.replace(deadline=game.deadline * factor)
    for solve in (ROUTES["exact"], ROUTES["Pyomo times"], ROUTES["Clarabel"]):
        before, after = solve(game, prices), solve(longer, prices)
        if before.succeeded and after.succeeded:
            gain = after.clients["client_utility"] - before.clients["client_utility"]
            size = after.clients["energy_cost"] + after.clients["client_utility"].abs()
            assert (gain >= -1e-9 * size)[before.clients["recruited"]].all()
    before, after = bo.equilibrium(game), bo.equilibrium(longer)
    if before.succeeded:
        both = before.clients["recruited"]
        assert after.clients["recruited"][both].all()
        assert (after.clients["energy_cost"] <= before.clients["energy_cost"] * (1 + 1e-12))[both].all()


def test_limits() -> None:
    """T without end: training and mining at the slowest paid speed cost nothing, p t grows with T. psi -> 0: the whole deadline
    trains, t -> T and the energy is rho mu^3 / T^2. mu -> 0: likewise for mining."""
    frame = pd.DataFrame({"mu": [10.0], "rho": [0.01]}, index=["a"])
    endless = bo.Game(frame, deadline=1e9)
    row = bo.best_response(endless, endless.prices(1.0, 1.0)).clients.loc["a"]
    assert row["client_utility"] == pytest.approx(1e9, rel=1e-12) and row["energy_cost"] < 1e-14
    training = bo.Game(frame, mining_cycles=1e-9)
    row = bo.equilibrium(training).clients.loc["a"]
    assert row["training_time"] == pytest.approx(15.0, rel=1e-9)
    assert row["energy_cost"] == pytest.approx(0.01 * 10**3 / 15**2, rel=1e-9)
    mining = bo.Game(frame.assign(mu=1e-9), target=1e-9)
    row = bo.best_response(mining, mining.prices(1.0, 1.0)).clients.loc["a"]
    assert row["energy_cost"] == pytest.approx(0.01 * 5**3 / 15**2, rel=1e-9)


def test_next_to_no_training_and_none() -> None:
    with pytest.raises(bo.InputError, match=r"row 0 \(client 'a'\), column 'training_cycles'.*must be greater than 0"):
        bo.Population(pd.DataFrame({"mu": [0.0], "rho": [0.01]}, index=["a"]))
    assert mp.inf == INF
