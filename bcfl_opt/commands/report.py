"""What does a person see of a result? Cross-checks and solutions, shown; shadow prices as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from bcfl_opt.certificate import TOLERANCE
from bcfl_opt.commands.terminal import Terminal, number, printable, yes_no

if TYPE_CHECKING:
    from bcfl_opt.commands.settings import Settings
    from bcfl_opt.judging import CrossCheck
    from bcfl_opt.solution import Solution

#: Clients shown one by one; the files and the JSON have all.
SHOWN_CLIENTS = 10

CLOSED_FORMS = {
    "theorem": printable,
    "reading": printable,
    "paper_value": number(6),
    "exact": number(6),
    "verdict": lambda verdict: printable(verdict).partition(":")[0],
}
CLIENTS = {
    "client": printable,
    "training_time": number(5),
    "mining_time": number(5),
    "training_price": number(4),
    "mining_price": number(4),
    "client_utility": lambda utility: number(4)(round(utility, 12)),  # zero utilities carry rounding errors
    "recruited": yes_no,
}


def show_cross_check(run: Settings, check: CrossCheck) -> None:
    """Print what was played, every solver against the exact answer, and the verdict on every closed form."""
    terminal = Terminal()
    _show_game(terminal, run)
    solves = _solves_by_problem(check.solves)
    formats = {name: printable for name in solves} | {"exact": number(10)}
    headers = {"exact": "exact optimum", "ipopt": "IPOPT off by", "clarabel": "Clarabel off by", "paper_value": "paper"}
    terminal.heading("Every solver against the exact answer")
    terminal.table(solves, formats, headers=headers)
    terminal.heading("The paper's closed forms, judged")
    terminal.table(check.table, CLOSED_FORMS, headers=headers)
    terminal.heading("Why")
    for row in check.table.to_dict("records"):
        terminal.text(f"{row['theorem']}, {row['reading']}: {row['verdict']}; {row['reason']}".rstrip("; "))
    if check.agrees:
        terminal.text(f"\nAll solvers agree with the exact answers to {TOLERANCE:g}.")
    else:
        terminal.text(f"\nNOT all solvers agree with the exact answers to {TOLERANCE:g}; see the rows above.")


def show_solution(run: Settings, solution: Solution) -> None:
    """Print the summary of a solution, its first clients, and who was not recruited."""
    terminal = Terminal()
    _show_game(terminal, run)
    terminal.text()
    terminal.text(repr(solution))
    clients = solution.clients
    if clients is None:
        return
    shown = clients.head(SHOWN_CLIENTS).reset_index()
    terminal.table(shown, CLIENTS, headers={name: name.replace("_", "\n") for name in CLIENTS})
    if len(clients) > len(shown):
        terminal.text(f"{len(clients) - len(shown)} more clients; --out DIR writes all of them")
    absent = clients.loc[~clients["recruited"].astype(bool), "reason"]
    for client, reason in absent.head(SHOWN_CLIENTS).items():
        terminal.text(f"client {client}: {reason}")
    if len(absent) > SHOWN_CLIENTS:
        terminal.text(f"and {len(absent) - SHOWN_CLIENTS} more that take no part")


def shadow_prices_table(solution: Solution) -> pd.DataFrame:
    """Shadow prices, one row a constraint (or bound) and index: columns ``constraint``, ``index``, ``shadow_price``."""
    rows = []
    for name, values in solution.shadow_prices.items():
        if isinstance(values, pd.Series):
            rows += [(name, index, value) for index, value in values.items()]
        elif np.ndim(values):
            places = (index if len(index) > 1 else index[0] for index in np.ndindex(np.shape(values)))
            rows += [(name, index, float(values[index])) for index in places]
        else:
            rows.append((name, "", values))
    return pd.DataFrame(rows, columns=["constraint", "index", "shadow_price"])


def _solves_by_problem(solves: pd.DataFrame) -> pd.DataFrame:
    """One row a problem: the exact optimum, and how far off it each solver is (relative, the worst of its forms).

    Where a solve did not succeed: why it stopped.
    """
    rows = []
    for problem, routes in solves.groupby("problem", sort=False):
        row = {"problem": problem, "exact": routes["exact"].iloc[0]}
        for solver, its in routes.groupby("solver", sort=False):
            failed = its.loc[~its["succeeded"].astype(bool), "status"]
            worst = its["relative_gap"].abs().max()
            row[solver] = (
                ("0" if worst == 0 else f"{worst:.0e}") if failed.empty else str(failed.iloc[0]).replace("_", " ")
            )
        rows.append(row)
    return pd.DataFrame(rows)


def _show_game(terminal: Terminal, run: Settings) -> None:
    terminal.text(f"{run.game.population.source}: {run.game.population!r}")
    terminal.text(repr(run.game))
