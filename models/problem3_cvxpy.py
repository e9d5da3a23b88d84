"""Problem 3 in CVXPY: which prices should the owner post when the clients' work is private?

Problem 2 (see :mod:`bcfl_opt.models.problem2_cvxpy`: variables t, s, a, b, objective, (8)-(10), (13), (14), speed limits,
expressions, both responses, and what is dropped) and, by client,

    individual_rationality      U_i = a + b - rho mu^3 / t^2 - rho psi^3 / s^2 >= 0             [money]      (17)
    incentive_compatibility     (a - rho mu^3 / t^2) (mu - mu_hat) / mu >= 0                    [money]      (18)
                                for mu_hat = the least mu of the population

(18) is read literally: same speeds and prices, another type mu_hat. Then U_i changes by (p_t / q_t - rho q_t^2)(mu - mu_hat),
which is (a - rho mu^3 / t^2)(mu - mu_hat) / mu and linear in mu_hat, so the two ends of the type interval, the least and the
largest mu of the population, say it all. Against under-reporting (mu_hat the least) it is convex, and imposed. Against
over-reporting (mu_hat the largest) it says a <= rho mu^3 / t^2, which is reverse convex: it is not imposed but stands in
``checks`` as incentive_compatibility_over_reporting, and an answer that violates it is not a success. At the optimum it
holds, because a is as small as (8) allows; that is why (17) and (18) leave Problem 2's optimum unchanged (theory 4.2).
Under ``response="theorem"`` training earns nothing whatever the prices: (18) is an identity, there and without entries.

``budgets="exhausted"``, the reading under which Theorem 4.1 holds: the training cap is spent, (13) with equality, and the
client is held to zero utility, (17) with equality; the mining cap stays an upper limit. (17) is imposed as >= 0, because
= 0 is not convex; it is tight at the optimum, and ``checks["zero_utility"]`` makes sure. With the theorem's response (13)
is the linear t = sqrt(rho mu^3 / R_t), and b, which the owner minimises, falls to rho psi^3 / s^2. With the optimal response
a = R_t is spent whatever t is; zero utility and (8), (9) say that the energy costs exactly a and b, so t is again
sqrt(rho mu^3 / R_t) and the point is the theorem's. The programme gets there by itself: the owner minimises
b = rho psi^3 / s^2, hence wants s large and t small, and (8), rho mu^3 / t^2 <= a = R_t, is what stops t. A client whose
speed limit forbids that t is screened out. At the prices (15), (20) its feasible set is one point, so it responds so.
"""

from __future__ import annotations

import cvxpy as cp

from bcfl_opt.context import ConvexModel
from bcfl_opt.game import Game
from bcfl_opt.models._owner_convex import owner_model

if __name__ != "bcfl_opt.models.problem3_cvxpy":
    raise ImportError("import this model as bcfl_opt.models.problem3_cvxpy, from the installed package (pip install .)")


def build(game: Game, *, response: str = "optimal", budgets: str = "at_most", screen: bool = True) -> ConvexModel:
    """The programme above as CVXPY objects by name.

    Parameters
    ----------
    game : the game. response : "optimal" or "theorem". budgets : "at_most" or "exhausted".
    screen : leave out clients that no prices recruit within their caps, with the reason in ``context.excluded``; with
        False everyone is kept, for a user who then changes the constraint that excluded them.

    Raises
    ------
    InputError : an unknown response or budgets.
    """
    theorem, spent = response == "theorem", budgets == "exhausted"
    owner = owner_model(game, "Problem 3", response, budgets, screen, no_profit=True)
    model, mu = owner.model, owner.training_cycles
    t, utility = model.variables["training_time"], model.expressions["client_utility"]
    a, b = model.expressions["training_reward"], model.expressions["mining_reward"]
    if spent:
        model.constraints["training_budget"] = t == owner.spent_time if theorem else a == owner.training_cap
    else:
        model.constraints["training_budget"] = a <= owner.training_cap
    model.constraints["mining_budget"] = b <= owner.mining_cap
    model.constraints["individual_rationality"] = utility >= 0
    if theorem:
        model.constraints["incentive_compatibility"] = t[:0] >= 0
    else:
        least, largest = game.population.training_cycles.min(), game.population.training_cycles.max()
        model.constraints["incentive_compatibility"] = cp.multiply((mu - least) / mu, owner.training_profit) >= 0
        model.checks["incentive_compatibility_over_reporting"] = (
            cp.multiply((mu - largest) / mu, owner.training_profit) >= 0
        )
    if spent:
        model.checks["zero_utility"] = utility <= 0
    return model
