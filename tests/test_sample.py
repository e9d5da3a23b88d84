"""The packaged sample: it is what its assumptions make of the phones, and it says honestly who cannot be recruited."""

from __future__ import annotations

import io
from importlib import resources

import numpy as np
import pandas as pd
import pytest

import bcfl_opt as bo
from bcfl_opt import closed_form, sample

DATA = resources.files("bcfl_opt") / "data"


@pytest.fixture(scope="module")
def phones() -> pd.DataFrame:
    return pd.read_csv(io.StringIO((DATA / "phones.csv").read_text(encoding="utf-8")))


@pytest.fixture(scope="module")
def game() -> bo.Game:
    return bo.Game(bo.Population.sample())


def test_build_makes_the_packaged_file_letter_for_letter(phones: pd.DataFrame) -> None:
    packaged = (DATA / "sample.csv").read_text(encoding="utf-8")
    assert sample.build(phones).to_csv(index=False, lineterminator="\n") == packaged
    # and does not depend on the order of the phones
    assert sample.build(phones.iloc[::-1].reset_index(drop=True)).to_csv(index=False, lineterminator="\n") == packaged


def test_the_source_and_the_licence_are_stated() -> None:
    text = (DATA / "README.md").read_text(encoding="utf-8")
    assert "PKU-Chengxu/FLASH" in text and "BSD 2-Clause" in text


def test_the_columns() -> None:
    people = bo.Population.sample()
    assert len(people) == 50 and list(people.ids) == [f"phone-{k:02d}" for k in range(1, 51)]
    given = ["model", "cpu", "year", "cpu_float_score", "iterations", "cycles_per_sample", "data_size"]
    assert list(people.frame.columns) == ["training_cycles", "energy_coefficient", "max_speed", *given]


def test_phones_are_real_and_spread_over_the_scores(phones: pd.DataFrame) -> None:
    frame = bo.Population.sample().frame
    facts = ["model", "cpu", "year", "cpu_float_score"]
    assert frame["model"].is_unique and (frame["year"] >= 2018).all()
    assert len(frame.merge(phones, on=facts)) == 50
    recent = phones.loc[phones["year"] >= 2018, "cpu_float_score"]
    # one phone of every fiftieth of the scores, its middle one: quantiles differ by less than a fiftieth
    for level in (0.1, 0.25, 0.5, 0.75, 0.9):
        lower, upper = recent.quantile([level - 0.02, level + 0.02])
        assert lower <= frame["cpu_float_score"].quantile(level) <= upper


def test_speeds_and_energy_follow_the_stated_laws() -> None:
    frame = bo.Population.sample().frame
    speed, score = frame["max_speed"], frame["cpu_float_score"]
    np.testing.assert_allclose(speed, 3 * score / score.median(), atol=0.00051)
    np.testing.assert_allclose(frame["energy_coefficient"], 0.01 * (3 * score.median() / (3 * score)) ** 2, atol=5.1e-6)
    assert speed.median() == pytest.approx(3.0, abs=0.001)
    assert frame["energy_coefficient"].median() == pytest.approx(0.01, rel=0.01)


def test_data_follows_femnist_and_is_independent_of_the_phone() -> None:
    frame = bo.Population.sample().frame
    size = frame["data_size"]
    assert size.mean() == pytest.approx(226.8, rel=0.01) and size.std() == pytest.approx(88.9, rel=0.02)
    assert (size >= 10).all() and (size == size.round()).all()
    assert frame["training_cycles"].mean() == pytest.approx(10.0, rel=0.01)
    np.testing.assert_allclose(frame["training_cycles"], 5 * 0.00882 * size, rtol=1e-14)
    # Rank correlation of 50 independent pairs is about 1 / 7 in size.
    assert abs(size.corr(frame["max_speed"], method="spearman")) < 0.14


def test_who_cannot_be_recruited_and_why(game: bo.Game) -> None:
    clients = bo.equilibrium(game).clients
    refused = clients.loc[~clients["recruited"], "reason"]
    assert list(refused.index) == ["phone-01", "phone-03", "phone-21"]
    frame = game.population.frame
    # Two slow phones with much data: at full speed they need (mu + psi) / q > T.
    least = (frame["training_cycles"] + game.mining_cycles) / frame["max_speed"]
    assert (least > game.deadline).sum() == 2
    assert refused[["phone-01", "phone-03"]].str.startswith("cannot meet the deadline 15").all()
    # The phone with the most data pulls every average away from the target.
    assert frame["data_size"].idxmax() == "phone-21"
    assert refused["phone-21"].startswith("not recruited: negative Shapley share")
    assert (game.caps["shapley"] < 0).sum() == 1
    assert game.caps["training_cap"].sum() == pytest.approx(1250.0, rel=1e-12)


def test_the_papers_prices_ask_for_speeds_no_phone_has(game: bo.Game) -> None:
    # (15) spends the whole cap on speed: 4 to 40 GHz-equivalents where phones have 1 to 6.6.
    prices = closed_form.theorem_3_2(game)
    asked = closed_form.theorem_3_1(game, prices)
    paid = prices["training_price"].notna()
    assert paid.sum() == 49
    assert asked.loc[paid, "reason"].str.contains("exceeds max_speed").all()
    assert (asked.loc[paid, "training_speed"] > game.population.frame.loc[paid, "max_speed"]).all()
    assert not closed_form.algorithm_1(game)["client_accepted"].any()
    # Without speed limits, as the paper has it, all of them are recruited.
    limitless = game.replace(population=bo.Population(game.population.frame.drop(columns="max_speed")))
    assert closed_form.algorithm_1(limitless)["client_accepted"].sum() == 49
