"""Populations in parts: which sources are read, which targets are written, and errors that name rows of the whole file."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from partitioned_clients import CAPS, PRICES, read, some_clients, write, written

from bcfl_opt import partitioned
from bcfl_opt.errors import InputError
from bcfl_opt.parts import answers, source, totals
from bcfl_opt.parts.source import IdRange, surely_unique


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return some_clients()


@pytest.fixture
def file(frame: pd.DataFrame, tmp_path: Path) -> Path:
    return written(frame, tmp_path)


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
