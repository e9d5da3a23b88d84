"""The command ``new-model``: a commented variant of a problem to start from, in a file that runs as it is."""

from __future__ import annotations

import keyword
from pathlib import Path
from typing import Annotated

import typer

from bcfl_opt.commands.solve import Language
from bcfl_opt.errors import InputError

HEAD = '''"""A variant of Problem {problem}. Say here, as a programme, what you change:

    {sense}    ...
    subject to  ...

Run it: python {name}.py
"""

from __future__ import annotations

'''

TAIL = """

if __name__ == "__main__":
    game = bo.Game(bo.Population.sample(), mining_cycles=5.0, deadline=15.0)
    solution = bo.solve(build(game{price_call}))
    print(solution)
    print(solution.clients)
    if not solution.succeeded:
        print(bo.explain(solution))
"""

BODY: dict[Language, str] = {
    "pyomo": '''import bcfl_opt as bo
import pyomo.environ as pyo
from bcfl_opt.models import problem{problem}_pyomo


def build(game: bo.Game{price_parameter}) -> pyo.ConcreteModel:
    """Problem {problem} with this variant's changes."""
    m = problem{problem}_pyomo.build(game{price_argument})

    # A constraint of your own, one a client. m.training_time[i], m.mining_time[i], m.training_speed[i], m.mining_speed[i],
    # m.training_reward[i], m.mining_reward[i] and m.client_utility[i] are there to be used.
    m.quick = pyo.Constraint(m.clients, rule=lambda m, i: m.training_time[i] <= 0.75 * game.deadline)

    # Take a constraint out: m.{droppable}.deactivate()
    # A constraint over all clients: m.budget = pyo.Constraint(expr=sum(m.training_reward[i] for i in m.clients) <= 40)
    # Another objective: m.utility.set_value(...)
    return m''',
    "cvxpy": '''import bcfl_opt as bo
import cvxpy as cp
from bcfl_opt.context import ConvexModel
from bcfl_opt.models import problem{problem}_cvxpy


def build(game: bo.Game{price_parameter}) -> ConvexModel:
    """Problem {problem} with this variant's changes."""
    c = problem{problem}_cvxpy.build(game{price_argument})

    # A constraint of your own; vectors follow c.context.clients. print(c) lists variables, constraints and expressions.
    c.constraints["quick"] = c.variables["training_time"] <= 0.75 * game.deadline

    # Take a constraint out: del c.constraints["{droppable}"]
    # A constraint over all clients: c.constraints["budget"] = cp.sum(c.expressions["training_reward"]) <= 40
    # Another objective: c.objective = cp.Maximize(...)
    assert c.objective.is_dcp(), "write the objective as a concave expression, or solve with solver='ipopt'"
    return c''',
}


def new_model(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The file will be NAME.py in this directory.")],
    problem: Annotated[int, typer.Option(min=1, max=3, metavar="1|2|3", help="What it is a variant of.")] = 2,
    language: Annotated[Language, typer.Option(help="Modelling language.")] = "pyomo",
) -> None:
    """Write NAME.py, a commented variant of a problem that runs as it is and is meant to be changed."""
    name = name.removesuffix(".py")
    if not name.isidentifier() or keyword.iskeyword(name):
        raise InputError(f"new-model {name!r}: a name of letters, digits and _ that Python can import, not a path")
    file = Path(f"{name}.py")
    text = _text(name, problem, language)
    try:
        with file.open("x", encoding="utf-8") as new:
            new.write(text)
    except FileExistsError:
        raise InputError(f"new-model {name}: {file} is there already; choose another name") from None
    except OSError as error:
        raise InputError(f"new-model {name}: {file} cannot be written: {error.strerror}") from error
    typer.echo(f"wrote {file}; run it: python {file}")


def _text(name: str, problem: int, language: Language) -> str:
    first = problem == 1
    text = HEAD + BODY[language] + TAIL
    if language == "cvxpy":  # cp is only for what the user adds
        text = text.replace("import cvxpy as cp\n", "import cvxpy as cp  # noqa: F401 (for your own constraints)\n")
    return text.format(
        problem=problem,
        name=name,
        sense="maximise",
        droppable="deadline" if first else "mining_budget",
        price_parameter=", prices" if first else "",
        price_argument=", prices" if first else "",
        price_call=", game.prices(training=0.05, mining=0.05)" if first else "",
    )
