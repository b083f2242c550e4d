"""Co-salient objects from single-image saliency and the images of a group (ICNet, Jin et al., NeurIPS 2020).

Published for VGG16's five side outputs at 224 pixels; here any backbone with three strides serves.  Of the side outputs
of one stride (dilated backbones have several) the deepest is taken; the two deepest of these and a pooled one carry the
group's features, the shallower ones the decoder.

A group of any size: `describe` the images in parts, join the descriptions, `decode` the images in parts.  In evaluation
mode that equals `forward` on all of them.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tag2mask.models.backbones import Backbone, side_outputs
from tag2mask.models.cosaliency.correlation_fusion import CosalientFeatures, Residual, both_vectors
from tag2mask.models.parts.initialization import initialize_normal

GRIDS = (7, 14, 28)
"""Published sides of the grids on which positions are compared, deepest level first."""


class Encoded(NamedTuple):
    """What `encode` makes of N images."""

    features: list[Tensor]
    """Three tensors (N, C, h, w), the compressed levels from the deepest up, of length one at every position."""
    details: list[Tensor]
    """The shallower side outputs, from the shallowest down, for the decoder."""


class ICNet(nn.Module):
    """Co-saliency maps of the images of one group.

    Args:
        backbone: with side outputs of at least three strides; its weights are left as they come.
        channels: of the group's features.
        detail_channels: of the decoder.
        grids: sides of the comparison grids at the three levels, deepest first; a level has grid ** 2 channels.

    The convolutions start by N(0, 0.01) as published.

    Raises:
        ValueError: too few strides, or not three grids.
    """

    def __init__(
        self,
        backbone: Backbone,
        *,
        channels: int = 128,
        detail_channels: int = 32,
        grids: tuple[int, ...] = GRIDS,
    ) -> None:
        super().__init__()
        self.taken = tuple({stride: index for index, stride in enumerate(backbone.strides)}.values())
        if len(self.taken) < 3 or len(grids) != 3:
            found = ", ".join(str(backbone.strides[index]) for index in self.taken)
            raise ValueError(
                f"ICNet needs three strides or more and three grids; {backbone.name} has the strides {found} "
                f"(a larger output_stride gives more), the grids are {grids}"
            )
        *shallow, second, deepest = (backbone.channels[index] for index in self.taken)
        self.backbone = backbone
        self.compress = nn.ModuleList(
            [_pooled(deepest, channels), nn.Conv2d(deepest, 2 * channels, 1), nn.Conv2d(second, 2 * channels, 1)]
        )
        self.levels = nn.ModuleList(CosalientFeatures(grid, channels) for grid in grids)
        self.upper = Residual(channels)
        self.lower = nn.Sequential(Residual(channels), nn.Conv2d(channels, detail_channels, 1))
        self.predict = nn.Conv2d(detail_channels, 1, 1)
        self.details = nn.ModuleList(_Detail(width, detail_channels) for width in reversed(shallow))
        for part in (self.compress, self.levels, self.upper, self.lower, self.predict, self.details):
            initialize_normal(part)

    def forward(self, images: Tensor, saliency: Tensor) -> list[Tensor]:
        """Predict a whole group at once.

        Args:
            images: (N, 3, H, W) of one group, RGB in [0, 1]; N = 1 serves.
            saliency: (N, 1, H, W) in [0, 1], the images' single-image saliency.

        Returns:
            Probabilities (N, 1, H, W) from the coarsest level to the finest; the LAST is the final prediction, the
            others serve deep supervision.

        Raises:
            ValueError: shapes that do not fit each other, or images too small for the backbone.
        """
        encoded = self.encode(images)
        return self.decode(encoded, saliency, self.describe(encoded, saliency), images.shape[2:])

    def encode(self, images: Tensor) -> Encoded:
        """Features of `images` (N, 3, H, W), for `describe` and `decode`.

        They are compressed here, once: a second pass would move the statistics of the batch norms a second time.

        Raises:
            ValueError: images too small for the backbone.
        """
        sides = side_outputs(self.backbone, images, least=2 * max(self.backbone.strides), reader="ICNet")
        *details, second, deepest = (sides[index] for index in self.taken)
        pairs = zip(self.compress, (deepest, deepest, second), strict=True)
        return Encoded([F.normalize(layer(side), dim=1) for layer, side in pairs], details)

    def describe(self, encoded: Encoded, saliency: Tensor) -> list[Tensor]:
        """What N images give to their group: three (N, 2, C), foreground and background vector at each level."""
        _check_saliency(encoded, saliency)
        return [both_vectors(features, saliency) for features in encoded.features]

    def consensus(self, descriptions: list[Tensor]) -> list[Tensor]:
        """What the group passes on to each image: the descriptions of all its images, joined along their first axis."""
        return descriptions

    def decode(
        self, encoded: Encoded, saliency: Tensor, consensus: list[Tensor], size: tuple[int, ...]
    ) -> list[Tensor]:
        """Predict N images of a group.

        Args:
            encoded: the images, by `encode`.
            saliency: (N, 1, H, W) in [0, 1].
            consensus: three tensors (M, 2, C) of the group's M images.
            size: (H, W) of the images.

        Returns:
            See `forward`.
        """
        _check_saliency(encoded, saliency)
        shared = [level(x, vectors) for level, x, vectors in zip(self.levels, encoded.features, consensus, strict=True)]
        merged = self.upper(shared[1] + _resize(shared[0], shared[1].shape[2:]))
        merged = self.lower(shared[2] + _resize(merged, shared[2].shape[2:]))
        first = torch.sigmoid(self.predict(merged))
        predictions = [first]
        for detail, side in zip(self.details, reversed(encoded.details), strict=True):
            merged, prediction = detail(side, first, saliency, merged)
            predictions.append(prediction)
        return [_resize(prediction, size) for prediction in predictions]

    def maps(
        self, encoded: Encoded, saliency: Tensor, consensus: list[Tensor], size: tuple[int, ...]
    ) -> tuple[Tensor, Tensor]:
        """Soft and hard map, both (N, 1, H, W) in [0, 1], for inference; the hard one is where the soft exceeds 1/2."""
        soft = self.decode(encoded, saliency, consensus, size)[-1]
        return soft, (soft > 0.5).to(soft)


class _Detail(nn.Module):
    """One step of the decoder: a side output seen through the group's map and through the single-image map."""

    def __init__(self, side_channels: int, channels: int) -> None:
        super().__init__()
        self.lateral = nn.Conv2d(side_channels, channels, 1)
        self.fuse = nn.Sequential(_block(3 * channels, 3 * channels), _block(3 * channels, channels))
        self.predict = nn.Conv2d(channels, 1, 1)

    def forward(self, side: Tensor, group: Tensor, saliency: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
        lateral, size = self.lateral(side), side.shape[2:]
        seen = [lateral * _resize(group, size), lateral * _resize(saliency, size), _resize(before, size)]
        fused = self.fuse(torch.cat(seen, 1))
        return fused, torch.sigmoid(self.predict(fused))


def _pooled(channels: int, width: int) -> nn.Sequential:
    """The level above the backbone's deepest one."""
    return nn.Sequential(
        nn.MaxPool2d(2),
        nn.Conv2d(channels, width, 1),
        _block(width, width),
        _block(width, width),
        nn.Conv2d(width, width, 3, padding=1),
    )


def _block(channels: int, width: int) -> nn.Sequential:
    """3x3 convolution, batch norm, ReLU; keeps the grid."""
    return nn.Sequential(nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(inplace=True))


def _resize(maps: Tensor, size: tuple[int, ...]) -> Tensor:
    return maps if maps.shape[2:] == size else F.interpolate(maps, size=size, mode="bilinear", align_corners=True)


def _check_saliency(encoded: Encoded, saliency: Tensor) -> None:
    count = len(encoded.features[0])
    if saliency.ndim != 4 or saliency.shape[:2] != (count, 1):
        raise ValueError(
            f"saliency has shape {tuple(saliency.shape)}; {count} images need {count} maps, ({count}, 1, H, W)"
        )
