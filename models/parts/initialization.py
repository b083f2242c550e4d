"""How new convolutions start."""

import math

from torch import nn


def initialize_fan_out(module: nn.Module) -> None:
    """Draw every Conv2d weight in `module` from N(0, sqrt(2 / (k * k * out_channels))) and zero its bias.

    NSROM's initialization of the classifier.  Only Conv2d is touched: Conv1d keeps torch's own start, and a batch norm
    already starts at scale 1 and shift 0 (or at 0, where a zero blocker was asked for).
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            fan_out = layer.kernel_size[0] * layer.kernel_size[1] * layer.out_channels
            nn.init.normal_(layer.weight, 0.0, math.sqrt(2.0 / fan_out))
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def initialize_normal(module: nn.Module, deviation: float = 0.01) -> None:
    """Draw every Conv2d weight in `module` from N(0, deviation) and zero its bias (DeepLab's ASPP)."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.normal_(layer.weight, 0.0, deviation)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
