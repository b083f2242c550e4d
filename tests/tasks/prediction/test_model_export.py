"""A segmenter as a file of its own: it says what the network says, and what its users must know."""

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from tag2mask.tasks.catalog.formats import ModelFormat
from tag2mask.tasks.networks.mask_inference import load_segmenter
from tag2mask.tasks.networks.model_folder import WeightsError
from tag2mask.tasks.prediction import model_export
from tag2mask.tasks.prediction.model_export import CannotExport, export_model
from tag2mask.tasks.store.files import write_json
from tests.tasks.drawn_segmenter import write_segmenter
from tests.tasks.small_stages import CLASSES

pytestmark = pytest.mark.usefixtures("one_thread")
Served = Callable[[np.ndarray], np.ndarray]


@pytest.fixture(scope="module")
def segmenter_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder."""
    return write_segmenter(tmp_path_factory.mktemp("segmenter"))


def served(path: Path, form: ModelFormat) -> tuple[Served, str]:
    """What a program without tag2mask makes of a file: its function, and its metadata."""
    if form == "onnx":
        onnxruntime = pytest.importorskip("onnxruntime")
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        metadata = session.get_modelmeta().custom_metadata_map["tag2mask"]
        return lambda images: np.asarray(session.run(["probabilities"], {"images": images})[0]), metadata
    extra = {"tag2mask.json": ""}
    module = torch.export.load(path, extra_files=extra).module()
    return lambda images: module(torch.from_numpy(images)).detach().numpy(), extra["tag2mask.json"]


@pytest.mark.slow
@pytest.mark.timeout(900)  # tracing takes long on a busy machine
@pytest.mark.parametrize("form", ["onnx", "torch-export"])
def test_the_file_says_what_the_network_says(tmp_path: Path, segmenter_folder: Path, form: ModelFormat) -> None:
    """On images of any number and size its probabilities are the network's, and its metadata say how to use it."""
    path = tmp_path / "model"
    reported = export_model(segmenter_folder, path, form, {"preprocessing": {"image_size": 72}})
    assert reported < 1e-4
    predict, metadata = served(path, form)
    about = json.loads(metadata)
    assert about["classes"] == ["background", *CLASSES] and about["preprocessing"] == {"image_size": 72}
    assert about["input"]["range"] == [0, 1] and about["input"]["color"] == "RGB"
    network = load_segmenter(segmenter_folder, "cpu").network
    generator = np.random.default_rng(3)
    for _ in range(4):
        count, height, width = int(generator.integers(1, 4)), *map(int, generator.integers(96, 300, 2))
        images = generator.random((count, 3, height, width), np.float32)
        with torch.inference_mode():
            scores = network(torch.from_numpy(images)).softmax(1)
            expected = F.interpolate(scores, size=(height, width), mode="bilinear", align_corners=False).numpy()
        found = predict(images)
        assert found.shape == (count, len(CLASSES) + 1, height, width)
        assert np.abs(found - expected).max() < 1e-4 and np.abs(found.sum(1) - 1).max() < 1e-4


def test_without_its_packages_the_remedy_is_reported(
    tmp_path: Path, segmenter_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the extra is not installed one line says which packages are missing and how to get them."""
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxruntime" else real(name))
    with pytest.raises(
        CannotExport, match=r"^--format onnx needs onnxruntime: in tag2mask's folder, pip install -e '\.\[onnx\]'$"
    ):
        export_model(segmenter_folder, tmp_path / "model.onnx", "onnx", {})


def test_a_file_that_says_something_else_is_not_left(
    tmp_path: Path, segmenter_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file whose probabilities differ from the network's is refused, and so is a model of another kind."""
    monkeypatch.setattr(model_export, "_traced", lambda network: None)
    monkeypatch.setitem(
        model_export._WRITERS,  # type: ignore[arg-type]
        "torch-export",
        lambda program, out, metadata: lambda images: np.zeros((len(images), 4, *images.shape[2:]), np.float32),
    )
    with pytest.raises(CannotExport, match=r"the file differs from the network by [01]\S*, more than 0\.0001"):
        export_model(segmenter_folder, tmp_path / "model.pt2", "torch-export", {})
    write_json(tmp_path / "other" / "model.json", {"kind": "saliency"})
    with pytest.raises(WeightsError, match="is a 'saliency' model"):
        export_model(tmp_path / "other", tmp_path / "model.pt2", "torch-export", {})
    assert [path.name for path in tmp_path.iterdir()] == ["other"]
