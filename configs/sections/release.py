"""When a label set becomes a release, and what is measured of it without masks."""

from typing import Literal

from pydantic import Field

from tag2mask.configs.sections.section import Section, Share

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


class Confidence(Section):
    """How far the evidences stand behind each label, to review the least certain ones first."""

    cam_foreground: Share = 0.3
    """CAM evidence of a class from which a pixel counts as the CAM's."""
    saliency: int = Field(default=128, ge=1, le=255)
    """Saliency (0-255) from which a pixel counts as salient."""
    per_pixel: bool = False
    """Whether to write a map of each image, too, `pixels/<id>.png`."""


class Release(Section):
    """The gate between a finished run and its release.  A threshold of null shows its signal without judging it."""

    # The defaults stand between good and bad label sets of voc-mini: 21 sets on which they were chosen and 18 that were
    # held out (tests/benchmarks/test_gate_signals.py; docs/releases.md has the table).  "Good" is a mean IoU less than
    # 0.1 below that of the run's own labels, 0.71, "bad" 0.2 or more.  Of the sets looked at, the good ones are
    # released and no bad one.  Of those held out, two good ones are kept back, rightly (a class was lost in both), and
    # two bad ones of eight let through: objects mined too small (`foreground` 0.7, 0.47), and labels 1 where a fifth of
    # the tags were wrong (0.50).

    publish: bool = False
    """Publish at the end of every run that has made the labels; without it `tag2mask publish` does."""
    maximum_missing_tags: Share | None = 0.25
    """Largest share of (image, tag) pairs of which no pixel carries the tag.  Good sets 0.00-0.18; sets that lost
    classes or objects from 0.28, but 0.06 where the mining's `foreground` is 0.7."""
    maximum_untagged: Share | None = 0.1
    """Largest share of the foreground whose class is not among the tags of its image.  0 in every set but the one
    whose ids had shifted, 0.94."""
    maximum_ignored_share: Share | None = 0.4
    """Largest share of ignored pixels, over all images together.  Good sets 0.00-0.16; bad ones that ignore too
    much, from 0.48."""
    maximum_wholly_ignored: Share | None = 0.25
    """Largest share of images without a labeled pixel: they train nothing.  Good sets 0.00-0.02, bad ones that
    ignore too much, from 0.23."""
    minimum_class_ratio: float | None = Field(default=0.01, ge=0)
    """Smallest ratio, over the classes, of a class's share of the foreground to its share of the tags.  Good sets from
    0.07 (a class of which little is seen, and that is nearly lost), those in which a class is lost 0.00."""
    maximum_class_divergence: Share | None = 0.25
    """Largest share of the foreground that would have to change class to be spread as the tags are.  Good sets
    0.11-0.16 (the masks themselves 0.16), one that lost five classes 0.28."""
    minimum_cam_agreement: Share | None = 0.4
    """Smallest mean IoU of the foregrounds of the labels and of the CAM.  Good sets from 0.42 (the masks themselves
    0.47), sets whose objects shrank or moved, or whose tags are wrong, up to 0.37."""
    minimum_saliency_agreement: Share | None = 0.6
    """Smallest mean IoU of the foreground of the labels and of what is salient.  Good sets from 0.71 (the masks
    themselves 0.72), bad ones whose objects lie elsewhere, grew or shrank up to 0.57.  Of saliency that learned from
    masks: labels 0 of the prior, 57.8, have 0.39, so that `init` without masks writes null."""
    minimum_prediction_agreement: Share | None = 0.5
    """Smallest mean IoU of the foregrounds of the labels and of the refined prediction.  Good sets from 0.74 (the masks
    themselves), labels of other images 0.23."""
    changed_pixels: Share = 0.05
    """An image counts as changed where more than this share of its pixels has another label than in the release
    before."""
    maximum_changed_images: Share | None = 0.5
    """Largest share of changed images among those that the release before holds, too."""
    minimum_miou: Share | None = 0.3
    """Smallest mean IoU with the ground-truth masks, where there are any."""
    maximum_miou_drop: Share | None = 0.03
    """Largest fall of that mean IoU since the release before; 0.03 is three points of 100."""
    required: tuple[Signal, ...] = ()
    """Signals that must have been measured: their absence fails the set instead of being noted."""
