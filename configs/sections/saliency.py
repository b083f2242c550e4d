"""Where saliency maps come from."""

from itertools import accumulate
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, model_validator

from tag2mask.configs.sections.networks import Backbone
from tag2mask.configs.sections.section import (
    ByContent,
    Optimizer,
    ReadBy,
    Scales,
    Section,
    ShapesWeights,
    Share,
    Unhashed,
)

Network = Literal["reciprocal", "purnet"]
"""Systems that learn."""
Provider = Literal[Network, "prior", "folder"]
NETWORKS: tuple[str, ...] = get_args(Network)
WITH_NETWORK = " or ".join(map(repr, NETWORKS))
FINE_TUNING: dict[str, dict[str, Any]] = {"purnet": {"purnet.stages": [{"share": 1.0, "structural_similarity": 1.0}]}}
"""System -> settings of a training that starts from a trained model: of PurNet no stage without attention."""

OF_RECIPROCAL = ReadBy("provider", ("reciprocal",))
OF_PURNET = ReadBy("provider", ("purnet",))
OF_INPUTS = Unhashed("it decides which inputs there are, and those enter by content")


class PurNetPhase(Section):
    """A part of the training of the purnet network, with losses of its own."""

    share: float = Field(gt=0, le=1)
    """Share of `saliency.iterations`.  The learning rate starts anew in every stage."""
    batch_size: int | None = Field(default=None, ge=1)
    """Images per step; without it `saliency.batch_size`."""
    attention: bool = True
    """Train both attention subnetworks and let them attend; without it the main subnetwork is a plain pyramid."""
    structural_similarity: float = Field(default=0.0, ge=0)
    """Weight of the structural similarity loss over superpixels; 0 leaves it and the superpixels out."""
    main_factor: float = Field(default=10.0, gt=0)
    """Learning rate of the main subnetwork over that of the backbone; the attention ones always take 10x as much."""


class PurNet(Section):
    """What the purnet network (PurNet) has of its own.

    Published: three stages of 50,000, 250,000 and 200,000 steps with 4, 4 and 2 images each, the first without
    attention, the second without structural similarity, `main_factor` 10, 1 and 1, and `falling: backbone`: shares 0.1,
    0.5 and 0.4 of 500,000 steps, ten times the default.
    """

    rescale: Annotated[bool, ShapesWeights()] = False
    """Multiply the promotion attention by its number of entries: as published it is about 1e-6 and hardly attends."""
    superpixels: int = Field(default=250, ge=2)
    """Superpixels asked for per image (SLIC); about so many are made."""
    falling: Literal["all", "backbone"] = "all"
    """Whose learning rate falls by the power 0.9 within a stage: everyone's, or the backbone's alone, as published."""
    stages: tuple[PurNetPhase, ...] = (
        PurNetPhase(share=0.2, attention=False, structural_similarity=1.0),
        PurNetPhase(share=0.5),
        PurNetPhase(share=0.3, structural_similarity=1.0),
    )
    """Parts of the training, in order; their shares add up to 1."""

    @model_validator(mode="after")
    def _whole(self) -> "PurNet":
        total = sum(stage.share for stage in self.stages)
        if abs(total - 1) > 1e-6:
            raise ValueError(f"the shares of the stages add up to {total:g}; they must add up to 1")
        if not any(stage.attention for stage in self.stages):
            raise ValueError("no stage trains the attention subnetworks: set attention in the last one at least")
        return self

    def ends(self, iterations: int) -> tuple[int, ...]:
        """Number of steps after which each stage ends; the last one with the training, however shares are rounded."""
        *before, _ = (round(share * iterations) for share in accumulate(stage.share for stage in self.stages))
        return (*before, iterations)


class Saliency(Section):
    """Where the saliency maps come from, and the training of the network that makes them."""

    provider: Annotated[Provider, ShapesWeights()] = "reciprocal"
    """`reciprocal`, `purnet`: a network trained on `targets` or read from `checkpoint`; `folder`: the maps in
    `maps`; `prior`: computed from the image alone, without any training."""
    targets: Annotated[Literal["masks", "prior"], OF_INPUTS] = "masks"
    """What a network learns from: `masks` of `saliency_set`; `prior`: no masks at all, but the pixels of the dataset's
    own images where the prior and the CAMs agree."""
    self_training_rounds: Annotated[int, OF_INPUTS] = Field(default=1, ge=1, le=3)
    """For targets `prior`: how often targets are made and a network trained on them; from the second round on its
    own maps take the place of the prior."""
    maps: Annotated[Path | None, ByContent()] = None
    """For `folder`: `<id>.png`, 8-bit gray, the image's size, 255 = salient."""
    checkpoint: Annotated[Path | None, ByContent()] = None
    """For a network: a model folder (`model.pt`, `model.json`) as `train_saliency` writes it; no training."""
    start_from: Annotated[Path | None, ByContent()] = None
    """For a network that is trained: a model folder of the same network, as for `checkpoint`; the training starts from
    its weights instead of ImageNet's (`backbone.weights` is not read).  Learning rates a tenth of the first training's,
    and few steps, keep what it knows; for `purnet` also one single stage with attention."""
    backbone: Backbone = Backbone(name="resnet50", output_stride=16)
    """Backbone."""
    channels: Annotated[int, ShapesWeights()] = Field(default=128, ge=8)
    """Channels of the pyramids and of everything behind them."""
    key_channels: Annotated[int, OF_RECIPROCAL, ShapesWeights()] = Field(default=64, ge=4)
    """For `reciprocal`, as the next seven: channels of the response maps of claim 3."""
    attention: Annotated[Literal["transposed", "literal"], OF_RECIPROCAL, ShapesWeights()] = "transposed"
    """Reading of claim 3: each side receives along its own axis of the weight matrix, or the same matrix for both."""
    attention_strides: Annotated[tuple[int, ...], OF_RECIPROCAL, ShapesWeights()] = (16, 8)
    """Strides (pixels a cell) at which foreground and background exchange messages."""
    detail: Annotated[bool, OF_RECIPROCAL, ShapesWeights()] = True
    """Add a last, finest level at stride 4."""
    cooperative_loss: Annotated[Literal["complementary", "literal"], OF_RECIPROCAL] = "complementary"
    """Second loss: the two maps are each other's complement, or claim 5 as printed (degenerate, weight <= 0.1)."""
    cooperative_weight: Annotated[float, OF_RECIPROCAL] = Field(default=0.1, ge=0)
    """Weight of the cooperative loss against the cross entropies."""
    map_loss: Annotated[Literal["none", "difference", "mean"], OF_RECIPROCAL] = "none"
    """A further loss on the saliency map itself, binary cross entropy and 1 - IoU (BASNet, CVPR 2019): of the map that
    `saliency_maps.score` of the same name writes.  Not in the claims."""
    map_loss_weight: Annotated[float, OF_RECIPROCAL] = Field(default=1.0, ge=0)
    """Weight of the loss on the map against the cross entropies."""
    purnet: Annotated[PurNet, OF_PURNET] = PurNet()
    """For `purnet`: its options and the stages of its training."""
    image_size: int = Field(default=320, ge=32)
    """Side of the square to which images are resized, in pixels, in training and prediction."""
    rotation: float = Field(default=10.0, ge=0, le=45)
    """Largest random rotation in training, in degrees; the rotated-in border is ignored."""
    iterations: int = Field(default=50_000, ge=1)
    """Steps of training."""
    batch_size: int = Field(default=4, ge=1)
    """Images per step."""
    optimizer: Optimizer = "sgd"
    """`sgd` is published; `adamw` learns far more in a training of a thousand steps, and takes a tenth to a thirtieth
    of the learning rate."""
    learning_rate: float = Field(default=1e-3, gt=0)
    """Initial learning rate for the backbone; the rest takes ten times as much.  Falls by the power 0.9."""
    backbone_factor: float = Field(default=1.0, ge=0)
    """Factor on the backbone's learning rate alone; 0 keeps its weights as they come, which makes a step cheaper."""
    momentum: Share = 0.9
    """Momentum of SGD."""
    weight_decay: float = Field(default=5e-4, ge=0)
    """L2 penalty."""
    seed: int = Field(default=0, ge=0)
    """Seed of initialization, order and augmentation."""

    @property
    def is_trained(self) -> bool:
        """Whether a network has to be trained."""
        return self.provider in NETWORKS and self.checkpoint is None

    @model_validator(mode="after")
    def _consistent(self) -> "Saliency":
        if self.provider == "folder" and self.maps is None:
            raise ValueError("provider 'folder' needs saliency.maps, a folder of <id>.png")
        if self.provider != "folder" and self.maps is not None:
            raise ValueError(f"maps are read by provider 'folder' alone, not by {self.provider!r}: leave one out")
        if self.targets == "prior" and (self.provider not in NETWORKS or self.checkpoint is not None):
            raise ValueError(
                f"targets 'prior' trains a network: it goes with provider {WITH_NETWORK}, and without a checkpoint"
            )
        if self.start_from is not None and not self.is_trained:
            raise ValueError(
                f"start_from says where a training starts: it goes with provider {WITH_NETWORK}, and "
                "without a checkpoint, with which nothing is trained"
            )
        if self.targets == "masks" and self.self_training_rounds != 1:
            raise ValueError(
                f"self_training_rounds {self.self_training_rounds} needs targets 'prior': masks teach in one round"
            )
        if self.cooperative_loss == "literal" and self.cooperative_weight > 0.1:
            raise ValueError(
                f"cooperative_weight {self.cooperative_weight} with the literal loss pulls every pixel to 'unknown'; "
                "at most 0.1"
            )
        if self.provider == "purnet":
            ends = self.purnet.ends(self.iterations)
            for number, (start, end) in enumerate(zip((0, *ends), ends, strict=False), start=1):
                if start == end:
                    raise ValueError(
                        f"stage {number} of purnet.stages gets none of the {self.iterations} steps: "
                        "raise iterations or its share"
                    )
        return self

    @model_validator(mode="after")
    def _network(self) -> "Saliency":
        """Refuse a network where there is none, and attention at strides that its backbone does not have."""
        if self.checkpoint is not None and self.provider not in NETWORKS:
            raise ValueError(f"provider {self.provider!r} has no network: a checkpoint goes with {WITH_NETWORK}")
        if self.is_trained and self.image_size <= self.backbone.output_stride:
            raise ValueError(
                f"image_size {self.image_size} makes maps of one cell at output_stride {self.backbone.output_stride}: "
                f"at least {2 * self.backbone.output_stride}"
            )
        if self.provider != "reciprocal" or not self.is_trained:
            return self
        strides = self.backbone.strides
        missing = sorted(set(self.attention_strides) - set(strides))
        if missing or not self.attention_strides:
            raise ValueError(
                f"attention_strides {list(self.attention_strides)}: {self.backbone.name} at output_stride "
                f"{self.backbone.output_stride} has the strides {', '.join(map(str, strides))}"
            )
        if self.detail and min(self.attention_strides) == strides[0]:
            raise ValueError(
                f"detail needs a stride finer than attention_strides {list(self.attention_strides)}: "
                "set detail to false, or take larger strides"
            )
        return self


class Prior(Section):
    """Saliency of an image alone, by robust background detection (Zhu et al., CVPR 2014)."""

    superpixels: int = Field(default=250, ge=2)
    """Superpixels to ask for; about as many are found."""
    compactness: float = Field(default=20.0, gt=0)
    """Weight of nearness against color in the superpixels, in units of CIELAB."""
    image_size: int = Field(default=320, ge=16)
    """Images are shrunk until their long side is at most this, in pixels."""
    color_scale: float = Field(default=10.0, gt=0)
    """Standard deviation of color likeness, in units of CIELAB."""
    place_scale: float = Field(default=0.25, gt=0)
    """Standard deviation of nearness, in shares of height and width."""
    boundary_scale: float = Field(default=1.0, gt=0)
    """Boundary connectivity at which the probability of background is 0.39, without unit."""
    smoothness: float = Field(default=0.1, gt=0)
    """Tie between two neighbors, whatever their colors, without unit."""
    background_weight: float = Field(default=5.0, gt=0)
    """Weight of the background against the contrast, without unit."""
    certain_connectivity: float = Field(default=3.0, gt=0)
    """Boundary connectivity above which a superpixel is background for certain, without unit."""
    least_contrast: float = Field(default=2.3, ge=0)
    """An image whose superpixels all differ by less shows nothing salient, in units of CIELAB; 2.3 is the least
    difference that one sees."""


class SelfTraining(Section):
    """Which pixels teach saliency where there are no masks: those where saliency and the CAMs agree."""

    saliency_foreground: Share = 0.5
    """A pixel is salient where its saliency exceeds this and a CAM of the image's tags `cam_foreground`."""
    cam_foreground: Share = 0.3
    """Class evidence that a salient pixel must exceed."""
    saliency_background: Share = 0.1
    """A pixel is background where its saliency is below this and all CAMs are below `cam_background`."""
    cam_background: Share = 0.2
    """Class evidence that a background pixel must stay below."""
    minimum_foreground: Share = 0.01
    """An image with a smaller share of salient pixels teaches nothing; 0 turns the rule off."""

    @model_validator(mode="after")
    def _consistent(self) -> "SelfTraining":
        for name in ("saliency", "cam"):
            low, high = getattr(self, f"{name}_background"), getattr(self, f"{name}_foreground")
            if low > high:
                raise ValueError(f"{name}_background {low:g} must not exceed {name}_foreground {high:g}")
        return self


class Prediction(Section):
    """How the saliency network is applied."""

    threshold: Share = 0.0
    """Claim 6: saliency below this becomes 0; 0 keeps the soft map."""
    score: Literal["difference", "mean", "foreground"] = "difference"
    """For `reciprocal`: relu(F - B) as in claim 7, (F + 1 - B) / 2, or F, of foreground F and background B."""
    scales: Scales = (1.0,)
    """Factors on the network's `image_size`; the probabilities are averaged at the first one's size."""
    flip: bool = False
    """Average with the map of the mirrored image."""
    batch_size: int = Field(default=16, ge=1)
    """Images per forward pass on a GPU; on a CPU it is one, whatever stands here."""
