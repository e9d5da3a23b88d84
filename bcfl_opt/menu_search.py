"""Which menu of offers is cheapest? The search over the offers themselves, with the clients' exact answers: theory 6.3.

An offer is a row (training price, mining price, deadline); a menu is one row a type. Any menu can be judged exactly
(:meth:`MenuProblem.account`), so every route to one, this search or another, ends here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
from scipy.optimize import minimize, nnls

from bcfl_opt.offers import Clients, Slopes, answers, answers_with_slopes

#: What a type may gain by another's offer, relative to :attr:`MenuProblem.unit`, before the menu is not truthful.
GAIN = 1e-9
#: An offer this near to being envied, relative to the same, is watched by the search from the start.
NEAR = 1e-2
#: By how much an offer must be out of reach to be so for certain, in deadlines.
APART = 1e-9
#: Prices further than this factor from the pooled price are not searched.
REACH = 1e8


@dataclasses.dataclass(frozen=True, eq=False)
class MenuProblem:
    """min sum_k w_k (payment_k + v T_k) over offers that every type k takes and none envies another.

    clients : the types, arrays of shape (K,). weights : w, their probabilities. deadline : T, the longest allowed.
    chosen : each offer carries its own deadline T_k <= T; otherwise all have T. time_weight : v [money / time].
    caps : R_t and R_m by type, or None.
    """

    clients: Clients
    weights: np.ndarray
    deadline: float
    chosen: bool = False
    time_weight: float = 0.0
    caps: tuple[np.ndarray, np.ndarray] | None = None

    def __len__(self) -> int:
        return len(self.weights)

    @property
    def free(self) -> int:
        """How many columns of an offer are free: the prices, and the deadline where it is chosen."""
        return 3 if self.chosen else 2

    # ------------------------------------------------------------------ what it takes at least

    def least_price(self, deadline: float | np.ndarray) -> np.ndarray:
        """rho ((mu + psi) / T)^3: the least price, equal for both tasks, at which each type takes part."""
        clients = self.clients
        return clients.energy_coefficient * ((clients.training_cycles + clients.mining_cycles) / deadline) ** 3

    def complete_information(self) -> tuple[np.ndarray, np.ndarray]:
        """(training time, mining time) by type that cost least if the types were known: energy + v (t + s)."""
        clients = self.clients
        total = clients.training_cycles + clients.mining_cycles
        deadline = np.full(len(self), self.deadline)
        if self.chosen and self.time_weight > 0:
            wanted = np.cbrt(2 * clients.energy_coefficient / self.time_weight) * total
            deadline = np.clip(wanted, total / clients.max_speed, self.deadline)
        t = clients.cheapest_times(deadline)
        return t, deadline - t

    def least_costs(self) -> np.ndarray:
        """Cost of each type if the types were known, caps aside: no menu pays a type less."""
        t, s = self.complete_information()
        return self.clients.energy(t, s) + self.time_weight * (t + s)

    def pooled(self) -> np.ndarray:
        """One offer for all, the cheapest with equal prices: what the costliest type needs."""
        deadline = self.deadline
        worst = float(self.least_price(1.0).max())
        if self.chosen and self.time_weight > 0:  # worst / T^2 + v T
            limit = float(((self.clients.training_cycles + self.clients.mining_cycles) / self.clients.max_speed).max())
            deadline = float(np.clip(np.cbrt(2 * worst / self.time_weight), limit, deadline))
        price = worst / deadline**3
        return np.tile([price, price, deadline], (len(self), 1))

    @property
    def unit(self) -> float:
        """The payment of the pooled offer: what gains and costs are measured in [money]."""
        price, _, deadline = self.pooled()[0]
        return float(price * deadline)

    # ------------------------------------------------------------------ a menu, judged

    def account(self, menu: np.ndarray) -> Account:
        """Every type against every offer, exactly. menu : offers, shape (K, 3)."""
        p_t, p_m, deadline = menu.T
        found = answers(self.clients[:, None], p_t, p_m, deadline)
        own = np.arange(len(self))
        t, s = found.training_time[own, own], found.mining_time[own, own]
        accepts = found.accepts[own, own]
        over = 0.0
        if self.caps is not None:
            with np.errstate(divide="ignore", invalid="ignore"):
                rewards = np.stack([t * p_t / self.caps[0], s * p_m / self.caps[1]])
            over = max(float(np.where(accepts, rewards, 0.0).max()) - 1, 0.0)
        payment = found.payment[own, own]
        cost = float(self.weights @ (payment + self.time_weight * deadline))
        return Account(found.value, t, s, payment, accepts, over, cost)

    def is_truthful(self, account: Account) -> bool:
        return bool(account.accepts.all()) and account.gain <= GAIN * self.unit and account.over <= 1e-9


@dataclasses.dataclass(frozen=True, eq=False)
class Account:
    """A menu judged: value (K, K) of offer j to type k; times, payment and acceptance of its own offer by type.

    over : largest excess over a reward cap, relative. cost : the menu's.
    """

    value: np.ndarray
    training_time: np.ndarray
    mining_time: np.ndarray
    payment: np.ndarray
    accepts: np.ndarray
    over: float
    cost: float

    @property
    def gains(self) -> np.ndarray:
        """What type k gains by taking offer j instead of its own, shape (K, K) [money]."""
        return self.value - np.diag(self.value)[:, None]

    @property
    def gain(self) -> float:
        return float(self.gains.max())


# ---------------------------------------------------------------------------------- the programme in the offers


class _Programme:
    """The problem in z = log(offer / pooled offer) with some of the pairs (k, j): values and derivatives for SLSQP.

    Rows: k does not envy j (per unit of money), k accepts its own offer (per deadline), own rewards within the caps.
    """

    def __init__(self, problem: MenuProblem, pairs: np.ndarray, out: np.ndarray | None = None) -> None:
        self.problem, self.pairs = problem, pairs
        self.out = np.zeros(len(pairs), dtype=bool) if out is None else out[tuple(pairs.T)]
        self.reference = problem.pooled()
        self._at: tuple[bytes, tuple[float, np.ndarray, np.ndarray, np.ndarray]] | None = None

    def menu(self, z: np.ndarray) -> np.ndarray:
        menu = self.reference.copy()
        free = self.problem.free
        menu[:, :free] *= np.exp(z.reshape(-1, free))
        return menu

    def z(self, menu: np.ndarray) -> np.ndarray:
        free = self.problem.free
        return np.log(menu[:, :free] / self.reference[:, :free]).ravel()

    def at(self, z: np.ndarray) -> tuple[float, np.ndarray, np.ndarray, np.ndarray]:
        """Cost, its gradient, the rows (all must be at least 0) and their Jacobian."""
        key = z.tobytes()
        if self._at is None or self._at[0] != key:
            self._at = (key, self._evaluated(z))
        return self._at[1]

    def _evaluated(self, z: np.ndarray) -> tuple[float, np.ndarray, np.ndarray, np.ndarray]:
        problem, menu, free = self.problem, self.menu(z), self.problem.free
        n, unit = len(problem), problem.unit
        everyone = np.arange(n)
        k, j = np.concatenate([np.tile(everyone, (2, 1)), self.pairs.T], axis=1)
        found, slopes = answers_with_slopes(problem.clients[k], *menu[j].T)
        steps = menu[j][:, :free]  # d offer / dz

        def own(derivatives: np.ndarray) -> np.ndarray:
            return derivatives[:n, :free] * steps[:n]

        def spread(rows: np.ndarray) -> np.ndarray:
            """Derivatives (n, free) of one row a type, as a Jacobian (n, n free)."""
            jacobian = np.zeros((n, n, free))
            jacobian[everyone, everyone] = rows
            return jacobian.reshape(n, n * free)

        w, v = problem.weights, problem.time_weight
        cost = float(w @ (slopes.paid[:n] + v * menu[:, 2]))
        gradient = own(slopes.payment)
        if free == 3:
            gradient[:, 2] += v * menu[:, 2]
        worth = own(slopes.value)
        envy = np.zeros((len(self.pairs), n, free))
        rows = np.arange(len(self.pairs))
        envy[rows, self.pairs[:, 0]] += worth[self.pairs[:, 0]]
        envy[rows, self.pairs[:, 1]] -= slopes.value[n:, :free] * steps[n:]
        content = (found.value[:n][self.pairs[:, 0]] - slopes.extended[n:]) / unit
        apart = found.shortage[n:] / menu[j[n:], 2]
        if self.out.any():  # per unit of money too, as all rows of pairs are divided by it below
            content[self.out] = apart[self.out] - APART
            envy[self.out] = 0.0
            d_apart = slopes.shortage[n:, :free] * steps[n:] / menu[j[n:], 2:]
            if free == 3:
                d_apart[:, 2] -= apart
            envy[rows[self.out], self.pairs[self.out, 1]] = unit * d_apart[self.out]
        values = [content, -found.shortage[:n] / menu[:, 2]]
        short = -slopes.shortage[:n, :free] * steps[:n] / menu[:, 2:]
        if free == 3:
            short[:, 2] += found.shortage[:n] / menu[:, 2]
        jacobian = [envy.reshape(len(self.pairs), n * free) / unit, spread(short)]
        if problem.caps is not None:
            for task, cap in enumerate(problem.caps):
                reward, slope = self._reward(task, menu, found.training_time[:n], slopes)
                values.append((cap - reward) / cap)
                jacobian.append(spread(-slope[:, :free] * steps[:n] / cap[:, None]))
        gradient = (w[:, None] * gradient).ravel()
        return cost / unit, gradient / unit, np.concatenate(values), np.concatenate(jacobian)

    def _reward(self, task: int, menu: np.ndarray, t: np.ndarray, slopes: Slopes) -> tuple[np.ndarray, np.ndarray]:
        """t p_t or s p_m by type, and its derivatives."""
        n = len(t)
        d_t = slopes.training_time[:n]
        if task == 0:
            return t * menu[:, 0], menu[:, :1] * d_t + np.stack([t, 0 * t, 0 * t], axis=1)
        s = menu[:, 2] - t
        d_s = -d_t + np.array([0.0, 0.0, 1.0])
        return s * menu[:, 1], menu[:, 1:2] * d_s + np.stack([0 * t, s, 0 * t], axis=1)


def local_search(problem: MenuProblem, menu: np.ndarray, iterations: int = 200) -> np.ndarray:
    """A menu from which no small change is cheaper, starting at ``menu``; envied pairs join as they appear (SLSQP).

    Where clients have a largest speed, an offer that one cannot take can be worth much to it as soon as it can: first such
    steps are smoothed, then those who are kept out by time stay out by time.
    """
    none = np.zeros((len(problem), len(problem)), dtype=bool)
    menu = _searched(problem, menu, none, iterations)
    if np.isfinite(problem.clients.max_speed).any():
        out = answers(problem.clients[:, None], *menu.T).shortage > 0
        menu = _searched(problem, menu, out & np.isfinite(problem.clients.max_speed)[:, None], iterations)
    return _seated(problem, menu)


def _searched(problem: MenuProblem, menu: np.ndarray, out: np.ndarray, iterations: int) -> np.ndarray:
    """out (K, K) : who must not be able to take which offer."""
    unit, n = problem.unit, len(problem)
    off = ~np.eye(n, dtype=bool)
    watched = (problem.account(menu).gains > -NEAR * unit) & off
    for _ in range(n * n):
        programme = _Programme(problem, np.argwhere(watched), out)
        limits = np.tile([np.log(REACH), np.log(REACH), 0.0][: problem.free], n)
        if problem.chosen:
            limits[2::3] = np.log(problem.deadline / programme.reference[:, 2])
        result = minimize(
            lambda z, p=programme: p.at(z)[0],
            np.minimum(programme.z(menu), limits),
            jac=lambda z, p=programme: p.at(z)[1],
            constraints={
                "type": "ineq",
                "fun": lambda z, p=programme: p.at(z)[2],
                "jac": lambda z, p=programme: p.at(z)[3],
            },
            bounds=[(-np.log(REACH), limit) for limit in limits],
            method="SLSQP",
            options={"maxiter": iterations, "ftol": 1e-14},
        )
        if not np.isfinite(result.x).all():
            return menu
        menu = programme.menu(result.x)
        gains = problem.account(menu).gains
        if not ((gains > GAIN * unit) & off & ~watched).any():
            return menu
        watched |= (gains > -NEAR * unit) & off
    return menu


def _seated(problem: MenuProblem, menu: np.ndarray) -> np.ndarray:
    """The menu with offers that rounding puts out of their own type's reach put back into it."""
    menu = menu.copy()
    for _ in range(10):
        found = answers(problem.clients, *menu.T)
        short = (found.shortage > 0) & (found.shortage <= NEAR * menu[:, 2])
        if not short.any():
            break
        lacking = np.where(short, found.shortage / menu[:, 2], 0.0)
        later = menu[:, 2] * (1 + lacking * (1 + 1e-9))
        room = short & problem.chosen & (later <= problem.deadline)
        menu[room, 2] = later[room]
        menu[short & ~room, :2] *= (1 + 3.5 * lacking[short & ~room])[:, None]
    return menu


@dataclasses.dataclass(frozen=True, eq=False)
class Multipliers:
    """envy (K, K): what it would save per unit of money if type k were allowed to envy offer j by it; residual : how much
    of the cost's gradient no multipliers explain, relative."""

    envy: np.ndarray
    residual: float


def multipliers(problem: MenuProblem, menu: np.ndarray, active: float = 1e-7) -> Multipliers:
    """Multipliers >= 0 of the rows that bind at the menu, by least squares on the stationarity of the Lagrangian."""
    n = len(problem)
    pairs = np.argwhere(~np.eye(n, dtype=bool))
    programme = _Programme(problem, pairs)
    z = programme.z(menu)
    _, gradient, rows, jacobian = programme.at(z)
    if problem.chosen:  # deadlines at their limit
        at_limit = np.flatnonzero(menu[:, 2] >= problem.deadline * (1 - 1e-9))
        limits = np.zeros((len(at_limit), len(z)))
        limits[np.arange(len(at_limit)), 3 * at_limit + 2] = -1.0
        rows, jacobian = np.append(rows, np.zeros(len(at_limit))), np.concatenate([jacobian, limits])
    binding = np.flatnonzero(rows <= active)
    found, _ = nnls(jacobian[binding].T, gradient) if len(binding) else (np.zeros(0), 0.0)
    envy = np.zeros((n, n))
    of_pairs = binding < len(pairs)
    envy[tuple(pairs[binding[of_pairs]].T)] = found[of_pairs]
    left = gradient - jacobian[binding].T @ found
    return Multipliers(envy, float(np.abs(left).max() / np.abs(gradient).max()))


# ---------------------------------------------------------------------------------- where to start


def starts(problem: MenuProblem, count: int, rng: np.random.Generator) -> Iterator[tuple[str, np.ndarray]]:
    """Menus to start from, by name: the best guess, pooling, separation, then random variations of the first two."""
    guess = envy_of_the_costliest(problem)
    yield "envy of the costliest only", guess
    if count > 1:
        yield "pooling", problem.pooled()
    if count > 2:
        t, s = problem.complete_information()
        price = problem.least_price(t + s)
        yield "complete information", np.stack([price, price, t + s], axis=1)
    for k in range(3, count):
        base, width = (guess, 0.1) if k % 2 else (problem.pooled(), 0.3)
        menu = base.copy()
        menu[:, : problem.free] *= np.exp(rng.normal(0.0, width, (len(problem), problem.free)))
        menu[:, 2] = np.minimum(menu[:, 2], problem.deadline)
        yield f"random {k - 2}", menu


def envy_of_the_costliest(problem: MenuProblem, points: int = 400) -> np.ndarray:
    """The menu that would be optimal if all types envied only the costliest one's offer.

    That offer leaves its own type nothing: p_t = rho (mu/t)^3, p_m = rho (psi/s)^3. Every other type works the times that
    cost least and gets what the envied offer is worth to it. Of the three price pairs that bring a type to given times for
    given pay (see :func:`price_pairs`) each gets the one that the others like least. Often that is the answer (theory 6.5).
    """
    clients, top = problem.clients, int(problem.least_price(1.0).argmax())
    mine = clients[np.array([top])]
    limit = ((mine.training_cycles + mine.mining_cycles) / mine.max_speed).item()
    lengths = np.array([problem.deadline])
    if problem.chosen:
        least = problem.complete_information()
        shortest = max(float(least[0][top] + least[1][top]) / 4, limit)
        lengths = np.geomspace(shortest, problem.deadline, 60)
    share = np.linspace(0.0, 1.0, points + 2)[1:-1]
    t_low, s_low = (mine.training_cycles / mine.max_speed).item(), (mine.mining_cycles / mine.max_speed).item()
    t = (t_low + share * (lengths[:, None] - t_low - s_low)).ravel()
    length = np.repeat(lengths, points)
    t, length = t[(t > 0) & (t < length)], length[(t > 0) & (t < length)]
    if not len(t):  # the speed limit leaves one point
        t, length = np.array([t_low]), np.array([problem.deadline])
    rho, mu, psi = mine.energy_coefficient, mine.training_cycles, mine.mining_cycles
    p_t, p_m = rho * (mu / t) ** 3, rho * (psi / (length - t)) ** 3
    rents = answers(clients[:, None], p_t, p_m, length).value
    rents[top] = mine.energy(t, length - t) + problem.time_weight * length - problem.least_costs()[top]
    best = int((problem.weights @ rents).argmin())
    t_own, s_own = problem.complete_information()
    t_own[top], s_own[top] = t[best], length[best] - t[best]
    value = answers(clients, p_t[best], p_m[best], length[best]).value
    value[top] = 0.0
    pairs = price_pairs(clients, t_own, s_own, value + clients.energy(t_own, s_own))
    deadline = t_own + s_own
    envied = [
        (answers(clients[:, None], *pair, deadline).value - value[:, None]).max(axis=0, initial=0.0) for pair in pairs
    ]
    choice = np.argmin(np.round(np.stack(envied) / problem.unit, 12), axis=0)
    return np.stack(
        [np.choose(choice, [pair[0] for pair in pairs]), np.choose(choice, [pair[1] for pair in pairs]), deadline],
        axis=1,
    )


def price_pairs(
    clients: Clients, t: np.ndarray, s: np.ndarray, payment: np.ndarray
) -> list[tuple[np.ndarray, np.ndarray]]:
    """The three price pairs with t p_t + s p_m = payment at which the times t, s are each type's best answer.

    Interior: p_t + 2 rho (mu/t)^3 = p_m + 2 rho (psi/s)^3. Or one task earns nothing, p_m = rho (psi/s)^3 or p_t = rho
    (mu/t)^3: nobody can then mine, or train, for less time, whatever its type. (Not all exist for all times and payments.)
    """
    rho, mu, psi = clients.energy_coefficient, clients.training_cycles, clients.mining_cycles
    least_t, least_m = rho * (mu / t) ** 3, rho * (psi / s) ** 3
    inner = (payment - 2 * (least_m - least_t) * t) / (t + s)
    corner_m = (payment - least_m * s) / t
    corner_t = (payment - least_t * t) / s
    tiny = 1e-3 * (payment / (t + s))
    inner_t = np.maximum(inner + 2 * (least_m - least_t), tiny)
    return [
        (inner_t, np.maximum(inner, tiny)),
        (np.maximum(corner_m, least_t), least_m),
        (least_t, np.maximum(corner_t, least_m)),
    ]
