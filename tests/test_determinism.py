"""The same input gives the same bits: in new processes, with other hash seeds, whatever the threads on offer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

#: Every route on a small game, on models of one's own, and the cross-check; prints a fingerprint of all numbers by route.
CODE = """
import hashlib, json
import cvxpy as cp, numpy as np, pandas as pd, pyomo.environ as pyo
import bcfl_opt as bo
from bcfl_opt.models import problem1_cvxpy, problem1_pyomo, problem2_cvxpy, problem2_pyomo, problem3_cvxpy, problem3_pyomo

def fingerprint(value):
    digest = hashlib.sha256()
    def add(item):
        if isinstance(item, pd.DataFrame):
            for name in item:
                digest.update(str(name).encode()); add(item[name])
        elif hasattr(item, "items") and not isinstance(item, pd.Series):
            for name, part in item.items():
                digest.update(str(name).encode()); add(part)
        elif isinstance(item, (list, tuple)):
            for part in item:
                add(part)
        else:
            array = np.asarray(item)
            digest.update(repr(array.tolist()).encode() if array.dtype == object else array.tobytes())
    add(value)
    return digest.hexdigest()[:16]

def of(solution):
    return fingerprint([
        solution.status.name, solution.objective, dict(solution.certificate.residuals), dict(solution.certificate.unscaled),
        solution.history, [] if solution.clients is None else solution.clients,
        [dict(getattr(solution, name)) for name in ("variables", "shadow_prices", "multipliers")],
    ])

game = bo.Game(bo.Population.random(8, seed=3))
prices = game.prices(training=0.05, mining=0.05)
found = {}
for form in ("time", "speed"):
    found[f"Problem 1 in {form}, Pyomo"] = of(bo.solve(problem1_pyomo.build(game, prices, form=form)))
for name, module in (("Problem 2", problem2_pyomo), ("Problem 3", problem3_pyomo)):
    for response in ("optimal", "theorem"):
        found[f"{name}, {response}, Pyomo"] = of(bo.solve(module.build(game, response=response)))
convex = {
    "Problem 1": lambda: problem1_cvxpy.build(game, prices),
    "Problem 2": lambda: problem2_cvxpy.build(game),
    "Problem 3": lambda: problem3_cvxpy.build(game),
}
for name, build in convex.items():
    for solver in ("clarabel", "ipopt"):
        found[f"{name}, {solver}"] = of(bo.solve(build(), solver=solver))

rng = np.random.default_rng(0)
A = rng.normal(size=(30, 20)); B = A.T @ A
x, S = cp.Variable(20, name="x"), cp.Variable((6, 6), PSD=True, name="S")
cost = cp.quad_form(x, cp.psd_wrap(B)) + cp.norm(A @ x - 1) + cp.trace(S)
dense = cp.Problem(cp.Minimize(cost), [S[0, :3] == x[:3], cp.norm(x) <= 3])
found["a dense problem, clarabel"] = of(bo.solve(dense))
m = pyo.ConcreteModel()
m.x = pyo.Var(range(20), bounds=(-1, 1), initialize=0.0)
m.o = pyo.Objective(expr=sum(float(B[i, j] - 30 * (i == j)) * m.x[i] * m.x[j] for i in range(20) for j in range(20)))
m.c = pyo.Constraint(expr=sum(m.x[i] for i in m.x) == 0.5)
first = bo.solve(m)
found["a saddle left, Pyomo"] = of(first)
m.c.set_value(sum(m.x[i] for i in m.x) == 0.6)
found["a warm start, Pyomo"] = of(bo.solve(m, warm_start=first))
m.d = pyo.Constraint(expr=m.x[0] + m.x[1] >= 3)
found["an explanation"] = fingerprint([list(bo.explain(m).sentences)])
found["the client, exactly"] = fingerprint([bo.best_response(game, prices).clients])
found["the equilibrium, exactly"] = fingerprint([bo.equilibrium(game).clients])
check = bo.cross_check(game, prices)
found["the cross-check"] = fingerprint([check.table, check.solves.drop(columns=["seconds", "certificate"])])
print(json.dumps(found))
"""


def fingerprints(tmp_path: Path, **environment: str) -> dict[str, str]:
    done = subprocess.run(
        [sys.executable, "-P", "-c", CODE],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return fingerprints(tmp_path_factory.mktemp("first"), PYTHONHASHSEED="0", OPENBLAS_NUM_THREADS="1")


def test_every_route_gives_the_same_bits_in_another_process(first: dict[str, str], tmp_path: Path) -> None:
    again = fingerprints(tmp_path, PYTHONHASHSEED="4242", OPENBLAS_NUM_THREADS="2", PYTHONOPTIMIZE="1")
    assert {name: again[name] for name in first if again[name] != first[name]} == {}
    assert len(first) == 19 and len(set(first.values())) == len(first)  # it can tell routes apart


def test_other_numbers_have_other_fingerprints(first: dict[str, str], tmp_path: Path) -> None:
    """What would not notice a change in the last digit proves nothing."""
    code = CODE.replace(
        "game = bo.Game(bo.Population.random(8, seed=3))",
        "game = bo.Game(bo.Population.random(8, seed=3), deadline=15.000000000000002)",
    )
    assert code != CODE
    head, tail = code.split("rng = np.random", 1)
    del tail
    done = subprocess.run(
        [sys.executable, "-P", "-c", f"{head}\nprint(json.dumps(found))"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    other = json.loads(done.stdout)
    assert sum(other[name] != first[name] for name in other) >= len(other) - 1
