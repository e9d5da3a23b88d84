"""Problems 1-3 in Pyomo, changed in a few lines of plain Pyomo: each against an answer found without the package.

What is changed: the deadline goes, a speed is capped, the objective is another one, and all clients are coupled, by a
shared budget of payments or by a common round time.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pandas as pd
import pyomo.environ as pyo
import pytest
from fuzz_agreement import Client, clients_of, response, split, utility
from scipy.optimize import brentq, minimize_scalar

import bcfl_opt as bo
from bcfl_opt.models import problem1_pyomo, problem2_pyomo, problem3_pyomo

FORMS = ("time", "speed")
OWNERS = (problem2_pyomo, problem3_pyomo)


@pytest.fixture(scope="module")
def game() -> bo.Game:
    """Pairs around the target: nobody has a negative Shapley share."""
    rho = np.random.default_rng(7).uniform(0.005, 0.02, 6)
    frame = pd.DataFrame({"mu": [8.0, 12, 8.5, 11.5, 9, 11], "rho": rho, "q": [1.5, np.inf] * 3})
    return bo.Game(frame, mining_cycles=6.0, deadline=25.0, mining_cap=4.0, reward_budget=120.0, target=10)


@pytest.fixture(scope="module")
def prices(game: bo.Game) -> pd.DataFrame:
    rng = np.random.default_rng(8)
    return game.prices(rng.uniform(0.03, 0.3, 6), rng.uniform(0.03, 0.3, 6))


Priced = list[tuple[Client, float, float]]


@pytest.fixture(scope="module")
def priced(game: bo.Game, prices: pd.DataFrame) -> Priced:
    """Client, p_t, p_m, all of them able to respond."""
    found = [(c, *map(float, prices.loc[name])) for name, c in clients_of(game)]
    assert all(response(c, p_t, p_m) for c, p_t, p_m in found)
    return found


def least(c: Client, p_t: float, p_m: float) -> tuple[float, float]:
    """The bounds on t and s that (8), (9) and the speed limit make."""
    return c.mu * max((c.rho / p_t) ** (1 / 3), 1 / c.q), c.psi * max((c.rho / p_m) ** (1 / 3), 1 / c.q)


# ---------------------------------------------------------------------------------- the deadline goes


@pytest.mark.parametrize("form", FORMS)
def test_without_the_deadline_the_reward_caps_end_both_times(
    game: bo.Game, prices: pd.DataFrame, priced: Priced, form: str
) -> None:
    m = problem1_pyomo.build(game, prices, form=form, reward_caps=True)
    assert len(m.clients) == 6
    m.deadline.deactivate()
    solution = bo.solve(m, raise_on_failure=True)
    # U rises in t and in s, so t = R_t / p_t and s = R_m / p_m.
    assert solution.clients is not None
    times = solution.clients[["training_time", "mining_time"]].to_numpy()
    answer = np.array([(c.training_cap / p_t, c.mining_cap / p_m) for c, p_t, p_m in priced])
    np.testing.assert_allclose(times, answer, rtol=1e-6)
    best = sum(utility(c, p_t, p_m, c.training_cap / p_t, c.mining_cap / p_m) for c, p_t, p_m in priced)
    assert solution.objective == pytest.approx(best, rel=1e-6)


# ---------------------------------------------------------------------------------- a speed is capped


@pytest.mark.parametrize("form", FORMS)
def test_a_cap_on_a_speed(game: bo.Game, prices: pd.DataFrame, priced: Priced, form: str) -> None:
    m = problem1_pyomo.build(game, prices, form=form)
    m.cap = pyo.Constraint(m.clients, rule=lambda m, i: m.mining_speed[i] <= 0.45)
    solution = bo.solve(m, raise_on_failure=True)
    best, binding = 0.0, 0
    for c, p_t, p_m in priced:
        low_t, low_s = least(c, p_t, p_m)
        t, s = split(c, p_t, p_m, low_t, max(low_s, c.psi / 0.45), c.deadline)
        binding += math.isclose(s, c.psi / 0.45)
        best += utility(c, p_t, p_m, t, s)
    assert binding >= 2
    assert solution.objective == pytest.approx(best, rel=1e-6)


@pytest.mark.parametrize("problem", OWNERS)
def test_a_cap_on_a_speed_set_by_the_owner(game: bo.Game, problem: object) -> None:
    m = problem.build(game)  # type: ignore[attr-defined]
    m.cap = pyo.Constraint(m.clients, rule=lambda m, i: m.training_speed[i] <= 0.6)
    solution = bo.solve(m, raise_on_failure=True)
    # Theory 5.1 with t >= mu / 0.6 besides. The prices still leave the clients a single point, so they confirm it.
    cost, cycles = 0.0, 0.0
    for _, c in clients_of(game):
        low = max(c.mu / c.q, c.mu / 0.6, math.sqrt(c.rho * c.mu**3 / c.training_cap))
        high = c.deadline - max(c.psi / c.q, math.sqrt(c.rho * c.psi**3 / c.mining_cap))
        assert low < high
        t = min(max(c.mu * c.deadline / (c.mu + c.psi), low), high)
        cost += c.deadline + c.rho * c.mu**3 / t**2 + c.rho * c.psi**3 / (c.deadline - t) ** 2
        cycles += c.mu
    assert solution.objective == pytest.approx(math.log1p(cycles) - 0.1 * cost, rel=1e-6)


# ---------------------------------------------------------------------------------- another objective


@pytest.mark.parametrize("form", FORMS)
def test_least_energy_instead_of_utility(game: bo.Game, prices: pd.DataFrame, priced: Priced, form: str) -> None:
    m = problem1_pyomo.build(game, prices, form=form)
    m.utility.deactivate()
    m.energy = pyo.Objective(expr=sum(m.energy_cost[i] for i in m.clients), sense=pyo.minimize)
    solution = bo.solve(m, raise_on_failure=True)
    # Energy falls in both times; on t + s = T it is utility at equal prices, up to a constant.
    energy = 0.0
    for c, p_t, p_m in priced:
        t, s = split(c, 0.0, 0.0, *least(c, p_t, p_m), c.deadline)
        energy -= utility(c, 0.0, 0.0, t, s)
    assert solution.objective == pytest.approx(energy, rel=1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_the_utility_of_the_worst_off(game: bo.Game, prices: pd.DataFrame, priced: Priced, form: str) -> None:
    m = problem1_pyomo.build(game, prices, form=form)
    m.worst = pyo.Var(initialize=0.0)
    m.floor = pyo.Constraint(m.clients, rule=lambda m, i: m.client_utility[i] >= m.worst)
    m.utility.set_value(m.worst)
    # Clients are not coupled: each reaches its own best, and the least of these counts.
    answer = min(best[2] for c, p_t, p_m in priced if (best := response(c, p_t, p_m)))
    assert bo.solve(m, raise_on_failure=True).objective == pytest.approx(answer, rel=1e-6)


# ---------------------------------------------------------------------------------- a shared budget


def under_multiplier(c: Client, p_t: float, p_m: float, multiplier: float) -> tuple[float, float]:
    """max U - multiplier (t p_t + s p_m) of one client: rewards count (1 - multiplier) times.

    Beyond 1 a time has an end of its own, where 2 rho mu^3 / t^3 = (multiplier - 1) p_t, and the deadline may be slack.
    """
    low_t, low_s = least(c, p_t, p_m)
    weight = 1 - multiplier
    if weight < 0:
        t = max(low_t, c.mu * (2 * c.rho / (-weight * p_t)) ** (1 / 3))
        s = max(low_s, c.psi * (2 * c.rho / (-weight * p_m)) ** (1 / 3))
        if t + s <= c.deadline:
            return t, s
    return split(c, weight * p_t, weight * p_m, low_t, low_s, c.deadline)


@pytest.mark.parametrize("share", [0.3, 0.7, 0.97])
@pytest.mark.parametrize("form", FORMS)
def test_a_shared_payment_budget_at_given_prices(
    game: bo.Game, prices: pd.DataFrame, priced: Priced, form: str, share: float
) -> None:
    def paid(times: Callable[[Client, float, float], tuple[float, float]]) -> float:
        pairs = ((times(c, p_t, p_m), p_t, p_m) for c, p_t, p_m in priced)
        return math.fsum(t * p_t + s * p_m for (t, s), p_t, p_m in pairs)

    low, high = paid(least), paid(lambda c, p_t, p_m: under_multiplier(c, p_t, p_m, 0.0))
    budget = low + share * (high - low)

    m = problem1_pyomo.build(game, prices, form=form)
    m.budget = pyo.Constraint(expr=sum(m.training_reward[i] + m.mining_reward[i] for i in m.clients) <= budget)
    solution = bo.solve(m, raise_on_failure=True)

    # Strong duality: the multiplier at which the clients' own answers spend the budget.
    multiplier = brentq(
        lambda x: paid(lambda c, p_t, p_m: under_multiplier(c, p_t, p_m, x)) - budget, 0, 1e4, xtol=1e-14, rtol=1e-14
    )
    assert (multiplier > 1) == (share < 0.9)  # both kinds occur
    best = sum(utility(c, p_t, p_m, *under_multiplier(c, p_t, p_m, multiplier)) for c, p_t, p_m in priced)
    assert solution.objective == pytest.approx(best, rel=1e-6)
    assert solution.shadow_prices["budget"] == pytest.approx(multiplier, rel=1e-4)


@pytest.mark.parametrize("problem", OWNERS)
def test_a_shared_budget_of_all_payments_set_by_the_owner(game: bo.Game, problem: object) -> None:
    # Theory 5.1 pays every client the least it can be paid, so a budget below their sum admits no prices at all, and
    # one above changes nothing.
    equilibrium = bo.equilibrium(game)
    assert equilibrium.clients is not None
    least_sum = equilibrium.clients[["training_reward", "mining_reward"]].to_numpy().sum()
    for factor in (1.01, 0.99):
        m = problem.build(game)  # type: ignore[attr-defined]
        m.budget = pyo.Constraint(
            expr=sum(m.training_reward[i] + m.mining_reward[i] for i in m.clients) <= factor * least_sum
        )
        solution = bo.solve(m)
        if factor > 1:
            assert solution.objective == pytest.approx(equilibrium.objective, rel=1e-6)
        else:
            assert solution.status in (bo.Status.INFEASIBLE, bo.Status.LOCALLY_INFEASIBLE), solution


@pytest.mark.parametrize("problem", OWNERS)
def test_a_shared_budget_of_training_payments_set_by_the_owner(game: bo.Game, problem: object) -> None:
    # min sum rho mu^3 / t^2 + rho psi^3 / (T - t)^2 s.t. sum rho mu^3 / t^2 <= B. With the multiplier nu and
    # k = (1 + nu)^(1/3): k mu / t = psi / (T - t), so t = T k mu / (k mu + psi), clipped to the client's interval.
    clients = [c for _, c in clients_of(game)]

    def times(c: Client, k: float) -> float:
        low = max(c.mu / c.q, math.sqrt(c.rho * c.mu**3 / c.training_cap))
        high = c.deadline - max(c.psi / c.q, math.sqrt(c.rho * c.psi**3 / c.mining_cap))
        return min(max(c.deadline * k * c.mu / (k * c.mu + c.psi), low), high)

    def training(k: float) -> float:
        return math.fsum(c.rho * c.mu**3 / times(c, k) ** 2 for c in clients)

    budget = 0.85 * training(1.0)
    k = brentq(lambda k: training(k) - budget, 1.0, 100.0, xtol=1e-15)
    cost = sum(
        c.deadline + c.rho * c.mu**3 / times(c, k) ** 2 + c.rho * c.psi**3 / (c.deadline - times(c, k)) ** 2
        for c in clients
    )
    m = problem.build(game)  # type: ignore[attr-defined]
    m.budget = pyo.Constraint(expr=sum(m.training_reward[i] for i in m.clients) <= budget)
    solution = bo.solve(m, raise_on_failure=True)
    assert solution.objective == pytest.approx(math.log1p(sum(c.mu for c in clients)) - 0.1 * cost, rel=1e-6)
    # d U_mo / d B = xi nu
    assert solution.shadow_prices["budget"] == pytest.approx(0.1 * (k**3 - 1), rel=1e-4)


# ---------------------------------------------------------------------------------- a common round time


@pytest.mark.parametrize("equal", [True, False])
@pytest.mark.parametrize("form", FORMS)
def test_a_common_round_time(game: bo.Game, prices: pd.DataFrame, priced: Priced, form: str, equal: bool) -> None:
    m = problem1_pyomo.build(game, prices, form=form)
    m.round_time = pyo.Var(bounds=(0, game.deadline), initialize=game.deadline)
    m.deadline.deactivate()
    spent = {i: m.training_time[i] + m.mining_time[i] for i in m.clients}
    m.common = pyo.Constraint(
        m.clients, rule=lambda m, i: spent[i] == m.round_time if equal else spent[i] <= m.round_time
    )
    m.utility.set_value(sum(m.client_utility[i] for i in m.clients) - 1.4 * m.round_time)
    solution = bo.solve(m, raise_on_failure=True)

    def total(tau: float) -> float:
        """Every client uses all of tau: U rises in both times."""
        parts = (utility(c, p_t, p_m, *split(c, p_t, p_m, *least(c, p_t, p_m), tau)) for c, p_t, p_m in priced)
        return math.fsum(parts) - 1.4 * tau

    shortest = max(sum(least(c, p_t, p_m)) for c, p_t, p_m in priced)
    best = minimize_scalar(
        lambda tau: -total(tau), bounds=(shortest, game.deadline), method="bounded", options={"xatol": 1e-10}
    )
    assert shortest * 1.05 < best.x < game.deadline * 0.95  # neither end: the answer is not trivial
    assert solution.objective == pytest.approx(-best.fun, rel=1e-6)
    assert solution.variables["round_time"] == pytest.approx(best.x, rel=1e-4)


def test_a_common_round_time_chosen_by_the_owner_is_not_what_clients_do(game: bo.Game) -> None:
    # Paid by time, clients dawdle to the deadline (theory 5.2), so an owner's earlier end is not their answer.
    m = problem2_pyomo.build(game)
    m.round_time = pyo.Var(bounds=(1, game.deadline), initialize=10.0)
    m.deadline.deactivate()
    m.common = pyo.Constraint(m.clients, rule=lambda m, i: m.training_time[i] + m.mining_time[i] == m.round_time)
    assert bo.solve(m).status is bo.Status.FOLLOWER_NOT_OPTIMAL
    # Where the round time is the deadline, it is.
    m.round_time.fix(game.deadline)
    assert bo.solve(m).objective == pytest.approx(bo.equilibrium(game).objective, rel=1e-6)
