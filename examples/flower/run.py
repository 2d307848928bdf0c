"""Runs an app on this machine: a SuperLink, SuperNodes, `flwr run`; and kills one node.

``python run.py``; ``--help`` lists the options. Everything that it starts ends with it.
"""

import argparse
import re
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from certificates import make_certificates, make_node_key
from machines import Machines, free_ports

import secagg

HERE = Path(__file__).resolve().parent
PATIENCE = 1200.0  # seconds for everything; it takes two or three minutes on an idle machine


PLAIN = "app = ClientApp()"
OWN_WORDS = """from secagg.integrations.flower import SecAggMod

from .task import AGREED, FIRST

app = ClientApp(mods=[SecAggMod(FIRST, **AGREED)])"""


def changed_copy(app: Path, folder: Path, client: str, strategy: str) -> Path:
    """Returns a copy of an app with another `ClientApp`, and other lines with a strategy."""
    copy = folder / app.name
    shutil.copytree(app, copy)
    [server_app], [client_app] = copy.glob("*/server_app.py"), copy.glob("*/client_app.py")
    server_app.write_text(re.sub(r"\n    strategy = SecAgg\(.*", strategy, server_app.read_text()))
    client_app.write_text(re.sub(r"app = ClientApp\(.*", client, client_app.read_text()))
    return copy


def make_consortium(folder: Path, names: list[str]) -> None:
    """Makes identities and pins, as each site does with `python -m secagg identity`."""
    keys = {name: secagg.Identity.generate() for name in names}
    pins = secagg.Directory.of((name, key.verify_key) for name, key in keys.items())
    for name, key in keys.items():
        key.save(folder / f"home-{name}" / "identity")
        pins.save(folder / f"home-{name}" / "pins")
        # The server chooses who takes part, so each says what a cohort of some must be good for.
        (folder / f"home-{name}" / "policy.json").write_text('{"min_survivors": 3}')
    pins.save(folder / "pins")


def start(machines: Machines, names: list[str], malicious: bool, killed_in: int) -> None:
    """Starts a SuperLink, and SuperNodes of these names; the last one hangs in a round.

    In malicious mode with TLS, node authentication and pinned keys.
    """
    folder, (port, *ports) = machines.folder, free_ports(1 + len(names))
    link = ["--host", "127.0.0.1", "--port", port, "--disable-runtime-dependency-installation"]
    secure, node, profile = ["--insecure"], ["--insecure"], "insecure = true"
    for name in names:
        (folder / f"home-{name}").mkdir(mode=0o700)
    if malicious:
        make_certificates(folder)
        make_consortium(folder, names)
        secure = ["--ssl-ca-certfile", "ca.pem", "--ssl-certfile", "server.pem"]
        secure += ["--ssl-keyfile", "server.key", "--enable-supernode-auth"]
        profile = f'root-certificates = "{folder / "ca.pem"}"'
    config = folder / "server" / "config.toml"
    config.parent.mkdir()
    config.write_text(f'[superlink.example]\naddress = "127.0.0.1:{port}"\n{profile}\n')
    machines.start("superlink", "flower-superlink", *secure, *link)
    machines.wait_for("Uvicorn running", {"superlink"})
    for name in names if malicious else ():
        make_node_key(folder / f"{name}.key")
        known_as = (folder / f"{name}.pub", "example", "--name", name)
        machines.run("server", "flwr", "supernode", "register", *known_as)
    for name, own_port in zip(names, ports, strict=True):
        if malicious:
            node = ["--root-certificates", "ca.pem"]
            node += ["--auth-supernode-private-key", f"{name}.key"]
        home = f'secagg-home="{folder / f"home-{name}"}" partition-id={names.index(name)}'
        hangs = f" hangs-in-round={killed_in}" if name == names[-1] else ""
        link = ["--superlink", f"127.0.0.1:{port}", "--port", own_port, "--host", "127.0.0.1"]
        machines.start(name, "flower-supernode", *node, *link, "--node-config", home + hangs)
    for name, number in machines.wait_for("SuperNode ID:", set(names)).items():
        print(f"{name:10} is node {number.strip()}", flush=True)


def play(machines: Machines, app: Path, config: str, victim: str, killed_in: int) -> list[str]:
    """Runs the app, kills a node while it trains; returns the lines of the server's log."""
    machines.start("server", "flwr", "run", app, "example", "--stream", "--run-config", config)
    said = []
    for name, line in machines.lines("server"):
        trains = re.search(r"trains in round (\d+)", line)
        if name == "server" or trains or "WARNING" in line or "ERROR" in line:
            print(f"{name:10} {line.removeprefix('INFO :').strip()}", flush=True)
        if name == "server":
            said.append(line)
        if name == victim and trains and int(trains[1]) == killed_in:
            machines.kill(victim)
            print(f"--- {victim} was killed", flush=True)
    return said


def main() -> None:
    """Runs it; exits with 1 unless there is a model at the end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--app", default="numpy_app", help="folder of the app")
    parser.add_argument("--nodes", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kill-in", type=int, default=2, help="round; 0 for none")
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--plain", action="store_true", help="without the two lines")
    mode.add_argument("--malicious", action="store_true", help="TLS, node keys, pinned keys")
    parser.add_argument("--out", type=Path, default=Path("model.npz"), help="the model, .npz")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that it ends what it has started
    names = [f"site-{at}" for at in range(given.nodes)]
    out = given.out.resolve()
    out.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory() as name:
        machines = Machines(Path(name).resolve(), PATIENCE)
        app = HERE / given.app
        config = f'num-server-rounds={given.rounds} min-nodes={given.nodes - 1} out="{out}"'
        config += " fraction-evaluate=0.0"
        if given.plain:
            app = changed_copy(app, machines.folder, PLAIN, "")
        if given.malicious:
            app = changed_copy(app, machines.folder, OWN_WORDS, r"\g<0>")
            config += f' pins="{machines.folder / "pins"}"'
        try:
            start(machines, names, given.malicious, given.kill_in)
            play(machines, app, config, names[-1], given.kill_in)
        finally:
            machines.end()
    if not out.exists():
        sys.exit("there is no model: see above")
    print(f"the model is in {given.out}")


if __name__ == "__main__":
    main()
