"""How many bilevel problems of a published collection are solved? All of BOLIB with convex followers and a known value:

python tests/bilevel_collection.py                     every problem, a table, and the share that is solved
python tests/bilevel_collection.py Bard1988Ex1 ...     only these

The collection: S. Zhou, A. B. Zemkoho, A. Tin, "BOLIB: Bilevel Optimization LIBrary of Test Problems", version 2 (2020). The
problems stand in ``bilevel_data/*.toml``, a table each: ``leader`` and ``follower`` are to be minimised, in the leader's
variables x (or x1, x2, ...) and the follower's y; every entry of ``leader_rows`` and ``follower_rows`` is to be at least 0;
``start`` gives the first values, ``published`` the leader's best known value.

A problem is solved if the answer is within 1e-3 of the published value (relative, or absolute below 1), or better. Both only
if a second solver, which knows nothing of the package, finds no better point for the follower at the leader's answer, and
the answer obeys every row. Problems whose follower is not convex are run for one question alone: is a point that is not the
follower's optimum ever called an answer? Exits with 1 if one is, or fewer than 85 in 100 of the others are solved.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyomo.environ as pyo
from scipy.optimize import minimize

import bcfl_opt as bo

FOLDER = Path(__file__).parent / "bilevel_data"
CLOSE, SHARE = 1e-3, 0.85
#: How much better the second solver may find the follower's optimum, and by how much a row may be missed, relative.
CONFIRMED = 1e-5
FUNCTIONS = ("exp", "log", "sin", "cos", "sqrt")
NOT_CONVEX = "not_convex"


@dataclasses.dataclass(frozen=True)
class Problem:
    """One problem of the collection, its formulas as text."""

    name: str
    start: tuple[list[float], list[float]]
    published: float
    leader: str
    follower: str
    leader_rows: Sequence[str] = ()
    follower_rows: Sequence[str] = ()

    @property
    def names(self) -> tuple[list[str], list[str]]:
        """The variables' names: x or x1, x2, ..., and y likewise."""
        return tuple(  # type: ignore[return-value]
            [letter] if len(values) == 1 else [f"{letter}{k + 1}" for k in range(len(values))]
            for letter, values in zip("xy", self.start, strict=True)
        )

    def model(self) -> pyo.ConcreteModel:
        """Leader and follower in Pyomo."""
        m = pyo.ConcreteModel(self.name)
        m.follower = pyo.Block()
        place = {}
        for block, names, values in zip((m, m.follower), self.names, self.start, strict=True):
            for name, number in zip(names, values, strict=True):
                block.add_component(name, pyo.Var(initialize=number))
                place[name] = block.component(name)
        functions = {name: getattr(pyo, name) for name in FUNCTIONS}
        read = {text: eval(text, functions | place) for text in self._formulas()}
        m.objective = pyo.Objective(expr=read[self.leader])
        m.follower.objective = pyo.Objective(expr=read[self.follower])
        m.rows = pyo.Constraint(range(len(self.leader_rows)), rule=lambda _, k: read[self.leader_rows[k]] >= 0)
        m.follower.rows = pyo.Constraint(
            range(len(self.follower_rows)), rule=lambda _, k: read[self.follower_rows[k]] >= 0
        )
        return m

    def _formulas(self) -> list[str]:
        return [self.leader, self.follower, *self.leader_rows, *self.follower_rows]

    def at(self, formulas: Sequence[str], x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """The values of formulas at numbers."""
        place = dict(zip([*self.names[0], *self.names[1]], [*x, *y], strict=True))
        functions = {name: getattr(np, name) for name in FUNCTIONS}
        with np.errstate(all="ignore"):
            return np.array([eval(text, functions | place) for text in formulas], dtype=float)

    def shortfall(self, x: np.ndarray, y: np.ndarray) -> float:
        """By how much the worst row is missed, relative to the point's size."""
        rows = self.at([*self.leader_rows, *self.follower_rows], x, y)
        return float(max(-rows.min(initial=0.0), 0.0)) / max(1.0, float(np.abs([*x, *y]).max()))

    def better(self, x: np.ndarray, y: np.ndarray) -> float:
        """How much better than y the follower could do at x, relative: SLSQP from many points, and a grid for one variable."""
        own = float(self.at([self.follower], x, y)[0])
        size, best = max(1.0, abs(own)), own

        def least(points: np.ndarray) -> float:
            allowed = [p for p in points if np.all(self.at(self.follower_rows, x, p) >= -1e-9)]
            return min((float(self.at([self.follower], x, p)[0]) for p in allowed), default=np.inf)

        if len(y) == 1:
            grid = np.concatenate([np.linspace(-2, 2, 4001), np.linspace(-50, 50, 2001)])
            best = min(best, least(grid[:, None]))
        rng = np.random.default_rng(0)
        rows = {"type": "ineq", "fun": lambda p: self.at(self.follower_rows, x, p)}
        for k in range(8):
            begin = y if k == 0 else y + rng.normal(0, 1 + np.abs(y), len(y))
            found = minimize(
                lambda p: float(self.at([self.follower], x, p)[0]),
                begin,
                constraints=rows if len(self.follower_rows) else (),
                method="SLSQP",
                options={"ftol": 1e-12, "maxiter": 200},
            )
            if np.isfinite(found.x).all():
                best = min(best, least(found.x[None]))
        return (own - best) / size


def problems(*files: str) -> dict[str, Problem]:
    """By name, of these files or of all with convex followers."""
    chosen = files or tuple(sorted(path.stem for path in FOLDER.glob("*.toml") if path.stem != NOT_CONVEX))
    found: dict[str, Problem] = {}
    for file in chosen:
        entries: Mapping[str, Any] = tomllib.loads((FOLDER / f"{file}.toml").read_text(encoding="utf-8"))
        found |= {name: Problem(name, **entry) for name, entry in entries.items()}
    return found


@dataclasses.dataclass(frozen=True)
class Outcome:
    """verdict : "hit", "better", "worse", "failed" (and said so) or "WRONG" (called an answer, and is none)."""

    problem: Problem
    verdict: str
    solution: bo.Solution
    seconds: float
    note: str = ""

    def __str__(self) -> str:
        value = f"{self.solution.objective:.7g}" if self.solution.succeeded else "-"
        kind = self.solution.quality.name if self.solution.succeeded else self.solution.status.name
        published = f"{self.problem.published:.7g}"
        return f"{self.verdict:<7} {self.problem.name:<29} {published:>11} {value:>13} {kind:<22} {self.seconds:5.1f} {self.note}"


def outcome(problem: Problem, **options: Any) -> Outcome:
    """Solves and judges one problem."""
    m = problem.model()
    begin = time.perf_counter()
    solution = bo.solve_bilevel(m, m.follower, **options)
    seconds = time.perf_counter() - begin
    if not solution.succeeded:
        return Outcome(problem, "failed", solution, seconds, solution.message[:90])
    blocks = (m, m.follower)
    x, y = (
        np.array([pyo.value(block.component(name)) for name in names])
        for block, names in zip(blocks, problem.names, strict=True)
    )
    short, better = problem.shortfall(x, y), problem.better(x, y)
    if short > CONFIRMED or better > CONFIRMED:
        note = f"rows missed by {short:.1e}; the follower could have {better:.1e} more"
        return Outcome(problem, "WRONG", solution, seconds, note)
    away = (solution.objective - problem.published) / max(1.0, abs(problem.published))
    verdict = "hit" if abs(away) <= CLOSE else "better" if away < 0 else "worse"
    return Outcome(problem, verdict, solution, seconds, "" if verdict == "hit" else f"{away:+.1e}")


def main() -> int:
    parser = argparse.ArgumentParser(description="The bilevel problems of a published collection.")
    parser.add_argument("names", nargs="*", help="problems to run; all by default")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    convex, others = problems(), problems(NOT_CONVEX)
    unknown = [name for name in arguments.names if name not in convex | others]
    if unknown:
        parser.error(f"no problem {', '.join(unknown)} in {FOLDER}")
    verdicts: dict[str, list[str]] = {"convex": [], "not convex": []}
    print(f"{'':<7} {'problem':<29} {'published':>11} {'found':>13} {'':<22} {'s':>5}")
    for kind, group in (("convex", convex), ("not convex", others)):
        for name, problem in group.items():
            if arguments.names and name not in arguments.names:
                continue
            found = outcome(problem, time_limit=60, seed=arguments.seed)
            verdicts[kind].append(found.verdict)
            print(found, flush=True)
    for kind, seen in verdicts.items():
        counts = ", ".join(f"{seen.count(v)} {v}" for v in ("hit", "better", "worse", "failed", "WRONG"))
        print(f"{kind:<11} {len(seen)} problems: {counts}")
    solved = sum(v in ("hit", "better") for v in verdicts["convex"])
    total = len(verdicts["convex"])
    print(f"solved      {solved} of {total} with a convex follower{f', {100 * solved / total:.1f} %' if total else ''}")
    wrong = any("WRONG" in seen for seen in verdicts.values())
    return 1 if wrong or solved < SHARE * total else 0


if __name__ == "__main__":
    sys.exit(main())
