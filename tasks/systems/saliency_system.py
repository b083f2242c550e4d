"""What the stages need to know of a saliency network: the fields of a record of the registry."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from tag2mask.configs.schema import Saliency
from tag2mask.models.backbones import Backbone
from tag2mask.models.saliency.reciprocal_attention import Score
from tag2mask.tasks.networks.tensors import to_batch
from tag2mask.tasks.store.runtime import StageRuntime
from tag2mask.tasks.training.loop import Training
from tag2mask.tasks.training.saliency_pairs import PairSource, SaliencyPairs

Network = TypeVar("Network", bound=nn.Module)


@dataclass(frozen=True)
class SaliencySystem(Generic[Network]):
    """How a saliency network is built, trained and asked.  Its settings are the fields of `Saliency` marked for it."""

    build: Callable[[Saliency, Backbone], Network]
    """The network on a backbone, without pre-trained weights; it calls the backbone `backbone`."""
    pairs: Callable[[Saliency, PairSource, Path], SaliencyPairs]
    """Batches of a training, from (settings, images with targets, the stage's folder)."""
    training: Callable[[Saliency, Network, SaliencyPairs, StageRuntime], Training]
    """The training of a network that lies on its device."""
    probabilities: Callable[[Network, Tensor], Tensor]
    """Of images (N, 3, S, S) the probabilities (N, 2, S, S) of foreground and background."""
    combine: Callable[[Tensor, Tensor, Score], Tensor]
    """Saliency (N, 1, S, S) of the probabilities of foreground and background, by `saliency_maps.score`."""


def batch_of_step(data: SaliencyPairs, step: int, device: str) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """A step's batch as tensors.

    Returns:
        Images (N, 3, S, S), target (N, 1, S, S) in [0, 1], valid pixels (N, 1, S, S) bool and, where the step needs
        them, superpixels (N, 1, S, S).
    """
    images, *maps = data.prefetch(step)
    target, keep, *regions = (torch.from_numpy(part)[:, None].to(device) for part in maps)  # (N, S, S) -> (N, 1, S, S)
    return to_batch(images, device), target.float() / 255, keep, regions[0] if regions else None
