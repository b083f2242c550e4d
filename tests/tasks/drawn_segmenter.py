"""An untrained segmenter of three classes that finds them all."""

from pathlib import Path

import torch

from tag2mask.configs.schema import Segmenter
from tag2mask.tasks.networks.factory import save_model, segmentation_network
from tests.tasks.small_stages import CLASSES, SEGMENTER


def write_segmenter(folder: Path, classes: tuple[str, ...] = CLASSES) -> Path:
    """A model folder whose network finds all its classes, in patches."""
    config = Segmenter.model_validate({**SEGMENTER, "image_size": 72})
    torch.manual_seed(5)
    network = segmentation_network(config, len(classes))
    for branch in network.segmenter.head.branches:  # type: ignore[union-attr]
        torch.nn.init.normal_(branch.weight, std=0.2)
    save_model(
        folder, network, {"kind": "segmenter", "classes": list(classes), "config": config.model_dump(mode="json")}
    )
    return folder
