"""The loop with a real Label Studio: pre-labels in through its API, one changed in a browser, exported, taken back.

With TAG2MASK_SCREENSHOTS=FOLDER it is the newest run of the demo that is reviewed, and the page is kept as a picture.
"""

import json
import os
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from tag2mask.flows.cli.main import app
from tag2mask.tasks.dataset.label_maps import read_labels
from tests.flows.prefect_api import until
from tests.flows.served import browser
from tests.flows.serving.label_studio import PERSON, LabelStudio, label_studio
from tests.small_run import SmallRun

SCREENSHOTS = os.environ.get("TAG2MASK_SCREENSHOTS")
COLORS = 256
"""Of a picture that is kept."""
PATIENCE = 120_000
"""Milliseconds to wait for an element."""
REST = 5_000
"""Milliseconds in which a drawing comes to rest."""
pytestmark = [pytest.mark.serving, pytest.mark.timeout(2400)]


def output_of(*arguments: str, root: Path) -> str:
    """Output of a command that ends well."""
    ran = CliRunner().invoke(app, [*arguments, "--root", str(root)], env={"COLUMNS": "300"})
    assert ran.exit_code == 0, ran.output + str(ran.exception)
    return ran.output


def log_in(page: Any, studio: LabelStudio) -> None:
    """Log in as the person who reviews."""
    page.set_default_timeout(PATIENCE)
    page.goto(f"{studio.address}/user/login/")
    for name, value in PERSON.items():
        page.locator(f"input[name={name}]").fill(value)
    page.locator("button[type=submit]").first.click()
    page.wait_for_url(lambda address: "/user/login" not in address)


def draw_a_stroke(page: Any, number: int) -> None:
    """Draw over the middle of the image with the brush of a label, and submit."""
    box = page.locator("canvas").first.bounding_box()
    page.keyboard.press(str(number))
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 3
    page.mouse.move(x - 40, y)
    page.mouse.down()
    page.mouse.move(x + 40, y, steps=8)
    page.mouse.up()
    page.get_by_role("button", name="Submit").click()


def correct_one(studio: LabelStudio, project: int, image_id: str, number: int) -> list[str]:
    """Draw a label on an image in a browser; the addresses outside of the server that the pages asked for."""
    foreign: list[str] = []
    task = studio.tasks(project)[image_id]["id"]
    with browser() as started:
        page = started.new_page(viewport={"width": 1400, "height": 900}, color_scheme="light")
        own = (studio.address, "data:", "blob:")
        page.on("request", lambda asked: None if asked.url.startswith(own) else foreign.append(asked.url))
        log_in(page, studio)
        page.goto(f"{studio.address}/projects/{project}/data?task={task}")
        page.locator("canvas").first.wait_for()
        page.get_by_role("button", name="Submit").wait_for()
        page.wait_for_timeout(REST)
        if SCREENSHOTS:
            picture = Image.open(BytesIO(page.screenshot())).convert("RGB")
            small = picture.quantize(COLORS, dither=Image.Dither.NONE)  # a third of the bytes
            small.save(Path(SCREENSHOTS) / "label-studio.png", optimize=True)
        draw_a_stroke(page, number)
        until(lambda: studio.tasks(project)[image_id]["annotations"] or None, PATIENCE / 1000)
    return foreign


def test_pre_labels_go_in_and_a_correction_comes_back(small_run: SmallRun, tmp_path: Path) -> None:
    """Pre-labels go in pixel by pixel, and what a person draws on one and submits is taken back, and that alone."""
    root, name = (Path("artifacts"), "demo") if SCREENSHOTS else (small_run.root, "small")
    review, target = tmp_path / "review", tmp_path / "corrections"
    output_of("review", name, "--count", "4", "--format", "label_studio", "--out", str(review), root=root)
    first = next(iter(json.loads((review / "review.json").read_text())["images"]))
    before = read_labels(review / "prelabels" / f"{first}.png")
    number = min(set(range(1, 6)) - set(np.unique(before).tolist()))  # a class that the image does not show so far
    with label_studio(tmp_path / "data", review) as studio:
        project = studio.project(review)
        given = {task["data"]["image_id"]: task for task in json.loads((review / "tasks.json").read_text())}
        for image_id, task in studio.tasks(project).items():
            (shown,) = task["predictions"]
            assert shown["result"] == given[image_id]["predictions"][0]["result"], image_id
        assert correct_one(studio, project, first, number) == []
        (review / "corrected" / "export.json").write_text(json.dumps(studio.export(project)))
    said = output_of("corrections", str(review), "--into", str(target), root=root)
    assert said.startswith("1 masks corrected with Label Studio")
    after = read_labels(target / f"{first}.png")
    changed = before != after
    assert set(np.unique(after[changed]).tolist()) == {number} and changed.mean() < 0.5
