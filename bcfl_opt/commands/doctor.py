"""Does every solver work on this machine, and if not, what would mend it?

Each check solves a small game with a known answer by one route, in a process of its own: a solver that crashes or hangs
is a finding, not the end of the examination. ``python -m bcfl_opt.commands.doctor NAME`` runs one check.
"""

from __future__ import annotations

import dataclasses
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import typer

from bcfl_opt.commands.options import EXIT_NOT_SOLVED, Json
from bcfl_opt.errors import INSTALL, BcflOptError, choice, missing

if TYPE_CHECKING:
    import pandas as pd

    from bcfl_opt.game import Game

#: Relative error of the optimum that a working solver stays below.
TOLERANCE = 1e-6
#: Seconds after which a check counts as hanging; a cold start of all libraries takes a few.
PATIENCE = 120.0

# Two clients at equal prices p: both tasks then run at the speed (mu + psi) / T, and U = p T - rho (mu + psi)^3 / T^2
# (theory: h(t) = 0 with p_t = p_m). The speeds, 1 and 2/3, respect (8) and (9): p >= rho q^3.
TRAINING_CYCLES = (10.0, 5.0)
ENERGY_COEFFICIENTS = (0.01, 0.02)
MINING_CYCLES, DEADLINE, PRICE = 5.0, 15.0, 0.05
OPTIMUM = sum(
    PRICE * DEADLINE - rho * (mu + MINING_CYCLES) ** 3 / DEADLINE**2
    for mu, rho in zip(TRAINING_CYCLES, ENERGY_COEFFICIENTS, strict=True)
)


@dataclasses.dataclass(frozen=True, slots=True)
class Check:
    """One route to a solver: the modules it needs, and a function that solves the small game for its objective."""

    name: str
    title: str
    modules: tuple[str, ...]
    solve: Callable[[], float]


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """What a check found: does it work, the detail in words, and how to mend it if not."""

    title: str
    works: bool
    detail: str
    mend: str = ""
    seconds: float = 0.0


def examine(checks: Sequence[Check] | None = None) -> list[Finding]:
    """Run the checks (all of them), each in its own process, side by side."""
    checks = list(CHECKS.values()) if checks is None else checks
    begin = time.perf_counter()
    absent = [missing(check.modules) for check in checks]
    processes = [None if names else _start(check) for check, names in zip(checks, absent, strict=True)]
    findings = []
    try:
        for check, names, process in zip(checks, absent, processes, strict=True):
            if process is None:
                findings.append(Finding(check.title, False, f"not installed: {', '.join(names)}", _mend(names)))
            else:
                findings.append(_wait(check, process, begin))
    finally:  # Ctrl-C stops the checks too
        for process in processes:
            if process is not None and process.poll() is None:
                process.kill()
                process.communicate()
    return findings


def _mend(modules: Sequence[str]) -> str:
    return "; ".join(INSTALL[module] for module in modules)


def _start(check: Check) -> subprocess.Popen[str]:
    # -P: the directory the command is typed in must not shadow the installed package.
    command = [sys.executable, "-P", "-m", "bcfl_opt.commands.doctor", check.name]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _wait(check: Check, process: subprocess.Popen[str], begin: float) -> Finding:
    try:
        _, complaint = process.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return Finding(check.title, False, f"no answer within {PATIENCE:g} s", seconds=PATIENCE)
    seconds = time.perf_counter() - begin
    lines = complaint.strip().splitlines()
    last = lines[-1] if lines else ""
    if process.returncode < 0:
        name = signal.Signals(-process.returncode).name
        if process.returncode == -signal.SIGKILL:
            return Finding(check.title, False, f"killed from outside ({name}), as for want of memory", seconds=seconds)
        return Finding(check.title, False, f"crashed ({name}); its wheel may not fit this processor", seconds=seconds)
    if process.returncode > 0:
        return Finding(check.title, False, last or f"stopped with code {process.returncode}", seconds=seconds)
    return Finding(check.title, True, last, seconds=seconds)


def run(name: str) -> str:
    """Run one check here and now; returns the detail, raises what goes wrong."""
    objective = CHECKS[choice("check", name, CHECKS)].solve()
    error = abs(objective - OPTIMUM) / abs(OPTIMUM)
    if not error <= TOLERANCE:
        raise BcflOptError(f"objective {objective:.10g} instead of {OPTIMUM:.10g}, relative error {error:.1e}")
    return f"objective {objective:.10g}, relative error {error:.0e}"


# ---------------------------------------------------------------------- the checks


def _game() -> tuple[Game, pd.DataFrame]:
    import pandas as pd

    import bcfl_opt as bo

    columns: Mapping[str, Sequence[object]] = {
        "client": ("a", "b"),
        "training_cycles": TRAINING_CYCLES,
        "energy_coefficient": ENERGY_COEFFICIENTS,
    }
    game = bo.Game(bo.Population(pd.DataFrame(columns)), mining_cycles=MINING_CYCLES, deadline=DEADLINE)
    return game, game.prices(training=PRICE, mining=PRICE)


def _exact() -> float:
    import bcfl_opt as bo

    return bo.best_response(*_game()).raise_if_failed().objective


def _ipopt_pyomo() -> float:
    import bcfl_opt as bo
    from bcfl_opt.models import problem1_pyomo

    return bo.solve(problem1_pyomo.build(*_game())).raise_if_failed().objective


def _pyomo_factory() -> float:
    """A plain Pyomo model of the same game, by the solver's name, as a Pyomo user would."""
    import pyomo.environ as pyo

    import bcfl_opt  # noqa: F401 (registers the solver)

    m = pyo.ConcreteModel()
    m.clients = pyo.RangeSet(0, len(TRAINING_CYCLES) - 1)
    m.t = pyo.Var(m.clients, bounds=(0.1, DEADLINE), initialize=DEADLINE / 2)
    m.s = pyo.Var(m.clients, bounds=(0.1, DEADLINE), initialize=DEADLINE / 2)
    m.deadline = pyo.Constraint(m.clients, rule=lambda m, i: m.t[i] + m.s[i] <= DEADLINE)
    m.utility = pyo.Objective(
        sense=pyo.maximize,
        expr=sum(
            PRICE * (m.t[i] + m.s[i]) - rho * mu**3 / m.t[i] ** 2 - rho * MINING_CYCLES**3 / m.s[i] ** 2
            for i, (mu, rho) in enumerate(zip(TRAINING_CYCLES, ENERGY_COEFFICIENTS, strict=True))
        ),
    )
    results = pyo.SolverFactory("bcfl_ipopt").solve(m)
    pyo.assert_optimal_termination(results)
    return float(pyo.value(m.utility))


def _clarabel_cvxpy() -> float:
    import bcfl_opt as bo
    from bcfl_opt.models import problem1_cvxpy

    return bo.solve(problem1_cvxpy.build(*_game())).raise_if_failed().objective


def _ipopt_cvxpy() -> float:
    import bcfl_opt as bo
    from bcfl_opt.models import problem1_cvxpy

    return bo.solve(problem1_cvxpy.build(*_game()), solver="ipopt").raise_if_failed().objective


CHECKS = {
    check.name: check
    for check in (
        Check("exact", "exact answer", (), _exact),
        Check("ipopt-pyomo", "IPOPT through Pyomo", ("pyomo", "casadi", "cyipopt"), _ipopt_pyomo),
        Check("pyomo-factory", 'pyo.SolverFactory("bcfl_ipopt")', ("pyomo", "casadi", "cyipopt"), _pyomo_factory),
        Check("clarabel-cvxpy", "Clarabel through CVXPY", ("cvxpy", "clarabel"), _clarabel_cvxpy),
        Check("ipopt-cvxpy", "IPOPT through CVXPY", ("cvxpy", "sparsediffpy", "cyipopt"), _ipopt_cvxpy),
    )
}


def _one_line(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    print(f"{kind.__name__}: {' '.join(str(error).split())}", file=sys.stderr)


if __name__ == "__main__":
    sys.excepthook = _one_line  # whatever goes wrong is a finding, and a finding is one line
    # On standard error, because solvers write on standard output when and what they like.
    print(run(sys.argv[1]), file=sys.stderr)


def show_findings(findings: Sequence[Finding]) -> None:
    """Print versions, what works, and how to mend what does not."""
    import pandas as pd

    from bcfl_opt.commands import export
    from bcfl_opt.commands.terminal import Terminal, printable, yes_no

    terminal = Terminal()
    terminal.text(", ".join(f"{name} {version}" for name, version in export.versions().items()))
    terminal.text(f"package in {Path(__file__).parent.parent}")
    terminal.heading("A small game with a known answer, by every route")
    frame = pd.DataFrame(findings)
    formats = {"title": printable, "works": yes_no, "detail": printable}
    terminal.table(frame, formats, headers={"title": "route"}, alert=list(~frame["works"]))
    for finding in findings:
        if finding.mend:
            terminal.text(f"{finding.title}: {finding.mend}")
    works = all(finding.works for finding in findings)
    terminal.text("\nEverything works." if works else "\nNot everything works.")


def doctor(json: Json = False) -> None:
    """Solve a small game with every solver, say what works, and how to mend what does not."""
    from bcfl_opt.commands import export

    findings = examine()
    works = all(finding.works for finding in findings)
    if json:
        typer.echo(export.document("doctor", {"works": works, "checks": findings}))
    else:
        show_findings(findings)
    if not works:
        raise typer.Exit(EXIT_NOT_SOLVED)
