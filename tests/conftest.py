"""Which package do the tests test? The installed one, and the header says where it is.

``python -m pytest`` puts the working directory in front of ``sys.path``, and with it the sources. The repository's root
therefore steps aside.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != ROOT]

if importlib.util.find_spec("bcfl_opt") is None or importlib.util.find_spec("bcfl_opt.models") is None:
    pytest.exit("bcfl_opt is not installed in this environment: pip install '.[test]', or -e '.[test]'", returncode=2)


def pytest_report_header() -> str:
    import bcfl_opt

    return f"bcfl_opt {bcfl_opt.__version__} from {Path(bcfl_opt.__file__).parent}"
