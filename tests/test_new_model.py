"""The command new-model: what it writes runs, and nothing is overwritten."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bcfl_opt.cli import app


@pytest.mark.parametrize("language", ["pyomo", "cvxpy"])
@pytest.mark.parametrize("problem", ["1", "2", "3"])
def test_the_model_runs_as_it_is(problem: str, language: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    written = CliRunner().invoke(app, ["new-model", "mine", "--problem", problem, "--language", language])
    assert written.exit_code == 0, written.output
    done = subprocess.run([sys.executable, "-P", "mine.py"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "solved, and the recomputed residuals hold" in " ".join(done.stdout.split())
    linted = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--isolated", "--line-length", "120", "mine.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert linted.returncode == 0, linted.stdout


def test_nothing_is_overwritten_and_names_are_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text("precious")
    again = CliRunner().invoke(app, ["new-model", "mine.py"])
    assert again.exit_code == 2 and "is there already" in again.stderr
    assert (tmp_path / "mine.py").read_text() == "precious"
    for name in ("../mine", "a b", "class", "/somewhere/x", ""):
        refused = CliRunner().invoke(app, ["new-model", name])
        assert refused.exit_code == 2 and "that Python can import" in refused.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine.py"]
