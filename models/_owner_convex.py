"""What do the owner's Problems 2 and 3 have in common in CVXPY? Variables, data, response; stated in their files."""

from __future__ import annotations

import dataclasses

import cvxpy as cp
import numpy as np

from bcfl_opt import participation
from bcfl_opt.context import Context, ConvexModel
from bcfl_opt.errors import choice
from bcfl_opt.game import Game
from bcfl_opt.models._times import Work, speed_limits

if __name__ != "bcfl_opt.models._owner_convex":
    raise ImportError("import these models as bcfl_opt.models, from the installed package (pip install .)")


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Owner:
    """The owner's model without (13), (14), and what its problems build on.

    training_cap, mining_cap : R_t, R_m. spent_time : the training time at which the training cap pays for the energy
    exactly, sqrt(rho mu^3 / R_t). training_profit, mining_profit : reward - energy cost. All by client of the model.
    """

    model: ConvexModel
    training_cycles: np.ndarray
    training_cap: np.ndarray
    mining_cap: np.ndarray
    spent_time: np.ndarray
    training: Work
    mining: Work
    training_profit: cp.Expression
    mining_profit: cp.Expression


def owner_model(
    game: Game, problem: str, response: str, budgets: str, screen: bool, *, no_profit: bool, exponent: float = 2.0
) -> Owner:
    """Variables, expressions, (8)-(10), speed limits and objective (2).

    exponent : k of the energy rho x cycles x speed^k.
    no_profit : with exhausted budgets training earns nothing, so the training time is ``spent_time`` (for screening).
    """
    choice("response", response, ("optimal", "theorem"))
    choice("budgets", budgets, ("at_most", "exhausted"))
    theorem = response == "theorem"
    reason = participation.screen_recruitment(
        game, exhausted=budgets == "exhausted", theorem=no_profit, exponent=exponent
    )
    kept = (reason == "").to_numpy() if screen else np.ones(len(game), dtype=bool)
    population, psi, deadline = game.population, game.mining_cycles, game.deadline
    mu, rho, q = population.training_cycles[kept], population.energy_coefficient[kept], population.max_speed[kept]
    caps = {name: game.caps[name].to_numpy()[kept] for name in ("training_cap", "mining_cap")}
    r_t, r_m = caps["training_cap"], caps["mining_cap"]

    names = ["training_time", "mining_time", *([] if theorem else ["training_payment"]), "mining_payment"]
    variables = {name: cp.Variable(len(mu), name=name) for name in names}
    t, s, b = variables["training_time"], variables["mining_time"], variables["mining_payment"]
    with np.errstate(divide="ignore"):
        spent_time = mu * np.sqrt(rho * mu / r_t)
    usual_t, usual_s = t.value, s.value = _start_times(game, kept, exponent)
    if budgets == "exhausted" and no_profit:
        fits = spent_time < deadline
        usual_t, usual_s = np.where(fits, spent_time, usual_t), np.where(fits, deadline - spent_time, usual_s)
    training, mining = Work(t, mu, rho, usual_t, exponent), Work(s, np.full_like(mu, psi), rho, usual_s, exponent)
    a = training.energy if theorem else variables["training_payment"]
    # Payments start between what the energy costs and the cap.
    b.value = _between(mining.energy.value, r_m)
    if not theorem:
        a.value = _between(training.energy.value, r_t)

    training_profit, mining_profit = a - training.energy, b - mining.energy
    constraints = {
        # Under (11) training earns exactly nothing, so (8) holds whatever the times: it is there, and has no entries.
        "training_rationality": t[:0] >= 0 if theorem else training_profit >= 0,
        "mining_rationality": mining_profit >= 0,
        "deadline": t + s == deadline,
        **speed_limits(t, s, mu, psi, q),
    }
    owner_cost = t + s + a + b
    owner_utility = game.performance_value(kept) - game.cost_weight * cp.sum(owner_cost)
    title = f"{problem}, {response} response, budgets {budgets.replace('_', ' ')}"
    model = ConvexModel(
        context=Context(game, title, population.ids[kept], reason[~kept].to_dict(), follower_optimal=not theorem),
        variables=variables,
        constraints=constraints,
        expressions={
            "training_time": t,
            "mining_time": s,
            "training_speed": training.speed,
            "mining_speed": mining.speed,
            "training_price": training.least_price if theorem else a / t,
            "mining_price": b / s,
            "training_reward": a,
            "mining_reward": b,
            "training_energy": training.energy,
            "mining_energy": mining.energy,
            "energy_cost": training.energy + mining.energy,
            "client_utility": mining_profit if theorem else a + b - training.energy - mining.energy,
            "owner_cost": owner_cost,
            "owner_utility": owner_utility,
        },
        objective=cp.Maximize(owner_utility),
    )
    return Owner(model, mu, r_t, r_m, spent_time, training, mining, training_profit, mining_profit)


def _start_times(game: Game, kept: np.ndarray, exponent: float) -> tuple[np.ndarray, np.ndarray]:
    """Times on the line t + s = T, in the middle of what speed limits and caps leave, or at T / 2 where they leave nothing."""
    bounds = participation.recruitment_bounds(game, exponent=exponent)
    low, high = bounds.training_low, game.deadline - bounds.mining_low
    t = np.where(low < high, (low + high) / 2, game.deadline / 2)[kept]
    return t, game.deadline - t


def _between(energy: np.ndarray, cap: np.ndarray) -> np.ndarray:
    """Strictly inside (8), (13) or (9), (14) if that can be, and near what the energy costs: caps may be far beyond."""
    return np.minimum(2 * energy, (energy + np.maximum(energy, cap)) / 2)
