"""How does ``bo.solve`` do on a collection of Pyomo models written by others? One line a model, and the totals.

    python tests/nlp_collection.py DIRECTORY [--values PLACE ...] [--only "hs*"] [--time-limit 60] [--starts 8] [--prove 60]

Every ``*.py`` file of the directory whose ``model`` (or ``m``) is a Pyomo model is solved in a process of its own. Published
values come from the places given, in order: a CSV file with columns ``name`` and ``value``; a file of lines
``=opt= name value``, ``=best= name value`` or ``=inf= name`` (MINLPLib's solu file); a directory of SIF files with lines
``*LO SOLTN value`` (CUTEst); a directory of AMPL files with ``display obj - value``. A problem published in several sizes has
several values, and any of them counts.

Collections that this was run on:

    git clone https://github.com/Pyomo/pyomo-model-libraries        cute/*_cute.py, values: CUTEst's SIF files and cute/*.mod
    git clone https://github.com/GrattonToint/S2MPJ                 sif/*.SIF, the values of the above
    MINLPLib (https://minlplib.org)                                 its Pyomo files, values: minlplib.solu

``--prove SECONDS`` asks SCIP, through Pyomo, for each local optimum that is worse than the published value (it needs
``pip install pyscipopt``).

A model is judged by what it says of itself to Pyomo, and by nothing of ours: its own bodies and bounds evaluated by Pyomo,
its gradients by Pyomo's reverse differentiation, and the prices that the solution hands out as multipliers.

    optimum              solved; the objective is the published one, to 1e-6 of max(1, |value|) or to its last digit
    better               solved, and better than the published value
    out of reach         solved, worse than the published value, and nothing better exists, by convexity or, with --prove,
                         by the bound of a global solver: the value is not this model's
    other local optimum  solved, and worse than the published value
    solved               solved; nothing was published
    infeasible           no feasible point found, and none exists, as published
    refused (status)     not solved, and said so
    WRONG                said to be solved, and the conditions of optimality do not hold
    no NLP               the model has discrete variables
    not built            Pyomo, as installed, cannot build the model
"""

from __future__ import annotations

import argparse
import collections
import concurrent.futures
import contextlib
import csv
import fnmatch
import importlib.util
import logging
import math
import multiprocessing
import os
import re
import runpy
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

#: Relative difference to the published value, and residual of the conditions of optimality.
TOLERANCE = 1e-6
#: SCIP's bound holds for rows that are violated by as much as its tolerance, 1e-6; only a greater difference proves anything.
PROVEN = 1e-5
INFEASIBLE = "infeasible"
VERDICTS = (
    "optimum",
    "better",
    "out of reach",
    "other local optimum",
    "solved",
    "infeasible",
    "refused",
    "WRONG",
    "no NLP",
    "not built",
)


# ---------------------------------------------------------------------------------- published values


def published_values(places: Iterable[Path]) -> dict[str, list[str]]:
    """Name in lower case -> values as printed, of all places."""
    found: dict[str, list[str]] = {}
    for place in places:
        for name, numbers in _read_values(place).items():
            found.setdefault(name, []).extend(numbers)
    return found


def _read_values(place: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    if place.is_dir():
        for path in sorted(place.iterdir()):
            kind = path.suffix.lower()
            if kind not in (".sif", ".mod"):
                continue
            pattern = (
                r"^\*LO SOLTN\S*\s+([-+]?\.?\d[.\dEeDd+-]*)"
                if kind == ".sif"
                else r"^display obj\s*([-+]\s*\.?\d[.\dEe+-]*)\s*;"
            )
            numbers = re.findall(pattern, path.read_text(errors="replace"), flags=re.MULTILINE)
            if kind == ".mod":  # the difference from the value: display obj - value
                numbers = [(text[1:].strip() if text[0] == "-" else f"-{text[1:].strip()}") for text in numbers]
            if numbers:
                found[_plain(path.stem)] = [text.replace("D", "E").replace("d", "e") for text in numbers]
        return found
    text = place.read_text(errors="replace")
    if text.lstrip().startswith("="):
        for kind, name, number in re.findall(r"^=(opt|best|inf)=\s+(\S+)[ \t]*(\S*)", text, flags=re.MULTILINE):
            if kind != "best" or _plain(name) not in found:
                found[_plain(name)] = [number or INFEASIBLE]
    else:
        for row in csv.DictReader(text.splitlines()):
            found.setdefault(_plain(row["name"]), []).append(row["value"])
    return found


def _plain(name: str) -> str:
    """hs071, HS71 and hs71_cute are one problem."""
    name = name.lower().removesuffix("_cute")
    return re.sub(r"^hs0+", "hs", name)


def difference(objective: float, printed: str) -> tuple[float, bool]:
    """(objective - value) / max(1, |value|), and whether that is nothing: to the tolerance or to a unit of the last digit."""
    number = float(printed)
    mantissa, _, exponent = printed.lower().partition("e")
    digits = len(mantissa.partition(".")[2])
    unit = 10.0 ** (int(exponent or 0) - digits) if number else 0.0
    allowed = max(TOLERANCE * max(1.0, abs(number)), min(unit, 1e-4 * abs(number)))
    return (objective - number) / max(1.0, abs(number)), abs(objective - number) <= allowed


# ---------------------------------------------------------------------------------- one model, in its own process


def load(path: Path) -> Any:
    """The Pyomo model that a file defines; an abstract one is built with the data file beside it."""
    import pyomo.environ as pyo

    os.chdir(path.parent)
    found = runpy.run_path(path.name)
    model = found.get("model", found.get("m"))
    if isinstance(model, pyo.AbstractModel):
        data = path.with_suffix(".dat")
        model = model.create_instance(data.name if data.exists() else None)
    if not isinstance(model, pyo.ConcreteModel):
        raise ValueError("no model in this file")
    return model


def slopes(expression: Any) -> list[tuple[Any, float]]:
    """The derivatives of an expression by its unfixed variables, by Pyomo; what Pyomo cannot, by central differences."""
    import pyomo.environ as pyo
    from pyomo.core.expr.calculus.derivatives import Modes, differentiate
    from pyomo.core.expr.calculus.diff_with_pyomo import DifferentiationException
    from pyomo.core.expr.visitor import identify_variables

    variables = list(identify_variables(expression, include_fixed=False))
    try:
        return list(
            zip(variables, differentiate(expression, wrt_list=variables, mode=Modes.reverse_numeric), strict=True)
        )
    except DifferentiationException:
        result = []
        for variable in variables:
            x, ends = variable.value, []
            step = 6e-6 * max(1.0, abs(x))  # the cube root of a double's rounding
            for place in (x - step, x + step):
                variable.set_value(place, skip_validation=True)
                ends.append(pyo.value(expression))
            variable.set_value(x, skip_validation=True)
            result.append((variable, (ends[1] - ends[0]) / (2 * step)))
        return result


def residuals(model: Any, prices: Mapping[str, Any]) -> dict[str, float]:
    """First-order conditions at the model's present values, with shadow prices as multipliers; relative to their terms.

    In the user's sense of the objective: grad f = sum price grad g + reduced costs. Minimising, the price of a lower side
    is at least 0, of an upper side at most 0, and a reduced cost is positive only at a lower bound.
    """
    import pyomo.environ as pyo

    primal = sign = complementarity = 0.0
    gradient: dict[int, float] = collections.defaultdict(float)
    weight: dict[int, float] = collections.defaultdict(float)
    variables: dict[int, Any] = {}

    def add(expression: Any, factor: float) -> None:
        if not hasattr(expression, "is_potentially_variable") or not expression.is_potentially_variable():
            return
        for variable, slope in slopes(expression):
            variables[id(variable)] = variable
            gradient[id(variable)] += factor * slope
            weight[id(variable)] += abs(factor * slope)

    objectives = list(model.component_data_objects(pyo.Objective, active=True))
    sense, size = 1.0, 1.0
    for objective in objectives:
        sense = 1.0 if objective.sense == pyo.minimize else -1.0
        add(objective.expr, sense)
        size = max(1.0, abs(pyo.value(objective)))
    for constraint in model.component_data_objects(pyo.Constraint, active=True):
        found = prices.get(constraint.parent_component().name)
        price = (
            0.0
            if found is None
            else float(found[constraint.index()] if constraint.parent_component().is_indexed() else found)
        )
        low, body, high = constraint.to_bounded_expression(evaluate_bounds=True)
        if body is None:
            continue
        g = pyo.value(body)
        terms = sum(abs(slope * variable.value) for variable, slope in slopes(body))
        room_low = math.inf if low is None else g - low
        room_high = math.inf if high is None else high - g
        scale = max(1.0, terms, *(abs(side) for side in (low, high) if side is not None))
        primal = max(primal, -room_low / scale, -room_high / scale)
        push = sense * price
        if push > 0:
            sign = sign if low is not None else max(sign, push)
            complementarity = max(complementarity, push * abs(room_low) / size if low is not None else 0.0)
        elif push < 0:
            sign = sign if high is not None else max(sign, -push)
            complementarity = max(complementarity, -push * abs(room_high) / size if high is not None else 0.0)
        add(body, -push)
    stationarity = 0.0
    for key, variable in variables.items():
        low, high = variable.bounds
        x = variable.value
        scale = max(1.0, abs(x))
        primal = max(primal, 0.0 if low is None else (low - x) / scale, 0.0 if high is None else (x - high) / scale)
        left = gradient[key]
        if not math.isfinite(left):
            stationarity = math.nan
            break
        bound = low if left > 0 else high
        unexplained = abs(left) / max(1.0, weight[key])
        if bound is not None:  # a reduced cost, as far as the variable is at its bound
            unexplained = min(unexplained, abs(left) * abs(x - bound) / size)
        stationarity = max(stationarity, unexplained)
    return {"primal": primal, "sign": sign, "complementarity": complementarity, "stationarity": stationarity}


def solve_one(path: Path, time_limit: float, starts: int) -> dict[str, Any]:
    """What happened to one model, as plain data."""
    import pyomo.environ as pyo

    import bcfl_opt as bo

    try:
        model = load(path)
    except Exception as error:
        return {"status": "not built", "detail": f"{type(error).__name__}: {error}"}
    if any(not v.is_continuous() for v in model.component_data_objects(pyo.Var) if not v.fixed):
        return {"status": "no NLP", "detail": "discrete variables"}
    sizes = {"variables": model.nvariables(), "constraints": model.nconstraints()}
    begin = time.perf_counter()
    try:
        solution = bo.solve(model, time_limit=time_limit, starts=starts)
    except bo.BcflOptError as error:
        return {"status": type(error).__name__, "detail": str(error), **sizes}
    result: dict[str, Any] = {
        "status": solution.status.name,
        "quality": solution.quality.name,
        "detail": solution.detail,
        "seconds": time.perf_counter() - begin,
        "iterations": solution.iterations,
        "attempts": len(solution.provenance.get("attempts", ())),
        **sizes,
    }
    if solution.succeeded:
        objectives = list(model.component_data_objects(pyo.Objective, active=True))
        result["maximise"] = bool(objectives and objectives[0].sense == pyo.maximize)
        result["objective"] = float(pyo.value(objectives[0])) if objectives else 0.0
        result["residuals"] = residuals(model, solution.shadow_prices)
        assert solution.certificate is not None
        result["certificate"] = solution.certificate.residuals
    return result


def bound(path: Path, time_limit: float) -> float | None:
    """A value that no point of the model betters, by SCIP; None if it has none in time."""
    from pyomo.contrib.solver.common.factory import SolverFactory

    solver = SolverFactory("scip_direct")
    found = solver.solve(
        load(path), time_limit=time_limit, load_solutions=False, raise_exception_on_nonoptimal_result=False
    )
    return found.objective_bound


# ---------------------------------------------------------------------------------- verdicts


def verdict(result: Mapping[str, Any], printed: list[str]) -> tuple[str, float | None, str | None]:
    """Verdict (see the table above), relative difference to the published value, and that value."""
    if result["status"] in ("not built", "no NLP"):
        return result["status"], None, None
    if result["status"] != "SOLVED":
        found_none = result["status"] in ("INFEASIBLE", "LOCALLY_INFEASIBLE") and INFEASIBLE in printed
        return "infeasible" if found_none else "refused", None, printed[0] if printed else None
    if INFEASIBLE in printed:
        return "WRONG", None, INFEASIBLE
    worst = max(result["residuals"].values(), key=lambda number: math.inf if math.isnan(number) else number)
    if not worst <= TOLERANCE:
        return "WRONG", None, printed[0] if printed else None
    if not printed:
        return "solved", None, None
    compared = [(*difference(result["objective"], text), text) for text in printed]
    gap, same, nearest = min(compared, key=lambda item: abs(item[0]))
    if same:
        return "optimum", gap, nearest
    worse = gap < 0 if result["maximise"] else gap > 0
    if worse and result["quality"] == "GLOBAL":
        return "out of reach", gap, nearest
    return "other local optimum" if worse else "better", gap, nearest


def run(path: Path, time_limit: float, starts: int, prove: float, printed: list[str]) -> tuple[Any, ...]:
    """Verdict, difference, published value and the rest of the result of one model, solved and judged."""
    result = in_a_process(solve_one, (path, time_limit, starts), 2 * starts * time_limit + 60)
    judged, gap, nearest = verdict(result, printed)
    if judged == "other local optimum" and nearest is not None and prove:
        best = in_a_process(bound, (path, prove), 2 * prove + 60)
        if isinstance(best, float) and math.isfinite(best):
            missing = (-1 if result["maximise"] else 1) * difference(best, nearest)[0]
            judged = "out of reach" if missing > PROVEN else judged
            result["bound"] = best
    return judged, gap, nearest, result


def in_a_process(task: Callable[..., Any], arguments: tuple[Any, ...], patience: float) -> Any:
    """What the task returns in a process of its own, which is stopped if it does not answer."""
    # A server with the libraries loaded forks the processes; where there is none, each loads them itself.
    methods = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
    if "forkserver" in methods:
        context.set_forkserver_preload(["bcfl_opt.nlp.nonlinear", "bcfl_opt.solving", "cyipopt", "pyomo.environ"])
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_report, args=(there, task, arguments))
    process.start()
    there.close()
    try:
        if here.poll(patience):
            return here.recv()
        return {"status": "killed", "detail": f"no answer within {patience:g} s"}
    except EOFError:
        process.join()
        return {"status": "crashed", "detail": f"the process ended with code {process.exitcode}"}
    finally:
        process.kill()
        process.join()


def _report(pipe: Any, task: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
        pipe.send(task(*arguments))


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("directory", type=Path)
    parser.add_argument("--values", type=Path, action="append", default=[], metavar="PLACE")
    parser.add_argument("--only", nargs="+", default=["*"], help="names to solve, as patterns, without .py")
    parser.add_argument("--published", action="store_true", help="only models with a published value")
    parser.add_argument("--time-limit", type=float, default=60.0, help="seconds a model (default 60)")
    parser.add_argument("--starts", type=int, default=1, help="starting points a model (default 1)")
    parser.add_argument("--prove", type=float, default=0.0, metavar="SECONDS", help="ask SCIP as long (default: never)")
    parser.add_argument("--workers", type=int, default=2, help="processes (default 2)")
    parser.add_argument("--out", type=Path, help="CSV file of all results")
    chosen = parser.parse_args()
    if chosen.prove and importlib.util.find_spec("pyscipopt") is None:
        parser.error("--prove needs SCIP: pip install pyscipopt")
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    values = published_values(chosen.values)
    paths = [
        p.resolve()
        for p in sorted(chosen.directory.glob("*.py"))
        if any(fnmatch.fnmatch(p.stem, one) for one in chosen.only)
    ]
    paths = [p for p in paths if not chosen.published or _plain(p.stem) in values]
    rows = []
    count: collections.Counter[str] = collections.Counter()
    with concurrent.futures.ThreadPoolExecutor(chosen.workers) as pool:
        done = pool.map(
            lambda p: run(p, chosen.time_limit, chosen.starts, chosen.prove, values.get(_plain(p.stem), [])), paths
        )
        for path, (judged, gap, printed, result) in zip(paths, done, strict=True):
            if "no model in this file" in str(result.get("detail")):
                continue
            count[judged] += 1
            rows.append({"name": path.stem, "verdict": judged, "published": printed, "difference": gap, **result})
            shown = judged if judged != "refused" else f"refused ({result['status']})"
            said = "" if gap is None else f"{gap:+.1e} from {printed}"
            objective = f"{result['objective']:.10g}" if "objective" in result else ""
            print(f"{path.stem:24} {shown:28} {result.get('quality', ''):7} {objective:>18} {said}", flush=True)
            if judged in ("refused", "WRONG", "not built"):
                print(f"{'':24} {result.get('detail', '')} {result.get('residuals', '')}"[:240], flush=True)

    print("\n" + ", ".join(f"{count[name]} {name}" for name in VERDICTS if count[name]))
    published = [row for row in rows if _plain(row["name"]) in values and row["verdict"] not in ("not built", "no NLP")]
    if published:
        best = sum(row["verdict"] in ("optimum", "better", "infeasible") for row in published)
        certified = best + sum(row["verdict"] in ("out of reach", "other local optimum") for row in published)
        odd = sum(row["verdict"] == "out of reach" for row in published)
        print(
            f"{len(published)} models with a published value: {best} ({best / len(published):.1%}) at it or better "
            f"({best / max(len(published) - odd, 1):.1%} of those whose value is within reach), "
            f"{certified} ({certified / len(published):.1%}) at a certified optimum, local or global"
        )
    if chosen.out is not None:
        names = list(dict.fromkeys(name for row in rows for name in row))
        with chosen.out.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            writer.writerows(rows)
    return 1 if count["WRONG"] else 0


if __name__ == "__main__":
    sys.exit(main())
