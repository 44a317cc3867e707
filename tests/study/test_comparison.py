"""Frames, gains, tables and files of a fixed study."""

import dataclasses
import json
import math

import numpy as np
import pytest
from rich.console import Console

from polytask.errors import TrialError
from polytask.study import Comparison
from polytask.study.outcome import text
from polytask.study.outcome.statistics import delta_m, paired_interval


def test_frame_is_tidy(comparison):
    assert list(comparison.frame.columns) == ["method", "seed", "task", "metric", "split", "value"]
    assert len(comparison.frame) == 4 * 5 * 3 * 2 * 2
    assert not comparison.frame.duplicated(["method", "seed", "task", "metric", "split"]).any()


def test_delta_m_is_paired_by_seed(comparison):
    frame = comparison.frame[comparison.frame["split"] == "test"].set_index(["method", "seed", "task", "metric"])[
        "value"
    ]
    infos = comparison.protocol.tasks
    for method in comparison.methods:
        by_hand = [
            delta_m(
                {task: frame[method, seed, task, info.primary] for task, info in infos.items()},
                {task: frame["stl", seed, task, info.primary] for task, info in infos.items()},
                {task: info.directions[info.primary] for task, info in infos.items()},
            )
            for seed in comparison.protocol.seeds
        ]
        assert comparison.deltas[method].tolist() == pytest.approx(by_hand)
        assert comparison.summary.loc[method, "delta_m"] == pytest.approx(np.mean(by_hand))
        if method != "stl":
            assert comparison.summary.loc[method, "ci_low"] == pytest.approx(paired_interval(by_hand).low)


def test_verdicts(comparison):
    assert comparison.summary["verdict"].to_dict() == {
        "stl": "reference", "equal": "worse", "uw": "not separable", "fairgrad": "better"
    }  # fmt: skip


def test_negative_transfer_names_who_is_hurt_and_helped(comparison):
    table = comparison.negative_transfer.set_index(["method", "task"])
    assert table.loc[("equal", "age"), "hurt"]
    assert table.loc[("equal", "sex"), "helped"]
    assert not table.loc["fairgrad", "hurt"].any()
    assert (table["hurt"] == (table["ci_high"] < 0)).all()
    assert ("stl", "age") not in table.index


def test_one_seed_flags_nobody(make):
    one = make(seeds=(3,))
    assert set(one.summary["verdict"]) == {"reference", "one seed"}
    assert not one.negative_transfer[["hurt", "helped"]].any(axis=None)
    assert "one seed: no interval" in str(one)


def test_without_baselines_the_first_method_is_the_reference(make):
    comparison = make(methods=("equal", "fairgrad"))
    assert comparison.reference == "equal"
    assert comparison.summary.loc["equal", "delta_m"] == 0
    assert "Δm vs equal" in str(comparison)


def test_a_task_undefined_once_leaves_every_delta_m_and_is_named(comparison):
    trials = list(comparison.trials)
    spot = next(i for i, t in enumerate(trials) if t.method == "uw")
    metrics = {**trials[spot].metrics, "test": {**trials[spot].metrics["test"], "sex": {"auroc": math.nan}}}
    trials[spot] = dataclasses.replace(trials[spot], metrics=metrics)
    broken = Comparison(comparison.protocol, trials)
    assert list(broken.gains.columns) == ["age", "bmi"]
    assert "sex is left out of Δm: auroc is undefined" in str(broken)
    assert broken.summary["delta_m"].notna().all()


def test_a_failed_trial_drops_its_seed_and_is_reported(comparison):
    trials = list(comparison.trials)
    spot = next(i for i, t in enumerate(trials) if t.method == "equal" and t.seed == 2)
    trials[spot] = dataclasses.replace(trials[spot], metrics={}, error="NonFiniteError: loss of 'age' is NaN")
    broken = Comparison(comparison.protocol, trials)
    assert broken.summary.loc["equal", "seeds"] == 4
    assert broken.interval("equal").n == 4
    assert broken.failures == (trials[spot],)
    assert "failed: equal, seed 2, age+sex+bmi: NonFiniteError: loss of 'age' is NaN" in str(broken)


def test_a_failed_baseline_takes_the_seed_of_every_method(comparison):
    trials = [
        dataclasses.replace(t, metrics={}, error="broken")
        if t.method == "stl" and t.seed == 0 and t.tasks == ("sex",)
        else t
        for t in comparison.trials
    ]
    broken = Comparison(comparison.protocol, trials)
    assert broken.interval("fairgrad").n == 4
    assert broken.summary.loc["fairgrad", "seeds"] == 5


def test_cost_counts_all_models_of_the_baselines(comparison):
    row = comparison.cost("stl")
    assert row["seconds"] == pytest.approx(3 * 1.2)
    assert row["parameters"] == 3 * 10_100
    assert comparison.cost("equal")["seconds_ratio"] == pytest.approx(1.6 / 3.6)


def test_fixed_table(comparison):
    lines = str(comparison).splitlines()
    assert "age  mae [years] ↓" in lines[0]
    assert "sex  auroc ↑" in lines[0]
    assert any("Δm vs stl  [95 % CI, 5 paired seeds]" in line for line in lines)
    assert any(line.startswith("fairgrad") and "better" in line and "×" in line for line in lines)
    assert "labels missing in training: sex 30 %" in str(comparison)
    assert max(map(len, lines)) <= text.WIDTH
    assert len({line.index("±") for line in lines if "±" in line}) == 1


def test_many_tasks_are_broken_into_blocks(make, monkeypatch):
    monkeypatch.setattr(text, "WIDTH", 60)
    lines = str(make()).splitlines()
    table = lines[: next(i for i, line in enumerate(lines) if line.startswith("selection"))]
    assert sum(line.startswith("fairgrad") for line in table) >= 3


def test_selection_on_test_is_marked_in_every_table(make):
    comparison = make(selection="test")
    assert "SELECTED ON TEST" in str(comparison)
    console = Console(width=200, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    console.print(comparison.table())
    console.file.close()
    assert "selected on test" in console.export_text()


def test_rich_table_has_a_row_per_method(comparison):
    assert comparison.table().row_count == 4


def test_results_survive_a_round_trip(comparison, tmp_path):
    path = comparison.to_json(tmp_path)
    assert path == tmp_path / "results.json"
    again = Comparison.load(tmp_path)
    assert again.out == tmp_path
    assert again.protocol == comparison.protocol
    assert again.trials == comparison.trials
    assert str(again) == str(comparison)
    assert json.loads(path.read_text())["schema"] == 1


def test_nan_becomes_null_and_comes_back(comparison, tmp_path):
    trial = dataclasses.replace(comparison.trials[0], metrics={"test": {"age": {"mae": math.nan, "rmse": math.inf}}})
    path = Comparison(comparison.protocol, [trial, *comparison.trials[1:]]).to_json(tmp_path)
    assert "NaN" not in path.read_text()
    assert "Infinity" not in path.read_text()
    assert math.isnan(Comparison.load(tmp_path).trials[0].metrics["test"]["age"]["mae"])


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "there is no"), ("{", "not the result"), ("[]", "not the result"), ('{"schema": 99}', "format 99")],
)
def test_load_says_what_is_wrong(tmp_path, content, words):
    if content is not None:
        (tmp_path / "results.json").write_text(content)
    with pytest.raises(TrialError, match=words):
        Comparison.load(tmp_path)


def test_a_flipped_bit_of_the_results_is_named_or_means_nothing(comparison, tmp_path):
    path = comparison.to_json(tmp_path)
    content = path.read_bytes()
    for place in range(0, len(content), len(content) // 150):
        damaged = bytearray(content)
        damaged[place] ^= 1 << (place % 8)
        path.write_bytes(damaged)
        try:
            found = Comparison.load(tmp_path)
        except TrialError as error:
            words = str(error)
        else:
            words = f"{path}: the same, polytask compare" if found.trials == comparison.trials else ""
        assert str(path) in words
        assert "polytask compare" in words


def changes():
    """Edits of a file without checksum, as earlier versions wrote it."""
    for key in ("protocol", "trials"):
        yield lambda raw, key=key: raw.pop(key)
        for wrong in (3, [], {}, [3]):
            yield lambda raw, key=key, wrong=wrong: raw.update({key: wrong})
    for key in ("tasks", "methods", "seeds", "selection", "rows", "train", "notes", "baseline", "alone", "estimators"):
        for wrong in (None, [3, 3], {"a": 1}):
            yield lambda raw, key=key, wrong=wrong: raw["protocol"].update({key: wrong})
    for key in ("kind", "primary", "directions", "labels"):
        for wrong in ("text", {"mae": 7}):
            yield lambda raw, key=key, wrong=wrong: raw["protocol"]["tasks"]["age"].update({key: wrong})
    for key in ("method", "seed", "tasks", "metrics", "curves", "balance", "steps", "parameters", "timing", "error"):
        yield lambda raw, key=key: raw["trials"][1].pop(key)
        for wrong in (3, {"a": {"b": "c"}}):
            yield lambda raw, key=key, wrong=wrong: raw["trials"][1].update({key: wrong})


@pytest.mark.parametrize("change", list(changes()))
def test_edited_results_are_read_whole_or_refused_with_their_path(comparison, tmp_path, change):
    """Never an error of Python's own, neither here nor when the results are put in words."""
    path = comparison.to_json(tmp_path)
    raw = json.loads(path.read_text())
    raw.pop("checksum")
    change(raw)
    path.write_text(json.dumps(raw))
    try:
        found = Comparison.load(tmp_path)
    except TrialError as error:
        words = str(error)
    else:
        words = f"{path} {found} {found.to_dict()['verdict']}"
    assert str(path) in words


@pytest.mark.parametrize("width", [80, 100, 120, 200])
def test_the_table_of_a_terminal_breaks_no_cell(comparison, width):
    from rich.cells import cell_len
    from rich.console import Console

    from polytask.study.outcome.text import table_for

    console = Console(width=width, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    console.print(table_for(comparison, width))
    console.file.close()
    lines = console.export_text().splitlines()
    assert max(cell_len(line.rstrip()) for line in lines) <= width
    for method in comparison.methods:
        assert any(line.startswith(method) for line in lines)
    assert any("fairgrad" in line and "better" in line and " %" in line for line in lines)
