"""Menus of contracts: truthful by an independent audit, never dearer than pooling, as cheap as a global search finds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import differential_evolution
from typer.testing import CliRunner

import bcfl_opt as bo
from bcfl_opt.cli import app

RHO, PSI, T = 0.01, 5.0, 15.0


def game_of(*mu: float) -> bo.Game:
    frame = pd.DataFrame({"client": [f"type-{k}" for k in range(len(mu))], "mu": mu, "rho": RHO})
    return bo.Game(bo.Population(frame), mining_cycles=PSI, deadline=T)


def answer(mu: float, p_t: float, p_m: float) -> tuple[float, float]:
    """Utility and pay of a client that answers at its best, over a grid of times; minus infinity where it cannot."""
    low, high = mu * np.cbrt(RHO / p_t), T - PSI * np.cbrt(RHO / p_m)
    if low > high:
        return -np.inf, 0.0
    t = np.linspace(low, high, 2001)
    utility = p_t * t + p_m * (T - t) - RHO * mu**3 / t**2 - RHO * PSI**3 / (T - t) ** 2
    k = int(utility.argmax())
    return float(utility[k]), float(p_t * t[k] + p_m * (T - t[k]))


def global_search(types: tuple[float, ...], weights: np.ndarray) -> float:
    """The least expected pay over all menus of price pairs, lies and refusals punished."""

    def cost(logs: np.ndarray) -> float:
        offers = np.exp(logs).reshape(-1, 2)
        table = [[answer(mu, *offer) for offer in offers] for mu in types]
        total = 0.0
        for k, weight in enumerate(weights):
            own, pay = table[k][k]
            best = max(0.0, *(table[k][j][0] for j in range(len(types))))
            if not np.isfinite(own):
                return 10.0
            total += weight * pay + 100.0 * max(best - own, 0.0)
        return total

    bounds = [(np.log(1e-3), np.log(0.1))] * (2 * len(types))
    found = differential_evolution(cost, bounds, seed=1, popsize=20, maxiter=400, tol=1e-10, polish=True)
    return float(found.fun)


def test_two_types_as_cheap_as_a_global_search() -> None:
    menu = bo.design_menu(game_of(5.0, 10.0))
    assert menu.succeeded
    expected = global_search((5.0, 10.0), np.array([0.5, 0.5]))
    assert menu.objective == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    ("types", "weights"),
    [((5.0, 10.0), None), ((5.0, 8.0, 10.0), [0.2, 0.5, 0.3]), ((4.0, 6.0, 8.0, 10.0, 12.0), None)],
)
def test_truthful_and_no_dearer_than_pooling(types: tuple[float, ...], weights: list[float] | None) -> None:
    game = game_of(*types)
    menu = bo.design_menu(game, weights)
    assert menu.succeeded
    found = bo.audit(game, menu.clients[["training_price", "mining_price"]])
    assert found.largest_gain <= 1e-7 * found.best["scale"].max()
    assert found.individually_rational
    share = np.full(len(types), 1 / len(types)) if weights is None else np.array(weights)
    # Pooling: everybody is posted the largest type's pair, at which its own feasible set is one point.
    price = RHO * ((max(types) + PSI) / T) ** 3
    pooling = price * T
    assert menu.pooling == pytest.approx(pooling, rel=1e-9)
    assert menu.objective <= pooling * (1 + 1e-12)
    pay = (menu.clients["training_reward"] + menu.clients["mining_reward"]).to_numpy()
    assert menu.objective == pytest.approx(float(share @ pay), rel=1e-9)
    # Complete information pays every type its energy alone, and no menu can do better.
    least = float(share @ (RHO * (np.array(types) + PSI) ** 3 / T**2))
    assert least <= menu.lower_bound * (1 + 1e-9) <= menu.objective * (1 + 1e-9)
    assert (menu.quality is bo.Quality.GLOBAL) == (menu.gap <= 1e-6)


def test_one_type_is_paid_its_energy() -> None:
    menu = bo.design_menu(game_of(10.0))
    assert menu.objective == pytest.approx(0.15, rel=1e-9)


def test_bad_weights_are_refused() -> None:
    for weights in ([0.5], [-1.0, 2.0], [0.0, 0.0], [np.nan, 1.0]):
        with pytest.raises(bo.InputError, match="weights"):
            bo.design_menu(game_of(5.0, 10.0), weights)
    with pytest.raises(bo.InputError, match="deadlines"):
        bo.design_menu(game_of(5.0, 10.0), deadlines="mine")


def test_command(tmp_path: Path) -> None:
    frame = pd.DataFrame({"client": ["a", "b"], "mu": [5.0, 10.0], "rho": RHO})
    frame.to_csv(tmp_path / "types.csv", index=False)
    done = CliRunner().invoke(app, ["menu", "--population", str(tmp_path / "types.csv"), "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["succeeded"] is True
