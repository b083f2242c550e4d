"""Parts of the DAG that stand by themselves: what looks at the data, and what makes one map per image and tag."""

from pathlib import Path
from typing import Any, Literal

from tag2mask.configs.schema import Dataset, NodeFacts
from tag2mask.configs.sections.section import Section
from tag2mask.flows.dag.node import Source
from tag2mask.flows.dag.node_list import NodeList


def add_indexes(run: NodeList) -> None:
    """Add the nodes for images and tags, and for masks, test images and corrections where there are some."""
    data = run.config.dataset
    images, image_tree = _images(data)
    dataset = run.add(
        "index_dataset",
        "index_dataset",
        data,
        images=images,
        image_tree=image_tree,
        tags=data.root / data.tags if data.tags and not data.tags_are_folders else None,
        tag_names=data.root / data.tag_names if data.tag_names else None,
        train_split=data.root / data.train_split if data.train_split else None,
        val_split=data.root / data.val_split if data.val_split else None,
        test_split=data.root / data.test_split if data.test_split else None,
    )
    run.checks.append(dataset)
    if data.test_split is not None:
        _add_test(run, data, dataset)
    if data.masks is not None:
        masks = data.root / data.masks
        run.checks.append(run.add("index_masks", "index_masks", Section(), dataset=dataset, masks=masks))
    if data.corrections is not None:
        name, place = "index_corrections", data.root / data.corrections
        run.checks.append(run.add(name, name, Section(), dataset=dataset, corrections=place))
    if run.config.saliency.is_trained and run.config.saliency.targets == "masks":
        pairs = run.config.saliency_set
        assert pairs is not None  # the settings' own validation
        images, masks = pairs.root / pairs.images, pairs.root / pairs.masks
        name = "index_saliency_set"
        run.checks.append(run.add(name, name, pairs, images=images, masks=masks))


def _add_test(run: NodeList, data: Dataset, dataset: str) -> None:
    """Images to predict alone; a check, so that a list with faults does not come up after hours of training."""
    read: dict[str, Any] = {"on_bad_image": data.on_bad_image, "maximum_megapixels": data.maximum_megapixels}
    if data.tags_are_folders:
        read["tags_format"] = data.tags_format
    images, image_tree = _images(data)
    test_split, name = data.root / str(data.test_split), "index_test"
    given: dict[str, Any] = {"images": images, "image_tree": image_tree, "test_split": test_split}
    run.checks.append(run.add(name, name, Section(), arguments=read, dataset=dataset, **given))


def _images(data: Dataset) -> tuple[Path | None, Path | None]:
    """The images as a folder, or as a tree where the folders' names are tags."""
    path = data.root / data.images
    return (None, path) if data.tags_are_folders else (path, None)


def add_cosaliency(nodes: NodeList, saliency: str, saliency_model: Source | None) -> None:
    """Add the group system, its maps of the training images, and of the validation ones if they are measured.

    Args:
        nodes: of the run; `infer_cams` is among them.
        saliency: node with the saliency maps of the training images.
        saliency_model: what predicts saliency; None for a folder of maps or a prior.
    """
    config, data = nodes.config.cosaliency, nodes.config.dataset
    if config.provider == "none":
        return
    model: Source | None = config.checkpoint
    if model is None:
        tagged = config.training_set is None
        model = nodes.train(
            "train_cosaliency",
            "train_cosaliency",
            config,
            training_set=config.training_set,
            dataset="index_dataset" if tagged else None,
            saliency=saliency if tagged else None,
            cams="infer_cams" if tagged else None,
        )
    _predict(nodes, "train", model, saliency, "infer_cams")
    known = not config.reads_saliency or saliency_model is not None  # else of training images alone
    if data.val_split is not None and data.masks is not None and known:
        _predict(nodes, "val", model, *_validation_maps(nodes, saliency_model))


def _validation_maps(nodes: NodeList, saliency_model: Source | None) -> tuple[str | None, str | None]:
    """Saliency (for systems that read it) and CAM (for the gate alone) of the validation images."""
    config, data = nodes.config, "index_dataset"
    saliency = cams = None
    if config.cosaliency.reads_saliency:
        saliency = nodes.add(
            "predict_saliency-val",
            "predict_saliency",
            config.saliency_maps,
            arguments={"provider": config.saliency.provider, "split": "val"},
            facts=NodeFacts(title="saliency", split="val"),
            dataset=data,
            model=saliency_model,
        )
    if config.cosaliency_maps.gate > 0:
        cams = nodes.add(
            "infer_cams-val",
            "infer_cams",
            config.cams,
            arguments={"split": "val"},
            facts=NodeFacts(title="CAM", split="val"),
            dataset=data,
            model="train_classifier",
        )
    return saliency, cams


def _predict(
    nodes: NodeList, split: Literal["train", "val"], model: Source, saliency: str | None, cams: str | None
) -> None:
    config = nodes.config.cosaliency_maps
    ending = "" if split == "train" else "-val"
    name = nodes.add(
        f"predict_cosaliency{ending}",
        "predict_cosaliency",
        config,
        arguments={"split": split},
        facts=NodeFacts(title="co-saliency", split=split),
        dataset="index_dataset",
        model=model,
        saliency=saliency if nodes.config.cosaliency.reads_saliency else None,
        cams=cams if config.gate > 0 else None,
    )
    nodes.evaluate("cosaliency" if split == "train" else "cosaliency_val", name, "cosaliency")
