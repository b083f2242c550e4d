"""A folder of images with tags, and its index."""

import csv
import json
from pathlib import Path
from typing import Any

from tag2mask.configs.schema import Dataset
from tag2mask.tasks import index_dataset
from tag2mask.tasks.store.runtime import StageRuntime

TAGS = {"a": "cat", "b": "dog", "c": "dog cat", "d": "cat", "e": "dog"}


IN_PAIRS = StageRuntime(shard=2)


def index(raw: Path, name: str = "out", runtime: StageRuntime = IN_PAIRS, **settings: Any) -> Path:
    """Index a folder; `train`, `val` and `test` stand for ids to write to the split files."""
    out = raw.parent / name
    splits = {}
    for split in ("train", "val", "test"):
        if split in settings:
            splits[f"{split}_split"] = raw / f"{split}.txt"
            splits[f"{split}_split"].write_text("\n".join(settings.pop(split)))
    tags = raw / settings.pop("tags", "labels.csv")
    config = Dataset(**{"root": raw, "maximum_megapixels": 10.0, **settings})
    index_dataset.run(config, out, runtime, images=raw / "photos", tags=tags, **splits)
    return out


def table(path: Path) -> list[dict[str, str]]:
    """Lines of a CSV file."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def metrics(out: Path) -> dict[str, Any]:
    """Counts of an index."""
    return json.loads((out / "metrics.json").read_text())  # type: ignore[no-any-return]
