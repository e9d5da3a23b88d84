"""Does any route ever give a wrong answer? Small hostile games by the hundred thousand, against fifty digits.

python tests/fuzz_hostile.py --cases 100000 --seed 0 --workers 2

A case is one solve of a random game of one to four clients by one route: the exact answers; Problem 1 in Pyomo by times
and by speeds, in CVXPY by Clarabel and by IPOPT; Problems 2 and 3 in all readings, in Pyomo and in CVXPY; as they are, or
with a constraint or the objective swapped for another. Games are told in units of money, time and cycles from 1e-12 to 1e12,
clients may lie 1e-6 ... 1e6 apart, prices are 0 or leave a single point, or a hair less or more than that.

A case is right, refused (by status), or WRONG: succeeded and off by more than 1e-6 of its own terms for the whole or for
any single client; succeeded or recruited where no point is feasible, or proven infeasible where one is, outside a band of
1e-9; a certificate with a residual above 1e-6; or an exception that is none of the package's own. Exits with 1 if any is.

Case k is made from the seed k alone: --seed 5 --cases 10 is the first half of --seed 5 --cases 20, and any single case can be
run again. With --to FILE, results are kept there, one line a case, and cases that are there already are not run again.
"""

from __future__ import annotations

import argparse
import collections
import concurrent.futures
import dataclasses
import json
import sys
import time
import traceback
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import fifty_digits as reference
import numpy as np
from fifty_digits import INF, Contract, Split, mp
from fuzz_agreement import Client
from hostile_cases import BAND, Case, make, utility

import bcfl_opt as bo

#: Off by more than this is wrong.
TOLERANCE = 1e-6


# ---------------------------------------------------------------------------------- judging


@dataclasses.dataclass
class Verdict:
    """verdict : "right", "refused" or "WRONG". why : the status, or what is wrong. error, violation, residual : the worst."""

    seed: int
    route: str
    verdict: str
    why: str
    room: float
    error: float = 0.0
    violation: float = 0.0
    residual: float | None = None
    primal: float | None = None
    seconds: float = 0.0


def judge(seed: int) -> Verdict:
    case, clients = make(seed)
    smallest = min([case.room, *(contract.room for contract in case.contracts.values())])
    closest = min([abs(case.room), *(abs(contract.room) for contract in case.contracts.values())])
    result = Verdict(seed, case.route, "right", "", float(min(closest, 1e9)))
    begin = time.perf_counter()
    try:
        solution = case.solve()
    except bo.BcflOptError as error:
        result.verdict, result.why = "refused", f"{type(error).__name__}: {str(error)[:120]}"
        return result
    except Exception:
        result.verdict, result.why = "WRONG", "exception: " + traceback.format_exc().strip().splitlines()[-1]
        return result
    finally:
        result.seconds = time.perf_counter() - begin
    wrong = list(_wrong(case, clients, solution, result))
    if wrong:
        result.verdict, result.why = "WRONG", "; ".join(wrong)
    elif not solution.succeeded:
        result.verdict, result.why = "refused", f"{solution.status.name}: {solution.detail[:120]}"
        if case.screened is None and smallest < -BAND:
            result.why = f"no point, {result.why}"
        if solution.status in (bo.Status.NO_CLIENTS, bo.Status.INFEASIBLE):
            result.verdict = "right"
    return result


def _wrong(case: Case, clients: dict[str, Client], solution: bo.Solution, result: Verdict) -> Iterator[str]:
    assert solution.clients is not None
    table = solution.clients
    recruited = [name for name in clients if table.at[name, "recruited"]]
    reasons = table["reason"].astype(str)
    out = [name for name in clients if reasons[name] and not reasons[name].startswith("no answer")]
    screen = {name: INF for name in clients} if case.screened is None else case.screened
    for name in out:
        if screen[name] > BAND:
            yield f"{name} is left out, and has room {mp.nstr(screen[name], 3)}"
    for name in set(clients) - set(out):
        if screen[name] < -BAND:
            yield f"{name} is not left out, and lacks {mp.nstr(-screen[name], 3)}"
    room = min([case.room, *(case.contracts[name].room for name in clients if name not in out)])
    if solution.succeeded and room < -BAND:
        yield f"solved, and there is no point: {mp.nstr(-room, 3)} is lacking"
    if solution.status is bo.Status.INFEASIBLE and room > BAND:
        yield f"called infeasible, with room {mp.nstr(room, 3)}"
    if solution.status is bo.Status.UNBOUNDED:
        yield "called unbounded"
    if not solution.succeeded:
        return
    assert solution.certificate is not None
    result.residual, result.primal = max(solution.certificate.residuals.values()), solution.certificate.primal
    if not result.residual <= TOLERANCE:
        yield f"residual {result.residual:.2g}"
    values, sizes, rights = [], [], []
    for name in recruited:
        row = table.loc[name]
        found = Contract(
            *(mp.mpf(float(row[k])) for k in ("training_time", "mining_time", "training_reward", "mining_reward")), 0
        )
        c, right = clients[name], case.contracts[name]
        value, _ = case.value(c, found)
        best, size = case.value(c, right)
        values.append(value), sizes.append(size), rights.append(best)
        worst, place = max((v, k) for k, v in case.bounds(c, found).items())
        result.violation = max(result.violation, float(worst))
        if worst > TOLERANCE:
            yield f"{name} violates {place} by {mp.nstr(worst, 3)}"
        if case.by_client:
            error = abs(value - best) / size
            result.error = max(result.error, float(error))
            if not error <= TOLERANCE:
                yield f"{name}: {mp.nstr(value, 12)} where {mp.nstr(best, 12)} is right, off by {mp.nstr(error, 3)}"
        if case.answers:
            prices = (found.training_reward / found.t, found.mining_reward / found.s)
            reply = reference.client_problem(c, *prices)
            if change_of_mind(c, prices, reply, found) > TOLERANCE:
                yield f"{name} would answer otherwise, and gain {mp.nstr(change_of_mind(c, prices, reply, found), 3)}"
    if case.total is not None and recruited:
        right_total, size = case.total(recruited, rights, sizes)
        # A double holds each client's number to 1e-16 of its own terms: the least of several may be any of them by that.
        noise = [8 * np.finfo(float).eps * s for s in sizes]
        ends = [
            case.total(recruited, [v + sign * e for v, e in zip(values, noise, strict=True)], sizes)[0]
            for sign in (-1, 1)
        ]
        told = mp.mpf(solution.objective)
        away = max(min(ends) - told, told - max(ends), 0)
        error = max(abs(case.total(recruited, values, sizes)[0] - right_total), away) / size
        result.error = max(result.error, float(error))
        if not error <= TOLERANCE:
            yield f"objective {solution.objective!r} where {mp.nstr(right_total, 17)} is right, off by {mp.nstr(error, 3)}"


def change_of_mind(c: Client, prices: tuple[Any, Any], reply: Split, found: Contract) -> Any:
    """What a client gains by its best answer to these prices, relative to the terms of its utility.

    At the owner's prices its feasible set is one point, or what rounding makes of it: a move of 1e-9 of the deadline does
    not count, whatever it brings.
    """
    if reply.room < -TOLERANCE:
        return -reply.room
    t, s = reply.times()
    if abs(t - found.t) <= BAND * c.deadline:
        return mp.zero
    best, size = utility(c, Contract(t, s, t * prices[0], s * prices[1], reply.room))
    value, _ = utility(c, found)
    return (best - value) / size


# ---------------------------------------------------------------------------------- running


def judged(seeds: Iterable[int]) -> list[Verdict]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return [judge(seed) for seed in seeds]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cases", type=int, default=1000, help="random cases (default 1000)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the first one (default 0)")
    parser.add_argument("--workers", type=int, default=1, help="processes (default 1)")
    parser.add_argument("--to", type=Path, help="file that keeps the results, one line of JSON a case")
    chosen = parser.parse_args()
    wanted = range(chosen.seed, chosen.seed + chosen.cases)
    kept: dict[int, Verdict] = {}
    if chosen.to is not None and chosen.to.exists():
        for line in chosen.to.read_text().splitlines():
            verdict = Verdict(**json.loads(line))
            kept[verdict.seed] = verdict
    missing = [seed for seed in wanted if seed not in kept]
    begin = time.perf_counter()
    chunks = [missing[k : k + 50] for k in range(0, len(missing), 50)]
    file = chosen.to.open("a") if chosen.to is not None else None
    with concurrent.futures.ProcessPoolExecutor(chosen.workers) as pool:
        for k, verdicts in enumerate(pool.map(judged, chunks), start=1):
            for verdict in verdicts:
                kept[verdict.seed] = verdict
                if file is not None:
                    print(json.dumps(dataclasses.asdict(verdict)), file=file)
                if verdict.verdict == "WRONG":
                    print(f"seed {verdict.seed}, {verdict.route}: {verdict.why}", flush=True)
            if file is not None:
                file.flush()
            if k % 20 == 0:
                print(f"... {k * 50} of {len(missing)}, {time.perf_counter() - begin:.0f} s", flush=True)
    verdicts = [kept[seed] for seed in wanted]
    report(verdicts)
    return 1 if any(verdict.verdict == "WRONG" for verdict in verdicts) else 0


def report(verdicts: list[Verdict]) -> None:
    counts = collections.Counter(verdict.verdict for verdict in verdicts)
    print(f"{len(verdicts)} cases: " + ", ".join(f"{counts[name]} {name}" for name in ("right", "refused", "WRONG")))
    why = collections.Counter(v.why.partition(":")[0] for v in verdicts if v.verdict == "refused")
    for status, count in why.most_common():
        print(f"  refused {count}: {status}")
    residuals = [v.residual for v in verdicts if v.residual is not None]
    if residuals:
        print(f"largest residual of each success: median {np.median(residuals):.1e}, worst {max(residuals):.1e}")
        solved = [v for v in verdicts if v.residual is not None]
        print(
            f"errors against fifty digits: median {np.median([v.error for v in solved]):.1e}, "
            f"worst {max(v.error for v in solved):.1e}"
        )


if __name__ == "__main__":
    sys.exit(main())
