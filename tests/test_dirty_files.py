"""Dirty files: every one a single clear error with file, row and column, nothing on disk, no traceback."""

from __future__ import annotations

import os
import subprocess
import sysconfig
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from dirty_files import CSV, PARQUET, TOML, Case, good_csv_files, good_frame, parquet_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import bcfl_opt as bo
from bcfl_opt.cli import app

COMMAND = str(Path(sysconfig.get_path("scripts")) / "bcfl-opt")
PRICES = ["--training-price", "0.05", "--mining-price", "0.05"]
COMMANDS = {"solve": ["solve", "--solver", "exact", *PRICES], "cross-check": ["cross-check"]}


def named(case: Case) -> str:
    return f"{case.name}{case.ending}"


def one_line(error: str, case: Case) -> None:
    assert error.isprintable(), "one line, and nothing that a terminal would obey"
    assert len(error) < 800
    for word in case.words:
        assert word in error, error


# ---------------------------------------------------------------------- the package


@pytest.mark.parametrize("case", CSV + PARQUET, ids=named)
def test_a_dirty_table_is_one_error(case: Case, tmp_path: Path) -> None:
    file = case.write(tmp_path)
    with pytest.raises(bo.InputError) as caught:
        bo.Population.read(file)
    one_line(str(caught.value), case)
    assert str(caught.value).startswith(file.name)
    assert os.listdir(tmp_path) == [file.name]


@pytest.mark.parametrize("name", dict(good_csv_files()))
def test_an_odd_table_is_no_dirty_one(name: str, tmp_path: Path) -> None:
    (tmp_path / "clients.csv").write_bytes(dict(good_csv_files())[name])
    people = bo.Population.read(tmp_path / "clients.csv")
    assert list(people.ids) == ["a", "b", "c", "d"]
    assert people.training_cycles.tolist() == [10, 5, 8, 7.5]
    assert people.energy_coefficient.tolist() == [0.01, 0.02, 0.01, 0.01]
    assert people.max_speed.tolist() == [3, 2.5, np.inf, 4]


# ---------------------------------------------------------------------- the command line


def refused_by_the_command(case: Case, arguments: list[str], folder: Path) -> None:
    before = sorted(os.listdir(folder))
    result = CliRunner().invoke(app, [*arguments, "--out", str(folder / "out")])
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    one_line(line, case)
    assert sorted(os.listdir(folder)) == before, "nothing is left behind"


@pytest.mark.parametrize("case", CSV + PARQUET, ids=named)
def test_the_command_refuses_a_dirty_table(case: Case, tmp_path: Path) -> None:
    """Both commands read tables the same way; each case goes to one of them, every second to the other."""
    command = COMMANDS["solve" if (CSV + PARQUET).index(case) % 2 else "cross-check"]
    refused_by_the_command(case, [*command, "--population", str(case.write(tmp_path))], tmp_path)


@pytest.mark.parametrize("case", TOML, ids=named)
def test_the_command_refuses_a_dirty_configuration(case: Case, tmp_path: Path) -> None:
    (tmp_path / "clients.csv").write_bytes(dict(good_csv_files())["as it is"])
    command = ["solve", "--solver", "exact"] if TOML.index(case) % 2 else ["cross-check"]
    refused_by_the_command(case, [*command, "--config", str(case.write(tmp_path))], tmp_path)


@pytest.mark.parametrize(
    "case",
    [
        case
        for case in CSV + PARQUET
        if case.name in ("escape in mu", "a NUL", "semicolons", "cut in the middle", "line break")
    ],
    ids=named,
)
def test_the_real_command_says_one_line(case: Case, tmp_path: Path) -> None:
    file = case.write(tmp_path)
    done = subprocess.run(
        [COMMAND, *COMMANDS["solve"], "--population", file.name, "--out", "out"], cwd=tmp_path, capture_output=True
    )
    assert (done.returncode, done.stdout) == (2, b"")
    one_line(done.stderr.decode().removesuffix("\n"), case)
    assert os.listdir(tmp_path) == [file.name]


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_what_is_no_file(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"clients{ending}"
    for make, words in (
        (lambda: path.mkdir(), "is a folder, not a file"),
        (lambda: (path.rmdir(), os.mkfifo(path)), "is not a regular file"),
        (lambda: (path.unlink(), path.symlink_to(tmp_path / "nowhere")), "no such file"),
        (lambda: (path.unlink(), path.symlink_to(path)), "cannot be read: Too many levels of symbolic links"),
    ):
        make()
        case = Case("", ending, b"", (words,))
        for command in COMMANDS.values():
            refused_by_the_command(case, [*command, "--population", str(path)], tmp_path)


def test_a_name_that_a_terminal_would_obey(tmp_path: Path) -> None:
    path = tmp_path / "no\n\x1b[2Jsuch.csv"
    refused_by_the_command(
        Case("", "", b"", ("no such file",)), [*COMMANDS["solve"], "--population", str(path)], tmp_path
    )


def test_a_folder_does_not_add_columns(tmp_path: Path) -> None:
    """Readers of Parquet take folders called column=value for columns."""
    folder = tmp_path / "rho=0.01"
    folder.mkdir()
    (folder / "clients.parquet").write_bytes(parquet_of(good_frame().drop(columns="rho")))
    with pytest.raises(bo.InputError, match="missing column 'energy_coefficient'"):
        bo.Population.read(folder / "clients.parquet")


def test_a_column_that_claims_to_be_of_another_type_does_not_stop_the_process(tmp_path: Path) -> None:
    """Found by changing bytes: Arrow aborts where it is asked for a column's size, unless the file is read first."""
    content = parquet_of(good_frame())
    footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    for place in range(footer, len(content) - 8):
        (tmp_path / "clients.parquet").write_bytes(content[:place] + b"\0" + content[place + 1 :])
        try:
            bo.Population.read(tmp_path / "clients.parquet")
        except bo.InputError as error:
            assert str(error).startswith("clients.parquet")


def test_bytes_that_are_no_text_are_found_where_the_file_is_read(tmp_path: Path) -> None:
    """Arrow does not look at them before they are used."""
    content = parquet_of(good_frame().assign(client=["anna", "bertha", "clara", "dora"]))
    (tmp_path / "clients.parquet").write_bytes(content.replace(b"clara", b"cl\xffra"))
    with pytest.raises(bo.InputError, match=r"clients.parquet: .*column 'client': .*UTF8"):
        bo.Population.read(tmp_path / "clients.parquet")
    with pytest.raises(bo.InputError, match=r"clients.parquet: .*UTF8"):
        bo.partitioned.best_response(tmp_path / "clients.parquet", training_price=0.1, mining_price=0.1)


def test_a_small_parquet_file_that_asks_for_all_memory_is_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A changed byte in the size of a page makes Arrow ask for 18014398509481984 bytes. A table that is large may ask."""

    def read(_: object) -> pd.DataFrame:
        raise MemoryError("malloc of size 18014398509481984 failed")

    file = tmp_path / "clients.parquet"
    file.write_bytes(parquet_of(good_frame()))
    monkeypatch.setattr(pd, "read_parquet", read)
    with pytest.raises(bo.InputError, match=r"clients.parquet: .* asks for more memory than \d+ rows take"):
        bo.Population.read(file)
    monkeypatch.setattr("bcfl_opt.tables.PLENTY", 1)
    with pytest.raises(MemoryError):
        bo.Population.read(file)


# ---------------------------------------------------------------------- whatever the bytes

GOOD = {".csv": dict(good_csv_files())["as it is"], ".parquet": parquet_of(good_frame())}


@pytest.mark.parametrize("ending", GOOD)
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_bytes_are_a_population_or_one_error(
    ending: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A good file with some bytes changed, put in or cut out."""
    content = bytearray(GOOD[ending])
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(content)))
        stop = data.draw(st.integers(start, min(start + 8, len(content))))
        content[start:stop] = data.draw(
            st.binary(max_size=8) | st.sampled_from([b",", b"\n", b'"', b"-", b"e", b"inf", b"\0"])
        )
    file = tmp_path_factory.getbasetemp() / f"changed{ending}"
    file.write_bytes(content)
    try:
        people = bo.Population.read(file)
    except bo.InputError as error:
        assert str(error).startswith(file.name) and "\n" not in str(error)
    else:
        for values in (people.training_cycles, people.energy_coefficient):
            assert np.isfinite(values).all() and (values > 0).all()
        assert (people.max_speed > 0).all() and people.ids.is_unique and people.ids.notna().all()
