"""Bilevel programmes with known answers, by every method; what is said of ties, bounds and followers that are not convex."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pyomo.environ as pyo
import pytest
from bilevel_problems import CASES, bard_quadratic, indifferent, leader, tracking, two_followers
from scipy.optimize import linprog

import bcfl_opt as bo
from bcfl_opt.certificate import TOLERANCE

METHODS = [(name, method) for name, case in CASES.items() for method in case.methods]


@pytest.mark.parametrize(("name", "method"), METHODS)
def test_every_method_finds_the_answer_derived_by_hand(name: str, method: str) -> None:
    case = CASES[name]
    m = case.build()
    solution = bo.solve_bilevel(m, method=method, starts=3)
    assert solution.succeeded, solution
    assert solution.objective == pytest.approx(case.best, rel=1e-6, abs=1e-6)
    record = solution.bilevel
    assert record is not None and record.follower_gap <= TOLERANCE and record.complementarity <= 1e-6
    assert solution.certificate is not None and solution.certificate.holds()
    assert solution.certificate.follower_gap == record.follower_gap
    for variable, number in case.values.items():
        found = m.find_component(variable).value
        assert found == pytest.approx(number, rel=1e-5, abs=1e-5)
        assert solution.variables[variable] == found
    if case.unique and set(record.followers["convexity"]) == {"proven"}:
        assert not record.ties_matter
        assert record.pessimistic_objective == pytest.approx(case.best, rel=1e-5, abs=1e-5)


@pytest.mark.parametrize(("name", "method"), METHODS)
def test_nothing_that_is_called_a_bound_is_wrong(name: str, method: str) -> None:
    case = CASES[name]
    m = case.build()
    solution = bo.solve_bilevel(m, method=method, starts=1)
    record = solution.bilevel
    assert record is not None
    if record.bound is not None:
        sense = 1 if m.component("cost") is not None else -1
        assert sense * record.bound <= sense * case.best + 1e-6
        assert record.bound_by
    if solution.quality is bo.Quality.GLOBAL:
        assert solution.objective == pytest.approx(case.best, rel=1e-6, abs=1e-6)


# ---------------------------------------------------------------------------------- the model comes back


def portrait(m: pyo.ConcreteModel) -> list[Any]:
    """Everything a user could see, but for the values of variables."""
    parts: list[Any] = []
    for component in m.component_objects(descend_into=True):
        for index, item in component.items() if hasattr(component, "items") else ():
            expression = str(item.expr) if hasattr(item, "expr") else ""
            bounds = item.bounds if component.ctype is pyo.Var else ""
            parts.append(
                (component.name, index, getattr(item, "active", ""), getattr(item, "fixed", ""), expression, bounds)
            )
    return parts


@pytest.mark.parametrize("name", CASES)
def test_the_model_comes_back_as_it_was_but_for_values(name: str) -> None:
    m = CASES[name].build()
    before = portrait(m)
    bo.solve_bilevel(m, starts=2)
    assert portrait(m) == before


def test_a_failed_solve_leaves_values_alone() -> None:
    m = tracking()
    m.impossible = pyo.Constraint(expr=m.follower.y >= m.x + 2)
    before, values = portrait(m), [v.value for v in m.component_data_objects(pyo.Var)]
    solution = bo.solve_bilevel(m, starts=2)
    # y = x always: with the convex leader, branch and bound proves that there is nothing.
    assert solution.status is bo.Status.INFEASIBLE and "branch and bound" in solution.message
    assert portrait(m) == before
    assert [v.value for v in m.component_data_objects(pyo.Var)] == values
    with pytest.raises(bo.NoSolutionError):
        _ = solution.objective


def test_an_interrupted_solve_leaves_the_model_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    from bcfl_opt.reformulations import search

    m = tracking()
    before, values = portrait(m), [v.value for v in m.component_data_objects(pyo.Var)]

    def interrupted(*arguments: Any, **keywords: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(search, "improved", interrupted)
    with pytest.raises(KeyboardInterrupt):
        bo.solve_bilevel(m, starts=1)
    assert portrait(m) == before
    assert [v.value for v in m.component_data_objects(pyo.Var)] == values


def test_the_same_seed_gives_the_same_attempts() -> None:
    tables = [bo.solve_bilevel(bard_quadratic(), method="kkt", starts=4, seed=s).bilevel.starts for s in (5, 5, 6)]
    assert tables[0].equals(tables[1])
    assert not tables[0].equals(tables[2]) or len(set(tables[0]["objective"].round(6))) == 1


# ---------------------------------------------------------------------------------- ties


def test_ties_broken_in_the_leaders_favour_are_told() -> None:
    solution = bo.solve_bilevel(indifferent(), method="kkt", starts=2)
    record = solution.bilevel
    assert record is not None and record.ties_matter
    assert record.pessimistic_objective == pytest.approx(0.0, abs=1e-4)
    assert "ties broken in the leader's favour" in record.ties
    assert "ties broken in the leader's favour" in repr(record)


def test_ties_that_do_not_concern_the_leader_are_told_apart() -> None:
    m = tracking()
    m.follower.z = pyo.Var(bounds=(0, 1), initialize=0.5)  # in nobody's objective
    m.follower.aside = pyo.Constraint(expr=m.follower.z + m.follower.y <= 20)
    record = bo.solve_bilevel(m, starts=1).bilevel
    assert record is not None and not record.ties_matter
    assert "no tie changes the leader's objective" in record.ties


def test_a_worst_tie_without_limit() -> None:
    # The follower does not care about z at all, and the leader's objective rises with it.
    m, x, f = leader("no limit", 1.0, (0, 2))
    f.y, f.z = pyo.Var(initialize=1.0), pyo.Var(initialize=1.0, bounds=(0, None))
    f.cost = pyo.Objective(expr=(f.y - x) ** 2)
    f.free = pyo.Constraint(expr=f.z + f.y >= -5)
    m.cost = pyo.Objective(expr=(x - 1) ** 2 + f.z)
    solution = bo.solve_bilevel(m, starts=2)
    assert solution.objective == pytest.approx(0.0, abs=1e-6)
    assert solution.bilevel is not None and solution.bilevel.ties_matter
    assert solution.bilevel.pessimistic_objective == np.inf


# ---------------------------------------------------------------------------------- followers that are not convex


def two_hills(start: float) -> pyo.ConcreteModel:
    """max y^2 - 0.2 x y over y in [-1, 1], x in [-1, 1]: y = -1 for x > 0 and y = 1 for x < 0, though y = 1 is a KKT point
    for every x. The leader's (x - 1)^2 + (y - 1)^2 is 0 at the KKT point (1, 1). The follower's optima give
    (x - 1)^2 for x <= 0, at least 1 (at x = 0, a tie), and more than 4 for x > 0.
    """
    m, x, f = leader("two hills", start, (-1, 1))
    f.y = pyo.Var(bounds=(-1, 1), initialize=1.0)
    f.gain = pyo.Objective(expr=f.y**2 - 0.2 * x * f.y, sense=pyo.maximize)
    m.cost = pyo.Objective(expr=(x - 1) ** 2 + (f.y - 1) ** 2)
    return m


def test_a_kkt_point_that_is_not_the_followers_optimum_is_no_success() -> None:
    m = two_hills(1.0)
    before = [v.value for v in m.component_data_objects(pyo.Var)]
    solution = bo.solve_bilevel(m, method="kkt", starts=1)
    assert solution.status is bo.Status.FOLLOWER_NOT_OPTIMAL
    assert "follower follower" in solution.message and "not convex" in solution.message
    assert solution.bilevel is not None
    assert solution.bilevel.followers.loc["follower", "convexity"] == "refuted"
    # max y^2 - 0.2 y is 1.2 at y = -1, and 0.8 at the KKT point: a gap of 0.4 of terms of 1.2 in all.
    assert solution.bilevel.followers.loc["follower", "gap"] == pytest.approx(0.4 / 1.2, rel=1e-4)
    assert [v.value for v in m.component_data_objects(pyo.Var)] == before


@pytest.mark.parametrize("seed", range(2))
def test_no_answer_is_better_than_the_followers_allow(seed: int) -> None:
    solution = bo.solve_bilevel(two_hills(0.3), seed=seed)
    if solution.succeeded:
        assert solution.objective >= 1.0 - 1e-6
        assert "not known to be convex" in solution.message


# ---------------------------------------------------------------------------------- unbounded, infeasible, time


def test_a_leader_unbounded_over_the_followers_optima() -> None:
    m = tracking()
    m.x.setub(None)
    m.follower.y.setub(None)
    m.cost.set_value(-m.x - m.follower.y)
    solution = bo.solve_bilevel(m, starts=2)
    assert solution.status is bo.Status.UNBOUNDED
    assert "over the followers' optima" in solution.message


def test_a_leader_whom_only_the_follower_keeps_in_bounds() -> None:
    # min -x s.t. z >= x, z <= 3, z = 0 by the follower: x <= 0 although x alone has no bound.
    m, x, f = leader("kept in bounds", -1.0)
    f.z = pyo.Var(initialize=0.0)
    f.cost = pyo.Objective(expr=(f.z) ** 2)
    m.limit = pyo.Constraint(expr=f.z >= x)
    m.cost = pyo.Objective(expr=-x)
    solution = bo.solve_bilevel(m, starts=2)
    assert solution.succeeded and solution.objective == pytest.approx(0.0, abs=1e-6)


def test_a_follower_without_an_optimum_is_named() -> None:
    m = tracking()
    m.follower.y.setub(None)
    m.follower.cost.set_value(-m.follower.y)
    solution = bo.solve_bilevel(m, starts=2)
    assert not solution.succeeded
    assert "follower follower there: unbounded" in solution.message


def test_a_follower_without_a_feasible_point() -> None:
    m = tracking()
    m.follower.impossible = pyo.Constraint(expr=m.follower.y >= m.x + 20)
    solution = bo.solve_bilevel(m)
    assert solution.status is bo.Status.INFEASIBLE and "follower.impossible" in solution.message


def test_a_time_limit_is_a_time_limit() -> None:
    solution = bo.solve_bilevel(CASES["Candler and Townsley"].build(), method="kkt", time_limit=1e-4)
    assert solution.status is bo.Status.TIME_LIMIT


def test_a_line_for_every_attempt(capsys: pytest.CaptureFixture[str]) -> None:
    solution = bo.solve_bilevel(bard_quadratic(), starts=2, tee=True)
    lines = capsys.readouterr().out.splitlines()
    assert solution.bilevel is not None
    assert len(lines) == len(solution.bilevel.starts) == len(solution.log.splitlines())
    assert any(line.startswith("branch_and_bound") for line in lines)


def test_shadow_prices_are_those_of_the_changed_problem() -> None:
    # Value of two_followers with the right-hand side b: min x1^2 + x2^2 with x1 - x2 = b is b^2 / 2, so the price is b = 1.
    solution = bo.solve_bilevel(two_followers(), starts=1)
    assert solution.shadow_prices["tied"] == pytest.approx(1.0, rel=1e-6)
    # tracking with x >= 4.5: (x - 3)^2 + (x - 5)^2 has the slope 2 (1.5) + 2 (-0.5) = 2 there.
    m = tracking()
    m.floor = pyo.Constraint(expr=m.x >= 4.5)
    assert bo.solve_bilevel(m, starts=1).shadow_prices["floor"] == pytest.approx(2.0, rel=1e-6)


# ---------------------------------------------------------------------------------- against enumeration


def random_linear(rng: np.random.Generator) -> tuple[pyo.ConcreteModel, dict[str, np.ndarray]]:
    """min c x + d y, y in argmin e y s.t. A x + B y <= b, 0 <= x, y <= 5; two variables each, three rows through (1, 1, 1, 1)."""
    data = {name: rng.integers(-5, 6, size).astype(float) for name, size in
            {"c": 2, "d": 2, "e": 2, "A": (3, 2), "B": (3, 2)}.items()}  # fmt: skip
    data["b"] = data["A"].sum(1) + data["B"].sum(1) + rng.integers(0, 6, 3)
    m = pyo.ConcreteModel("random linear")
    m.x = pyo.Var([0, 1], bounds=(0, 5), initialize=1.0)
    m.follower = f = pyo.Block()
    f.y = pyo.Var([0, 1], bounds=(0, 5), initialize=1.0)
    m.cost = pyo.Objective(expr=sum(data["c"][k] * m.x[k] + data["d"][k] * f.y[k] for k in (0, 1)))
    f.cost = pyo.Objective(expr=sum(data["e"][k] * f.y[k] for k in (0, 1)))
    f.rows = pyo.ConstraintList()
    for j in range(3):
        body = sum(data["A"][j, k] * m.x[k] + data["B"][j, k] * f.y[k] for k in (0, 1))
        if not isinstance(body, float):
            f.rows.add(body <= data["b"][j])
    return m, data


def by_enumeration(data: dict[str, np.ndarray]) -> float:
    """Every choice of active rows and bounds of the follower, each a linear programme in (x, y, multipliers)."""
    rows = np.vstack([data["B"], np.eye(2), -np.eye(2)])  # G y <= h - H x
    of_x = np.vstack([data["A"], np.zeros((4, 2))])
    right = np.concatenate([data["b"], [5, 5, 0, 0]])
    k = len(rows)
    best = np.inf
    for active in itertools.product([False, True], repeat=k):
        on = np.array(active)
        bounds = [(0, 5)] * 4 + [(0, None) if held else (0, 0) for held in on]
        stationary = np.hstack([np.zeros((2, 4)), rows.T])
        equal = np.hstack([of_x[on], rows[on], np.zeros((int(on.sum()), k))])
        found = linprog(
            np.concatenate([data["c"], data["d"], np.zeros(k)]),
            A_ub=np.hstack([of_x, rows, np.zeros((k, k))]),
            b_ub=right,
            A_eq=np.vstack([stationary, equal]),
            b_eq=np.concatenate([-data["e"], right[on]]),
            bounds=bounds,
        )
        if found.status == 0:
            best = min(best, found.fun)
    return best


@pytest.mark.parametrize("seed", range(8))
def test_linear_problems_against_all_their_pieces(seed: int) -> None:
    m, data = random_linear(np.random.default_rng(seed))
    best = by_enumeration(data)
    solution = bo.solve_bilevel(m, starts=2)
    assert solution.succeeded and solution.quality is bo.Quality.GLOBAL, solution
    assert solution.objective == pytest.approx(best, abs=1e-5)
