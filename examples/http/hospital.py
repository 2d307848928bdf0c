"""A hospital: takes part in all rounds of the training, with a home of its own.

``python hospital.py HOME NAME PORT``. The home has its identity, the pins of all hospitals, its
token, and its policy if it has one. If it is killed, start it again: it comes back.
"""

import asyncio
import logging
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import numpy as np
from sockets import LARGEST, Socket
from study import ATTEMPTS, LAYOUT, TRAINING, decode, examples_of, loss_of, trained

import secagg
from secagg.aio import attend


async def main(folder: Path, name: str, port: int) -> None:
    """Takes part until the coordinator says that the training is over."""
    home = secagg.Home(folder, attempts=ATTEMPTS)
    token = {"Authorization": (folder / "token").read_text().strip()}
    x, y = examples_of(name)

    @asynccontextmanager
    async def connect() -> AsyncIterator[Socket]:
        async with (
            aiohttp.ClientSession(headers=token) as session,
            session.ws_connect(
                f"http://127.0.0.1:{port}/", max_msg_size=LARGEST, heartbeat=10
            ) as socket,
        ):
            yield Socket(socket)

    def train(assignment: secagg.Assignment) -> tuple[np.ndarray, int]:
        number, model = decode(assignment.task)
        assignment.expect(TRAINING, LAYOUT, model)  # in its own words
        print(f"{name}: trains in round {number}", flush=True)
        new = trained(model, x, y)
        return LAYOUT.pack(new, model, {"loss": loss_of(model, x, y)}), len(x)

    await attend(home, connect, train, name=name, give_up=60)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    try:
        asyncio.run(main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
    except (secagg.SecAggError, OSError, EOFError, aiohttp.ClientError) as error:
        sys.exit(f"{sys.argv[2]}: {error}")
    except KeyboardInterrupt:
        sys.exit(f"{sys.argv[2]}: stopped; started again, it goes on where it was")
