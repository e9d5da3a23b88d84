"""Populations in parts: the answers of the whole population, in memory that a chunk sets, with rows counted in the whole file."""

from __future__ import annotations

import errno
import itertools
import json
import math
import os
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

import bcfl_opt as bo
from bcfl_opt import partitioned, table_parts
from bcfl_opt.cli import app
from bcfl_opt.errors import InputError
from bcfl_opt.parts import answers, budget, question, source, target, totals
from bcfl_opt.parts.source import IdRange, surely_unique

COMMAND = str(Path(sysconfig.get_path("scripts")) / "bcfl-opt")
PRICES = {"training_price": 0.05, "mining_price": 0.05}
CAPS = {"training_cap": 25.0, "mining_cap": 5.0}


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    """700 clients; some cannot respond at PRICES, some have no speed limit to speak of."""
    frame = bo.Population.random(700, seed=5, speed_limits=True).frame
    frame["training_price"] = np.linspace(0.03, 0.08, 700)
    frame["mining_price"] = 0.05
    frame["training_cap"] = np.linspace(0.0, 30.0, 700)
    frame["mining_cap"] = 5.0
    frame["note"] = "kept out"
    return frame


@pytest.fixture
def file(frame: pd.DataFrame, tmp_path: Path) -> Path:
    path = tmp_path / "clients.parquet"
    frame.to_parquet(path, row_group_size=300)
    return path


def read(path: Path) -> pd.DataFrame:
    return pq.read_table(path).to_pandas().set_index("client")


def assert_same(answer: totals.PartitionedSolution, single: bo.Solution) -> None:
    assert answer.succeeded and single.clients is not None
    assert answer.objective == pytest.approx(single.objective, rel=1e-13)
    assert answer.clients == len(single.clients) and answer.recruited == single.clients["recruited"].sum()
    for name in ("training_time", "mining_reward", "energy_cost"):
        assert answer.sums[name] == pytest.approx(single.clients[name].sum(), rel=1e-12)
    assert answer.quality is bo.Quality.GLOBAL
    assert answer.certificate is not None and answer.certificate.worst[1] < 1e-12
    if answer.out is not None and answer.out.is_file():
        pd.testing.assert_frame_equal(read(answer.out), single.clients, check_exact=True, check_dtype=False)


# ---------------------------------------------------------------------- answers


@pytest.mark.parametrize("chunk", [1, 97, 300, 10_000])
def test_best_responses_are_those_of_the_whole_population(chunk: int, file: Path, tmp_path: Path) -> None:
    game = bo.Game(bo.Population.read(file), deadline=14.0, mining_cycles=4.0)
    single = bo.best_response(game, game.prices(0.05, 0.05))
    if chunk == 1:  # one client at a time, fewer of them
        pq.write_table(pq.read_table(file).slice(0, 40), file)
        game = bo.Game(bo.Population.read(file), deadline=14.0, mining_cycles=4.0)
        single = bo.best_response(game, game.prices(0.05, 0.05))
    out = tmp_path / "out.parquet"
    answer = partitioned.best_response(file, **PRICES, deadline=14.0, mining_cycles=4.0, out=out, chunk=chunk)
    assert_same(answer, single)
    assert 0 < answer.recruited < answer.clients
    absent = single.clients.loc[~single.clients["recruited"], "reason"].head(totals.NAMED)
    assert answer.absent == absent.to_dict()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clients.parquet", "out.parquet"]


def test_prices_by_client_come_from_columns(file: Path, frame: pd.DataFrame, tmp_path: Path) -> None:
    game = bo.Game(bo.Population.read(file))
    single = bo.best_response(game, frame[["training_price", "mining_price"]])
    assert_same(partitioned.best_response(file, chunk=100, out=tmp_path / "o.parquet"), single)
    single = bo.best_response(game, game.prices(frame["training_price"], 0.04))
    assert_same(partitioned.best_response(file, mining_price=0.04, out=tmp_path / "p.parquet"), single)
    offered = frame.copy()
    offered.loc[offered.index[3:5], ["training_price", "mining_price"]] = np.nan
    offered.to_parquet(file)
    answer = partitioned.best_response(file, out=tmp_path / "q.parquet")
    reasons = read(answer.out)["reason"]
    assert reasons.iloc[3:5].tolist() == ["is offered no prices"] * 2 and (reasons == "is offered no prices").sum() == 2


def capped(frame: pd.DataFrame, caps: pd.DataFrame | dict[str, float]) -> bo.Game:
    """A game in memory whose caps are these: by dividing budgets no such game can be had, so they are put in."""
    game = bo.Game(bo.Population(frame))
    given = pd.DataFrame(caps, index=frame.index) if isinstance(caps, dict) else caps
    return question.CappedGame(game.population, given_caps=given)


def test_reward_caps_are_data(file: Path, frame: pd.DataFrame, tmp_path: Path) -> None:
    out = tmp_path / "out.parquet"
    answer = partitioned.best_response(file, **PRICES, reward_caps=True, chunk=100, out=out)
    table = read(out)
    taken = table["recruited"]
    assert answer.recruited == taken.sum() > 100
    assert (table["training_reward"] <= frame["training_cap"] * (1 + 1e-12))[taken].all()
    assert np.isclose(table["training_reward"], frame["training_cap"])[taken].any(), "some caps bind"
    assert "cannot respond within its training cap 0" in table["reason"].iloc[0]
    # client by client, with Problem 1's own formula: t <= R_t / p_t, and s takes the rest up to its cap
    once = partitioned.best_response(file, **PRICES, chunk=100, out=tmp_path / "free.parquet")
    free = read(once.out)
    loose = (
        taken & free["recruited"] & (free["training_reward"] <= frame["training_cap"]) & (free["mining_reward"] <= 5.0)
    )
    assert loose.sum() > 10
    np.testing.assert_array_equal(table.loc[loose, "training_time"], free.loc[loose, "training_time"])


def test_the_equilibrium_with_caps_by_client_or_for_all(file: Path, frame: pd.DataFrame, tmp_path: Path) -> None:
    single = bo.equilibrium(capped(frame, frame[["training_cap", "mining_cap"]]))
    answer = partitioned.equilibrium(file, chunk=64, out=tmp_path / "out.parquet")
    assert_same(answer, single)
    assert "not recruited: Shapley share 0" in read(answer.out)["reason"].iloc[0]
    assert_same(partitioned.equilibrium(file, **CAPS, chunk=64), bo.equilibrium(capped(frame, CAPS)))
    # With no caps at all: both tasks at the speed (mu + psi) / T, paid rho (mu + psi)^3 / T^2 (theory 5.1).
    free = partitioned.equilibrium(file, training_cap=math.inf, mining_cap=math.inf, chunk=64)
    mu, rho, q = frame["training_cycles"], frame["energy_coefficient"], frame["max_speed"]
    assert ((mu + 5) / 15 <= q).sum() == free.recruited
    slow = (mu + 5) / 15 <= q
    assert free.sums["energy_cost"] == pytest.approx((rho * (mu + 5) ** 3 / 225)[slow].sum(), rel=1e-12)
    expected = math.log1p(mu[slow].sum()) - 0.1 * (15 * slow.sum() + (rho * (mu + 5) ** 3 / 225)[slow].sum())
    assert free.objective == pytest.approx(expected, rel=1e-12)


def test_the_caps_of_a_game_put_in_columns_give_its_equilibrium(frame: pd.DataFrame, tmp_path: Path) -> None:
    population = bo.Population(frame[["training_cycles", "energy_coefficient", "max_speed"]])
    game = bo.Game(population, target=3.0)
    table = population.frame.join(game.caps[["training_cap", "mining_cap"]])
    table.to_parquet(tmp_path / "clients.parquet")
    answer = partitioned.equilibrium(tmp_path / "clients.parquet", chunk=50, performance="sqrt", cost_weight=0.3)
    single = bo.equilibrium(game.replace(performance="sqrt", cost_weight=0.3))
    assert answer.objective == pytest.approx(single.objective, rel=1e-12)


@pytest.mark.parametrize("solver", ["ipopt", "clarabel"])
def test_solvers_answer_chunk_by_chunk(solver: str, file: Path, tmp_path: Path) -> None:
    pq.write_table(pq.read_table(file).slice(600, 60), file)
    exact = partitioned.best_response(file, **PRICES, out=tmp_path / "exact.parquet")
    answer = partitioned.best_response(file, **PRICES, solver=solver, chunk=25, out=tmp_path / "solver.parquet")
    assert answer.succeeded and answer.solver == solver and answer.quality is bo.Quality.GLOBAL
    assert answer.objective == pytest.approx(exact.objective, rel=1e-8)
    one, other = read(tmp_path / "exact.parquet"), read(tmp_path / "solver.parquet")
    np.testing.assert_allclose(one["training_time"], other["training_time"], rtol=1e-5)
    assert one["reason"].tolist() == other["reason"].tolist()
    second = partitioned.equilibrium(file, **CAPS, solver=solver, chunk=25)
    assert second.succeeded, second
    assert second.objective == pytest.approx(partitioned.equilibrium(file, **CAPS).objective, rel=1e-7)


def test_a_chunk_without_an_answer_is_told(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = question.exact.best_response

    def sometimes(game: bo.Game, *given: Any, **options: Any) -> bo.Solution:
        solution = original(game, *given, **options)
        if game.population.ids[0] != "client-400":
            return solution
        from dataclasses import replace

        return replace(solution, status=bo.Status.TIME_LIMIT, quality=bo.Quality.NONE, detail="at 3 s")

    monkeypatch.setattr(question.exact, "best_response", sometimes)
    answer = partitioned.best_response(file, **PRICES, chunk=100)
    assert answer.status is bo.Status.TIME_LIMIT and answer.quality is bo.Quality.NONE
    assert "1 chunks have no answer; clients.parquet, rows 400 to 499: time limit" in answer.message
    with pytest.raises(bo.NoSolutionError, match=r"was not solved by exact for clients.parquet"):
        answer.objective  # noqa: B018
    assert "time limit" in repr(answer)


def test_nobody_can_respond(file: Path) -> None:
    answer = partitioned.best_response(file, **PRICES, deadline=0.1)
    assert answer.status is bo.Status.NO_CLIENTS and answer.recruited == 0
    assert "0 of 700 recruited; 'client-000': cannot meet the deadline" in repr(answer)


# ---------------------------------------------------------------------- a shared budget


LOOSE = {"training_cap": math.inf, "mining_cap": math.inf}


@pytest.mark.parametrize("level", [1.0, 1.001, 1.3, 3.0, 50.0, 1e6])
@pytest.mark.parametrize("caps", [LOOSE, CAPS], ids=["loose", "capped"])
def test_a_shared_budget_is_divided_as_for_the_whole_population(
    caps: dict[str, float], level: float, file: Path, frame: pd.DataFrame, tmp_path: Path
) -> None:
    game = capped(frame, caps)
    least = bo.equilibrium(game).clients[["training_reward", "mining_reward"]].to_numpy().sum()
    single = bo.equilibrium(game, deadlines="chosen", payment_budget=level * least)
    asked: dict[str, Any] = {**caps, "deadlines": "chosen", "payment_budget": level * least}
    answer = partitioned.equilibrium(file, **asked, chunk=64, out=tmp_path / "out.parquet")
    assert answer.succeeded and answer.objective == pytest.approx(single.objective, rel=1e-12)
    shadow = single.shadow_prices["payment_budget"]
    if level > 1.0:  # at the least payments any larger price of money does the same
        assert answer.shadow_prices["payment_budget"] == pytest.approx(shadow, rel=1e-9, abs=1e-12)
    spent = answer.sums["training_reward"] + answer.sums["mining_reward"]
    assert spent <= level * least * (1 + 1e-12)
    if shadow > 0:
        assert spent == pytest.approx(level * least, rel=1e-12)
    table = read(answer.out)
    np.testing.assert_allclose(table["deadline"], single.clients["deadline"], rtol=1e-9)
    assert answer.certificate is not None and answer.certificate.worst[1] < 1e-9
    other = partitioned.equilibrium(file, **asked, chunk=700)
    assert other.objective == pytest.approx(answer.objective, rel=1e-13)


def test_a_budget_with_reservation_utilities_from_a_column(file: Path, frame: pd.DataFrame, tmp_path: Path) -> None:
    rents = pd.Series(np.linspace(0.0, 0.3, 700), index=frame.index)
    frame.assign(reservation_utility=rents).to_parquet(file, row_group_size=300)
    game = capped(frame, LOOSE)
    common = bo.equilibrium(game, reservation_utility=rents).clients
    enough = 1.2 * common[["training_reward", "mining_reward"]].to_numpy().sum()
    for deadlines, coins in (("common", None), ("chosen", None), ("chosen", enough)):
        single = bo.equilibrium(game, deadlines=deadlines, payment_budget=coins, reservation_utility=rents)
        answer = partitioned.equilibrium(
            file, **LOOSE, deadlines=deadlines, payment_budget=coins, reservation_utility=None, chunk=90
        )
        assert answer.status is single.status is bo.Status.SOLVED
        assert answer.objective == pytest.approx(single.objective, rel=1e-11)
    spent = answer.sums["training_reward"] + answer.sums["mining_reward"]
    assert spent == pytest.approx(enough, rel=1e-12) and answer.shadow_prices["payment_budget"] > 0


def test_a_budget_that_is_too_small_leaves_no_table(file: Path, frame: pd.DataFrame, tmp_path: Path) -> None:
    least = bo.equilibrium(capped(frame, LOOSE)).clients[["training_reward", "mining_reward"]].to_numpy().sum()
    for deadlines in ("common", "chosen"):
        for out in (tmp_path / "out.parquet", tmp_path / "out"):
            answer = partitioned.equilibrium(
                file, **LOOSE, deadlines=deadlines, payment_budget=0.99 * least, chunk=100, out=out
            )
            assert answer.status is bo.Status.INFEASIBLE and answer.clients == 700 and answer.out is None
            assert f"is less than the least possible payment {least:.6g}" in answer.message
        enough = partitioned.equilibrium(file, **LOOSE, deadlines=deadlines, payment_budget=1.01 * least, chunk=100)
        assert enough.succeeded
    assert [path.name for path in tmp_path.iterdir()] == ["clients.parquet"]


@given(
    st.lists(st.tuples(st.floats(0.01, 10), st.floats(1e-6, 1), st.floats(0, 1)), min_size=1, max_size=20),
    st.floats(0.0, 1.2),
)
def test_the_root_of_piecewise_linear_payments(pieces: list[tuple[float, float, float]], level: float) -> None:
    """Against the sum of clips itself, and against bisection."""
    c, low, width = np.array(pieces).T
    high = low + width
    passes = []

    def evaluate(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        passes.append(points)
        total, ends = budget.payments(c, low, high, points)
        expected = [math.fsum(c * np.clip(y, low, high)) for y in points]
        np.testing.assert_allclose(total, expected, rtol=1e-12)
        inside = [
            sum(((one < edge) & (edge < other)).sum() for edge in (low, high))
            for one, other in itertools.pairwise(points)
        ]
        assert ends.tolist() == inside
        return total, ends

    def spent(y: float) -> float:
        return math.fsum(c * np.clip(y, low, high))

    least, most = spent(0.0), spent(1.0)
    wanted = least + level * (most - least)
    nu, found = budget.multiplier(evaluate, wanted)
    assert found == pytest.approx(least, rel=1e-12)
    assert len(passes) <= 8
    if nu == 0.0:
        assert spent(1.0) <= wanted * (1 + 1e-12)
        return
    y = (1.0 + nu) ** (-2 / 3)
    assert 0 < y <= 1 and spent(y) == pytest.approx(wanted, rel=1e-11)
    assert budget.multiplier(evaluate, 0.9 * least) == (pytest.approx(math.nan, nan_ok=True), pytest.approx(least))


# ---------------------------------------------------------------------- sources and targets


def test_every_kind_of_source(frame: pd.DataFrame, tmp_path: Path) -> None:
    directory = tmp_path / "parts"
    directory.mkdir()
    files = [directory / f"{k}.parquet" for k in range(3)]
    for k, file in enumerate(files):
        frame.iloc[300 * k : 300 * (k + 1)].to_parquet(file, row_group_size=128)
    frame.to_csv(tmp_path / "clients.csv")
    frame.rename_axis(None).rename(columns={"training_cycles": "mu", "energy_coefficient": " rho "}).to_parquet(
        tmp_path / "index.parquet"
    )
    sources = [directory, str(directory / "*.parquet"), files, tmp_path / "clients.csv", tmp_path / "index.parquet"]
    answers = [partitioned.best_response(each, **PRICES, chunk=100, out=tmp_path / "out") for each in sources[:1]]
    for k, each in enumerate(sources):
        out = tmp_path / f"out-{k}.parquet"
        answers.append(partitioned.best_response(each, **PRICES, chunk=100, out=out))
        assert read(out).index.tolist() == frame.index.tolist()
    for answer in answers[1:]:
        assert answer.objective == pytest.approx(answers[0].objective, rel=1e-14)
    parts = sorted((tmp_path / "out").iterdir())
    assert [path.name for path in parts] == [f"part-{k:06d}.parquet" for k in range(7)]
    pd.testing.assert_frame_equal(pd.concat([read(path) for path in parts]), read(tmp_path / "out-0.parquet"))


def test_clients_without_ids_are_numbered_through_all_files(frame: pd.DataFrame, tmp_path: Path) -> None:
    bare = frame.reset_index(drop=True)
    bare.iloc[:300].to_parquet(tmp_path / "a.parquet", row_group_size=70)
    bare.iloc[300:].reset_index(drop=True).to_parquet(tmp_path / "b.parquet")
    out = tmp_path / "out" / "deep.parquet"
    partitioned.best_response([tmp_path / "a.parquet", tmp_path / "b.parquet"], **PRICES, chunk=50, out=out)
    assert read(out).index.tolist() == list(range(700))
    bare.to_csv(tmp_path / "bare.csv", index=False)
    partitioned.best_response(tmp_path / "bare.csv", **PRICES, chunk=50, out=out, overwrite=True)
    assert read(out).index.tolist() == list(range(700))


def test_blank_rows_at_the_end_of_a_csv_are_none_and_within_it_are_bad(tmp_path: Path) -> None:
    file = tmp_path / "clients.csv"
    rows = [f"c{k},{k + 1},0.01" for k in range(6)]
    file.write_text("\n".join(["client,mu,rho", *rows, "", "", "", "", ""]))
    for chunk in (1, 2, 3, 6, 7):
        assert partitioned.best_response(file, **PRICES, chunk=chunk).clients == 6
    file.write_text("\n".join(["client,mu,rho", *rows[:3], "", "", *rows[3:]]))
    for chunk in (1, 2, 3, 7):
        with pytest.raises(InputError, match=r"clients.csv, row 5, column 'client': the id is missing"):
            partitioned.best_response(file, **PRICES, chunk=chunk)
    file.write_text("client,mu,rho\nc,1,1\nd,1,1,7,8\n")
    with pytest.raises(InputError, match=r"clients.csv: cannot be read as csv: "):
        partitioned.best_response(file, **PRICES, chunk=1)


BAD_SOURCES: list[tuple[Any, str]] = [
    ("absent.parquet", "absent.parquet: no such file"),
    ("clients.txt", "ends in .csv or .parquet, not '.txt'"),
    ("empty", "a directory without .parquet files"),
    ("absent*.parquet", "no such files"),
    ([], "at least one file"),
    (5, "a .parquet or .csv file, a directory or list of them, or a Dask data frame, not int"),
    ("text.parquet", "text.parquet: cannot be read as parquet"),
    ("none.parquet", "none.parquet: the table is empty"),
    ("none.csv", "none.csv: the table is empty"),
    ("blank.csv", "blank.csv: cannot be read as csv: its first line does not name the columns"),
    ("twice.parquet", "twice.parquet: column 'mu' appears twice"),
    ("levels.parquet", "levels.parquet: the index has 2 levels"),
]


@pytest.mark.parametrize(("source", "words"), BAD_SOURCES, ids=[words for _, words in BAD_SOURCES])
def test_sources_that_cannot_be_read(source: Any, words: str, tmp_path: Path) -> None:
    (tmp_path / "clients.txt").write_text("x")
    (tmp_path / "text.parquet").write_text("client,mu,rho\n")
    (tmp_path / "none.csv").write_text("client,mu,rho\n")
    (tmp_path / "blank.csv").write_text("")
    (tmp_path / "empty").mkdir()
    table = pd.DataFrame({"client": ["a", "b"], "mu": [1.0, 2.0], "rho": [1.0, 1.0]})
    table.iloc[:0].to_parquet(tmp_path / "none.parquet")
    table.set_index(["client", "mu"]).to_parquet(tmp_path / "levels.parquet")
    column = pa.array([1.0])
    pq.write_table(pa.Table.from_arrays([column, column, column], ["mu", "mu", "rho"]), tmp_path / "twice.parquet")
    if isinstance(source, str):
        source = str(tmp_path / source)
    with pytest.raises(InputError, match=words.replace("(", r"\(")):
        partitioned.best_response(source, **PRICES, out=tmp_path / "out.parquet")
    assert not (tmp_path / "out.parquet").exists()


def test_targets_that_are_taken(file: Path, tmp_path: Path) -> None:
    def run(out: Any, **more: Any) -> totals.PartitionedSolution:
        return partitioned.best_response(file, **PRICES, out=out, **more)

    out = tmp_path / "out.parquet"
    out.write_text("mine")
    with pytest.raises(InputError, match=r"out.parquet is there already"):
        run(out)
    assert out.read_text() == "mine"
    assert run(out, overwrite=True).succeeded and len(read(out)) == 700

    directory = tmp_path / "out"
    run(directory)
    with pytest.raises(InputError, match="is not empty; name another directory, or overwrite it"):
        run(directory)
    (directory / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"holds 'notes.txt', which is no part of a table"):
        run(directory, overwrite=True)
    (directory / "notes.txt").unlink()
    (directory / "part-000099.parquet").write_text("old")
    run(directory, overwrite=True)
    assert [path.name for path in sorted(directory.iterdir())] == [f"part-00000{k}.parquet" for k in range(3)]
    (tmp_path / "dir.parquet").mkdir()
    with pytest.raises(InputError, match="is a directory; name a file"):
        run(tmp_path / "dir.parquet")
    (tmp_path / "plain").write_text("mine")
    with pytest.raises(InputError, match=r"is a file; name one that ends in .parquet"):
        run(tmp_path / "plain")


def test_targets_of_several_workers(file: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="several workers write a directory"):
        partitioned.best_response(file, **PRICES, out=tmp_path / "out.parquet", executor=2)
    here = partitioned.best_response(file, **PRICES, out=tmp_path / "here", chunk=64)
    there = partitioned.best_response(file, **PRICES, out=tmp_path / "there", chunk=64, executor=2)
    assert here.objective == there.objective and here.sums == there.sums
    for path in sorted((tmp_path / "here").iterdir()):
        assert pq.read_table(path).equals(pq.read_table(tmp_path / "there" / path.name))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clients.parquet", "here", "there"]


# ---------------------------------------------------------------------- errors name rows of the whole file


BAD_CELLS: list[tuple[str, Any, str]] = [
    ("training_cycles", -1.0, "column 'training_cycles': the value -1.0 must be greater than 0"),
    ("energy_coefficient", np.nan, "column 'energy_coefficient': the value is missing"),
    ("training_price", -0.5, "column 'training_price': the value -0.5 must be a finite number, at least 0"),
    ("mining_price", np.inf, "column 'mining_price': the value inf must be a finite number, at least 0"),
    ("mining_price", np.nan, "one price is given and the other is missing"),
    ("training_cap", np.nan, "column 'training_cap': the value is missing; it must be a number, at least 0"),
    ("mining_cap", -1.0, "column 'mining_cap': the value -1.0 must be a number, at least 0"),
]


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
@pytest.mark.parametrize(("column", "value", "words"), BAD_CELLS, ids=[f"{c} {v}" for c, v, _ in BAD_CELLS])
def test_a_bad_cell_is_named_and_nothing_is_written(
    column: str, value: Any, words: str, suffix: str, frame: pd.DataFrame, tmp_path: Path
) -> None:
    bad = frame.copy()
    bad.loc["client-523", column] = value
    file = tmp_path / f"clients{suffix}"
    if suffix == ".csv":
        bad.to_csv(file)
    else:
        bad.to_parquet(file, row_group_size=200)
    row = 523 + (2 if suffix == ".csv" else 0)
    for out in (tmp_path / "out.parquet", tmp_path / "out"):
        with pytest.raises(InputError) as caught:
            partitioned.best_response(file, reward_caps=True, chunk=100, out=out)
        assert str(caught.value).startswith(f"clients{suffix}, row {row} (client 'client-523')")
        assert words in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


def test_texts_and_flags_are_no_prices(frame: pd.DataFrame, tmp_path: Path) -> None:
    file = tmp_path / "clients.parquet"
    for value, shown in (("much", "'much'"), (True, "True")):
        frame.assign(training_price=value).to_parquet(file)
        with pytest.raises(InputError, match=f"row 0 .*'training_price': the value {shown} must be a finite number"):
            partitioned.best_response(file)


def test_missing_columns_are_named(file: Path, frame: pd.DataFrame) -> None:
    frame.drop(columns=["training_price", "mining_cap"]).to_parquet(file)
    with pytest.raises(InputError, match="no column 'training_price'; add it, or give training_price for all clients"):
        partitioned.best_response(file)
    with pytest.raises(InputError, match="no column 'mining_cap'; add it"):
        partitioned.equilibrium(file)
    frame.drop(columns="training_cycles").to_parquet(file)
    with pytest.raises(InputError, match=r"clients.parquet: missing column 'training_cycles'"):
        partitioned.best_response(file)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"deadline": -1.0}, "deadline: -1.0 must be greater than 0"),
        ({"mining_cycles": math.nan}, "mining_cycles: nan must be finite"),
        ({"training_price": -1.0}, "training_price: the value -1.0 must be a finite number, at least 0"),
        ({"training_price": "x"}, "training_price: the value 'x' must be a finite number, at least 0"),
        ({"training_price": math.inf}, "training_price: the value inf must be a finite number, at least 0"),
        ({"training_cap": 3.0}, "training_cap and mining_cap belong to reward_caps=True"),
        ({"solver": "ipop"}, "unknown solver 'ipop': did you mean 'ipopt'"),
        ({"chunk": 0}, "chunk: 0 is no number of rows"),
        ({"executor": "procesess"}, "unknown executor 'procesess'"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], words: str, file: Path) -> None:
    with pytest.raises(InputError, match=words):
        partitioned.best_response(file, **{**PRICES, **arguments})


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"deadlines": "own"}, "unknown deadlines 'own'"),
        ({"payment_budget": -1.0}, "payment_budget: -1.0 must be a finite number, greater than 0"),
        ({"payment_budget": 5.0, "reward_caps": True}, 'payment_budget with reward_caps needs deadlines="chosen"'),
        ({"solver": "ipopt", "deadlines": "chosen"}, "solver 'ipopt' answers Problem 2 as printed"),
        ({"performance": "lag"}, "did you mean 'log'"),
        ({"cost_weight": 0.0}, "cost_weight: 0.0 must be greater than 0"),
        ({"training_cap": -1.0}, "training_cap: the value -1.0 must be a number, at least 0"),
        ({"reservation_utility": None}, "no column 'reservation_utility'"),
        ({"reservation_utility": math.inf}, "reservation_utility: the value inf must be a finite number"),
    ],
)
def test_bad_arguments_of_the_equilibrium(arguments: dict[str, Any], words: str, file: Path) -> None:
    with pytest.raises(InputError, match=words):
        partitioned.equilibrium(file, **{**CAPS, **arguments})


# ---------------------------------------------------------------------- ids


def write(ids: list[Any], path: Path, rows: int) -> None:
    table = pd.DataFrame({"client": ids, "mu": 10.0, "rho": 0.01})
    table.to_parquet(path, row_group_size=rows)


@pytest.mark.parametrize("executor", [None, 2])
def test_an_id_that_appears_in_two_chunks_is_found(executor: Any, tmp_path: Path) -> None:
    ids = [f"c{k * 7919 % 5000:04d}" for k in range(5000)]
    file = tmp_path / "clients.parquet"
    write(ids, file, 1000)
    assert partitioned.best_response(file, **PRICES, chunk=500, executor=executor).clients == 5000
    ids[4321] = ids[17]
    write(ids, file, 1000)
    words = (
        f"clients.parquet, row 4321, column 'client': id '{ids[17]}' appears twice, first in clients.parquet, row 17;"
    )
    with pytest.raises(InputError, match=words):
        partitioned.best_response(file, **PRICES, chunk=500, executor=executor, out=tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["clients.parquet"]
    answer = partitioned.best_response(file, **PRICES, chunk=500, executor=executor, check_ids=False)
    assert answer.clients == 5000, "by the user's word"


def test_numbers_and_bits_that_clash_by_chance_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "clients.parquet"
    ids = list(np.random.default_rng(0).permutation(300))
    write(ids, file, 50)
    monkeypatch.setattr(source, "_hashes", lambda index: index.to_numpy().astype(np.uint64) % 7)
    assert partitioned.best_response(file, **PRICES).clients == 300
    ids[200] = ids[100]
    write(ids, file, 50)
    with pytest.raises(InputError, match=f"row 200, column 'client': id {ids[100]} appears twice, first in .*row 100;"):
        partitioned.best_response(file, **PRICES)


def test_ids_in_order_are_not_read_again(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "check_unique", lambda *_: pytest.fail("read again"))
    assert partitioned.best_response(file, **PRICES, chunk=100).succeeded


def test_what_ranges_prove() -> None:
    def ranges(*pairs: tuple[Any, Any], ascending: bool = True) -> list[IdRange]:
        return [IdRange(first, last, ascending) for first, last in pairs]

    assert surely_unique(ranges((1, 3), (4, 4), (7, 9)))
    assert surely_unique(ranges((4, 9), (1, 3))), "in any order of the parts"
    assert not surely_unique(ranges((1, 4), (4, 5)))
    assert not surely_unique(ranges((1, 9), (2, 3)))
    assert not surely_unique(ranges((1, 2), ("a", "b"))), "they cannot be compared"
    assert not surely_unique(ranges((1, 2), (3, 4), ascending=False))
    assert surely_unique(ranges((2, 1), ascending=False)), "one chunk is checked as a whole"
    assert IdRange.of(pd.Index(["b", "a"])) == IdRange("b", "a", False)


# ---------------------------------------------------------------------- disks, memory, processes


def test_a_disk_that_fills_up_leaves_nothing_behind(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(pq.ParquetWriter):
        def write_table(self, table: pa.Table, *given: Any, **options: Any) -> None:
            if self.written:
                raise OSError(errno.ENOSPC, "No space left on device")
            self.written = True
            super().write_table(table, *given, **options)

        written = False

    monkeypatch.setattr(target.pq, "ParquetWriter", Full)
    for out in (tmp_path / "out.parquet", tmp_path / "out"):
        with pytest.raises(InputError, match="cannot be written: No space left on device; nothing was left there"):
            partitioned.best_response(file, **PRICES, chunk=100, out=out)
    assert [path.name for path in tmp_path.iterdir()] == ["clients.parquet"]


def test_a_population_larger_than_memory_is_refused_with_the_estimate(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table_parts, "available_memory", lambda: 50_000)
    with pytest.raises(InputError) as caught:
        bo.Population.read(file)
    assert "clients.parquet: its 700 clients need about" in str(caught.value)
    assert "50 kB are available; work through it in parts" in str(caught.value)
    assert partitioned.best_response(file, **PRICES).clients == 700
    monkeypatch.setattr(table_parts, "available_memory", lambda: None)
    assert len(bo.Population.read(file)) == 700, "where nobody tells, nothing is refused"


def test_equal_values_do_not_hide_the_size_of_a_table(tmp_path: Path) -> None:
    """They are stored once, and take their full size in memory."""
    table = pd.DataFrame({"client": np.arange(100_000), "mu": 10.0, "rho": 0.01})
    table.to_parquet(tmp_path / "clients.parquet")
    needed = table_parts.memory_of(pq.read_metadata(tmp_path / "clients.parquet"))
    assert needed >= 2 * 3 * 8 * 100_000 + 2 * 3 * 8 * 100_000 > 5 * os.path.getsize(tmp_path / "clients.parquet")


LIMITED = """
import resource, sys
import numpy, pandas, pyarrow.parquet
import bcfl_opt as bo
bo.Population.sample()
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 40_000_000,) * 2)
try:
    bo.Population.read(sys.argv[1])
except bo.InputError as error:
    print(error)
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the limit is set from what Linux says is used")
def test_a_limit_of_the_process_counts(tmp_path: Path) -> None:
    write(list(range(400_000)), tmp_path / "clients.parquet", 400_000)
    command = [sys.executable, "-P", "-c", LIMITED, str(tmp_path / "clients.parquet")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "its 400,000 clients need about 68 MB of memory and 40 MB are available" in done.stdout


MEASURED = """
import sys
from bcfl_opt import partitioned
answer = partitioned.best_response(
    sys.argv[1], training_price=0.05, mining_price=0.05, chunk=20_000, out=sys.argv[2], overwrite=True
)
peak = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(answer.clients, peak)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read from what Linux says")
def test_memory_does_not_grow_with_the_population(tmp_path: Path) -> None:
    """Half a million clients more in one row group: their table alone would take 20 MB, their answers 50 MB."""
    peaks = []
    for clients in (150_000, 650_000):
        rng = np.random.default_rng(clients)
        columns = {
            "client": np.char.add("c", np.arange(10**6, 10**6 + clients).astype(str)),
            "mu": rng.uniform(1, 10, clients),
            "rho": rng.uniform(0.01, 0.02, clients),
        }
        pd.DataFrame(columns).to_parquet(tmp_path / "clients.parquet", row_group_size=clients)
        command = [sys.executable, "-P", "-c", MEASURED, "clients.parquet", "out.parquet"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        count, peak = done.stdout.split()
        assert int(count) == clients
        peaks.append(int(peak) / 1e3)
    assert peaks[1] - peaks[0] < 15.0, f"MB: {peaks}"


# ---------------------------------------------------------------------- the command


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["respond", *(str(argument) for argument in arguments)])


OPTIONS = ["--training-price", "0.05", "--mining-price", "0.05"]


def test_the_command_writes_the_table_and_prints_the_sums(file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.parquet"
    result = invoke(file, "--out", out, *OPTIONS, "--deadline", 14, "--mining-cycles", 4, "--chunk", 90)
    assert result.exit_code == 0, result.output
    single = partitioned.best_response(file, **PRICES, deadline=14.0, mining_cycles=4.0)
    assert f"{single.recruited} of 700 recruited" in result.stdout and f"{single.objective:.10g}" in result.stdout
    assert read(out)["recruited"].sum() == single.recruited
    result = invoke(file, *OPTIONS, "--deadline", 14, "--mining-cycles", 4, "--json")
    document = json.loads(result.stdout)
    assert document["command"] == "respond" and document["objective"] == pytest.approx(single.objective, rel=1e-14)
    assert document["clients"] == 700 and document["certificate"]["holds"] is True and document["status"] == "SOLVED"
    result = invoke(file, "--out", out, *OPTIONS, "--reward-caps", "--mining-cap", 4, "--force")
    assert result.exit_code == 0, result.output
    assert read(out)["mining_reward"].max() <= 4.0


def test_the_command_refuses_in_one_line(file: Path, tmp_path: Path) -> None:
    for arguments, words in (
        ([tmp_path / "absent.parquet", *OPTIONS], "error: absent.parquet: no such file"),
        (
            [file, "--out", file, *OPTIONS],
            "is there already; name another file, or overwrite it (overwrite=True, --force)",
        ),
        ([file, "--deadline", "-1", *OPTIONS], "error: deadline: -1.0 must be greater than 0"),
        ([file, *OPTIONS, "--training-cap", "1"], "belong to reward_caps=True"),
    ):
        result = invoke(*arguments)
        assert result.exit_code == 2 and result.stdout == ""
        (line,) = result.stderr.splitlines()
        assert words in line


def test_the_command_without_an_answer_exits_with_1(file: Path) -> None:
    result = invoke(file, *OPTIONS, "--deadline", 0.1)
    assert result.exit_code == 1 and "no client can take part" in result.stdout


def test_the_real_command_in_a_pipe(file: Path, tmp_path: Path) -> None:
    command = [COMMAND, "respond", str(file), "--out", str(tmp_path / "out.parquet"), *OPTIONS]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == ""
    assert "700 recruited" in done.stdout and "\x1b" not in done.stdout
