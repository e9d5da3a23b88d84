"""Does a programme without the variables that follow from others have the same answers, multipliers included?"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pandas as pd
import pyomo.environ as pyo
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bcfl_opt as bo
from bcfl_opt import ipopt
from bcfl_opt.models import problem1_pyomo, problem2_pyomo, problem3_pyomo
from bcfl_opt.nlp.attempts import as_near
from bcfl_opt.nlp.elimination import Eliminated, eliminate
from bcfl_opt.nlp.kkt import certify
from bcfl_opt.nlp.presolve import presolve
from bcfl_opt.nlp.program import Program, program


def model_of(
    objective: Any, *rows: Any, x: Any = (0, None), y: Any = (0, None), z: Any = (0, None)
) -> pyo.ConcreteModel:
    """Three variables, of which a model may leave some unused; rows and objective are functions of them."""
    m = pyo.ConcreteModel()
    m.x, m.y, m.z = (pyo.Var(bounds=bounds, initialize=1.0) for bounds in (x, y, z))
    m.o = pyo.Objective(expr=objective(m.x, m.y, m.z))
    m.c = pyo.ConstraintList()
    for row in rows:
        m.c.add(row(m.x, m.y, m.z))
    return m


def eliminated(m: pyo.ConcreteModel) -> tuple[Program, Any]:
    read = program(m)
    return read, eliminate(presolve(read), read.start())


def taken_out(m: pyo.ConcreteModel) -> set[str]:
    read, shorter = eliminated(m)
    return {read.variables[k].name for k in shorter.pairs.followers} if isinstance(shorter, Eliminated) else set()


def solved(m: pyo.ConcreteModel) -> tuple[dict[str, float], np.ndarray]:
    """Variables by name, and multipliers of the rows as written, from the programme without what follows from the rest."""
    read, shorter = eliminated(m)
    assert isinstance(shorter, Eliminated)
    outcome = ipopt.run(shorter, read.start())
    assert certify(read, outcome.x, outcome.multipliers, convex=False).worst[1] <= 1e-7
    return {
        v.name: value for v, value in zip(read.variables, outcome.x.tolist(), strict=True)
    }, outcome.multipliers.rows


# ---------------------------------------------------------------------- by hand


def test_the_time_that_is_left() -> None:
    """min 1/x + 4/y on x + 2y <= 10: 1/x^2 = r and 4/y^2 = 2r, so y = x sqrt(2) and x = 10 / (1 + 2 sqrt(2))."""
    x = 10 / (1 + 2 * np.sqrt(2))
    point, rows = solved(model_of(lambda x, y, z: 1 / x + 4 / y, lambda x, y, z: x + 2 * y <= 10))
    assert point == pytest.approx({"x": x, "y": x * np.sqrt(2)}, rel=1e-7)
    assert rows == pytest.approx([1 / x**2], rel=1e-6)


@pytest.mark.parametrize(("least_x", "least_y"), [(0.0, 4.0), (6.0, 0.0)])
def test_a_bound_of_either_variable_keeps_its_price(least_x: float, least_y: float) -> None:
    """Where y = 4 binds, x = 2: r = 1/x^2 and y's bound is worth 2r - 4/y^2; where x = 6 does, y = 2: 2r = 4/y^2."""
    m = model_of(lambda x, y, z: 1 / x + 4 / y, lambda x, y, z: x + 2 * y <= 10, x=(least_x, None), y=(least_y, None))
    m.x.value, m.y.value = (1.0, 4.0) if least_y else (6.5, 1.0)
    read, shorter = eliminated(m)
    outcome = ipopt.run(shorter, read.start())
    by_name = {v.name: k for k, v in enumerate(read.variables)}
    x, y = (2.0, 4.0) if least_y else (6.0, 2.0)
    assert outcome.x[[by_name["x"], by_name["y"]]] == pytest.approx([x, y], rel=1e-7)
    price = 1 / x**2 if least_y else 4 / y**2 / 2
    assert outcome.multipliers.rows == pytest.approx([price], rel=1e-6)
    worth = {"x": price - 1 / x**2, "y": 2 * price - 4 / y**2}
    for name, value in worth.items():
        assert outcome.multipliers.x_lower[by_name[name]] == pytest.approx(value, abs=1e-7)
    assert not outcome.multipliers.x_upper.any()


def test_an_equality_with_a_variable_that_has_other_rows() -> None:
    """min (x - 3)^2 + (z - 1)^2, y = x + 1, y + z <= 4: x + z <= 3, so x = 2.5, z = 0.5 and r = 6 - 2x = 1 on both rows."""
    m = model_of(
        lambda x, y, z: (x - 3) ** 2 + (z - 1) ** 2 + 0 * y, lambda x, y, z: y - x == 1, lambda x, y, z: y + z <= 4
    )
    point, rows = solved(m)
    assert point == pytest.approx({"x": 2.5, "y": 3.5, "z": 0.5}, rel=1e-6)
    assert rows == pytest.approx([-1.0, 1.0], rel=1e-6)


def test_a_variable_without_lower_bound_goes_down() -> None:
    """min x^2 + y on y >= 2 - 4x: y falls to the row, x^2 - 4x + 2 is least at x = 2; the row, -4x - y <= -2, is worth 1."""
    m = model_of(lambda x, y, z: x**2 + y, lambda x, y, z: y + 4 * x >= 2, x=(None, None), y=(None, None))
    assert taken_out(m) == {"x"}  # the larger part of the row where the model stands
    point, rows = solved(m)
    assert point == pytest.approx({"x": 2.0, "y": -6.0}, abs=1e-6)
    assert rows == pytest.approx([-1.0], rel=1e-6)


# ---------------------------------------------------------------------- which


DEADLINE = (lambda x, y, z: x + 2 * y <= 10,)


@pytest.mark.parametrize(
    ("m", "names"),
    [
        pytest.param(model_of(lambda x, y, z: 1 / x + 4 / y, *DEADLINE), {"y"}, id="both fall"),
        pytest.param(model_of(lambda x, y, z: 1 / x + y**2, *DEADLINE), {"y"}, id="one falls, the other follows"),
        pytest.param(model_of(lambda x, y, z: x + 1 / x + y**2, *DEADLINE), set(), id="neither falls"),
        pytest.param(model_of(lambda x, y, z: 1 / x + y**2, *DEADLINE, x=(0, 8)), set(), id="bounded before the row"),
        pytest.param(
            model_of(lambda x, y, z: 1 / x + y**2, *DEADLINE, lambda x, y, z: x + z <= 4), set(), id="in another row"
        ),
        pytest.param(
            model_of(lambda x, y, z: 1 / x + y**2, *DEADLINE, lambda x, y, z: y * z >= 1), {"y"}, id="only the other is"
        ),
        pytest.param(model_of(lambda x, y, z: 1 / (x * y), *DEADLINE), set(), id="a term holds both"),
        pytest.param(model_of(lambda x, y, z: y**2 + 0 * x, *DEADLINE), set(), id="not in the objective"),
        pytest.param(model_of(lambda x, y, z: 1 / x + 4 / y, lambda x, y, z: x + 2 * y >= 10), set(), id="pushed away"),
        pytest.param(
            model_of(lambda x, y, z: 1 / x + 4 / y, lambda x, y, z: x + 2 * y + z <= 10), set(), id="three variables"
        ),
        pytest.param(model_of(lambda x, y, z: 1 / x + 4 / y, *DEADLINE, x=(3, 3)), set(), id="one is fixed"),
        pytest.param(model_of(lambda x, y, z: 1 / x + 4 / y, *DEADLINE, x=(9, None), y=(9, None)), set(), id="no room"),
        pytest.param(
            model_of(
                lambda x, y, z: x**2 + y**2 + z**2, lambda x, y, z: x + 2 * y == 1, lambda x, y, z: 3 * y + z == 3
            ),
            set(),
            id="the larger part of both rows is one variable",
        ),
        pytest.param(
            model_of(
                lambda x, y, z: x**2 + y**2 + z**2, lambda x, y, z: 2 * x + y == 1, lambda x, y, z: y + 2 * z == 3
            ),
            {"x", "z"},
            id="two follow from one",
        ),
    ],
)
def test_what_is_taken_out(m: pyo.ConcreteModel, names: set[str]) -> None:
    assert taken_out(m) == names


def test_a_pair_without_room_stays_and_the_others_go() -> None:
    m = of_parts([(1.0, 1.0, 1.0, 1.0, 1.0, "<=", 1.0, 1.0)] * 3, 1.0)
    m.rows[2].set_value(m.x[1] + m.y[1] <= 2.0)  # what both need at least
    read, shorter = eliminated(m)
    assert [read.constraints[shorter.presolved.kept[row]].name for row in shorter.pairs.rows] == ["rows[1]", "rows[3]"]
    outcome = ipopt.run(shorter, read.start())
    assert read.functions.constraints(outcome.x)[:3] == pytest.approx([3.0, 2.0, 3.0], rel=1e-7)


def test_the_deadline_leaves_one_time_a_client_and_no_row() -> None:
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({"mu": rng.uniform(1, 20, 9), "rho": rng.uniform(0.005, 0.02, 9), "q": 50.0})
    game = bo.Game(bo.Population(frame), mining_cycles=10.0, deadline=15.0)
    m = problem1_pyomo.build(game, game.prices(rng.uniform(1, 10, 9), rng.uniform(1, 10, 9)))
    _, shorter = eliminated(m)
    assert (shorter.functions.rows, shorter.functions.columns) == (0, 9)
    whole, exact = bo.solve(m), bo.best_response(game, m.bcfl.prices)
    assert whole.succeeded and [attempt["eliminated"] for attempt in whole.provenance["attempts"]] == [9]
    for name in ("training_time", "mining_time"):
        np.testing.assert_allclose(whole.clients[name], exact.clients[name], rtol=1e-9)


@pytest.mark.parametrize(("start", "barrier"), [(1e-2, 2e-2), (1e-4, 2e-4), (1.0, 0.1), (1e-9, 1e-6)])
def test_the_barrier_begins_where_the_start_is(start: float, barrier: float) -> None:
    """min 2x + 2y on x, y >= 0: the central path is at x = y = barrier / 2. IPOPT begins between 1e-6 and its own 0.1."""
    presolved = presolve(program(model_of(lambda x, y, z: 2 * x + 2 * y)))
    options = as_near(presolved, np.full(2, start))
    assert options["mu_init"] == pytest.approx(barrier, rel=1e-12)


def test_with_rows_the_barrier_is_left_to_ipopt() -> None:
    assert as_near(presolve(program(model_of(lambda x, y, z: 1 / x + 4 / y, *DEADLINE))), np.ones(2)) == {}
    free = presolve(program(model_of(lambda x, y, z: x**2 + y**2, x=(None, None), y=(None, None))))
    assert as_near(free, np.ones(2)) == {}


def test_what_fails_without_the_rows_is_tried_with_them(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = ipopt.run

    def spoilt(presolved: Any, *arguments: Any, **settings: Any) -> ipopt.Outcome:
        outcome = honest(presolved, *arguments, **settings)
        return dataclasses.replace(outcome, x=outcome.x * 0.9) if isinstance(presolved, Eliminated) else outcome

    monkeypatch.setattr(ipopt, "run", spoilt)
    game = bo.Game(bo.Population.random(4, seed=1), deadline=20.0)
    solution = bo.solve(problem1_pyomo.build(game, game.prices(0.05, 0.05)))
    exact = bo.best_response(game, game.prices(0.05, 0.05))
    assert [bool(attempt["eliminated"]) for attempt in solution.provenance["attempts"]] == [True, False]
    np.testing.assert_allclose(solution.clients["training_time"], exact.clients["training_time"], rtol=1e-9)


def test_only_convex_models_are_made_smaller() -> None:
    """Problem 3 takes IPOPT three times the steps without the deadlines' rows."""
    game = bo.Game(bo.Population.random(6, seed=1), deadline=20.0)
    for build, convex in ((problem2_pyomo.build, True), (problem3_pyomo.build, False)):
        solution = bo.solve(build(game)).raise_if_failed()
        assert bool(solution.provenance["attempts"][0]["eliminated"]) is convex


# ---------------------------------------------------------------------- anything


Number = st.floats(0.25, 4.0)
Part = st.tuples(Number, Number, Number, Number, Number, st.sampled_from(["<=", "=="]), Number, Number)


def of_parts(parts: list[Any], budget: float) -> pyo.ConcreteModel:
    """Pairs with costs a/x + b/y - c x, a row each, bounds, and a budget on the second variables of the equalities."""
    m = pyo.ConcreteModel()
    m.i = pyo.RangeSet(0, len(parts) - 1)
    m.x, m.y = (pyo.Var(m.i, initialize=1.0, bounds=(0, None)) for _ in range(2))
    m.rows, m.bounds = pyo.ConstraintList(), pyo.ConstraintList()
    cost, spent = 0.0, 0.0
    for k, (a, b, c, p, q, kind, least_x, least_y) in enumerate(parts):
        x, y = m.x[k], m.y[k]
        cost += a / x + b / y**2 - (c * x if kind == "<=" else 0.0)
        side = 1.5 * (p * least_x + q * least_y)
        m.rows.add(p * x + q * y <= side if kind == "<=" else p * x + q * y == side)
        m.bounds.add(x >= least_x)
        m.bounds.add(y >= least_y)
        spent += y - least_y if kind == "==" else 0.0
    if not isinstance(spent, float):
        m.budget = pyo.Constraint(expr=spent <= budget)
    m.o = pyo.Objective(expr=cost)
    return m


@settings(max_examples=60, deadline=None)
@given(parts=st.lists(Part, min_size=1, max_size=4), budget=st.floats(0.1, 3.0))
def test_the_same_answer_with_and_without(parts: list[Any], budget: float) -> None:
    m = of_parts(parts, budget)
    read, shorter = eliminated(m)
    reduced = presolve(read)
    assert isinstance(shorter, Eliminated) and len(shorter.pairs.rows) >= sum(part[5] == "<=" for part in parts)
    results = [ipopt.run(what, read.start()) for what in (shorter, reduced)]
    for outcome in results:
        certificate = certify(read, outcome.x, outcome.multipliers, convex=True)
        assert certificate.worst[1] <= 1e-6 and certificate.closes_gap
    one, other = (read.functions.objective(outcome.x) for outcome in results)
    assert one == pytest.approx(other, rel=1e-7, abs=1e-9)


@settings(max_examples=60, deadline=None)
@given(parts=st.lists(Part, min_size=1, max_size=4), seed=st.integers(0, 1000))
def test_points_and_multipliers_go_there_and_back(parts: list[Any], seed: int) -> None:
    read, shorter = eliminated(of_parts(parts, 1.0))
    rng = np.random.default_rng(seed)
    low, high = shorter.x_lower, np.where(np.isfinite(shorter.x_upper), shorter.x_upper, shorter.x_lower + 1.0)
    z = low + rng.uniform(0.1, 0.9, len(low)) * (high - low)
    x = shorter.back(z)
    np.testing.assert_array_equal(shorter.there(x), z)
    tight = shorter.presolved.kept[shorter.pairs.rows]
    g = read.functions.constraints(x)
    np.testing.assert_allclose(g[tight], read.upper[tight], rtol=1e-12)

    rows = rng.uniform(0.1, 1.0, len(shorter.lower))
    z_lower, z_upper = (
        np.where(np.isfinite(limit), rng.uniform(0.1, 1.0, len(z)), 0.0) for limit in (low, shorter.x_upper)
    )
    back = shorter.reduce(shorter.restore(z, rows, z_lower, z_upper))
    for there, here in zip(back, (rows, z_lower, z_upper), strict=True):
        np.testing.assert_allclose(there, here, rtol=1e-12)


def test_a_warm_start_arrives() -> None:
    rng = np.random.default_rng(5)
    frame = pd.DataFrame({"mu": rng.uniform(1, 20, 30), "rho": rng.uniform(0.005, 0.02, 30), "q": 50.0})
    game = bo.Game(bo.Population(frame), mining_cycles=10.0, deadline=15.0)
    prices = game.prices(rng.uniform(1, 10, 30), rng.uniform(1, 10, 30))
    cold = bo.solve(problem1_pyomo.build(game, prices))
    warm = bo.solve(problem1_pyomo.build(game, prices * 1.0001), warm_start=cold)
    assert warm.succeeded and warm.iterations < cold.iterations


def test_functions_known_only_as_a_whole_stay_whole() -> None:
    m = model_of(lambda x, y, z: 1 / x + 4 / y, *DEADLINE)
    presolved = presolve(program(m))

    class Whole:
        pass

    object.__setattr__(presolved, "functions", Whole())
    assert eliminate(presolved, np.ones(2)) is presolved


def test_multipliers_of_what_stays_are_handed_through() -> None:
    """Of x + 2y <= 10 and y z <= 5 the first goes. At x = 2, y = 4, z = 1, with 0.25 on the second:
    y's pull is -4/16 + 0.25 z + 2 r = 0."""
    m = model_of(lambda x, y, z: 1 / x + 4 / y - z, *DEADLINE, lambda x, y, z: y * z <= 5)
    read, shorter = eliminated(m)
    assert taken_out(m) == {"y"}
    z = shorter.there(np.array([{"x": 2.0, "y": 4.0, "z": 1.0}[v.name] for v in read.variables]))
    again = shorter.restore(z, np.array([0.25]), np.zeros(2), np.zeros(2))
    assert again.rows == pytest.approx([0.0, 0.25])
    again = shorter.restore(z, np.array([0.0]), np.zeros(2), np.zeros(2))
    assert again.rows == pytest.approx([0.125, 0.0])
