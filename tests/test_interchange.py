"""Games, solutions and models through files and back: bit by bit, or refused; and what foreign files are told."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pyomo.environ as pyo
import pytest
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import bcfl_opt as bo
from bcfl_opt import documents
from bcfl_opt.cli import app
from bcfl_opt.models import problem1_cvxpy, problem1_pyomo, problem2_pyomo

WHOLE = (".json", ".nc")


def people(**columns: Any) -> bo.Population:
    frame = pd.DataFrame({"client": ["a", "b", "c"], "mu": [10.0, 1 / 3, 7.1], "rho": [0.01, 0.02, 0.0314]})
    return bo.Population(frame.assign(**columns))


def game(**columns: Any) -> bo.Game:
    return bo.Game(people(**columns), deadline=math.pi, mining_cycles=0.1, target=0.1)


def same_frame(one: pd.DataFrame, other: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(one, other, check_exact=True, check_freq=False)
    assert [type(i) for i in one.index] == [type(i) for i in other.index]
    for name in one:
        if one[name].dtype == np.float64:  # signs of zeros too; there is one NaN
            assert one[name].fillna(1.5).to_numpy().tobytes() == other[name].fillna(1.5).to_numpy().tobytes()


def same_value(one: Any, other: Any) -> None:
    if isinstance(one, pd.Series):
        pd.testing.assert_series_equal(one, other, check_exact=True, check_freq=False)
    elif isinstance(one, np.ndarray):
        assert one.dtype == other.dtype and one.tolist() == other.tolist()
    else:
        assert type(one) is type(other) and one == other


def same_game(one: bo.Game, other: bo.Game) -> None:
    same_frame(one.population.frame, other.population.frame)
    for field in dataclasses.fields(bo.Game):
        if field.name != "population":
            same_value(getattr(one, field.name), getattr(other, field.name))


def same_solution(one: bo.Solution, other: bo.Solution) -> None:
    for name in ("problem", "solver", "status", "quality", "detail", "message", "iterations", "log", "succeeded"):
        assert getattr(one, name) == getattr(other, name)
    assert dict(one.timing) == dict(other.timing)
    assert (one.certificate is None) == (other.certificate is None)
    if one.certificate is not None and other.certificate is not None:
        assert documents.plain(one.certificate.residuals) == documents.plain(other.certificate.residuals)
        assert dict(one.certificate.where) == dict(other.certificate.where)
    pd.testing.assert_frame_equal(one.history, other.history, check_exact=True)
    if one.clients is not None and one.game is not None and other.game is not None:
        assert other.clients is not None
        same_frame(one.clients, other.clients)
        same_game(one.game, other.game)
    if one.succeeded:
        assert one.objective == other.objective
        for before, after in ((one.variables, other.variables), (one.shadow_prices, other.shadow_prices)):
            assert list(before) == list(after)
            for name in before:
                same_value(before[name], after[name])


# ---------------------------------------------------------------------- games

IDS: dict[str, Any] = {
    "text": ["a", "=1+1", "\u7535 \U0001f4f1"],
    "whole numbers": [3, 1, 2**40],
    "small numbers": pd.array([1, 2, 3], dtype="uint8"),
    "numbers": [0.1, 2.0, -0.5],
    "nullable": pd.array([1, 2, 3], dtype="Int64"),
    "tuples": [("a", 1), ("a", 2), ("b", 1)],
    "tuples in tuples": [(1, (2, "x")), (1, (3, "x")), (2, (2.5, "x"))],
    "mixed": ["a", 1, 2.5],
    "categories": pd.Categorical(["x", "z", "y"], categories=["z", "y", "x", "unused"], ordered=True),
    "categories of numbers": pd.Categorical([3, 1, 2]),
    "days": pd.date_range("2024-01-30", periods=3),
    "moments": pd.to_datetime(["2024-01-30 10:00:00.123456789", "2024-01-31", "2024-02-01"], format="ISO8601"),
    "moments in a zone": pd.date_range("2024-10-26", periods=3, tz="Europe/Berlin"),
}
#: Ids that no document can hold; the game is solved all the same.
ODD_IDS: dict[str, Any] = {
    "bytes": [b"a", b"b", b"c"],
    "periods": pd.period_range("2024-01", periods=3, freq="M"),
    "intervals": pd.interval_range(0, 3),
    "durations": pd.timedelta_range("1D", periods=3),
    "sets": [frozenset([1]), frozenset([2]), frozenset([3])],
}


@pytest.mark.parametrize("name", IDS)
def test_a_game_comes_back_bit_by_bit(name: str, tmp_path: Path) -> None:
    before = game(
        client=IDS[name],
        q=[np.inf, 1e-12, 1.7976931348623157e308],
        note=["x", None, "'quoted', =1"],
        count=[1, 2, 2**60],
        small=np.array([0.1, -0.0, np.nan], dtype=np.float32),
        flag=[True, False, True],
        maybe=pd.array([1, None, 3], dtype="Int32"),
        kind=pd.Categorical(["u", None, "v"]),
        seen=pd.to_datetime(["2024-01-01", None, "2024-01-03"]),
        any=[None, "text", 1.5],
        mixed=pd.Series([np.nan, "nan", np.inf], dtype=object),
    )
    before.save(tmp_path / "game.json")
    after = bo.Game.read(tmp_path / "game.json")
    same_game(before, after)
    assert bo.equilibrium(before).clients.equals(bo.equilibrium(after).clients)  # type: ignore[union-attr]
    after.save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "game.json").read_bytes()


@pytest.mark.parametrize("name", ODD_IDS)
def test_ids_that_would_not_come_back_are_refused(name: str, tmp_path: Path) -> None:
    odd = game(client=ODD_IDS[name])
    with pytest.raises(bo.InputError, match=r"game\.json: .*(would not come back as it is|no file holds the type)"):
        odd.save(tmp_path / "game.json")
    for ending in WHOLE:
        with pytest.raises(bo.InputError, match=r"would not come back as it is|no file holds the type"):
            bo.equilibrium(odd).save(tmp_path / f"solution{ending}")
    assert list(tmp_path.iterdir()) == []


def test_other_columns_that_would_not_come_back_are_refused(tmp_path: Path) -> None:
    for column in ([[1], [2], [3]], [b"a", b"b", b"c"], [{1}, None, None], pd.timedelta_range("1D", periods=3)):
        with pytest.raises(bo.InputError, match=r"column 'odd'.*(would not come back as it is|no file holds the type)"):
            game(odd=column).save(tmp_path / "game.json")
    assert list(tmp_path.iterdir()) == []


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_game_comes_back(data: st.DataObject, tmp_path: Path) -> None:
    positive = st.floats(min_value=0, exclude_min=True, allow_infinity=False)
    ids = st.text(min_size=1).filter(lambda text: text.strip() and not set(text) & set("\0\r\n")) | st.integers(
        -(2**63), 2**63 - 1
    )
    labels = data.draw(st.lists(ids, min_size=1, max_size=5, unique_by=lambda i: (type(i), i)))
    n = len(labels)
    frame = pd.DataFrame(
        {
            "client": pd.Series(labels, dtype=object),
            "mu": data.draw(st.lists(positive, min_size=n, max_size=n)),
            "rho": data.draw(st.lists(positive, min_size=n, max_size=n)),
            "q": data.draw(st.lists(positive | st.just(np.inf), min_size=n, max_size=n)),
            "note": pd.Series(data.draw(st.lists(st.text() | st.none(), min_size=n, max_size=n)), dtype="str"),
            "number": data.draw(st.lists(st.floats(), min_size=n, max_size=n)),
        }
    )
    budget = data.draw(
        st.one_of(st.fixed_dictionaries({"mining_cap": positive}), st.fixed_dictionaries({"mining_budget": positive}))
    )
    try:
        before = bo.Game(
            bo.Population(frame),
            mining_cycles=data.draw(positive),
            deadline=data.draw(positive),
            reward_budget=1.7e308,
            target=data.draw(st.floats(allow_nan=False, allow_infinity=False)),
            seed=data.draw(st.integers(0, 2**70)),
            **budget,
        )
    except bo.InputError:
        return
    file = tmp_path / "game.json"
    try:
        before.save(file, overwrite=True)
    except bo.InputError as error:
        assert "is no character that UTF-8 has" in str(error)
        return
    same_game(before, bo.Game.read(file))


def test_the_command_line_plays_a_saved_game(tmp_path: Path) -> None:
    before = game()
    before.save(tmp_path / "game.json")
    arguments = ["solve", "--problem", "2", "--solver", "exact", "--config", str(tmp_path / "game.json"), "--json"]
    answer = json.loads(CliRunner().invoke(app, arguments).stdout)
    assert answer["objective"] == bo.equilibrium(before).objective
    changed = json.loads(CliRunner().invoke(app, [*arguments, "--deadline", "4", "--mining-budget", "3"]).stdout)
    assert changed["objective"] == bo.equilibrium(before.replace(deadline=4.0, mining_budget=3.0)).objective


def test_a_performance_of_your_own_is_refused(tmp_path: Path) -> None:
    own = game().replace(performance=math.sqrt)
    for thing, name in ((own, "game.json"), (bo.equilibrium(own), "solution.json")):
        with pytest.raises(bo.InputError, match="performance: a function of your own cannot be written to a file"):
            thing.save(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------------- solutions


def solutions() -> dict[str, bo.Solution]:
    g = game(client=IDS["text"], q=[50.0, np.inf, np.inf])
    late = g.replace(deadline=1e-9)
    prices = g.prices(training=[5.5, 5.2, 5.3], mining=5.25)
    own = pyo.ConcreteModel("own")
    own.pairs = pyo.Set(initialize=[("a", 1), ("b", 2)])
    own.x = pyo.Var(own.pairs, initialize=1.0)
    own.y = pyo.Var(initialize=0.5)
    own.above = pyo.Constraint(own.pairs, rule=lambda m, i, j: m.x[i, j] >= j)
    own.cost = pyo.Objective(expr=sum(own.x[k] ** 2 for k in own.pairs) + (own.y - 1) ** 2)
    impossible = problem1_pyomo.build(g, prices)
    impossible.never = pyo.Constraint(expr=impossible.training_time["a"] >= 1e6)
    import cvxpy as cp

    matrix, wave = cp.Variable((2, 2), name="matrix"), cp.Variable(2, name="wave", complex=True)
    problem = cp.Problem(cp.Minimize(cp.sum_squares(matrix - 1) + cp.sum_squares(wave - (1 + 2j))), [matrix >= 0.5])
    return {
        "exact": bo.best_response(g, prices),
        "equilibrium": bo.equilibrium(g),
        "Pyomo": bo.solve(problem1_pyomo.build(g, prices)),
        "CVXPY": bo.solve(problem1_cvxpy.build(g, prices)),
        "CVXPY by IPOPT": bo.solve(problem1_cvxpy.build(g, prices), solver="ipopt"),
        "the owner's": bo.solve(problem2_pyomo.build(g)),
        "own Pyomo model": bo.solve(own),
        "own CVXPY problem": bo.solve(problem),
        "nobody can": bo.best_response(late, prices),
        "infeasible": bo.solve(impossible),
        "iteration limit": bo.solve(problem1_pyomo.build(g, prices, form="speed"), options={"max_iter": 1}),
    }


SOLUTIONS = solutions()


def test_the_cases_cover_success_and_failure() -> None:
    succeeded = [name for name, solution in SOLUTIONS.items() if solution.succeeded]
    assert succeeded == list(SOLUTIONS)[:8]
    assert len({solution.status for solution in SOLUTIONS.values()}) == 4, [s.message for s in SOLUTIONS.values()]


@pytest.mark.parametrize("ending", WHOLE)
@pytest.mark.parametrize("name", SOLUTIONS)
def test_a_solution_comes_back_bit_by_bit(name: str, ending: str, tmp_path: Path) -> None:
    before, file = SOLUTIONS[name], tmp_path / f"solution{ending}"
    before.save(file)
    after = bo.Solution.read(file)
    same_solution(before, after)
    (read,) = after.provenance["files"]
    assert read["file"] == file.name and read["schema_version"] == documents.SCHEMA_VERSION
    assert read["versions"]["bcfl_opt"] == bo.__version__
    assert f"read from    {file.name}; as recorded there, not checked again" in repr(after)
    assert {k: v for k, v in after.provenance.items() if k != "files"} == documents.plain(before.provenance)
    if not before.succeeded:
        with pytest.raises(bo.NoSolutionError):
            _ = after.objective
        assert not documents.plain(before.content)["variables"]
    after.save(tmp_path / f"again{ending}")
    again = bo.Solution.read(tmp_path / f"again{ending}")
    same_solution(before, again)
    assert [entry["file"] for entry in again.provenance["files"]] == [file.name, f"again{ending}"]


@pytest.mark.parametrize("name", IDS)
def test_solutions_keep_ids_and_their_types_in_every_format(name: str, tmp_path: Path) -> None:
    before = bo.equilibrium(game(client=IDS[name]))
    for ending in WHOLE:
        before.save(tmp_path / f"solution{ending}")
        same_solution(before, bo.Solution.read(tmp_path / f"solution{ending}"))
    assert before.clients is not None
    if name in ("tuples", "tuples in tuples", "mixed", "nullable", "categories of numbers"):
        with pytest.raises(bo.InputError, match=r"solution\.parquet: (the ids|Parquet cannot hold)"):
            before.save(tmp_path / "solution.parquet")
        assert not (tmp_path / "solution.parquet").exists()
    else:
        before.save(tmp_path / "solution.parquet")
        same_frame(before.clients.astype({"reason": "str"}), pd.read_parquet(tmp_path / "solution.parquet"))


def test_netcdf_is_for_people_with_xarray(tmp_path: Path) -> None:
    solution = SOLUTIONS["CVXPY"]
    solution.save(tmp_path / "solution.nc")
    with xr.open_dataset(tmp_path / "solution.nc") as dataset:
        assert dataset.sizes == {"client": 3} and dataset["client"].values.tolist() == IDS["text"]
        assert solution.clients is not None
        for name in ("training_time", "client_utility", "recruited"):
            assert dataset[name].values.tolist() == solution.clients[name].tolist()
        assert dataset["population_training_cycles"].values.tolist() == [10.0, 1 / 3, 7.1]
        assert dataset["variables_training_time"].values.tolist() == solution.variables["training_time"].tolist()
        assert json.loads(dataset.attrs["bcfl_opt"])["objective"] == solution.objective


def test_csv_and_parquet_hold_the_clients_and_say_where_they_come_from(tmp_path: Path) -> None:
    solution = SOLUTIONS["Pyomo"]
    solution.save(tmp_path / "solution.csv")
    solution.save(tmp_path / "solution.parquet")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "solution.csv",
        "solution.csv-metadata.json",
        "solution.parquet",
    ]
    assert solution.clients is not None
    written = pd.read_csv(tmp_path / "solution.csv")
    assert written["client"].tolist() == ["a", "'=1+1", IDS["text"][2]], "no spreadsheet runs it"
    assert written["training_time"].tolist() == solution.clients["training_time"].tolist()
    beside = json.loads((tmp_path / "solution.csv-metadata.json").read_text(encoding="utf-8"))
    inside = json.loads(pq.read_schema(tmp_path / "solution.parquet").metadata[b"bcfl_opt"])
    assert beside == inside
    assert beside["schema_version"] == documents.SCHEMA_VERSION and beside["document"] == "solution"
    assert beside["provenance"]["versions"]["ipopt"] and beside["certificate"]["holds"] is True
    assert "clients" not in beside and "population" not in beside
    for name in ("solution.csv", "solution.parquet"):
        with pytest.raises(
            bo.InputError, match=r"holds the table of clients alone; a whole solution is in \.json or \.nc"
        ):
            bo.Solution.read(tmp_path / name)
    with pytest.raises(bo.InputError, match=r"x\.csv: there is no table of clients to write"):
        SOLUTIONS["own Pyomo model"].save(tmp_path / "x.csv")


def test_a_csv_of_ours_gives_the_same_population(tmp_path: Path) -> None:
    """What --out writes as population.csv can be read again, ids that look like formulas and all."""
    ids = ["=1+1", "'=1", "'quoted'", "-7", "@x", "+", "\uff1dx"]
    before = bo.Population(pd.DataFrame({"client": ids, "mu": 1 / 3, "rho": 0.1, "=note": "-x", "'=b": "y"}))
    (tmp_path / "clients.parquet").write_bytes(b"")
    before.frame.to_parquet(tmp_path / "clients.parquet")
    arguments = ["solve", "--solver", "exact", "--training-price", "1", "--mining-price", "1", "--population"]
    result = CliRunner().invoke(app, [*arguments, str(tmp_path / "clients.parquet"), "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert not any(
        line.startswith(tuple("=+-@\uff1d")) for line in (tmp_path / "out" / "population.csv").read_text().split("\n")
    )
    same_frame(before.frame, bo.Population.read(tmp_path / "out" / "population.csv").frame)


def test_the_command_and_save_write_one_schema(tmp_path: Path) -> None:
    g = game(client=IDS["text"])
    g.save(tmp_path / "game.json")
    arguments = ["solve", "--training-price", "5", "--mining-price", "5", "--config", str(tmp_path / "game.json")]
    result = CliRunner().invoke(app, [*arguments, "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    after = bo.Solution.read(tmp_path / "out" / "solution.json")
    expected = bo.solve(problem1_pyomo.build(g, g.prices(5.0, 5.0)))
    assert after.game is not None and after.clients is not None and expected.clients is not None
    same_game(g, after.game)
    same_frame(expected.clients, after.clients)
    after.save(tmp_path / "again.json")
    ours, theirs = (
        json.loads(path.read_text()) for path in (tmp_path / "again.json", tmp_path / "out" / "solution.json")
    )
    assert set(theirs) - set(ours) == {"command", "parameters", "asked"} and set(ours) <= set(theirs)


def test_a_read_solution_is_no_warm_start_in_silence(tmp_path: Path) -> None:
    SOLUTIONS["Pyomo"].save(tmp_path / "solution.json")
    g = game(client=IDS["text"])
    with pytest.raises(bo.InputError, match="or was read from a file"):
        bo.solve(problem1_pyomo.build(g, g.prices(5.0, 5.0)), warm_start=bo.Solution.read(tmp_path / "solution.json"))


# ---------------------------------------------------------------------- what is there is not overwritten


@pytest.mark.parametrize("ending", [".json", ".nc", ".csv", ".parquet"])
def test_nothing_is_overwritten_in_silence(ending: str, tmp_path: Path) -> None:
    file = tmp_path / f"solution{ending}"
    file.write_text("mine")
    with pytest.raises(bo.InputError, match="exists already; name another file, or pass overwrite=True"):
        SOLUTIONS["exact"].save(file)
    assert file.read_text() == "mine" and list(tmp_path.iterdir()) == [file]
    SOLUTIONS["exact"].save(file, overwrite=True)
    assert file.read_bytes() != b"mine"


def test_places_that_are_no_place_for_a_file(tmp_path: Path) -> None:
    g = game()
    (tmp_path / "folder.json").mkdir()
    elsewhere = tmp_path / "elsewhere.json"
    elsewhere.write_text("mine")
    (tmp_path / "link.json").symlink_to(elsewhere)
    (tmp_path / "nowhere.json").symlink_to(tmp_path / "absent.json")
    for path, overwrite, words in (
        (tmp_path / "absent" / "game.json", False, "there is no folder .*absent; make it first"),
        (tmp_path / "folder.json", True, "is a folder; name a file"),
        (tmp_path / "link.json", False, "exists already"),
        (tmp_path / "nowhere.json", False, "exists already"),
        (tmp_path / f"{'x' * 300}.json", False, "cannot be written: File name too long"),
        (tmp_path / "a\0b.json", False, "is not the name of a file"),
        (tmp_path / "game.pickle", False, "unknown ending of a file '.pickle'"),
        (tmp_path / "game", False, "unknown ending of a file ''"),
    ):
        with pytest.raises(bo.InputError, match=words):
            g.save(path, overwrite=overwrite)
    g.save(tmp_path / "link.json", overwrite=True)
    assert not (tmp_path / "link.json").is_symlink() and elsewhere.read_text() == "mine", "replaced, not followed"
    assert not list(tmp_path.glob(".*"))


# ---------------------------------------------------------------------- foreign, damaged and hostile files


def tampered(change: Any, name: str = "CVXPY") -> dict[str, Any]:
    whole = documents.document("solution", SOLUTIONS[name].content)
    whole = copy.deepcopy(whole)
    change(whole)
    return whole


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda w: w.pop("schema_version"), "this is no solution saved by bcfl_opt: it has no schema_version"),
        (
            lambda w: w.update(schema_version=1),
            "schema version 1 is not the one that this version of bcfl_opt reads, 2",
        ),
        (lambda w: w.update(schema_version=3), "schema version 3 is not the one"),
        (lambda w: w.update(schema_version=True), "schema version True is not"),
        (lambda w: w.update(schema_version="2"), "schema version '2' is not"),
        (lambda w: w.update(document="game"), "holds a 'game', not a solution"),
        (lambda w: w.pop("document"), "holds a None, not a solution"),
        (lambda w: w.update(status="FINE"), "damaged, or was changed by hand: KeyError 'FINE'"),
        (lambda w: w.update(quality=None), "damaged"),
        (lambda w: w.update(objective=None), "says that it is solved, without an objective"),
        (lambda w: w.update(objective="12"), "'12' is not a number"),
        (lambda w: w["certificate"].update(primal=1.0), "with a certificate that does not hold"),
        (lambda w: w["certificate"].update(extra=1.0), "damaged"),
        (lambda w: w.update(certificate=3), "damaged"),
        (lambda w: w.pop("clients"), "damaged"),
        (lambda w: w["clients"].pop(), "does not belong to the game"),
        (lambda w: w["clients"][0].update(client="stranger"), "does not belong to the game"),
        (lambda w: w["clients"][0].pop("reason"), "clients: its records do not have the columns"),
        (lambda w: w["clients"][0].update(training_time="1"), "'1' is not a number"),
        (lambda w: w["clients"][0].update(recruited=1), "column 'recruited': 1 is not of type bool"),
        (lambda w: w["clients"][0].update(recruited=None), "column 'recruited': a value is missing"),
        (lambda w: w["fields"]["clients"][1].update(dtype="O"), "no file holds the type 'O'"),
        (
            lambda w: w["fields"]["clients"][1].update(dtype="datetime64[us, __import__]"),
            "column 'training_time': a time is not a text",
        ),
        (lambda w: w["population"][0].update(training_cycles=-1.0), r"row 0 \(client 'a'\), column 'training_cycles'"),
        (lambda w: w["game"].update(deadline=0), "deadline: 0.0 must be greater than 0"),
        (lambda w: w["game"].update(dedline=1), "unknown parameter of a game 'dedline': did you mean 'deadline'"),
        (lambda w: w.update(game=None), "does not belong to the game"),
        (lambda w: w["variables"].update(x={"labels": [[1]], "fields": [], "values": [1.0]}), "damaged"),
        (lambda w: w["variables"].update(x="text"), "'text' is not a number"),
        (lambda w: w.update(provenance=[]), "damaged"),
        (lambda w: w.update(history=[["a"]]), "'a' is not a number"),
    ],
)
def test_a_changed_solution_is_refused(change: Any, words: str, tmp_path: Path) -> None:
    file = tmp_path / "solution.json"
    file.write_text(json.dumps(tampered(change)), encoding="utf-8")
    with pytest.raises(bo.InputError, match=words) as caught:
        bo.Solution.read(file)
    assert str(caught.value).startswith("solution.json") and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "solution.json, row 1, column 1: is not JSON"),
        (b"{", "solution.json, row 1, column 2: is not JSON"),
        (b'{"a": 1}', "this is no solution saved by bcfl_opt"),
        (b"[1, 2]", "this is no solution saved by bcfl_opt"),
        (b"null", "this is no solution saved by bcfl_opt"),
        (b'{"schema_version": NaN}', "NaN is not JSON"),
        (b'{"a": 1, "a": 2}', "an object names the same key twice"),
        (b'{"a": ' + b"9" * 5000 + b"}", "damaged"),
        (b"[" * 100_000, "is nested too deeply"),
        ("{'a': 1}".encode("utf-16"), "is not text in UTF-8"),
        (b"\x80\x04\x95K\x00\x00\x00\x00\x00\x00\x00}\x94.", "is not text in UTF-8"),  # a pickle
        (b"client,mu,rho\n", "is not JSON"),
    ],
)
@pytest.mark.parametrize("kind", [bo.Solution, bo.Game])
def test_a_foreign_json_is_one_error(kind: Any, content: bytes, words: str, tmp_path: Path) -> None:
    name = kind.__name__.lower()
    (tmp_path / f"{name}.json").write_bytes(content)
    with pytest.raises(bo.InputError) as caught:
        kind.read(tmp_path / f"{name}.json")
    assert words.replace("solution", name) in str(caught.value) and "\n" not in str(caught.value)


def test_a_foreign_netcdf_is_one_error(tmp_path: Path) -> None:
    SOLUTIONS["exact"].save(tmp_path / "good.nc")
    good = (tmp_path / "good.nc").read_bytes()
    xr.Dataset({"x": ("x", [1.0])}).to_netcdf(tmp_path / "foreign.nc", engine="scipy")
    for content, words in (
        (b"", "is not a NetCDF file"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), r"is NetCDF 4 \(HDF5\)"),
        (b"CDF\x02" + bytes(20), "this is no solution|cannot be read as NetCDF"),
        ((tmp_path / "foreign.nc").read_bytes(), "this is no solution saved by bcfl_opt"),
        (good[: len(good) // 2], "cannot be read as NetCDF"),
        (good.replace(b'"schema_version": 2', b'"schema_version": 9'), "schema version 9 is not the one"),
        (good.replace(b'"netcdf": "energy_cost"', b'"netcdf": "energy_xxxx"'), "damaged"),
    ):
        (tmp_path / "solution.nc").write_bytes(content)
        with pytest.raises(bo.InputError, match=words) as caught:
            bo.Solution.read(tmp_path / "solution.nc")
        assert str(caught.value).startswith("solution.nc") and "\n" not in str(caught.value)


TEXTS = {name: json.dumps(tampered(lambda w: None, name)) for name in ("CVXPY", "infeasible", "exact")}


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_change_to_a_document_is_a_solution_or_one_error(data: st.DataObject, tmp_path: Path) -> None:
    whole = json.loads(TEXTS[data.draw(st.sampled_from(sorted(TEXTS)))])
    junk = st.sampled_from(
        [None, True, -1, 0, 1e300, "", "inf", "x", [], {}, [[]], [1], {"labels": 1}, {"netcdf": "x"}]
    )
    for _ in range(data.draw(st.integers(1, 3))):
        node: Any = whole
        while isinstance(node, dict | list) and node:
            key = data.draw(st.sampled_from(sorted(node)) if isinstance(node, dict) else st.integers(0, len(node) - 1))
            if not isinstance(node[key], dict | list) or not node[key] or data.draw(st.integers(0, 3)) == 0:
                break
            node = node[key]
        if isinstance(node, dict | list) and node:
            if data.draw(st.booleans()):
                node[key] = copy.deepcopy(data.draw(junk))
            else:
                del node[key]
    file = tmp_path / "solution.json"
    file.write_text(json.dumps(whole), encoding="utf-8")
    try:
        solution = bo.Solution.read(file)
    except bo.InputError as error:
        assert str(error).startswith("solution.json") and "\n" not in str(error)
    else:
        assert not solution.succeeded or math.isfinite(solution.objective)
        assert solution.certificate is None or not solution.succeeded or solution.certificate.holds()
        repr(solution)


@pytest.mark.parametrize("ending", WHOLE)
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_bytes_are_a_solution_or_one_error(ending: str, data: st.DataObject, tmp_path: Path) -> None:
    file = tmp_path / f"solution{ending}"
    if not (tmp_path / f"good{ending}").exists():
        SOLUTIONS["exact"].save(tmp_path / f"good{ending}")
    content = bytearray((tmp_path / f"good{ending}").read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(content)))
        content[start : start + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=4))
    file.write_bytes(content)
    try:
        bo.Solution.read(file)
    except bo.InputError as error:
        assert str(error).startswith(file.name) and "\n" not in str(error)
