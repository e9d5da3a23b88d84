"""A real Dask cluster of two processes: the same numbers as here, and clear words where there is no cluster."""

from __future__ import annotations

import http.server
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from distributed import Client, LocalCluster

import bcfl_opt as bo
from bcfl_opt import distributions, executors, partitioned
from bcfl_opt.errors import InputError
from bcfl_opt.executors import WorkerLostError
from bcfl_opt.models import problem1_pyomo

PRICES = {"training_price": 0.05, "mining_price": 0.05}


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    settings = {"distributed.scheduler.allowed-failures": 0, "distributed.admin.log-format": "%(message)s"}
    with (
        dask.config.set(settings),
        LocalCluster(n_workers=2, threads_per_worker=2, processes=True, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def game() -> bo.Game:
    return bo.Game(bo.Population.random(8, seed=4))


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    frame = bo.Population.random(900, seed=6).frame
    path = tmp_path / "clients"
    path.mkdir()
    frame.iloc[:500].to_parquet(path / "a.parquet", row_group_size=200)
    frame.iloc[500:].to_parquet(path / "b.parquet")
    return path


# ---------------------------------------------------------------------- sweeps


def test_a_cluster_finds_the_same_numbers_to_the_last_bit(client: Client, game: bo.Game, tmp_path: Path) -> None:
    grid = {"deadline": np.linspace(0.1, 16.0, 4), "training_price": [0.04, 0.05, 0.06], "mining_price": [0.05, 0.06]}
    here = bo.sweep(problem1_pyomo.build, grid, game=game)
    assert 0 < int(here["succeeded"].sum()) < 24
    there = bo.sweep(problem1_pyomo.build, grid, game=game, executor=client, out=tmp_path / "sweep")
    assert here.identical(there)
    assert here.identical(bo.sweep(problem1_pyomo.build, grid, game=game, out=tmp_path / "sweep")), "as it was kept"


def test_an_address_will_do(client: Client, game: bo.Game) -> None:
    def own(game: bo.Game, k: int) -> dict[str, Any]:
        import threadpoolctl

        if k == 2:
            raise ValueError("two")
        threads = max(library["num_threads"] for library in threadpoolctl.threadpool_info())
        return {"k": k, "threads": threads, "process": os.getpid()}

    answer = bo.sweep(own, {"k": list(range(9))}, game=game, executor=client.scheduler.address)
    assert answer["result_k"].values.tolist() == pytest.approx([0, 1, np.nan, *range(3, 9)], nan_ok=True)
    assert answer["message"].values[2] == "ValueError: two"
    assert np.nanmax(answer["threads"].values) == 1.0
    assert os.getpid() not in answer["process"].values
    assert client.status == "running", "our own connection was closed, not this one"


def test_large_work_travels_once(client: Client, monkeypatch: pytest.MonkeyPatch, game: bo.Game) -> None:
    monkeypatch.setattr(executors, "SMALL", 100)
    here = bo.sweep(bo.equilibrium, {"deadline": [14.0, 15.0]}, game=game)
    assert here.identical(bo.sweep(bo.equilibrium, {"deadline": [14.0, 15.0]}, game=game, executor=client))


# ---------------------------------------------------------------------- partitioned populations


def test_workers_read_and_write_their_own_parts(client: Client, directory: Path, tmp_path: Path) -> None:
    here = partitioned.best_response(directory, **PRICES, chunk=64, out=tmp_path / "here")
    there = partitioned.best_response(directory, **PRICES, chunk=64, out=tmp_path / "there", executor=client)
    assert here.objective == there.objective and here.sums == there.sums and here.absent == there.absent
    names = [path.name for path in sorted((tmp_path / "here").iterdir())]
    assert names == [f"part-{k:06d}.parquet" for k in range(4)]
    for name in names:
        assert pq.read_table(tmp_path / "here" / name).equals(pq.read_table(tmp_path / "there" / name))


@pytest.mark.filterwarnings("ignore::pandas.errors.Pandas4Warning")  # of Dask's own calls of pandas
def test_a_dask_data_frame_is_a_population(client: Client, directory: Path, tmp_path: Path) -> None:
    whole = partitioned.best_response(directory, **PRICES)
    frames = {
        "read": dd.read_parquet(directory, split_row_groups=True),
        "made": dd.from_pandas(pd.concat(pd.read_parquet(path) for path in sorted(directory.iterdir())), npartitions=3),
    }
    for name, frame in frames.items():
        for executor in (None, client):
            answer = partitioned.best_response(frame, **PRICES, executor=executor, out=tmp_path / name, overwrite=True)
            assert answer.objective == pytest.approx(whole.objective, rel=1e-14) and answer.clients == 900
        back = dd.read_parquet(tmp_path / name)
        assert float(back["client_utility"].sum().compute()) == pytest.approx(whole.objective, rel=1e-12)
    persisted = frames["made"].persist()
    assert partitioned.best_response(persisted, **PRICES, executor=client).objective == pytest.approx(whole.objective)

    bad = frames["made"].assign(
        training_cycles=lambda frame: frame["training_cycles"].where(frame.index != "client-450")
    )
    with pytest.raises(InputError, match=r"partition 1 of the Dask data frame, row 150 .client 'client-450'., column"):
        partitioned.best_response(bad, **PRICES, executor=client)
    twice = dd.concat([frames["made"], frames["made"].partitions[0]])
    with pytest.raises(InputError, match=r"partition 3 .*, row 0, .*'client-000' appears twice, first in partition 0"):
        partitioned.best_response(twice, **PRICES, executor=client)


def test_solvers_on_the_cluster(client: Client, directory: Path) -> None:
    caps = {"training_cap": 25.0, "mining_cap": 5.0}
    file = directory / "a.parquet"
    pq.write_table(pq.read_table(file).slice(0, 60), file, row_group_size=20)
    exact = partitioned.equilibrium(file, **caps)
    answer = partitioned.equilibrium(file, **caps, solver="ipopt", executor=client)
    assert answer.succeeded and answer.objective == pytest.approx(exact.objective, rel=1e-8)


# ---------------------------------------------------------------------- no such cluster


class Greeting(http.server.BaseHTTPRequestHandler):
    """What answers is a web server: its greeting must not be taken for a message of Dask's."""

    def handle(self) -> None:
        self.wfile.write(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 100)


@pytest.fixture
def web_server() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Greeting) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"tcp://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def refused(game: bo.Game, executor: Any) -> str:
    begin = time.perf_counter()
    with pytest.raises(InputError) as caught:
        bo.sweep(bo.equilibrium, {"deadline": [15.0]}, game=game, executor=executor)
    assert time.perf_counter() - begin < 10.0
    return str(caught.value)


def test_an_address_that_does_not_answer_is_said_in_seconds(
    game: bo.Game, web_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executors, "SCHEDULER_PATIENCE", 1.0)
    assert "no Dask scheduler answers at 'tcp://127.0.0.1:9' within 1 s" in refused(game, "tcp://127.0.0.1:9")
    assert "no Dask scheduler answers at 'nowhere:x'" in refused(game, "nowhere:x")
    assert f"no Dask scheduler answers at '{web_server}' within 1 s" in refused(game, web_server)
    monkeypatch.setattr(executors.importlib.util, "find_spec", lambda name: None)
    assert "pip install 'bcfl_opt[dask]'" in refused(game, "tcp://127.0.0.1:9")


def test_a_worker_is_no_scheduler(client: Client, game: bo.Game) -> None:
    worker = next(iter(client.scheduler_info()["workers"]))
    assert "something else does" in refused(game, worker)


def test_a_scheduler_without_workers(game: bo.Game, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executors, "WORKER_PATIENCE", 0.2)
    with (
        LocalCluster(n_workers=0, processes=True, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster) as alone,
    ):
        assert "has no workers (waited 0.2 s); start some" in refused(game, alone)
        alone.close()
        assert "the Dask client is closed" in refused(game, alone)


def test_workers_with_other_versions(client: Client, game: bo.Game, monkeypatch: pytest.MonkeyPatch) -> None:
    here = distributions.versions()
    monkeypatch.setattr(distributions, "_versions", lambda: {**here, "numpy": "1.0"})
    assert f"has numpy {here['numpy']}, unlike this process" in refused(game, client)


def test_a_worker_that_dies_leaves_what_was_finished(client: Client, game: bo.Game, tmp_path: Path) -> None:
    """Last: it costs the cluster a worker."""

    def deadly(game: bo.Game, k: int) -> int:
        if k == 15:
            time.sleep(0.5)
            os._exit(1)
        return k

    with pytest.raises(WorkerLostError, match="Dask workers died over the same piece of work"):
        bo.sweep(deadly, {"k": list(range(18))}, game=game, executor=client, chunk=1, out=tmp_path / "sweep")
    assert 8 <= len(list((tmp_path / "sweep").glob("chunk-*.parquet"))) < 18
