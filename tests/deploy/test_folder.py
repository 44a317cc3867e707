"""The folder of a model: whole or not at all, damage named, earlier formats read."""

import contextlib
import json
import os
import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch

import polytask as pt
from polytask.errors import CheckpointError, ConfigError
from polytask.files import CHECKSUM, seal
from polytask.share.stored import BLUEPRINT, Stored, drop_model, joined, predicting, read_model, write_model

OLD = Path(__file__).parent / "formats"


@pytest.mark.parametrize("folder", sorted(OLD.iterdir()), ids=lambda folder: folder.name)
def test_folders_of_earlier_formats_predict_what_they_did(folder):
    """Never rewritten: each holds a model as a version of polytask wrote it, rows, and what it answered then."""
    answers = pt.load(folder / "model").predict(pd.read_csv(folder / "rows.csv"))
    expected = pd.read_csv(folder / "answers.csv", dtype={"grade": str})
    pd.testing.assert_frame_equal(answers, expected, rtol=1e-6, check_dtype=False)


def weights(folder):
    (found,) = folder.glob("weights-*.safetensors")
    return found


def test_one_flipped_bit_is_noticed(model, tmp_path):
    model.save(tmp_path)
    content = bytearray(weights(tmp_path).read_bytes())
    content[-1] ^= 1
    weights(tmp_path).write_bytes(content)
    with pytest.raises(CheckpointError, match=r"weights-\w+\.safetensors is damaged"):
        pt.load(tmp_path)


def test_one_changed_number_of_the_blueprint_is_noticed(model, tmp_path):
    """Another shift would predict in another unit."""
    model.save(tmp_path)
    path = tmp_path / BLUEPRINT
    document = json.loads(path.read_text())
    document["model"]["interface"]["tasks"][3]["shift"] += 1
    path.write_text(json.dumps(document))
    with pytest.raises(CheckpointError, match="do not fit its checksum"):
        pt.load(tmp_path)


def test_a_newer_format_is_named(model, tmp_path):
    model.save(tmp_path)
    document = json.loads((tmp_path / BLUEPRINT).read_text())
    (tmp_path / BLUEPRINT).write_text(json.dumps({**document, "format": 99, "polytask": "9.0"}))
    with pytest.raises(CheckpointError, match=r"format 99 of polytask 9\.0; .* reads formats up to"):
        pt.load(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", '{"format": "1"}', '{"format": 1, "weights": []}'])
def test_a_blueprint_that_is_none_is_damaged(model, tmp_path, text):
    model.save(tmp_path)
    (tmp_path / BLUEPRINT).write_text(text)
    with pytest.raises(CheckpointError, match="damaged or incomplete"):
        pt.load(tmp_path)


def edits(value, path=()):
    """Every place of nested plain values."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from edits(item, (*path, key))


def test_any_value_of_another_type_is_an_error_of_polytask(model, tmp_path):
    """Valid JSON with one value replaced: loaded, or refused in words; never somebody else's error."""
    model.save(tmp_path)
    document = json.loads((tmp_path / BLUEPRINT).read_text())
    del document[CHECKSUM]
    for path in edits(document):
        if not path:
            continue
        for other in (None, -1, "x", [], {}):
            changed = json.loads(json.dumps(document))
            place = changed
            for key in path[:-1]:
                place = place[key]
            place[path[-1]] = other
            (tmp_path / BLUEPRINT).write_text(json.dumps({**changed, CHECKSUM: seal(changed)}))
            with contextlib.suppress(pt.errors.PolytaskError):
                pt.load(tmp_path)


def test_no_model_is_an_error_of_the_caller(tmp_path):
    with pytest.raises(ConfigError, match="there is no model in"):
        pt.load(tmp_path)
    with pytest.raises(ConfigError, match="there is no model in"):
        pt.load(tmp_path / "nowhere")


def test_a_model_without_its_weights_is_incomplete(model, tmp_path):
    model.save(tmp_path)
    weights(tmp_path).unlink()
    with pytest.raises(CheckpointError, match="damaged or incomplete"):
        pt.load(tmp_path)


@pytest.mark.parametrize("file", [BLUEPRINT, "weights"])
def test_writing_that_stops_leaves_the_old_model(model, rows, tmp_path, monkeypatch, file):
    """Whichever of the two files cannot be written."""
    model.save(tmp_path)
    before = model.predict(rows)
    with torch.no_grad():
        model.model.heads["price"].weight += 1
    replace = os.replace

    def stop(source, target):
        if Path(target).name.startswith(file):
            raise OSError(28, "No space left on device")
        replace(source, target)

    monkeypatch.setattr("polytask.files.os.replace", stop)
    with pytest.raises(CheckpointError, match="No space left on device"):
        model.save(tmp_path)
    monkeypatch.undo()
    pd.testing.assert_frame_equal(pt.load(tmp_path).predict(rows), before, check_exact=True)
    assert not list(tmp_path.glob(".*.tmp"))
    model.save(tmp_path)
    assert len(list(tmp_path.iterdir())) == 2
    assert not pt.load(tmp_path).predict(rows).equals(before)


def test_a_link_in_place_of_a_file_is_replaced_not_followed(model, tmp_path):
    target = tmp_path / "precious"
    target.write_text("text")
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / BLUEPRINT).symlink_to(target)
    model.save(folder)
    assert target.read_text() == "text"
    assert pt.load(folder).tasks == model.tasks


def test_a_copied_folder_is_the_same_model(model, rows, tmp_path):
    model.save(tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    shutil.rmtree(tmp_path / "a")
    pd.testing.assert_frame_equal(pt.load(tmp_path / "b").predict(rows), model.predict(rows), check_exact=True)


def test_dropping_a_model_leaves_everything_else(tmp_path):
    write_model(tmp_path, Stored("network", {}, {"method": "uw"}, {"a": torch.ones(2)}))
    (tmp_path / "trial.json").write_text("{}")
    assert read_model(tmp_path).about == {"method": "uw"}
    drop_model(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["trial.json"]


@pytest.mark.parametrize(("kind", "rows"), [("table", "new.csv"), ("image", "new.npy")])
def test_the_command_that_predicts_names_a_file_the_model_can_read(tmp_path, kind, rows):
    part = Stored("network", {"interface": {"inputs": {"kind": kind}}}, {}, {"w": torch.ones(1)})
    write_model(tmp_path / "one", part)
    write_model(tmp_path / "study" / "best", joined([part, part], {}))
    for folder in ("one", "study"):
        assert predicting(tmp_path / folder) == f"polytask predict {tmp_path / folder} {rows}"
    assert predicting(tmp_path / "none").endswith("none new.csv")
