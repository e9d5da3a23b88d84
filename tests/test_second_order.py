"""Is a stationary point a minimum? Points whose curvature is known by hand."""

from __future__ import annotations

import numpy as np
import pyomo.environ as pyo
import pytest
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st

import bcfl_opt as bo
from bcfl_opt.nlp.kkt import kindest_multipliers
from bcfl_opt.nlp.presolve import Multipliers
from bcfl_opt.nlp.program import program
from bcfl_opt.nlp.second_order import second_order


def direction_at(m: pyo.ConcreteModel, *values: float) -> dict[str, float] | None:
    """The direction found at these values, by variable."""
    for variable, number in zip(m.component_data_objects(pyo.Var), values, strict=True):
        variable.set_value(number)
    read = program(m)
    x = read.start()
    found = second_order(read, x, kindest_multipliers(read, x)).downhill
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


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
@pytest.mark.parametrize("size", [1e-6, 1.0])
def test_curvature_counts_whatever_the_units(scale: float, size: float) -> None:
    # scale ((x/size)^4 - (x/size)^2) from its maximum 0, in variables that know their size only by their bounds
    m = pyo.ConcreteModel()
    m.x = pyo.Var(initialize=0.0, bounds=(-2 * size, 2 * size))
    m.objective = pyo.Objective(expr=scale * ((m.x / size) ** 4 - (m.x / size) ** 2))
    assert direction_at(m, 0.0) is not None
    if size == 1.0:
        m.x.set_value(0.0)
        assert bo.solve(m).objective == pytest.approx(-0.25 * scale, rel=1e-6)


def test_a_curvature_no_one_would_notice_is_none() -> None:
    # -1e-12 y^2 on |y| <= 1 beside an objective of size 1 changes nothing within any tolerance.
    m = pyo.ConcreteModel()
    m.x, m.y = pyo.Var(bounds=(0, 9)), pyo.Var(bounds=(-1, 1))
    m.objective = pyo.Objective(expr=(m.x - 1) ** 2 - 1e-12 * m.y**2)
    assert direction_at(m, 1.0, 0.0) is None
    solution = bo.solve(m)
    assert solution.succeeded


def test_noise_in_a_multiplier_that_should_be_zero_bends_nothing() -> None:
    # x^2 + y^2 >= 1/2 holds with room at (1, 0); a multiplier of -1e-9 there is what IPOPT leaves, not curvature.
    m = pyo.ConcreteModel()
    m.x, m.y = pyo.Var(bounds=(1, 9)), pyo.Var(bounds=(-1, 1))
    m.objective = pyo.Objective(expr=1e-3 * m.x)
    m.ring = pyo.Constraint(expr=m.x**2 + m.y**2 >= 0.5)
    m.x.set_value(1.0), m.y.set_value(0.0)
    read = program(m)
    noisy = Multipliers(np.array([-1e-9]), np.array([1e-3, 0.0]), np.zeros(2))
    assert second_order(read, read.start(), noisy).downhill is None


def quadratic(h: np.ndarray, a: np.ndarray) -> pyo.ConcreteModel:
    """x'hx / 2 on a x = 0: 0 is stationary with all multipliers 0."""
    m = pyo.ConcreteModel()
    m.x = pyo.Var(range(len(h)), initialize=0.0)
    x = m.x
    m.objective = pyo.Objective(
        expr=sum(float(h[i, j]) * x[i] * x[j] for i in range(len(h)) for j in range(len(h)) if h[i, j]) / 2
    )
    m.rows = pyo.ConstraintList()
    for row in a:
        m.rows.add(sum(float(c) * x[k] for k, c in enumerate(row)) == 0)
    return m


@pytest.mark.parametrize("dense", [400, 2])
@settings(max_examples=40, derandomize=True, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(3, 7), rows=st.integers(0, 3))
def test_the_least_curvature_is_that_of_the_reduced_hessian(dense: int, seed: int, n: int, rows: int) -> None:
    rng = np.random.default_rng(seed)
    h = rng.normal(size=(n, n))
    h = h + h.T + 2.0 * rng.uniform() * np.eye(n)
    a = rng.normal(size=(rows, n))
    if rows == 3:
        a[2] = a[0] - 2 * a[1]  # a row that repeats others
    basis = scipy.linalg.null_space(a) if rows else np.eye(n)
    least = np.linalg.eigvalsh(basis.T @ h @ basis)[0]
    read = program(quadratic(h, a))
    order = [int(v.index()) for v in read.variables]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bcfl_opt.nlp.second_order.DENSE", dense)
        found = second_order(read, np.zeros(n), Multipliers(np.zeros(rows), np.zeros(n), np.zeros(n)))
    assert found.curvature == pytest.approx(least / np.abs(h).max(), rel=1e-2, abs=1e-6)
    if least < -1e-3:
        assert found.downhill is not None
        d = found.downhill / np.linalg.norm(found.downhill)
        h, a = h[np.ix_(order, order)], a[:, order]
        assert d @ h @ d == pytest.approx(least, rel=1e-2) and np.abs(a @ d).max(initial=0.0) < 1e-8
    if least > 1e-3:
        assert found.downhill is None


def test_a_large_block_is_looked_at_as_well() -> None:
    # A chain of 700 springs with one end pushed outwards: without the push a minimum, with it a saddle.
    for push, saddle in ((0.0, False), (0.2, True)):
        n = 700
        h = 2 * np.eye(n) - np.eye(n, k=1) - np.eye(n, k=-1)
        h[0, 0] -= 1.0 + push
        h[-1, -1] -= 1.0
        m = quadratic(h, np.zeros((0, n)))
        read = program(m)
        found = second_order(read, np.zeros(n), Multipliers(np.zeros(0), np.zeros(n), np.zeros(n)))
        assert (found.downhill is not None) is saddle


def test_a_saddle_that_cannot_be_left_is_told_with_its_direction(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bcfl_opt.nlp.nonlinear.ESCAPES", 0)
    monkeypatch.setattr("bcfl_opt.nlp.nonlinear.EFFORT", 0)  # no other starts either
    m = pyo.ConcreteModel()
    m.x, m.y = pyo.Var(initialize=0.0), pyo.Var(initialize=0.0, bounds=(-2, 2))
    m.objective = pyo.Objective(expr=m.x**2 - m.y**2)
    solution = bo.solve(m)
    assert solution.status is bo.Status.SADDLE and solution.detail == "along y; the other independent parts are solved"
    assert solution.certificate is not None and solution.certificate.curvature == pytest.approx(-1.0)
    assert "curvature -1.0e+00" in repr(solution)
    with pytest.raises(bo.NoSolutionError):
        _ = solution.objective
