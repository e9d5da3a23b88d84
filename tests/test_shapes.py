"""Are Pyomo expressions read as they are meant? Values, gradients and Hessians against mpmath at forty digits."""

from __future__ import annotations

import contextlib
import types
from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
import pyomo.environ as pyo
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyomo.core.expr.numeric_expr import MaxExpression, MinExpression

import bcfl_opt as bo
from bcfl_opt.nlp.program import Program, program
from bcfl_opt.nlp.shapes import Reader, degree

mp = mpmath.mp.clone()
mp.dps = 40

NAMES = ("exp", "log", "log10", "sqrt", "sin", "cos", "tan", "asin", "acos", "atan")
NAMES += ("sinh", "cosh", "tanh", "asinh", "acosh", "atanh")
#: The same functions in Pyomo and in mpmath.
PYOMO = types.SimpleNamespace(
    **{name: getattr(pyo, name) for name in NAMES},
    max=lambda *parts: MaxExpression(parts),
    min=lambda *parts: MinExpression(parts),
    choose=lambda condition, yes, no: pyo.Expr_if(condition, yes, no),
    between=lambda low, x, high, yes, no: pyo.Expr_if(pyo.inequality(low, x, high), yes, no),
)
MPMATH = types.SimpleNamespace(
    **{name: getattr(mp, name) for name in NAMES},
    max=max,
    min=min,
    choose=lambda condition, yes, no: yes if condition else no,
    between=lambda low, x, high, yes, no: yes if low <= x <= high else no,
)
Formula = Callable[[Any, Any, Any], Any]


def model_of(formula: Formula, x: float = 1.0, y: float = 1.0) -> Any:
    m = pyo.ConcreteModel()
    m.x, m.y = pyo.Var(initialize=x), pyo.Var(initialize=y)
    m.formula = pyo.Objective(expr=formula(PYOMO, m.x, m.y))
    return m


def dense_hessian(read: Program, x: np.ndarray) -> np.ndarray:
    result = np.zeros((len(x), len(x)))
    functions = read.functions
    values = functions.hessian(x, np.zeros(functions.rows), 1.0)
    np.add.at(result, (functions.hessian_rows, functions.hessian_columns), values)
    return result + np.tril(result, -1).T


def agrees(formula: Formula, x: float, y: float, rtol: float = 1e-11) -> None:
    """Value against Pyomo's own, value, gradient and Hessian against mpmath's numerical differentiation."""
    m = model_of(formula, x, y)
    read = program(m)
    point = read.start()
    with np.errstate(all="ignore"):  # as in a solve: the branch of a condition that is not taken may be undefined
        _agrees(formula, m, read, point, x, y, rtol)


def _agrees(formula: Formula, m: Any, read: Program, point: np.ndarray, x: float, y: float, rtol: float) -> None:
    value = float(formula(MPMATH, mp.mpf(x), mp.mpf(y)))
    assert read.functions.objective(point) == pytest.approx(value, rel=1e-13, abs=1e-13)
    with contextlib.suppress(ValueError):  # Pyomo evaluates both branches of a condition, and one may be undefined
        assert read.functions.objective(point) == pytest.approx(pyo.value(m.formula), rel=1e-13, abs=1e-13)
    places = [(m.x, m.y)[k] for k in range(2)]
    columns = [next((c for c, v in enumerate(read.variables) if v is place), None) for place in places]

    def derivative(*orders: int) -> float:
        return float(mp.diff(lambda a, b: mp.mpf(formula(MPMATH, a, b)), (mp.mpf(x), mp.mpf(y)), orders))

    gradient, hessian = read.functions.gradient(point), dense_hessian(read, point)
    size = max(1.0, *np.abs(gradient), *np.abs(hessian).ravel())
    for i, column in enumerate(columns):
        if column is None:  # the variable is not in the expression
            continue
        first = [int(i == k) for k in range(2)]
        assert gradient[column] == pytest.approx(derivative(*first), rel=rtol, abs=rtol * size)
        for j, other in enumerate(columns):
            if other is not None:
                second = [first[k] + int(j == k) for k in range(2)]
                assert hessian[column, other] == pytest.approx(derivative(*second), rel=rtol, abs=rtol * size)


# ---------------------------------------------------------------------- every node


@pytest.mark.parametrize("name", [*NAMES, "abs"])
@pytest.mark.parametrize("x", [0.3, 0.7])
def test_unary_functions(name: str, x: float) -> None:
    shift = 1.0 if name == "acosh" else 0.0  # acosh lives above 1, asin, acos and atanh below

    def formula(f: Any, x: Any, y: Any) -> Any:
        inner = x * y + shift
        return 3.0 * (abs(inner - 1) if name == "abs" else getattr(f, name)(inner)) * y

    agrees(formula, x, 1.2)


@pytest.mark.parametrize(
    ("formula", "x", "y"),
    [
        pytest.param(lambda f, x, y: 2 * x - 3 * y + 4, 0.5, -2.0, id="linear"),
        pytest.param(lambda f, x, y: -(x * y) - (-x), -0.5, 3.0, id="negation"),
        pytest.param(lambda f, x, y: (x + y) * (x - y) * 3, 1.5, -2.0, id="products"),
        pytest.param(lambda f, x, y: x / y + 2 / x + y / 4, 1.5, -2.0, id="quotients"),
        pytest.param(lambda f, x, y: x * x * x * y + x * y * x, 1.5, -2.0, id="the same variable many times"),
        pytest.param(lambda f, x, y: (x - x) * y + x / x + y, 1.5, -2.0, id="terms that cancel"),
        pytest.param(lambda f, x, y: x**2 + y**2, -3.0, -2.0, id="squares of negative numbers"),
        pytest.param(lambda f, x, y: x**3 + y**-3, -3.0, -2.0, id="odd powers of negative numbers"),
        pytest.param(lambda f, x, y: x**2 * y**3, 0.0, 0.0, id="powers at zero"),
        pytest.param(lambda f, x, y: x**1 * y**0, 4.0, 2.0, id="powers 1 and 0"),
        pytest.param(lambda f, x, y: x**0.5 + y**-1.5 + x**2.7, 4.0, 2.0, id="fractional powers"),
        pytest.param(lambda f, x, y: x**y, 1.7, -2.3, id="a variable to a variable power"),
        pytest.param(lambda f, x, y: 2.5**x + (x + 1) ** (x * y), 1.7, 0.3, id="a number to a variable power"),
        pytest.param(lambda f, x, y: (x**2) ** 1.5 + (-x) ** 2, -1.7, 0.3, id="powers of powers"),
        pytest.param(lambda f, x, y: f.max(x * y, x + y, 2.0) + f.min(x * y, 7.0), 3.0, 2.0, id="max and min"),
        pytest.param(lambda f, x, y: f.choose(x <= y, x**2 * y, x * y), 1.0, 2.0, id="if, yes"),
        pytest.param(lambda f, x, y: f.choose(x <= y, x**2 * y, x * y), 2.0, 1.0, id="if, no"),
        pytest.param(lambda f, x, y: f.choose(x <= 0, x * y, y * f.sqrt(x)), 2.0, 1.0, id="if, other branch undefined"),
        pytest.param(lambda f, x, y: f.choose(x <= 0, x * y, y * f.sqrt(x)), -2.0, 1.0, id="if, undefined not taken"),
        pytest.param(lambda f, x, y: y * f.between(0, x, 2, x**2, 4 * x), 1.0, 3.0, id="range, inside"),
        pytest.param(lambda f, x, y: y * f.between(0, x, 2, x**2, 4 * x), 5.0, 3.0, id="range, above"),
        pytest.param(lambda f, x, y: y * f.between(0, x, 2, x**2, 4 * x), -5.0, 3.0, id="range, below"),
    ],
)
def test_arithmetic_and_conditions(formula: Formula, x: float, y: float) -> None:
    agrees(formula, x, y)


@pytest.mark.parametrize(("x", "expected"), [(0.0, 2.0), (-1e-9, 1.0), (1e-9, 2.0)])
def test_strict_and_loose_conditions_differ_where_both_sides_are_equal(x: float, expected: float) -> None:
    loose, strict = (
        model_of(lambda f, x, y, c=c: f.choose(c(x), 1 + 0 * y, 2), x) for c in (lambda x: x <= 0, lambda x: x < 0)
    )
    assert program(strict).functions.objective(np.array([x, 1.0])[: len(program(strict).variables)]) == expected
    assert program(loose).functions.objective(program(loose).start()) == (1.0 if x <= 0 else 2.0)


def test_equality_conditions() -> None:
    m = model_of(lambda f, x, y: f.choose(x == y, x * y, 7 * x), 3.0, 3.0)
    read = program(m)
    assert read.functions.objective(read.start()) == 9.0
    assert read.functions.objective(np.array([3.0, 3.1])) == 21.0


@pytest.mark.parametrize(
    ("formula", "x"),
    [
        (lambda f, x, y: f.sqrt(x) ** 2 + y, -1.0),  # not x
        (lambda f, x, y: x / x + y, 0.0),  # not 1
        (lambda f, x, y: f.exp(f.log(x)) + y, -1.0),
        (lambda f, x, y: f.max(f.log(x), -5.0) + y, -1.0),  # not -5
        (lambda f, x, y: (x - x) * f.log(x) + y, -1.0),
        (lambda f, x, y: x**0.5 * x**0.5 + y, -1.0),
    ],
)
def test_what_is_undefined_is_undefined_and_not_simplified_away(formula: Formula, x: float) -> None:
    read = program(model_of(formula, x))
    with np.errstate(all="ignore"):
        assert np.isnan(read.functions.objective(read.start()))


Tree = st.recursive(
    st.one_of(st.sampled_from(["x", "y"]), st.floats(-3, 3).map(lambda c: round(c, 3))),
    lambda inner: st.one_of(
        st.tuples(st.sampled_from(["+", "-", "*", "/", "max"]), inner, inner),
        st.tuples(st.sampled_from(["sin", "atan", "log", "sqrt", "tanh", "^2", "^3", "^-2", "neg"]), inner),
    ),
    max_leaves=10,
)


def built(tree: Any, f: Any, x: Any, y: Any) -> Any:
    """An expression that is defined everywhere: divisors, roots and logarithms get 1 + square."""
    if isinstance(tree, str):
        return x if tree == "x" else y
    if isinstance(tree, float):
        return tree
    operator, *operands = tree
    a, *rest = (built(operand, f, x, y) for operand in operands)
    if operator in ("sin", "atan", "tanh"):
        return getattr(f, operator)(a)
    if operator in ("log", "sqrt"):
        return getattr(f, operator)(1 + a * a)
    if operator.startswith("^"):
        return (1 + a * a) ** -2 if operator == "^-2" else a ** int(operator[1:])
    if operator == "neg":
        return -a
    (b,) = rest
    if operator == "max":
        return f.max(a, b + 0.0173 * len(str(tree)))  # another shift at every depth: ties have no derivative
    return {"+": lambda: a + b, "-": lambda: a - b, "*": lambda: a * b, "/": lambda: a / (1 + b * b)}[operator]()


@settings(max_examples=150, deadline=None)
@given(tree=Tree, x=st.floats(-2, 2), y=st.floats(-2, 2))
def test_random_expressions(tree: Any, x: float, y: float) -> None:
    size = abs(float(built(tree, MPMATH, mp.mpf(x), mp.mpf(y))))
    if size < 1e6:
        agrees(lambda f, x, y: built(tree, f, x, y) + 0 * x, x, y, rtol=1e-8)


# ---------------------------------------------------------------------- what models are made of


def test_fixed_variables_and_mutable_parameters_are_numbers() -> None:
    m = pyo.ConcreteModel()
    m.x, m.y, m.z = (pyo.Var(initialize=v) for v in (2.0, 3.0, 5.0))
    m.p = pyo.Param(initialize=7.0, mutable=True)
    m.o = pyo.Objective(expr=m.p * m.x * m.y + m.x**m.z + (m.p + m.y) * m.x)
    m.y.fix()
    m.z.fix()
    read = program(m)
    assert [v.name for v in read.variables] == ["x"]
    assert read.functions.objective(np.array([2.0])) == 7 * 2 * 3 + 2**5 + (7 + 3) * 2
    assert read.functions.gradient(np.array([2.0])) == pytest.approx([21 + 5 * 16 + 10])
    m.p.value, m.z.value = 1.0, 2.0
    assert program(m).functions.objective(np.array([2.0])) == 2 * 3 + 4 + (1 + 3) * 2


def test_terms_that_shrink_do_not_share_a_shape_with_terms_that_never_held_more() -> None:
    # y_1 x_1^0 is y_1: what the power drops must not count among the variables of the shape of exp(y_2).
    m = pyo.ConcreteModel()
    m.x, m.y = pyo.Var([1, 2, 3], initialize=2.0), pyo.Var([1, 2, 3], initialize={1: 0.1, 2: 0.2, 3: 0.3})
    m.p = pyo.Param([1, 2, 3], mutable=True, initialize={1: 0.0, 2: 1.0, 3: 0.0})
    m.c = pyo.Constraint([1, 2, 3], rule=lambda m, i: pyo.exp(m.y[i] * (m.x[i] + 1.5) ** m.p[i]) <= 1)
    m.d = pyo.Constraint(expr=pyo.exp(m.y[3] * 1.0) <= 1)
    read = program(m)
    expected = [pyo.value(m.c[i].body) for i in (1, 2, 3)] + [pyo.value(m.d.body)]
    assert read.functions.constraints(read.start()) == pytest.approx(expected, rel=1e-15)


def test_named_expressions_nested_and_shared() -> None:
    m = pyo.ConcreteModel()
    m.x, m.y = pyo.Var(initialize=0.5), pyo.Var(initialize=1.5)
    m.inner = pyo.Expression(expr=m.x**2 + m.y)
    m.outer = pyo.Expression(expr=pyo.exp(m.inner) * m.inner + m.inner)
    m.o = pyo.Objective(expr=m.outer + 2 * m.outer * m.inner)
    read = program(m)
    assert read.functions.objective(read.start()) == pytest.approx(pyo.value(m.o), rel=1e-14)
    m.inner.set_value(m.y)
    assert program(m).functions.objective(program(m).start()) == pytest.approx(pyo.value(m.o), rel=1e-14)


def test_huge_sums_are_read_by_shape() -> None:
    n = 20_000
    m = pyo.ConcreteModel()
    m.x = pyo.Var(range(n), initialize=lambda m, i: 1.0 + i / n)
    m.o = pyo.Objective(expr=pyo.quicksum((i + 1.0) / m.x[i] ** 2 + 2.0 * m.x[i] for i in range(n)))
    read = program(m)
    assert [len(family.rows) for family in read.functions.families] == [n]
    x = read.start()
    numbers = np.arange(1, n + 1)
    expected = (numbers / (1 + (numbers - 1) / n) ** 2 + 2 * (1 + (numbers - 1) / n)).sum()
    assert read.functions.objective(x) == pytest.approx(float(expected), rel=1e-12)


@pytest.mark.parametrize("depth", [50, 1500])
def test_deep_nesting(depth: int) -> None:
    # e <- sin(e)/2 + 1/4, whose derivative is the product of cos(e)/2 along the way.
    m = pyo.ConcreteModel()
    m.x = pyo.Var(initialize=0.3)
    expression, number, slope = m.x, 0.3, 1.0
    for _ in range(depth):
        expression = pyo.sin(expression) / 2 + 0.25
        number, slope = np.sin(number) / 2 + 0.25, slope * np.cos(number) / 2
    m.o = pyo.Objective(expr=expression)
    read = program(m)
    x = read.start()
    assert read.functions.objective(x) == pytest.approx(number, rel=1e-14)
    assert read.functions.gradient(x)[0] == pytest.approx(slope, rel=1e-10, abs=1e-300)
    assert bo.solve(m, options={"max_iter": 0}).status is not None  # convexity analysis, too, takes the depth


def test_constants_fold_and_coefficients_cancel() -> None:
    m = pyo.ConcreteModel()
    m.x, m.f = pyo.Var(initialize=1.0), pyo.Var(initialize=4.0)
    m.f.fix()
    m.zero = pyo.Constraint(expr=0.1 * m.x + 0.2 * m.x - 0.3 * m.x <= 1)  # 0, though 0.1 + 0.2 - 0.3 is not
    m.number = pyo.Constraint(expr=pyo.sqrt(m.f) + pyo.log(m.f) * m.f**0 + m.x <= pyo.exp(m.f) / 2)
    m.o = pyo.Objective(expr=pyo.Expr_if(m.f >= 3, m.x, m.x**2) + abs(m.f - 5))
    read = program(m)
    assert not read.functions.families
    assert read.functions.linear[[0]].toarray().tolist() == [[0.0]]
    assert read.functions.constraints(np.array([1.0]))[1] == pytest.approx(2 + np.log(4) + 1 - np.exp(4) / 2)
    assert read.functions.objective(np.array([10.0])) == 11.0


def test_references_are_other_names_not_other_constraints() -> None:
    # min x^2 + y^2 s.t. x + y >= 2 has multiplier 2 (x = y = 1, grad = 2), counted once.
    m = pyo.ConcreteModel()
    m.x = pyo.Var([1, 2], initialize=0.0)
    m.c = pyo.Constraint([1], rule=lambda m, i: m.x[1] + m.x[2] >= 2)
    m.again = pyo.Reference(m.c[:])
    m.o = pyo.Objective(expr=m.x[1] ** 2 + m.x[2] ** 2)
    assert [c.name for c in program(m).constraints] == ["c[1]"]
    assert bo.solve(m).shadow_prices["c"][1] == pytest.approx(2.0, rel=1e-6)


def test_infinite_bounds_in_any_spelling() -> None:
    # min (x - 1)^4 + e^x + (y - x)^2: 4 (x - 1)^3 + e^x = 0 at x = 0.30307..., with bounds of 1e20 as without.
    m = pyo.ConcreteModel()
    m.x, m.y = pyo.Var(initialize=2.0, bounds=(-1e20, 1e20)), pyo.Var(initialize=3.0, bounds=(None, float("inf")))
    m.c = pyo.Constraint(expr=(-1e20, m.x + m.y, 1e30))
    m.o = pyo.Objective(expr=(m.x - 1) ** 4 + pyo.exp(m.x) + (m.y - m.x) ** 2)
    read = program(m)
    assert np.isinf([*read.x_lower, *read.x_upper, *read.lower, *read.upper]).all()
    solution = bo.solve(m).raise_if_failed()
    assert 4 * (solution.variables["x"] - 1) ** 3 + np.exp(solution.variables["x"]) == pytest.approx(0, abs=1e-7)


# ---------------------------------------------------------------------- what is refused, by name


def bad_model(change: Callable[[Any], Any]) -> Any:
    m = pyo.ConcreteModel()
    m.x, m.n = pyo.Var(initialize=1.0), pyo.Var(initialize=1.0, domain=pyo.Integers)
    m.nan = pyo.Param(initialize=float("nan"), domain=pyo.Any, mutable=True)
    m.none, m.zero = pyo.Param(mutable=True), pyo.Param(initialize=0.0, mutable=True)
    m.lost, m.empty = pyo.Var(), pyo.Expression()
    m.lost.fixed = True
    m.o = pyo.Objective(expr=m.x**2)
    change(m)
    return m


def row(body: Callable[[Any], Any]) -> Callable[[Any], None]:
    return lambda m: m.add_component("culprit", pyo.Constraint(expr=body(m) <= 3))


def second_objective(m: Any) -> None:
    m.second = pyo.Objective(expr=m.x)


def external(m: Any) -> None:
    m.f = pyo.ExternalFunction(lambda x: x**2)
    m.culprit = pyo.Constraint(expr=m.f(m.x) <= 3)


def special_ordered(m: Any) -> None:
    m.s = pyo.Var([1, 2])
    m.culprit = pyo.SOSConstraint(var=m.s, sos=1)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param(external, r"culprit.*ExternalFunction", id="external function"),
        pytest.param(row(lambda m: m.x + m.n), r"culprit.*variable n is Integers", id="integer variable"),
        pytest.param(row(lambda m: pyo.floor(m.x)), r"culprit.*floor\(\)", id="floor"),
        pytest.param(row(lambda m: m.x * pyo.ceil(m.x)), r"culprit.*ceil\(\)", id="ceil"),
        pytest.param(row(lambda m: m.x**m.nan), r"culprit.*exponent.*nan", id="NaN exponent"),
        pytest.param(row(lambda m: m.nan * m.x), r"constraint culprit.*NaN", id="NaN coefficient"),
        pytest.param(row(lambda m: m.nan + m.x), r"constraint culprit.*NaN", id="NaN constant"),
        pytest.param(row(lambda m: m.nan * pyo.exp(m.x)), r"constraint culprit.*NaN", id="NaN in a term"),
        pytest.param(row(lambda m: m.none + m.x), r"culprit.*no real value", id="parameter without value"),
        pytest.param(row(lambda m: m.lost + m.x), r"culprit.*lost is fixed but has no value", id="fixed to nothing"),
        pytest.param(row(lambda m: m.x / m.zero), r"culprit.*division by zero", id="division by zero"),
        pytest.param(row(lambda m: m.x * pyo.log(m.zero)), r"culprit", id="log of zero"),
        pytest.param(row(lambda m: m.empty + m.x), r"culprit.*empty is empty", id="empty expression"),
        pytest.param(special_ordered, r"culprit.*SOSConstraint", id="special ordered set"),
        pytest.param(second_objective, r"2 active objectives \(o, second\)", id="two objectives"),
        pytest.param(
            lambda m: m.add_component("culprit", pyo.Constraint(expr=(m.x, m.x + 1, 3))),
            "culprit",
            id="variable in a range",
        ),
    ],
)
def test_refused_by_name(change: Callable[[Any], Any], said: str) -> None:
    with pytest.raises(bo.ModelError, match=said):
        bo.solve(bad_model(change))


@pytest.mark.parametrize(
    ("term", "expected"),
    [
        (lambda x, y: (x - 1) ** 2 + x * y, 2.0),
        (lambda x, y: (x + y) * x / 3, 2.0),
        (lambda x, y: x**3, 3.0),
        (lambda x, y: (x * y) ** 2, 4.0),
        (lambda x, y: 1 / x, np.inf),
        (lambda x, y: x**0.5, np.inf),
        (lambda x, y: x * pyo.exp(y), np.inf),
        (lambda x, y: 2.0**x, np.inf),
    ],
)
def test_the_degree_of_a_polynomial(term: Callable[[Any, Any], Any], expected: float) -> None:
    m = pyo.ConcreteModel()
    m.x, m.y = pyo.Var(), pyo.Var()
    reader = Reader()
    reader.read(term(m.x, m.y), "term")
    assert max(degree(shape) for shape in reader.terms) == expected
