"""Is what is called convex convex? Sound on random programmes, and complete enough for the models that are stated convex."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pyomo.environ as pyo
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyomo.core.expr.numeric_expr import MaxExpression, MinExpression

import bcfl_opt as bo
from bcfl_opt.models import problem1_pyomo, problem2_pyomo, problem3_pyomo
from bcfl_opt.nlp.convexity import is_convex, monotone
from bcfl_opt.nlp.presolve import presolve
from bcfl_opt.nlp.program import program

Bounds = tuple[float | None, float | None]


def called_convex(m: Any) -> bool:
    read = program(m)
    reduced = presolve(read)
    return is_convex(read, reduced.x_lower, reduced.x_upper)


def objective(formula: Callable[[Any, Any], Any], x: Bounds = (None, None), y: Bounds = (None, None)) -> Any:
    m = pyo.ConcreteModel()
    m.x, m.y = pyo.Var(bounds=x), pyo.Var(bounds=y)
    m.o = pyo.Objective(expr=formula(m.x, m.y))
    return m


def largest(*parts: Any) -> Any:
    return MaxExpression(parts)


def smallest(*parts: Any) -> Any:
    return MinExpression(parts)


POSITIVE, UNIT = (0.0, None), (0.0, 1.0)


@pytest.mark.parametrize(
    ("formula", "x", "y"),
    [
        (lambda x, y: 2 * x - y, (None, None), (None, None)),
        (lambda x, y: (x - y) ** 2 + x**4, (None, None), (None, None)),
        (lambda x, y: (x + y) * (x + y), (None, None), (None, None)),
        (lambda x, y: 0.02 * y * y + 3 * (x * (2 * x)), (None, None), (None, None)),
        (lambda x, y: 0.5 * x * x * x * y**0, POSITIVE, POSITIVE),
        (lambda x, y: 3 / x**2 + 1 / y, POSITIVE, POSITIVE),
        (lambda x, y: x**1.5 - y**0.5 + x**-0.3, POSITIVE, POSITIVE),
        (lambda x, y: pyo.exp(x + y) - pyo.log(x) - pyo.sqrt(2 * y + 1), POSITIVE, POSITIVE),
        (lambda x, y: abs(x - y) + largest(x**2, y, 0.0), (None, None), (None, None)),
        (lambda x, y: pyo.exp(x**2) + pyo.exp(x) ** 2, (None, None), (None, None)),
        (lambda x, y: 1 / pyo.log(1 + x) + 1 / smallest(x, y), POSITIVE, POSITIVE),
        (lambda x, y: (x - 5) ** 3, (5.0, None), (None, None)),
    ],
)
def test_known_to_be_convex(formula: Any, x: Bounds, y: Bounds) -> None:
    assert called_convex(objective(formula, x, y))


@pytest.mark.parametrize(
    ("formula", "x", "y"),
    [
        pytest.param(lambda x, y: x * y, POSITIVE, POSITIVE, id="product"),
        pytest.param(lambda x, y: x**3, (None, None), (None, None), id="odd power"),
        pytest.param(lambda x, y: 1 / x**2, (None, None), (None, None), id="pole inside"),
        pytest.param(lambda x, y: (x**2 - 1) ** 2, UNIT, UNIT, id="square of what changes sign"),
        # x / x is 1, not x^2: the inner function is y^2 - 1 <= 0, and its square is not convex near y = 0.
        pytest.param(lambda x, y: (x / x + y**2 - 2) ** 2, (2.0, 3.0), UNIT, id="quotient of equals"),
        # e^710 overflows: the range [inf, inf] is no constant.
        pytest.param(lambda x, y: pyo.exp(x) * y, (710.0, None), UNIT, id="overflow"),
        pytest.param(lambda x, y: -abs(x), (None, None), (None, None), id="concave kink"),
        pytest.param(lambda x, y: smallest(x, y), (None, None), (None, None), id="minimum"),
        pytest.param(lambda x, y: pyo.sin(x), UNIT, UNIT, id="sine"),
        pytest.param(lambda x, y: pyo.log(x), POSITIVE, POSITIVE, id="logarithm, minimised"),
        pytest.param(lambda x, y: pyo.exp(-(x**2)), (None, None), (None, None), id="bell"),
        pytest.param(lambda x, y: x**y, (1.0, 2.0), (1.0, 2.0), id="variable power"),
        pytest.param(lambda x, y: 1 / (x * y - 1), (2.0, 3.0), (2.0, 3.0), id="reciprocal of a product"),
    ],
)
def test_not_convex(formula: Any, x: Bounds, y: Bounds) -> None:
    assert not called_convex(objective(formula, x, y))


def test_sense_and_sides_count() -> None:
    m = objective(lambda x, y: -(x**2))
    m.o.sense = pyo.maximize
    assert called_convex(m)
    for row, convex in [
        (m.x**2 + m.y <= 1, True),
        (m.x**2 + m.y >= 1, False),
        (m.x**2 + m.y == 1, False),
        (pyo.log(m.x) >= 1, True),
        (pyo.inequality(0, pyo.exp(m.x), 1), False),
        (m.x + m.y == 1, True),
    ]:
        m.c = pyo.Constraint(expr=row)
        assert called_convex(m) is convex, str(row)
        m.del_component("c")


def test_bounds_written_as_constraints_count() -> None:
    m = objective(lambda x, y: 1 / x)
    assert not called_convex(m)
    m.c = pyo.Constraint(expr=2 * m.x >= 1)
    assert called_convex(m)


# ---------------------------------------------------------------------- sound


Tree = st.recursive(
    st.one_of(st.sampled_from(["x", "y"]), st.sampled_from([-2.0, -1.0, 0.5, 1.0, 3.0])),
    lambda inner: st.one_of(
        st.tuples(st.sampled_from(["+", "-", "*", "/"]), inner, inner),
        st.tuples(st.sampled_from(["exp", "log", "sqrt", "^2", "^3", "^-1", "^-2", "^1.5", "^0.5", "neg"]), inner),
    ),
    max_leaves=8,
)


def built(tree: Any, x: Any, y: Any) -> Any:
    if isinstance(tree, str):
        return x if tree == "x" else y
    if isinstance(tree, float):
        return tree
    operator, *operands = tree
    a, *rest = (built(operand, x, y) for operand in operands)
    if operator in ("exp", "log", "sqrt"):
        return getattr(pyo, operator)(a)
    if operator.startswith("^"):
        return a ** float(operator[1:])
    if operator == "neg":
        return -a
    (b,) = rest
    return {"+": lambda: a + b, "-": lambda: a - b, "*": lambda: a * b, "/": lambda: a / b}[operator]()


def read_tree(tree: Any, bounds: tuple[float, float]) -> Any:
    try:
        m = objective(lambda x, y: built(tree, x, y) + 0 * x + 0 * y, bounds, bounds)
        return m, program(m)
    except (ArithmeticError, ValueError, TypeError):  # constants that cannot be evaluated
        return None


@settings(max_examples=300, deadline=None)
@given(tree=Tree, bounds=st.sampled_from([(0.5, 2.0), (-1.0, 1.0), (-3.0, -0.5), (0.0, 4.0)]))
def test_never_calls_a_function_convex_that_is_not(tree: Any, bounds: tuple[float, float]) -> None:
    found = read_tree(tree, bounds)
    if found is None or not is_convex(found[1], found[1].x_lower, found[1].x_upper):
        return
    functions = found[1].functions
    rng = np.random.default_rng(0)
    n = functions.columns
    with np.errstate(all="ignore"):
        for _ in range(20):
            # Convex: the middle of a chord is above the function, wherever the function is defined.
            a, b = rng.uniform(*bounds, size=(2, n))
            ends = functions.objective(a), functions.objective(b)
            middle = functions.objective((a + b) / 2)
            if np.isfinite([*ends, middle]).all():
                assert middle <= sum(ends) / 2 + 1e-9 * max(1.0, *map(abs, ends))
            hessian = np.zeros((n, n))
            values = functions.hessian(a, np.zeros(functions.rows), 1.0)
            np.add.at(hessian, (functions.hessian_rows, functions.hessian_columns), values)
            hessian += np.tril(hessian, -1).T
            if np.isfinite(hessian).all() and np.isfinite(ends[0]):
                assert np.linalg.eigvalsh(hessian)[0] >= -1e-9 * max(1.0, np.abs(hessian).max())


@settings(max_examples=300, deadline=None)
@given(tree=Tree, bounds=st.sampled_from([(0.5, 2.0), (-1.0, 1.0), (-3.0, -0.5), (0.0, 4.0)]))
def test_never_calls_a_function_rising_or_falling_that_is_not(tree: Any, bounds: tuple[float, float]) -> None:
    found = read_tree(tree, bounds)
    if found is None:
        return
    functions = found[1].functions
    rising, falling = monotone(functions, found[1].x_lower, found[1].x_upper)
    rng = np.random.default_rng(0)
    with np.errstate(all="ignore"):
        for column in range(functions.columns):
            for _ in range(20):
                low = rng.uniform(*bounds, size=functions.columns)
                high = low.copy()
                low[column], high[column] = np.sort(rng.uniform(*bounds, size=2))
                change = functions.objective(high) - functions.objective(low)
                size = 1e-9 * max(1.0, abs(functions.objective(low)), abs(functions.objective(high)))
                if np.isfinite([change, size]).all():
                    assert not rising[column] or change >= -size
                    assert not falling[column] or change <= size


# ---------------------------------------------------------------------- complete enough


@pytest.mark.parametrize(
    ("formula", "bounds", "expected"),
    [
        (lambda x, y: 3 * x - 2 * y, (None, None), ("rises", "falls")),
        (lambda x, y: 4 / x**2 - 5 * x + 2 / y, POSITIVE, ("falls", "falls")),
        (lambda x, y: -(4 / x**2) + y**2, POSITIVE, ("rises", "rises")),
        (lambda x, y: x + 1 / x - pyo.sqrt(y), POSITIVE, ("neither", "falls")),
        (lambda x, y: pyo.exp(x - y), (None, None), ("rises", "falls")),
        (lambda x, y: abs(x - 1) + (y - 1) ** 2, (None, 1.0), ("falls", "falls")),
        (lambda x, y: largest(x, 2 * x - y) - smallest(-x, y), (None, None), ("rises", "falls")),
        (lambda x, y: x * y, POSITIVE, ("neither", "neither")),  # more than the rules know
        (lambda x, y: pyo.sqrt(5 - x) - pyo.log(y), (0.0, 5.0), ("falls", "falls")),
        (
            lambda x, y: pyo.sqrt(5 - x) - pyo.log(y),
            (None, None),
            ("neither", "neither"),
        ),  # undefined from 5 on, and below 0
        (lambda x, y: (x - 1) ** 2 + y**3, UNIT, ("falls", "rises")),
        (lambda x, y: (x - 1) ** 2 + y**3, (-1.0, 2.0), ("neither", "neither")),
    ],
)
def test_what_the_objective_does_with_a_variable(formula: Any, bounds: Bounds, expected: tuple[str, str]) -> None:
    m = objective(formula, bounds, bounds)
    read = program(m)
    told = dict(
        zip(
            (v.name for v in read.variables),
            zip(*monotone(read.functions, read.x_lower, read.x_upper), strict=True),
            strict=True,
        )
    )
    words = {(True, False): "rises", (False, True): "falls", (False, False): "neither"}
    assert tuple(words[tuple(map(bool, told[name]))] for name in "xy") == expected


def a_game(n: int = 5) -> bo.Game:
    rng = np.random.default_rng(3)
    frame = pd.DataFrame({"mu": rng.uniform(4, 12, n), "rho": 0.01, "q": [np.inf, 3.0, np.inf, 4.0, np.inf]})
    return bo.Game(bo.Population(frame.rename_axis("client")))


STATED_CONVEX = {
    "problem 1, time": lambda g: problem1_pyomo.build(g, g.prices(training=0.05, mining=0.05)),
    "problem 1, caps": lambda g: problem1_pyomo.build(g, g.prices(training=0.05, mining=0.05), reward_caps=True),
    "problem 2, optimal": lambda g: problem2_pyomo.build(g),
    "problem 2, exhausted": lambda g: problem2_pyomo.build(g, budgets="exhausted"),
    "problem 1, free work": lambda g: problem1_pyomo.build(g, g.prices(training=0.05, mining=0.0), screen=False),
}


@pytest.mark.parametrize("name", STATED_CONVEX)
def test_models_that_are_stated_convex(name: str) -> None:
    assert called_convex(STATED_CONVEX[name](a_game()))


def test_the_speed_form_is_not_and_neither_are_the_owners_models_in_prices() -> None:
    game = a_game()
    assert not called_convex(problem1_pyomo.build(game, game.prices(training=0.05, mining=0.05), form="speed"))
    for build in (problem2_pyomo.build, problem3_pyomo.build):
        assert not called_convex(build(game, response="theorem"))
