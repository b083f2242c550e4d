"""The part of the DAG that makes one map per image and tag; it is there only where a group system is chosen."""

from typing import Literal

from tag2mask.configs.schema import NodeFacts
from tag2mask.flows.dag.node import Source
from tag2mask.flows.dag.node_list import NodeList


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
