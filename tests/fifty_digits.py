"""What is right for one client, at fifty digits? References for fuzzing: bisection and closed formulas in mpmath.

No code of the package beyond the data of the game. ``room`` is the least relative slack of the feasible set everywhere:
below 0 there is no feasible point, and within 1e-9 of 0 rounding may decide either way.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import mpmath
from fuzz_agreement import Client

mp = mpmath.mp.clone()
mp.dps = 50
#: 2^-170 of an interval: fifty digits.
HALVINGS = 170
INF = mp.inf


def falling_root(slope: Callable[[Any], Any], low: Any, high: Any) -> Any:
    """Where a falling function changes its sign within [low, high]; the end that it points to if it does not."""
    if low >= high or slope(low) <= 0:
        return low
    if slope(high) >= 0:
        return high
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(middle) > 0 else (low, middle)
    return (low + high) / 2


@dataclasses.dataclass(frozen=True, slots=True)
class Split:
    """One client's choice: max w_t t + w_s s - rho mu^3 / t^2 - rho psi^3 / s^2, t and s within bounds, t + s <= T.

    Problem 1 with w = p. The weights are at least 0, so the objective rises in both times, unless t is on the line
    t + s = T anyway, where w_t may have any sign.
    """

    c: Client
    w_t: Any
    w_s: Any
    low_t: Any
    low_s: Any
    high_t: Any = INF
    high_s: Any = INF
    deadline: Any = None

    @property
    def total(self) -> Any:
        return mp.mpf(self.c.deadline if self.deadline is None else self.deadline)

    @property
    def room(self) -> Any:
        """Relative slack of the tightest condition: t_low + s_low <= T, t_low <= t_high, s_low <= s_high."""
        if self.low_t == INF or self.low_s == INF:
            return -INF
        rooms = [] if self.total == INF else [(self.total - self.low_t - self.low_s) / self.total]
        bounds = ((self.low_t, self.high_t), (self.low_s, self.high_s))
        return min([*rooms, *((high - low) / low for low, high in bounds)])

    def times(self) -> tuple[Any, Any]:
        """The optimum. Where rounding has emptied the feasible set, the one point that it nearly is."""
        total, high_t, high_s = self.total, max(self.high_t, self.low_t), max(self.high_s, self.low_s)
        if self.low_t + self.low_s >= total:
            return self.low_t, self.low_s
        if high_t + high_s <= total:
            return high_t, high_s
        a, b = 2 * energy_constant(self.c, self.c.mu), 2 * energy_constant(self.c, self.c.psi)
        t = falling_root(
            lambda t: self.w_t - self.w_s + a / t**3 - b / (total - t) ** 3,
            max(self.low_t, total - high_s),
            min(high_t, total - self.low_s),
        )
        return t, total - t


def energy_constant(c: Client, cycles: float) -> Any:
    """rho c^3: divided by the squared time, the energy of c cycles."""
    return mp.mpf(c.rho) * mp.mpf(cycles) ** 3


def energy(c: Client, t: Any, s: Any) -> Any:
    return energy_constant(c, c.mu) / mp.mpf(t) ** 2 + energy_constant(c, c.psi) / mp.mpf(s) ** 2


def least_time(c: Client, cycles: float, price: float) -> Any:
    """(8) or (9), and the speed limit: cycles x max((rho / p)^(1/3), 1 / q)."""
    return cycles * max(mp.cbrt(mp.mpf(c.rho) / mp.mpf(price)) if price else INF, 1 / mp.mpf(c.q))


def client_problem(c: Client, p_t: float, p_m: float, *, reward_caps: bool = False) -> Split:
    """Problem 1."""
    highs = (mp.mpf(c.training_cap) / p_t, mp.mpf(c.mining_cap) / p_m) if reward_caps and p_t and p_m else (INF, INF)
    return Split(c, mp.mpf(p_t), mp.mpf(p_m), least_time(c, c.mu, p_t), least_time(c, c.psi, p_m), *highs)


def recruitment(c: Client) -> Split:
    """Problems 2 and 3, payments at most the caps (theory 5.1): the least energy on t + s = T, which the caps pay."""
    least = (
        max(mp.sqrt(energy_constant(c, cycles) / mp.mpf(cap)) if cap > 0 else INF, cycles / mp.mpf(c.q))
        for cycles, cap in ((c.mu, c.training_cap), (c.psi, c.mining_cap))
    )
    return Split(c, mp.zero, mp.zero, *least)


@dataclasses.dataclass(frozen=True, slots=True)
class Contract:
    """Times and payments of one client."""

    t: Any
    s: Any
    training_reward: Any
    mining_reward: Any
    room: Any

    @classmethod
    def at_cost(cls, split: Split) -> Contract:
        t, s = split.times() if split.room > -INF else (mp.nan, mp.nan)
        c = split.c
        return cls(t, s, energy_constant(c, c.mu) / t**2, energy_constant(c, c.psi) / s**2, split.room)


def theorem_contract(c: Client, *, zero_utility: bool) -> Contract:
    """(15) and (16) corrected, or (19) and (20): t = sqrt(rho mu^3 / R_t), s = T - t, paid R_t and R_m or the energy."""
    if c.training_cap <= 0:
        return Contract(mp.nan, mp.nan, mp.nan, mp.nan, -INF)
    total, cap, mining_cap = mp.mpf(c.deadline), mp.mpf(c.training_cap), mp.mpf(c.mining_cap)
    t = mp.sqrt(energy_constant(c, c.mu) / cap)
    s = total - t
    least_s = max(c.psi / mp.mpf(c.q), mp.sqrt(energy_constant(c, c.psi) / mining_cap))
    room = min((s - least_s) / total, (t * c.q - c.mu) / c.mu)
    return Contract(t, s, cap, energy_constant(c, c.psi) / s**2 if zero_utility and s else mining_cap, room)


def spent_contract(c: Client) -> Contract:
    """Both caps spent on a client that optimises: p_t = R_t / t and p_m = R_m / s, and (t, s) is its answer to them."""
    split = recruitment(c)
    if split.room == -INF:
        return Contract(mp.nan, mp.nan, mp.nan, mp.nan, -INF)
    total, r_t, r_m = split.total, mp.mpf(c.training_cap), mp.mpf(c.mining_cap)
    a, b = 2 * energy_constant(c, c.mu), 2 * energy_constant(c, c.psi)
    if split.room <= 0:
        return Contract(split.low_t, split.low_s, r_t, r_m, split.room)
    t = falling_root(
        lambda t: r_t / t - r_m / (total - t) + a / t**3 - b / (total - t) ** 3, split.low_t, total - split.low_s
    )
    return Contract(t, total - t, r_t, r_m, split.room)
