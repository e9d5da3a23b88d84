"""How does a programme reach IPOPT? Callbacks for cyipopt, options, statuses in words, multipliers back."""

from __future__ import annotations

import dataclasses
import importlib.util
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from bcfl_opt import casadi_ipopt, errors
from bcfl_opt.nlp.elimination import Eliminated
from bcfl_opt.nlp.ipopt_options import validated
from bcfl_opt.nlp.presolve import Multipliers, Presolved
from bcfl_opt.nlp.program import Functions
from bcfl_opt.nlp.unbounded import DIVERGED, runaway
from bcfl_opt.provenance import record
from bcfl_opt.solution import Status
from bcfl_opt.threads import one_thread

#: What we ask of IPOPT unless the user says otherwise. bound_relax_factor 0: bounds are meant, and the error of 1e-8
#: that relaxing them leaves is gone. acceptable_iter 0: almost solved is not solved.
DEFAULTS: dict[str, Any] = {
    "tol": 1e-9,
    "constr_viol_tol": 1e-9,
    "compl_inf_tol": 1e-9,
    "dual_inf_tol": 1e-6,
    "bound_relax_factor": 0.0,
    "acceptable_iter": 0,
    "max_iter": 3000,
    "sb": "yes",
    "check_derivatives_for_naninf": "yes",  # a NaN that reaches the linear solver can crash the whole process
    "option_file_name": "",  # an ipopt.opt that lies in the working directory is none of our business
}

#: The first iteration after which an objective that keeps improving is followed to see whether it has a limit; then after
#: every doubling.
FOLLOWED = 50

#: Bounds this close, relative, leave IPOPT nothing between them.
NARROW = 1e-12

#: Where IPOPT itself comes from: cyipopt's wheel, or CasADi's, whose newer IPOPT and MUMPS take less time an iteration.
ENGINES = ("cyipopt", "casadi")

#: IPOPT's return code -> status. Where the code leaves the matter open, the certificate decides (see solving.py).
STATUSES = {
    0: Status.SOLVED,
    1: Status.SOLVED,
    2: Status.LOCALLY_INFEASIBLE,
    3: Status.NUMERICAL_FAILURE,
    4: Status.UNBOUNDED,
    5: Status.INTERRUPTED,
    6: Status.SOLVED,
    -1: Status.ITERATION_LIMIT,
    -2: Status.NUMERICAL_FAILURE,
    -3: Status.NUMERICAL_FAILURE,
    -4: Status.TIME_LIMIT,
    -5: Status.TIME_LIMIT,
    -10: Status.NO_FREEDOM,
    -11: Status.NUMERICAL_FAILURE,
    -13: Status.EVALUATION_ERROR,
}


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What IPOPT left behind: a point and multipliers of the programme as written, whatever they are worth.

    history : by iteration, what :data:`bcfl_opt.solution.HISTORY_COLUMNS` names; of the objective that is minimised.
    """

    status: Status
    detail: str
    x: np.ndarray
    multipliers: Multipliers
    iterations: int
    log: str
    seconds: float
    history: tuple[tuple[float, ...], ...] = ()


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Scaling:
    """Factors that turn objective, variables and rows into numbers near 1."""

    objective: float
    x: np.ndarray
    g: np.ndarray

    @classmethod
    def at(cls, presolved: Presolved, x: np.ndarray, objective: float) -> Scaling:
        """From a representative point: variables by their own size there, rows by how much they answer to them."""
        size = np.where(x != 0, np.abs(x), 1.0)
        with np.errstate(all="ignore"):
            reach = np.abs(presolved.functions.jacobian_matrix(x)).multiply(size[None, :]).max(axis=1).toarray().ravel()
        usable = np.isfinite(reach) & (reach > 0)
        return cls(objective, 1.0 / size, 1.0 / np.where(usable, reach, 1.0))


def available() -> bool:
    """Can cyipopt be imported here? Probed without importing it."""
    return importlib.util.find_spec("cyipopt") is not None


def require(engine: str = "cyipopt") -> Any:
    """The module whose ``Problem`` runs IPOPT, or SolverMissingError with how to install it; see :data:`ENGINES`."""
    if engine == "casadi":
        return casadi_ipopt
    errors.require("cyipopt")
    import cyipopt

    return cyipopt


def version(engine: str = "cyipopt") -> str:
    """IPOPT's version."""
    return casadi_ipopt.version() if engine == "casadi" else ".".join(map(str, require().IPOPT_VERSION))


def provenance(
    options: Mapping[str, Any],
    *,
    time_limit: float | None = None,
    warm_start: bool = False,
    engine: str = "cyipopt",
) -> dict[str, Any]:
    """What decides the numbers of a solve by IPOPT; see :func:`bcfl_opt.provenance.record`."""
    found = record(
        options=options, defaults=DEFAULTS, time_limit=time_limit, warm_start=warm_start, ipopt=version(engine)
    )
    return {"engine": engine, **found}


def run(
    presolved: Presolved | Eliminated,
    x: np.ndarray,
    *,
    options: Mapping[str, Any] | None = None,
    warm_start: Multipliers | None = None,
    time_limit: float | None = None,
    log: bool = True,
    streams: Sequence[TextIO] = (),
    scaling: Scaling | None = None,
    engine: str = "cyipopt",
    objective: Callable[[np.ndarray], float] | None = None,
) -> Outcome:
    """One run of IPOPT from ``x``.

    options : IPOPT's own, over :data:`DEFAULTS`. warm_start : multipliers of a previous solve. time_limit : seconds of
    wall time. streams : text streams that get IPOPT's log as it goes. scaling : instead of IPOPT's own. engine : one of
    :data:`ENGINES`. objective : what the history tells instead of the programme's own.

    IPOPT writes its log to a file and nothing to the terminal; we pass new lines on from Python after every iteration, so
    that they arrive in notebooks and captured streams alike, and none is lost.
    """
    begin = time.perf_counter()
    functions: Functions | _WithIdleVariables = presolved.functions
    low, high = presolved.x_lower, presolved.x_upper
    x = np.clip(presolved.there(x), low, high)
    n = len(x)
    if not n or np.all(low == high):
        return _nothing_to_choose(presolved, np.where(low == high, low, x), begin)
    library = require(engine)
    idle = _missing_freedom(presolved)
    if idle:
        functions = _WithIdleVariables(presolved.functions, idle)
        x, low, high = (np.append(values, np.full(idle, end)) for values, end in ((x, 0.5), (low, 0.0), (high, 1.0)))
    settings = {**DEFAULTS, **validated(options or {})}
    if np.all(high - low <= NARROW * np.maximum(np.abs(low), np.abs(high))):
        settings.pop("bound_mult_init_method", None)  # by the barrier, IPOPT takes the process with it there
    # The terminal is ours: how much IPOPT says goes for its log, and the streams pass that on.
    level = settings.pop("print_level", 5)
    settings["print_level"] = 0
    if time_limit is not None:
        settings["max_wall_time"] = float(time_limit)
    multipliers: dict[str, Any] = {}
    if warm_start is not None:
        rows, z_lower, z_upper = presolved.reduce(warm_start)
        zero = np.zeros(idle)
        multipliers = {"lagrange": rows, "zl": np.append(z_lower, zero), "zu": np.append(z_upper, zero)}
        for name, number in _WARM.items():
            settings.setdefault(name, number)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ipopt.log"
        if log or streams:
            settings.setdefault("output_file", str(path))
            settings.setdefault("file_print_level", level)
        callbacks = _Callbacks(functions, presolved, (low, high), _Tail(path, streams) if streams else None)
        problem = library.Problem(
            n=len(x),
            m=len(presolved.lower),
            problem_obj=callbacks,
            lb=low,
            ub=high,
            cl=presolved.lower,
            cu=presolved.upper,
        )
        if scaling is not None and "nlp_scaling_method" not in settings:
            settings["nlp_scaling_method"] = "user-scaling"
            problem.set_problem_scaling(scaling.objective, np.append(scaling.x, np.ones(idle)), scaling.g)
        for name, setting in settings.items():
            problem.add_option(name, setting)
        if objective is not None:
            callbacks.tell(lambda x: objective(presolved.back(x[:n])))
        with one_thread(), np.errstate(all="ignore"):
            x, info = problem.solve(x, **multipliers)
        problem.close()
        text = path.read_text(errors="replace") if path.exists() else ""
        if callbacks.tail is not None:
            callbacks.tail.read()
    code = int(info["status"])
    message = info["status_msg"]
    message = message.decode() if isinstance(message, bytes) else str(message)
    status = STATUSES.get(code, Status.UNKNOWN)
    if status is Status.UNBOUNDED and callbacks.diverged is None:
        status = Status.NUMERICAL_FAILURE  # iterates may diverge while the objective goes nowhere
        callbacks.follow(np.asarray(x, dtype=float))
    detail = f"IPOPT: {message.split(' (')[0].rstrip('.')}" if code not in (0, 1) else ""
    if callbacks.diverged is not None:
        x, status, detail = callbacks.diverged, Status.UNBOUNDED, f"beyond {DIVERGED:g} at a feasible point"
    # Where bounds leave next to nothing between them, IPOPT moves them by 1e-12 of their size, and ends beyond.
    x = np.clip(np.asarray(x, dtype=float), low, high)[:n]
    return Outcome(
        status,
        detail,
        presolved.back(x),
        presolved.restore(
            x,
            np.asarray(info["mult_g"], dtype=float),
            np.asarray(info["mult_x_L"], dtype=float)[:n],
            np.asarray(info["mult_x_U"], dtype=float)[:n],
        ),
        callbacks.iterations,
        text,
        time.perf_counter() - begin,
        tuple(callbacks.history),
    )


#: A warm start means little unless IPOPT is told to stay near it.
_WARM: dict[str, Any] = {
    "warm_start_init_point": "yes",
    "warm_start_bound_push": 1e-9,
    "warm_start_bound_frac": 1e-9,
    "warm_start_slack_bound_push": 1e-9,
    "warm_start_slack_bound_frac": 1e-9,
    "warm_start_mult_bound_push": 1e-9,
    "mu_init": 1e-6,
}


def _missing_freedom(presolved: Presolved | Eliminated) -> int:
    """How many more variables would IPOPT need to look at the objective, or to begin at all?

    Where equality rows are as many as free variables, it takes the programme for a square system and stops at any feasible
    point; where they are more, it refuses. Yet rows may repeat one another, and a variable may be in none of them.
    """
    functions = presolved.functions
    free = int(np.count_nonzero(presolved.x_lower < presolved.x_upper))
    equal = int(np.count_nonzero(presolved.lower == presolved.upper))
    has_objective = bool(functions.objective_linear.any()) or any((f.rows < 0).any() for f in functions.families)
    return max(equal - free + has_objective, 0)


class _WithIdleVariables:
    """The same functions of some more variables, the last ones, which do nothing but make up for missing freedom."""

    def __init__(self, functions: Functions, count: int) -> None:
        self._functions, self._count = functions, count
        self.jacobian_rows, self.jacobian_columns = functions.jacobian_rows, functions.jacobian_columns
        self.hessian_rows, self.hessian_columns = functions.hessian_rows, functions.hessian_columns

    def objective(self, x: np.ndarray) -> float:
        return self._functions.objective(x[: -self._count])

    def gradient(self, x: np.ndarray) -> np.ndarray:
        return np.append(self._functions.gradient(x[: -self._count]), np.zeros(self._count))

    def constraints(self, x: np.ndarray) -> np.ndarray:
        return self._functions.constraints(x[: -self._count])

    def jacobian(self, x: np.ndarray) -> np.ndarray:
        return self._functions.jacobian(x[: -self._count])

    def hessian(self, x: np.ndarray, multipliers: np.ndarray, objective_factor: float) -> np.ndarray:
        return self._functions.hessian(x[: -self._count], multipliers, objective_factor)


class _Callbacks:
    """cyipopt's protocol over :class:`~bcfl_opt.nlp.program.Functions`."""

    def __init__(
        self,
        functions: Functions | _WithIdleVariables,
        presolved: Presolved | Eliminated,
        bounds: tuple[np.ndarray, np.ndarray],
        tail: _Tail | None,
    ) -> None:
        self.objective: Callable[[np.ndarray], float] = functions.objective
        self.constraints, self.jacobian, self.hessian = functions.constraints, functions.jacobian, functions.hessian
        self.iterations, self.tail = 0, tail
        self.diverged: np.ndarray | None = None
        self.history: list[tuple[float, ...]] = []
        self._functions, self._bounds, self._sides = functions, bounds, (presolved.lower, presolved.upper)
        self._iterates: list[np.ndarray] = []  # the first, and the last
        self._told: Callable[[np.ndarray], float] | None = None

    def tell(self, objective: Callable[[np.ndarray], float]) -> None:
        """What the history is to tell of an iterate."""
        self._told = objective

    def follow(self, x: np.ndarray) -> None:
        """Does the objective improve without limit from here on?"""
        self.diverged = runaway(self._functions, self._bounds, self._sides, x, self._iterates[0])

    def gradient(self, x: np.ndarray) -> np.ndarray:
        self._iterates[1:] = [x.copy()]
        return self._functions.gradient(x)

    def jacobianstructure(self) -> tuple[np.ndarray, np.ndarray]:
        return self._functions.jacobian_rows, self._functions.jacobian_columns

    def hessianstructure(self) -> tuple[np.ndarray, np.ndarray]:
        return self._functions.hessian_rows, self._functions.hessian_columns

    def intermediate(
        self,
        mode: int,
        iteration: int,
        objective: float,
        primal: float,
        dual: float,
        barrier: float,
        step_norm: float,
        regularisation: float,
        dual_length: float,
        primal_length: float,
        trials: int,
    ) -> bool:
        self.iterations = iteration
        told = objective if self._told is None or not self._iterates else self._told(self._iterates[-1])
        self.history.append((iteration, told, primal, dual, barrier, primal_length))
        if objective < -DIVERGED and primal <= 1e-6:
            self.diverged = self._iterates[-1]
        elif iteration >= FOLLOWED and (iteration // FOLLOWED).bit_count() == 1 and iteration % FOLLOWED == 0:
            first = self.objective(self._iterates[0])
            if first - objective > 1e3 * abs(first):
                self.follow(self._iterates[-1])
        if self.tail is not None:
            self.tail.read()
        return self.diverged is None


class _Tail:
    """Passes what is new in a growing file on to streams."""

    def __init__(self, path: Path, streams: Sequence[TextIO]) -> None:
        self._path, self._streams, self._place = path, streams, 0

    def read(self) -> None:
        if not self._path.exists():
            return
        with self._path.open(errors="replace") as file:
            file.seek(self._place)
            text = file.read()
            self._place = file.tell()
        for stream in self._streams:
            stream.write(text)
            stream.flush()


def _nothing_to_choose(presolved: Presolved | Eliminated, x: np.ndarray, begin: float) -> Outcome:
    """No free variable: the point is given, and the only question is whether the constraints hold there.

    Fixed variables' multipliers absorb the gradient, so with all rows at multiplier 0 the point is stationary.
    """
    functions = presolved.functions
    gradient = functions.gradient(x)
    multipliers = presolved.restore(
        x, np.zeros(len(presolved.lower)), np.maximum(gradient, 0.0), np.maximum(-gradient, 0.0)
    )
    g = functions.constraints(x)
    size = 1e-9 * np.maximum(1.0, np.abs(g))
    holds = bool(np.all((g >= presolved.lower - size) & (g <= presolved.upper + size)))
    status = Status.SOLVED if holds else Status.INFEASIBLE
    detail = "" if holds else "every variable is fixed, and a constraint does not hold there"
    return Outcome(status, detail, presolved.back(x), multipliers, 0, "", time.perf_counter() - begin)
