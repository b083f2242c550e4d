"""One map per image and tag: what the images that share the tag have in common (ICNet or GCoNet+).

Reads   dataset                         the index
        model                           model folder of `train_cosaliency`
        cams                            <id>.npz of CAM; where there is a gate
        saliency                        saliency/<id>.png; for `icnet`
Writes  cosaliency/<number>/<id>.png    (H, W) uint8, of the tag with this class number
        provenance.json                 which masks are behind the maps
        metrics.json                    groups, their references, and how often each tag stands alone

A group is made of a tag's images, those that show nothing else first: they speak for the tag.  Every image of
the tag is then looked at by itself, so that a group may have any size, and one is enough.  The references are drawn
several times, and the maps averaged.

Images are handed out in the order of their tags, so that a worker has few groups to look at.

A map depends on the whole group: nothing of it is taken over from an earlier result when images are added.
"""

import logging
from functools import partial
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from tag2mask.configs.errors import UserError
from tag2mask.configs.schema import Cosaliency, CosaliencyMaps
from tag2mask.tasks.algorithms.tag_groups import cooccurrence, reference_sets, warn_of_tags_never_alone
from tag2mask.tasks.dataset.class_maps import read_class_maps
from tag2mask.tasks.dataset.image_index import ImageIndex, ImageRecord
from tag2mask.tasks.dataset.images import resize
from tag2mask.tasks.dataset.label_maps import read_gray, write_gray
from tag2mask.tasks.dataset.provenance import SILENT_MODEL, Provenance
from tag2mask.tasks.executors.images import process_in_parallel
from tag2mask.tasks.executors.work import Process, one_by_one
from tag2mask.tasks.networks.factory import load_for_inference
from tag2mask.tasks.networks.model_folder import cosaliency_settings
from tag2mask.tasks.networks.tensors import to_batch
from tag2mask.tasks.store.files import write_json
from tag2mask.tasks.store.runtime import StageRuntime
from tag2mask.tasks.systems.group_system import Consensus, GroupNetwork
from tag2mask.tasks.systems.registry import cosaliency_network

log = logging.getLogger("tag2mask")
LISTED = 10
"""Faulty ids that an error message lists."""


class MissingMaps(UserError, ValueError):
    """Images lack a saliency map or class maps; the message lists the ids."""


def references_of(index: ImageIndex, config: CosaliencyMaps) -> dict[int, list[tuple[int, ...]]]:
    """Class number -> positions in an index of the images that speak for it, once per regrouping."""
    tags = [record.tags for record in index]
    counts = cooccurrence(tags, len(index.classes))
    return {
        number: reference_sets(
            tags,
            number,
            references=config.references,
            regroupings=config.regroupings,
            seed=config.seed,
            counts=counts,
        )
        for number in sorted({number for own in tags for number in own})
    }


class Groups:
    """The groups of an index: prepared images, and what each tag's references agree on."""

    def __init__(
        self,
        network: GroupNetwork,
        index: ImageIndex,
        config: CosaliencyMaps,
        *,
        side: int,
        saliency: Path | None,
        device: str,
    ) -> None:
        self._network, self._index, self._side, self._device = network, index, side, device
        self._saliency = saliency
        self.references = references_of(index, config)
        self._agreed: dict[int, list[Consensus]] = {}

    def prepare(self, record: ImageRecord) -> tuple[Any, Tensor]:
        """An encoded image, and its saliency (1, 1, S, S) in [0, 1] (zero for a network without need)."""
        size = (self._side, self._side)
        encoded = self._network.encode(to_batch([resize(self._index.pixels(record), size)], self._device))
        gray = np.zeros(size, np.uint8)
        if self._saliency is not None:
            gray = resize(read_gray(self._saliency / "saliency" / f"{record.image_id}.png"), size)
        return encoded, torch.from_numpy(gray)[None, None].to(self._device).float() / 255  # (S, S) -> (1, 1, S, S)

    def agreed(self, number: int) -> list[Consensus]:
        """What the references of a tag agree on, once per regrouping; worked out when first asked for."""
        if number not in self._agreed:
            sets = self.references[number]
            described = {
                position: self._network.describe(*self.prepare(self._index.records[position]))
                for position in sorted({position for one in sets for position in one})
            }
            self._agreed[number] = [
                self._network.consensus([torch.cat(parts) for parts in zip(*(described[p] for p in one), strict=True)])
                for one in sets
            ]
        return self._agreed[number]

    def maps(self, record: ImageRecord, which: str) -> dict[int, Tensor]:
        """Class number -> map (1, 1, S, S) of an image, averaged over the regroupings."""
        encoded, saliency = self.prepare(record)
        size = (self._side, self._side)
        found = {}
        for number in record.tags:
            pairs = [self._network.maps(encoded, saliency, one, size) for one in self.agreed(number)]
            found[number] = torch.stack([soft if which == "soft" else hard for soft, hard in pairs]).mean(0)
        return found


def run(
    config: CosaliencyMaps,
    out: Path,
    runtime: StageRuntime,
    *,
    split: Literal["train", "val"] = "train",
    dataset: Path,
    model: Path,
    cams: Path | None = None,
    saliency: Path | None = None,
) -> None:
    """Write the maps of all images of the split that are not done yet; the groups are made of them alone.

    Raises:
        MissingMaps: an image lacks its saliency or class maps, before anything is done.
        ValueError: an input that the settings need is not given.
    """
    index = ImageIndex.read(dataset).split(split)
    settings = cosaliency_settings(model)
    _check_inputs(config, settings, index, cams, saliency)
    shares = warn_of_tags_never_alone([record.tags for record in index], index.classes)
    needed = saliency if settings.reads_saliency else None
    provenance = Provenance.read(model, otherwise=SILENT_MODEL)
    if needed is not None:
        behind = Provenance.read(needed, otherwise="saliency maps that say nothing of them")
        _warn_of_other_saliency(provenance, behind)
        provenance = provenance.beside(behind)
    by_tags = sorted(index, key=lambda record: (record.tags, record.image_id))
    work = partial(
        open_work, config=config, out=out, split=split, dataset=dataset, model=model, cams=cams, saliency=needed
    )
    process_in_parallel([record.image_id for record in by_tags], out, work, runtime, network=True)
    provenance.write(out)
    references = references_of(index, config)
    counts = {index.classes[number - 1]: [len(one) for one in sets] for number, sets in references.items()}
    metrics = {"images": len(index), "references": counts, "alone_share": dict(shares)}
    write_json(out / "metrics.json", {**metrics, **provenance.as_metrics()})


def open_work(
    device: str,
    *,
    config: CosaliencyMaps,
    out: Path,
    split: str,
    dataset: Path,
    model: Path,
    cams: Path | None,
    saliency: Path | None,
) -> Process:
    """What a worker does: it loads the network once, and looks at the references of a tag once."""
    index, settings = ImageIndex.read(dataset).split(split), cosaliency_settings(model)
    network = cosaliency_network(settings)
    load_for_inference(model, network, device)
    reader = cast(GroupNetwork, network)
    groups = Groups(reader, index, config, side=settings.image_size, saliency=saliency, device=device)
    records = {record.image_id: record for record in index}

    def predict(image_id: str) -> list[Path]:
        record, paths = records[image_id], []
        with torch.inference_mode():
            maps = groups.maps(record, config.map)
        gates = _gates(cams, record, config.gate)
        for number, small in maps.items():
            large = F.interpolate(small, size=record.size, mode="bilinear", align_corners=False)[0, 0]
            gray = (large.cpu().numpy() * gates.get(number, 1.0) * 255).round().clip(0, 255).astype(np.uint8)
            paths.append(write_gray(out / "cosaliency" / str(number) / f"{image_id}.png", gray))
        return paths

    return one_by_one(predict)


def _gates(cams: Path | None, record: ImageRecord, gate: float) -> dict[int, np.ndarray]:
    """Class number -> factor (H, W) in [0, 1] on its map; empty without a gate."""
    if cams is None or gate == 0:
        return {}
    maps, numbers = read_class_maps(cams / f"{record.image_id}.npz", record.size)
    return {number: np.minimum(plane / gate, 1) for number, plane in zip(numbers.tolist(), maps, strict=True)}


def _warn_of_other_saliency(model: Provenance, maps: Provenance) -> None:
    """A system is to see maps of the kind that it learned with."""
    if not set(maps.trainings()) <= set(model.trainings()):
        learned = "; ".join(one.masks for one in model.trainings())
        given = "; ".join(one.masks for one in maps.trainings())
        log.warning(
            "it learned with saliency from other masks (%s) than those behind the maps that it is given (%s); "
            "train it on this provider's maps",
            learned,
            given,
        )


def _check_inputs(
    config: CosaliencyMaps, settings: Cosaliency, index: ImageIndex, cams: Path | None, saliency: Path | None
) -> None:
    """Refuse to start without all that will be read."""
    wanted = []
    if settings.reads_saliency:
        why = f"{settings.provider} needs single-image saliency"
        wanted.append(("saliency", saliency, "saliency/{}.png", why))
    if config.gate > 0:
        wanted.append(("cams", cams, "{}.npz", f"cosaliency_maps.gate {config.gate:g} needs class maps; 0 is no gate"))
    for name, folder, pattern, why in wanted:
        if folder is None:
            raise ValueError(f"predict_cosaliency was not given {name}: {why}")
        lacking = [image_id for image_id in index.ids if not (folder / pattern.format(image_id)).is_file()]
        if lacking:
            more = ", ..." if len(lacking) > LISTED else ""
            raise MissingMaps(
                f"{folder}: {len(lacking)} of {len(index)} images have no {pattern.format('<id>')}: "
                f"{', '.join(lacking[:LISTED])}{more}"
            )
