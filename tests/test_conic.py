"""CVXPY to Clarabel and IPOPT: answers found otherwise, statuses, certificates that fail when they should, shadow prices."""

from __future__ import annotations

import io
import math
import sys
from collections.abc import Callable

import cvxpy as cp
import numpy as np
import pandas as pd
import pytest
from convex_games import a_game, solved, some_prices
from hypothesis import given, settings
from hypothesis import strategies as st

import bcfl_opt as bo
from bcfl_opt import conic
from bcfl_opt.models import problem1_cvxpy, problem2_cvxpy

SOLVERS = ["clarabel", "ipopt"]


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
    assert {"cvxpy", "clarabel", "numpy", "python"} <= set(solution.provenance["versions"])
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
    assert solution.detail == "in conflict: floor, roof"
    assert x.value == 7.0  # a failure leaves the model as it was
    with pytest.raises(bo.NoSolutionError):
        _ = solution.objective
    by_ipopt = conic.solve_convex(cp.Problem(cp.Minimize(x + y), constraints), solver="ipopt")
    assert by_ipopt.status is bo.Status.INFEASIBLE  # IPOPT alone would say "locally"; the least violation is a proof
    assert by_ipopt.detail == "no point is feasible unless constraints give way: floor by 0.0001"


def test_infeasible_names_a_client() -> None:
    # c1 and c3 need longer than all the others: their own deadline is in conflict with their own bounds.
    game = a_game()
    prices = some_prices(game)
    prices.loc[["c1", "c3"]] = [[1e-3, 1e-3], [1e-4, 1e-4]]
    solution = conic.solve_convex(problem1_cvxpy.build(game, prices, screen=False))
    assert solution.status is bo.Status.INFEASIBLE
    mine = [f"{name}['c3']" for name in ("training_rationality", "mining_rationality", "deadline")]
    assert all(name in solution.detail for name in mine) or "['c1']" in solution.detail
    assert "c0" not in solution.detail


@pytest.mark.parametrize("solver", SOLVERS)
def test_unbounded(solver: str) -> None:
    x = cp.Variable(2, name="x")
    solution = conic.solve_convex(cp.Problem(cp.Maximize(cp.sum(x)), [x[0] <= 1, x[1] >= 0]), solver=solver)
    assert solution.status is bo.Status.UNBOUNDED
    if solver == "clarabel":
        assert solution.detail == "along x[1]"


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
    monkeypatch.setitem(sys.modules, package, None)  # what find_spec takes for "not there"
    problem, _ = projection()
    with pytest.raises(bo.SolverMissingError, match=f"pip install.*{package}"):
        conic.solve_convex(problem, solver=solver)


def test_limits_are_told() -> None:
    model = problem1_cvxpy.build(a_game(), some_prices(a_game()))
    assert conic.solve_convex(model, options={"max_iter": 1}).status is bo.Status.ITERATION_LIMIT
    assert conic.solve_convex(model, solver="ipopt", options={"max_iter": 1}).status is bo.Status.ITERATION_LIMIT
    model = problem1_cvxpy.build(a_game(400), some_prices(a_game(400)))
    assert conic.solve_convex(model, time_limit=1e-3).status is bo.Status.TIME_LIMIT


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
