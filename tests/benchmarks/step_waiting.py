"""How long a training step waits for its batch: ours, which is prepared beside the network, and one loaded in turn.

By the clock, since waiting costs no processor: on a machine with other work both shares grow.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from tag2mask.configs.schema import Segmenter
from tag2mask.models.losses import segmentation_loss
from tag2mask.tasks.dataset.label_maps import read_labels
from tag2mask.tasks.networks.factory import place, segmentation_network
from tag2mask.tasks.networks.tensors import to_batch
from tag2mask.tasks.train_segmenter import LabeledCrops
from tag2mask.tasks.training.augmentation import scale_and_crop
from tag2mask.tasks.training.loop import indices_of_step, seeded
from tests.benchmarks.stage_inputs import StageInputs

Batch = tuple[np.ndarray, np.ndarray]
SETTINGS: dict[str, Any] = {
    "backbone": {"name": "resnet18", "output_stride": 16},
    "train_scales": [1.0],
    "batch_size": 4,
}


@dataclass(frozen=True)
class Waiting:
    """Medians of the steps after the first epoch."""

    waits: float
    """Seconds until the batch is there."""
    works: float
    """Seconds of the network."""

    @property
    def share(self) -> float:
        """Of a step that is waiting."""
        return self.waits / (self.waits + self.works)


def compare(inputs: StageInputs, *, epochs: int, crop_size: int = 321) -> tuple[Waiting, Waiting]:
    """The counterpart's waiting and ours, over the same batches.

    Args:
        inputs: images with labels.
        epochs: passes over them; the first does not count.
        crop_size: side of the crops, in pixels.
    """
    per_epoch = -(-len(inputs.index) // SETTINGS["batch_size"])
    config = Segmenter.model_validate(SETTINGS | {"crop_size": crop_size, "iterations": epochs * per_epoch})
    torch.manual_seed(0)
    network = segmentation_network(config, len(inputs.index.classes))
    place(network, "cpu")
    network.train()
    data = LabeledCrops(inputs.index, inputs.labels, config)
    try:
        found = [
            _steps(load, network, config, per_epoch) for load in (_in_turn(data, inputs.labels, config), data.prefetch)
        ]
    finally:
        data.prefetch.close()
    return found[0], found[1]


def _in_turn(data: LabeledCrops, folder: Path, config: Segmenter) -> Callable[[int], Batch]:
    """What reads, decodes and cuts the images of a step when they are asked for, every time anew."""

    def load(step: int) -> Batch:
        crops = []
        for sample, number in indices_of_step(step, config.batch_size, len(data.index), config.seed):
            record, generator = data.index.records[number], seeded(config.seed, sample, 1)
            pixels, mask = data.index.pixels(record), read_labels(folder / f"{record.image_id}.png")
            crops.append(scale_and_crop(pixels, mask, config.resize, config.crop_size, generator))
        images, labels = zip(*crops, strict=True)
        return np.stack(images), np.stack(labels)

    return load


def _steps(load: Callable[[int], Batch], network: nn.Module, config: Segmenter, first: int) -> Waiting:
    """Train without an optimizer, and time the steps from `first` on."""
    waits, works = [], []
    for step in range(config.iterations):
        asked = time.perf_counter()
        images, labels = load(step)
        begun = time.perf_counter()
        loss = segmentation_loss(network(to_batch(images, "cpu")), torch.from_numpy(labels))
        torch.autograd.backward(loss)
        if step >= first:
            waits.append(begun - asked)
            works.append(time.perf_counter() - begun)
    return Waiting(float(np.median(waits)), float(np.median(works)))
