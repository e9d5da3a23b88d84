"""A client without an answer leaves the others theirs: parts of a programme, who is to blame, and what is handed out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyomo.environ as pyo
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyomo.contrib.solver.common.factory import SolverFactory
from pyomo.contrib.solver.common.results import SolutionStatus, TerminationCondition

import bcfl_opt as bo
from bcfl_opt.models import problem1_pyomo, problem2_pyomo
from bcfl_opt.nlp.program import program
from bcfl_opt.nlp.subprogram import part_numbers

NUMBERS = ["training_time", "mining_time", "training_reward", "mining_reward", "energy_cost", "client_utility"]


def a_game(n: int, seed: int = 0) -> tuple[bo.Game, pd.DataFrame]:
    rng = np.random.default_rng(seed)
    ids = [f"c{k}" for k in range(n)]
    frame = pd.DataFrame({"mu": rng.uniform(1, 20, n), "rho": rng.uniform(0.005, 0.02, n), "q": 50.0}, index=ids)
    game = bo.Game(bo.Population(frame), mining_cycles=10.0, deadline=15.0)
    return game, game.prices(rng.uniform(1, 10, n), rng.uniform(1, 10, n))


def crossing(m: Any, k: Any) -> None:
    setattr(m, f"bad_{k}", pyo.Constraint(expr=m.training_time[k] >= 16))


def crowded(m: Any, k: Any) -> None:
    setattr(m, f"bad_{k}", pyo.Constraint(expr=m.training_time[k] + 2 * m.mining_time[k] >= 31))


def spent(m: Any, k: Any) -> None:
    setattr(m, f"bad_{k}", pyo.Constraint(expr=m.energy_cost[k] <= 1e-3))


def undefined(m: Any, k: Any) -> None:
    setattr(m, f"bad_{k}", pyo.Constraint(expr=pyo.log(m.training_time[k] - 20) >= -30))


def endless(m: Any, k: Any) -> None:
    m.deadline[k].deactivate()


#: What befalls a client -> the status that its reason tells.
TROUBLES: dict[Callable[[Any, Any], None], bo.Status] = {
    crossing: bo.Status.INFEASIBLE,
    crowded: bo.Status.INFEASIBLE,
    spent: bo.Status.INFEASIBLE,
    undefined: bo.Status.EVALUATION_ERROR,
    endless: bo.Status.UNBOUNDED,
}
every_trouble = pytest.mark.parametrize("trouble", TROUBLES, ids=lambda trouble: trouble.__name__)


def sub(game: bo.Game, prices: pd.DataFrame, ids: list[str]) -> tuple[bo.Game, pd.DataFrame]:
    return game.replace(population=game.population.select(pd.Index(ids))), prices.loc[ids]


# ---------------------------------------------------------------------- one client of many


@every_trouble
def test_the_others_answers_are_bit_by_bit_those_without_the_client(trouble: Callable[[Any, Any], None]) -> None:
    game, prices = a_game(12)
    m = problem1_pyomo.build(game, prices)
    trouble(m, "c5")
    before = {index: item.value for index, item in m.training_time.items()}
    solution = bo.solve(m)
    assert solution.status is bo.Status.PARTLY_SOLVED and not solution.succeeded
    assert "11 of 12 clients; client 'c5' has no answer: " in solution.message
    others = [i for i in game.population.ids if i != "c5"]
    alone = bo.solve(problem1_pyomo.build(*sub(game, prices, others)), raise_on_failure=True)
    table, expected = solution.clients, alone.clients
    assert table is not None and expected is not None
    pd.testing.assert_frame_equal(table.loc[others, NUMBERS], expected[NUMBERS], check_exact=True)
    assert not table.at["c5", "recruited"] and table.loc["c5", ["training_time", "mining_time"]].isna().all()
    assert TROUBLES[trouble].value in table.at["c5", "reason"]
    assert (table.loc[others, "reason"] == "").all()
    part = solution.solved_part
    assert part.succeeded and part.quality is bo.Quality.GLOBAL and part.objective == alone.objective
    assert part.certificate is not None and part.certificate.holds() and part.problem != solution.problem
    assert np.isnan(part.variables["training_time"]["c5"]) and np.isnan(
        part.shadow_prices["training_rationality"]["c5"]
    )
    pd.testing.assert_series_equal(part.shadow_prices["deadline"].loc[others], alone.shadow_prices["deadline"])
    assert {index: item.value for index, item in m.training_time.items()} == before


def test_nothing_of_it_is_handed_out_by_accident() -> None:
    m = problem1_pyomo.build(*a_game(4))
    crossing(m, "c1")
    solution = bo.solve(m)
    for value in ("objective", "variables", "shadow_prices", "multipliers", "owner_utility", "prices"):
        with pytest.raises(bo.NoSolutionError, match=r"client 'c1'.*solved_part"):
            getattr(solution, value)
    with pytest.raises(bo.NoSolutionError, match="solved_part holds what is solved"):
        solution.raise_if_failed()
    with pytest.raises(bo.NoSolutionError):
        bo.solve(m, raise_on_failure=True)
    assert "objective" not in repr(solution) and "3 of 4 recruited" in repr(solution)


def test_a_failure_without_any_answer_has_no_solved_part() -> None:
    m = pyo.ConcreteModel()
    m.x = pyo.Var(bounds=(0, 1))
    m.o = pyo.Objective(expr=m.x)
    m.c = pyo.Constraint(expr=m.x >= 2)
    with pytest.raises(bo.NoSolutionError, match="proven infeasible"):
        _ = bo.solve(m).solved_part


def test_a_success_is_its_own_solved_part() -> None:
    solution = bo.solve(problem1_pyomo.build(*a_game(3)))
    assert solution.solved_part is solution and "parts" not in solution.provenance


# ---------------------------------------------------------------------- several, all, none


@settings(max_examples=8, deadline=None)
@given(st.dictionaries(st.integers(0, 11), st.sampled_from(list(TROUBLES)), min_size=1, max_size=11), st.integers(0, 3))
def test_any_clients_in_any_trouble_leave_the_rest_exact(troubles: dict[int, Any], seed: int) -> None:
    game, prices = a_game(12, seed)
    m = problem1_pyomo.build(game, prices)
    for k, trouble in troubles.items():
        trouble(m, f"c{k}")
    table, exact = bo.solve(m).clients, bo.best_response(game, prices).clients
    assert table is not None and exact is not None
    assert {i for i in table.index[~table["recruited"]]} == {f"c{k}" for k in troubles}
    rest = table.index[table["recruited"]]
    np.testing.assert_allclose(table.loc[rest, "training_time"], exact.loc[rest, "training_time"], rtol=1e-7)
    np.testing.assert_allclose(table.loc[rest, "client_utility"], exact.loc[rest, "client_utility"], rtol=1e-10)
    for k, trouble in troubles.items():
        assert TROUBLES[trouble].value in table.at[f"c{k}", "reason"]


@every_trouble
def test_where_all_fail_the_model_does(trouble: Callable[[Any, Any], None]) -> None:
    m = problem1_pyomo.build(*a_game(6))
    for k in m.clients:
        trouble(m, k)
    solution = bo.solve(m)
    assert solution.status is TROUBLES[trouble] and solution.clients is not None
    assert not solution.clients["recruited"].any()
    assert (solution.clients["reason"] != "").all()
    with pytest.raises(bo.NoSolutionError):
        _ = solution.solved_part


def test_clients_who_share_a_constraint_share_its_fate() -> None:
    game, prices = a_game(6)
    m = problem1_pyomo.build(game, prices)
    m.shared = pyo.Constraint(expr=m.training_time["c1"] + m.training_time["c4"] <= 1e-3)
    solution = bo.solve(m)
    assert solution.status is bo.Status.PARTLY_SOLVED and solution.clients is not None
    assert list(solution.clients.index[~solution.clients["recruited"]]) == ["c1", "c4"]


def test_a_coupled_model_is_not_split() -> None:
    game, prices = a_game(6)
    m = problem1_pyomo.build(game, prices)
    m.budget = pyo.Constraint(expr=sum(m.energy_cost[i] for i in m.clients) <= 1e9)
    crossing(m, "c5")
    solution = bo.solve(m)
    assert solution.status is bo.Status.INFEASIBLE and solution.clients is not None
    assert not solution.clients["recruited"].any() and "parts" not in solution.provenance


def test_a_constraint_that_is_no_clients_sinks_them_all() -> None:
    m = problem1_pyomo.build(*a_game(4))
    m.nobodys = pyo.Var(bounds=(0, 1))
    m.wrong = pyo.Constraint(expr=m.nobodys >= 2)
    solution = bo.solve(m)
    assert solution.status is bo.Status.INFEASIBLE and "nobodys" in solution.message
    assert solution.clients is not None and not solution.clients["recruited"].any()


def test_a_fixed_client_that_breaks_its_own_limit_fails_alone() -> None:
    m = problem1_pyomo.build(*a_game(4))
    m.training_time["c2"].fix(20.0)
    m.mining_time["c2"].fix(20.0)  # the deadline is now a row without a variable
    solution = bo.solve(m)
    assert solution.status is bo.Status.PARTLY_SOLVED and solution.clients is not None
    assert "deadline[c2]" in solution.clients.at["c2", "reason"]
    assert solution.clients["recruited"].sum() == 3


def test_the_owners_problem_keeps_the_clients_that_confirm_their_times() -> None:
    game = bo.Game(bo.Population.random(8, seed=1))
    whole = bo.solve(problem2_pyomo.build(game), raise_on_failure=True)
    m = problem2_pyomo.build(game)
    bad = list(m.clients)[3]
    m.bad = pyo.Constraint(expr=m.training_time[bad] >= 2 * game.deadline)
    solution = bo.solve(m)
    assert solution.status is bo.Status.PARTLY_SOLVED and solution.clients is not None and whole.clients is not None
    assert solution.certificate is not None and solution.certificate.follower_gap is not None
    others = solution.clients.index[solution.clients["recruited"]]
    assert len(others) == len(m.clients) - 1 and bad not in others
    np.testing.assert_allclose(
        solution.clients.loc[others, NUMBERS], whole.clients.loc[others, NUMBERS], rtol=1e-9, atol=1e-12
    )


# ---------------------------------------------------------------------- models without clients


def own_model() -> pyo.ConcreteModel:
    """min (x - 1)^2 + (y - 2)^2 + z^2, y <= 1, z >= 3 and <= 2: x = 1, y = 1 with objective 1 and dy* = -2; no z."""
    m = pyo.ConcreteModel(name="own")
    m.x, m.y, m.z = pyo.Var(initialize=0.5), pyo.Var(initialize=0.5), pyo.Var(initialize=0.5, bounds=(None, 2))
    m.o = pyo.Objective(expr=(m.x - 1) ** 2 + (m.y - 2) ** 2 + m.z**2)
    m.less, m.more = pyo.Constraint(expr=m.y + 0 * m.x <= 1), pyo.Constraint(expr=m.z >= 3)
    return m


def test_a_model_without_clients_ends_as_its_worst_part_and_holds_the_others() -> None:
    m = own_model()
    solution = bo.solve(m)
    assert solution.status is bo.Status.INFEASIBLE and solution.clients is None
    assert "z must be at least 3" in solution.message and "the other independent parts are solved" in solution.message
    part = solution.solved_part
    assert part.objective == pytest.approx(1.0, rel=1e-9)
    assert part.variables["x"] == pytest.approx(1.0) and part.variables["y"] == pytest.approx(1.0)
    assert np.isnan(part.variables["z"]) and part.shadow_prices["less"] == pytest.approx(-2.0)
    assert (m.x.value, m.y.value, m.z.value) == (0.5, 0.5, 0.5)


def test_what_settles_most_is_told_first() -> None:
    m = own_model()
    m.u = pyo.Var(initialize=0.0)
    m.o.expr += -m.u  # runs away, but what is infeasible is infeasible
    assert bo.solve(m).status is bo.Status.INFEASIBLE
    m.more.deactivate()
    assert bo.solve(m).status is bo.Status.UNBOUNDED


# ---------------------------------------------------------------------- what else takes part


@pytest.mark.parametrize("ending", [".json", ".nc"])
@pytest.mark.parametrize("of_clients", [True, False])
def test_files_keep_the_solved_part(ending: str, of_clients: bool, tmp_path: Path) -> None:
    m = own_model()
    if of_clients:
        m = problem1_pyomo.build(*a_game(4))
        spent(m, "c1")
    solution = bo.solve(m)
    solution.save(tmp_path / f"partly{ending}")
    back = bo.Solution.read(tmp_path / f"partly{ending}")
    assert back.status is solution.status and not back.succeeded and back.message == solution.message
    there, here = back.solved_part, solution.solved_part
    assert there.objective == here.objective and there.certificate is not None and here.certificate is not None
    assert there.certificate.residuals == here.certificate.residuals
    for name, value in here.variables.items():
        np.testing.assert_array_equal(there.variables[name], value)
    for name, value in here.shadow_prices.items():
        np.testing.assert_array_equal(there.shadow_prices[name], value)
    if of_clients:
        assert back.clients is not None and solution.clients is not None
        pd.testing.assert_frame_equal(back.clients, solution.clients)
        solution.save(tmp_path / "partly.parquet")
        frame = pd.read_parquet(tmp_path / "partly.parquet")
        assert frame["training_time"].isna().tolist() == [False, True, False, False]


@every_trouble
def test_explain_speaks_of_the_client_that_has_none(trouble: Callable[[Any, Any], None]) -> None:
    m = problem1_pyomo.build(*a_game(5))
    trouble(m, "c2")
    explanation = bo.explain(bo.solve(m))
    assert list(explanation.clients.index) == ["c2"]
    about = [*explanation.conflict, *explanation.undefined, *explanation.direction.index]
    assert about and all("c2" in name for name in about)


@pytest.mark.parametrize(
    ("trouble", "condition"),
    [
        (crossing, TerminationCondition.provenInfeasible),
        (endless, TerminationCondition.unbounded),
        (undefined, TerminationCondition.error),
    ],
)
def test_pyomo_is_told_what_ails_the_whole(
    trouble: Callable[[Any, Any], None], condition: TerminationCondition
) -> None:
    m = problem1_pyomo.build(*a_game(4))
    trouble(m, "c1")
    before = m.training_time["c0"].value
    solver = SolverFactory("bcfl_ipopt")
    results = solver.solve(m, raise_exception_on_nonoptimal_result=False, load_solutions=False)
    assert results.termination_condition is condition and results.incumbent_objective is None
    assert results.solution_status is SolutionStatus.noSolution and "client 'c1'" in results.extra_info.message
    assert m.training_time["c0"].value == before
    legacy = pyo.SolverFactory("bcfl_ipopt").solve(m)
    assert not pyo.check_optimal_termination(legacy) and m.training_time["c0"].value == before


def test_a_warm_start_from_what_is_solved_serves_the_rest() -> None:
    game, prices = a_game(6)
    m = problem1_pyomo.build(game, prices)
    spent(m, "c3")
    partly = bo.solve(m)
    m.bad_c3.deactivate()
    warm, cold = bo.solve(m, warm_start=partly), bo.solve(m)
    assert warm.succeeded and warm.objective == pytest.approx(cold.objective, rel=1e-10)


def test_a_sweep_records_the_clients_that_have_an_answer() -> None:
    game, prices = a_game(4)

    def cell(game: bo.Game, level: float) -> Any:
        m = problem1_pyomo.build(game, prices)
        m.bad = pyo.Constraint(expr=m.training_time["c0"] >= level)
        return bo.solve(m)

    found = bo.sweep(cell, {"level": [1.0, 20.0]}, game=game)
    assert found["succeeded"].values.tolist() == [True, False]
    assert found["status"].values.tolist() == ["solved", "partly_solved"]
    assert np.isnan(found["training_time"].sel(level=20.0)).values.tolist() == [True, False, False, False]


def test_a_stop_that_the_user_asked_for_is_the_wholes() -> None:
    m = problem1_pyomo.build(*a_game(6))
    spent(m, "c3")
    limited = bo.solve(m, options={"max_iter": 2})
    assert limited.status is bo.Status.ITERATION_LIMIT
    assert bo.solve(m, time_limit=1e-3).status is bo.Status.TIME_LIMIT
    assert bo.solve(m, time_limit=50.0).provenance["time_limit"] == 50.0


# ---------------------------------------------------------------------- parts


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 7), min_size=1, max_size=3), max_size=6),
    st.lists(st.lists(st.integers(0, 7), min_size=1, max_size=3), min_size=1, max_size=6),
)
def test_parts_are_those_that_walking_from_variable_to_variable_finds(
    rows: list[list[int]], terms: list[list[int]]
) -> None:
    m = pyo.ConcreteModel()
    m.x = pyo.Var(range(8), initialize=1.0)
    m.o = pyo.Objective(expr=sum(pyo.exp(sum(m.x[k] for k in term)) for term in terms))
    m.c = pyo.ConstraintList()
    for row in rows:
        m.c.add(pyo.log(sum(m.x[k] for k in row)) >= 0)
    read = program(m)
    index = [variable.index() for variable in read.variables]
    label = dict(zip(index, part_numbers(read.functions).tolist(), strict=False))

    def reached(start: int) -> set[int]:
        found, more = set(), {start}
        while more:
            found |= more
            more = {k for group in (*rows, *terms) if found & set(group) for k in group} - found
        return found

    for one in index:
        assert {other for other in index if label[other] == label[one]} == reached(one)
