"""Records of the stages that make label maps: labels 0, the rounds of the segmenter, the best of them."""

from typing import Any

from tag2mask.tasks.catalog.stage import Stage

_LABEL_MAPS: dict[str, Any] = {"writes": "`<id>.png`", "picture": "labels", "labels": True}
"""What the stages that make label maps have in common."""

LABELS = (
    Stage(
        "mine_objects",
        version=4,
        section="mining",
        title="labels",
        does="labels 0 as published: attention against saliency, potential objects",
        spread=True,
        **_LABEL_MAPS,
    ),
    Stage(
        "refine_cams",
        version=1,
        section="cam_refinement",
        title="labels",
        does="labels 0: CAMs (and OA-CAMs) weighted by saliency, then CRF",
        all_cores=True,
        spread=True,
        **_LABEL_MAPS,
    ),
    Stage(
        "apply_corrections",
        version=1,
        section="dataset",
        title="labels",
        does="optional: corrected masks in the place of labels",
        **_LABEL_MAPS,
    ),
    Stage(
        "train_segmenter",
        version=4,
        section="segmenter",
        title="segmenter",
        does="DeepLab on the labels of the round before",
        writes="`model.pt`",
        all_cores=True,
        trains=True,
        shares_batches=True,
    ),
    Stage(
        "predict_masks",
        version=3,
        section="prediction",
        title="prediction",
        does="its class scores and labels",
        writes="`scores/<id>.npz`, `labels/<id>.png`",
        spread=True,
        all_cores=True,
        picture="labels",
        file="labels/{}.png",
        labels=True,
    ),
    Stage(
        "refine_masks",
        version=2,
        section="refinement",
        title="prediction + CRF",
        does="dense CRF over the classes present, on the raw image",
        all_cores=True,
        spread=True,
        **_LABEL_MAPS,
    ),
    Stage(
        "mask_nonsalient",
        version=1,
        section="masking",
        title="labels",
        does="labels r as published: non-salient region masking",
        spread=True,
        **_LABEL_MAPS,
    ),
    Stage(
        "fuse_labels",
        version=1,
        section="fusion",
        title="labels",
        does="labels r: prediction fused with labels 0, then CRF",
        all_cores=True,
        spread=True,
        **_LABEL_MAPS,
    ),
    Stage(
        "deliver_round",
        version=2,
        section="round_choice",
        title="delivered labels",
        does="optional: the best round, chosen by tags",
        writes="`<id>.png`, `model.pt`, `rounds.csv`",
        picture="labels",
        labels=True,
    ),
)
