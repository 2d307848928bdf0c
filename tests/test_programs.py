"""Command lines end as shells expect: whatever their output is, and by Ctrl-C."""

import io
import os
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import children
import pytest
from levels import runs_at

from secagg.programs import error_line, run_program

ROOT = Path(__file__).resolve().parent.parent


@contextmanager
def full() -> Iterator[TextIO]:
    with Path("/dev/full").open("w") as stream:
        yield stream


@contextmanager
def pipe_without_reader() -> Iterator[TextIO]:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stream:
        yield stream


def ended(work: Callable[[], int | None]) -> object:
    """The exit code of a program."""
    try:
        return run_program("prog", work)
    except SystemExit as end:
        return end.code


def say(text: str = "a text\n", code: int | None = None) -> Callable[[], int | None]:
    """Work that writes one text, and returns a code or exits with it."""

    def work() -> int | None:
        sys.stdout.write(text)
        return code

    return work


def leave() -> None:
    sys.stdout.write("usage\n")
    sys.exit(0)


def interrupt() -> None:
    sys.stdout.write("a part")
    raise KeyboardInterrupt


def test_its_own_codes_pass(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is added."""
    assert (ended(say()), ended(say(code=3)), ended(leave)) == (0, 3, 0)
    assert capsys.readouterr() == ("a text\na text\nusage\n", "")


@pytest.mark.parametrize("work", [say(), leave])
@pytest.mark.parametrize(
    ("output", "code", "says"),
    [
        (full, 1, "prog: error: cannot write the output: No space left on device\n"),
        (pipe_without_reader, 141, ""),
    ],
)
def test_an_output_that_fails(
    work: Callable[[], None],
    output: Callable[[], "Iterator[TextIO]"],
    code: int,
    says: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A line and 1, or for a pipe that nobody reads as if its signal had come; then Python can
    write what is left, at exit."""
    with output() as stream, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stream)
        assert ended(work) == code
        assert os.path.samestat(os.fstat(stream.fileno()), Path(os.devnull).stat())
    assert capsys.readouterr().err == says


def test_what_was_done_all_the_same_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    """Also if a pipe is closed: a command that changed a file adds it to the reason."""

    def work() -> None:
        raise BrokenPipeError(32, "Broken pipe; it was saved")

    assert ended(work) == 1
    assert capsys.readouterr().err.endswith("cannot write the output: Broken pipe; it was saved\n")


def test_a_file_that_cannot_be_written(capsys: pytest.CaptureFixture[str]) -> None:
    """Its name is said."""
    assert ended(lambda: Path("/no\nwhere/it").write_text("x")) == 1
    assert capsys.readouterr().err == "prog: error: /no?where/it: No such file or directory\n"


@pytest.mark.parametrize("work", [interrupt, say()])
def test_complaints_that_cannot_be_written(
    work: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The code stays; Python's own at exit would be 120."""
    with full() as stream, pipe_without_reader() as out:
        monkeypatch.setattr(sys, "stderr", stream)
        if work is not interrupt:
            monkeypatch.setattr(sys, "stdout", out)
        assert ended(work) == (130 if work is interrupt else 141)
        stream.write("more")
        assert ended(lambda: 7) == 7
        assert os.path.samestat(os.fstat(stream.fileno()), Path(os.devnull).stat())


def test_ctrl_c_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """And what was written before is there."""
    assert ended(interrupt) == 130
    assert capsys.readouterr() == ("a part", "prog: interrupted\n")


def test_closed_streams(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Python has None for them, as in a program without a terminal: to write is an error, to read
    is the end, and complaints are lost. Afterwards they are None again."""
    monkeypatch.setattr(sys, "stdout", None)
    assert ended(lambda: 3) == 3
    assert ended(say()) == ended(leave) == 1
    assert capsys.readouterr().err == ("prog: error: cannot write the output: it is closed\n" * 2)
    monkeypatch.setattr(sys, "stderr", None)
    monkeypatch.setattr(sys, "stdin", None)
    assert ended(lambda: sys.stderr.write("x") and len(sys.stdin.read()) + 4) == 4
    assert (ended(say()), ended(interrupt)) == (1, 130)
    assert sys.stdin is sys.stdout is sys.stderr is None


def test_letters_that_the_encoding_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are escaped; an encoding that has a way of its own with them keeps it."""
    for errors, written in (("strict", rb"Zo\xeb \udcff"), ("replace", b"Zo? ?")):
        stream = io.TextIOWrapper(io.BytesIO(), "ascii", errors)
        monkeypatch.setattr(sys, "stdout", stream)
        assert ended(say("Zo\xeb \udcff")) == 0
        assert stream.buffer.getvalue() == written  # type: ignore[attr-defined]


def test_an_error_is_one_line() -> None:
    """Whatever is in a file's name."""
    assert error_line("prog", "a\nb\x1b[0m \udcff") == "prog: error: a?b?[0m ?\n"


LOST = "{}: error: cannot write the output: {}\n"
# Shell redirections: exit code, and what is on standard error of a program with that name.
REDIRECTIONS = {
    ">&-": (1, LOST.format("{}", "it is closed")),
    ">/dev/full": (1, LOST.format("{}", "No space left on device")),
    "| true": (141, ""),
    ">/dev/null 2>&-": (0, ""),
    ">&- 2>&-": (1, ""),
    ">/dev/null <&-": (0, ""),
}


@runs_at("programs")
@pytest.mark.parametrize(
    ("name", "program"),
    [
        ("secagg", "-m secagg"),
        ("secagg", "-m secagg --help"),
        ("secagg", "-OO -m secagg --version"),
        ("secagg", "-m secagg preflight --cohort 5 --length 9"),
        ("python -m benchmarks", "-m benchmarks protocol --clients 6 --length 100"),
        ("python -m benchmarks", "-OO -m benchmarks --help"),
    ],
)
def test_from_a_shell(name: str, program: str) -> None:
    """Nothing but the line: no traceback, and no exception that Python ignored at exit."""
    for redirection, (code, says) in REDIRECTIONS.items():
        command = f"set -o pipefail; {shlex.quote(sys.executable)} {program} {redirection}"
        done = children.run(["bash", "-c", command], cwd=ROOT, env=children.environment())
        assert (done.returncode, done.stderr) == (code, says.format(name)), redirection
