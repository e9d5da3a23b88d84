"""Where does the table of clients of a population in parts go? One Parquet file, or a directory of them; whole, or not at all."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from bcfl_opt.errors import InputError
from bcfl_opt.parts.source import partial_name


@dataclasses.dataclass(eq=False)
class Target:
    """A file or directory that is written under a hidden name beside it, and renamed at the end.

    path : what it will be called. partial : what it is called until then. single : one file for all parts. abandoned : it
    is not to appear after all.
    """

    path: Path
    partial: Path
    single: bool
    abandoned: bool = False
    _writer: Any = None

    @classmethod
    @contextlib.contextmanager
    def opened(cls, out: Any, overwrite: bool, *, one_process: bool) -> Iterator[Target | None]:
        """The target for ``out`` (None for none); it gets its name if the block ends well, and vanishes if not."""
        if out is None:
            yield None
            return
        path = Path(out).absolute()
        single = path.suffix.lower() == ".parquet"
        if single and not one_process:
            raise InputError(f"out: {out}: several workers write a directory of Parquet files; name a directory")
        _check(path, single, overwrite)
        target = cls(path, partial_name(path), single)
        try:
            with _writing(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                if not single:
                    target.partial.mkdir()
            yield target
            with _writing(path):
                target._close()
                if not target.abandoned:
                    _replace(target.partial, path)
        finally:
            target._close()
            if target.partial.is_dir():
                shutil.rmtree(target.partial, ignore_errors=True)
            else:
                target.partial.unlink(missing_ok=True)

    @staticmethod
    @contextlib.contextmanager
    def sheet(target: Target | None, number: int) -> Iterator[Callable[[pd.DataFrame], None]]:
        """A function that writes rows of the part of this number: to a file of its own, or on to the one file."""
        if target is None:
            yield lambda _: None
            return
        own = target if target.single else Target(target.path, target.partial / f"part-{number:06d}.parquet", True)
        yield own._write
        if not target.single:
            with _writing(target.path):
                own._close()

    def _write(self, clients: pd.DataFrame) -> None:
        table = pa.Table.from_pandas(clients.reset_index(), preserve_index=False)
        with _writing(self.path):
            if self._writer is None:
                self._writer = pq.ParquetWriter(self.partial, table.schema)
            self._writer.write_table(table)

    def _close(self) -> None:
        if self._writer is not None:
            writer, self._writer = self._writer, None
            writer.close()


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(f"out: {path} cannot be written: {error.strerror or error}; nothing was left there") from error


def _check(path: Path, single: bool, overwrite: bool) -> None:
    if single and path.is_dir():
        raise InputError(f"out: {path} is a directory; name a file that is not there yet")
    if not single and path.is_file():
        raise InputError(f"out: {path} is a file; name one that ends in .parquet, or a directory")
    if single and path.is_file() and not overwrite:
        raise InputError(f"out: {path} is there already; name another file, or overwrite it (overwrite=True, --force)")
    if not single and path.is_dir():
        held = list(path.iterdir())
        if held and not overwrite:
            raise InputError(
                f"out: {path} is not empty; name another directory, or overwrite it (overwrite=True, --force)"
            )
        if strangers := [
            file.name for file in held if not (file.name.startswith("part-") and file.suffix == ".parquet")
        ]:
            raise InputError(f"out: {path} holds {strangers[0]!r}, which is no part of a table; name another directory")


def _replace(partial: Path, path: Path) -> None:
    if not path.is_dir():
        os.replace(partial, path)
        return
    old = partial_name(path)
    path.rename(old)
    partial.rename(path)
    shutil.rmtree(old, ignore_errors=True)
