"""How is a client paid more than its energy without changing its mind? The rent u, split between training and mining.

A client that asks for a utility of u is paid t p_t = energy + x for training and s p_m = energy + y for mining, x + y = u,
x, y >= 0. At these prices its utility changes along t + s = T by

    h = x / t - y / s - K(t)        K = 3 rho ((psi / s)^3 - (mu / t)^3)

per unit of time moved to training, and (t, s) is its optimum if and only if h = 0, or h <= 0 and nothing shorter than t is
open to it (x = 0, or t = mu / q, or with reward caps of its own s p_m = R_m), or h >= 0 and the same holds for s. h rises in
x, and is 0 at x_B = t (u + s K) / T. So the rent goes in the shares x_B and u - x_B if the caps have room, else all of it
to one task where that is at its least time and the client would want less of it (theory 5.4).
"""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy.optimize import elementwise

from bcfl_opt.participation import ROUNDING


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Clients:
    """Some clients: arrays of shape (n,), but for psi. ``capped``: they face the caps (7), (3) themselves."""

    training_cycles: np.ndarray
    energy_coefficient: np.ndarray
    max_speed: np.ndarray
    training_cap: np.ndarray
    mining_cap: np.ndarray
    rent: np.ndarray
    mining_cycles: float
    capped: bool

    def energies(self, t: np.ndarray, s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        rho, mu, psi = self.energy_coefficient, self.training_cycles, self.mining_cycles
        return rho * mu * (mu / t) ** 2, rho * psi * (psi / s) ** 2

    def pull(self, t: np.ndarray, s: np.ndarray) -> np.ndarray:
        """K(t)."""
        return 3.0 * self.energy_coefficient * ((self.mining_cycles / s) ** 3 - (self.training_cycles / t) ** 3)

    def take(self, rows: np.ndarray) -> Clients:
        columns = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return Clients(
            **{name: value[rows] if isinstance(value, np.ndarray) else value for name, value in columns.items()}
        )


def training_rent(clients: Clients, t: np.ndarray, s: np.ndarray) -> np.ndarray:
    """x, the part of the rent that is paid for training, so that (t, s) is the client's optimum; NaN where nothing does."""
    u, q = clients.rent, clients.max_speed
    training, mining = clients.energies(t, s)
    # What the caps leave; where a cap sets the time, rounding must not leave less than nothing.
    room_t = _room(clients.training_cap, training)
    room_s = _room(clients.mining_cap, mining)
    balanced = t * (u + s * clients.pull(t, s)) / (t + s)
    slack = ROUNDING * (u + training + mining)
    least, most = np.where(room_s >= u - slack, 0.0, u - room_s), np.where(room_t >= u - slack, u, room_t)
    fastest_t, fastest_s = (
        speed >= q * (1.0 - ROUNDING) for speed in (clients.training_cycles / t, clients.mining_cycles / s)
    )
    # Below the balanced share the client wants less training, above it more: something must forbid it.
    less_is_shut = fastest_t | (least == 0.0) | clients.capped
    more_is_shut = fastest_s | (most == u) | clients.capped
    x = np.full(t.shape, np.nan)
    x = np.where(more_is_shut & (balanced <= most + slack), most, x)
    x = np.where(less_is_shut & (balanced >= least - slack), least, x)
    x = np.where((balanced >= least - slack) & (balanced <= most + slack), np.clip(balanced, least, most), x)
    return np.where((least <= most + slack) & (room_t >= 0.0) & (room_s >= 0.0), np.minimum(x, most), np.nan)


def _room(cap: np.ndarray, energy: np.ndarray) -> np.ndarray:
    room = cap - energy
    return np.where(np.abs(room) <= 1e-13 * energy, 0.0, room)


def nearest_times(clients: Clients, deadline: float) -> np.ndarray:
    """Training time of least energy on t + s = T at which some split of the rent holds the client; NaN where none does.

    The times that a split can hold are intervals: x = u up to the time where t K = u, y = u from the time where s K = -u,
    both as far as the caps pay for it, and the balanced split between these times, as far as the caps pay for it; and the
    two times at which a speed limit holds the client, with whatever split. The energy is convex, and least at
    T mu / (mu + psi). Source: theory 5.4.
    """
    u, rho, q = clients.rent, clients.energy_coefficient, clients.max_speed
    mu, psi = clients.training_cycles, np.full(u.shape, clients.mining_cycles)
    even = deadline * (mu / (mu + psi))
    near = 1e-12 * deadline

    def last(own: np.ndarray, other: np.ndarray, cap: np.ndarray) -> np.ndarray:
        """The longest time of a task at which its balanced share of the rent fits its cap; where room - share = 0."""

        def spare(
            t: np.ndarray, u: np.ndarray, rho: np.ndarray, own: np.ndarray, other: np.ndarray, cap: np.ndarray
        ) -> np.ndarray:
            s = deadline - t
            rest = t * u + 3.0 * rho * (other**3 * (t / s**2) + own**3 / t)
            return cap + 2.0 * rho * own**3 / t**2 - rest / deadline

        return elementwise.find_root(
            spare, (np.full(u.shape, near), np.full(u.shape, deadline - near)), args=(u, rho, own, other, cap)
        ).x

    def alone(own: np.ndarray, other: np.ndarray, time: np.ndarray) -> np.ndarray:
        """The longest time of a task that the client keeps to when it is paid the whole rent for it: t K = u."""

        def wish(t: np.ndarray, u: np.ndarray, rho: np.ndarray, own: np.ndarray, other: np.ndarray) -> np.ndarray:
            return 3.0 * rho * t * ((other / (deadline - t)) ** 3 - (own / t) ** 3) - u

        return elementwise.find_root(wish, (time, np.full(u.shape, deadline - near)), args=(u, rho, own, other)).x

    with np.errstate(divide="ignore", invalid="ignore"):
        r_t, r_m = clients.training_cap, clients.mining_cap
        latest, earliest = alone(mu, psi, even), deadline - alone(psi, mu, deadline - even)
        all_t = np.where(r_t > u, np.sqrt(rho * mu**3 / (r_t - u)), np.inf)
        all_s = np.where(r_m > u, np.sqrt(rho * psi**3 / (r_m - u)), np.inf)
        none_t, none_s = np.sqrt(rho * mu**3 / r_t), np.sqrt(rho * psi**3 / r_m)
        intervals = (
            (all_t, np.minimum(latest, deadline - none_s)),
            (np.maximum(earliest, none_t), deadline - all_s),
            (
                np.maximum(earliest, deadline - last(psi, mu, r_m)),
                np.minimum(latest, last(mu, psi, r_t)),
            ),
        )
        first, final = mu / q, deadline - psi / q
        found, least = np.full(u.shape, np.nan), np.full(u.shape, np.inf)
        ends = [(np.maximum(low, first), np.minimum(high, final)) for low, high in intervals]
        for low, high in [*ends, (first, first), (final, final)]:
            t = np.clip(even, low, np.maximum(low, high))
            t = np.where((low <= high * (1.0 + ROUNDING)) & (t > 0.0) & (t < deadline), t, np.nan)
            energy = np.add(*clients.energies(t, deadline - t))
            better = ~np.isnan(training_rent(clients, t, deadline - t)) & (energy < least)
            found, least = np.where(better, t, found), np.where(better, energy, least)
    return found
