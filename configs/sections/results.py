"""What is measured and shown."""

from typing import Literal

from pydantic import Field

from tag2mask.configs.sections.section import Section, Share

StepKind = Literal["class_maps", "saliency", "cosaliency", "labels", "training_labels", "predictions", "confidence"]
"""What an evaluated step made; `training_labels` are also checked for being the ground truth itself."""


class NodeFacts(Section):
    """What a node of a run is, beside its stage and settings."""

    title: str
    """What people read for its result."""
    round: int = 0
    """Round of labels that it belongs to, from 1; 0: before the first."""
    split: Literal["train", "val", "test"] = "train"
    """Images that it is about."""
    crf: bool = False
    """Whether the dense CRF has been applied to its masks."""
    measures: str = ""
    """For an evaluation: the node that it measures."""


class Evaluation(Section):
    """Comparison with ground-truth masks, which nothing else reads but the report, to show them."""

    thresholds: int = Field(default=100, ge=2, le=255)
    """Background thresholds tried for the class maps, evenly spaced in (0, 1); the best one is reported."""
    maximum_equal: Share = 0.1
    """A run stops when more than this share of its training labels equals the ground truth pixel for pixel."""


class Report(Section):
    """The page of results."""

    images: int = Field(default=12, ge=1)
    """Worst and best images shown through every stage (this many of each)."""
    thumbnail: int = Field(default=160, ge=32)
    """Long side of a picture, in pixels."""
