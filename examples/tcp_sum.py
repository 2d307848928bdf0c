"""A secure sum over TCP: one server and several clients, each a coroutine with its own socket.

Run it: ``python examples/tcp_sum.py [--clients 5] [--length 1000]``. A frame is a 32-bit length and
the bytes. A real deployment adds TLS with client certificates, so that the server knows which party
a message comes from; here a client's first frame is its name, and the server believes it.
"""

import argparse
import asyncio
import os
import struct
import sys

import numpy as np

import secagg
import secagg.aio

SECONDS_PER_PHASE = 10.0
GRACE = 1.0  # seconds in which a client that lost its connection may come back
PATIENCE = 3 * SECONDS_PER_PHASE  # of a client with a silent server
LARGEST_NAME = 64


class FrameLink:
    """Frames of at most `largest` bytes on a stream: a link for `secagg.aio`."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, largest: int
    ) -> None:
        self._reader = reader
        self._writer = writer
        self.largest = largest

    async def send(self, data: bytes) -> None:
        """Sends one frame; waits while the peer does not read."""
        self._writer.write(struct.pack("<I", len(data)))
        self._writer.write(data)
        await self._writer.drain()

    async def receive(self) -> bytes:
        """Reads one frame; EOFError at the end of the stream."""
        try:
            (size,) = struct.unpack("<I", await self._reader.readexactly(4))
            if size > self.largest:
                raise ConnectionError(f"a frame of {size} bytes came, {self.largest} are allowed")
            return await self._reader.readexactly(size)
        except asyncio.IncompleteReadError:
            raise EOFError("the connection was closed") from None


class TcpServer:
    """Listens for clients, and serves rounds to them."""

    def __init__(self, params: secagg.Params) -> None:
        self.server = secagg.Server(params.round())
        largest = max(self.server.largest_message, 2**12)
        self.hub = secagg.aio.Hub(largest_message=largest, hello_within=SECONDS_PER_PHASE)

    async def connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serves one client until it closes the connection or breaks the protocol."""
        link = FrameLink(reader, writer, LARGEST_NAME)
        try:
            async with asyncio.timeout(SECONDS_PER_PHASE):
                name = (await link.receive()).decode(errors="replace")
            link.largest = self.hub.largest_message
            await self.hub.attach(name, link)
        except (OSError, EOFError, secagg.ParameterError):
            pass  # it never said its name
        finally:
            writer.transport.abort()  # `close` would wait for a peer that never reads

    async def round(self, clients: int) -> secagg.Completed | secagg.Failed:
        """Serves the round to the clients that have come by then."""
        await self.hub.wait_for(clients, SECONDS_PER_PHASE)
        net = self.hub.net([name_of(party) for party in range(clients)])
        return await secagg.aio.serve(
            self.server, net, SECONDS_PER_PHASE, observe=report, grace=GRACE
        )


def name_of(party: int) -> str:
    """Returns the name of a party."""
    return f"party-{party}"


def report(happened: object) -> None:
    """Prints who was dropped."""
    if isinstance(happened, secagg.RoundEnded):
        for dropped in happened.drops.values():
            print(f"dropped party {dropped.party}: {dropped.reason} [{dropped.code}]")


async def client(port: int, party: int, values: np.ndarray, params: secagg.Params) -> str:
    """Runs one party, which takes part in a single round with its values.

    Returns:
        What the server said at the end: "", or why there is no sum.

    Raises:
        OSError, EOFError: the connection failed, was closed, or the server was silent.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        link = FrameLink(reader, writer, params.length * 8 + 2**20)
        home = secagg.Home.in_memory(policy=secagg.Policy(params=params))
        async with asyncio.timeout(PATIENCE):
            await link.send(name_of(party).encode())
            over = await secagg.aio.participate(home, link, lambda _: values)
        return "" if over is None else over.reason
    except TimeoutError:
        raise ConnectionError(f"the round took more than {PATIENCE} s") from None
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

    async def party(index: int) -> None:
        try:
            await client(port, index, inputs[index], params)
        except (OSError, EOFError) as error:
            print(f"a client ended: {error}")

    parties = asyncio.gather(*map(party, range(clients)))
    try:
        return await tcp.round(clients), inputs
    finally:
        listener.close()
        await tcp.hub.close()
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
