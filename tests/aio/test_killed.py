"""A coordinator that is killed in the midst of a round goes on in a new process."""

import asyncio
import os
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import children
import pytest
from aio.coordinator import TASK
from aio.loopback import LIMIT, FrameLink, home_of, input_of, name_of, play
from harness import integers
from levels import runs_at

from secagg import Assignment, Mode, Phase
from secagg.aio import attend

HERE = Path(__file__).resolve().parent
RUNS = [(Mode.MALICIOUS, phase) for phase in [*map(str, Mode.MALICIOUS.phases), "jobs"]]
RUNS.append((Mode.SEMI_HONEST, str(Phase.UNMASK)))  # without a directory and a ledger


def command(home: Path, mode: Mode, port: int, phase: str) -> list[str]:
    """Returns the command that starts a coordinator."""
    script = str(HERE / "coordinator.py")
    return [sys.executable, script, str(home), str(int(mode)), str(port), phase]


@runs_at("programs")
@pytest.mark.parametrize(("mode", "phase"), RUNS)
def test_a_killed_coordinator_goes_on(tmp_path: Path, mode: Mode, phase: str) -> None:
    """In each phase: the clients find it again, and send the same bytes; the sum has them all."""
    environment = os.environ | {"PYTHONPATH": str(HERE.parent)}
    params = integers(4, mode=mode)
    port = 0
    trained: list[int] = []

    def training(party: int):
        def train(assignment: Assignment):
            assert assignment.task == TASK
            assignment.context = assignment.round.context
            trained.append(party)
            return input_of(party)

        return train

    @asynccontextmanager
    async def connect(party: int):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            link = FrameLink(reader, writer, 2**20)
            await link.send(name_of(party).encode())
            yield link
        finally:
            writer.close()

    async def scenario() -> None:
        nonlocal port
        arguments = {"stdout": subprocess.PIPE, "env": environment}
        with children.started(command(tmp_path / "home", mode, 0, phase), **arguments) as first:
            port = int(await asyncio.to_thread(first.stdout.readline))
            attending = [
                asyncio.create_task(
                    attend(
                        home_of(params, party),
                        lambda party=party: connect(party),
                        training(party),
                        pauses=(0.05, 0.2),
                    )
                )
                for party in range(4)
            ]
            assert await asyncio.to_thread(first.wait, LIMIT) == -9
        again = command(tmp_path / "home", mode, port, "")
        with children.started(again, **arguments) as second:
            lines = await asyncio.to_thread(second.stdout.read)
            assert lines.splitlines()[1] == "(0, 1, 2, 3) 0"
            await asyncio.gather(*attending)
        assert sorted(trained) == [0, 1, 2, 3]

    play(scenario, 3 * LIMIT)
