"""Populations: what goes in comes out, and what cannot be used gives one error that names the place and the value."""

from __future__ import annotations

import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bcfl_opt import InputError, Population

INF = float("inf")


def table(**columns: Any) -> pd.DataFrame:
    frame = pd.DataFrame({"client": ["a", "b", "c"], "mu": [1.0, 2.0, 3.0], "rho": [0.01, 0.02, 0.03]})
    return frame.assign(**columns)


def with_cell(column: str, value: Any) -> pd.DataFrame:
    """The good table with one cell of client "b" replaced."""
    frame = table(q=[1.0, 2.0, 3.0]).astype(object)
    frame[column] = pd.Series([frame[column].iloc[0], value, frame[column].iloc[2]], dtype=object)
    return frame


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


# ---------------------------------------------------------------------- what goes in comes out


def test_symbols_and_full_names_mean_the_same() -> None:
    symbols = Population(table(q=[1.0, 2.0, INF]))
    names = Population(
        pd.DataFrame(
            {"training_cycles": [1, 2, 3], "energy_coefficient": [0.01, 0.02, 0.03], "max_speed": [1, 2, INF]},
            index=pd.Index(["a", "b", "c"]),
        )
    )
    pd.testing.assert_frame_equal(symbols.frame, names.frame)
    assert list(symbols.frame.columns) == ["training_cycles", "energy_coefficient", "max_speed"]
    assert symbols.frame.index.name == "client"
    assert symbols.training_cycles.tolist() == [1, 2, 3]
    assert symbols.energy_coefficient.tolist() == [0.01, 0.02, 0.03]
    assert symbols.max_speed.tolist() == [1, 2, INF]
    assert len(symbols) == 3 and list(symbols.ids) == ["a", "b", "c"]


def test_spaces_around_column_names_do_not_matter() -> None:
    assert Population(table().rename(columns={"mu": " mu "})).training_cycles.tolist() == [1, 2, 3]


@pytest.mark.parametrize("names", [("pi", "d", "D"), ("iterations", "cycles_per_sample", "data_size")])
def test_training_cycles_are_the_product_of_their_factors(names: tuple[str, str, str]) -> None:
    factors = dict(zip(names, ([5, 4, 3], [0.01, 0.02, 0.03], [200, 150, 100]), strict=True))
    people = Population(table(**factors).drop(columns="mu"))
    assert people.training_cycles.tolist() == pytest.approx([10.0, 12.0, 9.0])
    assert {"iterations", "cycles_per_sample", "data_size"} <= set(people.frame.columns)


def test_no_speed_column_means_no_limits() -> None:
    people = Population(table())
    assert (people.max_speed == INF).all() and "no speed limits" in repr(people)


def test_other_columns_are_kept_untouched() -> None:
    people = Population(table(model=["x", "y", "z"], year=[2018, 2019, 2020]))
    assert people.frame["model"].tolist() == ["x", "y", "z"]
    assert people.frame["year"].tolist() == [2018, 2019, 2020]


def test_ids_may_be_numbers_text_or_both() -> None:
    assert list(Population(table(client=[3, "3", 7.5])).ids) == [3, "3", 7.5]
    assert list(Population(table().drop(columns="client")).ids) == [0, 1, 2]
    assert list(Population(table(client=[(1, 2), (1, 3), (2, 1)])).ids) == [(1, 2), (1, 3), (2, 1)]


@pytest.mark.parametrize(
    "dtype", ["int8", "uint16", "float32", "Int64", "Float64", "str", "string", "object", "category"]
)
def test_numbers_are_read_from_any_dtype(dtype: str) -> None:
    frame = table()
    frame["mu"] = pd.Series([1, 2, 3]).astype(dtype)
    assert Population(frame).training_cycles.tolist() == [1.0, 2.0, 3.0]


@pytest.mark.parametrize("cell", [" 2 ", "2e0", Decimal("2"), np.float32(2), np.int16(2)])
def test_a_number_is_a_number_in_an_object_column(cell: Any) -> None:
    assert Population(with_cell("mu", cell)).training_cycles[1] == 2.0


def test_the_row_count_of_select_and_its_order() -> None:
    people = Population(table(q=[1.0, 2.0, 3.0]))
    part = people.select(["c", "a"])
    assert list(part.ids) == ["c", "a"] and part.max_speed.tolist() == [3.0, 1.0]
    with pytest.raises(InputError, match="no client 'z'"):
        people.select(["a", "z"])
    with pytest.raises(InputError, match="the table is empty"):
        people.select([])


# ---------------------------------------------------------------------- nothing can be changed afterwards


def test_a_population_cannot_be_changed() -> None:
    frame = table(q=[1.0, 2.0, 3.0])
    people = Population(frame)
    frame.loc[0, "mu"] = 99.0
    copy = people.frame
    copy.loc["a", "training_cycles"] = 99.0
    assert people.training_cycles[0] == people.frame.loc["a", "training_cycles"] == 1.0
    for array in (people.training_cycles, people.energy_coefficient, people.max_speed):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 99.0
    with pytest.raises(AttributeError):
        people.training_cycles = np.ones(3)


# ---------------------------------------------------------------------- files


def test_csv_and_parquet_hold_the_same_population(tmp_path: Path) -> None:
    frame = table(client=["007", "NA", "1e5"], q=[1.0, INF, 3.0], note=["x", "y", "z"])
    frame.to_csv(tmp_path / "clients.csv", index=False)
    frame.to_parquet(tmp_path / "clients.parquet")
    frame.set_index("client").to_parquet(tmp_path / "index.parquet")
    expected = Population(frame).frame
    for name in ("clients.csv", "clients.parquet", "index.parquet"):
        people = Population.read(tmp_path / name)
        pd.testing.assert_frame_equal(people.frame, expected)
        assert people.source == name
    pd.testing.assert_frame_equal(Population.read(str(tmp_path / "clients.csv")).frame, expected)


def test_a_population_survives_a_round_trip_through_csv(tmp_path: Path) -> None:
    people = Population.random(20, seed=5, speed_limits=True)
    people.frame.to_csv(tmp_path / "again.csv")
    pd.testing.assert_frame_equal(Population.read(tmp_path / "again.csv").frame, people.frame)


@pytest.mark.parametrize(
    "text",
    [
        "client,mu,rho\n007,1,0.01\nNA,2,0.02\n",
        "\ufeffclient,mu,rho\n007,1,0.01\nNA,2,0.02\n",  # what a spreadsheet calls CSV UTF-8
        " client , mu , rho \n007,1,0.01\nNA,2,0.02\n",
        "client,mu,rho,\n007,1,0.01,\nNA,2,0.02,\n",  # a comma at the end of every line
        "client,mu,rho\n007,1,0.01,\nNA,2,0.02,\n",
        "client,mu,rho\n007,1,0.01\nNA,2,0.02\n\n\n",
        "client,mu,rho\n007,1,0.01\nNA,2,0.02\n,,\n",
        'client,mu,rho\r\n"007",1,0.01\r\n"NA","2",0.02',
    ],
)
def test_csv_as_people_write_it(text: str, tmp_path: Path) -> None:
    people = Population.read(write(tmp_path / "clients.csv", text))
    assert list(people.ids) == ["007", "NA"]
    assert people.training_cycles.tolist() == [1, 2] and people.energy_coefficient.tolist() == [0.01, 0.02]


def test_the_suffix_may_be_upper_case(tmp_path: Path) -> None:
    assert len(Population.read(write(tmp_path / "CLIENTS.CSV", "mu,rho\n1,0.01\n"))) == 1


# ---------------------------------------------------------------------- one bad cell

#: column, value, what the message says of it
BAD_CELLS = [
    ("mu", np.nan, "the value is missing"),
    ("mu", None, "the value is missing"),
    ("mu", pd.NA, "the value is missing"),
    ("rho", INF, "inf must be finite"),
    ("rho", -INF, "-inf must be finite"),
    ("mu", 0, "0 must be greater than 0"),
    ("mu", -0.0, "-0.0 must be greater than 0"),
    ("rho", -1.5, "-1.5 must be greater than 0"),
    ("q", 0.0, "0.0 must be greater than 0"),
    ("q", -INF, "-inf must be finite"),
    ("q", np.nan, "the value is missing; write inf for no limit"),
    ("mu", "ten", "'ten' is not a number"),
    ("mu", "", "'' is not a number"),
    ("mu", "1,5", "'1,5' is not a number"),
    ("mu", "nan", "'nan' is not a number"),
    ("mu", "-3", "-3 must be greater than 0"),
    ("mu", "1e999", "1e999 must be finite"),
    ("mu", True, "True is not a number"),
    ("mu", np.True_, "True is not a number"),
    ("mu", 1 + 2j, "(1+2j) is not a number"),
    ("mu", b"5", "b'5' is not a number"),
    ("mu", [1, 2], "[1, 2] is not a number"),
    ("mu", 10**400, "must be finite"),
    ("mu", -(10**400), "must be finite"),
    ("mu", datetime.date(2020, 1, 2), "datetime.date(2020, 1, 2) is not a number"),
    ("mu", pd.Timestamp("2020-01-02"), "Timestamp('2020-01-02 00:00:00') is not a number"),
]
FULL_NAMES = {"mu": "training_cycles", "rho": "energy_coefficient", "q": "max_speed"}


@pytest.mark.parametrize(("column", "value", "problem"), BAD_CELLS)
def test_a_bad_cell_in_a_frame_is_named(column: str, value: Any, problem: str) -> None:
    with pytest.raises(InputError) as caught:
        Population(with_cell(column, value), source="clients")
    text = str(caught.value)
    assert text.startswith("clients, row 1 (client 'b'), ")
    assert f"column {FULL_NAMES[column]!r} (given as {column!r})" in text
    assert problem in text and "\n" not in text


@pytest.mark.parametrize(
    ("cell", "problem"),
    [
        ("", "is missing"),
        ("NA", "'NA' is not a number"),
        ("nan", "'nan' is not a number"),
        ("ten", "'ten' is not a number"),
        ("0x10", "'0x10' is not a number"),
        ("inf", "inf must be finite"),
        ("0", "0 must be greater than 0"),
        ("-2.5", "-2.5 must be greater than 0"),
        ("True", "'True' is not a number"),
    ],
)
def test_a_bad_cell_in_a_csv_is_named_by_its_line(cell: str, problem: str, tmp_path: Path) -> None:
    others = "True" if cell == "True" else "5"
    text = f"client,mu,rho\na,5,0.01\nb,{cell},0.01\nc,{others},0.01\n"
    if cell == "True":
        text = text.replace("a,5", "a,True")
    with pytest.raises(InputError) as caught:
        Population.read(write(tmp_path / "clients.csv", text))
    row, client = (2, "a") if cell == "True" else (3, "b")
    assert str(caught.value).startswith(f"clients.csv, row {row} (client {client!r}), column 'training_cycles'")
    assert problem in str(caught.value)


def test_a_bad_cell_in_a_parquet_is_named(tmp_path: Path) -> None:
    table(mu=[1.0, -2.0, -3.0]).to_parquet(tmp_path / "clients.parquet")
    with pytest.raises(
        InputError, match=r"clients.parquet, row 1 \(client 'b'\).*-2\.0 must.*\(1 more in this column\)"
    ):
        Population.read(tmp_path / "clients.parquet")


@pytest.mark.parametrize(
    "values",
    [
        pd.Series([True, False, True]),
        pd.Series([True, False, None], dtype="boolean"),
        pd.Series([True, False, True], dtype="category"),
        pd.Series([1 + 0j, 2, 3]),
        pd.Series(pd.date_range("2020", periods=3)),
        pd.Series(pd.to_timedelta([1, 2, 3], unit="s")),
        pd.Series(pd.period_range("2020", periods=3, freq="D")),
        pd.Series(pd.interval_range(1, 4)),
    ],
    ids=lambda values: str(values.dtype),
)
def test_a_column_that_holds_no_numbers_is_named(values: pd.Series) -> None:
    with pytest.raises(InputError, match=r"row 0 \(client 'a'\), column 'training_cycles'.*is not a number"):
        Population(table(mu=values))


def test_a_missing_nullable_number_is_named() -> None:
    with pytest.raises(InputError, match=r"row 1 \(client 'b'\).*the value is missing"):
        Population(table(mu=pd.array([1, None, 3], dtype="Int64")))


@pytest.mark.parametrize("factors", [(1e200, 1e200, 1.0), (1e-200, 1e-200, 1.0)])
def test_a_product_out_of_range_is_named(factors: tuple[float, float, float]) -> None:
    frame = pd.DataFrame([factors], columns=["pi", "d", "D"]).assign(rho=0.01)
    with pytest.raises(
        InputError, match=r"row 0 \(client 0\): iterations x cycles_per_sample x data_size = (inf|0\.0)"
    ):
        Population(frame)


def test_a_bad_factor_is_named() -> None:
    frame = table(pi=5, d=[0.1, 0.0, 0.1], D=100).drop(columns="mu")
    with pytest.raises(
        InputError, match=r"row 1 \(client 'b'\), column 'cycles_per_sample' \(given as 'd'\): the value 0"
    ):
        Population(frame)


# ---------------------------------------------------------------------- ids


@pytest.mark.parametrize(
    ("ids", "row", "problem"),
    [
        (["a", "b", "a"], 2, "id 'a' appears twice"),
        ([1, 1, 2], 1, "id 1 appears twice"),
        (pd.Categorical(["a", "b", "b"]), 2, "id 'b' appears twice"),
        (["a", None, "c"], 1, "the id is missing"),
        (["a", "  ", "c"], 1, "the id is missing"),
        ([1.0, np.nan, 2.0], 1, "the id is missing"),
        ([1, "", 2], 1, "the id is missing"),
        ([["a"], ["b"], ["c"]], 0, "cannot be an id"),
    ],
)
def test_bad_ids_are_named(ids: Any, row: int, problem: str) -> None:
    with pytest.raises(InputError) as caught:
        Population(table(client=ids))
    assert str(caught.value).startswith(f"table, row {row}, column 'client': ") and problem in str(caught.value)


@pytest.mark.parametrize(
    ("text", "row", "problem"),
    [
        ("client,mu,rho\na,1,0.01\nb,1,0.01\na,1,0.01\n", 4, "id 'a' appears twice"),
        ("client,mu,rho\na,1,0.01\n,1,0.01\n", 3, "the id is missing"),
        ("client,mu,rho\na,1,0.01\n\nb,1,0.01\n", 3, "the id is missing"),  # an empty line within the table
    ],
)
def test_bad_ids_in_a_csv_are_named(text: str, row: int, problem: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        Population.read(write(tmp_path / "c.csv", text))
    assert str(caught.value).startswith(f"c.csv, row {row}, column 'client': ") and problem in str(caught.value)


def test_two_levels_of_index_are_no_ids() -> None:
    with pytest.raises(InputError, match="the index has 2 levels"):
        Population(table().set_index(["client", "mu"]))


# ---------------------------------------------------------------------- the table as a whole


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (table().drop(columns="rho"), ["missing column 'energy_coefficient' (or 'rho')", "it has 'training_cycles'"]),
        (table().drop(columns="mu"), ["'training_cycles' (or 'mu')", "iterations, cycles_per_sample, data_size"]),
        (table(pi=5, d=1.0).drop(columns="mu"), ["'training_cycles' (or 'mu')", "'iterations', 'cycles_per_sample'"]),
        (table(training_cycles=1.0), ["'training_cycles' is given both by its full name and its symbol"]),
        (table(max_speed=1.0, q=1.0), ["'max_speed' is given both by its full name and its symbol"]),
        (pd.concat([table(), table()[["mu"]]], axis=1), ["column 'mu' appears twice"]),
        (table().iloc[:0], ["the table is empty"]),
        (pd.DataFrame(), ["the table is empty"]),
        (pd.DataFrame(np.ones((2, 2))), ["missing column", "it has 0, 1"]),
    ],
)
def test_a_bad_table_is_described(frame: pd.DataFrame, words: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        Population(frame, source="clients")
    assert str(caught.value).startswith("clients: ")
    assert all(word in str(caught.value) for word in words), caught.value


@pytest.mark.parametrize("value", [{"mu": [1.0]}, [1.0], None, "clients.csv", table()["mu"]])
def test_only_frames_make_populations(value: Any) -> None:
    with pytest.raises(InputError, match=r"pandas DataFrame or a file \(Population.read\), not "):
        Population(value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "does not name the columns"),
        ("\n\n\n", "does not name the columns"),
        ("client,mu,rho\n", "the table is empty"),
        ("client,mu,rho\n,,\n", "the table is empty"),
        ("client,mu,mu,rho\na,1,1,0.01\n", "column 'mu' appears twice"),
        ("client,mu,rho\na,1,0.01\nb,1,0.01,7\n", "row 3, column 4: the row has 4 cells, and row 1 names 3 columns"),
        ("client,mu,rho\na,1,0.01,7\nb,1,0.01,7\n", "row 2, column 4: the row has 4 cells"),
        ("client;mu;rho\na;1;0.01\n", "row 1: the cells are separated by semicolons"),
        ('client,mu,rho\n"a,1,0.01\n', "row 2: the quotation mark that opens here is not closed"),
    ],
)
def test_a_malformed_csv_is_one_error(text: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        Population.read(write(tmp_path / "clients.csv", text))
    assert str(caught.value).startswith("clients.csv") and words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("encoding", "words"),
    [
        ("utf-16", "clients.csv: is text in UTF-16, not CSV; save it as CSV UTF-8"),
        ("latin-1", "clients.csv, row 2, column 'client': byte 0xe9 is not UTF-8; save the table as CSV UTF-8"),
    ],
)
def test_another_encoding_is_one_error(encoding: str, words: str, tmp_path: Path) -> None:
    path = write(tmp_path / "clients.csv", "client,mu,rho\né,1,0.01\n", encoding)
    with pytest.raises(InputError) as caught:
        Population.read(path)
    assert str(caught.value) == words


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    for name in ("clients.txt", "clients", "clients.csv.gz"):
        with pytest.raises(InputError, match=f"{name}: a population file ends in .csv or .parquet"):
            Population.read(write(tmp_path / name, "client,mu,rho\na,1,0.01\n"))
    with pytest.raises(InputError, match=r"none\.csv: no such file"):
        Population.read(tmp_path / "none.csv")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(InputError, match=r"folder\.csv: is a folder, not a file"):
        Population.read(tmp_path / "folder.csv")
    for content in ("", "this is text"):
        with pytest.raises(InputError, match=r"clients\.parquet: is not a Parquet file"):
            Population.read(write(tmp_path / "clients.parquet", content))


# ---------------------------------------------------------------------- random and packaged populations


def test_random_populations_are_reproducible() -> None:
    first, again, other = (Population.random(30, seed=seed, speed_limits=True).frame for seed in (7, 7, 8))
    pd.testing.assert_frame_equal(first, again)
    assert not first.equals(other)
    generator = Population.random(30, seed=np.random.default_rng(7), speed_limits=True).frame
    pd.testing.assert_frame_equal(first, generator)


def test_random_populations_follow_their_description() -> None:
    people = Population.random(100_000, seed=0, speed_limits=True)
    cycles = people.training_cycles
    # 100,000 draws: the mean is known to 0.4 / sqrt(1e5) = 0.12 %, the standard deviation to about 0.4 %.
    assert cycles.mean() == pytest.approx(10.0, rel=0.006)
    assert cycles.std() == pytest.approx(10.0 * 88.9 / 226.8, rel=0.02)
    rho, speed = people.energy_coefficient, people.max_speed
    assert 0.005 <= rho.min() < 0.0051 and 0.0199 < rho.max() <= 0.02
    assert 2.0 <= speed.min() < 2.01 and 3.99 < speed.max() <= 4.0
    assert (Population.random(5, seed=0).max_speed == INF).all()
    assert list(Population.random(11, seed=0).ids[:2]) == ["client-00", "client-01"]


@pytest.mark.parametrize("n", [0, -1, 1.5, "3", None, True])
def test_random_needs_a_number_of_clients(n: Any) -> None:
    with pytest.raises(InputError, match="whole number of clients, at least 1"):
        Population.random(n)


@pytest.mark.parametrize("seed", [-1, "x", 1.5])
def test_random_needs_a_usable_seed(seed: Any) -> None:
    with pytest.raises(InputError, match="seed: "):
        Population.random(3, seed=seed)


def test_populations_describe_themselves() -> None:
    assert " ".join(repr(Population(table(q=[1.0, INF, 3.0]))).split()) == (
        "Population of 3 clients: training_cycles 1 to 3, energy_coefficient 0.01 to 0.03, max_speed 1 to 3"
    )
    assert "1 client:" in repr(Population(table()).select(["a"]))
    assert "<table" in Population(table())._repr_html_()
