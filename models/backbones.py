"""What a backbone is, and torchvision's: ImageNet networks with side outputs and a chosen output stride.

Parameters keep torchvision's names, so that its ImageNet weights load.  A stride is removed by letting that layer keep
every position and dilating what follows: the positions that the strided network computes keep their values
("a trous"), the others are filled in between.  VGG16 at stride 8 instead follows NSROM: its pool4 becomes a 3x3 pool
of stride 1, conv5 is dilated by 2, and pool5 is left out at every stride.
"""

from collections.abc import Sequence

import torch
import torchvision
from torch import Tensor, nn

from tag2mask.models.parts.dilation import PhaseConv2d
from tag2mask.models.parts.initialization import initialize_fan_out

IMAGENET_MEAN = (0.485, 0.456, 0.406)
"""Mean of RGB in [0, 1] that torchvision's ImageNet networks expect to be taken off."""
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Standard deviation by which they expect the rest to be divided."""
BACKBONES = ("vgg16", "resnet18", "resnet50", "resnet101", "mobilenet_v2", "squeezenet1_1")
"""Names that `build_backbone` knows; every other name is one of timm's (see timm_backbones)."""

OUTPUT_STRIDES = {
    "vgg16": (8, 16),
    "resnet18": (8, 16, 32),
    "resnet50": (8, 16, 32),
    "resnet101": (8, 16, 32),
    "mobilenet_v2": (8, 16, 32),
    "squeezenet1_1": (8, 16),
}
"""Output strides each backbone can have; the last is the one it comes with (VGG16's without pool5)."""

_VGG16_WIDTHS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


class Backbone(nn.Module):
    """A network that returns feature maps, shallow to deep, and normalizes its input itself.

    Args:
        name: in the settings.
        channels: of each side output.
        strides: of each side output, in pixels of the image.  A map's size is about the image's divided by the stride;
            the rounding at odd sizes is the library's (up; for squeezenet1_1 down, and up to two cells less).
        mean: of red, green and blue in [0, 1], which the network was trained to have taken off.
        deviation: by which it was trained to have the rest divided.

    Attributes:
        name, channels, strides: as given.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(
        self,
        name: str,
        channels: tuple[int, ...],
        strides: tuple[int, ...],
        *,
        mean: Sequence[float] = IMAGENET_MEAN,
        deviation: Sequence[float] = IMAGENET_STD,
    ) -> None:
        super().__init__()
        self.name, self.channels, self.strides = name, channels, strides
        # They belong to the architecture, not to what was learned, and so stay out of the state dict.
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(deviation).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Map RGB `images` (N, 3, H, W) in [0, 1] to a feature map (N, channels[k], h_k, w_k) per side output."""
        return self.extract((images - self.mean) / self.deviation)

    def extract(self, images: Tensor) -> list[Tensor]:
        """What `forward` gives, for images that are normalized already."""
        raise NotImplementedError

    @property
    def pretrained(self) -> nn.Module:
        """The part whose keys are those of the library that its ImageNet weights come from."""
        return self


def side_outputs(backbone: Backbone, images: Tensor, *, least: int, reader: str) -> list[Tensor]:
    """Side outputs of `images` (N, 3, H, W) for a network that needs some pixels.

    Args:
        backbone: that makes them.
        images: RGB in [0, 1].
        least: pixels that the network needs a side.
        reader: name of the network, for the message.

    Raises:
        ValueError: the images are smaller.
    """
    height, width = images.shape[2:]
    if min(height, width) < least:
        raise ValueError(
            f"images of {width}x{height} pixels are too small: {reader} on {backbone.name} at stride "
            f"{max(backbone.strides)} needs {least} pixels a side"
        )
    sides: list[Tensor] = backbone(images)
    return sides


class FeatureStack(Backbone):
    """A plain sequence of layers (VGG16, MobileNetV2, SqueezeNet), some of whose outputs are side outputs."""

    def __init__(
        self,
        name: str,
        features: nn.Sequential,
        taps: tuple[int, ...],
        channels: tuple[int, ...],
        strides: tuple[int, ...],
    ) -> None:
        super().__init__(name, channels, strides)
        self.features, self.taps = features, taps

    def extract(self, images: Tensor) -> list[Tensor]:
        """See `Backbone.extract`."""
        outputs = []
        for index, layer in enumerate(self.features):
            images = layer(images)
            if index in self.taps:
                outputs.append(images)
        return outputs


class ResidualStages(Backbone):
    """A ResNet without its classifier; side outputs are the ends of its four stages."""

    def __init__(
        self, name: str, network: torchvision.models.ResNet, channels: tuple[int, ...], strides: tuple[int, ...]
    ) -> None:
        super().__init__(name, channels, strides)
        self.conv1, self.bn1, self.relu, self.maxpool = network.conv1, network.bn1, network.relu, network.maxpool
        self.layer1, self.layer2 = network.layer1, network.layer2
        self.layer3, self.layer4 = network.layer3, network.layer4

    def extract(self, images: Tensor) -> list[Tensor]:
        """See `Backbone.extract`."""
        features = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        outputs = []
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            features = stage(features)
            outputs.append(features)
        return outputs


def build_backbone(name: str, *, output_stride: int, fine: bool = False) -> Backbone:
    """Build a backbone with random weights (torchvision's initialization; VGG16: NSROM's).

    Args:
        name: one of `BACKBONES`.
        output_stride: of the deepest side output, in pixels; see `OUTPUT_STRIDES`.
        fine: also give VGG16's side outputs at strides 1 and 2, before those at 4 and more; the others have none.

    Raises:
        ValueError: for an unknown name or a stride that the backbone cannot have; the message lists what can be had.
    """
    if name not in BACKBONES:
        raise ValueError(f"unknown backbone {name!r}: choose one of {', '.join(BACKBONES)}")
    if output_stride not in OUTPUT_STRIDES[name]:
        allowed = ", ".join(map(str, OUTPUT_STRIDES[name]))
        raise ValueError(f"{name} cannot have output_stride {output_stride}: choose one of {allowed}")
    if name == "vgg16":
        return _build_vgg16(output_stride, fine)
    if name == "mobilenet_v2":
        return _build_mobilenet(output_stride)
    if name == "squeezenet1_1":
        return _build_squeezenet(output_stride)
    return _build_resnet(name, output_stride)


def _build_vgg16(output_stride: int, fine: bool) -> Backbone:
    layers: list[nn.Module] = []
    taps: list[int] = []
    channels = 3
    for block, widths in enumerate(_VGG16_WIDTHS):
        dilation = 2 if block == 4 and output_stride == 8 else 1
        for width in widths:
            layers += [nn.Conv2d(channels, width, 3, padding=dilation, dilation=dilation), nn.ReLU(inplace=True)]
            channels = width
        if block >= 2 or fine:
            taps.append(len(layers) - 1)
        if block == 3 and output_stride == 8:
            layers.append(nn.MaxPool2d(3, stride=1, padding=1))
        elif block < 4:
            layers.append(nn.MaxPool2d(2, 2))
    features = nn.Sequential(*layers)
    initialize_fan_out(features)
    sides = tuple(zip((64, 128, 256, 512, 512), (1, 2, 4, 8, output_stride), strict=True))
    widths, strides = zip(*sides[-len(taps) :], strict=True)
    return FeatureStack("vgg16", features, tuple(taps), widths, strides)


def _build_resnet(name: str, output_stride: int) -> Backbone:
    network: torchvision.models.ResNet = getattr(torchvision.models, name)(weights=None)
    dilation, strides = 1, [4]
    for stage in (network.layer2, network.layer3, network.layer4):
        if strides[-1] < output_stride:
            strides.append(2 * strides[-1])
            continue
        strides.append(output_stride)
        _remove_stride(stage, dilation)
        dilation *= 2
    channels = (64, 128, 256, 512) if name == "resnet18" else (256, 512, 1024, 2048)
    return ResidualStages(name, network, channels, tuple(strides))


def _remove_stride(stage: nn.Module, dilation: int) -> None:
    """Let a ResNet stage keep every position, its input being dilated by `dilation` already.

    The convolution that had the stride still sees the old grid; what follows sees one twice as fine.
    """
    seen_stride = False
    for layer in stage.modules():
        if not isinstance(layer, nn.Conv2d):
            continue
        strided = layer.stride == (2, 2)
        layer.stride = (1, 1)
        if layer.kernel_size == (3, 3):
            spread = 2 * dilation if seen_stride else dilation
            layer.dilation = layer.padding = (spread, spread)
            seen_stride = seen_stride or strided


def _build_mobilenet(output_stride: int) -> Backbone:
    features = torchvision.models.mobilenet_v2(weights=None).features
    stride, dilation, strides = 1, 1, []
    for index, block in enumerate(features):
        for path, layer in list(block.named_modules()):
            if not isinstance(layer, nn.Conv2d) or layer.kernel_size != (3, 3):
                continue
            strided = layer.stride == (2, 2)
            removed = strided and stride == output_stride
            if removed or dilation > 1:
                parent, _, child = path.rpartition(".")
                setattr(block.get_submodule(parent), child, PhaseConv2d.from_convolution(layer, dilation=dilation))
            if removed:
                dilation *= 2
            elif strided:
                stride *= 2
        if index in (3, 6, 13, 18):
            strides.append(stride)
    return FeatureStack("mobilenet_v2", features, (3, 6, 13, 18), (24, 32, 96, 1280), tuple(strides))


def _build_squeezenet(output_stride: int) -> Backbone:
    features = torchvision.models.squeezenet1_1(weights=None).features
    if output_stride == 8:
        # Padded by one, the dense pool at position 2i + 1 covers what the strided one covered at i.
        features[8] = nn.MaxPool2d(3, stride=1, padding=1)
        for fire in features[9:]:
            fire.expand3x3.dilation = fire.expand3x3.padding = (2, 2)
    return FeatureStack("squeezenet1_1", features, (4, 7, 12), (128, 256, 512), (4, 8, output_stride))
