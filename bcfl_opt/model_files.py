"""How does a model leave Python? As NL, which solvers read, or as LaTeX, which people read; with every change made to it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bcfl_opt.context import ConvexModel
from bcfl_opt.errors import InputError, ModelError, choice, require, shown
from bcfl_opt.files import new_file

if TYPE_CHECKING:
    import sympy
    from pyomo.core.base.block import BlockData

#: More rows than these nobody reads.
READABLE = 5000
#: Significant digits of numbers in LaTeX.
DIGITS = 6


def write_model(model: BlockData, path: str | PathLike[str], *, overwrite: bool = False) -> None:
    """Write a Pyomo model to ``path``, as it is now: what was deactivated is left out, what was added is in.

    .nl : by Pyomo's own writer, for any solver that reads NL; NAME.row and NAME.col beside it hold the names of constraints
        and variables. All digits of all numbers.
    .tex : a document for LaTeX: objective, constraints by name, bounds. Named expressions are written out, numbers rounded
        to six digits, terms in the order that sympy (which is needed for it) gives them.

    Parameters
    ----------
    model : a model of :mod:`bcfl_opt.models` in Pyomo, changed as you like, or any other Pyomo model or block.
    overwrite : replace files that exist.

    Raises
    ------
    InputError : not a Pyomo model; another ending; a file exists and ``overwrite`` is not given; it cannot be written.
    ModelError : a component cannot be written in that format; names it.
    SolverMissingError : sympy is not installed.
    """
    path = Path(path)
    if isinstance(model, ConvexModel) or type(model).__module__.startswith("cvxpy"):
        raise InputError(
            "CVXPY models cannot be written as NL or LaTeX: no library does that; build the same problem in Pyomo "
            "(bcfl_opt.models.problem1_pyomo and so on) and write that"
        )
    if not any(kind.__module__.startswith("pyomo.") for kind in type(model).__mro__):
        raise InputError(f"write_model takes a Pyomo model, not {shown(model)}")
    if choice("ending of a model's file", path.suffix.lower(), (".nl", ".tex")) == ".nl":
        _write_nl(model, path, overwrite)
        return
    text = _document(model, path.stem)
    with new_file(path, overwrite=overwrite) as (partial,):
        partial.write_text(text, encoding="utf-8")


#: By default Pyomo would eliminate variables, apply scaling suffixes and drop constant rows.
_AS_IT_STANDS = {"linear_presolve": False, "scale_model": False, "skip_trivial_constraints": False}


def _write_nl(model: BlockData, path: Path, overwrite: bool) -> None:
    from pyomo.repn.plugins.nl_writer import NLWriter

    with new_file(path, path.with_suffix(".row"), path.with_suffix(".col"), overwrite=overwrite) as partials:
        nl, row, col = partials
        try:
            with nl.open("w", newline="\n", encoding="ascii") as stream:
                written = NLWriter().write(model, stream, **_AS_IT_STANDS)
        except OSError:
            raise
        except Exception as error:  # Pyomo has no class of its own for what it cannot write
            raise ModelError(f"Pyomo cannot write {model.name} as NL: {' '.join(str(error).split())}") from error
        # By Pyomo's own option the names would come as comments in the NL file too, which some readers refuse.
        row.write_text(_names([*written.constraints, *written.objectives]), encoding="utf-8")
        col.write_text(_names(written.variables), encoding="utf-8")


def _names(components: Sequence[Any]) -> str:
    return "".join(f"{component.name}\n" for component in components)


# ---------------------------------------------------------------------- LaTeX

_DOCUMENT = r"""%% numbers are rounded to %(digits)d significant digits; NL files hold all digits
\documentclass{article}
\usepackage{amsmath,amssymb}
\usepackage[margin=2cm]{geometry}
\allowdisplaybreaks
\begin{document}
\section*{%(heading)s}
\begin{align*}
%(lines)s
\end{align*}
\end{document}
"""
_SPECIAL = {
    **{letter: f"\\{letter}" for letter in "#$%&_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
}


def _document(model: BlockData, title: str) -> str:
    require("sympy")
    from pyomo.core.base.constraint import Constraint
    from pyomo.core.base.objective import Objective

    objectives = list(model.component_data_objects(Objective, active=True))
    constraints = list(model.component_data_objects(Constraint, active=True))
    if len(constraints) > READABLE:
        raise InputError(
            f"{model.name} has {len(constraints)} constraints; LaTeX is for people, who read at most {READABLE}. Write .nl, "
            "or build the model for fewer clients"
        )
    lines = _Lines()
    for objective in objectives:
        lines.add(r"\max\quad" if objective.sense < 0 else r"\min\quad", objective.name, [objective.expr])
    for k, constraint in enumerate(constraints):
        low, body, high = constraint.to_bounded_expression(evaluate_bounds=True)
        lines.add(r"\text{s.t.}\quad" if k == 0 else "", constraint.name, _relation(low, body, high))
    for k, (name, low, variable, high) in enumerate(_bounds(model)):
        lines.add(r"\text{where}\quad" if k == 0 else "", name, _relation(low, variable, high))
    heading = f"{_escaped(title)}: {_escaped(model.name)}"
    return _DOCUMENT % {"digits": DIGITS, "heading": heading, "lines": " \\\\\n".join(lines.texts)}


def _relation(low: float | None, body: Any, high: float | None) -> list[Any]:
    if low is not None and low == high:
        return [body, "=", low]
    return [*([] if low is None else [low, r"\le"]), body, *([] if high is None else [r"\le", high])]


def _bounds(model: BlockData) -> Iterator[tuple[str, float | None, Any, float | None]]:
    from pyomo.core.base.var import Var

    for variable in model.component_data_objects(Var, active=True):
        if variable.fixed:
            yield variable.name, variable.value, variable, variable.value
        elif variable.lb is not None or variable.ub is not None:
            yield variable.name, variable.lb, variable, variable.ub


class _Lines:
    """Rows of an align environment: what it is, the formula, the component's name."""

    def __init__(self) -> None:
        from pyomo.core.expr.sympy_tools import PyomoSympyBimap

        self.texts: list[str] = []
        self._symbols = PyomoSympyBimap()
        self._names: dict[sympy.Symbol, str] = {}

    def add(self, mark: str, name: str, parts: list[Any]) -> None:
        formula = " ".join(part if isinstance(part, str) else self._formula(name, part) for part in parts)
        self.texts.append(f"{mark} & {formula} && \\text{{\\texttt{{{_escaped(name)}}}}}")

    def _formula(self, name: str, expression: Any) -> str:
        import sympy
        from pyomo.core.expr.sympy_tools import Pyomo2SympyVisitor

        try:
            found = sympy.sympify(Pyomo2SympyVisitor(self._symbols).walk_expression(expression))
        except Exception as error:  # sympy_tools raises KeyError and others for what it does not know
            raise ModelError(f"{name} cannot be written as LaTeX: {' '.join(str(error).split())}") from error
        for symbol in found.free_symbols - set(self._names):
            self._names[symbol] = _symbol(self._symbols.getPyomoSymbol(symbol))
        rounded = found.xreplace({number: _rounded(number) for number in found.atoms(sympy.Float)})
        settings = {"symbol_names": self._names, "full_prec": False, "mul_symbol": r"\,"}
        terms = [sympy.latex(term, **settings) for term in sympy.Add.make_args(rounded)]
        signed = [term if k == 0 or term.startswith("-") else f"+ {term}" for k, term in enumerate(terms)]
        lines = [" ".join(signed[k : k + 3]) for k in range(0, len(signed), 3)]
        return " \\\\\n & \\quad ".join(lines)


def _rounded(number: sympy.Float) -> sympy.Expr:
    import sympy

    whole = float(number).is_integer() and abs(number) < 10**DIGITS
    return sympy.Integer(int(number)) if whole else sympy.Float(number, DIGITS)


def _symbol(variable: Any) -> str:
    component = variable.parent_component()
    name = f"\\mathit{{{_escaped(component.name)}}}"
    if component is variable:
        return name
    index = variable.index()
    label = ", ".join(map(str, index)) if isinstance(index, tuple) else str(index)
    return f"{name}_{{\\text{{{_escaped(label)}}}}}"


def _escaped(text: str) -> str:
    printable = "".join(letter if letter.isprintable() else "?" for letter in text)
    return re.sub(r"[#$%&_{}\\~^]", lambda found: _SPECIAL[found.group()], printable)
