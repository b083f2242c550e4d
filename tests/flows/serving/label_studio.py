"""A real Label Studio on the loopback for the tests, and what they ask of its API.

It pins libraries older than ours, so it belongs into an environment of its own:

    python3 -m venv ../label-studio && ../label-studio/bin/pip install label-studio
    PATH=$PATH:../label-studio/bin .venv/bin/python -m pytest -q -m serving tests/flows/serving/test_label_studio.py
"""

import json
import os
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.flows.prefect_api import Api, free_port, until
from tests.flows.served import end

PROGRAM = "label-studio"
PERSON = {"email": "reviewer@example.org", "password": "only-for-this-test"}
TOKEN = "0123456789abcdef0123456789abcdef01234567"
"""Of the API; the server listens on the loopback, and ends with the test."""
SECONDS = 900
"""Longest start: a new database has hundreds of migrations."""


@dataclass
class LabelStudio:
    """A server of which a folder's files can be shown."""

    api: Api
    version: str

    @property
    def address(self) -> str:
        """Of its pages."""
        return self.api.address.removesuffix("/api")

    def project(self, review: Path) -> int:
        """A project with the pre-labels of a folder that `tag2mask review` wrote; its number.

        The steps are those of docs/corrections.md.
        """
        content = {"title": "review", "label_config": (review / "labels.xml").read_text()}
        number: int = self.api.call("projects", content)["id"]
        storage = {"project": number, "title": "images", "path": str(review / "images"), "use_blob_urls": True}
        self.api.call("storages/localfiles", storage)
        imported = self.api.call(f"projects/{number}/import", json.loads((review / "tasks.json").read_text()))
        assert imported["task_count"] == imported["prediction_count"] == len(list((review / "images").iterdir()))
        return number

    def tasks(self, project: int) -> dict[str, dict[str, Any]]:
        """Image id -> task with its predictions and annotations."""
        found = self.api.call(f"tasks?project={project}&fields=all&page_size=100")["tasks"]
        return {task["data"]["image_id"]: self.api.call(f"tasks/{task['id']}") for task in found}

    def export(self, project: int) -> Any:
        """The project as JSON, which holds what somebody submitted."""
        return self.api.call(f"projects/{project}/export?exportType=JSON")


def environment_of(data: Path, review: Path) -> dict[str, str]:
    """Environment in which Label Studio touches a folder alone, serves the images of a review and asks nobody else."""
    own = {
        "LABEL_STUDIO_BASE_DATA_DIR": str(data),
        "LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED": "true",
        "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT": str(review),
        **dict.fromkeys(("COLLECT_ANALYTICS", "LATEST_VERSION_CHECK"), "false"),
        **dict.fromkeys(("SENTRY_DSN", "FRONTEND_SENTRY_DSN"), ""),
    }
    return {**os.environ, **own}


@contextmanager
def label_studio(data: Path, review: Path) -> Iterator[LabelStudio]:
    """A server with an empty database; the test is skipped where Label Studio is not installed.

    Args:
        data: folder for the database.
        review: folder whose `images` it shows.
    """
    program = shutil.which(PROGRAM)
    if program is None:
        pytest.skip(f"{PROGRAM} is not on the path: install it into an environment of its own (see label_studio.py)")
    port = free_port()
    command = [program, "start", "--no-browser", "--internal-host", "127.0.0.1", "--port", str(port)]
    command += ["--username", PERSON["email"], "--password", PERSON["password"]]
    command += ["--user-token", TOKEN, "--enable-legacy-api-token", "--data-dir", str(data)]
    data.mkdir(parents=True, exist_ok=True)
    log = data / "server.log"
    with log.open("ab") as file:
        environment = environment_of(data, review)
        process = subprocess.Popen(command, env=environment, stdout=file, stderr=file, start_new_session=True)
    try:
        api = Api(f"http://127.0.0.1:{port}/api", {"Authorization": f"Token {TOKEN}"})
        version = until(lambda: _version(api, process, log), SECONDS)
        yield LabelStudio(api, version)
    finally:
        end(process)


def _version(api: Api, process: "subprocess.Popen[bytes]", log: Path) -> str | None:
    """The server's version, when it answers."""
    assert process.poll() is None, log.read_text(errors="replace")[-2000:]
    try:
        return str(api.call("version")["release"])
    except (urllib.error.URLError, OSError):
        return None
