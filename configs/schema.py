"""All settings of a run, one frozen section per stage.

What stands here can change a result and is hashed into the keys of the artifacts.  What the machine decides
(device, precision, threads) is `Runtime`, which is never hashed.  Validators compare fields; none of them opens a file.
"""

from typing import Literal

from pydantic import Field, model_validator

from tag2mask.configs.sections.class_maps import Activation, Attention, Classifier
from tag2mask.configs.sections.cosaliency import Cosaliency, CosaliencyMaps, PseudoTargets
from tag2mask.configs.sections.data import Dataset, SaliencySet
from tag2mask.configs.sections.labels import CamRefinement, Fusion, Masking, Mining, Refinement, RoundChoice
from tag2mask.configs.sections.networks import Backbone, GraphReasoning
from tag2mask.configs.sections.release import Confidence, Measurement, Release
from tag2mask.configs.sections.results import Evaluation, NodeFacts, Report, StepKind
from tag2mask.configs.sections.saliency import (
    Prediction,
    Prior,
    PurNet,
    PurNetPhase,
    Saliency,
    SelfTraining,
)
from tag2mask.configs.sections.section import Section
from tag2mask.configs.sections.segmentation import MaskPrediction, Segmenter

__all__ = [
    "Activation",
    "Attention",
    "Backbone",
    "CamRefinement",
    "Classifier",
    "Confidence",
    "Config",
    "Cosaliency",
    "CosaliencyMaps",
    "Dataset",
    "Evaluation",
    "Fusion",
    "GraphReasoning",
    "MaskPrediction",
    "Masking",
    "Measurement",
    "NodeFacts",
    "Mining",
    "Prediction",
    "Prior",
    "PseudoTargets",
    "PurNet",
    "PurNetPhase",
    "Refinement",
    "Release",
    "Report",
    "RoundChoice",
    "Saliency",
    "SaliencySet",
    "Segmenter",
    "SelfTraining",
    "StepKind",
]


class Config(Section):
    """A whole run."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)
    """Name of the run, used in listings and for its record; a file's name holds no more than 100 characters of it."""
    rounds: int = Field(default=1, ge=1)
    """Rounds of segmenter -> prediction -> labels; one more segmenter learns from the last.  Published: 1.  Where the
    best round is delivered (`deliver: best`), one that does not help ends the iteration."""
    dataset: Dataset
    """Images and tags."""
    saliency_set: SaliencySet | None = None
    """Images and salient-object masks; needed to train the saliency network on masks."""
    classifier: Classifier = Classifier()
    """train_classifier."""
    cams: Activation = Activation()
    """infer_cams."""
    attention: Attention = Attention()
    """train_attention."""
    attention_maps: Activation = Activation()
    """infer_attention."""
    saliency: Saliency = Saliency()
    """train_saliency."""
    prior: Prior = Prior()
    """predict_prior."""
    self_training: SelfTraining = SelfTraining()
    """make_saliency_pseudo_labels."""
    saliency_maps: Prediction = Prediction()
    """predict_saliency."""
    cosaliency: Cosaliency = Cosaliency()
    """train_cosaliency."""
    cosaliency_maps: CosaliencyMaps = CosaliencyMaps()
    """predict_cosaliency."""
    initial_labels: Literal["mining", "cam_refinement"] = "mining"
    """What makes labels 0: potential-object mining, as published; or class maps weighted by saliency with the
    dense CRF behind them, which needs the attention model only with `cam_refinement.attention` and takes a weak
    saliency better."""
    mining: Mining = Mining()
    """mine_objects."""
    cam_refinement: CamRefinement = CamRefinement()
    """refine_cams."""
    segmenter: Segmenter = Segmenter()
    """train_segmenter, in every round."""
    prediction: MaskPrediction = MaskPrediction()
    """predict_masks."""
    refinement: Refinement = Refinement()
    """refine_masks."""
    next_labels: Literal["masking", "fusion"] = "masking"
    """What makes the labels of the next round: non-salient region masking, as published; or the prediction fused
    with labels 0, so that what a segmenter has memorized does not replace the evidence from outside."""
    masking: Masking = Masking()
    """mask_nonsalient."""
    fusion: Fusion = Fusion()
    """fuse_labels."""
    deliver: Literal["last", "best"] = "last"
    """Round whose labels and segmenter a run delivers: the last, as published; or the best by the tags of the
    validation split, which needs no masks, and may be round 0, the labels that nothing was learned from."""
    round_choice: RoundChoice = RoundChoice()
    """deliver_round."""
    measurement: Measurement = Measurement()
    """measure_labels."""
    confidence: Confidence = Confidence()
    """measure_confidence."""
    evaluation: Evaluation = Evaluation()
    """evaluate."""
    report: Report = Report()
    """render_report."""
    release: Release = Release()
    """The gate before a release; no stage reads it."""

    @model_validator(mode="after")
    def _consistent(self) -> "Config":
        if self.saliency.is_trained and self.saliency.targets == "masks" and self.saliency_set is None:
            raise ValueError(
                f"provider {self.saliency.provider!r} needs saliency_set to train on, or saliency.checkpoint; "
                "without any masks, set saliency.targets to 'prior'"
            )
        if self.dataset.tags is None and self.dataset.masks is not None:
            raise ValueError("dataset.masks are compared by class, so they need dataset.tags")
        if self.dataset.tags is None and self.dataset.corrections is not None:
            raise ValueError("dataset.corrections are masks of classes, so they need dataset.tags")
        if self.dataset.tags is None and self.dataset.test_split is not None:
            raise ValueError("dataset.test_split is predicted by a segmenter, so it needs dataset.tags to train one")
        if self.dataset.tags is None and self.saliency.targets == "prior":
            raise ValueError(
                "saliency.targets 'prior' are made with CAMs, so they need dataset.tags; without tags saliency comes "
                "from masks to train on, a trained model, or provider 'prior'"
            )
        return self

    @model_validator(mode="after")
    def _maps_have_the_size_of_the_graph(self) -> "Config":
        """A graph that does not count the positions is asked for maps of the size that it was trained on."""
        asked = [("classifier", self.classifier, "cams", self.cams)]
        if self.reads_attention:
            asked.append(("attention", self.attention, "attention_maps", self.attention_maps))
        for trained, network, name, maps in asked:
            fixed = network.graph.enabled and not network.graph.normalize
            if fixed and (maps.scales != (1.0,) or maps.image_size != network.image_size):
                raise ValueError(
                    f"{trained}.graph.normalize is off, which ties the weights to maps of one size: "
                    f"{name}.image_size must be {network.image_size} and {name}.scales [1.0]"
                )
        return self

    @property
    def reads_attention(self) -> bool:
        """Whether labels 0 are made with the help of the integral attention model."""
        return self.initial_labels == "mining" or self.cam_refinement.attention

    @model_validator(mode="after")
    def _rounds_can_be_compared(self) -> "Config":
        if self.deliver == "best" and self.dataset.val_split is None:
            raise ValueError(
                "deliver 'best' compares the rounds on images kept aside: set dataset.val_split, or deliver to 'last'"
            )
        return self

    @model_validator(mode="after")
    def _starts_fit(self) -> "Config":
        """What starts from the classifier has its backbone."""
        backbone = self.classifier.backbone.name
        for name, other in (("attention", self.attention), ("segmenter", self.segmenter)):
            if other.start == "classifier" and other.backbone.name != backbone:
                raise ValueError(
                    f"{name}.start is 'classifier', whose backbone is {backbone!r}, but {name}.backbone.name is "
                    f"{other.backbone.name!r}: name the same backbone, or set {name}.start to 'backbone'"
                )
        learns = [bool(one.saliency_weight) for one in (self.classifier, self.attention)]
        if self.attention.start == "classifier" and learns[0] != learns[1]:
            raise ValueError(
                "attention.start is 'classifier', but with saliency_weight above 0 one of the two has a map of the "
                "background and the other has not: set it for both or for neither, or attention.start to 'backbone'"
            )
        return self

    @model_validator(mode="after")
    def _group_system_is_fed_and_used(self) -> "Config":
        group = self.cosaliency
        if group.provider != "none" and self.dataset.tags is None:
            raise ValueError(f"cosaliency.provider {group.provider!r} makes groups of tags, so it needs dataset.tags")
        if group.training_set is not None and (group.provider == "none" or group.checkpoint is not None):
            raise ValueError("cosaliency.training_set is read where a provider is trained: set one, and no checkpoint")
        if self.mining.class_conditional and group.provider == "none":
            raise ValueError(
                "mining.class_conditional needs maps by tag: set cosaliency.provider to 'icnet' or 'gconet_plus'"
            )
        if self.mining.class_conditional and self.initial_labels != "mining":
            raise ValueError(
                f"mining.class_conditional is read by mining, but initial_labels is {self.initial_labels!r}: "
                "set that to 'mining'"
            )
        return self
