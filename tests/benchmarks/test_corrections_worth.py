"""What corrections are worth: the mean IoU after more and more corrected images, chosen by `review` or at random.

The masks of a finished run of `configs/voc-mini.yaml`, or of other settings for the same images, stand for the person
who corrects.  Each row is a round of its own from the same labels 0: the corrected masks take their places, the
segmenter learns from them, and labels 1 follow.  The second segmenter of a run is left out, which halves the hours.

Both ways are measured on the same images: the validation images, and those training images that neither way ever
corrects.  `review` chooses all images at once, by the confidence of the finished run.

Environment  TAG2MASK_VOC_STORE   the store of the finished run (`artifacts`); it is only read
             TAG2MASK_VOC_RUN     its name (`voc-mini`)
             TAG2MASK_BENCHMARK   work folder (`artifacts/.benchmark`); rounds that lie there are taken over
Writes       corrections/corrections.csv, corrections/corrections.md
             corrections/features, gigabytes while it runs: of a backbone that is not trained, for all rounds
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from tag2mask.flows.dag.record import latest
from tag2mask.tasks.dataset.tables import write_table
from tests.benchmarks.correction_sets import WORK, Finished, Round, chosen_images, corrections_of
from tests.benchmarks.remembered_features import remembering

STORE = Path(os.environ.get("TAG2MASK_VOC_STORE", "artifacts"))
NAME = os.environ.get("TAG2MASK_VOC_RUN", "voc-mini")
COUNTS = (80, 40, 20, 10)
"""Corrected images; most first, so that an interrupted benchmark has shown the most."""


def rounds(run: Finished, images: dict[str, list[str]]) -> Iterator[tuple[int, str, Round]]:
    """(corrected images, way of choosing, round), the one without corrections first."""
    yield 0, "none", Round(run, [], WORK / "none")
    for count in COUNTS:
        for way, order in images.items():
            yield count, way, Round(run, order[:count], WORK / f"{way}_{count}")


def table(rows: list[dict[str, Any]]) -> str:
    """A Markdown table, a line a number of corrected images."""
    found = {(row["corrected"], row["chosen"]): row for row in rows}
    lines = ["| corrected | val, `review` | val, random | labels 1, `review` | labels 1, random |"]
    lines.append("|---:|---:|---:|---:|---:|")
    for count in (0, *reversed(COUNTS)):
        cells = [str(count)]
        for figure in ("val_miou", "labels_miou"):
            for way in ("review", "random"):
                row = found.get((count, way if count else "none"), {})
                cells.append(f"{row[figure]:.2f}" if figure in row else "–")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def keep(rows: list[dict[str, Any]], line: str) -> None:
    """Write the tables so far, and say what is new."""
    columns = ("corrected", "chosen", "val_miou", "labels_miou")
    write_table(WORK / "corrections.csv", [[row.get(column) for column in columns] for row in rows], columns)
    (WORK / "corrections.md").write_text(table(rows) + "\n", encoding="utf-8")
    print(line, flush=True)


@pytest.mark.benchmark
@pytest.mark.usefixtures("as_in_a_run")
def test_corrections_are_worth_their_work() -> None:
    """Eighty corrected images, however they are chosen, make a better segmenter than none."""
    record = latest(STORE, NAME)
    if record is None:
        pytest.skip(f"{STORE} holds no run of {NAME}; TAG2MASK_VOC_STORE and TAG2MASK_VOC_RUN name one")
    run = Finished.of(record, STORE.absolute())
    torch.set_num_threads(1)
    WORK.mkdir(parents=True, exist_ok=True)
    images = chosen_images(run, max(COUNTS))
    left_out = corrections_of(run, sorted({i for chosen in images.values() for i in chosen}), WORK / "left_out")
    rows = []
    with remembering(run.config.segmenter, WORK / "features"):
        for count, way, one in rounds(run, images):
            rows.append({"corrected": count, "chosen": way, "val_miou": one.validation_miou()})
            keep(rows, f"{count} by {way}: val {rows[-1]['val_miou']:.2f}")
        for row, (count, way, one) in zip(rows, rounds(run, images), strict=True):
            row["labels_miou"] = one.labels_miou(left_out)
            keep(rows, f"{count} by {way}: labels 1 {row['labels_miou']:.2f}")
    print(f"\n{table(rows)}")
    shutil.rmtree(WORK / "features", ignore_errors=True)
    found = {(row["corrected"], row["chosen"]): row["val_miou"] for row in rows}
    assert min(found[max(COUNTS), way] for way in images) > found[0, "none"]
