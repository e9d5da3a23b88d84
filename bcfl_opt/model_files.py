"""How does a model leave Python? As NL, which solvers read, or as LaTeX, which people read; with every change made to it."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator, Sequence
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
    .tex : a document for LaTeX: objective, constraints by name, bounds; followers (Blocks with an objective of their own) after
        the leader. Named expressions are written out, numbers rounded
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
    _check_pyomo(model, "write_model")
    if choice("ending of a model's file", path.suffix.lower(), (".nl", ".tex")) == ".nl":
        _write_nl(model, path, overwrite)
        return
    text = _document(model, path.stem)
    with new_file(path, overwrite=overwrite) as (partial,):
        partial.write_text(text, encoding="utf-8")


#: Text without braces of its own; escaped ones are letters.
_PLAIN = r"(?:\\.|[^{}\\])*"


@dataclasses.dataclass(frozen=True, slots=True, repr=False)
class ModelText:
    """A model as a text. latex : LaTeX of its programme, an align environment. A notebook shows it as formulas."""

    latex: str

    def __repr__(self) -> str:
        return self.latex

    def _repr_latex_(self) -> str:
        # Notebooks take formulas and not documents: names stand in math mode, and in \texttt and \text "_" is a letter.
        math = re.sub(rf"\\text{{(\\texttt{{{_PLAIN}}})}}", r"\1", self.latex)
        math = re.sub(rf"\\text(tt)?{{{_PLAIN}}}", lambda found: found.group().replace(r"\_", "_"), math)
        return f"$$\n{math}\n$$"


def show_model(model: BlockData) -> ModelText:
    """A Pyomo model as it is now, as formulas: what was deactivated is left out, what was added is in.

    Parameters
    ----------
    model : as for :func:`write_model`.

    Returns
    -------
    ModelText, which a notebook shows as formulas and a terminal as LaTeX.

    Raises
    ------
    InputError, ModelError, SolverMissingError : as :func:`write_model` with .tex.
    """
    _check_pyomo(model, "show_model")
    return ModelText("\\begin{align*}\n" + " \\\\\n".join(_programme(model)) + "\n\\end{align*}")


def _check_pyomo(model: Any, function: str) -> None:
    if isinstance(model, ConvexModel) or type(model).__module__.startswith("cvxpy"):
        raise InputError(
            "CVXPY models cannot be written as NL or LaTeX: no library does that; build the same problem in Pyomo "
            "(bcfl_opt.models.problem1_pyomo and so on) and write that"
        )
    if not any(kind.__module__.startswith("pyomo.") for kind in type(model).__mro__):
        raise InputError(f"{function} takes a Pyomo model, not {shown(model)}")


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
    heading = f"{_escaped(title)}: {_escaped(model.name)}"
    return _DOCUMENT % {"digits": DIGITS, "heading": heading, "lines": " \\\\\n".join(_programme(model))}


def _programme(model: BlockData) -> list[str]:
    """Rows of an align environment: the model's own programme, then the one of each Block that has an objective of its own."""
    require("sympy")
    from pyomo.core.base.constraint import Constraint
    from pyomo.core.base.objective import Objective
    from pyomo.core.base.var import Var

    rows = {kind: list(model.component_data_objects(kind, active=True)) for kind in (Objective, Constraint, Var)}
    count = len(rows[Constraint])
    if count > READABLE:
        raise InputError(
            f"{model.name} has {count} constraints; LaTeX is for people, who read at most {READABLE}. Write .nl, "
            "or build the model for fewer clients"
        )
    # A leader with an objective has followers: what stands in a Block with an objective of its own is that Block's to decide.
    owners = {id(objective.parent_block()): objective.parent_block() for objective in rows[Objective]}
    programmes = {id(model): model, **owners} if id(model) in owners else {id(model): model}
    parts: dict[int, dict[type, list[Any]]] = {k: {kind: [] for kind in rows} for k in programmes}
    for kind, components in rows.items():
        for component in components:
            block = component.parent_block()
            while id(block) not in programmes:
                block = block.parent_block()
            parts[id(block)][kind].append(component)
    lines = _Lines()
    for k, block in programmes.items():
        if block is not model:
            lines.say(block.name)
        for objective in parts[k][Objective]:
            lines.add(r"\max\quad" if objective.sense < 0 else r"\min\quad", objective.name, [objective.expr])
        for first, constraint in enumerate(parts[k][Constraint]):
            low, body, high = constraint.to_bounded_expression(evaluate_bounds=True)
            lines.add("" if first else r"\text{s.t.}\quad", constraint.name, _relation(low, body, high))
        for first, (name, low, variable, high) in enumerate(_bounds(parts[k][Var])):
            lines.add("" if first else r"\text{where}\quad", name, _relation(low, variable, high))
    return lines.texts


def _relation(low: float | None, body: Any, high: float | None) -> list[Any]:
    if low is not None and low == high:
        return [body, "=", low]
    return [*([] if low is None else [low, r"\le"]), body, *([] if high is None else [r"\le", high])]


def _bounds(variables: Iterable[Any]) -> Iterator[tuple[str, float | None, Any, float | None]]:
    for variable in variables:
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

    def say(self, name: str) -> None:
        """A row that says whose programme follows."""
        self.texts.append(f"\\text{{where the follower }} & \\text{{\\texttt{{{_escaped(name)}}}}}\\text{{ solves}}")

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
