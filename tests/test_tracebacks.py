"""Exceptions hold no local variables of the library, and those of the application stay."""

import asyncio
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
from harness import (
    CONTEXT,
    SESSION,
    SteppedRound,
    directory_of,
    identity_of,
    integers,
    locals_kept,
    logged,
)
from nacl import bindings
from pairwise.stored import FOUR_MALICIOUS
from pairwise.test_contributions import ready

from secagg import (
    Aborted,
    Client,
    Directory,
    Field,
    Identity,
    IdentityError,
    MemoryLedger,
    Once,
    ParameterError,
    Phase,
    Policy,
    StateError,
    Suite,
    tracebacks,
)
from secagg.identity import directory_file
from secagg.machine.expansion import ExpandJob, SignedKeys
from secagg.pairwise import derivation
from secagg.primitives.agreement import WeakKeyError
from secagg.primitives.passphrase import Cost
from secagg.sharing import shamir


class Failing:
    """A ledger that raises the same error again and again."""

    def __init__(self, error: BaseException, what: Once = Once.CONTRIBUTION) -> None:
        self.error, self.what = error, what

    def claim(self, what: Once, key: bytes) -> bool:
        if what is self.what:
            raise self.error
        return True


def client_with(ledger: object) -> Client:
    """Party 0 of a malicious round, which has not begun."""
    agreed, policy = FOUR_MALICIOUS.round(CONTEXT, SESSION), Policy(context=CONTEXT)
    given = {"identity": identity_of(0), "directory": directory_of(4), "ledger": ledger}
    return Client(agreed, 0, policy, **given)  # type: ignore[arg-type]


def test_the_same_error_twice_keeps_nothing() -> None:
    """A masked input whose claim failed is not in the error that the caller is handling, either."""
    client = ready(Failing(StateError("the database is down")))  # type: ignore[arg-type]
    values = np.zeros(4, np.int64)
    with pytest.raises(StateError) as first:
        client.submit(values)
    assert locals_kept(first.value) == []

    def insists() -> None:
        try:
            client.submit(values)
        except StateError:
            client.submit(values)

    with pytest.raises(StateError) as again:
        insists()
    assert again.value is first.value
    assert locals_kept(again.value) == []


def test_a_coroutine_of_the_application_goes_on() -> None:
    """One whose error became the reason of another: clearing its frame would end it."""

    async def connection(ledger: Failing) -> str:
        try:
            raise OSError("connection lost")
        except OSError as error:
            ledger.error = StateError("no connection")
            ledger.error.__cause__ = error
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return "connected again"

    async def trial() -> str:
        ledger = Failing(StateError("none yet"), Once.PARTICIPATION)
        task = asyncio.create_task(connection(ledger))
        await asyncio.sleep(0)
        for _ in range(2):
            with pytest.raises(StateError):
                client_with(ledger).start()
        return await task

    assert asyncio.run(trial()) == "connected again"


def test_variables_of_the_application_stay() -> None:
    """Those of a ledger, for one: its developer wants to see them."""

    class Careless:
        def claim(self, what: Once, key: bytes) -> bool:
            wanted = "a row"
            raise LookupError(wanted)

    with pytest.raises(LookupError) as caught:
        client_with(Careless()).start()
    trace = caught.value.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    assert trace is not None
    assert trace.tb_frame.f_locals["wanted"] == "a row"
    assert locals_kept(caught.value) == []


def _expand() -> object:
    return ExpandJob(SignedKeys((bytes(range(32)),), (1,)), 20, Suite.AES256CTR, 0, 100).run()


# What is called, and the function below it that does not return: name and where it is found.
CALLS: dict[str, tuple[Callable[[Path], object], object, str]] = {
    "sign": (lambda _: identity_of(0).sign(b"m"), bindings, "crypto_sign"),
    "generate": (lambda _: Identity.generate(), bindings, "crypto_sign_seed_keypair"),
    "save": (
        lambda folder: Identity.generate().save(folder / "new", "phrase"),
        bindings,
        "crypto_pwhash_alg",
    ),
    "load": (lambda folder: Identity.load(folder / "me"), bindings, "crypto_sign_seed_keypair"),
    "load sealed": (
        lambda folder: Identity.load(folder / "sealed", "phrase"),
        bindings,
        "crypto_pwhash_alg",
    ),
    "stored key": (
        lambda folder: Identity.stored_verify_key(folder / "me"),
        bindings,
        "crypto_sign_seed_keypair",
    ),
    "load as pins": (lambda folder: Directory.load(folder / "me"), directory_file, "_lines"),
    "make a client": (
        lambda _: client_with(MemoryLedger()),
        bindings,
        "crypto_scalarmult_base",
    ),
    "submit": (lambda _: ready(MemoryLedger()).submit(np.zeros(4, int)), Field, "pack_into"),
    "job": (lambda _: _expand(), Field, "accumulate"),
}


def test_an_identity_where_pins_belong(memory_path: Path) -> None:
    """Two paths were exchanged: the seed is in no variable."""
    identity_of(0).save(memory_path / "me")
    for call in (
        lambda: Directory.load(memory_path / "me"),
        lambda: Directory.decode((memory_path / "me").read_bytes()),
    ):
        with pytest.raises(IdentityError) as caught:
            call()
        assert locals_kept(caught.value) == []


@pytest.mark.parametrize("name", CALLS)
def test_an_interrupt_leaves_nothing(name: str, memory_path: Path) -> None:
    """Ctrl-C, or the deadline of an application, in the middle of what has secrets."""
    me = identity_of(0)
    me.save(memory_path / "me")
    me.save(memory_path / "sealed", "phrase", _cost=Cost(1, 8))
    call, owner, function = CALLS[name]

    def interrupted(*args: object, **more: object) -> NoReturn:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, function, interrupted)
        with pytest.raises(KeyboardInterrupt) as caught:
            call(memory_path)
    assert locals_kept(caught.value) == []


def variables() -> str:
    """Returns what a reporter prints of the library's frames that run or have raised."""
    error = sys.exception()
    handled = traceback.walk_tb(error.__traceback__ if error else None)
    return "\n".join(
        repr(value)
        for frame, _ in (*traceback.walk_stack(None), *handled)
        if str(frame.f_globals.get("__name__")).startswith("secagg.")
        for value in frame.f_locals.values()
    )


def test_what_is_called_back_sees_no_secret() -> None:
    """A reporter that the application's iterator calls, or its log: no mask key, no share."""
    stepped = SteppedRound(integers(4, threshold=3))
    stepped.to_server(stepped.until(Phase.SHARE_KEYS))
    client, delivery = stepped.clients[0], bytearray(stepped.outbox[0])
    delivery[-1] ^= 1  # of the last ciphertext, so that there is something to log
    seen: list[str] = []
    with logged(lambda: seen.append(variables())):
        client.receive(bytes(delivery))
    lines = len(seen)
    secret = [repr(key.expose()) for key in client._memory.mask_keys]
    for row in client._memory.held.values():
        secret += [str(limb) for limb in row.tolist() if limb > 2**40]
        secret.append(repr(shamir.pack_shares(row.reshape(2, -1)))[2:-1])
    client.submit(seen.append(variables()) or part for part in np.arange(4)[:, None])  # type: ignore[func-returns-value]
    assert lines > 1
    assert len(seen) == lines + 4
    assert len(secret) > 20
    assert not [one for one in secret for text in seen if one in text]


def test_the_log_of_an_abort_sees_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """The exception is at hand when its reason is logged, and has left frames with bare bytes."""
    stepped = SteppedRound(integers(4, threshold=3))
    stepped.to_server(stepped.until(Phase.SHARE_KEYS))
    client = stepped.clients[0]
    secret = repr(client._memory.mask_secret.expose())

    def weak(*_: object) -> NoReturn:
        raise WeakKeyError

    monkeypatch.setattr(derivation, "pairwise_key", weak)
    seen: list[str] = []
    with logged(lambda: seen.append(variables())), pytest.raises(Aborted):
        client.receive(stepped.outbox[0])
    assert seen
    assert not [text for text in seen if secret in text]


def test_a_second_interrupt_finds_nothing_either(monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes while the variables are being cleared."""
    walks: list[object] = []
    true = traceback.walk_tb

    def walk(trace: object) -> object:
        walks.append(trace)
        if len(walks) == 1:
            raise KeyboardInterrupt
        return true(trace)  # type: ignore[arg-type]

    monkeypatch.setattr(tracebacks.traceback, "walk_tb", walk)
    with pytest.raises(KeyboardInterrupt) as caught:
        identity_of(0).sign("no bytes")  # type: ignore[arg-type]
    monkeypatch.undo()
    assert isinstance(caught.value.__context__, ParameterError)
    assert locals_kept(caught.value.__context__) == []
