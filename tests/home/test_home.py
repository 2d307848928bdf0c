"""Homes and stores: what they make, what they refuse, and states that do not serve any more."""

import copy
import errno
import itertools
import json
import os
import pickle
import shelve
import shutil
import stat
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import children
import pytest
from harness import CONTEXT, MODES, WILLING, directory_of, identity_of, integers
from home.world import World, code_of, credentials, home_of, sum_of, train
from levels import runs_at
from refusals import refused

import secagg
from secagg import (
    Code,
    Directory,
    FileStore,
    FixedPoint,
    Fractions,
    Home,
    IdentityError,
    Integers,
    MappingStore,
    MemoryLedger,
    MemoryStore,
    Mode,
    ParameterError,
    Params,
    Phase,
    Policy,
    Server,
    StateError,
    Store,
    Suite,
    answer,
)
from secagg.drivers.conductor import Conductor
from secagg.drivers.envelope import Over
from secagg.files import DRAFTS
from secagg.home.records import Kind, key_of

either_mode = pytest.mark.parametrize("mode", MODES, ids=str)
A, B = bytes(range(16)), bytes(range(16, 32))

# ---- stores -------------------------------------------------------------------------------


def test_what_is_stored_is_read_again(memory_path: Path) -> None:
    """By every store; other keys of a mapping stay as they are."""
    shared: dict[str, bytes] = {"other": b"1", "secagg-x": b"2"}
    with shelve.open(memory_path / "shelf") as shelf:  # noqa: S301
        for store in (
            FileStore(memory_path / "states"),
            MemoryStore(),
            MappingStore(shared),
            MappingStore(shelf, "round "),
        ):
            assert isinstance(store, Store)
            assert store.get(A) is None
            store.delete(A)
            store.put(A, b"first")
            store.put(B, b"")
            store.put(A, b"second")
            assert (store.get(A), store.get(B)) == (b"second", b"")
            assert sorted(store.sessions()) == [A, B]
            store.delete(A)
            assert (store.get(A), list(store.sessions())) == (None, [B])
            for bad in (b"short", "x" * 16, b"x" * 17):
                with refused(ParameterError, Code.ARGUMENT, match="session"):
                    store.put(bad, b"")  # type: ignore[arg-type]
                with refused(ParameterError, Code.ARGUMENT):
                    store.get(bad)  # type: ignore[arg-type]
    assert shared == {"other": b"1", "secagg-x": b"2", f"secagg-{B.hex()}": b""}


def test_files_of_states_are_for_their_owner(memory_path: Path) -> None:
    """Under names of the session alone; drafts of a process that died are removed in time."""
    store = FileStore(memory_path / "states")
    store.put(A, b"state")
    file = store.path / A.hex()
    assert [stat.S_IMODE(each.stat().st_mode) for each in (store.path, file)] == [0o700, 0o600]
    (store.path / "notes.txt").touch()
    drafts = [store.path / DRAFTS.replace("*", name) for name in ("old", "new", "lock")]
    for draft, age in zip(drafts, (7200, 60, 7200), strict=True):
        draft.touch()
        os.utime(draft, (time.time() - age,) * 2)
    assert FileStore(store.path).sessions() == [A]
    assert [draft.exists() for draft in drafts] == [False, True, True]


def test_a_mapping_that_can_be_synced_is() -> None:
    """Before `put` returns."""
    synced: list[int] = []

    class Shelf(dict[str, bytes]):
        def sync(self) -> None:
            synced.append(len(self))

    MappingStore(Shelf()).put(A, b"x")
    assert synced == [1]


class Failing(dict[str, bytes]):
    def __setitem__(self, key: str, value: bytes) -> None:
        raise RuntimeError("no connection")


def test_a_store_that_fails_says_why_in_one_line(
    memory_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk, a removed folder, another kind of value; what was there stays."""
    store = FileStore(memory_path / "states")
    store.put(A, b"old")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    for name in ("fsync", "open"):
        with monkeypatch.context() as patch:
            patch.setattr(os, name, full)
            with refused(StateError, Code.IO, match=r"states: cannot be used: No space left"):
                store.put(A, b"new")
        assert (store.get(A), len(list(store.path.iterdir()))) == (b"old", 1)
    shutil.rmtree(store.path)
    for action in (lambda: store.get(A), lambda: store.put(A, b""), store.sessions):
        with refused(StateError, Code.IO, match="No such file"):
            action()
    with refused(StateError, Code.IO, match="RuntimeError: no connection"):
        MappingStore(Failing()).put(A, b"x")
    with refused(StateError, Code.FOREIGN_FILE, match="int"):
        MappingStore({f"secagg-{A.hex()}": 7}).get(A)  # type: ignore[dict-item]
    assert MappingStore({f"secagg-{A.hex()}": bytearray(b"x")}).get(A) == b"x"  # type: ignore[dict-item]
    (memory_path / "file").touch()
    for path in (memory_path / "file", memory_path / "file" / "states"):
        with refused(StateError, Code.IO, match="cannot be used: .*/file is a file, not a folder"):
            FileStore(path)
    with refused(StateError, Code.IO, match="there is no folder .*/missing; make it first"):
        FileStore(memory_path / "missing" / "states")
    with refused(StateError, Code.IO, match="write it out"):
        FileStore("~/nowhere/states")


# ---- the folder ---------------------------------------------------------------------------


def test_a_home_is_made_once(tmp_path: Path) -> None:
    """Also by several at once: they have one key and one ledger. Nobody else can read it."""
    barrier = threading.Barrier(4)

    def make(_: int) -> Home:
        barrier.wait()
        return Home(tmp_path / "me")

    with ThreadPoolExecutor(4) as pool:
        homes = list(pool.map(make, range(4)))
    assert len({home.key for home in homes}) == 1
    claim = (secagg.Once.RESUMPTION, bytes(32))
    assert [home.ledger.claim(*claim) for home in homes] == [True, False, False, False]
    modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in (tmp_path / "me").iterdir()}
    assert modes == {"key": 0o600, "ledger.db": 0o600, "states": 0o700}
    assert stat.S_IMODE((tmp_path / "me").stat().st_mode) == 0o700
    home = homes[0]
    assert (home.path, home.policy, home.attempts) == (tmp_path / "me", Policy(), 1)
    assert (home.identity, home.directory) == (None, None)
    assert home.key.hex() not in repr(home) + repr(vars(home.store))
    for copied in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="neither copied nor pickled"):
            copied(home)


def test_a_home_reads_its_files(memory_path: Path) -> None:
    """Identity, pins and policy; what is given in code is taken in their place."""
    path = memory_path / "me"
    Home(path)
    identity_of(0).save(path / "identity")
    directory_of(3).save(path / "pins")
    (path / "policy.json").write_text('{"min_survivors": 3}')
    home = Home(path)
    assert home.identity is not None
    assert home.identity.verify_key == identity_of(0).verify_key
    assert (home.directory, home.policy) == (directory_of(3), Policy(min_survivors=3))
    (path / "pins").write_text("nonsense")
    (path / "policy.json").write_text("nonsense")
    with refused(ParameterError, Code.SYNTAX, match=r"policy\.json: this is no JSON"):
        Home(path)
    with refused(IdentityError, Code.FOREIGN_FILE, match="pins"):
        Home(path, policy=Policy())
    given = Home(path, policy=WILLING, identity=identity_of(1), directory=Directory())
    assert (given.policy, given.identity, given.directory) == (WILLING, identity_of(1), Directory())
    identity_of(0).save(path / "identity", "a passphrase", overwrite=True, _cost=_cheap())
    with refused(IdentityError, Code.PASSPHRASE, match="identity"):
        Home(path, policy=Policy(), directory=Directory())


def _cheap() -> object:
    from secagg.primitives.passphrase import Cost

    return Cost(1, 8)


def test_a_home_that_cannot_be_used(memory_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that others may read, a folder that they may write to, and wrong arguments."""
    path = memory_path / "me"
    Home(path)
    (path / "key").chmod(0o640)
    with refused(StateError, Code.PERMISSIONS, match="key: .*chmod 600"):
        Home(path)
    (path / "key").chmod(0o600)
    for content in (b"", b"x" * 31, b"x" * 65):
        (path / "key").write_bytes(content)
        with refused(StateError, Code.CORRUPT, match="key: .* restore it"):
            Home(path)
    (path / "key").write_bytes(bytes(32))
    path.chmod(0o777)
    with refused(StateError, Code.PERMISSIONS, match="me: other users may write"):
        Home(path)
    path.chmod(0o700)
    with monkeypatch.context() as patch:
        patch.setattr(os, "geteuid", lambda: 4711)
        patch.setattr("secagg.permissions._trusted", lambda: (4711,))
        with refused(StateError, Code.PERMISSIONS, match="belongs to another user"):
            Home(path)
    with refused(StateError, Code.IO, match="there is no folder .*missing; make it first"):
        Home(memory_path / "missing" / "me")
    for wrong in (
        {"policy": {}},
        {"identity": b"x"},
        {"store": {}},
        {"ledger": 1},
        {"attempts": 0},
        {"wait": -1.0},
        {"max_age": float("nan")},
    ):
        with pytest.raises(ParameterError, match=next(iter(wrong))):
            Home.in_memory(**wrong)  # type: ignore[arg-type]
    monkeypatch.chdir(memory_path)  # nothing is made here
    there = sorted(memory_path.iterdir())
    for path, text in ((7, "path"), (None, "`Home.in_memory"), ("", "not set"), (b"", "not set")):
        with refused(ParameterError, Code.ARGUMENT, match=text):
            Home(path)  # type: ignore[arg-type]
    assert sorted(memory_path.iterdir()) == there


# ---- one at a time ------------------------------------------------------------------------


def test_a_home_has_one_user_at_a_time(tmp_path: Path) -> None:
    """Threads and other objects of the same folder wait, then say that it is busy; so does an
    answer while a training runs, and a call out of a training."""
    for one, two in (
        (Home(tmp_path / "me"), Home(tmp_path / "me", wait=0.02)),
        ((memory := Home.in_memory(wait=0.02)), memory),
    ):
        with one.lock(), refused(StateError, Code.BUSY, match="in use by another"), two.lock():
            pass
        with two.lock():
            pass
    round_ = World(homes={0: Home(tmp_path / "party", policy=WILLING, wait=0.02)})
    codes: list[Code] = []

    def nested(assignment: secagg.Assignment) -> object:
        for home in (round_.homes[0], Home(tmp_path / "party", wait=0.0)):
            with pytest.raises(StateError) as caught:
                answer(home, round_.payload(0), train)
            codes.append(caught.value.code)
        return train(assignment)

    round_.trains[0] = nested
    assert round_.begin().finish().total == sum_of(range(3))
    assert codes == [Code.BUSY] * 2


def test_a_child_that_stays_does_not_hold_a_home(tmp_path: Path) -> None:
    """A training may leave workers that were forked while the home was held; also if it is killed,
    and they live on."""
    home = Home(tmp_path / "me", wait=0.05)
    (reading, writing), (told, tells) = os.pipe(), os.pipe()
    with home.lock():
        child = os.fork()
        if not child:
            os.close(writing)
            os.read(reading, 1)  # until the parent is done, or gone
            os._exit(0)
    parent = os.fork()
    if not parent:
        with home.lock():
            if not os.fork():
                os.close(writing)
                os.write(tells, b"x")
                os.read(reading, 1)
            os._exit(0)  # as if it was killed
    try:
        os.waitpid(parent, 0)
        assert os.read(told, 1) == b"x"
        with home.lock():
            pass
    finally:
        for file in (writing, reading, told, tells):
            os.close(file)
        os.waitpid(child, 0)


def test_a_child_that_ends_does_not_give_a_home_back(tmp_path: Path) -> None:
    """A worker that ends by an exception, and so leaves the block in which it was forked."""
    home, other = Home(tmp_path / "me"), Home(tmp_path / "me", wait=0.02)
    file = os.open(tmp_path, os.O_RDONLY)  # its number must not be closed by the child, twice
    mine = os.getpid()
    try:
        with home.lock():
            child = os.fork()
            if not child:
                raise SystemExit
            os.waitpid(child, 0)
            with refused(StateError, Code.BUSY, match="any user who may read"), other.lock():
                pass
    finally:
        if os.getpid() != mine:
            os._exit(0)
        os.close(file)
    with other.lock():
        pass


def test_a_child_that_leaves_a_training_does_not_answer(tmp_path: Path) -> None:
    """By an exception, or by a value: its parent answers, with its own."""
    mine, codes = os.getpid(), []

    def forking(asked: secagg.Assignment) -> object:
        for number in range(2):
            if not (child := os.fork()):
                asked.context = asked.round.context
                return train(asked) + 1 if number else _no_input()
            codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        return train(asked)

    one = World(homes={0: Home(tmp_path / "me", policy=WILLING)}, trains={0: forking})
    one.until(Phase.MASKED_INPUT)
    try:
        told = one.answer(0, one.payload(0))
    except StateError as error:
        if os.getpid() == mine:
            raise
        os._exit(7 if error.code is Code.FORKED else 8)
    finally:
        if os.getpid() != mine:
            os._exit(9)
    assert codes == [7, 7]
    assert one.step({0: told}).finish().total == sum_of(range(3))


def _no_input() -> object:
    raise ValueError("a worker failed")


def test_other_users_cannot_hold_a_home(tmp_path: Path) -> None:
    """The folder that is locked is closed to them when the home is opened."""
    Home(tmp_path / "me")
    (tmp_path / "me" / "states").chmod(0o755)
    Home(tmp_path / "me")
    assert stat.S_IMODE((tmp_path / "me" / "states").stat().st_mode) == 0o700


def test_what_is_old_is_removed(memory_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is removed when the next round begins; what another version has stored is left alone.

    Also what a clock that was far ahead has dated, which would be young for years.
    """
    store = FileStore(memory_path / "states")
    home = home_of(Mode.SEMI_HONEST, 0, store=store, max_age=100.0)
    offers = [integers(3).round(CONTEXT) for _ in range(4)]
    now = time.time_ns()
    store.put(A, b"something else")
    for offer, later in zip(offers, (0, 60, 120, 90), strict=True):
        monkeypatch.setattr(time, "time_ns", lambda later=later: now + later * 10**9)
        home.keep_note(offer.session, b"note")
        assert code_of(answer(home, offer.encode(), train, index=0)) == ""
    parties = [home.load(offer.session) is not None for offer in offers]
    assert parties == [False, True, True, True]
    assert [home.note(offer.session) for offer in offers] == [b"", b"note", b"note", b"note"]
    monkeypatch.setattr(time, "time_ns", lambda: now - 20 * 10**9)
    assert code_of(answer(home, integers(3).round(CONTEXT).encode(), train, index=0)) == ""
    parties = [home.load(offer.session) is not None for offer in offers]
    assert parties == [False, True, False, False]
    assert store.get(A) == b"something else"


# ---- the policy's file --------------------------------------------------------------------

POLICIES: list[tuple[dict[str, object], Policy]] = [
    ({}, Policy()),
    ({"mode": "malicious", "suite": "CHACHA20"}, Policy(mode=Mode.MALICIOUS, suite=Suite.CHACHA20)),
    (
        {"context": "ab" * 32, "min_survivors": 5, "max_clip": 8, "allow_pair": True},
        Policy(context=b"\xab" * 32, min_survivors=5, max_clip=8.0, allow_pair=True),
    ),
    ({"sparse": {"corrupt": 0.1, "dropout": 0.2}}, Policy(sparse=Fractions(0.1, 0.2))),
    (
        {"format": [{"FixedPoint": {"clip": 8, "bits": 16}}, {"Integers": {"low": 0, "high": 9}}]},
        Policy(format=(FixedPoint(8.0, 16), Integers(0, 9))),
    ),
    (
        {"params": {"cohort": 5, "length": 9, "format": {"Integers": {"low": 0, "high": 9}}}},
        Policy(params=Params(5, 9, Integers(0, 9))),
    ),
    ({"params": None, "format": None}, Policy()),
]
WRONG: list[tuple[str, str]] = [
    ('{"min_survivor": 3}', "has no field 'min_survivor'; its fields are .*min_survivors"),
    ('{"min_survivors": 3, "min_survivors": 4}', "'min_survivors' is there twice"),
    ('{"min_survivors": "3"}', "min_survivors must be an int"),
    ('{"min_survivors": true}', "min_survivors must be an int"),
    ('{"max_length": 0}', "max_length must be in"),
    ('{"allow_pair": 1}', "allow_pair is True or False"),
    ('{"min_clip": NaN}', "NaN is no finite number"),
    ('{"max_clip": Infinity}', "Infinity is no finite number"),
    ('{"sparse": {"corrupt": -1e999}}', "-1e999 is no finite number"),
    ('{"mode": "honest"}', "mode must be one of semi-honest, malicious, not 'honest'"),
    ('{"suite": 1}', "suite must be one of AES256CTR"),
    ('{"context": "ab"}', "context must be 32 bytes"),
    ('{"context": 7}', "context must be 64 hexadecimal digits"),
    ('{"sparse": {"corrupt": 0.1}}', "sparse lacks the field 'dropout'"),
    ('{"sparse": {"corrupt": 2, "dropout": 0}}', "corrupt must be a fraction"),
    ('{"format": {"Fixed": {}}}', 'format must be {"FixedPoint"'),
    ('{"format": {"FixedPoint": {"clip": 8, "bit": 3}}}', "format FixedPoint has no field 'bit'"),
    ('{"format": {"FixedPoint": {"clip": -8}}}', "clip must be finite and positive"),
    ('{"format": []}', "format must be a number format"),
    ('{"params": {"cohort": 5}}', "params lacks the field 'length'"),
    ("[]", "the policy must be an object"),
    ("{", "this is no JSON"),
    ("[" * 100_000, "this is no JSON"),
    ("\xff", "this is no JSON"),
]


def test_a_policy_file(memory_path: Path) -> None:
    """Has the fields of `Policy`; what is wrong is named with the file and the field."""
    path = memory_path / "me"
    Home(path)
    file = path / "policy.json"
    for content, policy in POLICIES:
        file.write_text(json.dumps(content), "utf-8-sig")
        assert Home(path).policy == policy
    for text, reason in WRONG:
        file.write_bytes(text.encode("latin-1"))
        with pytest.raises(ParameterError, match=reason) as caught:
            Home(path)
        assert str(caught.value).startswith(f"{file}: ")
    file.write_text("{}")
    file.chmod(0o666)
    with refused(StateError, Code.PERMISSIONS, match=r"policy\.json"):
        Home(path)


# ---- states that do not serve any more ----------------------------------------------------


def halfway(mode: Mode) -> tuple[World, MemoryStore]:
    """A round in which party 0 is asked for its input."""
    store = MemoryStore()
    one = World(mode, 4, {0: home_of(mode, 0, 4, store=store)}).until(Phase.MASKED_INPUT)
    return one, store


@either_mode
def test_a_stale_state_is_refused(mode: Mode) -> None:
    """One that was used before, as out of a backup: the party is out of the round, for good."""
    store = MemoryStore()
    one = World(mode, 4, {0: home_of(mode, 0, 4, store=store)}).until(Phase.SHARE_KEYS)
    key, roster = key_of(Kind.PARTY, one.round.session), one.payload(0)
    older = store.get(key)
    assert older is not None
    assert not code_of(one.answer(0, roster))
    store.put(key, older)
    told = one.answer(0, roster)
    assert code_of(told) == Code.REPEATED_RESUMPTION
    assert one.answer(0, roster) == told
    assert one.step({0: told}).finish().survivors == (1, 2, 3)


@either_mode
def test_a_state_that_cannot_be_opened_is_left_alone(mode: Mode) -> None:
    """Of another version, altered, of another round or under another key: the server is told, the
    home can be used for other rounds, and the right state goes on."""
    one, store = halfway(mode)
    right = store.get(key_of(Kind.PARTY, one.round.session))
    assert right is not None
    other = home_of(mode, 0, 4, store=store, ledger=one.homes[0].ledger)
    (code,) = {code_of(answer(other, one.payload(0), train))}
    assert code == Code.WRONG_KEY
    for bad, code in (
        (right[:2] + b"\x07" + right[3:], Code.VERSION),
        (right[:-1] + bytes([right[-1] ^ 1]), Code.WRONG_KEY),
        (b"something else", Code.FOREIGN_FILE),
        (right[:20], Code.CORRUPT),
        (right[:3] + b"\x03" + right[4:], Code.CORRUPT),
        (right[:4] + bytes(16) + right[20:], Code.CORRUPT),
    ):
        store.put(key_of(Kind.PARTY, one.round.session), bad)
        assert code_of(one.answer(0, one.payload(0))) == code
        assert store.get(key_of(Kind.PARTY, one.round.session)) == bad
    assert World(mode, 4, one.homes, {}, bytes(32)).begin().step().step().sends
    store.put(key_of(Kind.PARTY, one.round.session), right)
    assert one.finish().total == sum_of(range(4))


def test_records_do_not_change_places() -> None:
    """Also if somebody who can write to the store makes them look like each other's."""
    home = home_of(Mode.SEMI_HONEST, 0)
    for session in (A, B):
        offer = integers(3).round(CONTEXT, session).encode()
        assert code_of(answer(home, offer, train, index=0)) == ""
        home.keep_note(session, session)
    for kind in (Kind.PARTY, Kind.NOTE):
        data = home.store.get(key_of(kind, A))
        home.store.put(key_of(kind, B), data.replace(A, B))
    for read in (home.load, home.note):
        with refused(StateError, Code.CORRUPT, match="of another round"):
            read(B)
    assert home.note(A) == A


def test_no_session_of_a_party_is_the_key_of_another_record() -> None:
    """A server that chooses the session cannot remove what a coordinator has in the same home."""
    home = Home.in_memory()
    server = World(ledger=home.ledger).conductor.server
    server.start()
    home.keep_server(server)
    home.keep_note(server.session, b"note")
    for session in (server.session, *home.store.sessions()):
        answer(home, secagg.seal(Over(session, "", "")), train)
    assert home.note(server.session) == b"note"
    assert home.resume_server(server.session) is not None


def test_an_identity_that_was_replaced() -> None:
    """Or other pins, or a stricter policy: the round does not go on with them, but with the right
    ones."""
    mode = Mode.MALICIOUS
    one, store = halfway(mode)
    mine = one.homes[0]
    three = directory_of(4).leave("party-3")
    for code, given in (
        (Code.WRONG_IDENTITY, {"identity": identity_of(1)}),
        (Code.WRONG_DIRECTORY, {"directory": three}),
        (Code.WRONG_DIRECTORY, {"directory": three.join("new", identity_of(9).verify_key)}),
        (Code.NO_IDENTITY, {"identity": None}),
        (Code.POLICY_SURVIVORS, {"policy": Policy(min_survivors=4)}),
    ):
        home = home_of(mode, 0, 4, store=store, ledger=mine.ledger, **given)
        object.__setattr__(home, "key", mine.key)
        assert code_of(answer(home, one.payload(0), train)) == code
    assert one.finish().total == sum_of(range(4))


def test_a_copied_home(memory_path: Path) -> None:
    """No ledger sees the other one's claims: both copies answer. The server takes the first answer;
    within one folder the second would be refused."""
    mode, path = Mode.MALICIOUS, memory_path / "me"
    more = {"policy": WILLING, **credentials(mode, 0, 4)}
    one = World(mode, 4, {0: Home(path, **more)}).until(Phase.MASKED_INPUT)  # type: ignore[arg-type]
    shutil.copytree(path, memory_path / "copy")
    copied = Home(memory_path / "copy", **more)  # type: ignore[arg-type]
    payload = one.payload(0)
    mine = one.answer(0, payload)
    other = answer(copied, payload, lambda asked: train(asked) + 1)
    assert mine != other
    assert not code_of(other)
    one.step({0: mine})
    one.conductor.take(0, other)
    assert one.conductor.faults[0].code in {Code.EQUIVOCATION, Code.OUT_OF_ORDER}
    assert one.finish().total == sum_of(range(4))


def test_a_ledger_that_fails_is_the_operators_matter() -> None:
    """It raises; nothing was used up, and the same payload is answered later."""

    class Broken(MemoryLedger):
        broken: Exception | None = None

        def claim(self, what: secagg.Once, key: bytes) -> bool:
            if self.broken:
                raise self.broken
            return super().claim(what, key)

    ledger = Broken()
    one = World(homes={0: home_of(Mode.SEMI_HONEST, 0, ledger=ledger)}).until(Phase.SHARE_KEYS)
    for error in (StateError("full", Code.CORRUPT), ValueError("not ours")):
        ledger.broken = error
        with pytest.raises(type(error)) as caught:
            one.answer(0, one.payload(0))
        assert caught.value is error
    ledger.broken = None
    assert one.finish().total == sum_of(range(3))


# ---- the server's side --------------------------------------------------------------------


@either_mode
def test_a_server_goes_on_from_its_home(mode: Mode, memory_path: Path) -> None:
    """After each phase in a new process; a note is kept beside it; at the end both are gone. The
    home may be that of a party of the same round as well."""
    pins = directory_of(4)
    path = memory_path / "site"
    site = Home(path, **{"policy": WILLING, **credentials(mode, 0, 4)})  # type: ignore[arg-type]
    assert site.resume_server() is None
    one = World(mode, 4, {0: site}, ledger=site.ledger)
    one.conductor = Conductor(one.conductor.server, store=site)
    site.keep_note(one.round.session, b"members, task")
    one.begin().step()
    while one.conductor.outcome is None:
        again = Home(path, policy=WILLING, identity=site.identity, directory=site.directory)
        assert again.note(one.round.session) == b"members, task"
        server = again.resume_server(one.round.session, pins)
        assert isinstance(server, Server)
        one.conductor = Conductor(server, store=again)
        one.sends = one.conductor.begin()
        one.homes[0] = again
        one.step()
    assert one.total == sum_of(range(4))
    assert again.resume_server() is None
    assert again.note(one.round.session) == b""
    assert again.load(one.round.session) is not None
    again.forget(one.round.session)


def test_the_server_that_was_stored_last_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the pins of the home, if none are given; other pins are refused, a wrong note too. Also
    if the clock was ahead when another one was stored."""
    home = Home.in_memory(directory=directory_of(4))
    servers = [
        World(mode, 4, {1: home}, context=bytes([mode]) * 32, ledger=home.ledger).conductor.server
        for mode in (Mode.SEMI_HONEST, Mode.MALICIOUS, Mode.SEMI_HONEST)
    ]
    real = time.time_ns
    for server, ahead in zip(servers[:2], (3600, 0), strict=True):
        monkeypatch.setattr(time, "time_ns", lambda ahead=ahead: real() + ahead * 10**9)
        server.start()
        home.keep_server(server)
    last = home.resume_server()
    assert last is not None
    assert last.session == servers[1].session
    assert home.resume_server(servers[0].session) is not None
    with refused(secagg.LocalProtocolError, Code.OUT_OF_ORDER):
        home.keep_server(servers[2])
    three = directory_of(4).leave("party-3").join("new", identity_of(9).verify_key)
    with refused(StateError, Code.WRONG_DIRECTORY):
        home.resume_server(servers[1].session, three)
    assert home.resume_server(bytes(16)) is None
    for session in (b"", "x"):
        with refused(ParameterError, Code.ARGUMENT):
            home.forget(session)  # type: ignore[arg-type]


# ---- processes ----------------------------------------------------------------------------

PARTY = """
import sys, time
import numpy as np, secagg
home = secagg.Home(sys.argv[1], policy=secagg.Policy(allow_pair=True))
def train(asked):
    asked.context = asked.round.context
    return np.random.default_rng().integers(-9, 9, 4)
payload = sys.stdin.buffer.read()
print("ready", flush=True)
if payload:
    print(secagg.answer(home, payload, train).hex(), flush=True)
else:
    with home.lock():
        print("held", flush=True)
        time.sleep(60)
"""


def process(home: Path, payload: bytes, seconds: float | None = None) -> bytes:
    """Has a process of its own answer; returns b"" if it was killed so long after it began."""
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", PARTY, home], stdin=pipe, stdout=pipe) as child:
        try:
            child.stdin.write(payload)
            child.stdin.close()
            assert child.stdout.readline() == b"ready\n"
            if seconds is not None:
                time.sleep(seconds)
                child.kill()
            return bytes.fromhex(child.stdout.readline().decode())
        finally:
            child.kill()


@runs_at("programs")
def test_processes_that_are_killed(tmp_path: Path) -> None:
    """With SIGKILL, at any moment of any phase: the next one sends what is right, or refuses."""
    mode = Mode.MALICIOUS
    refusals = {Code.REPEATED_RESUMPTION, Code.REPEATED_PARTICIPATION}
    path, moments = tmp_path / "me", itertools.cycle((0.004, 0.012))
    Home(path)
    identity_of(0).save(path / "identity")
    directory_of(4).save(path / "pins")
    one = World(mode, 4).begin()
    while one.conductor.outcome is None:
        answers = {}
        if mine := [send.payload for send in one.sends if send.to == 0]:
            process(path, mine[0], next(moments))
            answers[0] = process(path, mine[0])
            assert process(path, mine[0]) == answers[0]
            assert code_of(answers[0]) in {"", *refusals}
        one.step(answers)
    assert one.survivors in ((0, 1, 2, 3), (1, 2, 3))
    assert not one.conductor.faults


@runs_at("programs")
def test_processes_exclude_each_other(tmp_path: Path) -> None:
    """Until one is killed."""
    pipe = subprocess.PIPE
    home = Home(tmp_path / "me", wait=0.05)
    with children.started(
        [sys.executable, "-c", PARTY, tmp_path / "me"], stdin=subprocess.DEVNULL, stdout=pipe
    ) as child:
        assert [child.stdout.readline() for _ in range(2)] == ["ready\n", "held\n"]
        with refused(StateError, Code.BUSY), home.lock():
            pass
        child.kill()
        child.wait()
        with home.lock():
            pass
