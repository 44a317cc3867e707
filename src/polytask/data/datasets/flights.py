"""Flights: delays and time in the air of 337 thousand flights, for load."""

from __future__ import annotations

import numpy as np
import pandas as pd

from polytask.data.columns import Column
from polytask.data.datasets.rtables import r_table
from polytask.data.multitask import MultiTaskData
from polytask.data.split import split_rows
from polytask.data.table import assemble
from polytask.errors import DataError

__all__ = ["flights"]

_TARGETS = ("dep_delay", "arr_delay", "air_time")
_LEFT_OUT = {
    "dep_time": "known only after departure; with the schedule it gives dep_delay",
    "arr_time": "known only after arrival; with the schedule it gives arr_delay",
    "year": "constant (2013)",
    "flight": "a number, one route under several names",
    "tailnum": "an id: about 4,000 aircraft, assigned shortly before departure",
    "hour": "contained in the scheduled departure",
    "minute": "contained in the scheduled departure",
    "time_hour": "contained in date and hour",
}


def flights(*, n: int | None = None, val: float = 0.1, test: float = 0.1, seed: int = 0) -> MultiTaskData:
    """All 336,776 flights from New York in 2013: departure delay, arrival delay, time in the air; three regressions.

    Inputs are what the timetable says before departure: month, day of the week, scheduled departure and arrival
    (minutes after midnight), carrier, origin, destination, distance.

    Args:
        n: Use this many flights, drawn at random, instead of all.
        val: Share of the days to select by.
        test: Share of the days to judge by.
        seed: Seed of the split.

    Returns:
        Targets in minutes. Cancelled flights have no label and are dropped; diverted ones lack two of the three. Whole
        days stay in one split, because flights of a day share its weather.

    Raises:
        DataError: ``n`` is out of range.
        MissingExtraError: The ``data`` extra is not installed.

    Reference:
        Bureau of Transportation Statistics, 2013; H. Wickham, R package nycflights13.
    """
    frame = r_table("nycflights13", "flights")
    rows = len(frame)
    if n is not None:
        if not 1000 <= n <= rows:
            raise DataError(f"n is the number of flights and must be between 1000 and {rows}, found {n}")
        frame = frame.iloc[np.sort(np.random.default_rng([seed, 0xF1]).permutation(rows)[:n])]
    frame = frame[frame[list(_TARGETS)].notna().any(axis=1)].reset_index(drop=True)
    day = pd.to_datetime(frame[["year", "month", "day"]])
    frame["weekday"] = day.dt.day_name()
    for name in ("sched_dep_time", "sched_arr_time"):
        clock = frame[name].to_numpy(dtype=np.int64)  # 1435 is 14:35
        frame[name] = clock // 100 * 60 + clock % 100
    columns = [
        *(Column(name, "numeric") for name in ("sched_dep_time", "sched_arr_time", "distance")),
        *(Column(name, "categorical") for name in ("month", "weekday", "carrier", "origin", "dest")),
        Column("day", "dropped", "the date is what splits are made of"),
        *(Column(name, "dropped", reason) for name, reason in _LEFT_OUT.items()),
    ]
    used = rows if n is None else n
    days = (frame["month"] * 100 + frame["day"]).to_numpy()
    splits = split_rows(len(frame), val=val, test=test, seed=seed, group=days)
    return assemble(
        "flights",
        frame,
        dict.fromkeys(_TARGETS, "regression"),
        columns,
        splits,
        units=dict.fromkeys(_TARGETS, "minutes"),
        notes=[
            "Flights from New York in 2013 (R package nycflights13).",
            f"{used - len(frame):,} of {used:,} flights were cancelled, have no label and were dropped.",
            f"Split by days, seed {seed}.",
        ],
        advise=False,
        details={
            "rows": used,
            "rows_without_label": used - len(frame),
            "days": {split: np.unique(days[index]).tolist() for split, index in splits.items()},
        },
        warn=False,  # distance nearly gives the air time (r = 0.99), but it is known before departure
    )
