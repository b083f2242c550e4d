"""One map per image and tag, from the images that share the tag."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from tag2mask.configs.sections.networks import Backbone
from tag2mask.configs.sections.section import ByContent, Section, Share

GroupNetwork = Literal["icnet", "gconet_plus"]
"""Group systems."""
READING_SALIENCY = ("icnet",)
"""Those that read single-image saliency too."""


class GroupLosses(Section):
    """Weights of the losses of `gconet_plus`; 0 leaves one out."""

    hard: float = Field(default=120.0, ge=0)
    """Cross entropy of the hard map (published 120).  Taken of logits and divided by `sharpness`: a wrong pixel keeps
    its gradient, and one of at most 1; of probabilities, as published, it is `sharpness` close to the threshold and
    vanishes 0.1 from it."""
    soft: float = Field(default=1000.0, ge=0)
    """Cross entropy of the soft map, which later stages read.  The published training (0) leaves its values open, and
    they come out anything."""
    iou: float = Field(default=2.0, ge=0)
    """1 - IoU of the hard map, summed over the images of a step (published 2)."""
    triplet: float = Field(default=12.0, ge=0)
    """Images of a group are nearer to each other than to the other group's (published 12)."""
    classify: float = Field(default=3.0, ge=0)
    """Each image's features predict its tags (published 3)."""
    collaborate: float = Field(default=250.0, ge=0)
    """A group's consensus finds its own objects and nothing in the other group (published 250)."""
    recurrent: float = Field(default=10.0, ge=0)
    """An image seen through its own map shows the group's tag alone (published 10)."""


class PseudoTargets(Section):
    """What a group system is trained on where there are no masks: pixels at which saliency and CAM agree.

    A pixel is foreground of a tag where saliency and the tag's CAM are high, background where saliency and the CAMs of
    all tags are low, and else ignored.
    """

    salient: Share = 0.5
    """Saliency above which a pixel may be foreground."""
    cam: Share = 0.4
    """CAM of the tag above which it is, given the saliency."""
    unsalient: Share = 0.2
    """Saliency below which a pixel may be background."""
    no_cam: Share = 0.2
    """CAM below which every tag must lie for it to be so."""
    rivals: bool = True
    """Also background: what would be foreground of another tag, where the tag's own CAM is below `no_cam`."""

    @model_validator(mode="after")
    def _consistent(self) -> "PseudoTargets":
        if self.salient < self.unsalient or self.cam < self.no_cam:
            raise ValueError(
                f"foreground must need more than background: salient {self.salient} >= unsalient {self.unsalient}, "
                f"cam {self.cam} >= no_cam {self.no_cam}"
            )
        return self


class Cosaliency(Section):
    """Which group system there is, and its training."""

    provider: Literal["none", GroupNetwork] = "none"
    """`none`: no maps by tag; `icnet`: from single-image saliency and the group; `gconet_plus`: the group alone."""
    checkpoint: Annotated[Path | None, ByContent()] = None
    """A model folder (`model.pt`, `model.json`) as `train_cosaliency` writes it; no training."""
    training_set: Annotated[Path | None, ByContent()] = None
    """A folder of `images/<group>/x.jpg` and `masks/<group>/x.png` (8-bit, above 127 = the object that the group
    shares) to train on; `icnet` also reads `saliency/<group>/x.png`.  Without it: the tagged images, `targets`."""
    targets: PseudoTargets = PseudoTargets()
    """Pseudo targets of the tagged images."""
    backbone: Backbone = Backbone(output_stride=16)
    """Backbone."""
    fine: bool = False
    """Also use VGG16's side outputs at strides 1 and 2, as published; much slower.  The other backbones have none."""
    channels: int = Field(default=128, ge=4)
    """`icnet`: channels of the group's features."""
    detail_channels: int = Field(default=32, ge=4)
    """`icnet`: channels of the decoder."""
    grids: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]] = (7, 14, 28)
    """`icnet`: cells a side on which positions are compared, from the deepest level to the shallowest."""
    sharpness: float = Field(default=300.0, gt=0)
    """`gconet_plus`: steepness k of the hard map."""
    losses: GroupLosses = GroupLosses()
    """`gconet_plus`: weights of its losses."""
    image_size: int = Field(default=224, ge=32)
    """Side of the square to which images are resized, in pixels (published: `icnet` 224, `gconet_plus` 256)."""
    group_size: int = Field(default=10, ge=2)
    """Images of a group in a step (published: 10; 26); `gconet_plus` takes a second group of as many.  A tag with
    a single image is not trained on."""
    jitter: tuple[Share, Share, Share, Annotated[float, Field(ge=0, le=0.5)]] = (0.2, 0.2, 0.2, 0.0)
    """Strength of the random change of brightness, contrast, saturation and hue; half are mirrored besides."""
    iterations: int = Field(default=20_000, ge=1)
    """Steps of training; the groups take turns."""
    learning_rate: float = Field(default=1e-4, gt=0)
    """Initial learning rate of Adam (published: 1e-5; 1.6e-4)."""
    falling: bool = False
    """Let the learning rate fall by the power 0.9; published is a constant one."""
    backbone_factor: float = Field(default=0.1, ge=0)
    """Factor on the backbone's learning rate (published: 1; 0); 0 keeps its weights as they come."""
    weight_decay: float = Field(default=1e-4, ge=0)
    """L2 penalty."""
    seed: int = Field(default=0, ge=0)
    """Seed of initialization, groups and augmentation."""

    @property
    def reads_saliency(self) -> bool:
        """Whether the system reads single-image saliency beside the images."""
        return self.provider in READING_SALIENCY

    @model_validator(mode="after")
    def _possible(self) -> "Cosaliency":
        if self.provider == "none" or self.checkpoint is not None:
            return self
        strides = (*((1, 2) if self.fine and self.backbone.name == "vgg16" else ()), *self.backbone.strides)
        if self.provider == "icnet" and len(strides) < 3:
            raise ValueError(
                f"icnet needs three strides or more; {self.backbone.name} at output_stride "
                f"{self.backbone.output_stride} has {', '.join(map(str, strides))}: take a larger output_stride"
            )
        cells = 3 if self.backbone.name == "squeezenet1_1" else 2  # its pools leave one out at the edge
        least = strides[-1] * (cells if self.provider == "icnet" else 1)
        if self.image_size < least:
            raise ValueError(
                f"image_size {self.image_size} is too small for {self.provider} on {self.backbone.name} at "
                f"output_stride {self.backbone.output_stride}: at least {least}"
            )
        return self


class CosaliencyMaps(Section):
    """How a group system is applied: groups from tags, and what becomes of the maps."""

    references: int = Field(default=32, ge=1)
    """Most images that speak for a tag; those that show it alone come first.  The time for a tag's consensus grows
    with the square of this number (`gconet_plus`), that for each map in proportion (`icnet`)."""
    regroupings: int = Field(default=3, ge=1)
    """Times that the references of a tag are drawn anew; the maps are averaged.  A tag with no more images than
    `references` has one group."""
    map: Literal["soft", "hard"] = "soft"
    """Which map is averaged over the regroupings, resized, gated and written; `hard` ones are 0 or 1 before that."""
    gate: Share = 0.2
    """CAM of the tag from which a map is kept as it is; below it falls in proportion to the CAM.  0: no gate."""
    seed: int = Field(default=0, ge=0)
    """Seed of the groups."""
