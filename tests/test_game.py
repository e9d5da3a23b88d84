"""Games: every parameter is validated, nothing can be changed afterwards, and prices find their clients."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bcfl_opt import Game, InputError, Population, best_response

PEOPLE = Population(pd.DataFrame({"client": ["a", "b", "c"], "mu": [9.0, 10.0, 11.0], "rho": [0.01, 0.02, 0.03]}))
POSITIVE = ("mining_cycles", "deadline", "cost_weight", "reward_budget", "mining_cap", "mining_budget")


# ---------------------------------------------------------------------- parameters


def test_the_defaults_are_the_papers() -> None:
    game = Game(Population.random(50, seed=0))
    assert (game.mining_cycles, game.deadline, game.cost_weight, game.target) == (5.0, 15.0, 0.1, 10.0)
    assert (game.reward_budget, game.mining_cap, game.mining_budget) == (1500.0, 5.0, 250.0)
    assert len(game) == 50


def test_a_frame_will_do_for_a_population() -> None:
    assert list(Game(PEOPLE.frame).population.ids) == ["a", "b", "c"]
    for other in (None, 5, [1, 2]):
        with pytest.raises(InputError, match="population: expected a Population or a DataFrame"):
            Game(other)


@pytest.mark.parametrize("name", POSITIVE)
@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (0, "must be greater than 0"),
        (-1.5, "must be greater than 0"),
        (float("nan"), "must be finite"),
        (float("inf"), "must be finite"),
        (10**400, "must be finite"),
        ("5", "'5' is not a number"),
        (True, "True is not a number"),
        (np.True_, "is not a number"),
        ([1.0], "is not a number"),
        (pd.NA, "is not a number"),
        (1j, "is not a number"),
    ],
)
def test_every_bad_number_is_named(name: str, value: Any, problem: str) -> None:
    with pytest.raises(InputError) as caught:
        Game(PEOPLE, **{name: value})
    assert str(caught.value).startswith(f"{name}: ") and problem in str(caught.value)


@pytest.mark.parametrize("name", ["mining_cycles", "deadline", "cost_weight", "target"])
def test_a_parameter_without_default_cannot_be_none(name: str) -> None:
    with pytest.raises(InputError, match=f"{name}: None is not a number"):
        Game(PEOPLE, **{name: None})


@pytest.mark.parametrize("value", [float("nan"), float("-inf"), "10", None, True])
def test_the_target_must_be_finite(value: Any) -> None:
    with pytest.raises(InputError, match="target: "):
        Game(PEOPLE, target=value)
    assert Game(PEOPLE, target=-3).target == -3.0


@pytest.mark.parametrize("value", [np.float32(3), np.int64(3), 3])
def test_numbers_become_floats(value: Any) -> None:
    game = Game(PEOPLE, deadline=value)
    assert type(game.deadline) is float and game.deadline == 3.0


def test_cap_and_budget_for_mining_say_the_same_thing() -> None:
    by_cap, by_budget = Game(PEOPLE, mining_cap=4.0), Game(PEOPLE, mining_budget=12.0)
    assert (by_cap.mining_cap, by_cap.mining_budget) == (by_budget.mining_cap, by_budget.mining_budget) == (4.0, 12.0)
    with pytest.raises(InputError, match="not both"):
        Game(PEOPLE, mining_cap=4.0, mining_budget=12.0)


@pytest.mark.parametrize("parameters", [{"mining_cap": 30.0}, {"reward_budget": 15.0}, {"mining_budget": 1e9}])
def test_a_mining_budget_above_the_total_is_refused(parameters: dict[str, float]) -> None:
    with pytest.raises(
        InputError, match=r"mining_budget = mining_cap x 3 clients = .* leaves nothing of reward_budget"
    ):
        Game(PEOPLE, **parameters)
    assert Game(PEOPLE, mining_cap=29.9).mining_budget == pytest.approx(89.7)


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"performance": "lgo"}, "unknown performance 'lgo': did you mean 'log'?"),
        ({"performance": None}, "unknown performance None"),
        ({"negative_shares": "zeros"}, "did you mean 'zero'?"),
        ({"shapley_method": "samplin"}, "did you mean 'sampling'?"),
    ],
)
def test_unknown_options_are_named(parameters: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError) as caught:
        Game(PEOPLE, **parameters)
    assert words in str(caught.value)


# ---------------------------------------------------------------------- immutable


def test_a_game_cannot_be_changed() -> None:
    game = Game(PEOPLE)
    for field in dataclasses.fields(game):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(game, field.name, 1.0)
    before, mine = game.caps.copy(), game.caps
    mine.loc["a", "training_cap"] = -1.0
    mine["mining_cap"] = 0.0
    pd.testing.assert_frame_equal(game.caps, before)


def test_replace_makes_a_new_game() -> None:
    game = Game(PEOPLE, mining_cap=4.0, performance="sqrt", negative_shares="error", target=9.0)
    other = game.replace(deadline=20.0)
    assert (game.deadline, other.deadline) == (15.0, 20.0)
    changed = {f.name for f in dataclasses.fields(game) if getattr(game, f.name) != getattr(other, f.name)}
    assert changed == {"deadline"}
    with pytest.raises(InputError, match="unknown parameter 'deadlin'"):
        game.replace(deadlin=20.0)
    with pytest.raises(InputError, match="deadline: -1"):
        game.replace(deadline=-1)


def test_replace_keeps_mining_cap_and_budget_together() -> None:
    game = Game(PEOPLE, mining_cap=4.0)
    assert game.replace(mining_budget=30.0).mining_cap == 10.0
    assert game.replace(mining_cap=2.0).mining_budget == 6.0
    assert game.replace(deadline=9.0).mining_cap == 4.0
    with pytest.raises(InputError, match="not both"):
        game.replace(mining_cap=2.0, mining_budget=6.0)


def test_replacing_the_population_keeps_budgets_per_client() -> None:
    game = Game(PEOPLE, mining_cap=4.0, reward_budget=60.0)
    larger = game.replace(population=Population.random(6, seed=0))
    assert (larger.reward_budget, larger.mining_cap, larger.mining_budget) == (120.0, 4.0, 24.0)
    assert game.replace(population=Population.random(6, seed=0), reward_budget=50.0).reward_budget == 50.0
    assert len(game.replace(population=PEOPLE.frame.iloc[:2])) == 2
    with pytest.raises(InputError, match="population: expected"):
        game.replace(population=5)


# ---------------------------------------------------------------------- caps


def test_caps_share_the_training_budget() -> None:
    # Four clients, exact: SV = (-63, 77.8, 90.6, 89) / 28.8 (theory 2.3); the negative one gets nothing.
    game = Game(Population(pd.DataFrame({"mu": [1.0, 9.0, 10.0, 11.0], "rho": 0.01})), reward_budget=120.0)
    caps = game.caps
    np.testing.assert_allclose(caps["shapley"], [-2.1875, 389 / 144, 151 / 48, 445 / 144], rtol=1e-12)
    assert caps["training_cap"].sum() == pytest.approx(100.0, rel=1e-14)
    assert caps["training_cap"].tolist()[0] == 0.0
    positive = caps["shapley"].to_numpy()[1:]
    np.testing.assert_allclose(caps["training_cap"][1:], 100.0 * positive / positive.sum(), rtol=1e-12)
    assert (caps["mining_cap"] == 5.0).all()
    assert "1 of 4 clients" in caps.attrs["note"]
    with pytest.raises(InputError, match=r"client 0: negative Shapley value.*negative_shares=\"zero\""):
        _ = game.replace(negative_shares="error").caps


def test_equal_clients_share_equally() -> None:
    # Theory 2.2: v = 0 everywhere, and (6) would be 0 / 0.
    caps = Game(Population(pd.DataFrame({"mu": [10.0] * 50, "rho": 0.01}))).caps
    assert (caps["training_cap"] == 25.0).all() and (caps["mining_cap"] == 5.0).all()


# ---------------------------------------------------------------------- prices


def test_prices_are_aligned_by_id() -> None:
    game = Game(PEOPLE)
    prices = game.prices(pd.Series({"c": 3, "z": 9, "a": 1, "b": 2}), [4.0, 5.0, 6.0])
    assert list(prices.index) == ["a", "b", "c"] and list(prices.columns) == ["training_price", "mining_price"]
    assert prices["training_price"].tolist() == [1.0, 2.0, 3.0] and prices["mining_price"].tolist() == [4.0, 5.0, 6.0]
    assert (game.prices(0, 2)["mining_price"] == 2.0).all()
    pd.testing.assert_frame_equal(game.checked_prices(prices.iloc[::-1].assign(other="x")), prices)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (-1.0, "training_price of client 'a': -1.0 must be a finite number, at least 0"),
        ([1.0, np.nan, 2.0], "training_price of client 'b': nan"),
        ([1.0, 2.0, np.inf], "training_price of client 'c': inf"),
        (None, "training_price of client 'a': nan"),
        (pd.Series([1, None, 3], index=["a", "b", "c"], dtype="Int64"), "training_price of client 'b': nan"),
        ("dear", "training_price: 'dear' is not a number"),
        (1j, "is not a number"),
        (10**400, "is not a number"),
        ([1.0, -2.0, 3.0], "training_price of client 'b': -2.0"),
        ({"a": 1.0}, "is not a number"),
        ([1.0, 2.0], "shape (2,) does not match the 3 clients"),
        ([[1.0, 2.0, 3.0]], "shape (1, 3) does not match the 3 clients"),
        (pd.Series([1.0, 2.0], index=["a", "b"]), "training_price: no value for client 'c'"),
        (pd.Series([1.0, 2.0, 3.0]), "training_price: no value for client 'a', 'b', 'c'"),
        (pd.Series([1.0, 2.0, 3.0, 4.0], index=["a", "b", "c", "a"]), "client 'a' appears twice"),
    ],
)
def test_bad_prices_are_named(values: Any, words: str) -> None:
    with pytest.raises(InputError) as caught:
        Game(PEOPLE).prices(values, 1.0)
    assert words in str(caught.value)


def test_ids_that_are_numbers_are_shown_as_numbers() -> None:
    game = Game(Population(pd.DataFrame({"client": [7, 8], "mu": 10.0, "rho": 0.01})))
    with pytest.raises(InputError, match=r"training_price of client 8: -1\.0"):
        game.prices([1.0, -1.0], 1.0)
    assert "client 7" in str(best_response(game, game.prices(1.0, 1.0)).certificate.where)
    assert "7: cannot meet" in repr(best_response(game, game.prices([1e-9, 1.0], 1.0)))


def test_prices_must_be_a_frame_of_prices() -> None:
    game = Game(PEOPLE)
    with pytest.raises(InputError, match=r"expected game.prices\(training=..., mining=...\), not float"):
        game.checked_prices(0.1)
    with pytest.raises(InputError, match="missing column 'mining_price'"):
        game.checked_prices(game.prices(1, 1)[["training_price"]])


def test_a_client_may_be_offered_nothing_but_not_half() -> None:
    game = Game(PEOPLE)
    prices = game.prices(1.0, 2.0)
    prices.loc["b"] = np.nan
    pd.testing.assert_frame_equal(game.checked_prices(prices.iloc[::-1]), prices)
    prices.loc["a", "mining_price"] = np.nan
    with pytest.raises(InputError, match="mining_price of client 'a': nan"):
        game.checked_prices(prices)


# ---------------------------------------------------------------------- the rest


def test_performance_counts_recruited_clients_only() -> None:
    recruited = np.array([True, False, True])
    assert Game(PEOPLE).performance_value() == pytest.approx(np.log(31.0))
    assert Game(PEOPLE).performance_value(recruited) == pytest.approx(np.log(21.0))
    assert Game(PEOPLE, performance="sqrt").performance_value(recruited) == pytest.approx(20.0**0.5)
    assert Game(PEOPLE, performance="linear").performance_value() == 30.0
    assert Game(PEOPLE, performance=lambda cycles: 2 * cycles).performance_value() == 60.0


def test_games_describe_themselves() -> None:
    text = repr(Game(PEOPLE))
    assert text.startswith("Game with 3 clients: mining_cycles=5, deadline=15") and "performance='log'" in text
    assert "performance='custom'" in repr(Game(PEOPLE, performance=float))
    assert "<table" in Game(PEOPLE)._repr_html_()
