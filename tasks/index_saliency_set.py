"""The images and salient-object masks that the saliency network is trained on, checked and in one format.

Writes  images/<id>.<suffix>   the image's own bytes if it is upright 8-bit RGB, else its pixels as PNG
        masks/<id>.png         8-bit gray, 0 or 255, 255 = salient
        index.csv              image_id,file,width,height; one line an image, by id
        set_aside.csv          source,reason of what cannot be read
        items.json             id -> digest of image and mask
        provenance.json        which masks these are, as the settings say
        metrics.json           counts
"""

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from tag2mask.configs.schema import SaliencySet
from tag2mask.tasks.dataset.image_ids import checked_id
from tag2mask.tasks.dataset.images import ImageFiles, find_images, read_image
from tag2mask.tasks.dataset.ingest import (
    BadDataset,
    IngestedImage,
    ingest_all,
    look_alikes,
    named,
    take_image,
    write_set_aside,
)
from tag2mask.tasks.dataset.label_maps import SALIENT_ABOVE, write_gray
from tag2mask.tasks.dataset.provenance import Provenance
from tag2mask.tasks.dataset.tables import write_table, write_text_pairs
from tag2mask.tasks.store.digests import file_digest, json_digest
from tag2mask.tasks.store.files import write_json
from tag2mask.tasks.store.runtime import StageRuntime


def run(config: SaliencySet, out: Path, runtime: StageRuntime, *, images: Path, masks: Path) -> None:
    """Index a saliency set.

    Args:
        config: what a bad image does, and which masks these are; its paths are not used.
        out: folder of the result.
        runtime: threads and shard.
        images: folder of the images.
        masks: folder of `<id>.png`, the size of the upright image.

    Raises:
        BadDataset: an image without a mask or the other way round (before anything is copied), a mask of another
            size, or one whose values look like 0 and 1; or no image at all.
        BadImage: an image or mask cannot be read and `on_bad_image` is `error`.
    """
    image_files, _ = list_pairs(images, masks)
    take = partial(take_pair, masks=masks, maximum_megapixels=config.maximum_megapixels)
    records = ingest_all(image_files, take, out, runtime, skip=config.on_bad_image == "skip")
    aside = len(records.aside)
    if not (kept := records.count - aside):
        reason = records.aside[0].reason
        raise BadDataset(f"{images}: all {records.count} images were set aside as bad; the first: {reason}")
    rows = ((record.image_id, record.file, record.width, record.height) for record in records.kept())
    write_table(out / "index.csv", rows, ("image_id", "file", "width", "height"))
    write_set_aside(out, records.aside)
    write_text_pairs(out / "items.json", ((record.image_id, record.digest) for record in records.kept()))
    write_json(out / "metrics.json", {"images": kept, "set_aside": aside, "converted": records.converted})
    about = config.about or "a saliency set that saliency_set.about does not name"
    Provenance(about, config.shows_target_classes, kept).write(out)


def take_pair(
    image_id: str, image: Path, out: Path, *, masks: Path, maximum_megapixels: float
) -> tuple[IngestedImage, list[Path]]:
    """Check an image and its mask and write both, or none.

    Raises:
        BadImage: one of them cannot be read.
        BadDataset: they do not fit.
    """
    source = masks / f"{image_id}.png"
    mask = read_mask(source, maximum_megapixels=maximum_megapixels)
    record, paths = take_image(image_id, image, out, maximum_megapixels=maximum_megapixels)
    if mask.shape != (record.height, record.width):
        height, width = mask.shape
        raise BadDataset(f"{source}: is {width}x{height}, but {record.source} is {record.width}x{record.height}")
    target = write_gray(out / "masks" / f"{record.image_id}.png", mask)
    digest = json_digest([record.digest, file_digest(target)])
    return replace(record, digest=digest), [*paths, target]


def list_pairs(images: Path, masks: Path) -> tuple[ImageFiles, ImageFiles]:
    """Images and masks by id, of the same ids.

    Raises:
        BadDataset: one without the other, or nothing at all.
        BadTable: a file name that cannot be an id.
        FileNotFoundError: a folder is missing.
    """
    image_files, mask_files = find_images(images), find_images(masks, (".png",))
    faults = []
    bare = sorted(image_files.keys() - mask_files.keys())
    if bare:
        hint = look_alikes(masks, bare, mask_files.values())
        faults.append(f"{masks}: {len(bare)} images have no mask <id>.png{hint}: {named(bare)}; add or remove them")
    alone = sorted(mask_files.keys() - image_files.keys())
    if alone:
        hint = look_alikes(images, alone, image_files.values())
        faults.append(f"{images}: {len(alone)} masks have no image{hint}: {named(alone)}; add or remove them")
    if not image_files:
        faults.append(f"{images}: the saliency set is empty, there is no image")
    if faults:
        raise BadDataset("\n".join(faults))
    for image_id, path in image_files.items():
        checked_id(image_id, str(path))
    return image_files, mask_files


def read_mask(path: Path, *, maximum_megapixels: float) -> np.ndarray:
    """(H, W) uint8, 0 or 255: where the file is brighter than 127.

    Raises:
        BadImage: it cannot be read.
        BadDataset: it is not black, but nowhere brighter than 127, e.g. 0 and 1; or it has transparency or colors,
            which would hide what the mask says.
    """
    mask = read_image(path, maximum_megapixels=maximum_megapixels)
    if "transparent" in mask.converted:
        raise BadDataset(f"{path}: has transparency; a mask is 8-bit gray: save it without an alpha channel")
    if (mask.pixels != mask.pixels[..., :1]).any():
        raise BadDataset(f"{path}: has colors; a mask is 8-bit gray, 0 and 255: save it so, 255 where it is salient")
    gray = mask.pixels[..., 0]  # (H, W, 3) -> (H, W)
    if 0 < gray.max() <= SALIENT_ABOVE:
        raise BadDataset(
            f"{path}: its brightest value is {gray.max()}, so nothing would be salient; a mask is 0 and 255: "
            f"multiply it by {255 // int(gray.max())}"
        )
    return np.where(gray > SALIENT_ABOVE, 255, 0).astype(np.uint8)
