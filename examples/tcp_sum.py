"""A secure sum over TCP: one server and several clients, each a coroutine with its own socket.

Run it: ``python examples/tcp_sum.py [--clients 5] [--length 1000]``. A frame is a 32-bit length and
the bytes. A real deployment adds TLS with client certificates, so that the server knows which party
a message comes from.
"""

import argparse
import asyncio
import contextlib
import struct
from collections.abc import Sequence

import numpy as np

import secagg

SECONDS_PER_PHASE = 10.0
MAX_OFFER = 256  # before the offer nothing is known that would say how long a frame may be


async def send_frame(writer: asyncio.StreamWriter, payload: bytes) -> None:
    """Writes one frame."""
    writer.write(struct.pack("<I", len(payload)) + payload)
    await writer.drain()


async def read_frame(reader: asyncio.StreamReader, most: int) -> bytes:
    """Reads one frame of at most `most` bytes; IncompleteReadError at the end of the stream."""
    (size,) = struct.unpack("<I", await reader.readexactly(4))
    if size > most:
        raise ValueError(f"a frame of {size} bytes is too long")
    return await reader.readexactly(size)


class TcpServer:
    """Drives one `secagg.Server`: connections in order of arrival become parties 0, 1, ..."""

    def __init__(self, params: secagg.Params) -> None:
        self.server = secagg.Server(params.round())
        self.cohort = params.cohort
        self.writers: list[asyncio.StreamWriter] = []
        self.outcome: asyncio.Future[secagg.Result] = asyncio.get_running_loop().create_future()
        self._everybody = asyncio.Event()

    async def connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serves one party until it closes the connection."""
        if len(self.writers) == self.cohort:
            writer.close()
            return
        party = len(self.writers)
        self.writers.append(writer)
        await send_frame(writer, struct.pack("<I", party))
        await send_frame(writer, self.server.offer)
        if len(self.writers) == self.cohort:
            await self.act(self.server.start())
            self._everybody.set()
        await self._everybody.wait()
        try:
            while True:
                data = await read_frame(reader, self.server.largest_message)
                try:
                    await self.act(self.server.receive(party, data))
                except secagg.RemoteProtocolError as error:
                    print(f"refused: {error}")
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def act(self, events: Sequence[object]) -> None:
        """Handles the server's events."""
        loop = asyncio.get_running_loop()
        for event in events:
            match event:
                case secagg.Send(to, payload):
                    # If the party is gone, the deadline of the phase drops it.
                    with contextlib.suppress(ConnectionError):
                        await send_frame(self.writers[to], payload)
                case secagg.PhaseStarted(phase):
                    loop.call_later(SECONDS_PER_PHASE, self._deadline, phase)
                case secagg.Work(job):
                    value = await asyncio.to_thread(job.run)
                    await self.act(self.server.complete(job, value))
                case secagg.Dropped(party, reason, code):
                    print(f"dropped party {party}: {reason} [{code}]")
                case secagg.Completed(result):
                    self.outcome.set_result(result)
                case secagg.Failed(reason, code):
                    self.outcome.set_exception(RuntimeError(f"{reason} [{code}]"))

    def _deadline(self, phase: secagg.Phase) -> None:
        if not self.outcome.done():
            asyncio.ensure_future(self.act(self.server.deadline(phase)))  # noqa: RUF006


async def client(port: int, values: np.ndarray, params: secagg.Params) -> None:
    """Runs one party, which takes part in a single round with its values."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    (index,) = struct.unpack("<I", await read_frame(reader, 4))
    offer = secagg.Round.decode(await read_frame(reader, MAX_OFFER))
    party = secagg.Client(offer, index, secagg.Policy(params=params))
    await send_frame(writer, party.start())
    finished = False
    while not finished:
        for event in party.receive(await read_frame(reader, party.largest_message)):
            match event:
                case secagg.Send(_, payload):
                    await send_frame(writer, payload)
                case secagg.InputNeeded():
                    await send_frame(writer, party.submit(values))
                case secagg.Finished():
                    finished = True
    writer.close()
    await writer.wait_closed()


async def run(clients: int, length: int) -> tuple[secagg.Result, np.ndarray]:
    """Returns the secure sum and, since this is an example, the plain sum."""
    params = secagg.Params(clients, length, secagg.FixedPoint(clip=8.0, bits=20))
    tcp = TcpServer(params)
    listener = await asyncio.start_server(tcp.connection, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    inputs = np.random.default_rng(0).normal(size=(clients, length))
    async with listener:
        parties = [asyncio.create_task(client(port, row, params)) for row in inputs]
        result = await tcp.outcome
        await asyncio.gather(*parties)
    return result, inputs.sum(axis=0)


def main() -> None:
    """Runs the example and prints the difference between the secure and the plain sum."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=5)
    parser.add_argument("--length", type=int, default=1000)
    options = parser.parse_args()
    result, plain = asyncio.run(run(options.clients, options.length))
    apart = np.abs(result.total - plain).max()
    print(f"sum over parties {list(result.survivors)}; largest rounding error {apart:.2e}")


if __name__ == "__main__":
    main()
