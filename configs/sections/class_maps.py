"""Training of the two networks that give class maps, and their inference."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from tag2mask.configs.sections.networks import Backbone, GraphReasoning
from tag2mask.configs.sections.section import Optimizer, Scales, Section, Share


class Classifier(Section):
    """Training of the tag classifier, or of the integral attention model, which has the same backbone."""

    backbone: Backbone = Backbone()
    """Backbone."""
    head_convolutions: int = Field(default=3, ge=0)
    """Convolutions between backbone and graph unit."""
    head_channels: int = Field(default=512, ge=1)
    """Channels of these convolutions."""
    head_kernel: Literal[1, 3] = 3
    """Side of their kernels, in cells."""
    graph: GraphReasoning = GraphReasoning()
    """Graph-reasoning unit."""
    class_init: Literal["published", "zero"] = "published"
    """Initial weights of the class convolution.  `zero` leaves no random evidence in the maps of a short training."""
    class_norm: Literal["none", "batch"] = "none"
    """What stands before the class convolution: `batch`, a batch norm without weights (as before the linear classifier
    of MAE, CVPR 2022, A.1), gives the channels of a frozen backbone equal say; not in the published network."""
    image_size: int = Field(default=256, ge=32)
    """Side of the square to which images are resized, in pixels; no crop, so that maps of all epochs align."""
    jitter: tuple[Share, Share, Share, Annotated[float, Field(ge=0, le=0.5)]] = (0.3, 0.3, 0.3, 0.1)
    """Strength of the random change of brightness, contrast, saturation and hue."""
    flip: bool = False
    """Mirror half of the images; their maps are mirrored back and so still align.  Not in the published method."""
    epochs: int = Field(default=15, ge=1)
    """Passes over the training images."""
    batch_size: int = Field(default=5, ge=1)
    """Images per step."""
    optimizer: Optimizer = "sgd"
    """`sgd` is published; `adamw` learns faster from random weights."""
    learning_rate: float = Field(default=1e-3, gt=0)
    """Learning rate; with SGD of the backbone's weights at `backbone_factor` 1: biases take 2x, the head 10x that.
    With AdamW of everything but the backbone, whose weights and biases take `backbone_factor` times that."""
    backbone_factor: float = Field(default=1.0, ge=0)
    """Factor on the backbone's learning rate; 0 keeps its weights as they come and is much faster."""
    feature_copies: int = Field(default=2, ge=0)
    """With `backbone_factor` 0 and frozen batch norm: copies of each image whose features are computed once, the first
    as it is, the others jittered, with `flip` every second one mirrored; each epoch takes one at random.  0 computes
    the features anew in every epoch, with new jitter, as published."""
    drop_epochs: tuple[Annotated[int, Field(ge=0)], ...] = (5, 10)
    """Epochs (counted from 0) at whose start the learning rate is multiplied by 0.1."""
    momentum: Share = 0.9
    """Nesterov momentum of SGD."""
    weight_decay: float = Field(default=5e-4, ge=0)
    """L2 penalty on all parameters."""
    saliency_weight: float = Field(default=0.0, ge=0)
    """Weight of a loss beside that of the tags, or of the accumulated attention, by which saliency teaches the class
    maps and a map of the background what is an object, pixel by pixel (EPS: Lee et al., CVPR 2021); 0 leaves both out,
    as published."""
    saliency_overlap: Share = 0.4
    """With `saliency_weight`: share of a tag's map that has to be salient for the map to count as foreground."""
    accumulate_from: int = Field(default=1, ge=0)
    """First epoch (counted from 0) whose attention is accumulated; of the classifier alone."""
    accumulate_probability: Share = 0.1
    """A class's attention is accumulated only while the classifier gives it at least this probability; likewise."""
    seed: int = Field(default=0, ge=0)
    """Seed of initialization, order and augmentation."""

    @model_validator(mode="after")
    def _consistent(self) -> "Classifier":
        if self.accumulate_from >= self.epochs:
            raise ValueError(f"accumulate_from {self.accumulate_from} must be below epochs {self.epochs}")
        return self

    @model_validator(mode="after")
    def _possible(self) -> "Classifier":
        """Refuse maps of one cell, which batch norm cannot take of a single image, and copies that have no half."""
        if self.image_size <= self.backbone.output_stride:
            raise ValueError(
                f"image_size {self.image_size} makes maps of one cell at output_stride {self.backbone.output_stride}: "
                f"at least {2 * self.backbone.output_stride}"
            )
        fixed = self.backbone_factor == 0 and self.backbone.freeze_batch_norm
        if fixed and self.flip and self.feature_copies % 2:
            raise ValueError(
                f"feature_copies {self.feature_copies}: flip mirrors half of them; take an even number, or 0"
            )
        return self


class Attention(Classifier):
    """Training of the integral attention model, which has the classifier's backbone and head."""

    start: Literal["backbone", "classifier"] = "backbone"
    """What training starts from: the backbone's weights, as published; or the trained classifier, whose backbone, head
    and graph must be the same: for backbones without ImageNet weights, which a short training cannot teach twice."""

    @model_validator(mode="after")
    def _consistent(self) -> "Attention":
        """One epoch is enough, as it accumulates nothing; settings of accumulation would be without effect."""
        for name in ("accumulate_from", "accumulate_probability"):
            if getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name} is the classifier's, whose attention is accumulated: set it there")
        return self


class Affinity(Section):
    """Spreading of class maps over cells whose features look alike, a random walk; not in the published method.

    The transitions are those of SEAM's pixel correlation module (CVPR 2020), of features as they come and without its
    training; that walks draw parts together to objects is AffinityNet's observation (CVPR 2018).
    """

    steps: int = Field(default=0, ge=0, le=100)
    """Steps of the walk; 0 leaves the maps as they are."""
    power: float = Field(default=2.0, gt=0, le=100)
    """Exponent of the cosine between two cells' features; higher keeps the walk among cells that are more alike."""
    share: Share = 0.5
    """Share of the spread map in the result; the rest keeps what the finer grids of higher scales know."""


class Activation(Section):
    """Inference of class maps: of the classifier (CAM) or of the integral attention model (OA-CAM)."""

    image_size: int = Field(default=256, ge=32)
    """Side of the square to which images are resized at scale 1, in pixels."""
    scales: Scales = (1.0,)
    """Factors on `image_size`; the maps of all scales are averaged."""
    flip: bool = False
    """Average with the map of the mirrored image."""
    batch_size: int = Field(default=16, ge=1)
    """Images per forward pass on a GPU; on a CPU it is one, whatever stands here."""
    affinity: Affinity = Affinity()
    """Spreading over cells that look alike."""
