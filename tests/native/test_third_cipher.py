"""A third cipher can be added in few places, and is tested wherever the other two are.

A copy of the tree gets a toy cipher, of blocks of 16 bytes, by the edits that a real one needs. The
copy's own tests of streams, masks, rounding and whole rounds then hold it against the independent
model that is among the edits.
"""

import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import children
from levels import runs_at

ROOT = Path(__file__).resolve().parents[2]
KERNEL = Path(__file__).parent / "toy_cipher" / "toy_portable.c"


@dataclass(frozen=True)
class Edit:
    """One place: what is inserted, after which text of a file; a new file comes after nothing."""

    file: str
    anchor: str
    insertion: str


# The model of the toy, written apart from the kernel.
MODEL = '''

def toy_block(key: bytes, nonce: int, counter: int) -> bytes:
    """One block of the toy cipher: counter, then nonce, after its twelve rounds."""
    k0, k1, k2, k3 = (int.from_bytes(key[i : i + 8], "little") for i in (0, 8, 16, 24))
    a, b, whole = counter, nonce, 2**64
    for number, word in enumerate([k0, k1, k2, k3] * 3):
        a = (a + word + number) % whole
        b = (a ^ b) * 2**23
        b = (b + b // whole) % whole
        a = a * 2**41
        a = (a + a // whole + b) % whole
    return (b * whole + a).to_bytes(16, "little")


GENERATORS[250] = Generator(toy_block, 16)
'''
ANSWERS = """    "toy": _Cipher(
        "toy",
        lib.SA_TOY,
        (_KEY, 1, 2),
        "44fe5ddc9c7e096709b86f2f919fffb760f7a3da298b236728b9c3253e9a1ba9",
        ("d420ba5bf6952f786f411a3f80a29650", "7c90eb5ecd4b8bab04513aab57a1f1d4"),
    ),
"""
# The number of the suite is not that of the generator, so that neither can stand for the other.
# Both are far from those that a real cipher would take next.
EDITS = (
    Edit("native/toy_portable.c", "", KERNEL.read_text()),
    Edit(
        "native/api.h",
        "words 12-13 counter, 14-15 nonce, little-endian */\n",
        "    SA_TOY = 90,      /* block 16 bytes: a toy */\n",
    ),
    Edit(
        "native/dispatch.c",
        "extern const sa_cipher_kernel sa_aes_portable, sa_chacha_portable;\n",
        "extern const sa_cipher_kernel sa_toy_portable;\n",
    ),
    Edit(
        "native/dispatch.c",
        "         &sa_chacha_neon,\n#endif\n     }},\n",
        '    {"toy", SA_TOY, {&sa_toy_portable}},\n',
    ),
    Edit("secagg/_native.pyi", "    SA_CHACHA20: Generator\n", "    SA_TOY: Generator\n"),
    Edit(
        "secagg/params/suite.py",
        "    CHACHA20 = 2, lib.SA_CHACHA20\n",
        "    TOY = 250, lib.SA_TOY\n",
    ),
    Edit(
        "secagg/selftest.py",
        '"5a0ace9993b0df34992e188602c65c08"),\n    ),\n',
        ANSWERS,
    ),
    Edit("tests/reference/arithmetic.py", "GENERATORS[1] = Generator(aes256_block, 16)\n", MODEL),
    Edit(
        "docs/WIRE.md",
        "64-bit nonce in words 14-15, little-endian |\n",
        "| 250 | a toy | 16 bytes |\n",
    ),
)

MOST = 10
# Streams, masks, rounding, and whole rounds on either graph; none of these tests knows of the toy.
BATTERIES = (
    "tests/primitives/test_prg.py",
    "tests/field/test_field.py",
    "tests/field/test_bad_arrays.py",
    "tests/field/test_threads.py",
    "tests/encoding/test_fixed_point.py",
    "tests/noise/test_samplers.py",
    "tests/pairwise/test_against_reference.py",
)
ROUNDING = "tests/encoding/test_fixed_point.py::test_every_length_and_every_cipher"


def test_the_places() -> None:
    """There are at most ten, each found by text that stands there once."""
    assert len(EDITS) <= MOST
    for edit in EDITS:
        path = ROOT / edit.file
        assert path.read_text().count(edit.anchor) == 1 if edit.anchor else not path.exists(), edit


def apply(edit: Edit, tree: Path) -> None:
    """Makes one edit in a copy of the tree."""
    path = tree / edit.file
    text = path.read_text() if edit.anchor else ""
    path.write_text(text.replace(edit.anchor, edit.anchor + edit.insertion, 1))


def python(tree: Path, *words: str, code: int = 0) -> str:
    """Runs Python in the copy, whose modules it finds, and returns what it wrote."""
    command = [sys.executable, *words]
    run = children.run(command, "", 400, cwd=tree, env=children.environment(PYTHONPATH=str(tree)))
    assert run.returncode == code, f"{words} ended with {run.returncode}:\n{run.stdout}{run.stderr}"
    return run.stdout


def build(tree: Path) -> None:
    python(tree, "setup.py", "-q", "build_ext", "--inplace")


def verdicts(tree: Path, *tests: str, code: int = 0) -> str:
    """Runs tests of the copy, and returns the names of all with what became of each."""
    return python(tree, "-m", "pytest", "-v", "-p", "no:cacheprovider", *tests, code=code)


@runs_at("a cipher more")
def test_a_third_cipher(tmp_path: Path) -> None:
    """The toy passes what the others pass; with a wrong block size it does not."""
    tree = tmp_path / "tree"
    unwanted = shutil.ignore_patterns(".*", "__pycache__", "*.so", "*.egg-info", "build", "dist")
    shutil.copytree(ROOT, tree, ignore=unwanted)
    for edit in EDITS:
        apply(edit, tree)
    build(tree)

    passed = verdicts(tree, *BATTERIES)
    for name in (
        "test_field.py::test_masks[toy-portable]",
        "test_bad_arrays.py::test_streams_stay_inside[toy-portable]",
        "test_threads.py::test_masks[toy-portable]",
        "test_against_reference.py::test_every_two_meet",
    ):
        assert f"{name} PASSED" in passed
    assert "<Suite.TOY: 250>" in passed  # in whole rounds, the ids of which say what they are of
    known = python(tree, "-m", "secagg")
    for name in ("toy stream", "toy masks"):
        assert re.search(rf"{name} +toy/portable +ok", known)
    assert "toy: portable" in python(tree, "tests/native/run.py")

    kernel = tree / "native" / "toy_portable.c"
    size = ".block_bytes = BLOCK,"
    assert size in kernel.read_text()
    kernel.write_text(kernel.read_text().replace(size, ".block_bytes = 4 * BLOCK,"))
    build(tree)
    failed = verdicts(tree, ROUNDING, code=1)
    assert f"{ROUNDING} FAILED" in failed
