"""Draw the README's picture from the newest run of the demo: training scenes through every step (`make picture`)."""

import sys
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from tag2mask.configs.load import load_config
from tag2mask.flows.dag.build import build_dag
from tag2mask.flows.dag.record import latest
from tag2mask.flows.init import packaged
from tag2mask.tasks.dataset.ground_truth import GroundTruth
from tag2mask.tasks.dataset.image_index import ImageIndex
from tag2mask.tasks.report.gallery import Row, choose_images, gallery_columns, gallery_rows
from tag2mask.tasks.report.pictures import picture_pixels
from tag2mask.tasks.report.steps import Step
from tag2mask.tasks.store.store import Store

STEPS = ("infer_cams", "predict_saliency", "refine_cams", "predict_masks-1", "refine_masks-1", "fuse_labels-1")
"""Nodes of the demo that are shown, in this order."""
TARGET = Path(__file__).with_name("demo-stages.png")
SIDE, GAP, HEADER = 128, 4, 18
"""Long side of a picture, space between two, height of the line of titles, in pixels."""


def demo_rows(root: Path, count: int = 6) -> list[Row]:
    """Training scenes, evenly spaced, and what the steps of the newest run below `root` made of them.

    Raises:
        SystemExit: there is no such run, or a result of it is gone.
    """
    record, store = latest(root, "demo"), Store.existing(root)
    if record is None:
        raise SystemExit(f"{root} holds no run of the demo: run make demo")
    found = {node: store.find(*label.split("/")) for node, label in record.labels.items()}
    folders = {node: artifact.path for node, artifact in found.items() if artifact is not None}
    if gone := found.keys() - folders.keys():
        raise SystemExit(f"{root} no longer holds {', '.join(sorted(gone))} of the newest demo: run make demo")
    facts = {node.name: node.facts for node in build_dag(load_config(packaged("demo.yaml")))}
    steps = [Step.read(name, folders[name], facts[name]) for name in STEPS]
    index = ImageIndex.read(folders["index_dataset"]).split("train")
    columns = gallery_columns(steps, [], GroundTruth.read(folders["index_masks"]), "train")
    chosen = choose_images(index.ids, {}, count // 2)[1]
    return gallery_rows(index, chosen, columns, {}, side=SIDE, threads=1)


def drawn(rows: list[Row]) -> Image.Image:
    """A row for each scene, a column for each step, its title above it."""
    titles = [picture.title for picture in rows[0].pictures]
    size = (len(titles) * (SIDE + GAP) - GAP, HEADER + len(rows) * (SIDE + GAP) - GAP)
    sheet = Image.new("RGB", size, "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    for column, title in enumerate(titles):
        pen.text((column * (SIDE + GAP) + 2, 2), title, fill="black", font=font)
    for line, row in enumerate(rows):
        for column, picture in enumerate(row.pictures):
            if picture.address is not None:
                place = column * (SIDE + GAP), HEADER + line * (SIDE + GAP)
                sheet.paste(Image.fromarray(picture_pixels(picture.address)), place)
    return sheet


if __name__ == "__main__":
    colors = drawn(demo_rows(Path(sys.argv[1] if len(sys.argv) > 1 else "artifacts"))).quantize(256)
    colors.save(TARGET, optimize=True)
