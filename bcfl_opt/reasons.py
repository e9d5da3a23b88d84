"""Why is a closed form right or wrong? Sentences for the cross-check, each stated only where the numbers bear it out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from bcfl_opt import closed_form, exact
from bcfl_opt.game import Game
from bcfl_opt.participation import response_bounds

#: Two values are the same number if they differ by no more than this, relative as ``Programme.relative`` says.
AGREEMENT = 1e-6


@dataclasses.dataclass(frozen=True, eq=False)
class Finding:
    """What putting a point into its programme showed.

    kind : "optimal", "worse", "better" or "infeasible". clients : ids judged. gradient : of the objective there, by name
    of the variable and client.
    """

    kind: str
    clients: list[Any]
    gradient: Mapping[str, pd.Series]


def why_3_1(game: Game, prices: pd.DataFrame) -> Callable[[Finding], str]:
    theorem = closed_form.theorem_3_1(game, prices)

    def why(finding: Finding) -> str:
        point = theorem.loc[finding.clients]
        rho = pd.Series(game.population.energy_coefficient, index=game.population.ids).loc[finding.clients]
        holds = 3 * point["training_price"] <= (point["mining_price"] + 2 * rho * point["mining_speed"] ** 3) * (
            1 + 1e-9
        )
        alone = int((point["optimal"] & ~holds).sum())
        text = f"3 p_t <= p_m + 2 rho q_m^3 holds for {int(holds.sum())} of {len(point)} clients" + (
            f", and {alone} more have no other feasible point" if alone else ""
        )
        if finding.kind != "worse" or point["optimal"].all():
            return text
        return (
            f"{text}; elsewhere longer training pays, and Appendix A misses it: its derivative of the Lagrangian drops the "
            "revenue, and Case 1, the interior optimum, is dismissed"
        )

    return why


def why_3_1_with_caps(game: Game, prices: pd.DataFrame) -> Callable[[Finding], str]:
    bounds = response_bounds(game, prices, reward_caps=True)
    room = np.minimum(bounds.training_high, game.deadline - bounds.mining_low) - bounds.training_low
    best = exact.best_response(game, prices, reward_caps=True).clients
    theorem = closed_form.theorem_3_1(game, prices)
    assert best is not None
    table = pd.DataFrame(
        {
            "single": room <= AGREEMENT * game.deadline,
            "longer": best["training_time"] > theorem["training_time"] * (1 + AGREEMENT),
            "overpaid": theorem["mining_time"] * theorem["mining_price"] > game.caps["mining_cap"] * (1 + AGREEMENT),
        },
        index=game.population.ids,
    )

    def why(finding: Finding) -> str:
        counts = table.loc[finding.clients].sum()
        of = f"of {len(finding.clients)} clients"
        if finding.kind == "infeasible" and counts["overpaid"]:
            return f"(12) mines until the deadline, beyond what the mining cap pays for {counts['overpaid']} {of}"
        if finding.kind == "worse" and counts["longer"]:
            return f"longer training than the theorem's pays, within the caps, for {counts['longer']} {of}"
        if finding.kind == "optimal" and counts["single"] == len(finding.clients):
            return "the training caps leave no training time but the theorem's"
        if finding.kind == "optimal" and not counts["single"]:
            return "the caps leave room for longer training, but it does not pay"
        if finding.kind == "optimal":
            return (
                f"the caps leave {counts['single']} {of} no other training time; longer training does not pay the rest"
            )
        return ""

    return why


def why_16(game: Game, printed: pd.DataFrame) -> Callable[[Finding], str]:
    ids = game.population.ids
    mu, rho = game.population.training_cycles, pd.Series(game.population.energy_coefficient, index=ids)
    reward = printed["mining_price"] * (game.deadline - mu * np.cbrt(rho / printed["training_price"]))
    off = (reward - game.caps["mining_cap"]).abs()

    def why(finding: Finding) -> str:
        if finding.kind == "optimal" and (rho.loc[finding.clients] == 1).all():
            return "every rho is 1, where the printed (16) and the corrected one are the same"
        left = float(off.loc[finding.clients].max())
        return (
            f"(16) prints (rho mu)^(3/2) where (14) with equality gives rho^(1/2) mu^(3/2); the mining reward misses its cap by "
            f"up to {left:.4g}" + (", which is too little to count" if finding.kind == "optimal" else "")
        )

    return why


def why_at_most(game: Game, prices: pd.DataFrame, *, spends_both: bool = False) -> Callable[[Finding], str]:
    """Payments of the owner's theorem against the least that recruit the same clients, and the proof's multiplier.

    spends_both : the theorem makes (14) bind, with the multiplier theta_2 = (dU_mo / dp_m) / s (Appendix B).
    """
    theorem, equilibrium = closed_form.theorem_3_1(game, prices), exact.equilibrium(game).clients
    assert equilibrium is not None
    paid = theorem["training_time"] * theorem["training_price"] + theorem["mining_time"] * theorem["mining_price"]
    least = equilibrium["training_reward"] + equilibrium["mining_reward"]

    def why(finding: Finding) -> str:
        pays, needed = float(paid.loc[finding.clients].sum()), float(least.loc[finding.clients].sum())
        if finding.kind == "optimal":
            return f"the least that recruits these clients within the caps is {needed:.6g}, and it pays {pays:.6g}"
        if finding.kind != "worse":
            return ""
        text = f"it pays {pays:.6g} where {needed:.6g} recruits the same clients"
        if all((slope < 0).all() for slope in finding.gradient.values()):
            text += "; the owner's utility falls in every one of its prices"
        multiplier = finding.gradient["mining_price"] / theorem.loc[finding.clients, "mining_time"]
        if spends_both and (multiplier < 0).all():
            text += f", so (14) would need the multiplier -xi = {multiplier.max():.4g}, which (34) in the proof forbids"
        return text

    return why


def only_point(what: str) -> Callable[[Finding], str]:
    """Two equations for the two prices of a client."""
    return lambda finding: f"{what}: two equations leave nothing to choose" if finding.kind == "optimal" else ""


def or_too_fast(game: Game, prices: pd.DataFrame, otherwise: Callable[[Finding], str]) -> Callable[[Finding], str]:
    speeds = closed_form.theorem_3_1(game, prices)[["training_speed", "mining_speed"]]
    fast = speeds.gt(game.population.max_speed * (1 + AGREEMENT), axis=0).any(axis=1)

    def why(finding: Finding) -> str:
        over = int(fast.loc[finding.clients].sum())
        if finding.kind == "infeasible" and over:
            return f"the formulas ignore max_speed, which {over} of {len(finding.clients)} clients would exceed"
        return otherwise(finding)

    return why
