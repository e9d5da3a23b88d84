"""Problem 2 in CVXPY: which prices should the owner post, knowing every client's work?

``response="optimal"``: the client truly optimises. A convex programme (DCP) in one level (theory 5.3). Variables by
client, vectors over ``context.clients``:

    training_time       t                                                                       [time]
    mining_time         s                                                                       [time]
    training_payment    a = t p_t                                                               [money]
    mining_payment      b = s p_m                                                               [money]

    maximise        owner_utility           f(sum mu) - xi sum_i (t + s + a + b)                             (2)
    subject to      training_rationality    a - rho mu^3 / t^2 >= 0                             [money]      (8)
                    mining_rationality      b - rho psi^3 / s^2 >= 0                            [money]      (9)
                    deadline                t + s = T                                           [time]       (10)
                    training_budget         a <= R_t                                            [money]      (13)
                    mining_budget           b <= R_m                                            [money]      (14)
                    training_speed_limit    t >= mu / q                                         [time]  (section 2.2.1)
                    mining_speed_limit      s >= psi / q                                        [time]  (section 2.2.1)

f(sum mu) is over the clients of the model and constant. (10) is an equality because clients that are paid per unit of time
use all of it; with <= the owner would pick the deadline (theory 5.2). The speed limits are there if any client has one.

What is dropped: that (t, s) is the client's best answer to p_t = a / t, p_m = b / s. It comes back at the optimum: there a
and b are as small as (8) and (9) allow, t = mu (rho / p_t)^(1/3) and s = psi (rho / p_m)^(1/3) are the client's bounds,
they add up to T, and its feasible set is that one point. A change to the model can break this, so :func:`bcfl_opt.solve`
solves every client's problem exactly at the found prices and accepts the answer only if the times are confirmed.

``response="theorem"``: Theorem 3.1's response substituted, the paper's backward induction. Under (11) training earns
nothing, so a = rho mu^3 / t^2 is an expression, and t is free through p_t = rho (mu / t)^3; (12) is the deadline. Variables
t, s, b. (8) is an identity: training_rationality is there and has no entries. (13) reads rho mu^3 / t^2 <= R_t.

``budgets="exhausted"``: (13) and (14) with equality, the reading under which Theorem 3.2 holds. With the theorem's response
(13) is the linear t = sqrt(rho mu^3 / R_t), and (14) b = R_m; owner_utility is constant. With the optimal response a = R_t,
b = R_m; the owner's utility is the same at every feasible point, and the clients decide. With the prices p_t = R_t / t and
p_m = R_m / s that spend the caps, client i's split of T is its best answer to those very prices if and only if

    h = R_t / t + 2 rho mu^3 / t^3 - R_m / s - 2 rho psi^3 / s^3     is = 0 in the interior, <= 0 at the least t, >= 0 at
                                                                    the least s (theory 1.3).

Its least t is max(mu (rho / p_t)^(1/3), mu / q), and t >= mu (rho / p_t)^(1/3) at p_t = R_t / t says rho mu^3 / t^2 <= R_t:
the bounds are (8), (9) with a = R_t, b = R_m and the speed limits, and do not move with the prices. So these are the
optimality conditions of maximising, over t + s = T within those bounds, the strictly concave potential

    potential = sum_i  R_t log(t / t_u) + R_m log(s / s_u) - rho mu^3 / t^2 - rho psi^3 / s^2

whose derivative along t + s = T is h (t_u = T mu / (mu + psi) and s_u = T psi / (mu + psi) only shift it by a constant).
The objective is then owner_utility + potential; ``expressions["owner_utility"]`` alone is what the owner gets.

Expressions by client: those of Problem 1 (training_price a / t and mining_price b / s are not DCP, but have values;
with the theorem's response training_price is convex), owner_cost t + s + a + b (convex); owner_utility (a number).

Without (8)-(10) the printed Problem 2 is not well posed: p_m -> 0, q_m -> infinity (theory 3.2).
"""

from __future__ import annotations

import cvxpy as cp

from bcfl_opt.context import ConvexModel
from bcfl_opt.game import Game
from bcfl_opt.models._owner_convex import owner_model
from bcfl_opt.models._times import usual_times

if __name__ != "bcfl_opt.models.problem2_cvxpy":
    raise ImportError("import this model as bcfl_opt.models.problem2_cvxpy, from the installed package (pip install .)")


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
    theorem = response == "theorem"
    owner = owner_model(game, "Problem 2", response, budgets, screen, no_profit=theorem)
    model = owner.model
    a, b = model.expressions["training_reward"], model.expressions["mining_reward"]
    if budgets == "at_most":
        model.constraints["training_budget"] = a <= owner.training_cap
        model.constraints["mining_budget"] = b <= owner.mining_cap
        return model
    t, s = model.variables["training_time"], model.variables["mining_time"]
    model.constraints["training_budget"] = t == owner.spent_time if theorem else a == owner.training_cap
    model.constraints["mining_budget"] = b == owner.mining_cap
    if not theorem:
        usual_t, usual_s = usual_times(owner.training_cycles, game.mining_cycles, game.deadline)
        logs = cp.multiply(owner.training_cap, cp.log(cp.multiply(1 / usual_t, t)))
        logs += cp.multiply(owner.mining_cap, cp.log(cp.multiply(1 / usual_s, s)))
        model.expressions["potential"] = cp.sum(logs - model.expressions["energy_cost"])
        model.objective = cp.Maximize(model.expressions["owner_utility"] + model.expressions["potential"])
    return model
