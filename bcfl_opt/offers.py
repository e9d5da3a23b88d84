"""What is an offer worth to a client, how does it answer, and how do both move with the offer? Exact, for any pairs of the two.

An offer is a price pair and a deadline. Unlike :func:`bcfl_opt.best_response` there are no tables and no reasons here: arrays
in, arrays out, client k against offer j in any shape that broadcasts, with derivatives. Audits and menus are made of it.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from bcfl_opt.exact import response_times
from bcfl_opt.participation import ROUNDING
from bcfl_opt.population import Population


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Clients:
    """Types of clients as arrays of one shape: mu, rho, q, and psi, which is equal for all."""

    training_cycles: np.ndarray
    energy_coefficient: np.ndarray
    max_speed: np.ndarray
    mining_cycles: float

    @classmethod
    def of(cls, population: Population, mining_cycles: float) -> Clients:
        return cls(population.training_cycles, population.energy_coefficient, population.max_speed, mining_cycles)

    def __len__(self) -> int:
        return len(self.training_cycles)

    def __getitem__(self, key: Any) -> Clients:
        """``clients[k]`` for an index array, ``clients[:, None]`` against a row of offers."""
        return Clients(
            self.training_cycles[key],
            self.energy_coefficient[key],
            self.max_speed[key],
            self.mining_cycles,
        )

    def energy(self, training_time: np.ndarray, mining_time: np.ndarray) -> np.ndarray:
        """rho mu^3 / t^2 + rho psi^3 / s^2 [money]."""
        mu, rho, psi = self.training_cycles, self.energy_coefficient, self.mining_cycles
        return rho * (mu * (mu / training_time) ** 2 + psi * (psi / mining_time) ** 2)

    def cheapest_times(self, deadline: ArrayLike) -> np.ndarray:
        """Training time that costs least energy within the deadline and the speed limit (NaN where that cannot be met)."""
        mu, q, psi = self.training_cycles, self.max_speed, self.mining_cycles
        deadline = np.asarray(deadline)
        t = np.clip(deadline * (mu / (mu + psi)), mu / q, deadline - psi / q)
        return np.where((mu + psi) / q <= deadline * (1 + ROUNDING), t, np.nan)


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """How clients answer offers, arrays of one shape.

    value : V, the most the client can have, 0 where it walks away [money].
    training_time, mining_time : its answer (what it would be at the bounds, where it cannot accept).
    payment, energy : t p_t + s p_m and what the work costs it; V = payment - energy where it accepts.
    shortage : by how much its least times exceed the deadline; it can accept if that is at most 0 [time].
    """

    value: np.ndarray
    training_time: np.ndarray
    mining_time: np.ndarray
    payment: np.ndarray
    energy: np.ndarray
    shortage: np.ndarray
    accepts: np.ndarray


def answers(clients: Clients, training_price: ArrayLike, mining_price: ArrayLike, deadline: ArrayLike) -> Answers:
    """Problem 1 for every pair: V = max p_t t + p_m s - rho mu^3/t^2 - rho psi^3/s^2, or 0 by walking away.

    clients, training_price, mining_price, deadline : whatever broadcasts; a price of 0 or NaN is no offer.
    """
    return _solved(clients, training_price, mining_price, deadline)[0]


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Slopes:
    """Derivatives by (training price, mining price, deadline), in the last axis.

    extended : V where the client accepts; below, where it cannot, a continuation that falls with the shortage as steeply
        as V rises from it, so that "not worth taking" stays one inequality that a solver can follow. paid : the payment
        where the client accepts, and a positive continuation where it cannot. value, payment, training_time, shortage :
        derivatives of ``extended``, ``paid`` and of what is so named in :class:`Answers`.
    """

    extended: np.ndarray
    paid: np.ndarray
    value: np.ndarray
    payment: np.ndarray
    training_time: np.ndarray
    shortage: np.ndarray


def answers_with_slopes(
    clients: Clients, training_price: ArrayLike, mining_price: ArrayLike, deadline: ArrayLike, step: float = 1e-2
) -> tuple[Answers, Slopes]:
    """:func:`answers`, and how they move with the offer.

    A client at its largest speed can earn up to the very offer that it cannot accept, where V drops to 0: ``extended``
    makes a slope of that step, ``step`` deadlines wide.

    With the multipliers alpha of t >= t_lo, beta of s >= s_lo and lambda of the deadline (one of alpha, beta is 0),
    dV/dp_t = t - alpha dt_lo/dp_t, dV/dp_m = s - beta ds_lo/dp_m, dV/dT = lambda (envelope theorem): V is differentiable where
    the client accepts with time to spare. Its times are not where it begins to sit on a bound; one side's slope is given.
    """
    found, bounds = _solved(clients, training_price, mining_price, deadline)
    p_t, p_m, t, s = bounds.p_t, bounds.p_m, found.training_time, found.mining_time
    mu, rho, psi, q = clients.training_cycles, clients.energy_coefficient, clients.mining_cycles, clients.max_speed
    with np.errstate(all="ignore"):
        dt_low = np.where(bounds.pace_t > 1 / q, -bounds.t_low / (3 * p_t), 0.0)
        ds_low = np.where(bounds.pace_m > 1 / q, -bounds.s_low / (3 * p_m), 0.0)
        pull, push = 2 * rho * (mu / t) ** 3, 2 * rho * (psi / s) ** 3
        h = p_t - p_m + pull - push
        alpha, beta = np.where(bounds.at_t, np.maximum(-h, 0.0), 0.0), np.where(bounds.at_s, np.maximum(h, 0.0), 0.0)
        worth = np.where(bounds.at_s, p_t + pull, p_m + push)  # lambda
        steep = 3 * np.maximum(p_t, p_m)
        short, accepts = found.shortage, found.accepts
        one = np.ones_like(short)
        fast_t, fast_s = bounds.pace_t < 1 / q, bounds.pace_m < 1 / q
        jump = np.where(fast_t, p_t * mu / q - rho * mu * q**2, 0.0) + np.where(
            fast_s, p_m * psi / q - rho * psi * q**2, 0.0
        )
        width = step * (bounds.t_low + bounds.s_low - short)
        extended = np.where(accepts, found.value, jump * (1 - short / width) - steep * short)
        d_short = np.stack([dt_low * one, ds_low * one, -one], axis=-1)
        inside = np.stack([t - alpha * dt_low, s - beta * ds_low, worth], axis=-1)
        tilt = np.stack([np.where(p_t >= p_m, 3 * short, 0.0), np.where(p_t >= p_m, 0.0, 3 * short), 0 * one], axis=-1)
        d_jump = np.stack([np.where(fast_t, mu / q, 0.0), np.where(fast_s, psi / q, 0.0), 0 * one], axis=-1)
        outside = (1 - short / width)[..., None] * d_jump - (steep + jump / width)[..., None] * d_short - tilt
        outside[..., 2] += jump * short / width**2 * step
        d_value = np.where(accepts[..., None], inside, outside)
        bend = 3 * pull / t + 3 * push / s  # -dh/dt
        free = np.stack([1 / bend, -1 / bend, 3 * push / s / bend], axis=-1)
        low, high = np.stack([dt_low * one, 0 * one, 0 * one], axis=-1), np.stack([0 * one, -ds_low, one], axis=-1)
        d_t = np.where(bounds.at_t[..., None], low, np.where(bounds.at_s[..., None], high, free))
        d_payment = np.stack([t, s, p_m * one], axis=-1) + (p_t - p_m)[..., None] * d_t
        # Who cannot accept is paid, for the solver, as if its least times were cut to the deadline in proportion.
        least = bounds.t_low + bounds.s_low
        asked, cut = p_t * bounds.t_low + p_m * bounds.s_low, (time := least - short) / least
        payment = np.where(accepts, found.payment, asked * cut)
        d_asked = np.stack([bounds.t_low + p_t * dt_low, bounds.s_low + p_m * ds_low, 0 * one], axis=-1)
        d_least = np.stack([dt_low * one, ds_low * one, 0 * one], axis=-1)
        d_cut = -(time / least**2)[..., None] * d_least
        d_cut[..., 2] += 1 / least
        d_payment = np.where(accepts[..., None], d_payment, asked[..., None] * d_cut + cut[..., None] * d_asked)
    return found, Slopes(extended, payment, d_value, d_payment, d_t, d_short)


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class _Bounds:
    p_t: np.ndarray
    p_m: np.ndarray
    pace_t: np.ndarray
    pace_m: np.ndarray
    t_low: np.ndarray
    s_low: np.ndarray
    at_t: np.ndarray
    at_s: np.ndarray


def _solved(
    clients: Clients, training_price: ArrayLike, mining_price: ArrayLike, deadline: ArrayLike
) -> tuple[Answers, _Bounds]:
    mu, rho, q, p_t, p_m, time = np.broadcast_arrays(
        clients.training_cycles,
        clients.energy_coefficient,
        clients.max_speed,
        *(np.asarray(values, dtype=float) for values in (training_price, mining_price, deadline)),
    )
    psi = clients.mining_cycles
    offered = (p_t > 0) & (p_m > 0)
    p_t, p_m = np.where(offered, p_t, 1.0), np.where(offered, p_m, 1.0)
    scale = np.cbrt(2 * rho)
    t, s = response_times((scale * mu).ravel(), (scale * psi).ravel(), (p_t - p_m).ravel(), time.ravel())
    t, s = t.reshape(time.shape), s.reshape(time.shape)
    pace_t, pace_m = np.cbrt(rho / p_t), np.cbrt(rho / p_m)  # least times of a cycle that the prices pay for
    t_low, s_low = mu * np.maximum(pace_t, 1 / q), psi * np.maximum(pace_m, 1 / q)
    at_t = t <= t_low
    t, s = np.where(at_t, t_low, t), np.where(at_t, time - t_low, s)
    at_s = s <= s_low
    t, s = np.where(at_s, time - s_low, t), np.where(at_s, s_low, s)
    shortage = np.where(offered, t_low + s_low - time, np.inf)
    accepts = shortage <= ROUNDING * time
    with np.errstate(all="ignore"):
        payment, energy = p_t * t + p_m * s, rho * (mu * (mu / t) ** 2 + psi * (psi / s) ** 2)
    value = np.where(accepts, payment - energy, 0.0)
    return Answers(value, t, s, payment, energy, shortage, accepts), _Bounds(
        p_t, p_m, pace_t, pace_m, t_low, s_low, at_t & ~at_s, at_s
    )
