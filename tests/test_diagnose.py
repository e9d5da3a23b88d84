"""Why is there no answer? Conflicts with known irreducible sets, least relaxations, clients' reasons, undefined terms."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import cvxpy as cp
import numpy as np
import pyomo.environ as pyo
import pytest
import scipy.sparse
from convex_games import a_game, some_prices
from hypothesis import given, settings
from hypothesis import strategies as st

import bcfl_opt as bo
from bcfl_opt.conflict import Least, conflict_of, irreducible
from bcfl_opt.convex.rules import shown
from bcfl_opt.models import problem1_cvxpy, problem1_pyomo, problem2_cvxpy, problem2_pyomo
from bcfl_opt.nlp.program import program
from bcfl_opt.nlp.unbounded import runaway


def conflicting() -> pyo.ConcreteModel:
    """x <= 1 by (b), y <= 4 by its bound, so x + y >= 6 (a) misses by 1; (c), (d), y >= 0 have nothing to do with it."""
    m = pyo.ConcreteModel()
    m.x, m.y = pyo.Var(initialize=1.0), pyo.Var(bounds=(0, 4), initialize=1.0)
    m.a = pyo.Constraint(expr=m.x + m.y >= 6)
    m.b = pyo.Constraint(expr=m.x**2 <= 1)
    m.c = pyo.Constraint(expr=m.x >= -5)
    m.d = pyo.Constraint(expr=m.y <= 100)
    m.objective = pyo.Objective(expr=m.x)
    return m


def test_a_nonlinear_conflict_is_named_and_nothing_else() -> None:
    m = conflicting()
    explanation = bo.explain(m)
    assert explanation.conflict == ("a", "b", "y.upper")
    # Giving way in (a) costs 1; in (b) it would cost 2^2 - 1 = 3.
    assert explanation.relaxation.to_dict() == pytest.approx({"a": 1.0}, abs=1e-5)
    assert explanation.alone.to_dict() == pytest.approx({"a": 1.0, "b": 3.0, "y.upper": 1.0}, rel=1e-6)
    assert "a, b, y.upper" in repr(explanation) and "b has to give way by 3" in repr(explanation)
    assert (m.x.value, m.y.value, m.y.ub) == (1.0, 1.0, 4)  # nothing is changed by asking


def test_a_failed_solution_is_explained_like_its_model() -> None:
    solution = bo.solve(conflicting())
    assert not solution.succeeded
    explanation = bo.explain(solution)
    assert explanation.conflict == ("a", "b", "y.upper")
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
    assert sentence == "the objective: log(x) has no finite value at x = -1"
    solution = bo.solve(m)
    assert solution.status is bo.Status.EVALUATION_ERROR and sentence in solution.message


@pytest.mark.parametrize(
    ("term", "said"),
    [
        (lambda x, y: pyo.sqrt(y) + x**2, "sqrt(y) has no finite derivative at y = 0"),
        (lambda x, y: (x - 3) ** 1.5, "(x + -3)**1.5 has no finite value at x = 2"),
        (lambda x, y: pyo.exp(pyo.log(x - 2) * y), "log(x + -2) has no finite value at x = 2"),
        (lambda x, y: x / (y * x), "x/(y*x) has no finite value at x = 2, y = 0"),
        (lambda x, y: 2 * pyo.exp(1000 * x), "exp(1000*x) has no finite value at x = 2"),
    ],
)
def test_the_innermost_term_and_its_variables_are_named(term: Any, said: str) -> None:
    m = pyo.ConcreteModel()
    m.x, m.y, m.z = pyo.Var(initialize=2.0), pyo.Var(initialize=0.0), pyo.Var(initialize=1.0)
    m.row = pyo.Constraint(expr=term(m.x, m.y) + m.z >= 1)
    assert bo.explain(m).undefined == (f"constraint row: {said}",)


def test_a_term_of_a_game_names_its_client() -> None:
    game = a_game(3)
    m = problem1_pyomo.build(game, some_prices(game))
    m.training_time["c1"].setlb(None)
    m.training_time["c1"].set_value(0.0)
    (sentence,) = bo.explain(m).undefined
    assert sentence.startswith("the objective of client 'c1': ") and sentence.endswith("at training_time[c1] = 0")


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


# ---------------------------------------------------------------------- what runs away


def test_an_unbounded_model_names_what_runs_away_and_which_way() -> None:
    # max x - y on x <= 2 y + 1, y >= 0 (row): only together, x two units for one of y; z stays.
    m = pyo.ConcreteModel()
    m.x, m.y, m.z = pyo.Var(initialize=0.0), pyo.Var(initialize=0.0), pyo.Var(initialize=1.0, bounds=(0, 3))
    m.o = pyo.Objective(expr=m.x - m.y - (m.z - 1) ** 2, sense=pyo.maximize)
    m.c = pyo.Constraint(expr=m.x <= 2 * m.y + 1)
    for explanation in (bo.explain(m), bo.explain(bo.solve(m))):
        assert explanation.direction["x"] == pytest.approx(1.0)
        assert 0.45 <= explanation.direction["y"] < 1.0 and "z" not in explanation.direction
        assert "x +1" in repr(explanation) and explanation.conflict == ()
    assert m.x.value == 0.0


@pytest.mark.parametrize("solver", ["clarabel", "ipopt"])
def test_an_unbounded_cvxpy_problem_names_what_runs_away(solver: str) -> None:
    x, y = cp.Variable(2, name="x", nonneg=True), cp.Variable(name="y")
    problem = cp.Problem(cp.Minimize(y - x[1]), [x[0] <= 1, y >= -2])
    solution = bo.solve(problem, solver=solver)
    assert solution.status is bo.Status.UNBOUNDED
    explanation = bo.explain(solution)
    assert explanation.direction["x[1]"] == pytest.approx(1.0) and "x[0]" not in explanation.direction
    if solver == "clarabel":
        assert solution.detail == "along x[1]"  # although CVXPY puts another variable in the place of x
        assert bo.explain(problem).direction.equals(explanation.direction)


def test_a_pole_at_a_bound_is_unbounded_soon() -> None:
    # Speeds towards 0 earn without limit where no deadline stops them: 1 / q, which IPOPT approaches ever more slowly.
    game = a_game(4)
    m = problem1_pyomo.build(game, some_prices(game), form="speed")
    m.deadline.deactivate()
    solution = bo.solve(m)
    # A hundred iterations at most for all of them together, and for each by itself.
    assert solution.status is bo.Status.UNBOUNDED and solution.iterations is not None and solution.iterations <= 500
    direction = bo.explain(solution).direction
    assert m.training_speed["c0"].value > 0.1  # the model keeps its start
    # What is named does it by itself: the others stay where they are.
    assert len(direction) and (direction < 0).all()
    for name in direction.index:
        speed = m.find_component(name)
        before = speed.value
        speed.value = 1e-15 * before
        assert pyo.value(m.utility) > 1e12
        speed.value = before


@pytest.mark.parametrize("stopped", [False, True])
@pytest.mark.parametrize("way", ["one ray", "a pole", "one variable alone"])
def test_what_runs_away_is_followed_unless_a_row_stops_it(way: str, stopped: bool) -> None:
    m = pyo.ConcreteModel()
    m.x, m.y = pyo.Var(bounds=(0, None)), pyo.Var(bounds=(0, None))
    start, now = {
        "one ray": ((1.0, 1.0), (1.9e4 + 1, 1e4 + 1)),  # x and y together: x <= 2 y
        "a pole": ((1.0, 1.0), (1e-3, 1.0)),  # 1 / x at x = 0
        "one variable alone": ((1.0, 1.0), (1.5, 1.5)),  # not yet gone anywhere
    }[way]
    m.o = pyo.Objective(expr=m.y - m.x if way == "one ray" else -1 / m.x if way == "a pole" else -m.x + m.y)
    if way == "one ray":
        m.c = pyo.Constraint(expr=m.x <= 2 * m.y + 1)
    if stopped:
        m.d = pyo.Constraint(expr=m.x >= 1e-6 if way == "a pole" else m.x + m.y <= 1e9)
    read = program(m)
    order = [("x", "y").index(v.name) for v in read.variables]
    found = runaway(
        read.functions,
        (read.x_lower, read.x_upper),
        (read.lower, read.upper),
        np.array(now)[order],
        np.array(start)[order],
    )
    assert (found is None) is stopped
    if found is not None:
        assert read.functions.objective(found) < -1e30


def test_a_far_but_finite_optimum_is_not_called_unbounded() -> None:
    # -1 / x on x >= 1e-6, and x up to 5e11 from 1: both have a limit.
    m = pyo.ConcreteModel()
    m.x = pyo.Var(initialize=1.0, bounds=(1e-6, None))
    m.o = pyo.Objective(expr=-1 / m.x)
    assert bo.solve(m).objective == pytest.approx(-1e6, rel=1e-6)
    m = pyo.ConcreteModel()
    m.x, m.y = pyo.Var(initialize=1.0), pyo.Var(initialize=1.0)
    m.c = pyo.Constraint(expr=m.x + m.y <= 1e12)
    m.d = pyo.Constraint(expr=m.y >= m.x)
    m.o = pyo.Objective(expr=m.x, sense=pyo.maximize)
    assert bo.solve(m).objective == pytest.approx(5e11, rel=1e-6)


# ---------------------------------------------------------------------- CVXPY


def cones_in_conflict() -> cp.Problem:
    x, y = cp.Variable(2, name="x"), cp.Variable(name="y", bounds=[None, 4])
    return cp.Problem(
        cp.Minimize(y), [x[0] + y >= 6, (cp.square(x[0]) <= 1).set_label("near"), x >= -5, cp.norm(x) <= 100]
    )


@pytest.mark.parametrize("ask", ["problem", "clarabel", "ipopt"])
def test_a_conflict_in_a_cvxpy_problem(ask: str) -> None:
    problem = cones_in_conflict()
    for variable in problem.variables():
        variable.value = np.full(variable.shape, 0.5)
    explanation = bo.explain(problem if ask == "problem" else bo.solve(problem, solver=ask))
    assert explanation.conflict == ("constraint 0", "near", "y.upper")
    # x <= 1 and y <= 4 leave 5 of the 6; x would have to be 2, and its square 4; y would have to be 5.
    alone = {"constraint 0": 1.0, "near": 3.0, "y.upper": 1.0}
    assert explanation.alone.to_dict() == pytest.approx(alone, rel=1e-5)
    assert explanation.relaxation.to_dict() == pytest.approx({"constraint 0": 1.0}, rel=1e-5)
    assert "constraint 0 (x[0] + y >= 6), near (square(x[0]) <= 1), y.upper" in " ".join(explanation.sentences)
    assert all((v.value == 0.5).all() for v in problem.variables())


def test_bounds_of_a_cvxpy_variable_are_members_only_where_they_are_needed() -> None:
    """Of x in [0, 1]^2 and x_1 + x_2 >= 3 - y, y in [-5, 1/2], only the upper bounds stand in the way."""
    x, y = cp.Variable(2, name="x", bounds=[0, 1]), cp.Variable(name="y", bounds=[-5, 0.5])
    free = cp.Variable(name="free", nonneg=True)
    problem = cp.Problem(cp.Minimize(free), [(cp.sum(x) >= 3 - y).set_label("sum"), free >= y])
    explanation = bo.explain(problem)
    assert sorted(explanation.conflict) == ["sum", "x.upper[0]", "x.upper[1]", "y.upper"]
    assert explanation.alone.to_dict() == pytest.approx(dict.fromkeys(explanation.conflict, 0.5), rel=1e-6)
    for name in explanation.conflict:  # without any one of them the others can hold together
        u, v = cp.Variable(2), cp.Variable()
        rows = {"x.upper[0]": u[0] <= 1, "x.upper[1]": u[1] <= 1, "y.upper": v <= 0.5, "sum": cp.sum(u) >= 3 - v}
        assert cp.Problem(cp.Minimize(0), [row for key, row in rows.items() if key != name]).solve() < np.inf
    assert all(variable.value is None for variable in problem.variables())


def test_a_conflict_that_hangs_on_no_bound_names_none() -> None:
    x = cp.Variable(2, name="x", nonneg=True)
    conflict = bo.explain(cp.Problem(cp.Minimize(0), [x[0] >= 2, x[0] + x[1] <= 1, x[1] >= 0.5])).conflict
    assert "x.lower[0]" not in conflict and len(conflict) == 3


def test_a_filter_that_was_not_answered_does_not_call_the_conflict_irreducible() -> None:
    """Three members in conflict, two of which are enough; the solver has no answer for one of the questions."""

    class Numbers:
        """Members 1, 2, 3: 1 and 2 are in conflict. text : none. dumb : the question without an answer."""

        def __init__(self, dumb: set[int]) -> None:
            self.dumb = dumb

        def constraints(self) -> list[int]:
            return [1, 2, 3]

        def bounds(self) -> list[int]:
            return []

        def bounds_of(self, members: Iterable[int]) -> list[int]:
            return []

        def name(self, member: int) -> str:
            return str(member)

        def text(self, member: int) -> str:
            return ""

        def least(self, soft: Iterable[int], hard: Iterable[int]) -> Least[int] | None:
            asked = {*soft, *hard}
            if asked == self.dumb:
                return None
            return Least({min(asked): 1.0} if {1, 2} <= asked else {}, sorted(asked), [])

    known = conflict_of(Numbers(set()))
    assert known.members == ("1", "2") and known.irreducible
    unknown = conflict_of(Numbers({1, 2}))
    assert unknown.members == ("1", "2", "3") and not unknown.irreducible


def test_entries_of_vectors_and_whole_cones_are_members() -> None:
    x, z = cp.Variable(3, name="x"), cp.Variable(name="z")
    s = cp.Variable((2, 2), name="s", symmetric=True)
    explanation = bo.explain(cp.Problem(cp.Minimize(z), [x >= np.array([0, 2, 0]), x <= np.ones(3), z >= 0]))
    assert explanation.conflict == ("constraint 0[1]", "constraint 1[1]")
    # |x| <= 1/2 and x_1 + x_2 + x_3 >= 3 miss each other by 3 - sqrt(3) / 2, or by sqrt(3) - 1/2.
    explanation = bo.explain(cp.Problem(cp.Minimize(z), [cp.SOC(cp.Constant(0.5), x), cp.sum(x) >= 3, cp.sum(x) <= 9]))
    assert explanation.alone.to_dict() == pytest.approx(
        {"constraint 0": 3**0.5 - 0.5, "constraint 1": 3 - 3**0.5 / 2}, rel=1e-6
    )
    # tr s <= 1 and s >= 2: each eigenvalue would have to be 3/2 less.
    explanation = bo.explain(cp.Problem(cp.Minimize(z), [s >> 2 * np.eye(2), (cp.trace(s) <= 1).set_label("trace")]))
    assert explanation.alone.to_dict() == pytest.approx({"constraint 0": 1.5, "trace": 3.0}, rel=1e-6)
    # z >= 5 against exp(z) <= 4 in its cone
    cone = cp.ExpCone(z, cp.Constant(1.0), cp.Constant(4.0))
    explanation = bo.explain(cp.Problem(cp.Minimize(z), [cone, cp.NonNeg(z - 5), x == 0]))
    expected = {"constraint 0": np.exp(5) - 4, "constraint 1": 5 - np.log(4)}
    assert explanation.alone.to_dict() == pytest.approx(expected, rel=1e-6)


def test_a_conflict_of_a_game_in_cvxpy_names_the_client_and_pyomo_says_the_same() -> None:
    game = a_game(4)
    convex, model = problem2_cvxpy.build(game), problem2_pyomo.build(game)
    convex.constraints["cap"] = convex.expressions["training_time"] <= 1
    model.cap = pyo.Constraint(model.clients, rule=lambda m, i: m.training_time[i] <= 1)
    first, second = bo.explain(convex), bo.explain(model)
    names = [name.replace("'", "") for name in first.conflict]
    assert sorted(names) == sorted(second.conflict) and any(name.startswith("cap[") for name in names)
    assert sorted(first.alone) == pytest.approx(sorted(second.alone), rel=1e-5)
    assert first.clients.equals(second.clients)


def test_a_feasible_cvxpy_problem_has_nothing_against_it_and_keeps_its_values() -> None:
    x = cp.Variable(2, name="x", value=np.array([7.0, 8.0]))
    row = x >= 1
    explanation = bo.explain(cp.Problem(cp.Minimize(cp.sum_squares(x)), [row]))
    assert "nothing speaks against" in repr(explanation) and explanation.direction.empty
    assert x.value.tolist() == [7.0, 8.0] and row.dual_value is None


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda x, y: (cp.Minimize(cp.sqrt(x)), []), "sqrt(x) is concave, but must be convex here: what is minimised"),
        (lambda x, y: (cp.Maximize(cp.square(x) + y), []), "square(x) is convex, but must be concave here"),
        (lambda x, y: (cp.Minimize(x * y), []), "x * y is a product of two expressions that both vary"),
        (lambda x, y: (cp.Minimize(x / y), []), "x/y is a quotient of two expressions that both vary"),
        (
            lambda x, y: (cp.Minimize(cp.square(cp.sqrt(x) + y)), []),
            "sqrt(x) is concave, but must be affine here: square(sqrt(x) + y) must be convex, and it is not monotone in "
            "sqrt(x) + y",
        ),
        (lambda x, y: (cp.Minimize(y - cp.exp(x)), []), "exp(x) is convex, but must be concave here: it is subtracted"),
        (
            lambda x, y: (cp.Minimize(cp.inv_pos(cp.square(x))), []),
            "power(square(x), -1) must be convex, and it is decreasing in square(x)",
        ),
        (lambda x, y: (cp.Minimize(x), [cp.square(x) == 1]), "an equality takes only what is affine"),
        (
            lambda x, y: (cp.Minimize(x), [cp.log(x) <= 2]),
            "log(x) is concave, but must be convex here: the smaller side",
        ),
        (
            lambda x, y: (cp.Minimize(x), [cp.exp(x) >= 2]),
            "exp(x) is convex, but must be concave here: the larger side",
        ),
    ],
)
def test_a_broken_rule_names_the_sub_expression(build: Any, said: str) -> None:
    x, y = cp.Variable(name="x"), cp.Variable(name="y")
    objective, constraints = build(x, y)
    problem = cp.Problem(objective, constraints)
    (sentence,) = bo.explain(problem).rules
    assert said in sentence and sentence.startswith("constraint 'constraint 0'" if constraints else "the objective")
    with pytest.raises(bo.ModelError) as refused:
        bo.solve(problem)
    assert sentence in str(refused.value)


def test_what_is_not_smooth_is_named_too() -> None:
    x = cp.Variable(name="x")
    with pytest.raises(bo.ModelError, match=r"abs\(x\) is not smooth, convex, but must be smooth or concave here"):
        bo.solve(cp.Problem(cp.Maximize(cp.abs(x)), [x <= 1]), solver="ipopt")


def test_terms_of_cvxpy_problems_without_a_value() -> None:
    x, z = cp.Variable(2, name="x", value=np.array([1.0, -1.0])), cp.Variable(name="z", value=0.0)
    free = cp.Variable(name="free")
    problem = cp.Problem(cp.Minimize(-cp.sum(cp.log(x)) + cp.exp(free)), [cp.sqrt(z) >= 1])
    assert bo.explain(problem).undefined == (
        "the objective: log(x)[1] has no finite value at x[1] = -1",
        "constraint 'constraint 0': sqrt(z) has no finite derivative at z = 0",
    )


# ---------------------------------------------------------------------- the filter


@settings(max_examples=200, derandomize=True, deadline=None)
@given(st.data())
def test_the_filter_finds_one_of_the_irreducible_sets(data: st.DataObject) -> None:
    """In conflict is what holds all of one of some drawn sets; the oracle may or may not narrow it down."""
    universe = range(data.draw(st.integers(1, 24)))
    sets = data.draw(st.lists(st.sets(st.sampled_from(universe), min_size=1), min_size=1, max_size=3))
    narrow = data.draw(st.booleans())
    asked = 0

    def conflicting(some: Any) -> list[int] | None:
        nonlocal asked
        asked += 1
        inside = [s for s in sets if s <= set(some)]
        if not inside:
            return None
        return [k for k in some if any(k in s for s in inside)] if narrow else list(some)

    found = irreducible(list(universe), conflicting)
    assert set(found) in sets and not any(other < set(found) for other in sets)
    assert found == sorted(found)
    assert asked <= 2 * (len(found) + 1) * (np.log2(len(universe)) + 2) + 4 or len(sets) > 1


def test_what_cannot_be_explained_is_said() -> None:
    with pytest.raises(bo.InputError, match="not int"):
        bo.explain(3)


# ---------------------------------------------------------------------- many of a kind


def test_many_clients_are_counted_by_reason() -> None:
    game = bo.Game(bo.Population.random(40, seed=1, speed_limits=True), deadline=2.0)
    m = problem1_pyomo.build(game, game.prices(0.05, 0.05))
    explanation = bo.explain(m)
    assert len(explanation.clients) > 30
    assert len(explanation.sentences) <= 6
    (count,) = {
        int(found) for found in re.findall(r"and (\d+) more clients: cannot meet the deadline", repr(explanation))
    }
    assert count == explanation.clients.str.startswith("cannot meet the deadline").sum() - 1
    three = game.replace(population=game.population.select(game.population.ids[:3]))
    few = bo.explain(problem1_pyomo.build(three, three.prices(0.05, 0.05)))
    assert sum(sentence.startswith("client ") for sentence in few.sentences) == 3


def test_a_conflict_of_many_constraints_is_told_by_family() -> None:
    # Any nine of ten steps of 1 fit between 0 and 9.5, ten do not.
    m = pyo.ConcreteModel()
    m.k = pyo.RangeSet(0, 10)
    m.x = pyo.Var(m.k, initialize=0.0)
    m.start = pyo.Constraint(expr=m.x[0] >= 0)
    m.step = pyo.Constraint(pyo.RangeSet(1, 10), rule=lambda m, k: m.x[k] >= m.x[k - 1] + 1)
    m.end = pyo.Constraint(expr=m.x[10] <= 9.5)
    m.goal = pyo.Objective(expr=sum(m.x[k] ** 2 for k in m.k))
    explanation = bo.explain(m)
    assert len(explanation.conflict) == 12
    told = [sentence for sentence in explanation.sentences if sentence.startswith("these 12 cannot hold together")]
    assert told == ["these 12 cannot hold together: start, step (10 of them, such as step[1]), end"]
    gives = [sentence for sentence in explanation.sentences if sentence.startswith("if the others stand")]
    assert (
        gives[1] == "if the others stand, step (10 of them, such as step[1]) has to give way by 0.5" and len(gives) == 3
    )


def test_a_constant_of_one_entry_is_shown_as_its_number() -> None:
    x = cp.Variable(1, name="x")
    for constant in (2.5, np.array([2.5]), np.array([[2.5]]), scipy.sparse.csr_array([[2.5]])):
        assert shown(cp.Constant(constant)) == "2.5"
    assert shown(cp.multiply(np.array([2.5]), x)) == "2.5 * x"
