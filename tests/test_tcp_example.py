"""The TCP example over real sockets, with peers that do not keep to the protocol."""

import asyncio
import os
import runpy
import shlex
import socket
import struct
import sys
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import children
import numpy as np
import pytest
from aio.skipping import play_ahead
from levels import runs_at
from support import looped

import secagg
from secagg.drivers.envelope import Hello

EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "tcp_sum.py"
PARAMS = secagg.Params(4, 20, secagg.FixedPoint(8.0), threshold=3)

NAMES = runpy.run_path(str(EXAMPLE))


def frame(data: bytes) -> bytes:
    """A frame as it is sent."""
    return struct.pack("<I", len(data)) + data


HUGE, HALF = struct.pack("<I", 2**32 - 1), struct.pack("<I", 100) + b"half"
GARBAGE = frame(os.urandom(40))


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Its names, with times that a busy machine does not need: see `play_ahead`."""
    names = NAMES["client"].__globals__
    for name, seconds in (("SECONDS_PER_PHASE", 60.0), ("GRACE", 30.0), ("PATIENCE", 600.0)):
        monkeypatch.setitem(names, name, seconds)
    return SimpleNamespace(**NAMES)


# What comes after the hello, in place of the first message; whether the peer then closes the
# connection.
PEERS = {"huge": (HUGE, False), "garbage": (GARBAGE, False), "half": (HALF, False)}
PEERS |= {"half, then closed": (HALF, True), "silent": (b"", False), "closed": (b"", True)}
HONEST = len(PEERS) + 2


async def play(example: SimpleNamespace) -> object:
    """Returns the end of a round with clients and these peers, who came first and read no more."""
    params = secagg.Params(len(PEERS) + HONEST, 20, PARAMS.format, threshold=HONEST, colluders=2)
    tcp = example.TcpServer(params)
    async with await asyncio.start_server(tcp.connection, "127.0.0.1", 0) as listener:
        port = listener.sockets[0].getsockname()[1]
        peers = []
        for party, (sent, ends) in enumerate(PEERS.values()):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            name = example.name_of(party).encode()
            writer.write(frame(name) + frame(secagg.seal(Hello())) + sent)
            if ends:
                writer.close()
            peers.append(writer)
        inputs = np.ones((HONEST, params.length))
        clients = (
            example.client(port, len(PEERS) + i, row, params) for i, row in enumerate(inputs)
        )
        outcome, *ends = await asyncio.gather(tcp.round(params.cohort), *clients)
        assert ends == [""] * HONEST
        await tcp.hub.close()
        for each in peers:
            each.close()
        return outcome


def test_the_server_goes_on_without_bad_peers(
    example: SimpleNamespace,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The sum is that of the others; no exception goes to the event loop."""
    outcome = play_ahead(lambda: play(example))
    assert isinstance(outcome, secagg.Completed)
    assert outcome.result.survivors == tuple(range(len(PEERS), len(PEERS) + HONEST))
    printed = capsys.readouterr()
    assert printed.out.count("dropped party") == len(PEERS)
    assert printed.err == ""
    assert [record for record in caplog.records if record.name == "asyncio"] == []


def test_a_peer_that_never_reads_leaves_nothing(example: SimpleNamespace) -> None:
    """Its connection ends, and what it did not read goes with it."""

    async def scenario() -> int:
        tcp = example.TcpServer(PARAMS)
        tcp.hub = secagg.aio.Hub(patience=30)
        ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await tcp.connection(reader, writer)
            ended.set_result(writer.transport.get_write_buffer_size())

        async with await asyncio.start_server(connection, "127.0.0.1", 0) as listener:
            port = listener.sockets[0].getsockname()[1]
            with closing(socket.create_connection(("127.0.0.1", port))) as deaf:
                deaf.sendall(frame(b"party-0") + frame(secagg.seal(Hello())))
                assert await tcp.hub.wait_for(1, 30) == ["party-0"]
                await tcp.hub.net(["party-0"]).send(0, bytes(2**24))
                return await ended

    assert play_ahead(scenario) == 0


def invitation(index: int, agreed: secagg.Round) -> bytes:
    """The first frame of a server."""
    return frame(secagg.seal(secagg.Invitation(agreed.encode(), index)))


async def meet(example: SimpleNamespace, hostile: bytes, ends: bool) -> BaseException | None:
    """The exception of a client whose server sends `hostile`, and then ends or says no more."""

    writers = []

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        writer.write(hostile)
        if ends:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    values = np.ones(PARAMS.length)
    [error] = await asyncio.gather(example.client(port, 0, values, PARAMS), return_exceptions=True)
    server.close()
    for writer in writers:
        writer.close()
    return error


# Which of them is up to the system: a peer that closes may reset the connection.
GONE = (EOFError, ConnectionError)
SILENT = "the round took more than 600.0 s"
OTHER = secagg.Params(4, 21, PARAMS.format)


@looped(
    "hostile, ends, kind, says",
    [
        (b"", True, GONE, ""),
        (b"", False, ConnectionError, SILENT),
        (HALF, False, ConnectionError, SILENT),
        (HUGE, False, ConnectionError, "a frame of 4294967295 bytes came"),
        (HALF, True, GONE, ""),
        (GARBAGE, True, GONE, ""),
        (invitation(9, PARAMS.round()), False, ConnectionError, SILENT),
        (invitation(0, PARAMS.round()) + HUGE, False, ConnectionError, "are allowed"),
        (invitation(0, PARAMS.round()) + GARBAGE, True, GONE, ""),
        (invitation(0, PARAMS.round()) + HALF, True, GONE, ""),
        (invitation(0, OTHER.round()), False, ConnectionError, SILENT),
    ],
)
def test_a_client_ends_with_one_line(
    example: SimpleNamespace, hostile: bytes, ends: bool, kind: Any, says: str
) -> None:
    """Whatever its server sends: an exception that the program catches, with a text."""
    error = play_ahead(lambda: meet(example, hostile, ends))
    assert isinstance(error, kind)
    assert says in str(error)


def main(example: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, *options: str) -> object:
    """The exit code of the program, or the line that it ends with."""
    monkeypatch.setattr(sys, "argv", ["tcp_sum.py", "--length", "5", *options])
    with pytest.raises(SystemExit) as caught:
        example.main()
    return caught.value.code


def test_what_ends_the_program(
    example: SimpleNamespace,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A cohort of one, a port that is taken or closed, clients that refuse, and Ctrl-C."""
    assert "cohort must be" in str(main(example, monkeypatch, "--clients", "1"))
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = str(taken.getsockname()[1])
        assert "address already in use" in str(main(example, monkeypatch, "--port", port))
    with pytest.raises(ConnectionRefusedError):
        asyncio.run(example.client(int(port), 0, np.ones(5), PARAMS))

    strict = secagg.Policy(min_survivors=6)
    with monkeypatch.context() as patch:
        patch.setattr(secagg, "Policy", lambda **_: strict)
        failed = main(example, monkeypatch)
    assert str(failed).startswith("tcp_sum: the round failed: 0 parties")
    assert capsys.readouterr().out.count("refused: quorum 4 is below min_survivors 6 [") == 5

    def interrupt(coroutine: object) -> None:
        coroutine.close()  # type: ignore[attr-defined]
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(asyncio, "run", interrupt)
        assert main(example, monkeypatch) == 130
    assert capsys.readouterr().err == "tcp_sum: interrupted\n"


@runs_at("programs")
@pytest.mark.parametrize("options", ["tcp_sum.py", "process_a_message.py --lost 0"])
def test_a_closed_pipe_ends_an_example_without_a_word(options: str) -> None:
    """Neither a traceback, nor an exception that Python ignored at exit."""
    command = f"set -o pipefail; {shlex.quote(sys.executable)} {options} --clients 3 | true"
    shell = ["bash", "-c", command]
    done = children.run(shell, cwd=EXAMPLE.parent, env=children.environment())
    assert (done.returncode, done.stderr) == (141, "")
