"""What the trainings of the tag classifier and of the integral attention model share: data, optimizer, schedule."""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from tag2mask.configs.schema import Classifier
from tag2mask.models.integral_attention import IntegralAttention
from tag2mask.models.parts.batch_norm import fold_batch_norm
from tag2mask.models.parts.parameter_groups import parameter_groups
from tag2mask.models.tag_classifier import TagClassifier
from tag2mask.tasks.dataset.image_index import ImageIndex
from tag2mask.tasks.dataset.images import resize
from tag2mask.tasks.networks.tensors import to_batch
from tag2mask.tasks.training.augmentation import jitter_colors
from tag2mask.tasks.training.loop import batches_of_epochs, seeded
from tag2mask.tasks.training.prefetch import DecodedImages, Prefetch


class ResizedImageBatches:
    """Batches of images squashed to a square and color-jittered; no crop, so that maps align."""

    def __init__(self, index: ImageIndex, config: Classifier, device: str) -> None:
        side = (config.image_size, config.image_size)
        self._decoded = DecodedImages(lambda number: (resize(index.pixels(index.records[number]), side),))
        self._config, self._device = config, device
        self.steps = batches_of_epochs(len(index), config.batch_size, config.epochs, config.seed)
        self.prefetch = Prefetch(self._load, len(self.steps))

    def _load(self, step: int) -> list[np.ndarray]:
        pictures = []
        for sample, number in self.steps[step]:
            (pixels,) = self._decoded[number]
            jittered = jitter_colors(pixels, self._config.jitter, seeded(self._config.seed, sample, 1))
            pictures.append(jittered[:, ::-1] if self._mirrored(sample) else jittered)
        return pictures

    def _mirrored(self, sample: int) -> bool:
        return self._config.flip and bool(seeded(self._config.seed, sample, 2).random() < 0.5)

    def batch(self, step: int) -> tuple[list[int], Tensor]:
        """Image numbers of a step, and its images (N, 3, S, S) ready for the network."""
        return [number for _, number in self.steps[step]], to_batch(self.prefetch(step), self._device)

    def mirror_back(self, step: int, maps: Tensor) -> Tensor:
        """Turn (N, C, h, w) maps of a step's images, some of which are mirrored, to their images' frame."""
        mirrored = torch.tensor([self._mirrored(sample) for sample, _ in self.steps[step]], device=maps.device)
        return torch.where(mirrored[:, None, None, None], maps.flip(3), maps)


@contextmanager
def frozen_backbone_folded(network: TagClassifier | IntegralAttention, config: Classifier) -> Iterator[None]:
    """While a backbone is not trained, let a copy with folded batch norms stand in: the same features, faster."""
    backbone = network.backbone
    if config.backbone_factor == 0 and config.backbone.freeze_batch_norm:
        folded = copy.deepcopy(backbone).eval()
        fold_batch_norm(folded)
        network.backbone = folded.requires_grad_(False)
    try:
        yield
    finally:
        network.backbone = backbone


def optimizer_of(network: TagClassifier | IntegralAttention, config: Classifier) -> torch.optim.Optimizer:
    """Nesterov SGD with the published groups (backbone x1, its biases x2, head x10, its biases x20), or AdamW."""
    if config.backbone_factor == 0:
        network.backbone.requires_grad_(False)  # nothing flows back into the backbone, which is what makes it fast
    rate, decay = config.learning_rate, config.weight_decay
    if config.optimizer == "adamw":
        trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
        return torch.optim.AdamW(trained, lr=rate, weight_decay=decay)
    groups = parameter_groups(network, rate, backbone_factor=config.backbone_factor, weight_decay=decay)
    return torch.optim.SGD(groups, lr=rate, momentum=config.momentum, nesterov=config.momentum > 0)


def drops(config: Classifier, steps_per_epoch: int) -> Callable[[int], float]:
    """The learning rate is multiplied by 0.1 at the start of each of `drop_epochs`."""
    return lambda step: 0.1 ** sum(step // steps_per_epoch >= epoch for epoch in config.drop_epochs)
