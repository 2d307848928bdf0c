"""A secure sum in which every message to a party starts a process, which answers it and ends.

``python coordinator.py [--parties 5] [--lost 1]``. So do functions in a cloud, CGI, and frameworks
such as Flower. The last parties are lost after their first answer. The first one is killed while it
handles the message that asks for its input, and gets the same message again.
"""

import argparse
import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from agreed import FORMAT, LENGTH, context, values_of

import secagg
from secagg import Phase

SECONDS = 60.0  # for one message


class Processes:
    """The transport: a process per message."""

    def __init__(self, homes: list[Path], lost: int) -> None:
        self._homes = homes
        self._lost = set(range(len(homes) - lost, len(homes)))
        self._to_kill = {0}
        self.started = 0

    def exchange(
        self, phase: Phase, messages: Mapping[int, bytes]
    ) -> Iterator[tuple[int, bytes | Exception]]:
        """Sends a message to each party, and yields the answers as they come."""
        with ThreadPoolExecutor(len(self._homes)) as pool:
            calls = {
                pool.submit(self._call, party, message, phase): party
                for party, message in messages.items()
            }
            for call in as_completed(calls):
                error = call.exception()
                yield calls[call], error if isinstance(error, Exception) else call.result()

    def _call(self, party: int, message: bytes, phase: Phase) -> bytes:
        if phase is Phase.ADVERTISE_KEYS:  # the offer: it does not say which party this is
            message = secagg.seal(secagg.Invitation(message, party))
        elif party in self._lost:
            raise ConnectionError("this party is lost")
        if phase is Phase.MASKED_INPUT and party in self._to_kill:
            self._to_kill.remove(party)
            with self._start(party) as process:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.communicate(message, timeout=0.2)
                process.kill()
        with self._start(party) as process:
            try:
                answer, _ = process.communicate(message, SECONDS)
            finally:
                process.kill()  # it has ended, unless its time is up
        if process.returncode:
            raise ConnectionError(f"the process of party {party} ended with {process.returncode}")
        return answer

    def _start(self, party: int) -> "subprocess.Popen[bytes]":
        self.started += 1
        return subprocess.Popen(  # noqa: S603
            [sys.executable, Path(__file__).with_name("party.py"), self._homes[party]],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )


def prepare(homes: list[Path]) -> secagg.Directory:
    """Makes identities, and pins them in the home of each party."""
    entries = []
    for home in homes:
        home.mkdir(mode=0o700)
        identity = secagg.Identity.generate()
        identity.save(home / "identity")
        entries.append((home.name, identity.verify_key))
    pins = secagg.Directory.of(entries)
    for home in homes:
        pins.save(home / "pins")
    return pins


def main() -> None:
    """Runs one round, and compares the sum with that of the inputs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parties", type=int, default=5)
    parser.add_argument("--lost", type=int, default=1)
    options = parser.parse_args()
    try:
        params = secagg.Params(options.parties, LENGTH, FORMAT, mode=secagg.Mode.MALICIOUS)
        with tempfile.TemporaryDirectory() as folder:
            homes = [Path(folder) / f"party-{index}" for index in range(options.parties)]
            pins = prepare(homes)
            processes = Processes(homes, options.lost)
            server = secagg.Server(params.round(context(attempt=0)), pins)
            outcome = secagg.lockstep(server, processes.exchange)
    except secagg.SecAggError as error:
        sys.exit(f"message_a_process: {error} [{error.code}]")
    if isinstance(outcome, secagg.Failed):
        sys.exit(f"message_a_process: the round failed: {outcome.reason} [{outcome.code}]")
    survivors = list(outcome.result.survivors)
    inputs = zip(*(values_of(party) for party in survivors), strict=True)
    right = outcome.result.total.tolist() == [sum(values) for values in inputs]
    print(f"{processes.started} processes; sum over {survivors}: {'exact' if right else 'WRONG'}")
    sys.exit(not right)


if __name__ == "__main__":
    main()
