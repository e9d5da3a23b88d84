"""What is each side's utility? (1) and (2), written once for numbers, numpy arrays, Pyomo and CVXPY expressions.

Plain arithmetic only. CVXPY reads ``*`` between two vectors as a matrix product, but divides element by element;
therefore coefficients enter as divisors where a vector expression may meet them, and rewards are passed as rewards
(time x price, however the caller's language multiplies, or a variable of their own).

Arguments are one client's, or vectors over clients, in any mixture that broadcasts.
"""

from __future__ import annotations

from typing import Any


def energy_cost(time: Any, cycles: Any, energy_coefficient: Any) -> Any:
    """C = rho c^3 / t^2, what c cycles cost when spread over the time t (speed c / t) [money].

    Parameters
    ----------
    time : t > 0; in CVXPY an affine expression (the cost is then DCP convex). cycles : c, mu for training, psi for
        mining. energy_coefficient : rho.

    Source: C_t = rho mu q_t^2, C_m = rho psi q_m^2 of section 2.2.1, with q = c / t.
    """
    return (time / (energy_coefficient * cycles**3) ** 0.5) ** -2


def client_utility(
    training_time: Any,
    mining_time: Any,
    training_reward: Any,
    mining_reward: Any,
    *,
    training_cycles: Any,
    mining_cycles: Any,
    energy_coefficient: Any,
) -> Any:
    """U = R_t + R_m - rho mu^3 / t^2 - rho psi^3 / s^2 [money]; concave in the times, for rewards affine in them.

    Parameters
    ----------
    training_time, mining_time : t, s. training_reward, mining_reward : R_t = t p_t, R_m = s p_m.
    training_cycles : mu. mining_cycles : psi. energy_coefficient : rho.

    Source: (1), U_i = R_i - C_i.
    """
    training_cost = energy_cost(training_time, training_cycles, energy_coefficient)
    mining_cost = energy_cost(mining_time, mining_cycles, energy_coefficient)
    return training_reward + mining_reward - training_cost - mining_cost


def client_utility_at_speeds(
    training_speed: Any,
    mining_speed: Any,
    training_price: Any,
    mining_price: Any,
    *,
    training_cycles: Any,
    mining_cycles: Any,
    energy_coefficient: Any,
) -> Any:
    """U = (mu / q_t) p_t + (psi / q_m) p_m - rho mu q_t^2 - rho psi q_m^2 [money], (1) as printed.

    Parameters
    ----------
    training_speed, mining_speed : q_t, q_m > 0. training_price, mining_price : p_t, p_m; numbers or arrays in CVXPY.
    training_cycles : mu. mining_cycles : psi. energy_coefficient : rho.
    """
    rewards = (training_cycles * training_price) / training_speed + (mining_cycles * mining_price) / mining_speed
    training_cost = (training_speed / (energy_coefficient * training_cycles) ** -0.5) ** 2
    mining_cost = (mining_speed / (energy_coefficient * mining_cycles) ** -0.5) ** 2
    return rewards - training_cost - mining_cost


def owner_cost(training_time: Any, mining_time: Any, training_reward: Any, mining_reward: Any) -> Any:
    """T_i + R_i = t + s + R_t + R_m, what a client costs the owner before the weight xi [time + money].

    The owner's utility is U_mo = f(sum mu) - xi sum (T_i + R_i). Source: (2).
    """
    return training_time + mining_time + training_reward + mining_reward
