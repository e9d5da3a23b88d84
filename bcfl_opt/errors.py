"""What can go wrong, in words a user can act on.

Every error of the package is a :class:`BcflOptError`; children also inherit the builtin a Python user would catch.
"""

from __future__ import annotations

import difflib
import importlib.util
from collections.abc import Iterable

#: What to type where a module is missing. Its version bounds stand in the package's own requirements.
INSTALL = {
    "casadi": "pip install casadi",
    "clarabel": "pip install clarabel",
    "cvxpy": "pip install cvxpy",
    "cyipopt": "pip install 'cyipopt-wheels>=1.7.0.dev0' (bundles IPOPT), or cyipopt where IPOPT is installed already",
    "mpmath": "pip install mpmath",
    "pyomo": "pip install pyomo",
    "sparsediffpy": "pip install sparsediffpy",
    "sympy": "pip install sympy",
    "xarray": "pip install xarray",
}


class BcflOptError(Exception):
    """Base of every error this package raises on purpose."""


class InputError(BcflOptError, ValueError):
    """The data or an argument cannot be used as given; the text names the place, the value and the mend."""


class ModelError(BcflOptError, ValueError):
    """A model cannot be solved as written; the text names the component and what to change."""


class SolverMissingError(BcflOptError, RuntimeError):
    """A solver, or another library that something needs, is not installed; the text says how to install it."""


class NoSolutionError(BcflOptError, RuntimeError):
    """Values were asked of a solve that did not succeed."""


def missing(modules: Iterable[str]) -> list[str]:
    """Those of ``modules`` that are not installed; probed without importing them."""
    return [name for name in modules if importlib.util.find_spec(name) is None]


def require(*modules: str) -> None:
    """Raise :class:`SolverMissingError`, with what to type, if one of ``modules`` is not installed."""
    for name in missing(modules):
        raise SolverMissingError(f"{name} is not installed: {INSTALL[name]}")


def unknown_name(kind: str, name: object, known: Iterable[str]) -> str:
    """One sentence for an unknown name: what was given, the nearest known name, and all known names.

    >>> unknown_name("form", "tme", ["time", "speed"])
    "unknown form 'tme': did you mean 'time'? Known: 'time', 'speed'."
    """
    known = list(known)
    near = difflib.get_close_matches(str(name), known, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"unknown {kind} {shown(name)}: {hint}Known: {', '.join(repr(k) for k in known)}."


def shown(value: object) -> str:
    """A value in a message: one short line.

    >>> shown(10**400)
    '100000000000000000000000000000000000000000000000000000000000 ... (401 characters)'
    """
    if type(value).__module__ == "numpy" and getattr(value, "ndim", 1) == 0:
        value = value.item()  # type: ignore[attr-defined]
    text = " ".join(repr(value).split())
    return text if len(text) <= 80 else f"{text[:60]} ... ({len(text)} characters)"


def choice(kind: str, name: object, known: Iterable[str]) -> str:
    """Return ``name`` if it is one of ``known``, else raise :class:`InputError` with a did-you-mean."""
    known = list(known)
    if not isinstance(name, str) or name not in known:
        raise InputError(unknown_name(kind, name, known))
    return name


def listing(items: Iterable[object], limit: int = 5) -> str:
    """Join items for a message, shortened to ``limit`` with the count of the rest.

    >>> listing(["a", "b", "c"], limit=2)
    "'a', 'b' and 1 more"
    """
    items = list(items)
    text = ", ".join(repr(item) for item in items[:limit])
    return text + (f" and {len(items) - limit} more" if len(items) > limit else "")
