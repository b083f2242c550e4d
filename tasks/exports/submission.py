"""Predictions of the test split for the evaluation server of PASCAL VOC.

    results/VOC2012/Segmentation/comp6_test_cls/<id>.png    8-bit palette PNG of the image's size, 0 background, 1..C

comp6 is VOC's competition for networks that have seen more than VOC's own images; pre-training on ImageNet is enough.
"""

import shutil
from pathlib import Path

from tag2mask.tasks.dataset.image_index import ImageIndex, ImageRecord
from tag2mask.tasks.dataset.ingest import named
from tag2mask.tasks.dataset.label_maps import read_labels
from tag2mask.tasks.dataset.tables import read_table
from tag2mask.tasks.dataset.whole_folder import made_whole
from tag2mask.tasks.exports.export_set import CannotExport

PLACE = Path("results", "VOC2012", "Segmentation", "comp6_test_cls")
"""Where the server looks for the predictions in an archive."""


def write_submission(index_test: Path, predictions: Path, out: Path) -> int:
    """Write the predictions; `tar czf results.tgz results` in `out` makes what the server takes.

    Args:
        index_test: `index_test` artifact.
        predictions: <id>.png of its images, as `refine_masks` writes them.
        out: folder to write; it must not exist, or be empty.

    Returns:
        The number of images.

    Raises:
        CannotExport: images of the test split were set aside or have no prediction (the server wants them all), or a
            prediction does not fit its image.
        FolderInTheWay: `out` is not empty.
        NoRoomOnDisk: nothing was written.
    """
    index = ImageIndex.read(index_test)
    _check_complete(index_test, predictions, index)
    with made_whole(out) as folder:
        (folder / PLACE).mkdir(parents=True)
        for record in index:
            path = predictions / f"{record.image_id}.png"
            _check_labels(path, record, len(index.classes))
            shutil.copyfile(path, folder / PLACE / path.name)
    return len(index)


def _check_complete(index_test: Path, predictions: Path, index: ImageIndex) -> None:
    """Refuse what would not be every image of the list."""
    aside = [row["source"] for row in read_table(index_test / "set_aside.csv")]
    if aside:
        raise CannotExport(f"{len(aside)} test images cannot be read and were set aside: {named(aside)}; mend them")
    missing = [image_id for image_id in index.ids if not (predictions / f"{image_id}.png").is_file()]
    if missing:
        raise CannotExport(f"{predictions}: {len(missing)} test images have no <id>.png: {named(missing)}")


def _check_labels(path: Path, record: ImageRecord, classes: int) -> None:
    """Refuse labels of another size than the image, or values that are no class."""
    labels = read_labels(path)
    if labels.shape != record.size:
        raise CannotExport(f"{path}: is {labels.shape}, but its image {record.file} is {record.size} (height, width)")
    if labels.max() > classes:
        raise CannotExport(f"{path}: has the value {labels.max()}; a prediction holds 0 and the classes 1..{classes}")
