"""The table of `make test-breakage`: what was tried, and how often all was well."""

from collections import Counter
from collections.abc import Callable

import pytest

Tally = Callable[[str, int], None]


@pytest.fixture
def survived(record_property: Callable[[str, object], None]) -> Tally:
    """Notified of what was tried, and how often; called after all of it was survived."""
    return lambda what, times: record_property("survived", (what, times))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the table where everything is asked for."""
    if not str(config.getoption("markexpr")).startswith("breakage"):
        return
    counts: Counter[str] = Counter()
    reports = (report for found in terminalreporter.stats.values() for report in found)
    for report in (report for report in reports if isinstance(report, pytest.TestReport) and report.when == "call"):
        for name, value in report.user_properties:
            if name == "survived" and isinstance(value, tuple | list):
                counts[str(value[0])] += int(value[1])
    terminalreporter.section("tried and survived")
    for what, times in counts.items():
        terminalreporter.write_line(f"{times:8d}  {what}")
