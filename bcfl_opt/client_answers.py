"""Which client does what in an answer? The table of all the game's clients, with what the clients themselves say of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from bcfl_opt.certificate import Certificate
from bcfl_opt.context import Context
from bcfl_opt.follower import follower_gap
from bcfl_opt.provenance import record
from bcfl_opt.solution import Quality, Solution, Status, clients_table

#: What the clients' table is made from.
CLIENT_VALUES = ("training_time", "mining_time", "training_price", "mining_price")
#: Columns of a client that takes no part are 0 where they are money, else NaN.
MONEY = ("training_reward", "mining_reward", "energy_cost", "client_utility", "bonus")


def nobody(context: Context, solver: str) -> Solution:
    solution = Solution(context.problem, solver, Status.NO_CLIENTS, Quality.NONE, None, provenance=record())
    return with_clients(solution, context, None, {})


def renamed(name: str) -> str:
    return f"the model has no {name!r} any more, so the clients' table cannot be made; keep that name"


def with_clients(
    solution: Solution,
    context: Context,
    values: Mapping[str, np.ndarray] | None,
    dropped: Mapping[str, list[Any]],
    lost: Mapping[Any, str] | None = None,
) -> Solution:
    """Add the table of all the game's clients, and let the clients confirm their times where the model dropped that.

    values : CLIENT_VALUES of the model's clients; None if there are none. dropped : see :func:`follower_gap`.
    lost : reason by id of the model's clients that have no answer although others have.
    """
    game, ids = context.game, context.game.population.ids
    inside = ids.isin(context.clients) if len(context.clients) != len(ids) else np.ones(len(ids), dtype=bool)
    reason = np.full(len(ids), "", dtype=object)
    if len(context.excluded):
        reason[~inside] = [context.excluded.get(i, "left out of the model") for i in ids[~inside]]
    columns = {}
    for name in CLIENT_VALUES:
        columns[name] = np.full(len(ids), np.nan)
        if values is not None:
            columns[name][inside] = values[name]
    recruited = inside if values is not None else np.zeros(len(ids), dtype=bool)
    if values is None:
        reason[inside] = f"no answer: {solution.message}"
    if lost:
        without = ids.isin(lost)
        recruited = recruited & ~without
        reason[without] = [f"no answer: {lost[i]}" for i in ids[without]]
    clients = clients_table(game, **columns, recruited=recruited, reason=reason)
    for column, source in context.columns.items():
        clients[column] = 0.0 if column in MONEY else np.nan
        if values is not None:
            clients.loc[inside, column] = values[source]
        clients.loc[inside & ~recruited, column] = 0.0 if column in MONEY else np.nan
    solution = dataclasses.replace(solution, game=game, clients=clients)
    if values is None or not context.follower_optimal or solution.certificate is None:
        return solution
    return confirmed(solution, context, solution.certificate, dropped)


def confirmed(
    solution: Solution, context: Context, certificate: Certificate, dropped: Mapping[str, list[Any]]
) -> Solution:
    assert solution.game is not None and solution.clients is not None
    gap, client = follower_gap(solution.game, solution.clients, dropped, context.response)
    where = {**certificate.where, "follower_gap": f"client {client!r}"}
    certificate = dataclasses.replace(certificate, follower_gap=gap, where=where)
    if certificate.accepted(game=True):
        return dataclasses.replace(solution, certificate=certificate)
    clients = solution.clients.copy()
    numbers = clients.columns.difference(["recruited", "reason"])
    clients[numbers] = np.nan
    clients["reason"] = clients["reason"].where(
        ~clients["recruited"], f"no answer: {Status.FOLLOWER_NOT_OPTIMAL.value}"
    )
    clients["recruited"] = False
    detail = (
        f"client {client!r} would answer these prices otherwise (its times would move by {gap:.3g} of the deadline, or its "
        "utility by that share of its payments); the model drops the clients' optimality and gets it back only where the "
        "payments are as small as rationality allows"
    )
    return dataclasses.replace(
        solution,
        status=Status.FOLLOWER_NOT_OPTIMAL,
        quality=Quality.NONE,
        detail=detail,
        certificate=certificate,
        clients=clients,
        _part=None,
    )
