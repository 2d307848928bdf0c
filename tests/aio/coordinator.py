"""A coordinator as a process of its own: goes on with what its home has, or begins a round.

Arguments: the home, the mode, the port (0: any), the phase in which it kills itself ("": none).
"""

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

from aio.loopback import LARGEST, FrameLink, names_of, right_sum
from harness import MODES, directory_of, integers

from secagg import Home, Mode, Server
from secagg.aio import Hub, serve

TASK = b"the model"


def dies_in(server: Server, phase: str) -> None:
    """Has the process killed at the second message of a phase, or at the first job's value."""
    count = 0

    def killing(method: Any, now: Any) -> Any:
        def call(*args: Any) -> Any:
            nonlocal count
            count += now()
            if count == 2:
                os.kill(os.getpid(), signal.SIGKILL)
            return method(*args)

        return call

    server.receive = killing(server.receive, lambda: str(server.phase) == phase)  # type: ignore
    server.complete = killing(server.complete, lambda: 2 * (phase == "jobs"))  # type: ignore


def tell(*what: object) -> None:
    """Writes a line for the test that started this."""
    sys.stdout.write(" ".join(map(str, what)) + "\n")
    sys.stdout.flush()


async def main(path: Path, mode: Mode, port: int, phase: str) -> None:
    """Serves one round."""
    params = integers(4, mode=mode)
    pins = directory_of(4) if mode is Mode.MALICIOUS else None
    home, hub = Home(path, directory=pins), Hub()

    async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = FrameLink(reader, writer, LARGEST)
        await hub.attach((await link.receive()).decode(), link)
        writer.close()

    listener = await asyncio.start_server(connection, "127.0.0.1", port)
    tell(listener.sockets[0].getsockname()[1])
    server = home.resume_server()
    more: dict[str, Any] = {}
    if server is None:
        server, more = Server(params.round(), pins, home.ledger), {"task": TASK}
        await hub.wait_for(4, 60)
    dies_in(server, phase)
    outcome = await serve(server, hub.net(names_of(params)), 60, store=home, **more)
    assert right_sum(outcome, params), outcome
    tell(outcome.result.survivors, len(list(home.store.sessions())))
    await hub.close()
    listener.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), MODES[int(sys.argv[2])], int(sys.argv[3]), sys.argv[4]))
