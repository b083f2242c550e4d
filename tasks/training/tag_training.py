"""What the trainings of the tag classifier and of the integral attention model share: data, optimizer, schedule."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

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
from tag2mask.tasks.executors.ranks import shared_folder
from tag2mask.tasks.networks.tensors import to_batch
from tag2mask.tasks.store.journal import RESUME
from tag2mask.tasks.store.runtime import StageRuntime
from tag2mask.tasks.training.augmentation import jitter_colors
from tag2mask.tasks.training.frozen_features import FrozenFeatures, PassedOn
from tag2mask.tasks.training.loop import BatchesOfEpochs, optimizer_of, seeded
from tag2mask.tasks.training.prefetch import DecodedImages, Prefetch
from tag2mask.tasks.training.ranks import is_first, wait_for_all


class TagBatches(ABC):
    """Batches of images resized to a square, or of their features; no crop, so that maps of all epochs align.

    Attributes:
        steps: for every step its (sample, image number) pairs.
    """

    def __init__(self, index: ImageIndex, config: Classifier, device: str) -> None:
        self.steps = BatchesOfEpochs(len(index), config.batch_size, config.epochs, config.seed)
        self._config, self._device = config, device
        self._prefetch = Prefetch(self._load, len(self.steps))

    def batch(self, step: int) -> tuple[list[int], Tensor]:
        """Image numbers of a step, and the network's input for it."""
        return [number for _, number in self.steps[step]], self._input(self._prefetch(step))

    def mirror_back(self, step: int, maps: Tensor) -> Tensor:
        """Turn (N, C, h, w) maps of a step's images, some of which are mirrored, to their images' frame."""
        mirrored = torch.tensor([self._mirrored(sample) for sample, _ in self.steps[step]], device=maps.device)
        return torch.where(mirrored[:, None, None, None], maps.flip(3), maps)

    def close(self) -> None:
        """Let go of the threads that load."""
        self._prefetch.close()

    @abstractmethod
    def _load(self, step: int) -> list[np.ndarray]:
        """What a step needs, an array per image."""

    @abstractmethod
    def _input(self, loaded: list[np.ndarray]) -> Tensor:
        """What was loaded, as the network takes it."""

    @abstractmethod
    def _mirrored(self, sample: int) -> bool:
        """Whether a sample is mirrored."""


class ResizedImageBatches(TagBatches):
    """Images (N, 3, S, S), every sample with a color jitter of its own."""

    def __init__(self, index: ImageIndex, config: Classifier, device: str) -> None:
        side = (config.image_size, config.image_size)
        self._decoded = DecodedImages(lambda number: (resize(index.pixels(index.records[number]), side),))
        super().__init__(index, config, device)

    def _load(self, step: int) -> list[np.ndarray]:
        pictures = []
        for sample, number in self.steps[step]:
            (pixels,) = self._decoded[number]
            jittered = jitter_colors(pixels, self._config.jitter, seeded(self._config.seed, sample, 1))
            pictures.append(jittered[:, ::-1] if self._mirrored(sample) else jittered)
        return pictures

    def _input(self, loaded: list[np.ndarray]) -> Tensor:
        return to_batch(loaded, self._device)

    def _mirrored(self, sample: int) -> bool:
        return self._config.flip and bool(seeded(self._config.seed, sample, 2).random() < 0.5)


class FeatureBatches(TagBatches):
    """Features (N, C, h, w) of a frozen backbone, every sample a random one of its image's copies."""

    def __init__(self, index: ImageIndex, config: Classifier, device: str, features: FrozenFeatures) -> None:
        self._ids, self._features = index.ids, features
        super().__init__(index, config, device)

    def _load(self, step: int) -> list[np.ndarray]:
        return [self._features.read(self._ids[number], self._copy(sample)) for sample, number in self.steps[step]]

    def _input(self, loaded: list[np.ndarray]) -> Tensor:
        stacked = torch.from_numpy(np.stack(loaded)).to(self._device)
        return stacked.permute(0, 3, 1, 2).float()  # (N, h, w, C) -> (N, C, h, w), channels last

    def _copy(self, sample: int) -> int:
        return int(seeded(self._config.seed, sample, 3).integers(self._config.feature_copies))

    def _mirrored(self, sample: int) -> bool:
        return self._features.is_mirrored(self._copy(sample))


@contextmanager
def tag_batches(
    network: TagClassifier | IntegralAttention, index: ImageIndex, config: Classifier, out: Path, runtime: StageRuntime
) -> Iterator[TagBatches]:
    """What a network trains on.

    While the context lasts, a backbone that is not trained is replaced: by one that passes on its features, which are
    computed here, once; or, with `feature_copies` 0, by one with folded batch norms: the same features, faster.

    Args:
        network: in the training's hands; its backbone comes back at the end.
        index: the images.
        config: settings.
        out: the stage's folder; features lie in its hidden part.
        runtime: resources.

    Raises:
        NoRoomOnDisk: the features do not fit.
    """
    backbone = network.backbone
    batches: TagBatches | None = None
    try:
        if config.backbone_factor == 0 and config.backbone.freeze_batch_norm:
            folded = copy.deepcopy(backbone).eval()
            fold_batch_norm(folded)
            network.backbone = folded.requires_grad_(False)
            if config.feature_copies:
                features = FrozenFeatures(folded, config, shared_folder(out) / RESUME / "features")
                if is_first():
                    features.compute(index, runtime)
                wait_for_all()
                network.backbone = PassedOn(backbone)
                batches = FeatureBatches(index, config, runtime.device, features)
        batches = batches or ResizedImageBatches(index, config, runtime.device)
        yield batches
    finally:
        network.backbone = backbone
        if batches is not None:
            batches.close()


def tag_optimizer(network: TagClassifier | IntegralAttention, config: Classifier) -> torch.optim.Optimizer:
    """Nesterov SGD with the published groups (backbone x1, its biases x2, head x10, its biases x20), or AdamW.

    AdamW knows two rates: the head's is `learning_rate`, the backbone's `backbone_factor` times that.
    """
    if config.backbone_factor == 0:
        network.backbone.requires_grad_(False)  # nothing flows back into the backbone, which is what makes it fast
    published = config.optimizer == "sgd"
    groups = parameter_groups(
        network,
        config.learning_rate,
        backbone_factor=config.backbone_factor,
        head_factor=10.0 if published else 1.0,
        bias_factor=2.0 if published else 1.0,
        weight_decay=config.weight_decay,
    )
    return optimizer_of(groups, config.optimizer, config.momentum, nesterov=True)


def drops(config: Classifier, steps_per_epoch: int) -> Callable[[int], float]:
    """The learning rate is multiplied by 0.1 at the start of each of `drop_epochs`."""
    return lambda step: 0.1 ** sum(step // steps_per_epoch >= epoch for epoch in config.drop_epochs)
