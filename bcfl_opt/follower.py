"""Would the clients do what the model says? Their problems, solved exactly at the found prices, against its times."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from bcfl_opt import exact, participation
from bcfl_opt.game import Game


def follower_gap(game: Game, clients: pd.DataFrame) -> tuple[float, Any]:
    """Largest move of a client that answers the table's prices optimally, as a share of the deadline; and whose it is.

    At the equilibrium's prices a client's feasible set is one point, which rounding can empty: then the missing time
    counts as a move, and the point is compared as if the client had just that much more time.
    """
    recruited = clients["recruited"].to_numpy()
    if not recruited.any():
        return 0.0, None
    table = clients[recruited]
    sub = Game(
        game.population.select(table.index),
        mining_cycles=game.mining_cycles,
        deadline=game.deadline,
        cost_weight=game.cost_weight,
    )
    prices = table[["training_price", "mining_price"]].clip(lower=0.0)
    bounds = participation.response_bounds(sub, prices)
    scale = np.cbrt(2 * sub.population.energy_coefficient)
    difference = (prices["training_price"] - prices["mining_price"]).to_numpy()
    t, _ = exact.response_times(
        scale * sub.population.training_cycles, scale * sub.mining_cycles, difference, sub.deadline
    )
    shortage = np.maximum(bounds.training_low + bounds.mining_low - sub.deadline, 0.0)
    t = np.clip(t, bounds.training_low, np.maximum(sub.deadline + shortage - bounds.mining_low, bounds.training_low))
    s = sub.deadline + shortage - t
    moves = np.abs(table["training_time"].to_numpy() - t) + np.abs(table["mining_time"].to_numpy() - s) + shortage
    moves = np.where(np.isfinite(moves), moves, np.inf) / sub.deadline
    k = int(moves.argmax())
    return float(moves[k]), table.index[k]
