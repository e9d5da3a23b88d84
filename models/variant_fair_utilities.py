"""Variant: the owner shares one payment budget fairly: alpha-fair, or max-min, in the clients' utilities.

The owner pays each client one price p for both tasks (theory 5.7). Variables by client: training_time t, mining_time s,
payment y = p T >= 0, and for max-min the number least_utility l.

    maximise    utility                 sum_i w_i U_i^(1 - alpha) / (1 - alpha),  sum_i w_i log U_i at alpha = 1,
                                        or l for alpha = inf, with  fairness  U_i >= w_i l
                                        where U_i = y - rho mu^3 / t^2 - rho psi^3 / s^2                    (1)
    subject to  individual_rationality  U_i >= 0              ((8), (9) say the same at equal prices)      (17)
                payment_budget          sum_i y <= B                                                    [money]
                deadline                t + s = T                                                           (10)
                response                psi t = mu s             (the client's optimum at equal prices)
                training_budget         y mu / (mu + psi) <= R_t                                            (13)
                mining_budget           y psi / (mu + psi) <= R_m                                           (14)

The times are given by the response, so each client costs e = rho (mu + psi)^3 / T^2, and what is shared is B - sum e. Without
weights every alpha > 0 shares alike: equal utilities, but for clients whose caps allow no more, whose rest goes to the others.
With weights

    U_i = min((w_i / lambda)^(1 / alpha), room_i),    room_i = (mu + psi) min(R_t / mu, R_m / psi) - e,

lambda the root of sum_i U_i = B - sum e (theory 5.8): alpha = 1 shares in proportion to the weights, larger ones more evenly.
Max-min has l = min(min_i room_i / w_i, (B - sum e) / sum w), and leaves open who gets what is over where a cap sets l.

The programme is convex (DCP). Among equal prices alone: where a cap binds, unequal prices could give that client more,
at times that cost more energy. ``owner_utility`` is (2) at the answer; the owner's time is the same whatever it pays.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import cvxpy as cp
import numpy as np
import pyomo.environ as pyo

from bcfl_opt.context import Context, ConvexModel
from bcfl_opt.errors import InputError
from bcfl_opt.game import Game
from bcfl_opt.models._even import even_convex, even_model, screened
from bcfl_opt.models._owner import over_clients
from bcfl_opt.models._times import power

if __name__ != "bcfl_opt.models.variant_fair_utilities":
    raise ImportError("import this model as bcfl_opt.models.variant_fair_utilities, from the installed package")


def build(
    game: Game, payment_budget: float, *, alpha: float = 1.0, weights: Any = 1.0, screen: bool = True
) -> pyo.ConcreteModel:
    """The programme above as a Pyomo model.

    Parameters
    ----------
    game : the game. payment_budget : B [money]. alpha : > 0, or ``float("inf")`` for max-min.
    weights : w > 0, a number, an array or a Series by client.
    screen : leave out clients that no single price recruits within their caps.
    """
    context, kept, w, energy = _prepared(game, alpha, weights, screen)
    spare = max(payment_budget - energy.sum(), 0.0) / max(energy.size, 1)
    m = even_model(game, context, kept, energy + spare)
    y, weight = m.payment, dict(zip(context.clients, w.tolist(), strict=True))
    m.client_utility = over_clients(m, pyo.Expression, lambda i: y[i] - m.energy_cost[i])
    m.individual_rationality = over_clients(m, pyo.Constraint, lambda i: m.client_utility[i] >= 0)
    if len(context.clients):
        m.payment_budget = pyo.Constraint(expr=pyo.quicksum(y.values()) <= payment_budget)
    total = pyo.quicksum(m.training_time[i] + m.mining_time[i] + y[i] for i in m.clients)
    m.owner_utility = pyo.Expression(expr=game.performance_value(kept) - game.cost_weight * total)
    if alpha == np.inf:
        m.least_utility = pyo.Var(initialize=0.0)
        m.fairness = over_clients(m, pyo.Constraint, lambda i: m.client_utility[i] >= weight[i] * m.least_utility)
        m.utility = pyo.Objective(expr=m.least_utility, sense=pyo.maximize)
        return m
    terms = (
        weight[i] * (pyo.log(u) if alpha == 1 else u ** (1 - alpha) / (1 - alpha)) for i, u in m.client_utility.items()
    )
    m.utility = pyo.Objective(expr=pyo.quicksum(terms), sense=pyo.maximize)
    return m


def build_convex(
    game: Game, payment_budget: float, *, alpha: float = 1.0, weights: Any = 1.0, screen: bool = True
) -> ConvexModel:
    """The programme above as CVXPY objects by name; arguments as for :func:`build`."""
    context, kept, w, _ = _prepared(game, alpha, weights, screen)
    model = even_convex(game, context, kept)
    t, s, y = model.variables.values()
    utility = y - model.expressions["energy_cost"]
    model.constraints["individual_rationality"] = utility >= 0
    model.constraints["payment_budget"] = cp.sum(y) <= payment_budget
    model.expressions["client_utility"] = utility
    model.expressions["owner_utility"] = game.performance_value(kept) - game.cost_weight * cp.sum(t + s + y)
    if alpha == np.inf:
        least = model.variables["least_utility"] = cp.Variable(name="least_utility")
        model.constraints["fairness"] = utility >= w * least
        return dataclasses.replace(model, objective=cp.Maximize(least))
    terms = cp.log(utility) if alpha == 1 else power(utility, 1 - alpha) / (1 - alpha)
    return dataclasses.replace(model, objective=cp.Maximize(cp.sum(cp.multiply(w, terms))))


def _prepared(
    game: Game, alpha: float, weights: Any, screen: bool
) -> tuple[Context, np.ndarray, np.ndarray, np.ndarray]:
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not alpha > 0:
        raise InputError(f'alpha: {alpha!r} must be greater than 0; float("inf") is max-min')
    w, people = game._by_client("weights", weights), game.population
    if not (w > 0).all():
        raise InputError("weights: every weight must be greater than 0; leave a client out by population.select")
    energy = people.energy_coefficient * (people.training_cycles + game.mining_cycles) ** 3 / game.deadline**2
    reason = screened(game, energy)
    kept = (reason == "").to_numpy() if screen else np.ones(len(game), dtype=bool)
    problem = f"Fair utilities under a payment budget, {'max-min' if alpha == np.inf else f'alpha = {alpha:g}'}"
    context = Context(game, problem, people.ids[kept], reason[~kept].to_dict(), follower_optimal=True)
    return context, kept, w[kept], energy[kept]
