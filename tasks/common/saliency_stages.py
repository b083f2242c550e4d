"""The stages of a purificatory network's training as steps of one training: which losses, photographs and step sizes.

One training over all stages, instead of one after the other, is resumed from one checkpoint.
"""

from dataclasses import dataclass

from tag2mask.configs.schema import PurificatoryStage, Saliency
from tag2mask.tasks.common.training import poly

ATTENTION_FACTOR = 10.0
"""Step size of the attention subnetworks over the trunk's (published)."""


@dataclass(frozen=True)
class Span:
    """One stage on the axis of steps."""

    stage: PurificatoryStage
    first: int
    """Its first step."""
    end: int
    """The step after its last."""
    batch_size: int
    """Photographs per step."""
    seen: int
    """Photographs seen before it."""

    def visits(self, step: int) -> range:
        """Running numbers of the photographs of one of its steps."""
        start = self.seen + (step - self.first) * self.batch_size
        return range(start, start + self.batch_size)


class StagedSchedule:
    """What each step of the training of a purificatory network does."""

    def __init__(self, config: Saliency, power: float) -> None:
        self._all_fall = config.purificatory.falling == "all"
        self._power = power
        self.spans: list[Span] = []
        first = seen = 0
        stages = config.purificatory.stages
        for stage, end in zip(stages, config.purificatory.ends(config.iterations), strict=True):
            span = Span(stage, first, end, stage.batch_size or config.batch_size, seen)
            self.spans.append(span)
            first, seen = end, seen + (end - first) * span.batch_size

    def at(self, step: int) -> Span:
        """The stage of a step."""
        return next(span for span in self.spans if step < span.end)

    def visits(self, step: int) -> range:
        """Running numbers of a step's photographs in the whole training."""
        return self.at(step).visits(step)

    def compares_regions(self, step: int) -> bool:
        """Whether a step needs superpixels."""
        return self.at(step).stage.structural_similarity > 0

    def factor(self, step: int, group: str) -> float:
        """Factor on the initial step size of a group of `subnetwork_groups` that were made with factors of 1."""
        span = self.at(step)
        part = group.rpartition("_")[0]
        own = {"backbone": 1.0, "main": span.stage.main_factor}.get(part, ATTENTION_FACTOR)
        falls = self._all_fall or part == "backbone"
        return own * (poly(self._power, span.end - span.first)(step - span.first) if falls else 1.0)
