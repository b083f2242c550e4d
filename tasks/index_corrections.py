"""Masks that people corrected, checked against the images that they were made for.

Reads   dataset           the index
        corrections       folder of corrected masks, see `corrections.folder`
Writes  <id>.png          (H, W) uint8 palette: 0 background, 1..C class of the dataset, 255 ignore
        corrections.csv   image_id,source,taken of each
        metrics.json      how many

They take the place of labels in every round (`apply_corrections`), and their images are left out by `evaluate`: what
people drew is no ground truth to measure by, and would flatter the labels that it was put into.
"""

from pathlib import Path

import numpy as np

from tag2mask.configs.sections.section import Section
from tag2mask.tasks.corrections.folder import BadCorrection, Correction, CorrectionFolder, renumbering
from tag2mask.tasks.dataset.image_index import ImageIndex, ImageRecord
from tag2mask.tasks.dataset.images import image_digest
from tag2mask.tasks.dataset.ingest import named
from tag2mask.tasks.dataset.label_maps import CORRECTED_TABLE, IGNORE, read_labels, write_labels
from tag2mask.tasks.dataset.tables import write_table
from tag2mask.tasks.store.digests import file_digest
from tag2mask.tasks.store.files import write_json
from tag2mask.tasks.store.runtime import StageRuntime


def run(config: Section, out: Path, runtime: StageRuntime, *, dataset: Path, corrections: Path) -> None:
    """Check and copy the corrections.

    Raises:
        BadCorrection: one of an image that is not trained on, or has changed since; a mask of another size, or with a
            class that the dataset does not have.  All such images are counted, and ten are named.
    """
    index, folder = ImageIndex.read(dataset), CorrectionFolder.read(corrections)
    _check_images(index, folder)
    records = {record.image_id: record for record in index}
    numbers = renumbering(folder.classes, index.classes)
    faults, masks = [], {}
    for image_id, correction in folder.corrections.items():
        try:
            masks[image_id] = _mask(index, records[image_id], folder, correction, numbers)
        except BadCorrection as error:
            faults.append(str(error))
    if faults:
        raise BadCorrection(f"{corrections}: {named(faults, between=chr(10) + '  ')}")
    for image_id, mask in masks.items():
        write_labels(out / f"{image_id}.png", mask)
    rows = [(one.image_id, one.source, one.taken) for one in folder.corrections.values()]
    write_table(out / CORRECTED_TABLE, rows, ("image_id", "source", "taken"))
    write_json(out / "metrics.json", {"corrected": len(masks), "images": len(index.split("train"))})


def _check_images(index: ImageIndex, folder: CorrectionFolder) -> None:
    """Refuse corrections of images that the dataset does not train on."""
    splits = {record.image_id: record.split for record in index}
    unknown = [image_id for image_id in folder.corrections if image_id not in splits]
    aside = [image_id for image_id in folder.corrections if splits.get(image_id, "train") != "train"]
    if unknown:
        raise BadCorrection(
            f"{folder.path}: {len(unknown)} corrected images are not in the dataset: {named(unknown)}; bring them "
            "back, or delete their masks and lines"
        )
    if aside:
        raise BadCorrection(
            f"{folder.path}: {len(aside)} corrected images are kept aside to measure: {named(aside)}; delete their "
            "masks and lines, or take the images out of dataset.val_split"
        )


def _mask(
    index: ImageIndex, record: ImageRecord, folder: CorrectionFolder, correction: Correction, numbers: np.ndarray
) -> np.ndarray:
    """(H, W) uint8 of a correction, in the numbers of the dataset.

    Raises:
        BadCorrection: the image has changed, or the mask does not fit it.
    """
    path, image = folder.path / f"{record.image_id}.png", index.folder / record.file
    noted = correction.image_sha256
    if noted != image_digest(image) and noted != file_digest(image):  # the latter is what earlier versions noted
        raise BadCorrection(
            f"{record.image_id}: the image has changed since its mask was corrected; correct it again, or delete "
            f"{path.name} and its line"
        )
    try:
        mask = read_labels(path)
    except ValueError as error:
        raise BadCorrection(str(error)) from error
    if mask.shape != record.size:
        raise BadCorrection(f"{path}: is {mask.shape[1]}x{mask.shape[0]}, its image {record.width}x{record.height}")
    names = {0: "", IGNORE: "", **dict(enumerate(folder.classes, start=1))}
    for number in np.unique(mask).tolist():
        if number not in names or (numbers[number] == IGNORE and number != IGNORE):
            raise BadCorrection(
                f"{path}: has the class {names.get(number, number)!r}, which the dataset does not have; tag an image "
                "with it, or correct the mask again"
            )
    return np.asarray(numbers[mask])
