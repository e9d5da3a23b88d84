"""What does the paper say the answer is? Theorems 3.1, 3.2 and 4.1 and Algorithms 1 and 2, as printed and corrected.

Nothing here is solved, and nothing is believed: the paper's formulas are evaluated, and where a formula has no value,
or its value violates a limit the client or the owner has, the column ``reason`` says so. What is optimal instead is the
business of :mod:`bcfl_opt.exact`.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from bcfl_opt.errors import InputError, listing
from bcfl_opt.game import Game
from bcfl_opt.population import id_text
from bcfl_opt.utilities import client_utility_at_speeds, owner_cost

#: Relative rounding slack of every comparison: several points of the paper satisfy a limit with equality.
ROUNDING = 1e-12
#: What a client and the owner decide on for it. Inside this file strategies are arrays of shape (N, 4) in this order,
#: NaN in the row of a client that has none.
STRATEGY = ["training_price", "mining_price", "training_speed", "mining_speed"]
PRICES, SPEEDS = slice(0, 2), slice(2, 4)


# ---------------------------------------------------------------------- the theorems


def theorem_3_1(game: Game, prices: pd.DataFrame) -> pd.DataFrame:
    """The client's strategy: (11) q_t = (p_t / rho)^(1/3), (12) q_m = psi / (T - mu (rho / p_t)^(1/3)).

    Parameters
    ----------
    game : the game. prices : DataFrame by client with training_price, mining_price, as ``game.prices(...)`` or
        :func:`theorem_3_2` make it; a client with NaN in both is offered nothing.

    Returns
    -------
    DataFrame by client: training_speed, mining_speed, training_time, mining_time, training_price, mining_price,
    client_utility, optimal, reason. NaN where (11), (12) give no strategy (no price, or T - t <= 0).

    optimal (bool) : is the point the optimum of Problem 1? It spends the least time on training that (8) allows, so it
        is, if it is feasible and U does not rise from there, 3 p_t <= p_m + 2 rho q_m^3, or if no other point is
        feasible. reason : which limits it violates: deadline (10), mining rationality (9), speed limits (the paper's
        formulas ignore them).

    Raises
    ------
    InputError : the prices cannot be used as given.

    Source: Theorem 3.1; theory 1.4.
    """
    prices = game.checked_prices(prices)
    p_t, p_m = prices.to_numpy().T
    mu, rho, q = game.population.training_cycles, game.population.energy_coefficient, game.population.max_speed
    psi, deadline = game.mining_cycles, game.deadline
    slack = 1 + ROUNDING
    with np.errstate(divide="ignore", invalid="ignore"):
        q_t = np.cbrt(p_t / rho)  # (11)
        t = mu / q_t
        s = deadline - t
        answered = s > 0
        q_t, t, s = (np.where(answered, values, np.nan) for values in (q_t, t, s))
        q_m = psi / s  # (12)
        least_s = psi * np.cbrt(rho / p_m)  # (9)
        irrational = answered & (t + least_s > deadline * slack)
        alone = t + np.maximum(least_s, psi / q) >= deadline / slack
    too_fast = [answered & (speed > q * slack) for speed in (q_t, q_m)]
    feasible = answered & ~irrational & ~too_fast[0] & ~too_fast[1]
    utility = client_utility_at_speeds(
        q_t, q_m, p_t, p_m, training_cycles=mu, mining_cycles=psi, energy_coefficient=rho
    )

    reason = np.full(len(game), "", dtype=object)
    for k in np.flatnonzero(np.isnan(p_t)):
        reason[k] = "is offered no prices"
    for k in np.flatnonzero(~answered & ~np.isnan(p_t)):
        reason[k] = (
            f"(11) at the training price {p_t[k]:.6g} leaves no time to mine before the deadline {deadline:.6g}; "
            f"a price above {rho[k] * (mu[k] / deadline) ** 3:.6g} would"
        )
    for k in np.flatnonzero(irrational):
        reason[k] = (
            f"(12) violates mining rationality (9): the reward {s[k] * p_m[k]:.6g} is less than the energy cost "
            f"{rho[k] * psi * q_m[k] ** 2:.6g}"
        )
    for name, speed, over in (("(11) training", q_t, too_fast[0]), ("(12) mining", q_m, too_fast[1])):
        for k in np.flatnonzero(over):
            too = "; " if reason[k] else ""
            reason[k] += f"{too}{name} speed {speed[k]:.6g} exceeds max_speed {q[k]:.6g}"
    return pd.DataFrame(
        {
            "training_speed": q_t,
            "mining_speed": q_m,
            "training_time": t,
            "mining_time": s,
            "training_price": p_t,
            "mining_price": p_m,
            "client_utility": utility,
            "optimal": feasible & (alone | (3 * p_t <= (p_m + 2 * rho * q_m**3) * slack)),
            "reason": reason,
        },
        index=game.population.ids,
    )


def theorem_3_2(game: Game, printed: bool = False) -> pd.DataFrame:
    """The owner's prices, complete information: (15) p_t = rho^(-1/2) (R_t / mu)^(3/2), (16) p_m = R_m / s.

    Here s = T - rho^(1/2) mu^(3/2) R_t^(-1/2), the time (15) leaves for mining, so that (14) holds with equality.

    Parameters
    ----------
    game : the game; R_t, R_m are its reward caps. printed : (16) as misprinted, with (rho mu)^(3/2) in place of
        rho^(1/2) mu^(3/2).

    Returns
    -------
    DataFrame by client: training_price, mining_price, reason; NaN and a reason where R_t <= 0 or s <= 0.

    Source: Theorem 3.2; theory 3.3.
    """
    p_t, s, reason = _training_price(game, printed=printed)
    return _price_frame(game, p_t, game.caps["mining_cap"].to_numpy() / s, reason)


def theorem_4_1(game: Game, reports: pd.Series | None = None) -> pd.DataFrame:
    """The owner's prices, incomplete information: (19) = (15), and (20) p_m = rho (psi / s)^3.

    Here s = T - mu (rho / p_t)^(1/3) is the time (19) leaves for mining. Both tasks then pay exactly their energy
    costs: every client is held to utility 0.

    Parameters
    ----------
    game : the game; R_t, R_m are its reward caps. reports : what the clients report as their mu, by client [speed x
        time]; the truth by default. The caps stay those of the true game.

    Returns
    -------
    DataFrame by client: training_price, mining_price, reason; NaN and a reason where R_t <= 0 or s <= 0. The formula
    ignores the mining cap (14); a price that violates it is returned with the reason.

    Raises
    ------
    InputError : a report is missing, or is not a finite number above 0.

    Source: Theorem 4.1; theory 4.1.
    """
    p_t, s, reason = _training_price(game, reports=reports)
    p_m = game.population.energy_coefficient * (game.mining_cycles / s) ** 3
    r_m = game.caps["mining_cap"].to_numpy()
    for k in np.flatnonzero(s * p_m > r_m * (1 + ROUNDING)):
        reason[k] = f"(20) violates the mining cap (14): the reward {s[k] * p_m[k]:.6g} exceeds {r_m[k]:.6g}"
    return _price_frame(game, p_t, p_m, reason)


def _training_price(
    game: Game, *, printed: bool = False, reports: pd.Series | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """p_t of (15), the time s it leaves for mining, and the reason by client; NaN where there is none."""
    mu, rho, deadline = game.population.training_cycles, game.population.energy_coefficient, game.deadline
    if reports is not None:
        mu = game._by_client("reported training_cycles", reports)
        if (mu == 0).any():
            client = id_text(game.population.ids, int((mu == 0).argmax()))
            raise InputError(f"reported training_cycles of client {client}: must be greater than 0")
    caps, negative = game.caps, game.shapley_shares.negative
    r_t, values = caps["training_cap"].to_numpy(), caps["shapley"].to_numpy()
    paid = r_t > 0
    root = np.sqrt(np.where(paid, r_t, np.nan))
    p_t = (root / np.sqrt(mu)) ** 3 / np.sqrt(rho)
    time = (rho * mu) ** 1.5 / root if printed else np.sqrt(rho * mu) * mu / root
    s = deadline - time
    reason = np.full(len(game), "", dtype=object)
    for k in np.flatnonzero(~paid):
        what = f"negative Shapley share (Shapley value {values[k]:.6g})" if negative[k] else "Shapley share 0"
        reason[k] = f"not recruited: {what}, so it cannot be paid for training"
    late = paid & ~(s > 0)
    for k in np.flatnonzero(late):
        reason[k] = (
            f"training within its cap {r_t[k]:.6g} takes {time[k]:.6g}, which leaves no time to mine before the "
            f"deadline {deadline:.6g}"
        )
    return np.where(late, np.nan, p_t), np.where(late, np.nan, s), reason


def _price_frame(game: Game, p_t: np.ndarray, p_m: np.ndarray, reason: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame(
        {"training_price": p_t, "mining_price": p_m, "reason": reason}, index=game.population.ids, copy=False
    )


# ---------------------------------------------------------------------- the algorithms


def algorithm_1(game: Game, incumbent: pd.DataFrame | None = None, printed: bool = False) -> pd.DataFrame:
    """The paper's mechanism with complete information, line by line: prices (15), (16), then speeds (11), (12).

    Parameters
    ----------
    game : the game. printed : use (16) as misprinted.
    incumbent : the strategies (p, q) in force, DataFrame by client with training_price, mining_price, training_speed,
        mining_speed; a client with NaN in all four does not take part in them. They are taken as they are: the paper
        does not test them against (8)-(10). None: there are none, and everything is accepted.

    Returns
    -------
    DataFrame by client: training_price, mining_price, training_speed, mining_speed (the strategies in force at the
    end), client_utility, owner_accepted, client_accepted (did its test adopt the new prices, the new speeds?), reason.
    ``attrs``: owner_utility at these strategies; proposed_owner_utility and incumbent_owner_utility, the two sides of
    line 3 (NaN without an incumbent).

    The paper does not say what becomes of a client for whom its formulas give no strategy, or one that violates a
    limit (see ``reason`` of :func:`theorem_3_1`). Here the owner foresees it and offers that client nothing: it is not
    recruited, does no work and is not paid (prices and speeds NaN, utility 0), and all sums run over recruited clients.
    If the owner keeps the incumbent prices, clients whose new speeds fail their test keep the incumbent ones.
    Ties are accepted, also where rounding hides them.

    Raises
    ------
    InputError : the incumbent cannot be used as given.

    Source: Algorithm 1. Its line 8 cites "(??)", which must be (11).
    """
    held = _in_force(game, incumbent)
    # Line 1: p^ via (15) and (16).
    proposed, reason = _proposal(game, theorem_3_2(game, printed=printed))
    # Line 2: U_mo via (2), with the speeds (11), (12) that backward induction says will follow.
    utilities = _owner_utility(game, proposed), _owner_utility(game, held)
    # Lines 3-5: accept p^ as a whole, if U_mo(p^) >= U_mo(p).
    accepts = incumbent is None or _at_least(*utilities)
    adopted = np.full(len(game), accepts)
    # Lines 6-14.
    return _clients_decide(game, proposed, held, adopted, reason, utilities if incumbent is not None else None)


def algorithm_2(game: Game, incumbent: pd.DataFrame | None = None) -> pd.DataFrame:
    """The paper's mechanism with incomplete information, line by line: prices (19), (20), then speeds (11), (12).

    ``game``, ``incumbent``, the table (a row a client) and the treatment of clients without an answer: as
    :func:`algorithm_1`. In addition the owner offers its new price only to clients that it expects to have a utility of at
    least 0 (lines 3-6); the others keep the incumbent price. Prices (20) above the mining cap (14) are no strategy of
    Problem 3: such clients get no offer.

    Source: Algorithm 2.
    """
    held = _in_force(game, incumbent)
    # Line 1: p^ via (19) and (20).
    proposed, reason = _proposal(game, theorem_4_1(game))
    # Line 2: U_mo(p^) >= U_mo(p)?
    utilities = _owner_utility(game, proposed), _owner_utility(game, held)
    accepts = incumbent is None or _at_least(*utilities)
    # Line 3: the utility U^_i the owner expects client i to have.
    expected = _client_utilities(game, proposed)
    # Lines 4-7: p* <- p^ where U^_i >= 0. Clients without an offer have no U^_i to test.
    refused = expected < -ROUNDING * _rewards(game, proposed)
    adopted = accepts & ~refused
    # Lines 8-16.
    return _clients_decide(game, proposed, held, adopted, reason, utilities if incumbent is not None else None)


def _proposal(game: Game, prices: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Strategies that follow from prices, none where the formulas give none or violate a limit, and the reasons."""
    response = theorem_3_1(game, prices)
    reason = prices["reason"].where(prices["reason"] != "", response["reason"]).to_numpy(dtype=object)
    return np.where((reason == "")[:, None], response[STRATEGY].to_numpy(), np.nan), reason


def _clients_decide(
    game: Game,
    proposed: np.ndarray,
    held: np.ndarray,
    adopted: np.ndarray,
    reason: np.ndarray,
    utilities: tuple[float, float] | None,
) -> pd.DataFrame:
    """The last lines of both algorithms; line numbers are Algorithm 1's.

    adopted : does the owner replace the incumbent price of this client by the proposed one (which may be no offer)?
    """
    # Line 6: the owner sends p*.
    sent = np.where(adopted[:, None], proposed, held)[:, PRICES]
    kept = np.hstack([sent, held[:, SPEEDS]])
    # Lines 7-8: for every client, q^ via (11) and (12).
    response = theorem_3_1(game, pd.DataFrame(sent, index=game.population.ids, columns=STRATEGY[PRICES]))
    changed = response[STRATEGY].to_numpy()
    # Lines 9-12: q* <- q^ if U_i(q^) >= U_i(q), both at p*; who does not work in the incumbent has U_i = 0.
    size = _rewards(game, changed) + _rewards(game, kept)
    better = _client_utilities(game, changed) >= _client_utilities(game, kept) - ROUNDING * size
    client_accepted = (response["reason"] == "").to_numpy() & better
    final = np.where(client_accepted[:, None], changed, kept)
    # Lines 13-14: return q*, p*.
    recruited = _complete(final)
    final[~recruited] = np.nan
    frame = pd.DataFrame(final, index=game.population.ids, columns=STRATEGY)
    frame["client_utility"] = _client_utilities(game, final)
    frame["owner_accepted"] = adopted & _complete(proposed)
    frame["client_accepted"] = client_accepted
    unasked = np.where(adopted, reason, "is offered no prices by the incumbent")
    frame["reason"] = np.where(recruited, "", unasked)
    owner = _owner_utility(game, final)
    frame.attrs["owner_utility"] = owner
    frame.attrs["proposed_owner_utility"], frame.attrs["incumbent_owner_utility"] = utilities or (owner, np.nan)
    return frame


def _complete(strategies: np.ndarray) -> np.ndarray:
    incomplete: np.ndarray = np.isnan(strategies).any(axis=1)
    return ~incomplete


def _owner_utility(game: Game, strategies: np.ndarray) -> float:
    """(2) over the clients that have a strategy."""
    recruited = _complete(strategies)
    p_t, p_m, q_t, q_m = strategies[recruited].T
    t, s = game.population.training_cycles[recruited] / q_t, game.mining_cycles / q_m
    return game.performance_value(recruited) - game.cost_weight * float(np.sum(owner_cost(t, s, t * p_t, s * p_m)))


def _client_utilities(game: Game, strategies: np.ndarray) -> np.ndarray:
    """(1) by client, 0 for those without a strategy: no work, no pay."""
    p_t, p_m, q_t, q_m = strategies.T
    mu, rho, psi = game.population.training_cycles, game.population.energy_coefficient, game.mining_cycles
    values = client_utility_at_speeds(q_t, q_m, p_t, p_m, training_cycles=mu, mining_cycles=psi, energy_coefficient=rho)
    return np.where(_complete(strategies), values, 0.0)


def _rewards(game: Game, strategies: np.ndarray) -> np.ndarray:
    """t p_t + s p_m by client, the size of what is added up in (1); 0 for those without a strategy."""
    p_t, p_m, q_t, q_m = strategies.T
    rewards = game.population.training_cycles / q_t * p_t + game.mining_cycles / q_m * p_m
    return np.where(_complete(strategies), rewards, 0.0)


def _at_least(new: float, old: float) -> bool:
    return new >= old - ROUNDING * (abs(new) + abs(old))


# ---------------------------------------------------------------------- what comes in


def _in_force(game: Game, incumbent: pd.DataFrame | None) -> np.ndarray:
    """The incumbent strategies checked and in the population's order; none without an incumbent."""
    ids = game.population.ids
    if incumbent is None:
        return np.full((len(game), 4), np.nan)
    if not isinstance(incumbent, pd.DataFrame):
        raise InputError(f"incumbent: expected a DataFrame by client, not {type(incumbent).__name__}")
    missing = [name for name in STRATEGY if name not in incumbent]
    if missing:
        raise InputError(f"incumbent: missing column {listing(missing)}")
    out = incumbent[STRATEGY].isna().all(axis=1)
    filled = incumbent[STRATEGY].mask(out, 1.0)
    columns = [game._by_client(f"incumbent {name}", filled[name]) for name in STRATEGY]
    for name, speeds in zip(STRATEGY[SPEEDS], columns[SPEEDS], strict=True):
        if (speeds == 0).any():
            client = id_text(ids, int((speeds == 0).argmax()))
            raise InputError(f"incumbent {name} of client {client}: must be greater than 0")
    return np.where(out.reindex(ids).to_numpy()[:, None], np.nan, np.column_stack(columns))
