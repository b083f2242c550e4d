"""The catalog of stages: one record each, in the order of the method.

Whoever needs to know a stage reads its record: planning, running, serving, report, releases, the documentation.
A new stage costs its file, its section of the settings, its record here, its edge in the DAG, and its test.  Torch is
not imported: planning a run must not wait for it.
"""

from typing import Any

from tag2mask.tasks.stage import IMAGE_SUFFIXES, TAG_SUFFIXES, PictureKind, Stage

__all__ = ["CATALOG", "IMAGE_SUFFIXES", "PictureKind", "Stage", "section_of"]


LABELS: dict[str, Any] = {"writes": "`<id>.png`", "picture": "labels", "labels": True}
"""What the stages that make label maps have in common."""


def _by_name(*stages: Stage) -> dict[str, Stage]:
    return {stage.name: stage for stage in stages}


CATALOG = _by_name(
    Stage(
        "index_dataset",
        version=2,
        section="dataset",
        title="image",
        does="checks and copies the images, numbers the classes",
        writes="`images/`, `index.csv`, `classes.json`",
        all_cores=True,
        folders={"images": IMAGE_SUFFIXES, "tags": TAG_SUFFIXES},
        image_inputs=("images",),
    ),
    Stage(
        "index_masks",
        version=2,
        section="dataset",
        title="ground truth",
        does="checks the ground truth, for evaluation only",
        writes="`masks/<id>.png`",
        folders={"masks": (".png",)},
    ),
    Stage(
        "index_test",
        version=1,
        section="dataset",
        title="test images",
        does="optional: checks and copies images without tags, which are predicted alone",
        writes="`images/`, `index.csv`",
        all_cores=True,
        folders={"images": IMAGE_SUFFIXES},
        image_inputs=("images",),
    ),
    Stage(
        "index_saliency_set",
        version=2,
        section="saliency_set",
        title="saliency set",
        does="checks the images and masks saliency is trained on",
        writes="`images/`, `masks/`",
        folders={"images": IMAGE_SUFFIXES, "masks": (".png",)},
    ),
    Stage(
        "train_classifier",
        version=2,
        section="classifier",
        title="classifier",
        does="tag classifier with graph reasoning; accumulates attention over the epochs",
        writes="`model.pt`, `accumulated_attention.npz`",
        trains=True,
    ),
    Stage(
        "infer_cams",
        version=1,
        section="cams",
        title="CAM",
        does="class activation maps of each image's tags",
        writes="`<id>.npz`",
        picture="heat",
        file="{}.npz",
    ),
    Stage(
        "train_attention",
        version=2,
        section="attention",
        title="attention",
        does="integral attention model on the accumulated attention",
        writes="`model.pt`",
        trains=True,
    ),
    Stage(
        "infer_attention",
        version=1,
        section="attention_maps",
        title="OA-CAM",
        does="OA-CAM: the class maps of the integral attention model",
        writes="`<id>.npz`",
        picture="heat",
        file="{}.npz",
    ),
    Stage(
        "predict_prior",
        version=2,
        section="prior",
        title="prior",
        does="optional: saliency without training, by robust background detection",
        writes="`saliency/<id>.png`, `background/<id>.png`",
        picture="gray",
        file="saliency/{}.png",
        saliency=True,
    ),
    Stage(
        "make_saliency_pseudo_labels",
        version=2,
        section="self_training",
        title="agreed",
        does="optional: pixels where saliency and CAMs agree (0, 255; 128 unknown), to train saliency without masks",
        writes="`<id>.png`",
        picture="gray",
    ),
    Stage(
        "train_saliency",
        version=2,
        section="saliency",
        title="saliency network",
        does="reciprocal attention between foreground and background, or PurNet",
        writes="`model.pt`, `provenance.json`",
        trains=True,
    ),
    Stage(
        "predict_saliency",
        version=2,
        section="saliency_maps",
        title="saliency",
        does="Sal = relu(σF − σB), and the background map",
        writes="`saliency/<id>.png`, `background/<id>.png`",
        folders={"maps": (".png", ".json")},
        picture="gray",
        file="saliency/{}.png",
        saliency=True,
    ),
    Stage(
        "train_cosaliency",
        version=6,
        section="cosaliency",
        title="group system",
        does="optional: ICNet or GCoNet+ on groups of images that share a tag",
        writes="`model.pt`",
        trains=True,
    ),
    Stage(
        "predict_cosaliency",
        version=3,
        section="cosaliency_maps",
        title="co-saliency",
        does="optional: one map per image and tag, gated by that tag's CAM",
        writes="`cosaliency/<number>/<id>.png`",
        dataset_level=True,
        picture="gray by class",
        file="cosaliency/{}.png",
        saliency=True,
    ),
    Stage(
        "mine_objects",
        version=4,
        section="mining",
        title="labels",
        does="labels 0: attention against saliency, conflicts, potential objects",
        **LABELS,
    ),
    Stage(
        "refine_cams",
        version=1,
        section="cam_refinement",
        title="labels",
        does="optional, instead: CAMs weighted by saliency, then CRF",
        all_cores=True,
        **LABELS,
    ),
    Stage(
        "train_segmenter",
        version=2,
        section="segmenter",
        title="segmenter",
        does="DeepLab on the labels of the round before",
        writes="`model.pt`",
        all_cores=True,
        trains=True,
    ),
    Stage(
        "predict_masks",
        version=2,
        section="prediction",
        title="prediction",
        does="its class scores and labels",
        writes="`scores/<id>.npz`, `labels/<id>.png`",
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
        **LABELS,
    ),
    Stage(
        "mask_nonsalient",
        version=1,
        section="masking",
        title="labels",
        does="labels r: non-salient region masking",
        **LABELS,
    ),
    Stage(
        "fuse_labels",
        version=1,
        section="fusion",
        title="labels",
        does="optional, instead: prediction fused with labels 0, then CRF",
        all_cores=True,
        **LABELS,
    ),
    Stage(
        "deliver_round",
        version=1,
        section="round_choice",
        title="delivered labels",
        does="optional: the best round, chosen by tags",
        writes="`<id>.png`, `model.pt`, `rounds.csv`",
        picture="labels",
        labels=True,
    ),
    Stage(
        "measure_labels",
        version=2,
        section="measurement",
        title="signals",
        does="signals of the labels' quality that need no masks, for the gate before a release",
        writes="`signals.json`, `per_image.csv`",
    ),
    Stage(
        "evaluate",
        version=6,
        section="evaluation",
        title="evaluation",
        does="mIoU and more of every step, per class and per image",
        writes="`scores.json`, `per_class.csv`, `per_group.csv`",
    ),
    Stage(
        "render_report",
        version=4,
        section="report",
        title="report",
        does="one self-contained page",
        writes="`report.html`",
    ),
)
"""Name -> record, in the order of the method."""


def section_of(stage: str) -> str:
    """Section of the settings that a stage reads; for a stage of another release, which has none here, its name."""
    return CATALOG[stage].section if stage in CATALOG else stage
