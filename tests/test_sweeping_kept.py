"""Sweeps in processes and directories: the same numbers whoever computes them, and what is killed goes on."""

from __future__ import annotations

import errno
import functools
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import xarray as xr

import bcfl_opt as bo
from bcfl_opt import distributions, progress, sweeping
from bcfl_opt.errors import BcflOptError, InputError
from bcfl_opt.executors import WorkerLostError
from bcfl_opt.models import problem1_pyomo
from bcfl_opt.sweeps import checkpoints, fingerprints

DEADLINES = [12.0, 15.0, 20.0]


@pytest.fixture(scope="module")
def small() -> bo.Game:
    frame = pd.DataFrame({"client": ["a", "b"], "mu": [10.0, 5.0], "rho": [0.01, 0.02]})
    return bo.Game(bo.Population(frame), target=8.0)


def deadline_of(game: bo.Game) -> float:
    return game.deadline


# ---------------------------------------------------------------------- processes


def identical(one: xr.Dataset, other: xr.Dataset) -> bool:
    return one.identical(other) and all(one[name].dtype == other[name].dtype for name in one.variables)


@pytest.mark.parametrize("executor", [2, "sequential"])
def test_processes_find_the_same_numbers_to_the_last_bit(executor: Any, small: bo.Game) -> None:
    grid = {"training_price": np.linspace(0.0, 0.06, 9), "mining_price": [0.05, 0.06]}
    here = bo.sweep(problem1_pyomo.build, grid, game=small)
    there = bo.sweep(problem1_pyomo.build, grid, game=small, executor=executor)
    assert identical(here, there)
    assert 0 < int(here["succeeded"].sum()) < 18


def test_functions_of_a_notebook_reach_the_processes(small: bo.Game) -> None:
    offset = 3.0

    def own(game: bo.Game, k: int) -> float:
        if k == 1:
            raise RuntimeError("not one")
        return game.deadline + offset + k

    grid = {"k": [0, 1, 2], "performance": {"f": lambda x: x, "g": "log"}, "deadline": DEADLINES}
    assert identical(bo.sweep(own, grid, game=small), bo.sweep(own, grid, game=small, executor=2))


def test_a_worker_has_one_thread_and_gets_the_population_once(small: bo.Game) -> None:
    def look(game: bo.Game, k: int) -> dict[str, Any]:
        import threadpoolctl

        # Attributes of the process: is the game's population the object that the cell before saw?
        seen = getattr(threadpoolctl, "population_seen", None)
        threadpoolctl.population_seen = game.population
        return {
            "threads": max(library["num_threads"] for library in threadpoolctl.threadpool_info()),
            "variable": os.environ.get("OPENBLAS_NUM_THREADS", ""),
            "process": os.getpid(),
            "new": seen is not None and seen is not game.population,
            "read_only": not game.population.training_cycles.flags.writeable,
        }

    answer = bo.sweep(look, {"k": list(range(12))}, game=small, executor=2, chunk=1)
    assert answer["succeeded"].all(), answer["message"].values
    assert set(answer["threads"].values.tolist()) == {1} and set(answer["variable"].values.tolist()) == {"1"}
    assert os.getpid() not in answer["process"].values
    assert not answer["new"].any() and answer["read_only"].all()


def test_a_worker_that_dies_leaves_what_was_finished(small: bo.Game, tmp_path: Path) -> None:
    def deadly(game: bo.Game, k: int) -> int:
        if k == 15 and not os.environ.get("SPARED"):
            time.sleep(1.0)
            os._exit(1)
        return k

    grid = {"k": list(range(20))}
    with pytest.raises(WorkerLostError, match="a worker process died"):
        bo.sweep(deadly, grid, game=small, executor=2, chunk=1, out=tmp_path / "sweep")
    assert 10 <= len(list((tmp_path / "sweep").glob("chunk-*.parquet"))) < 20


# ---------------------------------------------------------------------- kept in a directory


def test_what_is_kept_is_read_back_and_nothing_is_computed_twice(small: bo.Game, tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    calls.touch()

    def counted(game: bo.Game, k: int) -> bo.Solution:
        with calls.open("a") as file:
            file.write(f"{k}\n")
        if k == 3:
            raise ValueError("three")
        return bo.equilibrium(game)

    grid = {"k": list(range(7)), "deadline": [0.1, 15.0]}
    out = tmp_path / "deep" / "sweep"
    fresh = bo.sweep(counted, grid, game=small, chunk=3)
    calls.write_text("")
    first = bo.sweep(counted, grid, game=small, chunk=3, out=out)
    assert identical(first, fresh)
    assert len(calls.read_text().split()) == 14
    assert sorted(file.name for file in out.iterdir()) == [*(f"chunk-{k:06d}.parquet" for k in range(5)), "sweep.json"]
    again = bo.sweep(counted, grid, game=small, chunk=3, out=out)
    assert identical(again, fresh) and len(calls.read_text().split()) == 14

    (out / "chunk-000001.parquet").unlink()
    damaged = out / "chunk-000003.parquet"
    damaged.write_bytes(damaged.read_bytes()[:100])
    (out / "chunk-000004.parquet").write_bytes((out / "chunk-000000.parquet").read_bytes())
    third = bo.sweep(counted, grid, game=small, chunk=3, out=out, executor=2)
    assert identical(third, fresh) and len(calls.read_text().split()) == 14 + 3 + 3 + 2

    bo.sweep(counted, grid, game=small, chunk=3, out=out, resume=False)
    assert len(calls.read_text().split()) == 22 + 14


def test_another_sweep_is_not_mixed_in(small: bo.Game, tmp_path: Path) -> None:
    def first(game: bo.Game) -> float:
        return game.deadline

    def second(game: bo.Game) -> float:
        return game.deadline + 1

    out = tmp_path / "sweep"
    arguments: dict[str, Any] = {"grid": {"deadline": DEADLINES}, "game": small, "out": out}
    bo.sweep(first, **arguments)
    for change, words in (
        ({"grid": {"deadline": [12.0, 15.0, 21.0]}}, "its grid deadline is .*20.* here .*21"),
        ({"game": small.replace(target=9.0)}, "its game target is 8.0, here 9.0"),
        ({"chunk": 2}, "its chunk is 1, here 2"),
        ({"warm_start": False}, "its warm_start is true, here false"),
    ):
        with pytest.raises(InputError, match=f"holds another sweep.*{words}"):
            bo.sweep(first, **{**arguments, **change})
    with pytest.raises(InputError, match=r"holds another sweep \(its function"):
        bo.sweep(second, **arguments)
    assert bo.sweep(second, **arguments, resume=False)["second"].values.tolist() == [13.0, 16.0, 21.0]


def test_other_versions_compute_anew(small: bo.Game, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bo.sweep(bo.equilibrium, {"deadline": DEADLINES}, game=small, out=tmp_path / "sweep")
    monkeypatch.setattr(sweeping, "versions", lambda: {**distributions.versions(), "numpy": "1.0"})
    with pytest.raises(InputError, match=r'its versions numpy is "2.*", here "1.0"'):
        bo.sweep(bo.equilibrium, {"deadline": DEADLINES}, game=small, out=tmp_path / "sweep")


def test_directories_that_hold_something_else(small: bo.Game, tmp_path: Path) -> None:
    def run(out: Path, **more: Any) -> None:
        bo.sweep(deadline_of, {"deadline": [1.0]}, game=small, out=out, **more)

    full = tmp_path / "full"
    full.mkdir()
    (full / "notes.txt").write_text("mine")
    for more in ({}, {"resume": False}):
        with pytest.raises(InputError, match="is not empty and holds no sweep"):
            run(full, **more)
    assert (full / "notes.txt").read_text() == "mine"
    with pytest.raises(BcflOptError, match=r"cannot be written: (File exists|Not a directory)"):
        run(full / "notes.txt")
    (full / checkpoints.MANIFEST).write_text("{broken")
    with pytest.raises(InputError, match="cannot be read"):
        run(full)
    (full / checkpoints.MANIFEST).write_text("[]")
    with pytest.raises(InputError, match="is no manifest"):
        run(full)


def test_a_disk_that_fills_up_keeps_what_was_written(
    small: bo.Game, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, written = Path.write_bytes, []

    def until_full(path: Path, content: Any) -> int:
        if len(written) == 3:  # the manifest and two chunks
            write(path, b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(path)
        return write(path, content)

    monkeypatch.setattr(Path, "write_bytes", until_full)
    out = tmp_path / "sweep"
    with pytest.raises(
        BcflOptError, match="cannot be written: No space left on device; the 2 chunks that were written are"
    ):
        bo.sweep(deadline_of, {"deadline": DEADLINES}, game=small, out=out)
    assert sorted(file.name for file in out.iterdir()) == ["chunk-000000.parquet", "chunk-000001.parquet", "sweep.json"]
    monkeypatch.undo()
    assert (
        bo.sweep(deadline_of, {"deadline": DEADLINES}, game=small, out=out)["deadline_of"].values.tolist() == DEADLINES
    )


KILLED = """
import sys, time
import bcfl_opt as bo
from pathlib import Path

def slow(game, k):
    with open(sys.argv[2], "a") as file:
        file.write(f"{k}\\n")
    time.sleep(0.02)
    return {"utility": bo.equilibrium(game).objective, "k_again": k}

if __name__ == "__main__":
    game = bo.Game(bo.Population.random(5, seed=0))
    answer = bo.sweep(slow, {"k": list(range(40)), "deadline": [14.0, 15.0]}, game=game, chunk=4, out=sys.argv[1])
    print(answer["k_again"].values.sum(), answer["utility"].values.sum().hex(), answer["succeeded"].values.all())
"""


def test_kill_9_loses_at_most_one_chunk(tmp_path: Path) -> None:
    script, out, calls = tmp_path / "script.py", tmp_path / "sweep", tmp_path / "calls"
    script.write_text(KILLED)
    command = [sys.executable, "-P", str(script), str(out), str(calls)]
    process = subprocess.Popen(command, cwd=tmp_path)
    patience = time.monotonic() + 60.0
    while len(list(out.glob("chunk-*.parquet"))) < 5:
        assert process.poll() is None and time.monotonic() < patience
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = calls.read_text().splitlines()
    assert 5 * 4 <= len(before) < 80
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(calls.read_text().splitlines()) - 80 <= 4, "cells computed twice"
    crowd = bo.Population.random(5, seed=0)
    whole = bo.sweep(bo.equilibrium, {"seed": list(range(40)), "deadline": [14.0, 15.0]}, population=crowd)
    assert done.stdout.split() == [str(780 * 2), float(whole["objective"].values.sum()).hex(), "True"]
    assert done.stderr == "", "no bar in a pipe"


# ---------------------------------------------------------------------- what makes two sweeps the same


def same(one: Any, other: Any) -> bool:
    return fingerprints.describe(one, "x") == fingerprints.describe(other, "x")


def power(exponent: float) -> Callable[[bo.Game], float]:
    def raised(game: bo.Game) -> float:
        return game.deadline**exponent

    return raised


FACTOR = 2.0


def scaled(game: bo.Game) -> float:
    return FACTOR * deadline_of(game)


def test_functions_are_told_apart_by_what_they_do(monkeypatch: pytest.MonkeyPatch) -> None:
    assert same(power(2.0), power(2.0)) and not same(power(2.0), power(3.0))
    assert not same(lambda game: 1, lambda game: 2)
    assert not same(lambda game, x=1: x, lambda game, x=2: x)
    assert same(functools.partial(power, 2.0), functools.partial(power, 2.0))
    assert not same(functools.partial(power, 2.0), functools.partial(power, 3.0))
    before = fingerprints.describe(scaled, "x")
    monkeypatch.setitem(globals(), "FACTOR", 3.0)
    assert fingerprints.describe(scaled, "x") != before, "a number of the same module that it uses"
    monkeypatch.undo()
    monkeypatch.setitem(globals(), "deadline_of", power(1.0))
    assert fingerprints.describe(scaled, "x") != before, "a function of the same module that it uses"


def test_data_are_told_apart_to_the_last_bit(small: bo.Game) -> None:
    frame = small.population.frame
    assert same(small, bo.Game(bo.Population(frame), target=8.0))
    changed = frame.assign(training_cycles=np.nextafter(frame["training_cycles"], 99.0))
    assert not same(small, small.replace(population=bo.Population(changed)))
    assert not same(small, small.replace(population=bo.Population(frame.rename(index={"a": "c"}))))
    assert not same(np.arange(3), np.arange(3.0)) and not same(np.arange(4), np.arange(4).reshape(2, 2))
    assert not same(1.0, math.nextafter(1.0, 2.0)) and same(float("nan"), float("nan"))
    assert same({"a": [1, {2, 3}]}, {"a": [1, {3, 2}]}) and not same([1, 2], [2, 1])
    assert same(bo.Status.SOLVED, bo.Status.SOLVED) and not same(bo.Status.SOLVED, bo.Status.UNKNOWN)


def test_what_cannot_be_told_apart_is_refused_where_results_are_kept(small: bo.Game, tmp_path: Path) -> None:
    class Thing:
        pass

    grid = {"k": {"thing": Thing()}}
    assert bo.sweep(lambda game, k: 1, grid, game=small)["value"].values.tolist() == [1]
    with pytest.raises(
        InputError, match="k: nobody can tell whether an object of type Thing is the same the next time"
    ):
        bo.sweep(lambda game, k: 1, grid, game=small, out=tmp_path / "sweep")
    assert not (tmp_path / "sweep").exists()


# ---------------------------------------------------------------------- progress


@pytest.fixture
def no_delay(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(progress, "DELAY", 0.0)
    yield


def test_a_bar_only_where_somebody_looks(
    small: bo.Game, no_delay: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(game: bo.Game) -> int:
        time.sleep(0.1)
        return 1

    bo.sweep(slow, {"deadline": DEADLINES}, game=small)
    assert capsys.readouterr() == ("", "")
    bo.sweep(slow, {"deadline": DEADLINES}, game=small, progress=True)
    printed = capsys.readouterr()
    assert printed.out == "" and "sweep of slow" in printed.err and "3/3" in printed.err
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    bo.sweep(slow, {"deadline": DEADLINES}, game=small)
    assert "sweep of slow" in capsys.readouterr().err
    bo.sweep(slow, {"deadline": DEADLINES}, game=small, progress=False)
    assert capsys.readouterr() == ("", "")


def test_no_bar_for_what_takes_less_than_a_second(small: bo.Game, capsys: pytest.CaptureFixture[str]) -> None:
    bo.sweep(deadline_of, {"deadline": DEADLINES}, game=small, progress=True)
    assert capsys.readouterr() == ("", "")


def test_chunk_files_are_plain_parquet(small: bo.Game, tmp_path: Path) -> None:
    bo.sweep(bo.equilibrium, {"deadline": DEADLINES}, game=small, out=tmp_path / "sweep", chunk=3)
    (file,) = (tmp_path / "sweep").glob("*.parquet")
    frame = pq.read_table(file).to_pandas()
    assert frame["cell"].tolist() == [0, 1, 2] and frame["status"].tolist() == ["solved"] * 3
    assert frame["label:client"].iloc[0].tolist() == ["a", "b"]
