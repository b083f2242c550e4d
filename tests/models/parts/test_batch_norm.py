"""Frozen batch normalization."""

import pytest
import torch
from torch import nn

from tag2mask.models.parts.batch_norm import FrozenBatchNorm2d, freeze_batch_norm


def _network() -> nn.Sequential:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Sequential(nn.ReLU(), nn.BatchNorm2d(4)))
    network(torch.randn(4, 3, 8, 8))
    return network


def test_frozen_layers_stay_as_they_are() -> None:
    """After freezing, a step in training mode moves neither statistics nor scales, and other layers still learn."""
    network = _network()
    assert freeze_batch_norm(network) == 2
    before = {key: value.clone() for key, value in network.state_dict().items()}
    network.train()
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=0.1)
    network(torch.randn(4, 3, 8, 8)).square().sum().backward()
    optimizer.step()
    moved = {key for key, value in network.state_dict().items() if not torch.equal(value, before[key])}
    assert moved == {"0.weight", "0.bias"}


def test_frozen_equals_evaluation() -> None:
    """A frozen network in training mode computes what the original computes in evaluation mode, with the same keys."""
    network = _network()
    images = torch.randn(2, 3, 8, 8)
    keys, expected = list(network.state_dict()), network.eval()(images)
    freeze_batch_norm(network.train())
    network.train()
    assert list(network.state_dict()) == keys
    torch.testing.assert_close(network(images), expected)
    assert freeze_batch_norm(network) == 0


def test_unfreezable_is_refused() -> None:
    """A bare batch norm, or one without statistics, is refused with the remedy."""
    with pytest.raises(TypeError, match="pass the module that contains it"):
        freeze_batch_norm(nn.BatchNorm2d(3))
    with pytest.raises(ValueError, match="build it with them"):
        FrozenBatchNorm2d(nn.BatchNorm2d(3, track_running_stats=False))
