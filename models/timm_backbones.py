"""timm's encoders as backbones: any whose features are grids at strides 4, 8 and so on, for images of any size.

The deepest side output is what timm's own classifier pools (for EfficientNets the 1x1 convolution behind the last
block), the others are the ends of the stages before it.  A smaller output stride is had as timm has it, by dilation.
"""

import difflib
import math
from collections.abc import Sequence
from typing import Any

import timm
import torch
from timm.layers.conv2d_same import Conv2dSame
from torch import Tensor, nn

from tag2mask.models.backbones import Backbone
from tag2mask.models.parts.batch_norm import keep_unfolded, norms_elsewhere
from tag2mask.models.parts.dilation import PhaseConv2d
from tag2mask.models.parts.same_padding import SamePaddedConv2d

LITE_SCALE = ((127 / 255,) * 3, (128 / 255,) * 3)
"""Mean and deviation that the EfficientNet-Lites were trained with; timm's 0.5 and 0.5 are an approximation."""
_PROBE = (96, 160)
"""Height and width in pixels of the image, without content, that finds out what an encoder gives."""


class TimmBackbone(Backbone):
    """An encoder of timm's, whose side outputs at strides 4 and more are given.

    Args:
        name: timm's.
        network: the encoder, without classifier.
        taken: which of its stages' ends, the deepest last.
        channels, strides: see `Backbone`.
    """

    def __init__(
        self,
        name: str,
        network: nn.Module,
        taken: Sequence[int],
        channels: tuple[int, ...],
        strides: tuple[int, ...],
    ) -> None:
        mean, deviation = _input_scale(network)
        super().__init__(name, channels, strides, mean=mean, deviation=deviation)
        self.network, self.taken = network, list(taken)

    def extract(self, images: Tensor) -> list[Tensor]:
        """See `Backbone.extract`."""
        deepest, sides = _intermediates(self.network, images, self.taken)
        return [*sides[:-1], deepest]

    @property
    def pretrained(self) -> nn.Module:
        """See `Backbone.pretrained`."""
        return self.network


def build_timm_backbone(name: str, *, output_stride: int) -> TimmBackbone:
    """Build one of timm's encoders with random weights, by timm's initialization.

    Dilated depthwise convolutions are computed by phases, which on CPU is faster and gives the same.

    Args:
        name: timm's, with or without the tag of its weights (`convnext_tiny`, `convnext_tiny.fb_in22k`).
        output_stride: of the deepest side output, in pixels.

    Raises:
        ValueError: no such encoder, or it cannot serve; the message says why and names what can be had.
    """
    with torch.device("meta"):
        empty = _create(name, output_stride)
        taken, channels, strides = _described(empty, name, output_stride)
        elsewhere = norms_elsewhere(empty, lambda: _intermediates(empty, torch.zeros(1, 3, *_PROBE), taken))
    network = _create(name, output_stride)
    keep_unfolded(network, elsewhere)
    _dilate_by_phases(network)
    _pad_by_integers(network)
    return TimmBackbone(name, network, taken, channels, strides)


def check_timm_backbone(name: str, output_stride: int) -> None:
    """Refuse an encoder that cannot serve, without allocating it.

    Raises:
        ValueError: see `build_timm_backbone`.
    """
    with torch.device("meta"):
        _described(_create(name, output_stride), name, output_stride)


def pretrained_state(name: str) -> dict[str, Tensor]:
    """State dict of the whole network with the weights that timm fetches for it.

    Raises:
        Exception: whatever timm raises where there are none or they cannot be fetched.
    """
    network: nn.Module = timm.create_model(name, pretrained=True)
    return dict(network.state_dict())


def classifier_keys(backbone: TimmBackbone) -> frozenset[str]:
    """The keys of timm's whole network that the backbone has no use for."""
    with torch.device("meta"):
        whole: nn.Module = timm.create_model(backbone.name)
    return frozenset(whole.state_dict()) - frozenset(backbone.network.state_dict())


def _create(name: str, output_stride: int) -> nn.Module:
    """An encoder without classifier."""
    if not timm.is_model(name):
        near = difflib.get_close_matches(name.split(".")[0], timm.list_models(), n=3, cutoff=0.0)
        raise ValueError(
            f"unknown backbone {name!r}: neither torchvision's nor timm's; the nearest are {', '.join(near)}"
        )
    # Encoders that come at 32 alone do not know the word.
    stride: dict[str, Any] = {} if output_stride == 32 else {"output_stride": output_stride}
    try:
        network: nn.Module = timm.create_model(name, num_classes=0, **stride)
    except RuntimeError as error:  # an unknown tag
        raise ValueError(f"{name} cannot be a backbone: {error}") from error
    except (AssertionError, TypeError) as error:
        raise ValueError(f"{name} cannot have output_stride {output_stride} in timm: choose 32") from error
    return network


def _described(network: nn.Module, name: str, output_stride: int) -> tuple[list[int], tuple[int, ...], tuple[int, ...]]:
    """Which of an encoder's stages are taken, and the channels and strides of what they give."""
    reductions = [int(stage["reduction"]) for stage in getattr(network, "feature_info", None) or ()]
    taken = [index for index, stride in enumerate(reductions) if stride >= 4]
    strides = tuple(reductions[index] for index in taken)
    wanted = {stride for stride in (4, 8, 16, 32) if stride <= output_stride}
    if set(strides) != wanted or strides[-1] != output_stride:
        had = ", ".join(map(str, dict.fromkeys(reductions))) or "none"
        raise ValueError(
            f"{name} cannot be a backbone at output_stride {output_stride}: its features have strides {had}, and "
            f"{', '.join(map(str, sorted(wanted)))} are needed"
        )
    try:
        deepest, sides = _intermediates(network.eval(), torch.zeros(1, 3, *_PROBE), taken)
    except Exception as error:  # each encoder fails in its own way at a size that it was not made for
        raise ValueError(f"{name} cannot be a backbone: it does not take images of any size ({error})") from error
    maps = [*sides[:-1], deepest]
    for found, stride in zip(maps, strides, strict=True):
        if found.ndim != 4 or tuple(found.shape[2:]) != tuple(math.ceil(side / stride) for side in _PROBE):
            raise ValueError(f"{name} cannot be a backbone: its features are not grids of {stride} pixels a cell")
    return taken, tuple(found.shape[1] for found in maps), strides


def _intermediates(network: Any, images: Tensor, taken: list[int]) -> tuple[Tensor, list[Tensor]]:
    """What an encoder's classifier would pool, and the ends of the stages `taken`."""
    deepest, sides = network.forward_intermediates(images, indices=taken)
    return deepest, sides


def _input_scale(network: Any) -> tuple[Sequence[float], Sequence[float]]:
    """Mean and deviation by which an encoder's input is normalized."""
    settings = network.pretrained_cfg
    if settings["architecture"].startswith("tf_efficientnet_lite"):
        return LITE_SCALE
    return settings["mean"], settings["std"]


def _dilate_by_phases(network: nn.Module) -> None:
    """Replace dilated depthwise convolutions that keep the grid (where a stride was removed) by `PhaseConv2d`."""
    for parent in list(network.modules()):
        for name, layer in list(parent.named_children()):
            if type(layer) is nn.Conv2d and layer.groups == layer.in_channels > 1 and layer.dilation[0] > 1:
                (kernel, width), (dilation, _) = layer.kernel_size, layer.dilation
                same = layer.padding == (dilation * (kernel // 2),) * 2 and layer.stride == (1, 1)
                if same and kernel == width and layer.dilation == (dilation, dilation):
                    setattr(parent, name, PhaseConv2d.from_convolution(layer, dilation=dilation))


def _pad_by_integers(network: nn.Module) -> None:
    """Let convolutions with TensorFlow's padding count it so that the network can be exported."""
    for layer in network.modules():
        if type(layer) is Conv2dSame:
            layer.__class__ = SamePaddedConv2d  # type: ignore[assignment]
