"""Problem 2 in Pyomo: which prices should the owner post, knowing every client's work?

``response="optimal"``: the client truly optimises. Single-level form, exact at the optimum and convex (theory 5.3).
Variables by client i: training_time t, mining_time s [time], training_payment a = t p_t, mining_payment b = s p_m [money],
all >= 0.

    maximise    utility                 f(sum mu) - xi sum_i (t + s + a + b)                                 (2)
    subject to  training_rationality    a >= rho mu^3 / t^2                                                  (8)
                mining_rationality      b >= rho psi^3 / s^2                                                 (9)
                deadline                t + s = T             (the client uses all of it, whatever the prices) (10)
                training_budget         a <= R_t                                                             (13)
                mining_budget           b <= R_m                                                             (14)
                training_speed_limit    t >= mu / q, mining_speed_limit  s >= psi / q    where q is finite
    expressions training_price a / t, mining_price b / s, and those of Problem 1

The client's optimality is dropped, and comes back at the optimum: there a and b are as small as (8) and (9) allow, which
leaves the client a single feasible point. A change to the model can break that, so :func:`bcfl_opt.solve` solves every
client's problem exactly at the found prices and accepts the answer only if the times are confirmed.

``response="theorem"``: the paper's backward induction. Variables: training_price p_t, mining_price p_m >= 0
[money / time]; Theorem 3.1 substituted: t = mu (rho / p_t)^(1/3) (11), s = T - t (12).

    maximise    utility                 f(sum mu) - xi sum_i (T + t p_t + s p_m)                             (2)
    subject to  training_rationality    t p_t >= rho mu^3 / t^2    an identity under (11): an empty component  (8)
                mining_rationality      s p_m >= rho psi^3 / s^2                                             (9)
                deadline                p_t >= rho (mu / T)^3      that is t <= T, so that (12) is a time     (10)
                training_budget         t p_t <= R_t                                                         (13)
                mining_budget           s p_m <= R_m                                                         (14)
                training_speed_limit    p_t <= rho q^3, mining_speed_limit  s >= psi / q  where q is finite

``budgets="at_most"``: (13) and (14) as printed. ``budgets="exhausted"``: both with equality, the reading under which
Theorem 3.2 holds. With the optimal response and exhausted budgets the owner's utility is the same at every feasible
point and the clients decide: with p_t = R_t / t and p_m = R_m / s fixed by the caps, their optimality conditions
p_t + 2 rho (mu/t)^3 = p_m + 2 rho (psi/s)^3, bounds included, are those of maximising the concave potential
sum_i R_t log t + R_m log s - rho mu^3 / t^2 - rho psi^3 / s^2. The objective is then owner_utility + that potential
(``model.potential``); ``model.owner_utility`` alone is what the owner gets.

Without (8)-(10) the printed Problem 2 is not well posed: p_m -> 0, q_m -> infinity (theory 3.2).
"""

from __future__ import annotations

import pyomo.environ as pyo
from pyomo.common.gc_manager import PauseGC

from bcfl_opt.game import Game
from bcfl_opt.models._owner import data, over_clients, owner_model

if __name__ != "bcfl_opt.models.problem2_pyomo":
    raise ImportError("import this model as bcfl_opt.models.problem2_pyomo, from the installed package (pip install .)")


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
    m = owner_model(game, "Problem 2", response, budgets, screen)
    kept = game.population.ids.isin(list(m.clients))
    r_t, r_m = data(game, kept, "training_cap", "mining_cap")
    if budgets == "at_most":
        m.training_budget = over_clients(m, pyo.Constraint, lambda i: m.training_reward[i] <= r_t[i])
        m.mining_budget = over_clients(m, pyo.Constraint, lambda i: m.mining_reward[i] <= r_m[i])
        return m
    m.training_budget = over_clients(m, pyo.Constraint, lambda i: m.training_reward[i] == r_t[i])
    m.mining_budget = over_clients(m, pyo.Constraint, lambda i: m.mining_reward[i] == r_m[i])
    if response == "optimal":
        t, s = m.training_time, m.mining_time
        m.potential = pyo.Expression(
            expr=pyo.quicksum(
                r_t[i] * pyo.log(t[i]) + r_m[i] * pyo.log(s[i]) - m.training_energy[i] - m.mining_energy[i]
                for i in m.clients
            )
        )
        m.utility.set_value(m.owner_utility + m.potential)
    return m
