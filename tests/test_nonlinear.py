"""Solvers times problems: a table of programmes with known minima, each derived in a comment, and how solving may fail."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pyomo.environ as pyo
import pytest

import bcfl_opt as bo
from bcfl_opt.nlp.nonlinear import solve_program

GLOBAL, LOCAL = bo.Quality.GLOBAL, bo.Quality.LOCAL


def new(**starts: float | None) -> Any:
    m = pyo.ConcreteModel()
    for name, start in starts.items():
        m.add_component(name, pyo.Var(initialize=start))
    return m


def rosenbrock() -> Any:
    # (1-x)^2 + 100 (y-x^2)^2 on x^2 + y^2 <= 2: the unconstrained minimum (1, 1) is on the circle.
    m = new(x=-1.2, y=1.0)
    m.o = pyo.Objective(expr=(1 - m.x) ** 2 + 100 * (m.y - m.x**2) ** 2)
    m.c = pyo.Constraint(expr=m.x**2 + m.y**2 <= 2)
    return m


def hs071() -> Any:
    # Hock and Schittkowski 71: x* = (1, 4.7429994, 3.8211503, 1.3794082), f* = 17.0140173.
    m = pyo.ConcreteModel()
    m.x = pyo.Var([1, 2, 3, 4], bounds=(1, 5), initialize={1: 1.0, 2: 5.0, 3: 5.0, 4: 1.0})
    x = m.x
    m.o = pyo.Objective(expr=x[1] * x[4] * (x[1] + x[2] + x[3]) + x[3])
    m.c = pyo.Constraint(expr=x[1] * x[2] * x[3] * x[4] >= 25)
    m.d = pyo.Constraint(expr=x[1] ** 2 + x[2] ** 2 + x[3] ** 2 + x[4] ** 2 == 40)
    return m


def quadratic() -> Any:
    # x^2 + y^2 on x + y = 2: (1, 1) by symmetry.
    m = new(x=5.0, y=-3.0)
    m.o = pyo.Objective(expr=m.x**2 + m.y**2)
    m.c = pyo.Constraint(expr=m.x + m.y == 2)
    return m


def linear() -> Any:
    # max 3x + 2y on x + y <= 4, x <= 3, x, y >= 0: the corner (3, 1), 11.
    m = new(x=0.0, y=0.0)
    m.o = pyo.Objective(expr=3 * m.x + 2 * m.y, sense=pyo.maximize)
    m.c = pyo.Constraint(expr=m.x + m.y <= 4)
    m.d = pyo.Constraint(expr=m.x <= 3)
    m.e, m.f = pyo.Constraint(expr=m.x >= 0), pyo.Constraint(expr=m.y >= 0)
    return m


def entropy() -> Any:
    # max -sum p log p on sum p = 1: uniform, log 4.
    m = pyo.ConcreteModel()
    m.p = pyo.Var(range(4), bounds=(0, 1), initialize={0: 0.7, 1: 0.1, 2: 0.1, 3: 0.1})
    m.o = pyo.Objective(expr=-sum(m.p[i] * pyo.log(m.p[i]) for i in range(4)), sense=pyo.maximize)
    m.c = pyo.Constraint(expr=sum(m.p.values()) == 1)
    return m


def exponential() -> Any:
    # e^x - 2x: e^x = 2, 2 - 2 log 2.
    m = new(x=0.0)
    m.o = pyo.Objective(expr=pyo.exp(m.x) - 2 * m.x)
    return m


def logarithm() -> Any:
    # max log x + 2 log y on x + y <= 3: x = 1, y = 2 (shares 1 : 2), 2 log 2.
    m = new(x=0.1, y=0.1)
    m.o = pyo.Objective(expr=pyo.log(m.x) + 2 * pyo.log(m.y), sense=pyo.maximize)
    m.c = pyo.Constraint(expr=m.x + m.y <= 3)
    return m


def tiny() -> Any:
    # 1e-10 (x-3)^2 + 1e-10 y on 1e-10 (x + y) >= 1e-9: 2 (x-3) = 1 = multiplier, x = 3.5, y = 6.5, f = 1e-10 (0.25 + 6.5).
    m = new(x=0.0, y=0.0)
    m.o = pyo.Objective(expr=1e-10 * (m.x - 3) ** 2 + 1e-10 * m.y)
    m.c = pyo.Constraint(expr=1e-10 * (m.x + m.y) >= 1e-9)
    return m


def from_a_maximum() -> Any:
    # x^4 - x^2 from its local maximum x = 0: -1/4 at x = +-1/sqrt(2).
    m = new(x=0.0)
    m.o = pyo.Objective(expr=m.x**4 - m.x**2)
    return m


def disguised_square() -> Any:
    # As many equality rows as variables, but two say the same: z is free, and IPOPT alone would leave it at its start.
    m = new(x=0.0, y=0.0, z=1.0)
    m.c = pyo.Constraint(expr=m.x + m.y == 2)
    m.d = pyo.Constraint(expr=2 * m.x + 2 * m.y == 4)
    m.e = pyo.Constraint(expr=m.x - m.y == 0)
    m.o = pyo.Objective(expr=(m.z - 3) ** 2 + m.x)
    return m


def square() -> Any:
    # x^2 + y^2 = 5, x - y = 1, x > 0: (2, 1). No objective.
    m = new(x=3.0, y=3.0)
    m.c = pyo.Constraint(expr=m.x**2 + m.y**2 == 5)
    m.d = pyo.Constraint(expr=m.x - m.y == 1)
    return m


def far_bounds() -> Any:
    # (x-1)^2 + (y-x)^2 with bounds that are none: 0 at (1, 1), and the gap must not be blown up by their distance.
    m = new(x=7.0, y=-5.0)
    m.x.bounds, m.y.bounds = (-1e12, 1e12), (-1e15, 1e15)
    m.o = pyo.Objective(expr=(m.x - 1) ** 2 + (m.y - m.x) ** 2 + pyo.exp(m.x - 1) - m.x)
    return m


TABLE: list[tuple[Callable[[], Any], float, bo.Quality]] = [
    (rosenbrock, 0.0, LOCAL),
    (hs071, 17.014017289, LOCAL),
    (quadratic, 2.0, GLOBAL),
    (linear, 11.0, GLOBAL),
    (entropy, math.log(4), LOCAL),  # x log x is convex, but not by the rules of disciplined convex programming
    (exponential, 2 - 2 * math.log(2), GLOBAL),
    (logarithm, 2 * math.log(2), GLOBAL),
    (tiny, 6.75e-10, GLOBAL),
    (from_a_maximum, -0.25, LOCAL),
    (disguised_square, 1.0, GLOBAL),
    (square, 0.0, LOCAL),
    (far_bounds, 0.0, GLOBAL),
]


@pytest.mark.parametrize(("build", "best", "quality"), TABLE, ids=[row[0].__name__ for row in TABLE])
def test_known_minima(build: Callable[[], Any], best: float, quality: bo.Quality) -> None:
    m = build()
    solution = bo.solve(m).raise_if_failed()
    assert solution.objective == pytest.approx(
        best, rel=1e-7, abs=1e-8 if abs(best) < 1e-12 or abs(best) > 1e-3 else 0.0
    )
    assert solution.quality is quality, repr(solution)
    assert solution.certificate is not None and solution.certificate.holds()
    objectives = list(m.component_data_objects(pyo.Objective, active=True))
    if objectives:  # the model holds the answer
        assert pyo.value(objectives[0]) == pytest.approx(solution.objective, rel=1e-14, abs=1e-300)


def test_the_same_input_twice_gives_bitwise_the_same_answer() -> None:
    first, second = bo.solve(hs071()), bo.solve(hs071())
    assert first.variables["x"].tolist() == second.variables["x"].tolist()
    assert first.objective == second.objective
    for name, prices in first.shadow_prices.items():
        assert np.array_equal(prices, second.shadow_prices[name]), name


# ---------------------------------------------------------------------- models with little in them


def test_empty_model() -> None:
    solution = bo.solve(pyo.ConcreteModel())
    assert solution.succeeded and solution.objective == 0.0 and solution.variables == {}


def test_no_constraints_no_free_variables() -> None:
    m = new(x=2.0)
    m.x.fix()
    m.o = pyo.Objective(expr=m.x**2)
    assert bo.solve(m).objective == 4.0
    m.c = pyo.Constraint(expr=m.x >= 3)
    assert bo.solve(m).status is bo.Status.INFEASIBLE
    m.x.fix(3.0)
    assert bo.solve(m).objective == 9.0


def test_variables_with_one_value_left() -> None:
    m = new(x=0.0, y=0.0)
    m.x.bounds = (2, 2)
    m.o = pyo.Objective(expr=(m.x + m.y) ** 2 + m.y)
    m.c = pyo.Constraint(expr=3 * m.y == 3)
    solution = bo.solve(m)
    assert (solution.objective, solution.shadow_prices["c"]) == pytest.approx((10.0, (2 * 3 + 1) / 3))


def test_variables_used_nowhere_keep_their_values() -> None:
    m = quadratic()
    m.idle, m.blank = pyo.Var(initialize=7.0), pyo.Var()
    solution = bo.solve(m)
    assert solution.variables["idle"] == 7.0 and math.isnan(solution.variables["blank"])
    assert (m.idle.value, m.blank.value) == (7.0, None)


def test_blocks_and_deactivated_parts() -> None:
    m = quadratic()
    m.b = pyo.Block([1, 2])
    for k in (1, 2):
        m.b[k].c = pyo.Constraint(expr=m.x >= 1 + k)
    m.b[2].deactivate()
    # x >= 2, so (2, 0): d f / d b = 2x - 2y = 4, since y gives way.
    solution = bo.solve(m)
    assert solution.objective == pytest.approx(4.0, rel=1e-7)
    assert solution.shadow_prices["b[1].c"] == pytest.approx(4.0, rel=1e-6) and "b[2].c" not in solution.shadow_prices
    part = bo.solve(m.b[1])  # a block alone: its constraints, with the variables they use
    assert part.succeeded


# ---------------------------------------------------------------------- how it can fail


def infeasible_linear() -> Any:
    m = new(x=0.0, y=0.0)
    m.o = pyo.Objective(expr=m.x**2 + pyo.exp(m.y))
    m.c = pyo.Constraint(expr=m.x + m.y >= 3)
    m.d = pyo.Constraint(expr=m.x + 2 * m.y <= 1)
    m.e = pyo.Constraint(expr=m.y >= 0)
    return m


def infeasible_nonlinear() -> Any:
    m = new(x=1.0, y=2.0)
    m.o = pyo.Objective(expr=m.x + m.y)
    m.c = pyo.Constraint(expr=m.x**2 + m.y**2 <= 1)
    m.d = pyo.Constraint(expr=m.x * m.y >= 1)  # needs x^2 + y^2 >= 2
    return m


def unbounded() -> Any:
    m = new(x=1.0, y=2.0)
    m.o = pyo.Objective(expr=m.x**3 + m.y)
    m.c = pyo.Constraint(expr=m.x + m.y <= 5)
    return m


def unbounded_linear() -> Any:
    m = new(x=1.0)
    m.o = pyo.Objective(expr=m.x, sense=pyo.maximize)
    return m


def undefined_at_start() -> Any:
    m = new(x=-1.0)
    m.o = pyo.Objective(expr=m.x + pyo.log(m.x))
    return m


def undefined_constraint() -> Any:
    m = new(x=-1.0)
    m.o = pyo.Objective(expr=m.x**2)
    m.c = pyo.Constraint(expr=pyo.log(m.x) >= -5)
    return m


def undefined_derivative() -> Any:
    # sqrt(0) is 0 and its derivative is not a number; IPOPT once handed it to MUMPS, which crashed the process.
    m = new(x=0.9, y=-1.3)
    m.x.bounds = m.y.bounds = (-2, 2)
    m.o = pyo.Objective(expr=m.y + 0.01 * m.x + 0.02 * m.y * m.y)
    m.c = pyo.Constraint(expr=pyo.sqrt(m.x - m.x) <= 1.9)
    return m


def too_few_degrees() -> Any:
    m = new(x=1.0, y=1.0)
    m.o = pyo.Objective(expr=m.x)
    m.c = pyo.Constraint(expr=m.x**2 + m.y == 1)
    m.d = pyo.Constraint(expr=m.x + m.y**2 == 3)
    m.e = pyo.Constraint(expr=m.x * m.y == 7)
    return m


@pytest.mark.parametrize(
    ("build", "options", "limit", "status"),
    [
        (infeasible_linear, {}, None, {"INFEASIBLE"}),
        (infeasible_nonlinear, {}, None, {"LOCALLY_INFEASIBLE"}),
        (unbounded, {}, None, {"UNBOUNDED"}),
        (unbounded_linear, {}, None, {"UNBOUNDED"}),
        (hs071, {"max_iter": 2}, None, {"ITERATION_LIMIT"}),
        (hs071, {}, 1e-9, {"TIME_LIMIT"}),
        (undefined_at_start, {}, None, {"EVALUATION_ERROR"}),
        (undefined_constraint, {}, None, {"EVALUATION_ERROR"}),
        (undefined_derivative, {}, None, {"EVALUATION_ERROR"}),
        (too_few_degrees, {}, None, {"LOCALLY_INFEASIBLE"}),
    ],
)
def test_failures_are_named_and_leave_the_model_alone(build: Any, options: Any, limit: Any, status: set[str]) -> None:
    m = build()
    before = {v.name: v.value for v in m.component_data_objects(pyo.Var)}
    solution = bo.solve(m, options=options, time_limit=limit)
    assert solution.status.name in status and solution.quality is bo.Quality.NONE, repr(solution)
    assert {v.name: v.value for v in m.component_data_objects(pyo.Var)} == before
    for name in ("objective", "variables", "shadow_prices"):
        with pytest.raises(bo.NoSolutionError):
            getattr(solution, name)
    with pytest.raises(bo.NoSolutionError):
        bo.solve(build(), options=options, time_limit=limit, raise_on_failure=True)


def test_undefined_at_the_start_is_not_undefined_everywhere() -> None:
    """min (x - 3)^2 + exp(1000 x): at x = 2, exp(2000) is no number; the slope 1000 e^(1000 x) is 6 near x = ln(0.006) / 1000."""
    m = new(x=2.0)
    m.o = pyo.Objective(expr=(m.x - 3) ** 2 + pyo.exp(1000 * m.x))
    solution = bo.solve(m)
    assert solution.succeeded and solution.provenance["attempts"][0]["status"] == "EVALUATION_ERROR"
    x = -0.0051  # Newton on 2 (x - 3) + 1000 exp(1000 x) = 0
    for _ in range(50):
        slope = math.exp(1000 * x)
        x -= (2 * (x - 3) + 1000 * slope) / (2 + 1e6 * slope)
    assert m.x.value == pytest.approx(x, rel=1e-8)


def test_an_iteration_limit_is_a_limit() -> None:
    solution = bo.solve(hs071(), options={"max_iter": 2})
    assert len(solution.provenance["attempts"]) == 1 and solution.iterations == 2


@pytest.mark.parametrize("start", [1e-9, 1e-12, -1e-9, 0.5])
def test_stopping_early_near_zero_is_no_success(start: float) -> None:
    # Relative to a variable of 1e-9 any gradient looks small; it is not.
    m = new(x=start)
    m.o = pyo.Objective(expr=(m.x - 3) ** 2)
    assert bo.solve(m, options={"max_iter": 0}).status is bo.Status.ITERATION_LIMIT


# ---------------------------------------------------------------------- shadow prices


def priced(kind: str, sense: Any, b: float) -> tuple[float, Any]:
    """Optimal value and price of one constraint on e^x + y^2 / 2 + xy / 4, or minus that, maximised."""
    m = new(x=0.3, y=0.4)
    cost = pyo.exp(m.x) + m.y**2 / 2 + m.x * m.y / 4 + m.x**2
    m.o = pyo.Objective(expr=cost if sense is pyo.minimize else -cost, sense=sense)
    body, x = m.x + 2 * m.y, m.x
    m.c = pyo.Constraint(
        expr={
            "<=": lambda: body <= -b,
            ">=": lambda: body >= b,
            "==": lambda: body == b,
            "range, lower": lambda: pyo.inequality(b, body, b + 5),
            "range, upper": lambda: pyo.inequality(-b - 5, body, -b),
            "bound <=": lambda: -2 * x >= b,
            "bound >=": lambda: 3 * x >= b,
            "bound ==": lambda: -2 * x == b,
            "curved": lambda: x**2 + m.y >= b,
            "variables on both sides": lambda: b - m.y <= m.x + m.y,
        }[kind]()
    )
    solution = bo.solve(m).raise_if_failed()
    return solution.objective, solution.shadow_prices["c"]


KINDS = [
    "<=",
    ">=",
    "==",
    "range, lower",
    "range, upper",
    "bound <=",
    "bound >=",
    "bound ==",
    "curved",
    "variables on both sides",
]


@pytest.mark.parametrize("sense", [pyo.minimize, pyo.maximize])
@pytest.mark.parametrize("kind", KINDS)
def test_shadow_prices_are_derivatives_of_the_objective(kind: str, sense: Any) -> None:
    b, step = 1.3, 1e-4
    _, price = priced(kind, sense, b)
    slope = (priced(kind, sense, b + step)[0] - priced(kind, sense, b - step)[0]) / (2 * step)
    # There the right-hand side is -b; with variables on both sides, too: Pyomo moves them all to the left of <=.
    if kind in ("<=", "range, upper", "variables on both sides"):
        slope = -slope
    assert abs(slope) > 1e-2, "the constraint should bind"
    assert price == pytest.approx(slope, rel=1e-5)


def test_reduced_costs_are_prices_of_bounds() -> None:
    # min (x-3)^2 on x <= 1: raising the bound by 1 changes the objective by -4 at first; Pyomo's rc for max -(...): +4.
    for sense, sign in ((pyo.minimize, 1), (pyo.maximize, -1)):
        m = new(x=0.0)
        m.x.setub(1)
        m.o = pyo.Objective(expr=sign * (m.x - 3) ** 2, sense=sense)
        m.rc = pyo.Suffix(direction=pyo.Suffix.IMPORT)
        pyo.SolverFactory("bcfl_ipopt").solve(m)
        assert m.rc[m.x] == pytest.approx(-4.0 * sign, rel=1e-6)


# ---------------------------------------------------------------------- certificates


def answer_of(build: Callable[[], Any]) -> Any:
    return solve_program(build())


def certified(answer: Any, *, convex: bool = False, **changed: Any) -> bo.Certificate:
    from bcfl_opt.nlp.kkt import certify

    x = changed.pop("x", answer.x)
    return certify(answer.program, x, dataclasses.replace(answer.multipliers, **changed), convex=convex)


def column(answer: Any, name: str) -> int:
    return [v.name for v in answer.program.variables].index(name)


def nudged(values: np.ndarray, k: int, change: float) -> np.ndarray:
    values = values.copy()
    values[k] += change
    return values


def test_certificates_fail_for_tampered_points_and_multipliers() -> None:
    """min (x-3)^2 + (y+1)^2 + z on x + y <= 1, z >= 2, x + 2y >= -9 (slack)."""
    m = new(x=0.0, y=0.0, z=5.0)
    m.z.setlb(2)
    m.o = pyo.Objective(expr=(m.x - 3) ** 2 + (m.y + 1) ** 2 + m.z)
    m.c = pyo.Constraint(expr=m.x + m.y <= 1)
    m.d = pyo.Constraint(expr=m.x + 2 * m.y >= -9)
    a = solve_program(m)
    assert certified(a, convex=True).closes_gap
    x, z = column(a, "x"), column(a, "z")
    rows, low, high = a.multipliers.rows, a.multipliers.x_lower, a.multipliers.x_upper

    def failing(residual: str, **changed: Any) -> None:
        certificate = certified(a, **changed)
        assert not certificate.holds() and not certificate.residuals[residual] <= 1e-6, f"{residual}: {certificate!r}"

    failing("primal", x=nudged(a.x, x, 1e-4))
    failing("primal", x=nudged(a.x, z, -1e-4))
    failing("primal", x=nudged(a.x, x, np.nan))
    failing("stationarity", x=nudged(a.x, x, -1e-3))
    failing("stationarity", rows=nudged(rows, 0, 1e-3))
    failing("stationarity", x_lower=nudged(low, z, -1e-3))
    failing("complementarity", rows=nudged(rows, 1, -1e-3))
    failing("complementarity", x=nudged(a.x, z, 1e-3))
    failing("dual", rows=nudged(rows, 1, 1e-3))  # pushes down on a row that is only bounded below
    failing("dual", x_upper=nudged(high, z, -1e-3))
    # A multiplier of a bound that does not exist explains any gradient away.
    gradient = a.program.functions.gradient(nudged(a.x, x, -1.0))
    failing(
        "dual", x=nudged(a.x, x, -1.0), rows=0 * rows, x_lower=np.maximum(gradient, 0), x_upper=np.maximum(-gradient, 0)
    )
    gap = certified(a, convex=True, x=nudged(a.x, x, -0.01))
    assert gap.gap is not None and gap.gap > 1e-6 and not gap.closes_gap


def test_unscaled_residuals_are_in_the_models_own_units() -> None:
    # min 1000 (x-3)^2 on 100 x <= 200, y >= 0 with (y+1)^2: x = 2, multiplier 20, y = 0 with multiplier 2.
    m = new(x=0.0, y=5.0)
    m.y.setlb(0)
    m.o = pyo.Objective(expr=1000 * (m.x - 3) ** 2 + (m.y + 1) ** 2)
    m.c = pyo.Constraint(expr=100 * m.x + 0 * m.y**2 <= 200)
    a = solve_program(m)
    x, y = column(a, "x"), column(a, "y")
    there = np.array([2.0, 0.0])[np.argsort([x, y])]
    rows, low = np.array([20.0]), np.array([0.0, 2.0])[np.argsort([x, y])]

    def unscaled(**changed: Any) -> dict[str, float]:
        return dict(certified(a, **{"x": there, "rows": rows, "x_lower": low, "x_upper": 0 * low, **changed}).unscaled)

    assert max(unscaled().values()) == 0.0
    assert unscaled(x=nudged(there, x, 1e-3))["primal"] == pytest.approx(0.1)  # 100 x over 200
    assert unscaled(x=nudged(there, y, -1e-3))["primal"] == pytest.approx(1e-3)
    assert unscaled(rows=-rows)["dual"] == pytest.approx(20.0)
    assert unscaled(rows=nudged(rows, 0, 0.5))["stationarity"] == pytest.approx(50.0)
    assert unscaled(x=nudged(there, y, 1e-3))["complementarity"] == pytest.approx(2e-3)
    assert certified(a, convex=True, x=nudged(there, y, 1e-3), rows=rows, x_lower=low).unscaled["gap"] >= 2e-3


def test_the_sign_of_noise_is_no_reason_to_reject() -> None:
    # min exp(sqrt y) + x / 100 on a row that is far from binding: its multiplier is 0, here told as +1e-12.
    m = new(x=0.3, y=0.5)
    m.x.bounds = m.y.bounds = (1e-6, 1)
    m.o = pyo.Objective(expr=pyo.exp(pyo.sqrt(m.y)) + m.x / 100)
    m.c = pyo.Constraint(expr=m.x + m.y >= -4)
    a = solve_program(m)
    assert a.status is bo.Status.SOLVED
    assert certified(a, rows=np.array([1e-12])).holds()


def test_certificates_do_not_lose_a_nan() -> None:
    # log x at x < 0 is NaN, its derivative 1/x is not; no other constraint may hide that.
    m = new(x=1.0, y=1.0)
    m.o = pyo.Objective(expr=(m.x - 2) ** 2 + m.y**2)
    m.c = pyo.Constraint(expr=pyo.log(m.x) >= -5)
    m.d = pyo.Constraint(expr=m.x + m.y <= 9)
    m.y.setub(3)
    a = solve_program(m)
    certificate = certified(a, x=nudged(a.x, column(a, "x"), -4.0))
    assert math.isnan(certificate.primal) and not certificate.holds()
    assert certificate.where["primal"] == "c"
