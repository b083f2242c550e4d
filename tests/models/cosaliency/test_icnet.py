"""ICNet against its equations word for word, streamed against batched, and its laws."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tag2mask.models.backbones import build_backbone
from tag2mask.models.cosaliency.correlation_fusion import (
    RearrangedCorrelation,
    both_vectors,
    group_attention,
    image_vectors,
)
from tag2mask.models.cosaliency.icnet import ICNet
from tag2mask.models.losses import iou_loss
from tests.models.tiny import BACKBONE_NAMES, TinyBackbone, any_backbone, assert_gradients_reach

SIZE = (64, 80)


def network(**settings: object) -> ICNet:
    torch.manual_seed(0)
    model = ICNet(TinyBackbone(), channels=8, detail_channels=6, grids=(2, 3, 5), **settings)  # type: ignore[arg-type]
    with torch.no_grad():  # at the published start of N(0, 0.01) every map is 1/2 and nothing would be seen
        for parameter in model.parameters():
            if parameter.ndim == 4:
                parameter.mul_(0.5 / parameter.std())
    return model.double()  # the order of channels jumps where two positions are as near as float32's rounding


def group(count: int, seed: int = 1) -> tuple[Tensor, Tensor]:
    torch.manual_seed(seed)
    return torch.randn(count, 3, *SIZE).double(), torch.rand(count, 1, *SIZE).double()


def test_vectors_are_normalized_masked_means() -> None:
    """Equation 1 holds position by position."""
    torch.manual_seed(0)
    features, saliency = F.normalize(torch.randn(2, 4, 3, 5), dim=1), torch.rand(2, 1, 3, 5)
    for image, vector in enumerate(image_vectors(features, saliency)):
        total = [0.0] * 4
        for row in range(3):
            for column in range(5):
                for channel in range(4):
                    total[channel] += float(features[image, channel, row, column] * saliency[image, 0, row, column])
        length = math.sqrt(sum(value * value for value in total))
        torch.testing.assert_close(vector, torch.tensor([value / length for value in total]))


def slow_attention(features: Tensor, vectors: Tensor, image: int) -> Tensor:
    """Equation 2 with its M x M matrix, for one image."""
    feature = features[image].flatten(1)
    maps = [vector @ feature for vector in vectors]
    maps = [one / one.norm() for one in maps]
    agreement = torch.tensor([[float(first @ second) for second in maps] for first in maps])
    weights = [math.exp(float(row.sum())) for row in agreement]
    fused = torch.zeros_like(maps[0])
    for weight, one in zip(weights, maps, strict=True):
        fused += weight / sum(weights) * one
    return ((fused - fused.min()) / (fused.max() - fused.min() + 1e-12)).view(features.shape[2:])


@torch.no_grad()
def test_attention_equals_the_matrix_of_agreements() -> None:
    """The fused maps equal those of the published formula, which builds all products of maps."""
    torch.manual_seed(0)
    features, vectors = F.normalize(torch.randn(3, 6, 4, 5), dim=1), F.normalize(torch.randn(5, 6), dim=1)
    found = group_attention(features, vectors)
    assert found.shape == (3, 1, 4, 5)
    for image in range(3):
        torch.testing.assert_close(found[image, 0], slow_attention(features, vectors, image), atol=1e-6, rtol=1e-5)
    assert found.amin() == 0 and found.amax() == 1


def test_a_flat_map_is_zero_and_not_stretched_noise() -> None:
    """Where every position is alike there is no attention, and its gradient is finite."""
    features = F.normalize(torch.ones(1, 4, 3, 3), dim=1).requires_grad_()
    found = group_attention(features, F.normalize(torch.rand(3, 4), dim=1))
    found.sum().backward()
    assert found.amax() == 0 and features.grad is not None and torch.isfinite(features.grad).all()
    with pytest.raises(ValueError, match="at least one image"):
        group_attention(features, torch.zeros(0, 4))


@torch.no_grad()
def test_channels_are_ordered_by_attention() -> None:
    """Channel k of the rearranged correlation compares with the position of the k-th largest attention."""
    torch.manual_seed(0)
    unit = RearrangedCorrelation(3, 9)
    unit.reduce.weight.copy_(torch.eye(9)[:, :, None, None])
    unit.reduce.bias.zero_()  # type: ignore[union-attr]
    unit.refine = torch.nn.Identity()  # type: ignore[assignment]
    features, attention = F.normalize(torch.randn(2, 4, 3, 3), dim=1), torch.rand(2, 1, 3, 3)
    found = unit(features, attention)
    for image in range(2):
        cells = features[image].flatten(1).T
        strength = attention[image].flatten()
        ranked = sorted(range(9), key=lambda cell, strength=strength: -float(strength[cell]))  # type: ignore[misc]
        for rank, cell in enumerate(ranked):
            for position in range(9):
                expected = float(cells[cell] @ cells[position]) * float(strength[position])
                assert float(found[image, rank].flatten()[position]) == pytest.approx(expected, abs=1e-6)


def slow_forward(model: ICNet, images: Tensor, saliency: Tensor) -> Tensor:
    """The final map of a group, image by image with the slow attention, from the table of the network."""

    def up(x: Tensor, size: tuple[int, ...]) -> Tensor:
        return F.interpolate(x, size=size, mode="bilinear", align_corners=True)

    sides = model.backbone(images)
    results = []
    for n in range(len(images)):
        shared = []
        for level, (layer, side) in enumerate(zip(model.compress, (sides[-1], sides[-1], sides[-2]), strict=True)):
            features = F.normalize(layer(side), dim=1)
            paths = []
            for target in (saliency, 1 - saliency):
                vectors = image_vectors(features, up(target, features.shape[2:]))
                attention = slow_attention(features, vectors, n)[None, None]
                paths.append(model.levels[level].correlate(features[n : n + 1], attention))
            shared.append(model.levels[level].merge(torch.cat(paths, 1)))
        feat56 = model.upper(shared[1] + up(shared[0], shared[1].shape[2:]))
        feature = model.lower[1](model.lower[0](shared[2] + up(feat56, shared[2].shape[2:])))
        group_map = model.predict(feature).sigmoid()
        for detail, side in zip(model.details, list(sides[:-2])[::-1], strict=True):
            size = side.shape[2:]
            c = detail.lateral(side[n : n + 1])
            parts = [c * up(group_map, size), c * up(saliency[n : n + 1], size), up(feature, size)]
            feature = detail.fuse(torch.cat(parts, 1))
        results.append(up(detail.predict(feature).sigmoid(), images.shape[2:]))
    return torch.cat(results)


@torch.no_grad()
def test_equals_the_slow_network() -> None:
    """The whole forward pass equals an image-by-image version with the published formulas."""
    model = network().eval()
    images, saliency = group(4)
    torch.testing.assert_close(model(images, saliency)[-1], slow_forward(model, images, saliency), atol=1e-6, rtol=1e-5)


def test_training_moves_the_statistics_of_a_batch_once() -> None:
    """One forward pass in training counts one batch in every batch norm; the two paths of a level count one each."""
    model = network().train()
    model(*group(3))
    counts = {name: int(value) for name, value in model.state_dict().items() if name.endswith("num_batches_tracked")}
    assert counts and all(count == 1 + ("correlate" in name) for name, count in counts.items())


@torch.no_grad()
def test_streamed_equals_batched() -> None:
    """Describing and decoding image by image gives the maps of the whole group at once."""
    model = network().eval()
    images, saliency = group(5)
    whole = model(images, saliency)[-1]
    alone = [model.encode(images[n : n + 1]) for n in range(5)]
    parts = [model.describe(encoded, saliency[n : n + 1]) for n, encoded in enumerate(alone)]
    consensus = model.consensus([torch.cat(level) for level in zip(*parts, strict=True)])
    for n, encoded in enumerate(alone):
        streamed = model.decode(encoded, saliency[n : n + 1], consensus, SIZE)[-1]
        torch.testing.assert_close(streamed, whole[n : n + 1], atol=1e-6, rtol=0)
    assert whole.std() > 0.01


@torch.no_grad()
def test_permuting_a_group_permutes_its_maps() -> None:
    """The order of a group's images does not matter, its members do."""
    model = network().eval()
    images, saliency = group(4)
    order = [2, 0, 3, 1]
    whole = model(images, saliency)[-1]
    torch.testing.assert_close(model(images[order], saliency[order])[-1], whole[order], atol=1e-6, rtol=0)
    assert (model(images[:3], saliency[:3])[-1] - whole[:3]).abs().max() > 1e-4


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_single_image_and_an_empty_saliency_serve(value: float) -> None:
    """A group of one image with all or nothing salient has finite maps and gradients."""
    model = network()
    images = group(1)[0]
    predictions = model(images, torch.full((1, 1, *SIZE), value).double())
    torch.stack([iou_loss(one, torch.ones_like(one)).mean() for one in predictions]).sum().backward()
    assert all(one.shape == (1, 1, *SIZE) and torch.isfinite(one).all() for one in predictions)
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in model.parameters())


@pytest.mark.parametrize("empty", [(0,), (1, 2), (0, 1, 2)])
@torch.no_grad()
def test_images_without_saliency_leave_a_group_finite(empty: tuple[int, ...]) -> None:
    """Where some or all single-image maps are zero, every map of the group is finite, in both modes of the network."""
    images, saliency = group(3)
    saliency[list(empty)] = 0
    for model in (network().eval(), network()):
        assert all(torch.isfinite(one).all() for one in model(images, saliency))


def test_gradients_reach_every_parameter() -> None:
    """Deep supervision reaches every parameter of the network."""
    model = network()
    images, saliency = group(3)
    predictions = model(images, saliency)
    target = torch.rand(3, 1, *SIZE).round()
    torch.stack([iou_loss(one, target).mean() for one in predictions]).sum().backward()
    for parameter in model.parameters():  # a bias that a batch norm takes off again has none
        if parameter.ndim == 1 and parameter.grad is not None and parameter.grad.abs().sum() == 0:
            parameter.grad = torch.ones_like(parameter)
    assert_gradients_reach(model)


@pytest.mark.parametrize("name", BACKBONE_NAMES)
@torch.no_grad()
def test_every_backbone_serves(name: str) -> None:
    """Each backbone serves at an odd size, whatever its side outputs are."""
    model = ICNet(any_backbone(name, 16), channels=8, detail_channels=4).eval()
    images, saliency = torch.randn(2, 3, 65, 49), torch.rand(2, 1, 65, 49)
    assert model(images, saliency)[-1].shape == (2, 1, 65, 49)


@torch.no_grad()
def test_published_layout_on_vgg16() -> None:
    """With all five side outputs at 224 pixels the levels are the grids and there are four predictions."""
    backbone = build_backbone("vgg16", output_stride=16, fine=True)
    assert backbone.strides == (1, 2, 4, 8, 16) and backbone.channels == (64, 128, 256, 512, 512)
    model = ICNet(backbone).eval()
    encoded = model.encode(torch.randn(1, 3, 224, 224))
    saliency = torch.rand(1, 1, 224, 224)
    described = model.describe(encoded, saliency)
    assert [tuple(one.shape) for one in described] == [(1, 2, 128), (1, 2, 256), (1, 2, 256)]
    assert [features.shape[2] for features in encoded.features] == [7, 14, 28]
    assert len(model.decode(encoded, saliency, model.consensus(described), (224, 224))) == 4
    count = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    assert count == pytest.approx(18.43, abs=0.15)


@pytest.mark.parametrize("name", ["mobilenet_v2", "resnet18"])
@torch.no_grad()
def test_dilated_backbones_have_a_level_at_each_stride(name: str) -> None:
    """Where two side outputs have one stride the deepest serves: each level is twice as fine as the one before."""
    backbone = build_backbone(name, output_stride=16)
    assert backbone.strides == (4, 8, 16, 16)
    model = ICNet(backbone, channels=8, detail_channels=4).eval()
    encoded = model.encode(torch.randn(1, 3, 256, 256))
    assert [tuple(side.shape[1:]) for side in encoded.details] == [(backbone.channels[0], 64, 64)]
    assert [features.shape[2] for features in encoded.features] == [8, 16, 32]
    assert [model.compress[level].in_channels for level in (1, 2)] == [backbone.channels[3], backbone.channels[1]]
    assert len(model(torch.randn(1, 3, 256, 256), torch.rand(1, 1, 256, 256))) == 2


def test_wrong_shapes_are_reported() -> None:
    """Too small images, missing saliency maps and impossible networks end with a message that says what is needed."""
    model = network()
    with pytest.raises(ValueError, match="16x40 pixels are too small: ICNet on tiny at stride 16 needs 32"):
        model(torch.randn(1, 3, 40, 16), torch.rand(1, 1, 40, 16))
    with pytest.raises(ValueError, match=r"3 images need 3 maps, \(3, 1, H, W\)"):
        model(group(3)[0], group(2)[1])
    with pytest.raises(ValueError, match="three grids"):
        ICNet(TinyBackbone(), grids=(7, 14))
    with pytest.raises(ValueError, match="three strides or more .* mobilenet_v2 has the strides 4, 8"):
        ICNet(build_backbone("mobilenet_v2", output_stride=8))
    vectors = both_vectors(F.normalize(torch.randn(2, 4, 3, 3), dim=1), torch.zeros(2, 1, 9, 9))
    assert vectors.shape == (2, 2, 4) and vectors[:, 0].abs().sum() == 0
