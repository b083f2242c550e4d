"""What can be asked for when something is written (`--format`, `--images`, `--choose`), and the names in a review."""

from typing import Literal

ReleaseFormat = Literal["voc", "coco", "coco_panoptic", "yolo", "label_studio", "cvat", "hugging_face", "plain"]
"""Of an exported release; `tasks/exports/export.py` says what each writes."""
ReleaseImages = Literal["copy", "link", "none"]
"""Images of an exported release: copied, hard-linked, left out."""
ReviewFormat = Literal["label_studio", "cvat", "folder"]
"""With what masks are corrected."""
ReviewChoice = Literal["least-certain", "random"]
"""Which images are to be corrected."""
REVIEW, PRELABELS, CORRECTED = "review.json", "prelabels", "corrected"
"""In a folder to review: what it is, the masks that are given out, and where the corrected ones are put."""
ModelFormat = Literal["onnx", "torch-export"]
"""Of an exported segmenter."""
