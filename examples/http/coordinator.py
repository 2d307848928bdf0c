"""The coordinator: a websocket for each hospital, and a training of secure rounds.

``python coordinator.py FOLDER PORT``. The folder is its home, with the pins of all hospitals; there
also lie the hashes of the tokens by which it knows connections, and the model. If it is
killed, start it again: it goes on where it was.
"""

import asyncio
import hashlib
import json
import logging
import sys
from pathlib import Path

from aiohttp import web
from sockets import LARGEST, Socket
from study import ATTEMPTS, FORMAT, LAYOUT, ROUNDS, TRAINING, encode, load, save

import secagg
from secagg.aio import Hub, run_round


async def main(folder: Path, port: int) -> None:
    """Serves all rounds of the training, then says goodbye."""
    home = secagg.Home(folder)
    names = json.loads((folder / "tokens.json").read_text())  # by the hash of their token
    hub = Hub(largest_message=LARGEST)
    rounds = secagg.Rounds(
        TRAINING, FORMAT, directory=home.directory, home=home, least=4, attempts=ATTEMPTS
    )

    async def connected(request: web.Request) -> web.WebSocketResponse:
        """Serves one connection of a hospital, which proves by its token who it is."""
        token = request.headers.get("Authorization", "").encode(errors="surrogateescape")
        name = names.get(hashlib.sha256(token).hexdigest())
        if name is None:
            raise web.HTTPUnauthorized
        socket = web.WebSocketResponse(max_msg_size=LARGEST, heartbeat=10, timeout=1)
        await socket.prepare(request)
        await hub.attach(name, Socket(socket))
        return socket

    app = web.Application()
    app.add_routes([web.get("/", connected)])
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()

    number, model = load(folder / "model")

    def keep(outcome: secagg.Completed) -> None:
        """Stores the next model; if the process is killed before, it gets the same sum again."""
        nonlocal number, model
        after, metrics = LAYOUT.unpack(outcome.result, model)
        save(folder / "model", number + 1, after)
        print(f"round {number}: {len(outcome.result.survivors)} hospitals, {metrics}", flush=True)
        number, model = number + 1, after

    while number < ROUNDS:
        task = encode(number, model)
        outcome = await run_round(rounds, hub, LAYOUT, model, task=task, timeouts=40, keep=keep)
        if isinstance(outcome, secagg.Failed):
            sys.exit(f"coordinator: round {number} failed: {outcome.reason} [{outcome.code}]")
    await hub.close("the training is over")
    await runner.cleanup()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
    try:
        asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
    except (secagg.SecAggError, OSError) as error:
        sys.exit(f"coordinator: {error}")
    except KeyboardInterrupt:
        sys.exit("coordinator: stopped; started again, it goes on where it was")
