"""The owner's optimum with chosen deadlines, one budget, a reservation utility and the clients' own caps, against oracles.

The oracles are roots at fifty digits and brute force; they share no code with the package.
"""

from __future__ import annotations

import dataclasses
import tracemalloc

import mpmath
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bcfl_opt as bo
from bcfl_opt import equilibria, plans

mp = mpmath.mp.clone()
mp.dps = 50
INF = float("inf")


def game_of(mu, rho, q=None, **parameters) -> bo.Game:
    frame = pd.DataFrame({"client": [f"c{k}" for k in range(len(mu))], "mu": mu, "rho": rho})
    if q is not None:
        frame["q"] = q
    return bo.Game(bo.Population(frame), **parameters)


@dataclasses.dataclass(frozen=True)
class Client:
    """Plain numbers of one client."""

    mu: float
    rho: float
    q: float
    psi: float
    T: float
    R_t: float
    R_m: float

    @classmethod
    def all_of(cls, game: bo.Game) -> list[Client]:
        people, caps = game.population, game.caps
        return [
            cls(*numbers, game.mining_cycles, game.deadline, R_t, R_m)
            for *numbers, R_t, R_m in zip(
                people.training_cycles.tolist(),
                people.energy_coefficient.tolist(),
                people.max_speed.tolist(),
                caps["training_cap"].tolist(),
                caps["mining_cap"].tolist(),
                strict=True,
            )
        ]

    def energies(self, t, s):
        return self.rho * self.mu**3 / t**2, self.rho * self.psi**3 / s**2

    def response(self, p_t: float, p_m: float, deadline: float, capped: bool = False) -> tuple[float, float] | None:
        """The client's optimum at these prices by bisection on U' along the deadline; None where nothing is feasible."""
        low_t = max(self.mu * (self.rho / p_t) ** (1 / 3), self.mu / self.q)
        low_s = max(self.psi * (self.rho / p_m) ** (1 / 3), self.psi / self.q)
        high_t, high_s = (self.R_t / p_t, self.R_m / p_m) if capped else (INF, INF)
        near = 1 + 1e-10
        if low_t + low_s > deadline * near or low_t > high_t * near or low_s > high_s * near:
            return None
        if high_t + high_s <= deadline:
            return high_t, high_s
        low, high = max(low_t, deadline - high_s), min(deadline - low_s, high_t)
        for _ in range(100):
            t = (low + high) / 2
            s = deadline - t
            slope = p_t - p_m + 2 * self.rho * (self.mu / t) ** 3 - 2 * self.rho * (self.psi / s) ** 3
            low, high = (t, high) if slope > 0 else (low, t)
        return low, deadline - low


@st.composite
def tight_games(draw, clients: int = 4):
    """Games with caps and speed limits around what the common speed needs."""
    n = draw(st.integers(1, clients))
    mu = draw(st.lists(st.floats(1, 20), min_size=n, max_size=n))
    rho = draw(st.lists(st.floats(0.003, 0.05), min_size=n, max_size=n))
    psi, deadline = draw(st.floats(1, 15)), draw(st.floats(5, 20))
    limits = [(m + psi) / deadline * draw(st.one_of(st.just(INF), st.floats(1.01, 2))) for m in mu]
    need = max(r * psi * ((m + psi) / deadline) ** 2 for m, r in zip(mu, rho, strict=True))
    mining_cap = need * draw(st.floats(0.5, 4))
    train = max(r * m * ((m + psi) / deadline) ** 2 for m, r in zip(mu, rho, strict=True))
    return game_of(
        mu, rho, limits,
        mining_cycles=psi, deadline=deadline, mining_cap=mining_cap,
        reward_budget=n * (mining_cap + train * draw(st.floats(0.5, 4))), target=float(np.mean(mu)),
        cost_weight=draw(st.floats(0.05, 2)),
    )  # fmt: skip


# ---------------------------------------------------------------------- chosen deadlines


def test_the_numbers_of_theory_5_2() -> None:
    """mu = 10, psi = 5, rho = .01: T_i = 0.02^(1/3) 15 = 4.0716, cost T_i + .01 15^3 / T_i^2 = 6.1074 against 15.15."""
    game = game_of([10.0, 10.0], [0.01, 0.01])
    clients = bo.equilibrium(game, deadlines="chosen").clients
    expected = 15 * mp.cbrt(mp.mpf("0.02"))
    np.testing.assert_allclose(clients["deadline"], float(expected), rtol=1e-14)
    cost = clients[["training_time", "mining_time", "training_reward", "mining_reward"]].sum(axis=1)
    np.testing.assert_allclose(cost, float(expected + mp.mpf("33.75") / expected**2), rtol=1e-14)
    assert cost.iloc[0] == pytest.approx(6.1074, abs=1e-4)
    common = bo.equilibrium(game).clients
    assert common[["training_time", "mining_time", "training_reward", "mining_reward"]].sum(axis=1).iloc[0] == 15.15


@given(tight_games())
@settings(max_examples=60, deadline=None)
def test_no_deadline_on_a_grid_is_cheaper(game: bo.Game) -> None:
    solution = bo.equilibrium(game, deadlines="chosen")
    for one, row in zip(Client.all_of(game), solution.clients.itertuples(), strict=True):
        t_low, s_low = np.maximum([one.mu / one.q, one.psi / one.q], np.sqrt(
            [one.rho * one.mu**3 / one.R_t if one.R_t else INF, one.rho * one.psi**3 / one.R_m]))  # fmt: skip
        deadline = np.append(np.linspace(0, one.T, 4001)[1:], min(one.T, t_low + s_low))
        t = np.clip(one.mu * deadline / (one.mu + one.psi), t_low, np.maximum(deadline - s_low, t_low))
        with np.errstate(divide="ignore"):
            cost = np.where(t + s_low <= deadline * (1 + 1e-9), deadline + np.add(*one.energies(t, deadline - t)), INF)
        if not row.recruited:
            assert cost.min() == INF or t_low + s_low > one.T * (1 - 1e-9)
            continue
        found = row.deadline + row.training_reward + row.mining_reward
        assert found <= cost.min() * (1 + 1e-12)
        assert found == pytest.approx(cost.min(), rel=1e-4)
        assert row.client_utility == pytest.approx(0, abs=1e-12 * found)
        answer = one.response(row.training_price, row.mining_price, row.deadline)
        assert answer == pytest.approx((row.training_time, row.mining_time), rel=1e-6)
    if solution.clients["recruited"].any():
        assert solution.succeeded and solution.quality is bo.Quality.GLOBAL


# ---------------------------------------------------------------------- one budget


def budget_root(mu, rho, psi, deadline, budget) -> tuple:
    """nu and T_i of theory 5.2 at fifty digits: T_i = min(T, (2 rho (1 + nu))^(1/3) (mu + psi)), payments sum to B."""
    mu, rho = [mp.mpf(x) for x in mu], [mp.mpf(x) for x in rho]

    def deadlines(nu):
        return [min(mp.mpf(deadline), mp.cbrt(2 * r * (1 + nu)) * (m + psi)) for m, r in zip(mu, rho, strict=True)]

    def payment(nu):
        return sum(r * (m + psi) ** 3 / t**2 for m, r, t in zip(mu, rho, deadlines(nu), strict=True))

    if payment(0) <= budget:
        return mp.mpf(0), deadlines(0)
    low, high = mp.mpf(0), mp.mpf(1)
    while payment(high) > budget:
        high *= 4
    for _ in range(170):
        middle = (low + high) / 2
        low, high = (middle, high) if payment(middle) > budget else (low, middle)
    return high, deadlines(high)


@given(
    st.lists(st.tuples(st.floats(0.5, 30), st.floats(0.001, 0.1)), min_size=1, max_size=8),
    st.floats(0.5, 20),
    st.floats(3, 40),
    st.floats(0.001, 1.2),
)
@settings(max_examples=100, deadline=None)
def test_the_shared_budget_has_the_root_of_theory_5_2(pairs, psi: float, deadline: float, level: float) -> None:
    mu, rho = zip(*pairs, strict=True)
    game = game_of(
        mu, rho, mining_cycles=psi, deadline=deadline, mining_cap=1e6, reward_budget=1e9, target=min(mu) - 100
    )
    if (game.caps["training_cap"] < 1e4).any():  # then a cap may bind, which this oracle does not know
        return
    least = sum(r * (m + psi) ** 3 for m, r in pairs) / deadline**2
    most = float(
        bo.equilibrium(game, deadlines="chosen").clients[["training_reward", "mining_reward"]].to_numpy().sum()
    )
    budget = least + level * (most - least) if most > least * (1 + 1e-9) else least * (1 + level)
    solution = bo.equilibrium(game, deadlines="chosen", payment_budget=budget)
    nu, expected = budget_root(mu, rho, psi, deadline, mp.mpf(budget))
    assert solution.succeeded and solution.quality is bo.Quality.GLOBAL
    # where almost everyone has reached T, nu goes to infinity and only the times are well determined
    np.testing.assert_allclose(solution.clients["deadline"], [float(t) for t in expected], rtol=1e-12)
    if nu < 1e3:
        price = solution.shadow_prices["payment_budget"] / game.cost_weight
        assert price == pytest.approx(float(nu), rel=1e-9, abs=1e-12)
    paid = solution.clients[["training_reward", "mining_reward"]].to_numpy().sum()
    assert paid <= budget * (1 + 1e-12)


@given(tight_games(), st.floats(0.02, 0.98))
@settings(max_examples=50, deadline=None)
def test_the_shared_budget_with_caps_and_speed_limits(game: bo.Game, level: float) -> None:
    """Bisection on nu, and for each nu a golden-section search for every client's deadline on its own best split."""
    free = bo.equilibrium(game, deadlines="chosen")
    kept = free.clients["recruited"].to_numpy()
    if not kept.any():
        return
    least, most = (
        float(s.clients[["training_reward", "mining_reward"]].to_numpy().sum()) for s in (bo.equilibrium(game), free)
    )
    budget = least + level * (most - least)
    if most - least < 1e-6 * most:
        return
    people = [one for one, k in zip(Client.all_of(game), kept, strict=True) if k]

    def split(one: Client, deadline: float) -> float:
        low = max(one.mu / one.q, (one.rho * one.mu**3 / one.R_t) ** 0.5)
        high = deadline - max(one.psi / one.q, (one.rho * one.psi**3 / one.R_m) ** 0.5)
        t = min(max(one.mu * deadline / (one.mu + one.psi), low), high)
        return sum(one.energies(t, deadline - t))

    def cheapest(one: Client, weight: float) -> float:
        low = max(one.mu / one.q, (one.rho * one.mu**3 / one.R_t) ** 0.5)
        low += max(one.psi / one.q, (one.rho * one.psi**3 / one.R_m) ** 0.5)
        high, golden = one.T, (5**0.5 - 1) / 2
        for _ in range(90):
            a, b = high - golden * (high - low), low + golden * (high - low)
            better = a + weight * split(one, a) < b + weight * split(one, b)
            low, high = (low, b) if better else (a, high)
        return (low + high) / 2

    low, high = 1.0, 1e9
    for _ in range(60):
        weight = (low * high) ** 0.5
        low, high = (
            (weight, high) if sum(split(one, cheapest(one, weight)) for one in people) > budget else (low, weight)
        )
    expected = sum(cheapest(one, high) for one in people)
    solution = bo.equilibrium(game, deadlines="chosen", payment_budget=budget)
    assert solution.succeeded
    assert float(solution.clients["deadline"].sum()) == pytest.approx(expected, rel=1e-6)


def test_the_shadow_price_is_the_slope_of_the_objective() -> None:
    game = bo.Game(bo.Population.random(40, seed=3))
    budget, step = 30.0, 1e-4
    middle = bo.equilibrium(game, deadlines="chosen", payment_budget=budget)
    up, down = (bo.equilibrium(game, deadlines="chosen", payment_budget=budget + d).objective for d in (step, -step))
    price = middle.shadow_prices["payment_budget"]
    assert price > 0.01
    assert (up - down) / (2 * step) == pytest.approx(price, rel=1e-6)


def test_a_budget_that_nobody_can_meet_says_what_would_do() -> None:
    """rho (mu + psi)^3 / T^2 = .01 15^3 / 225 = 0.15 for c0 and .01 25^3 / 225 = 0.694444 for c1."""
    game = game_of([10.0, 20.0], [0.01, 0.01], target=15.0)
    for deadlines in ("common", "chosen"):
        solution = bo.equilibrium(game, deadlines=deadlines, payment_budget=0.5)
        assert solution.status is bo.Status.INFEASIBLE and solution.quality is bo.Quality.NONE
        for text in ("0.5", "0.844444", "'c1' needs most, 0.694444", "the 1 cheapest"):
            assert text in solution.message, solution.message
        assert not solution.clients["recruited"].any()
        assert (solution.clients["reason"] == "no answer: the payment budget 0.5 is less than the least possible payment "
                                              "0.844444").all()  # fmt: skip
        with pytest.raises(bo.NoSolutionError, match="needs most"):
            _ = solution.objective
        enough = bo.equilibrium(game, deadlines=deadlines, payment_budget=0.1 + 0.744445)
        assert enough.succeeded
    exactly = bo.equilibrium(game, deadlines="chosen", payment_budget=(3.375 + 15.625) * 10 / 225)
    np.testing.assert_allclose(exactly.clients["deadline"], 15.0, rtol=1e-12)


def test_a_budget_with_the_common_deadline_changes_nothing_or_everything() -> None:
    game = bo.Game(bo.Population.random(20, seed=5))
    plain = bo.equilibrium(game)
    paid = float(plain.clients[["training_reward", "mining_reward"]].to_numpy().sum())
    with_budget = bo.equilibrium(game, payment_budget=paid * 1.0001)
    columns = ["training_time", "mining_time", "training_price", "mining_price"]
    pd.testing.assert_frame_equal(with_budget.clients[columns], plain.clients[columns], rtol=1e-14)
    assert with_budget.shadow_prices["payment_budget"] == 0
    assert bo.equilibrium(game, payment_budget=paid * 0.9999).status is bo.Status.INFEASIBLE


# ---------------------------------------------------------------------- a reservation utility


def cheapest_by_brute_force(one: Client, u: float, capped: bool = False) -> float:
    """Least t + s + payments over a grid of training times and splits of the rent, which the client's bisection confirms."""
    best = INF
    middle = one.mu * one.T / (one.mu + one.psi)
    grid = np.unique(np.concatenate([
        np.linspace(one.mu / one.q, one.T - one.psi / one.q, 241), middle + middle * np.geomspace(1e-5, 0.3, 40),
        middle - middle * np.geomspace(1e-5, 0.3, 40),
        [middle, (one.rho * one.mu**3 / one.R_t) ** 0.5, one.T - (one.rho * one.psi**3 / one.R_m) ** 0.5],
    ]))  # fmt: skip
    for t in grid[(grid > 1e-3 * one.T) & (grid < 0.999 * one.T)].tolist():
        s = one.T - t
        if max(one.mu / t, one.psi / s) > one.q * (1 + 1e-9):
            continue
        training, mining = one.energies(t, s)
        for rent in {u, 1.05 * u, 1.3 * u}:
            # h is linear in the training part of the rent: the share at which it is 0, and the ends
            h0 = training / t - (mining + rent) / s + 2 * one.rho * ((one.mu / t) ** 3 - (one.psi / s) ** 3)
            balanced = -h0 / (1 / t + 1 / s)
            for x in (0.0, rent, balanced, one.R_t - training, rent - (one.R_m - mining)):
                a, b = training + x, mining + rent - x
                if not (0 <= x <= rent * (1 + 1e-12) and a <= one.R_t * (1 + 1e-9) and b <= one.R_m * (1 + 1e-9)):
                    continue
                answer = one.response(a / t, b / s, one.T, capped)
                if answer is not None and abs(answer[0] - t) <= 1e-6 * one.T and abs(answer[1] - s) <= 1e-6 * one.T:
                    best = min(best, t + s + a + b)
    return best


@given(tight_games(clients=2), st.floats(0.05, 3))
@settings(max_examples=40, deadline=None)
def test_a_reservation_utility_against_brute_force(game: bo.Game, size: float) -> None:
    people = Client.all_of(game)
    u = size * max(one.rho * (one.mu + one.psi) ** 3 / one.T**2 for one in people)
    solution = bo.equilibrium(game, reservation_utility=u)
    for one, row in zip(people, solution.clients.itertuples(), strict=True):
        found = cheapest_by_brute_force(one, u)
        if not row.recruited:
            # a single point that only a grid line through it would find is a matter of rounding
            assert (
                found == INF or bo.equilibrium(game, reservation_utility=u * (1 - 1e-6)).clients["recruited"][row.Index]
            )
            continue
        cost = row.training_time + row.mining_time + row.training_reward + row.mining_reward
        assert cost <= found * (1 + 1e-9)
        if found < INF:
            assert cost == pytest.approx(found, rel=0.05)
        assert row.client_utility == pytest.approx(u, rel=1e-9)
        assert row.training_reward <= one.R_t * (1 + 1e-9) and row.mining_reward <= one.R_m * (1 + 1e-9)
        answer = one.response(row.training_price, row.mining_price, one.T)
        assert answer == pytest.approx((row.training_time, row.mining_time), rel=1e-6)
    assert solution.succeeded == solution.clients["recruited"].any()


def test_a_reservation_utility_with_slack_caps() -> None:
    """Equal speeds, one price for both tasks: (15 + psi) ... p = (rho (mu + psi)^3 / T^2 + u) / T = (0.15 + 3) / 15 = 0.21."""
    game = game_of([10.0, 10.0], [0.01, 0.01], mining_cap=20.0, reward_budget=100.0)
    solution = bo.equilibrium(game, reservation_utility=pd.Series({"c1": 0.0, "c0": 3.0}))
    first, second = solution.clients.itertuples()
    assert (first.training_price, first.mining_price) == pytest.approx((0.21, 0.21), rel=1e-14)
    assert (first.training_time, first.mining_time) == pytest.approx((10, 5), rel=1e-14)
    assert (first.client_utility, second.client_utility) == pytest.approx((3, 0), abs=1e-14)
    assert (second.training_price, second.mining_price) == pytest.approx((0.01, 0.01), rel=1e-14)


def test_rents_beyond_the_caps_are_refused_by_name() -> None:
    game = game_of([10.0, 10.0], [0.01, 0.01], mining_cap=1.0, reward_budget=4.0)  # R_t = 1, R_m = 1, energy .15
    solution = bo.equilibrium(game, reservation_utility=2.0)
    assert solution.status is bo.Status.NO_CLIENTS
    assert solution.clients["reason"].iloc[0] == (
        "cannot be left a utility of 2 within its reward caps: they pay 2 together, and its energy until the deadline costs at "
        "least 0.15"
    )
    tight = bo.equilibrium(game, reservation_utility=1.84)
    assert "would divide its time otherwise" in tight.clients["reason"].iloc[0]
    assert bo.equilibrium(game, reservation_utility=1.84, reward_caps=True).succeeded


def test_chosen_deadlines_budget_and_reservation_together() -> None:
    """Payments are energy + u, so the energies share B - N u: the same root with that budget."""
    game = bo.Game(bo.Population.random(30, seed=2), mining_cap=20.0, reward_budget=3000.0)
    plain = bo.equilibrium(game, deadlines="chosen", payment_budget=20.0)
    kept = plain.clients["recruited"]
    rents = bo.equilibrium(game, deadlines="chosen", payment_budget=20.0 + 0.5 * kept.sum(), reservation_utility=0.5)
    assert rents.succeeded
    np.testing.assert_allclose(rents.clients["deadline"], plain.clients["deadline"], rtol=1e-11)
    np.testing.assert_allclose(rents.clients["client_utility"], np.where(kept, 0.5, 0), rtol=1e-12)


def test_a_case_without_a_closed_form_is_not_called_solved() -> None:
    game = game_of([10.0, 10.0], [0.01, 0.01], mining_cap=2.2, reward_budget=9.0)
    solution = bo.equilibrium(game, deadlines="chosen", reservation_utility=2.3)
    assert solution.status is bo.Status.NOT_CERTIFIED and solution.quality is bo.Quality.NONE
    assert "reward_caps=True" in solution.message
    assert bo.equilibrium(game, deadlines="chosen", reservation_utility=2.3, reward_caps=True).succeeded


# ---------------------------------------------------------------------- the clients' own caps


@given(tight_games(clients=2))
@settings(max_examples=25, deadline=None)
def test_the_clients_own_caps_against_a_price_grid(game: bo.Game) -> None:
    solution = bo.equilibrium(game, reward_caps=True)
    for one, row in zip(Client.all_of(game), solution.clients.itertuples(), strict=True):
        if not row.recruited:
            continue
        cost = row.training_time + row.mining_time + row.training_reward + row.mining_reward
        common = ((one.mu + one.psi) / one.T) ** 3 * one.rho
        for p_t in np.geomspace(common / 30, common * 3000, 40).tolist():
            for p_m in np.geomspace(common / 30, common * 3000, 40).tolist():
                answer = one.response(p_t, p_m, one.T, capped=True)
                if answer is not None:
                    assert cost <= (answer[0] * (1 + p_t) + answer[1] * (1 + p_m)) * (1 + 1e-9)
        answer = one.response(row.training_price, row.mining_price, one.T, capped=True)
        assert answer == pytest.approx((row.training_time, row.mining_time), rel=1e-6)


def test_who_is_paid_both_caps_to_stop_early() -> None:
    """Caps of .4 and .2: sqrt(.01 1000 / .4) + sqrt(.01 125 / .2) + .6 = 5 + 2.5 + .6 = 8.1, below 15 + .15."""
    game = game_of([10.0, 10.0], [0.01, 0.01], mining_cap=0.2, reward_budget=1.2)
    row = bo.equilibrium(game, reward_caps=True).clients.iloc[0]
    assert (row["training_time"], row["mining_time"]) == pytest.approx((5.0, 2.5), rel=1e-14)
    assert (row["training_reward"], row["mining_reward"]) == pytest.approx((0.4, 0.2), rel=1e-14)
    assert row["client_utility"] == pytest.approx(0, abs=1e-15)
    # with large caps that would be dear: 25 + 5 and more against 15.15
    plain = bo.equilibrium(game_of([10.0, 10.0], [0.01, 0.01]), reward_caps=True).clients.iloc[0]
    assert plain["training_time"] + plain["mining_time"] == pytest.approx(15, rel=1e-14)


@given(tight_games(clients=2), st.floats(0.1, 2))
@settings(max_examples=25, deadline=None)
def test_own_caps_with_a_reservation_utility_against_brute_force(game: bo.Game, size: float) -> None:
    people = Client.all_of(game)
    u = size * max(one.rho * (one.mu + one.psi) ** 3 / one.T**2 for one in people)
    solution = bo.equilibrium(game, reservation_utility=u, reward_caps=True)
    for one, row in zip(people, solution.clients.itertuples(), strict=True):
        found = cheapest_by_brute_force(one, u, capped=True)
        for t in np.geomspace(one.mu / min(one.q, 1e3), one.T, 120).tolist():  # stop early, both caps spent
            s = np.geomspace(one.psi / min(one.q, 1e3), one.T, 120)
            training, mining = one.energies(t, s)
            fits = (t + s <= one.T) & (training <= one.R_t) & (mining <= one.R_m)
            fits &= one.R_t + one.R_m - training - mining >= u
            found = min(found, float(np.min((t + s + one.R_t + one.R_m)[fits], initial=INF)))
        if row.recruited:
            cost = row.training_time + row.mining_time + row.training_reward + row.mining_reward
            assert cost <= found * (1 + 1e-9)
            assert row.client_utility >= u * (1 - 1e-9)
            answer = one.response(row.training_price, row.mining_price, one.T, capped=True)
            assert answer == pytest.approx((row.training_time, row.mining_time), rel=1e-6)
        else:
            assert found == INF
    assert solution.succeeded == solution.clients["recruited"].any()


# ---------------------------------------------------------------------- what is wrong is refuted, what cannot be is refused


def plan_of(game: bo.Game, **asked) -> plans.Plan:
    """The plan behind an equilibrium."""
    caught = []
    original = plans.Plan.certificate

    def catch(self):
        caught.append(self)
        return original(self)

    plans.Plan.certificate = catch
    try:
        assert bo.equilibrium(game, **asked).succeeded
    finally:
        plans.Plan.certificate = original
    return caught[0]


@pytest.mark.parametrize(
    ("change", "residual"),
    [
        (lambda p: {"training_time": p.training_time * 1.01}, "gap"),
        (lambda p: {"training_time": p.training_time * 0.99}, "primal"),
        (lambda p: {"training_payment": p.training_payment * 1.01}, "gap"),
        (lambda p: {"training_payment": p.training_payment * 0.99}, "primal"),
        (lambda p: {"multiplier": p.multiplier * 1.01}, "complementarity"),
        (lambda p: {"budget": p.budget * 0.99}, "primal"),
        (lambda p: {"budget": p.budget * 1.01}, "gap"),
    ],
)
def test_the_certificate_refutes_another_plan(change, residual: str) -> None:
    plan = plan_of(bo.Game(bo.Population.random(12, seed=4)), deadlines="chosen", payment_budget=10.0)
    certificate = dataclasses.replace(plan, **change(plan)).certificate()
    assert certificate.residuals[residual] > 1e-4
    assert not certificate.holds()


def test_the_certificate_asks_the_clients() -> None:
    """The same total, with the rent moved from one task to the other: the client would then divide its time otherwise."""
    plan = plan_of(bo.Game(bo.Population.random(12, seed=4)), reservation_utility=0.5)
    other = dataclasses.replace(
        plan, training_payment=plan.training_payment + 0.01, mining_payment=plan.mining_payment - 0.01
    )
    assert other.certificate().follower_gap > 1e-4
    assert other.certificate().gap < 1e-12


def test_a_slower_plan_has_a_gap() -> None:
    plan = plan_of(bo.Game(bo.Population.random(12, seed=4)), deadlines="chosen")
    t, s = plan.training_time * 1.01, plan.mining_time * 1.01
    slower = dataclasses.replace(plan, training_time=t, mining_time=s)
    training, mining = slower.energies
    slower = dataclasses.replace(slower, training_payment=training, mining_payment=mining)
    certificate = slower.certificate()
    assert certificate.primal < 1e-12 and certificate.follower_gap < 1e-12
    excess = float((t + s + training + mining).sum() / (plan.training_time + plan.mining_time + plan.training_payment
                                                        + plan.mining_payment).sum() - 1)  # fmt: skip
    assert certificate.gap >= excess > 1e-6


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"deadlines": "own"}, "unknown deadlines 'own'"),
        ({"payment_budget": 0}, "payment_budget: 0 must be a finite number, greater than 0"),
        ({"payment_budget": True}, "payment_budget: True is not a number"),
        ({"payment_budget": "3"}, "payment_budget: '3' is not a number"),
        ({"payment_budget": float("nan")}, "payment_budget: nan must be"),
        ({"reservation_utility": -1.0}, "reservation_utility of client 'c0': -1.0 must be a finite number, at least 0"),
        ({"reservation_utility": [1.0]}, r"reservation_utility: shape \(1,\) does not match the 2 clients"),
        ({"payment_budget": 5.0, "reward_caps": True}, 'needs deadlines="chosen"'),
    ],
)
def test_bad_arguments(asked, message: str) -> None:
    with pytest.raises(bo.BcflOptError, match=message):
        bo.equilibrium(game_of([10.0, 5.0], [0.01, 0.02]), **asked)


def test_nobody_left() -> None:
    solution = bo.equilibrium(game_of([10.0, 5.0], [0.01, 0.02], deadline=1e-3, target=7.5), deadlines="chosen",
                              payment_budget=1.0)  # fmt: skip
    assert solution.status is bo.Status.NO_CLIENTS
    assert solution.clients["deadline"].isna().all()
    assert solution.clients["reason"].str.contains("cannot meet the deadline").all()


# ---------------------------------------------------------------------- many clients


@pytest.mark.parametrize("ask", ["response", "equilibrium", "budget"])
def test_memory_stays_below_four_hundred_bytes_a_client(ask: str) -> None:
    """tracemalloc sees numpy's and pandas' arrays, Arrow counts its own texts; a third of the clients carry a reason."""
    n = 200_000
    rng = np.random.default_rng(0)
    mu = rng.uniform(1, 20, n)
    game = bo.Game(
        bo.Population(pd.DataFrame({"mu": mu, "rho": rng.uniform(0.005, 0.02, n)})),
        mining_cycles=10.0, mining_cap=2.0, reward_budget=12.0 * n, target=0.0,
    )  # fmt: skip
    prices = game.prices(rng.uniform(0.005, 0.1, n), rng.uniform(0.005, 0.1, n))
    game.caps  # noqa: B018  not what is measured

    def run() -> bo.Solution:
        if ask == "response":
            return bo.best_response(game, prices)
        return bo.equilibrium(game, **({"deadlines": "chosen", "payment_budget": 1e6} if ask == "budget" else {}))

    run()
    texts = pa.total_allocated_bytes()
    tracemalloc.start()
    solution = run()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert solution.succeeded
    assert 0.05 < 1 - solution.clients["recruited"].mean() < 0.7
    kept_texts = pa.total_allocated_bytes() - texts
    assert (peak + kept_texts) / n <= 400, (peak / n, kept_texts / n)


def test_chunks_do_not_change_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    from bcfl_opt import pace

    game = bo.Game(bo.Population.random(1000, seed=8, speed_limits=True))
    asked = {"deadlines": "chosen", "payment_budget": 400.0, "reservation_utility": 0.1}
    whole = bo.equilibrium(game, **asked)
    monkeypatch.setattr(pace, "CHUNK", 77)
    monkeypatch.setattr(plans, "CHUNK", 77)
    parts = bo.equilibrium(game, **asked)
    assert whole.succeeded
    pd.testing.assert_frame_equal(parts.clients, whole.clients, rtol=1e-13)
    assert equilibria.equilibrium is bo.equilibrium
