"""Are the equilibria of Problems 2 and 3 found as bilevel programmes? On random games with caps and speed limits:

python tests/bilevel_games.py --games 200 --seed 1

Each game is solved as Problem 2, as Problem 3 (``bo.solve(m, method="bilevel")``) and with the clients as followers
(``stackelberg_pyomo``), and compared with ``bo.equilibrium``. Prints every failure with its status, and the totals by
programme; exits with 1 if fewer than 99 in 100 are within 1e-4 of the exact cost, or one is better by more than 1e-6.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from fuzz_agreement import draw_game

import bcfl_opt as bo
from bcfl_opt.models import problem2_pyomo, problem3_pyomo, stackelberg_pyomo

CLOSE, BETTER, SHARE = 1e-4, 1e-6, 0.99
PROGRAMMES: dict[str, Callable[[bo.Game], Any]] = {
    "Problem 2": problem2_pyomo.build,
    "Problem 3": problem3_pyomo.build,
    "clients as followers": stackelberg_pyomo.build,
}


def draw(rng: np.random.Generator) -> bo.Game:
    """A random game in which somebody can be recruited and somebody has a speed limit."""
    while True:
        game, _ = draw_game(rng, int(rng.integers(2, 6)))
        clients = bo.equilibrium(game).clients
        assert clients is not None
        if clients["recruited"].any() and np.isfinite(game.population.max_speed).any():
            return game


def excess(game: bo.Game, solution: bo.Solution) -> float:
    """How much dearer than the exact equilibrium, relative to what that costs the owner; negative if cheaper."""
    exact = bo.equilibrium(game)
    assert exact.clients is not None
    cost = game.performance_value(exact.clients["recruited"].to_numpy(dtype=bool)) - exact.objective
    return (exact.objective - solution.objective) / cost


def main() -> int:
    parser = argparse.ArgumentParser(description="Equilibria of random games as bilevel programmes.")
    parser.add_argument("--games", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    rng = np.random.default_rng(arguments.seed)
    hits, better, worst = dict.fromkeys(PROGRAMMES, 0), dict.fromkeys(PROGRAMMES, 0), dict.fromkeys(PROGRAMMES, 0.0)
    for number in range(arguments.games):
        game = draw(rng)
        for name, build in PROGRAMMES.items():
            solution = bo.solve(build(game), method="bilevel")
            if not solution.succeeded:
                print(f"game {number}, {name}: {solution.status.name}: {solution.message}")
                continue
            away = excess(game, solution)
            worst[name] = max(worst[name], abs(away))
            hits[name] += abs(away) <= CLOSE
            better[name] += away < -BETTER
            if abs(away) > CLOSE or away < -BETTER:
                print(f"game {number}, {name}: {away:+.2e} of the exact cost")
    for name in PROGRAMMES:
        print(
            f"{name:<22} {hits[name]} of {arguments.games} within {CLOSE:g}, {better[name]} better by more than "
            f"{BETTER:g}; farthest {worst[name]:.1e}"
        )
    passed = all(hits[name] >= SHARE * arguments.games and not better[name] for name in PROGRAMMES)
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
