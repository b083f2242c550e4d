"""Inference of a segmenter: its network from a model folder, class probabilities, and the labels that follow."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tag2mask.configs.load import ConfigError, validated
from tag2mask.configs.schema import MaskPrediction, Segmenter
from tag2mask.tasks.dataset.images import resize
from tag2mask.tasks.networks.factory import load_for_inference, segmentation_network
from tag2mask.tasks.networks.model_folder import WeightsError, check_classes, read_architecture
from tag2mask.tasks.networks.tensors import to_batch

KEPT = 0.01
"""Probability that a class must exceed somewhere to be kept."""


@dataclass(frozen=True)
class LoadedSegmenter:
    """A segmenter ready to predict, and what its folder says of it."""

    network: nn.Module
    """(N, 3, H, W) in [0, 1] -> (N, C + 1, h, w) logits, in evaluation mode."""
    classes: tuple[str, ...]
    """Names of the classes 1..C."""
    settings: Segmenter
    """With which it was trained."""

    @property
    def least_side(self) -> int:
        """Pixels of the shorter side of an image for which every copy that the network takes of it has a cell."""
        return math.ceil((self.settings.backbone.output_stride + 1) / min(self.settings.train_scales))


def segmenter_settings(folder: Path) -> tuple[tuple[str, ...], Segmenter]:
    """Classes 1..C of a segmenter's model folder, and the settings with which it was trained; no weights are read.

    Raises:
        WeightsError: it is no segmenter, or one whose settings this version does not know.
    """
    architecture, path = read_architecture(folder, "segmenter"), folder / "model.json"
    try:
        return tuple(architecture["classes"]), validated(Segmenter, architecture["config"], path)
    except KeyError as error:
        raise WeightsError(
            f"{path}: does not say its {error.args[0]}; take a folder that train_segmenter made"
        ) from error
    except ConfigError as error:
        raise WeightsError(f"{error}: the settings it was trained with do not fit this version") from error


def load_segmenter(folder: Path, device: str, classes: tuple[str, ...] | None = None) -> LoadedSegmenter:
    """Load a segmenter to predict with.

    Args:
        folder: its model folder.
        device: where to put the network.
        classes: what it must have been trained for; None takes any.

    Raises:
        WeightsError: it is no segmenter, was trained for other classes, or is damaged.
    """
    own, settings = segmenter_settings(folder)
    if classes is not None:
        check_classes(folder, {"classes": own}, classes)
    network = segmentation_network(settings, len(own))
    load_for_inference(folder, network, device)
    return LoadedSegmenter(network, own, settings)


def at_scales(pixels: np.ndarray, config: MaskPrediction, least_side: int) -> list[np.ndarray]:
    """An image (H, W, 3) uint8 at the scales at which it is predicted, in their order.

    A side that would be shorter than `least_side` pixels, which the network needs, is stretched to as many.
    """
    height, width = pixels.shape[:2]
    factor = config.image_size / max(height, width) if config.image_size else 1.0
    sides = [(height * factor * scale, width * factor * scale) for scale in config.scales]
    return [resize(pixels, (max(least_side, round(high)), max(least_side, round(wide)))) for high, wide in sides]


def segment(network: nn.Module, images: Sequence[Sequence[np.ndarray]], *, flip: bool, device: str) -> Tensor:
    """Class probabilities, averaged over scales and mirror images.

    Args:
        network: (N, 3, H, W) -> (N, C + 1, h, w) logits.
        images: of N images what `at_scales` gives; of each scale they have one size.
        flip: average with the mirrored image.
        device: where the network is.

    Returns:
        (N, C + 1, h, w) float32 on the grid of the first scale.  They are enlarged as probabilities, where the
        published code enlarges logits: fewer than .1 % of the pixels get another class at stride 4.
    """
    total: Tensor | None = None
    for same in zip(*images, strict=True):  # the N images at one scale
        batch = to_batch(same, device)
        views = [network(batch)]
        if flip:
            views.append(network(batch.flip(3)).flip(3))
        probabilities = torch.stack([view.float().softmax(1) for view in views]).mean(0)
        if total is None:
            total = probabilities
        else:
            total = total + F.interpolate(probabilities, size=total.shape[2:], mode="bilinear", align_corners=False)
    assert total is not None  # settings hold one scale at least
    return total / len(images[0])


def most_probable(scores: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """The most probable class of each pixel of an image, and its probability.

    The scores of a cell sum to one, and a pixel's are a mean of its cells': the highest of K classes is at least 1 / K.
    A class that stays below half of that in all cells wins nowhere and is not enlarged, which spares most of the work.

    Args:
        scores: (K, h, w) float32 probabilities on the network's grid.
        size: (height, width) of the image.

    Returns:
        (H, W) uint8 class numbers, and (H, W) float32.
    """
    above = scores.amax((1, 2)) > 0.5 / len(scores)
    above[0] = True  # of scores that are no numbers something must be left
    able = above.nonzero()[:, 0]
    large = F.interpolate(scores[able][None], size=size, mode="bilinear", align_corners=False)[0]
    highest, place = large.max(0)
    return able.to(torch.uint8)[place], highest


def kept_scores(scores: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """The classes that some cell gives more than `KEPT`, and the background, of (C + 1, h, w) probabilities.

    Returns:
        (K, h, w) float16 and (K,) uint8 class numbers, rising.
    """
    kept = scores.amax((1, 2)) > KEPT
    kept[0] = True
    return scores[kept].half().cpu().numpy(), kept.nonzero()[:, 0].to(torch.uint8).cpu().numpy()
