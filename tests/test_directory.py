"""Directories: what may be pinned together, how they change, and what a file may hold."""

import contextlib
import copy
import dataclasses
import os
import pickle
import re
import stat
import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from other_systems import ENDS_OF_LINES
from refusals import refused

from secagg import Code, Directory, IdentityError, ParameterError
from secagg.identity import entries as module
from secagg.identity.directory_file import LARGEST_DIRECTORY
from secagg.identity.entries import Entry
from secagg.identity.identity import fingerprint
from secagg.machine.wire import u32
from secagg.params.params import MAX_COHORT
from secagg.primitives import sign
from secagg.primitives.sign import verify_key

KEYS = [verify_key(bytes([i]) * 32) for i in range(8)]
A, B, C, D = KEYS[:4]
LOW_ORDER = bytes(32)
NOT_CANONICAL = (2**255 - 19 + 3).to_bytes(32, "little")
HEADER = "secagg directory v1\n"


def three() -> Directory:
    return Directory.of([("anna", A), ("bert", B), ("clara", C)])


def text_of(*lines: str) -> bytes:
    return (HEADER + "".join(f"{line}\n" for line in lines)).encode()


def pin(index: int, key: bytes, name: str) -> str:
    return f"{index} {key.hex()} {name}"


# ---- what it is ---------------------------------------------------------------------------


def test_a_cohort_is_selected() -> None:
    """In the order of the indices; a name or a revoked key of one's own changes no fingerprint."""
    directory = three().join("dora", D)
    cohort = directory.select([0, 2, 3])
    assert cohort.verify_keys == (A, C, D)
    assert [cohort.index_of(key) for key in (A, C, D)] == [0, 1, 2]
    assert cohort == Directory.of([("anna", A), ("clara", C), ("dora", D)])
    other = Directory.of([("ann", A), ("b", B), ("cleo", C), ("dora", D)], [KEYS[5]])
    selected = other.select(np.array([0, 2, 3]))
    assert selected.fingerprint == cohort.fingerprint != directory.fingerprint
    assert selected.revoked == {KEYS[5]}
    with refused(ParameterError, Code.REVOKED_KEY):
        selected.join("eve", KEYS[5])
    assert directory.select(range(4)) == directory


def test_a_selection_knows_what_it_was_selected_from() -> None:
    """Sites compare the fingerprint of that, as it is their file's; a changed one is a new one."""
    directory = three().join("dora", D)
    assert directory.whole is directory
    again = directory.select([0, 2, 3]).select([1, 2])
    assert again.verify_keys == (C, D)
    assert again.whole is directory
    assert pickle.loads(pickle.dumps(again)).whole == directory  # noqa: S301
    assert "_whole" not in repr(again)
    left = again.leave("dora")
    assert left.whole is left


@pytest.mark.parametrize(
    ("indices", "code"),
    [
        ([], Code.ARGUMENT),
        ([1, 0], Code.ARGUMENT),
        ([0, 1, 1], Code.ARGUMENT),
        ([-1, 0], Code.ARGUMENT),
        ([True, 2], Code.ARGUMENT),
        ([0, 1.0], Code.ARGUMENT),
        (["0"], Code.ARGUMENT),
        ("01", Code.ARGUMENT),
        (None, Code.ARGUMENT),
        (1, Code.ARGUMENT),
        ([0, 3], Code.WRONG_DIRECTORY),
        ([0, 10**5000], Code.WRONG_DIRECTORY),
    ],
)
def test_what_is_no_cohort(indices: object, code: Code) -> None:
    """In another order, twice, none, or not there: nothing is sorted or left out silently."""
    with refused(ParameterError, code):
        three().select(indices)  # type: ignore[arg-type]


def test_order_is_the_index() -> None:
    directory = three()
    assert directory.verify_keys == (A, B, C)
    assert [directory.index_of(key) for key in (A, B, C)] == [0, 1, 2]
    assert len(directory) == 3
    assert [entry.name for entry in directory.entries] == ["anna", "bert", "clara"]


def test_only_keys_and_their_order_are_bound() -> None:
    """Names and revoked keys are each party's own affair."""
    renamed = Directory.of([("x", A), ("y", B), ("z", C)], [D])
    assert renamed.verify_keys == three().verify_keys
    assert renamed != three()
    assert Directory.of([("bert", B), ("anna", A), ("clara", C)]).verify_keys == (B, A, C)


def test_fingerprint() -> None:
    """A frozen value; another for other keys, more keys, or the same in another order."""
    assert three().fingerprint == "LYIZ-43IL-4PT7-HA6E-PS5L-OC44-YKDN-7NSZ"
    others = [
        Directory.of([("anna", B), ("bert", A), ("clara", C)]),
        three().join("dora", D),
        three().leave("clara"),
        three().rotate("bert", D),
        Directory.of([("anna", A)]),
        Directory(),
    ]
    assert len({each.fingerprint for each in [three(), *others]}) == 7
    assert Directory.of([("x", A), ("y", B), ("z", C)], [D]).fingerprint == three().fingerprint
    assert Directory.of([("anna", A)]).fingerprint != fingerprint(A)


def test_an_unknown_key_has_no_index() -> None:
    with refused(ParameterError, Code.UNKNOWN_NAME):
        three().index_of(D)


def test_empty() -> None:
    assert len(Directory()) == len(Directory().verify_keys) == 0
    assert Directory() == Directory.of([])


def test_it_is_immutable_and_travels() -> None:
    """Public data: it may be copied, pickled and compared."""
    directory = three().rotate("bert", D)
    with pytest.raises(dataclasses.FrozenInstanceError):
        directory.entries = ()  # type: ignore[misc]
    for twin in (copy.copy(directory), pickle.loads(pickle.dumps(directory))):  # noqa: S301
        assert twin == directory
        assert hash(twin) == hash(directory)
        assert twin.index_of(D) == 1


# ---- refusals -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        *("", " ", "a b", "a\n", "-a", ".a", "_a", "a" * 65, "a/b", "a#"),
        *("\u00e9cole", "\u0430", "\u0661", None, b"a"),
    ],
)
def test_odd_names_are_refused(name: Any) -> None:
    with refused(ParameterError, Code.ARGUMENT):
        Directory.of([(name, A)])
    with refused(ParameterError, Code.ARGUMENT):
        three().join(name, D)


@pytest.mark.parametrize("name", ["a", "9", "a" * 64, "St.Mary-2_x@example.org"])
def test_plain_names_are_fine(name: str) -> None:
    directory = Directory.of([(name, A)])
    assert Directory.decode(directory.encode()) == directory


@pytest.mark.parametrize("name", ["anna", "Anna", "ANNA"])
def test_names_are_told_apart_without_their_case(name: str) -> None:
    with refused(ParameterError, Code.DUPLICATE_NAME, match=f"two parties are called {name}"):
        three().join(name, D)


@pytest.mark.parametrize(
    "key", [LOW_ORDER, NOT_CANONICAL, A[1:], A + b"x", b"", A.hex(), None, bytearray(A)]
)
def test_weak_and_malformed_keys_are_refused(key: Any) -> None:
    """In every place that takes one."""
    for attempt in (
        lambda: Directory.of([("x", key)]),
        lambda: three().join("x", key),
        lambda: three().rotate("bert", key),
        lambda: Directory((), (key,)),  # type: ignore[arg-type]
    ):
        with refused(ParameterError, Code.WEAK_KEY):
            attempt()


def test_a_key_is_pinned_once() -> None:
    with refused(ParameterError, Code.DUPLICATE_KEY):
        three().join("x", A)
    with refused(ParameterError, Code.DUPLICATE_KEY):
        three().rotate("bert", A)


def test_a_revoked_key_never_comes_back() -> None:
    """Neither under its old name, nor another, nor by rotation to itself."""
    for directory in (three().revoke("anna"), three().rotate("anna", D)):
        assert directory.revoked == {A}
        for attempt in (
            lambda directory=directory: directory.join("anna2", A),
            lambda directory=directory: directory.rotate("bert", A),
        ):
            with refused(ParameterError, Code.REVOKED_KEY):
                attempt()
    with refused(ParameterError, Code.REVOKED_KEY):
        three().rotate("anna", A)
    with refused(ParameterError, Code.REVOKED_KEY):
        Directory.of([("x", A)], [A])


def test_the_greatest_cohort(monkeypatch: pytest.MonkeyPatch) -> None:
    """At most MAX_COHORT entries; the real limit with the check of points set aside."""
    monkeypatch.setattr(module, "_is_strong", lambda key: True)
    limit = module.MAX_COHORT
    assert limit == 65536
    entries = tuple(Entry(f"{i:05}{'n' * 59}", u32(i) * 8) for i in range(limit + 1))
    revoked = frozenset(u32(~i & 0xFFFFFFFF) * 8 for i in range(limit))
    full = Directory(entries[:limit], revoked)
    assert len(full) == limit
    room = LARGEST_DIRECTORY - len(full.encode())
    assert 2**20 <= room < 2**20 + 2**14, "its file may be loaded, with a megabyte of comments"
    for many in (entries, revoked), (entries[:limit], revoked | {bytes(32)}):
        with refused(ParameterError, Code.LIMIT, match="at most 65536"):
            Directory(*many)


# ---- changes ------------------------------------------------------------------------------


def test_join_takes_the_next_index() -> None:
    before = three()
    after = before.join("dora", D)
    assert after.verify_keys == (A, B, C, D)
    assert after.index_of(D) == 3
    assert before == three()


def test_leave_closes_the_gap() -> None:
    """And the key may come back: nothing is wrong with it."""
    after = three().leave("anna")
    assert after.verify_keys == (B, C)
    assert after.index_of(C) == 1
    assert after.revoked == frozenset()
    assert after.join("anna", A).verify_keys == (B, C, A)


def test_rotate_keeps_the_index() -> None:
    after = three().rotate("bert", D)
    assert after.verify_keys == (A, D, C)
    assert after.entries[1] == Entry("bert", D)
    assert after.revoked == {B}


def test_revoke_leaves_and_revokes() -> None:
    after = three().revoke("bert")
    assert after.verify_keys == (A, C)
    assert after.revoked == {B}
    assert after.revoke("anna").revoked == {A, B}


@pytest.mark.parametrize("change", ["leave", "revoke", "rotate"])
@pytest.mark.parametrize("name", ["nobody", "ANNA", ""])
def test_changes_need_a_name_that_is_there(change: str, name: str) -> None:
    """As it is written."""
    with refused(ParameterError, Code.UNKNOWN_NAME):
        getattr(three(), change)(name, *([D] if change == "rotate" else []))


@given(st.lists(st.tuples(st.sampled_from("jlrv"), st.integers(0, 7), st.sampled_from(KEYS))))
def test_any_changes(steps: list[tuple[str, int, bytes]]) -> None:
    """Against a plain model; whatever happened, the text gives the directory back."""
    directory, model, revoked = Directory(), list[tuple[str, bytes]](), set[bytes]()
    for what, number, key in steps:
        name = f"p{number}"
        at = next((i for i, (known, _) in enumerate(model) if known == name), None)
        usable = key not in revoked and all(key != pinned for _, pinned in model)
        possible = (at is None and usable) if what == "j" else at is not None
        possible = possible and (what != "r" or usable)
        method = {"j": "join", "l": "leave", "r": "rotate", "v": "revoke"}[what]
        call = partial(getattr(directory, method), name, *([key] if what in "jr" else []))
        if not possible:
            with pytest.raises(ParameterError):
                call()
            continue
        directory = call()
        if what == "j":
            model.append((name, key))
            continue
        assert at is not None
        if what in "rv":
            revoked.add(model[at][1])
        model[at : at + 1] = [(name, key)] if what == "r" else []
    assert directory == Directory.of(model, revoked)
    assert directory.verify_keys == tuple(key for _, key in model)
    assert Directory.decode(directory.encode()) == directory


# ---- the file -----------------------------------------------------------------------------


def test_the_text_is_frozen() -> None:
    """Readable, and the same for equal directories."""
    directory = three().revoke("anna").rotate("bert", D)
    first, second = sorted((A.hex(), B.hex()))
    assert directory.encode().decode() == (
        f"secagg directory v1\n# index, verify key, name\n0 {D.hex()} bert\n1 {C.hex()} clara\n"
        f"revoked\n{first}\n{second}\nend\n"
    )


def test_save_and_load(tmp_path: Path) -> None:
    """Others may read it; saving again replaces it, unless that is not wanted."""
    path = tmp_path / "pins"
    three().save(path)
    assert Directory.load(path) == three()
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    after = three().revoke("anna")
    with refused(IdentityError, Code.EXISTS):
        after.save(path, overwrite=False)
    assert Directory.load(str(path)) == three()
    after.save(str(path))
    assert Directory.load(path) == after
    assert os.listdir(tmp_path) == ["pins"]  # noqa: PTH208


def test_comments_spaces_and_empty_lines_may_stand() -> None:
    text = text_of(
        *("# H\u00f4pital", "", f"0   {A.hex()} anna", "#", "# clara left", pin(1, B, "bert")),
        *("", "revoked", "# stolen laptop", C.hex(), "", "end", "", "# signed off"),
    )
    assert Directory.decode(text) == Directory.of([("anna", A), ("bert", B)], [C])


@pytest.mark.parametrize(
    ("lines", "line", "code"),
    [
        ([pin(1, A, "anna"), "revoked", "end"], 2, Code.SYNTAX),
        ([pin(0, A, "a"), pin(2, B, "b"), "revoked", "end"], 3, Code.SYNTAX),
        ([pin(0, A, "a"), pin(0, B, "b"), "revoked", "end"], 3, Code.SYNTAX),
        ([f"00 {A.hex()} a", "revoked", "end"], 2, Code.SYNTAX),
        ([f"0 {A.hex().upper()} a", "revoked", "end"], 2, Code.SYNTAX),
        ([f"0 {A.hex()[1:]} a", "revoked", "end"], 2, Code.SYNTAX),
        ([f"0 {A.hex()}", "revoked", "end"], 2, Code.SYNTAX),
        ([f"0 {A.hex()} a b", "revoked", "end"], 2, Code.SYNTAX),
        ([f"0\t{A.hex()} a", "revoked", "end"], 2, Code.SYNTAX),
        ([f" 0 {A.hex()} a", "revoked", "end"], 2, Code.SYNTAX),
        ([f"0 {A.hex()} a\r ", "revoked", "end\rx"], 4, Code.SYNTAX),
        ([f"0 {A.hex()} a\x0b", "revoked", "end"], 2, Code.SYNTAX),
        ([f"0 {A.hex()} \u00e9", "revoked", "end"], 2, Code.SYNTAX),
        ([f"0 {A.hex()} a # b", "revoked", "end"], 2, Code.SYNTAX),
        ([pin(0, A, "a"), pin(1, A, "b"), "revoked", "end"], 3, Code.DUPLICATE_KEY),
        ([pin(0, A, "a"), pin(1, B, "A"), "revoked", "end"], 3, Code.DUPLICATE_NAME),
        ([pin(0, LOW_ORDER, "a"), "revoked", "end"], 2, Code.WEAK_KEY),
        ([pin(0, NOT_CANONICAL, "a"), "revoked", "end"], 2, Code.WEAK_KEY),
        ([pin(0, A, "a"), "", "revoked", A.hex(), "end"], 5, Code.REVOKED_KEY),
        (["revoked", A.hex(), A.hex(), "end"], 4, Code.DUPLICATE_KEY),
        (["revoked", LOW_ORDER.hex(), "end"], 3, Code.WEAK_KEY),
        (["revoked", A.hex()[1:], "end"], 3, Code.SYNTAX),
        (["revoked", A.hex().upper(), "end"], 3, Code.SYNTAX),
        (["revoked", "revoked", "end"], 3, Code.SYNTAX),
        (["revoked", pin(0, A, "a"), "end"], 3, Code.SYNTAX),
        (["end"], 2, Code.SYNTAX),
        (["revoked", "end", "end"], 4, Code.SYNTAX),
        (["revoked", "end", A.hex()], 4, Code.SYNTAX),
        ([pin(0, A, "a"), "revoked"], 4, Code.CORRUPT),
        ([pin(0, A, "a")], 3, Code.CORRUPT),
    ],
)
def test_anything_unexpected_names_its_line(
    tmp_path: Path, lines: list[str], line: int, code: Code
) -> None:
    text = text_of(*lines)
    with refused(IdentityError, code, match=f"^line {line}: "):
        Directory.decode(text)
    (tmp_path / "pins").write_bytes(text)
    with refused(IdentityError, code, match=f"pins: line {line}: "):
        Directory.load(tmp_path / "pins")


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (b"", Code.FOREIGN_FILE),
        (b"\n", Code.FOREIGN_FILE),
        (b"secagg directory v2\nrevoked\nend\n", Code.VERSION),
        (b"secagg identity v1\n", Code.FOREIGN_FILE),
    ],
)
def test_other_files_are_refused(text: bytes, code: Code) -> None:
    with refused(IdentityError, code, match="^line 1:"):
        Directory.decode(text)


def test_every_truncation_is_refused() -> None:
    """At a line's end as well: a list that lost its last lines is no smaller list."""
    text = three().revoke("anna").encode()
    for length in range(len(text) - 1):
        with pytest.raises(IdentityError, match=r"^line \d+: ") as caught:
            Directory.decode(text[:length])
        if length > len(HEADER):
            assert caught.value.code is Code.CORRUPT
    for rest in (b"x", b"end"):
        with refused(IdentityError, Code.SYNTAX, match="line 8: nothing may follow 'end'"):
            Directory.decode(text + rest)


@pytest.mark.parametrize("change", ENDS_OF_LINES)
def test_ends_of_lines_may_differ(change: Callable[[bytes], bytes]) -> None:
    """Editors of other systems change them; as bytes and as text."""
    directory = three().revoke("anna")
    text = change(directory.encode())
    assert Directory.decode(text) == Directory.decode(text.decode()) == directory


@pytest.mark.parametrize("data", [None, 7, bytearray(b"x"), Path("pins")])
def test_only_bytes_and_text_are_decoded(data: Any) -> None:
    with refused(ParameterError, Code.ARGUMENT):
        Directory.decode(data)


def test_everybodys_file_is_refused(tmp_path: Path) -> None:
    """Whoever can change the pins can be anybody."""
    three().save(tmp_path / "pins")
    (tmp_path / "pins").chmod(0o666)
    with refused(IdentityError, Code.PERMISSIONS):
        Directory.load(tmp_path / "pins")


@pytest.mark.parametrize("name", ["pins", "zero\0byte", "half\ud800"])
def test_a_name_that_no_file_has(tmp_path: Path, name: str) -> None:
    with refused(IdentityError, Code.IO, match=re.escape(str(tmp_path / name))):
        Directory.load(tmp_path / name)
    if name != "pins":
        with refused(IdentityError, Code.IO, match=re.escape(str(tmp_path / name))):
            three().save(tmp_path / name)


def test_each_key_is_checked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """As often as a directory is read and changed: a check takes 50 us, and most keys stay. A full
    directory has as many revoked keys as pinned ones."""
    checked: list[bytes] = []
    monkeypatch.setattr(sign, "check_verify_key", checked.append)
    module._is_strong.cache_clear()
    try:
        for _ in range(2):
            for number in range(2 * MAX_COHORT):
                module._is_strong(u32(number) * 8)
        assert len(checked) == 2 * MAX_COHORT
    finally:
        module._is_strong.cache_clear()


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    """The bound is what the largest directory takes."""
    (tmp_path / "pins").touch(0o644)
    for size in (LARGEST_DIRECTORY + 1, 10**12):
        os.truncate(tmp_path / "pins", size)
        with refused(IdentityError, Code.LIMIT, match=f"{size} bytes"):
            Directory.load(tmp_path / "pins")
    for data in (b"\n", "\n"):
        with refused(IdentityError, Code.LIMIT, match=f"{LARGEST_DIRECTORY + 1} bytes"):
            Directory.decode(data * (LARGEST_DIRECTORY + 1))
    os.truncate(tmp_path / "pins", LARGEST_DIRECTORY)
    with refused(IdentityError, Code.FOREIGN_FILE):
        Directory.load(tmp_path / "pins")


@pytest.mark.parametrize(
    ("lines", "most"),
    [
        (["##"] * 100_000, 5),
        (["#" * 1_000_000], 5),
        (["x" * 1_000_000], 5),
        ([f"{i} {u32(i).hex() * 8} p{i:09}" for i in range(5000)], 8),
    ],
)
def test_memory_is_a_small_multiple_of_the_file(
    memory_path: Path, lines: list[str], most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever its lines are, also those that are no directory's."""
    monkeypatch.setattr(module, "_is_strong", lambda key: True)
    text = text_of(*lines, "revoked", "end")
    (memory_path / "pins").write_bytes(text)
    tracemalloc.start()
    try:
        with contextlib.suppress(IdentityError):
            Directory.load(memory_path / "pins")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < most * len(text)


LINES = [
    *(pin(i, key, f"p{i}") for i, key in enumerate(KEYS[:3])),
    *("revoked", "end", "", "# x", KEYS[0].hex(), KEYS[3].hex(), pin(0, KEYS[4], "p1")),
]


@given(st.lists(st.sampled_from(LINES), max_size=8).map(lambda lines: text_of(*lines)))
@example(text_of(*LINES[:5]))
def test_any_lines_as_a_file(text: bytes) -> None:
    check_any(text)


@given(st.binary(max_size=300) | st.binary().map(HEADER.encode().__add__))
def test_any_bytes_as_a_file(text: bytes) -> None:
    check_any(text)


@given(st.integers(0, 400), st.integers(0, 255))
def test_any_altered_byte(at: int, value: int) -> None:
    text = bytearray(three().revoke("anna").encode())
    text[at % len(text)] = value
    check_any(bytes(text))


def check_any(text: bytes) -> None:
    """A typed error that names a line, or a directory whose own text gives it back."""
    try:
        directory = Directory.decode(text)
    except IdentityError as error:
        assert str(error).startswith("line ")  # noqa: PT017 - either outcome is fine
        return
    canonical = directory.encode()
    assert Directory.decode(canonical) == directory
    assert Directory.decode(canonical).encode() == canonical
    kept = [line for line in text.split(b"\n") if line and not line.startswith(b"#")]
    again = [line for line in canonical.split(b"\n") if line and not line.startswith(b"#")]
    assert sorted(b" ".join(line.split()) for line in kept) == sorted(again)
