"""The DAG of a run as data: which stages, with which settings, fed by what.  Nothing is run or read here."""

from pathlib import Path
from typing import Any

from tag2mask.configs.schema import Config, NodeFacts
from tag2mask.configs.sections.section import Section
from tag2mask.flows.dag.branches import add_cosaliency, add_indexes
from tag2mask.flows.dag.node import Node, Source
from tag2mask.flows.dag.node_list import NodeList

Round = tuple[str, str, str | None]
"""Nodes of a round: labels, the segmenter trained on them, and what that predicts for images kept aside."""


def build_dag(config: Config) -> tuple[Node, ...]:
    """All nodes of a run, every node after those that it needs."""
    return tuple(_Builder(config).build())


class _Builder:
    """Adds the nodes of a run in order."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.run = NodeList(config)
        self.saliency = ""
        """Node with the saliency maps of the training images."""
        self.saliency_model: Source | None = None
        """What predicts saliency; None for a folder of maps or a prior."""

    def build(self) -> list[Node]:
        add_indexes(self.run)
        if self.config.dataset.tags is None:  # nothing can be labeled
            self._saliency()
            return self.run.nodes
        self._class_maps(self._saliency_to_learn())
        if not self.saliency:
            self._saliency()
        add_cosaliency(self.run, self.saliency, self.saliency_model)
        self._labels()
        self._report()
        return self.run.nodes

    def _saliency_to_learn(self) -> str | None:
        """Node with the saliency that the class maps learn from, where the settings say so.

        It is the run's own; where that is learned with the help of class maps, it is the prior.
        """
        config = self.config
        if not (config.classifier.saliency_weight or (config.reads_attention and config.attention.saliency_weight)):
            return None
        if self.config.saliency.targets == "prior":
            return self._prior()
        self._saliency()
        return self.saliency

    def _class_maps(self, saliency: str | None) -> None:
        config, data = self.config, "index_dataset"
        name = "train_classifier"
        learned = saliency if config.classifier.saliency_weight else None
        self.run.train(name, name, config.classifier, dataset=data, saliency=learned)
        self.run.add("infer_cams", "infer_cams", config.cams, dataset=data, model="train_classifier")
        self.run.evaluate("cams", "infer_cams", "class_maps")
        if not config.reads_attention:
            return
        name, learned = "train_attention", saliency if config.attention.saliency_weight else None
        self.run.train(name, name, config.attention, dataset=data, classifier="train_classifier", saliency=learned)
        self.run.add("infer_attention", "infer_attention", config.attention_maps, dataset=data, model="train_attention")
        self.run.evaluate("attention", "infer_attention", "class_maps")

    def _saliency(self) -> None:
        saliency = self.config.saliency
        if saliency.provider == "prior" or saliency.targets == "prior":
            self.saliency = self._prior()
        if saliency.targets == "prior":
            self._train_saliency_without_masks()
        elif saliency.provider != "prior":
            model: Source | None = saliency.checkpoint
            if saliency.is_trained:
                model = self._train_saliency("train_saliency", saliency_set="index_saliency_set")
            self._predict_saliency("predict_saliency", model, saliency.maps if saliency.provider == "folder" else None)
        self.run.evaluate("saliency", self.saliency, "saliency")

    def _prior(self) -> str:
        """The node of the prior's maps, added where it is not there yet."""
        name = "predict_prior"
        if all(node.name != name for node in self.run.nodes):
            self.run.add(name, name, self.config.prior, dataset="index_dataset")
        return name

    def _train_saliency_without_masks(self) -> None:
        """Networks trained in turn on what the saliency so far and the CAMs agree on; the prior is the first."""
        data = "index_dataset"
        for r in range(1, self.config.saliency.self_training_rounds + 1):
            self.run.evaluate("prior" if r == 1 else f"saliency_{r - 1}", self.saliency, "saliency")
            targets = self.run.add(
                f"make_saliency_pseudo_labels-{r}",
                "make_saliency_pseudo_labels",
                self.config.self_training,
                facts=NodeFacts(title=f"targets {r}"),
                dataset=data,
                saliency=self.saliency,
                cams="infer_cams",
            )
            network = NodeFacts(title=f"saliency network {r}")
            model = self._train_saliency(f"train_saliency-{r}", network, dataset=data, targets=targets)
            self._predict_saliency(f"predict_saliency-{r}", model, facts=NodeFacts(title=f"saliency {r}"))

    def _train_saliency(self, name: str, facts: NodeFacts | None = None, **inputs: Any) -> str:
        """Whoever starts from a trained model reads no ImageNet weights."""
        settings = self.config.saliency
        if settings.start_from is not None:
            settings = settings.replaced(backbone=settings.backbone.replaced(weights="none"))
        return self.run.train(name, "train_saliency", settings, facts=facts, start=settings.start_from, **inputs)

    def _predict_saliency(
        self, name: str, model: Source | None, maps: Path | None = None, facts: NodeFacts | None = None
    ) -> None:
        self.saliency_model = None if maps else model
        self.saliency = self.run.add(
            name,
            "predict_saliency",
            self.config.saliency_maps,
            arguments={"provider": self.config.saliency.provider, "split": "train"},
            facts=facts,
            dataset="index_dataset",
            model=self.saliency_model,
            maps=maps,
        )

    def _initial_labels(self) -> str:
        """Labels 0."""
        config, facts = self.config, NodeFacts(title="labels 0")
        evidence: dict[str, Any] = {
            "dataset": "index_dataset",
            "saliency": self.saliency,
            "cams": "infer_cams",
        }
        if config.initial_labels == "cam_refinement":
            evidence["attention"] = "infer_attention" if config.reads_attention else None
            return self.run.add("refine_cams", "refine_cams", config.cam_refinement, facts=facts, **evidence)
        evidence["attention"] = "infer_attention"
        evidence["cosaliency"] = "predict_cosaliency" if config.mining.class_conditional else None
        return self.run.add("mine_objects", "mine_objects", config.mining, facts=facts, **evidence)

    def _labels(self) -> None:
        labels = first = self._corrected(0, self._initial_labels())
        guard = self.run.evaluate("labels_0", labels, "training_labels")
        model, scores, refined, rounds = None, "", "", list[Round]()
        for r in range(1, self.config.rounds + 1):
            model = self._segmenter(r, labels, guard, model, rounds)
            scores, refined = self._predict(NodeFacts(title=f"prediction {r}", round=r), f"{r}", model)
            self.run.evaluate(f"predictions_{r}", scores, "predictions")
            self.run.evaluate(f"refined_{r}", refined, "labels")
            rounds.append((labels, model, self._validate(r, model)))
            labels = self._corrected(r, self._next_labels(r, scores, refined, first, labels))
            guard = self.run.evaluate(f"labels_{r}", labels, "training_labels")
        last = self.config.rounds + 1
        model = self._segmenter(last, labels, guard, model, rounds)
        rounds.append((labels, model, self._validate(last, model)))
        if self.config.deliver == "best":
            labels = model = self._choose(rounds)
        self._measure(labels, scores, refined)
        self._predict_test(last, model)

    def _measure(self, labels: str, scores: str, refined: str) -> None:
        """What can be said of the delivered labels without masks."""
        evidence: dict[str, Any] = {"dataset": "index_dataset", "labels": labels, "cams": "infer_cams"}
        evidence |= {"saliency": self.saliency, "predictions": refined}
        r = self.config.rounds
        name, facts = "measure_labels", NodeFacts(title="signals", round=r)
        self.run.add(f"{name}-{r}", name, self.config.measurement, facts=facts, **evidence)
        name, facts = "measure_confidence", NodeFacts(title="confidence", round=r)
        rated = self.run.add(f"{name}-{r}", name, self.config.confidence, facts=facts, scores=scores, **evidence)
        self.run.evaluate("confidence", rated, "confidence", labels=labels)

    def _choose(self, rounds: list[Round]) -> str:
        """Labels and segmenter of the best of the rounds."""
        given: dict[str, Any] = {}
        for r, (labels, model, shown) in enumerate(rounds):
            given |= {f"labels_{r}": labels, f"model_{r}": model, f"shown_{r}": shown}
        facts = NodeFacts(title="delivered labels", round=self.config.rounds)
        name = "deliver_round"
        self.run.add(name, name, self.config.round_choice, facts=facts, dataset="index_dataset", **given)
        self.run.evaluate("delivered", name, "training_labels")
        return name

    def _next_labels(self, r: int, scores: str, refined: str, first: str, before: str) -> str:
        """Labels of round r: masked, as published, or fused with labels 0."""
        facts = NodeFacts(title=f"labels {r}", round=r)
        given: dict[str, Any] = {"facts": facts, "dataset": "index_dataset"}
        if self.config.next_labels == "fusion":
            return self.run.add(
                f"fuse_labels-{r}", "fuse_labels", self.config.fusion, scores=scores, labels=first, **given
            )
        given |= {"predictions": refined, "labels": before, "saliency": self.saliency}
        return self.run.add(f"mask_nonsalient-{r}", "mask_nonsalient", self.config.masking, **given)

    def _corrected(self, r: int, labels: str) -> str:
        """Labels of a round with the corrected masks in their places."""
        if self.run.corrections is None:
            return labels
        facts = NodeFacts(title=f"labels {r}, corrected", round=r)
        given: dict[str, Any] = {"labels": labels, "corrections": self.run.corrections}
        name = "apply_corrections"
        return self.run.add(f"{name}-{r}", name, Section(), facts=facts, dataset="index_dataset", **given)

    def _segmenter(
        self, number: int, labels: str, guard: tuple[str, ...], before: str | None, rounds: list[Round]
    ) -> str:
        """The segmenter of a round; `before` is that of the round before, which it may start from.

        Where the best round is delivered it looks at the rounds so far first, and ends the iteration if need be.
        """
        settings, choice = self.config.segmenter, self.config.round_choice
        judged: dict[str, Any] = {}
        if self.config.deliver == "best" and len(rounds) > 1:
            judged = {f"shown_{r}": shown for r, (_, _, shown) in enumerate(rounds)} | {"before": before}
        if number > 1:  # all images teach; and the setting of another round changes no key
            settings = settings.replaced(first_round_tags=None)
        return self.run.train(
            f"train_segmenter-{number}",
            "train_segmenter",
            settings,
            facts=NodeFacts(title=f"segmenter {number}", round=number),
            after=guard,
            dataset="index_dataset",
            labels=labels,
            classifier="train_classifier" if settings.start == "classifier" else None,
            segmenter=before if settings.start == "segmenter" else None,
            arguments=choice.model_dump() if judged else None,
            **judged,
        )

    def _validate(self, number: int, model: str) -> str | None:
        """Measure a segmenter on the validation images, without and with CRF; its predictions, where there are any."""
        if self.config.dataset.val_split is None:
            return None
        facts = NodeFacts(title=f"segmenter {number}", round=number, split="val")
        scores, refined = self._predict(facts, f"{number}-val", model)
        self.run.evaluate(f"segmenter_{number}_val", scores, "predictions")
        self.run.evaluate(f"segmenter_{number}_val_crf", refined, "labels")
        return scores

    def _predict_test(self, number: int, model: str) -> None:
        """What the delivered segmenter says of the test split, with CRF; there is nothing to measure it by."""
        if self.config.dataset.test_split is not None:
            facts = NodeFacts(title=f"segmenter {number}", round=number, split="test")
            self._predict(facts, f"{number}-test", model, "index_test")

    def _predict(self, facts: NodeFacts, ending: str, model: str, dataset: str = "index_dataset") -> tuple[str, str]:
        """What a segmenter predicts for a split, and the same after the CRF."""
        scores = self.run.add(
            f"predict_masks-{ending}",
            "predict_masks",
            self.config.prediction,
            arguments={"split": facts.split},
            facts=facts,
            dataset=dataset,
            model=model,
        )
        refined = self.run.add(
            f"refine_masks-{ending}",
            "refine_masks",
            self.config.refinement,
            facts=facts.replaced(title=f"{facts.title} + CRF", crf=True),
            dataset=dataset,
            scores=scores,
        )
        return scores, refined

    def _report(self) -> None:
        given = ("index_dataset", "index_masks", "index_test", "index_corrections")
        shown = {node.name: node for node in self.run.nodes if node.name not in given and node.facts.split != "test"}
        arguments = {"title": self.config.name, "nodes": {name: node.facts for name, node in shown.items()}}
        masks = "index_masks" if self.config.dataset.masks is not None else None
        inputs: dict[str, Any] = {name: name for name in shown} | {"corrections": self.run.corrections}
        name, config = "render_report", self.config.report
        self.run.add(
            name,
            name,
            config,
            arguments=arguments,
            dataset="index_dataset",
            masks=masks,
            **inputs,
        )
