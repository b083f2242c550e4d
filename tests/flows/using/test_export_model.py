"""Models exported from the command line: what the file is called, and what it says of the model."""

from pathlib import Path
from typing import Any

import pytest

from tag2mask.flows.using.export_model import FileInTheWay, export_model
from tag2mask.tasks.prediction import model_export
from tag2mask.tasks.store.store import Store
from tests.flows.using.test_predict import write_run
from tests.tasks.drawn_segmenter import write_segmenter
from tests.tasks.drawn_store import artifact


def test_the_file_says_how_its_run_applies_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Size, mirroring, CRF and recipe of a run's model stand in the metadata; a file that exists is not replaced."""
    reported: dict[str, Any] = {}

    def write(folder: Path, out: Path, form: str, about: dict[str, Any]) -> float:
        out.write_bytes(b"model")
        reported.update(about, folder=folder, form=form)
        return 0.0

    monkeypatch.setattr(model_export, "export_model", write)
    monkeypatch.chdir(tmp_path)
    made = artifact(Store(tmp_path / "store").create(), "train_segmenter", write_segmenter, {}, "settings")
    write_run(tmp_path / "store", "mine", 1, {"train_segmenter-2": made})
    assert export_model("mine", "onnx", None, tmp_path / "store").startswith("wrote mine.onnx (")
    assert reported["folder"] == made.path and reported["form"] == "onnx"
    assert reported["preprocessing"]["image_size"] == 64 and reported["preprocessing"]["flip"] is True
    assert reported["refinement"]["iterations"] == 2
    assert reported["provenance"]["recipe"]["config"] == {"content": "settings"}
    assert reported["provenance"]["model"] == made.label and len(reported["provenance"]["model_sha256"]) == 64
    with pytest.raises(FileInTheWay, match="exists; name another file with --out"):
        export_model("mine", "onnx", None, tmp_path / "store")
