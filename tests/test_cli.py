"""The command line: what it answers, what it refuses and in which words, what it writes, and how that looks."""

from __future__ import annotations

import errno
import functools
import json
import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner, Result

import bcfl_opt as bo
from bcfl_opt.cli import app
from bcfl_opt.commands import doctor, export, report
from bcfl_opt.commands.settings import KEYS, read_settings
from bcfl_opt.errors import BcflOptError, InputError

COMMAND = str(Path(sysconfig.get_path("scripts")) / "bcfl-opt")
PRICES = ["--training-price", "0.05", "--mining-price", "0.05"]
EXACT = ["solve", "--solver", "exact", *PRICES]
ESCAPE = "\x1b"

CLIENTS = """client,training_cycles,energy_coefficient
phone,10,0.01
=1+1,5,0.01
-7,8,0.02
"""


@pytest.fixture
def clients(tmp_path: Path) -> Path:
    file = tmp_path / "clients.csv"
    file.write_text(CLIENTS)
    return file


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def run(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    """The real command, in a real process, its output in a pipe."""
    command = [COMMAND, *(str(argument) for argument in arguments)]
    return subprocess.run(command, capture_output=True, text=True, **options)


def refused(result: Result) -> str:
    """The one line on standard error of a command that refuses its input."""
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    return line.removeprefix("error: ")


# ---------------------------------------------------------------------- answers


def test_version_and_help() -> None:
    assert invoke("--version").stdout == f"bcfl-opt {bo.__version__}\n"
    for arguments in ([], ["cross-check"], ["solve"], ["doctor"]):
        result = invoke(*arguments, "--help")
        assert result.exit_code == 0
        assert max(map(len, result.stdout.splitlines())) <= 80


def test_help_of_every_command_fits_80_columns_and_the_documents_name_no_other() -> None:
    commands = {command.name for command in app.registered_commands}
    for name in commands:
        assert max(map(len, invoke(name, "--help").stdout.splitlines())) <= 80, name
    root = Path(__file__).resolve().parent.parent
    for page in (root / "README.md", *(root / "docs").rglob("*.md")):
        named = set(re.findall(r"bcfl-opt ([a-z][a-z-]+)", page.read_text(encoding="utf-8")))
        assert named <= commands, page.name


def completed(typed: str, position: int) -> list[str]:
    """What bash would be offered for the word at this position."""
    asked = {"_BCFL_OPT_COMPLETE": "complete_bash", "COMP_WORDS": typed, "COMP_CWORD": str(position)}
    return run(env={**os.environ, **asked}).stdout.split()


def test_the_shell_completes_commands_options_and_choices(tmp_path: Path) -> None:
    assert completed("bcfl-opt e", 1) == ["equilibrium"]
    assert completed("bcfl-opt solve --la", 2) == ["--language"]
    assert completed("bcfl-opt equilibrium --method ", 3) == ["exact", "bilevel"]
    # The shell is recognised as the process that runs the command, so a shell it must be.
    in_bash = functools.partial(subprocess.run, capture_output=True, text=True)
    shown = in_bash(["bash", "-c", f"{COMMAND} --show-completion; exit $?"])
    assert shown.returncode == 0 and "complete -o default" in shown.stdout
    home = {**os.environ, "HOME": str(tmp_path)}
    installed = in_bash(["bash", "-c", f"{COMMAND} --install-completion; exit $?"], env=home)
    assert installed.returncode == 0 and "completion installed" in installed.stdout
    assert "bcfl-opt.sh" in (tmp_path / ".bashrc").read_text()


@pytest.mark.parametrize("problem", [1, 2, 3])
def test_solve_exactly(problem: int, clients: Path) -> None:
    prices = PRICES if problem == 1 else []
    result = invoke("solve", "--problem", problem, "--solver", "exact", *prices, "--population", clients, "--json")
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    game = bo.Game(bo.Population.read(clients))
    solution = bo.best_response(game, game.prices(0.05, 0.05)) if problem == 1 else bo.equilibrium(game)
    assert answer["objective"] == solution.objective
    assert [row["client"] for row in answer["clients"]] == ["phone", "=1+1", "-7"]
    assert answer["certificate"]["holds"] is True


@pytest.mark.parametrize(
    "arguments",
    [
        ["--problem", "1", *PRICES],
        ["--problem", "1", "--form", "speed", *PRICES],
        ["--problem", "1", "--reward-caps", *PRICES],
        ["--problem", "1", "--language", "cvxpy", *PRICES],
        ["--problem", "1", "--language", "cvxpy", "--solver", "ipopt", *PRICES],
        ["--problem", "1", "--solver", "clarabel", *PRICES],
        ["--problem", "2"],
        ["--problem", "2", "--solver", "clarabel"],
        ["--problem", "3"],
        ["--problem", "3", "--solver", "clarabel"],
    ],
    ids=" ".join,
)
def test_every_route_agrees_with_the_exact_answer(arguments: list[str], clients: Path) -> None:
    asked = [argument for argument in arguments if argument not in ("--form", "speed")]
    if "--language" in asked:
        asked = asked[: asked.index("--language")] + PRICES
    if "--solver" in asked:
        k = asked.index("--solver")
        del asked[k : k + 2]
    result = invoke("solve", *arguments, "--population", clients, "--json")
    exact = invoke("solve", *asked, "--solver", "exact", "--population", clients, "--json")
    assert result.exit_code == exact.exit_code == 0, result.output + exact.output
    objective, expected = (json.loads(each.stdout)["objective"] for each in (result, exact))
    assert objective == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("budgets", ["at_most", "exhausted"])
@pytest.mark.parametrize("response", ["optimal", "theorem"])
@pytest.mark.parametrize("solver", ["ipopt", "clarabel"])
def test_every_option_reaches_the_model(solver: str, response: str, budgets: str, clients: Path) -> None:
    """Whatever the answer is, the question was understood: no traceback, no bad input."""
    options = ["--response", response, "--budgets", budgets, "--solver", solver, "--population", clients]
    result = invoke("solve", "--problem", "2", *options, "--json")
    assert result.exit_code in (0, 1), result.output
    answer = json.loads(result.stdout)
    assert answer["asked"]["response"] == response and answer["asked"]["budgets"] == budgets


def test_no_answer_is_exit_code_1(clients: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = invoke(*EXACT, "--population", clients, "--deadline", "1", "--out", out)
    assert result.exit_code == 1
    assert "no client can take part" in result.stdout
    assert result.stdout.count("cannot meet the deadline 1 at these prices") >= 3
    document = json.loads((out / "solution.json").read_text())
    assert document["succeeded"] is False and document["objective"] is None


def test_cross_check(clients: Path, tmp_path: Path) -> None:
    out = tmp_path / "results" / "deep"
    result = invoke("cross-check", "--population", clients, "--out", out)
    assert result.exit_code == 0, result.output
    assert "All solvers agree with the exact answers to 1e-06." in result.stdout
    assert sorted(path.name for path in out.iterdir()) == [
        "clients.csv",
        "closed_forms.csv",
        "cross_check.json",
        "population.csv",
        "solves.csv",
    ]
    document = json.loads((out / "cross_check.json").read_text())
    assert document["schema_version"] == export.SCHEMA_VERSION
    assert document["versions"]["bcfl_opt"] == bo.__version__
    assert document["parameters"]["population"] == "clients.csv"
    assert document["agrees"] is True
    solves = pd.read_csv(out / "solves.csv")
    assert len(solves) == len(document["solves"]) > 0
    assert solves["relative_gap"].max() <= 1e-6
    closed_forms = pd.read_csv(out / "closed_forms.csv")
    assert {"theorem", "reading", "paper_value", "exact", "verdict", "reason"} <= set(closed_forms)
    assert closed_forms["verdict"].notna().all()


def test_cross_check_says_on_standard_output_only_json(clients: Path) -> None:
    done = run("cross-check", "--population", clients, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["command"] == "cross-check"
    assert done.stderr == ""


# ---------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["solve"], "--problem 1 needs prices: --training-price and --mining-price"),
        (["solve", "--training-price", "1"], "give both prices or neither"),
        ([*EXACT, "--deadline", "-3"], "--deadline: -3.0 must be greater than 0"),
        ([*EXACT, "--deadline", "nan"], "--deadline: nan must be finite"),
        ([*EXACT, "--cost-weight", "inf"], "--cost-weight: inf must be finite"),
        ([*EXACT, "--mining-cap", "40"], "mining_budget = mining_cap x 50 clients = 2000 leaves nothing"),
        ([*EXACT, "--mining-cap", "1", "--mining-budget", "50"], "not both"),
        ([*EXACT, "--performance", "lag"], "did you mean 'log'"),
        (["solve", "--training-price", "-1", "--mining-price", "1"], "--training-price of client 'phone-01': -1.0"),
        ([*EXACT, "--form", "tme"], "unknown --form 'tme': did you mean 'time'"),
        ([*EXACT, "--response", "optimal"], "--response belongs to --problem 2 and --problem 3, not to --problem 1"),
        (["solve", "--problem", "2", "--form", "time"], "--form belongs to --problem 1, not to --problem 2"),
        (["solve", "--problem", "2", *PRICES], "problem 2 finds the prices"),
        (["solve", "--problem", "2", "--solver", "exact", "--budgets", "exhausted"], "--solver exact answers"),
        ([*PRICES, "--language", "pyomo", "--solver", "clarabel"], "--language cvxpy --solver clarabel"),
        ([*PRICES, "--language", "cvxpy", "--form", "speed"], "--form speed is not convex"),
        ([*PRICES, "--time-limit", "0"], "--time-limit 0: must be greater than 0"),
        ([*EXACT, "--population", "absent.csv"], "absent.csv: no such file"),
        ([*EXACT, "--population", "clients.xlsx"], "a population file ends in .csv or .parquet"),
        ([*EXACT, "--config", "absent.toml"], "absent.toml: no such file"),
    ],
)
def test_bad_input_is_one_line(arguments: list[str], words: str) -> None:
    command = arguments if arguments[0] == "solve" else ["solve", *arguments]
    assert words in refused(invoke(*command))


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("client,mu,rho\na,10,0.01\nb,nan,0.01\n", "clients.csv, row 3 (client 'b'), column 'training_cycles'"),
        ("client,mu,rho\na,10,0.01\nb,ten,0.01\n", "the value 'ten' is not a number"),
        ("client,mu,rho\na,10,0.01\na,5,0.01\n", "clients.csv, row 3, column 'client': id 'a' appears twice"),
        ("client,mu\na,10\n", "clients.csv: missing column 'energy_coefficient' (or 'rho')"),
        ("client,mu,rho\n", "clients.csv: the table is empty"),
        ("", "clients.csv: its first line does not name the columns"),
    ],
)
@pytest.mark.parametrize("command", [EXACT, ["cross-check"]], ids=["solve", "cross-check"])
def test_a_bad_table_writes_nothing(command: list[str], table: str, words: str, tmp_path: Path) -> None:
    file = tmp_path / "clients.csv"
    file.write_text(table)
    assert words in refused(invoke(*command, "--population", file, "--out", tmp_path / "out"))
    assert [path.name for path in tmp_path.iterdir()] == ["clients.csv"]


@pytest.mark.parametrize(
    "arguments",
    [["--nope"], ["solev"], ["solve", "--deadlin", "3"], ["solve", "--deadline", "x"], ["solve", "--problem", "4"], []],
    ids=" ".join,
)
def test_unknown_options_and_commands(arguments: list[str]) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert "Usage: bcfl-opt" in done.stderr + done.stdout
    assert "Traceback" not in done.stderr


def test_no_traceback_from_the_real_command(tmp_path: Path) -> None:
    done = run(*EXACT, "--population", tmp_path / "no\nsuch.csv")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: ") and len(done.stderr.splitlines()) == 1


# ---------------------------------------------------------------------- TOML


def config(tmp_path: Path, text: str | bytes) -> Path:
    file = tmp_path / "game.toml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return file


def test_options_override_the_file_and_the_file_the_defaults(clients: Path, tmp_path: Path) -> None:
    text = 'population = "clients.csv"\ndeadline = 20\ntarget = 9.5\nmining_cap = 4.0\n'
    run = read_settings(config(tmp_path, text), {"deadline": 30.0, "mining_budget": 60.0, "training_price": None})
    assert list(run.game.population.ids) == ["phone", "=1+1", "-7"]
    assert (run.game.deadline, run.game.target, run.game.cost_weight) == (30.0, 9.5, 0.1)
    assert run.game.mining_cap == 20.0, "--mining-budget displaces mining_cap of the file"
    assert run.prices is None
    assert run.parameters["population"] == "clients.csv"


def test_prices_in_the_file(clients: Path, tmp_path: Path) -> None:
    text = 'population = "clients.csv"\ntraining_price = [1, 2, 3]\n[mining_price]\n-7 = 1\n"=1+1" = 2\nphone = 3\n'
    run = read_settings(config(tmp_path, text), {})
    assert run.prices is not None
    assert run.prices["training_price"].tolist() == [1.0, 2.0, 3.0]
    assert run.prices["mining_price"].to_dict() == {"phone": 3.0, "=1+1": 2.0, "-7": 1.0}


def test_every_parameter_of_the_game_is_a_key_and_the_usual_ones_are_options() -> None:
    assert {"mining_cycles", "negative_shares", "shapley_method", "seed", "training_price"} <= set(KEYS)
    for command in ("solve", "cross-check"):
        text = invoke(command, "--help").stdout
        for name in ("mining_cycles", "deadline", "cost_weight", "reward_budget", "mining_cap", "mining_budget"):
            assert f"--{name.replace('_', '-')} " in text
        for name in ("--target", "--performance", "--training-price", "--mining-price", "--population", "--config"):
            assert f"{name} " in text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("deadline = 15\ncost_weight = = 3\n", r"game\.toml: TOML syntax error: .*line 2"),
        ("deadlin = 15\n", r"game\.toml: unknown key 'deadlin': did you mean 'deadline'\?"),
        ("deadline = -15\n", r"game\.toml: deadline: -15(\.0)? must be greater than 0"),
        ('deadline = "soon"\n', r"game\.toml: deadline: 'soon' is not a number"),
        ("deadline = true\n", r"game\.toml: deadline: True is not a number"),
        ("population = 3\n", r"game\.toml: population: 3 is not the name of a"),
        ('population = "absent.csv"\n', r"absent\.csv: no such file"),
        ("training_price = 1\n", r"game\.toml: training_price is given and mining_price is not"),
        (
            "mining_price = 1\n[training_price]\nphone = 1.0\n",
            r"training_price: there is no client 'phone' in sample\.csv",
        ),
        (b"deadline = 15 # \xff\n", r"game\.toml, row 1: byte 0xff is not UTF-8"),
    ],
)
def test_a_bad_file_is_named(text: str | bytes, words: str, tmp_path: Path) -> None:
    assert re.search(words, refused(invoke("solve", "--solver", "exact", "--config", config(tmp_path, text))))


def test_a_byte_order_mark_is_no_error(tmp_path: Path) -> None:
    assert read_settings(config(tmp_path, b"\xef\xbb\xbfdeadline = 20\n"), {}).game.deadline == 20


# ---------------------------------------------------------------------- --out


def test_out_holds_what_was_solved(clients: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = invoke(*EXACT, "--population", clients, "--out", out)
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in out.iterdir()) == [
        "clients.csv",
        "population.csv",
        "shadow_prices.csv",
        "solution.json",
    ]
    game = bo.Game(bo.Population.read(clients))
    expected = bo.best_response(game, game.prices(0.05, 0.05))
    written = pd.read_csv(out / "clients.csv")
    assert written["client"].tolist() == ["phone", "'=1+1", "'-7"], "texts that a spreadsheet would run"
    assert expected.clients is not None
    assert written["training_time"].tolist() == expected.clients["training_time"].tolist(), "to the last digit"
    document = json.loads((out / "solution.json").read_text())
    assert document["parameters"]["deadline"] == 15.0
    assert [row["client"] for row in document["clients"]] == ["phone", "=1+1", "-7"]
    assert document["status"] == "SOLVED" and document["quality"] == "GLOBAL"


def test_numbers_are_untouched_and_texts_are_safe() -> None:
    columns = {"id": [-1, 1], "-x": [-1.5, 2.0], "text": ["@a", None], "tab": ["\tb", "c=d"]}
    frame = pd.DataFrame(columns).set_index("id")
    safe = export.safe_cells(frame)
    assert safe.columns.tolist() == ["id", "'-x", "text", "tab"]
    assert safe["'-x"].tolist() == [-1.5, 2.0] and safe["id"].tolist() == [-1, 1]
    assert safe["text"].tolist()[0] == "'@a" and safe["text"].isna().tolist() == [False, True]
    assert safe["tab"].tolist() == ["'\tb", "c=d"]


def test_a_directory_that_is_not_empty_is_refused_before_any_work(clients: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "clients.csv").write_text("mine")
    (out / "notes.txt").write_text("mine too")
    arguments = [*EXACT, "--population", clients, "--out", out]
    assert "is not empty; name another directory, or add --force" in refused(invoke(*arguments))
    assert (out / "clients.csv").read_text() == "mine"

    assert invoke(*arguments, "--force").exit_code == 0
    assert (out / "clients.csv").read_text().startswith("client,")
    assert (out / "notes.txt").read_text() == "mine too", "--force replaces tables and nothing else"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clients.csv", "out"]


def test_an_empty_directory_is_used(clients: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    assert invoke(*EXACT, "--population", clients, "--out", tmp_path / "out").exit_code == 0


def test_a_file_in_the_place_of_the_directory(clients: Path, tmp_path: Path) -> None:
    assert "is a file; name a directory" in refused(invoke(*EXACT, "--population", clients, "--out", clients))
    result = invoke(*EXACT, "--population", clients, "--out", clients / "below")
    assert result.exit_code == 2
    assert "clients.csv is a file, not a directory" in result.stderr


def test_a_disk_that_fills_up_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    frame = pd.DataFrame({"a": [1]})
    monkeypatch.setattr(Path, "write_text", full)  # the table is written, the document is not
    with pytest.raises(InputError, match="cannot be written: No space left on device"):
        export.write_directory(tmp_path / "out", {"table": frame}, {"document": "{}"}, force=False)
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------------- how it looks


def test_in_a_pipe_rows_are_lines_without_escape_codes(clients: Path) -> None:
    done = run(*EXACT, "--population", clients, env={**os.environ, "TERM": "xterm-256color"})
    assert done.returncode == 0, done.stderr
    assert ESCAPE not in done.stdout and done.stdout.isascii()
    row = next(line for line in done.stdout.splitlines() if line.startswith("=1+1"))
    assert row.split()[-1] == "yes" and len(row.split()) == 7
    assert not any(line.endswith(" ") for line in done.stdout.splitlines())


def test_a_reader_that_stops_reading_is_no_error(tmp_path: Path) -> None:
    done = subprocess.run(
        ["bash", "-c", '"$@" | head -n 1', "bash", COMMAND, *EXACT, "--json"], capture_output=True, text=True
    )
    assert done.stdout == "{\n"
    assert "Traceback" not in done.stderr


def test_letters_that_the_pipe_cannot_encode(tmp_path: Path) -> None:
    file = tmp_path / "clients.csv"
    file.write_text("client,mu,rho\n\u7535\u8bdd,10,0.01\n", encoding="utf-8")
    done = run(*EXACT, "--population", file, env={**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"})
    assert done.returncode == 0, done.stderr
    assert r"\u7535\u8bdd" in done.stdout


def on_a_terminal(*arguments: object, columns: int = 80, **environment: str) -> str:
    """What the command prints on a terminal of so many columns."""
    import fcntl
    import pty
    import struct
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    plain = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "NO_COLOR", "FORCE_COLOR")}
    command = [COMMAND, *(str(argument) for argument in arguments)]
    process = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env={**plain, "TERM": "xterm-256color", **environment}
    )
    os.close(theirs)
    printed = b""
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError as error:  # Linux reports the end of a pseudo-terminal as an input/output error
            assert error.errno == errno.EIO
            break
        if not piece:
            break
        printed += piece
    os.close(ours)
    assert process.wait() == 0, printed.decode()
    return printed.decode().replace("\r\n", "\n")


@pytest.mark.parametrize(
    "arguments",
    [EXACT, ["cross-check"], ["equilibrium"], ["audit"], ["menu", "--types", "2"]],
    ids=lambda arguments: arguments[0],
)
def test_on_a_terminal_tables_fit_its_width(arguments: list[str], clients: Path) -> None:
    printed = on_a_terminal(*arguments, "--population", clients)
    assert ESCAPE in printed or arguments[0] != "solve"
    text = re.sub(r"\x1b\[[0-9;]*m", "", printed)
    assert max(map(len, text.splitlines())) <= 80


def test_no_color(clients: Path) -> None:
    colours = re.compile(r"\x1b\[[0-9;]*3[0-7]")
    arguments = [*EXACT, "--population", clients, "--deadline", "14.9"]
    assert not colours.search(on_a_terminal(*arguments, NO_COLOR="1"))


def test_ids_cannot_command_the_terminal(tmp_path: Path) -> None:
    file = tmp_path / "clients.csv"
    file.write_text(f"client,mu,rho\n{ESCAPE}[2Jgone,10,0.01\n[red]x,10,0.01\n")
    done = run(*EXACT, "--population", file)
    assert done.returncode == 0, done.stderr
    assert ESCAPE not in done.stdout
    assert "?[2Jgone" in done.stdout and "[red]x" in done.stdout


def test_shadow_prices_are_tidy() -> None:
    solution = bo.Solution(
        problem="toy",
        solver="ipopt",
        status=bo.Status.SOLVED,
        quality=bo.Quality.LOCAL,
        certificate=None,
        _objective=1.0,
        _shadow_prices={"deadline": pd.Series({"a": 0.5, "b": 0.25}), "budget": 2.0},
    )
    rows = report.shadow_prices_table(solution).values.tolist()
    assert rows == [["deadline", "a", 0.5], ["deadline", "b", 0.25], ["budget", "", 2.0]]


# ---------------------------------------------------------------------- doctor


def test_doctor_finds_everything_working() -> None:
    done = run("doctor")
    assert done.returncode == 0, done.stdout + done.stderr
    for check in doctor.CHECKS.values():
        assert check.title in done.stdout
    assert "Everything works." in done.stdout
    assert "cyipopt" in done.stdout


def stub(module: str, code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a module in front of the installed one, for the processes that the doctor starts."""
    (tmp_path / f"{module}.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))


def test_doctor_reports_a_broken_solver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stub("cyipopt", "raise RuntimeError('broken\\nwheel')", tmp_path, monkeypatch)
    done = run("doctor", "--json")
    assert done.returncode == 1
    answer = json.loads(done.stdout)
    assert answer["works"] is False
    findings = {finding["title"]: finding for finding in answer["checks"]}
    assert findings["exact answer"]["works"] and findings["Clarabel through CVXPY"]["works"]
    broken = findings["IPOPT through Pyomo"]
    assert not broken["works"] and "broken wheel" in broken["detail"]


def test_doctor_survives_a_crash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stub("cyipopt", "import os; os.abort()", tmp_path, monkeypatch)
    (finding,) = doctor.examine([doctor.CHECKS["ipopt-pyomo"]])
    assert not finding.works and "crashed (SIGABRT)" in finding.detail


def test_doctor_does_not_wait_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stub("cyipopt", "import time; time.sleep(60)", tmp_path, monkeypatch)
    monkeypatch.setattr(doctor, "PATIENCE", 5.0)
    (finding,) = doctor.examine([doctor.CHECKS["ipopt-pyomo"]])
    assert not finding.works and finding.detail == "no answer within 5 s"


def test_doctor_says_how_to_install_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cyipopt", None)  # what find_spec takes for "not there"
    (finding,) = doctor.examine([doctor.CHECKS["ipopt-pyomo"]])
    assert not finding.works and finding.detail == "not installed: cyipopt"
    assert "pip install 'cyipopt-wheels" in finding.mend


def test_doctor_does_not_believe_a_wrong_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = doctor.Check("wrong", "wrong", (), lambda: doctor.OPTIMUM * (1 + 1e-5))
    monkeypatch.setitem(doctor.CHECKS, "wrong", wrong)
    with pytest.raises(BcflOptError, match=r"relative error 1\.0e-05"):
        doctor.run("wrong")


@pytest.mark.parametrize("module", sorted({name for check in doctor.CHECKS.values() for name in check.modules}))
def test_doctor_knows_how_to_install_every_module_it_asks_for(module: str) -> None:
    assert doctor.INSTALL[module].startswith("pip install ")
