"""Answers that the clients would not give are caught, and those that they would give pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pyomo.environ as pyo
import pytest

import bcfl_opt as bo
from bcfl_opt.certificate import TOLERANCE
from bcfl_opt.follower import follower_gap
from bcfl_opt.models import problem2_cvxpy, problem2_pyomo, problem3_cvxpy, problem3_pyomo


@pytest.fixture(scope="module")
def game() -> bo.Game:
    frame = pd.DataFrame({"mu": [8.0, 12, 9, 11], "rho": [0.01, 0.02, 0.005, 0.01], "q": [np.inf, 3, 2, np.inf]})
    return bo.Game(frame, mining_cycles=6.0, deadline=20.0)


@pytest.fixture(scope="module")
def table(game: bo.Game) -> pd.DataFrame:
    clients = bo.equilibrium(game).clients
    assert clients is not None
    return clients


# ---------------------------------------------------------------------------------- the gap


def test_no_gap_at_the_equilibrium_and_at_any_best_response(game: bo.Game, table: pd.DataFrame) -> None:
    assert follower_gap(game, table)[0] <= 1e-12
    for training, mining in ((0.1, 0.1), (0.02, 3.0), ([1.0, 0.1, 0.05, 0.2], 0.04)):
        response = bo.best_response(game, game.prices(training, mining)).clients
        assert response is not None and response["recruited"].all()
        assert follower_gap(game, response)[0] <= 1e-12


@pytest.mark.parametrize("client", range(4))
@pytest.mark.parametrize("shift", [1e-4, -1e-4])
def test_a_shift_of_one_time_is_seen(game: bo.Game, shift: float, client: int) -> None:
    # Interior optimum at 0.1 for both: t = T mu / (mu + psi). Moving t alone, or t against s, moves the client by that.
    response = bo.best_response(game, game.prices(0.1, 0.1)).clients
    assert response is not None
    for partner in (0.0, -shift):
        moved = response.copy()
        moved.loc[client, "training_time"] += shift * game.deadline
        moved.loc[client, "mining_time"] += partner * game.deadline
        gap, who = follower_gap(game, moved)
        assert who == client
        move = abs(shift) + abs(partner)
        if shift + partner >= 0:  # the gain is of second order, or there is none: the time is not there
            assert gap == pytest.approx(move, rel=1e-6)
        else:  # time left unused is worth (p + 2 C / t) a unit of time, of R + C
            row = response.loc[client]
            cost = row["training_reward"] + row["mining_reward"] - row["client_utility"]
            of_training = game.population.energy_coefficient[client] * row["training_speed"] ** 3
            worth = (0.1 + 2 * of_training) * move * game.deadline
            gain = worth / (row["training_reward"] + row["mining_reward"] + cost)
            assert gap == pytest.approx(max(move, gain), rel=1e-3)
        assert gap > TOLERANCE


@pytest.mark.parametrize("hair", [6e-8, 1e-9])
def test_a_fortune_for_a_move_too_small_to_see_is_seen(hair: float) -> None:
    # Prices that leave one point: t = 15e-6 of 15 at a high price, s the rest. A mining price higher by h needs s (1 - h / 3),
    # so that t can grow by d = 5 h of 15e-6, and its utility, 0, to p t (1 + d - (1 + d)^-2) = 3 d p t, of terms 2 p t.
    game = bo.Game(pd.DataFrame({"mu": [0.01], "rho": 1.0}), mining_cycles=0.1, deadline=15.0)
    t = 15e-6
    s = 15.0 - t
    prices = {"training_price": [(0.01 / t) ** 3], "mining_price": [(0.1 / s) ** 3 * (1 + hair)]}
    table = pd.DataFrame({"training_time": [t], "mining_time": [s], **prices, "recruited": True})
    gap, _ = follower_gap(game, table)
    moves = 2 * hair / 3
    assert gap == pytest.approx(1.5 * hair / 3 / 1e-6 if moves > 1e-9 else moves, rel=0.05)


@pytest.mark.parametrize("column", ["training_price", "mining_price"])
def test_a_price_below_the_equilibriums_leaves_the_client_without_an_answer(
    game: bo.Game, table: pd.DataFrame, column: str
) -> None:
    # The feasible set at the equilibrium's prices is one point. At 0.97 of a price its least time is 0.97^(-1/3) = 1.0102
    # times as long, and there is no room for it.
    moved = table.copy()
    moved.loc[2, column] *= 0.97
    gap, who = follower_gap(game, moved)
    time = table.at[2, column.replace("price", "time")]
    assert who == 2
    assert gap >= (0.97 ** (-1 / 3) - 1) * time / game.deadline


@pytest.mark.parametrize("price", [0.0, -1e-9])
@pytest.mark.parametrize("column", ["training_price", "mining_price"])
def test_a_price_of_0_is_an_infinite_gap_and_no_warning(
    game: bo.Game, table: pd.DataFrame, column: str, price: float
) -> None:
    moved = table.copy()
    moved.loc[1, column] = price
    assert follower_gap(game, moved) == (np.inf, 1)


def test_nobody_recruited_is_nobody_who_objects(game: bo.Game, table: pd.DataFrame) -> None:
    assert follower_gap(game, table.assign(recruited=False)) == (0.0, None)


def test_dropped_speed_limits_are_the_clients_too() -> None:
    # Both speeds 15 / 15 = 1 at p = 0.01, beyond q = 0.9: possible only for a client without limits.
    free = bo.Game(pd.DataFrame({"mu": [10.0, 10.0], "rho": 0.01}, index=["a", "b"]))
    game = free.replace(population=free.population.frame.assign(max_speed=[0.9, np.inf]))
    clients = bo.equilibrium(free).clients
    assert clients is not None
    both = {"training_speed_limit": ["a"], "mining_speed_limit": ["a"]}
    assert follower_gap(game, clients, both)[0] <= 1e-12
    for dropped in ({}, {"training_speed_limit": ["a"]}, {"mining_speed_limit": ["a"]}, {name: ["b"] for name in both}):
        gap, who = follower_gap(game, clients, dropped)
        # t >= 10 / 0.9 = 11.11 or s >= 5 / 0.9 = 5.556, of 15 together: at least 0.556 is missing
        assert who == "a" and gap > 0.5 / 15


# ---------------------------------------------------------------------------------- through solve


def values(m: pyo.ConcreteModel) -> list[float | None]:
    return [variable.value for variable in m.component_data_objects(pyo.Var)]


def the_clients_utility(m: pyo.ConcreteModel) -> None:
    """An owner who gives: it pays its caps, and at such prices the clients would pick other times."""
    m.utility.set_value(sum(m.client_utility[i] for i in m.clients))


def no_deadline(m: pyo.ConcreteModel) -> None:
    m.deadline.deactivate()


def free_work(m: pyo.ConcreteModel) -> None:
    m.training_rationality.deactivate()


def uneven_payment(m: pyo.ConcreteModel) -> None:
    """A minimum wage for training: the client is paid more than its energy and trains longer."""
    m.wage = pyo.Constraint(m.clients, rule=lambda m, i: m.training_reward[i] >= 4 * m.training_energy[i])


@pytest.mark.parametrize("change", [the_clients_utility, no_deadline, free_work, uneven_payment])
def test_what_the_clients_would_not_do_is_no_success_and_hands_out_nothing(
    game: bo.Game, change: Callable[[pyo.ConcreteModel], None]
) -> None:
    m = problem2_pyomo.build(game)
    change(m)
    before = values(m)
    solution = bo.solve(m)
    assert solution.status is bo.Status.FOLLOWER_NOT_OPTIMAL, solution
    assert not solution.succeeded and solution.quality is bo.Quality.NONE
    assert "its times would move by" in solution.message
    assert solution.certificate is not None and solution.certificate.worst[0] == "follower_gap"
    assert solution.certificate.primal <= TOLERANCE  # the programme itself was solved
    for name in ("objective", "variables", "shadow_prices", "prices", "owner_utility"):
        with pytest.raises(bo.NoSolutionError):
            getattr(solution, name)
    assert solution.clients is not None
    assert not solution.clients["recruited"].any()
    assert solution.clients.drop(columns=["recruited", "reason"]).isna().all(axis=None)
    assert values(m) == before
    with pytest.raises(bo.NoSolutionError, match="have another answer"):
        bo.solve(m, raise_on_failure=True)


@pytest.mark.parametrize("problem", [problem2_pyomo, problem3_pyomo, problem2_cvxpy, problem3_cvxpy])
def test_the_equilibrium_passes_and_says_by_how_much(game: bo.Game, problem: Any) -> None:
    solution = bo.solve(problem.build(game))
    assert solution.succeeded, solution
    assert solution.certificate is not None and solution.certificate.follower_gap is not None
    assert 0 <= solution.certificate.follower_gap <= TOLERANCE


def test_spent_budgets_with_optimal_responses_pass(game: bo.Game) -> None:
    # Problem 2, exhausted, optimal: the potential in problem2_pyomo's docstring makes the clients' own optimum.
    solution = bo.solve(problem2_pyomo.build(game, budgets="exhausted"))
    assert solution.succeeded and solution.clients is not None, solution
    again = bo.best_response(game, solution.prices).clients
    assert again is not None
    np.testing.assert_allclose(solution.clients["training_time"], again["training_time"], rtol=1e-5)
    np.testing.assert_allclose(again["training_reward"], game.caps["training_cap"], rtol=1e-5)
    np.testing.assert_allclose(again["mining_reward"], game.caps["mining_cap"], rtol=1e-5)


def test_the_papers_response_is_taken_as_given(game: bo.Game) -> None:
    """response="theorem" says what the clients do, so they are not asked."""
    solution = bo.solve(problem2_pyomo.build(game, response="theorem", budgets="exhausted"))
    assert solution.succeeded
    assert solution.certificate is not None and solution.certificate.follower_gap is None


@pytest.mark.parametrize("name", ["training_price", "mining_price", "training_time"])
def test_a_model_without_its_times_or_prices_cannot_be_confirmed_and_is_refused(game: bo.Game, name: str) -> None:
    m = problem2_pyomo.build(game)
    the_clients_utility(m)
    if name == "training_time":
        m.training_time.local_name  # noqa: B018
        m.hours = pyo.Reference(m.training_time)
    m.del_component(name)
    with pytest.raises(bo.ModelError, match=f"no '{name}' any more"):
        bo.solve(m)
