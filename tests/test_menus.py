"""Menus of contracts: truthful by an independent audit, never dearer than pooling, as cheap as a global search finds."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyomo.environ as pyo
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from menu_oracle import CLOSE, SETS, Types, least_cost
from menu_ten import GAIN, SECONDS, draw, gain_of
from typer.testing import CliRunner

import bcfl_opt as bo
from bcfl_opt.cli import app
from bcfl_opt.menu_multipliers import Dual
from bcfl_opt.menu_search import MenuProblem
from bcfl_opt.models import menu_pyomo
from bcfl_opt.offers import Clients

RHO, PSI, T = 0.01, 5.0, 15.0


def game_of(*mu: float) -> bo.Game:
    frame = pd.DataFrame({"client": [f"type-{k}" for k in range(len(mu))], "mu": mu, "rho": RHO})
    return bo.Game(bo.Population(frame), mining_cycles=PSI, deadline=T)


@pytest.mark.parametrize(
    ("types", "seed"),
    [
        (Types.of([5.0, 10.0]), 0),
        (SETS["three, by work"], 0),
        (SETS["three, differing in chips"], 2),
        (SETS["three, with a speed limit"], 0),
    ],
)
def test_as_cheap_as_a_global_search(types: Types, seed: int) -> None:
    """``tests/menu_oracle.py``, one run of it; the script takes the best of several."""
    menu = bo.design_menu(types.game(), types.weights)
    assert menu.succeeded
    assert menu.objective == pytest.approx(least_cost(types, seed=seed, generations=300), rel=CLOSE)


def test_the_search_judges_a_menu_as_the_package_does() -> None:
    """Theory 6 by two programs: the designed menu costs the search's judge the same, and a dearer lie more."""
    types = SETS["three, by work"]
    menu = bo.design_menu(types.game(), types.weights)
    t = menu.clients["training_time"].to_numpy()
    price = menu.contracts[["training_price", "mining_price"]].to_numpy()
    value, pay, short = types.answers(price[:, 0], price[:, 1])
    account = bo.audit(types.game(), menu).table["utility"].to_numpy().reshape(3, 3)
    np.testing.assert_allclose(np.where(short > 1e-12, 0.0, value), account, atol=1e-9)
    assert float(types.weights @ np.diag(pay)) == pytest.approx(menu.objective, rel=1e-8)
    assert (t > 0).all()


@pytest.mark.parametrize(
    ("types", "weights"),
    [((5.0, 10.0), None), ((5.0, 8.0, 10.0), [0.2, 0.5, 0.3]), ((4.0, 6.0, 8.0, 10.0, 12.0), None)],
)
def test_truthful_and_no_dearer_than_pooling(types: tuple[float, ...], weights: list[float] | None) -> None:
    game = game_of(*types)
    menu = bo.design_menu(game, weights)
    assert menu.succeeded
    found = bo.audit(game, menu)
    assert found.largest_gain <= 1e-7 * found.best["scale"].max()
    assert found.individually_rational
    share = np.full(len(types), 1 / len(types)) if weights is None else np.array(weights)
    # Pooling: everybody is posted the largest type's pair, at which its own feasible set is one point.
    price = RHO * ((max(types) + PSI) / T) ** 3
    pooling = price * T
    assert menu.pooling == pytest.approx(pooling, rel=1e-9)
    assert menu.objective <= pooling * (1 + 1e-12)
    pay = (menu.clients["training_reward"] + menu.clients["mining_reward"]).to_numpy()
    assert menu.objective == pytest.approx(float(share @ pay), rel=1e-9)
    # Complete information pays every type its energy alone, and no menu can do better.
    least = float(share @ (RHO * (np.array(types) + PSI) ** 3 / T**2))
    assert least <= menu.lower_bound * (1 + 1e-9) <= menu.objective * (1 + 1e-9)
    assert (menu.quality is bo.Quality.GLOBAL) == (menu.gap <= 1e-6)


@settings(max_examples=8, deadline=None, derandomize=True)
@given(
    mu=st.lists(st.floats(1.0, 14.0), min_size=2, max_size=4),
    chips=st.lists(st.floats(0.004, 0.03), min_size=4, max_size=4),
    speeds=st.lists(st.sampled_from([1.5, 2.0, np.inf]), min_size=4, max_size=4),
    weights=st.lists(st.floats(0.1, 1.0), min_size=4, max_size=4),
    chosen=st.booleans(),
)
def test_never_dearer_than_pooling_never_envied_never_below_its_bound(
    mu: list[float], chips: list[float], speeds: list[float], weights: list[float], chosen: bool
) -> None:
    """Types that differ in work, chips and speed; the common deadline or chosen ones."""
    n = len(mu)
    frame = pd.DataFrame({"mu": mu, "rho": chips[:n], "q": speeds[:n]}, index=[f"type-{k}" for k in range(n)])
    game = bo.Game(frame, mining_cycles=5.0, deadline=15.0)
    deadlines = "chosen" if chosen else "common"
    menu = bo.design_menu(game, weights[:n], deadlines=deadlines, route="reduced", search_starts=2, time_limit=1.0)
    assert menu.succeeded, menu
    # Pooling by hand: c = rho (mu + psi)^3 of the costliest; c / T^2, or with the time paid for c / T'^2 + T'.
    cost = float((frame["rho"] * (frame["mu"] + 5.0) ** 3).max())
    slowest = float(((frame["mu"] + 5.0) / frame["q"]).max())
    length = min(max((2 * cost) ** (1 / 3), slowest), 15.0) if chosen else 15.0
    pooling = cost / length**2 + (length if chosen else 0.0)
    assert menu.pooling == pytest.approx(pooling, rel=1e-9)
    assert menu.lower_bound * (1 - 1e-9) <= menu.objective <= pooling * (1 + 1e-9)
    assert gain_of(game, menu) <= GAIN
    assert bo.audit(game, menu).individually_rational
    assert (menu.quality is bo.Quality.GLOBAL) == (menu.gap <= 1e-6)


@pytest.mark.parametrize(("cap", "binds"), [(0.05, True), (0.2, False)])
def test_each_reward_within_its_cap(cap: float, binds: bool) -> None:
    """A cap that binds makes the menu dearer, one that does not leaves it as it is; a pooled offer may then break caps."""
    frame = pd.DataFrame({"mu": [9.0, 10.0, 11.0], "rho": 0.01}, index=list("abc"))
    game = bo.Game(frame, mining_cycles=5.0, deadline=15.0, mining_cap=cap, reward_budget=3 * cap + 0.6, target=10.0)
    menu, free = bo.design_menu(game, reward_caps=True), bo.design_menu(game)
    assert menu.succeeded and menu.clients["recruited"].all()
    assert (menu.clients["training_reward"] <= game.caps["training_cap"] * (1 + 1e-8)).all()
    assert (menu.clients["mining_reward"] <= cap * (1 + 1e-8)).all()
    assert gain_of(game, menu) <= GAIN
    assert (free.clients["mining_reward"] > cap).any() == binds
    assert (menu.objective > free.objective * (1 + 1e-4)) == binds
    if not binds:
        assert menu.objective == pytest.approx(free.objective, rel=1e-8)


@pytest.mark.parametrize("deadlines", ["common", "chosen"])
def test_a_population_quantised_to_few_types(deadlines: str) -> None:
    """Forty clients, three types: each takes what it likes best, nobody is left out, and the loss is bounded and stated."""
    game, weights = draw(np.random.default_rng(3), 40, ("rho", "q"))
    menu = bo.design_menu(game, weights, types=3, deadlines=deadlines, route="reduced", search_starts=2)
    assert menu.succeeded and menu.population is not None
    assert len(menu.contracts) <= 3 and menu.population["contract"].notna().all()
    cost = game.population.energy_coefficient * (game.population.training_cycles + 5.0) ** 3
    if deadlines == "common":  # everybody on the costliest client's offer
        assert menu.population_cost <= float(cost.max()) / 15.0**2 * (1 + 1e-9)
        pay = menu.population["payment"].to_numpy()
        assert menu.population_cost == pytest.approx(float(weights @ pay), rel=1e-9)
        assert menu.population_bound >= float(weights @ cost) / 15.0**2 * (1 - 1e-9)
    assert menu.population_bound <= menu.population_cost * (1 + 1e-9)
    assert menu.loss == pytest.approx(menu.population_cost - menu.population_bound)
    assert (menu.population["client_utility"] >= -1e-9).all()
    # No client likes another contract better, by the audit's own answers.
    for name, contract in menu.contracts.iterrows():
        offer = pd.DataFrame(
            {"training_price": contract["training_price"], "mining_price": contract["mining_price"]},
            index=game.population.ids,
        )
        answers = bo.best_response(game.replace(deadline=float(contract["deadline"])), offer).clients
        assert answers is not None
        value = answers["client_utility"].fillna(0.0).to_numpy()
        assert (value <= menu.population["client_utility"].to_numpy() + 1e-7 * menu.pooling).all(), name


def test_ten_types_in_well_under_a_minute() -> None:
    """The script ``tests/menu_ten.py`` takes more kinds."""
    game, weights = draw(np.random.default_rng(0), 10)
    begin = time.perf_counter()
    menu = bo.design_menu(game, weights)
    assert time.perf_counter() - begin < SECONDS
    assert menu.succeeded and menu.objective <= menu.pooling
    assert gain_of(game, menu) <= GAIN


def dual_of(types: Types, menu: bo.Menu) -> Dual:
    """The dual of types on their own, all of them with the common deadline."""
    game = types.game()
    problem = MenuProblem(Clients.of(game.population, game.mining_cycles), types.weights, game.deadline)
    return Dual(problem, menu.contracts[["training_price", "mining_price", "deadline"]].to_numpy())


@pytest.mark.parametrize("name", ["three, by work", "three, differing in chips", "three, with a speed limit"])
def test_any_multipliers_prove_a_bound(name: str) -> None:
    """Weak duality: whatever m >= 0, the bound is at most the cost of the cheapest menu, which the global search finds too."""
    types, rng = SETS[name], np.random.default_rng(2)
    menu = bo.design_menu(types.game(), types.weights)
    dual = dual_of(types, menu)
    complete = float(types.weights @ (types.rho * (types.mu + types.psi) ** 3)) / types.deadline**2
    assert dual.bound == pytest.approx(complete, rel=1e-9)  # m = 0: everyone is paid its energy
    for _ in range(6):
        envy = rng.dirichlet(np.full(9, 0.3)).reshape(3, 3) * rng.choice([0.1, 1.0, 3.0])
        np.fill_diagonal(envy, 0.0)
        before = dual.bound
        improved = dual.ask(envy, 1e-7)
        assert improved == (dual.bound > before)
        assert complete * (1 - 1e-9) <= dual.bound <= menu.objective
    dual.climb(1e-7 * menu.objective, time.perf_counter() + 20)
    assert menu.objective * (1 - 1e-4) <= dual.bound <= menu.objective


def test_a_bound_is_within_its_tolerance_from_below() -> None:
    """Asked less exactly, the same multipliers prove less, by no more than the tolerance."""
    types = SETS["three, by work"]
    menu = bo.design_menu(types.game(), types.weights)
    envy = np.zeros((3, 3))
    envy[:, 2] = types.weights
    envy[2, 2] = 0.0
    bounds = []
    for tolerance in (1e-9, 1e-3):
        dual = dual_of(types, menu)
        assert dual.ask(envy, tolerance * menu.objective)
        bounds.append(dual.bound)
    assert bounds[0] - 1e-3 * menu.objective <= bounds[1] <= bounds[0] <= menu.objective


def test_better_multipliers_close_most_of_the_gap() -> None:
    """Five types of different chips: the costliest type's envy alone leaves 2 in 10,000; climbing takes most of it away."""
    rng = np.random.default_rng(0)
    mu, chips = rng.uniform(2, 14, 5), np.exp(rng.uniform(np.log(0.004), np.log(0.03), 5))
    types = Types.of(mu, rng.dirichlet(np.full(5, 2.0)), rho=chips)
    menu = bo.design_menu(types.game(), types.weights, route="reduced", search_starts=1)
    dual = dual_of(types, menu)
    top = int((types.rho * (types.mu + types.psi) ** 3).argmax())
    envy = np.zeros((5, 5))
    envy[:, top] = types.weights
    envy[top, top] = 0.0
    dual.ask(envy, 1e-7 * menu.objective)
    assert dual.bound <= menu.lower_bound <= menu.objective
    assert menu.objective - menu.lower_bound < 0.3 * (menu.objective - dual.bound)


def test_the_model_with_chosen_deadlines_starts_within_its_bounds() -> None:
    """A short deadline makes dear offers: bounds and start follow the pooled one, c / T^2 + v T at its least, not the longest."""
    game = game_of(5.0, 10.0)
    m = menu_pyomo.build(game, deadlines="chosen", time_weight=50.0)
    wanted = (2 * RHO * 15.0**3 / 50.0) ** (1 / 3)
    assert sum(v["type-1"].value for v in (m.training_time, m.mining_time)) == pytest.approx(wanted)
    for variable in m.component_data_objects(pyo.Var):
        assert variable.lb is None or variable.value >= variable.lb
        assert variable.ub is None or variable.value <= variable.ub
    for row in m.component_data_objects(pyo.Constraint):
        low = pyo.value(row.lower) if row.has_lb() else -np.inf
        assert pyo.value(row.body) >= low - 1e-6


def test_one_type_is_paid_its_energy() -> None:
    menu = bo.design_menu(game_of(10.0))
    assert menu.objective == pytest.approx(0.15, rel=1e-9)


def test_bad_weights_are_refused() -> None:
    for weights in ([0.5], [-1.0, 2.0], [0.0, 0.0], [np.nan, 1.0]):
        with pytest.raises(bo.InputError, match="weights"):
            bo.design_menu(game_of(5.0, 10.0), weights)
    with pytest.raises(bo.InputError, match="deadlines"):
        bo.design_menu(game_of(5.0, 10.0), deadlines="mine")


def test_command(tmp_path: Path) -> None:
    frame = pd.DataFrame({"client": ["a", "b"], "mu": [5.0, 10.0], "rho": RHO})
    frame.to_csv(tmp_path / "types.csv", index=False)
    done = CliRunner().invoke(app, ["menu", "--population", str(tmp_path / "types.csv"), "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["succeeded"] is True
