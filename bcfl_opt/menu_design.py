"""Which menu is best for these types, and how far from the best can it be? Searches by both routes, and the bound they prove."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

import numpy as np
import pandas as pd

from bcfl_opt import participation
from bcfl_opt.certificate import TOLERANCE, Certificate
from bcfl_opt.errors import InputError
from bcfl_opt.game import Game
from bcfl_opt.menu_multipliers import Dual
from bcfl_opt.menu_record import Menu
from bcfl_opt.menu_search import GAIN, Account, MenuProblem, Multipliers, local_search, multipliers, starts
from bcfl_opt.offers import Clients
from bcfl_opt.population import id_text
from bcfl_opt.provenance import record
from bcfl_opt.solution import Quality, Status, clients_table

#: More types than this are quantised first: the search takes some K^3 steps of work.
MOST_TYPES = 30
#: How exactly the lower bound is wanted, relative to the menu's cost: within the certificate's tolerance.
EXACT = 0.4 * TOLERANCE
#: Parts of the time limit by which the last search begins, and the last step towards a better bound.
SEARCHING, TIGHTENING = 0.6, 0.85
#: Rounds of adding envied pairs to the model for IPOPT.
ROUNDS = 5


def hopeless(game: Game, reward_caps: bool) -> pd.Series:
    """Why no contract recruits a client, "" where one does."""
    if reward_caps:
        return participation.screen_recruitment(game)
    needed = (game.population.training_cycles + game.mining_cycles) / game.population.max_speed
    reason = pd.Series("", index=game.population.ids, dtype="str")
    for k in np.flatnonzero(needed > game.deadline * (1 + participation.ROUNDING)):
        reason.iloc[k] = (
            f"cannot meet the deadline {game.deadline:.6g} at any price: at its max_speed "
            f"{game.population.max_speed[k]:.6g} training and mining take {needed[k]:.6g}"
        )
    return reason


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class _Candidate:
    start: str
    route: str
    menu: np.ndarray
    account: Account


class Design:
    """One design: the types that differ, can be recruited and occur, and what has been found for them."""

    def __init__(
        self, game: Game, probability: np.ndarray, chosen: bool, rate: float, reward_caps: bool, begin: float
    ) -> None:
        self.game, self.probability, self.begin = game, probability, begin
        self.chosen, self.rate, self.reward_caps = chosen, rate, reward_caps
        self.reason = hopeless(game, reward_caps)
        self.reason[(self.reason == "") & (probability == 0)] = "has probability 0, so no contract is made for it"
        self.rows = np.flatnonzero((self.reason == "").to_numpy())
        population = game.population
        columns = [population.training_cycles, population.energy_coefficient, population.max_speed]
        if reward_caps:
            columns += [game.caps["training_cap"].to_numpy(), game.caps["mining_cap"].to_numpy()]
        table = np.stack(columns, axis=1)[self.rows]
        _, first, self.kind = np.unique(table, axis=0, return_index=True, return_inverse=True)
        self.kind = self.kind.ravel()
        self.first = self.rows[first]  # one client of each kind
        if len(self.first) > MOST_TYPES:
            raise InputError(
                f"{len(self.first)} different types are more than {MOST_TYPES}: quantise them, design_menu(..., types=10)"
            )

    @property
    def problem(self) -> MenuProblem:
        caps = self.game.caps if self.reward_caps else None
        return MenuProblem(
            Clients.of(self.game.population, self.game.mining_cycles)[self.first],
            np.bincount(self.kind, weights=self.probability[self.rows], minlength=len(self.first)),
            self.game.deadline,
            self.chosen,
            self.rate,
            None
            if caps is None
            else (caps["training_cap"].to_numpy()[self.first], caps["mining_cap"].to_numpy()[self.first]),
        )

    def nobody(self) -> Menu:
        return self._result(Status.NO_CLIENTS, Quality.NONE)

    def menu(self, route: str, count: int, seed: int, time_limit: float) -> Menu:
        if not len(self.rows):
            return self.nobody()
        problem = self.problem
        found = _Search(problem, route, self, self.begin + SEARCHING * time_limit)
        found.run(count, np.random.default_rng(seed))
        best = found.best
        if best is None:
            return self._result(
                Status.LOCALLY_INFEASIBLE, Quality.NONE, detail=self._short_of(problem), searches=found.table()
            )
        found.tighten(best, self.begin + TIGHTENING * time_limit)
        bound = found.bound(best)
        cost, gain = best.account.cost, max(best.account.gain, 0.0) / problem.unit
        gap = (cost - bound) / cost
        stationary = found.multipliers(best).residual
        proven, local = gap <= TOLERANCE, stationary <= TOLERANCE
        k, j = np.unravel_index(int(best.account.gains.argmax()), best.account.gains.shape)
        ids = self.game.population.ids[self.first]
        certificate = Certificate(
            primal=max(gain, best.account.over),
            dual=0.0,
            complementarity=0.0,
            # A closed gap leaves no better point anywhere, so none nearby.
            stationarity=stationary if local or not proven else 0.0,
            gap=max(gap, 0.0) if proven else None,
            where={"primal": f"client {id_text(ids, int(k))} taking the contract of {id_text(ids, int(j))}"},
        )
        if not (proven or local):
            certificate = dataclasses.replace(certificate, stationarity=None)
        quality = Quality.GLOBAL if proven else Quality.LOCAL if local else Quality.FEASIBLE
        pooling = problem.account(problem.pooled()).cost
        return self._result(Status.SOLVED, quality, certificate, best, bound, pooling, searches=found.table())

    def _short_of(self, problem: MenuProblem) -> str:
        """Which cap stands most in the way of the cheapest menu without caps."""
        assert problem.caps is not None  # without caps pooling is always a menu
        free = dataclasses.replace(problem, caps=None)
        menu = local_search(free, next(iter(starts(free, 1, np.random.default_rng(0))))[1])
        account = free.account(menu)
        rewards = account.training_time * menu[:, 0], account.mining_time * menu[:, 1]
        over = np.stack([reward / cap for reward, cap in zip(rewards, problem.caps, strict=True)])
        task, k = np.unravel_index(int(over.argmax()), over.shape)
        name = ("training", "mining")[int(task)]
        return (
            f"no menu within the reward caps was found; the cheapest one without them pays client "
            f"{id_text(self.game.population.ids, int(self.first[k]))} {rewards[int(task)][k]:.6g} for {name}, and its {name} "
            f"cap is {problem.caps[int(task)][k]:.6g}"
        )

    def _result(
        self,
        status: Status,
        quality: Quality,
        certificate: Certificate | None = None,
        best: _Candidate | None = None,
        bound: float = np.nan,
        pooling: float = np.nan,
        **rest: Any,
    ) -> Menu:
        n = len(self.game)
        columns = np.full((4, n), np.nan)
        contracts = gains = pd.DataFrame()
        reason = self.reason.copy()
        if best is not None:
            account, offers = best.account, best.menu
            own = self.kind
            columns[:, self.rows] = np.stack([account.training_time, account.mining_time, offers[:, 0], offers[:, 1]])[
                :, own
            ]
            ids = self.game.population.ids[self.rows]
            contracts = pd.DataFrame(
                {
                    "probability": self.probability[self.rows],
                    "training_price": offers[own, 0],
                    "mining_price": offers[own, 1],
                    "deadline": offers[own, 2],
                    "payment": account.payment[own],
                    "cost": account.payment[own] + self.rate * offers[own, 2],
                },
                index=ids,
            )
            gains = pd.DataFrame(account.gains[np.ix_(own, own)], index=ids, columns=ids)
        else:
            reason[reason == ""] = "no answer: no menu was found"
        recruited = np.zeros(n, dtype=bool)
        recruited[self.rows] = best is not None
        clients = clients_table(self.game, columns[0], columns[1], columns[2], columns[3], recruited, reason)
        if self.chosen:
            clients.insert(0, "deadline", clients["training_time"] + clients["mining_time"])
        return Menu(
            problem="Menu of contracts" + (", deadlines chosen" if self.chosen else ""),
            solver="ipopt and search" if best is not None and best.route == "duality" else "search",
            status=status,
            quality=quality,
            certificate=certificate,
            game=self.game,
            clients=clients,
            contracts=contracts,
            gains=gains,
            pooling=pooling,
            lower_bound=bound,
            timing={"solve": time.perf_counter() - self.begin},
            provenance=record(),
            _objective=np.nan if best is None else best.account.cost,
            **rest,
        )


class _Search:
    """Searches from several starts, by one route or both, until a menu is proven to be the best or time is up."""

    def __init__(self, problem: MenuProblem, route: str, design: Design, until: float) -> None:
        self.problem, self.route, self.design, self.until = problem, route, design, until
        self.tried: list[_Candidate] = []
        self._duals: dict[int, Dual] = {}
        self._multipliers: dict[int, Multipliers] = {}

    def run(self, count: int, rng: np.random.Generator) -> None:
        pooled = self.problem.pooled()
        self._note("pooling", "none", pooled)
        if len(self.problem) == 1:
            return self._note("its own equilibrium", "reduced", local_search(self.problem, pooled))
        for k, (name, start) in enumerate(starts(self.problem, count, rng)):
            if k and time.perf_counter() > self.until:
                break
            if self.route != "duality":
                self._note(name, "reduced", local_search(self.problem, start))
            if self.route == "duality" or (self.route == "both" and k == 0 and not self.proven()):
                self._note(name, "duality", self._by_duality(start))
            if self.proven():
                break
        return None

    @property
    def best(self) -> _Candidate | None:
        able = [candidate for candidate in self.tried if self.problem.is_truthful(candidate.account)]
        return min(able, key=lambda candidate: candidate.account.cost) if able else None

    def proven(self) -> bool:
        best = self.best
        return best is not None and best.account.cost - self.bound(best) <= TOLERANCE * best.account.cost

    def bound(self, candidate: _Candidate) -> float:
        """What is known to be undercut by nothing, once this menu's multipliers and the costliest type's envy were asked."""
        if id(candidate) not in self._duals:
            problem, cost = self.problem, candidate.account.cost
            dual = self._duals[id(candidate)] = Dual(problem, candidate.menu)
            dual.ask(self.multipliers(candidate).envy, EXACT * cost)
            if cost - dual.bound > TOLERANCE * cost and len(problem) > 1:
                top = int(problem.least_price(1.0).argmax())
                envy = np.zeros((len(problem), len(problem)))
                envy[:, top] = problem.weights
                envy[top, top] = 0.0
                dual.ask(envy, EXACT * cost)
        return max(dual.bound for dual in self._duals.values())

    def tighten(self, candidate: _Candidate, until: float) -> None:
        """Better multipliers for the bound, if it does not close the gap."""
        if not self.proven():
            self._duals[id(candidate)].climb(EXACT * candidate.account.cost, until)

    def multipliers(self, candidate: _Candidate) -> Multipliers:
        if id(candidate) not in self._multipliers:
            self._multipliers[id(candidate)] = multipliers(self.problem, candidate.menu)
        return self._multipliers[id(candidate)]

    def table(self) -> pd.DataFrame:
        return pd.DataFrame(
            [
                {
                    "start": candidate.start,
                    "route": candidate.route,
                    "cost": candidate.account.cost,
                    "gain": max(candidate.account.gain, 0.0) / self.problem.unit,
                    "accepted": self.problem.is_truthful(candidate.account),
                }
                for candidate in self.tried
            ]
        )

    def _note(self, start: str, route: str, menu: np.ndarray) -> None:
        self.tried.append(_Candidate(start, route, menu, self.problem.account(menu)))

    def _by_duality(self, menu: np.ndarray) -> np.ndarray:
        """Theory 6.1 by IPOPT: pairs that are envied, or nearly, at the start; then those that turn out to be; then polished."""
        from bcfl_opt.models import menu_pyomo
        from bcfl_opt.solving import solve

        problem, design = self.problem, self.design
        ids = design.game.population.ids[design.first]
        game = design.game.replace(population=design.game.population.select(ids))
        if design.reward_caps:  # those of the whole game, not of the types alone
            game.__dict__["_caps"] = design.game.caps.loc[ids]
        watched = problem.account(menu).gains > -1e-2 * problem.unit
        for _ in range(ROUNDS):
            account = problem.account(menu)
            start = pd.DataFrame(
                {
                    "training_price": menu[:, 0],
                    "mining_price": menu[:, 1],
                    "training_time": account.training_time,
                    "mining_time": account.mining_time,
                },
                index=ids,
            )
            model = menu_pyomo.build(
                game,
                pd.Series(problem.weights, index=ids),
                deadlines="chosen" if design.chosen else "common",
                time_weight=design.rate,
                reward_caps=design.reward_caps,
                pairs=[(ids[k], ids[j]) for k, j in np.argwhere(watched)],
                start=start,
            )
            left = max(self.until - time.perf_counter(), 1.0)
            solution = solve(model, time_limit=left)
            if not solution.succeeded:
                break
            clients = solution.clients
            assert clients is not None
            menu = menu.copy()
            menu[:, :2] = clients[["training_price", "mining_price"]].to_numpy()
            if design.chosen:
                menu[:, 2] = (clients["training_time"] + clients["mining_time"]).to_numpy()
            envied = problem.account(menu).gains > GAIN * problem.unit
            if not (envied & ~watched).any():
                break
            watched |= envied
        return local_search(problem, menu)
