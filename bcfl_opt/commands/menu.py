"""The command ``menu``: contracts among which clients of every type choose, and have no reason to lie."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from bcfl_opt.commands.options import EXIT_NOT_SOLVED, Force, Json, OutDirectory, with_game
from bcfl_opt.errors import InputError, unknown_name

if TYPE_CHECKING:
    from bcfl_opt.commands.settings import Settings
    from bcfl_opt.menu_record import Menu

#: Types that clients are put into where there are more and nothing is said.
USUAL_TYPES = 5


@with_game
def menu(
    run: Settings,
    types: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="K",
            help=f"Types that the clients are put into. Left out: each its own, or {USUAL_TYPES} if many.",
        ),
    ] = None,
    weights: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Column of the population with the clients' probabilities.")
    ] = None,
    deadlines: Annotated[
        Literal["common", "chosen"], typer.Option(help="One deadline for all contracts, or one of its own for each.")
    ] = "common",
    reward_caps: Annotated[
        bool, typer.Option("--reward-caps", help="Rewards under a type's own contract respect its caps.")
    ] = False,
    route: Annotated[
        Literal["both", "reduced", "duality"], typer.Option(help="How to search; both: IPOPT only where it is needed.")
    ] = "both",
    starts: Annotated[int, typer.Option(min=1, metavar="NUMBER", help="Starts of the search.")] = 8,
    seed: Annotated[int, typer.Option(min=0, metavar="NUMBER", help="Of the random starts.")] = 0,
    time_limit: Annotated[
        float, typer.Option(metavar="SECONDS", help="Begin no further search after this long.")
    ] = 60.0,
    out: OutDirectory = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Design the cheapest menu of contracts that every type of client accepts and under which nobody gains by lying."""
    from bcfl_opt.commands import export
    from bcfl_opt.menus import design_menu

    frame = run.game.population.frame
    if weights is not None and weights not in frame:
        raise InputError(f"--weights: {unknown_name('column', weights, [str(name) for name in frame])}")
    if types is None and not reward_caps and len(frame) > 2 * USUAL_TYPES:
        types = USUAL_TYPES
    found = design_menu(
        run.game,
        None if weights is None else frame[weights],
        types=types,
        deadlines=deadlines,
        reward_caps=reward_caps,
        route=route,
        search_starts=starts,
        seed=seed,
        time_limit=time_limit,
    )
    asked = {
        "types": types,
        "weights": weights,
        "deadlines": deadlines,
        "reward_caps": reward_caps,
        "route": route,
        "starts": starts,
        "seed": seed,
    }
    content: dict[str, Any] = {"document": "menu", "parameters": run.parameters, "asked": asked, **found.content}
    solved = found.succeeded
    content |= {
        "contracts": found.contracts,
        "gains": found.gains,
        "pooling": found.pooling,
        "lower_bound": found.lower_bound,
        "searches": found.searches,
        "population": found.population,
        "population_cost": found.population_cost if solved else None,
        "population_bound": found.population_bound if solved else None,
    }
    content["owner_utility"] = None  # of a round with these very clients, not of a draw of one
    document = export.document("menu", content)
    tables = {
        "contracts": found.contracts,
        "gains": found.gains,
        "types": found.clients,
        "searches": found.searches,
        "population": frame if found.population is None else found.population,
    }

    def show() -> None:
        typer.echo(document) if json else _show(run, found)

    kept = {name: table for name, table in tables.items() if table is not None}
    export.deliver(show, out, kept, {"menu": document}, force=force)
    if not solved:
        raise typer.Exit(EXIT_NOT_SOLVED)


def _show(run: Settings, found: Menu) -> None:
    from bcfl_opt.commands.report import SHOWN_CLIENTS
    from bcfl_opt.commands.terminal import Terminal, number, printable

    terminal = Terminal()
    terminal.text(f"{run.game.population.source}: {run.game.population!r}")
    terminal.text(repr(run.game))
    terminal.text()
    terminal.text(repr(found))
    clients = found.clients
    assert clients is not None
    if found.succeeded:
        shown = found.contracts.join(clients[["training_time", "mining_time", "client_utility"]])
        names = {"training_price": 4, "mining_price": 4, "training_time": 4, "mining_time": 4, "payment": 5}
        formats = {"client": printable, "probability": number(3)} | {
            name: number(digits) for name, digits in names.items()
        }
        formats["client_utility"] = lambda utility: number(4)(
            round(utility, 12)
        )  # zero utilities carry rounding errors
        headers = {name: name.replace("_", "\n") for name in formats} | {
            "client": "contract\nfor",
            "probability": "proba-\nbility",
        }
        terminal.table(shown.head(2 * SHOWN_CLIENTS).reset_index(names="client"), formats, headers=headers)
        if len(shown) > 2 * SHOWN_CLIENTS:
            terminal.text(f"{len(shown) - 2 * SHOWN_CLIENTS} more contracts; --out DIR writes all of them")
    absent = clients.loc[~clients["recruited"].astype(bool), "reason"]
    for client, reason in absent.head(SHOWN_CLIENTS).items():
        terminal.text(f"client {client}: {reason}")
    if len(absent) > SHOWN_CLIENTS:
        terminal.text(f"and {len(absent) - SHOWN_CLIENTS} more that take no part")
