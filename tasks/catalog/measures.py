"""Records of the stages that measure what the others made, and of the report that shows it."""

from tag2mask.tasks.catalog.stage import Stage

MEASURES = (
    Stage(
        "measure_labels",
        version=2,
        section="measurement",
        title="signals",
        does="signals of the labels' quality that need no masks, for the gate before a release",
        writes="`signals.json`, `per_image.csv`",
        spread=True,
    ),
    Stage(
        "measure_confidence",
        version=1,
        section="confidence",
        title="confidence",
        does="how far the evidences stand behind each image and class",
        writes="`confidence.csv`",
        spread=True,
    ),
    Stage(
        "evaluate",
        version=7,
        section="evaluation",
        title="evaluation",
        does="mIoU and more of every step, per class and per image",
        writes="`scores.json`, `per_class.csv`, `per_group.csv`",
        spread=True,
    ),
    Stage(
        "render_report",
        version=7,
        section="report",
        title="report",
        does="one self-contained page",
        writes="`report.html`",
    ),
)
