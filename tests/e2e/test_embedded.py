"""The scenario against the embedded server, as a process."""

import pytest

from tests.e2e import scenario
from tests.support.server import Server


def test_scenario(server: Server) -> None:
    scenario.run(server.http)


@pytest.mark.timeout(60)
def test_scenario_with_two_workers(tmp_path_factory: pytest.TempPathFactory) -> None:
    with Server(tmp_path_factory.mktemp("two") / "data", "--workers", "2") as server:
        scenario.run(server.http)
