"""Training and use of the segmenter."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from tag2mask.configs.sections.networks import Backbone
from tag2mask.configs.sections.section import Optimizer, Scales, Section, Share


def _first_is_whole(scales: tuple[float, ...]) -> tuple[float, ...]:
    """The wrapper takes its maximum on the grid of the first scale."""
    if scales[0] != 1.0:
        raise ValueError(f"must begin with 1.0, not {scales[0]:g}")
    return scales


class Segmenter(Section):
    """Training of the segmentation network (DeepLab with atrous spatial pyramid pooling)."""

    backbone: Backbone = Backbone(name="resnet101", output_stride=8)
    """Backbone."""
    start: Literal["backbone", "classifier", "segmenter"] = "backbone"
    """What every round starts from: the backbone's weights, as published; or the trained classifier's, which must
    have the same layers: for backbones without ImageNet weights, which a few hundred label maps teach little; or, from
    the second round on, the segmenter of the round before, whose learning rate begins anew (a warm restart: SGDR, ICLR
    2017)."""
    rates: tuple[Annotated[int, Field(ge=1)], ...] = Field(default=(6, 12, 18, 24), min_length=1)
    """Dilations of the parallel 3x3 convolutions, in cells."""
    low_level_channels: int = Field(default=0, ge=0)
    """Channels taken from the stride-4 features to sharpen borders (DeepLabV3+); 0 is the published DeepLabV2."""
    train_scales: Annotated[Scales, AfterValidator(_first_is_whole)] = (1.0, 0.75, 0.5)
    """Scales of the multi-scale wrapper in training and prediction; the first is 1.0, and (1.0,) turns it off.  The
    losses of the scales and of their maximum add up: four of them as published, one where there is one scale."""
    resize: Scales = (0.5, 0.75, 1.0, 1.25, 1.5)
    """Random scales of the image in training."""
    first_round_tags: int | None = Field(default=None, ge=1)
    """In the first round, leave out images with more tags than this, unless they show a class that no simpler image
    shows: the next round's labels of the others come from a network that did not learn what is wrong with their first
    ones (from simple to complex images: Wei et al., "STC", TPAMI 2017).  Without it all images teach, as published."""
    paste_objects: Share = 0.0
    """Share of the crops onto which an object of another image is pasted, from images of one tag, all classes alike
    often (copy-paste: Ghiasi et al., CVPR 2021); 0 pastes none, as published."""
    image_size: int | None = Field(default=None, ge=32)
    """Long side to which images are brought first, in pixels; without it they keep their size."""
    crop_size: int = Field(default=321, ge=32)
    """Side of the random crop, in pixels; what lies outside the image is ImageNet's mean color and ignored."""
    iterations: int = Field(default=20_000, ge=1)
    """Steps of the optimizer."""
    batch_size: int = Field(default=10, ge=1)
    """Crops per step."""
    micro_batch: int | None = Field(default=None, ge=1)
    """Crops per forward pass (their gradients add up to one step); without it all at once."""
    optimizer: Optimizer = "sgd"
    """`sgd` is published; `adamw` learns far more in a training of a few hundred steps, and takes a tenth to a
    thirtieth of the learning rate."""
    learning_rate: float = Field(default=2.5e-4, gt=0)
    """Initial learning rate for the backbone; head weights take ten, head biases twenty times as much."""
    backbone_factor: float = Field(default=1.0, ge=0)
    """Factor on the backbone's learning rate; 0 keeps its weights as they come and is much faster."""
    power: float = Field(default=0.9, ge=0)
    """The learning rate falls as (1 - step / iterations) ** power."""
    momentum: Share = 0.9
    """Momentum of SGD."""
    weight_decay: float = Field(default=5e-4, ge=0)
    """L2 penalty; none on head biases."""
    average_decay: float = Field(default=0.0, ge=0, lt=1)
    """Share that the running average of the weights keeps in a step (Mean Teacher, NIPS 2017); the average is what
    predicts.  0 turns it off, as published; 0.998 spans 500 steps."""
    seed: int = Field(default=0, ge=0)
    """Seed of initialization, order and augmentation."""

    @model_validator(mode="after")
    def _possible(self) -> "Segmenter":
        """Refuse maps of one cell, which batch norm cannot take of a single crop."""
        smallest, stride = int(self.crop_size * min(self.train_scales)), self.backbone.output_stride
        if smallest <= stride:
            raise ValueError(
                f"crop_size {self.crop_size} makes maps of one cell at output_stride {stride} and the smallest of "
                f"train_scales, {min(self.train_scales):g}: more than {stride} pixels are needed there"
            )
        return self


class MaskPrediction(Section):
    """How a segmenter is applied to images."""

    image_size: int | None = Field(default=None, ge=32)
    """Long side to which images are brought first, in pixels; without it they keep their size."""
    scales: Scales = (1.0,)
    """Factors on that size; the probabilities are averaged."""
    flip: bool = False
    """Average with the mirrored image."""
    batch_size: int = Field(default=8, ge=1)
    """Images of the same size per forward pass on a GPU, and of `predict`; the stage takes one on a CPU."""
    filter_by_tags: bool = False
    """On tagged training images, give the probability of the foreground to the tagged classes alone; the
    background keeps its own (not in the published method)."""
