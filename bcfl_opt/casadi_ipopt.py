"""How does a programme reach the IPOPT inside CasADi's wheel? cyipopt's protocol over IPOPT's C interface.

CasADi ships a newer IPOPT with a newer MUMPS than cyipopt's wheel, which needs about a third of the time per iteration. Its
own interface takes CasADi's functions only; the library beside it takes anybody's callbacks.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bcfl_opt.errors import SolverMissingError

#: What the library is called in CasADi's wheels for Linux, macOS and Windows.
LIBRARIES = ("libipopt.so.3", "libipopt.3.dylib", "libipopt-3.dll")

_POINTER, _INDEX, _NUMBER, _TRUTH = ctypes.c_void_p, ctypes.c_int, ctypes.c_double, ctypes.c_bool
_FUNCTION = ctypes.CFUNCTYPE
_OBJECTIVE = _FUNCTION(_TRUTH, _INDEX, _POINTER, _TRUTH, _POINTER, _POINTER)
_GRADIENT = _OBJECTIVE
_CONSTRAINTS = _FUNCTION(_TRUTH, _INDEX, _POINTER, _TRUTH, _INDEX, _POINTER, _POINTER)
_JACOBIAN = _FUNCTION(_TRUTH, _INDEX, _POINTER, _TRUTH, _INDEX, _INDEX, _POINTER, _POINTER, _POINTER, _POINTER)
_HESSIAN = _FUNCTION(
    _TRUTH,
    *(_INDEX, _POINTER, _TRUTH, _NUMBER, _INDEX, _POINTER, _TRUTH),
    *(_INDEX, _POINTER, _POINTER, _POINTER, _POINTER),
)
_INTERMEDIATE = _FUNCTION(_TRUTH, _INDEX, _INDEX, *[_NUMBER] * 8, _INDEX, _POINTER)

#: IPOPT's sentences by return code, as cyipopt gives them (IpReturnCodes_inc.h).
MESSAGES = {
    0: "Algorithm terminated successfully at a locally optimal point",
    1: "Algorithm stopped at a point that was converged, not to desired tolerances, but to acceptable tolerances",
    2: "Algorithm converged to a point of local infeasibility. Problem may be infeasible",
    3: "Algorithm proceeds with very little progress",
    4: "It seems that the iterates diverge",
    5: "The user call-back function intermediate_callback returned false",
    6: "Feasible point for square problem found",
    -1: "Maximum number of iterations exceeded",
    -2: "Restoration phase failed, algorithm doesn't know how to proceed",
    -3: "An unrecoverable error occurred while Ipopt tried to compute the search direction",
    -4: "Maximum CPU time exceeded",
    -5: "Maximum wallclock time exceeded",
    -10: "Problem has too few degrees of freedom",
    -11: "Problem definition is invalid",
    -12: "Invalid option",
    -13: "Invalid number in NLP function or derivative detected",
    -100: "Unrecoverable exception",
    -101: "Unknown exception",
    -102: "Not enough memory",
    -199: "Internal error",
}


def path() -> Path | None:
    """The library in the installed CasADi; None where there is none. CasADi itself is not imported."""
    spec = importlib.util.find_spec("casadi")
    folder = None if spec is None or spec.origin is None else Path(spec.origin).parent
    found = [] if folder is None else [folder / name for name in LIBRARIES if (folder / name).is_file()]
    return found[0] if found else None


@functools.cache
def _library() -> ctypes.CDLL:
    found = path()
    if found is None:
        raise SolverMissingError('engine="casadi" needs the IPOPT in CasADi\'s wheel: pip install casadi')
    import casadi  # noqa: F401 (loads the libraries that this one depends on)

    library = ctypes.CDLL(str(found))
    library.CreateIpoptProblem.restype = _POINTER
    library.CreateIpoptProblem.argtypes = [
        *(_INDEX, _POINTER, _POINTER, _INDEX, _POINTER, _POINTER, _INDEX, _INDEX, _INDEX),
        *(_OBJECTIVE, _CONSTRAINTS, _GRADIENT, _JACOBIAN, _HESSIAN),
    ]
    library.FreeIpoptProblem.argtypes, library.FreeIpoptProblem.restype = [_POINTER], None
    library.AddIpoptStrOption.argtypes = [_POINTER, ctypes.c_char_p, ctypes.c_char_p]
    library.AddIpoptIntOption.argtypes = [_POINTER, ctypes.c_char_p, _INDEX]
    library.AddIpoptNumOption.argtypes = [_POINTER, ctypes.c_char_p, _NUMBER]
    library.SetIpoptProblemScaling.argtypes = [_POINTER, _NUMBER, _POINTER, _POINTER]
    library.SetIntermediateCallback.argtypes = [_POINTER, _INTERMEDIATE]
    library.IpoptSolve.argtypes, library.IpoptSolve.restype = [_POINTER] * 8, _INDEX
    for name in ("AddIpoptStrOption", "AddIpoptIntOption", "AddIpoptNumOption"):
        getattr(library, name).restype = _TRUTH
    library.SetIpoptProblemScaling.restype = library.SetIntermediateCallback.restype = _TRUTH
    return library


@functools.cache
def version() -> str:
    """IPOPT's version there."""
    numbers = [_INDEX() for _ in range(3)]
    _library().GetIpoptVersion(*(ctypes.byref(number) for number in numbers))
    return ".".join(str(number.value) for number in numbers)


class Problem:
    """``cyipopt.Problem`` on that library: the same arguments, methods and callbacks, as far as we use them.

    An exception in a callback stops IPOPT and is raised from :meth:`solve`.
    """

    def __init__(
        self, n: int, m: int, problem_obj: Any, lb: np.ndarray, ub: np.ndarray, cl: np.ndarray, cu: np.ndarray
    ) -> None:
        self._library, self._callbacks, self._n, self._m = _library(), problem_obj, n, m
        self._error: BaseException | None = None
        jacobian_entries, hessian_entries = problem_obj.jacobianstructure(), problem_obj.hessianstructure()
        jacobian = functools.partial(self._matrix, entries=jacobian_entries)
        hessian = functools.partial(self._matrix, entries=hessian_entries)
        self._kept = (  # the library holds no reference to what it calls
            _OBJECTIVE(self._guarded(self._objective)),
            _CONSTRAINTS(self._guarded(self._constraints)),
            _GRADIENT(self._guarded(self._gradient)),
            _JACOBIAN(
                self._guarded(
                    lambda n, x, new, m, k, rows, columns, values, user: jacobian(
                        rows, columns, values, lambda: problem_obj.jacobian(self._x(x))
                    )
                )
            ),
            _HESSIAN(
                self._guarded(
                    lambda n, x, new, factor, m, multipliers, new_m, k, rows, columns, values, user: hessian(
                        rows,
                        columns,
                        values,
                        lambda: problem_obj.hessian(self._x(x), _view(multipliers, self._m), factor),
                    )
                )
            ),
        )
        self._intermediate = _INTERMEDIATE(self._guarded(lambda *given: problem_obj.intermediate(*given[:-1])))
        arrays = [np.ascontiguousarray(bounds, dtype=float) for bounds in (lb, ub, cl, cu)]
        low, high, row_low, row_high = (_address(array) for array in arrays)
        sizes = len(jacobian_entries[0]), len(hessian_entries[0])
        self._problem = self._library.CreateIpoptProblem(n, low, high, m, row_low, row_high, *sizes, 0, *self._kept)
        if not self._problem:
            raise ValueError("IPOPT refuses the problem: inconsistent sizes or bounds")
        self._library.SetIntermediateCallback(self._problem, self._intermediate)

    def add_option(self, name: str, value: Any) -> None:
        """Set one of IPOPT's options; TypeError where it refuses."""
        key = name.encode()
        if isinstance(value, str):
            accepted = self._library.AddIpoptStrOption(self._problem, key, value.encode())
        elif isinstance(value, int | np.integer) and not isinstance(value, bool):
            accepted = self._library.AddIpoptIntOption(self._problem, key, int(value))
        else:
            accepted = self._library.AddIpoptNumOption(self._problem, key, float(value))
        if not accepted:
            raise TypeError(f"IPOPT refuses {name} = {value!r}")

    def set_problem_scaling(self, obj_scaling: float, x_scaling: np.ndarray, g_scaling: np.ndarray) -> None:
        """Factors of objective, variables and rows, for nlp_scaling_method = user-scaling."""
        x, g = np.ascontiguousarray(x_scaling, dtype=float), np.ascontiguousarray(g_scaling, dtype=float)
        self._library.SetIpoptProblemScaling(self._problem, obj_scaling, _address(x), _address(g))

    def solve(
        self,
        x: np.ndarray,
        lagrange: np.ndarray | None = None,
        zl: np.ndarray | None = None,
        zu: np.ndarray | None = None,
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """The last iterate, and cyipopt's dictionary of the rest: status, status_msg, multipliers."""
        x = np.array(x, dtype=float)
        rows, lower, upper = (
            np.zeros(size) if given is None or not len(given) else np.array(given, dtype=float)
            for given, size in ((lagrange, self._m), (zl, self._n), (zu, self._n))
        )
        objective = np.zeros(1)
        code = self._library.IpoptSolve(
            self._problem,
            _address(x),
            None,
            _address(objective),
            _address(rows),
            _address(lower),
            _address(upper),
            None,
        )
        if self._error is not None:
            raise self._error
        info = {
            "status": code,
            "status_msg": MESSAGES.get(code, f"return code {code}"),
            "mult_g": rows,
            "mult_x_L": lower,
            "mult_x_U": upper,
            "obj_val": float(objective[0]),
        }
        return x, info

    def close(self) -> None:
        """Free what IPOPT holds."""
        if self._problem:
            self._library.FreeIpoptProblem(self._problem)
            self._problem = None

    # ------------------------------------------------------------------ callbacks

    def _guarded(self, function: Callable[..., Any]) -> Callable[..., bool]:
        """An exception must not cross the C code between us and the caller."""

        def call(*given: Any) -> bool:
            if self._error is not None:
                return False
            try:
                return function(*given) is not False
            except BaseException as error:  # also Ctrl-C: raised again by solve
                self._error = error
                return False

        return call

    def _x(self, address: int) -> np.ndarray:
        return _view(address, self._n)

    def _objective(self, n: int, x: int, new: bool, value: int, user: int) -> None:
        _view(value, 1)[0] = self._callbacks.objective(self._x(x))

    def _gradient(self, n: int, x: int, new: bool, values: int, user: int) -> None:
        _view(values, self._n)[:] = self._callbacks.gradient(self._x(x))

    def _constraints(self, n: int, x: int, new: bool, m: int, values: int, user: int) -> None:
        _view(values, self._m)[:] = self._callbacks.constraints(self._x(x))

    @staticmethod
    def _matrix(
        rows: int,
        columns: int,
        values: int | None,
        evaluate: Callable[[], np.ndarray],
        *,
        entries: tuple[np.ndarray, np.ndarray],
    ) -> None:
        """Values of a sparse matrix, or, asked without a place for values, where its entries are."""
        size = len(entries[0])
        if not size:
            return
        if values:
            _view(values, size)[:] = evaluate()
        else:
            for place, entry in zip((rows, columns), entries, strict=True):
                np.ctypeslib.as_array((_INDEX * size).from_address(place))[:] = entry


def _view(address: int, size: int) -> np.ndarray:
    """IPOPT's memory as an array, not copied."""
    return np.ctypeslib.as_array((_NUMBER * size).from_address(address)) if size else np.zeros(0)


def _address(array: np.ndarray) -> int | None:
    return array.ctypes.data if array.size else None
