"""Recipes in docs/FRAMEWORKS.md, played as printed, without one of the five sites.

Frameworks' requirements clash with those of others, so each is tested in an environment of its own:
`nox -s fate fedml syft tff`. Elsewhere its test is skipped.
"""

import contextlib
import pickle
import re
import socket
import sys
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen

import children
import pytest
from documents import programs
from levels import runs_at

PROGRAMS = programs("INTEGRATE.md") | programs("FRAMEWORKS.md")
SITES = ("north", "east", "south", "west")  # not "mid"
WHAT = """round 0: completed  {'mid': '%s'}
  model of north east south west 50.75
round 1: completed  {'mid': '%s'}
  model of north east south west 76.1[23]
"""  # 76.125, rounded after a sum on a grid


def needs(module: str, session: str) -> pytest.MarkDecorator:
    """Skips a test where a framework is not installed."""
    reason = f"{module} is not installed: nox -s {session}"
    return pytest.mark.skipif(find_spec(module) is None, reason=reason)


@pytest.fixture
def play(tmp_path: Path) -> Iterator[Callable[..., "Popen[str]"]]:
    """Writes all programs and makes the homes; yields what starts a program in that folder."""
    for name, code in PROGRAMS.items():
        (tmp_path / name).write_text(code)
    done = children.run([sys.executable, "make_homes.py"], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    with contextlib.ExitStack() as stack:

        def start(*command: str, **environment: str) -> "Popen[str]":
            log = stack.enter_context((tmp_path / "log").open("a"))
            return stack.enter_context(
                children.started(
                    [sys.executable, *command],
                    cwd=tmp_path,
                    start_new_session=True,
                    stdin=DEVNULL,
                    stdout=PIPE,
                    stderr=log,
                    env=children.environment(**environment),
                )
            )

        yield start


def wait(process: "Popen[str]", ready: Callable[[], bool]) -> None:
    """Waits until a program is as far as that."""
    end = time.monotonic() + 600  # frameworks take long to import
    while not ready():
        assert time.monotonic() < end
        assert process.poll() is None, process.args
        time.sleep(0.1)


def check(folder: Path, server: "Popen[str]", sites: list["Popen[str]"], code: str) -> None:
    """Checks what the server printed, and that all programs ended well."""
    told = server.communicate(timeout=600)[0]
    log = (folder / "log").read_text()
    assert re.fullmatch(WHAT % (code, code), told), (told, log)
    for site in sites:
        site.communicate(timeout=600)
    assert [each.returncode for each in (server, *sites)] == [0] * 5, log
    assert "Traceback" not in log


@runs_at("programs")
@needs("fate", "fate")
def test_fate(tmp_path: Path, play: Callable[..., "Popen[str]"]) -> None:
    """The arbiter and four sites, over FATE's standalone federation."""
    sites = [play("fate_main.py", name) for name in SITES]
    for name, site in zip(SITES, sites, strict=True):
        wait(site, (tmp_path / "homes" / name / "ledger.db").exists)
    check(tmp_path, play("fate_main.py", "server"), sites, "timeout")


def is_open(port: int) -> bool:
    """Says whether someone listens there."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


class Bomb:
    """Makes a file where it is unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (Path("unpickled"),)


@runs_at("programs")
@needs("fedml", "fedml")
def test_fedml(tmp_path: Path, play: Callable[..., "Popen[str]"]) -> None:
    """Four sites over FedML's gRPC; pickles that anyone sends them are not loaded."""
    import grpc

    names = ("server", *SITES, "mid")
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in names]
        ports = [each.getsockname()[1] for each in held]
    rows = [f"{rank},{rank},127.0.0.1,{port},\n" for rank, port in enumerate(ports)]
    titles = "eid,rank,grpc_server_ip,grpc_server_port,ingress_ip\n"
    (tmp_path / "ips.csv").write_text(titles + "".join(rows))
    sites = [play("fedml_sum.py", name) for name in SITES]
    for port, site in zip(ports[1:], sites, strict=False):
        wait(site, lambda port=port: is_open(port))
        data = pickle.dumps(Bomb())
        assert len(data) < 128
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            send = channel.unary_unary("/gRPCCommManager/sendMessage")
            send(b"\x12" + bytes([len(data)]) + data, timeout=60, wait_for_ready=True)
    check(tmp_path, play("fedml_sum.py", "server"), sites, "gone")
    assert not (tmp_path / "unpickled").exists()


@runs_at("programs")
@needs("syft_rpc", "syft")
def test_syft(tmp_path: Path, play: Callable[..., "Popen[str]"]) -> None:
    """Four sites that share a folder of SyftBox with the server."""

    def config(name: str) -> str:
        path = tmp_path / f"{name}.json"
        path.write_text(f'{{"email": "{name}@example.org", "data_dir": "{tmp_path}/box"}}')
        return str(path)

    key = "SYFTBOX_CLIENT_CONFIG_PATH"
    sites = [play("syft_site.py", name, **{key: config(name)}) for name in SITES]
    for name, site in zip(SITES, sites, strict=True):
        folder = tmp_path / "box" / "datasites" / f"{name}@example.org" / "app_data" / "secagg"
        wait(site, (folder / "rpc" / "syft.pub.yaml").exists)
    check(tmp_path, play("syft_server.py", **{key: config("server")}), sites, "timeout")


COMPARE = """
import atexit, os, signal
atexit.register(os.killpg, 0, signal.SIGKILL)  # TFF leaves a worker behind, which holds the pipe
from tff_sum import *
import numpy as np
plain = learning.algorithms.build_weighted_fed_avg(new_model, CLIENT, SERVER)
state = plain.initialize()
for _ in range(ROUNDS):
    state = plain.next(state, [DATA[name] for name in NAMES if name != "mid"]).state
found = plain.get_model_weights(state).trainable
assert max(np.abs(array).max() for array in found) > 0.1
print(max(np.abs(a - b).max() for a, b in zip(model, found, strict=True)), flush=True)
"""


@runs_at("programs")
@needs("tensorflow_federated", "tff")
def test_tff(tmp_path: Path, play: Callable[..., "Popen[str]"]) -> None:
    """Two rounds give what TFF's own federated averaging gives over the same four sites."""
    code = PROGRAMS["tff_sum.py"]
    lost = code.replace("        yield name,", "        if name != 'mid':\n            yield name,")
    assert lost != code
    (tmp_path / "tff_sum.py").write_text(lost)
    (tmp_path / "compare.py").write_text(COMPARE)
    out, _ = play("compare.py").communicate(timeout=600)
    assert out.splitlines()[:-1] == [f"round {at}: {' '.join(SITES)}" for at in range(2)]
    assert float(out.splitlines()[-1]) < 2 * 2.0**-19, (tmp_path / "log").read_text()
