"""Labels of a round in which corrected masks stand for the images that people corrected.

Reads   dataset           the index; its training images
        labels            <id>.png, the labels of the round
        corrections       <id>.png of `index_corrections`
Writes  <id>.png          the corrected mask where there is one, else the label map as it is
        corrections.csv   image_id,source,taken of the corrected ones

Every round goes through this, so that a correction is never replaced by what a segmenter makes of it.
"""

from collections.abc import Iterator
from pathlib import Path

from tag2mask.configs.sections.section import Section
from tag2mask.tasks.dataset.image_index import ImageIndex
from tag2mask.tasks.dataset.ingest import copy_file
from tag2mask.tasks.dataset.label_maps import CORRECTED_TABLE
from tag2mask.tasks.executors.images import process_images
from tag2mask.tasks.store.files import write_json
from tag2mask.tasks.store.runtime import StageRuntime


def run(config: Section, out: Path, runtime: StageRuntime, *, dataset: Path, labels: Path, corrections: Path) -> None:
    """Write the labels of all training images."""
    image_ids = list(ImageIndex.read(dataset).split("train").ids)
    corrected = {image_id for image_id in image_ids if (corrections / f"{image_id}.png").is_file()}

    def process(shard: list[str]) -> Iterator[tuple[str, list[Path]]]:
        for image_id in shard:
            source = corrections if image_id in corrected else labels
            yield image_id, [copy_file(source / f"{image_id}.png", out / f"{image_id}.png")]

    process_images(image_ids, out, process, runtime)
    copy_file(corrections / CORRECTED_TABLE, out / CORRECTED_TABLE)
    write_json(out / "metrics.json", {"corrected": len(corrected), "images": len(image_ids)})
