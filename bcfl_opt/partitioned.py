"""What do best responses, the equilibrium and a shared budget come to, for a population in parts?

The functions here answer what their namesakes answer for a population in memory, chunk by chunk: in this process, in
several, or on a Dask cluster, whose workers read their parts of the files themselves. What couples the clients are sums, and
sums of parts are added up. A result holds the sums and the certificate; the table of clients goes to a file.
"""

from __future__ import annotations

from collections.abc import Callable
from os import PathLike
from typing import Any

from bcfl_opt import equilibria
from bcfl_opt.errors import InputError, choice
from bcfl_opt.game import PERFORMANCES
from bcfl_opt.parts.answers import answered
from bcfl_opt.parts.question import SOLVERS, Question
from bcfl_opt.parts.totals import PartitionedSolution

DEADLINE, MINING_CYCLES, COST_WEIGHT = 15.0, 5.0, 0.1  # the defaults of Game


def best_response(
    source: Any,
    *,
    training_price: float | None = None,
    mining_price: float | None = None,
    mining_cycles: float = MINING_CYCLES,
    deadline: float = DEADLINE,
    reward_caps: bool = False,
    training_cap: float | None = None,
    mining_cap: float | None = None,
    solver: str = "exact",
    out: str | PathLike[str] | None = None,
    overwrite: bool = False,
    executor: Any = None,
    chunk: int | None = None,
    check_ids: bool = True,
    progress: bool | None = None,
) -> PartitionedSolution:
    """Problem 1 for every client of a population that need not fit in memory: max U within the client's limits.

    Parameters
    ----------
    source : a .parquet or .csv file; a directory, a pattern or a list of Parquet files; or a Dask data frame. Columns as in
        :class:`bcfl_opt.Population`.
    training_price, mining_price : p_t, p_m >= 0 [money / time], the same for all clients; left out: the source's columns of
        these names. A client with neither is offered nothing.
    mining_cycles, deadline : psi [speed x time] and T [time].
    reward_caps : the client also faces (7) t p_t <= R_t and (3) s p_m <= R_m, with ``training_cap``, ``mining_cap`` >= 0
        [money], the same for all clients, or columns of these names.
    solver : "exact"; "ipopt" or "clarabel" solve the Pyomo or CVXPY model of each chunk.
    out : where the table of clients goes: a .parquet file, or a directory of Parquet files, one a part. It appears when it
        is whole. Left out: only sums are returned. overwrite : replace what is there.
    executor : as in :func:`bcfl_opt.sweep`; with one, ``out`` is a directory that all workers can write to.
    chunk : rows worked on at a time; memory grows with it, and not with the population.
    check_ids : make sure that no id appears twice in the whole population. Ids in ascending order prove it; others are
        read again, and compared by way of temporary files of 8 bytes a client. False: ids are unique by your word, and
        checked only within chunks.
    progress : a bar on standard error; by default on a terminal, for what takes longer than a second.

    Returns
    -------
    PartitionedSolution with the objective sum of U over the clients that can respond.

    Raises
    ------
    InputError : naming file, row, column, client and value; nothing is written then.

    Source: Problem 1, (8)-(10); :func:`bcfl_opt.best_response`.
    """
    question = Question(
        "Problem 1",
        mining_cycles=mining_cycles,
        deadline=deadline,
        columns={"training_price": training_price, "mining_price": mining_price}
        | ({"training_cap": training_cap, "mining_cap": mining_cap} if reward_caps else {}),
        reward_caps=reward_caps,
        solver=choice("solver", solver, SOLVERS),
        chunk=chunk,
    )
    if not reward_caps and not (training_cap is None and mining_cap is None):
        raise InputError("training_cap and mining_cap belong to reward_caps=True")
    return answered(question, source, out, overwrite, executor, check_ids, progress)


def equilibrium(
    source: Any,
    *,
    training_cap: float | None = None,
    mining_cap: float | None = None,
    mining_cycles: float = MINING_CYCLES,
    deadline: float = DEADLINE,
    cost_weight: float = COST_WEIGHT,
    performance: str | Callable[[float], float] = "log",
    deadlines: str = "common",
    payment_budget: float | None = None,
    reservation_utility: float | None = 0.0,
    reward_caps: bool = False,
    solver: str = "exact",
    out: str | PathLike[str] | None = None,
    overwrite: bool = False,
    executor: Any = None,
    chunk: int | None = None,
    check_ids: bool = True,
    progress: bool | None = None,
) -> PartitionedSolution:
    """The Stackelberg equilibrium of Problems 2 and 3 for a population that need not fit in memory.

    Parameters
    ----------
    training_cap, mining_cap : R_t, R_m >= 0 [money], the same for all clients (``inf``: no cap); left out: the source's
        columns of these names. Shapley values need the whole population at once, so caps (6) are data here: those of
        ``Game.caps``, computed where the training cycles fit in memory, or a rule of your own.
    cost_weight, performance : xi and f of (2), as in :class:`bcfl_opt.Game`.
    deadlines, payment_budget, reservation_utility, reward_caps : as in :func:`bcfl_opt.equilibrium`; a reservation utility of
        None is read from the column of this name. A budget with chosen deadlines takes a few passes more over the
        population, each of which returns a few hundred sums a part.
    solver : "ipopt" and "clarabel" solve Problem 2 chunk by chunk, as printed: with the common deadline, without a budget and
        with reservation utility 0.

    source, mining_cycles, deadline, out, overwrite, executor, chunk, check_ids, progress : those of :func:`best_response`.

    Returns
    -------
    PartitionedSolution with the objective U_mo (2): f of the recruited clients' cycles minus xi times the sum of their times
    and rewards, both added up over the parts. ``shadow_prices["payment_budget"]`` is dU_mo / dB.

    Raises
    ------
    InputError : naming file, row, column, client and value; nothing is written then.

    Source: theory 5.1, 5.2, 5.4; :func:`bcfl_opt.equilibrium`.
    """
    if not callable(performance):
        choice("performance", performance, PERFORMANCES)
    own = choice("deadlines", deadlines, ("common", "chosen")) == "chosen"
    budget = equilibria.checked_budget(payment_budget)
    if budget is not None and reward_caps and not own:
        raise InputError('payment_budget with reward_caps needs deadlines="chosen"; bcfl_opt.equilibrium says why')
    if choice("solver", solver, SOLVERS) != "exact" and (
        own or budget is not None or reward_caps or reservation_utility != 0
    ):
        raise InputError(f'solver {solver!r} answers Problem 2 as printed; leave out the other options, or use "exact"')
    columns = {"training_cap": training_cap, "mining_cap": mining_cap}
    if solver == "exact":
        columns["reservation_utility"] = reservation_utility
    question = Question(
        "Problems 2 and 3, equilibrium",
        mining_cycles=mining_cycles,
        deadline=deadline,
        columns=columns,
        reward_caps=reward_caps,
        solver=solver,
        chunk=chunk,
        cost_weight=cost_weight,
        performance=performance,
        multiplier=0.0 if own else None,
    )
    return answered(question, source, out, overwrite, executor, check_ids, progress, budget)
