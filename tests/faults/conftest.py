"""The suite's own line at the end of a run."""

import pytest

from tests.support.tally import TALLY


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if TALLY:
        terminalreporter.write_line(str(TALLY))
