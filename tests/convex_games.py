"""Games and short cuts that the tests of the CVXPY side share."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

import bcfl_opt as bo
from bcfl_opt import conic


def a_game(n: int = 6, *, limit: float = 1.5, **parameters: Any) -> bo.Game:
    """Pairs around the target, so that nobody has a negative Shapley share; every other client has this speed limit."""
    rng = np.random.default_rng(n)
    away = rng.uniform(0.5, 4.0, (n + 1) // 2)
    mu = np.column_stack([10 - away, 10 + away]).ravel()[:n]
    q = np.where(np.arange(n) % 2 == 0, limit, np.inf)
    frame = pd.DataFrame({"mu": mu, "rho": rng.uniform(0.005, 0.02, n), "q": q}, index=[f"c{k}" for k in range(n)])
    return bo.Game(frame, **{"mining_cycles": 6.0, "deadline": 25.0, "mining_cap": 4.0, **parameters})


def some_prices(game: bo.Game) -> pd.DataFrame:
    """Prices at which every client of such a game can respond."""
    rng = np.random.default_rng(len(game))
    return game.prices(rng.uniform(0.03, 0.3, len(game)), rng.uniform(0.03, 0.3, len(game)))


def solved(model: Any, **arguments: Any) -> bo.Solution:
    """The solution, which must have succeeded."""
    solution = conic.solve_convex(model, **arguments)
    assert solution.succeeded, solution
    return solution
