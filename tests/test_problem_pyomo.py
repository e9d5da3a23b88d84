"""Problems 1-3 in Pyomo: what they are made of, who is in them, and what remains when a constraint is taken away.

Changes that add something have a file of their own, test_problem_pyomo_swaps.py. References: fuzz_agreement.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyomo.environ as pyo
import pytest
from fuzz_agreement import Client, clients_of, recruitment, response, split, utility

import bcfl_opt as bo
from bcfl_opt.models import problem1_pyomo, problem2_pyomo, problem3_pyomo, stackelberg_pyomo

OWNERS = (problem2_pyomo, problem3_pyomo)
FORMS = ("time", "speed")


@pytest.fixture(scope="module")
def game() -> bo.Game:
    """Two clients with a speed limit that binds in Problem 1 and one without."""
    frame = pd.DataFrame(
        {"mu": [8.0, 10.0, 12.0], "rho": [0.01, 0.02, 0.005], "q": [0.9, np.inf, 1.5]}, index=list("abc")
    )
    return bo.Game(frame, mining_cycles=5.0, deadline=20.0, mining_cap=2.0, reward_budget=30.0)


@pytest.fixture(scope="module")
def prices(game: bo.Game) -> pd.DataFrame:
    return game.prices([0.05, 0.2, 0.02], [0.2, 0.05, 0.02])


def names(m: pyo.ConcreteModel, kind: type) -> set[str]:
    return {component.name for component in m.component_objects(kind)}


# ---------------------------------------------------------------------------------- what is in them

PROBLEM_1 = {"training_rationality", "mining_rationality", "deadline", "training_speed_limit", "mining_speed_limit"}
BUDGETS = {"training_budget", "mining_budget"}
TIMES, SPEEDS = {"training_time", "mining_time"}, {"training_speed", "mining_speed"}
WORTH = {"training_reward", "mining_reward", "training_energy", "mining_energy", "energy_cost", "client_utility"}
PRICES, PAYMENTS = {"training_price", "mining_price"}, {"training_payment", "mining_payment"}


@pytest.mark.parametrize("reward_caps", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_problem_1_has_the_names_of_the_architecture(
    game: bo.Game, prices: pd.DataFrame, form: str, reward_caps: bool
) -> None:
    m = problem1_pyomo.build(game, prices, form=form, reward_caps=reward_caps)
    variables, rest = (TIMES, SPEEDS) if form == "time" else (SPEEDS, TIMES)
    assert names(m, pyo.Var) == variables
    assert names(m, pyo.Constraint) == PROBLEM_1 | (BUDGETS if reward_caps else set())
    assert names(m, pyo.Expression) == rest | WORTH
    assert names(m, pyo.Objective) == {"utility"}
    assert list(m.clients) == ["a", "b", "c"]
    assert list(m.training_speed_limit) == ["a", "c"]


@pytest.mark.parametrize("budgets", ["at_most", "exhausted"])
@pytest.mark.parametrize("reply", ["optimal", "theorem"])
@pytest.mark.parametrize("problem", OWNERS)
def test_the_owners_problems_have_the_names_of_the_architecture(
    game: bo.Game, problem: Any, reply: str, budgets: str
) -> None:
    m = problem.build(game, response=reply, budgets=budgets)
    assert names(m, pyo.Var) == (PRICES if reply == "theorem" else TIMES | PAYMENTS)
    both = names(m, pyo.Var) | names(m, pyo.Expression)
    assert both >= TIMES | SPEEDS | PRICES | WORTH | {"owner_utility"}
    extra = {"individual_rationality", "incentive_compatibility"} if problem is problem3_pyomo else set()
    assert names(m, pyo.Constraint) == PROBLEM_1 | BUDGETS | extra
    assert names(m, pyo.Objective) == {"utility"}


@pytest.mark.parametrize("form", FORMS)
def test_expressions_have_the_papers_values(game: bo.Game, prices: pd.DataFrame, form: str) -> None:
    m = problem1_pyomo.build(game, prices, form=form)
    bo.solve(m, raise_on_failure=True)
    for name, c in clients_of(game):
        t, s = pyo.value(m.training_time[name]), pyo.value(m.mining_time[name])
        p_t, p_m = prices.loc[name]
        assert pyo.value(m.training_speed[name]) == pytest.approx(c.mu / t)
        assert pyo.value(m.mining_speed[name]) == pytest.approx(c.psi / s)
        assert pyo.value(m.training_reward[name]) == pytest.approx(p_t * t)
        assert pyo.value(m.mining_reward[name]) == pytest.approx(p_m * s)
        assert pyo.value(m.energy_cost[name]) == pytest.approx(c.rho * c.mu**3 / t**2 + c.rho * c.psi**3 / s**2)
        assert pyo.value(m.client_utility[name]) == pytest.approx(utility(c, p_t, p_m, t, s))


@pytest.mark.parametrize(
    ("problem", "options"),
    [
        *((problem, {"response": reply}) for problem in OWNERS for reply in ("optimal", "theorem")),
        (stackelberg_pyomo, {}),
    ],
)
def test_energy_has_the_same_names_in_the_owners_models(game: bo.Game, problem: Any, options: dict[str, str]) -> None:
    m = problem.build(game, **options)
    for name, c in clients_of(game):
        t, s = pyo.value(m.training_time[name]), pyo.value(m.mining_time[name])
        assert pyo.value(m.training_energy[name]) == pytest.approx(c.rho * c.mu**3 / t**2)
        assert pyo.value(m.mining_energy[name]) == pytest.approx(c.rho * c.psi**3 / s**2)
        assert pyo.value(m.energy_cost[name]) == pytest.approx(c.rho * c.mu**3 / t**2 + c.rho * c.psi**3 / s**2)
    m.frugal = pyo.Constraint(expr=sum(m.energy_cost[i] for i in m.clients) <= 1e3)  # it can be used as it stands


@pytest.mark.parametrize(
    "ids",
    [[7, 3, 5], ["a b", "c[1]", "größe,'\""], [1, "1", "x.y"], [0.5, 1.5, 2.5], list(pd.date_range("2020", periods=3))],
)
def test_ids_of_any_kind_come_back(ids: list[Any]) -> None:
    game = bo.Game(pd.DataFrame({"client": ids, "mu": [9.0, 10.0, 11.0], "rho": 0.01}))
    models = [problem.build(game) for problem in OWNERS]
    models += [problem1_pyomo.build(game, game.prices(0.1, 0.1), form=form) for form in FORMS]
    for m in models:
        assert list(m.clients) == ids
        solution = bo.solve(m, raise_on_failure=True)
        assert solution.clients is not None
        assert list(solution.clients.index) == ids
        assert list(solution.shadow_prices["deadline"].index) == ids


def test_tuples_as_ids_are_refused_in_words() -> None:
    game = bo.Game(pd.DataFrame({"client": [("a", 1), ("b", 2)], "mu": [9.0, 11.0], "rho": 0.01}))
    for build in (problem2_pyomo.build, problem3_pyomo.build, lambda g: problem1_pyomo.build(g, g.prices(1, 1))):
        with pytest.raises(bo.InputError, match=r"client \('a', 1\): a tuple cannot index a Pyomo model"):
            build(game)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda g, p: problem1_pyomo.build(g, p, form="tme"), "did you mean 'time'"),
        (lambda g, p: problem2_pyomo.build(g, response="optimum"), "did you mean 'optimal'"),
        (lambda g, p: problem3_pyomo.build(g, budgets="at most"), "did you mean 'at_most'"),
    ],
)
def test_unknown_options_name_the_known_ones(game: bo.Game, prices: pd.DataFrame, build: Any, message: str) -> None:
    with pytest.raises(bo.InputError, match=message):
        build(game, prices)


# ---------------------------------------------------------------------------------- who is in them


def test_screening_leaves_out_who_cannot_respond_and_says_why() -> None:
    # b: 10 (0.01 / 1e-3)^(1/3) + 5 (0.01 / 0.01)^(1/3) = 21.54 + 5 > 15.   c: training is not paid.   d: no offer.
    frame = pd.DataFrame({"mu": 10.0, "rho": 0.01}, index=list("abcd"))
    game = bo.Game(frame)
    prices = game.prices([0.1, 1e-3, 0.0, 1.0], [0.1, 0.01, 0.1, 1.0])
    prices.loc["d"] = np.nan
    alone = bo.best_response(game, prices).clients
    assert alone is not None
    for form in FORMS:
        m = problem1_pyomo.build(game, prices, form=form)
        assert list(m.clients) == ["a"]
        assert "11.5443 too long; a deadline of 26.5443 would do" in m.bcfl.excluded["b"]
        assert "training price is 0" in m.bcfl.excluded["c"]
        assert m.bcfl.excluded["d"] == "is offered no prices"
        solution = bo.solve(m, raise_on_failure=True)
        assert solution.clients is not None
        assert solution.clients["recruited"].tolist() == [True, False, False, False]
        assert solution.clients["reason"].tolist() == ["", *m.bcfl.excluded.values()]
        assert solution.objective == pytest.approx(alone.at["a", "client_utility"], rel=1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_without_screening_one_client_without_an_answer_has_none_and_the_others_theirs(form: str) -> None:
    game = bo.Game(pd.DataFrame({"mu": 10.0, "rho": 0.01}, index=["able", "late"]))
    m = problem1_pyomo.build(game, game.prices([0.1, 1e-3], [0.1, 0.01]), form=form, screen=False)
    assert list(m.clients) == ["able", "late"]
    before = m.training_time["able"].expr() if form == "speed" else m.training_time["able"].value
    solution = bo.solve(m)
    assert solution.status is bo.Status.PARTLY_SOLVED and not solution.succeeded
    assert "1 of 2 clients; client 'late' has no answer" in solution.message
    assert (m.training_time["able"].expr() if form == "speed" else m.training_time["able"].value) == before
    alone = bo.solve(problem1_pyomo.build(game, game.prices([0.1, 1e-3], [0.1, 0.01]), form=form))
    assert solution.clients is not None and alone.clients is not None
    assert list(solution.clients["recruited"]) == [True, False]
    pd.testing.assert_series_equal(solution.clients.loc["able"], alone.clients.loc["able"])
    assert np.isnan(solution.clients.at["late", "training_time"])
    assert "infeasib" in solution.clients.at["late", "reason"]
    m.deadline["late"].deactivate()  # the constraint that excluded it, changed: T = 30 is enough
    t, s = m.training_time["late"], m.mining_time["late"]
    m.later = pyo.Constraint(expr=t + s <= 30)
    assert bo.solve(m).succeeded


def test_who_cannot_be_recruited_is_told_which_limit_stops_it() -> None:
    # Equal mu: every share is 1 / 3, R_t = 0.1. The first needs t >= sqrt(0.01 1000 / 0.1) = 10 and
    # s >= sqrt(0.01 125 / 0.05) = 5, together 15 > 12; with s = 5 there are 7 for training: R_t = 10 / 49 = 0.204082.
    # The second needs 10 / 1 + 5 / 1 = 15 by its speed. The third, with q = 2, has times like the first, and R_t = 0.1.
    frame = pd.DataFrame({"mu": 10.0, "rho": [0.01, 1e-6, 0.01], "q": [np.inf, 1.0, 2.0]}, index=list("abc"))
    game = bo.Game(frame, deadline=12, mining_cap=0.05, reward_budget=0.45)
    for problem in OWNERS:
        m = problem.build(game)
        assert list(m.clients) == []
        cap = "training by its training cap (one of 0.204082 would do) and in mining by its mining cap"
        assert "together 3 too long; a deadline of 15 would do; limited in " + cap in m.bcfl.excluded["a"]
        assert "limited in training by max_speed 1 and in mining by max_speed 1" in m.bcfl.excluded["b"]
        assert cap in m.bcfl.excluded["c"]
        assert bo.solve(m).status is bo.Status.NO_CLIENTS
    # What the reasons promise: a deadline of 15 recruits all three.
    enough = bo.equilibrium(game.replace(deadline=15)).clients
    assert enough is not None and enough["recruited"].all()


def test_a_price_of_0_under_a_cap_of_0_is_no_warning_but_a_reason() -> None:
    # mu = (1, 9, 10, 11), g = 10: the first has a negative Shapley value (theory 2.3), so R_t = 0, and 0 / 0 if unpaid.
    game = bo.Game(pd.DataFrame({"mu": [1.0, 9, 10, 11], "rho": 0.01}))
    m = problem1_pyomo.build(game, game.prices([0, 0.1, 0.1, 0.1], 0.1), reward_caps=True)
    assert "training price is 0" in m.bcfl.excluded[0]


@pytest.mark.parametrize("form", FORMS)
def test_one_client(form: str) -> None:
    game = bo.Game(pd.DataFrame({"mu": [10.0], "rho": 0.01}))
    # p_t = p_m: equal speeds (mu + psi) / T = 1, t = 10, s = 5, U = 0.1 15 - 0.01 (10 + 5) = 1.35
    m = problem1_pyomo.build(game, game.prices(0.1, 0.1), form=form)
    assert bo.solve(m).objective == pytest.approx(1.35, rel=1e-9)
    assert pyo.value(m.training_time[0]) == pytest.approx(10, rel=1e-6)


# ---------------------------------------------------------------------------------- knife edges


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("seed", range(4))
def test_a_deadline_that_leaves_a_single_point(form: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    mu, psi, rho = rng.uniform(1, 20), rng.uniform(1, 20), 0.01
    p_t, p_m = 10 ** rng.uniform(-2, 1, 2)
    t, s = mu * (rho / p_t) ** (1 / 3), psi * (rho / p_m) ** (1 / 3)
    game = bo.Game(pd.DataFrame({"mu": [mu], "rho": rho}), mining_cycles=psi, deadline=t + s)
    m = problem1_pyomo.build(game, game.prices(p_t, p_m), form=form)
    solution = bo.solve(m, raise_on_failure=True)
    # (8) and (9) hold with equality: utility 0.
    assert solution.objective == pytest.approx(0, abs=1e-8 * (t * p_t + s * p_m))
    assert pyo.value(m.training_time[0]) == pytest.approx(t, rel=1e-6)


@pytest.mark.parametrize("reward_caps", [False, True])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("speed_limits", [False, True])
def test_problem_1_at_the_equilibriums_prices_is_one_point(form: str, reward_caps: bool, speed_limits: bool) -> None:
    game = bo.Game(bo.Population.random(20, seed=4, speed_limits=speed_limits))
    equilibrium = bo.equilibrium(game)
    assert equilibrium.clients is not None
    solution = bo.solve(problem1_pyomo.build(game, equilibrium.prices, form=form, reward_caps=reward_caps))
    assert solution.succeeded and solution.clients is not None, solution
    rewards = equilibrium.clients[["training_reward", "mining_reward"]].to_numpy().sum()
    assert solution.objective == pytest.approx(0, abs=1e-6 * rewards)
    for name in ("training_time", "mining_time"):
        np.testing.assert_allclose(solution.clients[name], equilibrium.clients[name], rtol=1e-5)


# ---------------------------------------------------------------------------------- taking a constraint away


def least_times(c: Client, p_t: float, p_m: float, without: str) -> tuple[float, float]:
    """Bounds on t and s by (8), (9) and the speed limit, one of them taken away."""
    t = [0.0] + [c.mu * (c.rho / p_t) ** (1 / 3)] * (without != "training_rationality")
    s = [0.0] + [c.psi * (c.rho / p_m) ** (1 / 3)] * (without != "mining_rationality")
    t += [c.mu / c.q] * (without != "training_speed_limit")
    s += [c.psi / c.q] * (without != "mining_speed_limit")
    return max(t), max(s)


@pytest.mark.parametrize("without", sorted(PROBLEM_1))
@pytest.mark.parametrize("form", FORMS)
def test_problem_1_without_one_of_its_constraints(game: bo.Game, prices: pd.DataFrame, form: str, without: str) -> None:
    m = problem1_pyomo.build(game, prices, form=form)
    m.component(without).deactivate()
    solution = bo.solve(m, options={"max_iter": 300})
    if without == "deadline":
        # U rises in both times, for ever. In speeds it has a pole at q = 0, towards which IPOPT creeps.
        honest = (bo.Status.UNBOUNDED, bo.Status.ITERATION_LIMIT)
        assert solution.status in (honest if form == "speed" else honest[:1])
        with pytest.raises(bo.BcflOptError):
            _ = solution.objective
        return
    best = 0.0
    for name, c in clients_of(game):
        p_t, p_m = prices.loc[name]
        t, s = split(c, p_t, p_m, *least_times(c, p_t, p_m, without), c.deadline)
        best += utility(c, p_t, p_m, t, s)
    assert solution.objective == pytest.approx(best, rel=1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_problem_1_without_a_reward_cap(game: bo.Game, prices: pd.DataFrame, form: str) -> None:
    for without, kept in (("training_budget", "mining_budget"), ("mining_budget", "training_budget")):
        m = problem1_pyomo.build(game, prices, form=form, reward_caps=True)
        assert len(m.clients) == 3
        m.component(without).deactivate()
        best = 0.0
        for name, c in clients_of(game):
            # With one cap left the deadline binds: the uncapped task takes what the other leaves.
            p_t, p_m = prices.loc[name]
            low_t, low_s = least_times(c, p_t, p_m, "")
            if kept == "training_budget":
                low_s = max(low_s, c.deadline - c.training_cap / p_t)
            else:
                low_t = max(low_t, c.deadline - c.mining_cap / p_m)
            best += utility(c, p_t, p_m, *split(c, p_t, p_m, low_t, low_s, c.deadline))
        assert bo.solve(m).objective == pytest.approx(best, rel=1e-6)


def at_least_the_truth(solution: bo.Solution, value: float) -> None:
    """Solved and right, or not called solved, with no numbers handed out."""
    if solution.succeeded:
        assert solution.objective == pytest.approx(value, rel=1e-6)
    else:
        assert solution.clients is not None
        assert solution.clients.drop(columns=["recruited", "reason"]).fillna(0).eq(0).all(axis=None)


@pytest.mark.parametrize("without", sorted(PROBLEM_1 | BUDGETS | {"individual_rationality", "incentive_compatibility"}))
@pytest.mark.parametrize("problem", OWNERS)
def test_the_owners_problems_without_one_of_their_constraints(problem: Any, without: str) -> None:
    # Caps and limits that bind: R_t = 0.2 for all (equal mu). Client 0, t >= sqrt(0.02 1000 / 0.2) = 10.
    frame = pd.DataFrame({"mu": 10.0, "rho": [0.02, 0.01, 0.01], "q": [np.inf, 1.2, np.inf]})
    game = bo.Game(frame, mining_cycles=8.0, deadline=18.0, mining_cap=0.5, reward_budget=2.1)
    m = problem.build(game)
    if m.component(without) is None:
        assert problem is problem2_pyomo and without in ("individual_rationality", "incentive_compatibility")
        return
    m.component(without).deactivate()
    solution = bo.solve(m)
    if without in ("training_rationality", "mining_rationality", "deadline"):
        # The owner then pays less than the energy, or lets the client stop early: no client would do that.
        assert solution.status is bo.Status.FOLLOWER_NOT_OPTIMAL, solution
        assert solution.clients is not None and not solution.clients["recruited"].any()
        return
    changes: dict[str, Any] = {}
    if without == "training_budget":
        changes = {"training_cap": np.inf}
    elif without == "mining_budget":
        changes = {"mining_cap": np.inf}
    cost = 0.0
    for _, c in clients_of(game):
        found = recruitment(Client(**{**vars(c), **changes}))
        if without.endswith("speed_limit"):
            # Each limit alone: the other task keeps it.
            limits = c.mu / c.q * (without != "training_speed_limit"), c.psi / c.q * (without != "mining_speed_limit")
            low = max(limits[0], np.sqrt(c.rho * c.mu**3 / c.training_cap))
            high = c.deadline - max(limits[1], np.sqrt(c.rho * c.psi**3 / c.mining_cap))
            t = min(max(c.mu * c.deadline / (c.mu + c.psi), low), high)
            found = t, c.deadline - t
        assert found is not None
        t, s = found
        cost += c.deadline + c.rho * c.mu**3 / t**2 + c.rho * c.psi**3 / s**2
    assert solution.succeeded, solution
    assert solution.objective == pytest.approx(np.log1p(30) - 0.1 * cost, rel=1e-6)


def test_a_speed_limit_taken_away_from_one_client_is_taken_away_from_its_own_problem() -> None:
    # mu = 10, psi = 5, T = 15: both speeds 1 at the equilibrium, beyond q = 0.9, which screening excludes.
    game = bo.Game(pd.DataFrame({"mu": 10.0, "rho": 0.01, "q": [0.9, np.inf]}, index=["slow", "fast"]))
    for problem in OWNERS:
        assert "max_speed 0.9" in problem.build(game).bcfl.excluded["slow"]
        m = problem.build(game, screen=False)
        without = bo.solve(m)
        assert without.status is bo.Status.PARTLY_SOLVED and without.clients is not None
        assert list(without.clients["recruited"]) == [False, True]
        assert bo.Status.INFEASIBLE.value in without.clients.at["slow", "reason"]
        m.training_speed_limit["slow"].deactivate()
        m.mining_speed_limit.deactivate()
        solution = bo.solve(m, raise_on_failure=True)
        assert solution.clients is not None
        np.testing.assert_allclose(solution.clients["training_speed"], 1.0, rtol=1e-6)
        assert solution.certificate is not None and solution.certificate.follower_gap is not None


def test_response_at_changed_bounds_is_the_reference(game: bo.Game, prices: pd.DataFrame) -> None:
    """The reference of these tests is itself that of Problem 1 when nothing is taken away."""
    for name, c in clients_of(game):
        p_t, p_m = prices.loc[name]
        found = response(c, p_t, p_m)
        assert found is not None
        assert found[:2] == split(c, p_t, p_m, *least_times(c, p_t, p_m, ""), c.deadline)


def test_bounds_that_leave_next_to_nothing_are_kept() -> None:
    """At Theorem 3.2's prices a client's caps leave one training time: IPOPT moves such bounds by 1e-12, the answer does not."""
    population = bo.Population.sample().frame.assign(max_speed=np.inf)
    game = bo.Game(bo.Population(population))
    prices = bo.closed_form.theorem_3_2(game)
    m = problem1_pyomo.build(game, prices, reward_caps=True)
    solution = bo.solve(m).raise_if_failed()
    assert solution.certificate is not None and solution.certificate.primal <= 1e-15
    assert solution.objective == pytest.approx(bo.best_response(game, prices, reward_caps=True).objective, rel=1e-12)
