"""Parts that several networks share."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from tag2mask.configs.sections.section import ByContent, Section, ShapesWeights

OUTPUT_STRIDES: dict[str, tuple[int, ...]] = {
    "vgg16": (8, 16),
    "resnet18": (8, 16, 32),
    "resnet50": (8, 16, 32),
    "resnet101": (8, 16, 32),
    "mobilenet_v2": (8, 16, 32),
    "squeezenet1_1": (8, 16),
}
"""Backbone with torchvision's layers -> the output strides that it can have; every other name is one of timm's."""
PACKAGED = ("tf_efficientnet_lite0", "tf_efficientnet_lite1", "tf_efficientnet_lite2")
"""Backbones whose weights can be installed as a package."""
NO_FILE = ("none", "torchvision", "timm", "packaged")
"""Values of `weights` that name no file."""


class Backbone(Section):
    """The convolutional backbone of a network."""

    name: Annotated[str, ShapesWeights()] = Field(default="vgg16", pattern=r"^[a-z0-9_]+(\.[a-z0-9_]+)?$")
    """Architecture: vgg16, resnet18, resnet50, resnet101, mobilenet_v2 or squeezenet1_1 of torchvision; every other
    name is one of timm's, with or without the tag of its weights (tf_efficientnet_lite0, convnext_tiny.fb_in22k): an
    encoder that gives grids at strides 4, 8 and so on for images of any size, as convolutional ones do."""
    output_stride: Annotated[Literal[8, 16, 32], ShapesWeights()] = 8
    """Pixels of the input per cell of the deepest feature map, in pixels; smaller sees finer and costs more."""
    weights: Annotated[str, ByContent(words=NO_FILE)] = "none"
    """`none` (random); `packaged` (installed with tag2mask for tf_efficientnet_lite0, with its extra `weights` also for
    tf_efficientnet_lite1 and 2); `torchvision` or `timm` (that library's ImageNet weights, which it fetches); or the
    path of a state dict of the library's whole network."""
    freeze_batch_norm: bool = True
    """Keep the statistics and factors of the batch normalization as they come; small batches estimate them badly."""

    @property
    def strides(self) -> tuple[int, ...]:
        """Strides of the side outputs, in pixels, each once and rising."""
        return tuple(stride for stride in (4, 8, 16, 32) if stride <= self.output_stride)

    @property
    def is_torchvision(self) -> bool:
        """Whether the layers are torchvision's."""
        return self.name in OUTPUT_STRIDES

    @property
    def weights_file(self) -> Path | None:
        """The state dict's path, where the weights come from a file."""
        return None if self.weights in NO_FILE else Path(self.weights)

    @model_validator(mode="after")
    def _weights_exist(self) -> "Backbone":
        """Refuse weights that there are none of for this backbone."""
        if self.weights == "packaged" and self.name not in PACKAGED:
            raise ValueError(
                f"weights 'packaged' do not exist for {self.name}, but for {', '.join(PACKAGED)}: name one of them, or "
                "take other weights"
            )
        library = "torchvision" if self.is_torchvision else "timm"
        if self.weights in ("torchvision", "timm") and self.weights != library:
            raise ValueError(
                f"weights {self.weights!r} do not fit {self.name}, whose layers are {library}'s: write {library!r}"
            )
        return self

    @model_validator(mode="after")
    def _possible(self) -> "Backbone":
        allowed = OUTPUT_STRIDES.get(self.name, (8, 16, 32))  # timm's are asked before a run begins
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
