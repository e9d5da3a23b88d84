"""Which options do commands share? Those that name a game, and where the answer goes.

A command that plays a game is written as ``@with_game def command(run: Settings, ...)``: it gets the options below
without naming them, and the game they describe instead of their values.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    pass

# Everything that loads pandas, a modelling language or a solver is imported inside the commands: --help must be quick.

EXIT_NOT_SOLVED = 1
EXIT_BAD_INPUT = 2
EXIT_PIPE_CLOSED = 141  # what a shell reports of a program that a closed pipe ends


def _number(help: str) -> Any:
    return Annotated[float | None, typer.Option(metavar="NUMBER", help=help)]


TrainingPrice = _number("p_t, the same for all clients.")
MiningPrice = _number("p_m, the same for all clients.")
Performance = Annotated[str | None, typer.Option(metavar="NAME", help="f: log, sqrt or linear.")]
#: What describes the game: name, which is the key of the config file too -> type and help.
GAME_OPTIONS: dict[str, Any] = {
    "population": Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Clients, .csv or .parquet. Left out: the packaged sample of 50 phones."),
    ],
    "config": Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="TOML file with these parameters (deadline = 15.0), or a saved game; options override it.",
        ),
    ],
    "mining_cycles": _number("psi, cycles to mine one block."),
    "deadline": _number("T, longest round."),
    "cost_weight": _number("xi, weight of time and rewards in the owner's utility."),
    "reward_budget": _number("eta, all rewards of a round."),
    "mining_cap": _number("R_m, largest mining reward of a client."),
    "mining_budget": _number("eta_m = N R_m; this or --mining-cap."),
    "target": _number("g, target performance of the Shapley game."),
    "performance": Performance,
    "training_price": TrainingPrice,
    "mining_price": MiningPrice,
}
OutDirectory = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Write the tables as CSV and everything as JSON. In CSV, text that begins with = + - or @ gets a "
        "leading ' so that no spreadsheet runs it; numbers are untouched.",
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Let --out replace the tables in a directory that is not empty.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables.")]


def with_game(command: Callable[..., None]) -> Callable[..., None]:
    """The command with the options of a game after its own, which reach it as ``run``. Refuses a bad --out first.

    A command that must know whether an option of the game was typed names it among its own.
    """
    own = inspect.signature(command, eval_str=True, locals={"Settings": object}).parameters
    shared = [name for name in GAME_OPTIONS if name not in own]

    def run_command(**given: Any) -> None:
        from bcfl_opt.commands import export
        from bcfl_opt.commands.settings import read_settings

        if given.get("out") is not None:
            export.check_directory(given["out"], force=given["force"])
        game = {name: given[name] if name in own else given.pop(name) for name in GAME_OPTIONS}
        command(read_settings(game.pop("config"), game), **given)

    keyword = inspect.Parameter.KEYWORD_ONLY
    writes = ("out", "force", "json")
    parameters = [own[name].replace(kind=keyword) for name in own if name != "run" and name not in writes]
    parameters += [inspect.Parameter(name, keyword, default=None, annotation=GAME_OPTIONS[name]) for name in shared]
    parameters += [own[name].replace(kind=keyword) for name in writes if name in own]
    run_command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run_command.__doc__, run_command.__name__ = command.__doc__, command.__name__
    return run_command
