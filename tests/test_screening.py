"""Screening problems with textbook answers, derived by hand for discrete types, by the public API; and what must fail."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyomo.environ as pyo
import pytest

import bcfl_opt as bo

#: The promised agreement.
CLOSE = 1e-4


def by_number(values: np.ndarray) -> pd.Series:
    return pd.Series(values, index=[f"type-{k}" for k in range(len(values))])


def check(market: bo.Screening, solution: bo.Solution, expected: dict[str, np.ndarray], cost: float) -> None:
    """Terms, cost, and that nobody envies anybody or would rather stay away, evaluated afresh."""
    assert solution.succeeded, solution
    for term, values in expected.items():
        np.testing.assert_allclose(solution.variables[term], values, rtol=CLOSE, atol=CLOSE)
    assert solution.objective == pytest.approx(cost, rel=CLOSE)
    assert market.gains(solution.variables).to_numpy().max() <= 1e-7


# ---------------------------------------------------------------------- a monopolist and quality: Mussa and Rosen (1978)


def mussa_rosen(theta: np.ndarray, weights: np.ndarray) -> bo.Screening:
    return bo.Screening(
        types=by_number(theta),
        weights=weights,
        contract={"quality": {"bounds": (0, None)}, "price": {}},
        utility=lambda theta, x: theta * x.quality - x.price,
        cost=lambda theta, x: x.quality**2 / 2 - x.price,
    )


def virtual(theta: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """theta_k - (theta_{k+1} - theta_k) (1 - F_k) / f_k, F_k the probability of types up to k.

    Local downward constraints bind: U_k = U_{k-1} + (theta_k - theta_{k-1}) v(q_{k-1}), U_0 = 0. Summed by parts,
    sum w_k U_k = sum_k (theta_{k+1} - theta_k) (1 - F_k) v(q_k); so the principal maximises sum_k w_k (phi_k v(q_k) - c(q_k)).
    """
    above = 1 - np.cumsum(weights)
    return theta - np.append(np.diff(theta), 0.0) * above / weights


def prices(theta: np.ndarray, worth: np.ndarray) -> np.ndarray:
    """p_0 = theta_0 v(q_0), p_k = p_{k-1} + theta_k (v(q_k) - v(q_{k-1}))."""
    return np.cumsum(theta * np.diff(worth, prepend=0.0))


@pytest.mark.parametrize("count", [2, 5, 12])
def test_mussa_and_rosen_with_uniform_types(count: int) -> None:
    """q_k = phi_k^+ for cost q^2 / 2: in the limit 2 theta - theta_max, and the lowest types get nothing if that is below 0.

    Types uniform on [0.5, 1.5], K of them: phi_k = theta_k - h (K - 1 - k) with the step h, so q = 0 below theta = 0.75.
    """
    theta, weights = np.linspace(0.5, 1.5, count), np.full(count, 1 / count)
    market = mussa_rosen(theta, weights)
    quality = np.maximum(virtual(theta, weights), 0.0)
    np.testing.assert_allclose(
        quality, np.maximum(2 * theta - 1.5, 0.0), atol=1e-12
    )  # the continuum's rule, on this grid
    price = prices(theta, quality)
    cost = float(weights @ (quality**2 / 2 - price))
    solution = market.solve()
    check(market, solution, {"quality": quality, "price": price}, cost)
    assert solution.quality is bo.Quality.GLOBAL  # linear in quality and price: a convex programme
    utility = theta * solution.variables["quality"] - solution.variables["price"]
    assert utility.iloc[0] == pytest.approx(0.0, abs=1e-6)
    rents = np.append(0.0, np.cumsum(np.diff(theta) * quality[:-1]))
    np.testing.assert_allclose(utility, rents, atol=CLOSE)


def test_bunching_is_ironed_out() -> None:
    """Virtual types that fall are averaged: theta = 1, 1.2, 1.3 with probabilities 0.5, 0.08, 0.42.

    phi = (1 - 0.2 x 0.5 / 0.5, 1.2 - 0.1 x 0.42 / 0.08, 1.3) = (0.8, 0.675, 1.3). q must not fall, so the first two share
    q = (0.5 x 0.8 + 0.08 x 0.675) / 0.58 = 0.454 / 0.58, at the price 1 x q; the third pays that and 1.3 (1.3 - q).
    """
    theta, weights = np.array([1.0, 1.2, 1.3]), np.array([0.5, 0.08, 0.42])
    np.testing.assert_allclose(virtual(theta, weights), [0.8, 0.675, 1.3])
    shared = 0.454 / 0.58
    quality, price = np.array([shared, shared, 1.3]), np.array([shared, shared, shared + 1.3 * (1.3 - shared)])
    market = mussa_rosen(theta, weights)
    check(market, market.solve(), {"quality": quality, "price": price}, float(weights @ (quality**2 / 2 - price)))


def test_ironing_over_several_types() -> None:
    """Pool adjacent violators of phi, by hand: the weighted means of each falling run, until nothing falls."""
    theta, weights = np.array([1.0, 1.3, 1.4, 1.5, 2.0]), np.array([0.3, 0.1, 0.05, 0.25, 0.3])
    phi = virtual(theta, weights)  # (0.3, 0.7, 0.3, 0.9, 2.0): types 1 and 2 violate
    np.testing.assert_allclose(phi, [0.3, 0.7, 0.3, 0.9, 2.0])
    shared = (0.1 * 0.7 + 0.05 * 0.3) / 0.15
    quality = np.array([0.3, shared, shared, 0.9, 2.0])
    assert (np.diff(quality) >= 0).all()
    price = prices(theta, quality)
    market = mussa_rosen(theta, weights)
    check(market, market.solve(), {"quality": quality, "price": price}, float(weights @ (quality**2 / 2 - price)))


# ---------------------------------------------------------------------- quantity discounts: Maskin and Riley (1984)

SQRT = (lambda q: 2 * pyo.sqrt(q), lambda phi, c: (phi / c) ** 2)
LOG = (lambda q: pyo.log(1 + q), lambda phi, c: phi / c - 1)


@pytest.mark.parametrize(("lowest", "worth", "quantity_of"), [(4.0, *SQRT), (4.0, *LOG), (2.0, *LOG)])
def test_maskin_and_riley_quantity_discounts(lowest: float, worth: Any, quantity_of: Any) -> None:
    """Utility theta v(q) - p with a concave v, cost c q: phi_k v'(q_k) = c.

    v = 2 sqrt(q): q = (phi / c)^2; v = log(1 + q): q = phi / c - 1. Not convex: v stands on both sides of truth. Where the
    lowest type is 2, its phi is 2 - 0.25 x 0.9 / 0.1 < 0, and it buys nothing.
    """
    theta, weights, c = np.linspace(lowest, lowest + 1, 5), np.array([0.1, 0.2, 0.4, 0.2, 0.1]), 0.5
    phi = virtual(theta, weights)
    assert (np.diff(phi) >= 0).all()  # no bunching
    kept = phi > c
    assert kept[1:].all() and kept[0] == (lowest == 4.0)
    quantity = np.where(kept, quantity_of(phi, c), 0.0)
    value = np.array([pyo.value(worth(q)) for q in quantity])
    price = prices(theta, value)
    market = bo.Screening(
        types=by_number(theta),
        weights=weights,
        contract={"quantity": {"bounds": (0, None), "initialize": 1.0}, "price": {"initialize": 1.0}},
        utility=lambda theta, x: theta * worth(x.quantity) - x.price,
        cost=lambda theta, x: c * x.quantity - x.price,
    )
    solution = market.solve(starts=2)
    check(market, solution, {"quantity": quantity, "price": price}, float(weights @ (c * quantity - price)))
    # Who buys more pays less a unit, and nobody but the highest type gets what would be efficient.
    each = (solution.variables["price"] / solution.variables["quantity"]).to_numpy()[kept]
    assert (np.diff(each) < 0).all()
    assert (quantity[:-1] < quantity_of(theta[:-1], c)).all() and quantity[-1] == quantity_of(theta[-1], c)


# ---------------------------------------------------------------------- a regulated monopolist: Baron and Myerson (1982)


@pytest.mark.parametrize("share", [0.0, 0.4, 0.9])
def test_baron_and_myerson_unknown_cost(share: float) -> None:
    """A firm of marginal cost theta gets the transfer y for the quantity q: profit y - theta q. The regulator's welfare is
    A q - q^2 / 2 - y + a profit, a < 1. Dearer firms are mimicked: U_k = U_{k+1} + (theta_{k+1} - theta_k) q_{k+1}, so

        price A - q_k = theta_k + (1 - a) (theta_k - theta_{k-1}) F_{k-1} / f_k,    F_{k-1} the probability of cheaper firms.
    """
    theta, weights, demand = np.linspace(1.0, 2.0, 6), np.full(6, 1 / 6), 6.0
    cheaper = np.cumsum(weights) - weights
    quantity = demand - theta - (1 - share) * np.diff(theta, prepend=theta[0]) * cheaper / weights
    rents = np.append(np.cumsum((np.diff(theta) * quantity[1:])[::-1])[::-1], 0.0)
    transfer = theta * quantity + rents
    market = bo.Screening(
        types=by_number(theta),
        weights=weights,
        contract={"quantity": {"bounds": (0, None)}, "transfer": {}},
        utility=lambda theta, x: x.transfer - theta * x.quantity,
        cost=lambda theta, x: (
            x.transfer - demand * x.quantity + x.quantity**2 / 2 - share * (x.transfer - theta * x.quantity)
        ),
    )
    welfare = demand * quantity - quantity**2 / 2 - transfer + share * rents
    check(market, market.solve(), {"quantity": quantity, "transfer": transfer}, -float(weights @ welfare))


def test_a_type_with_something_better_to_do() -> None:
    """Countervailing: with u = (0, 0.5) the high type of theta = 1, 1.2 gets 0.5 instead of the rent 0.2 q.

    Both qualities are then efficient, 1 and 1.2, at prices 1 and 1.44 - 0.5 = 0.94. Nobody lies: the high type would have
    1.2 - 1 = 0.2 from the low contract; the low type 1.2 - 0.94 = 0.26 > 0 from the high one! So that row binds, too:
    U_L >= U_H - 0.2 q_H = 0.5 - 0.2 q_H. Minimising w_L U_L for q_H = 1.2 + e: w_H e^2 / 2 against w_L 0.2 e, so
    e = 0.2 w_L / w_H = 0.2 at equal weights: q_H = 1.4, U_L = 0.5 - 0.28 = 0.22.
    """
    market = bo.Screening(
        types=pd.Series({"low": 1.0, "high": 1.2}),
        weights={"high": 1.0, "low": 1.0},
        contract={"quality": {"bounds": (0, None)}, "price": {}},
        utility=lambda theta, x: theta * x.quality - x.price,
        cost=lambda theta, x: x.quality**2 / 2 - x.price,
        outside={"low": 0.0, "high": 0.5},
    )
    price = np.array([1.0 - 0.22, 1.2 * 1.4 - 0.5])
    check(
        market,
        market.solve(),
        {"quality": np.array([1.0, 1.4]), "price": price},
        float(np.mean([0.5, 1.4**2 / 2] - price)),
    )


# ---------------------------------------------------------------------- what must fail


def test_efficient_contracts_at_full_prices_are_envied() -> None:
    """Full information q = theta, p = theta^2: the high type would gain 1.2 - 1 = 0.2 by the low contract, and no other lies."""
    market = mussa_rosen(np.array([1.0, 1.2]), np.array([0.5, 0.5]))
    gains = market.gains({"quality": by_number(np.array([1.0, 1.2])), "price": by_number(np.array([1.0, 1.44]))})
    assert gains.loc["type-1", "type-0"] == pytest.approx(0.2)
    assert gains.loc["type-0", "type-1"] == pytest.approx(1.2 - 1.44)


def test_neighbours_alone_are_not_enough_where_types_are_not_in_order() -> None:
    """The same types shuffled: non-neighbours envy, are added, and the answer is the same."""
    theta, weights = np.array([1.0, 1.5, 0.7, 1.2, 0.9]), np.array([0.3, 0.2, 0.1, 0.2, 0.2])
    order = theta.argsort()
    expected = mussa_rosen(theta[order], weights[order]).solve()
    found = mussa_rosen(theta, weights).solve()
    assert found.succeeded and expected.succeeded
    assert found.objective == pytest.approx(expected.objective, rel=1e-6)
    np.testing.assert_allclose(
        found.variables["quality"].to_numpy()[order], expected.variables["quality"], rtol=CLOSE, atol=CLOSE
    )


def test_a_principal_without_bound_and_one_nobody_works_for() -> None:
    """Money for nothing is no success, nor is a contract that can please nobody."""
    gift = bo.Screening(
        types=pd.Series({"a": 1.0}),
        weights=[1.0],
        contract={"quality": {"bounds": (0, 1)}, "price": {}},
        utility=lambda theta, x: theta * x.quality - x.price,
        cost=lambda theta, x: x.price,
    ).solve()
    assert gift.status is bo.Status.UNBOUNDED and not gift.succeeded
    proud = bo.Screening(
        types=pd.Series({"a": 1.0, "b": 2.0}),
        weights=[0.5, 0.5],
        contract={"quality": {"bounds": (0, 1)}, "price": {"bounds": (0, None)}},
        utility=lambda theta, x: theta * x.quality - x.price,
        cost=lambda theta, x: x.quality - x.price,
        outside=1.5,
    ).solve()
    assert not proud.succeeded and proud.status in (bo.Status.INFEASIBLE, bo.Status.LOCALLY_INFEASIBLE)
    with pytest.raises(bo.NoSolutionError):
        _ = proud.variables


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"types": pd.Series(dtype=float)}, "there is none"),
        ({"types": pd.Series([1.0, 2.0], index=["a", "a"])}, "'?a'? appears twice"),
        ({"types": [1.0, 2.0]}, "expected a Series, a DataFrame or a dict"),
        ({"weights": [1.0]}, "does not match the 2 types"),
        ({"weights": [1.0, -1.0]}, "'?b'?.* must be a finite number, at least 0"),
        ({"weights": [0.0, 0.0]}, "all are 0"),
        ({"weights": {"a": 1.0}}, "no value for type .*b"),
        ({"weights": "many"}, "are not numbers"),
    ],
)
def test_bad_input(change: dict[str, Any], words: str) -> None:
    arguments: dict[str, Any] = {
        "types": pd.Series({"a": 1.0, "b": 2.0}),
        "weights": [0.5, 0.5],
        "contract": {"quality": {"bounds": (0, None)}, "price": {}},
        "utility": lambda theta, x: theta * x.quality - x.price,
        "cost": lambda theta, x: x.quality**2 / 2 - x.price,
    }
    with pytest.raises(bo.InputError, match=words):
        bo.Screening(**arguments | change)


def test_no_start_is_no_number_of_starts() -> None:
    with pytest.raises(bo.InputError, match="starts: expected a whole number of at least 1, got 0"):
        mussa_rosen(np.array([1.0, 1.2]), np.array([0.5, 0.5])).solve(starts=0)
