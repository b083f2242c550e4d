"""The losses of the three subnetworks, and who gets which gradient."""

import math

import pytest
import torch
from torch import Tensor, nn

from tag2mask.models.parts.batch_norm import freeze_batch_norm
from tag2mask.models.parts.parameter_groups import subnetwork_groups
from tag2mask.models.saliency.purnet import PurNet, PurNetPredictions
from tag2mask.models.saliency.purnet_losses import propagate, purnet_losses
from tag2mask.models.saliency.structural_similarity import structural_similarity_loss
from tests.models.tiny import TinyBackbone, assert_gradients_reach

SHAPE = (2, 1, 6, 7)


def _predictions(seed: int = 0, levels: int = 2) -> PurNetPredictions:
    torch.manual_seed(seed)
    return PurNetPredictions(*([torch.randn(SHAPE, requires_grad=True) for _ in range(levels)] for _ in range(4)))


def _truth() -> tuple[Tensor, Tensor, Tensor]:
    """Mask, valid pixels, superpixels."""
    torch.manual_seed(9)
    return torch.rand(SHAPE).round(), torch.rand(SHAPE) > 0.3, torch.randint(0, 4, SHAPE)


def _entropy(probability: float, target: float) -> float:
    return -target * math.log(probability) - (1 - target) * math.log(1 - probability)


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_losses_are_those_of_the_equations() -> None:
    """Each loss equals its equation written out pixel by pixel over the valid ones."""
    predictions, (target, valid, regions) = _predictions(), _truth()
    main = promotion = rectification = 0.0
    for p, o, g, e in zip(*predictions, strict=True):
        for at in valid.nonzero().tolist():
            values = [maps[tuple(at)].item() for maps in (p, o, g, e, target)]
            saliency, own, rectified, error, truth = values
            main += (1 + abs(math.tanh(error))) * _entropy(_sigmoid(saliency), truth)
            promotion += _entropy(_sigmoid(own), truth)
            missed = truth - _sigmoid(rectified)
            rectification += _entropy(_sigmoid(rectified), truth)
            rectification += _entropy((math.tanh(error) + 1) / 2, (missed + 1) / 2)
    count = int(valid.sum())
    found = purnet_losses(predictions, target, valid)
    expected = [main / count, promotion / count, rectification / count]
    assert [loss.item() for loss in found] == pytest.approx(expected, rel=1e-5)
    similarity = sum(structural_similarity_loss(p.sigmoid(), target, regions, valid).item() for p in predictions.main)
    with_regions = purnet_losses(predictions, target, valid, regions, structural_similarity=3.0)
    assert with_regions.main.item() == pytest.approx(main / count + 3 * similarity, rel=1e-5)
    assert with_regions[1:] == found[1:]


def test_the_error_target_and_weight_are_not_learned_through() -> None:
    """The error's target gives the own saliency no gradient, and the main loss gives the predicted error none."""
    predictions, (target, valid, _) = _predictions(levels=1), _truth()
    losses = purnet_losses(predictions, target, valid)
    (found,) = torch.autograd.grad(losses.rectification, predictions.rectification, retain_graph=True)
    expected = torch.where(valid, predictions.rectification[0].sigmoid() - target, 0.0) / valid.sum()
    torch.testing.assert_close(found, expected)
    (main,) = torch.autograd.grad(losses.main, predictions.error, allow_unused=True, retain_graph=True)
    assert main is None
    (error,) = torch.autograd.grad(losses.rectification, predictions.error)
    missed = (target - predictions.rectification[0].sigmoid() + 1) / 2
    slope = 2 * ((2 * predictions.error[0]).sigmoid() - missed) / valid.sum()
    torch.testing.assert_close(error, torch.where(valid, slope, 0.0))


def test_ignored_pixels_teach_nothing() -> None:
    """What lies at ignored pixels, even no number in the mask, changes no loss, and they get no gradient."""
    predictions, (target, valid, regions) = _predictions(), _truth()
    moved = PurNetPredictions(
        *([torch.where(valid, maps, maps + 3).detach().requires_grad_() for maps in levels] for levels in predictions)
    )
    spoiled = torch.where(valid, target, math.nan)
    losses = purnet_losses(predictions, target, valid, regions)
    others = purnet_losses(moved, spoiled, valid, regions)
    torch.testing.assert_close(torch.stack(losses), torch.stack(others))
    torch.stack(others).sum().backward()
    for levels in moved:
        for maps in levels:
            assert maps.grad is not None and not maps.grad[~valid].any() and maps.grad[valid].any()
    nothing = purnet_losses(predictions, target, torch.zeros_like(valid), regions)
    assert [loss.item() for loss in nothing] == [0, 0, 0]


@pytest.mark.parametrize("height", [1e4, -1e4])
def test_no_height_of_logits_overflows(height: float) -> None:
    """At logits of ten thousand, right or wrong, losses and gradients are finite."""
    levels = [[torch.full(SHAPE, height, requires_grad=True)] for _ in range(4)]
    target, _, regions = _truth()
    losses = purnet_losses(PurNetPredictions(*levels), target, None, regions)
    torch.stack(losses).sum().backward()
    assert all(torch.isfinite(loss) for loss in losses)
    assert all(maps.grad is not None and torch.isfinite(maps.grad).all() for (maps,) in levels)


def _network(*, frozen: bool = False) -> PurNet:
    torch.manual_seed(0)
    network = PurNet(TinyBackbone(), channels=8, rescale=True)
    if frozen:
        network.backbone.stem = nn.Sequential(network.backbone.stem, nn.BatchNorm2d(6))
        freeze_batch_norm(network.backbone)
    return network


def _images() -> tuple[Tensor, Tensor, Tensor]:
    """Images, mask and superpixels."""
    torch.manual_seed(2)
    return torch.randn(2, 3, 40, 56), torch.rand(2, 1, 40, 56).round(), torch.randint(0, 9, (2, 1, 40, 56))


def test_every_parameter_gets_the_gradient_of_its_own_loss() -> None:
    """Gradients equal those of three networks of which each was differentiated by one loss and shares nothing."""
    images, target, regions = _images()
    owners = {"backbone": "main", "main": "main", "promotion": "promotion", "rectification": "rectification"}
    expected: dict[str, Tensor] = {}
    for loss in ("main", "promotion", "rectification"):
        network = _network()
        losses = purnet_losses(network.supervise(images), target, None, regions)
        getattr(losses, loss).backward()
        for name, parameter in network.named_parameters():
            if owners[name.partition(".")[0]] == loss:
                assert parameter.grad is not None, name
                expected[name] = parameter.grad
    network = _network()
    propagate(network, purnet_losses(network.supervise(images), target, None, regions))
    assert_gradients_reach(network)
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name], msg=name)


def test_the_main_loss_passes_through_both_attentions() -> None:
    """The backbone's gradient is not that of a network whose attentions are constants, for either of them."""
    images, target, _ = _images()

    def gradient(cut: str) -> Tensor:
        network = _network()
        if cut:
            part = network.get_submodule(cut)
            part.register_forward_pre_hook(lambda module, given: ([side.detach() for side in given[0]],))
        propagate(network, purnet_losses(network.supervise(images), target))
        return torch.cat([p.grad.flatten() for p in network.backbone.parameters() if p.grad is not None])

    whole = gradient("")
    for cut in ("promotion", "rectification"):
        assert (gradient(cut) - whole).abs().max() > 1e-5 * whole.abs().max(), cut


def test_without_attention_its_subnetworks_learn_nothing() -> None:
    """A step without attention trains backbone and main and leaves the others without loss and gradient."""
    network = _network(frozen=True)
    images, target, regions = _images()
    losses = purnet_losses(network.supervise(images, attention=False), target, None, regions)
    assert losses.promotion.item() == losses.rectification.item() == 0
    propagate(network, losses)
    for name, parameter in network.named_parameters():
        if name.startswith(("promotion.", "rectification.")) or not parameter.requires_grad:
            assert parameter.grad is None, name
        else:
            assert parameter.grad is not None and parameter.grad.any(), name


def test_groups_are_the_subnetworks() -> None:
    """Every trainable parameter is in one group, biases twice as fast and without decay, and factors must fit."""
    network = _network(frozen=True)
    factors = {"backbone": 1.0, "main": 10.0, "promotion": 5.0, "rectification": 5.0}
    groups = {group["name"]: group for group in subnetwork_groups(network, 0.1, factors, weight_decay=0.3)}
    members = [id(parameter) for group in groups.values() for parameter in group["params"]]
    assert sorted(members) == sorted(id(p) for p in network.parameters() if p.requires_grad)
    assert groups["main_weight"]["lr"] == pytest.approx(1.0) and groups["main_weight"]["weight_decay"] == 0.3
    assert groups["promotion_bias"]["lr"] == pytest.approx(1.0) and groups["promotion_bias"]["weight_decay"] == 0
    with pytest.raises(ValueError, match="do not fit the parts of PurNet"):
        subnetwork_groups(network, 0.1, {"backbone": 1.0})
