"""The package as a whole: what importing it loads, which way its imports go, and what README, CI and metadata say."""

from __future__ import annotations

import ast
import doctest
import graphlib
import importlib
import re
import subprocess
import sys
from importlib import metadata, resources
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import bcfl_opt

ROOT = Path(__file__).resolve().parent.parent

FILES = {
    **{path.stem: path for path in (ROOT / "bcfl_opt").glob("*.py") if path.stem != "__init__"},
    **{
        f"{part}.{path.stem}".removesuffix(".__init__"): path
        for part in ("nlp", "convex", "commands", "paper", "parts", "sweeps", "reformulations")
        for path in (ROOT / "bcfl_opt" / part).glob("*.py")
    },
    **{f"models.{path.stem}": path for path in (ROOT / "models").glob("*.py") if path.stem != "__init__"},
    "models": ROOT / "models" / "__init__.py",
}

#: From the ground up. A module imports from its own room and from rooms before it, and nothing goes round in a circle.
ROOMS: dict[str, tuple[str, ...]] = {
    "words": (
        *("errors", "wording", "memory", "quantities", "progress", "drawing", "fixed_cost", "distributions", "layout"),
        "_pyomo_registration",
    ),
    "files": ("files", "tables", "documents", "interchange", "table_parts"),
    "data": ("population", "shapley_grids", "shapley", "sample"),
    "game": ("game",),
    "notions": (
        "split",
        "participation",
        "context",
        "model_files",
        "utilities",
        "certificate",
        "solution",
        "threads",
        "provenance",
        "conflict",
        "bilevel_record",
    ),
    "models": tuple(name for name in FILES if name.startswith("models")),
    "truth": ("exact", "offers", "pace", "rents", "plans", "equilibria"),
    "paper": ("closed_form",),
    "solvers": (
        "casadi_ipopt",
        "ipopt",
        "pyomo_solver",
        *(name for name in FILES if name.startswith(("nlp", "convex"))),
        "conic",
        "follower",
        "client_answers",
    ),
    "two stages": ("bilevel", *(name for name in FILES if name.startswith("reformulations"))),
    "front door": ("diagnose", "solving"),
    "contracts": (
        "quantising",
        "menu_record",
        "menu_search",
        "menu_bounds",
        "menu_multipliers",
        "menu_design",
        "menus",
        "screening",
    ),
    "judging": ("incentives", "programmes", "reasons", "judging", "reevaluation"),
    "scale": (
        *("executors", "sweeping", "partitioned"),
        *(name for name in FILES if name.startswith(("parts", "sweeps"))),
    ),
    "pictures": ("plots",),
    "experiments": tuple(name for name in FILES if name.startswith("paper")),
    "showing": (*(name for name in FILES if name.startswith("commands")), "cli"),
}
#: What a room must not import although it stands before it: the cross-check would be circular, a solver would know what
#: it solves.
STRANGERS = {
    "truth": ("models",),
    "paper": ("models", "truth"),
    "solvers": ("models", "paper"),
    "two stages": ("models", "paper"),
    "front door": ("models", "paper"),
}
HEAVY = (
    "numpy",
    "pandas",
    "scipy",
    "pyomo",
    "cvxpy",
    "casadi",
    "cyipopt",
    "clarabel",
    "typer",
    "rich",
    "xarray",
    "joblib",
)


def run_python(code: str, tmp_path: Path) -> str:
    """Run code in a new interpreter that sees the installed package and nothing else of ours."""
    done = subprocess.run([sys.executable, "-P", "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


# ---------------------------------------------------------------------- importing


def test_importing_the_package_loads_no_library_at_all(tmp_path: Path) -> None:
    code = f"import sys, bcfl_opt; print([name for name in {HEAVY} if name in sys.modules])"
    assert run_python(code, tmp_path).strip() == "[]"


@pytest.mark.parametrize("name", bcfl_opt.__all__)
def test_every_public_name_is_there(name: str) -> None:
    value = getattr(bcfl_opt, name)
    assert value is not None
    assert name in dir(bcfl_opt)
    # Importing the modules must not hide the name behind a module of the same name.
    assert name in ("closed_form", "models", "paper", "partitioned") or not isinstance(value, type(bcfl_opt))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'slove'"):
        bcfl_opt.slove  # noqa: B018


@pytest.mark.parametrize(
    "imports",
    [
        "import bcfl_opt; import pyomo.environ as pyo",
        "import pyomo.environ as pyo; import bcfl_opt",
        "import bcfl_opt, pyomo.core; import pyomo.environ as pyo",
        "import bcfl_opt; from bcfl_opt.models import problem1_pyomo; import pyomo.environ as pyo",
    ],
)
def test_pyomo_knows_the_solver_in_every_order_of_imports(imports: str, tmp_path: Path) -> None:
    code = f"{imports}; print(pyo.SolverFactory('bcfl_ipopt').available())"
    assert run_python(code, tmp_path).strip() == "True"


def test_models_refuse_to_be_imported_by_their_place_in_the_tree(tmp_path: Path) -> None:
    for module in sorted(name for name in FILES if name.startswith("models")):
        code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import {module}"
        done = subprocess.run([sys.executable, "-P", "-c", code], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 1
        assert "ImportError" in done.stderr and "bcfl_opt.models" in done.stderr


# ---------------------------------------------------------------------- arrows


def imported_modules(path: Path) -> set[str]:
    """Modules of ours that a file imports anywhere, inside functions too; "" is the package itself."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: relative import; write bcfl_opt. ..."
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            if name == "bcfl_opt" or name.startswith("bcfl_opt."):
                inner = name.removeprefix("bcfl_opt").removeprefix(".")
                while inner and inner not in FILES:  # the last part may be a name inside a module
                    inner = inner.rpartition(".")[0]
                found.add(inner)
    return found


ARROWS = {name: imported_modules(path) for name, path in FILES.items()}
ROOM_OF = {module: room for room, modules in ROOMS.items() for module in modules}


def test_every_module_has_a_room() -> None:
    assert sorted(set(FILES) - set(ROOM_OF)) == [], "new modules: give each a room in ROOMS"
    assert sorted(set(ROOM_OF) - set(FILES)) == [], "modules that are gone: take them out of ROOMS"


def test_imports_go_one_way() -> None:
    order = list(ROOMS)
    wrong = [
        f"{name} ({ROOM_OF[name]}) imports {other or 'the whole package'}"
        for name, others in ARROWS.items()
        if name in ROOM_OF
        for other in others
        # The package as a whole hides what is taken from it: only the last room may import it.
        if order.index(ROOM_OF[name]) < order.index(ROOM_OF.get(other, order[-1]))
        or ROOM_OF.get(other) in STRANGERS.get(ROOM_OF[name], ())
    ]
    assert wrong == []


def test_no_imports_in_a_circle() -> None:
    graphlib.TopologicalSorter(ARROWS).prepare()


# ---------------------------------------------------------------------- what the documents say


@pytest.mark.parametrize("module", ["bcfl_opt", *(f"bcfl_opt.{name}" for name in sorted(FILES))])
def test_examples_in_docstrings(module: str) -> None:
    result = doctest.testmod(importlib.import_module(module), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert result.failed == 0, f"{result.failed} of {result.attempted} examples in {module}; they are printed above"


README = (ROOT / "README.md").read_text(encoding="utf-8")


def readme_blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, flags=re.DOTALL | re.MULTILINE)


def test_ci_runs_the_two_commands_of_the_readme() -> None:
    commands = [block.strip() for block in readme_blocks("bash")]
    assert len(commands) == 2
    shown = [
        subprocess.run(["bash", ".ci/run", "--show", name], cwd=ROOT, capture_output=True, text=True, check=True).stdout
        for name in ("main", "tests")
    ]
    assert [text.strip() for text in shown] == commands
    main, tests = commands
    assert "\n" not in main + tests
    assert main.endswith("bcfl-opt cross-check")
    assert "[test]" in tests and tests.endswith("pytest -q")


def test_the_python_of_the_readme_runs(tmp_path: Path) -> None:
    blocks = readme_blocks("python")
    code = "import matplotlib\nmatplotlib.use('Agg')\n" + "".join(blocks)  # one programme, as a reader would type it
    printed = run_python(code, tmp_path)
    assert "the recomputed residuals" in printed
    assert "phone-" in printed
    # The way from here to an own variant, its equilibrium and a picture is at most thirty lines, imports included.
    own = blocks[-1].splitlines()
    assert len([line for line in own if line.strip()]) + 2 <= 30
    assert "solve_bilevel" in blocks[-1] and "payment_budget" in blocks[-1] and "plots." in blocks[-1]
    assert (tmp_path / "times.png").stat().st_size > 5000
    # Of a budget that only buys energy and rents, alpha-fairness without weights gives everybody the same rent (theory 5.8).
    game = bcfl_opt.Game(bcfl_opt.Population.random(8, seed=1), deadline=15.0)
    rent = (3.0 - bcfl_opt.equilibrium(game).clients["energy_cost"].sum()) / 8
    assert f"{rent:.6f}" == "0.210593" and "0.210593" in blocks[-1]
    assert printed.count(f"    {rent:.6f}") == 8


def test_the_readme_shows_what_the_main_command_prints(tmp_path: Path) -> None:
    printed = run_python(
        "import sys; sys.argv = ['bcfl-opt', 'cross-check']; from bcfl_opt.cli import main; main()", tmp_path
    )
    (shown,) = readme_blocks("text")
    assert set(shown.splitlines()) <= set(printed.splitlines())
    (bound,) = re.findall(r"here at most (\S+), relative", README)
    table = printed.partition("Every solver against the exact answer")[2].partition("The paper's closed forms")[0]
    cells = [cell for line in table.splitlines() for cell in re.split(r"\s{2,}", line.strip())[-2:]]
    gaps = [float(cell) for cell in cells if re.fullmatch(r"\d\S*", cell)]
    assert len(gaps) == 24 and max(gaps) <= float(bound)


def test_version_is_the_same_everywhere() -> None:
    assert metadata.version("bcfl_opt") == bcfl_opt.__version__
    assert (resources.files("bcfl_opt") / "py.typed").is_file()


LINUX = {"sys_platform": "linux", "platform_machine": "x86_64"}


@pytest.mark.parametrize(
    ("environment", "distribution"),
    [
        (LINUX, "cyipopt-wheels"),
        ({"sys_platform": "linux", "platform_machine": "aarch64"}, "cyipopt-wheels"),
        ({"sys_platform": "darwin", "platform_machine": "arm64"}, "cyipopt-wheels"),
        ({"sys_platform": "win32", "platform_machine": "AMD64"}, "cyipopt-wheels"),
        ({"sys_platform": "linux", "platform_machine": "ppc64le"}, "cyipopt"),
        ({"sys_platform": "darwin", "platform_machine": "x86_64"}, "cyipopt"),
        ({"sys_platform": "win32", "platform_machine": "ARM64"}, "cyipopt"),
        ({**LINUX, "python_version": "3.14"}, "cyipopt"),
        ({**LINUX, "platform_python_implementation": "PyPy"}, "cyipopt"),
    ],
)
def test_one_ipopt_on_every_platform(environment: dict[str, str], distribution: str) -> None:
    """Wheels where there are wheels; both together would overwrite each other."""
    environment = {"python_version": "3.11", "platform_python_implementation": "CPython", "extra": "", **environment}
    requirements = [Requirement(text) for text in metadata.requires("bcfl_opt") or []]
    chosen = [
        requirement
        for requirement in requirements
        if requirement.name.startswith("cyipopt") and requirement.marker and requirement.marker.evaluate(environment)
    ]
    assert [requirement.name for requirement in chosen] == [distribution]
    if distribution == "cyipopt-wheels":
        assert chosen[0].specifier.prereleases, "naming a pre-release is what lets installers accept it"
