"""GCoNet+ against its equations word for word, streamed against batched, and what only its training has."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tag2mask.models.backbones import build_backbone
from tag2mask.models.cosaliency.gconet_plus import ConfidenceEnhancement, ConfidenceMaps, GCoNetPlus
from tag2mask.models.cosaliency.group_affinity import GroupAffinity, affinity_maps
from tag2mask.models.cosaliency.group_collaboration import GroupBatch, GroupCollaboration, GroupWeights, group_losses
from tests.models.tiny import BACKBONE_NAMES, TinyBackbone, any_backbone

SIZE = (48, 64)


def network(sharpness: float = 300.0) -> GCoNetPlus:
    torch.manual_seed(0)
    model = GCoNetPlus(TinyBackbone(), sharpness=sharpness)
    with torch.no_grad():  # as it starts, hardly anything of the features gets through to the maps
        for parameter in model.parameters():
            if parameter.ndim == 4:
                parameter.mul_(0.3 / parameter.std())
        model.affinity.transform.weight.mul_(20)
    return model


def images(count: int, seed: int = 1) -> Tensor:
    torch.manual_seed(seed)
    return torch.randn(count, 3, *SIZE)


def slow_consensus(unit: GroupAffinity, features: Tensor) -> Tensor:
    """The published form: one matrix between all positions of all images."""
    count, channels, height, width = features.shape
    cells = height * width
    query = unit.query(features).flatten(2).permute(0, 2, 1).reshape(count * cells, channels)
    key = unit.key(features).flatten(2).permute(0, 2, 1).reshape(count * cells, channels)
    matrix = query @ key.T
    total = torch.zeros(channels)
    for i in range(count):
        strength = torch.zeros(cells)
        for p in range(cells):
            best = [matrix[i * cells + p, j * cells : (j + 1) * cells].max() for j in range(count)]
            strength[p] = torch.stack(best).mean() / math.sqrt(channels)
        weights = strength.exp() / strength.exp().sum()
        seen = features[i] * weights.view(1, height, width)
        total += unit.transform(seen[None])[0].sum((1, 2))
    return (total / (count * cells)).view(1, channels, 1, 1)


@pytest.mark.parametrize("count", [1, 2, 5])
@torch.no_grad()
def test_consensus_equals_the_matrix_of_affinities(count: int) -> None:
    """Taking keys image by image gives the consensus of the published matrix between all positions."""
    torch.manual_seed(0)
    unit, features = GroupAffinity(6), torch.randn(count, 6, 3, 4)
    found = unit(features)
    assert found.shape == (1, 6, 1, 1)
    torch.testing.assert_close(found, slow_consensus(unit, features), atol=1e-6, rtol=1e-5)


def slow_forward(model: GCoNetPlus, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Soft and hard maps from the table of the network."""

    def up(x: Tensor, like: Tensor) -> Tensor:
        return F.interpolate(x, size=like.shape[2:], mode="bilinear", align_corners=True)

    x1, x2, x3 = model.backbone(pixels)
    p = model.top(x3 * slow_consensus(model.affinity, x3))
    p = up(model.enlarge[0](p), x2) + model.laterals[0](x2)
    p = up(model.enlarge[1](p), x1) + model.laterals[1](x1)
    p = model.finish(p)
    soft = up(1 / (1 + torch.exp(-model.enhance.soft(p))), pixels)
    threshold = up(1 / (1 + torch.exp(-model.enhance.threshold(p))), pixels)
    hard = 1 / (1 + torch.exp(-300.0 * (soft - threshold).double()))
    return soft, hard.float()


@torch.no_grad()
def test_equals_the_slow_network() -> None:
    """The whole forward pass equals a version with the published formulas."""
    model = network().eval()
    maps = model(images(4))
    soft, hard = slow_forward(model, images(4))
    torch.testing.assert_close(maps.soft, soft, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(maps.hard, hard, atol=1e-4, rtol=0)
    assert soft.std() > 0.001


@torch.no_grad()
def test_streamed_equals_batched() -> None:
    """Describing and decoding image by image gives the soft maps of the whole group at once."""
    model, pixels = network().eval(), images(5)
    whole = model(pixels)
    alone = [model.encode(pixels[n : n + 1]) for n in range(5)]
    consensus = model.consensus([torch.cat([model.describe(sides)[0] for sides in alone])])
    for n, sides in enumerate(alone):
        soft, hard = model.maps(sides, None, consensus, SIZE)
        torch.testing.assert_close(soft, whole.soft[n : n + 1], atol=1e-6, rtol=0)
        torch.testing.assert_close(hard, whole.hard[n : n + 1], atol=1e-3, rtol=0)


@torch.no_grad()
def test_permuting_a_group_permutes_its_maps() -> None:
    """The order of a group's images does not matter, its members do."""
    model, pixels, order = network().eval(), images(4), [2, 0, 3, 1]
    whole = model(pixels).soft
    torch.testing.assert_close(model(pixels[order]).soft, whole[order], atol=1e-6, rtol=0)
    assert (model(pixels[:2]).soft - whole[:2]).abs().max() > 1e-6


@torch.no_grad()
def test_the_hard_map_is_the_sign_of_soft_minus_threshold() -> None:
    """The hard map is 0 or 1 wherever the two differ by more than 0.016, and finite at any difference."""
    torch.manual_seed(0)
    unit = ConfidenceEnhancement(4, 300.0).eval()
    unit.soft[-1].weight.mul_(300)
    maps = unit(torch.randn(2, 4, 6, 6) * 10, (24, 24))
    far = (maps.soft - maps.threshold).abs() > 0.016
    assert far.any() and torch.isfinite(maps.hard).all()
    assert ((maps.hard > 0.5) == (maps.soft > maps.threshold))[far].all()
    assert (maps.hard[far] * (1 - maps.hard[far])).max() < 0.01


def test_the_hard_map_is_the_published_quotient_and_cannot_overflow() -> None:
    """It equals 1 / (1 + e^(-k (P - T))), and at k = 300 and the largest differences it and its gradient are finite."""
    difference = torch.linspace(-1, 1, 201, dtype=torch.float64).reshape(1, 1, 1, -1)
    soft, threshold = (0.5 + difference / 2), (0.5 - difference / 2)
    hard = ConfidenceMaps(soft, threshold, 300.0 * (soft - threshold)).hard
    torch.testing.assert_close(hard, 1 / (1 + torch.exp(-300.0 * difference)))
    single = difference.float().requires_grad_()  # the published form overflows here: e^300 is no float32
    maps = ConfidenceMaps(single, torch.zeros_like(single), 300.0 * single)
    maps.hard.sum().backward()
    assert torch.exp(300.0 * torch.ones(())).isinf()
    assert torch.isfinite(maps.hard).all() and single.grad is not None and torch.isfinite(single.grad).all()
    assert maps.hard[..., 0] == 0 and maps.hard[..., -1] == 1


@pytest.mark.parametrize("name", BACKBONE_NAMES)
@torch.no_grad()
def test_every_backbone_serves(name: str) -> None:
    """Each backbone serves at an odd size and for a single image."""
    model = GCoNetPlus(any_backbone(name, 16)).eval()
    assert model(torch.randn(1, 3, 65, 49)).hard.shape == (1, 1, 65, 49)


@torch.no_grad()
def test_published_layout_on_vgg16() -> None:
    """On VGG16 with all side outputs the decoder narrows 256, 128, 64, 32 and the parameters are as many."""
    model = GCoNetPlus(build_backbone("vgg16", output_stride=16, fine=True)).eval()
    assert [lateral.out_channels for lateral in model.laterals] == [256, 128, 64, 32]  # type: ignore[union-attr]
    assert model.consensus([torch.randn(2, 512, 4, 4)])[0].shape == (1, 512, 1, 1)
    affinity = sum(parameter.numel() for parameter in model.affinity.parameters()) / 1e6
    # 3 of the published module's 6 layers; the others are built there and never used
    assert affinity == pytest.approx(0.79, abs=0.01)


def test_too_small_images_are_reported() -> None:
    """Images smaller than the deepest stride end with a message that says what is needed."""
    with pytest.raises(ValueError, match="8x48 pixels are too small: GCoNet\\+ on tiny at stride 16 needs 16"):
        network()(torch.randn(1, 3, 48, 8))


def batch(first: int, second: int, classes: int = 3, *, multi: bool = True) -> GroupBatch:
    count = first + second
    torch.manual_seed(3)
    target, valid = torch.rand(count, 1, *SIZE).round(), torch.rand(count, 1, *SIZE) > 0.2
    numbers = torch.tensor([0] * first + [1] * second)
    tags = F.one_hot(numbers, classes).float() if multi else numbers
    empty, all_valid = torch.zeros_like(target), torch.ones_like(valid)
    return GroupBatch(images(count), target, valid, empty, all_valid, tags, tags, first)


def training_network(classes: int = 3) -> tuple[GCoNetPlus, GroupCollaboration]:
    model = network(sharpness=10.0)
    return model, GroupCollaboration(10, model.channels, classes)


@pytest.mark.parametrize("multi", [True, False])
def test_training_reaches_every_parameter(multi: bool) -> None:
    """All losses together reach every parameter of the network and of what its training alone has."""
    model, collaboration = training_network()
    losses = group_losses(model, collaboration, batch(3, 2, multi=multi), GroupWeights(soft=1.0))
    assert losses.keys() == {*GroupWeights._fields, "total"}
    losses["total"].backward()
    for name, parameter in [*model.named_parameters(), *collaboration.named_parameters()]:
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name


def test_the_total_is_the_weighted_sum() -> None:
    """Each loss enters the total with its weight, and one of weight 0 is not there."""
    model, collaboration = training_network()
    model.eval()
    weights = GroupWeights(hard=2.0, soft=0.5, iou=3.0, triplet=0.0, classify=1.0, collaborate=4.0, recurrent=0.0)
    losses = group_losses(model, collaboration, batch(2, 2), weights)
    total = sum(getattr(weights, name) * loss for name, loss in losses.items() if name != "total")
    assert "triplet" not in losses and "recurrent" not in losses
    torch.testing.assert_close(losses["total"], torch.as_tensor(total))


@pytest.mark.parametrize("sharpness", [1.0, 50.0, 300.0])
def test_a_wrong_pixel_pulls_with_at_most_one(sharpness: float) -> None:
    """The hard map's loss pulls soft - threshold by the share of error of its sigmoid, however steep the map is."""
    model, given = network(sharpness), batch(2, 2)
    collaboration = GroupCollaboration(10, model.channels, 3)
    seen: list[ConfidenceMaps] = []

    def keep(module: object, inputs: object, maps: ConfidenceMaps) -> None:
        maps.soft.retain_grad()
        seen.append(maps)

    model.enhance.register_forward_hook(keep)
    group_losses(model, collaboration, given)["hard"].backward()
    maps = seen[0]
    assert maps.soft.grad is not None
    pull = maps.soft.grad * given.valid.sum()
    expected = torch.where(given.valid, (maps.hard - given.target).detach(), 0.0)
    torch.testing.assert_close(pull, expected, atol=1e-5, rtol=1e-4)
    assert 0 < pull.abs().max() <= 1.0001


def test_what_is_not_of_the_group_fades_to_what_the_backbone_takes_for_nothing() -> None:
    """Where nothing is seen an image has the backbone's mean color, where all is seen its own."""
    model, collaboration = training_network()
    images, decoded = torch.rand(2, 3, 16, 16), torch.zeros(2, model.channels, 8, 8)
    for bias, expected in ((-60.0, model.backbone.mean.expand_as(images)), (60.0, images)):
        torch.nn.init.constant_(collaboration.isolate.bias, bias)  # type: ignore[arg-type]
        torch.testing.assert_close(collaboration.isolated(images, decoded, model.backbone.mean), expected)


def test_affinity_has_its_precision_whatever_the_training_has() -> None:
    """In a forward pass of bfloat16 the maps are those of float32."""
    torch.manual_seed(0)
    query, key = torch.randn(6, 32, 49), torch.randn(6, 32, 49)
    with torch.autocast("cpu", torch.bfloat16):
        found = affinity_maps(query, key)
    torch.testing.assert_close(found, affinity_maps(query, key))


def test_a_group_alone_has_no_pairwise_losses() -> None:
    """Without a second group there is nothing to collaborate with, and a group of one image still trains."""
    model, collaboration = training_network()
    losses = group_losses(model, collaboration, batch(2, 0))
    assert not losses.keys() & {"collaborate", "triplet"}
    uneven = group_losses(model, collaboration, batch(1, 2))
    assert uneven["triplet"] == 0 and torch.isfinite(uneven["total"])


def test_each_group_collaborates_with_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """An image is decoded by its own group's consensus, and the other's is to find nothing in it."""
    model, collaboration = training_network()
    given = batch(2, 1)
    model.eval()
    deepest = model.encode(given.images)[-1]
    first, second = (model.consensus([part])[0][0] for part in (deepest[:2], deepest[2:]))
    seen: list[tuple[Tensor, Tensor]] = []
    original = collaboration.both_consensuses

    def spy(features: Tensor, own: Tensor, other: Tensor, size: tuple[int, ...]) -> list[Tensor]:
        seen.append((own, other))
        return original(features, own, other, size)

    monkeypatch.setattr(collaboration, "both_consensuses", spy)
    group_losses(model, collaboration, given)
    own, other = seen[0]
    for found, expected in ((own, (first, first, second)), (other, (second, second, first))):
        torch.testing.assert_close(found, torch.stack(expected))


def test_ignored_pixels_do_not_matter() -> None:
    """What stands where a target is not valid changes no loss."""
    model, collaboration = training_network()
    model.eval()
    given = batch(2, 2)
    other = given._replace(target=torch.where(given.valid, given.target, 1 - given.target))
    torch.testing.assert_close(
        group_losses(model, collaboration, given)["total"], group_losses(model, collaboration, other)["total"]
    )


def test_the_network_that_predicts_has_nothing_of_the_training() -> None:
    """No name of the training's parts is in the state of the network that predicts."""
    model, collaboration = training_network()
    kinds = {type(part) for part in model.modules()}
    assert GroupCollaboration not in kinds and torch.nn.Linear not in kinds
    assert not {name.split(".")[0] for name in collaboration.state_dict()} & {
        name.split(".")[0] for name in model.state_dict()
    }
