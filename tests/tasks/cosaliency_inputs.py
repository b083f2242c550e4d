"""Settings, inputs and models for the tests of the two stages of co-saliency."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from tag2mask.configs.schema import Cosaliency
from tag2mask.tasks.dataset.label_maps import read_gray
from tag2mask.tasks.networks.factory import save_model
from tag2mask.tasks.store.files import read_json
from tag2mask.tasks.systems.registry import cosaliency_network
from tests.tasks.drawn_files import save_image, save_mask
from tests.tasks.drawn_run import blocks, maps_of, write_class_maps, write_dataset, write_saliency

CLASSES = ("cat", "dog", "owl")
PROVIDERS = ("icnet", "gconet_plus")
VALIDATION = ("p07", "p08", "p09")
SETTINGS: dict[str, Any] = {
    "backbone": {"name": "squeezenet1_1", "output_stride": 16},
    "channels": 8,
    "detail_channels": 8,
    "grids": (2, 4, 6),
    "image_size": 64,
    "group_size": 2,
    "iterations": 5,
}


def settings(provider: str, **changes: Any) -> Cosaliency:
    return Cosaliency.model_validate({**SETTINGS, "provider": provider, **changes})


def write_inputs(folder: Path) -> dict[str, Path]:
    """Ten images of three classes, some of two; certain saliency and CAM; three of them for validation."""
    masks = blocks(5, 10, len(CLASSES), size=(48, 72))
    write_dataset(folder / "dataset", CLASSES, masks, val=VALIDATION)
    salient = {i: np.where((mask > 0) & (mask < 255), 255, 0).astype(np.uint8) for i, mask in masks.items()}
    write_saliency(folder / "saliency", salient)
    write_class_maps(folder / "cams", "infer_cams", {i: maps_of(mask) for i, mask in masks.items()})
    return {name: folder / name for name in ("dataset", "saliency", "cams")}


def model_folder(folder: Path, provider: str, **changes: Any) -> Path:
    """A model folder whose network has weights large enough to tell images apart."""
    config = settings(provider, **changes)
    torch.manual_seed(4)
    network = cosaliency_network(config)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if parameter.ndim == 4 and not name.startswith("backbone"):
                parameter.normal_(0, (2 / parameter[0].numel()) ** 0.5)
    content = config.model_dump(mode="json", exclude={"checkpoint", "training_set"})
    save_model(folder, network, {"kind": "cosaliency", "config": content})
    return folder


def counts_of(folder: Path) -> dict[str, Any]:
    """What a training counted."""
    return {name: value for name, value in read_json(folder / "metrics.json").items() if not name.startswith("masks_")}


def maps_below(folder: Path) -> dict[str, np.ndarray]:
    """`<number>/<id>` -> map."""
    return {f"{p.parent.name}/{p.stem}": read_gray(p) for p in sorted((folder / "cosaliency").rglob("*.png"))}


def group_folder(folder: Path, *, saliency: bool) -> Path:
    """Two groups of three images with masks."""
    for number, group in enumerate(("boats", "cars")):
        for image in range(3):
            save_image(folder / "images" / group / f"x{image}.png", 10 * number + image, (40, 56))
            mask = np.zeros((40, 56))
            mask[10:30, 8 + 8 * image : 40] = 255
            save_mask(folder / "masks" / group / f"x{image}.png", mask)
            if saliency:
                save_mask(folder / "saliency" / group / f"x{image}.png", mask)
    return folder
