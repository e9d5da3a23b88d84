"""The paper's experiments: their numbers against hand calculations and brute force, the verdicts, the pictures."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from bcfl_opt import InputError, paper
from bcfl_opt.cli import app
from bcfl_opt.paper import pictures, verdicts

SMALL = paper.Setting(points=5, draws=20)
RHO, T, PSI, MU = 0.01, 15.0, 5.0, 10.0


@pytest.fixture(scope="module")
def tables() -> dict[int, pd.DataFrame]:
    return {k: getattr(paper, f"figure_{k}")(SMALL) for k in (2, 3, 4, 5, 6)}


def pick(table: pd.DataFrame, **where: object) -> pd.DataFrame:
    for name, value in where.items():
        table = table[table[name] == value]
    return table


# ---------------------------------------------------------------------- numbers


@pytest.mark.parametrize(
    ("information", "strategies", "cost", "utility"),
    [
        # xi N (T + R_t + R_m) = 0.1 x 50 x (15 + 25 + 5), and U = R_m - rho psi^3 / s^2 with s = T - mu sqrt(rho mu / R_t)
        ("complete", "closed forms", 225.0, 5 - 0.01 * 125 / (15 - 10 * np.sqrt(0.1 / 25)) ** 2),
        # Theorem 4.1 pays R_t and the energy of mining
        ("incomplete", "closed forms", 5 * (15 + 25 + 0.01 * 125 / (15 - 10 * np.sqrt(0.1 / 25)) ** 2), 0.0),
        # the equilibrium pays rho (mu + psi)^3 / T^2 = 0.15
        ("complete", "optimum", 75.75, 0.0),
        ("incomplete", "optimum", 75.75, 0.0),
    ],
)
def test_figure_2_by_hand(
    tables: dict[int, pd.DataFrame], information: str, strategies: str, cost: float, utility: float
) -> None:
    found = pick(tables[2], information=information, strategies=strategies, owner="optimal", clients="optimal")
    assert found["owner_utility"].item() == pytest.approx(np.log1p(500) - cost, rel=1e-12)
    assert found["client_utility"].item() == pytest.approx(utility, abs=1e-12)


def test_random_strategies_keep_to_the_limits() -> None:
    game = SMALL.game()
    highest = paper.experiments.closed_form.theorem_3_2(game)
    rng = np.random.default_rng(1)
    prices = paper.experiments._random_prices(SMALL, game, "optimum", (3, 50), rng)
    assert (prices > 0).all() and (prices <= highest[["training_price", "mining_price"]].to_numpy()[0]).all()
    for law in ("feasible", "on the deadline"):
        setting = paper.Setting(points=5, draws=20, random_times=law)
        t, s = paper.experiments._random_times(setting, prices, rng)
        assert (prices[..., 0] * t >= RHO * MU**3 / t**2 * (1 - 1e-12)).all()  # (8)
        assert (prices[..., 1] * s >= RHO * PSI**3 / s**2 * (1 - 1e-12)).all()  # (9)
        assert (t + s <= T * (1 + 1e-12)).all()  # (10)
        assert np.allclose(t + s, T) == (law == "on the deadline")


def test_the_feasible_times_are_drawn_uniformly() -> None:
    """In a triangle with the corner (low_t, low_s) and legs r, the mean of either time is its least plus r / 3."""
    prices = np.broadcast_to([1.0, 0.5], (200, 500, 2))
    t, s = paper.experiments._random_times(SMALL, prices, np.random.default_rng(0))
    low_t, low_s = MU * np.cbrt(RHO / 1.0), PSI * np.cbrt(RHO / 0.5)
    room = T - low_t - low_s
    error = room / np.sqrt(18 * t.size)  # standard deviation of a coordinate: r / sqrt(18)
    assert t.mean() == pytest.approx(low_t + room / 3, abs=5 * error)
    assert s.mean() == pytest.approx(low_s + room / 3, abs=5 * error)


def test_figure_3_owner_by_hand(tables: dict[int, pd.DataFrame]) -> None:
    table = tables[3][tables[3]["reason"] == ""]
    mu, psi = table["training_cycles"], table["mining_cycles"]
    best = pick(table, strategies="optimum")
    expected = np.log1p(50 * mu) - 0.1 * 50 * (T + RHO * (mu + psi) ** 3 / T**2)
    assert best["owner_utility"].to_numpy() == pytest.approx(expected[best.index].to_numpy(), rel=1e-12)
    spent = pick(table, strategies="closed forms", information="complete")
    assert spent["owner_utility"].to_numpy() == pytest.approx(
        (np.log1p(50 * mu) - 225)[spent.index].to_numpy(), rel=1e-12
    )


def test_edges_carry_their_reason(tables: dict[int, pd.DataFrame]) -> None:
    edge = tables[3][(tables[3]["training_cycles"] == 0) | (tables[3]["mining_cycles"] == 0)]
    assert len(edge) == 4 * (5 + 4) and edge["owner_utility"].isna().all()
    assert set(edge["reason"].str[:6]) == {"mu = 0", "psi = "}
    assert pick(tables[5], training_cycles=0.0)["reason"].str.startswith("mu = 0").all()
    # p_t = 0, and p_t < rho (mu / T)^3, pay for no training in time
    free = pick(tables[4], swept="training_price", training_price=0.0)
    assert len(free) == 4 and free["client_utility"].isna().all() and (free["reason"] != "").all()


@pytest.mark.parametrize("information", ["complete", "incomplete"])
def test_figures_4_and_6_against_brute_force(tables: dict[int, pd.DataFrame], information: str) -> None:
    rows = pick(tables[4], information=information, strategies="optimum").dropna(subset=["client_utility"])
    for row in rows.iloc[::4].to_dict("records"):
        p_t, p_m = row["training_price"], row["mining_price"]
        low_t, low_s = MU * np.cbrt(RHO / p_t), PSI * np.cbrt(RHO / p_m)
        t = np.linspace(low_t, max(T - low_s, low_t), 20_001)
        u = p_t * t + p_m * (T - t) - RHO * MU**3 / t**2 - RHO * PSI**3 / (T - t) ** 2
        assert row["client_utility"] >= u.max() - 1e-12 * abs(u.max()) - 1e-12
        assert row["client_utility"] == pytest.approx(u.max(), rel=1e-6, abs=1e-9)
    swept = pick(tables[4], swept="training_price")["training_speed"].to_numpy()
    np.testing.assert_array_equal(tables[6]["training_speed"].to_numpy(), swept)


def test_figure_5_knows_both_readings(tables: dict[int, pd.DataFrame]) -> None:
    closed = pick(tables[5], strategies="closed forms", information="complete", population="equal").dropna()
    mu = closed["training_cycles"].to_numpy()
    assert closed["training_price"].to_numpy() == pytest.approx((25 / mu) ** 1.5 / np.sqrt(RHO), rel=1e-12)  # (15)
    spread = pick(tables[5], strategies="optimum", information="complete", population="spread")
    out = spread[spread["training_speed"].isna() & (spread["training_cycles"] > 0)]
    assert len(out) and out["reason"].str.contains("negative Shapley share").all()


def test_figure_2_without_an_answer_says_so() -> None:
    with pytest.raises(InputError, match="Figure 2 cannot be drawn in this setting"):
        paper.figure_2(paper.Setting(training_cycles=500.0, draws=2, points=3))


@pytest.mark.parametrize("bad", [{"points": 2}, {"draws": 1}, {"clients": 0}, {"random_times": "any"}, {"points": 5.0}])
def test_a_bad_setting_is_refused(bad: dict) -> None:
    with pytest.raises(InputError, match=next(iter(bad))):
        paper.Setting(**bad)


# ---------------------------------------------------------------------- verdicts


def curve(values: list[float]) -> pd.DataFrame:
    return pd.DataFrame({"x": range(len(values)), "y": values})


@pytest.mark.parametrize(
    ("values", "expected", "verdict"),
    [
        ([1, 2, 3], "rises", "holds"),
        ([1, 3, 2.9], "rises", "does not hold"),
        ([1, 1, 1], "rises", "does not hold"),
        ([3, 2, 2], "falls", "holds"),
        ([3, 3, 3], "falls", "does not hold"),
        ([3, 3, 3], "does not rise", "holds"),
        ([3, 3.1], "does not rise", "does not hold"),
        ([10, 10.9], "hardly changes", "holds"),
        ([10, 11.2], "hardly changes", "does not hold"),
        ([10, 11.2], "changes", "holds"),
        ([0.0, 0.0], "hardly changes", "holds"),
        ([5, np.nan, 7], "rises", "holds"),
        ([5, np.nan, np.nan], "rises", "cannot be judged"),
    ],
)
def test_trends(values: list[float], expected: str, verdict: str) -> None:
    assert verdicts._trend("x", "y", expected)(curve(values))[1] == verdict


def test_one_curve_out_of_line_breaks_a_claim() -> None:
    grid = pd.DataFrame({"training_cycles": [1, 2, 1, 2], "mining_cycles": [1, 1, 2, 2], "y": [1.0, 2.0, 5.0, 4.0]})
    text, verdict = verdicts._trend("training_cycles", "y", "rises")(grid)
    assert verdict == "does not hold" and "2 curves" in text


def test_claims_are_computed_for_every_case_and_can_differ() -> None:
    table = paper.claims(SMALL)
    assert not table.isna().any().any()
    assert set(table["figure"]) == {2, 3, 4, 5, 6}
    assert (table.groupby("claim").size() == 2 * table.groupby("claim")["figure"].nunique()).all()
    assert set(table["closed_forms"]) == set(table["optimum"]) == {"holds", "does not hold"}
    # The owner's utility falls in both prices, under either response (theory 3.1); the round takes the whole deadline.
    falls = table[table["claim"].str.contains("utility of the MO is improved|MO utility will be improved")]
    assert len(falls) == 4 and (falls[["closed_forms", "optimum"]] == "does not hold").all(axis=None)
    # An equilibrium is one: nobody gains alone.
    alone = table[table["claim"].str.startswith("(what an equilibrium means)")]
    assert (alone["optimum"] == "holds").all() and (alone["closed_forms"] == "does not hold").any()


def test_influence_names_the_choice_that_matters_and_the_one_that_does_not() -> None:
    others = {"f = linear": paper.Setting(points=5, draws=20, performance="linear"), "the same": SMALL}
    table = paper.influence(SMALL, others)
    assert set(table.loc[table["choice"] == "f = linear", "figure"]) == {3}
    assert table.loc[table["choice"] == "the same", "claim"].tolist() == ["no verdict changes"]


# ---------------------------------------------------------------------- pictures and command


def test_pictures_have_labels_with_units_and_a_legend(tables: dict[int, pd.DataFrame]) -> None:
    for name, figure in pictures.draw(tables):
        axes = [axis for axis in figure.axes if axis.get_label() != "<colorbar>"]
        assert len(axes) == {"figure_2": 2, "figure_3": 6, "figure_4": 4, "figure_5": 8, "figure_6": 2}[name]
        assert all("[" in axis.get_ylabel() for axis in axes)
        assert name == "figure_3" or len(figure.legends) == 1


def test_command_writes_tables_claims_and_pictures(tmp_path: Path) -> None:
    out = tmp_path / "paper"
    result = CliRunner().invoke(app, ["paper", "--points", "3", "--draws", "5", "--out", str(out), "--json"])
    assert result.exit_code == 0, result.output
    names = {"claims", "influence", *(f"figure_{k}" for k in range(2, 7))}
    assert {p.name for p in out.iterdir()} == {f"{n}.csv" for n in names} | {f"figure_{k}.png" for k in range(2, 7)} | {
        "paper.json"
    }
    assert all(p.read_bytes().startswith(b"\x89PNG") for p in out.glob("*.png"))
    document = json.loads(result.stdout)
    assert document == json.loads((out / "paper.json").read_text()) and len(document["claims"]) == 2 * len(
        verdicts.CLAIMS
    )
    again = CliRunner().invoke(app, ["paper", "--out", str(out)])
    assert again.exit_code == 2 and "is not empty" in again.stderr
