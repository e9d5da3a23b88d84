"""How fast should each client work? One number a client: its pace, the time it takes for a cycle, 1 / speed.

A client that spends the pace w on both tasks takes (mu + psi) w and costs rho (mu + psi) / w^2. Caps and speed limits ask
some tasks for more time: t = mu max(w, c_t), s = psi max(w, c_s), with the least paces c_t = t_low / mu, c_s = s_low / psi.
As w grows the client takes longer and costs less, and every programme of the owner that knows no rents but u has its
optimum on this path (theory 5.1, 5.2, 5.4):

* ``whole``, the pace that uses the whole deadline: the equilibrium of Problems 2 and 3.
* ``least``, the fastest that the caps pay for, rho (mu / max(w, c_t)^2 + psi / max(w, c_s)^2) <= R_t + R_m - u.
* (2 rho (1 + nu))^(1/3), moved between these two: deadlines chosen under a payment budget with the multiplier nu.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from bcfl_opt.game import Game
from bcfl_opt.participation import TimeBounds

#: Clients worked on at a time, so that what a step needs stays in the processor's cache.
CHUNK = 1 << 15


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Path:
    """The paces of some clients; arrays of shape (n,).

    training_cycles, energy_coefficient : mu, rho. mining_cycles : psi. training_least, mining_least : c_t, c_s.
    least, whole : see above; ``least`` > ``whole`` where nothing can be done.
    """

    training_cycles: np.ndarray
    energy_coefficient: np.ndarray
    mining_cycles: float
    training_least: np.ndarray
    mining_least: np.ndarray
    least: np.ndarray
    whole: np.ndarray

    @classmethod
    def of(cls, game: Game, bounds: TimeBounds, rows: np.ndarray, rent: np.ndarray) -> Path:
        """Of the clients in these rows, which bounds leave some time to choose; rent : u, shape (N,)."""
        mu, rho = game.population.training_cycles[rows], game.population.energy_coefficient[rows]
        psi, deadline = game.mining_cycles, game.deadline
        low_t, low_s = bounds.training_low[rows], bounds.mining_low[rows]
        c_t, c_s = low_t / mu, low_s / psi
        whole = deadline / (mu + psi)
        whole = np.where(whole < c_t, (deadline - low_t) / psi, np.where(whole < c_s, (deadline - low_s) / mu, whole))
        least = np.zeros(rows.size)
        if rent.any():
            cap = (game.caps["training_cap"] + game.caps["mining_cap"]).to_numpy()[rows] - rent[rows]
            least = _affordable(mu, rho, psi, c_t, c_s, cap)
        return cls(mu, rho, psi, c_t, c_s, least, whole)

    def take(self, rows: np.ndarray) -> Path:
        """Some of these clients."""
        columns = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return Path(**{name: c[rows] if isinstance(c, np.ndarray) else c for name, c in columns.items()})

    def energy(self, pace: np.ndarray) -> np.ndarray:
        """rho (mu / w_t^2 + psi / w_s^2)."""
        w_t, w_s = np.maximum(pace, self.training_least), np.maximum(pace, self.mining_least)
        return self.energy_coefficient * (self.training_cycles / (w_t * w_t) + self.mining_cycles / (w_s * w_s))

    def times(self, pace: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """t and s."""
        return (
            self.training_cycles * np.maximum(pace, self.training_least),
            self.mining_cycles * np.maximum(pace, self.mining_least),
        )

    def chosen(self, multiplier: float) -> np.ndarray:
        """(2 rho (1 + nu))^(1/3) between ``least`` and ``whole``: the minimiser of t + s + (1 + nu) energy."""
        free = np.cbrt(2.0 * (1.0 + multiplier) * self.energy_coefficient)
        return np.minimum(np.maximum(free, self.least), self.whole)

    def pieces(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Energies as functions of y = (1 + nu)^(-2/3): coefficient x clip(y, low, high), one piece a client and task.

        With k = (2 rho)^(2/3): coefficient rho / k x cycles, low k / whole^2, high the least of k / least^2 and k / c^2.
        """
        with np.errstate(divide="ignore"):
            k = np.cbrt(2.0 * self.energy_coefficient) ** 2
            low, high = k / self.whole**2, k / self.least**2
            tops = np.concatenate([k / self.training_least**2, k / self.mining_least**2])
        rate = self.energy_coefficient / k
        high = np.minimum(np.tile(high, 2), tops)
        return (
            np.concatenate([rate * self.training_cycles, rate * self.mining_cycles]),
            np.minimum(np.tile(low, 2), high),
            high,
        )

    def multiplier(self, budget: float) -> float:
        """nu >= 0 at which the energies of :meth:`chosen` sum to the budget, or 0 where they are less at nu = 0.

        The budget is at least the energy at ``whole``. In y = (1 + nu)^(-2/3) the sum is piecewise linear and
        nondecreasing: with k = (2 rho)^(2/3) a client's energy is (rho / k) (mu min(z, k / c_t^2) + psi min(z, k / c_s^2))
        for z = y, moved between k / whole^2 and k / least^2. Newton's method on the piece at hand, inside a bracket.
        """
        with np.errstate(divide="ignore"):
            k = np.cbrt(2.0 * self.energy_coefficient) ** 2
            ends = k / self.whole**2, k / self.least**2
            tops = k / self.training_least**2, k / self.mining_least**2
        rate = self.energy_coefficient / k
        y, low, high = 1.0, min(float(ends[0].min(initial=1.0)), 1.0), 1.0
        for _ in range(200):
            total, slope = 0.0, 0.0
            for start in range(0, k.size, CHUNK):
                p = slice(start, start + CHUNK)
                z = np.minimum(np.maximum(y, ends[0][p]), ends[1][p])
                for cycles, top in ((self.training_cycles[p], tops[0][p]), (self.mining_cycles, tops[1][p])):
                    part = rate[p] * cycles
                    total += float((part * np.minimum(z, top)).sum())
                    slope += float((part * ((z == y) & (z < top))).sum())
            if total <= budget and y == 1.0:
                return 0.0
            low, high = (y, high) if total <= budget else (low, y)
            step = (budget - total) / slope if slope > 0.0 else np.inf
            if abs(step) <= 4e-16 * y:
                break
            if high - low <= 4e-16 * high:
                y = low
                break
            y = y + step if low < y + step < high else float(np.sqrt(low * high))
        return float(y**-1.5 - 1.0)


def _affordable(
    mu: np.ndarray, rho: np.ndarray, psi: float, c_t: np.ndarray, c_s: np.ndarray, cap: np.ndarray
) -> np.ndarray:
    """The least pace whose energy is at most ``cap``; 0 where the least paces are affordable, inf where no pace is."""
    upper, lower = np.maximum(c_t, c_s), np.minimum(c_t, c_s)
    with np.errstate(divide="ignore", invalid="ignore"):
        both = np.sqrt(rho * (mu + psi) / cap)
        # Between c_t and c_s only the task with the lower bound gains by waiting.
        waits = np.where(c_t > c_s, psi, mu)
        one = np.sqrt(rho * waits / (cap - rho * (mu + psi - waits) / upper**2))
        pace = np.where(both >= upper, both, np.where(one > lower, one, 0.0))
    return np.where(cap > 0.0, pace, np.inf)
