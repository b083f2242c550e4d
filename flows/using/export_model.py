"""A trained segmenter as one file for other programs, with what they must know in its metadata."""

import os
from pathlib import Path
from typing import Any

from tag2mask.configs.errors import UserError
from tag2mask.flows.using.trained_models import NamedModel, named_segmenter
from tag2mask.tasks.catalog.formats import ModelFormat
from tag2mask.tasks.executors.processes import loading_environment
from tag2mask.tasks.store.digests import file_digest
from tag2mask.tasks.store.files import read_json
from tag2mask.tasks.store.store import MANIFEST

SUFFIXES = {"onnx": ".onnx", "torch-export": ".pt2"}


class FileInTheWay(UserError, ValueError):
    """The file exists; the message names it."""


def export_model(text: str, form: ModelFormat, out: Path | None, root: Path) -> str:
    """Write a segmenter to one file; what was written, to be shown.

    Args:
        text: a run's name, `train_segmenter/KEY`, or a model folder.
        form: what to write.
        out: the file; None: the model's name, here.
        root: folder of the store.

    Raises:
        NoSuchModel, NoSuchArtifact, NoStore, WeightsError, DamagedArtifact: the model is not there or cannot be used.
        FileInTheWay: the file exists.
        CannotExport: packages are missing, or the file would not say what the network says; nothing was written.
    """
    model = named_segmenter(text, root)
    target = out or Path(f"{Path(os.path.abspath(text)).name}{SUFFIXES[form]}")  # a link keeps its own name
    if target.exists():
        raise FileInTheWay(f"{target} exists; name another file with --out")
    about = about_model(model)
    with loading_environment():  # torch reads it when it is loaded
        from tag2mask.tasks.prediction import model_export

    difference = model_export.export_model(model.folder, target, form, about)
    size = target.stat().st_size / 2**20
    return f"wrote {target} ({size:.1f} MB): {model.title}; differs from the network by {difference:.1g} at most"


def about_model(model: NamedModel) -> dict[str, Any]:
    """How a model is applied, and where it comes from, as JSON values."""
    prediction, refinement = model.settings()
    kept = prediction.model_dump(mode="json", exclude={"batch_size", "filter_by_tags"})
    manifest = read_json(model.folder / MANIFEST) if (model.folder / MANIFEST).is_file() else {}
    return {
        "preprocessing": {
            **kept,
            "resize": "image_size is the longer side (null: as it is), bilinear, antialiased; scales are averaged",
        },
        "refinement": refinement.model_dump(mode="json"),
        "provenance": {
            "model": model.title,
            "model_sha256": file_digest(model.folder / "model.pt"),
            **{name: manifest[name] for name in ("recipe", "made", "versions") if name in manifest},
        },
    }
