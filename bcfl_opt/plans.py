"""Is a plan of the owner optimal, and do the clients follow it? Times and payments of many clients, and their certificate."""

from __future__ import annotations

import dataclasses

import numpy as np

from bcfl_opt.certificate import Certificate
from bcfl_opt.exact import response_times
from bcfl_opt.game import Game
from bcfl_opt.pace import CHUNK, Path
from bcfl_opt.population import id_text


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """What the owner wants of the clients in ``rows`` of the game; arrays of shape (n,).

    path : their paces. training_time, mining_time : t, s. training_payment, mining_payment : a = t p_t, b = s p_m.
    early : stops before the common deadline, with both caps spent. moved : not on the path, because no split of its rent
    would hold it there. multiplier : nu of the payment budget. own_deadlines : the client's deadline is t + s.
    """

    game: Game
    rows: np.ndarray
    path: Path
    training_time: np.ndarray
    mining_time: np.ndarray
    training_payment: np.ndarray
    mining_payment: np.ndarray
    rent: np.ndarray
    training_cap: np.ndarray
    mining_cap: np.ndarray
    early: np.ndarray
    moved: np.ndarray
    own_deadlines: bool
    capped: bool
    budget: float | None
    multiplier: float

    def take(self, rows: np.ndarray) -> Plan:
        """Some of these clients."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        values = {name: v[rows] if isinstance(v, np.ndarray) else v for name, v in values.items()}
        return Plan(**{**values, "path": self.path.take(rows)})

    @property
    def energies(self) -> tuple[np.ndarray, np.ndarray]:
        """rho mu^3 / t^2, rho psi^3 / s^2."""
        rho, mu, psi = self.path.energy_coefficient, self.path.training_cycles, self.path.mining_cycles
        return rho * mu * (mu / self.training_time) ** 2, rho * psi * (psi / self.mining_time) ** 2

    def certificate(self) -> Certificate:
        """Residuals of the plan, with multipliers read off the times; see :func:`_optimality` and :func:`_followed`."""
        n = self.rows.size
        violation, product, size, moves = np.empty((4, n))
        for start in range(0, n, CHUNK):
            p = np.arange(start, min(start + CHUNK, n))
            part = self.take(p)
            violation[p] = _violation(part)
            product[p], size[p] = _optimality(part)
            moves[p] = _moves(part)
        total, slack = float(size.sum()), 0.0
        if self.budget is not None:
            spare = self.budget - float((self.training_payment + self.mining_payment).sum())
            violation[0] = max(violation[0], -spare / self.budget)
            slack = self.multiplier * max(spare, 0.0)
        relative = product / size
        ids = self.game.population.ids

        def who(values: np.ndarray) -> str:
            return f"client {id_text(ids, int(self.rows[values.argmax()]))}"

        return Certificate(
            primal=max(float(violation.max()), 0.0),
            dual=0.0,
            complementarity=max(float(relative.max()), slack / total),
            stationarity=0.0,
            gap=None if self.moved.any() else (float(product.sum()) + slack) / total,
            follower_gap=float(moves.max()),
            where={"primal": who(violation), "complementarity": who(relative), "follower_gap": who(moves)},
        )


def _violation(plan: Plan) -> np.ndarray:
    """Largest relative violation of deadline, speed limits, rationality (8), (9), caps (13), (14) and U >= u."""
    t, s, a, b = plan.training_time, plan.mining_time, plan.training_payment, plan.mining_payment
    training, mining = plan.energies
    r_t, r_m = plan.training_cap, plan.mining_cap
    q, deadline = plan.game.population.max_speed[plan.rows], plan.game.deadline
    late = (t + s) / deadline - 1.0
    if not plan.own_deadlines:
        late = np.where(plan.early, late, np.abs(late))
    fast = np.maximum(plan.path.training_cycles / t, plan.path.mining_cycles / s) / q - 1.0
    unpaid = np.maximum(training - a, mining - b) / (a + b)
    over = np.maximum(a - r_t, b - r_m) / (a + b)
    poor = (plan.rent - (a + b - training - mining)) / (a + b)
    return np.maximum.reduce([late, fast, unpaid, over, poor])


def _optimality(plan: Plan) -> tuple[np.ndarray, np.ndarray]:
    """Multipliers x slacks of each client's convex programme, which bound the gap; and the size of its terms.

    min t + s + (1 + nu) (a + b) over a + b >= energy + u, t >= t_low, s >= s_low, t + s <= T, energy <= R_t + R_m - u. The
    first constraint has the multiplier 1 + nu, the last what is missing to make the least pace the free one. With g the
    derivatives of t + s + (both) energy, the deadline's multiplier is max(0, -min g), and what is left of g are those of
    t_low and s_low: the Lagrangian is stationary. With a common deadline t + s is constant and the deadline an equality; a
    client that stops early minimises t + s alone.
    """
    path, t, s = plan.path, plan.training_time, plan.mining_time
    rho, mu, psi = path.energy_coefficient, path.training_cycles, path.mining_cycles
    weight = np.where(plan.early, 0.0, 1.0 + plan.multiplier)
    time = np.where(plan.early | plan.own_deadlines, 1.0, 0.0)
    w_t, w_s = t / mu, s / psi
    energy = np.add(*plan.energies)
    # At the least pace the caps are spent, and their multiplier is what is missing to make that pace the free one.
    spent = np.minimum(w_t, w_s) <= path.least * (1.0 + 1e-9)
    pays = np.where(spent & (time > 0.0), np.maximum(path.least**3 / (2.0 * rho), weight), weight)
    g_t, g_s = time - pays * 2.0 * rho / w_t**3, time - pays * 2.0 * rho / w_s**3
    hurry = -np.minimum(g_t, g_s)
    hurry = np.where(time > 0.0, np.maximum(hurry, 0.0), hurry)
    r_t, r_m = plan.training_cap, plan.mining_cap
    with np.errstate(invalid="ignore"):
        products = (
            np.abs(hurry * (plan.game.deadline - t - s))
            + np.abs((g_t + hurry) * (t - mu * path.training_least))
            + np.abs((g_s + hurry) * (s - psi * path.mining_least))
            + np.where(
                pays > weight, np.abs((pays - weight) * (r_t + r_m - plan.rent - energy)), 0.0
            )  # caps may be inf
            + np.abs(weight * (plan.training_payment + plan.mining_payment - energy - plan.rent))
        )
    products = np.where(plan.moved, 0.0, products)
    return products, time * (t + s) + weight * energy + (1.0 - time) * plan.game.deadline


def _moves(plan: Plan) -> np.ndarray:
    """How far each client's own optimum at the plan's prices is from the plan, as a share of its deadline.

    Where its feasible set is a single point, rounding can empty it; the missing time then counts as a move.
    """
    path, t, s = plan.path, plan.training_time, plan.mining_time
    rho, mu, psi = path.energy_coefficient, path.training_cycles, path.mining_cycles
    q = plan.game.population.max_speed[plan.rows]
    p_t, p_m = plan.training_payment / t, plan.mining_payment / s
    low_t, low_s = mu * np.maximum(np.cbrt(rho / p_t), 1.0 / q), psi * np.maximum(np.cbrt(rho / p_m), 1.0 / q)
    deadline = t + s if plan.own_deadlines else np.full(t.shape, plan.game.deadline)
    high_t, high_s = deadline - low_s, deadline - low_t
    if plan.capped:
        r_t, r_m = plan.training_cap, plan.mining_cap
        high_t, high_s = np.minimum(high_t, r_t / p_t), np.minimum(high_s, r_m / p_m)
    low = np.maximum(low_t, np.where(high_s < deadline - low_t, deadline - high_s, low_t))
    shortage = np.maximum(low_t - high_t, 0.0) + np.maximum(low_s - high_s, 0.0)
    free = np.flatnonzero(high_t - low > 1e-12 * deadline)
    best = np.minimum(low, high_t)
    if free.size:
        scale = np.cbrt(2.0 * rho[free])
        root, _ = response_times(scale * mu[free], scale * psi, (p_t - p_m)[free], deadline[free])
        best[free] = np.clip(root, low[free], high_t[free])
    rest = np.minimum(deadline - best, high_s)
    return (np.abs(best - t) + np.abs(rest - s) + shortage) / deadline
