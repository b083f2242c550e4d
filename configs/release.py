"""When a label set becomes a release, and what is measured of it without masks."""

from typing import Literal

from pydantic import Field

from tag2mask.configs.section import Section, Share

Signal = Literal[
    "missing_tags",
    "untagged",
    "ignored_share",
    "wholly_ignored",
    "class_ratio",
    "class_divergence",
    "cam_agreement",
    "saliency_agreement",
    "prediction_agreement",
    "changed_images",
    "miou",
    "miou_drop",
]
"""What the gate looks at; each has a `maximum_` or a `minimum_` in `Release`."""


class Measurement(Section):
    """Signals of a label set's quality that need no masks."""

    cam_foreground: Share = 0.3
    """CAM evidence of any class from which a pixel counts as the CAM's foreground."""
    saliency: int = Field(default=128, ge=1, le=255)
    """Saliency (0-255) from which a pixel counts as salient."""


class Release(Section):
    """The gate between a finished run and its release.  A threshold of null shows its signal without judging it."""

    publish: bool = False
    """Publish at the end of every run that has made the labels; without it `tag2mask publish` does."""
    maximum_missing_tags: Share | None = 0.25
    """Largest share of (photograph, tag) pairs of which no pixel carries the tag."""
    maximum_untagged: Share | None = 0.1
    """Largest share of the foreground whose class is not among the tags of its photograph."""
    maximum_ignored_share: Share | None = 0.5
    """Largest share of ignored pixels, over all photographs together."""
    maximum_wholly_ignored: Share | None = 0.15
    """Largest share of photographs without a labelled pixel: they train nothing."""
    minimum_class_ratio: float | None = Field(default=0.1, ge=0)
    """Smallest ratio, over the classes, of a class's share of the foreground to its share of the tags."""
    maximum_class_divergence: Share | None = 0.4
    """Largest share of the foreground that would have to change class to be spread as the tags are."""
    minimum_cam_agreement: Share | None = 0.25
    """Smallest mean IoU of the foregrounds of the labels and of the CAM."""
    minimum_saliency_agreement: Share | None = 0.35
    """Smallest mean IoU of the foreground of the labels and of what is salient."""
    minimum_prediction_agreement: Share | None = 0.5
    """Smallest mean IoU of the foregrounds of the labels and of the refined prediction."""
    changed_pixels: Share = 0.05
    """A photograph counts as changed where more than this share of its pixels has another label than in the release
    before."""
    maximum_changed_images: Share | None = 0.5
    """Largest share of changed photographs among those that the release before holds, too."""
    minimum_miou: Share | None = 0.3
    """Smallest mean IoU with the ground-truth masks, where there are any."""
    maximum_miou_drop: Share | None = 0.03
    """Largest fall of that mean IoU since the release before; 0.03 is three points of 100."""
    required: tuple[Signal, ...] = ()
    """Signals that must have been measured: their absence fails the set instead of being noted."""
