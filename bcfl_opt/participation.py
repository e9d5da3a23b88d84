"""Which clients can have an answer at all, and if not, which limit stops them, by how much, and what would mend it?

Times decide: t >= mu / q and s >= psi / q (speed limit), t >= mu (rho / p_t)^(1/3) and s >= psi (rho / p_m)^(1/3)
(rationality (8), (9)), t >= sqrt(rho mu^3 / R_t) and s >= sqrt(rho psi^3 / R_m) (reward caps (13), (14) when the
payment covers the energy), t p_t <= R_t and s p_m <= R_m (caps (7), (3) at given prices), t + s <= T (10).
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd

from bcfl_opt.game import Game

#: Relative rounding slack of a feasibility verdict: times are sums of a handful of correctly rounded roots.
ROUNDING = 1e-12


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class TimeBounds:
    """Least and largest time each client may spend on training (t) and on mining (s), arrays of shape (N,)."""

    training_low: np.ndarray
    training_high: np.ndarray
    mining_low: np.ndarray
    mining_high: np.ndarray


def response_bounds(game: Game, prices: pd.DataFrame, *, reward_caps: bool = False) -> TimeBounds:
    """Bounds of Problem 1 at given prices: speed limit and rationality below; reward caps (7), (3) above if asked.

    A price of 0 pays for no energy at all: the bound is ``inf``, and the client cannot respond.
    """
    mu, rho, q = game.population.training_cycles, game.population.energy_coefficient, game.population.max_speed
    psi = game.mining_cycles
    p_t, p_m = prices["training_price"].to_numpy(), prices["mining_price"].to_numpy()
    n = len(game)
    with np.errstate(divide="ignore", invalid="ignore"):  # a cap of 0 at a price of 0 is 0 / 0
        t_low = mu * np.maximum(np.cbrt(rho / p_t), 1 / q)
        s_low = psi * np.maximum(np.cbrt(rho / p_m), 1 / q)
        t_high = game.caps["training_cap"].to_numpy() / p_t if reward_caps else np.full(n, np.inf)
        s_high = game.caps["mining_cap"].to_numpy() / p_m if reward_caps else np.full(n, np.inf)
    return TimeBounds(t_low, t_high, s_low, s_high)


def recruitment_bounds(game: Game) -> TimeBounds:
    """Bounds of Problems 2 and 3, where the owner picks the prices: speed limit, and energy covered within the caps."""
    mu, rho, q = game.population.training_cycles, game.population.energy_coefficient, game.population.max_speed
    psi = game.mining_cycles
    r_t, r_m = game.caps["training_cap"].to_numpy(), game.caps["mining_cap"].to_numpy()
    n = len(game)
    with np.errstate(divide="ignore"):
        t_low = np.maximum(mu / q, mu * np.sqrt(rho * mu / r_t))
        s_low = np.maximum(psi / q, psi * np.sqrt(rho * psi / r_m))
    return TimeBounds(t_low, np.full(n, np.inf), s_low, np.full(n, np.inf))


def screen_response(
    game: Game, prices: pd.DataFrame, *, reward_caps: bool = False, bounds: TimeBounds | None = None
) -> pd.Series:
    """Reason by client why Problem 1 has no feasible point at these prices; "" where it has one.

    bounds : :func:`response_bounds` of the same arguments, if they are at hand.
    """
    bounds = response_bounds(game, prices, reward_caps=reward_caps) if bounds is None else bounds
    reason = np.full(len(game), "", dtype=object)
    p_t, p_m = prices["training_price"].to_numpy(), prices["mining_price"].to_numpy()
    if reward_caps:
        _over_cap(
            reason, "training", p_t, bounds.training_low, bounds.training_high, game.caps["training_cap"].to_numpy()
        )
        _over_cap(reason, "mining", p_m, bounds.mining_low, bounds.mining_high, game.caps["mining_cap"].to_numpy())
    _too_late(reason, game, bounds, "at these prices")
    for k in np.flatnonzero(p_t == 0):
        reason[k] = "cannot respond: the training price is 0, which pays for no energy at any speed"
    for k in np.flatnonzero(p_m == 0):
        reason[k] = "cannot respond: the mining price is 0, which pays for no energy at any speed"
    for k in np.flatnonzero(np.isnan(p_t) | np.isnan(p_m)):
        reason[k] = "is offered no prices"
    return pd.Series(reason, index=game.population.ids, name="reason", dtype=object)


def screen_recruitment(game: Game, *, exhausted: bool = False, theorem: bool = False) -> pd.Series:
    """Reason by client why no prices recruit it within its caps (theory 5.1); "" where some do.

    exhausted and theorem : the training cap is spent to the last coin on a client that earns nothing by training
    (Theorem 3.1's response), so its training time is sqrt(rho mu^3 / R_t), which the speed limit must allow.
    """
    bounds = recruitment_bounds(game)
    reason = np.full(len(game), "", dtype=object)
    _too_late(reason, game, bounds, "within its reward caps")
    _name_the_limits(reason, game, bounds)
    if exhausted and theorem:
        mu, rho, q = game.population.training_cycles, game.population.energy_coefficient, game.population.max_speed
        cap = game.caps["training_cap"].to_numpy()
        with np.errstate(divide="ignore"):
            speed = np.sqrt(cap / (rho * mu))
        for k in np.flatnonzero(speed > q * (1 + ROUNDING)):
            reason[k] = (
                f"cannot spend its training cap {cap[k]:.6g} without profit: that takes a speed of {speed[k]:.6g}, and "
                f"its max_speed is {q[k]:.6g}"
            )
    shares = game.shapley_shares
    value = game.shapley_values.values
    for k in np.flatnonzero(game.caps["training_cap"].to_numpy() <= 0):
        what = f"negative Shapley share (Shapley value {value[k]:.6g})" if shares.negative[k] else "Shapley share 0"
        reason[k] = f"not recruited: {what}, so it cannot be paid for training"
    return pd.Series(reason, index=game.population.ids, name="reason", dtype=object)


def _name_the_limits(reason: np.ndarray, game: Game, bounds: TimeBounds) -> None:
    """Which limit sets the least times of a client that cannot be recruited, and which cap would mend it alone."""
    mu, rho, q = game.population.training_cycles, game.population.energy_coefficient, game.population.max_speed
    for k in np.flatnonzero(reason != ""):
        parts = []
        for task, cycles, low, other in (
            ("training", mu[k], bounds.training_low[k], bounds.mining_low[k]),
            ("mining", game.mining_cycles, bounds.mining_low[k], bounds.training_low[k]),
        ):
            left = game.deadline - other  # what the other task leaves
            if low <= cycles / q[k]:
                parts.append(f"{task} by max_speed {q[k]:.6g}")
            elif left <= 0 or cycles / left > q[k]:
                parts.append(f"{task} by its {task} cap")
            else:
                parts.append(f"{task} by its {task} cap (one of {rho[k] * cycles * (cycles / left) ** 2:.6g} would do)")
        reason[k] += f"; limited in {' and in '.join(parts)}"


def _over_cap(
    reason: np.ndarray, task: str, price: np.ndarray, low: np.ndarray, high: np.ndarray, cap: np.ndarray
) -> None:
    for k in np.flatnonzero(low > high * (1 + ROUNDING)):
        reason[k] = (
            f"cannot respond within its {task} cap {cap[k]:.6g}: at the price {price[k]:.6g} its least {task} time "
            f"{low[k]:.6g} costs {low[k] * price[k]:.6g}, {low[k] * price[k] - cap[k]:.6g} too much"
        )


def _too_late(reason: np.ndarray, game: Game, bounds: TimeBounds, where: str) -> None:
    need = bounds.training_low + bounds.mining_low
    late = np.flatnonzero(~(need <= game.deadline * (1 + ROUNDING)) & (reason == ""))
    # Python's floats format twice as fast as numpy's, which counts when many of a million clients are late.
    times = (values[late].tolist() for values in (bounds.training_low, bounds.mining_low, need))
    begin = f"cannot meet the deadline {game.deadline:.6g} {where}: training takes at least "
    reason[late] = [
        f"{begin}{training:.6g}, mining at least {mining:.6g}, together {total - game.deadline:.6g} too long; "
        f"a deadline of {total:.6g} would do"
        for training, mining, total in zip(*times, strict=True)
    ]
