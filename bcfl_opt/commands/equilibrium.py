"""The command ``equilibrium``: what the owner should post if the clients answer at their best."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from bcfl_opt.commands.options import EXIT_NOT_SOLVED, Force, Json, OutDirectory, with_game
from bcfl_opt.errors import InputError

if TYPE_CHECKING:
    from bcfl_opt.commands.settings import Settings


@with_game
def equilibrium(
    run: Settings,
    method: Annotated[
        Literal["exact", "bilevel"], typer.Option(help="The formulas, or IPOPT for leader and followers.")
    ] = "exact",
    deadlines: Annotated[
        Literal["common", "chosen"], typer.Option(help="Whether the owner chooses each client's deadline as well.")
    ] = "common",
    payment_budget: Annotated[
        float | None, typer.Option(metavar="NUMBER", help="Largest sum of all rewards. Left out: the caps alone.")
    ] = None,
    reservation_utility: Annotated[
        float, typer.Option(metavar="NUMBER", help="What every client must gain at least.")
    ] = 0.0,
    reward_caps: Annotated[
        bool, typer.Option("--reward-caps", help="The clients themselves stop at their reward caps, too.")
    ] = False,
    out: OutDirectory = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Find the prices that are best for the owner when every client answers with what is best for itself."""
    from bcfl_opt.commands import export, report
    from bcfl_opt.equilibria import equilibrium as exact_equilibrium

    changes: dict[str, Any] = {"reservation_utility": reservation_utility, "reward_caps": reward_caps}
    if method == "bilevel":
        if deadlines == "chosen" or payment_budget is not None:
            raise InputError(
                "--method bilevel knows one deadline for all and no --payment-budget; use --method exact, or a model of "
                "your own with bo.solve_bilevel"
            )
        from bcfl_opt.bilevel import solve_bilevel
        from bcfl_opt.models import stackelberg_pyomo

        solution = solve_bilevel(stackelberg_pyomo.build(run.game, **changes))
    else:
        solution = exact_equilibrium(run.game, deadlines=deadlines, payment_budget=payment_budget, **changes)
    asked = {"method": method, "deadlines": deadlines, "payment_budget": payment_budget, **changes}
    content = {"document": "solution", "parameters": run.parameters, "asked": asked, **solution.content}
    document = export.document("equilibrium", content)
    tables = {"clients": solution.clients, "population": run.game.population.frame}

    def show() -> None:
        typer.echo(document) if json else report.show_solution(run, solution)

    export.deliver(show, out, tables, {"solution": document}, force=force)
    if not solution.succeeded:
        raise typer.Exit(EXIT_NOT_SOLVED)
