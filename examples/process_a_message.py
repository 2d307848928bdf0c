"""A secure sum in which no process outlives a message.

Run it: ``python examples/process_a_message.py [--clients 5] [--lost 1]``. Parties and server live
in folders; letters between them are files. Every step is a process of its own that loads what it
knows, reads its letters, stores what it knows now, and only then sends. What it said last it sends
again in its next step, so nothing is lost with a process that dies while it sends. A client that
dies before it has stored is out of the round: its former state does not go on a second time.
"""

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np

import secagg

LENGTH = 1000


def write(path: Path, data: bytes) -> None:
    """A file that is there whole or not at all."""
    draft = path.with_suffix(".draft")
    draft.write_bytes(data)
    draft.replace(path)


def letters(home: Path) -> list[Path]:
    """What waits in an inbox; names begin with the sender."""
    return sorted((home / "inbox").glob("*.letter"))


def values_of(index: int) -> np.ndarray:
    """What a party has; here it is drawn from its index, so that the sum can be checked."""
    return np.random.default_rng(index).integers(-1000, 1000, LENGTH, endpoint=True)


def party_step(root: Path, index: int) -> None:
    """One process of a client."""
    home = root / f"party-{index}"
    key = (home / "key").read_bytes()
    me = secagg.Identity.load(home / "identity")
    pins = secagg.Directory.load(root / "pins")
    ledger = secagg.SqliteLedger(home / "ledger.db")
    stored = home / "client"
    said: list[bytes] = []

    def act(events: Iterable[object]) -> None:
        for event in events:
            if isinstance(event, secagg.Send):
                said.append(event.payload)
            elif isinstance(event, secagg.InputNeeded):
                said.append(client.submit(values_of(index)))

    if stored.exists():
        client = secagg.Client.resume(stored.read_bytes(), key, ledger, identity=me, directory=pins)
        act(client.resend())
    else:
        offer = secagg.Round.decode((root / "offer").read_bytes())
        policy = secagg.Policy(mode=secagg.Mode.MALICIOUS, min_survivors=3)
        client = secagg.Client(offer, index, policy, identity=me, directory=pins, ledger=ledger)
        said.append(client.start())
    inbox = letters(home)
    for letter in inbox:
        act(client.receive(letter.read_bytes()))
    write(stored, client.suspend(key))
    for number, payload in enumerate(said):
        write(root / "server" / "inbox" / f"{index}-{number}.letter", payload)
    for letter in inbox:
        letter.unlink()


def server_step(root: Path, deadline: bool) -> None:
    """One process of the server."""
    home = root / "server"
    key = (home / "key").read_bytes()
    pins = secagg.Directory.load(root / "pins")
    ledger = secagg.SqliteLedger(home / "ledger.db")
    sends: list[secagg.Send] = []

    def act(events: Iterable[object]) -> None:
        for event in events:
            match event:
                case secagg.Send():
                    sends.append(event)
                case secagg.Work(job):
                    act(server.complete(job, job.run()))
                case secagg.Dropped(party, reason, code):
                    print(f"dropped party {party}: {reason} [{code}]")
                case secagg.Completed(result):
                    np.savez(home / "result.npz", total=result.total, survivors=result.survivors)
                case secagg.Failed(reason, code):
                    sys.exit(f"failed: {reason} [{code}]")

    snapshot = home / "snapshot"
    if snapshot.exists():
        server = secagg.Server.resume(snapshot.read_bytes(), key, ledger, pins)
        act(server.resend())
    else:
        offer = secagg.Round.decode((root / "offer").read_bytes())
        server = secagg.Server(offer, pins, ledger)
        act(server.start())
    inbox = letters(home)
    for letter in inbox:
        with contextlib.suppress(secagg.RemoteProtocolError):  # of an earlier phase, mostly
            act(server.receive(int(letter.name.split("-")[0]), letter.read_bytes()))
    if deadline and server.phase is not None:
        act(server.deadline(server.phase))
    if not (home / "result.npz").exists():
        write(snapshot, server.snapshot(key))
    for send in sends:
        name = (
            f"{send.payload[3]:02x}.letter"  # a byte of the header: the type, in order of sending
        )
        if send.payload != server.offer:
            write(root / f"party-{send.to}" / "inbox" / name, send.payload)
    for letter in inbox:
        letter.unlink()


def prepare(root: Path, clients: int) -> None:
    """What comes before a round: keys, pinned by everybody, and the offer."""
    entries = []
    for name in ["server", *(f"party-{index}" for index in range(clients))]:
        (root / name / "inbox").mkdir(parents=True)
        write(root / name / "key", os.urandom(32))
        if name != "server":
            identity = secagg.Identity.generate()
            identity.save(root / name / "identity")
            entries.append((name, identity.verify_key))
    secagg.Directory.of(entries).save(root / "pins")
    params = secagg.Params(
        clients, LENGTH, secagg.Integers(-1000, 1000), mode=secagg.Mode.MALICIOUS
    )
    (root / "offer").write_bytes(params.round(context=secagg.digest("example")).encode())


def run(root: Path, clients: int, lost: int) -> int:
    """Starts one process a step until the sum is there; says how many it took."""
    processes = 0

    def start(*arguments: str) -> None:
        nonlocal processes
        processes += 1
        subprocess.run([sys.executable, __file__, "--root", str(root), *arguments], check=True)  # noqa: S603

    prepare(root, clients)
    result = root / "server" / "result.npz"
    patience = 4 * clients * len(secagg.Phase)
    while not result.exists() and processes < patience:
        for index in range(clients):
            stored = root / f"party-{index}" / "client"
            gone = index < lost and stored.exists()  # says its first word, and vanishes
            if not gone and (letters(root / f"party-{index}") or not stored.exists()):
                start("--party", str(index))
        start("--server")
        waiting = any(letters(root / f"party-{index}") for index in range(lost, clients))
        if not waiting and not result.exists():
            start("--server", "--deadline")
    return processes


def main() -> None:
    """A whole round, or one step of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=5)
    parser.add_argument("--lost", type=int, default=1)
    parser.add_argument("--root", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--party", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--server", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--deadline", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.party is not None:
        party_step(options.root, options.party)
    elif options.server:
        server_step(options.root, options.deadline)
    else:
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            processes = run(root, options.clients, options.lost)
            with np.load(root / "server" / "result.npz") as result:
                survivors = result["survivors"].tolist()
                exact = sum(values_of(index) for index in survivors) == result["total"]
        right = "exact" if np.all(exact) else "WRONG"
        print(f"sum over parties {survivors}, {right}; {processes} processes")


if __name__ == "__main__":
    main()
