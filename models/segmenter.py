"""DeepLab on any backbone: DeepLabV2's summed dilated convolutions, or a light decoder in the manner of DeepLabV3+.

Unlike DeepLabV3+, the decoder's pyramid is a 1x1 reduction followed by summed (not concatenated) dilated convolutions
without a pooled branch: a fraction of the cost, which matters without a GPU.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tag2mask.models.backbones import Backbone
from tag2mask.models.parts.initialization import initialize_normal


class Segmenter(nn.Module):
    """Backbone, dilated convolutions at several rates, class logits.

    Args:
        backbone: any.
        classes: including the background (class 0).
        rates: dilations of the 3x3 convolutions, in cells of the deepest map; (6, 12, 18, 24) belongs to stride 8.
        low_level_channels: 0 is DeepLabV2: the sum of 3x3 convolutions straight to the classes, N(0, .01), bias 0.
            More builds the decoder, which joins the shallowest side output reduced to this many channels.
        aspp_channels: width of the decoder; unused without one.
    """

    def __init__(
        self,
        backbone: Backbone,
        *,
        classes: int,
        rates: Sequence[int] = (6, 12, 18, 24),
        low_level_channels: int = 0,
        aspp_channels: int = 128,
    ) -> None:
        super().__init__()
        if classes < 2 or not rates:
            raise ValueError(
                f"classes ({classes}) counts the background and must be 2 or more; "
                f"rates ({tuple(rates)}) must not be empty"
            )
        self.backbone, self.classes = backbone, classes
        self.head: nn.Module
        if low_level_channels:
            self.head = _Decoder(backbone, classes, rates, low_level_channels, aspp_channels)
        else:
            self.head = _Pyramid(backbone, classes, rates)

    def forward(self, images: Tensor) -> Tensor:
        """Map `images` (N, 3, H, W) to logits (N, classes, h, w).

        The grid is that of the backbone's deepest side output; with the decoder that of its shallowest (stride 4).
        """
        logits: Tensor = self.head(self.backbone(images))
        return logits


class MultiScale(nn.Module):
    """Run a segmenter on resized copies of the images and take the maximum of the logits (DeepLabV2's "MSC").

    Args:
        segmenter: from (N, 3, H, W) to (N, C, h, w).
        scales: of the image; the first must be 1 and gives the grid of the maximum.
    """

    def __init__(self, segmenter: Segmenter, scales: Sequence[float] = (1.0, 0.75, 0.5)) -> None:
        super().__init__()
        if not scales or scales[0] != 1.0:
            raise ValueError(f"scales must begin with 1.0, got {tuple(scales)}")
        self.segmenter = segmenter
        self.scales = tuple(scales)

    def forward(self, images: Tensor) -> Tensor | list[Tensor]:
        """Map `images` (N, 3, H, W) to logits.

        Returns:
            In training a list: the logits of each scale on its own grid, then the maximum (N, C, h, w); of a single
            scale its logits alone, which are their own maximum and must not enter a loss twice.  In evaluation the
            maximum alone.
        """
        logits = [self.segmenter(_rescale(images, scale)) for scale in self.scales]
        maximum: Tensor = logits[0]
        for other in logits[1:]:
            maximum = torch.maximum(maximum, _resize(other, maximum.shape[2:]))
        if not self.training:
            return maximum
        return [*logits, maximum] if len(logits) > 1 else logits


class _Pyramid(nn.Module):
    """DeepLabV2's ASPP: sum of dilated 3x3 convolutions from the deepest side output to the classes."""

    def __init__(self, backbone: Backbone, classes: int, rates: Sequence[int]) -> None:
        super().__init__()
        self.branches = _dilated_branches(backbone.channels[-1], classes, rates)
        initialize_normal(self.branches, 0.01)

    def forward(self, sides: list[Tensor]) -> Tensor:
        return _sum_of(self.branches, sides[-1])


class _Decoder(nn.Module):
    """Pyramid of `width` channels at the deepest side output, joined with the shallowest one, refined there."""

    def __init__(self, backbone: Backbone, classes: int, rates: Sequence[int], low: int, width: int) -> None:
        super().__init__()
        self.reduce_deep = _block(backbone.channels[-1], width)
        self.branches = _dilated_branches(width, width, rates, bias=False)
        self.normalize = nn.Sequential(nn.BatchNorm2d(width), nn.ReLU(inplace=True))
        self.reduce_low = _block(backbone.channels[0], low)
        self.refine = nn.Sequential(_separable(width + low, width), _separable(width, width))
        self.classify = nn.Conv2d(width, classes, 1)
        initialize_normal(self.classify, 0.01)

    def forward(self, sides: list[Tensor]) -> Tensor:
        deep = self.reduce_deep(sides[-1])
        deep = self.normalize(deep + _sum_of(self.branches, deep))
        low = self.reduce_low(sides[0])
        joined = torch.cat([_resize(deep, low.shape[2:]), low], dim=1)
        logits: Tensor = self.classify(self.refine(joined))
        return logits


def _dilated_branches(channels: int, width: int, rates: Sequence[int], *, bias: bool = True) -> nn.ModuleList:
    return nn.ModuleList(nn.Conv2d(channels, width, 3, padding=r, dilation=r, bias=bias) for r in rates)


def _sum_of(branches: nn.ModuleList, features: Tensor) -> Tensor:
    total: Tensor = branches[0](features)
    for branch in branches[1:]:
        total = total + branch(features)
    return total


def _block(channels: int, width: int) -> nn.Sequential:
    """1x1 convolution, batch norm, ReLU."""
    return nn.Sequential(nn.Conv2d(channels, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True))


def _separable(channels: int, width: int) -> nn.Sequential:
    """3x3 depthwise convolution with batch norm, then `_block`."""
    depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
    return nn.Sequential(depthwise, nn.BatchNorm2d(channels), _block(channels, width))


def _rescale(images: Tensor, scale: float) -> Tensor:
    if scale == 1.0:
        return images
    return F.interpolate(images, scale_factor=scale, mode="bilinear", align_corners=False)


def _resize(maps: Tensor, size: Sequence[int]) -> Tensor:
    return F.interpolate(maps, size=tuple(size), mode="bilinear", align_corners=False)
