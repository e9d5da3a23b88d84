"""How is a budget that all clients share divided when nobody holds them all? One scalar root over sums of parts.

The owner chooses each client's deadline, and nu is the budget's multiplier. In y = (1 + nu)^(-2/3) every payment is
piecewise linear and nondecreasing (:meth:`bcfl_opt.pace.Path.pieces`). So each pass over the parts returns the total at
some hundred values of y, and how many pieces end between them; the budget lies between two of these values, which the next
pass divides again, until nothing ends between them and the root is that of a line. Source: theory 5.2.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from bcfl_opt.equilibria import payments_by_multiplier
from bcfl_opt.parts.question import Question
from bcfl_opt.parts.source import chunks

#: Values of y that a pass evaluates the payments at.
POINTS = 257
#: The least y that is told from 0: a coin then costs 3e22 coins.
LEAST = 1e-15
#: Relative slack of a budget that pays for the longest deadlines and nothing more.
ROUNDING = 1e-12


@dataclasses.dataclass(frozen=True)
class Spending:
    """``spending(part)``: its clients' payments at these values of y, the pieces that end between neighbours, its clients."""

    question: Question
    points: np.ndarray

    def __call__(self, item: Any) -> tuple[np.ndarray, np.ndarray, int]:
        part, frame = item if isinstance(item, tuple) else (item, None)
        total, ends, clients = np.zeros(len(self.points)), np.zeros(len(self.points) - 1, dtype=np.int64), 0
        for population in chunks(part, self.question.rows, self.question.read, frame):
            game, given = self.question.game(population)
            pieces, rents = payments_by_multiplier(game, given["reservation_utility"])
            more, inside = payments(*pieces, self.points)
            total, ends, clients = total + more + rents, ends + inside, clients + len(population)
        return total, ends, clients


def payments(
    coefficient: np.ndarray, low: np.ndarray, high: np.ndarray, points: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Sum of coefficient x clip(y, low, high) at every y of ``points`` (ascending), and how many ends lie between them."""
    size = len(points)

    def up_to(place: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """Sums of the weights whose place is at most 0, 1, .., size - 1."""
        return np.cumsum(np.bincount(place, weight, size + 1)[:size])

    def beyond(place: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """Sums of the weights whose place is above 0, 1, .., size - 1."""
        return np.cumsum(np.bincount(place, weight, size + 1)[::-1])[-2::-1]

    first, last = np.searchsorted(points, low), np.searchsorted(points, high)  # the first point not below the end
    reached = last < size
    slope = up_to(first, coefficient) - up_to(last, coefficient)
    total = beyond(first, coefficient * low) + points * slope
    total += up_to(last, coefficient * np.where(reached, high, 0.0))
    ends = np.zeros(size - 1, dtype=np.int64)
    for place, end in ((first, low), (last, high)):
        between = (place > 0) & (place < size)
        between &= end != points[np.minimum(place, size - 1)]
        ends += np.bincount(place[between] - 1, minlength=size - 1)
    return total, ends


def multiplier(evaluate: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]], budget: float) -> tuple[float, float]:
    """nu >= 0 at which all payments sum to the budget (0 where they are less at nu = 0), and the least they can sum to.

    evaluate : :func:`payments` of all clients. nu is NaN where even the least is more than the budget.
    """
    points = np.concatenate([[0.0], np.geomspace(LEAST, 1.0, POINTS - 1)])
    total, ends = evaluate(points)
    least = float(total[0])
    if budget < least * (1.0 - ROUNDING):
        return math.nan, least
    if total[-1] <= budget:
        return 0.0, least
    budget = max(budget, least)
    while True:
        # The last of the points at which the budget is enough: of a flat piece its far end, where money is cheapest.
        k = int(np.clip(np.searchsorted(total, budget, side="right") - 1, 0, len(points) - 2))
        low, high = float(points[k]), float(points[k + 1])
        if not ends[k] or high - low <= 4e-16 * high:
            break
        points = np.linspace(low, high, POINTS)
        total, ends = evaluate(points)
    rise = float(total[k + 1] - total[k])
    y = low + (high - low) * min(max((budget - float(total[k])) / rise, 0.0), 1.0) if rise > 0.0 else high
    return max(y, LEAST) ** -1.5 - 1.0, least
