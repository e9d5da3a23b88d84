"""Where does a client divide its time, if its utility is concave along the way? A root for each of many clients at once."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.optimize import elementwise


def best_split(slope: Callable[[np.ndarray, np.ndarray], np.ndarray], low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """The maximiser on [low, high] of a concave function with this derivative, for each client.

    slope : (times, rows) -> derivative there; ``rows`` says which clients these times belong to. Where low > high by
    rounding, or the derivative has one sign, the answer is an end.
    """
    rows = np.arange(low.size)
    high = np.maximum(low, high)
    found = np.where(slope(low, rows) <= 0.0, low, high)
    inner = np.flatnonzero((slope(low, rows) > 0.0) & (slope(high, rows) < 0.0))
    if inner.size:
        found[inner] = elementwise.find_root(slope, (low[inner], high[inner]), args=(inner,)).x
    return found
