"""What do the benchmarks say, in a table? Runs bench_paths.py and prints its ratios; ``--readme`` puts them into the README.

pip install -e '.[bench]'
python tests/benchmarks/table.py --readme
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
README = HERE.parent.parent / "README.md"
BEGIN, END = "<!-- benchmarks -->", "<!-- end of benchmarks -->"


def measured(keyword: str) -> list[dict[str, Any]]:
    """One entry a path: problem, clients, path, peer, seconds (the median)."""
    with tempfile.TemporaryDirectory() as directory:
        out = Path(directory) / "benchmarks.json"
        command = [sys.executable, "-m", "pytest", "-q", str(HERE / "bench_paths.py"), "--import-mode=prepend"]
        command += ["--benchmark-json", str(out), *(["-k", keyword] if keyword else [])]
        subprocess.run(command, check=True, env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"})
        runs = json.loads(out.read_text())["benchmarks"]
    return [{**run["extra_info"], "seconds": run["stats"]["median"]} for run in runs]


def table(runs: list[dict[str, Any]]) -> str:
    known = {(run["problem"], run["clients"], run["path"]): run["seconds"] for run in runs if not run["peer"]}
    lines = [
        "| problem | clients | our path | seconds | beside | seconds | ratio |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for run in (run for run in runs if run["peer"]):
        other = known.get((run["problem"], run["clients"], run["peer"]))
        if other is not None:
            lines.append(
                f"| {run['problem']} | {run['clients']:,} | {run['path']} | {run['seconds']:.3g} | {run['peer']} | "
                f"{other:.3g} | {run['seconds'] / other:.2f} |"
            )
    day = datetime.datetime.now(datetime.UTC).strftime("%B %Y")
    cores = os.cpu_count()
    # Above the number of cores, other work has stretched the seconds, and some of the ratios.
    load = f"load average {os.getloadavg()[0]:.0f}" if hasattr(os, "getloadavg") else "load unknown"
    return "\n".join([*lines, "", f"A virtual machine with {cores} cores, {day}, {load}; medians, one thread each."])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-k", default="", help="only benchmarks that match, as for pytest")
    parser.add_argument("--readme", action="store_true", help="write the table into the README")
    asked = parser.parse_args()
    text = table(measured(asked.k))
    print(text)
    if asked.readme:
        before, rest = README.read_text(encoding="utf-8").split(BEGIN)
        after = rest.split(END)[1]
        README.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
