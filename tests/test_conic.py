"""CVXPY to Clarabel and IPOPT: answers found otherwise, statuses, certificates that fail when they should, shadow prices."""

from __future__ import annotations

import dataclasses
import io
import math
from collections.abc import Callable

import cvxpy as cp
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq, minimize_scalar

import bcfl_opt as bo
from bcfl_opt import conic
from bcfl_opt.cones import Cones
from bcfl_opt.conic_program import ConicProgram
from bcfl_opt.models import problem1_cvxpy, problem2_cvxpy
from bcfl_opt.refinement import refine

SOLVERS = ["clarabel", "ipopt"]


def a_game(n: int = 6, **parameters: object) -> bo.Game:
    """Pairs around the target, so that nobody has a negative Shapley share; every other client has a speed limit."""
    rng = np.random.default_rng(n)
    away = rng.uniform(0.5, 4.0, (n + 1) // 2)
    mu = np.column_stack([10 - away, 10 + away]).ravel()[:n]
    q = np.where(np.arange(n) % 2 == 0, 1.5, np.inf)
    frame = pd.DataFrame({"mu": mu, "rho": rng.uniform(0.005, 0.02, n), "q": q}, index=[f"c{k}" for k in range(n)])
    return bo.Game(frame, **{"mining_cycles": 6.0, "deadline": 25.0, "mining_cap": 4.0, **parameters})  # type: ignore[arg-type]


def some_prices(game: bo.Game) -> pd.DataFrame:
    rng = np.random.default_rng(len(game))
    return game.prices(rng.uniform(0.03, 0.3, len(game)), rng.uniform(0.03, 0.3, len(game)))


def solved(model: object, **arguments: object) -> bo.Solution:
    solution = conic.solve_convex(model, **arguments)  # type: ignore[arg-type]
    assert solution.succeeded, solution
    return solution


# ---------------------------------------------------------------------------------- problems with known answers


def norm_ball() -> tuple[cp.Problem, float]:
    """max a'x on the unit ball: |a|."""
    x = cp.Variable(3, name="x")
    return cp.Problem(cp.Maximize(np.array([2.0, -3.0, 6.0]) @ x), [cp.norm(x) <= 1]), 7.0


def entropy() -> tuple[cp.Problem, float]:
    """max -sum x log x, sum x = 1: log n."""
    x = cp.Variable(5)
    return cp.Problem(cp.Maximize(cp.sum(cp.entr(x))), [cp.sum(x) == 1]), math.log(5)


def projection() -> tuple[cp.Problem, float]:
    """The squared distance of (1, 2) from x_1 + x_2 <= 1: 2^2 / 2."""
    x = cp.Variable(2)
    return cp.Problem(cp.Minimize(cp.sum_squares(x - np.array([1.0, 2.0]))), [cp.sum(x) <= 1]), 2.0


def chebyshev() -> tuple[cp.Problem, float]:
    """min max |x - d| over x in R: half the spread."""
    x = cp.Variable()
    return cp.Problem(cp.Minimize(cp.max(cp.abs(x - np.array([1.0, 4.0, 9.0]))))), 4.0


def geometric() -> tuple[cp.Problem, float]:
    """min x + y, x y >= 9: 6."""
    x, y = cp.Variable(name="x"), cp.Variable(name="y")
    return cp.Problem(cp.Minimize(x + y), [y >= 9 * cp.inv_pos(x)]), 6.0


def nothing_at_the_answer() -> tuple[cp.Problem, float]:
    """min x, x >= 0: the answer has no size of its own to compare residuals with."""
    x = cp.Variable()
    return cp.Problem(cp.Minimize(x), [x >= 0]), 0.0


def eigenvalue() -> tuple[cp.Problem, float]:
    """min tr(A X), X >= 0, tr X = 1: the least eigenvalue, 1."""
    x = cp.Variable((2, 2), symmetric=True)
    return cp.Problem(cp.Minimize(cp.trace(np.array([[2.0, 1.0], [1.0, 2.0]]) @ x)), [x >> 0, cp.trace(x) == 1]), 1.0


def powers() -> tuple[cp.Problem, float]:
    """max x^0.3 + y^0.3, x + y <= 1, by the power cone: 2 * 0.5^0.3."""
    x = cp.Variable(2)
    return cp.Problem(cp.Maximize(cp.sum(cp.power(x, 0.3, approx=False))), [cp.sum(x) <= 1]), 2 * 0.5**0.3


def weighted_mean() -> tuple[cp.Problem, float]:
    """max x^.2 y^.3 z^.5, x + y + z <= 1: shares in proportion to the exponents."""
    x = cp.Variable(3)
    mean = cp.geo_mean(x, [0.2, 0.3, 0.5], approx=False)
    return cp.Problem(cp.Maximize(mean), [cp.sum(x) <= 1]), 0.2**0.2 * 0.3**0.3 * 0.5**0.5


SMOOTH = [norm_ball, entropy, projection, chebyshev, geometric, nothing_at_the_answer]


@pytest.mark.parametrize("case", [*SMOOTH, eigenvalue, powers, weighted_mean])
def test_clarabel_certifies_the_known_answer(case: Callable[[], tuple[cp.Problem, float]]) -> None:
    problem, answer = case()
    solution = solved(problem)
    assert solution.objective == pytest.approx(answer, rel=1e-8, abs=1e-8)
    assert solution.quality is bo.Quality.GLOBAL
    assert set(solution.timing) == {"compile", "solve", "check"}
    assert solution.iterations is not None and "Clarabel" in solution.log
    assert set(solution.provenance["versions"]) == {"cvxpy", "clarabel"}
    assert float(problem.objective.value) == solution.objective  # a success sets the variables


@pytest.mark.parametrize("case", [case for case in SMOOTH if case is not norm_ball])
def test_ipopt_finds_the_known_answer(
    case: Callable[[], tuple[cp.Problem, float]], capfd: pytest.CaptureFixture[str]
) -> None:
    problem, answer = case()
    solution = solved(problem, solver="ipopt")
    assert solution.objective == pytest.approx(answer, rel=1e-7, abs=1e-7)
    assert solution.quality is bo.Quality.GLOBAL  # all of these are convex
    assert solution.iterations and "EXIT: Optimal Solution Found" in solution.log
    assert capfd.readouterr() == ("", "")


@settings(max_examples=25, derandomize=True, deadline=None)
@given(seed=st.integers(0, 2**31), n=st.integers(1, 12), scale=st.floats(-2, 2))
def test_both_solvers_on_random_separable_problems(seed: int, n: int, scale: float) -> None:
    # min sum c_i / x_i, sum x <= B: x_i in proportion to sqrt(c_i), so (sum sqrt c)^2 / B, and d / dB is minus that / B.
    rng = np.random.default_rng(seed)
    c, budget = 10 ** rng.uniform(-3, 3, n), 10.0**scale
    x = cp.Variable(n)
    problem = cp.Problem(cp.Minimize(c @ cp.inv_pos(x)), [cp.sum(x) <= budget])
    answer = np.sqrt(c).sum() ** 2 / budget
    solution = solved(problem)
    assert solution.objective == pytest.approx(answer, rel=1e-8)
    assert solution.shadow_prices["constraint 0"] == pytest.approx(-answer / budget, rel=1e-6)
    if abs(scale) <= 1:
        x.value = np.full(n, 0.5 * budget / n)
        again = solved(problem, solver="ipopt")
        assert again.objective == pytest.approx(answer, rel=1e-6)
        assert again.shadow_prices["constraint 0"] == pytest.approx(-answer / budget, rel=1e-4)


def test_a_problem_without_variables() -> None:
    for solver in SOLVERS:
        assert solved(cp.Problem(cp.Minimize(3), [cp.Constant(1) <= 2]), solver=solver).objective == 3
        solution = conic.solve_convex(cp.Problem(cp.Minimize(3), [cp.Constant(3) <= 2]), solver=solver)
        assert solution.status is bo.Status.INFEASIBLE


def test_names_of_variables_and_constraints() -> None:
    x, same, z = cp.Variable(2, name="x"), cp.Variable(name="x"), cp.Variable((2, 2), name="z")
    floor = (same >= 3).set_label("floor")
    solution = solved(cp.Problem(cp.Minimize(cp.sum(x) + same + cp.sum(z)), [x >= 1, floor, z >= 0]))
    assert set(solution.variables) == {"x", "x (2)", "z"}
    np.testing.assert_allclose(solution.variables["x"], [1, 1])
    assert solution.variables["x (2)"] == pytest.approx(3) and solution.variables["z"].shape == (2, 2)
    assert set(solution.shadow_prices) == {"constraint 0", "floor", "constraint 2"}


def test_parameters_are_taken_at_their_values() -> None:
    x, p = cp.Variable(), cp.Parameter(name="price")
    problem = cp.Problem(cp.Minimize(p * p * x), [x >= p])  # not DPP, which must not even warn
    with pytest.raises(bo.InputError, match="parameter 'price' has no value"):
        conic.solve_convex(problem)
    for value in (2.0, 3.0):
        p.value = value
        assert solved(problem).objective == pytest.approx(value**3)


# ---------------------------------------------------------------------------------- no answer


def test_infeasible_is_proven_and_names_the_conflict() -> None:
    x, y = cp.Variable(name="x"), cp.Variable()
    constraints = [
        (x >= 1).set_label("floor"),
        (x <= 1 - 1e-4).set_label("roof"),
        (y >= 0).set_label("bystander"),
    ]
    x.value = 7.0
    solution = conic.solve_convex(cp.Problem(cp.Minimize(x + y), constraints))
    assert solution.status is bo.Status.INFEASIBLE and solution.quality is bo.Quality.NONE
    assert solution.detail == "in conflict: 'floor', 'roof'"
    assert x.value == 7.0  # a failure leaves the model as it was
    with pytest.raises(bo.NoSolutionError):
        _ = solution.objective
    assert (
        conic.solve_convex(cp.Problem(cp.Minimize(x + y), constraints), solver="ipopt").status
        is bo.Status.LOCALLY_INFEASIBLE
    )


@pytest.mark.parametrize("solver", SOLVERS)
def test_unbounded(solver: str) -> None:
    x = cp.Variable(2)
    solution = conic.solve_convex(cp.Problem(cp.Maximize(cp.sum(x)), [x[0] <= 1, x[1] >= 0]), solver=solver)
    assert solution.status is bo.Status.UNBOUNDED


def test_unbounded_and_infeasible_is_infeasible() -> None:
    x, y = cp.Variable(), cp.Variable()
    assert conic.solve_convex(cp.Problem(cp.Minimize(y), [x >= 1, x <= 0])).status is bo.Status.INFEASIBLE


@pytest.mark.parametrize("solver", SOLVERS)
def test_an_infinite_bound_is_no_bound_or_no_answer(solver: str) -> None:
    x = cp.Variable(2, name="x")
    solution = conic.solve_convex(cp.Problem(cp.Minimize(cp.sum(x)), [x >= np.array([0, np.inf])]), solver=solver)
    assert solution.status is bo.Status.INFEASIBLE and "constraint 0[1]" in solution.detail
    if solver == "clarabel":
        assert solved(cp.Problem(cp.Minimize(cp.sum(x)), [x >= 1, x <= np.inf])).objective == pytest.approx(2)


def test_what_is_not_convex_is_named() -> None:
    x = cp.Variable(name="x", nonneg=True)
    problem = cp.Problem(cp.Minimize(cp.sqrt(x)), [x >= 1, (cp.square(x) >= 4).set_label("far")])
    with pytest.raises(bo.ModelError, match=r"the objective.*constraint 'far'.*solver=\"ipopt\""):
        conic.solve_convex(problem)
    x.value = 3.0
    solution = solved(problem, solver="ipopt")
    assert solution.objective == pytest.approx(math.sqrt(2), rel=1e-7)
    assert solution.quality is bo.Quality.LOCAL and solution.certificate is not None
    assert solution.certificate.gap is None
    # d sqrt(x) / dx / (d x^2 / dx) at x = 2
    assert solution.shadow_prices["far"] == pytest.approx(2**-0.5 / 2 / 4, rel=1e-6)


def test_bad_arguments() -> None:
    x = cp.Variable(2)
    problem = cp.Problem(cp.Minimize(cp.sum(x)), [x >= 1])
    with pytest.raises(bo.InputError, match="did you mean 'clarabel'"):
        conic.solve_convex(problem, solver="clarabell")
    with pytest.raises(bo.InputError, match="unknown Clarabel option 'tol_faes': did you mean 'tol_feas'"):
        conic.solve_convex(problem, options={"tol_faes": 1e-9})
    with pytest.raises(bo.InputError, match="max_iter: 'ten' does not fit"):
        conic.solve_convex(problem, options={"max_iter": "ten"})
    with pytest.raises(bo.InputError, match="refuses its options"):
        conic.solve_convex(problem, options={"direct_solve_method": "abacus"})
    with pytest.raises(bo.InputError, match="did you mean 'max_iter'"):
        conic.solve_convex(problem, solver="ipopt", options={"max_iters": 5})
    with pytest.raises(bo.InputError, match="cannot start from a previous solution"):
        conic.solve_convex(problem, warm_start=solved(problem))
    with pytest.raises(bo.InputError, match="expected a CVXPY problem"):
        conic.solve_convex(object())  # type: ignore[arg-type]
    with pytest.raises(bo.ModelError, match="integer"):
        conic.solve_convex(cp.Problem(cp.Minimize(cp.Variable(integer=True))))
    with pytest.raises(bo.ModelError, match="IPOPT cannot be given a SOC"):
        conic.solve_convex(cp.Problem(cp.Minimize(x[0]), [cp.SOC(x[0], x)]), solver="ipopt")
    with pytest.raises(bo.ModelError, match="NaN"):
        conic.solve_convex(cp.Problem(cp.Minimize(np.nan * x[0]), [x >= 1]))
    model = problem2_cvxpy.build(a_game(2))
    model.constraints["wrong"] = True  # type: ignore[assignment]
    with pytest.raises(bo.ModelError, match="constraint 'wrong' is True, not a CVXPY constraint"):
        conic.solve_convex(model)


@pytest.mark.parametrize(("solver", "package"), [("clarabel", "clarabel"), ("ipopt", "cyipopt")])
def test_a_missing_solver_says_how_to_install_it(solver: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"bcfl_opt.{'conic' if solver == 'clarabel' else 'ipopt'}.available", lambda: False)
    problem, _ = projection()
    with pytest.raises(bo.SolverMissingError, match=f"pip install.*{package}"):
        conic.solve_convex(problem, solver=solver)


def test_limits_are_told() -> None:
    model = problem1_cvxpy.build(a_game(), some_prices(a_game()))
    assert conic.solve_convex(model, options={"max_iter": 1}).status is bo.Status.ITERATION_LIMIT
    assert conic.solve_convex(model, solver="ipopt", options={"max_iter": 1}).status is bo.Status.ITERATION_LIMIT
    model = problem1_cvxpy.build(a_game(400), some_prices(a_game(400)))
    assert conic.solve_convex(model, time_limit=1e-3).status is bo.Status.TIME_LIMIT


# ---------------------------------------------------------------------------------- certificates that must fail


def optimum() -> tuple[ConicProgram, np.ndarray, np.ndarray]:
    """min x_1 + x_2, x_1 x_2 >= 1 (second-order cone), x_1 >= 2: x = (2, 1/2), with multipliers in closed form.

    |(2, x_1 - x_2)| <= x_1 + x_2. At the optimum dx_2 / dx_1 = -1/4, so x_1 >= 2 has the multiplier 3/4; the cone's is
    z = k (5/2, -2, -3/2) with k = 1/4, along the reflected slack: A'z = -(k (5/2 - 3/2), k (5/2 + 3/2)) = -(1/4, 1).
    """
    A = np.array([[-1.0, 0.0], [-1.0, -1.0], [0.0, 0.0], [-1.0, 1.0]])
    b = np.array([-2.0, 0.0, 2.0, 0.0])
    program = ConicProgram(sp.csc_array((2, 2)), np.ones(2), sp.csc_array(A), b, Cones(0, 1, (3,)))
    return program, np.array([2.0, 0.5]), np.array([0.75, 0.625, -0.5, -0.375])


def residuals(program: ConicProgram, x: np.ndarray, z: np.ndarray) -> dict[str, float]:
    return program.certify(x, z, unit=1e-3, names=str).residuals


def test_a_certificate_holds_at_the_optimum_and_at_no_other_point() -> None:
    program, x, z = optimum()
    assert max(residuals(program, x, z).values()) < 1e-15
    for move in (np.array([0.0, -1e-4]), np.array([-1e-4, 0.0])):
        assert residuals(program, x + move, z)["primal"] > 1e-6
    away = residuals(program, np.array([2.1, 1 / 2.1]), z)  # feasible, on the cone, and 4 % worse
    assert away["primal"] < 1e-15 and away["gap"] > 1e-2 and away["complementarity"] > 1e-2
    tilted = residuals(program, x, z + np.array([1e-4, 0, 0, 0]))
    assert tilted["stationarity"] > 1e-6 and tilted["primal"] < 1e-15
    assert residuals(program, x, z * np.array([-1.0, 1, 1, 1]))["dual"] > 1e-2
    assert residuals(program, x, z * np.array([1.0, 0.5, 1, 1]))["dual"] > 1e-2


def test_newton_steps_turn_a_near_point_into_the_exact_one_and_keep_a_better_one() -> None:
    program, x, z = optimum()
    near = x + np.array([1e-4, -2e-4]), z + np.array([1e-4, 2e-4, -1e-4, 1e-4])
    x_new, z_new, steps = refine(program, *near)
    np.testing.assert_allclose(x_new, x, rtol=1e-14)
    np.testing.assert_allclose(z_new, z, rtol=1e-13)
    assert 1 <= steps <= 5
    assert refine(program, x, z)[0].tolist() == x.tolist()
    far = refine(program, np.array([-5.0, 40.0]), z)  # not near: whatever comes back is no worse
    assert max(residuals(program, *far[:2]).values()) <= max(residuals(program, np.array([-5.0, 40.0]), z).values())


def test_scaling_and_taking_out_constant_costs_leave_the_answer() -> None:
    x = cp.Variable(2, name="x")
    problem = cp.Problem(
        cp.Minimize(1e6 * cp.sum(x) + 1e-6 * cp.sum(cp.inv_pos(1e-4 * x))),
        [cp.sum(x) == 3e4, x[0] >= 1e4, x[1] <= np.inf],
    )
    data, _, _ = problem.get_problem_data("CLARABEL", solver_opts={})
    program, kept = ConicProgram.of(data).without_empty_rows()
    assert np.count_nonzero(~kept) == 1  # x_1 <= inf
    reduced, shift = program.without_constant_cost()
    assert not reduced.q[np.abs(program.q) == 1e6].any()  # what the equality fixes is gone, exactly
    scaled, _ = reduced.scaled()
    numbers = np.abs(np.concatenate([scaled.A.data, scaled.q[scaled.q != 0], scaled.b[scaled.b != 0]]))
    assert numbers.min() > 1e-2 and numbers.max() < 1e2
    solution = solved(problem)
    np.testing.assert_allclose(solution.variables["x"], [1.5e4, 1.5e4], rtol=1e-9)
    # d / d(3e4) of 1e6 B + 4e-2 / B, at B = 3e4: the multiplier is right again after the shift
    assert shift.shape == (1,) and solution.shadow_prices["constraint 0"] == pytest.approx(1e6 - 4e-2 / 9e8, rel=1e-12)


def test_a_solver_that_is_wrong_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = conic._clarabel

    def sloppy(*arguments: object) -> tuple[str, np.ndarray, np.ndarray, int, str]:
        word, x, z, iterations, log = honest(*arguments)  # type: ignore[arg-type]
        return word, x * 1.001, z, iterations, log

    monkeypatch.setattr(conic, "_clarabel", sloppy)
    monkeypatch.setattr(conic, "refine", lambda program, x, z: (x, z, 0))
    model = problem2_cvxpy.build(a_game(2))
    before = model.variables["training_time"].value
    solution = conic.solve_convex(model)
    assert solution.status is bo.Status.NOT_CERTIFIED and solution.quality is bo.Quality.NONE
    assert solution.certificate is not None and not solution.certificate.holds()
    assert "> 1e-06" in solution.detail
    np.testing.assert_array_equal(model.variables["training_time"].value, before)
    with pytest.raises(bo.NoSolutionError):
        _ = solution.variables

    def liar(*_: object) -> tuple[str, np.ndarray, np.ndarray, int, str]:
        program = _[0]
        assert isinstance(program, ConicProgram)
        return "PrimalInfeasible", np.zeros(len(program.q)), np.ones(len(program.b)), 1, ""

    monkeypatch.setattr(conic, "_clarabel", liar)
    solution = conic.solve_convex(model)
    assert solution.status is bo.Status.NUMERICAL_FAILURE and "proof does not hold" in solution.detail


def test_a_users_own_constraint_is_judged_at_the_values(monkeypatch: pytest.MonkeyPatch) -> None:
    # The conic form holds, the user's constraint does not: unpacking is tampered with.
    unpacked = conic._unpacked

    def shifted(*arguments: object) -> object:
        solution = unpacked(*arguments)  # type: ignore[arg-type]
        solution.primal_vars = {name: value - 1e-4 for name, value in solution.primal_vars.items()}
        return solution

    monkeypatch.setattr(conic, "_unpacked", shifted)
    x = cp.Variable(3, name="x")
    solution = conic.solve_convex(cp.Problem(cp.Minimize(cp.sum(x)), [(x >= np.array([0, 5, 1])).set_label("floor")]))
    assert solution.status is bo.Status.NOT_CERTIFIED and "primal 0.0001" in solution.detail
    assert "floor[0]" in solution.detail


# ---------------------------------------------------------------------------------- cones


CONES = Cones(zero=1, nonneg=1, soc=(3,), psd=(2,), exp=1, power=(0.25,), powers=((0.2, 0.3, 0.5),))
INSIDE = np.array([0, 1, 5, 3, 4, 1, 0, 1, 1, 1, math.e, 1, 1, 1, 1, 1, 1, 1], dtype=float)
#: -x e^(y/x) = e z for the exponential cone, x_k = a_k for the power cones.
DUAL = np.array([9, 1, 5, -3, -4, 1, 0, 1, -1, -1, 1, 0.25, 0.75, -1, 0.2, 0.3, 0.5, -1], dtype=float)


def test_points_on_the_boundary_of_every_cone() -> None:
    assert CONES.sizes.tolist() == [1, 1, 3, 3, 3, 3, 4] and CONES.starts.tolist() == [0, 1, 2, 5, 8, 11, 14]
    np.testing.assert_allclose(CONES.violation(INSIDE), 0, atol=1e-15)
    np.testing.assert_allclose(CONES.dual_violation(DUAL), 0, atol=1e-15)


@pytest.mark.parametrize(
    ("row", "cone", "change"),
    [(0, 0, 0.1), (1, 1, -1.1), (2, 2, -0.1), (6, 3, 2.0), (10, 4, -0.1), (13, 5, 0.1), (17, 6, 0.1)],
)
def test_points_outside_every_cone(row: int, cone: int, change: float) -> None:
    moved = INSIDE.copy()
    moved[row] += change
    outside = CONES.violation(moved)
    assert 0.02 < outside[cone] < 0.5 and outside.sum() == pytest.approx(outside[cone])
    if cone:  # the zero cone's dual is everything
        moved = DUAL.copy()
        moved[row] -= 0.2 if cone in (4, 5, 6) else 1.5
        outside = CONES.dual_violation(moved)
        assert outside[cone] > 0.02 and outside.sum() == pytest.approx(outside[cone])


@settings(max_examples=50, derandomize=True, deadline=None)
@given(st.lists(st.floats(-20, 20), min_size=6, max_size=6))
def test_members_of_a_cone_and_of_its_dual_have_a_nonnegative_product(numbers: list[float]) -> None:
    for cones in (Cones(0, 0, exp=1), Cones(0, 0, power=(0.3,)), Cones(0, 0, soc=(3,)), Cones(0, 0, psd=(2,))):
        s, z = np.array(numbers[:3]), np.array(numbers[3:])
        if cones.violation(s)[0] == 0 and cones.dual_violation(z)[0] == 0:
            assert s @ z >= -1e-9 * (1 + np.abs(s).max() * np.abs(z).max())


# ---------------------------------------------------------------------------------- shadow prices


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("sense", [cp.Minimize, cp.Maximize])
def test_shadow_prices_are_finite_differences(sense: type, solver: str) -> None:
    r = cp.Parameter(6)

    def problem() -> tuple[cp.Problem, cp.Variable]:
        x = cp.Variable(5, name="x", value=np.full(5, 2.0))
        f = cp.sum_squares(x - 4) + x[0] if sense is cp.Minimize else -cp.sum_squares(x - 4) - x[0]
        return cp.Problem(
            sense(f),
            [
                x[0] <= r[0],
                x[1] >= r[1],  # kept as r <= x
                x[2] == r[2],
                r[3] == x[3] + x[0],
                cp.square(x[4]) <= r[4] + x[3],  # no constant side: the right one counts
                r[5] >= cp.exp(x[4]) - x[1],
            ],
        ), x

    at = np.array([1.5, 5.0, 2.5, 4.0, 2.0, 2.0])
    r.value = at
    prices = solved(problem()[0], solver=solver).shadow_prices
    for k in range(6):
        objectives = []
        for step in (1e-4, -1e-4):
            r.value = at + step * np.eye(6)[k]
            objectives.append(solved(problem()[0]).objective)
        slope = (objectives[0] - objectives[1]) / 2e-4
        assert prices[f"constraint {k}"] == pytest.approx(slope, rel=1e-4, abs=1e-6), k


def test_shadow_prices_of_constraints_on_a_sign() -> None:
    x = cp.Variable(3)
    problem = cp.Problem(
        cp.Minimize(2 * x[0] - 3 * x[1] + 5 * x[2]), [cp.NonNeg(x[0] - 1), x[1] - 2 <= 0, cp.Zero(x[2] - 4)]
    )
    for solver in SOLVERS:
        prices = solved(problem, solver=solver).shadow_prices
        # x_0 >= 1 + r costs 2 more, x_1 <= 2 + r saves 3, x_2 = 4 + r costs 5 more
        assert [prices[f"constraint {k}"] for k in range(3)] == pytest.approx([2, -3, 5], rel=1e-6)
    matrix = cp.Variable((2, 2), symmetric=True)
    problem = cp.Problem(cp.Minimize(cp.trace(np.diag([1.0, 2.0]) @ matrix)), [matrix >> np.eye(2)])
    np.testing.assert_allclose(solved(problem).shadow_prices["constraint 0"], np.diag([1.0, 2.0]), atol=1e-7)


def test_shadow_prices_of_a_game_have_the_clients_ids() -> None:
    # At an interior response dU/dT = p_t + 2 rho (mu/t)^3: the deadline's value to each client.
    game = a_game()
    solution = solved(problem1_cvxpy.build(game, some_prices(game)))
    price = solution.shadow_prices["deadline"]
    assert isinstance(price, pd.Series) and list(price.index) == list(game.population.ids)
    longer = solved(problem1_cvxpy.build(game.replace(deadline=25 + 1e-4), some_prices(game)))
    shorter = solved(problem1_cvxpy.build(game.replace(deadline=25 - 1e-4), some_prices(game)))
    assert price.sum() == pytest.approx((longer.objective - shorter.objective) / 2e-4, rel=1e-6)
    by_ipopt = solved(problem1_cvxpy.build(game, some_prices(game)), solver="ipopt").shadow_prices["deadline"]
    pd.testing.assert_series_equal(by_ipopt, price, rtol=1e-6)


# ---------------------------------------------------------------------------------- swapping


@pytest.mark.parametrize("solver", SOLVERS)
def test_without_the_deadline_and_with_a_cap_on_a_speed(solver: str) -> None:
    game = a_game()
    prices = some_prices(game)
    c = problem1_cvxpy.build(game, prices, reward_caps=True)
    del c.constraints["deadline"]
    c.constraints["cap"] = c.expressions["training_speed"] <= 0.35
    solution = bo.solve(c, solver=solver)
    assert solution.succeeded and solution.clients is not None, solution
    # U rises in both times, so the reward caps end them: t = R_t / p_t, s = R_m / p_m. The cap on the speed is t >= mu / .35.
    times = game.caps[["training_cap", "mining_cap"]].to_numpy() / prices.to_numpy()
    assert np.all(times[:, 0] > game.population.training_cycles / 0.35)
    np.testing.assert_allclose(solution.clients[["training_time", "mining_time"]], times, rtol=1e-6)


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_cap_on_a_speed_that_binds(solver: str) -> None:
    game = a_game()
    c = problem2_cvxpy.build(game)
    c.constraints["cap"] = c.expressions["training_speed"] <= 0.6
    solution = bo.solve(c, solver=solver)
    assert solution.succeeded and solution.clients is not None, solution
    # Theory 5.1: equal speeds (mu + psi) / T, or t = mu / 0.6 where that would be faster.
    mu = game.population.training_cycles
    t = np.maximum(mu * 25 / (mu + 6), mu / 0.6)
    assert 0 < np.count_nonzero(t == mu / 0.6) < 6
    np.testing.assert_allclose(solution.clients["training_time"], t, rtol=1e-6)
    assert np.all((solution.shadow_prices["cap"] > 1e-6) == (t == mu / 0.6))


@pytest.mark.parametrize("solver", SOLVERS)
def test_another_objective(solver: str) -> None:
    # Clients are not coupled, so the best for the worst-off is the least of their best utilities.
    game = a_game()
    prices = some_prices(game)
    c = problem1_cvxpy.build(game, prices)
    c.objective = cp.Maximize(cp.min(c.expressions["client_utility"]))
    solution = bo.solve(c, solver=solver)
    assert solution.succeeded, solution
    best = bo.best_response(game, prices).clients
    assert best is not None
    assert solution.objective == pytest.approx(best["client_utility"].min(), rel=1e-6)


def own_deadlines(game: bo.Game) -> bo.models.problem2_cvxpy.ConvexModel:  # type: ignore[name-defined]
    """The owner may end a client's round early (theory 5.2); clients that are paid by time would not, so no follower."""
    c = problem2_cvxpy.build(game)
    c.constraints["deadline"] = c.variables["training_time"] + c.variables["mining_time"] <= game.deadline
    c.context = dataclasses.replace(c.context, follower_optimal=False)
    return c


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_shared_payment_budget_over_all_clients(solver: str) -> None:
    # Theory 5.2: min sum T_i + rho_i (mu_i + psi)^3 / T_i^2, the payments at most B: T_i = min(T, (2 rho_i (1 + nu))^(1/3)
    # (mu_i + psi)), one root in the multiplier nu. Speeds are equal, and here below every limit.
    game = a_game()
    mu, rho, psi = game.population.training_cycles, game.population.energy_coefficient, game.mining_cycles

    def times(nu: float) -> np.ndarray:
        return np.minimum(game.deadline, np.cbrt(2 * rho * (1 + nu)) * (mu + psi))

    def payments(nu: float) -> float:
        return float((rho * (mu + psi) ** 3 / times(nu) ** 2).sum())

    budget = 0.045 * payments(0.0)
    nu = brentq(lambda nu: payments(nu) - budget, 0, 1e4, xtol=1e-14, rtol=1e-14)
    assert 0 < np.count_nonzero(times(nu) == game.deadline) < 6
    c = own_deadlines(game)
    c.constraints["budget"] = cp.sum(c.expressions["training_reward"] + c.expressions["mining_reward"]) <= budget
    solution = bo.solve(c, solver=solver)
    assert solution.succeeded and solution.clients is not None, solution
    cost = times(nu).sum() + budget
    assert solution.objective == pytest.approx(math.log1p(mu.sum()) - 0.1 * cost, rel=1e-7)
    spent = solution.clients["training_time"] + solution.clients["mining_time"]
    np.testing.assert_allclose(spent, times(nu), rtol=1e-5)
    assert solution.shadow_prices["budget"] == pytest.approx(0.1 * nu, rel=1e-5)


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_common_round_time(solver: str) -> None:
    # min N D + sum rho_i (mu_i + psi)^3 / D^2: D^3 = 2 mean(rho_i (mu_i + psi)^3), with all speeds below their limits.
    game = a_game()
    energy = game.population.energy_coefficient * (game.population.training_cycles + game.mining_cycles) ** 3
    answer = np.cbrt(2 * energy.mean())
    c = own_deadlines(game)
    for limit in ("training_speed_limit", "mining_speed_limit"):
        del c.constraints[limit]
    round_time = cp.Variable(name="round_time", value=20.0)
    c.constraints["deadline"] = c.variables["training_time"] + c.variables["mining_time"] == round_time
    c.constraints["latest"] = round_time <= game.deadline
    solution = bo.solve(c, solver=solver)
    assert solution.succeeded, solution
    assert answer < game.deadline
    assert solution.variables["round_time"] == pytest.approx(answer, rel=1e-6)
    cost = 6 * answer + energy.sum() / answer**2
    assert solution.objective == pytest.approx(math.log1p(game.population.training_cycles.sum()) - 0.1 * cost, rel=1e-8)


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_common_round_time_at_given_prices(solver: str) -> None:
    # sum U_i(D) - 3 D over one D: every client uses all of it, and U_i(D) is a scalar problem of its own.
    game = a_game(4, deadline=40.0)
    prices = some_prices(game)
    c = problem1_cvxpy.build(game, prices)
    round_time = cp.Variable(name="round_time", value=40.0)
    c.constraints["deadline"] = c.variables["training_time"] + c.variables["mining_time"] <= round_time
    c.constraints["latest"] = round_time <= game.deadline
    c.objective = cp.Maximize(cp.sum(c.expressions["client_utility"]) - 1.0 * round_time)
    solution = bo.solve(c, solver=solver)
    assert solution.succeeded, solution

    def total(end: float) -> float:
        response = bo.best_response(game.replace(deadline=end), prices)
        assert response.clients is not None
        return response.objective - end if response.clients["recruited"].all() else -math.inf

    shortest = sum(least_times(game, prices))
    best = minimize_scalar(
        lambda end: -total(end), bounds=(shortest * (1 + 1e-9), 40.0), method="bounded", options={"xatol": 1e-9}
    )
    assert solution.objective == pytest.approx(-best.fun, rel=1e-7)


def least_times(game: bo.Game, prices: pd.DataFrame) -> tuple[float, float]:
    """Bounds of the client that needs longest."""
    p, q = game.population, game.population.max_speed
    t = p.training_cycles * np.maximum(np.cbrt(p.energy_coefficient / prices["training_price"].to_numpy()), 1 / q)
    s = game.mining_cycles * np.maximum(np.cbrt(p.energy_coefficient / prices["mining_price"].to_numpy()), 1 / q)
    k = int((t + s).argmax())
    return float(t[k]), float(s[k])


def test_an_owner_that_ends_rounds_early_is_told_that_clients_would_not() -> None:
    c = own_deadlines(a_game())
    c.context = dataclasses.replace(c.context, follower_optimal=True)
    assert bo.solve(c).status is bo.Status.FOLLOWER_NOT_OPTIMAL


# ---------------------------------------------------------------------------------- IPOPT's own matters


def test_a_stationary_point_that_is_no_optimum_is_left() -> None:
    x = cp.Variable(2, name="x", value=np.zeros(2))
    solution = solved(cp.Problem(cp.Maximize(cp.sum_squares(x)), [x <= 1, x >= -1]), solver="ipopt")
    assert solution.objective == pytest.approx(2, rel=1e-7) and solution.quality is bo.Quality.LOCAL


def test_the_domain_of_odd_powers_counts_in_convex_problems() -> None:
    # CVXPY's y^3 is convex on y >= 0 and infinite elsewhere; its smooth form forgets that, and would go to y = -3.
    y = cp.Variable(value=-2.5)
    problem = cp.Problem(cp.Minimize(cp.power(y, 3) - 3 * y), [y >= -3])
    for solver in SOLVERS:
        assert solved(problem, solver=solver).objective == pytest.approx(-2, rel=1e-7)


def test_a_warm_start_saves_iterations() -> None:
    game = a_game(30)
    model = problem1_cvxpy.build(game, some_prices(game))
    cold = solved(model, solver="ipopt")
    warm = solved(problem1_cvxpy.build(game, some_prices(game)), solver="ipopt", warm_start=cold)
    assert cold.iterations is not None and warm.iterations is not None
    assert warm.iterations < cold.iterations / 2
    assert warm.objective == pytest.approx(cold.objective, rel=1e-9)
    other = cp.Problem(cp.Minimize(cp.Variable(2, name="training_time") @ np.ones(2)))
    with pytest.raises(bo.InputError, match="warm_start: training_time has shape"):
        conic.solve_convex(other, solver="ipopt", warm_start=cold)


@pytest.mark.parametrize("solver", SOLVERS)
def test_the_log_goes_to_streams_and_answers_repeat_to_the_last_bit(solver: str) -> None:
    game, stream = a_game(), io.StringIO()
    first = solved(problem2_cvxpy.build(game), solver=solver, streams=[stream])
    assert len(stream.getvalue()) > 500 and stream.getvalue() in (first.log, stream.getvalue())
    second = solved(problem2_cvxpy.build(game), solver=solver)
    assert first.objective == second.objective and first.iterations == second.iterations
    for name, values in first.variables.items():
        assert values.tolist() == second.variables[name].tolist()
