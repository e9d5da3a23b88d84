"""The command line: ``bcfl-opt cross-check | solve | doctor``.

Exit codes: 0 done; 1 not solved, or solvers disagree, or something does not work; 2 bad input. What goes wrong is one
line on standard error that begins with ``error:``.
"""

from __future__ import annotations

import dataclasses
import enum
import io
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import typer.core

from bcfl_opt import __version__
from bcfl_opt.errors import BcflOptError, InputError, NoSolutionError, SolverMissingError, choice

if TYPE_CHECKING:
    from bcfl_opt.settings import Settings
    from bcfl_opt.solution import Solution

# Everything that loads pandas, a modelling language or a solver is imported inside the commands: --help must be quick.

EXIT_NOT_SOLVED = 1
EXIT_BAD_INPUT = 2


class _ReportingGroup(typer.core.TyperGroup):
    """Turns the package's own errors into one line and an exit code; anything else is a bug and keeps its traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except BcflOptError as error:
            typer.echo(f"error: {' '.join(str(error).splitlines())}", err=True)
            unsolved = isinstance(error, NoSolutionError | SolverMissingError)
            raise typer.Exit(EXIT_NOT_SOLVED if unsolved else EXIT_BAD_INPUT) from error


app = typer.Typer(
    name="bcfl-opt",
    cls=_ReportingGroup,
    help="Incentives for blockchain-based federated learning: solve the model owner's and the clients' problems, and "
    "check every answer against exact ones.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


class Language(enum.StrEnum):
    """Modelling language of ``solve``."""

    PYOMO = "pyomo"
    CVXPY = "cvxpy"


class Solver(enum.StrEnum):
    """Who answers ``solve``: a solver, or the exact formulas."""

    IPOPT = "ipopt"
    CLARABEL = "clarabel"
    EXACT = "exact"


PopulationFile = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Clients, .csv or .parquet. Left out: the packaged sample of 50 phones."),
]
ConfigFile = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="TOML file with these parameters (deadline = 15.0); options override it."),
]
MiningCycles = Annotated[float | None, typer.Option(metavar="NUMBER", help="psi, cycles to mine one block.")]
Deadline = Annotated[float | None, typer.Option(metavar="NUMBER", help="T, longest round.")]
CostWeight = Annotated[
    float | None, typer.Option(metavar="NUMBER", help="xi, weight of time and rewards in the owner's utility.")
]
RewardBudget = Annotated[float | None, typer.Option(metavar="NUMBER", help="eta, all rewards of a round.")]
MiningCap = Annotated[float | None, typer.Option(metavar="NUMBER", help="R_m, largest mining reward of a client.")]
MiningBudget = Annotated[float | None, typer.Option(metavar="NUMBER", help="eta_m = N R_m; this or --mining-cap.")]
Target = Annotated[float | None, typer.Option(metavar="NUMBER", help="g, target performance of the Shapley game.")]
Performance = Annotated[str | None, typer.Option(metavar="NAME", help="f: log, sqrt or linear.")]
TrainingPrice = Annotated[float | None, typer.Option(metavar="NUMBER", help="p_t, the same for all clients.")]
MiningPrice = Annotated[float | None, typer.Option(metavar="NUMBER", help="p_m, the same for all clients.")]
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


@app.command("cross-check", short_help="Check solvers and theorems against exact answers.")
def cross_check(
    population: PopulationFile = None,
    config: ConfigFile = None,
    mining_cycles: MiningCycles = None,
    deadline: Deadline = None,
    cost_weight: CostWeight = None,
    reward_budget: RewardBudget = None,
    mining_cap: MiningCap = None,
    mining_budget: MiningBudget = None,
    target: Target = None,
    performance: Performance = None,
    training_price: TrainingPrice = None,
    mining_price: MiningPrice = None,
    out: OutDirectory = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Solve Problems 1, 2 and 3 with every solver, compare with the exact answers, and judge the paper's theorems."""
    import bcfl_opt as bo
    from bcfl_opt import export, report

    run = _settings(
        config,
        out,
        force=force,
        population=population,
        mining_cycles=mining_cycles,
        deadline=deadline,
        cost_weight=cost_weight,
        reward_budget=reward_budget,
        mining_cap=mining_cap,
        mining_budget=mining_budget,
        target=target,
        performance=performance,
        training_price=training_price,
        mining_price=mining_price,
    )
    check = bo.cross_check(run.game, run.prices)
    content = {
        "parameters": dataclasses.replace(run, prices=check.prices).parameters,
        "agrees": check.agrees,
        "closed_forms": check.table,
        "solves": check.solves,
        "clients": check.clients,
    }
    document = export.document("cross-check", content)
    if json:
        typer.echo(document)
    else:
        report.show_cross_check(run, check)
    if out is not None:
        tables = {"closed_forms": check.table, "solves": check.solves, "clients": check.clients}
        tables["population"] = run.game.population.frame
        export.write_directory(out, tables, {"cross_check": document}, force=force)
    if not check.agrees:
        raise typer.Exit(EXIT_NOT_SOLVED)


@app.command()
def solve(
    problem: Annotated[int, typer.Option(min=1, max=3, metavar="1|2|3", help="1: the client; 2, 3: the owner.")] = 1,
    language: Annotated[
        Language | None, typer.Option(help="Modelling language. Left out: the solver's own.", show_default=False)
    ] = None,
    solver: Annotated[
        Solver | None, typer.Option(help="Left out: ipopt for Pyomo, clarabel for CVXPY.", show_default=False)
    ] = None,
    form: Annotated[str | None, typer.Option(metavar="time|speed", help="Problem 1; left out: time.")] = None,
    reward_caps: Annotated[
        bool | None, typer.Option("--reward-caps", help="Problem 1: the client also faces its reward caps.")
    ] = None,
    response: Annotated[
        str | None, typer.Option(metavar="optimal|theorem", help="Problems 2, 3; left out: optimal.")
    ] = None,
    budgets: Annotated[
        str | None, typer.Option(metavar="at_most|exhausted", help="Problems 2, 3; left out: at_most.")
    ] = None,
    time_limit: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="Stop the solver after this long.")
    ] = None,
    population: PopulationFile = None,
    config: ConfigFile = None,
    mining_cycles: MiningCycles = None,
    deadline: Deadline = None,
    cost_weight: CostWeight = None,
    reward_budget: RewardBudget = None,
    mining_cap: MiningCap = None,
    mining_budget: MiningBudget = None,
    target: Target = None,
    performance: Performance = None,
    training_price: TrainingPrice = None,
    mining_price: MiningPrice = None,
    out: OutDirectory = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Solve one problem and certify the answer. Problem 1 needs prices; Problems 2 and 3 find them."""
    from bcfl_opt import export, report

    options = {"form": form, "reward_caps": reward_caps, "response": response, "budgets": budgets}
    options = _build_options(problem, options, prices_given=training_price is not None or mining_price is not None)
    language, solver = _route(language, solver)
    run = _settings(
        config,
        out,
        force=force,
        population=population,
        mining_cycles=mining_cycles,
        deadline=deadline,
        cost_weight=cost_weight,
        reward_budget=reward_budget,
        mining_cap=mining_cap,
        mining_budget=mining_budget,
        target=target,
        performance=performance,
        training_price=training_price,
        mining_price=mining_price,
    )
    solution = _solve(run, problem, language, solver, options, time_limit)

    asked = {"problem": problem, "solver": solver.value, **options}
    if solver is not Solver.EXACT:
        asked["language"] = language.value
    content = {"parameters": run.parameters, "asked": asked, **report.solution_content(solution)}
    document = export.document("solve", content)
    if json:
        typer.echo(document)
    else:
        report.show_solution(run, solution)
    if out is not None:
        tables = {"clients": solution.clients, "population": run.game.population.frame}
        if solution.succeeded:
            tables["shadow_prices"] = report.shadow_prices_table(solution)
        export.write_directory(out, tables, {"solution": document}, force=force)
    if not solution.succeeded:
        raise typer.Exit(EXIT_NOT_SOLVED)


@app.command(short_help="Say what works on this machine.")
def doctor(json: Json = False) -> None:
    """Solve a small game with every solver, say what works, and how to mend what does not."""
    from bcfl_opt import export, report
    from bcfl_opt.doctor import examine

    findings = examine()
    works = all(finding.works for finding in findings)
    if json:
        typer.echo(export.document("doctor", {"works": works, "checks": findings}))
    else:
        report.show_findings(findings)
    if not works:
        raise typer.Exit(EXIT_NOT_SOLVED)


def main() -> None:
    """Entry point of the command ``bcfl-opt``."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # an id in letters that the pipe's encoding lacks is no reason to fail
            stream.reconfigure(errors="backslashreplace")
    app()


# ---------------------------------------------------------------------- what the options mean


def _settings(config: Path | None, out: Path | None, *, force: bool, **options: Any) -> Settings:
    """The game of this command, from the options that are settings. Refuses a bad --out before any work."""
    from bcfl_opt import export
    from bcfl_opt.settings import read_settings

    if out is not None:
        export.check_directory(out, force=force)
    return read_settings(config, options)


def _build_options(problem: int, options: Mapping[str, Any], *, prices_given: bool) -> dict[str, Any]:
    """The options of ``build`` that were given, if they belong to this problem."""
    belong = {"form": (1,), "reward_caps": (1,), "response": (2, 3), "budgets": (2, 3)}
    known = {"form": ("time", "speed"), "response": ("optimal", "theorem"), "budgets": ("at_most", "exhausted")}
    given = {name: value for name, value in options.items() if value is not None}
    for name, value in given.items():
        if problem not in belong[name]:
            where = " and ".join(f"--problem {number}" for number in belong[name])
            raise InputError(f"--{name.replace('_', '-')} belongs to {where}, not to --problem {problem}")
        if name in known:
            choice(f"--{name}", value, known[name])
    if prices_given and problem != 1:
        raise InputError(
            f"--training-price and --mining-price belong to --problem 1; problem {problem} finds the prices"
        )
    return given


def _route(language: Language | None, solver: Solver | None) -> tuple[Language, Solver]:
    """Language and solver, each the other's own where it is left out."""
    if language is None:
        language = Language.CVXPY if solver is Solver.CLARABEL else Language.PYOMO
    if solver is None:
        solver = Solver.CLARABEL if language is Language.CVXPY else Solver.IPOPT
    if language is Language.PYOMO and solver is Solver.CLARABEL:
        raise InputError("Clarabel solves CVXPY models: --language cvxpy --solver clarabel")
    return language, solver


def _solve(
    run: Settings,
    problem: int,
    language: Language,
    solver: Solver,
    options: dict[str, Any],
    time_limit: float | None,
) -> Solution:
    import importlib

    import bcfl_opt as bo

    if time_limit is not None and not time_limit > 0:
        raise InputError(f"--time-limit {time_limit:g}: must be greater than 0")
    if problem == 1 and run.prices is None:
        raise InputError("--problem 1 needs prices: --training-price and --mining-price, or the same keys in --config")
    if solver is Solver.EXACT:
        answered = {"response": "optimal", "budgets": "at_most"}
        if any(options.get(name, only) != only for name, only in answered.items()):
            raise InputError(
                "--solver exact answers --response optimal with --budgets at_most; use ipopt or clarabel here"
            )
        if problem == 1:
            return bo.best_response(run.game, run.prices, reward_caps=options.get("reward_caps", False))
        return bo.equilibrium(run.game)
    if language is Language.CVXPY and options.get("form") == "speed":
        raise InputError("--form speed is not convex, so there is no CVXPY model of it; use --language pyomo")
    module = importlib.import_module(f"bcfl_opt.models.problem{problem}_{language}")
    given = (run.game, run.prices) if problem == 1 else (run.game,)
    return bo.solve(module.build(*given, **options), solver=solver.value, time_limit=time_limit)
