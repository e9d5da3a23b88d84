"""The game itself as a bilevel programme: equal to the exact equilibria, and to brute force where a user changes it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import bilevel_games
import numpy as np
import pandas as pd
import pyomo.environ as pyo
import pytest
from fuzz_agreement import Client, clients_of
from price_grid import Array, Owner, best_prices

import bcfl_opt as bo
from bcfl_opt.models import problem1_pyomo, problem2_cvxpy, problem2_pyomo, problem3_pyomo, stackelberg_pyomo


@pytest.fixture(scope="module")
def game() -> bo.Game:
    """Caps and speed limits that bind for some: no negative Shapley shares."""
    frame = pd.DataFrame({"mu": [8.0, 12, 9, 11], "rho": [0.01, 0.02, 0.005, 0.01], "q": [np.inf, 1.0, 2, 0.8]})
    return bo.Game(frame, mining_cycles=6.0, deadline=20.0, mining_cap=0.05, reward_budget=2.0)


@pytest.fixture(scope="module")
def pair() -> bo.Game:
    """Two clients, caps wide, one with a speed limit."""
    frame = pd.DataFrame({"mu": [8.0, 12], "rho": [0.01, 0.02], "q": [np.inf, 1.0]}, index=["anna", "ben"])
    return bo.Game(frame, mining_cycles=6.0, deadline=20.0)


def same_answer(solution: bo.Solution, exact: bo.Solution, rel: float = 1e-6) -> None:
    """Objective, and what every client does."""
    assert solution.succeeded, solution
    assert solution.objective == pytest.approx(exact.objective, rel=rel)
    assert solution.clients is not None and exact.clients is not None
    assert (solution.clients["recruited"] == exact.clients["recruited"]).all()
    for column in ("training_time", "mining_time"):
        np.testing.assert_allclose(solution.clients[column], exact.clients[column], rtol=1e-4)


# ---------------------------------------------------------------------------------- unchanged


@pytest.mark.parametrize("method", ["auto", "kkt", "fischer_burmeister", "strong_duality"])
def test_the_equilibrium_although_every_client_has_a_single_feasible_point(game: bo.Game, method: str) -> None:
    solution = bo.solve_bilevel(stackelberg_pyomo.build(game), method=method, starts=1)
    exact = bo.equilibrium(game)
    same_answer(solution, exact)
    assert solution.bilevel is not None and len(solution.bilevel.followers) == solution.clients["recruited"].sum()
    assert not solution.bilevel.ties_matter
    np.testing.assert_allclose(solution.clients["client_utility"], 0.0, atol=1e-6)
    np.testing.assert_allclose(solution.prices, exact.prices, rtol=1e-4)


@pytest.mark.parametrize("problem", [problem2_pyomo, problem3_pyomo])
def test_problems_2_and_3_by_the_method_bilevel(game: bo.Game, problem: object) -> None:
    m = problem.build(game)  # type: ignore[attr-defined]
    names = [component.name for component in m.component_objects()]
    solution = bo.solve(m, method="bilevel")
    same_answer(solution, bo.equilibrium(game))
    if problem is problem2_pyomo:
        assert solution.quality is bo.Quality.GLOBAL  # convex, and the clients confirm it
    assert [component.name for component in m.component_objects()] == names
    assert not any("clients_as_followers" in name for name in (*solution.variables, *solution.shadow_prices))


def test_problem_2_without_the_single_level_form(game: bo.Game) -> None:
    solution = bo.solve_bilevel(problem2_pyomo.build(game), method="kkt", starts=1)
    same_answer(solution, bo.equilibrium(game))
    assert solution.bilevel is not None and solution.bilevel.method == "kkt"
    assert solution.quality is bo.Quality.GLOBAL  # the convex single-level form bounds it


@pytest.mark.parametrize("reward_caps", [False, True])
@pytest.mark.parametrize("rent", [0.0, 0.01, [0.0, 0.02, 0.005, 0.01]])
def test_reservation_utility_and_own_caps_against_exact_equilibria(
    game: bo.Game, rent: float | list[float], reward_caps: bool
) -> None:
    m = stackelberg_pyomo.build(game, reservation_utility=rent, reward_caps=reward_caps)
    exact = bo.equilibrium(game, reservation_utility=rent, reward_caps=reward_caps)
    assert exact.clients is not None and exact.clients["recruited"].sum() >= 2
    solution = bo.solve_bilevel(m)
    pd.testing.assert_series_equal(solution.clients["recruited"], exact.clients["recruited"])
    assert solution.succeeded, solution
    assert solution.objective == pytest.approx(exact.objective, rel=1e-6)


def test_fifty_clients_in_one_go() -> None:
    game = bo.Game(bo.Population.sample(), deadline=15.0)
    solution = bo.solve_bilevel(stackelberg_pyomo.build(game), starts=1)
    same_answer(solution, bo.equilibrium(game))


# ---------------------------------------------------------------------------------- changed by the user


def energies(c: Client, t: Array, s: Array) -> tuple[Array, Array]:
    return c.rho * c.mu**3 / t**2, c.rho * c.psi**3 / s**2


def utility_of(c: Client) -> Owner:
    return lambda p_t, p_m, t, s: p_t * t + p_m * s - sum(energies(c, t, s))


def cost_of(c: Client) -> Owner:
    """Minus xi (t + s + payments)."""
    return lambda p_t, p_m, t, s: -0.1 * (t + s + p_t * t + p_m * s)


def within_caps(c: Client) -> Owner:
    return lambda p_t, p_m, t, s: (p_t * t <= c.training_cap) & (p_m * s <= c.mining_cap)


def generous(m: pyo.ConcreteModel) -> None:
    """An owner who gives: single-level, the clients would be given times that they would not choose."""
    m.utility.set_value(sum(m.client_utility[i] for i in m.clients))


def minimum_wage(m: pyo.ConcreteModel) -> None:
    m.wage = pyo.Constraint(
        m.clients, rule=lambda m, i: m.training_price[i] * m.training_time[i] ** 3 >= 4 * energy_factor(m, i)
    )


def energy_factor(m: pyo.ConcreteModel, i: str) -> float:
    population = m.bcfl.game.population.frame.loc[i]
    return float(population["energy_coefficient"] * population["training_cycles"] ** 3)


def wage_of(c: Client) -> Owner:
    def allowed(p_t: Array, p_m: Array, t: Array, s: Array) -> Array:
        return within_caps(c)(p_t, p_m, t, s) & (p_t * t >= 4 * energies(c, t, s)[0])

    return allowed


@pytest.mark.parametrize("problem", [problem2_pyomo, stackelberg_pyomo])
@pytest.mark.parametrize(
    ("change", "owner", "allowed"), [(generous, utility_of, within_caps), (minimum_wage, cost_of, wage_of)]
)
def test_the_equilibrium_of_a_changed_game(
    pair: bo.Game,
    problem: object,
    change: Callable[[pyo.ConcreteModel], None],
    owner: Callable[[Client], Owner],
    allowed: Callable[[Client], Owner],
) -> None:
    m = problem.build(pair)  # type: ignore[attr-defined]
    change(m)
    if problem is problem2_pyomo:
        assert bo.solve(m).status is bo.Status.FOLLOWER_NOT_OPTIMAL
    solution = bo.solve(m, method="bilevel")
    assert solution.succeeded, solution
    grid = sum(best_prices(c, owner(c), allowed(c))[0] for _, c in clients_of(pair))
    if change is not generous:
        grid += pair.performance_value(np.ones(2, dtype=bool))
    # The grid stays a little inside what is allowed, so it cannot be better.
    assert solution.objective == pytest.approx(grid, rel=1e-4)
    assert solution.objective >= grid - 1e-6 * abs(grid)


def test_a_clients_own_objective_changed(pair: bo.Game) -> None:
    """Clients who mind energy twice as much: payments cover twice the energy, so (8), (9) are no longer what binds.

    U = p_t t + p_m s - 2 E_t - 2 E_s with (8), (9) as printed: the client takes part at any prices that pay for the
    energy, and divides its time where p_t + 4 rho (mu/t)^3 = p_m + 4 rho (psi/s)^3. At one price pair the feasible set is
    a single point again, so the owner reaches what it reached before: the equilibrium is unchanged.
    """
    m = stackelberg_pyomo.build(pair)
    for i in m.clients:
        b = m.client[i]
        b.utility.set_value(b.training_reward + b.mining_reward - 2 * b.training_energy - 2 * b.mining_energy)
    m.individual_rationality.deactivate()  # that was told in the old utility
    same_answer(bo.solve_bilevel(m, starts=2), bo.equilibrium(pair))


def test_a_clients_own_deadline_changed(pair: bo.Game) -> None:
    m = stackelberg_pyomo.build(pair)
    for i in m.clients:
        b = m.client[i]
        b.deadline.set_value(b.training_time + b.mining_time <= 18.0)
    earlier = bo.Game(pair.population, mining_cycles=6.0, deadline=18.0)
    same_answer(bo.solve_bilevel(m, starts=2), bo.equilibrium(earlier))
    m = problem2_pyomo.build(pair)
    for i in m.clients:
        m.deadline[i].set_value(m.training_time[i] + m.mining_time[i] == 18.0)
    same_answer(bo.solve(m, method="bilevel"), bo.equilibrium(earlier))


def test_a_round_time_that_the_clients_do_not_accept(game: bo.Game) -> None:
    # Paid by time, clients dawdle to the deadline (theory 5.2): an end at 15 of 20 is nobody's answer to any prices.
    m = stackelberg_pyomo.build(game)
    m.early = pyo.Constraint(m.clients, rule=lambda m, i: m.training_time[i] + m.mining_time[i] <= 15.0)
    solution = bo.solve_bilevel(m, starts=1)
    assert not solution.succeeded
    assert solution.clients is not None and not solution.clients["recruited"].any()


# ---------------------------------------------------------------------------------- nobody, and what cannot be asked


def test_nobody_can_be_recruited() -> None:
    frame = pd.DataFrame({"mu": [8.0, 12.0], "rho": 0.01, "q": 0.4}, index=["anna", "ben"])
    game = bo.Game(frame, mining_cycles=6.0, deadline=20.0)
    for m in (stackelberg_pyomo.build(game), problem2_pyomo.build(game)):
        solution = bo.solve(m, method="bilevel")
        assert solution.status is bo.Status.NO_CLIENTS
        assert solution.clients is not None
        assert "max_speed 0.4" in solution.clients.loc["anna", "reason"]
    capped = game.replace(population=bo.Population(frame.assign(q=np.inf)), mining_cap=1e-6)
    reason = bo.solve_bilevel(stackelberg_pyomo.build(capped)).clients.loc["ben", "reason"]
    assert "mining cap" in reason


def test_models_without_followers_are_refused(pair: bo.Game) -> None:
    for m in (
        problem1_pyomo.build(pair, pair.prices(0.1, 0.1)),
        problem2_pyomo.build(pair, response="theorem"),
    ):
        with pytest.raises(bo.ModelError, match="no followers"):
            bo.solve(m, method="bilevel")
    with pytest.raises(bo.InputError, match="takes a Pyomo model"):
        bo.solve(problem2_cvxpy.build(pair), method="bilevel")
    with pytest.raises(bo.InputError, match="did you mean 'bilevel'"):
        bo.solve(problem2_pyomo.build(pair), method="bilvel")
    previous = bo.solve(problem2_pyomo.build(pair))
    with pytest.raises(bo.InputError, match="warm_start"):
        bo.solve(problem2_pyomo.build(pair), method="bilevel", warm_start=previous)


def test_a_model_without_its_names_is_told_which(pair: bo.Game) -> None:
    m = problem2_pyomo.build(pair)
    m.del_component("client_utility")
    with pytest.raises(bo.ModelError, match="client_utility"):
        bo.solve(m, method="bilevel")


def test_screening_can_be_left_to_the_user(pair: bo.Game) -> None:
    frame = pair.population.frame.assign(max_speed=[np.inf, 0.4])
    slow = bo.Game(frame, mining_cycles=6.0, deadline=20.0)
    assert list(stackelberg_pyomo.build(slow).clients) == ["anna"]
    m = stackelberg_pyomo.build(slow, screen=False)
    m.client["ben"].training_speed_limit.deactivate()
    m.client["ben"].mining_speed_limit.deactivate()
    free = bo.Game(frame.assign(max_speed=np.inf), mining_cycles=6.0, deadline=20.0)
    same_answer(bo.solve_bilevel(m, starts=1), bo.equilibrium(free))


# ---------------------------------------------------------------------------------- many games


@pytest.mark.parametrize("name", bilevel_games.PROGRAMMES)
def test_the_equilibria_of_random_games(name: str) -> None:
    """The measure of ``tests/bilevel_games.py`` on twenty small games, from one start each."""
    rng, tally = np.random.default_rng(4), bilevel_games.Tally()
    for _ in range(20):
        game = bilevel_games.draw(rng, most_clients=2)
        model = bilevel_games.PROGRAMMES[name](game)
        wrong = tally.count(game, bo.solve_bilevel(model, starts=1))
        assert not wrong, (game, wrong)
    assert tally.passed and tally.hits == 20


def test_the_measure_counts_what_is_wrong(pair: bo.Game) -> None:
    """An answer that is dearer, one that is too good to be true, and a failure that does not say what it is."""
    exact = bo.equilibrium(pair)
    assert abs(bilevel_games.excess(pair, exact)) <= 1e-12
    for change, hits, better in ((-1e-3, 0, 0), (1e-3, 0, 1), (1e-5, 1, 1), (-1e-5, 1, 0), (1e-7, 1, 0)):
        assert exact.clients is not None
        cost = pair.performance_value(exact.clients["recruited"].to_numpy(dtype=bool)) - exact.objective
        tally = bilevel_games.Tally()
        tally.count(pair, dataclasses.replace(exact, _objective=exact.objective + change * cost))
        assert (tally.hits, tally.better) == (hits, better)
        assert tally.passed == (hits == 1 and not better)
    tally = bilevel_games.Tally(games=999, hits=999)
    tally.count(pair, dataclasses.replace(exact, status=bo.Status.TIME_LIMIT, quality=bo.Quality.NONE))
    assert tally.passed and tally.hits == 999 and tally.games == 1000
