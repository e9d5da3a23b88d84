"""The command ``solve``: one problem, by a solver or exactly, with its certificate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from bcfl_opt.commands.options import (
    EXIT_NOT_SOLVED,
    Force,
    Json,
    MiningPrice,
    OutDirectory,
    TrainingPrice,
    with_game,
)
from bcfl_opt.errors import InputError, choice

if TYPE_CHECKING:
    from bcfl_opt.commands.settings import Settings
    from bcfl_opt.solution import Solution


#: The modelling languages.
Language = Literal["pyomo", "cvxpy"]
#: Who answers: a solver, or the exact formulas.
Solver = Literal["ipopt", "clarabel", "exact"]


@with_game
def solve(
    run: Settings,
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
    training_price: TrainingPrice = None,
    mining_price: MiningPrice = None,
    out: OutDirectory = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Solve one problem and certify the answer. Problem 1 needs prices; Problems 2 and 3 find them."""
    from bcfl_opt.commands import export, report

    options = {"form": form, "reward_caps": reward_caps, "response": response, "budgets": budgets}
    options = _build_options(problem, options, prices_given=training_price is not None or mining_price is not None)
    language, solver = _route(language, solver)
    solution = _solve(run, problem, language, solver, options, time_limit)

    asked = {"problem": problem, "solver": solver, **options}
    if solver != "exact":
        asked["language"] = language
    content = {"document": "solution", "parameters": run.parameters, "asked": asked, **solution.content}
    document = export.document("solve", content)
    tables = {"clients": solution.clients, "population": run.game.population.frame}
    if solution.succeeded:
        tables["shadow_prices"] = report.shadow_prices_table(solution)

    def show() -> None:
        typer.echo(document) if json else report.show_solution(run, solution)

    export.deliver(show, out, tables, {"solution": document}, force=force)
    if not solution.succeeded:
        raise typer.Exit(EXIT_NOT_SOLVED)


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
        language = "cvxpy" if solver == "clarabel" else "pyomo"
    if solver is None:
        solver = "clarabel" if language == "cvxpy" else "ipopt"
    if language == "pyomo" and solver == "clarabel":
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

    from bcfl_opt.exact import best_response, equilibrium
    from bcfl_opt.solving import solve

    if time_limit is not None and not time_limit > 0:
        raise InputError(f"--time-limit {time_limit:g}: must be greater than 0")
    if problem == 1 and run.prices is None:
        raise InputError("--problem 1 needs prices: --training-price and --mining-price, or the same keys in --config")
    if solver == "exact":
        answered = {"response": "optimal", "budgets": "at_most"}
        if any(options.get(name, only) != only for name, only in answered.items()):
            raise InputError(
                "--solver exact answers --response optimal with --budgets at_most; use ipopt or clarabel here"
            )
        if problem == 1:
            return best_response(run.game, run.prices, reward_caps=options.get("reward_caps", False))
        return equilibrium(run.game)
    if language == "cvxpy" and options.get("form") == "speed":
        raise InputError("--form speed is not convex, so there is no CVXPY model of it; use --language pyomo")
    module = importlib.import_module(f"bcfl_opt.models.problem{problem}_{language}")
    given = (run.game, run.prices) if problem == 1 else (run.game,)
    return solve(module.build(*given, **options), solver=solver, time_limit=time_limit)
