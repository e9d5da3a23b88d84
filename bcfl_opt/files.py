"""How does a file appear on disk? Whole or not at all, and never over another one unless told so.

Everything is written beside its place under a hidden name (``.NAME.XXXXXXXX.partial``), flushed to the disk and then
renamed, which no reader sees half done. Whatever goes wrong on the way, a full disk or Ctrl-C, leaves the place as it
was. Only the path that was asked for decides where that is; a symbolic link in it is replaced, not followed.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from bcfl_opt.errors import InputError, listing


def read_bytes(path: Path) -> bytes:
    """What the file holds; InputError where there is none, or it is none that can be read."""
    name = path.name or str(path)
    _refuse_nul(path)
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise InputError(f"{name}: is a folder, not a file: {path}")
        if not stat.S_ISREG(mode):  # a pipe would be waited for, a device might never end
            raise InputError(f"{name}: is not a regular file: {path}")
        return path.read_bytes()
    except FileNotFoundError as error:
        raise InputError(f"{name}: no such file at {path}") from error
    except OSError as error:
        raise InputError(f"{name}: cannot be read: {_reason(error)}: {path}") from error


@contextlib.contextmanager
def new_file(*paths: Path, overwrite: bool) -> Iterator[tuple[Path, ...]]:
    """Paths to write to; when the block ends well, what was written there is at ``paths``: all of it, or nothing.

    Raises
    ------
    InputError : the folder is missing, there is something at a path already (with ``overwrite``: something that is no
        file), or writing fails.
    """
    for path in paths:
        _check_file(path, overwrite=overwrite)
    partials = tuple(_partial(path.parent, path.name) for path in paths)
    made: list[Path] = []
    path = paths[0]
    try:
        yield partials
        for partial in partials:
            _flush(partial)
        for partial, path in zip(partials, paths, strict=True):
            if overwrite:
                os.replace(partial, path)
            else:
                _rename_to_new(partial, path)
                made.append(path)
        made.clear()
    except FileExistsError as error:
        raise InputError(_taken(path)) from error
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {_reason(error)}") from error
    except UnicodeEncodeError as error:
        raise InputError(f"{path}: {_unwritable(error)}") from error
    finally:
        for leftover in (*partials, *made):
            with contextlib.suppress(OSError):
                leftover.unlink()


def check_folder(folder: Path, *, force: bool, label: str) -> None:
    """Refuse, before any work is done, a folder that :func:`new_files` would refuse. ``label`` is how messages call it."""
    try:
        if folder.is_dir():
            if not force and any(folder.iterdir()):
                raise InputError(f"{label}: is not empty; name another directory, or add --force to replace its tables")
            parent = folder
        elif os.path.lexists(folder):
            raise InputError(f"{label}: is a file; name a directory")
        else:
            parent = next(above for above in folder.absolute().parents if os.path.lexists(above))
            if not parent.is_dir():
                raise InputError(f"{label}: {parent} is a file, not a directory")
        if not os.access(parent, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids):
            raise InputError(f"{label}: cannot be written: no permission to write in {parent}")
    except OSError as error:
        raise InputError(f"{label}: cannot be written: {_reason(error)}") from error


@contextlib.contextmanager
def new_files(folder: Path, *, force: bool, label: str) -> Iterator[Path]:
    """A folder to write files to; when the block ends well, all of them are in ``folder``, else none is.

    ``folder`` is made if it is missing. With ``force`` files of the same names in it are replaced, others left alone.
    """
    check_folder(folder, force=force, label=label)
    place = Path(os.path.realpath(folder))
    partial = _partial(place.parent, place.name)
    try:
        partial.mkdir(parents=True)
        yield partial
        for file in partial.iterdir():
            _flush(file)
        if place.exists():
            _move_into(partial, place, label)
        else:
            partial.rename(place)
    except OSError as error:
        raise InputError(f"{label}: cannot be written: {_reason(error)}") from error
    except UnicodeEncodeError as error:
        raise InputError(f"{label}: {_unwritable(error)}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


# ---------------------------------------------------------------------- how


def _partial(folder: Path, name: str) -> Path:
    return folder / f".{name[:40]}.{secrets.token_hex(4)}.partial"


def _taken(path: Path) -> str:
    return f"{path}: exists already; name another file, or pass overwrite=True to replace it"


def _reason(error: OSError) -> str:
    """In the system's words; libraries that raise an OSError of their own only keep its number."""
    return os.strerror(error.errno) if error.errno else str(error)


def _unwritable(error: UnicodeEncodeError) -> str:
    letter = error.object[error.start : error.end]
    return f"cannot be written: {letter!r} is no character that UTF-8 has; an id or another text holds it"


def _check_file(path: Path, *, overwrite: bool) -> None:
    _refuse_nul(path)
    try:
        if not path.parent.is_dir():
            raise InputError(f"{path}: there is no folder {path.parent}; make it first")
        if os.path.lexists(path):
            mode = path.lstat().st_mode
            if not stat.S_ISREG(mode) and not stat.S_ISLNK(mode):
                kind = "folder" if stat.S_ISDIR(mode) else "device or pipe"
                raise InputError(f"{path}: is a {kind}; name a file")
            if not overwrite:
                raise InputError(_taken(path))
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {_reason(error)}") from error


def _refuse_nul(path: Path) -> None:
    if "\0" in str(path):
        raise InputError(f"{str(path)!r}: is not the name of a file")


def _flush(file: Path) -> None:
    """Have the disk hold the content before the name points to it."""
    with file.open("rb+") as handle:
        os.fsync(handle.fileno())


def _rename_to_new(partial: Path, path: Path) -> None:
    """Rename; FileExistsError if somebody else has made ``path`` in the meantime."""
    try:
        os.link(partial, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        if os.path.lexists(path):
            raise FileExistsError(path) from None
        os.replace(partial, path)


def _move_into(partial: Path, place: Path, label: str) -> None:
    """Replace the files of the same names in ``place``; if one cannot be replaced, put back those that were."""
    files = sorted(partial.iterdir())
    occupied = [file.name for file in files if (place / file.name).is_dir() and not (place / file.name).is_symlink()]
    if occupied:
        raise InputError(f"{label}: holds a folder {listing(occupied)}, where a file is to be written")
    old = partial / "old"
    old.mkdir()
    for file in files:
        if os.path.lexists(place / file.name):
            shutil.copy2(place / file.name, old / file.name, follow_symlinks=False)
    done: list[str] = []
    try:
        for file in files:
            done.append(file.name)
            os.replace(file, place / file.name)
    except BaseException:
        for name in done:
            if os.path.lexists(old / name):
                os.replace(old / name, place / name)
            else:
                (place / name).unlink(missing_ok=True)
        raise
