"""An exponential moving average of a network's weights (Tarvainen and Valpola, "Mean teachers", NIPS 2017).

The average of a training's late weights predicts better than its last ones, and differs less between seeds.  Statistics
of batch normalization are averaged like weights; counters are taken over.
"""

import torch
from torch import Tensor, nn

WARM_UP = 10
"""Early in a training the decay is (1 + step) / (WARM_UP + step), so that the initial weights are soon forgotten."""


class AveragedWeights:
    """The running average of all parameters and buffers of a network.

    Args:
        network: what is trained; its present state is the start of the average.
        decay: in [0, 1); share of the average that a step keeps.  The average spans about 1 / (1 - decay) steps.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"the decay must be at least 0 and below 1, not {decay:g}")
        self.decay = decay
        self._average = {name: value.detach().clone() for name, value in network.state_dict().items()}

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Take the network's weights after a step (counted from 0) into the average."""
        kept = min(self.decay, (1 + step) / (WARM_UP + step))
        for name, value in network.state_dict().items():
            if value.is_floating_point():
                self._average[name].lerp_(value, 1 - kept)
            else:
                self._average[name].copy_(value)

    def state(self) -> dict[str, Tensor]:
        """The average, with the names of the network's state dict."""
        return self._average

    def restore(self, state: dict[str, Tensor]) -> None:
        """Take over the average of a checkpoint."""
        for name, value in self._average.items():
            value.copy_(state[name])
