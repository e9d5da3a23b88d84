"""The second way to IPOPT: the same answers as cyipopt, certified alike, and the same manners when something goes wrong."""

from __future__ import annotations

import numpy as np
import pyomo.environ as pyo
import pytest

import bcfl_opt as bo
from bcfl_opt import casadi_ipopt
from bcfl_opt.models import problem1_pyomo, problem2_pyomo, problem3_pyomo


@pytest.fixture(scope="module")
def game() -> bo.Game:
    return bo.Game(bo.Population.random(12, seed=6, speed_limits=True))


def test_every_problem_has_the_same_answer_from_both(game: bo.Game) -> None:
    prices = game.prices(0.06, 0.05)
    models = {
        "1": lambda: problem1_pyomo.build(game, prices),
        "1, speeds": lambda: problem1_pyomo.build(game, prices, form="speed"),
        "2": lambda: problem2_pyomo.build(game),
        "2, spent": lambda: problem2_pyomo.build(game, budgets="exhausted"),
        "3": lambda: problem3_pyomo.build(game, response="theorem"),
    }
    for name, build in models.items():
        one, other = bo.solve(build()), bo.solve(build(), engine="casadi")
        assert one.succeeded and other.succeeded, name
        assert other.objective == pytest.approx(one.objective, rel=1e-9), name
        assert other.certificate.holds(), name
        assert other.provenance["engine"] == "casadi" and one.provenance["engine"] == "cyipopt"
        assert other.provenance["versions"]["ipopt"] == casadi_ipopt.version()
        for price, value in one.shadow_prices.items():
            np.testing.assert_allclose(
                other.shadow_prices[price], value, rtol=1e-4, atol=1e-6, err_msg=f"{name}, {price}"
            )


def test_log_history_limits_and_warm_start(game: bo.Game, capfd: pytest.CaptureFixture[str]) -> None:
    prices = game.prices(0.06, 0.05)
    m = problem1_pyomo.build(game, prices)
    first = bo.solve(m, engine="casadi")
    assert "Number of Iterations" in first.log and len(first.history) == first.iterations + 1
    assert capfd.readouterr().out == ""
    again = bo.solve(m, engine="casadi", warm_start=first)
    assert again.succeeded and again.iterations < first.iterations
    short = bo.solve(problem1_pyomo.build(game, prices), engine="casadi", options={"max_iter": 1})
    assert short.status is bo.Status.ITERATION_LIMIT
    with pytest.raises(bo.InputError, match="did you mean 'max_iter'"):
        bo.solve(m, engine="casadi", options={"max_itr": 2})


def test_infeasible_and_interrupted(game: bo.Game, monkeypatch: pytest.MonkeyPatch) -> None:
    m = pyo.ConcreteModel()
    m.x = pyo.Var(initialize=1.0)
    m.y = pyo.Var(initialize=1.0)
    m.far = pyo.Constraint(expr=m.x**2 + m.y**2 <= 1)
    m.near = pyo.Constraint(expr=m.x * m.y >= 2)
    m.cost = pyo.Objective(expr=m.x)
    assert bo.solve(m, engine="casadi").status is bo.Status.LOCALLY_INFEASIBLE
    assert m.x.value == 1.0

    from bcfl_opt.nlp.program import Functions

    calls = []

    def interrupted(self: Functions, x: np.ndarray) -> np.ndarray:
        calls.append(x)
        raise KeyboardInterrupt

    monkeypatch.setattr(Functions, "gradient", interrupted)
    with pytest.raises(KeyboardInterrupt):
        bo.solve(problem1_pyomo.build(game, game.prices(0.06, 0.05)), engine="casadi")
    assert len(calls) == 1


def test_pyomo_users_choose_it_too() -> None:
    m = pyo.ConcreteModel()
    m.x = pyo.Var(initialize=3.0, bounds=(1, None))
    m.cost = pyo.Objective(expr=(m.x - 2) ** 2)
    from pyomo.contrib.solver.common.factory import SolverFactory

    SolverFactory("bcfl_ipopt").solve(m, engine="casadi")
    assert m.x.value == pytest.approx(2.0, abs=1e-8)


def test_unknown_engine_and_engines_for_cvxpy() -> None:
    m = pyo.ConcreteModel()
    m.x = pyo.Var(bounds=(0, 1))
    m.cost = pyo.Objective(expr=m.x)
    with pytest.raises(bo.InputError, match="did you mean 'casadi'"):
        bo.solve(m, engine="cassadi")
    import cvxpy as cp

    with pytest.raises(bo.InputError, match="belongs to Pyomo models"):
        bo.solve(cp.Problem(cp.Minimize(cp.square(cp.Variable()))), engine="casadi")


def test_without_the_library_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(casadi_ipopt, "LIBRARIES", ())
    casadi_ipopt._library.cache_clear()
    casadi_ipopt.version.cache_clear()
    m = pyo.ConcreteModel()
    m.x = pyo.Var(initialize=3.0)
    m.cost = pyo.Objective(expr=(m.x - 2) ** 2)
    try:
        with pytest.raises(bo.SolverMissingError, match="pip install casadi"):
            bo.solve(m, engine="casadi")
    finally:
        casadi_ipopt._library.cache_clear()
