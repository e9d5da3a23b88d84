"""What is measured, and in what? Long names and units of every quantity that tables and data sets carry.

Units are the paper's, GHz and minutes, so that cycles come in GHz minutes; any other consistent system works as well.
"""

from __future__ import annotations

#: Name of a column or parameter -> (long name, unit); the unit of a plain number is "1".
QUANTITIES: dict[str, tuple[str, str]] = {
    # parameters of a game
    "mining_cycles": ("cycles to mine one block, psi", "GHz min"),
    "deadline": ("longest round, T", "min"),
    "cost_weight": ("weight of time and rewards in the owner's utility, xi", "1"),
    "reward_budget": ("all rewards of a round, eta", "money"),
    "mining_cap": ("largest mining reward of a client, R_m", "money"),
    "mining_budget": ("all mining rewards of a round, eta_m", "money"),
    "target": ("target performance of the Shapley game, g", "GHz min"),
    "performance": ("increasing function of the recruited clients' cycles, f", "1"),
    # clients
    "training_cycles": ("cycles to train one round, mu", "GHz min"),
    "energy_coefficient": ("chip constant of the energy cost, rho", "money / (GHz^3 min)"),
    "max_speed": ("largest CPU speed, q", "GHz"),
    "shapley": ("Shapley value, SV", "GHz min"),
    "training_cap": ("largest training reward of a client, R_t", "money"),
    # answers
    "training_time": ("time spent on training, t", "min"),
    "mining_time": ("time spent on mining, s", "min"),
    "training_speed": ("CPU speed in training, q_t", "GHz"),
    "mining_speed": ("CPU speed in mining, q_m", "GHz"),
    "training_price": ("price of training, p_t", "money / min"),
    "mining_price": ("price of mining, p_m", "money / min"),
    "training_reward": ("training reward, t p_t", "money"),
    "mining_reward": ("mining reward, s p_m", "money"),
    "energy_cost": ("energy cost of both tasks", "money"),
    "client_utility": ("client's utility, U", "money"),
    "owner_utility": ("owner's utility, U_mo", "money"),
    "recruited": ("does the client take part", "1"),
    "residual": ("largest residual of the certificate, relative", "1"),
    "iterations": ("iterations of the solver", "1"),
}


def attributes(name: str) -> dict[str, str]:
    """``long_name`` and ``units`` of a quantity, as xarray and its plots read them; empty for a name nobody knows.

    >>> attributes("deadline")
    {'long_name': 'longest round, T', 'units': 'min'}
    """
    if name not in QUANTITIES:
        return {}
    long_name, unit = QUANTITIES[name]
    return {"long_name": long_name, "units": unit}
