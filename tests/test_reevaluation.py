"""Solutions judged again at fifty digits: against hand-made answers, a second implementation, and tampered solutions."""

from __future__ import annotations

import dataclasses
from fractions import Fraction

import fifty_digits as reference
import numpy as np
import pandas as pd
import pytest
from fuzz_agreement import clients_of

import bcfl_opt as bo
from bcfl_opt.models import (
    problem1_pyomo,
    problem2_cvxpy,
    problem2_pyomo,
    variant_chosen_data,
    variant_participation_bonus,
)


def a_game(**changes: object) -> bo.Game:
    frame = pd.DataFrame({"mu": [9.0, 10.0, 11.0], "rho": 0.01, "q": [4.0, np.inf, 3.0]}, index=list("abc"))
    return bo.Game(bo.Population(frame)).replace(**changes)


def test_by_hand_in_fractions() -> None:
    """Equal prices: one speed for both tasks. mu = 10, psi = 5, T = 15 gives t = 10, s = 5, speed 1: nothing is rounded."""
    game = bo.Game(pd.DataFrame({"mu": [10.0], "rho": [0.0078125]}, index=["a"]))
    solution = bo.best_response(game, game.prices(0.5, 0.5))
    again = bo.reevaluate(solution)
    energy = Fraction(1, 128) * 15
    row = again.clients.loc["a"]
    assert row["client_utility"] == float(Fraction(15, 2) - energy)
    assert row["rounding"] <= 1e-16 and row["deadline"] == 0.0 and abs(row["response_gain"]) < 1e-30
    # The owner would pay the energy alone: it saves the client's utility.
    assert row["owner_gain"] == pytest.approx(float((Fraction(15, 2) - energy) / Fraction(15, 2)), rel=1e-15)
    worth = reference.mp.log1p(10) - reference.mp.mpf(0.1) * (15 + reference.mp.mpf(15) / 2)
    assert reference.mp.almosteq(reference.mp.mpf(again.owner_utility), worth, rel_eps=reference.mp.mpf(10) ** -48)
    assert again.owner_rounding <= 1e-16 and again.digits == 50


def test_a_best_response_is_one_and_another_answer_is_not() -> None:
    game = a_game()
    prices = game.prices([0.02, 0.5, 0.3], [0.3, 0.2, 0.5])
    for solution in (bo.best_response(game, prices), bo.solve(problem1_pyomo.build(game, prices))):
        again = bo.reevaluate(solution)
        assert again.clients["response_gain"].abs().max() < 1e-13
        assert (
            again.worst()[["training_speed", "mining_speed", "training_rationality", "mining_rationality"]].max()
            < 1e-12
        )
        for name, c in clients_of(game):  # the gain of a second implementation
            if name not in again.clients.index:
                continue
            split = reference.client_problem(c, *prices.loc[name])
            t, _ = split.times()
            row = solution.clients.loc[name]
            mine = reference.mp.mpf(row["training_time"])
            assert reference.mp.almosteq(mine, t, rel_eps=1e-12)
    table = solution.clients.copy()
    t = table.loc["b", "training_time"] * 0.9
    table.loc["b", ["training_time", "mining_time"]] = t, game.deadline - t
    worse = bo.reevaluate(dataclasses.replace(solution, clients=table)).clients
    assert worse.loc["b", "response_gain"] > 1e-3 and worse.loc["b", "rounding"] > 1e-3
    assert worse.loc["a", "response_gain"] < 1e-13


@pytest.mark.parametrize("route", ["exact", "pyomo", "cvxpy"])
def test_equilibria_cost_no_more_than_the_least(route: str) -> None:
    game = bo.Game(bo.Population.random(8, seed=3, speed_limits=True))
    build = {"pyomo": problem2_pyomo.build, "cvxpy": problem2_cvxpy.build}
    solution = bo.equilibrium(game) if route == "exact" else bo.solve(build[route](game))
    again = bo.reevaluate(solution)
    assert again.clients["owner_gain"].abs().max() < (1e-14 if route == "exact" else 1e-9)
    assert again.worst()[["deadline", "training_budget", "mining_budget"]].max() < 1e-9
    for name, c in clients_of(game):
        if name in again.clients.index:
            least = reference.Contract.at_cost(reference.recruitment(c))
            paid = sum(solution.clients.loc[name, ["training_reward", "mining_reward"]])
            saved = (paid - least.training_reward - least.mining_reward) / paid
            assert again.clients.loc[name, "owner_gain"] == pytest.approx(float(saved), abs=1e-15)


def test_limits_by_how_much() -> None:
    game = a_game()
    solution = bo.equilibrium(game)
    name = solution.clients.index[solution.clients["recruited"]][0]
    table = solution.clients.copy()
    table.loc[name, "training_time"] /= 2
    row = bo.reevaluate(dataclasses.replace(solution, clients=table)).clients.loc[name]
    t, mu, q = (table.loc[name, "training_time"], game.population.frame.loc[name, "training_cycles"], 4.0)
    assert name == "a" and row["training_speed"] == pytest.approx(mu / (q * t) - 1, rel=1e-12)
    assert row["deadline"] == pytest.approx(-t / game.deadline, rel=1e-12)
    # Half the time at the same price is half the pay for four times the energy: 1 - (1/2) / 4 = 7/8 of it is not paid.
    assert row["training_rationality"] == pytest.approx(0.875, rel=1e-9)


def test_what_variants_bring_along_counts() -> None:
    game = a_game(cost_weight=0.6, performance="sqrt", deadline=6.0)
    chosen = bo.solve(variant_chosen_data.build(game))
    again = bo.reevaluate(chosen)
    assert again.owner_rounding < 1e-15 and again.clients["rounding"].max() < 1e-15
    bonus = bo.solve(variant_participation_bonus.build(a_game(), 0.5))
    again = bo.reevaluate(bonus)
    assert again.owner_rounding < 1e-15 and again.clients["rounding"].max() < 1e-15


def test_a_performance_of_ones_own_is_known_in_doubles() -> None:
    game = a_game(performance=lambda cycles: cycles**0.25)
    assert bo.reevaluate(bo.equilibrium(game)).owner_rounding < 1e-15


def test_what_cannot_be_judged_again(monkeypatch: pytest.MonkeyPatch) -> None:
    game = a_game()
    solution = bo.equilibrium(game)
    for digits in (16, 19, 50.0, True, "50"):
        with pytest.raises(bo.InputError, match="a whole number of at least 20"):
            bo.reevaluate(solution, digits=digits)  # type: ignore[arg-type]
    with pytest.raises(bo.NoSolutionError):
        bo.reevaluate(dataclasses.replace(solution, status=bo.Status.TIME_LIMIT))
    with pytest.raises(bo.InputError, match="is of no game"):
        bo.reevaluate(dataclasses.replace(solution, game=None, clients=None))
    assert "digits" in repr(bo.reevaluate(solution, digits=30)) and "owner_gain" in repr(bo.reevaluate(solution))
    monkeypatch.setattr("bcfl_opt.errors.missing", list)
    with pytest.raises(bo.SolverMissingError, match="mpmath is not installed: pip install mpmath"):
        bo.reevaluate(solution)
