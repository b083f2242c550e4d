"""Compare one step's result with the ground-truth masks, over all images, by class and by image.

Reads   dataset         the index
        masks           masks/<id>.png, index.json of `index_masks`
        subject         the step to measure
        corrections     `index_corrections`, whose images are left out, where there is one
        labels          for confidence: the labels that it rates
Writes  scores.json     everything; metrics.json, the summary alone
        per_image.csv   figures of each image; per_class.csv, of each class (not for saliency)
        per_group.csv   for co-saliency: figures of each tag's images by the field's co-saliency protocol
        calibrated.csv  for confidence: the same calibrated on the masks, beside the IoU that it predicts

- class maps: mean IoU over background thresholds.  The best threshold is chosen on the very masks it is measured with,
  as is the custom of the field; it flatters the maps, so it is said beside the figure.
- label maps (labels, predictions): one confusion matrix.  An ignored pixel (255) counts as missed in `miou`,
  is left out of `miou_labeled`, and is background in `miou_as_background`.
- saliency maps: the field's measures against "any class", of the maps as they are.  Void pixels are dropped from error,
  E and F (the adaptive threshold is twice the mean of what is left); for S and weighted F, which need the image whole,
  they are background that the map gets right.
- co-saliency maps: the same measures against the one class of each (image, tag), by tag and over all; and by the
  field's co-saliency protocol, `protocol_<figure>`, over all pairs, with void pixels dropped or right as above.

Masks are read by this stage and shown by `render_report`; no other stage that makes a result is given them.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from tag2mask.configs.schema import Evaluation, StepKind
from tag2mask.tasks.confidence.scores import score_confidence
from tag2mask.tasks.dataset.class_maps import read_class_maps
from tag2mask.tasks.dataset.ground_truth import GroundTruth, equals_truth, refuse_leak
from tag2mask.tasks.dataset.image_index import ImageIndex
from tag2mask.tasks.dataset.label_maps import read_labels
from tag2mask.tasks.dataset.tables import write_table
from tag2mask.tasks.metrics.cosaliency_scores import pairs_of, score_cosaliency
from tag2mask.tasks.metrics.saliency_scores import score_saliency
from tag2mask.tasks.metrics.segmentation import ConfusionMatrix, ThresholdedIoU
from tag2mask.tasks.metrics.step_scores import (
    SparseCounts,
    StepFiles,
    StepScores,
    class_rows,
    image_row,
    mean_figures,
)
from tag2mask.tasks.store.files import write_json
from tag2mask.tasks.store.runtime import StageRuntime

THRESHOLD_NOTE = "the best threshold is chosen on the masks"


def run(
    config: Evaluation,
    out: Path,
    runtime: StageRuntime,
    *,
    kind: StepKind,
    split: Literal["train", "val"],
    title: str,
    dataset: Path,
    masks: Path,
    subject: Path,
    corrections: Path | None = None,
    labels: Path | None = None,
) -> None:
    """Evaluate a step.

    A split without a single mask has no figures: `images` is 0 and the tables are empty, so that a dataset with masks
    for its validation alone runs through.  A split whose masks show no class has none either, but keeps its `images`:
    a mean IoU would be that of the background.

    Args:
        config: thresholds.
        out: folder to write to.
        runtime: executor, workers and progress.
        kind: what the step made.
        split: images to measure on.
        title: name of the step in tables and charts.
        dataset: `index_dataset` artifact.
        masks: `index_masks` artifact.
        subject: the artifact to evaluate; its files are at the size of the images.
        corrections: `index_corrections` artifact; nothing is measured on its images.
        labels: what a confidence rates; its files are read in the place of the subject's.

    Raises:
        ValueError: images that the step lacks, files that do not fit their mask, or masks that are nothing but void.
        GroundTruthLeak: training labels that are the ground truth.
    """
    names = ("background", *ImageIndex.read(dataset).classes)
    truth = GroundTruth.read(masks)
    image_ids = tuple(i for i in truth.ids(split) if corrections is None or not (corrections / f"{i}.png").is_file())
    if kind == "cosaliency":
        image_ids = pairs_of(ImageIndex.read(dataset), image_ids)
    steps = (
        StepFiles(subject, kind, truth, image_ids) if labels is None else StepFiles(labels, "labels", truth, image_ids)
    )
    steps.check()
    if not steps.image_ids:
        scores = StepScores({}, {"note": f"no image of the split {split!r} has a mask"}, [])
    elif kind == "confidence":
        scores = score_confidence(steps, names, subject, out, runtime)
    elif kind == "class_maps":
        scores = score_class_maps(steps, names, config.thresholds, out, runtime)
    elif kind == "saliency":
        scores = score_saliency(steps, out, runtime)
    elif kind == "cosaliency":
        scores = score_cosaliency(steps, names, out, runtime)
    else:
        maximum_equal = config.maximum_equal if kind == "training_labels" else None
        scores = score_labels(steps, names, out, runtime, maximum_equal)
    if _shows_no_class(scores):
        scores = StepScores({}, {"note": f"no mask of the split {split!r} shows any class"}, [])
    images = {item.rpartition("/")[2] for item in steps.image_ids}
    head = {"title": title, "kind": kind, "split": split, "images": len(images)}
    body = {"classes": list(names), "summary": scores.summary, "per_class": scores.per_class, **scores.details}
    write_json(out / "scores.json", head | body)
    write_json(out / "metrics.json", scores.summary)
    write_table(out / "per_image.csv", scores.per_image)
    if scores.per_class is not None:
        write_table(out / "per_class.csv", scores.per_class)
    if scores.per_group is not None:
        write_table(out / "per_group.csv", scores.per_group)


def _shows_no_class(scores: StepScores) -> bool:
    """Whether the masks of class maps or label maps, whose rows count pixels, have none of any class."""
    counted = [row["pixels"] for row in scores.per_class or () if "pixels" in row]
    return bool(counted) and not any(counted[1:])


def thresholded(classes: int, thresholds: int) -> ThresholdedIoU:
    """An empty count at evenly spaced background thresholds in (0, 1)."""
    return ThresholdedIoU(classes, np.linspace(0, 1, thresholds + 2)[1:-1])


def measure_class_maps(files: StepFiles, image_id: str, *, classes: int, thresholds: int) -> SparseCounts:
    """Count the class maps of one image; `classes` with the background."""
    target, one = files.truth.mask(image_id), thresholded(classes, thresholds)
    one.step(*read_class_maps(files.path(image_id), target.shape), target)
    return SparseCounts.of(one.counts)


def score_class_maps(
    files: StepFiles, names: Sequence[str], thresholds: int, out: Path, runtime: StageRuntime
) -> StepScores:
    """Score class activation maps at evenly spaced background thresholds in (0, 1)."""
    total = thresholded(len(names), thresholds)
    measure = partial(measure_class_maps, classes=len(names), thresholds=thresholds)
    counts = dict(files.each(measure, out, runtime))
    for sparse in counts.values():
        sparse.add_to(total.counts)
    result = total.result()
    best = result.thresholds.index(result.best_threshold)

    def at_best(sparse: SparseCounts) -> np.ndarray:
        one = thresholded(len(names), thresholds)
        sparse.add_to(one.counts)
        return one.confusion(best)

    return StepScores(
        summary={"miou": result.best.miou, "best_threshold": result.best_threshold, **mean_figures(result.best)},
        details={"thresholds": result.thresholds, "curve": result.curve, "note": THRESHOLD_NOTE},
        per_image=[image_row(image_id, at_best(sparse)) for image_id, sparse in counts.items()],
        per_class=class_rows(names, result.best),
    )


def measure_labels(files: StepFiles, image_id: str, *, classes: int) -> tuple[SparseCounts, bool | None]:
    """Count the labels of one image, and whether they are the ground truth; `classes` with the background."""
    labels, target = read_labels(files.path(image_id)), files.truth.mask(image_id)
    one = ConfusionMatrix(classes)
    one.step(labels, target)
    return SparseCounts.of(one.counts), equals_truth(labels, target)


def score_labels(
    files: StepFiles, names: Sequence[str], out: Path, runtime: StageRuntime, maximum_equal: float | None
) -> StepScores:
    """Score label maps; with `maximum_equal`, refuse those that are the ground truth."""
    total = ConfusionMatrix(len(names))
    rows, equal = [], []
    for image_id, (sparse, same) in files.each(partial(measure_labels, classes=len(names)), out, runtime):
        sparse.add_to(total.counts)
        counts = np.zeros_like(total.counts)
        sparse.add_to(counts)
        rows.append(image_row(image_id, counts))
        equal += [same] if same is not None else []
    if maximum_equal is not None:
        refuse_leak(sum(equal), len(equal), maximum_equal, str(files.subject))
    result = total.result()
    summary = {
        "miou": result.miou,
        "miou_labeled": result.miou_labeled,
        "miou_as_background": result.miou_as_background,
        "ignored_share": result.ignored_share,
    }
    equality = {"equal_to_truth": sum(equal), "compared_with_truth": len(equal)}
    return StepScores({**summary, **mean_figures(result)}, equality, rows, class_rows(names, result))
