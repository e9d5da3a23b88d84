"""Exact answers against oracles that share no code with them: bisection at fifty digits, and brute force."""

from __future__ import annotations

import dataclasses
import time

import mpmath
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bcfl_opt as bo
from bcfl_opt import exact, participation

INF = float("inf")
mp = mpmath.mp.clone()
mp.dps = 50


def population(**columns: object) -> bo.Population:
    return bo.Population(pd.DataFrame(columns).rename_axis("client"))


# ---------------------------------------------------------------------- oracle: Problem 1 at fifty digits


@dataclasses.dataclass(frozen=True)
class Limits:
    """Bounds of one client's times, from the constraints as printed, at fifty digits."""

    t_low: mpmath.mpf
    t_high: mpmath.mpf
    s_low: mpmath.mpf
    s_high: mpmath.mpf


def limits(mu, rho, q, psi, p_t, p_m, cap_t=INF, cap_m=INF) -> Limits:
    mu, rho, q, psi, p_t, p_m, cap_t, cap_m = map(mp.mpf, (mu, rho, q, psi, p_t, p_m, cap_t, cap_m))
    return Limits(
        max(mu * mp.cbrt(rho / p_t), mu / q), cap_t / p_t, max(psi * mp.cbrt(rho / p_m), psi / q), cap_m / p_m
    )


def slacks(bounds: Limits, deadline) -> list:
    """Relative room in each of the conditions for a feasible point; all >= 0 if and only if there is one."""
    total = bounds.t_low + bounds.s_low
    return [
        (deadline - total) / deadline,
        *((high - low) / low for low, high in ((bounds.t_low, bounds.t_high), (bounds.s_low, bounds.s_high))),
    ]


def optimal_times(mu, rho, psi, deadline, p_t, p_m, bounds: Limits) -> tuple:
    """The optimum of Problem 1. U rises in both times and is concave, so it lies on t + s = T where U' changes sign,
    or at the upper bounds, if they end before that line."""
    mu, rho, psi, deadline, p_t, p_m = map(mp.mpf, (mu, rho, psi, deadline, p_t, p_m))
    if bounds.t_high + bounds.s_high <= deadline:
        return bounds.t_high, bounds.s_high
    low = max(bounds.t_low, deadline - bounds.s_high)
    high = min(bounds.t_high, deadline - bounds.s_low)

    def slope(t):
        return p_t - p_m + 2 * rho * (mu / t) ** 3 - 2 * rho * (psi / (deadline - t)) ** 3

    if slope(low) <= 0:
        return low, deadline - low
    if slope(high) >= 0:
        return high, deadline - high
    for _ in range(150):  # 2^-150 of the interval: fifty digits less those that a short interval far from 0 costs
        middle = (low + high) / 2
        low, high = (middle, high) if slope(middle) > 0 else (low, middle)
    return low, deadline - low


# ---------------------------------------------------------------------- oracle: brute force


def brute_force(mu, rho, psi, deadline, p_t, p_m, t_low, t_high, s_low, s_high) -> tuple[float, float, float]:
    """Largest U on a grid of training times and idle shares of what they leave, refined around the best time."""
    low, high = t_low, min(t_high, deadline - s_low)
    idle = np.append(0.0, np.geomspace(1e-9, 1, 30))
    for _ in range(8):
        t = np.linspace(low, high, 81)[:, None]
        s = s_low + (1 - idle) * np.maximum(np.minimum(s_high, deadline - t) - s_low, 0)
        utility = p_t * t + p_m * s - rho * mu**3 / t**2 - rho * psi**3 / s**2
        best = np.unravel_index(utility.argmax(), utility.shape)
        cell = (high - low) / 80
        found = float(t[best[0], 0]), float(s[best]), float(utility[best])
        low, high = max(low, found[0] - 2 * cell), min(high, found[0] + 2 * cell)
    return found


# ---------------------------------------------------------------------- drawing games


def powers(low: float, high: float) -> st.SearchStrategy[float]:
    return st.floats(low, high).map(lambda x: 10.0**x)


@st.composite
def priced_games(draw, clients: int = 6):
    """A game with prices over three decades; speed limits and tight caps for some."""
    n = draw(st.integers(1, clients))

    def each(strategy):
        return draw(st.lists(strategy, min_size=n, max_size=n))

    limited = draw(st.booleans())
    frame = {
        "mu": each(st.floats(0.5, 20)),
        "rho": each(powers(-3, -1)),
        "q": each(st.one_of(st.just(INF), st.floats(0.3, 10))) if limited else [INF] * n,
    }
    mining_cap = draw(powers(-1, 1.5))
    game = bo.Game(
        population(**frame),
        mining_cycles=draw(st.floats(0.5, 20)),
        deadline=draw(st.floats(5, 40)),
        mining_cap=mining_cap,
        reward_budget=n * (mining_cap + draw(powers(-1, 2))),
        target=draw(st.floats(1, 20)),
    )
    return game, game.prices(each(powers(-2, 1)), each(powers(-2, 1)))


def rows(game: bo.Game, prices: pd.DataFrame):
    """Plain numbers of each client: mu, rho, q, p_t, p_m, R_t, R_m."""
    people, caps = game.population, game.caps
    return zip(
        people.training_cycles.tolist(),
        people.energy_coefficient.tolist(),
        people.max_speed.tolist(),
        prices["training_price"].tolist(),
        prices["mining_price"].tolist(),
        caps["training_cap"].tolist(),
        caps["mining_cap"].tolist(),
        strict=True,
    )


# ---------------------------------------------------------------------- best responses


@given(priced_games(), st.booleans())
@settings(max_examples=150, deadline=None)
def test_best_response_has_twelve_digits_and_every_verdict_right(priced, reward_caps: bool) -> None:
    game, prices = priced
    clients = bo.best_response(game, prices, reward_caps=reward_caps).clients
    psi, deadline = game.mining_cycles, game.deadline
    for client, (mu, rho, q, p_t, p_m, cap_t, cap_m) in zip(clients.itertuples(), rows(game, prices), strict=True):
        bounds = limits(mu, rho, q, psi, p_t, p_m, *((cap_t, cap_m) if reward_caps else ()))
        room = min(slacks(bounds, deadline))
        if abs(room) < 1e-11:  # a matter of rounding, and both answers are then right
            continue
        assert client.recruited == (room > 0), (client, mpmath.nstr(room, 5))
        assert (client.reason == "") == client.recruited
        if not client.recruited:
            assert client.client_utility == client.training_reward == client.energy_cost == 0
            assert np.isnan(client.training_time)
            continue
        t, s = optimal_times(mu, rho, psi, deadline, p_t, p_m, bounds)
        assert abs(client.training_time - t) <= 1e-12 * t
        assert abs(client.mining_time - s) <= 1e-12 * s
        earned = p_t * t + p_m * s
        spent = rho * mp.mpf(mu) ** 3 / t**2 + rho * mp.mpf(psi) ** 3 / s**2
        assert abs(client.client_utility - (earned - spent)) <= 1e-12 * (earned + spent)


@given(priced_games(clients=3), st.booleans())
@settings(max_examples=60, deadline=None)
def test_brute_force_finds_nothing_better(priced, reward_caps: bool) -> None:
    game, prices = priced
    clients = bo.best_response(game, prices, reward_caps=reward_caps).clients
    psi, deadline = game.mining_cycles, game.deadline
    for client, (mu, rho, q, p_t, p_m, cap_t, cap_m) in zip(clients.itertuples(), rows(game, prices), strict=True):
        if not client.recruited:
            continue
        bounds = (
            max(mu * (rho / p_t) ** (1 / 3), mu / q),
            cap_t / p_t if reward_caps else INF,
            max(psi * (rho / p_m) ** (1 / 3), psi / q),
            cap_m / p_m if reward_caps else INF,
        )
        found = brute_force(mu, rho, psi, deadline, p_t, p_m, *bounds)
        size = client.training_reward + client.mining_reward + client.energy_cost
        assert client.client_utility >= found[2] - 1e-12 * size
        assert client.client_utility == pytest.approx(found[2], abs=1e-9 * size)
        # and the answer keeps every limit, as the paper writes it
        t, s, slack = client.training_time, client.mining_time, 1 + 1e-12
        assert t * p_t * slack >= rho * mu * (mu / t) ** 2
        assert s * p_m * slack >= rho * psi * (psi / s) ** 2
        assert t + s <= deadline * slack
        assert max(client.training_speed, client.mining_speed) <= q * slack
        if reward_caps:
            assert t * p_t <= cap_t * slack and s * p_m <= cap_m * slack


def test_hard_roots_near_the_ends_of_the_interval() -> None:
    # Prices that push the root of h towards 0 and towards T without reaching a bound, which a loose Newton would miss.
    mu, psi, deadline = 20.0, 0.5, 15.0
    game = bo.Game(population(mu=[mu] * 400, rho=[1e-4] * 400), mining_cycles=psi, deadline=deadline)
    ratio = np.geomspace(1e-6, 1e6, 400)
    p_m = np.full(400, 1.0)
    clients = bo.best_response(game, game.prices(ratio * p_m, p_m)).clients
    able = clients[clients["recruited"]]
    assert len(able) > 200
    for t, s, p_t in able[["training_time", "mining_time", "training_price"]].itertuples(index=False):
        reference = optimal_times(mu, 1e-4, psi, deadline, p_t, 1.0, limits(mu, 1e-4, INF, psi, p_t, 1.0))
        assert abs(t - reference[0]) <= 1e-12 * reference[0]
        assert abs(s - reference[1]) <= 1e-12 * reference[1]


def test_with_caps_the_deadline_need_not_bind() -> None:
    # R_t / p_t + R_m / p_m = 25 / 5 + 5 / 1 = 10 < 15: both rewards are capped before the time is up.
    game = bo.Game(population(mu=[10.0, 10.0], rho=[0.01, 0.01]))
    clients = bo.best_response(game, game.prices(5.0, 1.0), reward_caps=True).clients
    np.testing.assert_allclose(clients[["training_time", "mining_time"]], 5.0, rtol=1e-15)
    free = bo.best_response(game, game.prices(5.0, 1.0)).clients
    np.testing.assert_allclose(free["training_time"] + free["mining_time"], 15.0, rtol=1e-15)


def test_at_equal_prices_and_no_bounds_both_speeds_are_equal() -> None:
    # p_t + 2 rho q_t^3 = p_m + 2 rho q_m^3 (theory 1.3), hence q = (mu + psi) / T = 1.
    game = bo.Game(population(mu=[10.0], rho=[0.01]))
    client = bo.best_response(game, game.prices(0.5, 0.5)).clients.iloc[0]
    assert client["training_speed"] == pytest.approx(1.0, rel=1e-15)
    assert client["mining_speed"] == pytest.approx(1.0, rel=1e-15)


@given(priced_games(), st.sampled_from([0.25, 0.5, 2.0, 64.0]))
@settings(max_examples=50, deadline=None)
def test_units_of_time_do_not_matter(priced, factor: float) -> None:
    # In a unit of time 1 / factor as long, times grow, speeds and prices per time shrink, rho (energy per cycle and
    # squared speed) grows; verdicts and money stay. A power of 2 is multiplied without rounding.
    game, prices = priced
    frame = game.population.frame
    frame["energy_coefficient"] *= factor**2
    frame["max_speed"] /= factor
    other = game.replace(population=bo.Population(frame), deadline=game.deadline * factor)
    first, second = bo.best_response(game, prices).clients, bo.best_response(other, prices / factor).clients
    assert second["recruited"].equals(first["recruited"])
    np.testing.assert_allclose(second["training_time"], first["training_time"] * factor, rtol=1e-12)
    np.testing.assert_allclose(second["mining_time"], first["mining_time"] * factor, rtol=1e-12)


def test_clients_keep_their_ids_and_their_order() -> None:
    frame = pd.DataFrame({"mu": [9.0, 10.0, 11.0], "rho": 0.01}, index=["z", "a", "m"])
    game = bo.Game(bo.Population(frame))
    prices = game.prices(pd.Series({"a": 0.3, "m": 0.2, "z": 0.1}), 0.2)
    solution = bo.best_response(game, prices.iloc[::-1])
    assert list(solution.clients.index) == ["z", "a", "m"]
    assert solution.clients["training_price"].tolist() == [0.1, 0.3, 0.2]
    alone = bo.best_response(bo.Game(bo.Population(frame.loc[["m"]])), prices.loc[["m"]]).clients
    assert alone.loc["m", "training_time"] == solution.clients.loc["m", "training_time"]


def test_a_solved_response_holds_its_certificate() -> None:
    game = bo.Game(bo.Population.random(500, seed=1, speed_limits=True))
    rng = np.random.default_rng(2)
    solution = bo.best_response(game, game.prices(*np.exp(rng.uniform(-2, 2, (2, 500)))))
    assert solution.succeeded and solution.quality is bo.Quality.GLOBAL, repr(solution)
    assert solution.certificate is not None and max(solution.certificate.residuals.values()) < 1e-13
    assert solution.objective == pytest.approx(solution.clients["client_utility"].sum(), rel=1e-15)


def test_the_certificate_catches_a_wrong_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(a: np.ndarray, c: np.ndarray, difference: np.ndarray, deadline: float) -> tuple[np.ndarray, np.ndarray]:
        return np.full(a.size, 0.3 * deadline), np.full(a.size, 0.7 * deadline)

    game = bo.Game(population(mu=[10.0, 4.0], rho=[0.01, 0.02]))
    monkeypatch.setattr(exact, "response_times", wrong)
    solution = bo.best_response(game, game.prices(1.0, 1.0))
    assert solution.status is bo.Status.NOT_CERTIFIED and not solution.succeeded
    with pytest.raises(bo.NoSolutionError, match="do not hold"):
        _ = solution.objective


def test_clients_without_an_offer_are_left_out() -> None:
    game = bo.Game(population(mu=[10.0, 10.0, 10.0], rho=[0.01] * 3))
    prices = game.prices([0.1, 0.1, 0.0], 0.1)
    prices.iloc[1] = np.nan
    solution = bo.best_response(game, prices)
    assert solution.clients["recruited"].tolist() == [True, False, False]
    assert solution.clients["reason"].tolist()[1] == "is offered no prices"
    assert "training price is 0" in solution.clients["reason"].tolist()[2]
    assert solution.objective == solution.clients["client_utility"].iloc[0]
    nobody = bo.best_response(game, prices * np.nan)
    assert nobody.status is bo.Status.NO_CLIENTS and not nobody.succeeded


def test_half_an_offer_is_bad_input() -> None:
    game = bo.Game(population(mu=[10.0], rho=[0.01]))
    prices = game.prices(0.1, 0.1)
    prices.loc[0, "mining_price"] = np.nan
    with pytest.raises(bo.InputError, match="mining_price of client 0: nan"):
        bo.best_response(game, prices)


def test_a_million_clients_answer_in_time() -> None:
    rng = np.random.default_rng(3)
    n = 1_000_000
    game = bo.Game(population(mu=rng.uniform(0.5, 20, n), rho=rng.uniform(0.005, 0.02, n), q=rng.uniform(1, 8, n)))
    prices = game.prices(*10 ** rng.uniform(-2, 1, (2, n)))
    begin = time.process_time()
    solution = bo.best_response(game, prices)
    assert time.process_time() - begin < 4.0  # about 0.9 s on an idle core; the rest is for a busy machine
    assert solution.succeeded and 0.5 < solution.clients["recruited"].mean() < 1


# ---------------------------------------------------------------------- the equilibrium


def answers(mu, rho, q, psi, deadline, p_t, p_m) -> tuple[np.ndarray, np.ndarray]:
    """Optimal times at arrays of prices by bisection on U'; NaN where a client has no feasible point."""
    t_low = mu * np.maximum(np.cbrt(rho / p_t), 1 / q)
    s_low = psi * np.maximum(np.cbrt(rho / p_m), 1 / q)
    feasible = t_low + s_low <= deadline * (1 + 1e-12)
    low, high = np.where(feasible, t_low, np.nan), np.where(feasible, np.maximum(deadline - s_low, t_low), np.nan)
    for _ in range(90):
        t = (low + high) / 2
        rising = p_t - p_m + 2 * rho * (mu / t) ** 3 > 2 * rho * (psi / (deadline - t)) ** 3
        low, high = np.where(rising, t, low), np.where(rising, high, t)
    return t, deadline - t


INSTANCES = {
    "the paper's": dict(mu=[10.0] * 3, rho=[0.01] * 3),
    "unequal clients": dict(mu=[8.0, 10.0, 12.5], rho=[0.02, 0.01, 0.004]),
    "training cap binds": dict(mu=[10.0], rho=[0.1], mining_cap=5.0, reward_budget=5.5),
    "mining cap binds": dict(mu=[6.0], rho=[0.05], mining_cap=0.1, reward_budget=30.0, mining_cycles=8.0),
    "speed limit binds in training": dict(mu=[14.0], rho=[0.01], q=[1.02], mining_cycles=1.0),
    "speed limit binds in mining": dict(mu=[1.0], rho=[0.01], q=[1.01], mining_cycles=14.0),
    "both caps nearly shut": dict(mu=[10.0], rho=[0.1], mining_cap=0.6, reward_budget=1.7),
    "cap and speed limit": dict(mu=[7.0, 9.0], rho=[0.05, 0.05], q=[0.9, 1.3], mining_cap=0.5, reward_budget=5.0),
    "short deadline": dict(mu=[3.0, 4.0], rho=[0.02, 0.01], q=[5.0, 9.0], deadline=2.0, target=3.5),
    "too slow": dict(mu=[10.0, 10.0], rho=[0.01, 0.01], q=[0.9, 2.0]),
    "cap too small": dict(mu=[10.0], rho=[0.1], mining_cap=0.1, reward_budget=0.6),
    "negative share": dict(mu=[1.0, 9.0, 10.0, 11.0], rho=[0.01] * 4),
}


@pytest.mark.parametrize("name", INSTANCES)
def test_no_price_grid_beats_the_equilibrium(name: str) -> None:
    parameters = dict(INSTANCES[name])
    people = population(**{key: parameters.pop(key) for key in ("mu", "rho", "q") if key in parameters})
    game = bo.Game(people, **parameters)
    solution = bo.equilibrium(game)
    psi, deadline = game.mining_cycles, game.deadline
    for client, (mu, rho, q, _, _, cap_t, cap_m) in zip(
        solution.clients.itertuples(), rows(game, game.prices(1.0, 1.0)), strict=True
    ):
        # From prices at which the client cannot even train (mine) within the deadline to a thousand times its least.
        near = np.linspace(0.9, 1.1, 21)
        scales = [
            np.geomspace(0.5, 2e3, 160) * rho * (cycles / deadline) ** 3 * (1 + (mu + psi) / cycles)
            for cycles in (mu, psi)
        ]
        if client.recruited:
            scales = [
                np.append(scale, near * price)
                for scale, price in zip(scales, (client.training_price, client.mining_price), strict=True)
            ]
        p_t, p_m = np.meshgrid(*scales, indexing="ij")
        t, s = answers(mu, rho, q, psi, deadline, p_t, p_m)
        within = (t * p_t <= cap_t * (1 + 1e-12)) & (s * p_m <= cap_m * (1 + 1e-12))  # False where NaN
        if not client.recruited:
            assert not within.any(), f"{client.Index}: {client.reason}, but some prices recruit it"
            continue
        cost = t + s + t * p_t + s * p_m
        mine = client.training_time + client.mining_time + client.training_reward + client.mining_reward
        assert cost[within].min() >= mine * (1 - 1e-10)
        assert cost[within].min() == pytest.approx(mine, rel=1e-9)  # the equilibrium's own prices are on the grid
        assert client.training_reward <= cap_t * (1 + 1e-12) and client.mining_reward <= cap_m * (1 + 1e-12)
        assert client.client_utility == pytest.approx(0.0, abs=1e-12)
    recruited = solution.clients["recruited"].to_numpy()
    cost = solution.clients.loc[recruited, ["training_time", "mining_time", "training_reward", "mining_reward"]]
    if recruited.any():
        value = np.log1p(people.training_cycles[recruited].sum()) - game.cost_weight * cost.to_numpy().sum()
        assert solution.objective == pytest.approx(value, rel=1e-13)


@given(priced_games())
@settings(max_examples=100, deadline=None)
def test_clients_answer_equilibrium_prices_with_the_equilibrium(priced) -> None:
    game, _ = priced
    solution = bo.equilibrium(game)
    if not solution.succeeded:
        return
    assert solution.quality is bo.Quality.GLOBAL and solution.certificate.holds(1e-12)
    # Their feasible set is one point there, so the response must be found in spite of rounding.
    response = bo.best_response(game, solution.prices)
    pd.testing.assert_frame_equal(
        response.clients[["training_time", "mining_time", "recruited"]],
        solution.clients[["training_time", "mining_time", "recruited"]],
        rtol=1e-11,
    )
    assert solution.owner_utility == solution.objective


@given(priced_games())
@settings(max_examples=150, deadline=None)
def test_the_equilibrium_has_twelve_digits_and_every_verdict_right(priced) -> None:
    game, prices = priced
    clients = bo.equilibrium(game).clients
    psi, deadline = mp.mpf(game.mining_cycles), mp.mpf(game.deadline)
    for client, (mu, rho, q, _, _, cap_t, cap_m) in zip(clients.itertuples(), rows(game, prices), strict=True):
        mu, rho = mp.mpf(mu), mp.mpf(rho)
        t_low = max(mu / q, mp.sqrt(rho * mu**3 / cap_t) if cap_t > 0 else mp.inf)
        s_low = max(psi / q, mp.sqrt(rho * psi**3 / mp.mpf(cap_m)))
        room = (deadline - t_low - s_low) / deadline
        if abs(room) < 1e-11:
            continue
        assert client.recruited == (room > 0)
        if client.recruited:
            t = min(max(mu * deadline / (mu + psi), t_low), deadline - s_low)
            s = deadline - t
            assert abs(client.training_time - t) <= 1e-12 * t
            assert abs(client.mining_time - s) <= 1e-12 * s
            assert abs(client.training_price - rho * (mu / t) ** 3) <= 1e-11 * rho * (mu / t) ** 3
            assert abs(client.mining_price - rho * (psi / s) ** 3) <= 1e-11 * rho * (psi / s) ** 3


def test_the_papers_setting() -> None:
    # Theory 3.1: N = 50, mu = 10, psi = 5: cost 75.75, of which 75 is time; q = p^(1/3) rho^(-1/3) = 1.
    game = bo.Game(population(mu=[10.0] * 50, rho=[0.01] * 50))
    solution = bo.equilibrium(game)
    assert (np.log1p(500.0) - solution.objective) == pytest.approx(75.75, rel=1e-13)
    np.testing.assert_allclose(solution.clients[["training_speed", "mining_speed"]], 1.0, rtol=1e-14)
    np.testing.assert_allclose(solution.clients[["training_price", "mining_price"]], 0.01, rtol=1e-14)


def test_a_shorter_round_can_be_cheaper() -> None:
    # Theory 5.2: T_i = (2 rho)^(1/3) (mu + psi) = 4.07 costs 6.1 per client where the whole deadline costs 15.15.
    game = bo.Game(population(mu=[10.0], rho=[0.01]))
    best = 0.02 ** (1 / 3) * 15
    cost = {
        deadline: (np.log1p(10.0) - bo.equilibrium(game.replace(deadline=deadline)).objective) / 0.1
        for deadline in (0.98 * best, best, 1.02 * best, 15.0)
    }
    assert best == pytest.approx(4.07, abs=0.01)
    assert cost[best] == pytest.approx(1.5 * best, rel=1e-13) and cost[best] == pytest.approx(6.1, abs=0.05)
    assert cost[15.0] == pytest.approx(15.15, rel=1e-13)
    assert min(cost, key=cost.__getitem__) == best


# ---------------------------------------------------------------------- reasons


def numbers(text: str) -> list[float]:
    """All numbers in a sentence."""
    cleaned = text.replace(",", " ").replace(";", " ").replace(":", " ").replace(")", " ").replace("(", " ")
    found = []
    for word in cleaned.split():
        try:
            found.append(float(word))
        except ValueError:
            continue
    return found


def test_a_late_client_learns_by_how_much_and_what_would_do() -> None:
    game = bo.Game(population(mu=[10.0, 10.0], rho=[0.01, 0.01], q=[0.8, 1.0]))
    reason = bo.equilibrium(game).clients["reason"]
    # 10 / 0.8 + 5 / 0.8 = 12.5 + 6.25 = 18.75, 3.75 too long, by its speed in both tasks; the other needs exactly 15.
    assert numbers(reason[0]) == [15, 12.5, 6.25, 3.75, 18.75, 0.8, 0.8]
    assert reason[1] == ""
    mended = bo.equilibrium(game.replace(deadline=18.75))
    assert mended.clients["recruited"].all()


def test_a_late_response_learns_by_how_much() -> None:
    game = bo.Game(population(mu=[10.0], rho=[0.01]))
    prices = game.prices(0.00125, 0.08)  # (rho / p)^(1/3) = 2 and 1/2
    reason = bo.best_response(game, prices).clients["reason"][0]
    assert numbers(reason) == pytest.approx([15, 20, 2.5, 7.5, 22.5], rel=1e-5)
    assert bo.best_response(game.replace(deadline=22.5001), prices).succeeded


def test_a_cap_below_the_least_reward_is_named() -> None:
    game = bo.Game(population(mu=[10.0], rho=[0.01]), mining_cap=0.1, reward_budget=1.0)
    # Training at least 10 (0.01 / 1.25)^(1/3) = 2 at the price 1.25 costs 2.5; the cap is 0.9, so 1.6 too much.
    reason = bo.best_response(game, game.prices(1.25, 0.01), reward_caps=True).clients["reason"][0]
    assert "training cap" in reason and numbers(reason) == pytest.approx([0.9, 1.25, 2.0, 2.5, 1.6], rel=1e-5)
    # Mining at least 5 (0.01 / 0.08)^(1/3) = 2.5 at the price 0.08 costs 0.2; the cap is 0.1.
    reason = bo.best_response(game, game.prices(0.02, 0.08), reward_caps=True).clients["reason"][0]
    assert "mining cap" in reason and numbers(reason) == pytest.approx([0.1, 0.08, 2.5, 0.2, 0.1], rel=1e-5)
    assert bo.best_response(game, game.prices(0.02, 0.08)).succeeded


def test_a_negative_share_is_named() -> None:
    game = bo.Game(population(mu=[1.0, 9.0, 10.0, 11.0], rho=[0.01] * 4))
    clients = bo.equilibrium(game).clients
    assert clients["recruited"].tolist() == [False, True, True, True]
    assert clients["reason"][0].startswith("not recruited: negative Shapley share (Shapley value -2.1875)")


def test_recruitment_with_exhausted_caps_and_theorem_3_1() -> None:
    # Spending R_t = 25 without profit takes q_t = sqrt(25 / (0.01 x 10)) = 15.811.
    game = bo.Game(population(mu=[10.0, 10.0], rho=[0.01, 0.01], q=[15.0, 16.0]))
    assert (participation.screen_recruitment(game) == "").all()
    reason = participation.screen_recruitment(game, exhausted=True, theorem=True)
    assert numbers(reason[0]) == pytest.approx([25, 15.8114, 15]) and reason[1] == ""
