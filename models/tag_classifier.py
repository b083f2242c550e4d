"""Multi-label classifier whose class scores are averages of its class activation maps (NSROM, stage A).

Unlike the article, as in its code: no softmax on the projection, channels reduced before reasoning (graph_reasoning).
"""

from collections import OrderedDict

from torch import Tensor, nn
from torch.nn import functional as F

from tag2mask.models.backbones import Backbone
from tag2mask.models.graph_reasoning import GraphReasoning
from tag2mask.models.parts.initialization import initialize_fan_out


class TagClassifier(nn.Module):
    """Backbone, `head_convolutions` convolutions, graph reasoning, ReLU, 1x1 class convolution, average over positions.

    ReLUs stand between the head's convolutions and none after the last, so that the graph sees signed features.

    Args:
        backbone: only its deepest side output is used; its weights are left as they come.
        classes: C, the number of tags (no background).
        head_convolutions: 0 lets the graph work on the backbone's deepest output.
        head_channels: width of the head's convolutions.
        head_kernel: odd; the padding keeps the grid.
        graph: built for the head's width (or the backbone's, without head convolutions); None leaves it out.
        class_norm: whether a batch norm without weights stands before the class convolution, not in the article.  The
            channels of a frozen backbone differ in size and offset, and gradient descent favors the large ones.
        background: whether the class convolution has a map more, the background's, with which the classes compete at
            each position: what `class_saliency_loss` teaches (EPS: Lee et al., CVPR 2021), not in the article.

    The head and the graph start by `initialize_fan_out`.

    Raises:
        ValueError: if the graph was built for another number of channels, or the head's settings are impossible.
    """

    def __init__(
        self,
        backbone: Backbone,
        *,
        classes: int,
        head_convolutions: int = 3,
        head_channels: int = 512,
        head_kernel: int = 3,
        graph: GraphReasoning | None,
        class_norm: bool = False,
        background: bool = False,
    ) -> None:
        super().__init__()
        self.backbone, self.classes, self.background = backbone, classes, background
        self.head, width = convolution_stack(backbone.channels[-1], head_convolutions, head_channels, head_kernel)
        self.graph = checked_graph(graph, width)
        self.normalize = nn.BatchNorm2d(width, affine=False) if class_norm else nn.Identity()
        self.classify = nn.Conv2d(width, classes + background, 1)
        for part in (self.head, self.graph, self.classify):
            initialize_fan_out(part)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Score the tags of `images` (N, 3, H, W), RGB in [0, 1].

        Returns:
            Logits (N, C) and the maps (N, C, h, w) whose averages they are; h, w is the grid of the deepest output.
            With `background`, the maps are the classes' probabilities instead: what they lack to 1 is the background's.
        """
        features = self.graph(self.head(self.backbone(images)[-1]))
        scores = self.classify(self.normalize(F.relu(features)))
        maps = scores[:, : self.classes]  # (N, C or C + 1, h, w) -> (N, C, h, w)
        logits = maps.mean((2, 3))  # (N, C, h, w) -> (N, C)
        return logits, scores.softmax(1)[:, : self.classes] if self.background else maps


def convolution_stack(
    channels: int, depth: int, width: int, kernel: int, *, last_relu: bool = False
) -> tuple[nn.Sequential, int]:
    """Build `depth` convolutions with ReLUs between them (and after the last one if `last_relu`).

    Returns:
        The stack (N, channels, h, w) -> (N, width, h, w), and its number of output channels; with depth 0 the stack
        changes nothing and the number is `channels`.

    Raises:
        ValueError: for a negative depth or an even kernel.
    """
    if depth < 0 or kernel % 2 == 0:
        raise ValueError(f"head_convolutions {depth} must not be negative and head_kernel {kernel} must be odd")
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for number in range(depth):
        layers[f"convolution{number}"] = nn.Conv2d(channels, width, kernel, padding=kernel // 2)
        channels = width
        if number < depth - 1 or last_relu:
            layers[f"relu{number}"] = nn.ReLU(inplace=True)
    return nn.Sequential(layers), channels


def checked_graph(graph: GraphReasoning | None, width: int) -> nn.Module:
    """Return `graph`, or the identity for None; ValueError unless the graph takes `width` channels."""
    if graph is None:
        return nn.Identity()
    if graph.channels != width:
        raise ValueError(f"the graph was built for {graph.channels} channels, its input has {width}")
    return graph
