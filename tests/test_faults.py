"""What happens when the machine fails us: every row of docs/faults.md, made to happen."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import resource
import signal
import subprocess
import sys
import sysconfig
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyomo.environ as pyo
import pytest
from typer.testing import CliRunner, Result

import bcfl_opt as bo
from bcfl_opt import conic
from bcfl_opt.cli import app
from bcfl_opt.commands import doctor, export
from bcfl_opt.models import problem2_cvxpy, problem2_pyomo
from bcfl_opt.nlp import program

ROOT = Path(__file__).resolve().parent.parent
COMMAND = str(Path(sysconfig.get_path("scripts")) / "bcfl-opt")
PRICES = ["--training-price", "0.05", "--mining-price", "0.05"]
EXACT = ["solve", "--solver", "exact", *PRICES]
FORMATS = (".json", ".nc", ".parquet", ".csv")
#: PYTHONUNBUFFERED would hide a closed pipe from Python.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}


@pytest.fixture(autouse=True)
def ctrl_c_is_heard() -> Iterator[None]:
    """A shell that runs the tests in the background has its children ignore SIGINT, and theirs; these tests send it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def run(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    """The real command, in a real process."""
    command = [COMMAND, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=options.pop("env", ENVIRONMENT), **options)


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def python(code: str, *arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    """Code in a new interpreter that sees the installed package."""
    command = [sys.executable, "-P", "-c", textwrap.dedent(code), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, **options)


def said(done: subprocess.CompletedProcess[str], code: int) -> str:
    """The one line on standard error of a command that failed, without a traceback."""
    assert done.returncode == code, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    return line.removeprefix("error: ")


def left_in(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


@pytest.fixture(scope="module")
def solution() -> bo.Solution:
    return bo.equilibrium(bo.Game(bo.Population.random(200, seed=1)))


# ---------------------------------------------------------------------- the page


def test_every_row_of_the_page_is_tested() -> None:
    _, page = (ROOT / "docs" / "faults.md").read_text(encoding="utf-8").split("## Faults, and what happens")
    rows = [line for line in page.splitlines() if line.startswith("| ") and "---" not in line][1:]
    assert len(rows) >= 15
    defined = {name for name in globals() if name.startswith("test_")}
    elsewhere = {path.stem: path.read_text(encoding="utf-8") for path in (ROOT / "tests").glob("test_*.py")}
    cited = set()
    for row in rows:
        tests = re.findall(r"`(?:(test_\w+)\.py::)?(test_\w+)`", row)
        assert tests, f"no test: {row}"
        for file, name in tests:
            assert f"def {name}(" in elsewhere[file] if file else name in defined, name
            cited.add(name)
    assert defined - cited == {"test_every_row_of_the_page_is_tested"}


# ---------------------------------------------------------------------- a solver is missing, broken, or crashes

#: Module -> the options of a solve that needs it.
NEEDS = {
    "cyipopt": [],
    "casadi": [],
    "clarabel": ["--solver", "clarabel"],
    "cvxpy": ["--solver", "clarabel"],
    "pyomo": [],
}


@pytest.mark.parametrize("module", NEEDS)
def test_a_missing_solver(module: str, tmp_path: Path) -> None:
    """One line that says what to type; the exact answers, and the solvers that are there, still work."""
    code = """
        import contextlib, io, json, sys
        module, options, population = sys.argv[1], json.loads(sys.argv[2]), sys.argv[3]
        sys.modules[module] = None  # what Python takes for "not there"
        import bcfl_opt as bo
        from bcfl_opt.cli import main
        from bcfl_opt.commands import doctor

        game = bo.Game(bo.Population.read(population))
        prices = game.prices(0.05, 0.05)
        exact = bo.best_response(game, prices)
        assert exact.succeeded

        def solved(build, **options):
            try:
                return bo.solve(build.build(game, prices), **options).objective
            except bo.SolverMissingError as error:
                return str(error)

        found = {}
        with contextlib.suppress(ModuleNotFoundError):
            from bcfl_opt.models import problem1_pyomo
            found["pyomo"] = solved(problem1_pyomo)
        with contextlib.suppress(ModuleNotFoundError):
            from bcfl_opt.models import problem1_cvxpy
            found["clarabel"] = solved(problem1_cvxpy)
            found["cvxpy ipopt"] = solved(problem1_cvxpy, solver="ipopt")
        named = [check.name for check in doctor.CHECKS.values() if module in check.modules]
        findings = doctor.examine([doctor.CHECKS[name] for name in named])
        complaint, shown = io.StringIO(), io.StringIO()
        sys.argv = ["bcfl-opt", "solve", *options, "--training-price", "0.05", "--mining-price", "0.05",
                    "--population", population, "--out", "out"]
        with contextlib.redirect_stderr(complaint), contextlib.redirect_stdout(shown):
            try:
                main()
            except SystemExit as stop:
                code = stop.code
        print(json.dumps({"exact": exact.objective, "found": found, "code": code, "said": complaint.getvalue(),
                          "shown": shown.getvalue(), "doctor": [(f.works, f.detail, f.mend) for f in findings]}))
    """
    clients = tmp_path / "clients.csv"
    clients.write_text("client,mu,rho\na,10,0.01\nb,5,0.02\n")
    done = python(code, module, json.dumps(NEEDS[module]), clients, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert (answer["code"], answer["shown"]) == (1, "")
    (line,) = answer["said"].splitlines()
    assert line.startswith(f"error: {module} is not installed: pip install ")
    assert left_in(tmp_path) == ["clients.csv"]
    affected = {
        "cyipopt": {"pyomo", "cvxpy ipopt"},
        "casadi": {"pyomo", "cvxpy ipopt"},
        "clarabel": {"clarabel"},
        "cvxpy": {"clarabel", "cvxpy ipopt"},
        "pyomo": {"pyomo", "cvxpy ipopt"},
    }[module]
    for route in ("pyomo", "clarabel", "cvxpy ipopt"):
        value = answer["found"].get(route)
        if route not in affected:
            assert value == pytest.approx(answer["exact"], rel=1e-6)
        elif value is not None:  # None: the modelling language itself is missing, and Python says so
            assert value.startswith(f"{module} is not installed: pip install ")
    assert all(not works and detail == f"not installed: {module}" and mend for works, detail, mend in answer["doctor"])


def stub(module: str, code: str, tmp_path: Path) -> dict[str, str]:
    """An environment with a module in front of the installed one."""
    folder = tmp_path / "stub"
    folder.mkdir()
    (folder / f"{module}.py").write_text(code)
    return {**ENVIRONMENT, "PYTHONPATH": str(folder)}


def test_a_solver_that_cannot_be_loaded(tmp_path: Path) -> None:
    code = "raise ImportError('libgfortran.so.5: cannot open shared object file', name='cyipopt')"
    environment = stub("cyipopt", code, tmp_path)
    line = said(run("solve", *PRICES, "--out", tmp_path / "out", env=environment), 1)
    assert line.startswith("cyipopt cannot be loaded: libgfortran.so.5: cannot open shared object file; pip install")
    assert left_in(tmp_path) == ["stub"]


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGSEGV])
def test_a_solver_that_crashes(sent: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The doctor survives and says so; a solve dies with its process and leaves nothing on disk."""
    environment = stub(
        "cyipopt",
        f"import os, resource; resource.setrlimit(resource.RLIMIT_CORE, (0, 0)); os.kill(os.getpid(), {int(sent)})",
        tmp_path,
    )
    monkeypatch.setenv("PYTHONPATH", environment["PYTHONPATH"])
    (finding,) = doctor.examine([doctor.CHECKS["ipopt-pyomo"]])
    expected = "killed from outside (SIGKILL)" if sent is signal.SIGKILL else "crashed (SIGSEGV)"
    assert not finding.works and finding.detail.startswith(expected)
    if sent is signal.SIGSEGV:
        done = run("solve", *PRICES, "--out", tmp_path / "out", env=environment)
        assert done.returncode == -sent and "Traceback" not in done.stderr
        assert left_in(tmp_path) == ["stub"]


# ---------------------------------------------------------------------- a worker is killed


WORKER = """
import os, signal, sys
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
import bcfl_opt as bo
from bcfl_opt import files

def solve_and_save(path, fatal):
    if fatal:  # in the middle of writing
        files._flush = lambda file: os.kill(os.getpid(), signal.SIGKILL)
    bo.equilibrium(bo.Game.read("game.json")).save(path)

if __name__ == "__main__":
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as workers:
        workers.submit(solve_and_save, "first.json", False).result()
        try:
            workers.submit(solve_and_save, "second.json", True).result()
        except BrokenProcessPool:
            print("the pool says that a worker was killed")
    solve_and_save("third.json", False)
"""


def test_a_killed_worker(tmp_path: Path) -> None:
    """Results that were saved are whole, the one that was being saved is not there, and others go on."""
    bo.Game(bo.Population.random(5, seed=2)).save(tmp_path / "game.json")
    (tmp_path / "worker.py").write_text(WORKER)
    done = subprocess.run([sys.executable, "worker.py"], cwd=tmp_path, capture_output=True, text=True, env=ENVIRONMENT)
    assert (done.returncode, done.stdout) == (0, "the pool says that a worker was killed\n"), done.stderr
    assert bo.Solution.read(tmp_path / "first.json").succeeded and bo.Solution.read(tmp_path / "third.json").succeeded
    known = ("first.json", "game.json", "third.json", "worker.py", "__pycache__")
    (leftover,) = [name for name in left_in(tmp_path) if name not in known]
    assert re.fullmatch(r"\.second\.json\.[0-9a-f]{8}\.partial", leftover)


# ---------------------------------------------------------------------- the disk is full


@contextlib.contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """The operating system refuses to let a file grow beyond ``size`` bytes, as a full disk would."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("ending", FORMATS)
def test_a_full_disk_while_saving(ending: str, solution: bo.Solution, tmp_path: Path) -> None:
    file = tmp_path / f"solution{ending}"
    for overwrite, before in ((False, []), (True, [file.name])):
        if overwrite:
            file.write_text("mine")
        with files_of_at_most(2000), pytest.raises(bo.InputError, match=r"cannot be written: File too large"):
            solution.save(file, overwrite=overwrite)
        assert left_in(tmp_path) == before
    assert file.read_text() == "mine"


@pytest.mark.parametrize("ending", [".nl", ".tex"])
def test_a_full_disk_while_a_model_is_written(ending: str, tmp_path: Path) -> None:
    model = problem2_pyomo.build(bo.Game(bo.Population.random(30, seed=1)))
    with files_of_at_most(500), pytest.raises(bo.InputError, match=r"cannot be written: File too large"):
        bo.write_model(model, tmp_path / f"model{ending}")
    assert left_in(tmp_path) == []


def test_a_full_disk_under_the_command(tmp_path: Path) -> None:
    """A disk of 64 kB. The answer is still printed."""
    mounted = "mount -t tmpfs -o size=64k none disk"
    enter = ["unshare", "--user", "--map-root-user", "--mount", "bash", "-c"]
    (tmp_path / "disk").mkdir()
    if subprocess.run([*enter, mounted], cwd=tmp_path, capture_output=True).returncode:
        pytest.skip("no permission to mount a small disk here; the other tests of full disks need none")
    bo.Population.random(2000, seed=1).frame.to_csv(tmp_path / "clients.csv")
    script = f'{mounted} && echo mine > disk/mine && "$@"; echo "code $?"; ls -A disk'
    command = [COMMAND, *EXACT, "--population", "clients.csv", "--out", "disk/out"]
    done = subprocess.run(
        [*enter, script, "bash", *command], cwd=tmp_path, capture_output=True, text=True, env=ENVIRONMENT
    )
    assert done.stderr == "error: --out disk/out: cannot be written: No space left on device\n"
    assert re.search(r"\d+ of 2000 recruited", done.stdout)
    assert done.stdout.endswith("code 2\nmine\n")


@pytest.mark.parametrize("arguments", [EXACT, ["--version"]], ids=["solve", "version"])
def test_a_full_disk_behind_standard_output(arguments: list[str]) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run([COMMAND, *arguments], stdout=full, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)
    assert said(done, 1) == "standard output: No space left on device"


def test_files_that_were_replaced_are_put_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """--force replaces several files: if one cannot be, all are as before."""
    out = tmp_path / "out"
    out.mkdir()
    for name in ("a.csv", "c.csv", "notes.txt"):
        (out / name).write_text("mine")
    real, done = os.replace, []

    def replace(source: Any, target: Any) -> None:
        if Path(target).name == "c.csv" and not done:
            done.append(target)
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    tables = {name: pd.DataFrame({"x": [1]}) for name in ("a", "b", "c")}
    with pytest.raises(bo.InputError, match="cannot be written: Input/output error"):
        export.write_directory(out, tables, {}, force=True)
    assert left_in(out) == ["a.csv", "c.csv", "notes.txt"] and left_in(tmp_path) == ["out"]
    assert {(out / name).read_text() for name in left_in(out)} == {"mine"}


# ---------------------------------------------------------------------- no place to write


@contextlib.contextmanager
def nobody_special() -> Iterator[None]:
    """Permissions do not hold for root."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_read_only_folder(solution: bo.Solution, tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o555)
    for folder in [tmp_path, *tmp_path.parents]:
        folder.chmod(0o755)  # pytest keeps its folders to their owner
        if folder.name.startswith("pytest-of-"):
            break
    solution.save(tmp_path / "warm.json")  # what is loaded on the way must not be what fails
    with nobody_special():
        for directory in (closed, closed / "out", closed / "deep" / "out"):
            with pytest.raises(bo.InputError, match=r"no permission to write in .*closed"):
                export.check_directory(directory, force=False)
        with pytest.raises(bo.InputError, match=r"solution\.json: cannot be written: Permission denied"):
            solution.save(closed / "solution.json")
    assert left_in(closed) == []


def test_places_that_are_no_folder_to_write_to(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "nowhere").symlink_to(tmp_path / "absent")
    for out, words in (
        (tmp_path / "file", "is a file; name a directory"),
        (tmp_path / "nowhere", "is a file; name a directory"),
        (tmp_path / "file" / "out", "file is a file, not a directory"),
        (tmp_path / ("x" * 300), "cannot be written: File name too long"),
        (Path("/proc/out"), "cannot be written"),
    ):
        done = invoke(*EXACT, "--out", out)
        assert done.exit_code == 2 and words in done.stderr and len(done.stderr.splitlines()) == 1
    assert left_in(tmp_path) == ["file", "nowhere"] and (tmp_path / "file").read_text() == "mine"


def test_names_in_the_data_do_not_decide_where_files_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ids, columns and the population's file name that look like paths end up inside files."""
    folder = tmp_path / "work" / "deep"
    folder.mkdir(parents=True)
    people = folder / "..%2f..%2fescape.csv"
    people.write_text("client,mu,rho,../x\n../../up,10,0.01,1\n/etc/absolute,5,0.01,2\n$HOME,5,0.01,3\n")
    monkeypatch.chdir(folder)
    done = invoke(*EXACT, "--population", people.name, "--out", "out")
    assert done.exit_code == 0, done.output
    assert left_in(folder / "out") == ["clients.csv", "population.csv", "shadow_prices.csv", "solution.json"]
    assert left_in(folder) == [people.name, "out"]
    assert left_in(tmp_path) == ["work"] and left_in(tmp_path / "work") == ["deep"]


def test_a_link_to_a_folder_and_links_in_it(tmp_path: Path) -> None:
    """--out may be a link to a folder; a link inside is replaced, what it points to is not touched."""
    real, precious = tmp_path / "real", tmp_path / "precious"
    real.mkdir()
    precious.write_text("mine")
    (tmp_path / "link").symlink_to(real)
    (real / "clients.csv").symlink_to(precious)
    done = invoke(*EXACT, "--out", tmp_path / "link", "--force")
    assert done.exit_code == 0, done.output
    assert precious.read_text() == "mine" and not (real / "clients.csv").is_symlink()
    assert left_in(tmp_path) == ["link", "precious", "real"]
    (real / "solution.json").unlink()
    (real / "solution.json").mkdir()
    done = invoke(*EXACT, "--out", tmp_path / "link", "--force")
    assert done.exit_code == 2 and done.stderr.endswith(
        "holds a folder 'solution.json', where a file is to be written\n"
    )


# ---------------------------------------------------------------------- the reader leaves


@pytest.mark.parametrize(("form", "reader"), [([], "true"), (["--json"], "head -n 1")], ids=["tables", "JSON"])
def test_a_closed_pipe(form: list[str], reader: str, tmp_path: Path) -> None:
    """No noise, no traceback, exit code 141, and the files are written."""
    bo.Population.random(1000, seed=1).frame.to_csv(tmp_path / "clients.csv")
    script = f'"$@" | {reader} >/dev/null; echo "${{PIPESTATUS[0]}}"'
    command = [COMMAND, *EXACT, "--population", "clients.csv", *form, "--out", "out"]
    done = subprocess.run(
        ["bash", "-c", script, "bash", *command], cwd=tmp_path, capture_output=True, text=True, env=ENVIRONMENT
    )
    assert done.stderr == ""
    assert done.stdout == "141\n"
    assert bo.Solution.read(tmp_path / "out" / "solution.json").succeeded


# ---------------------------------------------------------------------- Ctrl-C


def test_ctrl_c_in_ipopt_under_the_command(tmp_path: Path) -> None:
    """Exit code 130, nothing said, nothing written."""
    code = """
        import os, signal, sys
        from bcfl_opt.cli import main
        from bcfl_opt.nlp import program
        original = program.Functions.gradient
        calls = []

        def gradient(self, x):
            calls.append(1)
            if len(calls) == 3:
                os.kill(os.getpid(), signal.SIGINT)
            return original(self, x)

        program.Functions.gradient = gradient
        sys.argv = ["bcfl-opt", "solve", "--training-price", "0.05", "--mining-price", "0.05", "--out", "out"]
        main()
    """
    done = python(code, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr.strip()) == (130, "", "")
    assert left_in(tmp_path) == []


def test_ctrl_c_in_clarabel_stops_it_after_the_iteration() -> None:
    """Its callback must not raise: Clarabel would print that and go on."""

    class Solver:
        answers: tuple[bool, ...] = ()

        def set_termination_callback(self, callback: Any) -> None:
            self.callback = callback

        def solve(self) -> None:
            before = self.callback(None)
            os.kill(os.getpid(), signal.SIGINT)
            self.answers = (before, self.callback(None))

    solver, usual = Solver(), signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), conic._stopped_by_ctrl_c(solver):
        solver.solve()
    assert solver.answers == (False, True)
    assert signal.getsignal(signal.SIGINT) is usual


def test_ctrl_c_in_a_solve_leaves_the_model_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    game = bo.Game(bo.Population.random(300, seed=1))
    usual, begun = signal.getsignal(signal.SIGINT), threading.Event()
    stopped = conic._stopped_by_ctrl_c

    @contextlib.contextmanager
    def pressed_when_clarabel_has_begun(solver: Any) -> Iterator[None]:
        with stopped(solver):
            os.kill(os.getpid(), signal.SIGINT)
            begun.set()
            yield

    monkeypatch.setattr(conic, "_stopped_by_ctrl_c", pressed_when_clarabel_has_begun)
    convex = problem2_cvxpy.build(game)
    before = {name: variable.value for name, variable in convex.variables.items()}
    with pytest.raises(KeyboardInterrupt):
        bo.solve(convex)
    assert begun.is_set() and signal.getsignal(signal.SIGINT) is usual
    for name, variable in convex.variables.items():
        np.testing.assert_array_equal(variable.value, before[name])

    model = problem2_pyomo.build(game)
    values = [variable.value for variable in model.component_data_objects(pyo.Var)]
    gradient, calls = program.Functions.gradient, []

    def pressed(self: program.Functions, x: np.ndarray) -> np.ndarray:
        calls.append(1)
        if len(calls) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return gradient(self, x)

    monkeypatch.setattr(program.Functions, "gradient", pressed)
    with pytest.raises(KeyboardInterrupt):
        bo.solve(model)
    assert len(calls) >= 3
    assert [variable.value for variable in model.component_data_objects(pyo.Var)] == values


@pytest.mark.parametrize("ending", FORMATS)
def test_ctrl_c_while_saving(
    ending: str, solution: bo.Solution, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / f"solution{ending}"
    file.write_text("mine")
    monkeypatch.setattr(os, "fsync", lambda handle: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        solution.save(file, overwrite=True)
    assert left_in(tmp_path) == [file.name] and file.read_text() == "mine"


def test_ctrl_c_while_the_command_writes(tmp_path: Path) -> None:
    code = """
        import os, signal, sys
        from bcfl_opt.cli import main
        os.fsync = lambda handle: os.kill(os.getpid(), signal.SIGINT)
        sys.argv = ["bcfl-opt", *sys.argv[1:]]
        main()
    """
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "clients.csv").write_text("mine")
    for out in (["--out", "new"], ["--out", "old", "--force"]):
        done = python(code, *EXACT, *out, cwd=tmp_path)
        assert (done.returncode, done.stdout, done.stderr.strip()) == (130, "", "")
    assert left_in(tmp_path) == ["old"] and left_in(tmp_path / "old") == ["clients.csv"]
    assert (tmp_path / "old" / "clients.csv").read_text() == "mine"


def test_ctrl_c_in_the_doctor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its checks are stopped too, and not left behind as processes."""
    environment = stub("cyipopt", "import time; time.sleep(600)", tmp_path)
    monkeypatch.setenv("PYTHONPATH", environment["PYTHONPATH"])
    started: list[subprocess.Popen[str]] = []
    start = doctor._start

    def starting(check: doctor.Check) -> subprocess.Popen[str]:
        started.append(start(check))
        threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
        return started[-1]

    monkeypatch.setattr(doctor, "_start", starting)
    with pytest.raises(KeyboardInterrupt):
        doctor.examine([doctor.CHECKS["ipopt-pyomo"]])
    assert [process.returncode for process in started] == [-signal.SIGKILL]


# ---------------------------------------------------------------------- memory


def test_a_memory_limit(tmp_path: Path) -> None:
    """One line, exit code 1, nothing on disk, no traceback."""
    bo.Population.random(100_000, seed=1).frame.to_csv(tmp_path / "clients.csv")
    code = """
        import resource, sys
        import bcfl_opt as bo
        from bcfl_opt.cli import main
        from bcfl_opt.commands import export, report, settings
        game = bo.Game(bo.Population.sample())
        bo.best_response(game, game.prices(1, 1))  # everything is loaded
        bo.Population.read("clients.csv")
        used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + 20_000_000, -1))
        sys.argv = ["bcfl-opt", *sys.argv[1:]]
        main()
    """
    done = python(code, *EXACT, "--population", "clients.csv", "--json", "--out", "out", cwd=tmp_path)
    assert said(done, 1).startswith("out of memory: ")
    assert left_in(tmp_path) == ["clients.csv"]
