"""The stages of a purnet network's training as steps of one training: which losses, images and learning rates.

One training over all stages, instead of one after the other, is resumed from one checkpoint.
"""

from dataclasses import dataclass

from tag2mask.configs.schema import PurNetPhase, Saliency
from tag2mask.tasks.training.loop import poly

ATTENTION_FACTOR = 10.0
"""Learning rate of the attention subnetworks over the backbone's (published)."""


@dataclass(frozen=True)
class Span:
    """One stage on the axis of steps."""

    stage: PurNetPhase
    first: int
    """Its first step."""
    end: int
    """The step after its last."""
    batch_size: int
    """Images per step."""
    seen: int
    """Images seen before it."""

    def samples(self, step: int) -> range:
        """Running numbers of the images of one of its steps."""
        start = self.seen + (step - self.first) * self.batch_size
        return range(start, start + self.batch_size)


class StagedSchedule:
    """What each step of the training of a purnet network does."""

    def __init__(self, config: Saliency, power: float) -> None:
        self._all_fall = config.purnet.falling == "all"
        self._power = power
        self._backbone_factor = config.backbone_factor
        self.spans: list[Span] = []
        first = seen = 0
        stages = config.purnet.stages
        for stage, end in zip(stages, config.purnet.ends(config.iterations), strict=True):
            span = Span(stage, first, end, stage.batch_size or config.batch_size, seen)
            self.spans.append(span)
            first, seen = end, seen + (end - first) * span.batch_size

    def at(self, step: int) -> Span:
        """The stage of a step."""
        return next(span for span in self.spans if step < span.end)

    def samples(self, step: int) -> range:
        """Running numbers of a step's images in the whole training."""
        return self.at(step).samples(step)

    def compares_regions(self, step: int) -> bool:
        """Whether a step needs superpixels."""
        return self.at(step).stage.structural_similarity > 0

    def factor(self, step: int, group: str) -> float:
        """Factor on the initial learning rate of a group of `subnetwork_groups` that were made with factors of 1."""
        span = self.at(step)
        part = group.rpartition("_")[0]
        own = {"backbone": self._backbone_factor, "main": span.stage.main_factor}.get(part, ATTENTION_FACTOR)
        falls = self._all_fall or part == "backbone"
        return own * (poly(self._power, span.end - span.first)(step - span.first) if falls else 1.0)
