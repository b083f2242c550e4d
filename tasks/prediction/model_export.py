"""A segmenter as one file that serves without this package: ONNX, or what `torch.export` writes.

What the file computes, `images` -> `probabilities`:

    images           (N, 3, H, W) float32, RGB in [0, 1], any N, H and W from 96 on: the network normalizes itself
    probabilities    (N, C + 1, H, W) float32 that sum to one over the classes, plane 0 the background

Its metadata say so, with the size to which images are brought first, the classes, and where the model comes from: the
JSON text `tag2mask` (ONNX: a metadata property; torch.export: an extra file).

A file is held against the network on random images of random sizes before it takes its place.
"""

import importlib.util
import json
import logging
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tag2mask.configs.errors import UserError
from tag2mask.tasks.catalog.formats import ModelFormat
from tag2mask.tasks.networks.factory import load_model, segmentation_network
from tag2mask.tasks.networks.mask_inference import segmenter_settings
from tag2mask.tasks.store.files import write_file

NEEDED = {"onnx": ("onnx", "onnxscript", "onnxruntime"), "torch-export": ()}
"""Format -> packages of the extra `tag2mask[onnx]` that writing and checking it takes."""
TOLERANCE = 1e-4
"""Largest difference of a probability between the file and the network."""
SIZES = ((1, 96, 130), (3, 131, 97), (1, 200, 259))
"""(N, H, W) of the images on which both are compared; none has the size with which the network is traced."""
METADATA = "tag2mask"
"""Name of the file's metadata."""

Predict = Callable[[np.ndarray], np.ndarray]
"""What a written file computes: images (N, 3, H, W) -> probabilities (N, C + 1, H, W), float32."""


class CannotExport(UserError, ValueError):
    """The file cannot be written, or would not say what the network says; the message says why."""


class ServedSegmenter(nn.Module):
    """A segmenter with its logits turned into probabilities at the size of the images."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Map `images` (N, 3, H, W) in [0, 1] to probabilities (N, C + 1, H, W)."""
        scores = self.network(images).softmax(1)
        return F.interpolate(scores, size=images.shape[2:], mode="bilinear", align_corners=False)


def check_installed(form: ModelFormat) -> None:
    """Refuse a format whose packages are not installed.

    Raises:
        CannotExport: the message says how to install them.
    """
    missing = [name for name in NEEDED[form] if importlib.util.find_spec(name) is None]
    if missing:
        raise CannotExport(
            f"--format {form} needs {', '.join(missing)}: in tag2mask's folder, pip install -e '.[onnx]'"
        )


def export_model(folder: Path, out: Path, form: ModelFormat, about: Mapping[str, Any]) -> float:
    """Write a segmenter to one file.

    Args:
        folder: its model folder.
        out: the file; it appears whole or not at all.
        form: what to write.
        about: what else to put into the metadata, JSON values: the model's name, how it is applied, its provenance.

    Returns:
        The largest difference of a probability between file and network on the images compared.

    Raises:
        WeightsError: it is no segmenter, or damaged.
        CannotExport: packages are missing, the network cannot be traced, or the file says something else than it.
    """
    check_installed(form)
    classes, settings = segmenter_settings(folder)
    network = segmentation_network(settings, len(classes))
    load_model(folder, network)
    served = ServedSegmenter(network).eval()
    metadata = json.dumps({**described(classes), **about}, indent=1, sort_keys=True)
    worst = 0.0

    def write(file: Any) -> None:
        nonlocal worst
        place = Path(file.name)
        predict = _WRITERS[form](_traced(served), place, metadata)
        worst = _largest_difference(served, predict)
        if not worst <= TOLERANCE:  # written so that NaN fails too
            raise CannotExport(f"{form}: the file differs from the network by {worst:.2g}, more than {TOLERANCE:g}")

    write_file(out, write)
    return worst


def described(classes: tuple[str, ...]) -> dict[str, Any]:
    """What the file's metadata say of input and output."""
    return {
        "input": {
            "name": "images",
            "layout": "N, 3, height, width",
            "type": "float32",
            "color": "RGB",
            "range": [0.0, 1.0],
            "smallest_side": 96,
            "normalization": "inside of the network",
        },
        "output": {
            "name": "probabilities",
            "layout": "N, class, height, width",
            "type": "float32",
            "meaning": "class probabilities at the size of the input; the label is the number of the highest",
        },
        "classes": ["background", *classes],
    }


def _traced(served: nn.Module) -> torch.export.ExportedProgram:
    """The graph for any number and size of images."""
    shapes = ({axis: torch.export.Dim.DYNAMIC for axis in (0, 2, 3)},)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            return torch.export.export(served, (torch.rand(2, 3, 96, 128),), dynamic_shapes=shapes)
    except Exception as error:  # torch raises dozens of kinds, some with pages of advice
        reason = str(error).strip().partition("\n")[0]
        raise CannotExport(f"the network cannot be traced for any size of image ({reason:.200})") from error


def _write_onnx(program: torch.export.ExportedProgram, out: Path, metadata: str) -> Predict:
    import onnx
    import onnxruntime

    logging.getLogger("onnxscript").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = torch.onnx.export(
            program, dynamo=True, input_names=["images"], output_names=["probabilities"], verbose=False
        )
    assert made is not None  # of a traced program it is always one
    model = made.model_proto
    entry = model.metadata_props.add()
    entry.key, entry.value = METADATA, metadata
    onnx.checker.check_model(model)
    out.write_bytes(model.SerializeToString())
    session = onnxruntime.InferenceSession(str(out), providers=["CPUExecutionProvider"])
    return lambda images: np.asarray(session.run(None, {"images": images})[0])


def _write_program(program: torch.export.ExportedProgram, out: Path, metadata: str) -> Predict:
    with out.open("wb") as file:
        torch.export.save(program, file, extra_files={f"{METADATA}.json": metadata})
    with out.open("rb") as file:
        module = torch.export.load(file).module()
    return lambda images: module(torch.from_numpy(images)).detach().numpy()


_WRITERS: Mapping[str, Callable[[torch.export.ExportedProgram, Path, str], Predict]] = {
    "onnx": _write_onnx,
    "torch-export": _write_program,
}


def _largest_difference(served: nn.Module, predict: Predict) -> float:
    """Over random smooth images of several sizes; noise alone would leave most classes out."""
    generator, worst = np.random.default_rng(0), 0.0
    for count, height, width in SIZES:
        coarse = torch.from_numpy(generator.random((count, 3, 8, 8), np.float32))
        images = F.interpolate(coarse, size=(height, width), mode="bilinear", align_corners=False)
        with torch.inference_mode():
            expected = served(images).numpy()
        worst = max(worst, float(np.abs(predict(images.numpy()) - expected).max()))
    return worst
