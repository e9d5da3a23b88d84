"""What two-stage problems are refused, by whose name; what is said of a leader without bound, and where nobody can be had."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pandas as pd
import pyomo.environ as pyo
import pytest

import bcfl_opt as bo
from bcfl_opt.models import problem2_pyomo, problem3_pyomo, stackelberg_pyomo, variant_one_price


def tracking() -> tuple[pyo.ConcreteModel, Any]:
    """A leader and one follower, which answers y = x."""
    m = pyo.ConcreteModel()
    m.x = pyo.Var(initialize=1.0, bounds=(0, 10))
    f = m.buyer = pyo.Block()
    f.y = pyo.Var(initialize=1.0, bounds=(0, 10))
    f.cost = pyo.Objective(expr=(f.y - m.x) ** 2)
    m.cost = pyo.Objective(expr=(m.x - 3) ** 2 + (f.y - 5) ** 2)
    return m, f


def kinked_objective(m: Any, f: Any) -> None:
    f.cost.set_value(abs(f.y - m.x))


def kinked_row(m: Any, f: Any) -> None:
    f.limit = pyo.Constraint(expr=abs(f.y) <= 3)


def case_by_case(m: Any, f: Any) -> None:
    f.limit = pyo.Constraint(expr=pyo.Expr_if(f.y >= 1, f.y, 2 * f.y) <= 3)


def binary(m: Any, f: Any) -> None:
    f.choice = pyo.Var(domain=pyo.Binary)
    f.cost.set_value((f.y - f.choice) ** 2)


def integer_in_a_row(m: Any, f: Any) -> None:
    f.count = pyo.Var([1, 2], domain=pyo.NonNegativeIntegers)
    f.limit = pyo.Constraint(expr=f.count[2] <= f.y)


def shared(m: Any, f: Any) -> None:
    f.mine = pyo.Reference(m.x)


def shared_by_two(m: Any, f: Any) -> None:
    m.seller = pyo.Block()
    m.seller.y = pyo.Reference(f.y)
    m.seller.cost = pyo.Objective(expr=(f.y - 2) ** 2)


def playing_another(m: Any, f: Any) -> None:
    m.seller = pyo.Block()
    m.seller.z = pyo.Var(initialize=0.0)
    m.seller.cost = pyo.Objective(expr=(m.seller.z - f.y) ** 2)


def integer_leader(m: Any, f: Any) -> None:
    m.count = pyo.Var(domain=pyo.Integers, initialize=1)
    m.cost.set_value(m.count + f.y)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (kinked_objective, "follower buyer is not smooth: buyer.cost uses abs"),
        (kinked_row, "follower buyer is not smooth: buyer.limit uses abs"),
        (case_by_case, "follower buyer is not smooth: buyer.limit uses Expr_if"),
        (binary, "buyer.cost: variable buyer.choice is Binary"),
        (integer_in_a_row, r"buyer.limit: variable buyer.count\[2\] is NonNegativeIntegers"),
        (shared, "follower buyer shares a decision with the leader: buyer.mine refers to x"),
        (shared_by_two, "follower seller shares a decision .*: seller.y refers to buyer.y"),
        (playing_another, "follower seller depends on buyer.y, a decision of follower buyer"),
        (integer_leader, "cost: variable count is Integers"),
    ],
)
def test_refused_by_name_and_left_as_it_was(change: Callable[[Any, Any], None], words: str) -> None:
    m, f = tracking()
    change(m, f)
    with pytest.raises(bo.ModelError, match=words):
        bo.solve_bilevel(m)
    assert (m.x.value, f.y.value) == (1.0, 1.0)
    assert m.cost.active and f.cost.active
    with pytest.raises(bo.ModelError, match=words):
        bo.solve(m, method="bilevel")


def test_what_is_not_refused() -> None:
    """The same problem unchanged: (x - 3)^2 + (x - 5)^2 is least at 4."""
    m, _ = tracking()
    assert bo.solve_bilevel(m).objective == pytest.approx(2.0)


@pytest.mark.parametrize("method", ["auto", "kkt", "fischer_burmeister"])
def test_a_leader_without_bound_over_the_followers_optima(method: str) -> None:
    """y = x, and the leader minimises y - 2 x = -x with x free: no bound, although for each x the follower has one optimum."""
    m, f = tracking()
    m.x.setub(None)
    f.y.setub(None)
    m.cost.set_value(f.y - 2 * m.x)
    solution = bo.solve_bilevel(m, method=method, starts=2)
    assert solution.status is bo.Status.UNBOUNDED and not solution.succeeded
    assert "without limit" in solution.message
    with pytest.raises(bo.NoSolutionError):
        _ = solution.objective


# ---------------------------------------------------------------------- nobody can be recruited

MODELS = (problem2_pyomo, problem3_pyomo, stackelberg_pyomo, variant_one_price)


def caps_of(mining_cap: float) -> bo.Game:
    frame = pd.DataFrame({"mu": [8.0, 12.0], "rho": 0.01}, index=["anna", "ben"])
    return bo.Game(frame, mining_cycles=6.0, deadline=20.0, mining_cap=mining_cap, reward_budget=1.0)


@pytest.mark.parametrize("module", MODELS)
def test_nobody_within_the_caps_is_said_with_client_and_cap(module: Any) -> None:
    solution = bo.solve(module.build(caps_of(1e-4)), method="bilevel")
    assert solution.status is bo.Status.NO_CLIENTS and not solution.succeeded
    reasons = solution.clients["reason"]
    assert list(reasons.index) == ["anna", "ben"]
    for text in reasons:
        assert text.startswith("cannot meet the deadline 20 within its reward caps")
        assert "in mining by its mining cap (one of " in text


def test_the_cap_that_would_do_does() -> None:
    """The cap that a refusal names recruits the client, and one a thousandth smaller does not."""
    text = bo.solve(problem2_pyomo.build(caps_of(1e-4)), method="bilevel").clients["reason"]["anna"]
    cap = float(re.search(r"mining cap \(one of ([0-9.e+-]+) would do", text).group(1))  # type: ignore[union-attr]
    for factor, recruited in ((1 + 1e-3, True), (1 - 1e-3, False)):
        frame = pd.DataFrame({"mu": [8.0, 12.0], "rho": 0.01}, index=["anna", "ben"])
        budget = 1.0 - 2e-4 + 2 * cap * factor  # the training caps stay what they were
        game = bo.Game(frame, mining_cycles=6.0, deadline=20.0, mining_cap=cap * factor, reward_budget=budget)
        solution = bo.solve(problem2_pyomo.build(game), method="bilevel")
        assert bool(solution.clients["recruited"]["anna"]) is recruited, solution


def test_prices_that_the_owner_may_not_pay_are_told_with_the_client() -> None:
    """Not the caps but a user's constraint: the clients whose participation would have to give way are named."""
    frame = pd.DataFrame({"mu": [8.0, 12.0], "rho": 0.01}, index=["anna", "ben"])
    m = stackelberg_pyomo.build(bo.Game(frame, mining_cycles=6.0, deadline=20.0))
    m.stingy = pyo.Constraint(m.clients, rule=lambda m, i: m.training_price[i] <= 1e-9)
    solution = bo.solve_bilevel(m, starts=1)
    assert not solution.succeeded
    assert solution.status in (bo.Status.INFEASIBLE, bo.Status.LOCALLY_INFEASIBLE)
    assert "client[anna].training_rationality" in solution.message


def test_a_menu_that_nobody_accepts_is_said_with_client_and_cap() -> None:
    menu = bo.design_menu(caps_of(1e-4), reward_caps=True)
    assert menu.status is bo.Status.NO_CLIENTS and not menu.succeeded
    assert menu.clients["reason"].str.contains("mining cap").all()
    with pytest.raises(bo.NoSolutionError):
        _ = menu.largest_gain
