"""Trains and measures every saliency system by the pipeline's own nodes, with one budget for all.

Work folder  held-out/, trained-on/   the two parts of the saliency set
             store/                   artifacts: an interrupted benchmark resumes, a second one only measures the time
             table.md, table.json     the result
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tag2mask.configs.load import load_config
from tag2mask.configs.schema import Config, Evaluation
from tag2mask.flows.dag.build import build_dag
from tag2mask.flows.dag.node import Node, select
from tag2mask.flows.dag.resolve import Resolved, resolve
from tag2mask.tasks import evaluate
from tag2mask.tasks.algorithms.background_prior import background_prior
from tag2mask.tasks.building.build import build
from tag2mask.tasks.dataset.class_maps import read_class_maps
from tag2mask.tasks.dataset.image_index import ImageIndex
from tag2mask.tasks.dataset.images import find_images
from tag2mask.tasks.dataset.label_maps import read_gray, write_gray, write_labels
from tag2mask.tasks.index_saliency_set import list_pairs, read_mask
from tag2mask.tasks.store.artifact import Artifact
from tag2mask.tasks.store.files import read_json
from tag2mask.tasks.store.runtime import StageRuntime
from tag2mask.tasks.store.store import Store
from tests.benchmarks.saliency_table import Row, budget, markdown
from tests.benchmarks.saliency_timing import group_predictor, lone_predictor, median_seconds, single_predictor

NETWORKS = ("reciprocal", "purnet")
GROUP_SYSTEMS = ("icnet", "gconet_plus")
EVERY = 5
"""One image in so many of the saliency set is held out, the first one among them."""


class Benchmark:
    """All systems with the settings of one file.

    Args:
        settings: its saliency section is everybody's budget; its dataset has tags, masks and a validation split.
        work: folder that is kept.
        runtime: resources.
        changes: to the settings, as on the command line.
        lender: store of a finished run, from which artifacts made of the same are copied.
    """

    def __init__(
        self,
        settings: Path,
        work: Path,
        runtime: StageRuntime,
        *,
        changes: Sequence[str] = (),
        lender: Path | None = None,
    ) -> None:
        self.settings, self.work, self.runtime, self.changes = settings, work.absolute(), runtime, tuple(changes)
        self.store = Store(self.work / "store")
        self.lender = None if lender is None else Store(lender)
        self.config = load_config(settings, self.changes)

    def run(self) -> list[Row]:
        """Train what is not trained yet, measure, and write the table."""
        held_out = self.part_saliency_set()
        print(f"held out, {len(held_out)} images: {' '.join(held_out)}", flush=True)
        rows = [self.single(provider) for provider in ("prior", *NETWORKS)]
        rows += [self.groups_of_one(provider) for provider in GROUP_SYSTEMS]
        groups = [row for provider in GROUP_SYSTEMS for row in self.groups(provider)]
        rows += sorted(groups, key=lambda row: row.system not in ("reciprocal", "reciprocal, gated"))
        table = markdown(rows, self.config, len(held_out))
        (self.work / "table.md").write_text(table, encoding="utf-8")
        reported = {"held_out": held_out, "budget": budget(self.config), "rows": [vars(row) for row in rows]}
        (self.work / "table.json").write_text(json.dumps(reported, indent=1) + "\n", encoding="utf-8")
        print(table, flush=True)
        return rows

    def part_saliency_set(self) -> list[str]:
        """Copy the two parts of the saliency set, unless they are there; returns the ids held out.

        The held-out part becomes a dataset of one tag, whose masks hold 0 and 1.
        """
        given = self.config.saliency_set
        assert given is not None
        images, masks = list_pairs(given.root / given.images, given.root / given.masks)
        held_out = sorted(images)[::EVERY]
        if (self.work / "parted").exists():
            assert sorted(find_images(self.work / "held-out" / "images")) == held_out, f"{self.work}: of another set"
            return held_out
        for name in ("held-out", "trained-on"):
            shutil.rmtree(self.work / name, ignore_errors=True)
            for kind in ("images", "masks"):
                (self.work / name / kind).mkdir(parents=True)
        for image_id, path in images.items():
            part = self.work / ("held-out" if image_id in held_out else "trained-on")
            shutil.copy(path, part / "images" / path.name)
            salient = read_mask(masks[image_id], maximum_megapixels=given.maximum_megapixels)
            if image_id in held_out:
                write_labels(part / "masks" / f"{image_id}.png", (salient > 0).astype(np.uint8))
            else:
                write_gray(part / "masks" / f"{image_id}.png", salient)
        lines = ["image_id,labels", *(f"{image_id},object" for image_id in held_out)]
        (self.work / "held-out" / "labels.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        (self.work / "parted").touch()
        return held_out

    def held_out(self, provider: str) -> Config:
        """Settings of a run whose images are those held out."""
        dataset = {"images": "images", "tags": "labels.csv", "masks": "masks", "train_split": "null"}
        changes = [f"dataset.root={self.work / 'held-out'}", f"saliency.provider={provider}", "dataset.val_split=null"]
        changes += ["deliver=last", "dataset.minimum_images=1"]  # the best round is chosen on a validation split
        changes += [f"dataset.{name}={value}" for name, value in dataset.items()]
        return self.configured(changes)

    def single(self, provider: str) -> Row:
        """Train on the one part, measure on the other."""
        config = self.held_out(provider)
        made = self.made(config, "evaluate-saliency")
        index = ImageIndex.read(made["index_dataset"].path)
        model = made.get("train_saliency")
        if model is None:
            seconds = median_seconds(lambda record: background_prior(index.pixels(record), config.prior), index)
            return Row("single", provider, figures_of(made["evaluate-saliency"]), seconds, 0, 0.0)
        predict, parameters = single_predictor(model.path, index, flip=config.saliency_maps.flip)
        seconds, trained = median_seconds(predict, index), model.manifest["seconds"]
        return Row("single", provider, figures_of(made["evaluate-saliency"]), seconds, parameters, trained)

    def groups_of_one(self, provider: str) -> Row:
        """A group system on the images held out, each of them a group by itself.

        It is the one that was trained without masks, on tags; `icnet` also reads the maps of `reciprocal`.
        """
        made = self.made(self.held_out("reciprocal"), "evaluate-saliency")
        trained = self.made(self.configured(self.group_settings(provider)), "train_cosaliency")["train_cosaliency"]
        saliency = made["predict_saliency"].path if provider == "icnet" else None
        index, folder = ImageIndex.read(made["index_dataset"].path), self.work / "groups-of-one"
        predict, parameters = lone_predictor(trained.path, index, self.config.cosaliency_maps, saliency)
        shutil.rmtree(folder, ignore_errors=True)
        for record in index:
            with torch.inference_mode():
                gray = (predict(record)[0, 0].numpy() * 255).round().clip(0, 255).astype(np.uint8)
            write_gray(folder / "saliency" / f"{record.image_id}.png", gray)
        arguments = {"kind": "saliency", "split": "train", "title": "groups of one"}
        given = {"dataset": made["index_dataset"].path, "masks": made["index_masks"].path, "subject": folder}
        evaluate.run(Evaluation(), folder / "scores", self.runtime, **arguments, **given)
        figures = dict(read_json(folder / "scores" / "metrics.json"))
        seconds = median_seconds(predict, index)
        return Row("single", f"{provider}, trained on tags", figures, seconds, parameters, trained.manifest["seconds"])

    def groups(self, provider: str) -> list[Row]:
        """Train without masks on the training images, measure on the groups by tag of the validation ones.

        Beside `icnet` stand the maps that it starts from: one and the same for every tag, and gated like its own.
        """
        config = self.configured(self.group_settings(provider))
        wanted = ["evaluate-cosaliency_val"]
        made = self.made(config, *wanted, *(["predict_saliency-val"] if provider == "icnet" else []))
        index = ImageIndex.read(made["index_dataset"].path).split("val")
        saliency_maps = made["predict_saliency-val"].path if provider == "icnet" else None
        predict, parameters = group_predictor(
            made["train_cosaliency"].path, index, config.cosaliency_maps, saliency_maps
        )
        seconds, trained = median_seconds(predict, index), made["train_cosaliency"].manifest["seconds"]
        rows = [Row("groups", provider, figures_of(made["evaluate-cosaliency_val"]), seconds, parameters, trained)]
        if saliency_maps is not None:
            for system, gate in (("reciprocal", 0.0), ("reciprocal, gated", config.cosaliency_maps.gate)):
                figures = self._same_map_for_every_tag(made, index, gate)
                rows.append(Row("groups", system, figures, None, 0, 0.0))
        return rows

    def group_settings(self, provider: str) -> list[str]:
        """Changes that give a group system everybody's budget."""
        size, saliency = budget(self.config)["batch_size"], self.config.saliency
        section = {
            "provider": provider,
            "backbone": saliency.backbone.model_dump() | {"output_stride": 16},
            "image_size": saliency.image_size,
            "iterations": saliency.iterations,
            "group_size": max(2, size // 2 if provider == "gconet_plus" else size),  # it takes two groups a step
        }
        return [f"cosaliency.{name}={json.dumps(value)}" for name, value in section.items()]

    def _same_map_for_every_tag(self, made: Mapping[str, Artifact], index: ImageIndex, gate: float) -> dict[str, float]:
        """Figures of single-image saliency as the map of each tag, times min(CAM / gate, 1) where there is a gate."""
        folder = self.work / "same-map"
        shutil.rmtree(folder, ignore_errors=True)
        for record in index:
            gray = read_gray(made["predict_saliency-val"].path / "saliency" / f"{record.image_id}.png")
            factors = {number: np.ones(record.size) for number in record.tags}
            if gate > 0:
                maps, numbers = read_class_maps(made["infer_cams-val"].path / f"{record.image_id}.npz", record.size)
                factors = {n: np.minimum(plane / gate, 1) for n, plane in zip(numbers.tolist(), maps, strict=True)}
            for number in record.tags:
                gated = (gray * factors[number]).round().astype(np.uint8)
                write_gray(folder / "cosaliency" / str(number) / f"{record.image_id}.png", gated)
        arguments = {"kind": "cosaliency", "split": "val", "title": "the same map for every tag"}
        given = {"dataset": made["index_dataset"].path, "masks": made["index_masks"].path, "subject": folder}
        evaluate.run(Evaluation(), folder / "scores", self.runtime, **arguments, **given)
        return dict(read_json(folder / "scores" / "metrics.json"))

    def configured(self, changes: Sequence[str]) -> Config:
        """The settings, but trained on one part of the saliency set, and with further changes."""
        parted = [f"saliency_set.root={self.work / 'trained-on'}", "saliency_set.images=images"]
        return load_config(self.settings, [*self.changes, *parted, "saliency_set.masks=masks", *changes])

    def made(self, config: Config, *names: str) -> dict[str, Artifact]:
        """These nodes and all that they need, built where they are not there; node -> artifact."""
        nodes = build_dag(config)
        chosen = {node.name for name in names for node in select(nodes, until=name)}
        known: dict[str, Artifact] = {}
        for node in nodes:
            if node.name not in chosen:
                continue
            resolved = resolve(node, known, self.store)
            found = self.store.find(resolved.recipe.stage, resolved.recipe.key) or self._borrowed(resolved)
            if found is None:
                print(f"{resolved.label}  {node.name}", flush=True)
            known[node.name] = found or build(resolved.order(self.store), self.runtime)
        return known

    def _borrowed(self, resolved: Resolved) -> Artifact | None:
        """A copy of the lender's artifact that was made of the same, if it has one."""
        recipe = resolved.recipe
        for lent in self.lender.artifacts(recipe.stage) if self.lender else []:
            theirs = lent.manifest["recipe"]
            if (theirs["version"], theirs["inputs"]) == (recipe.version, dict(recipe.inputs)) and same_settings(
                resolved.node, theirs["config"]
            ):
                place, copy = self.store.path_of(lent.stage, lent.key), self.work / "borrowed"
                if not place.is_dir():
                    shutil.rmtree(copy, ignore_errors=True)
                    shutil.copytree(lent.path, copy)
                    place.parent.mkdir(parents=True, exist_ok=True)
                    copy.rename(place)
                print(f"{lent.label}  {resolved.node.name}, as a finished run made it", flush=True)
                return self.store.find(lent.stage, lent.key)
        return None


def same_settings(node: Node, theirs: Mapping[str, Any]) -> bool:
    """Whether an artifact's settings are a node's; a setting that came later had its default."""
    fields = type(node.config).model_fields
    known = {name: field.get_default(call_default_factory=True) for name, field in fields.items()} | dict(theirs)
    return theirs.keys() <= node.hashed.keys() and all(known.get(name) == node.hashed[name] for name in node.hashed)


def figures_of(evaluation: Artifact) -> dict[str, float]:
    """All figures of an evaluation."""
    return dict(read_json(evaluation.path / "metrics.json"))
