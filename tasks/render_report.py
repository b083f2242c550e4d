"""One self-contained page: figures of every step, curves, and the same images through every step.

Reads   dataset                    the index
        masks                      the truth, to show it, where there is one
        <any other node>           pictures, losses.csv, scores.json, manifest.json
Writes  report.html                the page
        results.json, results.csv  the figures of the evaluated steps

The page needs no network and runs no script.  Like `evaluate` it stands on the side of measuring: it is given the masks
to show them, and nothing that trains reads what it writes.

It tells how long the stages took, so its bytes differ between two runs that made everything anew; nothing depends
on it.
"""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tag2mask.configs.schema import Report, ReportOf
from tag2mask.tasks.dataset.ground_truth import GroundTruth
from tag2mask.tasks.dataset.image_index import ImageIndex
from tag2mask.tasks.dataset.provenance import Provenance
from tag2mask.tasks.report import page as html
from tag2mask.tasks.report.charts import Curve, class_bars, curve_chart, legend, smoothed, thinned
from tag2mask.tasks.report.gallery import choose_images, gallery_columns, gallery_rows
from tag2mask.tasks.report.steps import Evaluated, Step, read_evaluations, read_steps
from tag2mask.tasks.store.files import write_file, write_json
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
)
"""Columns of the tables of results."""
RESULTS_NOTE = (
    "Mean IoU over the classes, background among them, in points of 100. An ignored pixel counts as missed; “labeled "
    "only” leaves such pixels out, “as background” takes them for background. "
    "Class maps stand at their best background threshold, which is chosen on the masks."
)
MAPS = ("predict_prior", "predict_saliency", "predict_cosaliency")
"""Stages whose maps have masks behind them, or none."""
UNMEASURED = "There are no ground-truth masks to measure against: the page shows pictures only."


def run(
    config: Report,
    out: Path,
    runtime: StageRuntime,
    *,
    dataset: Path,
    masks: Path | None = None,
    **inputs: Path,
) -> None:
    """Render the page.

    Args:
        config: sizes.
        out: folder to write to.
        runtime: threads and progress.
        dataset: `index_dataset` artifact.
        masks: `index_masks` artifact, where the dataset has masks.
        inputs: all other artifacts, by the name of their node with `_` for `-`.  What is absent is not shown.
    """
    index = ImageIndex.read(dataset)
    truth = None if masks is None else GroundTruth.read(masks)
    indexed = {"index_dataset": dataset, **({"index_masks": masks} if masks else {})}
    steps = read_steps({**indexed, **inputs})
    evaluations = read_evaluations(steps)
    title = config.title if isinstance(config, ReportOf) else "tag2mask"
    measured = [evaluated for evaluated in evaluations if evaluated.measured]
    note = RESULTS_NOTE if measured else ""
    sections = [
        _header(title, index, steps, measured),
        html.section("Results", html.results_tables(measured) or html.note(UNMEASURED), about=note),
        html.section("IoU by class", _class_cards(index, measured)),
        html.section("Class maps over thresholds", _threshold_chart(measured)),
        html.section("Losses", html.chart_cards(_loss_charts(steps)), about="Pale: every step. Strong: running mean."),
        *(_gallery(split, config, runtime, index, steps, measured, truth) for split in ("train", "val")),
        html.section("Stages", html.stages_table(steps)),
    ]
    text = html.page(title, sections)
    write_file(out / "report.html", lambda file: file.write(text.encode()))
    _write_results(out, evaluations)
    runtime.progress(1, 1)


def _header(title: str, index: ImageIndex, steps: Sequence[Step], evaluations: Sequence[Evaluated]) -> str:
    """Numbers of images and classes, the last labels' and the last segmenter's mean IoU, and the time in all."""
    facts = {
        "training images": str(len(index.split("train"))),
        "validation images": str(len(index.split("val"))),
        "classes": str(len(index.classes)),
    }
    for key, split in (("mIoU of the final labels", "train"), ("mIoU of the final segmenter", "val")):
        final = final_evaluation(evaluations, split)
        if final is not None:
            facts[key] = html.points(final.summary["miou"])
    facts["computing time"] = html.duration(sum(step.manifest["seconds"] for step in steps))
    versions: dict[str, Any] = {}
    for step in steps:
        versions |= step.manifest.get("versions", {})
    seeds = sorted({step.seed for step in steps if step.seed is not None})
    notes = [html.note(told) for told in _provenance(steps)]
    return "\n".join([html.header(title, {k: v for k, v in facts.items() if v != "0"}, versions, seeds), *notes])


def _provenance(steps: Sequence[Step]) -> list[str]:
    """Which masks are behind the saliency maps, each answer once."""
    made = [step.folder for step in steps if step.stage in MAPS]
    return list(dict.fromkeys(str(Provenance.read(folder, otherwise="unknown")) for folder in made))


def final_evaluation(evaluations: Sequence[Evaluated], split: str) -> Evaluated | None:
    """The last labels (train) or the last segmenter without CRF (val)."""
    kind = "labels" if split == "train" else "segmenter"
    found = [e for e in evaluations if e.name.startswith(f"{kind}_") and not e.name.endswith("_crf")]
    return found[-1] if found else None


def _class_cards(index: ImageIndex, evaluations: Sequence[Evaluated]) -> str:
    """Bars of CAM, OA-CAM, first and last labels, and the last segmenter on validation."""
    labels = [e for e in evaluations if e.name.startswith("labels_")]
    wanted = [e for e in evaluations if e.name in ("cams", "attention")] + labels[:1] + labels[1:][-1:]
    segmenter = final_evaluation(evaluations, "val")
    series = wanted + ([segmenter] if segmenter else [])
    figures = {e.title: e.class_iou() for e in series}
    names = ("background", *index.classes)
    bars = {name: class_bars({title: iou.get(name) for title, iou in figures.items()}) for name in names if series}
    return html.class_cards(names, series, bars)


def _threshold_chart(evaluations: Sequence[Evaluated]) -> str:
    """Mean IoU of the class maps over the background threshold, the best one marked."""
    maps = [e for e in evaluations if e.scores["kind"] == "class_maps"]
    if not maps:
        return ""
    curves = [
        Curve(e.title, np.array(e.scores["thresholds"]), 100 * np.array(e.scores["curve"], dtype=float)) for e in maps
    ]
    chart = curve_chart(curves, "background threshold", "mIoU", marks=[int(curve.y.argmax()) for curve in curves])
    return legend([curve.name for curve in curves]) + html.chart_cards({"mIoU": chart})


def _loss_charts(steps: Sequence[Step]) -> dict[str, str]:
    """One chart a training that has `losses.csv`; steps whose loss is no number are left out of the curve."""
    charts = {}
    for step in steps:
        path = step.folder / "losses.csv"
        if step.stage.startswith("train_") and path.exists():
            table = pd.read_csv(path)
            table = table[np.isfinite(table["loss"])]
            if len(table) > 0:
                raw = Curve(step.name, table["step"].to_numpy(float), table["loss"].to_numpy(float))
                smooth = thinned(smoothed(raw), CURVE_POINTS)
                charts[step.name] = curve_chart([smooth], "step", "loss", raw=thinned(raw, CURVE_POINTS), first_color=1)
    return charts


def _gallery(
    split: str,
    config: Report,
    runtime: StageRuntime,
    index: ImageIndex,
    steps: Sequence[Step],
    evaluations: Sequence[Evaluated],
    truth: GroundTruth | None,
) -> str:
    """The images of a split, worst and best; evenly spaced ones where nothing was measured."""
    final = final_evaluation(evaluations, split)
    scores = final.image_scores if final else {}
    part, names = index.split(split), ("background", *index.classes)
    columns = gallery_columns(steps, evaluations, truth, split)
    parts = []
    chosen = choose_images(part.ids, scores, config.images)
    for title, ids in zip(("Worst", "Best" if scores else "Evenly spaced"), chosen, strict=True):
        rows = gallery_rows(part, ids, columns, scores, side=config.thumbnail, threads=runtime.threads)
        parts.append(html.gallery(title, rows, names, config.thumbnail))
    about = f"Chosen by their own mean IoU in: {final.title}. Below a step stands its own." if final else ""
    heading = "Training images through every step" if split == "train" else "Validation images"
    return html.section(heading, html.color_legend(names), *parts, about=about) if any(parts) else ""


def _write_results(out: Path, evaluations: Sequence[Evaluated]) -> None:
    """One row an evaluated step, as JSON and CSV."""
    head = ("title", "kind", "split", "images")
    figures = [name for name in FIGURES if any(name in e.summary for e in evaluations)]
    rows = [
        {"step": e.name, **{k: e.scores[k] for k in head}, "title": e.title, **{k: e.summary.get(k) for k in figures}}
        for e in evaluations
    ]
    write_json(out / "results.json", rows)
    text = io.StringIO()
    pd.DataFrame(rows, columns=["step", *head, *figures]).to_csv(text, index=False, lineterminator="\n")
    write_file(out / "results.csv", lambda file: file.write(text.getvalue().encode()))
