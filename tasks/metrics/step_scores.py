"""What an evaluation reads and gathers: a step's files beside their masks, sparse counts, rows of tables."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tag2mask.tasks.dataset.ground_truth import GroundTruth
from tag2mask.tasks.executors.images import map_in_parallel
from tag2mask.tasks.executors.work import Process, one_by_one
from tag2mask.tasks.metrics.segmentation import SegmentationScores, scores_of
from tag2mask.tasks.store.runtime import StageRuntime

FILES = {
    "class_maps": "{}.npz",
    "saliency": "saliency/{}.png",
    "cosaliency": "cosaliency/{}.png",
    "labels": "{}.png",
    "training_labels": "{}.png",
    "predictions": "labels/{}.png",
}
"""Kind of step -> its file for an image id; for cosaliency for `<class number>/<id>`."""


@dataclass(frozen=True)
class StepScores:
    """Figures of one step."""

    summary: dict[str, Any]
    """What stands in tables; shares in [0, 1]."""
    details: dict[str, Any]
    """Further figures, such as curves."""
    per_image: list[dict[str, Any]]
    """One row an image."""
    per_class: list[dict[str, Any]] | None = None
    """One row a class, background first; None for saliency, which has no classes."""
    per_group: list[dict[str, Any]] | None = None
    """One row a group of images that share a tag; None where there are no groups."""


@dataclass(frozen=True)
class StepFiles:
    """The files of a step beside the masks they are compared with."""

    subject: Path
    kind: str
    truth: GroundTruth
    image_ids: Sequence[str]

    def path(self, image_id: str) -> Path:
        """File of an image."""
        return self.subject / FILES[self.kind].format(image_id)

    def check(self) -> None:
        """Find out before the work starts that something is missing.

        Raises:
            ValueError: images without a file; the message names some.
        """
        missing = [image_id for image_id in self.image_ids if not self.path(image_id).exists()]
        if missing:
            raise ValueError(
                f"{self.subject}: {len(missing)} of {len(self.image_ids)} images with masks have no "
                f"{FILES[self.kind].format('<id>')}: {', '.join(missing[:5])}{', …' if len(missing) > 5 else ''}"
            )

    def each(self, measure: "Measure", out: Path, runtime: StageRuntime) -> Iterator[tuple[str, Any]]:
        """Measure the images on the run's executor; (id, result) in the order of the ids, whoever comes first.

        Args:
            measure: a module's function, or a partial of one.
            out: the stage's folder.
            runtime: executor, workers, progress.
        """
        work = partial(open_work, measure=measure, kind=self.kind, subject=self.subject, masks=self.truth.folder)
        return map_in_parallel(self.image_ids, out, work, runtime)


Measure = Callable[[StepFiles, str], Any]


def open_work(device: str, *, measure: Measure, kind: str, subject: Path, masks: Path) -> Process:
    """What a worker does; it needs no list of the images."""
    files = StepFiles(subject, kind, GroundTruth(masks, {}), ())

    def named(image_id: str) -> Any:
        try:
            return measure(files, image_id)
        except ValueError as error:
            raise ValueError(f"{files.path(image_id)}: {error}") from error

    return one_by_one(named)


@dataclass(frozen=True)
class SparseCounts:
    """The cells of a table of counts that are not zero: an image has few of many classes."""

    positions: np.ndarray
    values: np.ndarray

    @classmethod
    def of(cls, counts: np.ndarray) -> "SparseCounts":
        """Pick the cells of a table of any shape."""
        positions = np.flatnonzero(counts)
        return cls(positions, counts.ravel()[positions])

    def add_to(self, counts: np.ndarray) -> None:
        """Add the cells to a contiguous table of the same shape."""
        counts.reshape(-1)[self.positions] += self.values


def mean_figures(scores: SegmentationScores) -> dict[str, float | None]:
    """Mean precision and recall over the classes for which they have a meaning."""
    figures = {"precision": scores.precision, "recall": scores.recall}
    known = {name: [figure for figure in row if figure is not None] for name, row in figures.items()}
    return {name: sum(row) / len(row) if row else None for name, row in known.items()}


def image_row(image_id: str, counts: np.ndarray) -> dict[str, Any]:
    """An image's own mean IoU over the classes in its mask; blank where its mask is nothing but void."""
    if counts.sum() == 0:
        return {"image_id": image_id, "miou": None, "ignored_share": None}
    scores = scores_of(counts)
    return {"image_id": image_id, "miou": scores.miou, "ignored_share": scores.ignored_share}


def class_rows(names: Sequence[str], scores: SegmentationScores) -> list[dict[str, Any]]:
    """One row a class, background first."""
    figures = {name: row for name, row in asdict(scores).items() if isinstance(row, tuple)}
    return [{"class": name} | {key: row[number] for key, row in figures.items()} for number, name in enumerate(names)]
