"""Conic programmes: certificates that hold at the optimum and nowhere else, Newton steps, scaling, cones."""

from __future__ import annotations

import math

import cvxpy as cp
import numpy as np
import pytest
import scipy.sparse as sp
from convex_games import a_game, solved
from hypothesis import given, settings
from hypothesis import strategies as st

import bcfl_opt as bo
from bcfl_opt import conic
from bcfl_opt.convex.cones import Cones
from bcfl_opt.convex.conic_program import ConicProgram
from bcfl_opt.convex.refinement import refine
from bcfl_opt.models import problem2_cvxpy

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


def test_a_shared_constraint_does_not_let_one_owner_drown_another() -> None:
    """min x_1 + 1e-12 x_2, x >= 1, x_1 + x_2 >= 2: at (1, 2) the second owner pays twice what it needs, the whole 1e-12 more."""
    A, b = sp.csc_array(-np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])), -np.array([1.0, 1.0, 2.0])
    program = ConicProgram(sp.csc_array((2, 2)), np.array([1.0, 1e-12]), A, b, Cones(0, 3))
    x, z = np.array([1.0, 2.0]), np.array([1.0, 1e-12, 0.0])
    owners = np.array([0, 1])
    assert max(residuals(program, x, z).values()) < 1e-11
    assert program.certify(x, z, unit=1e-3, names=str, owners=owners).gap == pytest.approx(0.5)
    assert max(program.certify(np.ones(2), z, unit=1e-3, names=str, owners=owners).residuals.values()) < 1e-15
    nobody = program.certify(x, z, unit=1e-3, names=str, owners=np.array([0, -1]))
    assert nobody.gap is not None and nobody.gap < 1e-11


@pytest.mark.parametrize("slope", [1e-12, 1e-16])
def test_a_violation_that_a_far_point_needs_not_is_not_proven(slope: float) -> None:
    """min v, v >= 1e-7 - slope y, v >= 0: 1e-7 at y = 0, with multiplier 1; none at y = 1e5, or at 1e9, far beyond reach."""
    A, b = sp.csc_array(-np.array([[1.0, slope], [1.0, 0.0]])), np.array([-1e-7, 0.0])
    program = ConicProgram(sp.csc_array((2, 2)), np.array([1.0, 0.0]), A, b, Cones(0, 2))
    x, z = np.array([1e-7, 0.0]), np.array([1.0, 0.0])
    assert not program.proves_cost(x, z, conic.FAR)


@pytest.mark.parametrize(("error", "proven"), [(0.0, True), (1e-9, True), (1e-3, False)])
def test_a_violation_that_a_multiplier_explains_up_to_rounding_is_proven(error: float, proven: bool) -> None:
    """min v, v >= 1e-3 - y / 1e9, v >= 0, y <= 0: multipliers 1 and 1e-9, the second one with an error."""
    A, b = sp.csc_array(np.array([[-1.0, -1e-9], [-1.0, 0.0], [0.0, 1.0]])), np.array([-1e-3, 0.0, 0.0])
    program = ConicProgram(sp.csc_array((2, 2)), np.array([1.0, 0.0]), A, b, Cones(0, 3))
    x, z = np.array([1e-3, 0.0]), np.array([1.0, 0.0, 1e-9 * (1 + error)])
    assert program.proves_cost(x, z, conic.FAR) is proven


def test_least_violations_hang_on_that_proof(monkeypatch: pytest.MonkeyPatch) -> None:
    x, slack = cp.Variable(), cp.Variable(nonneg=True)
    problem = cp.Problem(cp.Minimize(slack), [x + slack >= 2, x <= 1])
    assert conic.solve_elastic(problem, "clarabel").objective == pytest.approx(1.0)
    monkeypatch.setattr(ConicProgram, "proves_cost", lambda *_: False)
    assert conic.solve_elastic(problem, "clarabel").status is bo.Status.NOT_CERTIFIED
    assert conic.solve_convex(problem).succeeded  # an objective of the user's own is no violation


def test_unscaled_residuals_of_a_conic_programme_are_in_its_own_units() -> None:
    program, x, z = optimum()
    assert max(program.unscaled(x, z).values()) < 1e-15
    below = program.unscaled(x - np.array([0.01, 0.0]), z)  # x_1 >= 2 misses by 0.01, and so does the cone
    assert below["primal"] == pytest.approx(0.01, rel=0.5) and below["stationarity"] < 1e-15
    heavier = program.unscaled(x, z + np.array([0.3, 0, 0, 0]))
    assert heavier["stationarity"] == pytest.approx(0.3) and heavier["gap"] == pytest.approx(0.3 * 2.0)


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
    assert "primal 0.0005 > 2.5e-10" in solution.detail
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
