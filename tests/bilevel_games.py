"""Are the equilibria of Problems 2 and 3 found as bilevel programmes? On random games with caps and speed limits:

python tests/bilevel_games.py --games 200 --seed 1

Each game is solved as Problem 2, as Problem 3 (``bo.solve(m, method="bilevel")``) and with the clients as followers
(``stackelberg_pyomo``), and compared with ``bo.equilibrium``. Prints every failure with its status, and the totals by
programme; exits with 1 if fewer than 99 in 100 are within 1e-4 of the exact cost, one is better by more than 1e-6, or a
failure does not say what it is. The tests ask the same of a few small games.
"""

from __future__ import annotations

import argparse
import dataclasses
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


def draw(rng: np.random.Generator, most_clients: int = 5) -> bo.Game:
    """A random game in which somebody can be recruited and somebody has a speed limit."""
    while True:
        game, _ = draw_game(rng, int(rng.integers(2, most_clients + 1)))
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


@dataclasses.dataclass
class Tally:
    """What became of one programme's games."""

    games: int = 0
    hits: int = 0
    better: int = 0
    unlabelled: int = 0
    farthest: float = 0.0

    def count(self, game: bo.Game, solution: bo.Solution) -> str:
        """Adds a solve; what went wrong, "" if nothing did."""
        self.games += 1
        if not solution.succeeded:
            named = solution.status is not bo.Status.SOLVED and bool(solution.message.strip())
            self.unlabelled += not named
            return f"{solution.status.name}: {solution.message}"
        away = excess(game, solution)
        self.farthest = max(self.farthest, abs(away))
        self.hits += abs(away) <= CLOSE
        self.better += away < -BETTER
        return f"{away:+.2e} of the exact cost" if abs(away) > CLOSE or away < -BETTER else ""

    @property
    def passed(self) -> bool:
        return self.hits >= SHARE * self.games and not self.better and not self.unlabelled

    def __str__(self) -> str:
        return (
            f"{self.hits} of {self.games} within {CLOSE:g}, {self.better} better by more than {BETTER:g}, "
            f"{self.unlabelled} failures without a name; farthest {self.farthest:.1e}"
        )


def main() -> int:
    parser = argparse.ArgumentParser(description="Equilibria of random games as bilevel programmes.")
    parser.add_argument("--games", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    rng = np.random.default_rng(arguments.seed)
    tallies = {name: Tally() for name in PROGRAMMES}
    for number in range(arguments.games):
        game = draw(rng)
        for name, build in PROGRAMMES.items():
            wrong = tallies[name].count(game, bo.solve(build(game), method="bilevel"))
            if wrong:
                print(f"game {number}, {name}: {wrong}", flush=True)
    for name, tally in tallies.items():
        print(f"{name:<22} {tally}")
    return 0 if all(tally.passed for tally in tallies.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
