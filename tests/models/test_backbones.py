"""Backbones against torchvision, and the laws of the removed stride."""

import functools
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn

from tag2mask.models.backbones import (
    BACKBONES,
    OUTPUT_STRIDES,
    Backbone,
    FeatureStack,
    build_backbone,
)
from tag2mask.models.imagenet_weights import CLASSIFIER_KEYS, load_imagenet
from tag2mask.models.parts.dilation import PhaseConv2d

BUILDS = [(name, stride) for name in BACKBONES for stride in OUTPUT_STRIDES[name]]
DILATED = [(name, stride) for name, stride in BUILDS if name != "vgg16" and stride < OUTPUT_STRIDES[name][-1]]


@functools.cache
def _torchvision(name: str) -> Any:
    """Torchvision's network with lively batch-norm statistics; VGG16's huge classifier stays on the meta device."""
    torch.manual_seed(0)
    if name == "vgg16":
        with torch.device("meta"):
            network = torchvision.models.vgg16(weights=None, init_weights=False)
        network.features.to_empty(device="cpu")
        for parameter in network.features.parameters():
            nn.init.normal_(parameter, std=0.05)
    else:
        network = getattr(torchvision.models, name)(weights=None)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean = nn.init.normal_(torch.empty(layer.num_features), std=0.1)
            layer.running_var = nn.init.uniform_(torch.empty(layer.num_features), 0.5, 1.5)
    network.eval()
    return network


def _deepest_of_torchvision(name: str, images: Tensor) -> Tensor:
    network = _torchvision(name)
    if name.startswith("resnet"):
        features = nn.Sequential(*list(network.children())[:-2])
    else:
        features = network.features[:-1] if name == "vgg16" else network.features
    deepest: Tensor = features(images)
    return deepest


def _loaded(name: str, stride: int) -> Backbone:
    backbone = build_backbone(name, output_stride=stride).eval()
    load_imagenet(backbone, _torchvision(name).state_dict())
    return backbone


@pytest.mark.parametrize("name", BACKBONES)
@pytest.mark.parametrize("size", [(64, 64), (65, 97)])
@torch.no_grad()
def test_native_stride_equals_torchvision(name: str, size: tuple[int, int]) -> None:
    """With the same weights the deepest output equals torchvision's features."""
    images = torch.randn(1, 3, *size)
    ours = _loaded(name, OUTPUT_STRIDES[name][-1]).extract(images)[-1]
    torch.testing.assert_close(ours, _deepest_of_torchvision(name, images), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("name", "stride"), DILATED)
@torch.no_grad()
def test_removed_stride_keeps_the_strided_positions(name: str, stride: int) -> None:
    """Where the strided network has a position, the dilated one has the same value there."""
    images = torch.randn(1, 3, 65, 97, dtype=torch.float64)  # activations of random ResNets grow large
    native = OUTPUT_STRIDES[name][-1]
    strided, dense = (_loaded(name, step).double().extract(images)[-1] for step in (native, stride))
    step = native // stride
    # SqueezeNet's pools are not padded: their output i lies over the dense position 2i + 1.
    first = 1 if name == "squeezenet1_1" else 0
    torch.testing.assert_close(dense[:, :, first::step, first::step], strided)


@pytest.mark.parametrize("name", ["resnet50", "resnet101"])
@torch.no_grad()
def test_dilated_bottlenecks_equal_torchvision(name: str) -> None:
    """Stride 8 equals torchvision's own `replace_stride_with_dilation`."""
    network = getattr(torchvision.models, name)(weights=None, replace_stride_with_dilation=[False, True, True]).eval()
    network.load_state_dict(_torchvision(name).state_dict())
    images = torch.randn(1, 3, 40, 49)
    expected = nn.Sequential(*list(network.children())[:-2])(images)
    torch.testing.assert_close(_loaded(name, 8).extract(images)[-1], expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("name", "stride"), BUILDS)
@torch.no_grad()
def test_sides_are_as_announced(name: str, stride: int) -> None:
    """Channels, strides and grids of all side outputs are what the attributes say, deepest at the asked stride."""
    backbone = build_backbone(name, output_stride=stride).eval()
    sides = backbone(torch.randn(1, 3, 64, 128))
    assert tuple(side.shape[1] for side in sides) == backbone.channels
    assert backbone.strides[0] == 4
    assert backbone.strides[-1] == stride
    for side, step in zip(sides, backbone.strides, strict=True):
        short = 1 if name == "squeezenet1_1" else 0
        assert 64 // step - short <= side.shape[2] <= 64 // step
        assert 128 // step - short <= side.shape[3] <= 128 // step


@pytest.mark.parametrize("name", BACKBONES)
@torch.no_grad()
def test_single_equals_batch(name: str) -> None:
    """In evaluation an image's features do not depend on its batch."""
    backbone = build_backbone(name, output_stride=8).double().eval()
    images = torch.randn(2, 3, 33, 47, dtype=torch.float64)
    together = backbone(images)[-1]
    apart = torch.cat([backbone(images[:1])[-1], backbone(images[1:])[-1]])
    torch.testing.assert_close(together, apart)


def test_vgg16_is_the_published_one() -> None:
    """At stride 8 the fourth pool has stride 1, the last three convolutions have dilation 2, and there is no fifth."""
    backbone = build_backbone("vgg16", output_stride=8)
    assert isinstance(backbone, FeatureStack)
    features = backbone.features
    pools = [(layer.kernel_size, layer.stride, layer.padding) for layer in features if isinstance(layer, nn.MaxPool2d)]
    assert pools == [(2, 2, 0)] * 3 + [(3, 1, 1)]
    convolutions = {index: layer for index, layer in enumerate(features) if isinstance(layer, nn.Conv2d)}
    assert list(convolutions) == [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28]
    assert [layer.dilation[0] for layer in convolutions.values()] == [1] * 10 + [2] * 3


def test_mobilenet_dilates_by_phases() -> None:
    """Every dilated convolution of MobileNetV2 is computed by phases."""
    backbone = build_backbone("mobilenet_v2", output_stride=8)
    dilated = [layer for layer in backbone.modules() if isinstance(layer, nn.Conv2d) and layer.dilation != (1, 1)]
    assert [layer.dilation[0] for layer in dilated] == [2] * 7 + [4] * 3
    assert all(isinstance(layer, PhaseConv2d) for layer in dilated)


@pytest.mark.parametrize("name", BACKBONES)
def test_loading_is_strict(name: str) -> None:
    """Foreign weights are refused with the first missing, unexpected and misshapen keys and their numbers."""
    state = dict(_torchvision(name).state_dict())
    backbone = build_backbone(name, output_stride=16)
    first, second, *_ = (key for key in backbone.state_dict() if key.endswith("weight"))
    del state[first]
    state[second] = torch.zeros(7)
    state["extra.weight"] = torch.zeros(1)
    with pytest.raises(ValueError) as caught:
        load_imagenet(backbone, state)
    message = str(caught.value)
    assert f"1 missing ({first})" in message
    assert "1 unexpected (extra.weight)" in message
    assert f"1 wrongly shaped ({second} (7,) instead of" in message


def test_loading_drops_only_the_classifier() -> None:
    """The classifier's keys and missing batch counters do no harm, and a checkpoint of another network does."""
    for name in BACKBONES:
        own = set(build_backbone(name, output_stride=16).state_dict())
        assert set(_torchvision(name).state_dict()) == own | set(CLASSIFIER_KEYS[name])
    state = {key: value for key, value in _torchvision("resnet18").state_dict().items() if "num_batches" not in key}
    load_imagenet(build_backbone("resnet18", output_stride=8), state)
    with pytest.raises(ValueError, match=r"not torchvision's weights of resnet50: .* missing"):
        load_imagenet(build_backbone("resnet50", output_stride=8), state)


def test_impossible_backbones_are_refused() -> None:
    """An unknown name or stride is refused with the possible ones."""
    with pytest.raises(ValueError, match="choose one of vgg16, resnet18"):
        build_backbone("vgg19", output_stride=8)
    with pytest.raises(ValueError, match="vgg16 cannot have output_stride 32: choose one of 8, 16"):
        build_backbone("vgg16", output_stride=32)
