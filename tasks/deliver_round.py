"""Deliver the best round and not the last: its labels and the segmenter trained on them, chosen without masks.

Reads   dataset                the index: training images, and tagged images of the validation split
        labels_0 … labels_R    <id>.png, labels of each round
        model_0 … model_R      model folder of the segmenter trained on the labels of each round
        shown_0 … shown_R      labels/<id>.png, what that segmenter predicts for the validation split
Writes  <id>.png               the labels of the chosen round
        model.pt, model.json   its segmenter
        rounds.csv             tag precision, recall and F1 of each round; metrics.json, those of the chosen one

A round is as good as its segmenter's predictions of images kept aside agree with their tags (`tag_agreement`).  Tags
are what there is without masks, and they see the failure that labels of labels bring: one class taken for another.
"""

from collections.abc import Iterator
from pathlib import Path

from tag2mask.configs.schema import RoundChoice
from tag2mask.tasks.dataset.image_index import ImageIndex
from tag2mask.tasks.dataset.ingest import copy_file
from tag2mask.tasks.dataset.label_maps import CORRECTED_TABLE
from tag2mask.tasks.dataset.tables import write_table
from tag2mask.tasks.executors.images import process_images
from tag2mask.tasks.metrics.tag_agreement import best_round, measure_round
from tag2mask.tasks.store.files import write_json
from tag2mask.tasks.store.runtime import StageRuntime


def run(config: RoundChoice, out: Path, runtime: StageRuntime, *, dataset: Path, **rounds: Path) -> None:
    """Choose a round and write what it delivers.

    Raises:
        NothingKeptAside: no image of the validation split has a tag.
    """
    index = ImageIndex.read(dataset)
    count = sum(name.startswith("labels_") for name in rounds)
    rows = [measure_round(index, rounds[f"shown_{r}"], config.minimum_share) for r in range(count)]
    best = best_round([row["tag_f1"] for row in rows], config.minimum_gain)
    write_table(out / "rounds.csv", [{"round": r, **row, "delivered": r == best} for r, row in enumerate(rows)])
    for name in ("model.pt", "model.json"):
        copy_file(rounds[f"model_{best}"] / name, out / name)

    def process(image_ids: list[str]) -> Iterator[tuple[str, list[Path]]]:
        for image_id in image_ids:
            yield image_id, [copy_file(rounds[f"labels_{best}"] / f"{image_id}.png", out / f"{image_id}.png")]

    process_images(list(index.split("train").ids), out, process, runtime)
    if (corrected := rounds[f"labels_{best}"] / CORRECTED_TABLE).is_file():
        copy_file(corrected, out / corrected.name)
    write_json(out / "metrics.json", {"delivered_round": best, "last_round": count - 1, **rows[best]})
