"""Identities: what a file holds, who may read it, and that nothing else shows the seed."""

import copy
import logging
import os
import pickle
import re
import stat
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from other_systems import ENDS_OF_LINES
from refusals import refused

from secagg import Code, Identity, IdentityError, LocalProtocolError, ParameterError
from secagg.identity import key_file
from secagg.identity.identity import fingerprint, sign_digest
from secagg.identity.purposes import Purpose, signed_bytes
from secagg.primitives import passphrase, sign
from secagg.primitives.labels import DIGEST_BYTES
from secagg.primitives.passphrase import MODERATE, Cost
from secagg.primitives.secret import Secret

CHEAP = Cost(passes=1, memory=8)
SEED = b"\x01an unmistakable canary of a se\x99"
PHRASE = "tr\u00e9s unmistakable pass phrase"
TRACES = ("unmistakable", SEED.hex(), SEED.hex()[8:40], repr(SEED))


def identity() -> Identity:
    return Identity(Secret(SEED))


@pytest.fixture
def clear(memory_path: Path) -> Path:
    """A file with the seed in clear."""
    identity().save(memory_path / "clear")
    return memory_path / "clear"


@pytest.fixture
def sealed(memory_path: Path) -> Path:
    """A file under a passphrase."""
    identity().save(memory_path / "sealed", PHRASE, _cost=CHEAP)
    return memory_path / "sealed"


def rewrite(path: Path, text: str | bytes) -> None:
    """Replaces a file's content and leaves its rights."""
    path.write_bytes(text if isinstance(text, bytes) else text.encode())


# ---- keys ---------------------------------------------------------------------------------


def test_it_signs_with_its_seed() -> None:
    """Ed25519 of the seed, of a fixed text and the message; the key is the seed's."""
    me, other = identity(), Identity.generate()
    assert me.verify_key == sign.verify_key(SEED)
    text = b"secagg: signed for an application, v1\nm"
    assert me.sign(b"m") == sign.sign(SEED, text)
    assert Identity.verify(me.verify_key, b"m", me.sign(b"m"))
    assert not Identity.verify(me.verify_key, b"n", me.sign(b"m"))
    assert not Identity.verify(other.verify_key, b"m", me.sign(b"m"))
    assert not Identity.verify(me.verify_key, b"m", me.sign(b"m")[:-1])
    right: tuple[Any, ...] = (me.verify_key, b"m", me.sign(b"m"))
    for place in range(3):
        for kind in (bytearray, memoryview, list):
            wrong = [kind(each) if at == place else each for at, each in enumerate(right)]
            with refused(ParameterError, Code.ARGUMENT):
                Identity.verify(*wrong)


@given(st.binary(max_size=100))
def test_no_two_purposes_sign_the_same(message: bytes) -> None:
    """A text that an application has signed is no digest, and no text of an attestation."""
    text = signed_bytes(Purpose.APPLICATION, message)
    assert len(text) > DIGEST_BYTES
    assert text.startswith(b"secagg")
    assert not sign.verify(identity().verify_key, message, identity().sign(message))


@pytest.mark.parametrize("size", [0, 31, 33])
def test_the_protocol_signs_digests_only(size: int) -> None:
    with refused(ParameterError, Code.ARGUMENT):
        sign_digest(identity(), bytes(size))
    digest = bytes(range(32))
    assert sign_digest(identity(), digest) == sign.sign(SEED, digest)


def test_generate_draws_32_bytes() -> None:
    """From the system, or from what it is given, once."""
    asked: list[int] = []

    def random(count: int) -> bytes:
        asked.append(count)
        return SEED

    assert Identity.generate(random).verify_key == identity().verify_key
    assert asked == [32]
    assert Identity.generate().verify_key != Identity.generate().verify_key


@pytest.mark.parametrize("seed", [Secret(SEED[1:]), Secret(SEED + b"x"), SEED, None])
def test_a_seed_is_a_secret_of_32_bytes(seed: Any) -> None:
    with refused(ParameterError, Code.ARGUMENT):
        Identity(seed)


@pytest.mark.parametrize("message", ["text", None, bytearray(b"m")])
def test_only_bytes_are_signed(message: Any) -> None:
    with refused(ParameterError, Code.ARGUMENT):
        identity().sign(message)


def test_a_wiped_identity_does_nothing(tmp_path: Path) -> None:
    """It neither signs nor is saved; its public half stays."""
    me = identity()
    me.wipe()
    me.wipe()
    with refused(LocalProtocolError, Code.WIPED):
        me.sign(b"m")
    with refused(LocalProtocolError, Code.WIPED):
        me.save(tmp_path / "file")
    assert list(tmp_path.iterdir()) == []
    assert me.verify_key == identity().verify_key


def test_fingerprint() -> None:
    """160 bits of SHA-256 in base32: a frozen value, another for another key."""
    assert fingerprint(bytes(32)) == "MZUH-VLPY-MK6X-O3EP-YGFY-5H4O-EAEJ-OFEF"
    me = identity()
    assert me.fingerprint == fingerprint(me.verify_key) != fingerprint(bytes(32))


# ---- files --------------------------------------------------------------------------------


def test_round_trip(clear: Path, sealed: Path) -> None:
    """Both kinds give the identity back; the key is read without the passphrase."""
    assert Identity.load(clear).sign(b"m") == identity().sign(b"m")
    assert Identity.load(str(sealed), PHRASE).sign(b"m") == identity().sign(b"m")
    assert Identity.load(os.fsencode(sealed), PHRASE).sign(b"m") == identity().sign(b"m")
    for path in (clear, sealed):
        assert Identity.stored_verify_key(path) == identity().verify_key
        assert identity().verify_key.hex() in path.read_text()


def test_an_identity_without_a_file(clear: Path, sealed: Path) -> None:
    """As bytes or text: what is encoded is what a file holds, and is read without a path."""
    assert identity().encode() == clear.read_bytes()
    again = identity().encode(PHRASE, _cost=CHEAP)
    for data in (again, sealed.read_bytes()):
        for each in (data, data.decode(), bytearray(data)):
            assert Identity.decode(each, PHRASE).sign(b"m") == identity().sign(b"m")
    assert Identity.decode(clear.read_text()).sign(b"m") == identity().sign(b"m")
    for data, phrase, code in (
        (clear.read_bytes(), PHRASE, Code.PASSPHRASE),
        (again, None, Code.PASSPHRASE),
        (again, PHRASE + "x", Code.WRONG_KEY),
        (b"", None, Code.CORRUPT),
        ("", None, Code.CORRUPT),
        (again[:-5], PHRASE, Code.CORRUPT),
        ("half \udc80", None, Code.FOREIGN_FILE),
        (clear.read_bytes() + b" " * 1024, None, Code.LIMIT),
    ):
        with refused(IdentityError, code, match="^(the|this) "):
            Identity.decode(data, phrase)
    with refused(ParameterError, Code.PASSPHRASE):
        Identity.decode(again, "")


@pytest.mark.parametrize("data", [None, 7, memoryview(b"x"), Path("key"), Secret(SEED)])
def test_only_bytes_and_text_are_decoded(data: Any) -> None:
    with refused(ParameterError, Code.ARGUMENT):
        Identity.decode(data)


@pytest.mark.parametrize(
    "change",
    [
        *ENDS_OF_LINES,
        lambda text: b"  " + text.replace(b"\n", b" "),
        lambda text: text.replace(b"\n", b"\\n"),  # two letters, as in files of variables
    ],
)
def test_white_space_may_differ(
    clear: Path, sealed: Path, change: Callable[[bytes], bytes]
) -> None:
    """Editors and secret stores change the ends of lines; a shell makes one line of them."""
    for path, phrase in ((clear, None), (sealed, PHRASE)):
        rewrite(path, change(path.read_bytes()))
        assert Identity.load(path, phrase).verify_key == identity().verify_key
        assert Identity.stored_verify_key(path) == identity().verify_key
        assert Identity.decode(path.read_text(), phrase).verify_key == identity().verify_key


@pytest.mark.parametrize("path", [None, 7, object(), ["key"]])
def test_what_is_no_path_is_refused(path: Any) -> None:
    for use in (Identity.load, Identity.stored_verify_key, identity().save):
        with refused(ParameterError, Code.ARGUMENT, match="str, bytes or os.PathLike"):
            use(path)


def test_a_tilde_stands_for_no_folder() -> None:
    for use in (Identity.load, identity().save):
        with refused(IdentityError, Code.IO, match="^~/.*/key: .*`Path.expanduser`"):
            use("~/secagg-is-not-here/key")


def test_a_passphrase_is_composed_unicode(sealed: Path) -> None:
    """The accent may be typed as one letter or as two."""
    decomposed = PHRASE.replace("\u00e9", "e\u0301")
    assert decomposed != PHRASE
    assert Identity.load(sealed, decomposed).verify_key == identity().verify_key


def test_the_default_cost_is_high(tmp_path: Path) -> None:
    """256 MiB and three passes, unless a test says otherwise; there is no public way."""
    identity().save(tmp_path / "file", PHRASE)
    text = (tmp_path / "file").read_text()
    assert "argon2id passes: 3\nargon2id memory KiB: 262144\n" in text
    assert Cost(3, 262144) == MODERATE


def test_a_sealed_file_holds_no_seed(clear: Path, sealed: Path) -> None:
    assert SEED.hex() in clear.read_text()  # the check can fail
    assert SEED.hex() not in sealed.read_text()
    assert PHRASE not in sealed.read_text()


def test_the_same_passphrase_never_gives_the_same_file(tmp_path: Path, sealed: Path) -> None:
    """The salt is new each time, and with it the single-use key."""
    identity().save(tmp_path / "other", PHRASE, _cost=CHEAP)
    lines = [path.read_text().splitlines()[-2:] for path in (sealed, tmp_path / "other")]
    assert lines[0][0] != lines[1][0]
    assert lines[0][1] != lines[1][1]


@pytest.mark.parametrize("umask", [0, 0o027, 0o777])
def test_only_the_owner_may_read_it(tmp_path: Path, umask: int) -> None:
    """Mode 0600, whatever the umask; nothing else is left in the folder."""
    before = os.umask(umask)
    try:
        identity().save(tmp_path / "file")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_file_is_not_overwritten(clear: Path) -> None:
    """Unless that is asked for."""
    other = Identity.generate()
    with refused(IdentityError, Code.EXISTS):
        other.save(clear)
    assert Identity.load(clear).verify_key == identity().verify_key
    other.save(clear, overwrite=True)
    assert Identity.load(clear).verify_key == other.verify_key
    assert [path.name for path in clear.parent.iterdir()] == ["clear"]


def test_a_dangling_link_is_not_written_through(tmp_path: Path) -> None:
    """The name is taken, whatever it leads to."""
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with refused(IdentityError, Code.EXISTS):
        identity().save(tmp_path / "link")
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_is_no_file(tmp_path: Path, overwrite: bool) -> None:
    """It is not replaced, and no advice to overwrite it is given."""
    with refused(IdentityError, Code.IO, match=f"^{tmp_path}: this is a folder"):
        identity().save(tmp_path, overwrite=overwrite)


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_failed_write_leaves_nothing(
    clear: Path, monkeypatch: pytest.MonkeyPatch, overwrite: bool
) -> None:
    """The disk is full: the old file is whole, and no draft of the new one remains."""

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    target = clear if overwrite else clear.with_name("new")
    with refused(IdentityError, Code.IO):
        Identity.generate().save(target, overwrite=overwrite)
    assert [path.name for path in clear.parent.iterdir()] == ["clear"]
    assert Identity.load(clear).verify_key == identity().verify_key


def test_a_folder_that_cannot_be_synced(clear: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its file system cannot: the file is saved. The disk fails: nothing is left, so as to try
    again; but a file that somebody else put there meanwhile."""
    path, real = clear.with_name("new"), os.fsync
    fails: list[Callable[[], object]] = []

    def fsync(file: int) -> None:
        if not stat.S_ISDIR(os.fstat(file).st_mode):
            real(file)
        elif not fails:
            raise OSError(22, "Invalid argument")
        else:
            fails.pop()()
            raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fsync)
    identity().save(path)
    assert Identity.load(path).verify_key == identity().verify_key
    path.unlink()
    for meanwhile, left in ((list, {"clear"}), (lambda: clear.rename(path), {"new"})):
        fails.append(meanwhile)
        with refused(IdentityError, Code.IO, match="Input/output error"):
            identity().save(path)
        assert {each.name for each in clear.parent.iterdir()} == left


@pytest.mark.parametrize("mode", [0o755, 0o700])
def test_a_file_system_without_permissions(
    clear: Path, monkeypatch: pytest.MonkeyPatch, mode: int
) -> None:
    """As FAT: each file has the mode of the mount, whatever is asked for. If others may read it, no
    key is written."""

    def fchmod(file: int, _: int) -> None:
        os.chmod(file, mode)
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "fchmod", fchmod)
    path = clear.with_name("new")
    if mode == 0o700:
        identity().save(path)
        assert Identity.load(path).verify_key == identity().verify_key
        return
    with refused(IdentityError, Code.PERMISSIONS, match="file system does not keep.*umask=077"):
        identity().save(path)
    assert [each.name for each in clear.parent.iterdir()] == ["clear"]


def test_content_is_on_the_disk_before_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Synced under the draft's name, then linked, then the folder is synced."""
    steps: list[str] = []
    real = os.fsync

    def fsync(file: int) -> None:
        kind = "folder" if stat.S_ISDIR(os.fstat(file).st_mode) else "file"
        size = os.fstat(file).st_size > 0
        steps.append(f"{kind} {(tmp_path / 'file').exists()} {size}")
        real(file)

    monkeypatch.setattr(os, "fsync", fsync)
    identity().save(tmp_path / "file")
    assert steps[0] == "file False True"
    assert steps[1].startswith("folder True")


@pytest.mark.parametrize("name", ["missing/file", "zero\0byte", "half\ud800"])
def test_a_name_that_no_file_has(tmp_path: Path, name: str) -> None:
    for use in (Identity.load, Identity.stored_verify_key, identity().save):
        with refused(IdentityError, Code.IO, match=re.escape(str(tmp_path / name))):
            use(tmp_path / name)


@pytest.mark.parametrize("mode", [0o640, 0o620, 0o604, 0o602, 0o610, 0o601, 0o777])
def test_a_file_open_to_others_is_refused(clear: Path, mode: int) -> None:
    """Any right of group or others; the message names the command that repairs it."""
    clear.chmod(mode)
    for attempt in (Identity.load, Identity.stored_verify_key):
        with refused(IdentityError, Code.PERMISSIONS, match=f"mode 0{mode:o}.*chmod 600"):
            attempt(clear)
    clear.chmod(0o600)
    Identity.load(clear)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    """Nothing there, a folder, a pipe (which must not stop the program), an empty file."""
    os.mkfifo(tmp_path / "pipe", 0o600)
    (tmp_path / "empty").touch(0o600)
    (tmp_path / "folder").mkdir()
    for name, code in (
        ("absent", Code.IO),
        ("folder", Code.IO),
        ("pipe", Code.IO),
        ("empty", Code.CORRUPT),
    ):
        with refused(IdentityError, code, match=f"{name}: "):
            Identity.load(tmp_path / name)


def test_a_huge_file_is_not_read(clear: Path) -> None:
    os.truncate(clear, 10**12)
    with refused(IdentityError, Code.LIMIT):
        Identity.load(clear)


def test_a_read_error_is_typed(clear: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fstat", broken)
        with refused(IdentityError, Code.IO):
            Identity.load(clear)


# ---- content ------------------------------------------------------------------------------


def test_every_truncation_is_refused(clear: Path, sealed: Path) -> None:
    """Cut anywhere; the last newline is not needed."""
    for path, phrase in ((clear, None), (sealed, PHRASE)):
        whole = path.read_bytes()
        for length in range(1, len(whole) - 1):
            rewrite(path, whole[:length])
            with pytest.raises(IdentityError) as caught:
                Identity.load(path, phrase)
            assert caught.value.code in (Code.CORRUPT, Code.FOREIGN_FILE, Code.VERSION)
        rewrite(path, whole)
        Identity.load(path, phrase)


def test_every_altered_bit_is_refused(clear: Path, sealed: Path) -> None:
    """No bit of either file can change and the identity still load (every third is tried)."""
    for path, phrase in ((clear, None), (sealed, PHRASE)):
        whole = path.read_bytes()
        for bit in range(0, 8 * len(whole), 3):
            altered = bytearray(whole)
            altered[bit // 8] ^= 1 << bit % 8
            rewrite(path, bytes(altered))
            with pytest.raises(IdentityError):
                Identity.load(path, phrase)


@pytest.mark.parametrize(
    ("edit", "code"),
    [
        (lambda text: text.replace("v1", "v2"), Code.VERSION),
        (lambda text: text.replace("secagg identity", "secagg directory"), Code.FOREIGN_FILE),
        (lambda text: text + "more: 1\n", Code.CORRUPT),
        (lambda text: text.replace("v1", "v12"), Code.VERSION),
        (lambda text: text.replace("\n", ""), Code.CORRUPT),
        (
            lambda text: text.replace(SEED.hex(), SEED.hex()[:32] + "\n" + SEED.hex()[32:]),
            Code.CORRUPT,
        ),
        (lambda text: text.replace(SEED.hex(), SEED.hex().upper()), Code.CORRUPT),
        (lambda text: text.replace(SEED.hex(), bytes(32).hex()), Code.CORRUPT),
        (lambda text: text.replace("verify key: ", "verify key:"), Code.CORRUPT),
        (lambda text: text.replace("verify key: ", "verify key:\x0b"), Code.CORRUPT),
    ],
)
def test_altered_files_say_what_is_wrong(clear: Path, edit: Any, code: Code) -> None:
    """A new identity is advised for a broken key alone."""
    rewrite(clear, edit(clear.read_text()))
    for attempt in (Identity.load, Identity.stored_verify_key):
        with refused(IdentityError, code, match=str(clear)) as caught:
            attempt(clear)
        assert ("new identity" in str(caught.value)) == (code is Code.CORRUPT)


def test_passphrases_that_do_not_fit(clear: Path, sealed: Path) -> None:
    """Wrong, missing, or given where the file has none."""
    for wrong in (PHRASE + " ", PHRASE[:-1], PHRASE.upper()):
        with refused(IdentityError, Code.WRONG_KEY):
            Identity.load(sealed, wrong)
    with refused(IdentityError, Code.PASSPHRASE):
        Identity.load(sealed)
    with refused(IdentityError, Code.PASSPHRASE):
        Identity.load(clear, PHRASE)


@pytest.mark.parametrize("bad", ["", b"bytes", 7, "lone \ud800 surrogate"])
def test_what_is_no_passphrase_is_refused(sealed: Path, tmp_path: Path, bad: Any) -> None:
    with refused(ParameterError, Code.PASSPHRASE):
        identity().save(tmp_path / "file", bad, _cost=CHEAP)
    assert not (tmp_path / "file").exists()
    with refused(ParameterError, Code.PASSPHRASE):
        Identity.load(sealed, bad)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("KiB: 8\n", "KiB: 7\n"),
        ("KiB: 8\n", f"KiB: {2**20 + 1}\n"),
        ("passes: 1\n", "passes: 17\n"),
        ("KiB: 8\n", "KiB: 999999999\n"),
    ],
)
def test_a_stored_cost_cannot_stop_the_machine(
    sealed: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str
) -> None:
    """Refused before anything is derived."""
    monkeypatch.setattr(key_file, "derive", lambda *_: pytest.fail("derived"))
    assert old in sealed.read_text()
    rewrite(sealed, sealed.read_text().replace(old, new))
    with refused(IdentityError, Code.LIMIT, match="^(?!.*new identity).*allowed are 1 to 16"):
        Identity.load(sealed, PHRASE)


def test_the_greatest_and_least_costs_are_allowed() -> None:
    assert Cost(16, 2**20).allowed
    assert Cost(1, 8).allowed
    assert not Cost(0, 8).allowed


def test_without_the_memory_it_is_said(
    sealed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Argon2id that gets no memory: a typed error on both ways, and no file."""

    def none(*_: object) -> None:
        raise passphrase.SodiumError("no memory")

    monkeypatch.setattr(passphrase.bindings, "crypto_pwhash_alg", none)
    with refused(IdentityError, Code.LIMIT):
        Identity.load(sealed, PHRASE)
    with refused(IdentityError, Code.LIMIT):
        identity().save(tmp_path / "file", PHRASE)
    assert not (tmp_path / "file").exists()


def test_a_sealed_file_with_the_verify_key_of_another(sealed: Path) -> None:
    """Even the passphrase's owner cannot make a file that lies about its key."""
    other = Identity.generate().verify_key
    draft = key_file.StoredIdentity(other, None, CHEAP, bytes(16), b"")
    content = key_file.seal_seed(Secret(SEED), draft, Secret(PHRASE.encode()))
    assert isinstance(content, bytes)
    stored = key_file.StoredIdentity(other, None, CHEAP, bytes(16), content)
    rewrite(sealed, stored.encode().expose())
    with refused(IdentityError, Code.CORRUPT):
        Identity.load(sealed, PHRASE)


LINES = ["secagg identity v1\n", f"verify key: {sign.verify_key(SEED).hex()}\n"]
PARTS = [
    *LINES,
    f"secret seed: {SEED.hex()}\n",
    *("argon2id passes: 1\n", "argon2id memory KiB: 8\n", "salt: " + "00" * 16 + "\n"),
    *("sealed seed: " + "11" * 48 + "\n", "\n", "secagg identity v"),
]


@given(st.binary(max_size=400) | st.lists(st.sampled_from(PARTS)).map("".join).map(str.encode))
@example("".join(PARTS[:3]).encode())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_as_a_file(tmp_path: Path, content: bytes) -> None:
    """A typed error, or an identity that is saved as the same words."""
    path = tmp_path / "file"
    path.unlink(missing_ok=True)
    path.touch(0o600)
    path.write_bytes(content)
    try:
        found = Identity.load(path)
    except IdentityError:
        return
    found.save(path, overwrite=True)
    assert path.read_bytes().split() == content.split()


# ---- nothing shows the seed ---------------------------------------------------------------


def test_no_way_to_print_shows_the_seed(caplog: pytest.LogCaptureFixture) -> None:
    me = identity()
    logging.getLogger("test").warning("%s %r", me, [me])
    for text in (repr(me), str(me), f"{me}", repr([me]), caplog.text):
        assert not any(trace in text for trace in TRACES)
    assert repr(me) == f"<Identity {me.fingerprint}>"


def test_it_is_neither_copied_nor_pickled() -> None:
    me = identity()
    for attempt in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="an Identity is neither copied nor pickled"):
            attempt(me)
    with pytest.raises(TypeError):
        vars(me)


def report(error: BaseException) -> str:
    """As a crash reporter prints it: with the locals of the library's frames.

    The test's own frames hold the canary and are left out.
    """
    trace = traceback.TracebackException.from_exception(error, capture_locals=True)
    frames: list[str] = []
    seen: list[traceback.TracebackException | None] = [trace]
    while seen:
        one = seen.pop()
        if one is None:
            continue
        frames += [f"{f.name} {f.locals}" for f in one.stack if f.filename != __file__]
        frames += one.format_exception_only()
        seen += [one.__cause__, one.__context__]
    return "\n".join(frames)


def test_no_traceback_shows_the_seed_or_the_passphrase(
    clear: Path, sealed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of every failure that comes after a secret was touched, with all locals."""
    altered = clear.with_name("altered")
    altered.touch(0o600)
    altered.write_text(clear.read_text() + "more\n")
    other = clear.with_name("other")
    other.touch(0o600)
    other.write_text(clear.read_text().replace(identity().verify_key.hex(), "00" * 32))
    wiped = identity()
    wiped.wipe()

    def save_in_vain() -> None:
        identity().save(clear, PHRASE, _cost=CHEAP)

    attempts = [
        lambda: Identity.load(altered),
        lambda: Identity.load(other),
        lambda: Identity.stored_verify_key(other),
        lambda: Identity.load(clear, PHRASE),
        lambda: Identity.load(sealed, PHRASE + "x"),
        lambda: Identity.load(sealed, PHRASE + "\ud800"),
        lambda: Identity.load(altered, PHRASE),
        lambda: wiped.save(clear, PHRASE),
        lambda: identity().sign("text"),  # type: ignore[arg-type]
        lambda: identity().save(clear),
        lambda: Identity(Secret(SEED + b"x")),
        lambda: Identity.decode(altered.read_bytes()),
        lambda: Identity.decode(other.read_text()),
        lambda: Identity.decode(clear.read_text(), PHRASE + "\ud800"),
        lambda: Identity.decode(sealed.read_text(), PHRASE + "x"),
        lambda: Identity.decode([clear.read_text()]),  # type: ignore[arg-type]
        lambda: wiped.encode(PHRASE),
        save_in_vain,
    ]
    for number, attempt in enumerate(attempts):
        with pytest.raises((IdentityError, ParameterError, LocalProtocolError)) as caught:
            attempt()
        text = report(caught.value)
        assert "Secret" in text or "Identity" in text
        assert not any(trace in text for trace in TRACES), (number, text)


def test_the_report_can_see_a_secret(clear: Path) -> None:
    """The control: the content of a file that is read without care is found."""
    content = Secret(SEED)
    assert any(trace in report(_crash(content)) for trace in TRACES)


def _crash(content: Secret) -> BaseException:
    code = "def leak(content):\n    bare = content.expose()\n    raise ValueError('x')\n"
    scope: dict[str, Any] = {}
    exec(compile(code, "leak.py", "exec"), scope)  # noqa: S102
    try:
        scope["leak"](content)
    except ValueError as error:
        return error
    raise AssertionError
