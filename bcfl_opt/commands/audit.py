"""The command ``audit``: what clients would gain by lying about their work."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from bcfl_opt.commands.options import Force, Json, OutDirectory, with_game

if TYPE_CHECKING:
    from bcfl_opt.commands.settings import Settings


@with_game
def audit(
    run: Settings,
    mechanism: Annotated[
        Literal["theorem_4_1", "theorem_3_2", "equilibrium"], typer.Option(help="Whose prices.")
    ] = "theorem_4_1",
    responses: Annotated[
        Literal["optimal", "theorem"], typer.Option(help="How clients answer prices: at their best, or by Theorem 3.1.")
    ] = "optimal",
    shares: Annotated[
        Literal["fixed", "reported"],
        typer.Option(help="Reward caps stay those of the truth, or follow the reports by their Shapley values."),
    ] = "fixed",
    out: OutDirectory = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Say for every client what the best lie about its work would gain, under (18) as printed and in the standard sense."""
    from bcfl_opt.commands import export
    from bcfl_opt.commands.terminal import Terminal, number, printable, yes_no
    from bcfl_opt.incentives import audit

    found = audit(run.game, mechanism, responses=responses, shares=shares)
    content = {
        "parameters": run.parameters,
        "asked": {"mechanism": mechanism, "responses": responses, "shares": shares},
        "incentive_compatible": found.incentive_compatible,
        "literally_compatible": found.literally_compatible,
        "individually_rational": found.individually_rational,
        "searched": found.searched,
        "clients": found.best,
    }
    document = export.document("audit", content)
    if json:
        typer.echo(document)
    else:
        terminal = Terminal()
        terminal.text(repr(run.game))
        terminal.text(repr(found))
        shown = found.best.sort_values("gain", ascending=False, kind="stable").head(10).reset_index(names="client")
        formats = {
            "client": printable,
            "truth": number(5),
            "best_report": number(5),
            "truthful_utility": number(4),
            "gain": number(4),
            "literal_gain": number(4),
            "individually_rational": yes_no,
        }
        terminal.heading("Who gains most")
        terminal.table(shown, formats, headers={name: name.replace("_", "\n") for name in formats})
    if out is not None:
        pictures = {}
        try:
            from matplotlib.figure import Figure
        except ImportError:
            typer.echo("no picture: matplotlib is not installed (pip install 'bcfl_opt[plots]')", err=True)
        else:
            figure = Figure(figsize=(7, 4.5), layout="constrained", dpi=150)
            found.plot(figure.subplots())
            buffer = io.BytesIO()
            figure.savefig(buffer, format="png")
            pictures["gains"] = buffer.getvalue()
        export.write_directory(
            out, {"clients": found.best, "reports": found.table}, {"audit": document}, pictures, force=force
        )
