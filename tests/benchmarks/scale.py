"""What do sweeps and populations in parts cost, for a cell, a client, a chunk and a worker? The constants of docs/cluster.md.

    python tests/benchmarks/scale.py                  # a few minutes on two idle cores
    python tests/benchmarks/scale.py --clients 1e7    # memory of the streaming path at ten million clients

Costs in one process are processor time, which other work on the machine disturbs little. Speed-ups are of wall time: medians
of runs that take turns, which want an idle machine all the same.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import bcfl_opt as bo
from bcfl_opt import partitioned
from bcfl_opt.models import problem1_pyomo

PRICES = {"training_price": 0.05, "mining_price": 0.05}
LOOSE = {"training_cap": float("inf"), "mining_cap": float("inf")}
PEAK = """
import sys
from bcfl_opt import partitioned
partitioned.best_response(sys.argv[1], training_price=0.05, mining_price=0.05, out=sys.argv[2], overwrite=True)
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def wall(function: Callable[[], object]) -> float:
    begin = time.perf_counter()
    function()
    return time.perf_counter() - begin


def core(function: Callable[[], object]) -> float:
    begin = time.process_time()
    function()
    return time.process_time() - begin


def write_clients(path: Path, clients: int, step: int = 1 << 20) -> None:
    """Ids in order, everybody different, in row groups of a million."""
    rng = np.random.default_rng(0)
    writer = None
    for start in range(0, clients, step):
        count = min(step, clients - start)
        columns = {
            "client": pa.array(np.char.add("client-", np.arange(10**9 + start, 10**9 + start + count).astype(str))),
            "training_cycles": rng.gamma(6.5, 10 / 6.5, count) + 0.1,
            "energy_coefficient": rng.uniform(0.005, 0.02, count),
            "max_speed": rng.uniform(2.0, 4.0, count),
        }
        table = pa.table(columns)
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table)
    assert writer is not None
    writer.close()


def _ids(file: Path) -> None:
    """What comparing ids costs on top, where their order does not prove that no two are the same."""
    from bcfl_opt.parts import source

    parts = source.open_source(file).parts
    source.check_unique((each for part in parts for each in source.hashes(part, 1 << 17)), lambda _: iter(()))


def population_costs(clients: int, directory: Path) -> None:
    file, out = directory / "clients.parquet", directory / "out.parquet"
    write_clients(file, clients)
    tasks: dict[str, Callable[[], object]] = {
        "responses, sums only": lambda: partitioned.best_response(file, **PRICES),
        "responses, written": lambda: partitioned.best_response(file, **PRICES, out=out, overwrite=True),
        "equilibrium, sums only": lambda: partitioned.equilibrium(file, **LOOSE),
        "ids out of order, compared": lambda: _ids(file),
        "chosen deadlines under a budget, sums only": lambda: partitioned.equilibrium(
            file, **LOOSE, deadlines="chosen", payment_budget=0.5 * clients
        ),
    }
    partitioned.best_response(file, **PRICES)  # loads what is needed
    for name, task in tasks.items():
        print(f"{name:45s} {1e6 * core(task) / clients:8.2f} us of a core a client")
    few = 20_000
    write_clients(directory / "few.parquet", few)
    ipopt = core(lambda: partitioned.best_response(directory / "few.parquet", **PRICES, solver="ipopt"))
    print(f"{'responses by IPOPT, sums only':45s} {1e6 * ipopt / few:8.0f} us of a core a client")
    size_in, size_out = (path.stat().st_size / clients for path in (file, out))
    print(f"{'Parquet, read and written':45s} {size_in:8.0f} and {size_out:.0f} bytes a client")
    peak = subprocess.run([sys.executable, "-c", PEAK, str(file), str(out)], capture_output=True, text=True, check=True)
    print(f"{'peak memory':45s} {int(peak.stdout) / 1e3:8.0f} MB at {clients:,} clients")


def sweep_costs(cells: int, rounds: int) -> None:
    game = bo.Game(bo.Population.random(50, seed=0))
    _ = game.caps
    grid = {"training_price": np.linspace(0.04, 0.06, cells // 20), "mining_price": np.linspace(0.04, 0.06, 20)}
    deadlines = {"deadline": np.linspace(12.0, 20.0, cells)}
    for executor in (None, 2):  # start the workers, load the solvers
        bo.sweep(problem1_pyomo.build, grid, game=game, executor=executor)
        bo.sweep(bo.equilibrium, deadlines, game=game, executor=executor)
    nothing = core(lambda: bo.sweep(lambda game: 1.0, deadlines, game=game)) / cells
    print(f"{'a cell that does nothing':45s} {1e3 * nothing:8.3f} ms")
    alone = core(lambda: [bo.equilibrium(game.replace(deadline=d)) for d in deadlines["deadline"]]) / cells
    swept = core(lambda: bo.sweep(bo.equilibrium, deadlines, game=game)) / cells
    print(f"{'an exact cell, alone and in a sweep':45s} {1e3 * alone:8.3f} and {1e3 * swept:.3f} ms")
    for name, function, over in (("exact", bo.equilibrium, deadlines), ("solved", problem1_pyomo.build, grid)):
        ratios, once = [], []
        for _ in range(rounds):
            one = wall(lambda function=function, over=over: bo.sweep(function, over, game=game))
            two = wall(lambda function=function, over=over: bo.sweep(function, over, game=game, executor=2))
            ratios.append(one / two)
            once.append(one / cells)
        print(
            f"{f'{cells} {name} cells, two processes against one':45s} {statistics.median(ratios):8.2f} x faster"
            f"   ({1e3 * statistics.median(once):.2f} ms a cell on one)"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=float, default=1e6, help="clients of the population in parts")
    parser.add_argument("--cells", type=int, default=1000, help="cells of a sweep")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each side of a ratio")
    asked = parser.parse_args()
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as directory:
        population_costs(int(asked.clients), Path(directory))
    if asked.cells:
        sweep_costs(asked.cells, asked.rounds)
    print(f"{'all of this':45s} {time.perf_counter() - begin:8.0f} s")


if __name__ == "__main__":
    main()
