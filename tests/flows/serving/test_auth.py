"""A server with an auth string: nobody starts anything without it, and our own programs work with it."""

import base64
import urllib.error
from dataclasses import replace
from pathlib import Path

import pytest

from tests.flows.served import environment_of, free_port, offering, running_server, write_tiny

pytestmark = [pytest.mark.serving, pytest.mark.timeout(600)]


def test_nobody_starts_a_run_without_the_auth_string(tmp_path: Path) -> None:
    """Without it the API refuses, with it `serve` offers its deployments and carries out a run."""
    words = "team:correct horse"
    environment = environment_of(tmp_path, free_port())
    environment |= {"PREFECT_SERVER_API_AUTH_STRING": words, "PREFECT_API_AUTH_STRING": words}
    with running_server(tmp_path, environment) as api:
        known = replace(api, headers={"Authorization": f"Basic {base64.b64encode(words.encode()).decode()}"})
        with pytest.raises(urllib.error.HTTPError) as refused:
            api.call("deployments/filter", {})
        assert refused.value.code in (401, 403)
        with offering(tmp_path, write_tiny(tmp_path), known, environment):
            run_id = known.start("index_dataset/tiny-index_dataset", downstream=False)
            assert known.ended(run_id)["state_type"] == "COMPLETED"
