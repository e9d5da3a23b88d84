"""The clients of the tests of populations in parts, and what their answers are compared with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

import bcfl_opt as bo
from bcfl_opt.parts import totals

PRICES = {"training_price": 0.05, "mining_price": 0.05}
CAPS = {"training_cap": 25.0, "mining_cap": 5.0}


def some_clients() -> pd.DataFrame:
    """700 clients; some cannot respond at PRICES, some have no speed limit to speak of."""
    frame = bo.Population.random(700, seed=5, speed_limits=True).frame
    frame["training_price"] = np.linspace(0.03, 0.08, 700)
    frame["mining_price"] = 0.05
    frame["training_cap"] = np.linspace(0.0, 30.0, 700)
    frame["mining_cap"] = 5.0
    frame["note"] = "kept out"
    return frame


def written(frame: pd.DataFrame, folder: Path) -> Path:
    path = folder / "clients.parquet"
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


def write(ids: list[Any], path: Path, rows: int) -> None:
    table = pd.DataFrame({"client": ids, "mu": 10.0, "rho": 0.01})
    table.to_parquet(path, row_group_size=rows)
