"""Prefect's environment, to be set before it is imported.  What the user has set stays."""

import os

DEFAULTS = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "true",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "300",  # its own 20 s are too short for a busy machine
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",  # the terminal has our own lines; the UI keeps INFO
    "PREFECT_LOGGING_EXTRA_LOGGERS": "tag2mask",
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
}
"""No telemetry, a patient start, a quiet terminal, and the stages' log in the UI."""


def set_prefect_defaults() -> None:
    """Set what is not set yet."""
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
