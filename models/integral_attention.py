"""Integral attention model: predicts the attention accumulated over a classifier's training (NSROM, stages C and D)."""

from torch import Tensor, nn

from tag2mask.models.backbones import Backbone
from tag2mask.models.graph_reasoning import GraphReasoning
from tag2mask.models.tag_classifier import checked_graph, convolution_stack


class IntegralAttention(nn.Module):
    """The classifier's layers with the ReLU moved: after the last head convolution, none behind the graph.

    Arguments and errors as `TagClassifier`; there is no average over positions, and the new layers keep torch's own
    initialization.  With `head_convolutions=0` no ReLU is added: the backbone's deepest output goes to the graph as is.
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
        self.head, width = convolution_stack(
            backbone.channels[-1], head_convolutions, head_channels, head_kernel, last_relu=True
        )
        self.graph = checked_graph(graph, width)
        self.normalize = nn.BatchNorm2d(width, affine=False) if class_norm else nn.Identity()
        self.classify = nn.Conv2d(width, classes + background, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Map `images` (N, 3, H, W) to raw scores (N, C, h, w); their sigmoid estimates the accumulated attention.

        With `background` there is a plane more, the last; the softmax over all is then what saliency teaches.
        """
        maps: Tensor = self.classify(self.normalize(self.graph(self.head(self.backbone(images)[-1]))))
        return maps

    def class_maps(self, scores: Tensor) -> Tensor:
        """Evidence (N, C, h, w) of the classes in scores of `forward`; with `background`, their probabilities."""
        return scores.softmax(1)[:, : self.classes] if self.background else scores
