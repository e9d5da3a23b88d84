"""Which prices are best for the owner of one client? By a grid of prices that is refined, with responses of its own.

No code of the package: the client's answer is a bisection along t + s = T between its own least times.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from fuzz_agreement import Client

Array = np.ndarray
#: owner(p_t, p_m, t, s) -> value to maximise; allowed(p_t, p_m, t, s) -> bool. Arrays in, arrays out.
Owner = Callable[[Array, Array, Array, Array], Array]


def responses(c: Client, p_t: Array, p_m: Array, *, capped: bool = False, rational: bool = True) -> tuple[Array, Array]:
    """Times by price pair; NaN where no times satisfy the client's own limits.

    capped : also t p_t <= R_t and s p_m <= R_m. rational : (8) holds for training.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        low_t = c.mu * np.maximum((c.rho / p_t) ** (1 / 3) if rational else 0.0, 1 / c.q) + np.zeros_like(p_t)
        low_s = c.psi * np.maximum((c.rho / p_m) ** (1 / 3), 1 / c.q)
        high_t = c.training_cap / p_t if capped else np.full_like(p_t, np.inf)
        high_s = c.mining_cap / p_m if capped else np.full_like(p_m, np.inf)
        possible = (low_t + low_s <= c.deadline) & (low_t <= high_t) & (low_s <= high_s)
        early = high_t + high_s <= c.deadline  # the caps end both tasks before the deadline does
        low, high = np.maximum(low_t, c.deadline - high_s), np.minimum(high_t, c.deadline - low_s)
        for _ in range(70):
            t = (low + high) / 2
            slope = p_t - p_m + 2 * c.rho * (c.mu / t) ** 3 - 2 * c.rho * (c.psi / (c.deadline - t)) ** 3
            low, high = np.where(slope > 0, t, low), np.where(slope > 0, high, t)
        t = np.where(early, high_t, (low + high) / 2)
        s = np.where(early, high_s, c.deadline - t)
    return np.where(possible, t, np.nan), np.where(possible, s, np.nan)


def best_prices(
    c: Client, owner: Owner, allowed: Owner, *, capped: bool = False, rational: bool = True, rounds: int = 14
) -> tuple[float, float, float]:
    """(value, p_t, p_m) of the best pair on a grid that is narrowed around the best pairs so far, round after round."""
    least_t, least_m = c.rho * (c.mu / c.deadline) ** 3, c.rho * (c.psi / c.deadline) ** 3
    center = np.log([30 * least_t, 30 * least_m])
    width = np.log([60.0, 60.0])
    best = (-np.inf, np.nan, np.nan)
    for _ in range(rounds):
        axes = [np.exp(np.linspace(m - w, m + w, 161)) for m, w in zip(center, width, strict=True)]
        p_t, p_m = (grid.ravel() for grid in np.meshgrid(*axes))
        t, s = responses(c, p_t, p_m, capped=capped, rational=rational)
        with np.errstate(invalid="ignore"):
            value = np.where(np.isfinite(t) & allowed(p_t, p_m, t, s), owner(p_t, p_m, t, s), -np.inf)
        k = int(value.argmax())
        if value[k] >= best[0] and np.isfinite(value[k]):
            best = (float(value[k]), float(p_t[k]), float(p_m[k]))
            center = np.log([p_t[k], p_m[k]])
            width = width / 2.5
        else:
            width = width / 1.3
    return best
