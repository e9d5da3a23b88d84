"""Populations in parts: full disks, little memory, and the command ``bcfl-opt respond``."""

from __future__ import annotations

import errno
import json
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
from partitioned_clients import PRICES, read, some_clients, write, written
from typer.testing import CliRunner, Result

import bcfl_opt as bo
from bcfl_opt import partitioned, table_parts
from bcfl_opt.cli import app
from bcfl_opt.errors import InputError
from bcfl_opt.parts import target

COMMAND = str(Path(sysconfig.get_path("scripts")) / "bcfl-opt")


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return some_clients()


@pytest.fixture
def file(frame: pd.DataFrame, tmp_path: Path) -> Path:
    return written(frame, tmp_path)


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
    assert "its 400,000 clients need about 67 MB of memory and 40 MB are available" in done.stdout


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
