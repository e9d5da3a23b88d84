"""One convention for duals: every price of every route is the slope of the optimum, found by solving again."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import cvxpy as cp
import numpy as np
import pandas as pd
import pyomo.environ as pyo
import pytest
from convex_games import a_game, some_prices
from hypothesis import given, settings
from hypothesis import strategies as st

import bcfl_opt as bo
from bcfl_opt.commands.report import shadow_prices_table
from bcfl_opt.models import (
    problem1_cvxpy,
    problem1_pyomo,
    problem2_cvxpy,
    problem2_pyomo,
    problem3_cvxpy,
    problem3_pyomo,
)

ROUTES = ["pyomo", "clarabel", "ipopt"]
STEP = 1e-3

# ---------------------------------------------------------------------------------- random problems, three routes


@dataclasses.dataclass
class Drawn:
    """min (or max minus) sum w (x - c)^2 + exp(x_0) s.t. rows of the drawn kinds and bounds; feasible at ``inside``.

    limits : name of a price -> right-hand side (a range's both sides move together) or bound.
    """

    sense: int
    weight: np.ndarray
    center: np.ndarray
    rows: list[tuple[str, np.ndarray]]
    limits: dict[str, float]

    def moved(self, name: str, by: float) -> Drawn:
        return dataclasses.replace(self, limits={**self.limits, name: self.limits[name] + by})

    def cost(self, x: Any, exp: Callable[[Any], Any]) -> Any:
        total = sum(w * (x[k] - c) ** 2 for k, (w, c) in enumerate(zip(self.weight, self.center, strict=True)))
        return total + exp(x[0])

    def bound(self, k: int, side: str) -> float | None:
        return self.limits.get(f"x{k}.{side}")

    def pyomo(self) -> Any:
        m = pyo.ConcreteModel()
        x = []
        for k in range(len(self.weight)):
            variable = pyo.Var(bounds=(self.bound(k, "lower"), self.bound(k, "upper")))
            m.add_component(f"x{k}", variable)
            x.append(variable)
        m.o = pyo.Objective(expr=self.sense * self.cost(x, pyo.exp), sense=self.sense)
        for k, (kind, a) in enumerate(self.rows):
            body, b = sum(float(n) * v for n, v in zip(a, x, strict=True) if n), self.limits[f"row{k}"]
            relation = {
                "<=": lambda body=body, b=b: body <= b,
                ">=": lambda body=body, b=b: b <= body,
                "==": lambda body=body, b=b: body == b,
                "range": lambda body=body, b=b: pyo.inequality(b, body, b + 0.3),
            }[kind]()
            m.add_component(f"row{k}", pyo.Constraint(expr=relation))
        return m

    def cvxpy(self) -> cp.Problem:
        n = len(self.weight)
        x = [cp.Variable(name=f"x{k}", bounds=[self.bound(k, "lower"), self.bound(k, "upper")]) for k in range(n)]
        constraints = []
        for k, (kind, a) in enumerate(self.rows):
            body, b = sum(float(v) * y for v, y in zip(a, x, strict=True) if v), self.limits[f"row{k}"]
            if kind == "range":  # CVXPY has none: its two sides, of which one price each is drawn by the other name
                constraints += [(body >= b).set_label(f"row{k}"), (body <= b + 0.3).set_label(f"row{k} upper")]
            else:
                relation = body <= b if kind == "<=" else body >= b if kind == ">=" else body == b
                constraints.append(relation.set_label(f"row{k}"))
        cost = self.cost(x, cp.exp)
        return cp.Problem(cp.Minimize(cost) if self.sense > 0 else cp.Maximize(-cost), constraints)

    def solved(self, route: str) -> bo.Solution:
        return bo.solve(self.pyomo()) if route == "pyomo" else bo.solve(self.cvxpy(), solver=route)


@st.composite
def problems(draw: Any) -> Drawn:
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n = draw(st.integers(2, 3))
    inside = rng.uniform(-1, 1, n)
    limits: dict[str, float] = {}
    rows = []
    for k in range(draw(st.integers(1, 3))):
        kind = draw(st.sampled_from(["<=", ">=", "==", "range"])) if k < n - 1 else "<="
        a = np.round(rng.uniform(-2, 2, n), 2)
        if draw(st.booleans()):  # one variable alone: presolve makes it a bound
            a = np.where(np.arange(n) == rng.integers(n), np.sign(a) * np.maximum(np.abs(a), 0.5), 0.0)
        slack = 0.1 * rng.uniform()
        at = float(a @ inside)
        rows.append((kind, a))
        limits[f"row{k}"] = {"<=": at + slack, ">=": at - slack, "==": at, "range": at - 0.15}[kind]
    for k in range(n):
        if draw(st.booleans()):
            limits[f"x{k}.lower"] = inside[k] - 0.2 * rng.uniform()
        if draw(st.booleans()):
            limits[f"x{k}.upper"] = inside[k] + 0.2 * rng.uniform()
    sense = draw(st.sampled_from([1, -1]))
    return Drawn(sense, rng.uniform(0.5, 2, n), rng.uniform(-2, 2, n), rows, limits)


@settings(max_examples=12, derandomize=True, deadline=None)
@given(problems())
def test_every_price_is_a_slope_on_every_route(drawn: Drawn) -> None:
    solutions = {route: drawn.solved(route) for route in ROUTES}
    if solutions["clarabel"].status is bo.Status.INFEASIBLE:  # equalities may leave the bounds
        assert not any(solution.succeeded for solution in solutions.values())
        return
    here = solutions["pyomo"].raise_if_failed().objective
    for name in drawn.limits:
        after, before = (drawn.moved(name, by).solved("clarabel") for by in (STEP, -STEP))
        sides = [(other.objective - here) / by for other, by in ((after, STEP), (before, -STEP)) if other.succeeded]
        for route, solution in solutions.items():
            price = solution.shadow_prices[name]
            if route != "pyomo":  # both sides of a range
                price += solution.shadow_prices.get(f"{name} upper", 0.0)
            # The optimum is convex in the limits (concave where maximised), so a price lies between the slopes; and
            # where nothing starts or stops binding, they meet.
            low, high = min(sides), max(sides)
            if len(sides) == 2:
                assert low - 1e-4 <= price <= high + 1e-4, (route, name)
                if high - low < 0.02:
                    middle = (after.objective - before.objective) / (2 * STEP)
                    assert price == pytest.approx(middle, rel=1e-4, abs=1e-4 if high - low > 1e-2 else 2e-5), (
                        route,
                        name,
                    )


# ---------------------------------------------------------------------------------- which limit gets the price


def one(low: float | None, high: float | None, *rows: Callable[[Any], Any], sense: int = 1) -> bo.Solution:
    """min (x - 5)^2, or max -(x - 5)^2, within bounds and rows."""
    m = pyo.ConcreteModel()
    m.x = pyo.Var(bounds=(low, high))
    m.o = pyo.Objective(expr=sense * (m.x - 5) ** 2, sense=sense)
    m.rows = pyo.ConstraintList()
    for row in rows:
        m.rows.add(row(m.x))
    return bo.solve(m).raise_if_failed()


@pytest.mark.parametrize("sense", [1, -1])
def test_the_tighter_of_a_bound_and_a_constraint_has_the_price(sense: int) -> None:
    # At x = u the slope is 2 (u - 5) per unit of u, and a row 2 x <= b moves u by half a unit.
    tighter = one(None, 3, lambda x: 2 * x <= 4, sense=sense).shadow_prices
    assert tighter["rows"][1] == pytest.approx(sense * 2 * (2 - 5) / 2) and tighter["x.upper"] == pytest.approx(0)
    looser = one(None, 3, lambda x: 2 * x <= 8, sense=sense).shadow_prices
    assert looser["rows"][1] == 0 and looser["x.upper"] == pytest.approx(sense * 2 * (3 - 5))
    lower = one(7, None, lambda x: -x <= -6, sense=sense).shadow_prices
    assert lower["x.lower"] == pytest.approx(sense * 2 * (7 - 5)) and lower["rows"][1] == 0
    assert "x.upper" not in lower


def test_ties_go_to_the_bound_and_then_to_the_constraint_written_first() -> None:
    tie = one(None, 3, lambda x: x <= 3, lambda x: 2 * x <= 6).shadow_prices
    assert tie["x.upper"] == pytest.approx(-4) and tie["rows"].tolist() == [0, 0]
    tie = one(None, None, lambda x: -x >= -3, lambda x: x <= 3).shadow_prices
    assert tie["rows"].tolist() == pytest.approx([4, 0])


def test_a_variable_that_an_equality_or_its_bounds_leave_no_choice() -> None:
    assert one(0, 9, lambda x: 2 * x == 4).shadow_prices["rows"][1] == pytest.approx(2 * (2 - 5) / 2)
    both = one(2, 2).shadow_prices  # lower and upper at once: whichever way it wants to go is the one that holds it
    assert both["x.lower"] == pytest.approx(0) and both["x.upper"] == pytest.approx(-6)


def test_prices_exist_for_bounds_that_exist() -> None:
    m = pyo.ConcreteModel()
    m.x = pyo.Var(["a", "b", "c"], bounds=lambda m, i: {"a": (0, None), "b": (None, 1), "c": (0, 1)}[i])
    m.free, m.positive = pyo.Var(), pyo.Var(domain=pyo.NonNegativeReals)
    m.idle, m.far = pyo.Var(bounds=(0, 1), initialize=0.5), pyo.Var(bounds=(-1e20, 1e20))
    m.fixed = pyo.Var(bounds=(0, 3), initialize=3)
    m.fixed.fix()
    m.o = pyo.Objective(
        expr=(m.x["a"] + 1) ** 2
        - m.x["b"]
        + (m.x["c"] - 0.5) ** 2
        + m.free**2
        + 3 * m.positive
        + m.far**2
        - 7 * m.fixed
    )
    prices = bo.solve(m).raise_if_failed().shadow_prices
    bounds = {"x.lower", "x.upper", "positive.lower", "idle.lower", "idle.upper", "fixed.lower", "fixed.upper"}
    assert set(prices) == bounds
    assert prices["x.lower"].to_dict() == pytest.approx({"a": 2, "c": 0}, abs=1e-6)
    assert prices["x.upper"].to_dict() == pytest.approx({"b": -1, "c": 0}, abs=1e-6)
    assert prices["positive.lower"] == pytest.approx(3)
    assert prices["fixed.upper"] == prices["idle.upper"] == 0  # a fixed variable's bounds are not asked


def test_a_block_alone_has_the_prices_of_variables_outside_it() -> None:
    m = pyo.ConcreteModel()
    m.x = pyo.Var(bounds=(2, None))
    m.b = pyo.Block()
    m.b.o = pyo.Objective(expr=m.x**2)
    solution = bo.solve(m.b).raise_if_failed()
    assert solution.shadow_prices["x.lower"] == pytest.approx(4) and solution.variables["x"] == pytest.approx(2)


@pytest.mark.parametrize("sense", [1, -1])
def test_raw_multipliers_cancel_the_gradient(sense: int) -> None:
    """min (x-3)^2 + (y+1)^2, or max its negative, on x + y <= 1, y >= -0.5: L's gradient is 0 in the stated convention."""
    m = pyo.ConcreteModel()
    m.x, m.y = pyo.Var(), pyo.Var(bounds=(-0.5, None))
    m.o = pyo.Objective(expr=sense * ((m.x - 3) ** 2 + (m.y + 1) ** 2), sense=sense)
    m.c = pyo.Constraint(expr=m.x + m.y <= 1)
    solution = bo.solve(m).raise_if_failed()
    raw, x = solution.multipliers, solution.variables
    assert 2 * (x["x"] - 3) + raw["c"] == pytest.approx(0, abs=1e-7)
    assert 2 * (x["y"] + 1) + raw["c"] - raw["y.lower"] == pytest.approx(0, abs=1e-7)
    assert raw["c"] == pytest.approx(3) and raw["y.lower"] == pytest.approx(4)  # whatever the sense
    assert solution.shadow_prices["c"] == pytest.approx(-3 * sense)
    assert solution.shadow_prices["y.lower"] == pytest.approx(4 * sense)
    with pytest.raises(bo.NoSolutionError):
        _ = bo.solve(m, options={"max_iter": 0}).multipliers


# ---------------------------------------------------------------------------------- CVXPY's ways to say a bound


@pytest.mark.parametrize("solver", ["clarabel", "ipopt"])
@pytest.mark.parametrize("sense", [1, -1])
def test_bounds_of_cvxpy_variables(sense: int, solver: str) -> None:
    """Separable: each entry sits on its own bound, and its price is the objective's slope there."""
    floor = cp.Parameter(value=0.25)
    x = cp.Variable(3, name="x", bounds=[np.array([1, -np.inf, 0]), np.array([np.inf, 2, 5])])
    y, z = cp.Variable(name="y", nonneg=True), cp.Variable((2, 2), name="z", nonpos=True)
    w, v = cp.Variable(name="w", bounds=[-1, 1]), cp.Variable(2, name="v", bounds=[floor, None])
    free = cp.Variable(name="free")
    target = np.array([[1.0, -1.0], [-2.0, 3.0]])
    cost = 2 * x[0] - 3 * x[1] + cp.square(x[2] - 1) + 4 * y - w + cp.sum(cp.multiply([1.0, 2.0], v)) + cp.square(free)
    cost = cost + cp.sum(cp.square(z - target))
    problem = cp.Problem(cp.Minimize(cost) if sense > 0 else cp.Maximize(-cost), [x[0] + free >= -9])
    solution = bo.solve(problem, solver=solver).raise_if_failed()
    expected = {
        "x.lower": [2, 0, 0],
        "x.upper": [0, -3, 0],
        "y.lower": 4,
        "z.upper": [[-2, 0], [0, -6]],  # d (0 - target)^2 / d bound
        "w.lower": 0,
        "w.upper": -1,
        "v.lower": [1, 2],
    }
    assert set(solution.shadow_prices) == {"constraint 0", *expected}
    for name, prices in expected.items():
        np.testing.assert_allclose(solution.shadow_prices[name], sense * np.array(prices), atol=1e-6)
        assert np.min(solution.multipliers[name]) >= 0
    np.testing.assert_allclose(solution.variables["v"], 0.25, atol=1e-8)  # a bound that is a parameter is a bound


@pytest.mark.parametrize("solver", ["clarabel", "ipopt"])
def test_prices_and_dual_values_with_a_symmetric_variable(solver: str) -> None:
    # (s_11 - 1)^2 + 2 s_12^2 on s_11 + s_12 <= r: Lagrange gives 2/3 at r = 1/2, 2 (1 - r) 2/3 in general.
    s = cp.Variable((2, 2), symmetric=True)
    row = (s[0, 0] + s[0, 1] <= 0.5).set_label("row")
    problem = cp.Problem(cp.Minimize(cp.sum_squares(s - np.eye(2))), [row])
    solution = bo.solve(problem, solver=solver).raise_if_failed()
    assert solution.shadow_prices["row"] == pytest.approx(-2 / 3, rel=1e-6)
    assert row.dual_value == pytest.approx(2 / 3, rel=1e-6) == solution.multipliers["row"]


def test_a_non_convex_cvxpy_problem_has_prices_of_rows_and_bounds() -> None:
    # max x y on x + y <= r, x <= u (tighter): x = u, y = r - u, value u (r - u).
    def value(r: float, u: float) -> tuple[bo.Solution, list[cp.Constraint]]:
        x, y = cp.Variable(name="x", bounds=[0, u], value=0.4), cp.Variable(name="y", nonneg=True, value=0.7)
        rows = [(x + y <= r).set_label("sum")]
        return bo.solve(cp.Problem(cp.Maximize(x * y), rows), solver="ipopt").raise_if_failed(), rows

    solution, rows = value(3.0, 1.0)
    assert solution.quality is bo.Quality.LOCAL
    assert solution.shadow_prices["sum"] == pytest.approx(1.0, rel=1e-6)  # u
    assert solution.shadow_prices["x.upper"] == pytest.approx(3.0 - 2 * 1.0, rel=1e-6)  # r - 2 u
    assert solution.shadow_prices["x.lower"] == pytest.approx(0, abs=1e-6)
    assert rows[0].dual_value == pytest.approx(1.0, rel=1e-6)
    for name, move in (("sum", (1e-4, 0)), ("x.upper", (0, 1e-4))):
        up, down = (value(3 + k * move[0], 1 + k * move[1])[0].objective for k in (1, -1))
        assert solution.shadow_prices[name] == pytest.approx((up - down) / 2e-4, rel=1e-4)


def test_cones_have_multipliers_and_no_price_and_names_do_not_collide() -> None:
    x = cp.Variable(2, name="x", nonneg=True)
    ball, floor = cp.SOC(cp.Constant(1.0), x), (x[0] >= 0.1).set_label("x.lower")
    solution = bo.solve(cp.Problem(cp.Maximize(3 * x[0] + 4 * x[1]), [ball, floor])).raise_if_failed()
    assert set(solution.shadow_prices) == {"x.lower", "x.lower (2)"}  # the user's own name first
    t, part = solution.multipliers["constraint 0"]
    assert t == pytest.approx(5) and np.asarray(part).ravel() == pytest.approx([-3, -4])


def test_a_failure_leaves_dual_values_alone() -> None:
    x = cp.Variable()
    row = x >= 1
    bo.solve(cp.Problem(cp.Minimize(x), [row])).raise_if_failed()
    for solver in ("clarabel", "ipopt"):
        assert not bo.solve(cp.Problem(cp.Minimize(x), [row, x <= 0]), solver=solver).succeeded
        assert row.dual_value == pytest.approx(1) and x.value == pytest.approx(1)


# ---------------------------------------------------------------------------------- the game's own models


def pyomo_models() -> Iterator[Any]:
    game = a_game(2)
    for form in ("time", "speed"):
        for caps in (False, True):
            yield problem1_pyomo.build(game, some_prices(game), form=form, reward_caps=caps)
    for problem in (problem2_pyomo, problem3_pyomo):
        for response in ("optimal", "theorem"):
            for budgets in ("at_most", "exhausted"):
                yield problem.build(game, response=response, budgets=budgets)


def convex_models() -> Iterator[Any]:
    game = a_game(2)
    for caps in (False, True):
        yield problem1_cvxpy.build(game, some_prices(game), reward_caps=caps)
    for problem in (problem2_cvxpy, problem3_cvxpy):
        for response in ("optimal", "theorem"):
            for budgets in ("at_most", "exhausted"):
                yield problem.build(game, response=response, budgets=budgets)


def check_slopes(prices: Mapping[str, Any], price: float, name: str, objectives: list[float | None], h: float) -> None:
    """A price between the one-sided slopes, and equal to both where they meet; NaN-free."""
    here, after, before = objectives
    assert np.isfinite(price), name
    sides = []
    if after is not None:
        sides.append((after - here) / h)
    if before is not None:
        sides.append((here - before) / h)
    size = max(abs(price), *(abs(s) for s in sides), 1e-3) if sides else 0.0
    if len(sides) == 2:
        assert min(sides) - 1e-4 * size <= price <= max(sides) + 1e-4 * size, name


def moved(row: Any, by: float) -> tuple[Any, Any, Any]:
    low, body, high = row.to_bounded_expression()
    return (None if low is None else low + by, body, None if high is None else high + by)


def test_every_named_constraint_of_the_pyomo_models() -> None:
    checked = set()
    for m in pyomo_models():
        m.bcfl = dataclasses.replace(m.bcfl, follower_optimal=False)  # a moved constraint is not the printed problem
        prices = bo.solve(m).raise_if_failed().shadow_prices
        here = bo.solve(m).objective
        client = m.bcfl.clients[0]
        for component in m.component_objects(pyo.Constraint, active=True):
            if client not in component or not pyo.is_potentially_variable(component[client].body):
                continue
            row = component[client]
            original, side = row.to_bounded_expression(), row.upper if row.upper is not None else row.lower
            h = 1e-4 * max(abs(pyo.value(side)), 0.05)
            objectives: list[float | None] = [here]
            for by in (h, -h):
                row.set_value(moved(row, by))
                again = bo.solve(m)
                objectives.append(again.objective if again.succeeded else None)
                row.set_value(original)
            check_slopes(prices, prices[component.name][client], f"{m.bcfl.problem}: {component.name}", objectives, h)
            checked.add(component.name)
    assert checked >= {
        "training_rationality",
        "mining_rationality",
        "deadline",
        "training_speed_limit",
        "mining_speed_limit",
        "training_budget",
        "mining_budget",
        "individual_rationality",
    }


def test_every_named_constraint_of_the_cvxpy_models() -> None:
    for model in convex_models():
        model.context = dataclasses.replace(model.context, follower_optimal=False)
        model.checks.clear()
        first = bo.solve(model).raise_if_failed()
        by_ipopt = bo.solve(model, solver="ipopt").raise_if_failed()
        for name, constraint in dict(model.constraints).items():
            if not constraint.size:
                continue
            left, right = constraint.args
            unit = np.eye(constraint.size)[0]
            side = left if left.is_constant() and not right.is_constant() else right
            h = 1e-4 * max(abs(float(np.ravel(side.value)[0])), 0.05)
            objectives: list[float | None] = [first.objective]
            for by in (h, -h):
                change = by * unit
                moved_sides = (left + change, right) if side is left else (left, right + change)
                model.constraints[name] = type(constraint)(*moved_sides)
                again = bo.solve(model)
                objectives.append(again.objective if again.succeeded else None)
            model.constraints[name] = constraint
            for solution in (first, by_ipopt):
                price = float(np.ravel(solution.shadow_prices[name])[0])
                title = f"{model.context.problem}: {name} by {solution.solver}"
                check_slopes(solution.shadow_prices, price, title, objectives, h)


# ---------------------------------------------------------------------------------- as a table


def test_a_table_of_prices_copes_with_all_of_them() -> None:
    game = a_game(2)
    table = shadow_prices_table(bo.solve(problem2_pyomo.build(game)))
    assert {"deadline", "training_time.lower", "mining_payment.lower"} <= set(table["constraint"])
    assert len(table[table["constraint"] == "deadline"]) == 2
    x, y = cp.Variable((2, 2), name="x", nonneg=True), cp.Variable(name="y", bounds=[0, 1])
    table = shadow_prices_table(bo.solve(cp.Problem(cp.Minimize(cp.sum(x) + y), [cp.sum(x, axis=0) >= 1])))
    assert table["shadow_price"].map(np.isscalar).all() and table["shadow_price"].dtype == float
    assert table["constraint"].tolist() == ["constraint 0"] * 2 + ["x.lower"] * 4 + ["y.lower", "y.upper"]
    assert table["index"].tolist() == [0, 1, (0, 0), (0, 1), (1, 0), (1, 1), "", ""]
    assert isinstance(table, pd.DataFrame)
