"""The museum of hostile tables: each is read as it is meant, from every medium, and again at prediction time."""

import csv
import json

import numpy as np
import pandas as pd
import pytest
import torch
from tests.data.museum import LAYOUTS, ROWS, VALUES

from polytask.data import inspect_table, read_table
from polytask.data.interface import Interface
from polytask.data.opening import open_table

RNG = np.random.default_rng(0)
Z, Y = RNG.normal(size=ROWS), RNG.normal(size=ROWS)
values = pytest.mark.parametrize("odd", VALUES, ids=lambda odd: odd.name)
layouts = pytest.mark.parametrize("odd", LAYOUTS, ids=lambda odd: odd.name)


def same(found, meant):
    """Whether a value that was read is the one that was meant, of the same type but for whole numbers."""
    if meant is None:
        return pd.isna(found)
    if isinstance(meant, bool) or isinstance(found, bool | np.bool_):
        return isinstance(found, bool | np.bool_) and found == meant
    if isinstance(meant, str) or isinstance(found, str):
        return isinstance(found, str) and found == meant
    return found == pytest.approx(meant, rel=1e-12) if isinstance(meant, float | int) else found == meant


def written(odd, path):
    """The column beside two plain ones, as a file of text."""
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["x", "z", "y"])
        rows.writerows(zip(odd.column, Z.tolist(), Y.tolist(), strict=True))
    return path


def framed(odd):
    return pd.DataFrame({"x": [text or None for text in odd.column], "z": Z, "y": Y})


def test_the_museum_has_at_least_forty_exhibits_with_different_names():
    names = [odd.name for odd in (*VALUES, *LAYOUTS)]
    assert len(set(names)) == len(names) >= 40


@values
def test_values_are_what_they_mean_and_it_is_said(odd, tmp_path):
    opened = open_table(written(odd, tmp_path / "t.csv"), **odd.options)
    wrong = [(a, b) for a, b in zip(opened.frame["x"], odd.meant, strict=True) if not same(a, b)]
    assert not wrong
    text = "\n".join(opened.said)
    assert all(part in text for part in odd.said), text


@values
def test_the_role_of_an_input_and_the_kind_of_a_target(odd, tmp_path):
    path = written(odd, tmp_path / "t.csv")
    roles = {column.name: column.role for column in inspect_table(path, ["y"], **odd.options).columns}
    assert roles == {"x": odd.role, "z": "numeric", "y": "target"}
    if odd.kind:
        assert inspect_table(path, ["x"], **odd.options).targets == {"x": odd.kind}


@values
def test_every_medium_gives_the_same_tensors(odd, tmp_path):
    frame = framed(odd)
    media = [written(odd, tmp_path / "t.csv"), frame]
    if pytest.importorskip("pyarrow"):
        frame.to_parquet(tmp_path / "t.parquet")
        frame.to_feather(tmp_path / "t.feather")
        media += [tmp_path / "t.parquet", tmp_path / "t.feather"]
    first, *others = [read_table(medium, ["y"], **odd.options) for medium in media]
    for other in others:
        assert other.table == first.table
        for key, encoded in first.train.inputs.items():
            assert torch.equal(encoded, other.train.inputs[key])


@values
def test_later_rows_are_converted_by_what_was_stored(odd, tmp_path):
    """Row by row, from texts, after a round trip through JSON: alone, no row says how it is to be read."""
    data = read_table(written(odd, tmp_path / "t.csv"), ["y"], **odd.options)
    interface = Interface.from_dict(json.loads(json.dumps(Interface.of(data).to_dict())))
    assert json.dumps(interface.to_dict()) == json.dumps(Interface.of(data).to_dict())
    whole, _ = interface.encode(framed(odd))
    plain = open_table(tmp_path / "t.csv", **odd.options).frame
    meant = data.table.encode(plain)
    for key in meant:
        assert torch.equal(whole[key], meant[key])
    for row in range(0, ROWS, 7):
        alone, _ = interface.encode(framed(odd).iloc[[row]])
        for key in meant:
            assert torch.equal(alone[key], meant[key][[row]]), odd.column[row]


@layouts
def test_layouts_are_read_and_what_was_done_is_said(odd, tmp_path):
    path = tmp_path / odd.file
    path.write_bytes(odd.data)
    opened = open_table(path, **odd.options)
    assert list(opened.frame.columns) == list(odd.columns)
    for name, meant in odd.columns.items():
        wrong = [(a, b) for a, b in zip(opened.frame[name], meant, strict=True) if not same(a, b)]
        assert not wrong
    text = "\n".join(opened.said)
    assert all(part in text for part in odd.said), text


@values
def test_an_opened_table_is_left_as_it_is(odd, tmp_path):
    opened = open_table(written(odd, tmp_path / "t.csv"), **odd.options)
    again = open_table(opened.frame)
    pd.testing.assert_frame_equal(again.frame, opened.frame)
