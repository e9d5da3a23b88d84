"""The command ``paper``: the paper's experiments recomputed, and what it says about them judged."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Annotated

import typer

from bcfl_opt.commands.options import Force, Json, OutDirectory, Performance
from bcfl_opt.errors import InputError

if TYPE_CHECKING:
    import pandas as pd


def paper(
    seed: Annotated[int, typer.Option(metavar="NUMBER", help="Seed of the random strategies of Figure 2.")] = 0,
    draws: Annotated[int, typer.Option(metavar="NUMBER", help="Random strategies a client in Figure 2.")] = 200,
    points: Annotated[int, typer.Option(metavar="NUMBER", help="Grid points of a swept range.")] = 21,
    mining_cycles: Annotated[
        float, typer.Option(metavar="NUMBER", help="psi where it is not swept; the paper does not state it.")
    ] = 5.0,
    performance: Performance = None,
    out: OutDirectory = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Recompute Figures 2 to 6 under the paper's closed forms and under truly optimal strategies, and judge every trend
    that section 5.2 states. --out writes tables, claims and pictures.
    """
    from bcfl_opt.commands import export
    from bcfl_opt.paper import experiments, pictures, verdicts
    from bcfl_opt.progress import progress_bar

    if out is not None:
        export.check_directory(out, force=force)
        _refuse_without_matplotlib()
    setting = experiments.Setting(
        seed=seed, draws=draws, points=points, mining_cycles=mining_cycles, performance=performance or "log"
    )
    figures = {k: getattr(experiments, f"figure_{k}") for k in (2, 3, 4, 5, 6)}
    others = verdicts.choices(setting)
    tables, parts = {}, []
    with progress_bar("figures, and what the paper leaves open", len(figures) + len(others)) as advance:
        for k, figure in figures.items():
            tables[k] = figure(setting)
            advance(1)
        claims = verdicts.claims(setting)
        for name, other in others.items():
            parts.append(verdicts.influence(setting, {name: other}))
            advance(1)
    import pandas as pd

    influence = pd.concat(parts, ignore_index=True)
    document = export.document("paper", {"setting": setting, "claims": claims, "influence": influence})
    if json:
        typer.echo(document)
    else:
        _show(claims, influence)
    if out is not None:
        written = {f"figure_{k}": table for k, table in tables.items()}
        drawn = {}
        for name, figure in pictures.draw(tables):
            buffer = io.BytesIO()
            figure.savefig(buffer, format="png")
            drawn[name] = buffer.getvalue()
        export.write_directory(
            out, {**written, "claims": claims, "influence": influence}, {"paper": document}, drawn, force=force
        )


def _refuse_without_matplotlib() -> None:
    import importlib.util

    if importlib.util.find_spec("matplotlib") is None:
        raise InputError("--out draws pictures, and matplotlib is not installed: pip install 'bcfl_opt[plots]'")


def _show(claims: pd.DataFrame, influence: pd.DataFrame) -> None:
    from bcfl_opt.commands.terminal import Terminal, printable

    terminal = Terminal()
    terminal.text("Section 5.2's sentences under the paper's closed forms and under truly optimal strategies")
    for figure, rows in claims.groupby("figure"):
        terminal.heading(f"Figure {figure}")
        columns = ("claim", "information", "closed_forms", "closed_forms_found", "optimum", "optimum_found")
        terminal.table(rows, {name: printable for name in columns if not name.endswith("found")})
    counts = claims[["closed_forms", "optimum"]].apply(lambda column: column.value_counts()).fillna(0).astype(int)
    terminal.heading("In all")
    terminal.table(counts.rename_axis("verdict").reset_index(), dict.fromkeys(("verdict", *counts.columns), printable))
    terminal.heading("What the paper does not state, chosen otherwise")
    changes = ("choice", "figure", "claim", "information", "strategies", "verdict", "instead_of")
    terminal.table(influence.astype(object).where(influence.notna(), ""), dict.fromkeys(changes, printable))
