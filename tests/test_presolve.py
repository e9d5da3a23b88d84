"""Is the programme that the solver sees the programme as written? Rows become bounds, twins merge, multipliers come back."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pyomo.environ as pyo
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

import bcfl_opt as bo
from bcfl_opt.nlp.kkt import certify
from bcfl_opt.nlp.presolve import Multipliers, Presolved, presolve
from bcfl_opt.nlp.program import program

INF = float("inf")


def model_of(*rows: Any, objective: Any = None, bounds: tuple[float | None, float | None] = (None, None)) -> Any:
    """Two variables; rows and objective are functions of (x, y)."""
    m = pyo.ConcreteModel()
    m.x, m.y = pyo.Var(bounds=bounds, initialize=0.5), pyo.Var(bounds=bounds, initialize=0.5)
    m.o = pyo.Objective(expr=(objective or (lambda x, y: (x - 3) ** 2 + (y + 1) ** 2))(m.x, m.y))
    m.c = pyo.ConstraintList()
    for row in rows:
        m.c.add(row(m.x, m.y))
    return m


def reduced(*rows: Any, **how: Any) -> Presolved:
    return presolve(program(model_of(*rows, **how)))


def solved(*rows: Any, **how: Any) -> Any:
    """The solution; its multipliers hold in the programme as written."""
    m = model_of(*rows, **how)
    solution = bo.solve(m).raise_if_failed()
    answer = solution._warm_start
    assert certify(program(m), answer.x, answer.multipliers, convex=False).worst[1] <= 1e-8, repr(solution)
    return solution


# ---------------------------------------------------------------------- rows of one variable


@pytest.mark.parametrize(
    ("row", "low", "high"),
    [
        pytest.param(lambda x, y: 2 * x <= 6, -INF, 3.0, id="at most"),
        pytest.param(lambda x, y: 2 * x >= 6, 3.0, INF, id="at least"),
        pytest.param(lambda x, y: -2 * x <= 6, -3.0, INF, id="at most, negative coefficient"),
        pytest.param(lambda x, y: -2 * x >= 6, -INF, -3.0, id="at least, negative coefficient"),
        pytest.param(lambda x, y: pyo.inequality(-6, -2 * x, 4), -2.0, 3.0, id="range, negative coefficient"),
        pytest.param(lambda x, y: -2 * x + 1 == 7, -3.0, -3.0, id="equality with a constant"),
        pytest.param(lambda x, y: 3 * x - x + y - y >= 6, 3.0, INF, id="coefficients add up and cancel"),
    ],
)
def test_rows_of_one_variable_are_bounds(row: Any, low: float, high: float) -> None:
    presolved = reduced(row)
    assert not presolved.kept.size
    column = [v.name for v in presolved.program.variables].index("x")
    assert (presolved.x_lower[column], presolved.x_upper[column]) == (low, high)


def test_the_tightest_of_several_bounds_counts_and_only_it_has_a_price() -> None:
    # min (x-3)^2 + (y+1)^2 with x <= 2 (also <= 2.5, 3x <= 7.5): d obj / d b = -2 (at x = 2) for b of 2x <= 4: -1 per unit.
    rows = [lambda x, y: x <= 2.5, lambda x, y: 2 * x <= 4, lambda x, y: -3 * x >= -7.5, lambda x, y: -y <= -1.0]
    solution = solved(*rows)
    assert solution.variables["x"] == pytest.approx(2.0, abs=1e-9)
    # y >= 1 costs (1+1)^2; written -y <= -1, raising the right-hand side relaxes it: d obj / d b = -4.
    assert solution.shadow_prices["c"].tolist() == pytest.approx([0.0, -1.0, 0.0, -4.0], abs=1e-6)


def test_own_bounds_that_are_tighter_keep_their_multipliers() -> None:
    solution = solved(lambda x, y: x <= 2.5, bounds=(0.0, 1.0))
    assert solution.shadow_prices["c"][1] == 0.0
    answer = solution._warm_start
    column = [v.name for v in answer.program.variables].index("x")
    assert answer.multipliers.x_upper[column] == pytest.approx(4.0, rel=1e-6)  # -d/dx (x-3)^2 at 1


def test_coefficients_of_zero_leave_the_others_in_place() -> None:
    # The projection of (3, -1) on x + y >= 4 is (4, 0). Zeros were once taken out of an array that others were reading.
    zero = pyo.Param(initialize=0.0, mutable=True)
    zero.construct()
    rows = [lambda x, y: zero * y + 0 * x + x <= 9, lambda x, y: x + zero * x + y >= 4]
    solution = solved(*rows)
    assert (solution.variables["x"], solution.variables["y"]) == pytest.approx((4.0, 0.0), abs=1e-8)


def test_equalities_fix_and_are_priced() -> None:
    # x = 1 by 4x == 4: d/db of (b/4 - 3)^2 = 2 (1 - 3) / 4 = -1.
    solution = solved(lambda x, y: 4 * x == 4)
    assert solution.shadow_prices["c"][1] == pytest.approx(-1.0, rel=1e-9)


def test_an_equality_repeated_with_rounding_is_one_point() -> None:
    solution = solved(lambda x, y: 3 * x == 1, lambda x, y: x == 1 / 3, lambda x, y: 0.3 * x <= 0.1)
    assert solution.variables["x"] == pytest.approx(1 / 3, rel=1e-15)


# ---------------------------------------------------------------------- twins


def test_twins_merge_and_each_side_is_priced_where_it_came_from() -> None:
    # x + y <= 1 is the tighter of the first two: (2.5, -1.5) is the projection of (3, -1), d obj / d b = -2 * 0.5 = -1.
    rows = [lambda x, y: x + y <= 5, lambda x, y: x + y <= 1, lambda x, y: x + y >= -7, lambda x, y: x + y + 1 >= -3]
    assert len(reduced(*rows).kept) == 1
    solution = solved(*rows)
    assert solution.shadow_prices["c"].tolist() == pytest.approx([0.0, -1.0, 0.0, 0.0], abs=1e-6)
    lower = [lambda x, y: x + y >= 3, lambda x, y: x + y + 1 >= 5, lambda x, y: x + y <= 9]
    # x + y >= 4: (4, 0), d obj / d b = 2.
    assert solved(*lower).shadow_prices["c"].tolist() == pytest.approx([0.0, 2.0, 0.0], abs=1e-6)


def test_an_equality_and_its_own_inequality() -> None:
    solution = solved(lambda x, y: x * y + x == 2, lambda x, y: x * y + x <= 2, objective=lambda x, y: x**2 + y**2)
    assert solution.variables["x"] * (solution.variables["y"] + 1) == pytest.approx(2.0, rel=1e-8)


def test_twins_that_cross_by_rounding_leave_one_value() -> None:
    # 0.1 + 0.2 > 0.3 in floating point.
    solution = solved(lambda x, y: x + y >= 0.1 + 0.2, lambda x, y: x + y <= 0.3)
    assert solution.variables["x"] + solution.variables["y"] == pytest.approx(0.3, rel=1e-12)


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param(
            [lambda x, y: 1e12 * x + 1e-12 * y >= 1, lambda x, y: 1e12 * x + 3e-12 * y >= 1], id="lost in a sum"
        ),
        pytest.param([lambda x, y: x * y >= 1, lambda x, y: y * x * x >= 1], id="other shapes"),
        pytest.param([lambda x, y: x**2 + y >= 1, lambda x, y: y**2 + x >= 1], id="other variables"),
        pytest.param([lambda x, y: pyo.exp(2 * x) >= 1, lambda x, y: pyo.exp((2 + 1e-15) * x) >= 1], id="last bit"),
    ],
)
def test_rows_that_are_nearly_alike_are_no_twins(rows: list[Any]) -> None:
    assert len(reduced(*rows).kept) == 2


def test_rows_keep_their_bounds_to_the_last_bit() -> None:
    presolved = reduced(lambda x, y: x * y + 1e6 >= 1e-12 + 1e6, lambda x, y: x + y <= 0.1)
    assert sorted(presolved.upper.tolist()) == [0.1, INF]


# ---------------------------------------------------------------------- conflicts, in words


@pytest.mark.parametrize(
    ("rows", "bounds", "said"),
    [
        (
            [lambda x, y: x >= 3, lambda x, y: -x >= -2],
            (None, None),
            r"x must be at least 3.*c\[1\].*at most 2.*c\[2\]",
        ),
        ([lambda x, y: x >= 3], (0, 2), r"x must be at least 3 .*c\[1\].*at most 2 \(its own bound\)"),
        ([lambda x, y: x + y >= 3, lambda x, y: x + y <= 2], (None, None), r"c\[1\] and c\[2\] bound the same"),
        ([lambda x, y: 0 * x + 2 >= 3], (None, None), r"c\[1\] holds no free variable and is violated"),
        ([lambda x, y: x + y >= 3, lambda x, y: x - y >= 0, lambda x, y: x <= 1], (0, 9), r"cannot hold together"),
    ],
)
def test_conflicts(rows: list[Any], bounds: Any, said: str) -> None:
    m = model_of(*rows, bounds=bounds)
    solution = bo.solve(m)
    assert solution.status is bo.Status.INFEASIBLE
    assert re.search(said, solution.message), solution.message
    assert (m.x.value, m.y.value) == (0.5, 0.5)


def test_fixed_variables_leave_constant_rows() -> None:
    m = model_of(lambda x, y: x + 2 >= 3)
    m.x.fix(1.0)
    assert bo.solve(m).succeeded
    m.x.fix(0.5)
    assert bo.solve(m).status is bo.Status.INFEASIBLE


# ---------------------------------------------------------------------- at random


Row = st.tuples(
    st.integers(-2, 2),
    st.integers(-2, 2),
    st.integers(-4, 4),
    st.sampled_from(["<=", ">=", "==", "range"]),
    st.booleans(),
)


def written(row: Any) -> Any:
    a, b, c, kind, curved = row

    def build(x: Any, y: Any) -> Any:
        body = a * x + b * y + (0.25 * x**2 if curved and kind == "<=" else 0.0) + 0 * x
        return {
            "<=": lambda: body <= c,
            ">=": lambda: body >= c,
            "==": lambda: body == c,
            "range": lambda: pyo.inequality(c - 1, body, c + 1),
        }[kind]()

    return build


def linear_rows_can_hold(rows: list[Any]) -> bool:
    equal = [((a, b), c) for a, b, c, kind, _ in rows if kind == "=="]
    upper = [((a, b), c + (kind == "range")) for a, b, c, kind, _ in rows if kind in ("<=", "range")]
    upper += [((-a, -b), -c + (kind == "range")) for a, b, c, kind, _ in rows if kind in (">=", "range")]
    how = {}
    for name, pairs in (("eq", equal), ("ub", upper)):
        if pairs:
            how |= {f"A_{name}": [pair[0] for pair in pairs], f"b_{name}": [pair[1] for pair in pairs]}
    return linprog([0.0, 0.0], bounds=(-8, 8), method="highs", **how).status == 0


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(Row, max_size=4), twice=st.booleans())
def test_random_convex_programmes_are_certified_as_written_or_infeasible(rows: list[Any], twice: bool) -> None:
    """The same verdict as a linear programme's and a grid's, which know nothing of presolve."""
    m = model_of(*[written(row) for row in rows * (2 if twice else 1)], bounds=(-8.0, 8.0))
    solution = bo.solve(m)
    x, y = np.meshgrid(np.linspace(-8, 8, 65), np.linspace(-8, 8, 65))
    feasible, inside = np.ones((2, *x.shape), dtype=bool)
    for a, b, c, kind, curved in rows:
        body = a * x + b * y + (0.25 * x**2 if curved and kind == "<=" else 0.0)
        low = {"<=": -INF, "range": c - 1}.get(kind, c)
        high = {">=": INF, "range": c + 1}.get(kind, c)
        feasible &= (body >= low) & (body <= high)
        inside &= not (curved and kind == "<=") or body <= high - 0.05
    if not any(curved and kind == "<=" for *_, kind, curved in rows):
        assert solution.succeeded is linear_rows_can_hold(rows), repr(solution)
    if not (feasible & inside).any():  # a curved set without interior has no multipliers to certify anything with
        return
    best = ((x - 3) ** 2 + (y + 1) ** 2)[feasible].min()
    assert solution.succeeded and solution.quality is bo.Quality.GLOBAL, repr(solution)
    assert solution.objective <= best + 1e-6


def test_multipliers_go_there_and_back() -> None:
    rows = [lambda x, y: 2 * x <= 4, lambda x, y: x + y <= 1, lambda x, y: x + y <= 3, lambda x, y: -y <= 2]
    presolved = reduced(*rows)
    original = Multipliers(np.array([0.5, 2.0, 0.0, 0.25]), np.zeros(2), np.zeros(2))
    rows_there, lower, upper = presolved.reduce(original)
    x, y = ([v.name for v in presolved.program.variables].index(name) for name in "xy")
    # 2x <= 4 with 0.5 is x <= 2 with 1; -y <= 2 with 0.25 is y >= -2 with 0.25.
    assert (rows_there.tolist(), upper[x], upper[y], lower[x], lower[y]) == ([2.0], 1.0, 0.0, 0.0, 0.25)
    back = presolved.restore(np.zeros(2), rows_there, lower, upper)
    assert back.rows.tolist() == original.rows.tolist()
    assert not back.x_lower.any() and not back.x_upper.any()
