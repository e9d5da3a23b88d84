"""Is a stationary point a minimum? Points whose curvature is known by hand."""

from __future__ import annotations

import pyomo.environ as pyo
import pytest

import bcfl_opt as bo
from bcfl_opt.nlp.kkt import kindest_multipliers
from bcfl_opt.nlp.program import program
from bcfl_opt.nlp.second_order import descent_direction


def direction_at(m: pyo.ConcreteModel, *values: float) -> dict[str, float] | None:
    """The direction found at these values, by variable."""
    for variable, number in zip(m.component_data_objects(pyo.Var), values, strict=True):
        variable.set_value(number)
    read = program(m)
    x = read.start()
    found = descent_direction(read, x, kindest_multipliers(read, x))
    return None if found is None else {v.name: float(d) for v, d in zip(read.variables, found, strict=True)}


def test_a_maximum_is_left_and_the_minimum_found() -> None:
    # (x^2 - 1)^2: stationary at 0 (a maximum) and at -1, 1 (minima). IPOPT alone stays at 0.
    m = pyo.ConcreteModel()
    m.x = pyo.Var(initialize=0.0)
    m.objective = pyo.Objective(expr=(m.x**2 - 1) ** 2)
    assert direction_at(m, 0.0) is not None
    assert direction_at(m, 1.0) is None
    m.x.set_value(0.0)
    solution = bo.solve(m)
    assert solution.succeeded and abs(m.x.value) == pytest.approx(1.0, abs=1e-6)


def test_a_saddle_is_not_called_a_local_optimum() -> None:
    # x^2 - y^2 on |y| <= 2: (0, 0) is a saddle; the minima are (0, -2) and (0, 2) with -4.
    m = pyo.ConcreteModel()
    m.x, m.y = pyo.Var(initialize=0.0), pyo.Var(initialize=0.0, bounds=(-2, 2))
    m.objective = pyo.Objective(expr=m.x**2 - m.y**2)
    found = direction_at(m, 0.0, 0.0)
    assert found is not None and abs(found["y"]) == pytest.approx(1.0) and abs(found["x"]) < 1e-12
    m.x.set_value(0.0), m.y.set_value(0.0)
    assert bo.solve(m).objective == pytest.approx(-4.0, rel=1e-6)


def test_a_constraint_can_make_a_saddle_a_minimum() -> None:
    # x^2 - y^2 with y == x / 2: 3/4 x^2 along the line, a minimum at 0.
    m = pyo.ConcreteModel()
    m.x, m.y = pyo.Var(), pyo.Var()
    m.line = pyo.Constraint(expr=m.y == 0.5 * m.x)
    m.objective = pyo.Objective(expr=m.x**2 - m.y**2)
    assert direction_at(m, 0.0, 0.0) is None
    # With y == 2 x it is -3 x^2: a maximum along the line.
    m.line.set_value(m.y == 2 * m.x)
    assert direction_at(m, 0.0, 0.0) is not None


def test_a_bound_with_a_multiplier_holds_a_concave_minimum() -> None:
    # -x^2 + 3 x on 0 <= x <= 1: the minimum is the end x = 0, whose bound has the multiplier 3.
    m = pyo.ConcreteModel()
    m.x = pyo.Var(bounds=(0, 1))
    m.objective = pyo.Objective(expr=-(m.x**2) + 3 * m.x)
    assert direction_at(m, 0.0) is None


def test_a_bound_without_a_multiplier_stops_one_direction_only() -> None:
    # -x^2 on 0 <= x <= 1: at 0 the bound's multiplier is 0; going up is allowed, and downhill.
    m = pyo.ConcreteModel()
    m.x = pyo.Var(bounds=(0, 1))
    m.objective = pyo.Objective(expr=-(m.x**2))
    found = direction_at(m, 0.0)
    assert found is not None and found["x"] > 0


def test_curvature_of_a_constraint_counts() -> None:
    # min -y on the circle x^2 + y^2 = 1: (0, 1) is the minimum, (0, -1) the maximum; f itself is linear.
    m = pyo.ConcreteModel()
    m.x, m.y = pyo.Var(), pyo.Var()
    m.circle = pyo.Constraint(expr=m.x**2 + m.y**2 == 1)
    m.objective = pyo.Objective(expr=-m.y)
    assert direction_at(m, 0.0, 1.0) is None
    assert direction_at(m, 0.0, -1.0) is not None
