"""What counts as an answer: every residual within its limit, and a game's within tighter ones."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pandas as pd
import pytest

import bcfl_opt as bo
from bcfl_opt.certificate import EACH, FEASIBLE, TOLERANCE, Certificate

GOOD = Certificate(1e-16, 0.0, 1e-12, 1e-13, gap=1e-12, where={"complementarity": "deadline[3]"})


@pytest.mark.parametrize(
    ("change", "model", "game"),
    [
        ({}, True, True),
        ({"primal": 1e-9}, True, False),
        ({"primal": 2e-10}, True, True),
        ({"complementarity": 5e-7}, True, False),
        ({"follower_gap": 2e-7}, True, False),
        ({"stationarity": 9e-8}, True, True),
        ({"gap": 2e-6}, False, False),
        ({"dual": math.nan}, False, False),
    ],
)
def test_more_is_asked_of_a_game(change: dict[str, float], model: bool, game: bool) -> None:
    certificate = dataclasses.replace(GOOD, **change)
    assert certificate.accepted(game=False) is certificate.holds() is model
    assert certificate.accepted(game=True) is game


def test_no_limit_of_a_game_is_wider() -> None:
    assert FEASIBLE < EACH < TOLERANCE


def test_the_residual_that_misses_its_limit_by_most_is_named() -> None:
    certificate = dataclasses.replace(GOOD, primal=1e-9, complementarity=2e-7)
    assert certificate.failure(game=True) == "primal 1e-09 > 2.5e-10"  # four times its limit, and twice
    certificate = dataclasses.replace(GOOD, complementarity=2e-7)
    assert certificate.failure(game=True) == "complementarity 2e-07 > 1e-07 at deadline[3]"
    certificate = dataclasses.replace(GOOD, primal=1e-3, stationarity=math.nan)
    assert certificate.failure() == "stationarity nan > 1e-06"


@pytest.mark.parametrize("stop", [bo.Status.TIME_LIMIT, bo.Status.INTERRUPTED])
def test_a_stop_that_the_user_asked_for_is_the_last_word(monkeypatch: pytest.MonkeyPatch, stop: bo.Status) -> None:
    """Near enough for a model, not for a game: what is left over is told, and no other attempt is made."""
    from bcfl_opt import ipopt
    from bcfl_opt.models import problem1_pyomo

    runs, honest = [], ipopt.run

    def stopped(*arguments: Any, **settings: Any) -> ipopt.Outcome:
        outcome = honest(*arguments, **settings)
        runs.append(outcome)
        return dataclasses.replace(outcome, status=stop, detail="", x=outcome.x * (1 - 3e-7))

    monkeypatch.setattr(ipopt, "run", stopped)
    game = bo.Game(pd.DataFrame({"mu": [8.0, 12], "rho": [0.01, 0.02]}), mining_cycles=6.0, deadline=20.0)
    solution = bo.solve(problem1_pyomo.build(game, game.prices(training=2.0, mining=2.0)))
    assert solution.certificate is not None and solution.certificate.holds()
    assert not solution.certificate.accepted(game=True)
    assert solution.status is stop and len(runs) == 1
