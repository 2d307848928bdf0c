"""A secure sum over TCP: one server and several clients, each a coroutine with its own socket.

Run it: ``python examples/tcp_sum.py [--clients 5] [--length 1000]``. A frame is a 32-bit length and
the bytes. A real deployment adds TLS with client certificates, so that the server knows which party
a message comes from.
"""

import argparse
import asyncio
import os
import struct
import sys
from collections.abc import Sequence

import numpy as np

import secagg

SECONDS_PER_PHASE = 10.0
PATIENCE = 3 * SECONDS_PER_PHASE  # of a client with a silent server
MAX_OFFER = 256  # before the offer nothing is known that would say how long a frame may be


def send_frame(writer: asyncio.StreamWriter, payload: bytes) -> None:
    """Sends one frame, and does not wait: a peer that reads nothing must not hold up the others."""
    writer.write(struct.pack("<I", len(payload)) + payload)


async def read_frame(
    reader: asyncio.StreamReader, most: int, seconds: float | None = None
) -> bytes:
    """Reads one frame of at most `most` bytes; EOFError at the end of the stream."""
    try:
        async with asyncio.timeout(seconds):
            (size,) = struct.unpack("<I", await reader.readexactly(4))
            if size > most:
                raise ConnectionError(f"a frame of {size} bytes came, {most} are allowed")
            return await reader.readexactly(size)
    except asyncio.IncompleteReadError:
        raise EOFError("the connection was closed") from None
    except TimeoutError:
        raise ConnectionError(f"no whole frame came in {seconds} s") from None


class TcpServer:
    """Drives one `secagg.Server`: connections in order of arrival become parties 0, 1, ..."""

    def __init__(self, params: secagg.Params) -> None:
        self.server = secagg.Server(params.round())
        self.cohort = params.cohort
        self.writers: list[asyncio.StreamWriter] = []
        self.outcome: asyncio.Future[secagg.Completed | secagg.Failed]
        self.outcome = asyncio.get_running_loop().create_future()

    async def connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serves one party until it closes the connection or breaks the protocol."""
        if len(self.writers) == self.cohort:
            writer.close()
            return
        party = len(self.writers)
        self.writers.append(writer)
        send_frame(writer, struct.pack("<I", party))
        send_frame(writer, self.server.offer)
        try:
            while True:
                data = await read_frame(reader, self.server.largest_message)
                await self.act(self.server.receive(party, data))
        except EOFError:
            pass  # if that is too early, the deadline of the phase drops the party
        except (OSError, secagg.RemoteProtocolError) as error:
            print(f"closed the connection of party {party}: {error}")
        finally:
            writer.close()

    async def act(self, events: Sequence[object]) -> None:
        """Handles the server's events."""
        loop = asyncio.get_running_loop()
        for event in events:
            match event:
                case secagg.Send(to, payload):
                    send_frame(self.writers[to], payload)
                case secagg.PhaseStarted(phase):
                    loop.call_later(SECONDS_PER_PHASE, self._deadline, phase)
                case secagg.Work(job):
                    value = await asyncio.to_thread(job.run)
                    await self.act(self.server.complete(job, value))
                case secagg.Dropped(party, reason, code):
                    print(f"dropped party {party}: {reason} [{code}]")
                case secagg.Completed() | secagg.Failed():
                    self.outcome.set_result(event)

    def _deadline(self, phase: secagg.Phase) -> None:
        if not self.outcome.done():
            asyncio.ensure_future(self.act(self.server.deadline(phase)))  # noqa: RUF006


async def client(port: int, values: np.ndarray, params: secagg.Params) -> None:
    """Runs one party, which takes part in a single round with its values.

    Raises:
        OSError, EOFError: the connection failed, was closed, or the server was silent.
        secagg.SecAggError: the server broke the protocol, or wanted something unsafe.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        (index,) = struct.unpack("<I", await read_frame(reader, 4, PATIENCE))
        offer = secagg.Round.decode(await read_frame(reader, MAX_OFFER, PATIENCE))
        party = secagg.Client(offer, index, secagg.Policy(params=params))
        send_frame(writer, party.start())
        finished = False
        while not finished:
            data = await read_frame(reader, party.largest_message, PATIENCE)
            for event in party.receive(data):
                match event:
                    case secagg.Send(_, payload):
                        send_frame(writer, payload)
                    case secagg.InputNeeded():
                        send_frame(writer, party.submit(values))
                    case secagg.Finished():
                        finished = True
        await writer.drain()
    finally:
        writer.close()


async def run(
    clients: int, length: int, port: int = 0
) -> tuple[secagg.Completed | secagg.Failed, np.ndarray]:
    """Returns how the round ended and all inputs, since this is an example."""
    params = secagg.Params(clients, length, secagg.FixedPoint(clip=8.0, bits=20))
    tcp = TcpServer(params)
    listener = await asyncio.start_server(tcp.connection, "127.0.0.1", port)
    port = listener.sockets[0].getsockname()[1]
    inputs = np.random.default_rng(0).normal(size=(clients, length))

    async def party(values: np.ndarray) -> None:
        try:
            await client(port, values, params)
        except (OSError, EOFError, secagg.SecAggError) as error:
            if not tcp.outcome.done():
                print(f"a client ended: {error}")

    parties = asyncio.gather(*map(party, inputs))
    try:
        await tcp.act(tcp.server.start())
        return await tcp.outcome, inputs
    finally:
        listener.close()
        for writer in tcp.writers:
            writer.close()
        await parties


def main() -> None:
    """Runs the example and prints the difference between the secure and the plain sum."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=5)
    parser.add_argument("--length", type=int, default=1000)
    parser.add_argument("--port", type=int, default=0, help="where to listen; 0: any free port")
    options = parser.parse_args()
    try:
        outcome, inputs = asyncio.run(run(options.clients, options.length, options.port))
        match outcome:
            case secagg.Failed(reason, code):
                sys.exit(f"tcp_sum: the round failed: {reason} [{code}]")
            case secagg.Completed(result):
                survivors = list(result.survivors)
                apart = np.abs(result.total - inputs[survivors].sum(axis=0)).max()
                print(
                    f"sum over parties {survivors}; largest rounding error {apart:.2e}", flush=True
                )
    except BrokenPipeError:  # nobody reads the output: Python would try again at exit
        os._exit(141)
    except (OSError, OverflowError, secagg.SecAggError) as error:
        sys.exit(f"tcp_sum: {error}")
    except KeyboardInterrupt:
        print("tcp_sum: interrupted", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
