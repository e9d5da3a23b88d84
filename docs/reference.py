"""How do docstrings become pages? A hook of mkdocs: one page for each part of the package, docstrings as they are written.

Programmes, shapes and units are laid out by hand in the docstrings, so they are shown as text and not parsed.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

import bcfl_opt
import bcfl_opt.models

#: Page -> what is on it: names of ``bcfl_opt``, or modules with their public names.
PAGES: dict[str, tuple[str, ...]] = {
    "The game": ("Population", "Game"),
    "Exact answers": ("best_response", "equilibrium"),
    "Solving": ("solve", "Solution", "Status", "Quality", "Certificate", "explain"),
    "Leaders and followers": ("solve_bilevel", "BilevelRecord"),
    "Models as texts": ("show_model", "write_model"),
    "Judging": ("cross_check", "CrossCheck", "reevaluate", "Reevaluation", "closed_form", "paper"),
    "Incentives": ("audit", "Audit", "design_menu", "Menu", "Screening"),
    "Sweeps and large populations": ("sweep", "partitioned"),
    "Pictures": ("plots",),
    "Errors": ("BcflOptError", "InputError", "ModelError", "SolverMissingError", "NoSolutionError"),
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    for title, names in PAGES.items():
        parts = [f"# {title}"]
        for name in names:
            parts += _described(name, getattr(bcfl_opt, name))
        files.append(File.generated(config, f"reference/{_slug(title)}.md", content="\n\n".join(parts)))
    models = [
        importlib.import_module(f"bcfl_opt.models.{info.name}")
        for info in pkgutil.iter_modules(bcfl_opt.models.__path__)
    ]
    parts = ["# Models", _text(bcfl_opt.models)]
    for module in models:
        name = module.__name__.rpartition(".")[2]
        if not name.startswith("_"):
            parts += _described(f"models.{name}", module)
    files.append(File.generated(config, "reference/models.md", content="\n\n".join(parts)))
    return files


def undocumented() -> list[str]:
    """Public names that are on no page, or have no docstring."""
    listed = {name for names in PAGES.values() for name in names} | {"models"}
    missing = [name for name in bcfl_opt.__all__ if name not in listed]
    for name in listed:
        value = getattr(bcfl_opt, name)
        missing += [f"{name}.{inner}".removesuffix(".") for inner, part in _parts(value) if not inspect.getdoc(part)]
    return sorted(missing)


def _described(name: str, value: Any) -> list[str]:
    parts = [f"## {name}", _text(value, name.rpartition(".")[2])]
    for inner, part in _parts(value)[1:]:
        parts += [f"### {name}.{inner}", _text(part, inner)]
    return parts


def _parts(value: Any) -> list[tuple[str, Any]]:
    """The thing itself under the name "", then its public members."""
    members = [("", value)]
    if inspect.ismodule(value):
        for name, part in vars(value).items():
            own = getattr(part, "__module__", "").startswith(value.__name__)
            if not name.startswith("_") and own and (inspect.isfunction(part) or inspect.isclass(part)):
                members.append((name, part))
    elif inspect.isclass(value) and not issubclass(value, Exception):
        for name, part in vars(value).items():
            if not name.startswith("_") and (inspect.isfunction(part) or isinstance(part, property | classmethod)):
                members.append((name, part.__func__ if isinstance(part, classmethod) else part))
    return members


def _text(value: Any, name: str = "") -> str:
    """Signature and docstring, as they are written."""
    lines = []
    if callable(value) and not isinstance(value, type):
        lines.append(f"{name}{inspect.signature(value)}")
    doc = inspect.getdoc(value) or ""
    return "\n".join(["```text", *lines, *([""] if lines else []), doc, "```"])


def _slug(title: str) -> str:
    return title.lower().replace(" ", "-")
