"""What is known of a menu of contracts? ``Menu``: the contracts, who gains by whose, what pooling costs, and a lower bound."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd

from bcfl_opt.layout import laid_out
from bcfl_opt.solution import Solution


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Menu(Solution):
    """A menu of contracts, with everything a :class:`bcfl_opt.Solution` has; ``clients`` are the types, each with its own.

    contracts : by type: probability, training_price, mining_price, deadline, payment (what the type is paid under it), cost
        (payment + time_weight x deadline). The objective is the sum of probability x cost.
    gains : what each type (row) would gain by each contract (column) over its own, computed exactly [money].
    pooling : cost of one offer for all, the cheapest with one equal price for both tasks that recruits the costliest type.
    lower_bound : no menu that all these types accept and none envies costs less.
    searches : one row a search: start, route, cost, gain (the largest, over the pooled payment), accepted (as a menu).
    population : of a menu with ``types=K``, by client: type (whose contract is meant for it), contract (the one it takes),
        times, payment, client_utility. population_cost : what the menu costs on these clients, each taking what it likes best.
        population_bound : no menu for these clients, however many contracts it has, costs less.
    """

    contracts: pd.DataFrame = dataclasses.field(default_factory=pd.DataFrame)
    gains: pd.DataFrame = dataclasses.field(default_factory=pd.DataFrame)
    pooling: float = np.nan
    lower_bound: float = np.nan
    searches: pd.DataFrame = dataclasses.field(default_factory=pd.DataFrame)
    population: pd.DataFrame | None = None
    population_cost: float = np.nan
    population_bound: float = np.nan

    @property
    def gap(self) -> float:
        """How much cheaper any menu could be at most, relative to this one's cost."""
        return (self.objective - self.lower_bound) / self.objective

    @property
    def largest_gain(self) -> float:
        """The most that a type gains by another's contract, at least 0 [money]."""
        self._held(None, "gains")
        return max(float(self.gains.to_numpy().max()), 0.0)

    @property
    def loss(self) -> float:
        """By how much at most this menu is dearer for the whole population than the cheapest with a contract for everyone."""
        return self._held(self.population_cost - self.population_bound, "loss")

    def __repr__(self) -> str:
        lines = [super().__repr__()]
        if self.succeeded:
            saved = 1 - self.objective / self.pooling
            lines.append(f"  pooling      {self.pooling:.10g}, of which the menu saves {100 * saved:.3g} %")
            lines.append(
                f"  lower bound  {self.lower_bound:.10g}   (at most {100 * self.gap:.2g} % cheaper is possible)"
            )
            lines.append(f"  largest gain {self.largest_gain:.1e} by taking another type's contract")
            if self.population is not None:
                lines.append(
                    f"  population   {self.population_cost:.10g} for {len(self.population)} clients; fewer types than clients "
                    f"lose at most {self.loss:.3g}"
                )
        return laid_out(lines)
