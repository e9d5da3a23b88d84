"""The way in and out of IPOPT: options, log, history, warm starts, and Pyomo's two ways of calling a solver."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyomo.environ as pyo
import pytest
from pyomo.contrib.solver.common.factory import SolverFactory as CurrentFactory
from pyomo.contrib.solver.common.results import SolutionStatus, TerminationCondition
from pyomo.contrib.solver.common.util import NoOptimalSolutionError, NoSolutionError

import bcfl_opt as bo
from bcfl_opt.models import problem1_pyomo, problem2_cvxpy, problem2_pyomo
from bcfl_opt.nlp import ipopt_options


def wine(n: int = 40) -> Any:
    """max sum_i log(x_i + i) on sum x = n + 1, x >= 0: water filling, x_i = max(0, level - i)."""
    m = pyo.ConcreteModel()
    m.x = pyo.Var(range(1, n + 1), bounds=(0, None), initialize=1.0)
    m.o = pyo.Objective(expr=sum(pyo.log(m.x[i] + i) for i in m.x), sense=pyo.maximize)
    m.c = pyo.Constraint(expr=sum(m.x.values()) == n + 1)
    return m


def infeasible() -> Any:
    m = wine(3)
    m.d = pyo.Constraint(expr=m.x[1] ** 2 + m.x[2] ** 2 + m.x[3] ** 2 <= 1)  # sum x = 4 needs at least 16 / 3
    return m


# ---------------------------------------------------------------------- options


def test_the_table_of_options_is_the_installed_ipopts() -> None:
    path = Path(bo.__file__).parent / "data" / "ipopt_options.txt"
    written = path.read_text(encoding="utf-8")
    assert ipopt_options.table() == written, "python -m bcfl_opt.nlp.ipopt_options > bcfl_opt/data/ipopt_options.txt"
    assert len(ipopt_options.known()) > 250


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"max_itr": 3}, r"unknown IPOPT option 'max_itr': did you mean 'max_iter'\?"),
        ({"TOL": 1e-8}, r"unknown IPOPT option 'TOL'"),
        ({"": 1}, r"unknown IPOPT option ''"),
        ({3: 1}, r"unknown IPOPT option 3"),
        ({"max_iter": 2.5}, r"max_iter takes a whole number in \[0,inf\), not 2.5"),
        ({"max_iter": -1}, r"max_iter takes a whole number in \[0,inf\), not -1"),
        ({"max_iter": True}, r"max_iter takes a whole number"),
        ({"max_iter": "many"}, r"max_iter takes a whole number.*'many'"),
        ({"tol": 0.0}, r"tol takes a number in \(0,inf\), not 0.0"),
        ({"tol": float("nan")}, r"tol takes a number"),
        ({"tol": None}, r"tol takes a number.*None"),
        ({"bound_frac": 0.6}, r"bound_frac takes a number in \(0,0.5\]"),
        ({"mu_strategy": "adaptiv"}, r"unknown value of IPOPT option mu_strategy 'adaptiv': did you mean 'adaptive'\?"),
        ({"mu_strategy": 3}, r"mu_strategy takes text, not 3"),
    ],
)
def test_options_are_refused_before_the_solve(options: Any, said: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(bo.InputError, match=said):
        bo.solve(wine(), options=options)
    with pytest.raises(bo.InputError, match=said):  # also where no solver would have been called
        empty = pyo.ConcreteModel()
        bo.solve(empty, options=options)
    assert capfd.readouterr() == ("", "")


def test_options_of_every_kind_reach_ipopt() -> None:
    options = {"max_iter": np.int64(200), "tol": 1, "mu_strategy": "adaptive", "check_derivatives_for_naninf": True}
    solution = bo.solve(wine(), options={**options, "resto.max_iter": 10.0, "print_user_options": "yes"})
    for line in (
        "max_iter = 200",
        "mu_strategy = adaptive",
        "check_derivatives_for_naninf = yes",
        "resto.max_iter = 10",
    ):
        assert line in solution.log
    assert solution.provenance["options"]["tol"] == 1.0


def test_an_option_that_can_end_the_process_is_refused_where_it_can() -> None:
    """IPOPT crashes under it on Problem 3 of a thousand clients; on what it is meant for, it works."""
    game = bo.Game(bo.Population.sample())
    mehrotra = {"mehrotra_algorithm": "yes"}
    for model, solver in ((problem2_pyomo.build(game), None), (problem2_cvxpy.build(game), "ipopt")):
        with pytest.raises(bo.InputError, match="mehrotra_algorithm=yes is meant for linear and quadratic programmes"):
            bo.solve(model, solver=solver, options=mehrotra)
    m = pyo.ConcreteModel()
    m.x, m.y = pyo.Var(bounds=(0, 4)), pyo.Var(bounds=(0, 4))
    m.row = pyo.Constraint(expr=m.x + m.y >= 3)
    m.cost = pyo.Objective(expr=(m.x - 1) ** 2 + m.y**2 + m.x * m.y / 2)
    # x - 1 = y + (x - y) / 4 on x + y = 3: 2 (x - 1) + y / 2 = 2 y + x / 2, 1.5 x - 1.5 y = 2
    assert bo.solve(m, options=mehrotra).variables["x"] == pytest.approx(13 / 6, abs=1e-7)


@pytest.mark.parametrize("engine", ["cyipopt", "casadi"])
def test_bounds_that_leave_nothing_between_them_do_not_take_the_process_down(engine: str) -> None:
    m = pyo.ConcreteModel()
    m.x = pyo.Var(bounds=(1.0, np.nextafter(1.0, 2.0)), initialize=1.0)
    m.o = pyo.Objective(expr=(m.x - 2) ** 2)
    solution = bo.solve(m, engine=engine, options={"bound_mult_init_method": "mu-based"})
    assert solution.succeeded and solution.variables["x"] == pytest.approx(1.0, rel=1e-15)


def test_an_options_file_that_lies_around_is_none_of_our_business(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ipopt.opt").write_text("max_iter 0\n")
    monkeypatch.chdir(tmp_path)
    assert bo.solve(wine()).succeeded


# ---------------------------------------------------------------------- log and history


def test_nothing_is_printed_unless_asked(capfd: pytest.CaptureFixture[str]) -> None:
    solution = bo.solve(wine(), options={"print_level": 7})
    bo.solve(infeasible())
    pyo.SolverFactory("bcfl_ipopt").solve(wine())
    assert capfd.readouterr() == ("", "")
    assert "Solve_Succeeded" in solution.log or "Optimal Solution Found" in solution.log


def test_tee_goes_to_what_python_calls_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    solution = bo.solve(wine(), tee=True)
    printed = capsys.readouterr().out
    assert printed == solution.log
    assert "iter    objective" in printed and "EXIT: Optimal Solution Found." in printed
    assert "Eclipse Public License" not in printed  # the banner


def test_history_is_in_the_users_sense() -> None:
    m = wine()
    start = pyo.value(m.o)
    solution = bo.solve(m).raise_if_failed()
    history = solution.history
    assert list(history.columns) == [
        "iteration",
        "objective",
        "primal_infeasibility",
        "dual_infeasibility",
        "barrier",
        "step_length",
    ]
    assert history["iteration"].tolist() == list(range(solution.iterations + 1))
    assert history["objective"].iloc[0] == pytest.approx(start, rel=0.1)
    assert history["objective"].iloc[-1] == pytest.approx(solution.objective, rel=1e-6)
    assert history["barrier"].is_monotonic_decreasing and history["primal_infeasibility"].iloc[-1] < 1e-9
    failed = bo.solve(wine(), options={"max_iter": 2})
    assert len(failed.history) == 3  # what failed can be looked into
    assert bo.solve(pyo.ConcreteModel()).history.empty


# ---------------------------------------------------------------------- warm start


def test_a_warm_start_saves_iterations() -> None:
    m = wine()
    cold = bo.solve(m).raise_if_failed()
    for v in m.x.values():
        v.set_value(1.0)
    m.c.set_value(sum(m.x.values()) == 41.5)
    again, warm = bo.solve(m.clone()), bo.solve(m, warm_start=cold)
    assert warm.succeeded and warm.iterations < again.iterations / 2
    assert warm.objective == pytest.approx(again.objective, rel=1e-8)
    assert warm.shadow_prices["c"] == pytest.approx(again.shadow_prices["c"], rel=1e-6)


def test_a_warm_start_from_another_models_answer_goes_by_name() -> None:
    cold = bo.solve(wine()).raise_if_failed()
    assert bo.solve(wine(), warm_start=cold).iterations < cold.iterations / 2
    # Rows and variables may have come and gone.
    m = wine(41)
    m.d = pyo.Constraint(expr=m.x[1] <= 2)
    assert bo.solve(m, warm_start=cold).succeeded


@pytest.mark.parametrize("failed", [infeasible, lambda: wine(3)])
def test_a_warm_start_from_a_failure_does_no_harm(failed: Any) -> None:
    previous = bo.solve(failed(), options={"max_iter": 1})
    assert not previous.succeeded
    assert bo.solve(wine(3), warm_start=previous).objective == pytest.approx(bo.solve(wine(3)).objective, rel=1e-8)


# ---------------------------------------------------------------------- Pyomo's interfaces


def test_the_older_interface_solves_loads_and_fills_suffixes() -> None:
    m = wine(3)
    m.dual, m.rc = (pyo.Suffix(direction=pyo.Suffix.IMPORT) for _ in range(2))
    results = pyo.SolverFactory("bcfl_ipopt").solve(m)
    pyo.assert_optimal_termination(results)
    # Water filling of 4 over heights 1, 2, 3: x_i + i = 10/3 for all, and the price of water is 3/10.
    assert [m.x[i].value for i in (1, 2, 3)] == pytest.approx([7 / 3, 4 / 3, 1 / 3], rel=1e-8)
    assert m.dual[m.c] == pytest.approx(0.3, rel=1e-6)
    assert abs(m.rc[m.x[1]]) < 1e-6


def test_the_older_interface_takes_options_and_a_time_limit() -> None:
    solver = pyo.SolverFactory("bcfl_ipopt")
    results = solver.solve(wine(), options={"max_iter": 1}, load_solutions=False)
    assert results.solver.termination_condition == pyo.TerminationCondition.maxIterations
    with pytest.raises(bo.InputError, match="max_iter"):
        solver.solve(wine(), options={"max_itr": 1})


def test_the_current_interface_and_load_solutions() -> None:
    m = wine(3)
    solver = CurrentFactory("bcfl_ipopt")
    results = solver.solve(m, load_solutions=False)
    assert results.termination_condition is TerminationCondition.convergenceCriteriaSatisfied
    assert results.solution_status is SolutionStatus.optimal
    assert results.incumbent_objective == pytest.approx(3 * np.log(10 / 3), rel=1e-7)
    assert results.extra_info.iteration_count > 0
    assert [v.value for v in m.x.values()] == [1.0, 1.0, 1.0]
    results.solution_loader.load_vars()
    assert m.x[1].value == pytest.approx(7 / 3, rel=1e-8)
    assert results.solution_loader.get_duals()[m.c] == pytest.approx(0.3, rel=1e-6)
    assert not any(v.stale for v in m.x.values())


def test_the_current_interface_raises_on_what_is_not_optimal() -> None:
    solver = CurrentFactory("bcfl_ipopt")
    with pytest.raises(NoOptimalSolutionError):
        solver.solve(infeasible())
    m = infeasible()
    results = solver.solve(m, raise_exception_on_nonoptimal_result=False, load_solutions=False)
    assert results.termination_condition in (
        TerminationCondition.locallyInfeasible,
        TerminationCondition.provenInfeasible,
    )
    assert results.solution_status is not SolutionStatus.optimal and results.incumbent_objective is None
    assert [v.value for v in m.x.values()] == [1.0, 1.0, 1.0]
    m.e = pyo.Constraint(expr=m.x[1] <= -1)  # proven by presolve: there is no point to load at all
    with pytest.raises(NoSolutionError):
        solver.solve(m, raise_exception_on_nonoptimal_result=False)


def test_the_games_models_through_pyomo_are_solved_in_their_own_units() -> None:
    game = bo.Game(bo.Population.random(5, seed=1))
    prices = game.prices(training=0.05, mining=0.05)
    m = problem1_pyomo.build(game, prices)
    pyo.SolverFactory("bcfl_ipopt").solve(m)
    expected = bo.best_response(game, prices).objective
    assert pyo.value(m.utility) == pytest.approx(expected, rel=1e-8)


def test_tee_and_log_through_pyomo(capsys: pytest.CaptureFixture[str]) -> None:
    results = CurrentFactory("bcfl_ipopt").solve(wine(3), tee=True)
    assert "EXIT: Optimal Solution Found." in capsys.readouterr().out
    assert "EXIT: Optimal Solution Found." in results.solver_log
