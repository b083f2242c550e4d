"""What can be asked for when something is written: the values of `--format`, `--images` and `--choose`."""

from typing import Literal

ReleaseFormat = Literal["voc", "coco", "coco_panoptic", "yolo", "label_studio", "cvat", "hugging_face", "plain"]
"""Of an exported release; `tasks/exports/export.py` says what each writes."""
ReleaseImages = Literal["copy", "link", "none"]
"""Images of an exported release: copied, hard-linked, left out."""
ReviewFormat = Literal["label-studio", "cvat", "folder"]
"""With what masks are corrected."""
ReviewChoice = Literal["least-certain", "random"]
"""Which images are to be corrected."""
ModelFormat = Literal["onnx", "torch-export"]
"""Of an exported segmenter."""
