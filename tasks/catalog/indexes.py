"""Records of the stages that check and copy what the user has: images, tags, masks."""

from tag2mask.tasks.catalog.stage import IMAGE_SUFFIXES, TAG_SUFFIXES, Stage

INDEXES = (
    Stage(
        "index_dataset",
        version=3,
        section="dataset",
        title="image",
        does="checks and copies the images, numbers the classes",
        writes="`images/`, `index.csv`, `classes.json`",
        spread=True,
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
        version=2,
        section="dataset",
        title="test images",
        does="optional: checks and copies images without tags, which are predicted alone",
        writes="`images/`, `index.csv`",
        spread=True,
        all_cores=True,
        folders={"images": IMAGE_SUFFIXES},
        image_inputs=("images",),
    ),
    Stage(
        "index_corrections",
        version=1,
        section="dataset",
        title="corrections",
        does="optional: checks the masks that people corrected",
        writes="`<id>.png`, `corrections.csv`",
        folders={"corrections": (".png", ".csv", ".json")},
    ),
    Stage(
        "index_saliency_set",
        version=3,
        section="saliency_set",
        title="saliency set",
        does="checks the images and masks saliency is trained on",
        writes="`images/`, `masks/`",
        spread=True,
        folders={"images": IMAGE_SUFFIXES, "masks": (".png",)},
    ),
)
