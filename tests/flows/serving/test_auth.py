"""A server with a password: nobody gets in without it, and our own programs find it in the store."""

import base64
import os
import subprocess
import sys
import urllib.error
from dataclasses import replace
from pathlib import Path

import pytest

from tag2mask.flows.serving.store_server import password_file, password_of
from tests.flows.prefect_api import free_port
from tests.flows.served import browser, environment_of, offering, running_server, write_tiny

pytestmark = [pytest.mark.serving, pytest.mark.timeout(900)]
SCREENSHOTS = os.environ.get("TAG2MASK_SCREENSHOTS")


def test_nobody_gets_in_without_the_password_and_serve_and_run_have_it(tmp_path: Path) -> None:
    """The API refuses, the UI asks; `serve` and `run`, without options, offer their deployments and carry out runs."""
    config, environment = write_tiny(tmp_path), environment_of(tmp_path, free_port())
    with running_server(tmp_path, environment, "--password") as api, browser() as started:
        words = password_of(tmp_path / "store")
        assert words is not None and password_file(tmp_path / "store").stat().st_mode & 0o777 == 0o600
        with pytest.raises(urllib.error.HTTPError) as refused:
            api.call("deployments/filter", {})
        assert refused.value.code in (401, 403)
        known = replace(api, headers={"Authorization": f"Basic {base64.b64encode(words.encode()).decode()}"})
        known = replace(known, headers={**known.headers, **known.token()})
        unnamed = {name: value for name, value in environment.items() if name != "PREFECT_API_URL"}
        with offering(tmp_path, config, known, unnamed):
            run_id = known.start("index_dataset/tiny-index_dataset", downstream=False)
            assert known.ended(run_id, 300)["state_type"] == "COMPLETED"
        command = [sys.executable, "-m", "tag2mask.flows.cli.main", "run", str(config), "--only", "index_dataset"]
        subprocess.run([*command, "--root", str(tmp_path / "store")], env=unnamed, check=True, timeout=300)
        runs = known.call("flow_runs/filter", {"flow_runs": {"deployment_id": {"is_null_": True}}})
        assert [run["state_type"] for run in runs] == ["COMPLETED"]
        page = started.new_page()
        page.goto(api.address.removesuffix("/api"))
        page.get_by_role("button", name="Login").wait_for(timeout=60_000)
        if SCREENSHOTS:
            page.screenshot(path=Path(SCREENSHOTS) / "password-asked.png")
        page.locator("input[type=password]").fill(words)
        page.get_by_role("button", name="Login").click()
        page.goto(f"{api.address.removesuffix('/api')}/deployments")
        page.get_by_text("tiny-index_dataset").first.wait_for(timeout=60_000)
        if SCREENSHOTS:
            page.screenshot(path=Path(SCREENSHOTS) / "password-given.png")
