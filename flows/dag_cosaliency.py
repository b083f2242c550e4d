"""The part of the DAG that makes one map per photograph and tag; it is there only where a group system is chosen."""

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from tag2mask.configs.schema import ActivationOf, Config, CosaliencyMapsOf, SaliencyOf
from tag2mask.configs.section import Section
from tag2mask.flows.node import Source


class CosaliencyNodes:
    """Adds these nodes to those of a run; how a node is added is for the builder of the run to say."""

    config: Config
    saliency: str
    """Node with the saliency maps of the training photographs."""
    saliency_model: Source | None
    """What predicts saliency; None for a folder of maps or a prior."""

    def _add(
        self,
        name: str,
        stage: str,
        config: Section,
        *,
        hashed: Mapping[str, Any] | None = None,
        after: Iterable[str] = (),
        **inputs: Source | None,
    ) -> str:
        raise NotImplementedError

    def _train(self, name: str, stage: str, config: Any, after: Iterable[str] = (), **inputs: Source | None) -> str:
        raise NotImplementedError

    def _evaluate(
        self, title: str, subject: str, kind: Literal["cosaliency"], split: Literal["train", "val"] = "train"
    ) -> tuple[str, ...]:
        raise NotImplementedError

    def _cosaliency(self) -> None:
        """The group system, its maps of the training photographs, and of the validation ones if they are measured."""
        config, data = self.config.cosaliency, self.config.dataset
        if config.provider == "none":
            return
        model: Source | None = config.checkpoint
        if model is None:
            tagged = config.training_set is None
            model = self._train(
                "train_cosaliency",
                "train_cosaliency",
                config,
                training_set=config.training_set,
                dataset="index_dataset" if tagged else None,
                saliency=self.saliency if tagged else None,
                cams="infer_cams" if tagged else None,
            )
        self._predict_cosaliency("train", model, self.saliency, "infer_cams")
        known = config.provider != "icnet" or self.saliency_model is not None  # else of training photographs alone
        if data.val_split is not None and data.masks is not None and known:
            self._predict_cosaliency("val", model, *self._validation_maps())

    def _validation_maps(self) -> tuple[str | None, str | None]:
        """Saliency (for ICNet alone) and CAM (for the gate alone) of the validation photographs."""
        config, data = self.config, "index_dataset"
        saliency = cams = None
        if config.cosaliency.provider == "icnet":
            settings = SaliencyOf(**config.saliency_maps.model_dump(), provider=config.saliency.provider, split="val")
            name, model = "predict_saliency-val", self.saliency_model
            saliency = self._add(name, "predict_saliency", settings, dataset=data, model=model)
        if config.cosaliency_maps.gate > 0:
            activation = ActivationOf(**config.cams.model_dump(), split="val")
            cams = self._add("infer_cams-val", "infer_cams", activation, dataset=data, model="train_classifier")
        return saliency, cams

    def _predict_cosaliency(
        self, split: Literal["train", "val"], model: Source, saliency: str | None, cams: str | None
    ) -> None:
        config = self.config.cosaliency_maps
        name = "predict_cosaliency" if split == "train" else "predict_cosaliency-val"
        self._add(
            name,
            "predict_cosaliency",
            CosaliencyMapsOf(**config.model_dump(), split=split),
            dataset="index_dataset",
            model=model,
            saliency=saliency if self.config.cosaliency.provider == "icnet" else None,
            cams=cams if config.gate > 0 else None,
        )
        self._evaluate("cosaliency" if split == "train" else "cosaliency_val", name, "cosaliency", split)
