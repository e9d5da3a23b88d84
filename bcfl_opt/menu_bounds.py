"""How cheap could any menu be? A lower bound that holds for all of them: Lagrangian relaxation, contract by contract.

Give every "type k does not envy offer j" a price m_kj >= 0 instead of demanding it. What is left falls apart: each offer
stands alone in

    L_j(p) = w_j (payment_j(p) + v T) - M_j V_j(p) + sum_k m_kj V_k(p),      M_j = sum_k m_jk,

and sum_j min L_j is at most the cost of any menu that all types accept and none envies, whatever m. With the multipliers of
a locally optimal menu it is often that menu's own cost, which then is a proof that nothing is cheaper (theory 6.4, 6.5);
where it is not, :mod:`bcfl_opt.menu_multipliers` looks for multipliers that prove more.

Each minimum over two prices (and a deadline) is found by branch and bound over boxes. A box is bounded from below by what
rises with the offer: V does, its derivatives are at least the client's shortest times in the box, and a type that could do the
work of type j in the same times has at least V_j plus the energy it saves.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from bcfl_opt.exact import response_times
from bcfl_opt.menu_search import MenuProblem
from bcfl_opt.offers import Clients, answers
from bcfl_opt.participation import ROUNDING
from bcfl_opt.quantising import grouped

#: Boxes kept at a time; when more are undecided, the bound is what it is.
BOXES = 50_000
#: Rounds of splitting.
ROUNDS = 120
#: Groups that a large population is put into when it is bounded.
GROUPS = 60
#: How exactly the costs of the others are bounded when the most that one type can cost is, relative to the menu's cost.
ROUGH = 1e-4
#: A coefficient of V_j below this, relative to the type's weight, is a residue of rounding.
RESIDUE = 1e-7
#: First division of the prices and of the deadline, each into intervals of equal ratio.
FIRST = (24, 24, 8)


def most_by_type(problem: MenuProblem, menu: np.ndarray, cost: float) -> np.ndarray:
    """The most that a menu of at most this cost can spend on each type when it occurs, payment and v T.

    What is left when the others cost least: and they cost at least what they would if they envied nobody but the costliest
    of them.
    """
    n, least = len(problem), problem.weights * problem.least_costs()
    anything = np.full(n, np.inf)
    most = (cost - (least.sum() - least)) / problem.weights
    order = np.argsort(problem.least_price(1.0))
    for j in range(n if n > 2 else 0):
        costliest = int(order[-1] if order[-1] != j else order[-2])
        envy = np.zeros((n, n))
        envy[:, costliest] = problem.weights
        envy[[j, costliest], costliest] = 0.0
        others = float(least.sum() - least[j] - least[costliest])
        center = Subproblem(problem, envy, costliest, np.minimum(anything, most))
        others += center.minimum(menu[costliest], ROUGH * cost)[0]
        most[j] = min(most[j], (cost - others) / problem.weights[j])
    return most * (1 + 1e-9)


def population_bound(problem: MenuProblem, cost: float, tolerance: float) -> float:
    """A number that no menu for this many types undercuts: they are compared with the costliest one's offer only.

    cost : of some menu, or what a menu costs these types. Every type has at least what the costliest one's offer is worth to
    it, and that is at least what it is worth to the worst of a group that it belongs to.
    """
    least = problem.weights * problem.least_costs()
    top = int(problem.least_price(1.0).argmax())
    rest = np.arange(len(problem)) != top
    if not rest.any():
        return float(least.sum())
    worst, weights = grouped(problem.clients[rest], problem.weights[rest], GROUPS)
    mine = problem.clients[np.array([top])]
    together = Clients(
        np.append(worst.training_cycles, mine.training_cycles),
        np.append(worst.energy_coefficient, mine.energy_coefficient),
        np.append(worst.max_speed, mine.max_speed),
        worst.mining_cycles,
    )
    few = dataclasses.replace(problem, clients=together, weights=np.append(weights, problem.weights[top]))
    j = len(few) - 1
    envy = np.zeros((len(few), len(few)))
    envy[:j, j] = weights
    most = np.full(len(few), np.inf)
    most[j] = (cost - float(least[rest].sum())) / problem.weights[top]
    found, _ = Subproblem(few, envy, j, most).minimum(few.pooled()[j], tolerance)
    return max(float(least[rest].sum()) + found, float(least.sum()))


@dataclasses.dataclass(frozen=True, slots=True)
class _Boxes:
    """Boxes of offers: lower and upper corners, shape (n, 3)."""

    low: np.ndarray
    high: np.ndarray

    def __len__(self) -> int:
        return len(self.low)

    def __getitem__(self, keep: np.ndarray) -> _Boxes:
        return _Boxes(self.low[keep], self.high[keep])

    def halves(self, width: np.ndarray) -> _Boxes:
        """Each box cut in two, at the geometric middle of the side that is widest by the measure ``width``."""
        rows, side = np.arange(len(self)), width.argmax(axis=1)
        middle = np.sqrt(self.low[rows, side] * self.high[rows, side])
        left, right = self.high.copy(), self.low.copy()
        left[rows, side] = right[rows, side] = middle
        return _Boxes(np.concatenate([self.low, right]), np.concatenate([left, self.high]))


class Subproblem:
    """min over offers p that type j takes of w (payment_j + v T) - M V_j + sum_k m_k V_k, split V_j + energy_j."""

    def __init__(self, problem: MenuProblem, envy: np.ndarray, j: int, most: np.ndarray) -> None:
        self.problem = problem
        self.most = float(most[j])
        #: No type is left more than this by any offer that a menu as cheap contains.
        self.rents = most - problem.least_costs()
        self.own = problem.clients[np.array([j])]
        self.weight = float(problem.weights[j])
        who = np.flatnonzero(envy[:, j] > 0)
        self.enviers, self.prices = problem.clients[who], envy[who, j]
        self.on_value = self.weight - float(envy[j].sum())  # of V_j
        self.caps = None if problem.caps is None else tuple(float(cap[j]) for cap in problem.caps)
        mu, rho, q = self._type()
        others = self.enviers
        #: Who can do the work in any times in which type j can, at any prices, for less energy: a, b and times by speed.
        self.abler = (
            (others.energy_coefficient * others.training_cycles**3 <= rho * mu**3)
            & (others.energy_coefficient <= rho)
            & (others.training_cycles / others.max_speed <= mu / q)
            & (others.max_speed >= q)
        )

    def _type(self) -> tuple[float, float, float]:
        own = self.own
        return own.training_cycles.item(), own.energy_coefficient.item(), own.max_speed.item()

    def value(self, offers: np.ndarray) -> np.ndarray:
        """L_j at offers (n, 3); inf where type j does not take them, or is paid beyond its caps."""
        p_t, p_m, deadline = offers.T
        mine = answers(self.own, p_t, p_m, deadline)
        value = self.on_value * mine.value + self.weight * (mine.energy + self.problem.time_weight * deadline)
        if len(self.prices):
            value = value + self.prices @ answers(self.enviers[:, None], p_t, p_m, deadline).value
        taken = mine.accepts
        if self.caps is not None:
            taken = taken & (mine.training_time * p_t <= self.caps[0]) & (mine.mining_time * p_m <= self.caps[1])
        return np.where(taken, value, np.inf)

    def minimum(self, start: np.ndarray, tolerance: float) -> tuple[float, np.ndarray]:
        """A lower bound of L_j over the offers that a menu as cheap can contain, and the best offer that was looked at.

        The bound is within ``tolerance`` of the minimum if boxes suffice. start : an offer that type j takes.
        """
        boxes = self._first()
        best, offer = float(self.value(start[None])[0]), start
        for _ in range(ROUNDS):
            boxes, bound, width = self._bounded(boxes)
            if not len(boxes):
                return best - tolerance, offer
            tried = np.concatenate([boxes.high, np.sqrt(boxes.low * boxes.high)])
            values = self.value(tried)
            if values.min() < best:
                best, offer = float(values.min()), tried[values.argmin()]
            open_ = bound < best - tolerance
            if not open_.any():
                return best - tolerance, offer
            if 2 * open_.sum() > BOXES:
                break
            boxes, bound = boxes[open_].halves(width[open_]), bound[open_]
        return float(bound[open_].min() if len(bound) == len(open_) else bound.min()), offer

    def _first(self) -> _Boxes:
        """All offers that type j may take and that cost no more than the most that a menu as cheap can spend on it.

        It is paid at least p_t t_lo >= p_t^(2/3) rho^(1/3) mu (and p_t mu / q), and rho (mu + psi)^3 / T^2 in all.
        """
        mu, rho, q = self._type()
        psi, longest, rate = self.problem.clients.mining_cycles, self.problem.deadline, self.problem.time_weight
        most, shortest = self.most, longest
        if self.problem.chosen:
            shortest = max(np.sqrt(rho * (mu + psi) ** 3 / most), (mu + psi) / q)
            longest = min(longest, most / rate) if rate > 0 else longest
        edges = []
        for cycles, count in ((mu, FIRST[0]), (psi, FIRST[1])):
            high = min((most / (rho ** (1 / 3) * cycles)) ** 1.5, most * q / cycles)
            low = rho * (cycles / longest) ** 3
            edges.append(np.geomspace(low * (1 - 1e-12), max(high, 2 * low), count + 1))
        if shortest < longest * (1 - ROUNDING):
            edges.append(np.geomspace(shortest * (1 - 1e-12), longest, FIRST[2] + 1))
            edges[-1][-1] = longest
        else:
            edges.append(np.array([longest, longest]))
        lows = np.meshgrid(*(edge[:-1] for edge in edges), indexing="ij")
        highs = np.meshgrid(*(edge[1:] for edge in edges), indexing="ij")
        return _Boxes(*(np.stack([side.ravel() for side in corner], axis=1) for corner in (lows, highs)))

    # ------------------------------------------------------------------ a box from below

    def _bounded(self, boxes: _Boxes) -> tuple[_Boxes, np.ndarray, np.ndarray]:
        """The boxes in which type j takes some offer, a lower bound of L_j in each, and their sides in money."""
        top = answers(self.own, *boxes.high.T)
        # In a menu without envy every type has at least what any offer in it is worth to it.
        rents = answers(self.problem.clients[:, None], *boxes.low.T).value
        kept = top.accepts & (rents <= self.rents[:, None]).all(axis=0)
        boxes, value_top = boxes[kept], top.value[kept]
        if not len(boxes):
            return boxes, value_top, boxes.low
        inside = _Inside(self, boxes)
        bound = self._bound(boxes, inside, value_top, 0.0)
        able = float(self.prices[self.abler].sum())
        if self.on_value < 0 and able > 0:
            bound = np.maximum(bound, self._bound(boxes, inside, value_top, min(1.0, -self.on_value / able)))
        if self.caps is not None:
            p_t, p_m, _ = boxes.low.T
            over = (inside.t_min * p_t > self.caps[0]) | (inside.s_min * p_m > self.caps[1])
            bound = np.where(over, np.inf, bound)
        return boxes, bound, inside.width * inside.worth

    def _bound(self, boxes: _Boxes, inside: _Inside, value_top: np.ndarray, matched: float) -> np.ndarray:
        """A linear function of the offer below L_j, minimised over the part of the box that type j may take.

        matched : the part of the abler types' m_k that is set against -M V_j by V_k >= V_j + energy_j - energy_k at type
        j's times; the rest enters by V_k >= its tangent at the lower corner.
        """
        mu, rho, _ = self._type()
        psi, rate = self.problem.clients.mining_cycles, self.problem.time_weight
        able, prices = self.abler, self.prices
        rest = np.where(able, (1 - matched) * prices, prices)
        on_value = self.on_value + matched * float(prices[able].sum())
        constant = np.zeros(len(boxes))
        if abs(on_value) <= RESIDUE * self.weight:  # rounding of the multipliers: 0 <= V_j <= payment_j
            constant += min(on_value, 0.0) * self.most
            on_value = 0.0
        saved = matched * prices[able]
        others = self.enviers[able]
        training = self.weight * rho * mu**3 + float(
            saved @ (rho * mu**3 - others.energy_coefficient * others.training_cycles**3)
        )
        mining = (self.weight * rho + float(saved @ (rho - others.energy_coefficient))) * psi**3
        slope = np.zeros((len(boxes), 3))
        if len(prices):
            constant = constant + rest @ inside.envier_values
            slope += np.einsum("k,knd->nd", rest, inside.envier_slopes)
        if on_value > 0:
            constant = constant + on_value * inside.own_value
            slope += on_value * inside.own_slope
        elif on_value < 0:
            width = boxes.high - boxes.low
            constant = constant + on_value * (value_top - (inside.least_slope * width).sum(axis=1))
            slope += on_value * inside.least_slope
        rate *= self.weight
        flat = inside.least_energy(training, mining, rate)
        bound = flat + inside.least(slope)
        for kind in range(len(inside.times_from_below)):
            number, tilt = inside.energy_from_below(training, mining, rate, kind)
            bound = np.maximum(bound, number + inside.least(slope + tilt))
        return constant + bound


class _Inside:
    """What holds for every offer in a box that type j takes: its shortest times, values and slopes from below."""

    def __init__(self, sub: Subproblem, boxes: _Boxes) -> None:
        own, (mu, rho, q), psi = sub.own, sub._type(), sub.own.mining_cycles
        (self.lt, self.lm, self.l_end), (ut, um, self.u_end) = boxes.low.T, boxes.high.T

        def pace(price: np.ndarray) -> np.ndarray:
            return np.maximum(np.cbrt(rho / price), 1 / q)

        # The free answer's training time rises with p_t and the deadline and falls with p_m, its mining time likewise.
        t_free, s_free = _free(own, self.lt, um, self.l_end)[0], _free(own, ut, self.lm, self.l_end)[1]
        t_most, s_most = _free(own, ut, self.lm, self.u_end)[0], _free(own, self.lt, um, self.u_end)[1]
        t_low, s_low = mu * pace(ut), psi * pace(um)
        self.t_min = np.maximum(t_low, np.minimum(t_free, self.l_end - psi * pace(self.lm)))
        self.s_min = np.maximum(s_low, np.minimum(s_free, self.l_end - mu * pace(self.lt)))
        self.t_max = np.maximum(self.u_end - self.s_min, self.t_min)
        # alpha = (p_m - 3 p_t + 2 rho (psi / (T - t_lo))^3)+ where (8) sets t_lo, and beta likewise: V rises by these too.
        with np.errstate(all="ignore"):
            alpha = np.maximum(self.lm - 3 * ut + 2 * rho * (psi / (self.u_end - t_low)) ** 3, 0.0) * t_low / (3 * ut)
            beta = np.maximum(self.lt - 3 * um + 2 * rho * (mu / (self.u_end - s_low)) ** 3, 0.0) * s_low / (3 * um)
        alpha = np.where((np.cbrt(rho / ut) * q > 1) & (t_low < self.u_end), alpha, 0.0)
        beta = np.where((np.cbrt(rho / um) * q > 1) & (s_low < self.u_end), beta, 0.0)
        s_max = np.maximum(self.u_end - self.t_min, self.s_min)
        # What a side of the box is worth: price x time, and the time that the price allows x the dearer price.
        dear = np.maximum(ut, um)
        self.worth = np.stack([self.t_max + dear * t_low / ut, s_max + dear * s_low / um, dear], axis=1)
        longer = self._worth(rho, mu, psi, self.u_end - self.s_min, self.u_end - self.t_min)
        self.least_slope = np.stack([self.t_min + alpha, self.s_min + beta, longer], axis=1)
        self.own_value, self.own_slope = self._from_below(own)
        # Least times as tangents, which lie below: t_lo >= start + slope . (offer - lower corner), s_lo likewise.
        self.width = boxes.high - boxes.low
        middle = np.sqrt(boxes.low * boxes.high)
        zero = np.zeros(len(boxes))
        t_middle, s_middle = mu * np.cbrt(rho / middle[:, 0]), psi * np.cbrt(rho / middle[:, 1])
        t_slope, s_slope = -t_middle / (3 * middle[:, 0]), -s_middle / (3 * middle[:, 1])
        t_start = t_middle + t_slope * (self.lt - middle[:, 0])
        s_start = s_middle + s_slope * (self.lm - middle[:, 1])
        self.room = np.stack([-t_slope, -s_slope, zero + 1.0], axis=1)
        self.needed = t_start + s_start - self.l_end - ROUNDING * self.u_end
        at_bounds = (
            (t_start, np.stack([t_slope, zero, zero], axis=1)),
            (s_start, np.stack([zero, s_slope, zero], axis=1)),
        )
        # The free answer is one where nothing but t_lo, or s_lo, can be above it; its slopes are 1 / bend in the prices and a
        # share of a longer deadline.
        bend = 6 * rho * (mu * mu * mu / t_free**4 + psi * psi * psi / s_free**4)
        ratio = (mu / psi) ** 3
        t_part, s_part = 1 / (1 + ratio * (s_most / t_free) ** 4), 1 / (1 + (t_most / s_free) ** 4 / ratio)
        t_rise = np.stack([1 / bend, -1 / bend, t_part], axis=1)
        s_rise = np.stack([-1 / bend, 1 / bend, s_part], axis=1)
        t_high, s_high = mu * pace(self.lt), psi * pace(self.lm)
        at_ease = (
            _where(t_most <= self.l_end - s_high, t_free + self.width[:, 1] / bend, t_rise),
            _where(s_most <= self.l_end - t_high, s_free + self.width[:, 0] / bend, s_rise),
        )
        # Where the other task is always at its least time, this one gets the rest: T less a chord, which lies above s_lo.
        with np.errstate(divide="ignore", invalid="ignore"):
            t_chord = np.where(self.width[:, 0] > 0, (t_high - t_low) / self.width[:, 0], 0.0)
            s_chord = np.where(self.width[:, 1] > 0, (s_high - s_low) / self.width[:, 1], 0.0)
        at_rest = (
            _where(t_free >= self.u_end - s_low, self.l_end - s_high, np.stack([zero, s_chord, zero + 1.0], axis=1)),
            _where(s_free >= self.u_end - t_low, self.l_end - t_high, np.stack([t_chord, zero, zero + 1.0], axis=1)),
        )
        #: Pairs of linear functions below t and s: start + slope . (offer - lower corner).
        self.times_from_below = (at_bounds, at_ease, at_rest)
        if len(sub.prices):
            self.envier_values, self.envier_slopes = self._from_below(sub.enviers[:, None])

    def _worth(self, rho: Any, mu: Any, psi: float, t: np.ndarray, s: np.ndarray) -> np.ndarray:
        """Least worth of a longer deadline where the times are at most t and s: one of them is what gets longer."""
        return np.maximum(self.lm + 2 * rho * (psi / s) ** 3, self.lt + 2 * rho * (mu / t) ** 3)

    def _from_below(self, clients: Clients) -> tuple[np.ndarray, np.ndarray]:
        """V at the lower corner and slopes: the answer there stays possible in the whole box."""
        corner = answers(clients, self.lt, self.lm, self.l_end)
        t, s = corner.training_time, corner.mining_time
        extra = self.u_end - self.l_end
        worth = self._worth(
            clients.energy_coefficient, clients.training_cycles, clients.mining_cycles, t + extra, s + extra
        )
        slopes = np.stack([t, s, worth], axis=-1)
        return corner.value, np.where(corner.accepts[..., None], slopes, 0.0)

    def least_energy(self, training: float, mining: float, rate: float) -> np.ndarray:
        """min of training / t^2 + mining / s^2 + rate (t + s) over the times in the box.

        Two bounds, the larger of which counts: t + s at most the longest deadline, and paid for as the shortest; or t and s
        each for itself.
        """
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.cbrt(training / mining) if mining > 0 else np.inf
            best = self.u_end * (ratio / (1 + ratio)) if np.isfinite(ratio) else self.u_end
            t = np.clip(best, self.t_min, self.t_max)
            together = training / t**2 + (mining / (self.u_end - t) ** 2 if mining > 0 else 0.0) + rate * self.l_end
            if rate == 0:
                return together
            t = np.clip(np.cbrt(2 * training / rate), self.t_min, self.t_max)
            s = np.clip(np.cbrt(2 * mining / rate), self.s_min, np.maximum(self.u_end - self.t_min, self.s_min))
        return np.maximum(together, training / t**2 + mining / s**2 + rate * (t + s))

    def energy_from_below(
        self, training: float, mining: float, rate: float, kind: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """training / t^2 + mining / s^2 + rate T >= a number + slopes . (offer - lower corner), for t + s = T.

        The tangent at times in the middle of the box, -a t - b s up to a constant, is (b - a) t - b T or (a - b) s - a T; the
        time that is left has a coefficient of at least 0 and a linear function below it.
        """
        t = 0.5 * (self.t_min + self.t_max)
        s = np.maximum(0.5 * (self.l_end + self.u_end) - t, self.s_min)
        a, b = 2 * training / t**3, 2 * mining / s**3
        on_t, on_s, on_deadline = np.maximum(b - a, 0.0), np.maximum(a - b, 0.0), rate - np.maximum(a, b)
        (t_start, t_slope), (s_start, s_slope) = self.times_from_below[kind]
        number = (
            training / t**2 + mining / s**2 + a * t + b * s + on_t * t_start + on_s * s_start + on_deadline * self.l_end
        )
        slopes = on_t[:, None] * t_slope + on_s[:, None] * s_slope
        slopes[:, 2] += on_deadline
        return number, slopes

    def least(self, slope: np.ndarray) -> np.ndarray:
        """min slope . y over 0 <= y <= width with room . y >= needed, which all offers in the box that are taken satisfy.

        By its dual, max over nu >= 0 of nu needed + sum min(slope - nu room, 0) width, attained at a kink.
        """
        best = np.minimum(slope * self.width, 0.0).sum(axis=1)
        for side in range(slope.shape[1]):
            nu = np.maximum(slope[:, side] / self.room[:, side], 0.0)
            left = np.minimum((slope - nu[:, None] * self.room) * self.width, 0.0).sum(axis=1)
            best = np.maximum(best, nu * self.needed + left)
        return best


def _where(holds: np.ndarray, start: np.ndarray, slope: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A linear function where it is known to lie below a time, and 0 elsewhere."""
    return np.where(holds, start, 0.0), np.where(holds[:, None], slope, 0.0)


def _free(own: Clients, p_t: np.ndarray, p_m: np.ndarray, deadline: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The answer without bounds on the times."""
    scale = np.cbrt(2 * own.energy_coefficient)
    n = len(deadline)
    work = np.broadcast_to(scale * own.training_cycles, n), np.broadcast_to(scale * own.mining_cycles, n)
    return response_times(*work, p_t - p_m, deadline)
