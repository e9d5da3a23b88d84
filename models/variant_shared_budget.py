"""Variant: one budget for the payments to all clients together.

``deadlines="chosen"``: the owner also chooses each client's deadline (``variant_chosen_deadlines``), and

    payment_budget      sum_i (a + b) <= B                                                              [money]

With slack caps and the budget's multiplier nu >= 0 (in units of time per money) client i costs T_i + (1 + nu) rho (mu + psi)^3
/ T_i^2, so

    T_i = min(T, (2 rho (1 + nu))^(1/3) (mu + psi)),    nu the root of  sum_i rho (mu + psi)^3 / T_i^2 = B, or 0  (theory 5.2)

Money is saved by giving time; the least possible payment has everyone at T. A budget below it has no answer.

``deadlines="common"``: Problem 2 and the budget. A client at the common deadline already gets the least it can be paid, so a
budget changes nothing or leaves no answer. Whom to recruit then is the owner's to say beforehand (``population.select``): to
choose a set of clients under a budget is a knapsack problem, and no prices solve it. ``bo.equilibrium`` names the dearest
client and how many of the cheapest the budget would do for.

The programme is convex (DCP). The shadow price of the budget is xi nu.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import cvxpy as cp
import pyomo.environ as pyo
from pyomo.common.gc_manager import PauseGC

from bcfl_opt.context import ConvexModel
from bcfl_opt.errors import choice
from bcfl_opt.game import Game
from bcfl_opt.models import problem2_cvxpy, problem2_pyomo, variant_chosen_deadlines

if __name__ != "bcfl_opt.models.variant_shared_budget":
    raise ImportError("import this model as bcfl_opt.models.variant_shared_budget, from the installed package")


def build(game: Game, payment_budget: float, *, deadlines: str = "chosen", screen: bool = True) -> pyo.ConcreteModel:
    """The programme above as a Pyomo model.

    Parameters
    ----------
    game : the game. payment_budget : B > 0 [money]. deadlines : "chosen" or "common".
    screen : as in Problem 2, leave out clients that no prices recruit within their own caps.
    """
    with PauseGC():  # a model is many small objects, none of them garbage
        m = _base(deadlines, variant_chosen_deadlines.build, problem2_pyomo.build)(game, screen=screen)
        total = pyo.quicksum(m.training_payment[i] + m.mining_payment[i] for i in m.clients)
        if len(m.clients):
            m.payment_budget = pyo.Constraint(expr=total <= payment_budget)
    m.bcfl = dataclasses.replace(m.bcfl, problem=_title(deadlines))
    return m


def build_convex(game: Game, payment_budget: float, *, deadlines: str = "chosen", screen: bool = True) -> ConvexModel:
    """The programme above as CVXPY objects by name; arguments as for :func:`build`."""
    model = _base(deadlines, variant_chosen_deadlines.build_convex, problem2_cvxpy.build)(game, screen=screen)
    total = cp.sum(model.variables["training_payment"]) + cp.sum(model.variables["mining_payment"])
    model.constraints["payment_budget"] = total <= payment_budget
    return dataclasses.replace(model, context=dataclasses.replace(model.context, problem=_title(deadlines)))


def _base(deadlines: str, chosen: Any, common: Any) -> Any:
    return chosen if choice("deadlines", deadlines, ("chosen", "common")) == "chosen" else common


def _title(deadlines: str) -> str:
    return f"Problem 2 with a shared payment budget, {deadlines} deadlines"
