"""Which menu of contracts recruits clients of every type, when they choose for themselves? ``design_menu``: theory 6."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

import numpy as np
import pandas as pd

from bcfl_opt.errors import InputError, choice
from bcfl_opt.game import Game
from bcfl_opt.menu_bounds import population_bound
from bcfl_opt.menu_design import EXACT, Design, hopeless
from bcfl_opt.menu_record import Menu
from bcfl_opt.menu_search import GAIN, MenuProblem
from bcfl_opt.offers import Clients, answers
from bcfl_opt.population import Population, id_text
from bcfl_opt.quantising import quantised
from bcfl_opt.solution import Quality, Status


def design_menu(
    game: Game,
    weights: Any = None,
    *,
    types: int | None = None,
    deadlines: str = "common",
    time_weight: float | None = None,
    reward_caps: bool = False,
    route: str = "both",
    search_starts: int = 8,
    seed: int = 0,
    time_limit: float = 60.0,
) -> Menu:
    """The cheapest menu of contracts that every type of client accepts and under which no client gains by lying.

    min sum_k w_k (payment_k + v T_k)  s.t.  V(k, contract k) >= V(k, contract j) for all j,  V(k, contract k) >= 0,

    where V(k, p) is the most that type k can have under contract p = (p_t, p_m, T), its optimum of Problem 1, and 0 if it
    walks away. Every type is recruited.

    Parameters
    ----------
    game : each of its clients is a type; T is the longest deadline.
    weights : probability of each type, >= 0, as an array or a Series by client (they are divided by their sum); equal by
        default. A type of probability 0 does not occur and constrains nothing.
    types : quantise the clients to at most so many types first; see :attr:`Menu.population` for what that loses. By default
        every client that differs from the others is a type.
    deadlines : "common", or "chosen": every contract carries its own T_k <= T.
    time_weight : v [money / time]; by default 0 with a common deadline, where time is a constant, and 1 with chosen ones,
        where the owner counts time and pay alike, as in (2).
    reward_caps : each type's rewards under its own contract respect its caps (13), (14).
    route : "reduced" searches over the offers with exact answers (theory 6.3), "duality" solves the model of
        :mod:`bcfl_opt.models.menu_pyomo` by IPOPT, with envied pairs added as they appear (theory 6.1); "both" takes the
        second only where the first is not proven to be the best. Whatever is found is polished and judged exactly.
    search_starts : how many starts, at least 1; the search ends with the first menu that is proven to be the best. seed : of
        the random ones.
    time_limit : seconds. No search begins after six tenths of them: the rest is for the lower bound, where it does not close
        the gap at once.

    Returns
    -------
    Menu. ``quality`` is GLOBAL only if ``lower_bound`` proves it, LOCAL where the first-order conditions hold, FEASIBLE where
    nothing but truthfulness is known. It never costs more than pooling, which is the answer if nothing better is found.
    Types that nothing can recruit are left out of the menu with their reason.

    Raises
    ------
    InputError : an argument cannot be used as given, or there are too many types.

    Source: theory 6; the setting of Problem 3 without its literal (18).
    """
    begin = time.perf_counter()
    chosen = choice("deadlines", deadlines, ("common", "chosen")) == "chosen"
    choice("route", route, ("both", "reduced", "duality"))
    probability = _probabilities(game, weights)
    rate = float(chosen) if time_weight is None else _number("time_weight", time_weight, 0.0)
    count = _whole("search_starts", search_starts, 1)
    _number("time_limit", time_limit, 0.0)
    if types is None:
        design = Design(game, probability, chosen, rate, reward_caps, begin)
        return design.menu(route, count, seed, time_limit)
    if reward_caps:
        raise InputError("reward_caps belong to clients: with types=K several clients share a contract; leave one out")
    present = np.flatnonzero((hopeless(game, False) == "").to_numpy() & (probability > 0))
    if not len(present):
        return Design(game, probability, chosen, rate, False, begin).nobody()
    few = _whole("types", types, 1)
    people, weight = game.population.select(game.population.ids[present]), probability[present]
    everyone = MenuProblem(Clients.of(people, game.mining_cycles), weight, game.deadline, chosen, rate)

    def designed(kinds: Population, numbers: np.ndarray) -> Menu:
        of_kinds = np.bincount(numbers, weights=weight, minlength=len(kinds))
        design = Design(game.replace(population=kinds), of_kinds, chosen, rate, False, begin)
        menu = design.menu(route, count, seed, time_limit)
        return _on_population(menu, everyone, game, present, numbers)

    menus = []
    for stand_in in ("worst", "member"):
        kinds = quantised(people, weight, game.mining_cycles, game.deadline, few, stand_in=stand_in)
        menus += [] if kinds is None else [designed(*kinds)]
    # The costliest client's own offer, at one price for both tasks, recruits all.
    top = int(everyone.least_price(1.0).argmax())
    menus.append(designed(people.select(people.ids[top : top + 1]), np.zeros(len(people), dtype=np.int64)))
    return min(menus, key=lambda menu: menu.population_cost if menu.succeeded else np.inf)


# ---------------------------------------------------------------------------------- arguments


def _probabilities(game: Game, weights: Any) -> np.ndarray:
    if weights is None:
        return np.full(len(game), 1 / len(game))
    numbers = game._by_client("weights", weights)
    total = float(numbers.sum())
    if not total > 0:
        raise InputError("weights: all are 0; give the types that occur a probability above 0")
    return numbers / total


def _whole(name: str, value: Any, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise InputError(f"{name}: expected a whole number of at least {least}, got {value!r}")
    return int(value)


def _number(name: str, value: Any, least: float) -> float:
    number = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    if not (number and np.isfinite(value) and value >= least):
        raise InputError(f"{name}: {value!r} must be a finite number, at least {least:g}")
    return float(value)


# ---------------------------------------------------------------------------------- a menu for few types, many clients


def _on_population(menu: Menu, everyone: MenuProblem, game: Game, present: np.ndarray, numbers: np.ndarray) -> Menu:
    """What every client takes of the menu for its types: what it likes best, and of equals what is cheapest for the owner."""
    if not menu.succeeded:
        return menu
    offers = menu.contracts[["training_price", "mining_price", "deadline"]].to_numpy()
    clients = Clients.of(game.population, game.mining_cycles)
    found = answers(clients[:, None], *offers.T)
    cost = found.payment + everyone.time_weight * offers[:, 2]
    near = found.value >= found.value.max(axis=1, keepdims=True) - GAIN * menu.pooling
    taken = np.where(near & found.accepts, cost, np.inf).argmin(axis=1)
    rows = np.arange(len(game))
    works = found.accepts[rows, taken]
    kinds = menu.contracts.index.to_numpy()
    meant = np.full(len(game), None, dtype=object)
    meant[present] = kinds[numbers]

    def of_workers(values: np.ndarray) -> np.ndarray:
        return np.where(works, values[rows, taken], np.nan)

    table = pd.DataFrame(
        {
            "type": meant,
            "contract": np.where(works, kinds[taken], None),
            "training_time": of_workers(found.training_time),
            "mining_time": of_workers(found.mining_time),
            "payment": np.where(works, found.payment[rows, taken], 0.0),
            "client_utility": np.where(works, found.value[rows, taken], 0.0),
        },
        index=game.population.ids,
    )
    if not works[present].all():
        lost = f"client {id_text(game.population.ids, int(present[works[present].argmin()]))} accepts none of these contracts"
        return dataclasses.replace(menu, status=Status.LOCALLY_INFEASIBLE, quality=Quality.NONE, detail=lost)
    total = float(everyone.weights @ cost[rows, taken][present])
    bound = population_bound(everyone, total, EXACT * total)
    return dataclasses.replace(menu, population=table, population_cost=total, population_bound=bound)
