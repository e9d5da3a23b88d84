"""Would the clients do what the model says? Their problems, solved exactly at the found prices, against its times."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from bcfl_opt import exact, participation
from bcfl_opt.game import Game
from bcfl_opt.population import Population
from bcfl_opt.utilities import energy_cost

#: A move of less than this share of the deadline is none: what the prices' last digits leave of it.
NEGLIGIBLE = 1e-9
#: The clients' own limits that a model has by name and a user may take away.
SPEED_LIMITS = ("training_speed_limit", "mining_speed_limit")


def follower_gap(
    game: Game,
    clients: pd.DataFrame,
    dropped: Mapping[str, Iterable[Hashable]] | None = None,
    response: Callable[[pd.DataFrame], tuple[np.ndarray, np.ndarray]] | None = None,
) -> tuple[float, Any]:
    """What moves the client that is least content: how far, as a share of the deadline, it would move its times to answer the
    table's prices optimally, or what it would gain by that, as a share of its payments and costs; and whose it is.

    A client whose mining pays a billionth of its training moves nothing and gains much where rounding leaves it room, and
    one that hardly cares moves far; a gain by a move below :data:`NEGLIGIBLE` is rounding of the prices.

    dropped : ids of clients without a ``training_speed_limit`` or ``mining_speed_limit``, which a user took away.
    response : the clients' optimal times, from their rows of the table, where their problem is not Problem 1.
    A column ``deadline`` of the table is the clients' own.

    At the equilibrium's prices a client's feasible set is one point, which rounding can empty: then the missing time
    counts as a move, and the point is compared as if the client had just that much more time.
    """
    recruited = clients["recruited"].to_numpy()
    if not recruited.any():
        return 0.0, None
    table = clients[recruited]
    deadline = table["deadline"].to_numpy() if "deadline" in table else np.full(len(table), game.deadline)
    if response is not None:
        times = table[["training_time", "mining_time"]].to_numpy().T
        moves = np.abs(np.subtract(times, response(table))).sum(axis=0) / deadline
        k = int(np.where(np.isfinite(moves), moves, np.inf).argmax())
        return float(moves[k]), table.index[k]
    sub = Game(
        game.population.select(table.index),
        mining_cycles=game.mining_cycles,
        deadline=game.deadline,
        cost_weight=game.cost_weight,
    )
    prices = table[["training_price", "mining_price"]].clip(lower=0.0)
    low_t, low_s = _least_times(sub, prices, dropped or {})
    scale = np.cbrt(2 * sub.population.energy_coefficient)
    difference = (prices["training_price"] - prices["mining_price"]).to_numpy()
    t, _ = exact.response_times(scale * sub.population.training_cycles, scale * sub.mining_cycles, difference, deadline)
    shortage = np.maximum(low_t + low_s - deadline, 0.0)
    found_t, found_s = (table[name].to_numpy() for name in ("training_time", "mining_time"))
    with np.errstate(all="ignore"):  # a price of 0 leaves no answer: the least time and the shortage are infinite
        t = np.clip(t, low_t, np.maximum(deadline + shortage - low_s, low_t))
        s = deadline + shortage - t
        moves = np.abs(found_t - t) + np.abs(found_s - s) + shortage
        moves = np.where(np.isfinite(moves), moves, np.inf) / deadline
        best, _ = _utility(sub, prices, t, s)
        found, size = _utility(sub, prices, found_t, found_s)
        gains = np.where((moves > NEGLIGIBLE) & (shortage == 0.0), (best - found) / size, 0.0)
    gaps = np.fmax(moves, gains)
    k = int(gaps.argmax())
    return float(gaps[k]), table.index[k]


def _utility(game: Game, prices: pd.DataFrame, t: np.ndarray, s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(1) at these times, and the sum of its terms."""
    population = game.population
    rho = population.energy_coefficient
    reward = prices["training_price"].to_numpy() * t + prices["mining_price"].to_numpy() * s
    cost = energy_cost(t, population.training_cycles, rho) + energy_cost(s, game.mining_cycles, rho)
    return reward - cost, reward + cost


def _least_times(
    game: Game, prices: pd.DataFrame, dropped: Mapping[str, Iterable[Hashable]]
) -> tuple[np.ndarray, np.ndarray]:
    """The bounds of Problem 1, without the dropped speed limits."""
    bounds = participation.response_bounds(game, prices)
    if not any(dropped.values()):
        return bounds.training_low, bounds.mining_low
    unlimited = game.replace(population=Population(game.population.frame.assign(max_speed=np.inf)))
    free, ids = participation.response_bounds(unlimited, prices), game.population.ids
    free_t, free_s = (ids.isin(list(dropped.get(name, ()))) for name in SPEED_LIMITS)
    return (
        np.where(free_t, free.training_low, bounds.training_low),
        np.where(free_s, free.mining_low, bounds.mining_low),
    )
