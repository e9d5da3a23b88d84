"""Which clients can have an answer at all, and if not, which limit stops them, by how much, and what would mend it?

Times decide: t >= mu / q and s >= psi / q (speed limit), t >= mu (rho / p_t)^(1/3) and s >= psi (rho / p_m)^(1/3)
(rationality (8), (9)), t >= sqrt(rho mu^3 / R_t) and s >= sqrt(rho psi^3 / R_m) (reward caps (13), (14) when the
payment covers the energy), t p_t <= R_t and s p_m <= R_m (caps (7), (3) at given prices), t + s <= T (10).
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pyarrow as pa

from bcfl_opt.game import Game
from bcfl_opt.wording import Reasons, in_order, same, sentences

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


def recruitment_bounds(game: Game, *, exponent: float = 2.0) -> TimeBounds:
    """Bounds of Problems 2 and 3, where the owner picks the prices: speed limit, and energy covered within the caps.

    exponent : k of the energy rho x cycles x speed^k; then t >= (rho mu^(k + 1) / R_t)^(1 / k).
    """
    mu, rho, q = game.population.training_cycles, game.population.energy_coefficient, game.population.max_speed
    psi = game.mining_cycles
    r_t, r_m = game.caps["training_cap"].to_numpy(), game.caps["mining_cap"].to_numpy()
    n = len(game)
    with np.errstate(divide="ignore"):
        t_low = np.maximum(mu / q, mu * _root(rho * mu / r_t, exponent))
        s_low = np.maximum(psi / q, psi * _root(rho * psi / r_m, exponent))
    return TimeBounds(t_low, np.full(n, np.inf), s_low, np.full(n, np.inf))


def _root(values: np.ndarray, exponent: float) -> np.ndarray:
    return np.sqrt(values) if exponent == 2.0 else values ** (1.0 / exponent)


def screen_response(
    game: Game, prices: pd.DataFrame, *, reward_caps: bool = False, bounds: TimeBounds | None = None
) -> pd.Series:
    """Reason by client why Problem 1 has no feasible point at these prices; "" where it has one.

    bounds : :func:`response_bounds` of the same arguments, if they are at hand.
    """
    bounds = response_bounds(game, prices, reward_caps=reward_caps) if bounds is None else bounds
    reasons = Reasons(len(game))
    p_t, p_m = prices["training_price"].to_numpy(), prices["mining_price"].to_numpy()
    if reward_caps:
        _over_cap(
            reasons, "training", p_t, bounds.training_low, bounds.training_high, game.caps["training_cap"].to_numpy()
        )
        _over_cap(reasons, "mining", p_m, bounds.mining_low, bounds.mining_high, game.caps["mining_cap"].to_numpy())
    late = _late(game, bounds) & reasons.none
    reasons.say(late, lambda rows: _too_late(rows, game, bounds, "at these prices"))
    for task, price in (("training", p_t), ("mining", p_m)):
        reasons.say(price == 0, same(f"cannot respond: the {task} price is 0, which pays for no energy at any speed"))
    reasons.say(np.isnan(p_t) | np.isnan(p_m), same("is offered no prices"))
    return reasons.column(game.population.ids)


def screen_recruitment(
    game: Game, *, exhausted: bool = False, theorem: bool = False, exponent: float = 2.0
) -> pd.Series:
    """Reason by client why no prices recruit it within its caps (theory 5.1); "" where some do.

    exhausted and theorem : the training cap is spent to the last coin on a client that earns nothing by training
    (Theorem 3.1's response), so its training time is sqrt(rho mu^3 / R_t), which the speed limit must allow.
    exponent : see :func:`recruitment_bounds`.
    """
    bounds, spent = recruitment_bounds(game, exponent=exponent), exhausted and theorem
    return recruitment_reasons(game, bounds, spent=spent, exponent=exponent).column(game.population.ids)


def recruitment_reasons(game: Game, bounds: TimeBounds, *, spent: bool = False, exponent: float = 2.0) -> Reasons:
    """What :func:`screen_recruitment` says, before it is written; spent : its ``exhausted and theorem``."""
    reasons = Reasons(len(game))
    reasons.say(
        _late(game, bounds),
        lambda rows: sentences(
            _too_late(rows, game, bounds, "within its reward caps"), _limits(rows, game, bounds, exponent)
        ),
    )
    cap = game.caps["training_cap"].to_numpy()
    if spent:
        mu, rho, q = game.population.training_cycles, game.population.energy_coefficient, game.population.max_speed
        with np.errstate(divide="ignore"):
            speed = np.sqrt(cap / (rho * mu))
        reasons.say(
            speed > q * (1 + ROUNDING),
            lambda rows: sentences(
                "cannot spend its training cap ", cap[rows], " without profit: that takes a speed of ", speed[rows],
                ", and its max_speed is ", q[rows],
            ),
        )  # fmt: skip
    negative, value = game.shapley_shares.negative, game.shapley_values.values
    unpaid = "so it cannot be paid for training"
    reasons.say((cap <= 0) & ~negative, same(f"not recruited: Shapley share 0, {unpaid}"))
    reasons.say(
        (cap <= 0) & negative,
        lambda rows: sentences("not recruited: negative Shapley share (Shapley value ", value[rows], f"), {unpaid}"),
    )
    return reasons


def _limits(rows: np.ndarray, game: Game, bounds: TimeBounds, exponent: float) -> pa.Array:
    """Which limit sets the least times of a client that cannot be recruited, and which cap would mend it alone."""
    mu, rho, q = (
        values[rows]
        for values in (game.population.training_cycles, game.population.energy_coefficient, game.population.max_speed)
    )
    psi, low_t, low_s = np.full(rows.size, game.mining_cycles), bounds.training_low[rows], bounds.mining_low[rows]
    parts: list[str | pa.Array] = []
    for join, task, cycles, low, other in (
        ("; limited in ", "training", mu, low_t, low_s),
        (" and in ", "mining", psi, low_s, low_t),
    ):
        left = game.deadline - other  # what the other task leaves
        fast = low <= cycles / q
        with np.errstate(divide="ignore", invalid="ignore"):
            hopeless = ~fast & ((left <= 0) | (cycles / left > q))
            enough = rho * cycles * (cycles / left) ** exponent
        by_speed, by_cap, mended = np.flatnonzero(fast), np.flatnonzero(hopeless), np.flatnonzero(~fast & ~hopeless)
        by_its_cap = f"{task} by its {task} cap"
        texts = (
            sentences(f"{task} by max_speed ", q[by_speed]),
            same(by_its_cap)(by_cap),
            sentences(f"{by_its_cap} (one of ", enough[mended], " would do)"),
        )
        parts += [join, in_order((by_speed, by_cap, mended), texts)[1]]
    return sentences(*parts)


def _over_cap(
    reasons: Reasons, task: str, price: np.ndarray, low: np.ndarray, high: np.ndarray, cap: np.ndarray
) -> None:
    reasons.say(
        low > high * (1 + ROUNDING),
        lambda rows: sentences(
            f"cannot respond within its {task} cap ", cap[rows], ": at the price ", price[rows],
            f" its least {task} time ", low[rows], " costs ", low[rows] * price[rows], ", ",
            low[rows] * price[rows] - cap[rows], " too much",
        ),
    )  # fmt: skip


def _late(game: Game, bounds: TimeBounds) -> np.ndarray:
    return ~(bounds.training_low + bounds.mining_low <= game.deadline * (1 + ROUNDING))


def _too_late(rows: np.ndarray, game: Game, bounds: TimeBounds, where: str) -> pa.Array:
    training, mining = bounds.training_low[rows], bounds.mining_low[rows]
    total = training + mining
    return sentences(
        f"cannot meet the deadline {game.deadline:.6g} {where}: training takes at least ", training,
        ", mining at least ", mining, ", together ", total - game.deadline, " too long; a deadline of ", total,
        " would do",
    )  # fmt: skip
