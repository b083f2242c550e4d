"""Weights of whole networks in backbones, and EfficientNet-Lite's against a forward pass of its own."""

from collections.abc import Iterator

import pytest
import skimage.data
import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tag2mask.models.imagenet_weights import as_timm_names, load_imagenet
from tag2mask.models.timm_backbones import build_timm_backbone
from tag2mask.tasks.dataset.images import resize
from tag2mask.tasks.networks.factory import read_state
from tag2mask.tasks.networks.packaged_weights import PACKAGED, packaged_weights
from tag2mask.tasks.networks.tensors import to_batch

LITE = "tf_efficientnet_lite0"
LITE0_STAGES = ((1, 3, 1), (2, 3, 2), (2, 5, 2), (3, 3, 2), (3, 5, 1), (4, 5, 2), (1, 3, 1))
"""Blocks, kernel and stride of each stage of EfficientNet-Lite0 (Tan & Le, 2019, table 1, without scaling)."""


def padded(images: Tensor, kernel: int, stride: int) -> Tensor:
    """TensorFlow's "same": an odd rest of padding goes to the right and the bottom."""
    total = [max((-(-side // stride) - 1) * stride + kernel - side, 0) for side in images.shape[2:]]
    (top, left) = (side // 2 for side in total)
    return F.pad(images, (left, total[1] - left, top, total[0] - top))


def slow_features(state: dict[str, Tensor], images: Tensor) -> Iterator[Tensor]:
    """Ends of the seven stages and of the head convolution, written from the paper on the package's own keys."""

    def layer(name: str, norm: str, images: Tensor, *, stride: int = 1, depthwise: bool = False) -> Tensor:
        weight = state[f"{name}.weight"]
        images = padded(images, weight.shape[-1], stride)
        images = F.conv2d(images, weight, stride=stride, groups=len(weight) if depthwise else 1)
        mean, variance, scale, shift = (
            state[f"{norm}.{kind}"][:, None, None] for kind in ("running_mean", "running_var", "weight", "bias")
        )
        return (images - mean) / (variance + 1e-3).sqrt() * scale + shift

    features = layer("_conv_stem", "_bn0", (images - 127 / 255) / (128 / 255), stride=2).clamp(0, 6)
    number = 0
    for blocks, kernel, first_stride in LITE0_STAGES:
        for index in range(blocks):
            block, entry, stride = f"_blocks.{number}.", features, first_stride if index == 0 else 1
            if f"{block}_expand_conv.weight" in state:
                features = layer(f"{block}_expand_conv", f"{block}_bn0", features).clamp(0, 6)
            assert state[f"{block}_depthwise_conv.weight"].shape[-1] == kernel
            name, norm = f"{block}_depthwise_conv", f"{block}_bn1"
            features = layer(name, norm, features, stride=stride, depthwise=True).clamp(0, 6)
            features = layer(f"{block}_project_conv", f"{block}_bn2", features)
            if stride == 1 and features.shape == entry.shape:
                features = features + entry
            number += 1
        yield features
    yield layer("_conv_head", "_bn1", features).clamp(0, 6)


@pytest.mark.parametrize("size", [(64, 96), (65, 97)])
@torch.no_grad()
def test_lite0_equals_a_slow_forward_pass(size: tuple[int, int]) -> None:
    """With the packaged weights every side output equals a plain computation from the published architecture."""
    state = read_state(packaged_weights(LITE))
    backbone = build_timm_backbone(LITE, output_stride=32).eval()
    load_imagenet(backbone, as_timm_names(state, backbone.pretrained.state_dict()))
    images = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0))
    ends = list(slow_features(state, images))
    for ours, expected in zip(backbone(images), (ends[1], ends[2], ends[4], ends[7]), strict=True):
        torch.testing.assert_close(ours, expected, atol=2e-4, rtol=1e-3)


@pytest.mark.parametrize("name", PACKAGED)
@torch.no_grad()
def test_packaged_weights_name_what_an_image_shows(name: str) -> None:
    """The whole network with the renamed weights tells a cat and an espresso."""
    network = timm.create_model(name).eval()
    network.load_state_dict(as_timm_names(read_state(packaged_weights(name)), network.state_dict()), strict=True)
    backbone = build_timm_backbone(name, output_stride=32)
    images = to_batch([resize(image, (240, 240)) for image in (skimage.data.chelsea(), skimage.data.coffee())], "cpu")
    cat, cup = network((images - backbone.mean) / backbone.deviation).argmax(1).tolist()
    assert cat in range(281, 286) and cup == 967  # ImageNet's five domestic cats; espresso


def test_foreign_weights_are_refused() -> None:
    """Keys of another network, another number of blocks and other shapes are reported; nothing is loaded by half."""
    state = read_state(packaged_weights(LITE))
    backbone = build_timm_backbone(LITE, output_stride=16)
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    own = backbone.pretrained.state_dict()
    with pytest.raises(ValueError, match="_blocks.0._se_reduce.weight is no key of an EfficientNet-Lite"):
        as_timm_names(state | {"_blocks.0._se_reduce.weight": torch.zeros(1)}, own)
    with pytest.raises(ValueError, match="the weights have 15 blocks, the network 16"):
        as_timm_names({key: value for key, value in state.items() if not key.startswith("_blocks.15.")}, own)
    renamed = as_timm_names(state, own)
    with pytest.raises(
        ValueError, match=r"not timm's weights of tf_efficientnet_lite0: 1 missing \(conv_stem.weight\)"
    ):
        load_imagenet(backbone, {key: value for key, value in renamed.items() if key != "conv_stem.weight"})
    with pytest.raises(ValueError, match=r"1 wrongly shaped \(conv_stem.weight \(1,\) instead of \(32, 3, 3, 3\)\)"):
        load_imagenet(backbone, renamed | {"conv_stem.weight": torch.zeros(1)})
    assert all(torch.equal(value, before[key]) for key, value in backbone.state_dict().items())


def test_timm_s_own_state_dict_loads() -> None:
    """A file of timm's whole network fits, less its classifier, whose keys alone are dropped."""
    torch.manual_seed(0)
    whole: nn.Module = timm.create_model("resnet10t")
    backbone = build_timm_backbone("resnet10t", output_stride=32)
    load_imagenet(backbone, whole.state_dict())
    assert all(torch.equal(value, whole.state_dict()[key]) for key, value in backbone.network.state_dict().items())
    with pytest.raises(ValueError, match=r"1 unexpected \(head.weight\)"):
        load_imagenet(backbone, whole.state_dict() | {"head.weight": torch.zeros(1)})
