"""Zeros in front of numbers, found in the bytes of a file: against the csv module, whatever the size of a chunk."""

import csv
import io

import numpy as np
import pytest

from polytask.data import codes
from polytask.data.codes import zero_led


@pytest.mark.parametrize("chunk", [16, 64, 1 << 20])
@pytest.mark.parametrize("separator", [",", ";"])
@pytest.mark.parametrize("seed", range(4))
def test_the_columns_are_those_that_a_parser_finds(monkeypatch, chunk, separator, seed):
    monkeypatch.setattr(codes, "_CHUNK", chunk)
    rng = np.random.default_rng(seed)
    rows = [[str(int(value)) for value in rng.integers(0, 999, 6)] for _ in range(80)]
    for column in rng.choice(6, 2, replace=False):
        rows[int(rng.integers(80))][column] = f"00{rng.integers(1, 99)}"
    for row in rows:
        row[5] = f"0.{row[5]}"  # begins with a zero and is no code
    text = io.StringIO()
    csv.writer(text, delimiter=separator, lineterminator="\n").writerows(rows)
    led = {i for row in rows for i, field in enumerate(row) if field.isdigit() and field[0] == "0" and len(field) > 1}
    assert zero_led(io.BytesIO(b"a\n" + text.getvalue().encode()), separator, 1) == led
    cut = text.getvalue().rstrip("\n").encode()  # no end of the last line
    assert zero_led(io.BytesIO(cut), separator, 0) == led
