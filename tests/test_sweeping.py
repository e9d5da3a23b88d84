"""Grids of games: the numbers of single calls, what a function may take and return, and what fails is recorded."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

import bcfl_opt as bo
from bcfl_opt import sweeping
from bcfl_opt.errors import InputError
from bcfl_opt.models import problem1_cvxpy, problem1_pyomo, problem2_pyomo
from bcfl_opt.sweeps import grid as grid_

DEADLINES = [12.0, 15.0, 20.0]


@pytest.fixture(scope="module")
def game() -> bo.Game:
    return bo.Game(bo.Population.sample())


@pytest.fixture(scope="module")
def small() -> bo.Game:
    frame = pd.DataFrame({"client": ["a", "b"], "mu": [10.0, 5.0], "rho": [0.01, 0.02]})
    return bo.Game(bo.Population(frame), target=8.0)


def deadline_of(game: bo.Game) -> float:
    return game.deadline


# ---------------------------------------------------------------------- the numbers


def test_every_cell_is_what_a_single_call_returns(game: bo.Game) -> None:
    answer = bo.sweep(bo.equilibrium, {"deadline": DEADLINES, "mining_cycles": [1, 5]}, game=game)
    assert dict(answer.sizes) == {"deadline": 3, "mining_cycles": 2, "client": 50}
    for deadline in DEADLINES:
        for cycles in (1, 5):
            cell = answer.sel(deadline=deadline, mining_cycles=cycles)
            single = bo.equilibrium(game.replace(deadline=deadline, mining_cycles=cycles))
            assert float(cell["objective"]) == single.objective
            assert single.clients is not None
            for column in single.clients:
                np.testing.assert_array_equal(cell[column].values, single.clients[column].to_numpy())
            assert cell["client"].values.tolist() == single.clients.index.tolist()


def test_coordinates_and_variables_say_what_they_are(game: bo.Game) -> None:
    answer = bo.sweep(bo.equilibrium, {"deadline": DEADLINES}, game=game)
    assert answer["deadline"].attrs == {"long_name": "longest round, T", "units": "min"}
    assert answer["training_price"].attrs["units"] == "money / min"
    assert answer["owner_utility"].attrs["long_name"] == "owner's utility, U_mo"
    assert set(answer["status"].values) == {"solved"} and set(answer["quality"].values) == {"global"}
    assert answer.attrs["function"] == "equilibrium" and "50 clients" in answer.attrs["game"]
    without_units = [name for name in answer.data_vars if answer[name].dtype.kind == "f" and not answer[name].attrs]
    assert without_units == ["objective"], "whatever was solved decides its unit"


def test_a_data_set_can_be_saved(game: bo.Game, tmp_path: Path) -> None:
    answer = bo.sweep(bo.equilibrium, {"deadline": [1.0, 15.0], "population": [game.population]})
    answer.to_netcdf(tmp_path / "answer.nc", engine="scipy")
    with xr.open_dataset(tmp_path / "answer.nc", engine="scipy") as back:
        np.testing.assert_array_equal(back["training_price"].values, answer["training_price"].values)
        assert back["deadline"].attrs == answer["deadline"].attrs


def test_prices_are_parameters_too(game: bo.Game) -> None:
    prices = [0.0, 0.04, 0.06]
    answer = bo.sweep(bo.best_response, {"training_price": prices}, game=game, mining_price=0.05, reward_caps=True)
    assert answer["status"].values.tolist() == ["no_clients", "solved", "solved"]
    assert np.isnan(answer["objective"].values[0]) and not answer["succeeded"].values[0]
    assert answer["message"].values[0].startswith("no client can take part") and answer["message"].values[1] == ""
    single = bo.best_response(game, game.prices(0.06, 0.05), reward_caps=True)
    assert float(answer["objective"][2]) == single.objective
    assert answer["result_training_price"].dims == ("training_price", "client"), "the coordinate has the name already"
    taken = answer["recruited"].values[2]
    assert (answer["result_training_price"].values[2][taken] == 0.06).all()


def test_models_are_solved_each_from_its_neighbour(small: bo.Game) -> None:
    grid = {"deadline": np.linspace(14.0, 16.0, 9)}
    cold = bo.sweep(problem2_pyomo.build, grid, game=small, warm_start=False)
    warm = bo.sweep(problem2_pyomo.build, grid, game=small, chunk=9)
    assert cold["succeeded"].all() and warm["succeeded"].all()
    np.testing.assert_allclose(warm["objective"], cold["objective"], rtol=1e-9)
    assert int(warm["iterations"][0]) == int(cold["iterations"][0]), "the first of a chunk starts afresh"
    assert (warm["iterations"].values[1:] < cold["iterations"].values[1:]).all()
    exact = bo.sweep(bo.equilibrium, grid, game=small)
    np.testing.assert_allclose(warm["objective"], exact["objective"], rtol=1e-8)


def test_only_a_pyomo_model_starts_from_its_neighbour_and_only_from_another(small: bo.Game) -> None:
    def build(game: bo.Game, k: int) -> Any:
        prices = game.prices(0.05, 0.05)
        return problem1_cvxpy.build(game, prices) if k == 1 else problem1_pyomo.build(game, prices)

    answer = bo.sweep(build, {"k": [0, 1, 2, 3]}, game=small, chunk=4)
    assert answer["succeeded"].all(), answer["message"].values
    iterations = answer["iterations"].values.tolist()
    assert iterations[2] == iterations[0] > iterations[3]


def test_convex_models_are_solved_too(small: bo.Game) -> None:
    answer = bo.sweep(problem1_cvxpy.build, {"training_price": [0.05, 0.06]}, game=small, mining_price=0.05)
    exact = bo.sweep(bo.best_response, {"training_price": [0.05, 0.06]}, game=small, mining_price=0.05)
    np.testing.assert_allclose(answer["objective"], exact["objective"], rtol=1e-8)


def test_a_cross_check_by_theorem_and_reading(small: bo.Game) -> None:
    answer = bo.sweep(bo.cross_check, {"deadline": [15.0]}, game=small)
    single = bo.cross_check(small)
    assert answer["agrees"].values.tolist() == [True]
    labels = answer["theorem_reading"].values.tolist()
    assert labels == [f"{row.theorem}, {row.reading}" for row in single.table.itertuples()]
    assert answer["verdict"].values[0].tolist() == single.table["verdict"].tolist()


def test_populations_with_different_clients() -> None:
    crowds = {"few": bo.Population.random(3, seed=1), "many": bo.Population.random(12, seed=2)}
    answer = bo.sweep(bo.equilibrium, {"population": crowds, "deadline": [15.0]})
    assert answer["population"].values.tolist() == ["few", "many"]
    assert answer["client"].values.tolist() == [*crowds["few"].ids, *crowds["many"].ids]
    few = answer.sel(population="few")
    assert few["client_utility"].notnull().values.ravel().tolist() == [True] * 3 + [False] * 12
    assert few["recruited"].dtype.kind == "f", "1, 0, and NaN for clients of another population"
    assert few["reason"].values.ravel().tolist()[3:] == [""] * 12


def test_budgets_of_the_game_displace_each_other(small: bo.Game) -> None:
    answer = bo.sweep(lambda game: game.mining_cap, {"mining_budget": [4.0, 8.0]}, game=small.replace(mining_cap=3.0))
    assert answer["value"].values.tolist() == [2.0, 4.0]


def test_shapley_values_are_computed_once_for_games_that_share_them(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    original = bo.shapley.shapley_values
    monkeypatch.setattr(bo.shapley, "shapley_values", lambda *a, **k: calls.append(1) or original(*a, **k))
    crowd = bo.Population.random(6, seed=3)
    bo.sweep(bo.equilibrium, {"deadline": DEADLINES, "cost_weight": [0.1, 0.2]}, population=crowd, chunk=6)
    assert len(calls) == 1


# ---------------------------------------------------------------------- what a function may take and return


def test_a_function_of_ones_own(small: bo.Game) -> None:
    def pay(game: bo.Game, factor: float, *, shift: float = 1.0) -> dict[str, Any]:
        times = pd.Series([factor, shift], index=game.population.ids)
        return {"first": factor * game.deadline, "whole": 3, "said": f"x{factor:g}", "yes": factor > 1, "time": times}

    answer = bo.sweep(pay, {"factor": [1, 2.5], "deadline": [10.0]}, game=small, shift=7.0)
    assert answer["first"].values.ravel().tolist() == [10.0, 25.0]
    assert answer["whole"].dtype.kind == "i" and answer["yes"].dtype == bool
    assert answer["said"].values.ravel().tolist() == ["x1", "x2.5"]
    assert answer["time"].dims == ("factor", "deadline", "client")
    assert answer["time"].values.tolist() == [[[1.0, 7.0]], [[2.5, 7.0]]]
    assert answer["status"].values.ravel().tolist() == ["done", "done"]


def test_any_keyword_reaches_a_function_that_takes_any(small: bo.Game) -> None:
    answer = bo.sweep(lambda game, **given: sum(given.values()), {"x": [1, 2], "y": [10]}, game=small, z=100)
    assert answer["value"].values.ravel().tolist() == [111, 112]


def test_a_function_that_takes_warm_start_gets_its_neighbour(small: bo.Game) -> None:
    seen = []

    def solve(game: bo.Game, warm_start: bo.Solution | None = None) -> bo.Solution:
        seen.append(None if warm_start is None else warm_start.game.deadline)
        return bo.equilibrium(game)

    bo.sweep(solve, {"deadline": [15.0, 0.1, 16.0, 17.0]}, game=small)
    assert seen == [None, 15.0, None, 16.0], "what failed is no start"
    seen.clear()
    bo.sweep(solve, {"deadline": [15.0, 16.0]}, game=small, warm_start=False)
    assert seen == [None, None]


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (None, "the function returned nothing, which cannot be kept"),
        (object(), "the function returned an object of type object"),
        ({"a": [1, 2]}, "an object of type list"),
        ({1: 2.0}, "an object of type dict"),
    ],
)
def test_results_that_cannot_be_kept_are_a_failure_of_the_cell(result: Any, words: str, small: bo.Game) -> None:
    answer = bo.sweep(lambda game: result, {"deadline": [15.0]}, game=small)
    assert answer["status"].values.tolist() == ["error"] and words in answer["message"].values[0]


def test_tables_of_any_kind(small: bo.Game) -> None:
    frames = {
        1: pd.DataFrame({"kind": ["x", "y"], "number": [1.0, 2.0]}),
        2: pd.DataFrame({"kind": ["y", "z"], "number": [3.0, 4.0]}),
    }
    answer = bo.sweep(lambda game, k: frames[k], {"k": [1, 2]}, game=small)
    assert answer["kind"].dims == ("k", "kind") or answer["result_kind"].dims == ("k", "kind")
    assert answer["kind"].values.tolist() == ["x", "y", "z"], "leading texts that tell rows apart are their labels"
    np.testing.assert_array_equal(answer["number"].values, [[1.0, 2.0, np.nan], [np.nan, 3.0, 4.0]])

    pairs = pd.Series([1.0, 2.0], index=pd.MultiIndex.from_tuples([("a", "b"), ("a", "c")], names=["true", "report"]))
    answer = bo.sweep(lambda game: pairs, {"deadline": [15.0]}, game=small)
    assert answer["true_report"].values.tolist() == ["a, b", "a, c"]
    assert answer["value"].values.tolist() == [[1.0, 2.0]]

    answer = bo.sweep(lambda game: pd.DataFrame({"x": [1.0, 1.0]}), {"deadline": [15.0]}, game=small)
    assert answer["x"].dims == ("deadline", "row")


def test_tables_along_several_dimensions(small: bo.Game) -> None:
    def several(game: bo.Game, k: int) -> dict[str, Any]:
        ids = pd.Index(["u", "v"], name="k")  # called like the parameter
        return {
            "clients": pd.DataFrame({"x": [1.0, 2.0], "note": ["p", "q"]}, index=game.population.ids),
            "more": pd.Series([5, 6], index=game.population.ids),
            "others": pd.DataFrame({"x": [3.0 * k, 4.0]}, index=ids),
        }

    answer = bo.sweep(several, {"k": [1, 2]}, game=small)
    assert answer["x"].dims == ("k", "client") and answer["more"].dims == ("k", "client")
    assert answer["result_x"].dims == ("k", "result_k")
    assert answer["result_k"].values.tolist() == ["u", "v"]
    assert answer["result_x"].values.tolist() == [[3.0, 4.0], [6.0, 4.0]]
    assert answer["more"].dtype.kind == "i" and answer["note"].values[0].tolist() == ["p", "q"]

    clash = {
        "a": pd.Series([1.0], index=pd.Index(["u"], name="n")),
        "b": pd.Series([1.0], index=pd.Index(["v"], name="n")),
    }
    answer = bo.sweep(lambda game: clash, {"deadline": [15.0]}, game=small)
    assert "two of its tables have different labels along 'n'" in answer["message"].values[0]
    twice = pd.DataFrame([[1.0, 2.0]], columns=["x", "x"])
    answer = bo.sweep(lambda game: twice, {"deadline": [15.0]}, game=small)
    assert "a table has the column 'x' twice" in answer["message"].values[0]


def test_kinds_that_differ_between_cells(small: bo.Game) -> None:
    results = {1: 1, 2: 2.5, 3: True, 4: "text"}
    for cells, expected in (([1, 2], [1.0, 2.5]), ([1, 3], [1, 1]), ([2, 4], ["2.5", "text"])):
        for chunk in (1, 2):
            answer = bo.sweep(lambda game, k: results[k], {"k": cells}, game=small, chunk=chunk)
            assert answer["value"].values.tolist() == expected, (cells, chunk)


def test_mixed_ids_become_text(small: bo.Game) -> None:
    frame = pd.DataFrame({"client": [1, "b"], "mu": [10.0, 5.0], "rho": [0.01, 0.02]})
    answer = bo.sweep(bo.equilibrium, {"deadline": [15.0]}, population=bo.Population(frame))
    assert answer["client"].values.tolist() == ["1", "b"]


# ---------------------------------------------------------------------- failures


def test_what_goes_wrong_in_a_cell_stays_there(small: bo.Game) -> None:
    def picky(game: bo.Game, k: int) -> float:
        if k == 2:
            raise ValueError("no two,\nplease")
        if k == 3:
            raise MemoryError
        return game.deadline + k

    answer = bo.sweep(picky, {"deadline": [-1.0, 15.0], "k": [1, 2, 3]}, game=small)
    assert answer["picky"].values[1].tolist()[:1] == [16.0]
    assert np.isnan(answer["picky"].values).sum() == 5
    assert answer["status"].values.tolist() == [["error"] * 3, ["done", "error", "error"]]
    assert answer["message"].values[0, 0] == "deadline: -1.0 must be greater than 0"
    assert answer["message"].values[1].tolist() == ["", "ValueError: no two, please", "MemoryError: "]


def test_all_cells_may_fail(small: bo.Game) -> None:
    answer = bo.sweep(lambda game: 1 / 0, {"deadline": DEADLINES}, game=small)
    assert not answer["succeeded"].any() and set(answer.data_vars) == {"succeeded", "status", "message"}


BAD_GRIDS: list[tuple[dict[str, Any], str]] = [
    ({"grid": {}}, "grid: expected a dict"),
    ({"grid": {"deadline": 15.0}}, r"grid: deadline: 15.0 is no list of values; write \[15.0\]"),
    ({"grid": {"negative_shares": "zero"}}, "grid: negative_shares: 'zero' is no list of values"),
    ({"grid": {"deadline": np.ones((2, 2))}}, r"grid: deadline: an array of shape \(2, 2\) is no list"),
    ({"grid": {"deadline": []}}, "grid: deadline has no values"),
    ({"grid": {"deadline": [15.0, 15]}}, "grid: deadline: 15.* appears twice"),
    (
        {"grid": {"deadlin": [15.0]}},
        "unknown parameter of the game or of equilibrium 'deadlin': did you mean 'deadline'",
    ),
    ({"deadlin": 3.0}, "'deadlin': did you mean 'deadline'"),
    ({"deadline": 3.0}, "'deadline': in the grid and with one value beside it; choose"),
    ({"game": None}, "which game"),
    ({"game": 5}, "game: expected a Game, not int"),
    ({"function": 5}, "int cannot be called"),
    ({"function": lambda: 1}, "takes no game"),
    ({"function": bo.best_response}, "best_response needs 'prices' too"),
    ({"function": bo.best_response, "training_price": 1.0}, "takes prices, and 'mining_price' is missing"),
    ({"function": bo.best_response, "training_price": 1.0, "mining_price": 1.0, "prices": 1}, "not both"),
    ({"max_cells": 2}, r"the grid has 3 cells, 3 \(deadline\), more than max_cells = 2"),
    ({"chunk": 0}, "chunk: 0 is no number of cells"),
    ({"chunk": True}, "chunk: True is no number of cells"),
    ({"executor": "procesess"}, "unknown executor 'procesess': did you mean 'processes'"),
    ({"executor": "threading"}, "IPOPT is not thread-safe"),
    ({"executor": 0}, "executor: 0 is no number of processes"),
    ({"executor": True}, "executor: expected None"),
    ({"executor": 2.5}, "executor: expected None"),
]


@pytest.mark.parametrize(("change", "words"), BAD_GRIDS, ids=[words for _, words in BAD_GRIDS])
def test_bad_input_is_refused_before_anything_is_computed(change: dict[str, Any], words: str, small: bo.Game) -> None:
    arguments: dict[str, Any] = {"function": bo.equilibrium, "grid": {"deadline": DEADLINES}, "game": small, **change}
    with pytest.raises(InputError, match=words):
        bo.sweep(arguments.pop("function"), arguments.pop("grid"), **arguments)


def test_a_large_grid_is_refused_with_its_count(small: bo.Game) -> None:
    grid = {"deadline": np.arange(1.0, 1001.0), "mining_cycles": np.arange(1.0, 1001.0)}
    begin = time.perf_counter()
    with pytest.raises(InputError, match=r"1,000,000 cells, 1,000 \(deadline\) x 1,000 \(mining_cycles\), more than"):
        bo.sweep(bo.equilibrium, grid, game=small)
    assert time.perf_counter() - begin < 1.0


def test_results_that_do_not_fit_are_refused_after_the_first_chunk(
    small: bo.Game, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    monkeypatch.setattr(sweeping, "available_memory", lambda: 10_000)
    with pytest.raises(InputError, match=r"the results of 1,000 cells take about .* and 10 kB are available"):
        bo.sweep(lambda game: calls.append(1) or bo.equilibrium(game), {"deadline": np.arange(1.0, 1001.0)}, game=small)
    assert len(calls) == 16, "one chunk of 64"


# ---------------------------------------------------------------------- order and chunks


@given(st.lists(st.integers(1, 5), min_size=1, max_size=4), st.integers(1, 9))
def test_every_cell_once_and_each_beside_the_one_before(sizes: list[int], chunk: int) -> None:
    axes = tuple(grid_.axis(f"p{k}", list(range(size))) for k, size in enumerate(sizes))
    plan = grid_.Plan(deadline_of, axes, None, {}, False, False, True, chunk)
    members = [member for number in range(plan.chunks) for member in plan.members(number)]
    assert sorted(members) == sorted(np.ndindex(*sizes))
    steps = np.abs(np.diff(np.array(members), axis=0))
    assert (steps.sum(axis=1) == 1).all()
    positions = [position for number in range(plan.chunks) for position in plan.positions(number)]
    assert positions == [int(np.ravel_multi_index(member, sizes)) for member in members]


def test_chunks_follow_from_the_grid_alone(small: bo.Game) -> None:
    def size(function: Callable[..., Any], cells: int, **more: Any) -> int:
        grid = {"deadline": list(np.arange(1.0, cells + 1.0))}
        return grid_.plan(function, grid, small, {}, warm_start=True, chunk=None, max_cells=10**6, **more).chunk

    assert [size(bo.equilibrium, cells) for cells in (1, 64, 65, 640, 10**5)] == [1, 1, 2, 10, 256]
    assert size(problem2_pyomo.build, 10) == grid_.LEAST_WARM_CHUNK, "alone in its chunk a cell has no neighbour"
