"""One self-contained page: figures of every step, curves, and the same images through every step.

Reads   dataset                    the index
        masks                      the truth, to show it, where there is one
        <any other node>           pictures, losses.csv, scores.json, manifest.json
Writes  report.html                the page
        results.json, results.csv  the figures of the evaluated steps

The page needs no network and runs no script.  Like `evaluate` it stands on the side of measuring: it is given the masks
to show them, and nothing that trains reads what it writes.

It says how long the stages took, so its bytes differ between two runs that made everything anew; nothing depends
on it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from tag2mask.configs.schema import NodeFacts, Report
from tag2mask.tasks.catalog import CATALOG
from tag2mask.tasks.dataset.ground_truth import GroundTruth
from tag2mask.tasks.dataset.image_index import ImageIndex
from tag2mask.tasks.dataset.provenance import Provenance
from tag2mask.tasks.dataset.tables import read_columns, write_table
from tag2mask.tasks.report.certainty import least_certain, reliability
from tag2mask.tasks.report.charts import Curve, class_bars, curve_chart, smoothed, thinned
from tag2mask.tasks.report.gallery import Row, choose_images, gallery_columns, gallery_rows
from tag2mask.tasks.report.page import duration, points, render
from tag2mask.tasks.report.steps import Evaluated, Step, read_evaluations, read_steps
from tag2mask.tasks.store.files import read_json, write_file, write_json
from tag2mask.tasks.store.runtime import StageRuntime

CURVE_POINTS = 300
FIGURES = (
    "miou",
    "miou_labeled",
    "miou_as_background",
    "ignored_share",
    "precision",
    "recall",
    "best_threshold",
    "mae",
    "s_measure",
    "max_e",
    "mean_e",
    "adaptive_e",
    "max_f",
    "mean_f",
    "adaptive_f",
    "weighted_f",
    "calibration_error",
    "calibrated_error",
)
"""Columns of the tables of results."""
RESULTS_NOTE = (
    "Mean IoU over the classes, background among them, in points of 100. An ignored pixel counts as missed; “labeled "
    "only” leaves such pixels out, “as background” takes them for background. "
    "Class maps stand at their best background threshold, which is chosen on the masks."
)


def run(
    config: Report,
    out: Path,
    runtime: StageRuntime,
    *,
    title: str = "tag2mask",
    nodes: Mapping[str, NodeFacts] | None = None,
    dataset: Path,
    masks: Path | None = None,
    corrections: Path | None = None,
    **inputs: Path,
) -> None:
    """Render the page.

    Args:
        config: sizes.
        out: folder to write to.
        runtime: threads and progress.
        title: heading of the page, the name of the run.
        nodes: those whose results are shown, in the order of the DAG.
        dataset: `index_dataset` artifact.
        masks: `index_masks` artifact, where the dataset has masks.
        corrections: `index_corrections` artifact, where people corrected masks.
        inputs: all other artifacts, by the name of their node.  What is absent is not shown.
    """
    index = ImageIndex.read(dataset)
    truth = None if masks is None else GroundTruth.read(masks)
    indexed = {folder.parent.name: folder for folder in (dataset, masks) if folder is not None}
    steps = read_steps({**indexed, **inputs}, nodes or {})
    evaluations = read_evaluations(steps)
    measured = [evaluated for evaluated in evaluations if evaluated.measured]
    galleries = [_gallery(split, config, runtime, index, steps, measured, truth) for split in ("train", "val")]
    thresholds = [e for e in measured if e.scores["kind"] == "class_maps"]
    series = _class_series(measured, delivered_segmenter(steps))
    text = render(
        "report",
        title=title,
        about=_about(steps),
        facts=_facts(index, steps, measured),
        notes=[*_provenance(steps), *_corrected(corrections)],
        results_note=RESULTS_NOTE,
        measured=measured,
        classes=("background", *index.classes),
        class_series=[e.title for e in series],
        class_cards=_class_cards(index, series),
        threshold_series=[e.title for e in thresholds],
        threshold_chart=_threshold_chart(thresholds),
        losses=_loss_charts(steps),
        least_certain=least_certain(steps),
        reliability=reliability(measured),
        galleries=galleries,
        side=config.thumbnail,
        steps=steps,
    )
    write_file(out / "report.html", lambda file: file.write(text.encode()))
    _write_results(out, evaluations)
    runtime.progress(1, 1)


def _facts(index: ImageIndex, steps: Sequence[Step], evaluations: Sequence[Evaluated]) -> dict[str, str]:
    """Numbers of images and classes, the last labels' and the last segmenter's mean IoU, and the time in all."""
    facts = {
        "training images": str(len(index.split("train"))),
        "validation images": str(len(index.split("val"))),
        "classes": str(len(index.classes)),
    }
    for key, split in (("mIoU of the final labels", "train"), ("mIoU of the final segmenter", "val")):
        final = final_evaluation(evaluations, split, delivered_segmenter(steps))
        if final is not None:
            facts[key] = points(final.summary["miou"])
    facts["computing time"] = duration(sum(step.manifest["seconds"] for step in steps))
    return {name: value for name, value in facts.items() if value != "0"}


def _about(steps: Sequence[Step]) -> list[str]:
    """Versions and seeds."""
    versions: dict[str, Any] = {}
    for step in steps:
        versions |= step.manifest.get("versions", {})
    seeds = sorted({step.seed for step in steps if step.seed is not None})
    shown = [f"{name} {version}" for name, version in versions.items()]
    return shown + ([f"{'seed' if len(seeds) == 1 else 'seeds'} {', '.join(map(str, seeds))}"] if seeds else [])


def _provenance(steps: Sequence[Step]) -> list[str]:
    """Which masks are behind the saliency maps, each answer once."""
    made = [step.folder for step in steps if CATALOG[step.stage].saliency]
    return list(dict.fromkeys(str(Provenance.read(folder, otherwise="unknown")) for folder in made))


def _corrected(corrections: Path | None) -> list[str]:
    """How many masks people corrected."""
    if corrections is None:
        return []
    counts = read_json(corrections / "metrics.json")
    counted = f"{counts['corrected']} of {counts['images']} training images are corrected by hand"
    return [f"{counted}: their masks stand in every round, and nothing is measured on them."]


def delivered_segmenter(steps: Sequence[Step]) -> int | None:
    """Number of the segmenter whose round is delivered, from 1; None where the last one is, without a choice."""
    metrics = [step.manifest.get("metrics", {}) for step in steps]
    chosen = [figures["delivered_round"] for figures in metrics if "delivered_round" in figures]
    return int(chosen[0]) + 1 if chosen else None


def final_evaluation(evaluations: Sequence[Evaluated], split: str, segmenter: int | None = None) -> Evaluated | None:
    """The last labels (train), or a segmenter without CRF (val): that of a number, or the last."""
    if split == "train":
        found = _labels(evaluations)
    else:
        found = [e for e in evaluations if e.scores["split"] == split and e.scores["kind"] == "predictions"]
        found = [e for e in found if segmenter in (None, e.facts.round)]
    return found[-1] if found else None


def _labels(evaluations: Sequence[Evaluated]) -> list[Evaluated]:
    """The labels of every round, which are trained on; not what the CRF made on the way to them."""
    kinds = ("labels", "training_labels")
    return [e for e in evaluations if e.scores["kind"] in kinds and e.scores["split"] == "train" and not e.facts.crf]


def _class_series(evaluations: Sequence[Evaluated], number: int | None) -> list[Evaluated]:
    """What is compared by class: CAM, OA-CAM, first and last labels, and the delivered segmenter on validation."""
    labels = _labels(evaluations)
    wanted = [e for e in evaluations if e.scores["kind"] == "class_maps"] + labels[:1] + labels[1:][-1:]
    segmenter = final_evaluation(evaluations, "val", number)
    return wanted + ([segmenter] if segmenter else [])


def _class_cards(index: ImageIndex, series: Sequence[Evaluated]) -> list[tuple[int, str, Markup]]:
    """Number, name and bars of each class."""
    figures = {e.title: e.class_iou() for e in series}
    names = enumerate(("background", *index.classes)) if series else ()
    return [(n, name, class_bars({title: iou.get(name) for title, iou in figures.items()})) for n, name in names]


def _threshold_chart(maps: Sequence[Evaluated]) -> Markup | None:
    """Mean IoU of class maps over the background threshold, the best one marked."""
    if not maps:
        return None
    curves = [
        Curve(e.title, np.array(e.scores["thresholds"]), 100 * np.array(e.scores["curve"], dtype=float)) for e in maps
    ]
    return curve_chart(curves, "background threshold", "mIoU", marks=[int(curve.y.argmax()) for curve in curves])


def _loss_charts(steps: Sequence[Step]) -> dict[str, Markup]:
    """One chart a training that has `losses.csv`; steps whose loss is no number are left out of the curve."""
    charts = {}
    for step in steps:
        path = step.folder / "losses.csv"
        if CATALOG[step.stage].trains and path.exists():
            table = read_columns(path, text=())
            finite = np.isfinite(table["loss"].astype(float))
            if finite.any():
                raw = Curve(step.name, table["step"][finite].astype(float), table["loss"][finite].astype(float))
                pale, strong = thinned(raw, CURVE_POINTS), thinned(smoothed(raw), CURVE_POINTS)
                charts[step.facts.title] = curve_chart([strong], "step", "loss", raw=pale, first_color=1)
    return charts


@dataclass(frozen=True)
class Gallery:
    """Images of a split through every step."""

    heading: str
    about: str
    rows: Mapping[str, Sequence[Row]]
    """Heading -> rows; empty where no step made a picture."""


def _gallery(
    split: str,
    config: Report,
    runtime: StageRuntime,
    index: ImageIndex,
    steps: Sequence[Step],
    evaluations: Sequence[Evaluated],
    truth: GroundTruth | None,
) -> Gallery:
    """The images of a split, worst and best; evenly spaced ones where nothing was measured."""
    final = final_evaluation(evaluations, split, delivered_segmenter(steps))
    scores = final.image_scores if final else {}
    part = index.split(split)
    columns = gallery_columns(steps, evaluations, truth, split)
    chosen = choose_images(part.ids, scores, config.images)
    rows = {
        title: gallery_rows(part, ids, columns, scores, side=config.thumbnail, threads=runtime.threads)
        for title, ids in zip(("Worst", "Best" if scores else "Evenly spaced"), chosen, strict=True)
    }
    about = f"Chosen by their own mean IoU in: {final.title}. Below a step stands its own." if final else ""
    heading = "Training images through every step" if split == "train" else "Validation images"
    return Gallery(heading, about, rows if any(rows.values()) else {})


def _write_results(out: Path, evaluations: Sequence[Evaluated]) -> None:
    """One row an evaluated step, as JSON and CSV."""
    head = ("title", "kind", "split", "images")
    figures = [name for name in FIGURES if any(name in e.summary for e in evaluations)]
    rows = [
        {"step": e.name, **{k: e.scores[k] for k in head}, "title": e.title, **{k: e.summary.get(k) for k in figures}}
        for e in evaluations
    ]
    write_json(out / "results.json", rows)
    write_table(out / "results.csv", [list(row.values()) for row in rows], ["step", *head, *figures])
