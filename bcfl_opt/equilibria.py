"""What does the owner do at best when it also chooses the deadlines, has one budget, or owes its clients a utility? Exact."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

import numpy as np

from bcfl_opt import exact, participation, rents
from bcfl_opt.errors import InputError, choice
from bcfl_opt.game import Game
from bcfl_opt.pace import Path
from bcfl_opt.plans import Plan
from bcfl_opt.population import id_text
from bcfl_opt.solution import Quality, Solution, Status, clients_table, owner_utility
from bcfl_opt.wording import Reasons, same, sentences

#: What a verdict may be off by: sums and roots of correctly rounded numbers.
SLACK = 1.0 + participation.ROUNDING
#: Where a client with a deadline of its own would not keep to the plan.
TIGHT = (
    "its caps are so tight for its reservation utility that it would divide its time otherwise, and this case has no "
    "closed form; give it larger caps, or pass reward_caps=True, where the client stops at its caps itself"
)


def equilibrium(
    game: Game,
    *,
    deadlines: str = "common",
    payment_budget: float | None = None,
    reservation_utility: Any = 0.0,
    reward_caps: bool = False,
) -> Solution:
    """The Stackelberg equilibrium of Problems 2 and 3, and of four changes to them, exactly and for millions of clients.

    Without the keywords (theory 5.1): t* = clip(mu T / (mu + psi), max(mu / q, sqrt(rho mu^3 / R_t)),
    T - max(psi / q, sqrt(rho psi^3 / R_m))), s* = T - t*, p_t = rho (mu / t*)^3, p_m = rho (psi / s*)^3, every U_i = 0.

    Parameters
    ----------
    game : the game.
    deadlines : "common", the game's T for all; or "chosen": the owner also chooses each client's deadline T_i <= T. With
        slack caps T_i = min(T, (2 rho (1 + nu))^(1/3) (mu + psi)), nu the budget's multiplier (theory 5.2).
    payment_budget : B, sum_i (t p_t + s p_m) <= B [money]; None: only the clients' caps. With the common deadline a budget
        changes nothing or leaves no answer: every client already gets the least that it can be paid.
    reservation_utility : u >= 0, what each client can have elsewhere: U_i >= u [money]; a number, an array or a Series by
        client. Payments are then energy + u (theory 5.4).
    reward_caps : the clients themselves also stop at (7) t p_t <= R_t and (3) s p_m <= R_m. The owner can then make a client
        stop before the common deadline, by prices that spend both caps; it does so where that is cheaper (theory 5.5).

    Returns
    -------
    Solution with the objective U_mo (2); with ``deadlines="chosen"`` the table has a column ``deadline``, T_i = t + s. A client
    that no prices recruit carries its reason. ``shadow_prices["payment_budget"]`` is dU_mo / dB.

    Raises
    ------
    InputError : an argument cannot be used as given; or ``payment_budget`` with ``reward_caps`` and the common deadline,
        where choosing who stops early under the budget would be a combinatorial problem.

    Source: Problems 2 and 3, (2), (8)-(10), (13)-(18); theory 5.1-5.5.
    """
    own = choice("deadlines", deadlines, ("common", "chosen")) == "chosen"
    rent = game._by_client("reservation_utility", reservation_utility)
    budget = checked_budget(payment_budget)
    if budget is not None and reward_caps and not own:
        raise InputError(
            'payment_budget with reward_caps needs deadlines="chosen": at a common deadline each client either works until '
            "the deadline or is paid both caps to stop early, and to choose among them under a budget is combinatorial"
        )
    begin = time.perf_counter()
    if own or reward_caps or budget is not None or rent.any():
        return _Owner(game, own, budget, rent, reward_caps).answer(begin)
    return exact.equilibrium(game)


def at_multiplier(game: Game, multiplier: float, reservation_utility: Any = 0.0, reward_caps: bool = False) -> Solution:
    """Deadlines chosen where a coin costs the owner 1 + nu coins: what a shared budget with this multiplier makes of a part.

    Returns
    -------
    Solution as of :func:`equilibrium` with ``deadlines="chosen"``. Source: theory 5.2.
    """
    rent = game._by_client("reservation_utility", reservation_utility)
    return _Owner(game, True, None, rent, reward_caps, multiplier).answer(time.perf_counter())


def payments_by_multiplier(
    game: Game, reservation_utility: Any = 0.0
) -> tuple[tuple[np.ndarray, np.ndarray, np.ndarray], float]:
    """The payments of :func:`at_multiplier` as functions of nu: :meth:`Path.pieces`, and the rents that come on top."""
    rent = game._by_client("reservation_utility", reservation_utility)
    _, rows, path, poor = _Owner(game, True, None, rent, False).able()
    return path.take(~poor).pieces(), float(rent[rows[~poor]].sum())


def checked_budget(payment_budget: Any) -> float | None:
    """A budget > 0, or None for none."""
    if payment_budget is None:
        return None
    if isinstance(payment_budget, bool) or not isinstance(payment_budget, int | float | np.integer | np.floating):
        raise InputError(f"payment_budget: {payment_budget!r} is not a number")
    if not (np.isfinite(payment_budget) and payment_budget > 0):
        raise InputError(f"payment_budget: {payment_budget!r} must be a finite number, greater than 0")
    return float(payment_budget)


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class _Owner:
    """What :func:`equilibrium` was asked. rent : u, shape (N,). capped : the clients face their caps themselves.

    multiplier : nu of a budget that other clients share too; it is then not looked for.
    """

    game: Game
    own_deadlines: bool
    budget: float | None
    rent: np.ndarray
    capped: bool
    multiplier: float = 0.0

    def able(self) -> tuple[Reasons, np.ndarray, Path, np.ndarray]:
        """Reasons so far, rows and paths of the clients that can be recruited, and which of these ask for too much rent."""
        bounds = participation.recruitment_bounds(self.game)
        reasons = participation.recruitment_reasons(self.game, bounds)
        rows = np.flatnonzero(reasons.none)
        path = Path.of(self.game, bounds, rows, self.rent)
        return reasons, rows, path, path.least > path.whole * SLACK

    def answer(self, begin: float) -> Solution:
        reasons, rows, path, poor = self.able()
        if poor.any():
            self._too_dear(reasons, rows[poor], path.energy(path.whole)[poor])
            rows, path = rows[~poor], path.take(~poor)
        least = path.energy(path.whole) + self.rent[rows]
        if self.own_deadlines and not self._affords(least):
            return self._beyond(reasons, rows, least, begin)
        plan = self._plan(rows, path, float(least.sum()))
        lost = np.isnan(plan.training_payment)
        if lost.any():
            self._not_held(reasons, rows[lost])
            plan = plan.take(~lost)
        payments = plan.training_payment + plan.mining_payment
        if not (self.own_deadlines or self._affords(payments)):
            return self._beyond(reasons, plan.rows, payments, begin)
        return self._solution(reasons, plan, begin)

    def _plan(self, rows: np.ndarray, path: Path, least: float) -> Plan:
        """The cheapest plan for these clients; NaN is the payment of a client that no split of its rent holds."""
        game, rent = self.game, self.rent[rows]
        r_t, r_m = (game.caps[name].to_numpy()[rows] for name in ("training_cap", "mining_cap"))
        pace, multiplier = path.whole, self.multiplier
        early, moved = np.zeros((2, rows.size), dtype=bool)
        if self.own_deadlines:
            if self.budget is not None:
                multiplier = path.multiplier(max(self.budget, least) - float(rent.sum()))
            pace = path.chosen(multiplier)
        elif self.capped:
            early = np.add(*path.times(path.least)) + r_t + r_m < game.deadline + path.energy(pace) + rent
            pace = np.where(early, path.least, pace)
        t, s = path.times(pace)
        people = rents.Clients(
            path.training_cycles, path.energy_coefficient, game.population.max_speed[rows], r_t, r_m, rent,
            game.mining_cycles, self.capped,
        )  # fmt: skip
        x = np.zeros(rows.size)
        if rent.any():
            x = rents.training_rent(people, t, s)
            open_ = np.flatnonzero(np.isnan(x) & ~early)
            if open_.size and self.own_deadlines:  # the certificate will show that these clients would not keep to it
                x[open_] = (rent * t / (t + s))[open_]
            elif open_.size:
                some = people.take(open_)
                t[open_] = rents.nearest_times(some, game.deadline)
                s[open_] = game.deadline - t[open_]
                x[open_] = rents.training_rent(some, t[open_], s[open_])
                moved[open_] = True
        training, mining = people.energies(t, s)
        a, b = np.where(early, r_t, training + x), np.where(early, r_m, mining + (rent - x))
        return Plan(
            game, rows, path, t, s, a, b, rent, r_t, r_m, early, moved, self.own_deadlines, self.capped, self.budget, multiplier
        )  # fmt: skip

    def _affords(self, payments: np.ndarray) -> bool:
        return self.budget is None or float(payments.sum()) <= self.budget * SLACK

    # ------------------------------------------------------------------ answers

    def _solution(self, reasons: Reasons, plan: Plan, begin: float) -> Solution:
        game, n = self.game, len(self.game)
        t, s = plan.training_time, plan.mining_time
        p_t, p_m = plan.training_payment / t, plan.mining_payment / s
        t, s, p_t, p_m = (_scattered(n, plan.rows, values) for values in (t, s, p_t, p_m))
        recruited = _mask(n, plan.rows)
        clients = clients_table(game, t, s, p_t, p_m, recruited, reasons.column(game.population.ids))
        if self.own_deadlines:
            clients["deadline"] = t + s
        certificate = plan.certificate() if plan.rows.size else None
        shadow = {} if self.budget is None else {"payment_budget": game.cost_weight * plan.multiplier}
        solution = exact.solved(game, self.title, clients, owner_utility(game, clients), certificate, begin)
        if solution.status is Status.NOT_CERTIFIED and self.own_deadlines and plan.rent.any():
            detail = f"{solution.detail}: {TIGHT}"
            solution = dataclasses.replace(solution, detail=detail)
        return dataclasses.replace(solution, _shadow_prices=shadow)

    def _beyond(self, reasons: Reasons, rows: np.ndarray, payments: np.ndarray, begin: float) -> Solution:
        """No answer: the least possible payments are more than the budget."""
        assert self.budget is not None
        game, n = self.game, len(self.game)
        fit = int(np.searchsorted(np.cumsum(np.sort(payments)), self.budget, side="right"))
        most = int(payments.argmax())
        short = f"the payment budget {self.budget:.6g} is less than the least possible payment {payments.sum():.6g}"
        detail = (
            f"{short} of {rows.size} client{'s' if rows.size > 1 else ''} at the slowest speeds that meet the deadline; client "
            f"{id_text(game.population.ids, int(rows[most]))} needs most, {payments[most]:.6g}, and the budget would do for "
            f"the {fit} cheapest"
        )
        reasons.say(_mask(n, rows), same(f"no answer: {short}"))
        nobody, nothing = np.zeros(n, dtype=bool), np.full(n, np.nan)
        reason = reasons.column(game.population.ids)
        clients = clients_table(game, nothing, nothing, nothing, nothing, nobody, reason)
        if self.own_deadlines:
            clients["deadline"] = nothing
        return Solution(
            self.title, "exact", Status.INFEASIBLE, Quality.NONE, None, detail, game, clients,
            timing={"solve": time.perf_counter() - begin},
        )  # fmt: skip

    @property
    def title(self) -> str:
        parts = (
            (self.own_deadlines, "chosen deadlines"),
            (self.budget is not None, "a payment budget"),
            (self.rent.any(), "a reservation utility"),
            (self.capped, "the clients' own reward caps"),
        )
        return f"Problem 2 with {', '.join(text for asked, text in parts if asked)}, equilibrium"

    # ------------------------------------------------------------------ why some clients have no answer

    def _too_dear(self, reasons: Reasons, rows: np.ndarray, energy: np.ndarray) -> None:
        caps = self.game.caps
        together = (caps["training_cap"] + caps["mining_cap"]).to_numpy()
        needed = np.full(len(self.game), np.nan)
        needed[rows] = energy
        reasons.say(
            _mask(len(self.game), rows),
            lambda k: sentences(
                "cannot be left a utility of ", self.rent[k], " within its reward caps: they pay ", together[k],
                " together, and its energy until the deadline costs at least ", needed[k],
            ),
        )  # fmt: skip

    def _not_held(self, reasons: Reasons, rows: np.ndarray) -> None:
        reasons.say(
            _mask(len(self.game), rows),
            lambda k: sentences(
                "cannot be left a utility of ", self.rent[k], " within its reward caps: together they would do, but at every "
                "price pair that pays so much within them the client would divide its time otherwise",
            ),
        )  # fmt: skip


def _scattered(n: int, rows: np.ndarray, values: np.ndarray) -> np.ndarray:
    column = np.full(n, np.nan)
    column[rows] = values
    return column


def _mask(n: int, rows: np.ndarray) -> np.ndarray:
    mask = np.zeros(n, dtype=bool)
    mask[rows] = True
    return mask
