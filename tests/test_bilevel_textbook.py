"""Leaders with followers: textbook problems, games with exact equilibria, ties, followers that are no optimum, and refusals."""

from __future__ import annotations

import numpy as np
import pyomo.environ as pyo
import pytest
from scipy.optimize import minimize_scalar

import bcfl_opt as bo
from bcfl_opt.models import problem2_pyomo, problem3_pyomo, stackelberg_pyomo

METHODS = ["auto", "kkt", "fischer_burmeister"]


def linear_textbook() -> pyo.ConcreteModel:
    """min x - 4 y where y minimises y over -x - y <= -3, -2 x + y <= 0, 2 x + y <= 12, 3 x - 2 y <= 4: (4, 4), value -12."""
    m = pyo.ConcreteModel()
    m.x = pyo.Var(domain=pyo.NonNegativeReals, initialize=1.0)
    m.follower = pyo.Block()
    f = m.follower
    f.y = pyo.Var(domain=pyo.NonNegativeReals, initialize=1.0)
    f.a = pyo.Constraint(expr=-m.x - f.y <= -3)
    f.b = pyo.Constraint(expr=-2 * m.x + f.y <= 0)
    f.c = pyo.Constraint(expr=2 * m.x + f.y <= 12)
    f.d = pyo.Constraint(expr=3 * m.x - 2 * f.y <= 4)
    f.cost = pyo.Objective(expr=f.y)
    m.cost = pyo.Objective(expr=m.x - 4 * f.y)
    return m


def quadratic_textbook() -> pyo.ConcreteModel:
    """min (x-3)^2 + (y-2)^2, 0 <= x <= 8, y minimises (y-5)^2 over -2x+y <= 1, x-2y <= 2, x+2y <= 14: (1, 3), value 5."""
    m = pyo.ConcreteModel()
    m.x = pyo.Var(bounds=(0, 8), initialize=4.0)
    m.follower = pyo.Block()
    f = m.follower
    f.y = pyo.Var(initialize=4.0)
    f.a = pyo.Constraint(expr=-2 * m.x + f.y <= 1)
    f.b = pyo.Constraint(expr=m.x - 2 * f.y <= 2)
    f.c = pyo.Constraint(expr=m.x + 2 * f.y <= 14)
    f.cost = pyo.Objective(expr=(f.y - 5) ** 2)
    m.cost = pyo.Objective(expr=(m.x - 3) ** 2 + (f.y - 2) ** 2)
    return m


def brute_force(leader, response, grid: np.ndarray) -> float:
    """Least leader's value over a grid of x, the follower's answer by hand; None where it has none."""
    return min(leader(x, y) for x in grid if (y := response(x)) is not None)


@pytest.mark.parametrize("method", METHODS)
def test_linear_textbook(method: str) -> None:
    def response(x: float) -> float | None:
        low, high = max(0.0, 3 - x, (3 * x - 4) / 2), min(2 * x, 12 - 2 * x)
        return low if low <= high + 1e-12 else None

    best = brute_force(lambda x, y: x - 4 * y, response, np.linspace(0, 6, 60_001))
    assert best == pytest.approx(-12.0, abs=1e-3)  # the oracle itself
    m = linear_textbook()
    solution = bo.solve_bilevel(m, method=method)
    assert solution.succeeded, solution
    assert solution.objective == pytest.approx(-12.0, abs=1e-5)
    assert (m.x.value, m.follower.y.value) == pytest.approx((4.0, 4.0), abs=1e-4)
    assert solution.bilevel.follower_gap <= 1e-6 and solution.bilevel.complementarity <= 1e-5


@pytest.mark.parametrize("method", METHODS)
def test_quadratic_textbook(method: str) -> None:
    def response(x: float) -> float | None:
        low, high = (x - 2) / 2, min(1 + 2 * x, (14 - x) / 2)
        return float(np.clip(5.0, low, high)) if low <= high else None

    best = brute_force(lambda x, y: (x - 3) ** 2 + (y - 2) ** 2, response, np.linspace(0, 8, 80_001))
    assert best == pytest.approx(5.0, abs=1e-3)
    solution = bo.solve_bilevel(quadratic_textbook(), method=method)
    assert solution.succeeded and solution.objective == pytest.approx(5.0, abs=1e-5)


def test_both_senses_and_two_followers() -> None:
    """max x (y_1 + y_2), each y_k maximises y_k (a_k - x) - y_k^2: y_k = (a_k - x) / 2 if x < a_k, else 0."""
    m = pyo.ConcreteModel()
    m.x = pyo.Var(bounds=(0, 10), initialize=1.0)
    capacity = {1: 8.0, 2: 5.0}

    def follower(b, k):
        b.y = pyo.Var(domain=pyo.NonNegativeReals, initialize=1.0)
        b.gain = pyo.Objective(expr=b.y * (capacity[k] - m.x) - b.y**2, sense=pyo.maximize)

    m.buyer = pyo.Block([1, 2], rule=follower)
    m.revenue = pyo.Objective(expr=m.x * (m.buyer[1].y + m.buyer[2].y), sense=pyo.maximize)
    grid = np.linspace(0, 10, 100_001)
    best = max(x * sum(max(a - x, 0) / 2 for a in capacity.values()) for x in grid)
    solution = bo.solve_bilevel(m, m.buyer)
    assert solution.succeeded and solution.objective == pytest.approx(best, rel=1e-6)
    assert len(solution.bilevel.followers) == 2


def test_a_kkt_point_that_is_not_the_follower_s_optimum_is_never_a_success() -> None:
    """The follower minimises y^4 - 2 y^2 - y x: y = 0 is stationary at x = 0, and its worst point; the leader would like it."""
    m = pyo.ConcreteModel()
    m.x = pyo.Var(bounds=(-0.1, 0.1), initialize=0.0)
    m.follower = pyo.Block()
    m.follower.y = pyo.Var(bounds=(-2, 2), initialize=0.0)
    m.follower.cost = pyo.Objective(expr=m.follower.y**4 - 2 * m.follower.y**2 - m.follower.y * m.x)
    m.cost = pyo.Objective(expr=m.follower.y**2)
    solution = bo.solve_bilevel(m, starts=4)
    if solution.succeeded:  # then it is a true optimum of the follower, near 1 or -1
        assert abs(m.follower.y.value) > 0.9
    else:
        assert solution.status is bo.Status.FOLLOWER_NOT_OPTIMAL


def test_ties_are_told() -> None:
    """The follower does not care where in [-1, 1] it is; the leader does."""
    m = pyo.ConcreteModel()
    m.x = pyo.Var(bounds=(0, 1), initialize=0.5)
    m.follower = pyo.Block()
    f = m.follower
    f.y, f.z = pyo.Var(bounds=(-1, 1), initialize=0.0), pyo.Var(bounds=(0, 1), initialize=0.5)
    f.cost = pyo.Objective(expr=f.z + 0 * f.y + (f.z - m.x) ** 2)
    f.link = pyo.Constraint(expr=f.y <= 1 + f.z)
    m.cost = pyo.Objective(expr=f.y + m.x)
    solution = bo.solve_bilevel(m)
    assert solution.succeeded and solution.objective == pytest.approx(-1.0, abs=1e-5)
    assert solution.bilevel.ties_matter
    assert solution.bilevel.pessimistic_objective == pytest.approx(1.0, abs=1e-4)
    assert "in the leader's favour" in solution.bilevel.ties


# ---------------------------------------------------------------------- the game


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_equilibria_of_random_games(seed: int) -> None:
    game = bo.Game(bo.Population.random(3, seed=seed, speed_limits=True))
    exact = bo.equilibrium(game)
    for build in (stackelberg_pyomo.build, problem2_pyomo.build, problem3_pyomo.build):
        solution = bo.solve(build(game), method="bilevel")
        assert solution.succeeded, solution
        assert solution.objective == pytest.approx(exact.objective, rel=1e-4)
        assert solution.objective <= exact.objective + 1e-6 * abs(exact.objective)
        assert (solution.clients["recruited"] == exact.clients["recruited"]).all()


@pytest.mark.parametrize("changes", [{"reservation_utility": 0.3}, {"reward_caps": True}])
def test_equilibria_of_changed_games(changes: dict) -> None:
    game = bo.Game(bo.Population.random(4, seed=5))
    exact = bo.equilibrium(game, **changes)
    solution = bo.solve_bilevel(stackelberg_pyomo.build(game, **changes))
    assert solution.succeeded and exact.succeeded
    assert solution.objective == pytest.approx(exact.objective, rel=1e-4)
    assert solution.objective <= exact.objective + 1e-6 * abs(exact.objective)


def test_a_user_s_change_gets_the_equilibrium_of_the_changed_game() -> None:
    """The owner must not pay more per minute for mining than for training / 2; one client, by brute force over its prices.

    The client's rent is positive then, and the single-level form is refused where the client's optimality is dropped.
    """
    game = bo.Game(bo.Population.random(1, seed=3))
    m = stackelberg_pyomo.build(game)
    (i,) = m.clients
    m.cheap = pyo.Constraint(expr=m.mining_price[i] <= 0.5 * m.training_price[i])
    solution = bo.solve_bilevel(m)

    def loss(log_price: float, ratio: float) -> float:
        price = float(np.exp(log_price))
        answer = bo.best_response(game, game.prices(price, ratio * price))
        return -answer.owner_utility if answer.succeeded else 1e9

    best = np.inf
    for ratio in np.linspace(0.05, 0.5, 10):
        coarse = np.linspace(np.log(1e-4), np.log(1.0), 150)
        values = [loss(p, ratio) for p in coarse]
        k = int(np.argmin(values))
        fine = minimize_scalar(
            loss, bounds=(coarse[max(k - 1, 0)], coarse[min(k + 1, 149)]), args=(ratio,), method="bounded"
        )
        best = min(best, values[k], fine.fun)
    assert solution.succeeded, solution
    assert solution.objective >= -best - 1e-4 * abs(best)
    answer = bo.best_response(game, solution.prices)  # the exact client confirms the owner's utility
    assert answer.owner_utility == pytest.approx(solution.objective, rel=1e-5)


# ---------------------------------------------------------------------- refusals


def follower_with(change) -> pyo.ConcreteModel:
    m = quadratic_textbook()
    change(m, m.follower)
    return m


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda m, f: f.add_component("k", pyo.Var(domain=pyo.Integers)) or f.cost.set_value((f.y - f.k) ** 2),
            "follower.k",
        ),
        (lambda m, f: f.cost.set_value(abs(f.y - 5)), "follower"),
        (lambda m, f: f.cost.deactivate(), "follower"),
        (lambda m, f: f.add_component("second", pyo.Objective(expr=f.y)), "second"),
        (lambda m, f: f.add_component("mine", pyo.Reference(m.x)), "shares a decision"),
    ],
)
def test_followers_that_cannot_be_one_are_refused_by_name(change, words: str) -> None:
    m = follower_with(change)
    with pytest.raises(bo.ModelError, match=words):
        bo.solve_bilevel(m, m.follower)


def test_a_leader_without_bound_is_told_so_and_the_model_comes_back() -> None:
    m = pyo.ConcreteModel()
    m.x = pyo.Var(initialize=1.0)
    m.follower = pyo.Block()
    m.follower.y = pyo.Var(initialize=1.0)
    m.follower.cost = pyo.Objective(expr=(m.follower.y - m.x) ** 2)
    m.cost = pyo.Objective(expr=m.follower.y)
    solution = bo.solve_bilevel(m, starts=2)
    assert not solution.succeeded and solution.status is bo.Status.UNBOUNDED
    assert (m.x.value, m.follower.y.value) == (1.0, 1.0)
    assert m.cost.active and m.follower.cost.active


def test_nobody_to_recruit_is_said_with_client_and_cap() -> None:
    game = bo.Game(bo.Population.random(2, seed=1), deadline=0.01)
    solution = bo.solve_bilevel(stackelberg_pyomo.build(game))
    assert solution.status is bo.Status.NO_CLIENTS
    assert solution.clients["reason"].str.contains("cannot meet the deadline|not recruited").all()
