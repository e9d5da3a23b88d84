"""Which prices of envy prove the most? The Lagrangian dual of the menu problem, by cutting planes.

The lower bound of :mod:`bcfl_opt.menu_bounds` holds for any multipliers m >= 0. As a function of m it is concave, the sum over
the types of min_p L_j(p; m), each L_j linear in m: every offer that was ever looked at bounds it from above by a plane, and the
highest point under all these planes is where to look next (Kelley). Near it only, as far planes say little; a step that does
not pay makes the neighbourhood smaller.

What is left between its maximum and the menu is not for want of multipliers: it is what lotteries over offers could save, or
a cheaper menu.
"""

from __future__ import annotations

import time

import numpy as np
from scipy.optimize import linprog

from bcfl_opt.menu_bounds import Subproblem, most_by_type
from bcfl_opt.menu_search import MenuProblem
from bcfl_opt.offers import answers

#: Steps, and steps in a row that may fail to pay.
STEPS, PATIENCE = 60, 8
#: First and largest neighbourhood of the best multipliers.
REACH = 0.15
#: How exactly the bound is wanted on the way, relative to the gap that is left.
SHARE = 0.02


class Dual:
    """What no menu undercuts: ``bound`` [money], the best so far, and ``envy``, the multipliers m (K, K) that prove it.

    menu : a menu that is accepted and truthful, and cheap: offers that no menu as cheap can contain are not looked at. At
    first the bound is what complete information would cost, m = 0.
    """

    def __init__(self, problem: MenuProblem, menu: np.ndarray) -> None:
        self.problem, self.menu = problem, menu
        self.cost = problem.account(menu).cost
        self.most = most_by_type(problem, menu, self.cost)
        self.bound = float(problem.weights @ problem.least_costs())
        self.envy = np.zeros((len(problem), len(problem)))
        #: Offers by type as planes: what the offer costs, and its value to every type.
        self._planes: list[list[tuple[float, np.ndarray]]] = [[] for _ in range(len(problem))]
        for offers in (menu, problem.pooled()):
            for j, offer in enumerate(offers):
                self._look(j, offer)

    def ask(self, envy: np.ndarray, tolerance: float) -> bool:
        """The bound that these multipliers prove, up to a tolerance [money]; is it better than what was known?"""
        found = 0.0
        for j in range(len(self.problem)):
            least, offer = Subproblem(self.problem, envy, j, self.most).minimum(
                self.menu[j], tolerance / len(self.problem)
            )
            found += least
            self._look(j, offer)
        if found > self.bound:
            self.bound, self.envy = found, envy
            return True
        return False

    def climb(self, enough: float, until: float) -> None:
        """Better multipliers, until the gap to the menu is ``enough`` [money], nothing is to be gained, or time is up."""
        reach, failed = REACH, 0
        for step in range(STEPS):
            gap = self.cost - self.bound
            envy, top = self._highest(reach)
            if gap <= enough or top - self.bound <= SHARE * gap or failed >= PATIENCE or time.perf_counter() > until:
                break
            if step % 2:  # planes promise most far out: half way there is often better
                envy = (envy + self.envy) / 2
            before = self.bound
            better = self.ask(envy, max(enough, SHARE * gap))
            paid = better and self.bound - before >= SHARE * (top - before)
            reach, failed = (min(1.5 * reach, REACH), 0) if paid else (0.7 * reach, failed + 1)

    def _look(self, j: int, offer: np.ndarray) -> None:
        found = answers(self.problem.clients, *offer)
        if found.accepts[j]:
            cost = self.problem.weights[j] * (found.payment[j] + self.problem.time_weight * offer[2])
            self._planes[j].append((float(cost), found.value))

    def _highest(self, reach: float) -> tuple[np.ndarray, float]:
        """The highest point under all planes in the neighbourhood, and the height: max sum_j eta_j,

        eta_j <= cost - sum_k m_jk V_j + sum_k m_kj V_k for every offer that was looked at for type j.
        """
        n = len(self.problem)
        rows, costs = [], []
        for j, planes in enumerate(self._planes):
            for cost, value in planes:
                slope = np.zeros((n, n))
                slope[j] += value[j]
                slope[:, j] -= value
                rows.append(np.append(slope.ravel(), np.arange(n) == j))
                costs.append(cost)
        center = self.envy.ravel()
        high = np.where(np.eye(n, dtype=bool).ravel(), 0.0, center + reach)
        limits = [*zip(np.maximum(center - reach, 0.0), high, strict=True), *[(None, None)] * n]
        weights = np.append(np.zeros(n * n), -np.ones(n))
        found = linprog(weights, A_ub=np.array(rows), b_ub=np.array(costs), bounds=limits, method="highs")
        if found.status != 0:
            return self.envy, self.bound
        return np.maximum(found.x[: n * n].reshape(n, n), 0.0), -float(found.fun)
