"""The command ``cross-check``: every solver against the exact answers, and the paper's theorems judged."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import typer

from bcfl_opt.commands.options import EXIT_NOT_SOLVED, Force, Json, OutDirectory, with_game

if TYPE_CHECKING:
    from bcfl_opt.commands.settings import Settings


@with_game
def cross_check(run: Settings, out: OutDirectory = None, force: Force = False, json: Json = False) -> None:
    """Solve Problems 1, 2 and 3 with every solver, compare with the exact answers, and judge the paper's theorems."""
    from bcfl_opt.commands import export, report
    from bcfl_opt.judging import cross_check

    check = cross_check(run.game, run.prices)
    content = {
        "parameters": dataclasses.replace(run, prices=check.prices).parameters,
        "agrees": check.agrees,
        "closed_forms": check.table,
        "solves": check.solves,
        "clients": check.clients,
    }
    document = export.document("cross-check", content)
    tables = {"closed_forms": check.table, "solves": check.solves, "clients": check.clients}
    tables["population"] = run.game.population.frame

    def show() -> None:
        typer.echo(document) if json else report.show_cross_check(run, check)

    export.deliver(show, out, tables, {"cross_check": document}, force=force)
    if not check.agrees:
        raise typer.Exit(EXIT_NOT_SOLVED)
