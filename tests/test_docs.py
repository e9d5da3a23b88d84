"""The documentation: it builds without a warning, every public name is on a page, and every block of Python runs."""

from __future__ import annotations

import enum
import importlib
import inspect
import os
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import bcfl_opt as bo

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted((ROOT / "docs").rglob("*.md"))


def python_blocks(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-P",
            "-m",
            "mkdocs",
            "build",
            "--strict",
            "--quiet",
            "-f",
            str(ROOT / "mkdocs.yml"),
            "-d",
            str(tmp_path),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "reference" / "the-game" / "index.html").read_text(encoding="utf-8")
    assert "The clients of one game." in page
    assert "maximise" in (tmp_path / "reference" / "models" / "index.html").read_text(encoding="utf-8")


def test_every_public_name_is_on_a_page_and_documented(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    import reference

    assert reference.undocumented() == []


def documented(value: object) -> str:
    """All that a reader of this part's page is told: its docstring, those of its bases, and of the build it refers to."""
    texts = [inspect.getdoc(value) or ""]
    if inspect.isclass(value):
        texts += [inspect.getdoc(base) or "" for base in value.__mro__[1:-1]]
    return "\n".join(texts)


def test_every_parameter_and_error_is_documented(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of every public function, method and class: each parameter by name, and that it raises where it does."""
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    import reference

    names = {name for names in reference.PAGES.values() for name in names}
    values = {name: getattr(bo, name) for name in names} | {
        f"models.{info.name}": importlib.import_module(f"bcfl_opt.models.{info.name}")
        for info in pkgutil.iter_modules(importlib.import_module("bcfl_opt.models").__path__)
        if not info.name.startswith("_")
    }
    missing = []
    for name, value in values.items():
        around = documented(value)
        for inner, part in reference._parts(value):
            if not callable(part) or (inspect.isclass(part) and issubclass(part, Exception | enum.Enum)):
                continue
            told = documented(part)
            if "as for :func:`build`" in told:
                told += documented(value.build)
            for parameter in inspect.signature(part).parameters:
                known = re.search(rf"\b{parameter}\b", told + around)
                if parameter not in ("self", "cls") and not parameter.startswith("_") and not known:
                    missing.append(f"{name}.{inner}: parameter {parameter}")
            raises = inspect.isfunction(part) and re.search(r"raise \w+Error", inspect.getsource(part))
            if raises and "Error" not in told + around:
                missing.append(f"{name}.{inner}: what it raises")
    assert missing == []


#: Annotations of what holds many numbers, and words that tell how many and in which order.
ARRAYS = re.compile(r"ndarray|ArrayLike|FloatArray|Series|DataFrame|Dataset")
SHAPES = re.compile(
    r"\(n,?\)|\([nmk], |\([a-z]+, [a-z0-9]+\)|(by|per|a|each) client|by (id|name)|Series|frame|table|one number|columns?|rows?"
    r"|index|dataset|shape",
    re.IGNORECASE,
)


def test_what_holds_many_numbers_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of every public function and method that takes or returns arrays or tables: how they are laid out."""
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    import reference

    seen, silent = 0, []
    for name in sorted({name for names in reference.PAGES.values() for name in names}):
        for inner, part in reference._parts(getattr(bo, name)):
            function = part.fget if isinstance(part, property) else part
            if not callable(function) or (inspect.isclass(part) and issubclass(part, Exception | enum.Enum)):
                continue
            signature = inspect.signature(function)
            annotations = [str(parameter.annotation) for parameter in signature.parameters.values()]
            if any(ARRAYS.search(annotation) for annotation in (*annotations, str(signature.return_annotation))):
                seen += 1
                if not SHAPES.search(documented(part)):
                    silent.append(f"{name}.{inner}")
    assert seen > 30 and silent == []


def test_what_has_a_size_or_a_unit_says_so() -> None:
    """Functions that take numbers of a game name units and shapes; those that state a theorem name their source."""
    for name in ("best_response", "equilibrium", "cross_check", "audit", "design_menu", "Game", "Population"):
        text = documented(getattr(bo, name))
        assert re.search(r"\[money|\[time|money|GHz|Units", text), name
    for name in ("theorem_3_1", "theorem_3_2", "theorem_4_1", "algorithm_1", "algorithm_2"):
        assert re.search(r"Source:|Theorem|Algorithm", documented(getattr(bo.closed_form, name))), name
    for name in ("audit", "design_menu", "best_response", "equilibrium", "cross_check"):
        assert "Source:" in documented(getattr(bo, name)), name


@pytest.mark.parametrize(
    "name", [info.name for info in pkgutil.iter_modules(importlib.import_module("bcfl_opt.models").__path__)]
)
def test_every_model_states_its_programme_its_units_and_its_source(name: str) -> None:
    """Or names the problem of which it is a variant, and what it exchanges."""
    if name.startswith("_"):
        return
    text = importlib.import_module(f"bcfl_opt.models.{name}").__doc__ or ""
    assert re.search(r"maximise|minimise|Problem [123]", text)
    assert re.search(r"\[(money|time|cycles)|Problem [123]", text)
    assert re.search(r"\(\d+'?\)|theory \d|Source", text)


@pytest.mark.parametrize("page", [page for page in PAGES if python_blocks(page)], ids=lambda page: page.stem)
def test_the_python_on_this_page_runs(page: Path, tmp_path: Path) -> None:
    """The blocks of a page are one programme, as a reader would type them."""
    code = "\n".join(python_blocks(page))
    done = subprocess.run(
        [sys.executable, "-P", "-W", "ignore::DeprecationWarning", "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "MPLBACKEND": "Agg"},
    )
    assert done.returncode == 0, done.stderr
