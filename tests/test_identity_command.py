"""``python -m secagg identity``: what it writes, what it refuses, and that it shows no secret."""

import fcntl
import functools
import getpass
import io
import os
import re
import stat
import subprocess
import sys
import warnings
from pathlib import Path

import children
import pytest
from levels import runs_at

from secagg import Directory, Identity
from secagg.__main__ import main
from secagg.files import locked_folder
from secagg.identity.identity import fingerprint
from secagg.primitives import passphrase
from secagg.primitives.passphrase import Cost
from secagg.primitives.sign import verify_key

KEYS = [verify_key(bytes([i]) * 32) for i in range(4)]
PHRASE = "an unmistakable phrase"


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch) -> list[Cost]:
    """Argon2id at a low cost, and the costs that were asked for."""
    real, costs = passphrase.derive, list[Cost]()

    def derive(phrase: bytes, salt: bytes, cost: Cost) -> bytes | None:
        costs.append(cost)
        return real(phrase, salt, Cost(1, 8))

    monkeypatch.setattr("secagg.identity.key_file.derive", derive)
    return costs


def run(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    """The output of a command that succeeds."""
    assert main(["identity", *map(str, arguments)]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert PHRASE not in out
    return out


def refused(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    """The one line of a command that fails with code 2."""
    with pytest.raises(SystemExit) as caught:
        main(["identity", *map(str, arguments)])
    assert caught.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("secagg: error: ")
    assert err.count("\n") == 1
    assert err.endswith("\n")
    assert PHRASE not in err
    return err


# ---- new and show -------------------------------------------------------------------------


def test_new_and_show(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Both print the key and the fingerprint of what is in the file, and nothing else."""
    out = run(capsys, "new", tmp_path / "me")
    key = Identity.load(tmp_path / "me").verify_key
    assert out == f"verify key   {key.hex()}\nfingerprint  {fingerprint(key)}\n"
    assert run(capsys, "show", tmp_path / "me") == out
    assert stat.S_IMODE((tmp_path / "me").stat().st_mode) == 0o600


def test_new_overwrites_nothing(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    run(capsys, "new", tmp_path / "me")
    before = (tmp_path / "me").read_bytes()
    assert "exists already" in refused(capsys, "new", tmp_path / "me", "--passphrase-prompt")
    assert (tmp_path / "me").read_bytes() == before
    (tmp_path / "link").symlink_to("nowhere")
    assert "exists already" in refused(capsys, "new", tmp_path / "link")


@pytest.mark.parametrize("given", [f"{PHRASE}\n", PHRASE, f"{PHRASE}\nmore\n"])
def test_passphrase_from_standard_input(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    cheap: list[Cost],
    given: str,
) -> None:
    """The first line, without its end; at full cost; `show` needs it not."""
    monkeypatch.setattr(sys, "stdin", io.StringIO(given))
    out = run(capsys, "new", tmp_path / "me", "--passphrase-stdin")
    assert cheap == [passphrase.MODERATE]
    assert run(capsys, "show", tmp_path / "me") == out
    assert Identity.load(tmp_path / "me", PHRASE).verify_key.hex() in out


def test_passphrase_from_the_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Asked twice."""
    asked: list[str] = []

    def ask(prompt: str) -> str:
        asked.append(prompt)
        return PHRASE

    monkeypatch.setattr(getpass, "getpass", ask)
    run(capsys, "new", tmp_path / "me", "--passphrase-prompt")
    assert len(asked) == 2
    Identity.load(tmp_path / "me", PHRASE)


def test_pins_are_not_shown_as_an_identity(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The advice to close them to other users would be for a key."""
    Directory.of([("a", KEYS[0])]).save(tmp_path / "pins")
    said = refused(capsys, "show", tmp_path / "pins")
    assert "not an identity" in said
    assert "chmod" not in said


def test_passphrases_that_differ(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    answers = iter([PHRASE, PHRASE + "x"])
    monkeypatch.setattr(getpass, "getpass", lambda _: next(answers))
    assert "differ" in refused(capsys, "new", tmp_path / "me", "--passphrase-prompt")
    assert not (tmp_path / "me").exists()


def test_no_passphrase_where_one_is_promised(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Never a file without one instead: empty input, a closed terminal, no text."""
    for stdin in (io.StringIO(""), io.StringIO("\n"), io.TextIOWrapper(io.BytesIO(b"\xff"))):
        monkeypatch.setattr(sys, "stdin", stdin)
        assert "passphrase" in refused(capsys, "new", tmp_path / "me", "--passphrase-stdin")

    def closed(_: str) -> str:
        raise EOFError

    def echoing(_: str) -> str:
        warnings.warn("Can not control echo on the terminal.", getpass.GetPassWarning, 2)
        return PHRASE

    monkeypatch.setattr(getpass, "getpass", closed)
    assert "no passphrase" in refused(capsys, "new", tmp_path / "me", "--passphrase-prompt")
    monkeypatch.setattr(getpass, "getpass", echoing)
    assert "--passphrase-stdin" in refused(capsys, "new", tmp_path / "me", "--passphrase-prompt")
    assert not (tmp_path / "me").exists()


def test_show_refuses_what_load_refuses(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Open to others, altered, or not there; the seed is in no message."""
    run(capsys, "new", tmp_path / "me")
    text = (tmp_path / "me").read_text()
    seed = re.search("seed: (.*)", text)
    assert seed is not None
    (tmp_path / "me").chmod(0o644)
    assert "chmod 600" in refused(capsys, "show", tmp_path / "me")
    (tmp_path / "me").chmod(0o600)
    (tmp_path / "me").write_text(text + "x")
    assert seed[1] not in refused(capsys, "show", tmp_path / "me")
    assert "No such file" in refused(capsys, "show", tmp_path / "absent")


def summary(pins: Path) -> str:
    """Returns the lines with which every change of a directory ends."""
    directory = Directory.load(pins)
    return f"parties      {len(directory)}\ndirectory    {directory.fingerprint}\n"


# ---- pin ----------------------------------------------------------------------------------


def test_pin_makes_the_file_and_adds(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    pins = tmp_path / "pins"
    for index, name in enumerate(("anna", "bert", "clara")):
        out = run(capsys, "pin", pins, name, KEYS[index].hex().upper())
        assert out == (
            f"{name} is party {index}\nverify key   {KEYS[index].hex()}\n"
            f"fingerprint  {fingerprint(KEYS[index])}\n{summary(pins)}"
        )
    assert Directory.load(pins).verify_keys == tuple(KEYS[:3])


def test_rotate_revoke_and_leave(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """As the methods of the same name."""
    pins, directory = tmp_path / "pins", Directory.of([("a", KEYS[0]), ("b", KEYS[1])])
    directory.save(pins)
    assert "a is party 0" in run(capsys, "pin", "--rotate", pins, "a", KEYS[2].hex())
    assert Directory.load(pins) == directory.rotate("a", KEYS[2])
    for change in ("revoke", "leave"):
        directory.save(pins)
        out = run(capsys, "pin", pins, "a", f"--{change}")
        assert out == f"the index of those after a is now lower by 1\n{summary(pins)}"
        assert Directory.load(pins) == getattr(directory, change)("a")


def test_fingerprints(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Of a directory or an identity, whichever the file is; of nothing else."""
    pins, me = tmp_path / "pins", Identity.generate()
    Directory.of([("a", KEYS[0]), ("b", KEYS[1])]).save(pins)
    assert run(capsys, "fingerprint", pins) == summary(pins)
    me.save(tmp_path / "me", PHRASE)
    assert run(capsys, "fingerprint", tmp_path / "me") == f"fingerprint  {me.fingerprint}\n"
    saved = (tmp_path / "me").read_bytes()
    for begin in (b"\xef\xbb\xbf", b"\r\n\n  "):  # white space may differ, as for `load`
        (tmp_path / "me").write_bytes(begin + saved.replace(b" ", b" \t"))
        assert run(capsys, "fingerprint", tmp_path / "me") == f"fingerprint  {me.fingerprint}\n"
    (tmp_path / "me").chmod(0o644)
    assert "chmod 600" in refused(capsys, "fingerprint", tmp_path / "me")
    (tmp_path / "me").chmod(0o600)
    tmp_path.chmod(0o777)  # a key may lie there
    assert run(capsys, "fingerprint", tmp_path / "me") == f"fingerprint  {me.fingerprint}\n"
    assert "chmod go-w" in refused(capsys, "fingerprint", pins)
    tmp_path.chmod(0o700)
    os.mkfifo(tmp_path / "pipe")
    assert "not a regular file" in refused(capsys, "fingerprint", tmp_path / "pipe")
    (tmp_path / "other").write_text("something\n")
    assert "line 1: must be" in refused(capsys, "fingerprint", tmp_path / "other")
    assert "No such file" in refused(capsys, "fingerprint", tmp_path / "absent")


def test_bad_pins_change_nothing(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    pins, key = tmp_path / "pins", KEYS[3].hex()
    Directory.of([("a", KEYS[0]), ("b", KEYS[1])]).revoke("b").save(pins)
    before = pins.read_bytes()
    for arguments, says in (
        (["b"], "needs a VERIFY_KEY"),
        (["a", key, "--revoke"], "takes no VERIFY_KEY"),
        (["a", key, "--leave"], "takes no VERIFY_KEY"),
        (["a", "--rotate"], "needs a VERIFY_KEY"),
        (["a", "--leave", "--revoke"], "not allowed with"),
        (["a", key], "two parties"),
        (["b", KEYS[1].hex()], "is revoked"),
        (["b", KEYS[0].hex()], "pinned twice"),
        (["b", key[1:]], "64 hexadecimal digits"),
        (["b", key + "\n"], "64 hexadecimal digits"),
        (["b", "00" * 32], "not an Ed25519 verify key"),
        (["b c", key], "1 to 64 ASCII letters"),
        (["b", "--leave"], "no party in the directory"),
        (["b", "--revoke"], "no party in the directory"),
        (["b", key, "--rotate"], "no party in the directory"),
    ):
        assert says in refused(capsys, "pin", pins, *arguments)
        assert pins.read_bytes() == before


@pytest.mark.parametrize("change", ["--revoke", "--leave", "--rotate"])
def test_only_adding_makes_a_file(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, change: str
) -> None:
    key = [KEYS[0].hex()] if change == "--rotate" else []
    assert "No such file" in refused(capsys, "pin", tmp_path / "pins", "a", *key, change)
    assert list(tmp_path.iterdir()) == []


def test_a_bad_directory_is_not_replaced(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """A file that does not load is left to a person; so is a link to nowhere."""
    (tmp_path / "pins").write_text("secagg directory v1\nsomething\n")
    assert "pins: line 2" in refused(capsys, "pin", tmp_path / "pins", "a", KEYS[0].hex())
    assert (tmp_path / "pins").read_text() == "secagg directory v1\nsomething\n"
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    assert "No such file" in refused(capsys, "pin", tmp_path / "link", "a", KEYS[0].hex())
    missing = tmp_path / "missing" / "pins"
    assert "missing: No such" in refused(capsys, "pin", missing, "a", KEYS[0].hex())


def test_two_commands_do_not_lose_a_change(tmp_path: Path) -> None:
    """The second waits until the first is done."""
    folder = os.open(tmp_path, os.O_RDONLY)
    with locked_folder(tmp_path), pytest.raises(BlockingIOError):
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(folder)


def test_a_lock_that_is_held_for_ever(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """By another user who may read the folder: one line says so; nothing is changed."""
    monkeypatch.setattr(
        "secagg.identity.command.locked_folder", functools.partial(locked_folder, seconds=0.03)
    )
    with locked_folder(tmp_path):
        says = refused(capsys, "pin", tmp_path / "pins", "a", KEYS[0].hex())
    assert f"{tmp_path}: another process has held the lock" in says
    assert list(tmp_path.iterdir()) == []


def test_without_locks_it_works_as_well(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Some network file systems have none."""

    def none(*_: object) -> None:
        raise OSError(9, "Bad file descriptor")

    monkeypatch.setattr(fcntl, "flock", none)
    assert "a is party 0" in run(capsys, "pin", tmp_path / "pins", "a", KEYS[0].hex())


# ---- output that cannot be written --------------------------------------------------------


@pytest.mark.parametrize("output", ["full", "pipe"])
def test_output_that_cannot_be_written(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    output: str,
) -> None:
    """One line says so, and what was done all the same; a closed pipe alone is no news."""
    me, pins = tmp_path / "me", tmp_path / "pins"
    for arguments, says in (
        (["new", me], f"; the key was saved; see it with `identity show {me}`\n"),
        (["show", me], "\n"),
        (["fingerprint", me], "\n"),
        (
            ["pin", pins, "a", KEYS[0].hex()],
            f"; the change was .*`identity fingerprint {pins}`",
        ),
    ):
        if output == "full":
            broken, reason = os.open("/dev/full", os.O_WRONLY), "No space left on device"
        else:
            reader, broken = os.pipe()
            os.close(reader)
            reason = "Broken pipe"
        with os.fdopen(broken, "w") as stream, monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", stream)
            code = main(["identity", *map(str, arguments)])
        if output == "pipe" and says == "\n":
            assert (code, capsys.readouterr().err) == (141, "")
            continue
        assert code == 1
        line = f"secagg: error: cannot write the output: {reason}{says}"
        assert re.match(line, capsys.readouterr().err)
    assert Identity.load(me)
    assert len(Directory.load(pins)) == 1


# ---- the command line ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "new|show|pin|fingerprint"),
        (["nonsense"], "nonsense"),
        (["new"], "FILE"),
        (["new", "f", "--passphrase-stdin", "--passphrase-prompt"], "not allowed with"),
        (["show", "one", "two"], "two"),
        (["show", "a\nb\x1b[0m"], r"a?b?[0m: cannot read"),
    ],
)
def test_usage_errors_are_one_line(
    capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    """Also where a file's name has lines or control codes of its own."""
    assert says in refused(capsys, *arguments)


@runs_at("programs")
def test_as_a_program(tmp_path: Path) -> None:
    """Codes, streams and the pipe of a passphrase, from a shell."""

    def shell(*arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "secagg", "identity", *arguments]
        return children.run(command, given, cwd=tmp_path)

    made = shell("new", "me", "--passphrase-stdin", given=f"{PHRASE}\n")
    assert (made.returncode, made.stderr) == (0, "")
    key = made.stdout.split()[2]
    assert shell("pin", "pins", "me", key).returncode == 0
    again = shell("pin", "pins", "me", key)
    assert (again.returncode, again.stdout) == (2, "")
    assert again.stderr.startswith("secagg: error: two parties are called me: ")
    assert again.stderr.count("\n") == 1
