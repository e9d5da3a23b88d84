"""The command line: ``bcfl-opt cross-check | solve | equilibrium | audit | menu | respond | paper | new-model | doctor``.

Exit codes: 0 done; 1 not solved, or solvers disagree, or something does not work; 2 bad input; 130 stopped by Ctrl-C;
141 the reader of a pipe stopped reading. What goes wrong is one line on standard error that begins with ``error:``.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from typing import Annotated, Any

import typer
import typer.core

from bcfl_opt import __version__
from bcfl_opt.commands.audit import audit
from bcfl_opt.commands.cross_check import cross_check
from bcfl_opt.commands.doctor import doctor
from bcfl_opt.commands.equilibrium import equilibrium
from bcfl_opt.commands.menu import menu
from bcfl_opt.commands.new_model import new_model
from bcfl_opt.commands.options import EXIT_BAD_INPUT, EXIT_NOT_SOLVED, EXIT_PIPE_CLOSED
from bcfl_opt.commands.paper import paper
from bcfl_opt.commands.respond import respond
from bcfl_opt.commands.solve import solve
from bcfl_opt.errors import INSTALL, BcflOptError, NoSolutionError, SolverMissingError

#: What is nobody's bug: the package's own errors, and what a machine may lack.
FAULTS = (BcflOptError, MemoryError, ImportError, OSError)


class _ReportingGroup(typer.core.TyperGroup):
    """Turns faults into one line and an exit code; anything else is a bug and keeps its traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except FAULTS as error:
            raise typer.Exit(_report(error)) from error


def _report(error: Exception) -> int:
    """Say on standard error what went wrong; returns the exit code."""
    code = EXIT_NOT_SOLVED
    if isinstance(error, BcflOptError):
        message = str(error)
        if not isinstance(error, NoSolutionError | SolverMissingError):
            code = EXIT_BAD_INPUT
    elif isinstance(error, BrokenPipeError):
        return EXIT_PIPE_CLOSED  # whoever closed the pipe knows
    elif isinstance(error, MemoryError):
        message = f"out of memory: {str(error) or 'nothing is left'}; fewer clients need less"
    elif isinstance(error, ImportError):
        name = (error.name or "a library").partition(".")[0]
        mend = INSTALL.get(name, "bcfl-opt doctor says what works on this machine")
        missing = isinstance(error, ModuleNotFoundError)
        message = f"{name} is not installed: {mend}" if missing else f"{name} cannot be loaded: {error}; {mend}"
    else:
        assert isinstance(error, OSError)
        message = f"{error.filename or 'standard output'}: {error.strerror or error}"
    line = "".join(letter if letter.isprintable() else " " for letter in " ".join(message.split()))
    with contextlib.suppress(OSError):
        typer.echo(f"error: {line}", err=True)
    return code


app = typer.Typer(
    name="bcfl-opt",
    cls=_ReportingGroup,
    help="Incentives for blockchain-based federated learning: solve the model owner's and the clients' problems, and "
    "check every answer against exact ones.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"bcfl-opt {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


app.command("cross-check", short_help="Check solvers and theorems against exact answers.")(cross_check)
app.command("solve")(solve)
app.command("equilibrium", short_help="Find the prices that are best for the owner of the model.")(equilibrium)
app.command("respond", short_help="Answer Problem 1 for a population of any size, chunk by chunk.")(respond)
app.command("audit", short_help="Say what clients would gain by lying about their work.")(audit)
app.command("menu", short_help="Design contracts under which no client gains by lying.")(menu)
app.command("paper", short_help="Recompute the paper's experiments and judge what it says about them.")(paper)
app.command("new-model", short_help="Write a commented model of your own to start from.")(new_model)
app.command("doctor", short_help="Say what works on this machine.")(doctor)


def main() -> None:
    """Entry point of the command ``bcfl-opt``."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # an id in letters that the pipe's encoding lacks is no reason to fail
            stream.reconfigure(errors="backslashreplace")
    code: Any = 0
    try:
        app()
    except SystemExit as stop:
        code = stop.code
    except FAULTS as error:  # before there is a command, in --version
        code = _report(error)
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        code = code or _report(error)
        # What is left in the buffer would be tried again at the end, with a complaint.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)
