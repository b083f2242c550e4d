"""A backbone small enough to test heads on."""

import torch
from torch import Tensor, nn

from tag2mask.models.backbones import BACKBONES, Backbone, build_backbone
from tag2mask.models.timm_backbones import build_timm_backbone

BACKBONE_NAMES = (*BACKBONES, "tf_efficientnet_lite0")
"""All of torchvision's, and one of timm's."""


def any_backbone(name: str, output_stride: int) -> Backbone:
    """A backbone of either library."""
    build = build_backbone if name in BACKBONES else build_timm_backbone
    return build(name, output_stride=output_stride)


class TinyBackbone(Backbone):
    """Four strided 3x3 convolutions with side outputs at strides 4, 8 and 16."""

    def __init__(self) -> None:
        super().__init__("tiny", (6, 8, 10), (4, 8, 16))
        self.stem = nn.Conv2d(3, 6, 3, stride=2, padding=1)
        self.first = nn.Conv2d(6, 6, 3, stride=2, padding=1)
        self.second = nn.Conv2d(6, 8, 3, stride=2, padding=1)
        self.third = nn.Conv2d(8, 10, 3, stride=2, padding=1)

    def forward(self, images: Tensor) -> list[Tensor]:
        """See `Backbone.forward`."""
        features, sides = torch.tanh(self.stem(images)), []
        for layer in (self.first, self.second, self.third):
            features = torch.tanh(layer(features))
            sides.append(features)
        return sides


def flip_symmetric(module: nn.Module) -> None:
    """Make every convolution kernel in `module` left-right symmetric, so that mirroring must commute with it."""
    with torch.no_grad():
        for layer in module.modules():
            if isinstance(layer, nn.Conv2d):
                layer.weight.copy_((layer.weight + layer.weight.flip(3)) / 2)


def assert_gradients_reach(module: nn.Module) -> None:
    """Fail, naming the parameter, unless each has a finite gradient that is not zero throughout."""
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().sum() > 0, name
