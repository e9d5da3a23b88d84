"""One contract for every way to a solver: what a solve promises when it succeeds, and in each of the ways it can fail."""

from __future__ import annotations

import abc
import dataclasses
import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cvxpy as cp
import numpy as np
import pandas as pd
import pyomo.environ as pyo
import pytest
from convex_games import a_game, some_prices
from pyomo.contrib.solver.common.factory import SolverFactory as CurrentFactory
from pyomo.contrib.solver.common.util import NoOptimalSolutionError

import bcfl_opt as bo
from bcfl_opt import conic, ipopt
from bcfl_opt.certificate import TOLERANCE, Certificate
from bcfl_opt.models import problem1_cvxpy, problem1_pyomo
from bcfl_opt.solution import HISTORY_COLUMNS

# ---------------------------------------------------------------------------------- one small model, in both languages


@dataclasses.dataclass
class Small:
    """min (x-3)^2 + (y+1)^2, or max minus that, on x + y <= r ("sum"), y >= 0 (its bound), and what a kind of failure adds.

    At r = 1: x = 1, y = 0, value 5; d value / d r = 2 (x-3) = -4, and d value / d bound = 2 (y+1) + 4 = 6.
    """

    kind: str = "solved"
    sense: int = 1
    r: float = 1.0

    def pyomo(self) -> Any:
        m = pyo.ConcreteModel()
        m.r = pyo.Param(initialize=self.r, mutable=True)
        m.x, m.y = pyo.Var(initialize=2.0), pyo.Var(initialize=0.25, bounds=(0, None))
        cost = (m.x - 3) ** 2 + (m.y + 1) ** 2
        if self.kind == "unbounded":
            cost = m.y - m.x
        elif self.kind == "undefined":
            cost = cost + pyo.exp(1000 * (m.x + 5))
        elif self.kind == "large":
            m.z = pyo.Var(range(1000), initialize=1.0)
            cost = cost + sum(pyo.exp(m.z[k]) - k * m.z[k] for k in m.z)
        elif self.kind == "runs away from infeasible rows":
            m.z = pyo.Var(initialize=0.5)
            m.far = pyo.Constraint(expr=m.x + m.z >= 1)
            m.near = pyo.Constraint(expr=pyo.exp(0.1 * (m.x + m.z)) <= 1)
            cost = m.x
        m.o = pyo.Objective(expr=self.sense * cost, sense=self.sense)
        if self.kind != "unbounded":
            m.sum = pyo.Constraint(expr=m.x + m.y <= m.r)
        if self.kind == "infeasible":
            m.floor = pyo.Constraint(expr=m.x >= 2)
        if self.kind == "locally infeasible":
            m.disc = pyo.Constraint(expr=(m.x - 9) ** 2 + m.y**2 <= 1)
        return m

    def cvxpy(self) -> tuple[cp.Problem, cp.Parameter]:
        r = cp.Parameter(value=self.r)
        x, y = cp.Variable(name="x", value=2.0), cp.Variable(name="y", nonneg=True, value=0.25)
        cost: Any = cp.square(x - 3) + cp.square(y + 1)
        rows = [] if self.kind == "unbounded" else [(x + y <= r).set_label("sum")]
        if self.kind == "unbounded":
            cost = y - x
        elif self.kind == "undefined":
            cost = cost + cp.exp(1000 * (x + 5))
        elif self.kind == "large":
            z = cp.Variable(1000, name="z", value=np.ones(1000))
            cost = cost + cp.sum(cp.exp(z)) - np.arange(1000) @ z
        elif self.kind == "runs away from infeasible rows":
            z = cp.Variable(name="z", value=0.5)
            rows += [(x + z >= 1).set_label("far"), (cp.exp(0.1 * (x + z)) <= 1).set_label("near")]
            cost = x
        if self.kind == "infeasible":
            rows.append((x >= 2).set_label("floor"))
        if self.kind == "locally infeasible":
            rows.append((cp.square(x - 9) + cp.square(y) <= 1).set_label("disc"))
        return cp.Problem(cp.Minimize(cost) if self.sense > 0 else cp.Maximize(-cost), rows), r


# ---------------------------------------------------------------------------------- the ways


@dataclasses.dataclass
class Ended:
    """What a way hands back, in one shape. Callables are what a user would ask for next."""

    succeeded: bool
    status: str
    message: str
    objective: Callable[[], float]
    values: Callable[[], dict[str, float]]
    price: Callable[[str], float]
    residuals: dict[str, float]
    log: str
    history: pd.DataFrame
    provenance: dict[str, Any]


class Way(abc.ABC):
    """A way to a solver. ``model`` makes a model of it, ``change`` sets its r, ``values`` reads what it holds now."""

    name: str
    module: str  # what must be there for it, and what to install
    install: str
    evaluates = True  # does it call functions that can fail at a point?

    def __str__(self) -> str:
        return self.name

    @abc.abstractmethod
    def model(self, small: Small) -> Any: ...

    @abc.abstractmethod
    def change(self, model: Any, r: float) -> None: ...

    @abc.abstractmethod
    def held(self, model: Any) -> dict[str, float]: ...

    @abc.abstractmethod
    def solve(self, model: Any, **arguments: Any) -> Ended: ...


class Pyomo(Way):
    name, module, install = "Pyomo by bo.solve", "cyipopt", "cyipopt-wheels"

    def model(self, small: Small) -> Any:
        return small.pyomo()

    def change(self, model: Any, r: float) -> None:
        model.r.set_value(r)

    def held(self, model: Any) -> dict[str, float]:
        return {v.name: v.value for v in model.component_data_objects(pyo.Var)}

    def solve(self, model: Any, **arguments: Any) -> Ended:
        return _ended(bo.solve(model, **arguments))


class Cvxpy(Way):
    def __init__(self, solver: str) -> None:
        self.solver, self.name = solver, f"CVXPY by {solver}"
        self.module, self.install = ("clarabel", "clarabel") if solver == "clarabel" else ("cyipopt", "cyipopt-wheels")
        self.evaluates = solver == "ipopt"

    def model(self, small: Small) -> Any:
        return small.cvxpy()

    def change(self, model: Any, r: float) -> None:
        model[1].value = r

    def held(self, model: Any) -> dict[str, float]:
        values = {v.name(): v.value for v in model[0].variables()}
        return {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in values.items()}

    def solve(self, model: Any, **arguments: Any) -> Ended:
        return _ended(bo.solve(model[0], solver=self.solver, **arguments))


def _ended(solution: bo.Solution) -> Ended:
    return Ended(
        solution.succeeded,
        solution.status.name,
        solution.message,
        lambda: solution.objective,
        lambda: {name: float(value) for name, value in solution.variables.items() if np.ndim(value) == 0},
        lambda name: solution.shadow_prices[name],
        {} if solution.certificate is None else solution.certificate.residuals,
        solution.log,
        solution.history,
        dict(solution.provenance),
    )


#: Pyomo's words for our statuses; the certificate's verdict has no word of its own there.
WORDS = {
    "convergenceCriteriaSatisfied": "SOLVED",
    "provenInfeasible": "INFEASIBLE",
    "locallyInfeasible": "LOCALLY_INFEASIBLE",
    "unbounded": "UNBOUNDED",
    "iterationLimit": "ITERATION_LIMIT",
    "maxTimeLimit": "TIME_LIMIT",
    "error": "EVALUATION_ERROR",
    "unknown": "NOT_CERTIFIED",
    # the older interface's
    "optimal": "SOLVED",
    "infeasible": "INFEASIBLE",
    "maxIterations": "ITERATION_LIMIT",
}


class Factory(Pyomo):
    """Pyomo's current interface, ``load_solutions`` and ``raise_exception_on_nonoptimal_result`` at their defaults."""

    name = "Pyomo's current interface"

    def solve(self, model: Any, **arguments: Any) -> Ended:
        names = {"options": "solver_options"}
        keywords = {names.get(name, name): value for name, value in arguments.items()}
        solver = CurrentFactory("bcfl_ipopt")
        try:
            results = solver.solve(model, **keywords)
        except NoOptimalSolutionError as error:
            before = self.held(model)
            results = solver.solve(model, raise_exception_on_nonoptimal_result=False, load_solutions=False, **keywords)
            assert self.held(model) == before and results.extra_info.message in str(error)
        succeeded = results.solution_status.name == "optimal"

        def price(name: str) -> float:
            if name == "y.lower":
                return results.solution_loader.get_reduced_costs()[model.y]
            return results.solution_loader.get_duals()[model.component(name)]

        def objective() -> float:
            return _or_raise(results.incumbent_objective if succeeded else None)

        def values() -> dict[str, float]:
            return self.held(model) if succeeded else _or_raise(None)

        rows = pd.DataFrame(results.extra_info.history, columns=HISTORY_COLUMNS).astype({"iteration": int})
        extra = results.extra_info
        status = WORDS[results.termination_condition.name]
        residuals = dict(extra.certificate.items()) if extra.certificate else {}
        provenance = dict(extra.provenance)
        return Ended(
            succeeded, status, extra.message, objective, values, price, residuals, results.solver_log, rows, provenance
        )


class Legacy(Pyomo):
    """Pyomo's older interface: no exception, the outcome in ``results.solver``, multipliers in suffixes."""

    name = "pyo.SolverFactory"

    def solve(self, model: Any, **arguments: Any) -> Ended:
        arguments["timelimit"] = arguments.pop("time_limit", None)
        for suffix in ("dual", "rc"):
            if model.component(suffix) is None:
                model.add_component(suffix, pyo.Suffix(direction=pyo.Suffix.IMPORT))
        other = model.clone()
        results = pyo.SolverFactory("bcfl_ipopt").solve(model, **arguments)
        word = str(results.solver.termination_condition)
        succeeded = pyo.check_optimal_termination(results)

        def price(name: str) -> float:
            return model.rc[model.y] if name == "y.lower" else model.dual[model.component(name)]

        def objective() -> float:
            return pyo.value(model.o) if succeeded else _or_raise(None)

        def values() -> dict[str, float]:
            return self.held(model) if succeeded else _or_raise(None)

        # It has no place for log, history, certificate and provenance: what the current interface says of the same model.
        keywords = {"solver_options": arguments.get("options") or {}, "time_limit": arguments["timelimit"]}
        current = CurrentFactory("bcfl_ipopt").solve(
            other, raise_exception_on_nonoptimal_result=False, load_solutions=False, **keywords
        )
        rows = pd.DataFrame(current.extra_info.history, columns=HISTORY_COLUMNS).astype({"iteration": int})
        return Ended(
            succeeded,
            WORDS[word],
            results.solver.termination_message,
            objective,
            values,
            price,
            dict(current.extra_info.certificate.items()),
            current.solver_log,
            rows,
            dict(current.extra_info.provenance),
        )


def _or_raise(number: Any) -> Any:
    if number is None:
        raise bo.NoSolutionError("nothing is handed out")
    return number


WAYS = [Pyomo(), Factory(), Legacy(), Cvxpy("clarabel"), Cvxpy("ipopt")]
every_way = pytest.mark.parametrize("way", WAYS, ids=str)


# ---------------------------------------------------------------------------------- success


@every_way
@pytest.mark.parametrize("sense", [1, -1])
def test_a_solve_that_succeeds(way: Way, sense: int, capfd: pytest.CaptureFixture[str]) -> None:
    model = way.model(Small(sense=sense))
    capfd.readouterr()
    ended = way.solve(model)
    assert capfd.readouterr() == ("", "")  # at the level of file descriptors
    assert ended.succeeded and ended.status == "SOLVED", ended.message
    assert ended.objective() == pytest.approx(sense * 5, rel=1e-7)
    assert ended.values() == pytest.approx({"x": 1.0, "y": 0.0}, abs=1e-7)
    assert way.held(model) == pytest.approx({"x": 1.0, "y": 0.0}, abs=1e-7)  # the user's own model has the answer
    assert ended.price("sum") == pytest.approx(-4 * sense, rel=1e-6)
    assert ended.price("y.lower") == pytest.approx(6 * sense, rel=1e-6)
    assert "iter" in ended.log and len(ended.log) > 500


@every_way
def test_the_certificate_is_there_and_right(way: Way) -> None:
    ended = way.solve(way.model(Small()))
    assert set(ended.residuals) >= {"primal", "dual", "complementarity", "stationarity", "gap"}
    assert all(0 <= value <= 1e-8 for value in ended.residuals.values())


@every_way
def test_a_solver_that_is_wrong_is_not_believed(way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    honest_run, honest_clarabel = ipopt.run, conic._clarabel

    def run(*arguments: Any, **keywords: Any) -> ipopt.Outcome:
        outcome = honest_run(*arguments, **keywords)
        return dataclasses.replace(outcome, x=outcome.x * 1.001, status=bo.Status.SOLVED)

    def clarabel(*arguments: Any) -> Any:
        word, x, *rest = honest_clarabel(*arguments)
        return (word, x * 1.001, *rest)

    monkeypatch.setattr(ipopt, "run", run)
    monkeypatch.setattr(conic, "_clarabel", clarabel)
    monkeypatch.setattr(conic, "refine", lambda program, x, z: (x, z, 0))
    model = way.model(Small())
    before = way.held(model)
    ended = way.solve(model)
    assert not ended.succeeded and max(ended.residuals.values()) > 1e-5 and "recomputed residuals" in ended.message
    assert way.held(model) == before


@every_way
@pytest.mark.parametrize("sense", [1, -1])
def test_the_history_leads_to_the_answer(way: Way, sense: int) -> None:
    ended = way.solve(way.model(Small(sense=sense)))
    history = ended.history
    assert list(history.columns) == list(HISTORY_COLUMNS) and len(history) > 3
    assert history["iteration"].tolist() == list(range(len(history)))
    assert history["objective"].iloc[-1] == pytest.approx(sense * 5, rel=1e-3)
    assert history["barrier"].iloc[-1] < 1e-6 < history["barrier"].iloc[0]
    assert history[["primal_infeasibility", "dual_infeasibility"]].iloc[-1].max() < 1e-6


@every_way
def test_provenance_says_what_decided_the_numbers(way: Way) -> None:
    provenance = way.solve(way.model(Small()), options={"max_iter": 77}, time_limit=50).provenance
    assert {"bcfl_opt", "python", "numpy", "scipy", way.install} <= set(provenance["versions"])
    assert ("ipopt" in provenance["versions"]) == (way.module == "cyipopt")
    assert provenance["options"] == {"max_iter": 77} and provenance["time_limit"] == 50
    assert len(provenance["defaults"]) > 3 and provenance["tolerances"] == {"certificate": TOLERANCE}
    assert provenance["machine"]["system"] and provenance["machine"]["linear_algebra"] and provenance["threads"] == 1
    assert [attempt["status"] for attempt in provenance["attempts"]][-1] == "SOLVED"


@every_way
def test_a_model_that_changed_is_solved_as_it_is_now(way: Way) -> None:
    model = way.model(Small())
    for r, value in ((1.0, 5.0), (2.0, 2.0), (9.0, 1.0), (1.0, 5.0)):
        way.change(model, r)
        assert way.solve(model).objective() == pytest.approx(value, rel=1e-7)


@every_way
def test_the_same_twice_is_the_same_to_the_last_bit(way: Way) -> None:
    first, second = (way.solve(way.model(Small())) for _ in range(2))
    assert first.values() == second.values() and first.objective() == second.objective()
    assert first.price("sum") == second.price("sum") and first.history.equals(second.history)


@every_way
def test_tee_shows_the_log_and_keeps_it(way: Way, capfd: pytest.CaptureFixture[str]) -> None:
    model = way.model(Small())
    capfd.readouterr()
    ended = way.solve(model, tee=True)
    printed = capfd.readouterr().out
    rows = [line for line in ended.log.splitlines() if line.strip().startswith("3 ")]
    assert rows and all(row in printed for row in rows)
    assert "Eclipse Public License" not in printed  # IPOPT's banner


# ---------------------------------------------------------------------------------- failure


FAILURES: list[tuple[str, dict[str, Any], set[str], str]] = [
    # kind, arguments, statuses, what the message must name
    ("infeasible", {}, {"INFEASIBLE", "LOCALLY_INFEASIBLE"}, "floor|sum|local infeasibility"),
    ("locally infeasible", {}, {"INFEASIBLE", "LOCALLY_INFEASIBLE"}, "disc|sum|local infeasibility"),
    # x falls without limit, z rises, and relative to both no violation is large
    ("runs away from infeasible rows", {}, {"INFEASIBLE"}, "far|near"),
    ("unbounded", {}, {"UNBOUNDED"}, "improves without limit"),
    ("large", {"options": {"max_iter": 1}}, {"ITERATION_LIMIT"}, "iteration"),
    ("large", {"time_limit": 1e-9}, {"TIME_LIMIT"}, "time limit"),
    ("undefined", {}, {"EVALUATION_ERROR"}, r"exp\(1000.*x.*\) has no finite value at x = 2"),
]


@every_way
@pytest.mark.parametrize(("kind", "arguments", "statuses", "named"), FAILURES, ids=[f[0] for f in FAILURES])
def test_a_solve_that_fails(
    way: Way,
    kind: str,
    arguments: dict[str, Any],
    statuses: set[str],
    named: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    if kind == "undefined" and not way.evaluates:
        ended = way.solve(way.model(Small(kind)))  # a cone is never evaluated outside of itself
        assert ended.succeeded and ended.objective() >= 5.0
        return
    model = way.model(Small(kind))
    before = way.held(model)
    capfd.readouterr()
    ended = way.solve(model, **arguments)
    assert capfd.readouterr() == ("", "")
    assert not ended.succeeded and ended.status in statuses, ended.message
    assert pd.Series([ended.message]).str.contains(named).all(), ended.message
    assert way.held(model) == before  # the user's model keeps what it had
    for ask in (ended.objective, ended.values):
        with pytest.raises(bo.NoSolutionError):
            ask()
    assert ended.provenance["versions"]
    if "infeasible" not in kind:  # those may be settled before any iteration
        assert ended.log and not any(value <= TOLERANCE for value in [max(ended.residuals.values(), default=1.0)])


@every_way
def test_a_failure_after_a_success_leaves_the_success_alone(way: Way) -> None:
    model = way.model(Small())
    way.solve(model)
    before = way.held(model)
    way.change(model, -1e9)
    assert not way.solve(model, options={"max_iter": 1} if way.module == "cyipopt" else {"max_iter": 0}).succeeded
    assert way.held(model) == before
    way.change(model, 2.0)
    assert way.solve(model).objective() == pytest.approx(2.0, rel=1e-7)


@every_way
@pytest.mark.parametrize("kind", ["solved", "infeasible"])
def test_options_are_refused_with_a_suggestion(way: Way, kind: str, capfd: pytest.CaptureFixture[str]) -> None:
    model = way.model(Small(kind))
    before = way.held(model)
    with pytest.raises(bo.InputError, match="did you mean 'max_iter'"):
        way.solve(model, options={"max_itr": 3})
    with pytest.raises(bo.InputError, match=r"max_iter.*'many'"):
        way.solve(model, options={"max_iter": "many"})
    assert way.held(model) == before and capfd.readouterr() == ("", "")


@every_way
def test_a_missing_solver_says_what_to_install(way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    model = way.model(Small())
    monkeypatch.setitem(sys.modules, way.module, None)  # what an import of it then finds
    with pytest.raises(bo.SolverMissingError, match=f"pip install.*{way.install}"):
        way.solve(model)


def test_a_missing_solver_in_a_process_of_its_own(tmp_path: Path) -> None:
    code = """
import sys
sys.modules["cyipopt"] = sys.modules["clarabel"] = None
import pyomo.environ as pyo, cvxpy as cp, bcfl_opt as bo
assert not pyo.SolverFactory("bcfl_ipopt").available(False)
m = pyo.ConcreteModel()
m.x = pyo.Var(initialize=1.0)
m.o = pyo.Objective(expr=m.x**2)
x = cp.Variable()
for model, solver in ((m, "ipopt"), (cp.Problem(cp.Minimize(x), [x >= 1]), "clarabel")):
    try:
        bo.solve(model, solver=solver)
    except bo.SolverMissingError as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-P", "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("pip install") == 2


# ---------------------------------------------------------------------------------- arguments of the front door


@pytest.mark.parametrize("limit", [0, -1, float("nan"), float("inf"), "60", True])
def test_a_time_limit_is_a_positive_number(limit: Any) -> None:
    for model in (Small().pyomo(), Small().cvxpy()[0]):
        with pytest.raises(bo.InputError, match="time_limit is a positive number of seconds"):
            bo.solve(model, time_limit=limit)


def test_arguments_of_the_wrong_kind() -> None:
    with pytest.raises(bo.InputError, match=r"options is a mapping.*not list"):
        bo.solve(Small().pyomo(), options=[("max_iter", 3)])  # type: ignore[arg-type]
    with pytest.raises(bo.InputError, match=r"warm_start is a Solution.*not dict"):
        bo.solve(Small().pyomo(), warm_start={"x": 1.0})  # type: ignore[arg-type]
    with pytest.raises(bo.InputError, match="solve takes a Pyomo model"):
        bo.solve(None)  # type: ignore[arg-type]
    with pytest.raises(bo.InputError, match="unknown solver for a Pyomo model 'clarabel'"):
        bo.solve(Small().pyomo(), solver="clarabel")


@pytest.mark.parametrize("way", [WAYS[0], WAYS[4]], ids=str)
def test_a_warm_start_starts_there_and_says_what_it_saved(way: Way) -> None:
    game = a_game(20)
    pyomo = isinstance(way, Pyomo)
    build = problem1_pyomo.build if pyomo else problem1_cvxpy.build
    cold = bo.solve(build(game, some_prices(game)), solver="ipopt").raise_if_failed()
    prices = some_prices(game) * 1.001
    warm, again = (bo.solve(build(game, prices), solver="ipopt", warm_start=start) for start in (cold, None))
    assert warm.objective == pytest.approx(again.objective, rel=1e-8) and warm.iterations < again.iterations
    assert warm.provenance["iterations_saved"] == cold.iterations - warm.iterations
    assert f"({cold.iterations - warm.iterations} saved by the warm start)" in repr(warm)
    assert warm.provenance["warm_start"] and not again.provenance["warm_start"]
    failed = bo.solve(build(game, prices), solver="ipopt", options={"max_iter": 0})
    assert not failed.succeeded
    assert bo.solve(build(game, prices), solver="ipopt", warm_start=failed).succeeded  # a failure does no harm


def test_a_warm_start_that_would_do_nothing_is_refused() -> None:
    game = a_game(3)
    model, problem = Small().pyomo(), Small().cvxpy()[0]
    for start, reason in (
        (bo.best_response(game, some_prices(game)), "this one is exact, is of another solver, or was read from a file"),
        (bo.solve(Small().cvxpy()[0], solver="clarabel"), "this one is exact, is of another solver"),
        (
            bo.solve(Small().cvxpy()[0], solver="ipopt"),
            "a previous solution of a Pyomo model; this one is of .* by ipopt",
        ),
    ):
        with pytest.raises(bo.InputError, match=reason):
            bo.solve(model, warm_start=start)
    other = bo.solve(problem1_cvxpy.build(game, some_prices(game)))
    with pytest.raises(bo.InputError, match="no variable of the same name to start from"):
        bo.solve(problem, solver="ipopt", warm_start=other)
    with pytest.raises(bo.InputError, match="cannot start from a previous solution"):
        bo.solve(problem, warm_start=other)
    assert bo.solve(problem, solver="ipopt", warm_start=bo.solve(Small().cvxpy()[0])).succeeded  # by name


def test_streams_get_the_log_as_well() -> None:
    stream = io.StringIO()
    results = CurrentFactory("bcfl_ipopt").solve(Small().pyomo(), tee=stream)
    assert stream.getvalue() == results.solver_log and "iter" in results.solver_log


# ---------------------------------------------------------------------------------- exact answers keep it, too


def exact_answers() -> list[tuple[str, Callable[[bo.Game], bo.Solution]]]:
    return [("best_response", lambda game: bo.best_response(game, some_prices(game))), ("equilibrium", bo.equilibrium)]


@pytest.mark.parametrize(("name", "answer"), exact_answers(), ids=[name for name, _ in exact_answers()])
def test_an_exact_answer(
    name: str, answer: Callable[[bo.Game], bo.Solution], capfd: pytest.CaptureFixture[str]
) -> None:
    solution = answer(a_game(4))
    assert capfd.readouterr() == ("", "")
    assert solution.succeeded and solution.quality is bo.Quality.GLOBAL and solution.solver == "exact"
    assert isinstance(solution.certificate, Certificate) and solution.certificate.worst[1] < 1e-9
    assert solution.certificate.unscaled["primal"] < 1e-9 and solution.certificate.closes_gap
    assert solution.provenance["versions"]["bcfl_opt"] == bo.__version__ and solution.history.empty
    again = answer(a_game(4))
    assert (
        again.objective == solution.objective and again.clients is not None and again.clients.equals(solution.clients)
    )


def test_an_exact_answer_that_is_none() -> None:
    game = a_game(2).replace(deadline=0.5)
    for solution in (bo.best_response(game, some_prices(game)), bo.equilibrium(game)):
        assert solution.status is bo.Status.NO_CLIENTS and not solution.succeeded and solution.provenance["versions"]
        assert solution.clients is not None and not solution.clients["recruited"].any()
        assert (solution.clients["reason"] != "").all() and solution.clients["training_time"].isna().all()
        for name in ("objective", "variables", "shadow_prices", "multipliers", "owner_utility", "prices"):
            with pytest.raises(bo.NoSolutionError):
                getattr(solution, name)
        with pytest.raises(bo.NoSolutionError):
            solution.raise_if_failed()
