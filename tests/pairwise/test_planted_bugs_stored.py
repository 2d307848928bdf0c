"""Takes out the defences of stored state and of ledgers, one at a time, as `test_planted_bugs.py`.

With a defence its attack of `stored.py` gains nothing; without it, it reports what it gained.
`pytest -s` prints the table.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from pairwise.stored import STORED_ATTACKS
from pairwise.test_planted_bugs import Defence, disarm, guard

from secagg import Client, Code, Ledger, MemoryLedger, Once, Server, SqliteLedger
from secagg.errors import SecAggError
from secagg.forks import this_process
from secagg.machine.claims import (
    claim_contribution,
    claim_resumption,
    claim_survivor_set,
)
from secagg.machine.ownership import Owned
from secagg.machine.sealing import Sealer
from secagg.machine.wire import Reader
from secagg.pairwise import client as client_module
from secagg.pairwise.memory import ClientMemory

Patch = pytest.MonkeyPatch


def no_contribution_claim(patch: Patch) -> None:
    """A client contributes as often as it is asked to."""
    patch.setattr(client_module, "claim_contribution", lambda *claim: None)


def contribution_answer_ignored(patch: Patch) -> None:
    """A client asks its ledger, and goes on whatever it says."""

    def claim(ledger: Ledger, verify_key: bytes, context: bytes) -> None:
        ledger.claim(Once.CONTRIBUTION, verify_key + context)

    patch.setattr(client_module, "claim_contribution", claim)


def contribution_failure_ignored(patch: Patch) -> None:
    """A ledger that fails is no reason to stop."""

    def claim(ledger: Ledger, verify_key: bytes, context: bytes) -> None:
        with suppress(SecAggError):
            claim_contribution(ledger, verify_key, context)

    patch.setattr(client_module, "claim_contribution", claim)


def claimed_after_leaving(patch: Patch) -> None:
    """The contribution is claimed when the message is made, and may be on its way."""
    true = Client.submit
    no_contribution_claim(patch)

    def submit(self: Client, *values: object) -> bytes:
        message = true(self, *values)  # type: ignore[arg-type]
        if self._ledger is not None:
            self._ledger.claim(Once.CONTRIBUTION, bytes([self.index]) + self.round.context)
        return message

    patch.setattr(Client, "submit", submit)


def nothing_expected(patch: Patch) -> None:
    """A client in malicious mode takes the server's word for what its input is for."""
    patch.setattr(ClientMemory, "context_expected", property(lambda self: True, _ignore))


def forgetful(kind: type, what: Once) -> Callable[[Patch], None]:
    """A ledger that always says yes to one kind of claim."""
    true = kind.claim  # type: ignore[attr-defined]

    def remove(patch: Patch) -> None:
        def claim(self: object, asked: Once, key: bytes) -> bool:
            return asked is what or true(self, asked, key)

        patch.setattr(kind, "claim", claim)

    return remove


def keys_by_session(patch: Patch) -> None:
    """Contributions are counted by the session, which a server that repeats a round draws anew."""
    true = MemoryLedger.claim

    def claim(self: MemoryLedger, what: Once, key: bytes) -> bool:
        return true(self, what, key + os.urandom(16) if what is Once.CONTRIBUTION else key)

    patch.setattr(MemoryLedger, "claim", claim)


def unsealed(patch: Patch) -> None:
    """Stored state is written in clear."""

    def opened(self: Sealer, key: bytes, stored: bytes) -> tuple[bytes, Reader]:
        return bytes(32), Reader(stored, 0)

    patch.setattr(Sealer, "seal", lambda self, key, body: body)
    patch.setattr(Sealer, "open", opened)


def no_fork_guard(patch: Patch) -> None:
    """An object belongs to whatever process asks."""
    patch.setattr(Owned, "_owner", property(lambda self: this_process(), _ignore), raising=False)


def _ignore(self: object, value: object) -> None:
    """Sets nothing."""


CLIENT_RESUME = Client.resume.__func__  # type: ignore[attr-defined]
SERVER_RESUME = Server.resume.__func__  # type: ignore[attr-defined]
DEFENCES = [
    Defence("claim of a contribution", no_contribution_claim, "second_contribution",
            "recovered the input"),
    Defence("answer to that claim", contribution_answer_ignored, "second_contribution",
            "recovered the input"),
    Defence("key of that claim", keys_by_session, "second_contribution", "recovered the input"),
    Defence("memory of contributions", forgetful(MemoryLedger, Once.CONTRIBUTION),
            "second_contribution", "recovered the input"),
    Defence("claim before the input leaves", claimed_after_leaving, "unclaimed_contribution",
            "resent though its claim failed"),
    Defence("failing ledger stops a client", contribution_failure_ignored,
            "unclaimed_contribution", "left though its claim failed"),
    Defence("client's own word", nothing_expected, "context_of_the_server", "recovered the input"),
    Defence("claim of a resumption", guard(claim_resumption, Code.REPEATED_RESUMPTION),
            "resumed_twice", "recovered the input"),
    Defence("memory of resumptions", forgetful(MemoryLedger, Once.RESUMPTION), "resumed_twice",
            "recovered the input"),
    Defence("directory at resumption", guard(CLIENT_RESUME, Code.WRONG_DIRECTORY),
            "resumed_with_other_pins", "signatures of strangers"),
    Defence("directory at resumption, server", guard(SERVER_RESUME, Code.WRONG_DIRECTORY),
            "server_with_other_pins", "the round failed"),
    Defence("claim of the survivor set", guard(claim_survivor_set, Code.ROLLED_BACK),
            "rolled_back_server", "two survivor sets"),
    Defence("memory of survivor sets", forgetful(MemoryLedger, Once.SURVIVOR_SET),
            "rolled_back_server", "two survivor sets"),
    Defence("no snapshot without a ledger", guard(Server.snapshot, Code.NO_LEDGER),
            "snapshot_without_a_ledger", "two survivor sets"),
    Defence("sealing", unsealed, "stolen_storage",
            "the channel secret of a client, the mask seed of a client, the self seed of a client, "
            "the sum of a server"),
    Defence("fork guard", no_fork_guard, "answers_of_a_fork", "a difference of inputs"),
    Defence("fork guard within a call", no_fork_guard, "answers_of_a_fork_by_the_iterator",
            "a difference of inputs"),
]  # fmt: skip


@pytest.fixture(scope="module")
def table() -> Iterator[list[str]]:
    """Rows of the table, printed in the end."""
    rows: list[str] = []
    yield rows
    print(f"\n\n{'defence taken out':<38}{'attack that catches it':<34}what it then reports")  # noqa: T201
    print("\n".join(rows))  # noqa: T201


@pytest.mark.parametrize("name", STORED_ATTACKS)
def test_an_attack_gains_nothing(name: str) -> None:
    """The library as it is."""
    assert STORED_ATTACKS[name]() == ""


@pytest.mark.parametrize("defence", DEFENCES, ids=lambda defence: defence.name)
def test_an_attack_catches_the_missing_defence(
    defence: Defence, monkeypatch: Patch, table: list[str]
) -> None:
    """Without the defence the attack says what it gained; with it back, nothing."""
    attack = STORED_ATTACKS[defence.attack]
    with monkeypatch.context() as patch:
        defence.remove(patch)
        gain = attack()
    assert defence.gain in gain
    table.append(f"{defence.name:<38}{defence.attack:<34}{gain}")
    assert attack() == "", "the defence is back"


def test_every_attack_is_proved_able_to_succeed() -> None:
    """No attack is in the battery that could not go red."""
    assert STORED_ATTACKS.keys() == {defence.attack for defence in DEFENCES}


def test_a_removal_notices_a_moved_defence(monkeypatch: Patch) -> None:
    """A planted bug that no longer finds its defence is an error, not a pass."""
    with pytest.raises(AssertionError, match="has 0 x"):
        disarm(monkeypatch, CLIENT_RESUME, Code.TIMEOUT)


def test_a_forgetful_file_is_caught_too(monkeypatch: Patch, tmp_path: Path) -> None:
    """`forgetful` works on the ledger of a file as on the other."""
    forgetful(SqliteLedger, Once.RESUMPTION)(monkeypatch)
    ledger = SqliteLedger(tmp_path / "ledger")
    assert [ledger.claim(Once.RESUMPTION, b"") for _ in range(2)] == [True, True]
    assert [ledger.claim(Once.CONTRIBUTION, b"") for _ in range(2)] == [True, False]
