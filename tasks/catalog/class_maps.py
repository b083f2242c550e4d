"""Records of the stages from tags to class maps: the classifier and the integral attention model."""

from tag2mask.tasks.catalog.stage import Stage

CLASS_MAPS = (
    Stage(
        "train_classifier",
        version=3,
        section="classifier",
        title="classifier",
        does="tag classifier with graph reasoning; accumulates attention over the epochs",
        writes="`model.pt`, `accumulated_attention.npz`",
        trains=True,
        shares_batches=True,
    ),
    Stage(
        "infer_cams",
        version=1,
        section="cams",
        title="CAM",
        does="class activation maps of each image's tags",
        writes="`<id>.npz`",
        spread=True,
        picture="heat",
        file="{}.npz",
    ),
    Stage(
        "train_attention",
        version=3,
        section="attention",
        title="attention",
        does="integral attention model on the accumulated attention",
        writes="`model.pt`",
        trains=True,
        shares_batches=True,
    ),
    Stage(
        "infer_attention",
        version=1,
        section="attention_maps",
        title="OA-CAM",
        does="OA-CAM: the class maps of the integral attention model",
        writes="`<id>.npz`",
        spread=True,
        picture="heat",
        file="{}.npz",
    ),
)
