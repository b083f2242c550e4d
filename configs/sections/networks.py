"""Parts that several networks share."""

from typing import Literal

from pydantic import Field, model_validator

from tag2mask.configs.sections.section import Section

BackboneName = Literal["vgg16", "resnet18", "resnet50", "resnet101", "mobilenet_v2", "squeezenet1_1"]


OUTPUT_STRIDES: dict[str, tuple[int, ...]] = {
    "vgg16": (8, 16),
    "resnet18": (8, 16, 32),
    "resnet50": (8, 16, 32),
    "resnet101": (8, 16, 32),
    "mobilenet_v2": (8, 16, 32),
    "squeezenet1_1": (8, 16),
}
"""Backbone -> the output strides that it can have."""


class Backbone(Section):
    """The convolutional backbone of a network."""

    name: BackboneName = "vgg16"
    """Architecture, as in torchvision."""
    output_stride: Literal[8, 16, 32] = 8
    """Pixels of the input per cell of the deepest feature map, in pixels; smaller sees finer and costs more."""
    weights: str = "none"
    """`none` (random), `torchvision` (its ImageNet weights, fetched by torchvision), or the path of a state dict."""
    freeze_batch_norm: bool = True
    """Keep the statistics and factors of the batch normalization as they come; small batches estimate them badly."""

    @property
    def strides(self) -> tuple[int, ...]:
        """Strides of the side outputs, in pixels, each once and rising."""
        return tuple(stride for stride in (4, 8, 16, 32) if stride <= self.output_stride)

    @model_validator(mode="after")
    def _possible(self) -> "Backbone":
        allowed = OUTPUT_STRIDES[self.name]
        if self.output_stride not in allowed:
            raise ValueError(
                f"output_stride {self.output_stride} is not possible for {self.name}; choose from "
                f"{', '.join(map(str, allowed))}"
            )
        return self


class GraphReasoning(Section):
    """The graph-based global reasoning unit before the class convolution."""

    enabled: bool = True
    """Whether the unit is there at all (an ablation turns it off)."""
    nodes: int = Field(default=64, ge=1)
    """Nodes of the graph."""
    states: int = Field(default=128, ge=1)
    """Channels of a node's state."""
    normalize: bool = False
    """Divide the projection by the number of cells; without it the weights fit one map size only."""
    blocker_init: Literal["one", "zero"] = "one"
    """Initial factor of the unit's last batch normalization; `zero` starts as the identity."""
