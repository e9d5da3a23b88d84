"""What is finished already? Results kept in a directory as they come, so that a killed run goes on where it was.

The directory holds ``sweep.json``, which says what is computed, and one Parquet file a chunk. A file gets its name when
it is whole; one that is damaged nevertheless counts as missing.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from bcfl_opt.errors import BcflOptError, InputError
from bcfl_opt.sweeps.fingerprints import fingerprint

MANIFEST = "sweep.json"
#: Version of the layout of the directory.
LAYOUT = 1


class Checkpoints:
    """The finished chunks of one computation, in a directory.

    Parameters
    ----------
    directory : made if it does not exist.
    description : what is computed, in JSON's types; the same description means the same results.
    resume : go on with what is there; False: start anew, which deletes the chunks that are there.

    Raises
    ------
    InputError : the directory holds something else, or cannot be written.
    """

    def __init__(self, directory: Path, description: Mapping[str, Any], *, resume: bool) -> None:
        self.directory = directory
        description = {"layout": LAYOUT, **description, "fingerprint": fingerprint(description)}
        with self._writing():
            directory.mkdir(parents=True, exist_ok=True)
            manifest = directory / MANIFEST
            if manifest.is_file():
                held = self._read(manifest)
                if not resume:
                    for file in self._chunks():
                        file.unlink()
                elif held.get("fingerprint") != description["fingerprint"] or held.get("layout") != LAYOUT:
                    raise InputError(
                        f"out: {directory} holds another sweep ({_difference(held, description)}); name another "
                        "directory, or pass resume=False to replace it"
                    )
            elif any(directory.iterdir()):
                raise InputError(f"out: {directory} is not empty and holds no sweep; name another directory")
            self._write(MANIFEST, (json.dumps(description, indent=1) + "\n").encode())

    def finished(self, number: int, cells: list[int]) -> pa.Table | None:
        """The chunk of this number if it is there and holds these cells."""
        file = self.directory / _name(number)
        if not file.is_file():
            return None
        try:
            table = pq.read_table(file, memory_map=False)
        except (OSError, pa.ArrowInvalid):  # cut short by a full disk or a failing machine
            return None
        return table if table.column_names[0] == "cell" and table["cell"].to_pylist() == cells else None

    def keep(self, number: int, table: pa.Table) -> None:
        """Write a chunk; it is there from the moment it is whole."""
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd")
        with self._writing():
            self._write(_name(number), sink.getvalue())

    def _chunks(self) -> list[Path]:
        return sorted(self.directory.glob("chunk-*.parquet"))

    def _write(self, name: str, content: Any) -> None:
        partial = self.directory / f".{name}.{secrets.token_hex(4)}.partial"
        try:
            partial.write_bytes(content)
            os.replace(partial, self.directory / name)
        finally:
            partial.unlink(missing_ok=True)

    def _read(self, manifest: Path) -> dict[str, Any]:
        try:
            held = json.loads(manifest.read_text(encoding="utf-8"))
        except ValueError as error:
            raise InputError(f"out: {manifest} cannot be read: {error}; name another directory") from error
        if not isinstance(held, dict):
            raise InputError(f"out: {manifest} is no manifest of a sweep; name another directory")
        return held

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            there = len(self._chunks()) if self.directory.is_dir() else 0
            kept = (
                f"; the {there} chunks that were written are kept, and a new run goes on with the rest" if there else ""
            )
            raise BcflOptError(f"out: {self.directory} cannot be written: {error.strerror or error}{kept}") from error


def _name(number: int) -> str:
    return f"chunk-{number:06d}.parquet"


def _difference(held: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """The first entry in which two descriptions differ, in words."""
    if held.get("layout") != wanted["layout"]:
        return f"written in layout {held.get('layout')}, this is layout {wanted['layout']}"
    for key in dict.fromkeys((*wanted, *held)):
        there, here = held.get(key), wanted.get(key)
        if there == here or key == "fingerprint":
            continue
        if isinstance(there, dict) and isinstance(here, dict):
            inner = next((name for name in [*here, *there] if there.get(name) != here.get(name)), None)
            if inner is not None:
                return f"its {key} {inner} is {_short(there.get(inner))}, here {_short(here.get(inner))}"
        return f"its {key} is {_short(there)}, here {_short(here)}"
    return "its description differs"


def _short(value: Any, limit: int = 60) -> str:
    text = json.dumps(value)
    return text if len(text) <= limit else f"{text[: limit - 3]}..."
