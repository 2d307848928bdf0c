"""The content of an identity's file: its words, and the seed that a passphrase seals."""

import codecs
import re
import unicodedata
from dataclasses import dataclass
from typing import Final

from ..codes import Code
from ..errors import ParameterError
from ..primitives import seal
from ..primitives.passphrase import MODERATE, Cost, derive
from ..primitives.secret import Secret
from ..tracebacks import keeps_no_locals
from .files import Fault

_HEADER: Final = "secagg identity v1\n"
_HEX_KEY: Final = "([0-9a-f]{64})"
_SPACE: Final = re.compile(rb"(?:[ \t\r\n]|\\r|\\n)+")  # the last two: as letters
_BEGIN: Final = b"secagg identity v"
_OTHER_VERSION: Final = re.compile(_BEGIN + rb"(?!1 )[0-9]+ ")
_WORDS: Final = re.compile(  # of a file, with a space between them
    f"{_HEADER.strip()} verify key: {_HEX_KEY} "
    f"(?:secret seed: {_HEX_KEY}"
    "|argon2id passes: ([1-9][0-9]{0,8}) argon2id memory KiB: ([1-9][0-9]{0,8}) "
    "salt: ([0-9a-f]{32}) sealed seed: ([0-9a-f]{96}))"
)
LARGEST_IDENTITY: Final = 1024
REMEDY: Final = "restore it from a copy, or make a new identity and have it pinned"


@dataclass(frozen=True, slots=True)
class StoredIdentity:
    """Content of an identity's file: the seed, or the sealed seed and how to open it."""

    verify_key: bytes
    seed: Secret | None
    cost: Cost
    salt: bytes
    sealed: bytes

    @property
    def preamble(self) -> str:
        """The text before the seed; it is the associated data of a sealed seed."""
        text = f"{_HEADER}verify key: {self.verify_key.hex()}\n"
        if self.seed is None:
            text += (
                f"argon2id passes: {self.cost.passes}\nargon2id memory KiB: {self.cost.memory}\n"
                f"salt: {self.salt.hex()}\n"
            )
        return text

    def encode(self) -> Secret:
        last = f"sealed seed: {self.sealed.hex()}\n"
        if self.seed is not None:
            last = f"secret seed: {self.seed.expose().hex()}\n"
        return Secret((self.preamble + last).encode())


# The functions below that hold a secret as plain bytes or text return a fault instead of raising
# it: a crash reporter prints the local variables of every frame that an exception passes.


def _words(content: Secret) -> bytes:
    """Returns a file's content with one space between words, and none around them."""
    return _SPACE.sub(b" ", content.expose().removeprefix(codecs.BOM_UTF8)).strip(b" ")


@keeps_no_locals
def says_identity(content: Secret) -> bool:
    """Returns whether a text, or its beginning, is that of an identity, of whatever version."""
    return bool(content) and _words(content).startswith(_BEGIN)


def parse(content: Secret) -> StoredIdentity | Fault:
    """Parses the content of a file, or returns why it cannot.

    White space may be any between words, and around them, also a line end that was written as two
    letters: editors and secret stores change the ends of lines, and the verify key proves that
    nothing else was changed.
    """
    text = _words(content)
    found = _WORDS.fullmatch(text.decode("utf-8", "replace"))
    if found is None:
        if not text.startswith(_BEGIN):
            return Fault("this is not an identity of secagg", Code.FOREIGN_FILE)
        if _OTHER_VERSION.match(text + b" "):
            return Fault(
                "the identity has another version than v1; use the secagg that wrote it",
                Code.VERSION,
            )
        return Fault(f"the identity is truncated or altered; {REMEDY}", Code.CORRUPT)
    key, seed, passes, memory, salt, sealed = found.groups()
    if seed is not None:
        return StoredIdentity(bytes.fromhex(key), Secret(bytes.fromhex(seed)), MODERATE, b"", b"")
    cost = Cost(int(passes), int(memory))
    if not cost.allowed:
        return Fault(
            f"the identity asks for Argon2id with {cost.passes} passes over {cost.memory} KiB; "
            "allowed are 1 to 16 passes over 8 to 1048576 KiB; restore it from a copy",
            Code.LIMIT,
        )
    return StoredIdentity(
        bytes.fromhex(key), None, cost, bytes.fromhex(salt), bytes.fromhex(sealed)
    )


def phrase_of(passphrase: str | None) -> Secret | None:
    """Encodes a passphrase in Unicode's composed form (NFC).

    Raises:
        ParameterError: it is empty or not a text.
    """
    reason = "a passphrase must be a text that is not empty; leave it out for no passphrase"
    try:
        if passphrase is None:
            return None
        if isinstance(passphrase, str) and passphrase:
            return Secret(unicodedata.normalize("NFC", passphrase).encode())
    except UnicodeEncodeError:
        reason = "a passphrase must be Unicode text without lone surrogates"
    del passphrase
    raise ParameterError(reason, Code.PASSPHRASE)


def seal_seed(seed: Secret, stored: StoredIdentity, phrase: Secret) -> bytes | Fault:
    """Seals a seed under a passphrase, or returns why it cannot."""
    key = _derived(stored, phrase)
    if isinstance(key, Fault):
        return key
    return seal.seal(key, seed.expose(), stored.preamble.encode())


def seed_of(stored: StoredIdentity, phrase: Secret | None) -> Secret | Fault:
    """Returns the seed that was stored, or why it cannot be had.

    The associated data of a sealed seed is the preamble as it is written.
    """
    if stored.seed is not None and phrase is not None:
        return Fault(
            "the identity has no passphrase, though one was given; if this is expected, load it "
            "without a passphrase",
            Code.PASSPHRASE,
        )
    if stored.seed is not None:
        return stored.seed
    if phrase is None:
        return Fault(
            "the identity is protected by a passphrase, and none was given", Code.PASSPHRASE
        )
    key = _derived(stored, phrase)
    if isinstance(key, Fault):
        return key
    seed = seal.unseal(key, stored.sealed, stored.preamble.encode())
    if seed is None:
        return Fault("the passphrase is wrong, or the identity was altered", Code.WRONG_KEY)
    return Secret(seed)


def _derived(stored: StoredIdentity, phrase: Secret) -> bytes | Fault:
    """Derives the key that seals a seed."""
    key = derive(phrase.expose(), stored.salt, stored.cost)
    if key is None:
        return Fault(
            f"Argon2id needs {stored.cost.memory} KiB of memory for the passphrase, and the system "
            "did not give them",
            Code.LIMIT,
        )
    return key
