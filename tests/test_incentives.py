"""Audits: gains against hand calculations and brute force, mechanisms that are truthful, and bad input."""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize_scalar
from typer.testing import CliRunner

import bcfl_opt as bo
from bcfl_opt.cli import app

matplotlib.use("Agg")


def equal_clients(mu: float, n: int = 4) -> bo.Game:
    """All alike, so that every training cap is (reward_budget - mining budget) / n = 25 and no report moves it."""
    frame = pd.DataFrame({"client": [f"c{k}" for k in range(n)], "mu": np.full(n, mu), "rho": 0.01})
    return bo.Game(bo.Population(frame), mining_cycles=5.0, deadline=15.0, reward_budget=30.0 * n, mining_cap=5.0)


@pytest.fixture(scope="module")
def game() -> bo.Game:
    return bo.Game(bo.Population.random(6, seed=1, speed_limits=True))


def best_utility(mu: float, rho: float, q: float, psi: float, deadline: float, p_t: float, p_m: float) -> float:
    """Problem 1 for one client by scipy; 0 if it walks away."""
    low = mu * max((rho / p_t) ** (1 / 3), 1 / q)
    high = deadline - psi * max((rho / p_m) ** (1 / 3), 1 / q)
    if low > high:
        return 0.0

    def loss(t: float) -> float:
        return -(p_t * t + p_m * (deadline - t) - rho * mu**3 / t**2 - rho * psi**3 / (deadline - t) ** 2)

    inner = minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-12}).fun
    return max(-min(inner, loss(low), loss(high)), 0.0)


@pytest.mark.parametrize("mu", [5.0, 10.0])
def test_over_reporting_pays_under_theorem_4_1(mu: float) -> None:
    """theory 4.3: R_t = 25, rho = 0.01, psi = 5, T = 15; reporting 1.2 mu yields 10.53 where the truth yields 0."""
    found = bo.audit(equal_clients(mu), "theorem_4_1", reports=[0.9 * mu, 1.2 * mu])
    gains = found.table.groupby("report")["gain"].max()
    assert gains[1.2 * mu] == pytest.approx(10.53, abs=0.005)
    assert gains[0.9 * mu] == pytest.approx(0.0, abs=1e-9)  # under-reporting leaves no feasible answer
    assert found.literally_compatible and not found.incentive_compatible and found.individually_rational
    assert found.best["best_report"].eq(1.2 * mu).all()


@pytest.mark.parametrize("mechanism", ["theorem_4_1", "theorem_3_2", "equilibrium"])
def test_every_gain_against_scipy(game: bo.Game, mechanism: str) -> None:
    found = bo.audit(game, mechanism, reports=np.outer(game.population.training_cycles, [0.8, 1.0, 1.3, 1.7]))
    people = game.population.frame
    truth = {}
    for row in found.table.itertuples():
        person = people.loc[row.client]
        expected = 0.0
        if np.isfinite(row.training_price):
            expected = best_utility(
                row.truth,
                person["energy_coefficient"],
                person["max_speed"],
                game.mining_cycles,
                game.deadline,
                row.training_price,
                row.mining_price,
            )
        assert row.utility == pytest.approx(expected, rel=1e-9, abs=1e-8)
        if row.report == row.truth:
            truth[row.client] = expected
    gains = found.table["utility"] - found.table["client"].map(truth)
    assert found.table["gain"].to_numpy() == pytest.approx(gains.to_numpy(), rel=1e-9, abs=1e-8)


def test_the_prices_of_a_report_are_the_mechanism_s(game: bo.Game) -> None:
    """Fixed shares: (19), (20) at mu_hat with the true caps, by hand."""
    report, i = 9.0, game.caps["training_cap"].idxmax()
    row = bo.audit(game, reports=[report]).table.set_index("client").loc[i]
    rho, cap = game.population.frame.loc[i, "energy_coefficient"], game.caps.loc[i, "training_cap"]
    p_t = (cap / report) ** 1.5 / rho**0.5
    p_m = rho * (game.mining_cycles / (game.deadline - report * (rho / p_t) ** (1 / 3))) ** 3
    assert (row["training_price"], row["mining_price"]) == pytest.approx((p_t, p_m), rel=1e-12)


def test_reported_shares_move_the_cap(game: bo.Game) -> None:
    """The liar's own Shapley value is recomputed, the others' reports stay true."""
    i = 2
    reports = game.population.training_cycles.copy()
    reports[i] = 9.0
    frame = game.population.frame.assign(training_cycles=reports)
    expected = bo.closed_form.theorem_4_1(game.replace(population=bo.Population(frame))).iloc[i]
    grid = np.broadcast_to(game.population.training_cycles[:, None], (6, 1)).copy()
    grid[i] = 9.0
    row = bo.audit(game, shares="reported", reports=grid).table.iloc[i]
    assert row["training_price"] == pytest.approx(expected["training_price"], rel=1e-12)
    fixed = bo.audit(game, reports=grid).table.iloc[i]
    assert row["training_price"] != pytest.approx(fixed["training_price"], rel=1e-6)


def test_separable_and_one_by_one_agree(game: bo.Game) -> None:
    reports = np.outer(game.population.training_cycles, [0.9, 1.4])
    together = bo.audit(game, "equilibrium", reports=reports)
    apart = bo.audit(game, "equilibrium", reports=reports, separable=False)
    pd.testing.assert_frame_equal(together.table, apart.table)


def test_refinement_finds_what_the_grid_missed(game: bo.Game) -> None:
    fine = bo.audit(game, "equilibrium").best
    for i, row in fine.iterrows():
        around = np.minimum(
            np.linspace(0.97, 1.03, 101) * row["best_report"], 4 * row["truth"]
        )  # as far as is searched
        near = bo.audit(game, "equilibrium", reports=around).table
        assert row["gain"] >= near.loc[near["client"] == i, "gain"].max() - 1e-9 * row["scale"]


def test_prices_that_ignore_the_report_are_truthful(game: bo.Game) -> None:
    def flat(reported: bo.Game) -> pd.DataFrame:
        return reported.prices(training=0.05, mining=0.05)

    found = bo.audit(game, flat)
    assert found.incentive_compatible and found.largest_gain == 0.0
    assert "none that was tried gains" in repr(found) and "flat" in repr(found)
    assert not found.literally_compatible  # training earns something here, so U moves with mu_hat


def test_literal_reading_by_hand() -> None:
    """U(mu_hat) - U(mu) = (p_t / q_t - rho q_t^2) (mu_hat - mu), prices and speeds kept."""
    game = equal_clients(10.0)
    prices = game.prices(training=0.05, mining=0.05)
    found = bo.audit(game, lambda reported: prices, reports=[8.0, 13.0], separable=True)
    q = bo.best_response(game, prices).clients["training_speed"].iloc[0]  # 1, at equal prices
    slope = 0.05 / q - 0.01 * q**2
    literal = found.table.groupby("report")["literal_gain"].first()
    assert literal[8.0] == pytest.approx(-2 * slope) and literal[13.0] == pytest.approx(3 * slope)


def test_theorem_responses_walk_away_from_what_the_theorem_cannot_do(game: bo.Game) -> None:
    found = bo.audit(game, "theorem_4_1", responses="theorem")
    assert (found.table["utility"] >= 0).all()
    assert (found.table["utility"] <= bo.audit(game, "theorem_4_1").table["utility"] + 1e-9).all()


def test_a_menu_is_audited_offer_by_offer(game: bo.Game) -> None:
    offers = bo.equilibrium(game).clients[["training_price", "mining_price"]]
    found = bo.audit(game, offers)
    assert len(found.table) == 36 and not found.incentive_compatible  # the slowest client's prices tempt the others
    pooling = offers.copy()
    pooling[:] = [0.2, 0.2]
    assert bo.audit(game, pooling).incentive_compatible


def test_a_menu_whose_contracts_carry_their_own_deadlines() -> None:
    """Every client against every contract with the contract's deadline, by scipy; under the game's, lies would seem to pay."""
    frame = pd.DataFrame(
        {"mu": [5.0, 8.0, 10.0], "rho": [0.01, 0.02, 0.01], "q": [np.inf, 1.5, 3.0]}, index=list("abc")
    )
    game = bo.Game(frame, mining_cycles=5.0, deadline=15.0)
    offers = pd.DataFrame(
        {"training_price": [0.6, 0.9, 0.5], "mining_price": [0.5, 1.1, 0.7], "deadline": [4.0, 9.5, 15.0]},
        index=list("abc"),
    )
    found = bo.audit(game, offers)
    for row in found.table.itertuples():
        person = frame.loc[row.client]
        terms = (row.deadline, row.training_price, row.mining_price)
        expected = best_utility(person["mu"], person["rho"], person["q"], 5.0, *terms)
        assert row.utility == pytest.approx(expected, rel=1e-8, abs=1e-9)
    utility = found.table.pivot(index="client", columns="deadline", values="utility").to_numpy()
    gain = utility.max(axis=1) - np.diag(utility)
    np.testing.assert_allclose(found.best["gain"], gain, atol=1e-12)
    assert (utility == 0).any() and gain.max() > 0  # out of reach for some, and envied
    assert not np.allclose(bo.audit(game, offers.drop(columns="deadline")).best["gain"], gain, atol=1e-3)
    same = bo.audit(game, offers.assign(deadline=15.0))
    pd.testing.assert_frame_equal(same.best, bo.audit(game, offers.drop(columns="deadline")).best)


@pytest.mark.parametrize("deadline", [0.0, -1.0, 15.1, np.inf, np.nan])
def test_a_menus_deadline_beyond_the_games_is_refused_by_client(deadline: float) -> None:
    frame = pd.DataFrame({"mu": [5.0, 8.0], "rho": 0.01}, index=["anna", "ben"])
    game = bo.Game(frame, mining_cycles=5.0, deadline=15.0)
    offers = pd.DataFrame(
        {"training_price": 0.5, "mining_price": 0.5, "deadline": [9.0, deadline]}, index=["anna", "ben"]
    )
    with pytest.raises(bo.InputError, match=r"deadline for client .?ben.? is .* at most the game's, 15"):
        bo.audit(game, offers)


def test_a_designed_menu_with_chosen_deadlines_is_audited_as_it_is() -> None:
    frame = pd.DataFrame({"mu": [5.0, 8.0, 10.0], "rho": 0.01}, index=list("abc"))
    game = bo.Game(frame, mining_cycles=5.0, deadline=15.0)
    menu = bo.design_menu(game, [0.2, 0.5, 0.3], deadlines="chosen")
    found = bo.audit(game, menu)
    assert menu.contracts["deadline"].nunique() == 3
    assert found.largest_gain <= 1e-7 * found.best["scale"].max() and found.individually_rational
    np.testing.assert_allclose(found.table["gain"], menu.gains.to_numpy().ravel(), atol=1e-9)
    np.testing.assert_allclose(found.table["deadline"].iloc[:3], menu.contracts["deadline"], rtol=1e-12)
    # A contract a little longer for the same prices is worth more to its own type, and to who envies it already.
    longer = menu.clients.assign(deadline=menu.clients["deadline"] * [1.0, 1.01, 1.0])
    assert bo.audit(game, longer).largest_gain > 1e-4


def test_the_picture_shows_the_table(game: bo.Game) -> None:
    found = bo.audit(game, reports=np.outer(game.population.training_cycles, [0.9, 1.0, 1.2]))
    ax = found.plot(clients=["client-3"])
    curve = ax.lines[0]
    mine = found.table[found.table["client"] == "client-3"].sort_values("report")
    assert curve.get_ydata() == pytest.approx(mine["gain"].to_numpy())
    assert curve.get_xdata() == pytest.approx([0.9, 1.0, 1.2])
    assert "[money]" in ax.get_ylabel()
    with pytest.raises(bo.InputError, match="client-77"):
        found.plot(clients=["client-77"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mechanism": "theorem_4_2"}, "did you mean 'theorem_4_1'"),
        ({"responses": "best"}, "responses"),
        ({"shares": "mine"}, "shares"),
        ({"reports": [1.0, -2.0]}, "must be a finite number above 0"),
        ({"reports": [[1.0], [2.0]]}, "neither"),
        ({"reports": "many"}, "not an array"),
        ({"mechanism": lambda reported: 3.0}, "must return a DataFrame"),
        ({"mechanism": pd.DataFrame({"training_price": [1.0]})}, "mining_price"),
        (
            {"mechanism": pd.DataFrame({"training_price": [1.0], "mining_price": [1.0]}, index=["x"])},
            "no offer for client",
        ),
    ],
)
def test_bad_input(game: bo.Game, arguments: dict, message: str) -> None:
    with pytest.raises(bo.InputError, match=message):
        bo.audit(game, **arguments)


def test_an_audit_of_hours_is_refused_with_the_estimate(game: bo.Game, monkeypatch: pytest.MonkeyPatch) -> None:
    from bcfl_opt import incentives

    monkeypatch.setattr(incentives, "PATIENCE", 1e-4)
    with pytest.raises(bo.InputError, match=r"600 times, about .* hours"):
        bo.audit(game, shares="reported", reports=np.linspace(5, 20, 100))


def test_command(tmp_path: Path) -> None:
    game = bo.Population.random(5, seed=2).frame.reset_index()
    game.to_csv(tmp_path / "clients.csv", index=False)
    arguments = ["audit", "--population", str(tmp_path / "clients.csv")]
    shown = CliRunner().invoke(app, arguments)
    assert shown.exit_code == 0 and "Who gains most" in shown.stdout, shown.output
    written = CliRunner().invoke(
        app, [*arguments, "--mechanism", "equilibrium", "--json", "--out", str(tmp_path / "out")]
    )
    assert written.exit_code == 0, written.output
    document = json.loads(written.stdout)
    assert document["incentive_compatible"] is False and document["literally_compatible"] is True
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"clients.csv", "reports.csv", "audit.json", "gains.png"}
    bad = CliRunner().invoke(app, [*arguments, "--mechanism", "none"])
    assert bad.exit_code == 2
