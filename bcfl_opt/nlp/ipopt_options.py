"""Which options does IPOPT know, and which values does each take? Asked before the solve, so that a typing error is told.

The table ``data/ipopt_options.txt`` is IPOPT's own documentation, one option a line: name, kind, and what is allowed,
made by ``python -m bcfl_opt.nlp.ipopt_options`` and compared with the installed IPOPT by the tests.
"""

from __future__ import annotations

import difflib
import functools
import importlib.resources
import numbers
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bcfl_opt.errors import InputError, unknown_name

#: Options whose values depend on how IPOPT was built, and prefixes of options that only some builds have: IPOPT decides.
BUILD = ("linear_solver", "linear_system_scaling")
BUILD_PREFIXES = ("spral_", "pardisomkl_", "wsmp_")
#: Left out of IPOPT's documentation: whether the banner is left out.
UNDOCUMENTED = "sb string yes no\n"
HEADER = "# name kind allowed; IPOPT's own documentation, by python -m bcfl_opt.nlp.ipopt_options\n"


class Option(NamedTuple):
    """kind : real, integer or string. allowed : an interval like ``[0,inf)``, or values; "*" is any text."""

    kind: str
    allowed: tuple[str, ...]


@functools.cache
def known() -> Mapping[str, Option]:
    """Name -> :class:`Option` of every option of IPOPT."""
    text = importlib.resources.files("bcfl_opt").joinpath("data", "ipopt_options.txt").read_text(encoding="utf-8")
    lines = [line.split() for line in text.splitlines() if line and not line.startswith("#")]
    return {name: Option(kind, tuple(allowed)) for name, kind, *allowed in lines}


def validated(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options as IPOPT takes them: int, float or str.

    Raises
    ------
    InputError : an unknown name (with the nearest known one), or a value the option does not take.
    """
    return {name: _validated(name, setting) for name, setting in options.items()}


def refuse_crashes(options: Mapping[str, Any], *, quadratic: bool) -> None:
    """Raises InputError for an option that can end the whole process on a programme like this.

    quadratic : the programme is linear or quadratic.
    """
    if not quadratic and str(options.get("mehrotra_algorithm", "no")) == "yes":
        raise InputError(
            "IPOPT option mehrotra_algorithm=yes is meant for linear and quadratic programmes; on others, and this is one, IPOPT "
            "can crash and take the process with it. Leave it out"
        )


def _validated(name: str, setting: Any) -> int | float | str:
    plain = str(name).rsplit(".", 1)[-1]  # "resto.tol" is tol in the restoration phase
    option = known().get(plain)
    if option is None:
        if plain.startswith(BUILD_PREFIXES) and isinstance(setting, int | float | str):
            return setting
        nearest = difflib.get_close_matches(plain, known(), n=5, cutoff=0.0)
        raise InputError(f"{unknown_name('IPOPT option', name, nearest)} These are the nearest of {len(known())}.")
    setting = setting.item() if isinstance(setting, np.generic) else setting
    if option.kind == "string":
        setting = ("yes" if setting else "no") if isinstance(setting, bool) else setting
        if not isinstance(setting, str):
            raise InputError(f"IPOPT option {name} takes text, not {setting!r}")
        if "*" not in option.allowed and plain not in BUILD and setting.lower() not in map(str.lower, option.allowed):
            raise InputError(unknown_name(f"value of IPOPT option {name}", setting, option.allowed))
        return setting
    number = isinstance(setting, numbers.Real) and not isinstance(setting, bool)
    whole = number and float(setting).is_integer()
    if not number or (option.kind == "integer" and not whole) or not _inside(float(setting), option.allowed[0]):
        what = "a whole number" if option.kind == "integer" else "a number"
        raise InputError(f"IPOPT option {name} takes {what} in {option.allowed[0]}, not {setting!r}")
    return int(setting) if option.kind == "integer" else float(setting)


def _inside(number: float, interval: str) -> bool:
    low, high = (float(end) for end in interval[1:-1].split(","))
    above = number >= low if interval[0] == "[" else number > low
    return above and (number <= high if interval[-1] == "]" else number < high)


# ---------------------------------------------------------------------------------- the table, made anew


def table() -> str:
    """The table, from the documentation that the installed IPOPT writes."""
    lines = []
    for part in _documentation().split("\\anchor OPT_")[1:]:
        name = part.split()[0]
        string = "for this string option" in part
        kind = "string" if string else "integer" if "for this integer option" in part else "real"
        lines.append(f"{name} {kind} {_values(part) if string else _interval(name, part)}\n")
    return HEADER + "".join(sorted({*lines, UNDOCUMENTED}))


def _values(text: str) -> str:
    values = text.split("Possible values:")[1].split("</blockquote>")[0]
    if ": " in values or "*" in values:
        return " ".join(re.findall(r"^ - (\S+?)(?::|$)", values, flags=re.MULTILINE))
    return " ".join(values.replace(",", " ").split())


def _interval(name: str, text: str) -> str:
    """From "0 < tol", "0 &le; file_print_level &le; 12" or "unrestricted"."""
    match = re.search(r"valid range for this \w+ option is (.*?) and its default", text, flags=re.DOTALL)
    assert match is not None, f"IPOPT documents {name} in another way than expected"
    said = re.sub(r"10<sup>([+-]?\d+)</sup>", r"1e\1", match[1].replace("&le;", "<="))
    left, right = "(-inf", "inf)"
    before, _, after = said.partition(name)
    if low := re.search(r"(\S+) *(<=?) *$", before):
        left = f"{'[' if low[2] == '<=' else '('}{float(low[1]):g}"
    if high := re.search(r"^ *(<=?) *(\S+)", after):
        right = f"{float(high[2]):g}{']' if high[1] == '<=' else ')'}"
    return f"{left},{right}"


def _documentation() -> str:
    """What IPOPT writes with ``print_options_documentation``: only possible while it solves something."""
    import cyipopt

    class Parabola:
        def objective(self, x: np.ndarray) -> float:
            return float(x[0] ** 2)

        def gradient(self, x: np.ndarray) -> np.ndarray:
            return 2.0 * x

    problem = cyipopt.Problem(n=1, m=0, problem_obj=Parabola(), lb=[-1.0], ub=[1.0], cl=[], cu=[])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "documentation.txt"
        for name, setting in {
            "sb": "yes",
            "print_level": 0,
            "output_file": str(path),
            "file_print_level": 5,
            "hessian_approximation": "limited-memory",
            "print_options_documentation": "yes",
            "print_options_mode": "doxygen",
            "print_advanced_options": "yes",
        }.items():
            problem.add_option(name, setting)
        problem.solve(np.array([0.5]))
        problem.close()
        return path.read_text(encoding="utf-8", errors="replace")


if __name__ == "__main__":
    print(table(), end="")
