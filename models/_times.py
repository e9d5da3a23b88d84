"""What do the convex models have in common? Energy and speed as DCP expressions of a time, without units inside."""

from __future__ import annotations

from fractions import Fraction

import cvxpy as cp
import numpy as np

if __name__ != "bcfl_opt.models._times":
    raise ImportError("import these models as bcfl_opt.models, from the installed package (pip install .)")


class Work:
    """``cycles`` done in a variable time: C = rho c^3 / t^2 (energy cost, convex) and c / t (speed, convex).

    time : cp.Variable (n,). cycles, energy_coefficient : c, rho, arrays (n,). usual : a usual time, array (n,).
    exponent : k, in the variant C = rho c^(k + 1) / t^k.

    C is written as (rho c^3 / u^2) (u / t)^2 with the usual time u, so that t / u and u / t are near 1 in any units, and
    as the square of 1 / t, which costs one second-order cone and a quadratic term. Measured against the other ways to
    write t^-2: the power cone fails on some random instances, the tower of cones of ``power(t, -2)`` takes twice as long.
    """

    def __init__(
        self,
        time: cp.Variable,
        cycles: np.ndarray,
        energy_coefficient: np.ndarray,
        usual: np.ndarray,
        exponent: float = 2.0,
    ) -> None:
        inverse = cp.inv_pos(cp.multiply(1 / usual, time))
        self.speed = cp.multiply(cycles / usual, inverse)
        powered = cp.square(inverse) if exponent == 2.0 else power(cp.multiply(1 / usual, time), -exponent)
        self.energy = cp.multiply(energy_coefficient * cycles * (cycles / usual) ** exponent, powered)
        #: The price per unit of time that pays for the energy exactly, rho (c / t)^3 (convex).
        self.least_price = cp.multiply(energy_coefficient * (cycles / usual) ** 3, cp.power(inverse, 3))


def power(x: cp.Expression, exponent: float) -> cp.Expression:
    """x^p, exactly: by second-order cones for fractions, else by exponential cones (convex) or power cones (concave).

    Solutions on second-order and exponential cones are refined to rounding, those on power cones are not.
    """
    if Fraction(exponent).limit_denominator(1024) == exponent:
        return cp.power(x, exponent)
    return cp.exp(exponent * cp.log(x)) if exponent < 0 else cp.power(x, exponent, approx=False)


def usual_times(training_cycles: np.ndarray, mining_cycles: float, deadline: float) -> tuple[np.ndarray, np.ndarray]:
    """Training and mining time at one speed for both, T mu / (mu + psi) and T psi / (mu + psi)."""
    share = training_cycles / (training_cycles + mining_cycles)
    return deadline * share, deadline * (mining_cycles / (training_cycles + mining_cycles))


def speed_limits(
    training_time: cp.Variable, mining_time: cp.Variable, mu: np.ndarray, psi: float, q: np.ndarray
) -> dict[str, cp.Constraint]:
    """t >= mu / q and s >= psi / q; empty if no client has a limit. A client without one has t, s >= 0."""
    if not np.isfinite(q).any():
        return {}
    return {"training_speed_limit": training_time >= mu / q, "mining_speed_limit": mining_time >= psi / q}
