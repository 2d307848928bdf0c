"""A secure sum in which every message is handled by a process of its own.

Run it: ``python examples/process_a_message.py [--clients 5] [--lost 1]``. Each party and the
server have a folder; messages between them are files. Each step is a process: it loads the stored
state, reads the messages in its inbox, stores the new state, and only then sends. The next step
sends the last messages again, so nothing is lost if a process dies while it sends. A client that
dies before it has stored its state is out of the round: an identity takes part in a session once,
and the state that a step began with cannot be resumed a second time.
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
# What the round is about. Each party computes it from what it was given to work on, for example
# `secagg.digest(training, model, attempt)`, and never takes it from the server's offer.
CONTEXT = secagg.digest("example")


def write(path: Path, data: bytes) -> None:
    """Writes a file as a whole: nobody sees a part of it."""
    draft = path.with_suffix(".draft")
    draft.write_bytes(data)
    draft.replace(path)


def waiting_messages(home: Path) -> list[Path]:
    """Returns the messages in an inbox; their names begin with the sender."""
    return sorted((home / "inbox").glob("*.message"))


def values_of(index: int) -> np.ndarray:
    """Returns a party's input, here drawn from its index so that the sum can be checked."""
    return np.random.default_rng(index).integers(-1000, 1000, LENGTH, endpoint=True)


def party_step(root: Path, index: int) -> None:
    """Runs one step of a client."""
    home = root / f"party-{index}"
    key = (home / "key").read_bytes()
    me = secagg.Identity.load(home / "identity")
    pins = secagg.Directory.load(root / "pins")
    ledger = secagg.SqliteLedger(home / "ledger.db")
    stored = home / "client"
    outgoing: list[bytes] = []

    def act(events: Iterable[object]) -> None:
        for event in events:
            if isinstance(event, secagg.Send):
                outgoing.append(event.payload)
            elif isinstance(event, secagg.InputNeeded):
                outgoing.append(client.submit(values_of(index)))

    if stored.exists():
        client = secagg.Client.resume(stored.read_bytes(), key, ledger, identity=me, directory=pins)
        act(client.resend())
    else:
        offer = secagg.Round.decode((root / "offer").read_bytes())
        policy = secagg.Policy(mode=secagg.Mode.MALICIOUS, min_survivors=3, context=CONTEXT)
        client = secagg.Client(offer, index, policy, identity=me, directory=pins, ledger=ledger)
        outgoing.append(client.start())
    inbox = waiting_messages(home)
    for message in inbox:
        act(client.receive(message.read_bytes()))
    write(stored, client.suspend(key))
    for number, payload in enumerate(outgoing):
        write(root / "server" / "inbox" / f"{index}-{number}.message", payload)
    for message in inbox:
        message.unlink()


def server_step(root: Path, deadline: bool) -> None:
    """Runs one step of the server."""
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
                    sys.exit(f"process_a_message: the round failed: {reason} [{code}]")

    snapshot = home / "snapshot"
    if snapshot.exists():
        server = secagg.Server.resume(snapshot.read_bytes(), key, ledger, pins)
        act(server.resend())
    else:
        offer = secagg.Round.decode((root / "offer").read_bytes())
        server = secagg.Server(offer, pins, ledger)
        act(server.start())
    inbox = waiting_messages(home)
    for message in inbox:
        with contextlib.suppress(secagg.RemoteProtocolError):  # mostly of an earlier phase
            act(server.receive(int(message.name.split("-")[0]), message.read_bytes()))
    if deadline and server.phase is not None:
        act(server.deadline(server.phase))
    if not (home / "result.npz").exists():
        write(snapshot, server.snapshot(key))
    for send in sends:
        name = f"{send.payload[3]:02x}.message"  # the type of the message: types are sent in order
        if send.payload != server.offer:
            write(root / f"party-{send.to}" / "inbox" / name, send.payload)
    for message in inbox:
        message.unlink()


def prepare(root: Path, clients: int) -> None:
    """Prepares a round: identities, the directory that all parties pin, and the offer."""
    entries = []
    for name in ["server", *(f"party-{index}" for index in range(clients))]:
        (root / name).mkdir(mode=0o700)  # whatever the umask: keys and ledgers lie there
        (root / name / "inbox").mkdir()
        write(root / name / "key", os.urandom(32))
        if name != "server":
            identity = secagg.Identity.generate()
            identity.save(root / name / "identity")
            entries.append((name, identity.verify_key))
    secagg.Directory.of(entries).save(root / "pins")
    params = secagg.Params(
        clients, LENGTH, secagg.Integers(-1000, 1000), mode=secagg.Mode.MALICIOUS
    )
    (root / "offer").write_bytes(params.round(context=CONTEXT).encode())


def run(root: Path, clients: int, lost: int) -> int:
    """Starts one process per step until the sum is there; returns the number of processes.

    Ends the program if a step fails, which says why itself, or if there is no sum.
    """
    processes = 0

    def start(*arguments: str) -> None:
        nonlocal processes
        processes += 1
        command = [sys.executable, __file__, "--root", str(root), *arguments]
        # In a group of its own: Ctrl-C is for this process, which then ends the step.
        if code := subprocess.run(command, check=False, process_group=0).returncode:  # noqa: S603
            sys.exit(code)

    prepare(root, clients)
    result = root / "server" / "result.npz"
    patience = 4 * clients * len(secagg.Phase)
    while not result.exists() and processes < patience:
        for index in range(clients):
            stored = root / f"party-{index}" / "client"
            gone = index < lost and stored.exists()  # drops out after its first message
            if not gone and (waiting_messages(root / f"party-{index}") or not stored.exists()):
                start("--party", str(index))
        start("--server")
        waiting = any(waiting_messages(root / f"party-{index}") for index in range(lost, clients))
        if not waiting and not result.exists():
            start("--server", "--deadline")
    if not result.exists():
        sys.exit(f"process_a_message: no sum after {processes} processes")
    return processes


def whole_round(clients: int, lost: int) -> str:
    """Runs a round in a temporary folder, and returns what became of it."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        processes = run(root, clients, lost)
        with np.load(root / "server" / "result.npz") as result:
            survivors = result["survivors"].tolist()
            exact = sum(values_of(index) for index in survivors) == result["total"]
    right = "exact" if np.all(exact) else "WRONG"
    return f"sum over parties {survivors}, {right}; {processes} processes"


def main() -> None:
    """Runs a whole round, or, in the processes that it starts, one step."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=5)
    parser.add_argument("--lost", type=int, default=1)
    parser.add_argument("--root", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--party", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--server", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--deadline", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not 0 <= options.lost < options.clients:
        parser.error("--lost must be in 0..clients - 1")
    try:
        if options.party is not None:
            party_step(options.root, options.party)
        elif options.server:
            server_step(options.root, options.deadline)
        else:
            print(whole_round(options.clients, options.lost))
        if sys.stdout is not None:  # it was closed before the program began
            sys.stdout.flush()
    except BrokenPipeError:  # nobody reads the output: Python would try again at exit
        os._exit(141)
    except (OSError, secagg.SecAggError) as error:
        sys.exit(f"process_a_message: {error}")
    except KeyboardInterrupt:
        print("process_a_message: interrupted", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
