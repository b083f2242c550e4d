"""Co-salient objects by the consensus of a group (GCoNet+, Zheng et al., TPAMI 2023), as it is used.

What serves the training alone is in `group_collaboration`.  Published for VGG16 with batch norm and its five side
outputs; here any backbone serves.

A group of any size: `describe` the images in parts, make the `consensus` of the joined descriptions, `decode` the
images in parts.  In evaluation mode that equals `forward` on all of them.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tag2mask.models.backbones import Backbone, side_outputs
from tag2mask.models.cosaliency.group_affinity import GroupAffinity

WIDTHS = (256, 128, 64, 32)
"""Published channels of the decoder behind each lateral connection, deepest first; the last holds for all others."""
INNER = 64
"""Channels inside of a decoder block."""
SHARPNESS = 300.0
"""Published steepness of the hard map."""


class ConfidenceMaps(NamedTuple):
    """Result of the confidence enhancement module, each (N, 1, H, W)."""

    soft: Tensor
    """P in [0, 1]."""
    threshold: Tensor
    """T in [0, 1]."""
    logits: Tensor
    """Of the hard map: k (P - T), which no exponential overflows on."""

    @property
    def hard(self) -> Tensor:
        """B = sigmoid(k (P - T)): a mask, 0 or 1 at nearly every pixel, not a probability."""
        return torch.sigmoid(self.logits)


class Decoded(NamedTuple):
    """What the decoder made of images."""

    maps: ConfidenceMaps
    features: Tensor
    """(N, C, h, w) that the maps were read from, at the shallowest side output's size."""


class ConfidenceEnhancement(nn.Module):
    """A soft map and a learned threshold for it at every pixel, as in differentiable binarization (CEM).

    Args:
        channels: of the features.
        sharpness: k, steepness of the hard map; see `ConfidenceMaps`.
    """

    def __init__(self, channels: int, sharpness: float) -> None:
        super().__init__()
        self.sharpness = sharpness
        self.soft, self.threshold = _confidence_head(channels), _confidence_head(channels)

    def forward(self, features: Tensor, size: tuple[int, ...]) -> ConfidenceMaps:
        """Read maps of `size` from (N, C, h, w): both are enlarged first, so that the hard map's edges are sharp."""
        soft, threshold = (
            _resize(torch.sigmoid(head(features).to(torch.promote_types(features.dtype, torch.float32))), size)
            for head in (self.soft, self.threshold)
        )
        return ConfidenceMaps(soft, threshold, self.sharpness * (soft - threshold))


class GCoNetPlus(nn.Module):
    """Co-saliency maps of the images of one group.

    Args:
        backbone: with at least two side outputs; its weights are left as they come.
        sharpness: see `ConfidenceEnhancement`.

    Raises:
        ValueError: too few side outputs.
    """

    def __init__(self, backbone: Backbone, *, sharpness: float = SHARPNESS) -> None:
        super().__init__()
        if len(backbone.channels) < 2:
            raise ValueError(f"GCoNet+ needs two side outputs or more, not {len(backbone.channels)}")
        *shallow, deepest = backbone.channels
        self.backbone = backbone
        self.affinity = GroupAffinity(deepest)
        widths = [WIDTHS[min(number, len(WIDTHS) - 1)] for number in range(len(shallow))]
        self.top = decoder_block(deepest, widths[0])
        inputs = [widths[0], *widths[:-1]]
        self.enlarge = nn.ModuleList(decoder_block(*pair) for pair in zip(inputs, widths, strict=True))
        self.laterals = nn.ModuleList(
            nn.Conv2d(side, width, 1) for side, width in zip(reversed(shallow), widths, strict=True)
        )
        self.channels = widths[-1]
        self.finish = decoder_block(widths[-1], widths[-1])
        self.enhance = ConfidenceEnhancement(widths[-1], sharpness)

    def forward(self, images: Tensor) -> ConfidenceMaps:
        """Predict a whole group at once from `images` (N, 3, H, W), RGB in [0, 1]."""
        sides = self.encode(images)
        return self.decode(sides, self.consensus(self.describe(sides))[0], images.shape[2:]).maps

    def encode(self, images: Tensor) -> list[Tensor]:
        """Side outputs of `images` (N, 3, H, W), for `describe` and `decode`.

        Raises:
            ValueError: images too small for the backbone.
        """
        return side_outputs(self.backbone, images, least=max(self.backbone.strides), reader="GCoNet+")

    def describe(self, sides: list[Tensor], saliency: Tensor | None = None) -> list[Tensor]:
        """What N images give to their group: one tensor (N, C, h, w), the deepest side output; saliency is not used."""
        return [sides[-1]]

    def consensus(self, descriptions: list[Tensor]) -> list[Tensor]:
        """What the group passes on to each image: one tensor (1, C, 1, 1), from the descriptions of all its images."""
        return [self.affinity(descriptions[0])]

    def decode(self, sides: list[Tensor], consensus: Tensor, size: tuple[int, ...]) -> Decoded:
        """Predict N images of a group.

        Args:
            sides: of the images, by `encode`.
            consensus: (1, C, 1, 1), or (N, C, 1, 1) for images of different groups.
            size: (H, W) of the images.
        """
        features = self.top(sides[-1] * consensus)
        for enlarge, lateral, side in zip(self.enlarge, self.laterals, reversed(sides[:-1]), strict=True):
            features = _resize(enlarge(features), side.shape[2:]) + lateral(side)
        features = self.finish(features)
        return Decoded(self.enhance(features, size), features)

    def maps(
        self, sides: list[Tensor], saliency: Tensor | None, consensus: list[Tensor], size: tuple[int, ...]
    ) -> tuple[Tensor, Tensor]:
        """Soft and hard map, both (N, 1, H, W) in [0, 1], for inference; saliency is not used."""
        maps = self.decode(sides, consensus[0], size).maps
        return maps.soft, maps.hard


def decoder_block(channels: int, width: int) -> nn.Sequential:
    """3x3 convolution to 64 channels, batch norm, ReLU, 3x3 convolution, batch norm; no skip and no last ReLU."""
    return nn.Sequential(
        nn.Conv2d(channels, INNER, 3, padding=1),
        nn.BatchNorm2d(INNER),
        nn.ReLU(inplace=True),
        nn.Conv2d(INNER, width, 3, padding=1),
        nn.BatchNorm2d(width),
    )


def _confidence_head(channels: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for _ in range(2):
        layers += [nn.Conv2d(channels, channels, 3, padding=1), nn.BatchNorm2d(channels), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, nn.Conv2d(channels, 1, 1))


def _resize(maps: Tensor, size: tuple[int, ...]) -> Tensor:
    return maps if maps.shape[2:] == size else F.interpolate(maps, size=size, mode="bilinear", align_corners=True)
