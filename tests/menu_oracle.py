"""Which menu is cheapest? A global search over all price pairs that knows nothing of the package: differential evolution.

python tests/menu_oracle.py                 three types, several sets, against ``bo.design_menu``; exits with 1 beyond 1e-4

Each candidate menu is judged by exact answers: V(mu, p) = max p_t t + p_m s - rho mu^3/t^2 - rho psi^3/s^2 over t + s = T,
t >= mu max((rho / p_t)^(1/3), 1/q), s >= psi max((rho / p_m)^(1/3), 1/q), by bisection on the derivative in t, which falls.
Who gains by a lie, or cannot accept, is punished in proportion. A menu that punishes nobody costs what it says, so the
least cost found is never below the true minimum by more than the punishment allows for rounding.
"""

from __future__ import annotations

import dataclasses
import sys
import time

import numpy as np
import pandas as pd
from scipy.optimize import differential_evolution, minimize

import bcfl_opt as bo

#: What a coin gained by lying costs: more than any multiplier of a truth constraint.
PUNISHMENT = 30.0
#: The promised agreement.
CLOSE = 1e-4


@dataclasses.dataclass(frozen=True)
class Types:
    """Types of clients as arrays of one shape; psi and T are common."""

    mu: np.ndarray
    rho: np.ndarray
    q: np.ndarray
    weights: np.ndarray
    psi: float
    deadline: float

    @classmethod
    def of(cls, mu, weights=None, rho=0.01, q=np.inf, psi: float = 5.0, deadline: float = 15.0) -> Types:
        mu = np.asarray(mu, dtype=float)
        share = np.full(len(mu), 1 / len(mu)) if weights is None else np.asarray(weights, dtype=float)
        return cls(mu, np.broadcast_to(rho, mu.shape), np.broadcast_to(q, mu.shape), share, psi, deadline)

    def game(self) -> bo.Game:
        names = [f"type-{k}" for k in range(len(self.mu))]
        frame = pd.DataFrame({"client": names, "mu": self.mu, "rho": self.rho, "q": self.q})
        return bo.Game(bo.Population(frame), mining_cycles=self.psi, deadline=self.deadline)

    @property
    def pooling(self) -> float:
        """What the costliest type needs at one price for both tasks: rho (mu + psi)^3 / T^2."""
        return float((self.rho * (self.mu + self.psi) ** 3).max()) / self.deadline**2

    def answers(self, p_t: np.ndarray, p_m: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(V, payment, by how much the least times exceed T) of every type (first axis) at offers of any shape."""
        shape = (len(self.mu), *(1,) * p_t.ndim)
        mu, rho, q = (column.reshape(shape) for column in (self.mu, self.rho, self.q))
        low = mu * np.maximum(np.cbrt(rho / p_t), 1 / q)
        high = self.deadline - self.psi * np.maximum(np.cbrt(rho / p_m), 1 / q)
        short = low - high
        a, b = low.copy(), np.maximum(high, low)
        for _ in range(50):
            t = 0.5 * (a + b)
            slope = p_t - p_m + 2 * rho * ((mu / t) ** 3 - (self.psi / (self.deadline - t)) ** 3)
            a, b = np.where(slope > 0, t, a), np.where(slope > 0, b, t)
        t = np.where(short > 0, low, 0.5 * (a + b))
        s = np.maximum(self.deadline - t, 1e-9)
        pay = p_t * t + p_m * s
        value = pay - rho * (mu**3 / t**2 + self.psi**3 / s**2)
        return np.where(short > 0, 0.0, value), pay, np.maximum(short, 0.0)

    def offers(self, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Price pairs of menus z, shape (3K, S): of each type its share of time for training, and two mark-ups.

        p_t = rho (mu/t)^3 e^a, p_m = rho (psi/s)^3 e^b with t + s = T and a, b >= 0 recruit the type, and all pairs that do
        are of this form. Below 0 a mark-up is 0, so that the search can find that the best one is.
        """
        share, a, b = np.moveaxis(z.reshape(len(self.mu), 3, -1), 1, 0)
        mu, rho, q = (column[:, None] for column in (self.mu, self.rho, self.q))
        low, high = mu / q, self.deadline - self.psi / q
        t = low + share * (high - low)
        marks = (np.exp(np.maximum(mark, 0.0)) for mark in (a, b))
        return tuple(  # type: ignore[return-value]
            rho * (cycles / time) ** 3 * mark
            for cycles, time, mark in zip((mu, self.psi), (t, self.deadline - t), marks, strict=True)
        )

    def cost(self, z: np.ndarray) -> np.ndarray:
        """Expected pay of menus, shape (3K, S), with what is gained by lies punished, relative to pooling."""
        p_t, p_m = self.offers(z)
        value, pay, short = self.answers(p_t, p_m)  # (type, offer, menu)
        own = np.arange(len(self.mu))
        # Rounding may put an offer a hair out of its own type's reach, which then works its least times for its energy.
        assert short[own, own].max() <= 1e-9 * self.deadline
        lost = np.maximum(value.max(axis=1) - value[own, own], 0.0)
        return (self.weights @ pay[own, own] + PUNISHMENT * lost.sum(axis=0)) / self.pooling


def least_cost(types: Types, seed: int = 0, generations: int = 400) -> float:
    """The least expected pay that the search finds [money]."""
    count = len(types.mu)
    found = differential_evolution(
        types.cost, [(1e-3, 1 - 1e-3), (-2.0, 4.0), (-2.0, 4.0)] * count, seed=seed, popsize=15, maxiter=generations,
        tol=0.0, atol=1e-12, polish=False, vectorized=True, updating="deferred", mutation=(0.3, 0.9), recombination=0.9,
    )  # fmt: skip
    polished = minimize(
        lambda z: float(types.cost(z[:, None])[0]), found.x, method="Nelder-Mead",
        options={"xatol": 1e-10, "fatol": 1e-13, "maxiter": 4000, "adaptive": True},
    )  # fmt: skip
    return float(min(found.fun, polished.fun)) * types.pooling


SETS = {
    "three, by work": Types.of([5.0, 8.0, 10.0], [0.2, 0.5, 0.3]),
    "three, alike and rare": Types.of([6.0, 6.5, 12.0], [0.6, 0.3, 0.1]),
    "three, differing in chips": Types.of([8.0, 6.0, 9.0], [0.4, 0.3, 0.3], rho=np.array([0.006, 0.02, 0.01])),
    "three, with a speed limit": Types.of([5.0, 8.0, 10.0], q=np.array([np.inf, 1.1, 1.4])),
}


def main() -> int:
    worst = 0.0
    for name, types in SETS.items():
        begin = time.perf_counter()
        menu = bo.design_menu(types.game(), types.weights)
        took = time.perf_counter() - begin
        least = min(least_cost(types, seed=seed) for seed in range(6))
        away = menu.objective / least - 1
        worst = max(worst, away)
        print(
            f"{name:<27} menu {menu.objective:.8g} ({menu.quality.name}, {took:.1f} s)  search {least:.8g}  {away:+.1e}"
            f"  bound {menu.lower_bound:.8g}",
            flush=True,
        )
    print(f"dearest by {worst:.1e} of what the search found; promised: {CLOSE:g}")
    return 0 if worst <= CLOSE else 1


if __name__ == "__main__":
    sys.exit(main())
