"""Hostile tables, one fault each or several at once, with the reading that a careful colleague would give them.

``VALUES`` are columns whose values are written in an odd way: they can be in any medium. ``LAYOUTS`` are files that are
odd as files.
"""

import bz2
import dataclasses
import datetime as dt
import gzip
import io
import lzma
import zipfile
from collections.abc import Sequence
from typing import Any

NONE = None
ROWS = 60


@dataclasses.dataclass(frozen=True)
class Odd:
    """A column: its texts as they stand in a file (empty: no value), and what they mean."""

    name: str
    texts: Sequence[str]
    values: Sequence[Any]
    role: str = "numeric"
    kind: str = "regression"
    said: Sequence[str] = ()
    options: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def column(self) -> list[str]:
        """As many rows as the tests need."""
        return [self.texts[i % len(self.texts)] for i in range(ROWS)]

    @property
    def meant(self) -> list[Any]:
        return [self.values[i % len(self.values)] for i in range(ROWS)]


def day(text):
    return dt.datetime.fromisoformat(text)


def hours(*values):
    return [None if value is None else dt.timedelta(hours=value) for value in values]


VALUES = [
    # numbers
    Odd("decimal comma", ["1,5", "2,25", "10,125"], [1.5, 2.25, 10.125], said=["'1,5' (row 1) is read as 1.5"]),
    Odd("german thousands", ["1.234,50", "12,00", "3.000.000,25"], [1234.5, 12, 3000000.25]),
    Odd("english thousands", ["1,234.50", "12.00", "3,000,000.25"], [1234.5, 12, 3000000.25]),
    Odd("swiss thousands", ["1'234.50", "12.00", "7’654’321.5"], [1234.5, 12, 7654321.5]),
    Odd("thin spaces", ["1\u202f234,5", "12,0", "9\u00a0876,5"], [1234.5, 12, 9876.5]),
    Odd("euros in front", ["€ 3,50", "€ 1.200,00", "€ 0,99"], [3.5, 1200, 0.99]),
    Odd("dollars, debts in parentheses", ["$1,200.50", "($300.25)", "$7.00"], [1200.5, -300.25, 7]),
    Odd("percent", ["45 %", "7.5 %", "100 %"], [45, 7.5, 100]),
    Odd("percent here and there", ["45%", "7.5", "30%", "12%"], [45, 7.5, 30, 12], said=["stand without a %"]),
    Odd("unit", ["12 kg", "7.5 kg", "100 kg"], [12, 7.5, 100], said=["is read as 12 kg"]),
    Odd("unit without a space", ["12.5km/h", "7.25km/h", "100.75km/h"], [12.5, 7.25, 100.75]),
    Odd("unit after a decimal comma", ["12,5 m²", "7,25 m²", "1.000,5 m²"], [12.5, 7.25, 1000.5]),
    Odd("unit here and there", ["12.5 °C", "7.5", "20.25 °C"], [12.5, 7.5, 20.25], said=["stand without '°C'"]),
    Odd("typographic minus", ["−4.5", "3.25", "–2.5"], [-4.5, 3.25, -2.5]),
    # missing
    Odd("question marks", ["1.5", "?", "2.5", "7.25"], [1.5, NONE, 2.5, 7.25], said=["'?' (15 rows) counts as missing"]),
    Odd("n/a and dashes", ["1.5", "n/a", "-", "7.25"], [1.5, NONE, NONE, 7.25], said=["'-' (15 rows) counts as missing"]),
    Odd("spreadsheet errors", ["1.5", "#DIV/0!", "#REF!", "7.25"], [1.5, NONE, NONE, 7.25]),
    Odd("points as in SAS", ["1.5", ".", "2.5"], [1.5, NONE, 2.5]),
    Odd("missing among units", ["12 kg", "k.A.", "7.5 kg"], [12, NONE, 7.5], said=["'k.A.' (20 rows)"]),
    Odd("empty fields", ["1.5", "", "2.5"], [1.5, NONE, 2.5]),
    Odd("missing among words", ["red", "?", "blue"], ["red", NONE, "blue"], "categorical", "binary", ["counts as missing"]),
    Odd("plus and minus", ["+", "-", "+"], ["+", "-", "+"], "categorical", "binary"),
    Odd("no value in words", ["mild", "N/A", "bad", "ok"], ["mild", NONE, "bad", "ok"], "categorical", "multiclass"),
    # codes and words
    Odd("codes", ["00123", "45678", "01999"], ["00123", "45678", "01999"], "categorical", "multiclass", ["codes, kept"]),
    Odd("codes and gaps", ["007", "", "042"], ["007", NONE, "042"], "categorical", "binary", ["codes, kept"]),
    Odd("padded months", ["01", "02", "12"], [1, 2, 12], "numeric", "multiclass"),
    Odd("yes, Yes and YES", ["yes", "Yes", "no", "YES "], ["yes", "yes", "no", "yes"], "categorical", "binary",
        ["'Yes' (15 rows)"]),
    Odd("true and TRUE", ["true", "FALSE", "True"], [True, False, True], "boolean", "binary"),
    Odd("y and n and gaps", ["y", "N", "", "n"], ["y", "N", NONE, "N"], "categorical", "binary"),
    Odd("low, medium, high", ["low", "High", "medium"], ["low", "High", "medium"], "categorical", "ordinal"),
    Odd("ranges of ages", ["18-24", "65+", "25-64", "<18"], ["18-24", "65+", "25-64", "<18"], "categorical", "ordinal"),
    Odd("several labels in a cell", ["red|blue", "blue", "red", "blue|green|red", "green"],
        ["red|blue", "blue", "red", "blue|green|red", "green"], "categorical", "multilabel"),
    Odd("towns and their countries", ["Lyon, France", "Nice, France", "Rome, Italy"],
        ["Lyon, France", "Nice, France", "Rome, Italy"], "categorical", "multiclass"),
    # dates
    Odd("ISO dates", ["2020-01-31", "2021-02-28"], [day("2020-01-31"), day("2021-02-28")], "date", ""),
    Odd("german dates", ["31.01.2020", "01.02.2021"], [day("2020-01-31"), day("2021-02-01")], "date", ""),
    Odd("two-digit years", ["31.01.20", "01.02.99"], [day("2020-01-31"), day("1999-02-01")], "date", ""),
    Odd("5 Jan 2020", ["5 Jan 2020", "17 Mar 2021"], [day("2020-01-05"), day("2021-03-17")], "date", ""),
    Odd("January 5, 2020", ["January 5, 2020", "March 17, 2021"], [day("2020-01-05"), day("2021-03-17")], "date", ""),
    Odd("day first, proven", ["03/04/2020", "25/12/2020"], [day("2020-04-03"), day("2020-12-25")], "date", ""),
    Odd("day or month first", ["03/04/2020", "05/06/2020"], [day("2020-03-04"), day("2020-05-06")], "date", "",
        ["no date tells whether day or month comes first", "date:%d/%m/%Y"]),
    Odd("day first, asked for", ["03/04/2020", "05/06/2020"], [day("2020-04-03"), day("2020-06-05")], "date", "",
        options={"kinds": {"x": "date:%d/%m/%Y"}}),
    Odd("american clock", ["1/2/2020 3:04 PM", "2/13/2020 11:00 AM"], [day("2020-01-02T15:04"), day("2020-02-13T11:00")],
        "date", ""),
    Odd("time zones", ["2020-01-05T10:00:00+02:00", "2020-01-05T10:00:00Z"], [day("2020-01-05T08:00"), day("2020-01-05T10:00")],
        "date", ""),
    Odd("dates as numbers", ["20200131", "20210228", "19991231"], [day("2020-01-31"), day("2021-02-28"), day("1999-12-31")],
        "date", "", ["is read as the date 2020-01-31"]),
    Odd("one bad date", ["2020-01-31"] * 30 + ["2020-02-30"] + ["2021-05-06"] * 29,
        [day("2020-01-31")] * 30 + [NONE] + [day("2021-05-06")] * 29, "date", "",
        ["1 value is no date, such as '2020-02-30' (row 31)"]),
    Odd("dates and question marks", ["31.01.2020", "?", "05.06.2020"], [day("2020-01-31"), NONE, day("2020-06-05")], "date",
        "", ["'?' (20 rows)"]),
    # durations
    Odd("hours and minutes", ["1:30", "12:15", "100:45"], hours(1.5, 12.25, 100.75), "date", "", ["time of 1.5 hours"]),
    Odd("days and a clock", ["2 days 03:00:00", "1 day 12:00:00"], hours(51, 36), "date", ""),
    Odd("1h 30min", ["1h 30min", "2h 15min", "?"], hours(1.5, 2.25, None), "date", ""),
    Odd("ISO durations", ["PT1H30M", "P1DT2H", "PT45M"], hours(1.5, 26, 0.75), "date", ""),
]  # fmt: skip

PLAIN = "a,b\n1.5,u\n2.5,v\n3.5,u\n"
MEANT = {"a": [1.5, 2.5, 3.5], "b": ["u", "v", "u"]}


def zipped(text):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("t.csv", text)
    return stream.getvalue()


@dataclasses.dataclass(frozen=True)
class OddFile:
    """A file: its bytes, and the columns that are in it."""

    name: str
    content: bytes | str
    columns: dict[str, Sequence[Any]] = dataclasses.field(default_factory=lambda: MEANT)
    said: Sequence[str] = ()
    file: str = "t.csv"
    options: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def data(self) -> bytes:
        return self.content if isinstance(self.content, bytes) else self.content.encode()


LAYOUTS = [
    OddFile("semicolons", PLAIN.replace(",", ";")),
    OddFile("semicolons and decimal commas", PLAIN.replace(",", ";").replace(".", ",")),
    OddFile("tabs", PLAIN.replace(",", "\t"), file="t.tsv"),
    OddFile("bars", PLAIN.replace(",", "|"), file="t.txt"),
    OddFile("byte order mark", b"\xef\xbb\xbf" + PLAIN.encode()),
    OddFile("UTF-16", PLAIN.encode("utf-16"), said=["UTF-16"]),
    OddFile("cp1252", "a,ä\n1,ü\n2,ß\n".encode("cp1252"), {"a": [1, 2], "ä": ["ü", "ß"]}, options={"encoding": "cp1252"}),
    OddFile("Windows ends of lines", PLAIN.replace("\n", "\r\n")),
    OddFile("a title line", "Report of 2024\n" + PLAIN, said=["1 line above the header left out: 'Report of 2024'"]),
    OddFile("a title and a blank line", "Report\n\n" + PLAIN, said=["2 lines above"]),
    OddFile("a title over three columns", "Sales,,\na,b,c\n1,u,2\n2,v,3\n", {"a": [1, 2], "b": ["u", "v"], "c": [2, 3]}, ["1 line"]),
    OddFile("comments", "# made by a tool\n# at noon\n" + PLAIN, said=["2 lines above"]),
    OddFile("Excel's separator line", "sep=;\n" + PLAIN.replace(",", ";"), said=["'sep=;'"]),
    OddFile("equal names", "a,b,a\n1,u,4\n2,v,5\n", {"a": [1, 2], "b": ["u", "v"], "a (2)": [4, 5]}, ["2 columns are named 'a'"]),
    OddFile("empty columns behind", "a,b,,\n1.5,u,,\n2.5,v,,\n3.5,u,,\n", said=["2 columns with neither name nor value"]),
    OddFile("rows that end with a comma", "a,b\n1.5,u,\n2.5,v,\n3.5,u,\n", said=["1 column with neither name nor value"]),
    OddFile("no name for a column", "a,,c\n1,u,3\n2,v,4\n", {"a": [1, 2], "column 2": ["u", "v"], "c": [3, 4]}),
    OddFile("spaces around names", PLAIN.replace("a,b", " a , b ")),
    OddFile("commas in names", '"a, kg","b"\n1.5,u\n2.5,v\n', {"a, kg": [1.5, 2.5], "b": ["u", "v"]}),
    OddFile("commas and ends of lines in values", 'a,b\n1.5,"u, v"\n2.5,"v\nw"\n', {"a": [1.5, 2.5], "b": ["u, v", "v\nw"]}),
    OddFile("gzip", gzip.compress(PLAIN.encode()), file="t.csv.gz"),
    OddFile("bzip2", bz2.compress(PLAIN.encode()), file="t.csv.bz2"),
    OddFile("xz", lzma.compress(PLAIN.encode()), file="t.csv.xz"),
    OddFile("zip", zipped(PLAIN), file="t.csv.zip"),
    OddFile("JSON lines", '{"a": 1.5, "b": "u"}\n{"b": "v", "a": 2.5}\n\n{"a": 3.5, "b": "u"}\n', file="t.jsonl"),
    OddFile("JSON lines, gaps, packed", gzip.compress(b'{"a": 1.5}\n{"b": "v", "a": null}\n'), {"a": [1.5, NONE], "b": [NONE, "v"]},
            file="t.jsonl.gz"),
    OddFile("all at once", "Bericht\n\nort;größe;geld;tag;geld;\n00123;1,5 kg;€ 3,50;31.01.20;1;\n45678;?;€ 1.200,00;05.02.20;2;\n".encode("utf-16"),
            {"ort": ["00123", "45678"], "größe": [1.5, NONE], "geld": [3.5, 1200], "tag": [day("2020-01-31"), day("2020-02-05")], "geld (2)": [1, 2]},
            ["2 lines above", "UTF-16", "2 columns are named 'geld'", "1 column with neither", "1.5 kg"]),
]  # fmt: skip
