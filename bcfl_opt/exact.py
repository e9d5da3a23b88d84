"""What is the answer really, client by client? Best responses and the Stackelberg equilibrium, exact and vectorised."""

from __future__ import annotations

import time

import numpy as np
import pandas as pd

from bcfl_opt import participation
from bcfl_opt.certificate import Certificate
from bcfl_opt.game import Game
from bcfl_opt.population import id_text
from bcfl_opt.provenance import record
from bcfl_opt.solution import Quality, Solution, Status, clients_table, owner_utility

#: Clients worked on at a time: the dozen temporary arrays of a Newton step then stay in the processor's cache.
CHUNK = 1 << 14


def response_times(
    a: np.ndarray, c: np.ndarray, price_difference: np.ndarray, deadline: float | np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Unconstrained optimal split of the deadline: the root of h(t) = p_t - p_m + (a/t)^3 - (c/s)^3, s = T - t.

    Parameters
    ----------
    a, c : (2 rho)^(1/3) mu and (2 rho)^(1/3) psi, shape (N,). price_difference : p_t - p_m, shape (N,). deadline : T, a number
        or by client.

    Returns
    -------
    t, s : shape (N,), both to full relative accuracy.

    The better-paid task gets at least its share at equal prices. Call its time x, its constant u, the other's y and v,
    and d >= 0 the price difference; then y = v / (d + (u/x)^3)^(1/3) and phi(x) = x + y(x) = T. As phi is increasing
    and concave, Newton's iterates rise monotonically to the root from any point on its left, so no safeguard is needed.
    Two such points: x at equal prices, T u / (u + v), and T - v / d^(1/3). Source: theory 1.3.
    """
    n = a.size
    t, s = np.empty(n), np.empty(n)
    deadlines = np.broadcast_to(deadline, n)
    for start in range(0, n, CHUNK):
        part = slice(start, start + CHUNK)
        deadline = deadlines[part]
        trains_more = price_difference[part] >= 0
        d = np.abs(price_difference[part])
        u, v = np.where(trains_more, a[part], c[part]), np.where(trains_more, c[part], a[part])
        x = deadline * (u / (u + v))
        with np.errstate(divide="ignore"):
            np.maximum(x, deadline - v / np.cbrt(d), out=x)
        np.maximum(x, np.finfo(float).tiny, out=x)
        for _ in range(60):
            ratio = u / x
            cube = ratio * ratio * ratio
            y = v / np.cbrt(d + cube)
            # phi'(x) = 1 + (y / x) cube / (d + cube)
            step = (deadline - x - y) / (1 + (y / x) * (cube / (d + cube)))
            x += step
            if not np.any(np.abs(step) > 4e-16 * deadline):
                break
        ratio = u / x
        y = v / np.cbrt(d + ratio * ratio * ratio)
        t[part], s[part] = np.where(trains_more, x, y), np.where(trains_more, y, x)
    return t, s


def best_response(game: Game, prices: pd.DataFrame, reward_caps: bool = False) -> Solution:
    """Problem 1, exactly: max U = p_t t + p_m s - rho mu^3/t^2 - rho psi^3/s^2 within the client's limits.

    Parameters
    ----------
    game : the game. prices : from ``game.prices(training=..., mining=...)``, a row a client [money / time].
    reward_caps : the client also faces (7) t p_t <= R_t and (3) s p_m <= R_m; then the deadline need not bind.

    Returns
    -------
    Solution with the objective sum of U over the clients that can respond; the others carry their reason.

    Raises
    ------
    InputError : prices that do not fit the game's clients, or are no prices.

    U is concave in the times and rises in both, so the deadline binds unless the caps bind first, and the answer is the
    root of h, clipped to the client's interval. Source: Problem 1, (8)-(10), section 2.2.1; theory 1.3, 1.5.
    """
    begin = time.perf_counter()
    prices = game.checked_prices(prices)
    p_t, p_m = prices["training_price"].to_numpy(), prices["mining_price"].to_numpy()
    mu, rho = game.population.training_cycles, game.population.energy_coefficient
    psi, deadline = game.mining_cycles, game.deadline

    bounds = participation.response_bounds(game, prices, reward_caps=reward_caps)
    reason = participation.screen_response(game, prices, reward_caps=reward_caps, bounds=bounds)
    able = (reason == "").to_numpy()

    scale = np.cbrt(2 * rho)
    difference = np.where(able, p_t - p_m, 0.0)
    t, s = response_times(scale * mu, scale * psi, difference, deadline)
    t, s = _clipped(t, s, bounds, deadline)
    clients = clients_table(game, t, s, p_t, p_m, able, reason)
    objective = float(clients["client_utility"].to_numpy().sum())
    certificate = _certificate(game, clients, bounds, np.where(able, p_t - p_m, 0.0)) if able.any() else None
    return solved(game, "Problem 1", clients, objective, certificate, begin)


def equilibrium(game: Game) -> Solution:
    """The Stackelberg equilibrium of Problems 2 and 3 with optimal responses and participation, in closed form.

    t* = clip(mu T / (mu + psi), max(mu / q, sqrt(rho mu^3 / R_t)), T - max(psi / q, sqrt(rho psi^3 / R_m))),
    s* = T - t*, p_t = rho (mu / t*)^3, p_m = rho (psi / s*)^3. Payments equal energy costs, so every utility U_i is 0.

    Returns
    -------
    Solution with the objective U_mo (2). A client whose interval is empty is not recruited and carries its reason.

    Payments are at least energy costs by (8), (9) and the client uses the whole deadline, so the owner minimises
    rho mu^3/t^2 + rho psi^3/s^2 over t + s = T; the (17) and (18) that Problem 3 adds hold there with equality.
    Source: theory 5.1.
    """
    begin = time.perf_counter()
    reason = participation.screen_recruitment(game)
    able = (reason == "").to_numpy()
    bounds = participation.recruitment_bounds(game)
    clients = clients_table(game, *_least_energy(game, bounds), able, reason)
    certificate = _certificate(game, clients, bounds, np.broadcast_to(0.0, len(game))) if able.any() else None
    return solved(game, "Problems 2 and 3, equilibrium", clients, owner_utility(game, clients), certificate, begin)


def _least_energy(
    game: Game, bounds: participation.TimeBounds
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """t*, s*, p_t, p_m of :func:`equilibrium`; of clients that cannot be recruited anything, infinities too."""
    mu, rho = game.population.training_cycles, game.population.energy_coefficient
    psi, deadline = game.mining_cycles, game.deadline
    total = mu + psi
    t, s = _clipped(deadline * (mu / total), deadline * (psi / total), bounds, deadline)
    with np.errstate(all="ignore"):
        return t, s, rho * (mu / t) ** 3, rho * (psi / s) ** 3


def _clipped(
    t: np.ndarray, s: np.ndarray, bounds: participation.TimeBounds, deadline: float
) -> tuple[np.ndarray, np.ndarray]:
    """Move (t, s) on the line t + s = T into the bounds; where upper bounds end before the line, both sit on them.

    Where the least times fill the deadline but for rounding, they are the answer: a difference T - s may be all rounding.
    """
    t_low, t_high, s_low, s_high = bounds.training_low, bounds.training_high, bounds.mining_low, bounds.mining_high
    low = t < t_low
    t, s = np.where(low, t_low, t), np.where(low, deadline - t_low, s)
    late = s < s_low
    t, s = np.where(late, np.maximum(deadline - s_low, t_low), t), np.where(late, s_low, s)
    over = t > t_high
    t, s = np.where(over, t_high, t), np.where(over, deadline - t_high, s)
    beyond = s > s_high
    return np.where(beyond, np.minimum(deadline - s_high, t_high), t), np.where(beyond, s_high, s)


def _certificate(
    game: Game, clients: pd.DataFrame, bounds: participation.TimeBounds, price_difference: np.ndarray
) -> Certificate:
    """Residuals of the times in the table, for the concave objective with derivative h along t + s = T.

    By concavity no feasible t' beats t by more than h(t) (t' - t), so h times the way left to the end of the interval
    that h points to bounds the loss: the duality gap, without any multiplier.
    """
    able = clients["recruited"].to_numpy()
    rows = np.flatnonzero(able)
    # violation, stationarity, its size, gap and size of the objective by client
    results = np.empty((5, rows.size))
    for start in range(0, rows.size, CHUNK):
        part = rows[start : start + CHUNK]
        results[:, start : start + CHUNK] = _residuals(game, clients, bounds, price_difference, part)
    violation, slope, slope_size, gap, objective = results
    stationarity = slope / slope_size
    complementarity = gap / objective
    ids = clients.index[able]
    return Certificate(
        primal=max(float(violation.max()), 0.0),
        dual=0.0,
        complementarity=float(complementarity.max()),
        stationarity=float(stationarity.max()),
        gap=float(gap.sum() / objective.sum()),
        where={
            "primal": f"client {id_text(ids, int(violation.argmax()))}",
            "complementarity": f"client {id_text(ids, int(complementarity.argmax()))}",
            "stationarity": f"client {id_text(ids, int(stationarity.argmax()))}",
        },
        unscaled={
            "primal": max(float(violation.max()), 0.0) * game.deadline,
            "dual": 0.0,
            "complementarity": float(gap.max()),
            "stationarity": float(slope.max()),
            "gap": float(gap.sum()),
        },
    )


def _residuals(
    game: Game, clients: pd.DataFrame, bounds: participation.TimeBounds, price_difference: np.ndarray, rows: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Relative violation, slope dU/dt and the size of its terms, gap and size of the objective of these rows' clients."""
    t, s = clients["training_time"].to_numpy()[rows], clients["mining_time"].to_numpy()[rows]
    t_low, s_low = bounds.training_low[rows], bounds.mining_low[rows]
    t_high, s_high = bounds.training_high[rows], bounds.mining_high[rows]
    rho, mu = game.population.energy_coefficient[rows], game.population.training_cycles[rows]
    deadline, difference = game.deadline, price_difference[rows]

    q_t, q_m = mu / t, game.mining_cycles / s
    pull, push = 2 * rho * (q_t * q_t * q_t), 2 * rho * (q_m * q_m * q_m)
    h = difference + pull - push
    size = np.abs(difference) + pull + push
    on_line = np.abs(t + s - deadline) <= 1e-9 * deadline
    up, down = np.minimum(t_high, deadline - s_low) - t, t - np.maximum(t_low, deadline - s_high)
    # Off the line both times sit on their caps, where U rises in both: nothing is left to move.
    room = np.where(on_line, np.maximum(np.where(h > 0, up, down), 0.0), 0.0)
    objective = np.abs(pull * t) + np.abs(push * s) + np.abs(difference) * deadline
    violation = np.maximum.reduce(
        [t + s - deadline, t_low - t, s_low - s, np.where(on_line, -np.inf, np.maximum(t_high - t, s_high - s))]
    )
    violation = np.maximum(violation, np.where(np.isfinite(t_high), t - t_high, 0.0))
    violation = np.maximum(violation, np.where(np.isfinite(s_high), s - s_high, 0.0)) / deadline
    inside = room > 1e-9 * deadline
    return violation, np.where(inside, np.abs(h), 0.0), size, np.abs(h) * room, objective


def solved(
    game: Game, problem: str, clients: pd.DataFrame, objective: float, certificate: Certificate | None, begin: float
) -> Solution:
    """The exact solution these clients and their certificate make; None: there is no client."""
    holds = certificate is not None and certificate.holds()
    status = Status.SOLVED if holds else Status.NO_CLIENTS if certificate is None else Status.NOT_CERTIFIED
    return Solution(
        problem=problem,
        solver="exact",
        status=status,
        quality=Quality.GLOBAL if holds else Quality.NONE,
        detail="" if holds or certificate is None else certificate.failure(),
        certificate=certificate,
        game=game,
        clients=clients,
        timing={"solve": time.perf_counter() - begin},
        provenance=record(),
        _objective=objective,
    )
