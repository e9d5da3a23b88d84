"""Do all routes to Problems 1-3 agree with references of their own, on random games? Tests use a few, this script many:

python tests/fuzz_agreement.py --cases 500 --seed 1

Prints every disagreement and the totals; exits with 1 if there was any. The references below use no code of the
package beyond the data of the game (populations and Shapley caps).
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import sys
import time
from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd
from scipy.optimize import brentq

import bcfl_opt as bo
from bcfl_opt.models import (
    problem1_cvxpy,
    problem1_pyomo,
    problem2_cvxpy,
    problem2_pyomo,
    problem3_cvxpy,
    problem3_pyomo,
)

TOLERANCE = 1e-6


@dataclasses.dataclass(frozen=True)
class Client:
    """One client's numbers as plain floats: mu, rho, q, R_t, R_m, and the game's psi and T."""

    mu: float
    rho: float
    q: float
    training_cap: float
    mining_cap: float
    psi: float
    deadline: float


# ---------------------------------------------------------------------------------- random games


def draw_game(rng: np.random.Generator, n: int) -> tuple[bo.Game, pd.DataFrame]:
    """A game of n clients and prices for Problem 1: psi in 0.5 ... 20, prices over three decades, T in 4 ... 60."""
    frame = pd.DataFrame(
        {
            "mu": rng.uniform(0.5, 20, n),
            "rho": np.exp(rng.uniform(np.log(0.002), np.log(0.05), n)),
            "q": rng.uniform(1, 6, n) if rng.random() < 0.5 else np.inf,
        },
        index=[f"c{k}" for k in range(n)],
    )
    if rng.random() < 0.3 and n > 1:  # some with a limit, some without
        frame.loc[rng.random(n) < 0.5, "q"] = np.inf
    game = bo.Game(
        frame,
        mining_cycles=math.exp(rng.uniform(math.log(0.5), math.log(20))),
        deadline=math.exp(rng.uniform(math.log(4), math.log(60))),
        cost_weight=float(rng.choice([0.01, 0.1, 1.0])),
        mining_cap=float(rng.choice([0.05, 0.5, 5.0])),
        reward_budget=n * float(rng.choice([6.0, 30.0, 300.0])),
        target=float(rng.choice([10.0, frame["mu"].mean()])),
    )
    return game, game.prices(10 ** rng.uniform(-2, 1, n), 10 ** rng.uniform(-2, 1, n))


def clients_of(game: bo.Game) -> Iterator[tuple[str, Client]]:
    """Ids and numbers of the clients of a game."""
    population, caps = game.population, game.caps
    for k, name in enumerate(population.ids):
        yield (
            name,
            Client(
                float(population.training_cycles[k]),
                float(population.energy_coefficient[k]),
                float(population.max_speed[k]),
                float(caps["training_cap"].iloc[k]),
                float(caps["mining_cap"].iloc[k]),
                game.mining_cycles,
                game.deadline,
            ),
        )


# ---------------------------------------------------------------------------------- references


def response(c: Client, p_t: float, p_m: float) -> tuple[float, float, float] | None:
    """Problem 1 of one client: times and utility; None if no times satisfy (8)-(10) and the speed limit.

    t >= mu max((rho/p_t)^(1/3), 1/q), and s likewise; U rises in both, so t + s = T.
    """
    low_t = c.mu * max((c.rho / p_t) ** (1 / 3), 1 / c.q)
    low_s = c.psi * max((c.rho / p_m) ** (1 / 3), 1 / c.q)
    if low_t + low_s > c.deadline:
        return None
    t, s = split(c, p_t, p_m, low_t, low_s, c.deadline)
    return t, s, utility(c, p_t, p_m, t, s)


def split(c: Client, p_t: float, p_m: float, low_t: float, low_s: float, total: float) -> tuple[float, float]:
    """The best times with t + s = total, t >= low_t, s >= low_s: the root of dU/dt along that line, falling in t."""
    tiny = 1e-9 * total
    low, high = max(low_t, tiny), total - max(low_s, tiny)

    def slope(t: float) -> float:
        return p_t - p_m + 2 * c.rho * (c.mu / t) ** 3 - 2 * c.rho * (c.psi / (total - t)) ** 3

    if slope(low) <= 0:
        t = low
    elif slope(high) >= 0:
        t = high
    else:
        t = brentq(slope, low, high, xtol=1e-15 * total, rtol=1e-15)
    return t, total - t


def utility(c: Client, p_t: float, p_m: float, t: float, s: float) -> float:
    """(1) in times."""
    return p_t * t + p_m * s - c.rho * c.mu**3 / t**2 - c.rho * c.psi**3 / s**2


def recruitment(c: Client) -> tuple[float, float] | None:
    """Problems 2 and 3 of one client, payments at most the caps: times of the cheapest recruitment (theory 5.1).

    Any prices pay at least the energy, and the client uses the whole deadline: the owner picks t on t + s = T with
    rho mu^3 / t^2 <= R_t, rho psi^3 / s^2 <= R_m, within the speed limit, and the sum of both energies convex in t.
    None if no t is left.
    """
    if c.training_cap <= 0:
        return None
    low = max(c.mu / c.q, math.sqrt(c.rho * c.mu**3 / c.training_cap))
    high = c.deadline - max(c.psi / c.q, math.sqrt(c.rho * c.psi**3 / c.mining_cap))
    if low > high:
        return None
    t = min(max(c.mu * c.deadline / (c.mu + c.psi), low), high)
    return t, c.deadline - t


def recruitable(c: Client) -> bool:
    """The same question answered by bisection: does the longest training that mining leaves time for fit?"""

    def mining_fits(t: float) -> bool:
        s = c.deadline - t
        return s > 0 and c.psi / s <= c.q and c.rho * c.psi * (c.psi / s) ** 2 <= c.mining_cap

    def training_fits(t: float) -> bool:
        return t > 0 and c.mu / t <= c.q and c.rho * c.mu * (c.mu / t) ** 2 <= c.training_cap

    low, high = 0.0, c.deadline
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if mining_fits(middle) else (low, middle)
    return training_fits(low)


def exhausted_prices(c: Client, *, zero_utility: bool) -> tuple[float, float] | None:
    """(15) = (19), and (16) corrected or (20); None where a limit of the programme excludes the client.

    (15) leaves t = mu (rho/p_t)^(1/3) = rho^(1/2) mu^(3/2) R_t^(-1/2), s = T - t; then s p_m = R_m,
    or p_m = rho (psi/s)^3. Either way R_m must pay for the mining energy, and both speeds must be within the limit.
    """
    if c.training_cap <= 0:
        return None
    t = math.sqrt(c.rho * c.mu**3 / c.training_cap)
    s = c.deadline - t
    if s <= 0 or c.mu / t > c.q or c.psi / s > c.q or c.rho * c.psi**3 / s**2 > c.mining_cap:
        return None
    p_t = c.rho**-0.5 * (c.training_cap / c.mu) ** 1.5
    return p_t, c.rho * (c.psi / s) ** 3 if zero_utility else c.mining_cap / s


def spent_prices(c: Client) -> tuple[float, float] | None:
    """Both caps spent on a client that optimises: p_t = R_t / t, p_m = R_m / s, and t is its answer to these.

    p_t - p_m + 2 rho (mu/t)^3 - 2 rho (psi/s)^3 with these prices falls in t as well, so there is one root, or an end of
    the interval that (8), (9) and the speed limit leave: it is the interval of the cheapest recruitment.
    """
    if recruitment(c) is None:
        return None
    low = max(c.mu / c.q, math.sqrt(c.rho * c.mu**3 / c.training_cap))
    high = c.deadline - max(c.psi / c.q, math.sqrt(c.rho * c.psi**3 / c.mining_cap))

    def slope(t: float) -> float:
        s = c.deadline - t
        return c.training_cap / t - c.mining_cap / s + 2 * c.rho * (c.mu / t) ** 3 - 2 * c.rho * (c.psi / s) ** 3

    if slope(low) <= 0:
        t = low
    elif slope(high) >= 0:
        t = high
    else:
        t = brentq(slope, low, high, xtol=1e-15 * c.deadline, rtol=1e-15)
    return c.training_cap / t, c.mining_cap / (c.deadline - t)


# ---------------------------------------------------------------------------------- agreement


def disagreements_problem_1(game: bo.Game, prices: pd.DataFrame) -> list[str]:
    """What IPOPT in both forms, Clarabel or the exact response say other than the reference, on Problem 1."""
    reference = {}
    for name, c in clients_of(game):
        found = response(c, prices.at[name, "training_price"], prices.at[name, "mining_price"])
        if found is not None:
            reference[name] = found[2]
    solutions = {
        "exact": bo.best_response(game, prices),
        "IPOPT, times": bo.solve(problem1_pyomo.build(game, prices, form="time")),
        "IPOPT, speeds": bo.solve(problem1_pyomo.build(game, prices, form="speed")),
        "Clarabel": bo.solve(problem1_cvxpy.build(game, prices)),
    }
    return [line for route, solution in solutions.items() for line in _compare(route, solution, reference)]


def disagreements_problems_2_and_3(game: bo.Game) -> list[str]:
    """The same on Problems 2 and 3, optimal response, budgets at most: recruited clients and owner's utility."""
    cost, recruited = {}, []
    for name, c in clients_of(game):
        times = recruitment(c)
        if (times is not None) != recruitable(c):
            return [f"the two references disagree on client {name}: {c}"]
        if times is not None:
            t, s = times
            recruited.append(name)
            cost[name] = -game.cost_weight * (c.deadline + c.rho * c.mu**3 / t**2 + c.rho * c.psi**3 / s**2)
    constant = _performance(game, recruited)
    solutions = {
        "exact": bo.equilibrium(game),
        "Problem 2, IPOPT": bo.solve(problem2_pyomo.build(game)),
        "Problem 3, IPOPT": bo.solve(problem3_pyomo.build(game)),
        "Problem 2, Clarabel": bo.solve(problem2_cvxpy.build(game)),
        "Problem 3, Clarabel": bo.solve(problem3_cvxpy.build(game)),
    }
    return [line for route, solution in solutions.items() for line in _compare(route, solution, cost, constant)]


def disagreements_exhausted(game: bo.Game) -> list[str]:
    """The same with the caps spent: prices (15), (16) corrected; (19), (20); and those that optimal responses make."""
    programmes = (
        (problem2_pyomo, "theorem", lambda c: exhausted_prices(c, zero_utility=False)),
        (problem2_pyomo, "optimal", spent_prices),
        (problem3_pyomo, "theorem", lambda c: exhausted_prices(c, zero_utility=True)),
    )
    lines = list(_spent_on_optimal_responses(game))
    for problem, reply, reference in programmes:
        route = f"{problem.__name__.rpartition('.')[2]}, exhausted, {reply}"
        prices = {name: found for name, c in clients_of(game) if (found := reference(c)) is not None}
        solution = bo.solve(problem.build(game, response=reply, budgets="exhausted"))
        if solution.clients is None or not prices:
            lines += _compare(route, solution, {})
            continue
        table = solution.clients.loc[solution.clients["recruited"], ["training_price", "mining_price"]]
        if not solution.succeeded or list(table.index) != list(prices):
            lines.append(f"{route}: {len(table)} clients where {len(prices)} can take part: {solution.message}")
            continue
        error = np.abs(table.to_numpy() / np.array(list(prices.values())) - 1)
        if not error.max() <= TOLERANCE:
            first = table.index[error.max(axis=1).argmax()]
            lines.append(f"{route}: prices of client {first} off by {error.max():.2g}")
    return lines


def _spent_on_optimal_responses(game: bo.Game) -> Iterator[str]:
    """Problem 3 with optimal responses, by the owner's utility: Theorem 4.1's payments R_t and rho psi^3 / s^2.

    The mining payment may be 1e-7 of the whole, so its price says little.
    """
    cost = {}
    for name, c in clients_of(game):
        found = exhausted_prices(c, zero_utility=True)
        if found is not None:
            mining = c.psi * c.rho ** (1 / 3) * found[1] ** (2 / 3)  # s p_m at p_m = rho (psi/s)^3
            cost[name] = -game.cost_weight * (c.deadline + c.training_cap + mining)
    solution = bo.solve(problem3_pyomo.build(game, response="optimal", budgets="exhausted"))
    yield from _compare("problem3_pyomo, exhausted, optimal", solution, cost, _performance(game, list(cost)))


def _performance(game: bo.Game, recruited: list[str]) -> float:
    """f(sum mu) = log(1 + sum mu) over the recruited clients."""
    return math.log1p(sum(c.mu for name, c in clients_of(game) if name in set(recruited)))


def _compare(route: str, solution: bo.Solution, reference: Mapping[str, float], constant: float = 0.0) -> Iterator[str]:
    """The recruited clients against those of the reference, and the objective against constant + its sum.

    Relative to what is optimised: the sizes of the clients' terms, without the constant.
    """
    assert solution.clients is not None
    recruited = list(solution.clients.index[solution.clients["recruited"]])
    if not reference:
        if solution.status is not bo.Status.NO_CLIENTS:
            yield f"{route}: {solution.message} where no client can take part"
        return
    if not solution.succeeded:
        yield f"{route}: {solution.message}"
        return
    if recruited != list(reference):
        odd = sorted(set(recruited) ^ set(reference))
        yield f"{route}: {len(recruited)} clients where {len(reference)} can take part; {odd[:3]} differ"
        return
    value = constant + math.fsum(reference.values())
    error = abs(solution.objective - value) / abs(value)
    if not error <= TOLERANCE:
        yield f"{route}: objective {solution.objective!r} where {value!r} is right, off by {error:.2g}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cases", type=int, default=100, help="random games (default 100)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the first one (default 0)")
    parser.add_argument("--largest", type=int, default=1000, help="most clients (default 1000)")
    chosen = parser.parse_args()
    checks = (disagreements_problem_1, disagreements_problems_2_and_3, disagreements_exhausted)
    wrong, begin = 0, time.perf_counter()
    for seed in range(chosen.seed, chosen.seed + chosen.cases):
        rng = np.random.default_rng(seed)
        n = round(math.exp(rng.uniform(0, math.log(chosen.largest))))
        game, prices = draw_game(rng, n)
        lines = [line for check in checks for line in (check(game, prices) if check is checks[0] else check(game))]
        for line in lines:
            print(f"seed {seed}, {n} clients: {line}", flush=True)
        wrong += bool(lines)
    print(f"{chosen.cases} games, {wrong} with disagreements, {time.perf_counter() - begin:.0f} s")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
