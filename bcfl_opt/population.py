"""Who are the clients? ``Population``: a validated table, one row a client, ids kept everywhere."""

from __future__ import annotations

import difflib
import numbers
import re
from collections.abc import Hashable, Iterable
from decimal import Decimal
from importlib import resources
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bcfl_opt import tables
from bcfl_opt.errors import InputError, listing, shown
from bcfl_opt.layout import laid_out
from bcfl_opt.table_parts import refuse_what_memory_cannot_hold

#: The paper's symbol for each column, accepted wherever the full name is.
SYMBOLS = {
    "mu": "training_cycles",
    "rho": "energy_coefficient",
    "q": "max_speed",
    "pi": "iterations",
    "d": "cycles_per_sample",
    "D": "data_size",
}
#: Columns whose product is ``training_cycles``: mu = pi d D (section 2.2.1).
CYCLE_FACTORS = ("iterations", "cycles_per_sample", "data_size")
REQUIRED = ("training_cycles", "energy_coefficient")
_FLOATS = (*REQUIRED, "max_speed")  # what every population has


class Place(str):
    """What to call a table in messages, and the number of its first row where it is a piece of a larger one."""

    first_row: int

    def __new__(cls, source: str, first_row: int = 0) -> Place:
        place = super().__new__(cls, source)
        place.first_row = first_row
        return place


class Population:
    """The clients of one game.

    Parameters
    ----------
    frame : DataFrame, one row per client. Ids are its index or a column ``client``. Columns, by full name or the
        paper's symbol:

        ==================== ======= ==========================================================================
        column               symbol  meaning (any consistent units; the paper's are GHz and minutes)
        ==================== ======= ==========================================================================
        training_cycles      mu      cycles to train one round, > 0 [speed x time]; or the three factors
                                     ``iterations`` (pi), ``cycles_per_sample`` (d), ``data_size`` (D), mu = pi d D
        energy_coefficient   rho     chip constant of the energy cost rho x cycles x speed^2, > 0
        max_speed            q       largest CPU speed, > 0; left out or ``inf``: no limit
        ==================== ======= ==========================================================================

        Other columns are kept untouched.
    source : what to call the table in messages (a file name); a :class:`Place` if it is a piece of a larger one.

    Raises
    ------
    InputError : naming source, row, column, client and value, and what to do.

    Examples
    --------
    >>> import pandas as pd
    >>> Population(pd.DataFrame({"client": ["a", "b"], "mu": [10, 5], "rho": [0.01, 0.02]}))
    Population of 2 clients: training_cycles 5 to 10, energy_coefficient 0.01 to 0.02, no speed limits
    """

    __slots__ = ("_arrays", "_frame", "source")

    def __init__(self, frame: pd.DataFrame, source: str = "table") -> None:
        if not isinstance(frame, pd.DataFrame):
            raise InputError(
                f"a population is made from a pandas DataFrame or a file (Population.read), not {type(frame).__name__}"
            )
        self.source = source
        self._frame = _validated(frame, source)
        self._arrays: dict[str, np.ndarray] = {}
        for name in _FLOATS:
            array = self._frame[name].to_numpy(dtype=float, copy=True)
            array.flags.writeable = False
            self._arrays[name] = array

    # ------------------------------------------------------------------ where populations come from

    @classmethod
    def read(cls, path: str | PathLike[str]) -> Population:
        """Read ``.csv`` or ``.parquet``, as :mod:`bcfl_opt.tables` describes them; ``path`` is the file.

        Raises
        ------
        InputError : naming the file and, where there is one, the row and the column. Rows of a CSV are counted as a
            spreadsheet shows them, the line of names being row 1; those of a Parquet file from 0.
        """
        path = Path(path)
        suffix = path.suffix.lower()
        if suffix == ".csv":
            frame = tables.read_csv(path, _holds_numbers)
        elif suffix == ".parquet":
            refuse_what_memory_cannot_hold(path)
            frame = tables.read_parquet(path)
        else:
            raise InputError(f"{path.name or path}: a population file ends in .csv or .parquet, not {path.suffix!r}")
        return cls(frame, source=path.name)

    @classmethod
    def random(cls, n: int, seed: int | np.random.Generator | None = None, *, speed_limits: bool = False) -> Population:
        """Draw a heterogeneous population, the same for the same seed.

        training_cycles ~ 10 x Gamma with the mean 1 and coefficient of variation 88.9 / 226.8 of FEMNIST's published
        samples per client; energy_coefficient ~ U(0.005, 0.02) (the paper's 0.01 in the middle, geometrically);
        max_speed = inf, or ~ U(2, 4) with ``speed_limits``. Units: GHz and minutes. ``n`` : clients; ``seed`` : a whole number or
        a numpy Generator.

        Raises
        ------
        InputError : n or seed is no such number.
        """
        if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1:
            raise InputError(f"n: a population needs a whole number of clients, at least 1, not {n!r}")
        try:
            rng = np.random.default_rng(seed)
        except (TypeError, ValueError) as error:
            raise InputError(f"seed: {seed!r} is not a whole number, at least 0, or a numpy Generator") from error
        shape = (226.8 / 88.9) ** 2
        training_cycles = 10.0 * rng.gamma(shape, 1.0 / shape, n)
        energy_coefficient = rng.uniform(0.005, 0.02, n)
        max_speed = rng.uniform(2.0, 4.0, n) if speed_limits else np.full(n, np.inf)
        width = len(str(n - 1))
        frame = pd.DataFrame(
            {
                "client": [f"client-{k:0{width}d}" for k in range(n)],
                # A Gamma draw can come arbitrarily near zero; a client with next to no data would not be asked.
                "training_cycles": np.maximum(training_cycles, 0.1),
                "energy_coefficient": energy_coefficient,
                "max_speed": max_speed,
            }
        )
        return cls(frame, source="random population")

    @classmethod
    def sample(cls) -> Population:
        """The packaged population: 50 real phones; its assumptions stand in :mod:`bcfl_opt.sample`."""
        with resources.as_file(resources.files("bcfl_opt") / "data" / "sample.csv") as path:
            return cls.read(path)

    # ------------------------------------------------------------------ what it holds

    @property
    def frame(self) -> pd.DataFrame:
        """A copy of the table: index ``client``, validated columns first, then whatever else was given."""
        return self._frame.copy()

    @property
    def ids(self) -> pd.Index:
        """The clients' ids, in order."""
        return self._frame.index

    @property
    def training_cycles(self) -> np.ndarray:
        """mu, shape (N,) [speed x time]; read-only."""
        return self._arrays["training_cycles"]

    @property
    def energy_coefficient(self) -> np.ndarray:
        """rho, shape (N,) [money / (cycles x speed^2)]; read-only."""
        return self._arrays["energy_coefficient"]

    @property
    def max_speed(self) -> np.ndarray:
        """q, shape (N,) [speed]; ``inf`` where there is no limit; read-only."""
        return self._arrays["max_speed"]

    def select(self, ids: Iterable[Hashable]) -> Population:
        """The sub-population of these ids, in the order given. Raises InputError for an id that is not in it."""
        ids = list(ids)
        missing = [i for i in ids if i not in self._frame.index]
        if missing:
            raise InputError(f"{self.source}: no client {listing(missing)}")
        return Population(self._frame.loc[ids], source=self.source)

    def __len__(self) -> int:
        return len(self._frame)

    def __reduce__(self) -> tuple[Any, ...]:
        return Population, (self._frame, self.source)  # validated again, and again read-only, where it arrives

    def __repr__(self) -> str:
        def span(values: np.ndarray) -> str:
            low, high = values.min(), values.max()
            return f"{low:g}" if low == high else f"{low:g} to {high:g}"

        finite = self.max_speed[np.isfinite(self.max_speed)]
        limits = f"max_speed {span(finite)}" if finite.size else "no speed limits"
        count = f"{len(self)} client{'s' if len(self) > 1 else ''}"
        text = (
            f"Population of {count}: training_cycles {span(self.training_cycles)}, "
            f"energy_coefficient {span(self.energy_coefficient)}, {limits}"
        )
        return laid_out([text])

    def _repr_html_(self) -> str:
        return f"<p>{self!r}</p>{self._frame.to_html(max_rows=10)}"


def id_text(ids: pd.Index, k: int) -> str:
    """The k-th id as a user would write it: 3, where numpy would say np.int64(3)."""
    return shown(ids[k : k + 1].tolist()[0])


# ---------------------------------------------------------------------- reading and validating


def _holds_numbers(column: str) -> bool:
    return SYMBOLS.get(column, column) in (*CYCLE_FACTORS, *REQUIRED, "max_speed")


def _validated(frame: pd.DataFrame, source: str) -> pd.DataFrame:
    if frame.columns.has_duplicates:
        raise InputError(f"{source}: column {listing(frame.columns[frame.columns.duplicated()])} appears twice")
    names = {c: SYMBOLS.get(c.strip(), c.strip()) for c in frame.columns if isinstance(c, str)}
    given = {name: c for c, name in names.items()}
    frame = frame.rename(columns=names)
    if frame.columns.has_duplicates:
        twice = frame.columns[frame.columns.duplicated()]
        raise InputError(f"{source}: column {listing(twice)} is given both by its full name and its symbol; keep one")
    if len(frame) == 0:
        raise InputError(f"{source}: the table is empty; a population needs at least one client")
    _refuse_misnamed(frame, source)
    frame = _with_ids(frame, source)

    columns: dict[str, np.ndarray] = {}
    if "training_cycles" not in frame and all(c in frame for c in CYCLE_FACTORS):
        factors = [_numbers(frame, name, given, source) for name in CYCLE_FACTORS]
        with np.errstate(over="ignore"):
            columns["training_cycles"] = factors[0] * factors[1] * factors[2]
        bad = ~np.isfinite(columns["training_cycles"]) | (columns["training_cycles"] <= 0)
        if bad.any():
            k = int(np.flatnonzero(bad)[0])
            raise InputError(
                f"{source}, {_row(frame, k, source)}: iterations x cycles_per_sample x data_size = "
                f"{float(columns['training_cycles'][k])!r} is out of range; give them in other units (GHz, minutes)"
            )
    missing = [c for c in REQUIRED if c not in frame and c not in columns]
    if missing:
        symbols = {name: symbol for symbol, name in SYMBOLS.items()}
        wanted = ", ".join(f"{c!r} (or {symbols[c]!r})" for c in missing)
        extra = " or all of " + ", ".join(CYCLE_FACTORS) if "training_cycles" in missing else ""
        raise InputError(f"{source}: missing column {wanted}{extra}; it has {listing(frame.columns, 12)}")
    for name in REQUIRED:
        if name not in columns:
            columns[name] = _numbers(frame, name, given, source)
    columns["max_speed"] = (
        _numbers(frame, "max_speed", given, source, infinite=True)
        if "max_speed" in frame
        else np.full(len(frame), np.inf)
    )
    result = pd.DataFrame({name: columns[name] for name in _FLOATS}, index=frame.index)
    rest = [c for c in frame.columns if c not in result]
    return pd.concat([result, frame[rest]], axis=1)


def _refuse_misnamed(frame: pd.DataFrame, source: str) -> None:
    """Raise if a column that is not there seems to be there under another spelling; it would be passed over in silence."""
    wanted = [name for name in (*REQUIRED, "max_speed") if name not in frame]
    if "training_cycles" in wanted:
        wanted += [name for name in CYCLE_FACTORS if name not in frame]
    counted = frame.index.nlevels == 1 and frame.index.name is None and isinstance(frame.index, pd.RangeIndex)
    if "client" not in frame and counted:  # the ids would be row numbers
        wanted.append("client")
        first = frame.columns[0] if len(frame.columns) else None
        if isinstance(first, str) and re.fullmatch(_ROW_LABELS, first) and frame[first].notna().any():
            raise InputError(
                f"{source}: column {first!r} looks like the row labels of another table; name it 'client' if it holds "
                "the clients' ids, else delete it"
            )
    spellings = {_spelling(name): name for name in wanted}
    spellings |= {_spelling(symbol): name for symbol, name in SYMBOLS.items() if name in wanted and len(symbol) > 1}
    for column in frame.columns:
        if isinstance(column, str) and not _holds_numbers(column):
            near = difflib.get_close_matches(_spelling(column), spellings, n=1, cutoff=0.8)
            if near:
                name = spellings[near[0]]
                raise InputError(f"{source}: unknown column {column!r}; did you mean {name!r}? Then rename it")


#: What an index without a name is called: by our reader of CSV, by pandas', in Parquet.
_ROW_LABELS = r"unnamed column 1|Unnamed: 0|__index_level_0__"


def _spelling(column: str) -> str:
    """What is left of a name without a unit in brackets, case, and all that is neither a letter nor a digit."""
    return re.sub(r"[\W_]+", "", re.sub(r"[(\[].*", "", column)).casefold()


def _with_ids(frame: pd.DataFrame, source: str) -> pd.DataFrame:
    if "client" in frame.columns:
        frame = frame.set_index("client")
    elif frame.index.nlevels > 1:
        raise InputError(
            f"{source}: the index has {frame.index.nlevels} levels; ids must be one index or column 'client'"
        )
    else:
        frame = frame.rename_axis("client")
    ids = frame.index
    types = pd.api.types
    absent, unfit, broken = ids.isna(), np.zeros(len(ids), dtype=bool), np.zeros(len(ids), dtype=bool)
    if types.is_object_dtype(ids.dtype):
        absent |= np.fromiter((isinstance(i, str) and not i.strip() for i in ids), bool, len(ids))
        unfit |= np.fromiter(
            (isinstance(i, bool | np.bool_) or not isinstance(i, Hashable) for i in ids), bool, len(ids)
        )
        broken |= np.fromiter((isinstance(i, str) and _BREAK.search(i) is not None for i in ids), bool, len(ids))
    elif types.is_bool_dtype(ids.dtype):
        unfit |= True
    elif types.is_string_dtype(ids.dtype):
        absent |= ids.str.strip().to_numpy() == ""
        broken |= ids.str.contains(_BREAK.pattern, na=False)
    problems = (
        (absent, "the id is missing; give every client an id"),
        (unfit, "{} cannot be an id; use text or numbers"),
        (broken, "the id {} goes over a line's end; is a quotation mark missing?"),
    )
    for where, problem in problems:
        if where.any():
            k = int(np.flatnonzero(where)[0])
            raise InputError(f"{source}, {line(k, source)}, column 'client': {problem.format(id_text(ids, k))}")
    if ids.has_duplicates:
        k = int(np.flatnonzero(ids.duplicated())[0])
        problem = f"id {id_text(ids, k)} appears twice; ids must be unique"
        raise InputError(f"{source}, {line(k, source)}, column 'client': {problem}")
    return frame


_BREAK = re.compile(r"[\x00\r\n]")
#: A number as a computer writes it; Python's float would also take 1_000 and digits of other scripts.
_NUMBER = r"[ \t]*[+-]?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|(?i:inf|infinity))[ \t]*"
_TOO_LARGE = "1e999"  # is read as a number, and as one that is not finite


def _numbers(
    frame: pd.DataFrame, name: str, given: dict[str, str], source: str, *, infinite: bool = False
) -> np.ndarray:
    """The column as positive floats, or one error naming the first bad cell and how many more there are.

    given : what the columns were called before symbols were replaced, for the message. infinite : "inf" is a value too.
    """
    label = f"column {name!r}" + (f" (given as {given[name]!r})" if given[name] != name else "")
    column = frame[name]
    types = pd.api.types
    if types.is_numeric_dtype(column) and not types.is_bool_dtype(column) and not types.is_complex_dtype(column):
        with np.errstate(over="ignore"):
            values = column.to_numpy(dtype=float, na_value=np.nan)
        missing, unlimited = np.isnan(values), values == np.inf
    else:
        texts = column if isinstance(column.dtype, pd.StringDtype) else column.astype(object).map(_text)
        values, unlimited = _parsed(texts)
        missing = texts.isna().to_numpy()
    text = np.isnan(values) & ~missing
    bad = text | ~(np.isfinite(values) | (infinite & unlimited)) | (values <= 0)
    if not bad.any():
        return values
    k = int(np.flatnonzero(bad)[0])
    if text[k]:
        problem = "is not a number; write it like 1234.5"
    elif missing[k]:
        problem = "is missing" + ("; write inf for no limit" if infinite else "")
    elif not np.isfinite(values[k]):
        problem = "must be finite" + ("; write inf for no limit" if infinite else "")
    else:
        problem = "must be greater than 0"
    more = f" ({int(bad.sum()) - 1} more in this column)" if bad.sum() > 1 else ""
    (cell,) = column.iloc[k : k + 1].tolist()
    said = "" if missing[k] else f" {cell.strip()}" if isinstance(cell, str) and not text[k] else f" {shown(cell)}"
    raise InputError(f"{source}, {_row(frame, k, source)}, {label}: the value{said} {problem}{more}")


def _text(cell: Any) -> str | None:
    """A cell as text that is a number if the cell is one; None for what is missing."""
    if isinstance(cell, str):
        return cell
    if isinstance(cell, numbers.Real | Decimal) and not isinstance(cell, bool):
        if cell != cell if isinstance(cell, float) else isinstance(cell, Decimal) and cell.is_nan():
            return None
        try:
            return repr(float(cell))
        except OverflowError:
            return _TOO_LARGE if cell == abs(cell) else f"-{_TOO_LARGE}"
    return None if pd.api.types.is_scalar(cell) and pd.isna(cell) else "?"


def _parsed(texts: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Texts as floats, rounded correctly, NaN where they are no numbers; and which of them say "inf"."""
    if pd.api.types.is_object_dtype(texts.dtype):
        good = np.fromiter(
            (isinstance(t, str) and re.fullmatch(_NUMBER, t) is not None for t in texts), bool, len(texts)
        )
    else:
        good = texts.str.fullmatch(_NUMBER, na=False).to_numpy(dtype=bool)
    cells = texts.to_numpy(dtype=object)
    values = np.full(len(texts), np.nan)
    values[good] = cells[good].astype(float)
    unlimited = values == np.inf
    unlimited[unlimited] = ["inf" in cell.lower() for cell in cells[unlimited]]
    return values, unlimited


def line(k: int, source: str) -> str:
    """The k-th data row, as the reader sees it: in a CSV the header is line 1."""
    k += getattr(source, "first_row", 0)
    return f"row {k + 2}" if source.lower().endswith(".csv") else f"row {k}"


def _row(frame: pd.DataFrame, k: int, source: str) -> str:
    return f"{line(k, source)} (client {id_text(frame.index, k)})"
