"""Where saliency maps come from."""

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from tag2mask.configs.networks import Backbone
from tag2mask.configs.section import Precision, Section, Share


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


class SaliencyOf(Prediction):
    """Saliency maps of one split; the flow fills in which."""

    split: Literal["train", "val"] = "train"
    """Photographs to process."""
