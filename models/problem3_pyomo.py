"""Problem 3 in Pyomo: which prices should the owner post when the clients' work is private?

Problem 2 (see :mod:`bcfl_opt.models.problem2_pyomo`: variables, objective, (8)-(10), speed limits, both responses) with

    individual_rationality      U_i >= 0                                                          [money]    (17)
    incentive_compatibility     U_i(q, p, mu) >= U_i(q, p, mu_hat) for every mu_hat in the type interval      (18)
    training_budget             t p_t <= R_t                                                                 (13)
    mining_budget               s p_m <= R_m                                                                 (14)

(18) read literally keeps speeds and prices and changes mu alone: U_i changes by (p_t / q_t - rho q_t^2)(mu - mu_hat), or,
per cycle of its own, by (t p_t - rho mu^3 / t^2)(mu - mu_hat) / mu. The type interval runs from the population's least mu
to its largest, so the condition says, by client:

    mu strictly inside     t p_t - rho mu^3 / t^2  = 0       (both kinds of misreport must not pay)
    mu the least           t p_t - rho mu^3 / t^2 <= 0       (only over-reporting is possible)
    mu the largest         t p_t - rho mu^3 / t^2 >= 0       (only under-reporting is possible)
    all mu equal           nothing

The middle line is Theorem 3.1's speed. It is not convex as a constraint of the form with payments; where (8) is minimised
against, it holds at the optimum anyway (theory 4.2): Problem 3 as printed has Problem 2's optimum. Under
``response="theorem"`` training earns nothing whatever the prices, (18) is an identity and the component is empty.

``budgets="exhausted"``: the training cap is spent, (13) with equality, and the client is held to U_i = 0, (17) with
equality; the mining cap stays an upper limit. That is the reading under which Theorem 4.1 holds. With the optimal
response (17) is written U_i >= 0 and is tight at the optimum: with a = R_t paid, the owner saves by the least b, hence
by the longest s, hence by the least t that (8) allows. Written with equality, (8), (9) and (17) would leave no interior.
"""

from __future__ import annotations

from typing import Any

import pyomo.environ as pyo
from pyomo.common.gc_manager import PauseGC

from bcfl_opt.game import Game
from bcfl_opt.models._owner import data, over_clients, owner_model

if __name__ != "bcfl_opt.models.problem3_pyomo":
    raise ImportError("import this model as bcfl_opt.models.problem3_pyomo, from the installed package (pip install .)")


def build(game: Game, *, response: str = "optimal", budgets: str = "at_most", screen: bool = True) -> pyo.ConcreteModel:
    """The programme above as a Pyomo model.

    Parameters
    ----------
    game : the game. response : "optimal" or "theorem". budgets : "at_most" or "exhausted".
    screen : leave out clients that no prices recruit within their caps, with the reason in ``model.bcfl.excluded``;
        with False everyone is kept, for a user who then changes the constraint that excluded them.

    Raises
    ------
    InputError : an unknown response or budgets.
    """
    with PauseGC():  # a model is many small objects, none of them garbage
        return _model(game, response, budgets, screen)


def _model(game: Game, response: str, budgets: str, screen: bool) -> pyo.ConcreteModel:
    m = owner_model(game, "Problem 3", response, budgets, screen)
    kept = game.population.ids.isin(list(m.clients))
    mu, r_t, r_m = data(game, kept, "training_cycles", "training_cap", "mining_cap")
    least, largest = float(game.population.training_cycles.min()), float(game.population.training_cycles.max())
    spent = budgets == "exhausted"
    held = spent and response == "theorem"

    def compatible(i: Any) -> Any:
        profit = m.training_reward[i] - m.training_energy[i]
        if response == "theorem" or least == largest:
            return pyo.Constraint.Feasible
        if mu[i] == least:
            return profit <= 0
        return profit >= 0 if mu[i] == largest else profit == 0

    m.training_budget = over_clients(
        m, pyo.Constraint, lambda i: m.training_reward[i] == r_t[i] if spent else m.training_reward[i] <= r_t[i]
    )
    m.mining_budget = over_clients(m, pyo.Constraint, lambda i: m.mining_reward[i] <= r_m[i])
    m.individual_rationality = over_clients(
        m, pyo.Constraint, lambda i: m.client_utility[i] == 0 if held else m.client_utility[i] >= 0
    )
    m.incentive_compatibility = over_clients(m, pyo.Constraint, compatible)
    return m
