"""A finished model in a folder: ``blueprint.json`` and the arrays it names, JSON and safetensors, nothing else.

The arrays are in ``weights-DIGEST.safetensors``, named by their own hash. They are written first; the file that names
them appears in one rename, last of all. Whatever is interrupted, a folder holds the old model or the new one, whole.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, final

from safetensors.torch import load, save
from torch import Tensor

from polytask.errors import CheckpointError, ConfigError
from polytask.files import CHECKSUM, seal, write_atomically, write_json
from polytask.folders import locked, remove
from polytask.version import __version__

__all__ = [
    "BLUEPRINT",
    "FORMAT",
    "Stored",
    "apart",
    "drop_model",
    "has_model",
    "joined",
    "predicting",
    "read_model",
    "write_model",
]

FORMAT = 2
"""Version of the files; later versions read all earlier ones. Since 2 there may be decisions; without them 1 is
written, which earlier versions read, too."""
BLUEPRINT = "blueprint.json"
_WEIGHTS = "weights-*.safetensors"


@final
@dataclasses.dataclass(frozen=True)
class Stored:
    """What a folder holds.

    Attributes:
        form: What kind of model: ``"network"``, ``"estimator"`` or ``"parts"``.
        values: Plain values that describe it.
        about: Facts about how it came to be, for people.
        arrays: What was learned.
        format: Version of the files.
        decisions: Thresholds, calibration and intervals, as plain values; empty for none.
    """

    form: str
    values: dict[str, Any]
    about: dict[str, Any]
    arrays: dict[str, Tensor]
    format: int = FORMAT
    decisions: dict[str, Any] = dataclasses.field(default_factory=dict)


def joined(parts: Sequence[Stored], about: Mapping[str, Any]) -> Stored:
    """Several models of different tasks as one: one model per task, for instance."""
    values = {"parts": [{"form": part.form, "model": part.values} for part in parts]}
    arrays = {f"{place}/{name}": value for place, part in enumerate(parts) for name, value in part.arrays.items()}
    return Stored("parts", values, dict(about), arrays)


def apart(stored: Stored) -> list[Stored]:
    """The models that :func:`joined` joined; a single one is its own part."""
    if stored.form != "parts":
        return [stored]
    found = []
    for place, part in enumerate(stored.values["parts"]):
        head = f"{place}/"
        arrays = {name.removeprefix(head): value for name, value in stored.arrays.items() if name.startswith(head)}
        found.append(Stored(part["form"], part["model"], stored.about, arrays, stored.format))
    return found


def write_model(folder: Path, stored: Stored) -> None:
    """Write a model into a folder, in place of the one that is there.

    Raises:
        StorageError: It cannot be written; what was there before is still there.
    """
    content = save({name: value.detach().to("cpu").contiguous().clone() for name, value in stored.arrays.items()})
    digest = hashlib.sha256(content).hexdigest()
    name = f"weights-{digest[:16]}.safetensors"
    document = {
        "format": FORMAT if stored.decisions else 1,
        "polytask": __version__,
        "form": stored.form,
        "about": stored.about,
        "model": stored.values,
        "weights": {"file": name, "sha256": digest},
        **({"decisions": stored.decisions} if stored.decisions else {}),
    }
    with locked(folder, ".model.lock"):
        write_atomically(folder / name, content)
        write_json(folder / BLUEPRINT, document, sealed=True)
        for other in folder.glob(_WEIGHTS):
            if other.name != name:
                remove(other)


def has_model(folder: Path) -> bool:
    """Whether a folder holds a model, as far as its names tell."""
    return (folder / BLUEPRINT).is_file()


def predicting(folder: Path) -> str:
    """The command that predicts new rows with the model kept in a folder, or in ``best`` inside it."""
    rows = "new.csv"
    with contextlib.suppress(OSError, ValueError, LookupError, TypeError):  # what cannot be read is told by ``predict``
        kept = folder if has_model(folder) else folder / "best"
        model = json.loads((kept / BLUEPRINT).read_text(encoding="utf-8"))["model"]
        while "parts" in model:
            model = model["parts"][0]["model"]
        if model["interface"]["inputs"]["kind"] == "image":
            rows = "new.npy"
    return f"polytask predict {shlex.quote(str(folder))} {rows}"


def drop_model(folder: Path) -> None:
    """Remove the model of a folder, and nothing else."""
    for file in (folder / BLUEPRINT, *folder.glob(_WEIGHTS)):
        remove(file)


def read_model(folder: Path) -> Stored:
    """Read the model of a folder.

    Raises:
        ConfigError: There is none.
        CheckpointError: It is damaged, or was written by a newer version.
    """
    path = folder / BLUEPRINT
    if not path.is_file():
        raise ConfigError(
            f"there is no model in {folder}: no {BLUEPRINT}. Name a folder that polytask train wrote, or a trial or "
            "the folder best of polytask compare"
        )
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document["format"] > FORMAT:
            raise CheckpointError(
                f"{path} has format {document['format']} of polytask {document['polytask']}; polytask "
                f"{__version__} reads formats up to {FORMAT}: install the newer version"
            )
        if document.pop(CHECKSUM) != seal(document):
            raise CheckpointError(f"{path} is damaged: its contents do not fit its checksum")
        named = document["weights"]
        weights = folder / Path(named["file"]).name
        content = weights.read_bytes()
        if hashlib.sha256(content).hexdigest() != named["sha256"]:
            raise CheckpointError(f"{weights} is damaged: its contents are not those that {path} was written with")
        parts = (document["form"], document["model"], document["about"])
        decisions = document.get("decisions", {})
        if not (isinstance(parts[0], str) and all(isinstance(part, dict) for part in (*parts[1:], decisions))):
            raise TypeError("a part has another type")
        return Stored(*parts, load(content), document["format"], decisions)
    except CheckpointError:
        raise
    except Exception as error:  # JSON, safetensors and the file system each have errors of their own
        raise CheckpointError(
            f"the model in {folder} is damaged or incomplete ({type(error).__name__}: {error}); train it again, or "
            "restore the folder from a copy"
        ) from error
