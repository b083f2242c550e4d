"""What all tests share: Prefect must not touch the user's home, and its server must not phone home."""

import os
import shutil
import tempfile

import pytest

from tag2mask.flows.serving.settings import set_prefect_defaults


def pytest_configure(config: pytest.Config) -> None:
    """Set Prefect's environment before anything imports it: it is read once."""
    os.environ["PREFECT_HOME"] = tempfile.mkdtemp(prefix="tag2mask-prefect-")
    os.environ.pop("PREFECT_API_URL", None)
    set_prefect_defaults()


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove Prefect's home."""
    shutil.rmtree(os.environ["PREFECT_HOME"], ignore_errors=True)
