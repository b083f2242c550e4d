"""The moving average of weights: its closed form, its laws, and what it refuses."""

import pytest
import torch
from torch import nn

from tag2mask.tasks.training.averaged_weights import AveragedWeights


def with_weight(network: nn.Linear, value: float) -> nn.Linear:
    """The network with every weight set to a value."""
    nn.init.constant_(network.weight, value)
    return network


def test_it_is_the_recursion_of_the_article() -> None:
    """After a step the average is decay times itself plus the rest of the new weights, with less decay at first."""
    network = with_weight(nn.Linear(2, 2, bias=False), 0.0)
    average, expected = AveragedWeights(network, 0.5), 0.0
    for step, value in enumerate((1.0, -2.0, 4.0, 8.0, 16.0, 3.0, 5.0, 7.0, 9.0, 11.0, 2.0, 6.0)):
        average.update(with_weight(network, value), step)
        kept = min(0.5, (1 + step) / (10 + step))
        expected = kept * expected + (1 - kept) * value
        assert average.state()["weight"].tolist() == [[pytest.approx(expected, rel=1e-5)] * 2] * 2


def test_constant_weights_are_their_own_average() -> None:
    """Averaging what does not change gives it back, and does not touch the network."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    average = AveragedWeights(network, 0.99)
    for step in range(50):
        average.update(network, step)
    for name, value in before.items():
        torch.testing.assert_close(average.state()[name], value)
        assert torch.equal(network.state_dict()[name], value)


def test_no_decay_is_the_last_weights() -> None:
    """With a decay of zero the average is the network as it is, statistics and counters included."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    average = AveragedWeights(network, 0.0)
    network(torch.randn(5, 3))
    average.update(network, 0)
    assert all(torch.equal(value, average.state()[name]) for name, value in network.state_dict().items())
    assert average.state()["1.num_batches_tracked"] == 1


@pytest.mark.parametrize("decay", [-0.1, 1.0, 2.0])
def test_a_decay_that_never_forgets_is_refused(decay: float) -> None:
    """A decay outside [0, 1) would leave the initial weights, or diverge."""
    with pytest.raises(ValueError, match="below 1"):
        AveragedWeights(nn.Linear(1, 1), decay)
