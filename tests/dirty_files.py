"""Files as people really have them: tables and configurations that are wrong in one known place each.

Every case knows what is wrong with it: which row, which column, in which words. ``tests/test_dirty_files.py`` hands
them to the package and to the command line.
"""

from __future__ import annotations

import dataclasses
import datetime
import io
import zipfile
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

#: The table that every case spoils in one place.
COLUMNS = ("client", "mu", "rho", "q")
ROWS = (("a", "10", "0.01", "3"), ("b", "5", "0.02", "2.5"), ("c", "8", "0.01", "inf"), ("d", "7.5", "1e-2", "4"))
FULL_NAMES = {"mu": "training_cycles", "rho": "energy_coefficient", "q": "max_speed"}


@dataclasses.dataclass(frozen=True)
class Case:
    """A file's ending and content, and what a message about it must say."""

    name: str
    ending: str
    content: bytes
    words: tuple[str, ...] = ()

    def write(self, folder: Path) -> Path:
        file = folder / f"clients{self.ending}"
        file.write_bytes(self.content)
        return file


def csv_of(rows: list[list[str]], separator: str = ",", end: str = "\n") -> str:
    return "".join(separator.join(row) + end for row in rows)


def good_rows() -> list[list[str]]:
    return [list(COLUMNS), *map(list, ROWS)]


def with_cell(k: int, column: str, text: str) -> str:
    rows = good_rows()
    rows[k + 1][COLUMNS.index(column)] = text
    return csv_of(rows)


# ---------------------------------------------------------------------- one bad cell in a CSV

NOT_A_NUMBER = {
    "word": "ten",
    "decimal comma": '"10,5"',
    "thousands comma": '"1,000"',
    "thousands space": "1 000",
    "thousands hard space": "1\xa0000",
    "thousands apostrophe": "1'000",
    "thousands underscore": "1_000",
    "unit": "10 GHz",
    "unit without space": "10GHz",
    "percent": "10%",
    "currency": "$10",
    "unicode minus": "\u22125",
    "en dash": "\u20135",
    "arabic digits": "\u0661\u0662",
    "full-width digits": "\uff11\uff12",
    "superscript": "10\u00b2",
    "fraction": "\u00bd",
    "hard space": "\xa05",
    "zero-width space": "\u200b5",
    "soft hyphen": "5\u00ad0",
    "hexadecimal": "0x10",
    "Fortran exponent": "1d3",
    "C suffix": "5L",
    "two points": "1.2.3",
    "no mantissa": "e5",
    "no exponent": "1e",
    "two signs": "--5",
    "boolean": "TRUE",
    "date": "2024-01-31",
    "Excel date": "31.01.2024",
    "time": "10:30",
    "NA": "NA",
    "nan": "nan",
    "null": "NULL",
    "None": "None",
    "dash": "-",
    "question mark": "?",
    "less than": "<5",
    "about": "~5",
    "range": "5-10",
    "plus minus": "5\u00b11",
    "list": '"[5, 6]"',
    "JSON": '"{""value"": 5}"',
    "formula": "=5+5",
    "formula on a cell": "=A1",
    "text number of Excel": "'5",
    "text formula of Excel": '"=""10"""',
    "Excel error": "#N/A",
    "Excel division": "#DIV/0!",
    "Excel reference": "#REF!",
    "Excel width": "#####",
    "complex": "5+0j",
    "code": "__import__('os').getcwd()",
    "HTML": "<b>5</b>",
    "escape": "\x1b[31m5",
    "bell": "5\x07",
    "emoji": "\U0001f4f1",
    "right to left": "\u202e5",
    "long text": "x" * 5000,
    "line break": '"5\n6"',
    "quotes": '"""5"""',
}
NOT_FINITE = {
    "infinite": "inf",
    "minus infinite": "-inf",
    "too large": "1e400",
    "huge": "9" * 400,
    "minus huge": "-" + "9" * 400,
}
NOT_POSITIVE = {"zero": "0", "minus zero": "-0.0", "negative": "-5", "too small": "1e-400"}
MISSING = {"empty": "", "quoted empty": '""'}


def csv_cells() -> Iterator[Case]:
    """One bad cell, in each column of numbers, at changing rows."""
    groups = (
        (NOT_A_NUMBER, "is not a number"),
        (NOT_FINITE, "must be finite"),
        (NOT_POSITIVE, "must be greater than 0"),
        (MISSING, "is missing"),
    )
    k = 0
    for column in ("mu", "rho", "q"):
        for group, problem in groups:
            for name, text in group.items():
                if (column, text) == ("q", "inf"):
                    continue  # that is what no limit is called
                k = (k + 1) % len(ROWS)
                place = f"clients.csv, row {k + 2} (client {ROWS[k][0]!r}), column {FULL_NAMES[column]!r}"
                yield Case(f"{name} in {column}", ".csv", with_cell(k, column, text).encode(), (place, problem))


def csv_ids() -> Iterator[Case]:
    for name, text, words in (
        ("no id", "", ("row 4, column 'client'", "the id is missing")),
        ("blank id", "  ", ("row 4, column 'client'", "the id is missing")),
        ("hard blank id", "\xa0", ("row 4, column 'client'", "the id is missing")),
        ("twice", "a", ("row 4, column 'client'", "id 'a' appears twice")),
        ("line break", '"c\nx"', ("row 4, column 'client'", "goes over a line's end")),
    ):
        yield Case(name, ".csv", with_cell(2, "client", text).encode(), ("clients.csv", *words))


# ---------------------------------------------------------------------- a CSV that is wrong as a whole


def excel_workbook() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        archive.writestr("xl/workbook.xml", "<workbook/>")
    return buffer.getvalue()


def csv_files() -> Iterator[Case]:
    good = csv_of(good_rows())
    lines = good.splitlines(keepends=True)

    def case(name: str, content: str | bytes, *words: str) -> Case:
        return Case(name, ".csv", content if isinstance(content, bytes) else content.encode(), ("clients.csv", *words))

    def header(*names: str) -> str:
        return csv_of([list(names), *map(list, ROWS)])

    yield case("empty", "", "its first line does not name the columns")
    yield case("line breaks only", "\n\n\n", "its first line does not name the columns")
    yield case("a byte-order mark and nothing", b"\xef\xbb\xbf", "its first line does not name the columns")
    yield case("names only", lines[0], "the table is empty")
    yield case("names and commas", lines[0] + ",,,\n", "the table is empty")
    yield case("no names", "".join(lines[1:]), "missing column")
    yield case("a title above", "Clients of 2024,,,\n" + good, "missing column")
    yield case("a comment above", "# clients\n" + good, "row 2, column 2: the row has 4 cells, and row 1 names 1")
    yield case("an empty line above", "\n" + good, "its first line does not name the columns")
    yield case("an empty line within", good.replace(lines[2], "\n" + lines[2]), "row 3, column 'client'")
    yield case("the names again", good.replace(lines[3], lines[0] + lines[3]), "row 4 (client 'client')")
    yield case(
        "a sum below", good + "total,30.5,,\n", "row 6 (client 'total'), column 'energy_coefficient'", "is missing"
    )
    yield case("semicolons", csv_of(good_rows(), ";"), "row 1: the cells are separated by semicolons")
    yield case("tabs", csv_of(good_rows(), "\t"), "row 1: the cells are separated by tabs")
    yield case("bars", csv_of(good_rows(), "|"), "row 1: the cells are separated by bars")
    yield case("semicolons and decimal commas", csv_of(good_rows(), ";").replace(".", ","), "separated by semicolons")
    yield case("blanks", csv_of(good_rows(), "  "), "missing column")
    yield case("Excel's separator line", "sep=,\n" + good, "row 1: 'sep=' is no line of names; delete it")
    yield case(
        "Excel's other separator line", "sep=;\n" + csv_of(good_rows(), ";"), "row 1: 'sep=;' is no line of names"
    )
    yield case("unquoted decimal commas", good.replace("7.5", "7,5"), "row 5, column 5: the row has 5 cells")
    yield case("a cell too many", good.replace("2.5\n", "2.5,9\n"), "row 3, column 5: the row has 5 cells")
    yield case(
        "a cell too many in every row", "".join([lines[0], *(line[:-1] + ",9\n" for line in lines[1:])]), "row 2, col"
    )
    yield case("an empty cell too many in one row", good.replace("2.5\n", "2.5,\n"), "row 3, column 5")
    yield case("a cell too few", good.replace(",2.5\n", "\n"), "row 3 (client 'b'), column 'max_speed'", "is missing")
    yield case("cut off", good[: good.index("1e-2")], "row 5 (client 'd'), column 'energy_coefficient'", "is missing")
    yield case(
        "quotes not closed", good.replace("b,", '"b,'), "row 3: the quotation mark that opens here is not closed"
    )
    yield case("quotes not closed at the end", good.replace("4\n", '"4'), "row 5: the quotation mark")
    yield case("quotes not closed above", '"' + good, "row 1")
    yield case("quotes across rows", good.replace("b,", '"b,').replace("d,", '"d,'), "row 3")
    yield case("letters after quotes", good.replace("b,", '"b"x,'), "row 3")
    yield case("a name twice", header("client", "mu", "rho", "mu"), "column 'mu' appears twice")
    yield case("a name and its symbol", header("client", "mu", "rho", "training_cycles"), "full name and its symbol")
    yield case("a missing column", header("client", "mu", "x", "q"), "missing column 'energy_coefficient' (or 'rho')")
    yield case("no name of a column", header("client", "mu", "", "q"), "missing column 'energy_coefficient' (or 'rho')")
    yield case("a name over two lines", header("client", '"m\nu"', "rho", "q"), "row 1: a column's name goes over two")
    for wrong, right, spelling in (
        ("client", "client", "Client"),
        ("client", "client", "CLIENT"),
        ("client", "client", "clients"),
        ("client", "client", "clinet"),
        ("mu", "training_cycles", "Training_Cycles"),
        ("mu", "training_cycles", "training cycles"),
        ("mu", "training_cycles", "training-cycles"),
        ("mu", "training_cycles", "trainingCycles"),
        ("mu", "training_cycles", "training_cycle"),
        ("mu", "training_cycles", "training_cycles [GHz min]"),
        ("mu", "training_cycles", "MU"),
        ("rho", "energy_coefficient", "Rho"),
        ("rho", "energy_coefficient", "energy_coeficient"),
        ("rho", "energy_coefficient", "\u200benergy_coefficient"),
        ("q", "max_speed", "Max_Speed"),
        ("q", "max_speed", "max speed"),
        ("q", "max_speed", "maxspeed"),
        ("q", "max_speed", "max_sped"),
        ("q", "max_speed", "max_speed (GHz)"),
    ):
        names = [spelling if name == wrong else name for name in COLUMNS]
        yield case(f"{spelling!r} for {right}", header(*names), f"unknown column {spelling!r}; did you mean {right!r}?")
    for label in ("", "Unnamed: 0", "__index_level_0__"):
        shown = label or "unnamed column 1"
        yield case(
            f"row labels called {label!r}",
            header(label, "mu", "rho", "q"),
            f"column {shown!r} looks like the row labels",
        )
    yield case("UTF-16", good.encode("utf-16"), "is text in UTF-16, not CSV; save it as CSV UTF-8")
    yield case("UTF-16, big end first", b"\xfe\xff" + good.encode("utf-16-be"), "is text in UTF-16")
    yield case("UTF-16 without a mark", good.encode("utf-16-le"), "row 1", "holds a NUL byte")
    yield case("UTF-32", good.encode("utf-32"), "is text in UTF-16")
    yield case(
        "Latin-1", good.replace("c,", "\u00e9,").encode("latin-1"), "row 4, column 'client': byte 0xe9 is not UTF-8"
    )
    yield case(
        "Windows", good.replace("7.5", "7.5 \u20ac").encode("cp1252"), "row 5, column 'mu': byte 0x80 is not UTF-8"
    )
    yield case("a NUL", good.replace("0.02", "0.\x0002"), "row 3, column 'rho': holds a NUL byte")
    yield case("NULs at the end", good + "\0" * 64, "row 6, column 'client': holds a NUL byte")
    yield case("a workbook", excel_workbook(), "is a zip archive or an Excel workbook, not CSV")
    yield case("an old workbook", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(512), "is an Excel workbook, not CSV")
    yield case("gzip", b"\x1f\x8b\x08" + bytes(32), "is a gzip archive, not CSV")
    yield case("PDF", b"%PDF-1.7\n" + bytes(64), "is a PDF document, not CSV")
    yield case("a Parquet file", parquet_of(good_frame()), "is a Parquet file, not CSV")
    yield case("HTML", "<!DOCTYPE html><html><body>404</body></html>", "the table is empty")
    yield case("JSON", '[{"client": "a", "mu": 10, "rho": 0.01}]', "the table is empty")
    yield case("random bytes", bytes(np.random.default_rng(7).integers(128, 256, 400, dtype=np.uint8)), "is not UTF-8")
    factors = "client,pi,d,D,rho\na,5,0.01,200,0.01\nb,5,{},200,0.01\n"
    yield case("a bad factor", factors.format("x"), "row 3 (client 'b'), column 'cycles_per_sample' (given as 'd')")
    yield case("factors whose product is infinite", factors.format("1e308"), "row 3 (client 'b'): iterations x cycles")
    yield case(
        "a factor that is missing", "client,pi,d,rho\na,5,0.01,0.01\n", "missing column 'training_cycles' (or 'mu')"
    )


def good_csv_files() -> Iterator[tuple[str, bytes]]:
    """Odd, and right: nothing here may be refused, and all hold the same four clients."""
    good = csv_of(good_rows())
    yield "as it is", good.encode()
    yield "a byte-order mark", b"\xef\xbb\xbf" + good.encode()
    yield "Windows line ends", good.replace("\n", "\r\n").encode()
    yield "old Macintosh line ends", good.replace("\n", "\r").encode()
    yield "no line end at the end", good.rstrip("\n").encode()
    yield "empty lines at the end", (good + "\n\n").encode()
    yield "commas at the end", (good + ",,,\n").encode()
    yield "a comma at every line's end", good.replace("\n", ",\n").encode()
    yield "quotes around everything", csv_of([[f'"{cell}"' for cell in row] for row in good_rows()]).encode()
    yield (
        "spaces around names and numbers",
        good.replace(",", " , ")
        .replace("a ,", "a,")
        .replace("b ,", "b,")
        .replace("c ,", "c,")
        .replace("d ,", "d,")
        .replace("client ,", "client,")
        .encode(),
    )
    yield "full names", good.replace("mu,rho,q", "training_cycles,energy_coefficient,max_speed").encode()
    yield "signs and exponents", good.replace(",10,", ",+1.0E+1,").replace("inf", "+Infinity").encode()
    yield "another order", csv_of([row[::-1] for row in good_rows()]).encode()


# ---------------------------------------------------------------------- Parquet


def good_frame() -> pd.DataFrame:
    return pd.DataFrame(
        {"client": ["a", "b", "c", "d"], "mu": [10.0, 5.0, 8.0, 7.5], "rho": [0.01, 0.02, 0.01, 0.01], "q": 3.0}
    )


def parquet_of(table: pd.DataFrame | pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(
        pa.Table.from_pandas(table, preserve_index=False) if isinstance(table, pd.DataFrame) else table, sink
    )
    return sink.getvalue()


def parquet_columns() -> dict[str, tuple[pa.Array, int, str]]:
    """A column of numbers of a type that is none, or with a cell that is none: array, bad row, problem."""
    day = datetime.datetime(2024, 1, 31)
    return {
        "text": (pa.array(["1", "ten", "3", "4"]), 1, "'ten' is not a number"),
        "decimal commas": (pa.array(["1", "2", "3,5", "4"]), 2, "'3,5' is not a number"),
        "dictionary of text": (pa.array(["1", "2", "x", "4"]).dictionary_encode(), 2, "'x' is not a number"),
        "large text": (pa.array(["1", "2", "3", ""], pa.large_string()), 3, "'' is not a number"),
        "null": (pa.array([1.0, None, 3.0, 4.0]), 1, "the value is missing"),
        "nulls only": (pa.nulls(4), 0, "the value is missing"),
        "NaN": (pa.array([1.0, 2.0, np.nan, 4.0]), 2, "the value is missing"),
        "infinite": (pa.array([1.0, np.inf, 3.0, 4.0]), 1, "must be finite"),
        "minus infinite": (pa.array([1.0, -np.inf, 3.0, 4.0]), 1, "must be finite"),
        "zero": (pa.array([1, 2, 0, 4]), 2, "must be greater than 0"),
        "negative": (pa.array([1, 2, 3, -4], pa.int8()), 3, "must be greater than 0"),
        "negative decimal": (
            pa.array([Decimal("1.5"), Decimal("-2.5"), None, None], pa.decimal128(5, 2)),
            1,
            "greater than 0",
        ),
        "boolean": (pa.array([True, False, True, True]), 0, "True is not a number"),
        "boolean with null": (pa.array([None, True, False, True]), 0, "the value is missing"),
        "date": (pa.array([day.date()] * 4), 0, "is not a number"),
        "time": (pa.array([day.time()] * 4), 0, "is not a number"),
        "timestamp": (pa.array([day] * 4, pa.timestamp("ns")), 0, "is not a number"),
        "timestamp with zone": (pa.array([day] * 4, pa.timestamp("us", "Europe/Berlin")), 0, "is not a number"),
        "duration": (pa.array([1, 2, 3, 4], pa.duration("s")), 0, "is not a number"),
        "list": (pa.array([[1.0], [2.0], [3.0], [4.0]]), 0, "is not a number"),
        "list of lists": (pa.array([[[1.0]], [[2.0]], [[3.0]], [[4.0]]]), 0, "is not a number"),
        "long list": (pa.array([list(range(1000))] * 4), 0, "is not a number"),
        "struct": (pa.array([{"value": 1.0, "unit": "GHz"}] * 4), 0, "is not a number"),
        "map": (pa.array([[("a", 1)]] * 4, pa.map_(pa.string(), pa.int64())), 0, "is not a number"),
        "binary": (pa.array([b"1", b"2", b"3", b"4"]), 0, "is not a number"),
        "fixed binary": (pa.array([b"12"] * 4, pa.binary(2)), 0, "is not a number"),
    }


def parquet_files() -> Iterator[Case]:
    def case(name: str, content: bytes | pd.DataFrame | pa.Table, *words: str) -> Case:
        content = content if isinstance(content, bytes) else parquet_of(content)
        return Case(name, ".parquet", content, ("clients.parquet", *words))

    table = pa.Table.from_pandas(good_frame(), preserve_index=False)
    for column in ("mu", "rho", "q"):
        for name, (array, row, problem) in parquet_columns().items():
            if (name, column) == ("infinite", "q"):
                continue
            place = f"row {row} (client {'abcd'[row]!r}), column {FULL_NAMES[column]!r} (given as {column!r})"
            yield case(f"{name} in {column}", table.set_column(COLUMNS.index(column), column, array), place, problem)
    for name, ids, row, problem in (
        ("null id", pa.array(["a", None, "c", "d"]), 1, "the id is missing"),
        ("blank id", pa.array(["a", "b", " ", "d"]), 2, "the id is missing"),
        ("NaN id", pa.array([1.0, 2.0, 3.0, np.nan]), 3, "the id is missing"),
        ("id twice", pa.array([1, 2, 3, 2]), 3, "id 2 appears twice"),
        ("id twice in a dictionary", pa.array(["a", "b", "b", "d"]).dictionary_encode(), 2, "id 'b' appears twice"),
        ("time twice", pa.array([1, 2, 2, 3], pa.timestamp("s", "UTC")), 2, "appears twice"),
        ("list id", pa.array([["a"], ["b"], ["c"], ["d"]]), 0, "cannot be an id"),
        ("struct id", pa.array([{"a": 1}] * 4), 0, "cannot be an id"),
        ("boolean id", pa.array([True, False, True, False]), 0, "cannot be an id"),
        ("id over two lines", pa.array(["a", "b\nb", "c", "d"]), 1, "goes over a line's end"),
    ):
        plain = table.replace_schema_metadata()
        yield case(name, plain.set_column(0, "client", ids), f"row {row}, column 'client'", problem)
    yield case("no rows", table.slice(0, 0), "the table is empty")
    yield case("no columns", pa.table({}), "the table is empty")
    yield case("a missing column", table.drop_columns("rho"), "missing column 'energy_coefficient' (or 'rho')")
    yield case(
        "another spelling", table.rename_columns(["client", "MU", "rho", "q"]), "did you mean 'training_cycles'?"
    )
    yield case(
        "another spelling of the limit", table.rename_columns(["client", "mu", "rho", "Max Speed"]), "'max_speed'?"
    )
    yield case("row labels", table.rename_columns(["__index_level_0__", "mu", "rho", "q"]), "looks like the row labels")
    yield case(
        "a column twice",
        pa.table([table["client"], table["mu"], table["mu"], table["rho"]], ["client", "mu", "mu", "rho"]),
    )
    yield case("two levels of index", pa.Table.from_pandas(good_frame().set_index(["client", "q"])), "2 levels")
    good = parquet_of(table)
    yield case("empty", b"", "is not a Parquet file")
    yield case("text", b"client,mu,rho\na,1,0.01\n", "is not a Parquet file")
    yield case("zip", excel_workbook(), "is a zip archive or an Excel workbook, not Parquet")
    yield case("cut in the middle", good[: len(good) // 2], "the end of this Parquet file is missing")
    yield case("cut at the end", good[:-3], "the end of this Parquet file is missing")
    yield case("only the magic", b"PAR1PAR1", "cannot be read as Parquet")
    yield case("nothing between the magic", b"PAR1" + bytes(100) + b"PAR1", "cannot be read as Parquet")
    yield case("a footer of noise", good[:-60] + bytes(range(52)) + good[-8:], "cannot be read as Parquet")
    yield case("a footer that is too long", good[:-8] + b"\xff\xff\xff\x7f" + b"PAR1", "cannot be read as Parquet")
    wrong = table.replace_schema_metadata(
        {"pandas": '{"index_columns": ["nope"], "columns": [], "column_indexes": []}'}
    )
    yield case("metadata about a column that is not there", wrong)
    yield case("metadata that is no JSON", table.replace_schema_metadata({"pandas": "{"}))


# ---------------------------------------------------------------------- TOML


def toml_files() -> Iterator[Case]:
    prices = "training_price = 0.05\nmining_price = 0.05\n"

    def case(name: str, text: str | bytes, *words: str, prices: str = prices) -> Case:
        content = text if isinstance(text, bytes) else f"population = 'clients.csv'\n{prices}{text}\n".encode()
        return Case(name, ".toml", content, words)

    number = "deadline", "mining_cycles", "cost_weight", "reward_budget", "mining_cap", "mining_budget", "target"
    for key in number:
        for value, problem in (
            ("'15'", "is not a number"),
            ("true", "is not a number"),
            ("2024-01-31", "is not a number"),
            ("2024-01-31T10:00:00Z", "is not a number"),
            ("[15]", "is not a number"),
            ("{value = 15}", "is not a number"),
            ("nan", "must be finite"),
            ("inf", "must be finite"),
            ("1e400", "must be finite"),
            ("9" * 400, "must be finite"),
        ):
            yield case(f"{key} = {value[:30]}", f"{key} = {value}", f"clients.toml: {key}: ", problem)
    for key in number[:-1]:
        for value in ("0", "-1", "1e-400"):
            yield case(f"{key} = {value}", f"{key} = {value}", f"clients.toml: {key}: ", "must be greater than 0")
    for key, value in (
        ("seed", "1.5"),
        ("seed", "-1"),
        ("seed", "'x'"),
        ("seed", "true"),
        ("shapley_samples", "3"),
        ("shapley_samples", "1e3"),
        ("shapley_method", "'exact'"),
        ("shapley_method", "3"),
        ("negative_shares", "'none'"),
        ("performance", "'exp'"),
        ("performance", "'lambda x: x'"),
        ("performance", '\'__import__("os").system("touch owned")\''),
        ("population", "3"),
        ("population", "['a.csv']"),
    ):
        text = f"{key} = {value}"
        content = f"{text}\n".encode() if key == "population" else text
        yield case(text, content, "clients.toml: ", key)
    for name, table, words in (
        ("price of text", "training_price = '1'\nmining_price = 1", ("training_price", "is not a number")),
        ("price of truth", "training_price = true\nmining_price = 1", ("training_price", "is not a number")),
        ("list of text", "training_price = ['1', '2']\nmining_price = 1", ("of client 'a'", "'1' is not a number")),
        ("list with truth", "training_price = [1, true, 1, 1]\nmining_price = 1", ("of client 'b'", "True is not")),
        ("short list", "training_price = [1, 2]\nmining_price = 1", ("shape (2,) does not match the 4 clients",)),
        ("ragged list", "training_price = [[1, 2], [3]]\nmining_price = 1", ("training_price",)),
        ("negative price", "training_price = -1\nmining_price = 1", ("training_price of client 'a'", "at least 0")),
        ("NaN price", "training_price = nan\nmining_price = 1", ("training_price of client 'a'", "finite")),
        ("one price only", "training_price = 1", ("training_price is given and mining_price is not",)),
        ("table without all", "mining_price = 1\n[training_price]\na = 1", ("no value for client 'b', 'c', 'd'",)),
        ("table with a stranger", "mining_price = 1\n[training_price]\na=1\nb=1\nc=1\nd=1\nz=1", ("no client 'z'",)),
        ("table of text", "mining_price = 1\n[training_price]\na=1\nb='x'\nc=1\nd=1", ("of client 'b'", "'x' is not")),
        ("table of tables", "mining_price = 1\n[training_price]\na={x=1}\nb=1\nc=1\nd=1", ("training_price",)),
    ):
        yield case(name, table, "clients.toml: ", *words, prices="")
    for name, text in (
        ("no value", "deadline ="),
        ("no key", "= 15"),
        ("two equals signs", "deadline = = 15"),
        ("a decimal comma", "deadline = 15,5"),
        ("a unit", "deadline = 15 min"),
        ("an open text", "performance = 'log"),
        ("an open list", "training_price = [1, 2"),
        ("a key twice", "deadline = 15\ndeadline = 16"),
        ("INI", "[DEFAULT\ndeadline: 15"),
        ("YAML", "deadline: 15"),
        ("JSON", '{"deadline": 15}'),
        ("a NUL", "deadline = 15\0"),
    ):
        yield case(name, text, "clients.toml: TOML syntax error", "(at ")
    yield case("a number of 5,000 digits", "deadline = " + "9" * 5000, "clients.toml: TOML syntax error", "limit")
    yield case("lists in lists", "deadline = " + "[" * 20_000, "clients.toml: is nested too deeply")
    yield case("another case", "Deadline = 15", "clients.toml: unknown key 'Deadline': did you mean 'deadline'?")
    yield case("a hyphen", "mining-cycles = 5", "unknown key 'mining-cycles': did you mean 'mining_cycles'?")
    yield case("a table", "[game]\ndeadline = 15", "clients.toml: unknown key 'game'")
    yield case("Latin-1", b"deadline = 15 # \xe9\n", "clients.toml, row 1: byte 0xe9 is not UTF-8")
    yield case("UTF-16", "deadline = 15\n".encode("utf-16"), "clients.toml, row 1: byte 0xff is not UTF-8")
    yield case("a workbook", excel_workbook(), "clients.toml")
    for path, words in (
        ("absent.csv", "absent.csv: no such file"),
        ("../absent.csv", "absent.csv: no such file"),
        ("", "a population file ends in .csv or .parquet"),
        (".", "a population file ends in .csv or .parquet"),
        ("clients.xlsx", "a population file ends in .csv or .parquet"),
        ("/dev/zero", "a population file ends in .csv or .parquet"),
        ("x" * 300 + ".csv", "File name too long"),
        ("https://example.org/clients.csv", "no such file"),
    ):
        yield case(f"population {path[:40]!r}", f"population = '{path}'\n".encode(), words)


CSV = [*csv_cells(), *csv_ids(), *csv_files()]
PARQUET = list(parquet_files())
TOML = list(toml_files())
