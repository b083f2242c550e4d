"""All settings of a run, one frozen section per stage.

What stands here can change a result and is hashed into the keys of the artifacts.  What cannot (device, threads,
workers) is `Runtime`, which is never hashed.  Validators compare fields; none of them opens a file.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from tag2mask.configs.section import Section

Share = Annotated[float, Field(ge=0, le=1)]
Precision = Literal["float32", "bfloat16"]
BackboneName = Literal["vgg16", "resnet18", "resnet50", "resnet101", "mobilenet_v2", "squeezenet1_1"]


class Dataset(Section):
    """The photographs, their tags and, for evaluation only, their masks.  Relative paths start at `root`."""

    root: Path
    """Folder of the dataset.  In a settings file a relative path starts at the file's own folder."""
    images: str = "images"
    """Folder of the photographs, `<id>.jpg|jpeg|png|webp|bmp|tif|tiff`, not searched below its first level."""
    tags: str = "labels.csv"
    """Table with the columns `image_id,labels` (labels separated by blanks), or a folder of VOC `<id>.xml` files."""
    train_split: str | None = None
    """Text file of ids, one a line: the photographs to train on and to label.  Without it: all that are tagged."""
    val_split: str | None = None
    """Text file of ids kept apart: the segmenter is evaluated on them.  Without it: none."""
    masks: str | None = None
    """Folder of ground-truth `<id>.png` (0 background, 1..C class, 255 void).  Read by evaluation and nothing else."""
    classes: tuple[str, ...] | None = None
    """Class names in the order of their numbers 1..C.  Without it: the tags that occur, in alphabetical order."""
    minimum_images: int = Field(default=2, ge=1)
    """Training photographs a class needs at least; one photograph cannot teach a class apart from its background."""
    on_bad_image: Literal["error", "skip"] = "error"
    """What an unreadable photograph does: end the run, or be set aside and listed while the rest goes on."""
    maximum_megapixels: float = Field(default=100.0, gt=0, le=178)
    """Photographs above this many megapixels (by their header, before decoding) count as bad: a decompression bomb."""


class SaliencySet(Section):
    """Photographs with masks of their salient objects, of any kind: what the saliency network is trained on."""

    root: Path
    """Folder of the set.  In a settings file a relative path starts at the file's own folder."""
    images: str = "images"
    """Folder of the photographs below `root`."""
    masks: str = "masks"
    """Folder of the masks `<id>.png` below `root`, 8-bit, above 127 = salient."""
    on_bad_image: Literal["error", "skip"] = "error"
    """What an unreadable photograph or mask does."""
    maximum_megapixels: float = Field(default=100.0, gt=0, le=178)
    """Photographs above this many megapixels count as bad."""


class Backbone(Section):
    """The convolutional trunk of a network."""

    name: BackboneName = "vgg16"
    """Architecture, as in torchvision."""
    output_stride: Literal[8, 16, 32] = 8
    """Pixels of the input per cell of the deepest feature map, in pixels; smaller sees finer and costs more."""
    weights: str = "none"
    """`none` (random), `torchvision` (its ImageNet weights, fetched by torchvision), or the path of a state dict."""
    freeze_batch_norm: bool = True
    """Keep the statistics and factors of the batch normalisation as they come; small batches estimate them badly."""


class GraphReasoning(Section):
    """The graph-based global reasoning unit before the class convolution."""

    enabled: bool = True
    """Whether the unit is there at all (an ablation turns it off)."""
    nodes: int = Field(default=64, ge=1)
    """Nodes of the graph."""
    states: int = Field(default=128, ge=1)
    """Channels of a node's state."""
    normalize: bool = False
    """Divide the projection by the number of cells; without it the weights fit one map size only."""
    blocker_init: Literal["one", "zero"] = "one"
    """Initial factor of the unit's last batch normalisation; `zero` starts as the identity."""


class Classifier(Section):
    """Training of the tag classifier, or of the integral attention model, which has the same trunk."""

    backbone: Backbone = Backbone()
    """Trunk."""
    head_convolutions: int = Field(default=3, ge=0)
    """Convolutions between trunk and graph unit."""
    head_channels: int = Field(default=512, ge=1)
    """Channels of these convolutions."""
    head_kernel: Literal[1, 3] = 3
    """Side of their kernels, in cells."""
    graph: GraphReasoning = GraphReasoning()
    """Graph-reasoning unit."""
    class_init: Literal["published", "zero"] = "published"
    """Initial weights of the class convolution.  `zero` leaves no random evidence in the maps of a short training."""
    image_size: int = Field(default=256, ge=32)
    """Side to which photographs are squashed, in pixels; no crop, so that maps of all epochs align."""
    jitter: tuple[Share, Share, Share, Annotated[float, Field(ge=0, le=0.5)]] = (0.3, 0.3, 0.3, 0.1)
    """Strength of the random change of brightness, contrast, saturation and hue."""
    flip: bool = False
    """Mirror half of the photographs; their maps are mirrored back and so still align.  Not in the published method."""
    epochs: int = Field(default=15, ge=1)
    """Passes over the training photographs."""
    batch_size: int = Field(default=5, ge=1)
    """Photographs per step."""
    optimiser: Literal["sgd", "adamw"] = "sgd"
    """`sgd` is published; `adamw` learns faster from random weights (every parameter at the same rate)."""
    learning_rate: float = Field(default=1e-3, gt=0)
    """Step size; with SGD of the trunk's weights at `backbone_factor` 1: biases take twice, the head ten times that."""
    backbone_factor: float = Field(default=1.0, ge=0)
    """Factor on the trunk's step size; 0 keeps the trunk as it comes and is much faster."""
    drop_epochs: tuple[int, ...] = (5, 10)
    """Epochs (counted from 0) at whose start the step size is multiplied by 0.1."""
    momentum: Share = 0.9
    """Nesterov momentum of SGD."""
    weight_decay: float = Field(default=5e-4, ge=0)
    """L2 penalty on all parameters."""
    precision: Precision = "float32"
    """Arithmetic of the forward pass in training; bfloat16 is faster where the processor has it, else slower."""
    accumulate_from: int = Field(default=1, ge=0)
    """First epoch (counted from 0) whose attention is accumulated."""
    accumulate_probability: Share = 0.1
    """A class's attention is accumulated only while the classifier gives it at least this probability."""
    seed: int = 0
    """Seed of initialisation, order and augmentation."""

    @model_validator(mode="after")
    def _consistent(self) -> "Classifier":
        if self.accumulate_from >= self.epochs:
            raise ValueError(f"accumulate_from {self.accumulate_from} must be below epochs {self.epochs}")
        if self.optimiser == "adamw" and self.backbone_factor not in (0, 1):
            raise ValueError(
                f"backbone_factor {self.backbone_factor:g} has no effect with adamw: 0 (a trunk as it comes) or 1"
            )
        return self


class Activation(Section):
    """Inference of class maps: of the classifier (CAM) or of the integral attention model (OA-CAM)."""

    image_size: int = Field(default=256, ge=32)
    """Side to which photographs are squashed at scale 1, in pixels."""
    scales: tuple[Annotated[float, Field(gt=0)], ...] = (1.0,)
    """Factors on `image_size`; the maps of all scales are averaged."""
    flip: bool = False
    """Average with the map of the mirrored photograph."""
    batch_size: int = Field(default=16, ge=1)
    """Photographs per forward pass."""


class Saliency(Section):
    """Where the saliency maps come from, and the training of the reciprocal attention network."""

    provider: Literal["reciprocal", "folder"] = "reciprocal"
    """`reciprocal`: a network trained on `saliency_set` or read from `checkpoint`; `folder`: the maps in `maps`."""
    maps: Path | None = None
    """For `folder`: `<id>.png`, 8-bit grey, the photograph's size, 255 = salient."""
    checkpoint: Path | None = None
    """For `reciprocal`: a model folder (`model.pt`, `model.json`) as `train_saliency` writes it; no training."""
    backbone: Backbone = Backbone(name="resnet50", output_stride=16)
    """Trunk."""
    channels: int = Field(default=128, ge=8)
    """Channels of the foreground and background features."""
    key_channels: int = Field(default=64, ge=4)
    """Channels of the response maps of claim 3."""
    attention: Literal["transposed", "literal"] = "transposed"
    """Reading of claim 3: each side receives along its own axis of the weight matrix, or the same matrix for both."""
    attention_strides: tuple[int, ...] = (16, 8)
    """Strides (pixels a cell) at which foreground and background exchange messages."""
    detail: bool = True
    """Add a last, finest level at stride 4."""
    cooperative_loss: Literal["complementary", "literal"] = "complementary"
    """Second loss: the two maps are each other's complement, or claim 5 as printed (degenerate, weight <= 0.1)."""
    cooperative_weight: float = Field(default=0.1, ge=0)
    """Weight of the cooperative loss against the cross entropies."""
    image_size: int = Field(default=320, ge=32)
    """Side to which photographs are squashed, in pixels, in training and prediction."""
    rotation: float = Field(default=10.0, ge=0, le=45)
    """Largest random rotation in training, in degrees; the rotated-in border is ignored."""
    iterations: int = Field(default=50_000, ge=1)
    """Steps of training."""
    batch_size: int = Field(default=4, ge=1)
    """Photographs per step."""
    learning_rate: float = Field(default=1e-3, gt=0)
    """Initial step size of SGD for the trunk; the rest takes ten times as much.  Falls by the power 0.9."""
    momentum: Share = 0.9
    """Momentum of SGD."""
    weight_decay: float = Field(default=5e-4, ge=0)
    """L2 penalty."""
    precision: Precision = "float32"
    """Arithmetic of the forward pass in training; bfloat16 is faster where the processor has it, else slower."""
    seed: int = 0
    """Seed of initialisation, order and augmentation."""

    @model_validator(mode="after")
    def _consistent(self) -> "Saliency":
        if self.provider == "folder" and self.maps is None:
            raise ValueError("provider 'folder' needs saliency.maps, a folder of <id>.png")
        if self.cooperative_loss == "literal" and self.cooperative_weight > 0.1:
            raise ValueError(
                f"cooperative_weight {self.cooperative_weight} with the literal loss pulls every pixel to 'unknown'; "
                "at most 0.1"
            )
        return self


class Prediction(Section):
    """How the saliency network is applied."""

    threshold: Share = 0.0
    """Claim 6: saliency below this becomes 0; 0 keeps the soft map."""
    flip: bool = False
    """Average with the map of the mirrored photograph."""
    batch_size: int = Field(default=16, ge=1)
    """Photographs per forward pass."""


class Mining(Section):
    """Initial labels: OA-CAM against saliency, conflicts, potential-object mining."""

    foreground: Share = 0.3
    """Class evidence (and background evidence 1 - saliency) below this counts as none; lower grows the objects."""
    conflict: Share = 0.9
    """A pixel where two or more evidences exceed this is ignored."""
    saliency: int = Field(default=32, ge=0, le=255)
    """Saliency (0-255) from which a background pixel becomes ignored: salient, but of no class."""
    attention: Share = 0.8
    """OA-CAM evidence above this counts as fully salient."""
    cam_background: Share = 0.3
    """CAM evidence at or below this is no object, when a class got no pixel at first."""
    minimum_foreground: Share = 0.01
    """A label with a smaller share of foreground is ignored whole; 0 turns the rule off."""
    refine: bool = False
    """Sharpen OA-CAM against the photograph by the dense CRF first (an option beyond the published method)."""


class Segmenter(Section):
    """Training of the segmentation network (DeepLab with atrous spatial pyramid pooling)."""

    backbone: Backbone = Backbone(name="resnet101", output_stride=8)
    """Trunk."""
    rates: tuple[int, ...] = (6, 12, 18, 24)
    """Dilations of the parallel 3x3 convolutions, in cells."""
    low_level_channels: int = Field(default=0, ge=0)
    """Channels taken from the stride-4 features to sharpen borders (DeepLabV3+); 0 is the published DeepLabV2."""
    train_scales: tuple[Annotated[float, Field(gt=0)], ...] = (1.0, 0.75, 0.5)
    """Scales of the multi-scale wrapper in training and prediction, beside their maximum; (1.0,) turns it off."""
    resize: tuple[Annotated[float, Field(gt=0)], ...] = (0.5, 0.75, 1.0, 1.25, 1.5)
    """Random scales of the photograph in training."""
    image_size: int | None = Field(default=None, ge=32)
    """Long side to which photographs are brought first, in pixels; without it they keep their size."""
    crop_size: int = Field(default=321, ge=32)
    """Side of the random crop, in pixels; what lies outside the photograph is its mean colour and ignored."""
    iterations: int = Field(default=20_000, ge=1)
    """Steps of the optimiser."""
    batch_size: int = Field(default=10, ge=1)
    """Crops per step."""
    micro_batch: int | None = Field(default=None, ge=1)
    """Crops per forward pass (their gradients add up to one step); without it all at once."""
    learning_rate: float = Field(default=2.5e-4, gt=0)
    """Initial step size of SGD for the trunk; head weights take ten, head biases twenty times as much."""
    power: float = Field(default=0.9, ge=0)
    """The step size falls as (1 - step / iterations) ** power."""
    momentum: Share = 0.9
    """Momentum of SGD."""
    weight_decay: float = Field(default=5e-4, ge=0)
    """L2 penalty; none on head biases."""
    precision: Precision = "float32"
    """Arithmetic of the forward pass in training; bfloat16 is faster where the processor has it, else slower."""
    seed: int = 0
    """Seed of initialisation, order and augmentation."""


class MaskPrediction(Section):
    """How a segmenter is applied to photographs."""

    image_size: int | None = Field(default=None, ge=32)
    """Long side to which photographs are brought first, in pixels; without it they keep their size."""
    scales: tuple[Annotated[float, Field(gt=0)], ...] = (1.0,)
    """Factors on that size; the probabilities are averaged."""
    flip: bool = False
    """Average with the mirrored photograph."""
    batch_size: int = Field(default=8, ge=1)
    """Photographs of the same size per forward pass."""
    filter_by_tags: bool = False
    """On tagged training photographs, drop classes that are not among the tags (not in the published method)."""


class PredictionOf(MaskPrediction):
    """Prediction for one split of the dataset."""

    split: Literal["train", "val"]
    """Photographs to predict.  Tags filter the training photographs only, whatever `filter_by_tags` says."""


class Refinement(Section):
    """Dense CRF over the classes present, on the raw RGB photograph."""

    iterations: int = Field(default=10, ge=0)
    """Mean-field steps; 0 turns the CRF off."""
    gaussian_xy: float = Field(default=3.0, gt=0)
    """Standard deviation of the smoothness kernel, in pixels."""
    gaussian_weight: float = Field(default=3.0, ge=0)
    """Weight of the smoothness kernel."""
    bilateral_xy: float = Field(default=67.0, gt=0)
    """Spatial standard deviation of the appearance kernel, in pixels."""
    bilateral_rgb: float = Field(default=3.0, gt=0)
    """Colour standard deviation of the appearance kernel, in grey levels of 0-255."""
    bilateral_weight: float = Field(default=4.0, ge=0)
    """Weight of the appearance kernel."""
    minimum_probability: Share = 0.05
    """A class takes part where some pixel gives it more than this probability; the cost grows with the classes."""


class Masking(Section):
    """Non-salient region masking: what a segmenter finds outside of salient regions is ignored."""

    saliency: int = Field(default=0, ge=0, le=255)
    """Saliency (0-255) above which a pixel is salient; 0 is the published 'any non-zero'."""
    dilation: int = Field(default=30, ge=1)
    """Side of the square by which the kept region grows, in pixels."""
    minimum_tags: int = Field(default=2, ge=1)
    """Photographs with at least this many tags are masked, the others keep the prediction."""
    minimum_foreground: Share = 0.01
    """A label with a smaller share of foreground is ignored whole; 0 turns the rule off."""


class Evaluation(Section):
    """Comparison with ground-truth masks.  The only section whose stages read them."""

    thresholds: int = Field(default=100, ge=2, le=255)
    """Background thresholds tried for the class maps, evenly spaced in (0, 1); the best one is reported."""
    maximum_equal: Share = 0.1
    """A run stops when more than this share of its training labels equals the ground truth pixel for pixel."""


class EvaluationOf(Evaluation):
    """Evaluation of one step; the flow fills in what the step is."""

    kind: Literal["class_maps", "saliency", "labels", "training_labels", "predictions"]
    """What the step made; `training_labels` are also checked for being the ground truth itself."""
    split: Literal["train", "val"]
    """Photographs to evaluate on."""
    title: str
    """Name of the step in tables and charts."""


class Report(Section):
    """The page of results."""

    photographs: int = Field(default=12, ge=1)
    """Worst and best photographs shown through every stage (this many of each)."""
    thumbnail: int = Field(default=160, ge=32)
    """Long side of a picture, in pixels."""


class ReportOf(Report):
    """Report of one run; the flow fills in which."""

    title: str
    """Heading of the page: the name of the run."""


class Config(Section):
    """A whole run."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """Name of the run, used in listings and for its record."""
    rounds: int = Field(default=1, ge=1)
    """Rounds of segmenter -> prediction -> CRF -> masking; 1 is the published method."""
    dataset: Dataset
    """Photographs and tags."""
    saliency_set: SaliencySet | None = None
    """Photographs and salient-object masks; needed to train the saliency network."""
    classifier: Classifier = Classifier()
    """train_classifier."""
    cams: Activation = Activation()
    """infer_cams."""
    attention: Classifier = Classifier()
    """train_attention."""
    attention_maps: Activation = Activation()
    """infer_attention."""
    saliency: Saliency = Saliency()
    """train_saliency."""
    saliency_maps: Prediction = Prediction()
    """predict_saliency."""
    mining: Mining = Mining()
    """mine_objects."""
    segmenter: Segmenter = Segmenter()
    """train_segmenter, in every round."""
    prediction: MaskPrediction = MaskPrediction()
    """predict_masks."""
    refinement: Refinement = Refinement()
    """refine_masks."""
    masking: Masking = Masking()
    """mask_nonsalient."""
    evaluation: Evaluation = Evaluation()
    """evaluate."""
    report: Report = Report()
    """render_report."""

    @model_validator(mode="after")
    def _consistent(self) -> "Config":
        trains = self.saliency.provider == "reciprocal" and self.saliency.checkpoint is None
        if trains and self.saliency_set is None:
            raise ValueError("provider 'reciprocal' needs saliency_set to train on, or saliency.checkpoint")
        fixed = self.classifier.graph.enabled and not self.classifier.graph.normalize
        if fixed and (self.cams.scales != (1.0,) or self.cams.image_size != self.classifier.image_size):
            raise ValueError(
                "classifier.graph.normalize is off, which ties the weights to maps of one size: "
                f"cams.image_size must be {self.classifier.image_size} and cams.scales [1.0]"
            )
        return self
