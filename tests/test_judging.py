"""The cross-check's verdicts on populations whose truth is known by hand, and its reasons: stated only where they hold."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import bcfl_opt as bo

READINGS = {
    ("Theorem 3.1", "Problem 1 as printed"),
    ("Theorem 3.1", "client also faces the reward caps"),
    ("Theorem 3.2", "(16) as printed, caps spent"),
    ("Theorem 3.2", "corrected, caps spent"),
    ("Theorem 3.2", "corrected, caps at most"),
    ("Theorem 3.2", "clients optimise at its prices"),
    ("Theorem 4.1", "training cap spent, utility 0"),
    ("Theorem 4.1", "caps at most"),
    ("Theorem 4.1", "clients optimise at its prices"),
    ("Theorem 4.1", "incentive compatible as (18) is printed"),
    ("Theorem 4.1", "incentive compatible if clients misreport and then optimise"),
}
LIMITED = {("Theorem 3.1", "clients with speed limits"), ("Theorem 3.2", "corrected, clients with speed limits")}
COLUMNS = [
    "theorem",
    "reading",
    "clients",
    "paper_value",
    "ipopt",
    "clarabel",
    "exact",
    "gap",
    "primal",
    "stationarity",
    "verdict",
    "reason",
]


def rows(check: bo.CrossCheck) -> dict[tuple[str, str], pd.Series]:
    """Rows of the table by theorem and reading; the table is complete and every solve agrees."""
    table = check.table
    assert list(table.columns) == COLUMNS
    found = {(row["theorem"], row["reading"]): row for _, row in table.iterrows()}
    limited = bool(np.isfinite(check.game.population.max_speed).any())
    assert set(found) == (READINGS | LIMITED if limited else READINGS)
    assert len(found) == len(table)
    assert check.agrees, check.solves.to_string()
    return found


def uniform(n: int = 1, rho: float = 0.01, **game: float) -> bo.Game:
    """n clients with mu = 10; psi = 5, T = 15, R_m = 5 and R_t = 25 unless told otherwise (the paper's setting)."""
    return bo.Game(pd.DataFrame({"mu": [10.0] * n, "rho": rho}), **game)


# ---------------------------------------------------------------------------------- the paper's setting


@pytest.fixture(scope="module")
def paper() -> dict[tuple[str, str], pd.Series]:
    return rows(bo.cross_check(uniform(50)))


def test_the_caps_spent_cost_225_and_the_caps_at_most_75_75(paper: dict[tuple[str, str], pd.Series]) -> None:
    # Spent: 0.1 x 50 x (15 + 25 + 5) = 225. At most: both speeds (10 + 5) / 15 = 1, energy 0.01 x 15 = 0.15 a client,
    # 0.1 x 50 x (15 + 0.15) = 75.75. f = log(1 + 500).
    spent, most = paper["Theorem 3.2", "corrected, caps spent"], paper["Theorem 3.2", "corrected, caps at most"]
    f = math.log(501)
    assert spent["verdict"] == "optimal"
    for column in ("paper_value", "exact", "ipopt", "clarabel"):
        assert f - spent[column] == pytest.approx(225, rel=1e-9)
    assert f - most["paper_value"] == pytest.approx(225, rel=1e-12)
    for column in ("exact", "ipopt", "clarabel"):
        assert f - most[column] == pytest.approx(75.75, rel=1e-8)
    assert most["verdict"].startswith("feasible but worse by 149.25")
    assert most["gap"] == pytest.approx(149.25 / (75.75 - f))
    # 50 x 30 paid where 50 x 0.15 would do; d U_mo / d p_m = -xi s, so the multiplier of (14) would be -xi.
    assert "it pays 1500 where 7.5 recruits the same clients" in most["reason"]
    assert "falls in every one of its prices, so (14) would need the multiplier -xi = -0.1" in most["reason"]
    assert most["stationarity"] > 0.1 and spent["stationarity"] < 1e-6


def test_the_misprint_and_what_it_leaves(paper: dict[tuple[str, str], pd.Series]) -> None:
    # s = 15 - sqrt(0.01 1000 / 25) = 14.36754; p_m = 5 / s = 0.34801. Printed: (0.1)^1.5 / 5 = 0.0063246 instead of
    # 0.63246, p_m = 5 / 14.99368 = 0.33347, and s p_m = 4.7912, 0.2088 below the cap that was to be spent.
    right, wrong = (bo.closed_form.theorem_3_2(uniform(50), printed=printed) for printed in (False, True))
    assert right["mining_price"].iloc[0] == pytest.approx(0.34801, abs=5e-6)
    assert wrong["mining_price"].iloc[0] == pytest.approx(0.33347, abs=5e-6)
    row = paper["Theorem 3.2", "(16) as printed, caps spent"]
    assert row["verdict"].startswith(
        "misprinted, corrected form agrees: infeasible: mining_budget[0] is violated by 0.2088"
    )
    assert row["verdict"].endswith("so are 49 others")
    assert "misses its cap by up to 0.2088" in row["reason"]
    assert row["primal"] == pytest.approx(0.2088 / 5, rel=1e-3)


def test_theorem_4_1_pays_the_energy_but_not_at_the_cheapest_split(paper: dict[tuple[str, str], pd.Series]) -> None:
    # Per client 25 + 0.01 125 / 14.36754^2 = 25.006055, all of it energy: 50 of them 1250.30, where 7.5 would do.
    assert paper["Theorem 4.1", "training cap spent, utility 0"]["verdict"] == "optimal"
    for reading in ("caps at most", "clients optimise at its prices"):
        row = paper["Theorem 4.1", reading]
        # 0.1 (1250.3028 - 7.5) = 124.28
        assert row["verdict"].startswith("feasible but worse by 124.28")
        assert "it pays 1250.3 " in row["reason"] and "7.5 recruits the same clients" in row["reason"]
    assert "for energy that costs 1250.3;" in paper["Theorem 4.1", "clients optimise at its prices"]["reason"]
    # (14) does not bind here, so no multiplier is blamed.
    assert "multiplier" not in paper["Theorem 4.1", "caps at most"]["reason"]


def test_clients_that_optimise_at_theorem_3_2s_prices_break_its_cap(paper: dict[tuple[str, str], pd.Series]) -> None:
    # p_t = (25 / 10)^1.5 / 0.1 = 39.53: they train as long as they can, and 39.53 t = 25 only at t = 0.6325.
    row = paper["Theorem 3.2", "clients optimise at its prices"]
    assert row["verdict"] == "infeasible: client 0 exceeds its training cap (13) by 20.3 of it"
    assert row["reason"] == "at these prices that client trains for 13.47, where Theorem 3.1 has it train for 0.6325"
    assert row["primal"] == pytest.approx(13.466 * 39.528 / 25 - 1, rel=1e-3)


def test_theorem_4_1_is_incentive_compatible_in_the_printed_words_only(paper: dict[tuple[str, str], pd.Series]) -> None:
    literal = paper["Theorem 4.1", "incentive compatible as (18) is printed"]
    assert literal["verdict"] == "holds with equality"
    standard = paper["Theorem 4.1", "incentive compatible if clients misreport and then optimise"]
    assert standard["verdict"].startswith("violated: client 0 gains")
    assert standard["gap"] > 0


@pytest.mark.parametrize("mu", [5.0, 10.0])
def test_reporting_more_work_pays_10_53(mu: float) -> None:
    # Theory 4.3: R_t = 25, rho = 0.01, psi = 5, T = 15, the report 1.2 mu.
    game = bo.Game(pd.DataFrame({"mu": [mu], "rho": 0.01}))
    quoted = bo.closed_form.theorem_4_1(game, reports=1.2 * pd.Series([mu]))
    liar, honest = bo.best_response(game, quoted), bo.best_response(game, bo.closed_form.theorem_4_1(game))
    assert liar.objective == pytest.approx(10.53, abs=0.005)
    assert honest.objective == pytest.approx(0, abs=1e-9)
    row = rows(bo.cross_check(game))["Theorem 4.1", "incentive compatible if clients misreport and then optimise"]
    assert float(row["verdict"].split()[4]) >= 10.53  # the best of the lies tried


# ---------------------------------------------------------------------------------- Theorem 3.1


def test_theorem_3_1_where_it_holds() -> None:
    # t_lo = mu (0.01 / 0.01)^(1/3) = mu, and 3 x 0.01 <= 0.05: whatever q_m is, longer training does not pay.
    game = bo.Game(pd.DataFrame({"mu": [2.0, 3, 4], "rho": 0.01}), target=3)
    found = rows(bo.cross_check(game, game.prices(0.01, 0.05)))
    row = found["Theorem 3.1", "Problem 1 as printed"]
    utility = sum(0.05 * (15 - mu) - 0.01 * 125 / (15 - mu) ** 2 for mu in (2, 3, 4))  # training earns nothing
    assert row["verdict"] == "optimal"
    assert row["reason"] == "3 p_t <= p_m + 2 rho q_m^3 holds for 3 of 3 clients"
    for column in ("paper_value", "exact", "ipopt", "clarabel"):
        assert row[column] == pytest.approx(utility, rel=1e-7)
    assert row["stationarity"] < 1e-6 and row["primal"] < 1e-9
    capped = found["Theorem 3.1", "client also faces the reward caps"]
    assert capped["verdict"] == "optimal"
    assert capped["reason"] == "the caps leave room for longer training, but it does not pay"


def test_theorem_3_1_where_it_holds_for_some() -> None:
    # The second: t_lo = 10 (0.01 / 0.1)^(1/3) = 4.64, q_m = 5 / 10.36, 0.3 > 0.05 + 0.02 q_m^3: it would rather train more.
    game = uniform(2)
    found = rows(bo.cross_check(game, game.prices([0.01, 0.1], 0.05)))
    row = found["Theorem 3.1", "Problem 1 as printed"]
    assert row["verdict"].startswith("feasible but worse by")
    assert row["reason"].startswith(
        "3 p_t <= p_m + 2 rho q_m^3 holds for 1 of 2 clients; elsewhere longer training pays"
    )
    assert row["stationarity"] > 1e-3
    capped = found["Theorem 3.1", "client also faces the reward caps"]
    assert capped["reason"] == "longer training than the theorem's pays, within the caps, for 1 of 2 clients"


def test_theorem_3_1_where_there_is_no_other_point() -> None:
    # The equilibrium's prices leave one feasible point, and utility 0, to which nothing is relative.
    frame = pd.DataFrame({"mu": [4.0, 10.0, 16.0], "rho": [0.01, 0.02, 0.005]})
    game = bo.Game(frame)
    prices = bo.equilibrium(game).prices
    row = rows(bo.cross_check(game, prices))["Theorem 3.1", "Problem 1 as printed"]
    assert row["verdict"] == "optimal"
    # Training 10 at p_t = 0.1, mining 5 at p_m = 1.25e-4: t_lo = 4.642, s_lo = 23.2. T exactly their sum, 3 p_t > p_m + ...
    t, s = 10 * 0.1 ** (1 / 3), 5 * (0.01 / 1.25e-4) ** (1 / 3)
    game = uniform(1, deadline=t + s)
    row = rows(bo.cross_check(game, game.prices(0.1, 1.25e-4)))["Theorem 3.1", "Problem 1 as printed"]
    assert row["verdict"] == "optimal"
    assert (
        row["reason"] == "3 p_t <= p_m + 2 rho q_m^3 holds for 0 of 1 clients, and 1 more have no other feasible point"
    )


def test_theorem_3_1_mines_beyond_the_mining_cap() -> None:
    # p_m = 2, t_lo = 10, s = 5: s p_m = 10 > R_m = 5. The least mining time 5 (0.01 / 2)^(1/3) = 0.855 is within the cap.
    game = uniform(1)
    row = rows(bo.cross_check(game, game.prices(0.01, 2.0)))["Theorem 3.1", "client also faces the reward caps"]
    assert row["verdict"] == "infeasible: mining_budget[0] is violated by 5 (10, at most 5)"
    assert row["reason"] == "(12) mines until the deadline, beyond what the mining cap pays for 1 of 1 clients"


# ---------------------------------------------------------------------------------- Theorems 3.2 and 4.1


@pytest.mark.parametrize(("t", "s"), [(10.0, 5.0), (12.0, 3.0), (6.0, 9.0)])
def test_caps_so_tight_that_at_most_leaves_nothing_cheaper(t: float, s: float) -> None:
    # R_t = rho mu^3 / t^2 and R_m = rho psi^3 / s^2 with t + s = T: theory 5.1's interval is the point t.
    r_t, r_m = 0.01 * 1000 / t**2, 0.01 * 125 / s**2
    game = uniform(4, mining_cap=r_m, reward_budget=4 * (r_t + r_m))
    found = rows(bo.cross_check(game))
    paid = f"the least that recruits these clients within the caps is {4 * (r_t + r_m):.6g}, and it pays {4 * (r_t + r_m):.6g}"
    for theorem, reading in (("Theorem 3.2", "corrected, caps at most"), ("Theorem 4.1", "caps at most")):
        row = found[theorem, reading]
        assert row["verdict"] == "optimal" and row["reason"] == paid
        assert math.log1p(40) - row["exact"] == pytest.approx(0.4 * (15 + r_t + r_m), rel=1e-9)
        assert found[theorem, "clients optimise at its prices"]["verdict"] == "optimal"
    lies = found["Theorem 4.1", "incentive compatible if clients misreport and then optimise"]
    assert lies["verdict"] == "no misreport found that pays"  # and not "holds": only some were tried
    assert "1.2, 1.35, 1.5 times mu" in lies["reason"]


def test_where_rho_is_1_the_printed_16_is_right() -> None:
    # (rho mu)^(3/2) = rho^(1/2) mu^(3/2) if rho = 1.
    game = bo.Game(
        pd.DataFrame({"mu": [2.0, 3, 4], "rho": 1.0}), target=3, mining_cycles=2, mining_cap=20, reward_budget=600
    )
    row = rows(bo.cross_check(game))["Theorem 3.2", "(16) as printed, caps spent"]
    assert row["verdict"] == "optimal"
    assert row["reason"] == "every rho is 1, where the printed (16) and the corrected one are the same"
    # Next to 1 the numbers agree, and the reason does not claim more than that.
    game = game.replace(population=game.population.frame.assign(rho=1 + 1e-9).drop(columns="energy_coefficient"))
    row = rows(bo.cross_check(game))["Theorem 3.2", "(16) as printed, caps spent"]
    assert row["verdict"] == "optimal"
    assert row["reason"].endswith("which is too little to count")


def test_a_printed_price_that_does_not_exist_is_said_to() -> None:
    # rho = 4, mu = 10, R_t = 100: corrected t = sqrt(4 1000 / 100) = 6.3 of 15, printed 40^1.5 / 10 = 25.3 > 15.
    game = uniform(2, rho=4.0, mining_cap=50, reward_budget=300)
    row = rows(bo.cross_check(game))["Theorem 3.2", "(16) as printed, caps spent"]
    assert row["verdict"] == "misprinted, corrected form agrees: no value for 2 of 2 clients, 0 first"
    assert "takes 25.2982, which leaves no time to mine before the deadline 15" in row["reason"]


def test_who_exceeds_the_mining_cap_is_offered_nothing() -> None:
    # b: t = sqrt(0.4 1000 / 25) = 4, s = 11, energy 0.4 125 / 121 = 0.41 > R_m = 0.3; a: 0.01 125 / 14.37^2 = 0.006.
    game = bo.Game(
        pd.DataFrame({"mu": [10.0, 10], "rho": [0.01, 0.4]}, index=["a", "b"]), mining_cap=0.3, reward_budget=50.6
    )
    check = bo.cross_check(game)
    for (theorem, reading), row in rows(check).items():
        if theorem == "Theorem 4.1":
            assert row["clients"] == 1, reading
    # Nor could any prices recruit b: s >= sqrt(0.4 125 / 0.3) = 12.9 and t >= 4 are more than 15.
    assert check.clients["equilibrium_recruited"].tolist() == [True, False]


# ---------------------------------------------------------------------------------- at the edges


def test_nobody_can_take_part() -> None:
    check = bo.cross_check(uniform(3, deadline=0.01))
    for row in rows(check).values():
        assert row["clients"] == 0
        assert row["verdict"] == "no verdict: no client can take part"
        assert row["reason"]
        assert np.isnan(row["exact"]) and np.isnan(row["paper_value"])
    assert repr(check).startswith("Cross-check of 3 clients: 18 found that no client can take part\n")
    assert "nan" not in repr(check)
    assert (check.clients["equilibrium_reason"] != "").all()


def test_prices_at_which_nobody_responds_leave_the_owners_theorems_alone() -> None:
    found = rows(bo.cross_check(uniform(2), uniform(2).prices(0, 0)))
    assert found["Theorem 3.1", "Problem 1 as printed"]["clients"] == 0
    assert "pays for no energy" in found["Theorem 3.1", "Problem 1 as printed"]["reason"]
    assert found["Theorem 3.2", "corrected, caps spent"]["verdict"] == "optimal"


def test_one_client() -> None:
    # 0.1 (15 + 25 + 5) = 4.5 against 0.1 x 15.15 = 1.515
    check = bo.cross_check(uniform(1))
    assert repr(check).startswith("Cross-check of 1 client: 18 solves agree")
    assert rows(check)["Theorem 3.2", "corrected, caps at most"]["verdict"].startswith("feasible but worse by 2.985")


def test_speed_limits_are_blamed_where_they_bind_and_only_there() -> None:
    # (15): q_t = sqrt(R_t / (rho mu)) = sqrt(25 / 0.1) = 15.8 > 2, for one of the two.
    game = uniform(2)
    slow = game.replace(population=game.population.frame.assign(max_speed=[2.0, np.inf]))
    found = rows(bo.cross_check(slow))
    for key in LIMITED:
        assert found[key]["verdict"].startswith("infeasible: training_speed_limit[0]")
    assert found["Theorem 3.2", "corrected, clients with speed limits"]["reason"] == (
        "the formulas ignore max_speed, which 1 of 2 clients would exceed"
    )
    fast = game.replace(population=game.population.frame.assign(max_speed=1000.0))
    found = rows(bo.cross_check(fast))
    for key, twin in zip(sorted(LIMITED), ("Problem 1 as printed", "corrected, caps at most"), strict=True):
        assert found[key]["verdict"] == found[key[0], twin]["verdict"]
        assert found[key]["reason"] == found[key[0], twin]["reason"]
        assert "max_speed" not in found[key]["reason"]


def test_disagreement_and_failure_are_counted_as_such() -> None:
    check = bo.cross_check(uniform(1))
    solves = check.solves.copy()
    solves.loc[0, "relative_gap"] = 0.1
    solves.loc[1, ["succeeded", "status"]] = [False, "iteration_limit"]
    spoilt = bo.CrossCheck(check.game, check.prices, check.table, solves, check.clients)
    assert not spoilt.agrees
    first = " ".join(repr(spoilt).partition("\n  Theorem")[0].split())
    assert "16 solves agree" in first and "1 DIFFER from the exact answers, 1 failed" in first
    assert "e-01" not in first  # the one that differs is no measure of agreement


@settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(
    n=st.integers(1, 5),
    seed=st.integers(0, 2**31),
    psi=st.floats(0.5, 20),
    deadline=st.floats(1, 60),
    mining_cap=st.floats(0.01, 10),
    limits=st.booleans(),
    exponents=st.none() | st.tuples(st.floats(-3, 1), st.floats(-3, 1)),
)
def test_any_game_has_a_table_without_an_error(
    n: int,
    seed: int,
    psi: float,
    deadline: float,
    mining_cap: float,
    limits: bool,
    exponents: tuple[float, float] | None,
) -> None:
    population = bo.Population.random(n, seed=seed, speed_limits=limits)
    game = bo.Game(population, mining_cycles=psi, deadline=deadline, mining_cap=mining_cap)
    check = bo.cross_check(game, exponents and game.prices(10 ** exponents[0], 10 ** exponents[1]))
    for row in rows(check).values():
        assert row["verdict"] and isinstance(row["reason"], str)
        assert "BETTER" not in row["verdict"]
        if row["verdict"] == "optimal":
            assert abs(row["gap"]) <= 1e-6 and row["primal"] <= 1e-6
        if row["verdict"].startswith("feasible but worse"):
            assert row["gap"] > 1e-6 and row["paper_value"] < row["exact"]
        if row["clients"] == 0:
            assert row["verdict"].startswith("no verdict")
    assert repr(check) and check._repr_html_()
