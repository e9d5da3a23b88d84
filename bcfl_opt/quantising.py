"""Many clients, few types: which clients share a type, and what is each type, so that everyone can take part?

All that Problem 1 knows of a client is a = rho^(1/3) mu, b = rho^(1/3) psi (its energy is a^3/t^2 + b^3/s^2, its least times are
a/p_t^(1/3) and b/p_m^(1/3)) and its least times by speed. A type stands for its group by the most of each: what recruits it
recruits them all. Groups follow the order of what the clients cost at least, and are cut where that costs least.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from bcfl_opt.offers import Clients
from bcfl_opt.population import Population

#: Clients are first put into no more than so many groups of equal probability, in order; those are then joined.
BLOCKS = 400


def quantised(
    population: Population,
    weights: np.ndarray,
    mining_cycles: float,
    deadline: float,
    count: int,
    *,
    stand_in: str = "worst",
) -> tuple[Population, np.ndarray] | None:
    """At most ``count`` types for a population, and the number of the type of each client; None where that is too few.

    Parameters
    ----------
    population : N clients. weights : their probabilities, shape (N,). mining_cycles : psi. deadline : T, which every type must be
        able to meet. count : of types, at least 1.
    stand_in : who stands for a group: "worst", the most of all that its members need, so that what recruits the type recruits
        them; or "member", its costliest member, which may ask less than another member of another kind.

    Returns
    -------
    The types as a population, and their numbers from 0, shape (N,).

    The groups are runs of clients ordered by c = rho (mu + psi)^3, their least cost up to a factor. They minimise the expected c
    of the types plus the c of the costliest type, whose offer everybody may take instead (dynamic programming).
    """
    clients = Clients.of(population, mining_cycles)
    order = np.argsort(_least(clients), kind="stable")
    ordered, probability = clients[order], weights[order]
    blocks, mass = _blocks(ordered, probability, BLOCKS)
    starts = _runs(blocks, mass, deadline, count, stand_in == "member")
    if starts is None:
        return None
    edges = _edges(probability, BLOCKS)[:-1][starts]
    numbers = np.empty(len(population), dtype=np.int64)
    numbers[order] = np.searchsorted(edges, np.arange(len(population)), side="right") - 1
    if stand_in == "member":
        return population.select(population.ids[order[np.append(edges[1:], len(order)) - 1]]), numbers
    worst = _worst(ordered, edges)
    frame = pd.DataFrame(
        {
            "training_cycles": worst.training_cycles,
            "energy_coefficient": worst.energy_coefficient,
            "max_speed": worst.max_speed,
        },
        index=pd.Index([f"type {k + 1}" for k in range(len(edges))], name="client"),
    )
    return Population(frame, source=f"types of {population.source}"), numbers


def grouped(clients: Clients, weights: np.ndarray, count: int) -> tuple[Clients, np.ndarray]:
    """No more than ``count`` groups of about equal probability, in the same order: the worst of each, and its weight."""
    order = np.argsort(_least(clients), kind="stable")
    return _blocks(clients[order], weights[order], count)


def _least(clients: Clients) -> np.ndarray:
    return clients.energy_coefficient * (clients.training_cycles + clients.mining_cycles) ** 3


def _edges(probability: np.ndarray, count: int) -> np.ndarray:
    """First position of each block, and the end: all single where there are no more than ``count``."""
    n = len(probability)
    if n <= count:
        return np.arange(n + 1)
    reached = np.cumsum(probability) / probability.sum()
    cuts = np.searchsorted(reached, np.arange(1, count) / count, side="left") + 1
    return np.unique(np.concatenate([[0], cuts, [n]]))


def _blocks(ordered: Clients, probability: np.ndarray, count: int) -> tuple[Clients, np.ndarray]:
    first = _edges(probability, count)[:-1]
    return _worst(ordered, first), np.add.reduceat(probability, first)


def _worst(ordered: Clients, first: np.ndarray) -> Clients:
    """One type for each run of clients: the most of rho^(1/3) mu, of rho and of both least times by speed."""
    mu, rho, q = ordered.training_cycles, ordered.energy_coefficient, ordered.max_speed
    most = np.maximum.reduceat(rho, first)
    cycles = np.maximum.reduceat(np.cbrt(rho) * mu, first) / np.cbrt(most)
    return Clients(
        cycles, most, _speed(cycles, *(np.maximum.reduceat(x, first) for x in (mu / q, 1 / q))), ordered.mining_cycles
    )


def _speed(cycles: np.ndarray, longest: np.ndarray, pace: np.ndarray) -> np.ndarray:
    """The largest speed of a type that needs at least ``longest`` for its work and ``pace`` for a cycle."""
    with np.errstate(divide="ignore"):
        return np.minimum(cycles / longest, 1 / pace)


def _runs(blocks: Clients, probability: np.ndarray, deadline: float, count: int, members: bool) -> np.ndarray | None:
    """First block of each of at most ``count`` runs that cost least, by dynamic programming over where the last one starts.

    members : a run costs what its last block does; otherwise what the worst of all of it would, and infinity where that could
    not meet the deadline, because one member has much to do and another is slow.
    """
    n, psi = len(blocks), blocks.mining_cycles
    root_rho, q = np.cbrt(blocks.energy_coefficient), blocks.max_speed
    columns = root_rho * blocks.training_cycles, root_rho, blocks.training_cycles / q, 1 / q
    total = np.concatenate([[0.0], np.cumsum(probability)])
    cost = np.full((n, n + 1), np.inf)  # of the run from block a up to, not including, block b
    for a in range(n):
        work, root, longest, pace = (np.maximum.accumulate(column[a:]) for column in columns)
        speed = _speed(work / root, longest, pace)
        able = (work / root + psi) / speed <= deadline * (1 - 1e-9)
        often = total[a + 1 :] - total[a]
        often[-1] += total[n]  # the costliest type, once more
        price = _least(blocks)[a:] if members else np.where(able, (work + root * psi) ** 3, np.inf)
        cost[a, a + 1 :] = price * often
    best = cost[0].copy()  # by end, with one run
    choices = [np.zeros(n + 1, dtype=np.int64)]
    for _ in range(1, min(count, n)):
        through = best[:n, None] + cost
        choices.append(np.where(through.min(axis=0) < best, through.argmin(axis=0), choices[-1]))
        best = np.minimum(best, through.min(axis=0))  # fewer runs are allowed
    if not np.isfinite(best[n]):
        return None
    starts, end = [], n
    for choice in reversed(choices):
        end = int(choice[end])
        starts.append(end)
        if end == 0:
            break
    return np.array(sorted(starts))
