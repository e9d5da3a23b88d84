"""Why is there no answer? Conflicts with known irreducible sets, least relaxations, clients' reasons, undefined terms."""

from __future__ import annotations

import pyomo.environ as pyo
import pytest

import bcfl_opt as bo
from bcfl_opt.models import problem1_cvxpy, problem1_pyomo, problem2_pyomo


def conflicting() -> pyo.ConcreteModel:
    """x <= 1 by (b), y <= 4 by its bound, so x + y >= 6 (a) misses by 1; (c) and (d) have nothing to do with it."""
    m = pyo.ConcreteModel()
    m.x, m.y = pyo.Var(initialize=1.0), pyo.Var(bounds=(0, 4), initialize=1.0)
    m.a = pyo.Constraint(expr=m.x + m.y >= 6)
    m.b = pyo.Constraint(expr=m.x**2 <= 1)
    m.c = pyo.Constraint(expr=m.x >= -5)
    m.d = pyo.Constraint(expr=m.y <= 100)
    m.objective = pyo.Objective(expr=m.x)
    return m


def test_a_nonlinear_conflict_is_named_and_nothing_else() -> None:
    explanation = bo.explain(conflicting())
    assert set(explanation.conflict) == {"a", "b"}
    # Giving way in (a) costs 1; in (b) it would cost 2^2 - 1 = 3.
    assert explanation.relaxation.to_dict() == pytest.approx({"a": 1.0}, abs=1e-5)
    assert "a, b" in repr(explanation) or "b, a" in repr(explanation)


def test_a_failed_solution_is_explained_like_its_model() -> None:
    solution = bo.solve(conflicting())
    assert not solution.succeeded
    explanation = bo.explain(solution)
    assert set(explanation.conflict) == {"a", "b"}
    assert explanation.sentences[0] == solution.message


def test_a_linear_conflict_in_a_chain_is_irreducible() -> None:
    # x <= y - 1, y <= z - 1, z <= x go in a circle; w >= 3 does not belong to it.
    m = pyo.ConcreteModel()
    m.x, m.y, m.z, m.w = (pyo.Var(initialize=0.0) for _ in range(4))
    m.one = pyo.Constraint(expr=m.x <= m.y - 1)
    m.two = pyo.Constraint(expr=m.y <= m.z - 1)
    m.three = pyo.Constraint(expr=m.z <= m.x)
    m.apart = pyo.Constraint(expr=m.w >= 3)
    explanation = bo.explain(m)
    assert set(explanation.conflict) == {"one", "two", "three"}
    assert explanation.relaxation.sum() == pytest.approx(2.0, abs=1e-5)  # the circle is 2 too short, however shared


def test_nothing_is_found_against_a_feasible_model() -> None:
    m = conflicting()
    m.a.deactivate()
    explanation = bo.explain(m)
    assert explanation.conflict == () and explanation.relaxation.empty and explanation.undefined == ()
    assert "nothing speaks against" in repr(explanation)


def test_a_term_without_a_value_is_named_with_its_point() -> None:
    m = pyo.ConcreteModel()
    m.x = pyo.Var(initialize=-1.0)
    m.objective = pyo.Objective(expr=pyo.log(m.x) + m.x**2)
    (sentence,) = bo.explain(m).undefined
    assert "objective" in sentence and "x = -1" in sentence
    solution = bo.solve(m)
    assert not solution.succeeded


def test_clients_come_first_with_the_limit_and_the_mend() -> None:
    game = bo.Game(bo.Population.sample())
    prices = game.prices(training=0.05, mining=0.05)
    for model in (problem1_pyomo.build(game, prices), problem1_cvxpy.build(game, prices), problem2_pyomo.build(game)):
        explanation = bo.explain(model)
        excluded = (model.bcfl if hasattr(model, "bcfl") else model.context).excluded
        assert explanation.clients.to_dict() == dict(excluded) and len(excluded)
        assert explanation.sentences[0].startswith("client ")
    # Kept in the model against better knowledge, the same clients have the same reasons.
    kept = bo.explain(problem1_pyomo.build(game, prices, screen=False))
    assert kept.clients.to_dict() == bo.explain(problem1_pyomo.build(game, prices)).clients.to_dict()


def test_what_cannot_be_explained_is_said() -> None:
    with pytest.raises(bo.InputError, match="not int"):
        bo.explain(3)
