"""The command ``respond``: the clients' best responses, chunk by chunk, for a population of any size."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from bcfl_opt.commands.options import EXIT_NOT_SOLVED, Json


def respond(
    source: Annotated[
        Path, typer.Argument(metavar="FILE", help="Clients: .parquet or .csv, or a directory of .parquet files.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE|DIR", help="Write the responses as one .parquet file, or as a directory of them."),
    ] = None,
    training_price: Annotated[
        float | None, typer.Option(metavar="NUMBER", help="p_t. Left out: the column training_price.")
    ] = None,
    mining_price: Annotated[
        float | None, typer.Option(metavar="NUMBER", help="p_m. Left out: the column mining_price.")
    ] = None,
    mining_cycles: Annotated[float, typer.Option(metavar="NUMBER", help="psi, cycles to mine one block.")] = 5.0,
    deadline: Annotated[float, typer.Option(metavar="NUMBER", help="T, longest round.")] = 15.0,
    reward_caps: Annotated[
        bool, typer.Option("--reward-caps", help="The client also faces its reward caps (7) and (3).")
    ] = False,
    training_cap: Annotated[
        float | None, typer.Option(metavar="NUMBER", help="R_t. Left out: the column training_cap.")
    ] = None,
    mining_cap: Annotated[
        float | None, typer.Option(metavar="NUMBER", help="R_m. Left out: the column mining_cap.")
    ] = None,
    processes: Annotated[
        int | None, typer.Option(metavar="NUMBER", help="Processes to share the work; --out is then a directory.")
    ] = None,
    chunk: Annotated[int | None, typer.Option(metavar="ROWS", help="Rows held in memory at a time.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Let --out replace what is there.")] = False,
    json: Json = False,
) -> None:
    """Answer Problem 1 exactly for every client of a population that need not fit in memory."""
    from bcfl_opt import partitioned
    from bcfl_opt.commands import export
    from bcfl_opt.commands.terminal import Terminal

    answer = partitioned.best_response(
        source,
        training_price=training_price,
        mining_price=mining_price,
        mining_cycles=mining_cycles,
        deadline=deadline,
        reward_caps=reward_caps,
        training_cap=training_cap,
        mining_cap=mining_cap,
        out=out,
        overwrite=force,
        executor=processes,
        chunk=chunk,
    )
    if json:
        content = {field.name: getattr(answer, field.name) for field in dataclasses.fields(answer)}
        content = {name: value for name, value in content.items() if not name.startswith("_")}
        certificate = answer.certificate
        content["certificate"] = (
            None if certificate is None else {**certificate.residuals, "holds": certificate.holds()}
        )
        content["objective"] = answer.objective if answer.succeeded else None
        typer.echo(export.document("respond", content))
    else:
        Terminal().text(repr(answer))
    if not answer.succeeded:
        raise typer.Exit(EXIT_NOT_SOLVED)
