"""How long do our paths take beside what one would write by hand? Whole paths, from the game to the checked answer.

    python tests/benchmarks/table.py                       # runs this file, and prints the ratios as the README shows them
    pytest tests/benchmarks/bench_paths.py -k 50           # a part of it, with pytest-benchmark's own table

A peer (peers.py) builds and solves the same problem with one tool, and checks nothing. Every answer is compared with the
exact one, or with the peer's, while it is timed; times are medians, one thread each.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pyomo.environ as pyo
import pytest
from peers import BUDGETS, RESPONSES, Instance

import bcfl_opt as bo
from bcfl_opt.models import problem1_cvxpy, problem1_pyomo, variant_shared_budget

SIZES = (50, 1_000, 10_000)
MANY = 1_000_000
#: Runs of each path, by number of clients: what a few minutes allow.
ROUNDS = {50: 15, 1_000: 7, 10_000: 3, MANY: 5}


@cache
def instance(n: int) -> Instance:
    made = Instance.random(n)
    _ = made.prices
    return made


def by_pyomo(engine: str, *, own_start: bool = True) -> Callable[[Instance], float]:
    """own_start : from where the model starts itself, near the optimum; or from half the deadline, as the peers do."""

    def run(given: Instance) -> float:
        m = problem1_pyomo.build(given.game, given.prices)
        if not own_start:
            half = dict.fromkeys(m.clients, given.game.deadline / 2)
            m.training_time.set_values(half, skip_validation=True)
            m.mining_time.set_values(half, skip_validation=True)
        solution = bo.solve(m, engine=engine, raise_on_failure=True)
        assert solution.clients is not None
        return solution.objective

    return run


def by_cvxpy(given: Instance) -> float:
    solution = bo.solve(problem1_cvxpy.build(given.game, given.prices), raise_on_failure=True)
    assert solution.clients is not None
    return solution.objective


def exactly(given: Instance) -> float:
    solution = bo.best_response(given.game, given.prices).raise_if_failed()
    assert solution.clients is not None
    return solution.objective


#: Our path -> the peer that uses the same solver, or none.
OURS: dict[str, tuple[Callable[[Instance], float], str]] = {
    "Pyomo, IPOPT": (by_pyomo("cyipopt"), "cyipopt, callbacks by hand"),
    'Pyomo, IPOPT, engine="casadi"': (by_pyomo("casadi"), "CasADi, vectors"),
    "Pyomo, IPOPT, from T/2": (by_pyomo("cyipopt", own_start=False), "cyipopt, callbacks by hand"),
    'Pyomo, IPOPT, engine="casadi", from T/2': (by_pyomo("casadi", own_start=False), "CasADi, vectors"),
    "CVXPY, Clarabel": (by_cvxpy, "CVXPY, Clarabel"),
    "exact": (exactly, "numpy, bisection"),
}


def least_budget(given: Instance) -> float:
    """Half-way between what the clients need at the common deadline and what they would need at free deadlines."""
    people, psi, deadline = given.game.population, given.game.mining_cycles, given.game.deadline
    rho, cycles = people.energy_coefficient, people.training_cycles + psi
    at_least = float(np.sum(rho * cycles**3) / deadline**2)
    free = np.minimum(np.cbrt(2.0 * rho) * cycles, deadline)
    return 0.5 * (at_least + float(np.sum(rho * cycles**3 / free**2)))


def coupled(given: Instance, budget: float) -> pyo.ConcreteModel:
    """The shared budget as a user would write it: a Pyomo model without a game."""
    (work_t, work_s), people = given.energies, given.game.population
    n, deadline, psi = len(given.game), given.game.deadline, given.game.mining_cycles
    q, mu = people.max_speed.tolist(), people.training_cycles.tolist()
    a_t, a_s = work_t.tolist(), work_s.tolist()
    half = deadline / 2
    m = pyo.ConcreteModel()
    m.k = pyo.RangeSet(0, n - 1)
    m.t = pyo.Var(m.k, initialize=half, bounds=lambda m, i: (mu[i] / q[i], None))
    m.s = pyo.Var(m.k, initialize=half, bounds=lambda m, i: (psi / q[i], None))
    m.a = pyo.Var(m.k, initialize=lambda m, i: 2 * a_t[i] / half**2, bounds=(0, None))
    m.b = pyo.Var(m.k, initialize=lambda m, i: 2 * a_s[i] / half**2, bounds=(0, None))
    m.training = pyo.Constraint(m.k, rule=lambda m, i: m.a[i] >= a_t[i] / m.t[i] ** 2)
    m.mining = pyo.Constraint(m.k, rule=lambda m, i: m.b[i] >= a_s[i] / m.s[i] ** 2)
    m.deadline = pyo.Constraint(m.k, rule=lambda m, i: m.t[i] + m.s[i] <= deadline)
    m.budget = pyo.Constraint(expr=pyo.quicksum(m.a[i] + m.b[i] for i in m.k) <= budget)
    m.cost = pyo.Objective(expr=pyo.quicksum(m.t[i] + m.s[i] + m.a[i] + m.b[i] for i in m.k))
    return m


def coupled_by_pyomo(engine: str) -> Callable[[Instance, float], float]:
    return lambda given, budget: bo.solve(coupled(given, budget), engine=engine, raise_on_failure=True).objective


def coupled_by_variant(given: Instance, budget: float) -> float:
    """Our model of it, for everyone, and without the clients' own caps, which the peers do not know."""
    m = variant_shared_budget.build(given.game, budget, screen=False)
    m.training_budget.deactivate()
    m.mining_budget.deactivate()
    clients = bo.solve(m, raise_on_failure=True).clients
    return float(clients[["training_time", "mining_time", "training_reward", "mining_reward"]].to_numpy().sum())


OURS_COUPLED: dict[str, tuple[Callable[[Instance, float], float], str]] = {
    "Pyomo, IPOPT": (coupled_by_pyomo("cyipopt"), "cyipopt, callbacks by hand"),
    'Pyomo, IPOPT, engine="casadi"': (coupled_by_pyomo("casadi"), "CasADi, vectors"),
    "variant_shared_budget, IPOPT": (coupled_by_variant, "cyipopt, callbacks by hand"),
}


def timed(benchmark: Any, problem: str, n: int, path: str, peer: str, run: Callable[[], float]) -> float:
    benchmark.group = f"{problem}, N = {n:,}"
    benchmark.extra_info.update(problem=problem, clients=n, path=path, peer=peer)
    return benchmark.pedantic(run, rounds=ROUNDS[n], warmup_rounds=1)


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("path", RESPONSES)
def test_problem_1_by_hand(benchmark: Any, path: str, n: int) -> None:
    given = instance(n)
    value = timed(benchmark, "Problem 1", n, path, "", lambda: RESPONSES[path](given))
    assert value == pytest.approx(exactly(given), rel=1e-5)


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("path", OURS)
def test_problem_1_ours(benchmark: Any, path: str, n: int) -> None:
    given, (run, peer) = instance(n), OURS[path]
    value = timed(benchmark, "Problem 1", n, path, peer, lambda: run(given))
    assert value == pytest.approx(exactly(given), rel=1e-9)


@pytest.mark.parametrize("path", ["numpy, bisection", "exact"])
def test_problem_1_of_a_million(benchmark: Any, path: str) -> None:
    given = instance(MANY)
    run, peer = OURS[path] if path in OURS else (RESPONSES[path], "")
    value = timed(benchmark, "Problem 1", MANY, path, peer, lambda: run(given))
    assert value == pytest.approx(exactly(given), rel=1e-9)


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("path", BUDGETS)
def test_shared_budget_by_hand(benchmark: Any, path: str, n: int) -> None:
    given = instance(n)
    budget = least_budget(given)
    assert timed(benchmark, "shared budget", n, path, "", lambda: BUDGETS[path](given, budget)) > 0.0


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("path", OURS_COUPLED)
def test_shared_budget_ours(benchmark: Any, path: str, n: int) -> None:
    given, (run, peer) = instance(n), OURS_COUPLED[path]
    budget, _ = least_budget(given), given.game.caps  # found out beforehand: no peer computes Shapley values
    value = timed(benchmark, "shared budget", n, path, peer, lambda: run(given, budget))
    assert value == pytest.approx(BUDGETS[peer](given, budget), rel=1e-6)
