"""Identities: the long-lived signing key of a party, and the file that stores it."""

import base64
import hashlib
import os
from collections.abc import Callable
from dataclasses import replace
from typing import NoReturn

from ..codes import Code
from ..errors import IdentityError, LocalProtocolError, ParameterError
from ..files import AnyPath, as_path
from ..permissions import SECRET
from ..primitives import sign
from ..primitives.passphrase import MODERATE, SALT_BYTES, Cost
from ..primitives.secret import Secret, draw
from ..tracebacks import keeps_no_locals
from .files import Fault, read_file, write_file, wrong_size
from .key_file import (
    LARGEST_IDENTITY,
    REMEDY,
    StoredIdentity,
    parse,
    phrase_of,
    seal_seed,
    seed_of,
)
from .purposes import Purpose, signed_bytes


def grouped(digest: bytes) -> str:
    """Returns the first 160 bits of a digest in base32, in groups of four letters."""
    letters = base64.b32encode(digest[:20]).decode()
    return "-".join(letters[i : i + 4] for i in range(0, len(letters), 4))


def fingerprint(verify_key: bytes) -> str:
    """Returns a short text of a verify key that people can compare: `grouped`, of its SHA-256."""
    return grouped(hashlib.sha256(verify_key).digest())


class Identity:
    """The long-lived Ed25519 key (RFC 8032) of one party. It is never printed, copied or pickled.

    Args:
        seed: 32 secret bytes, which the identity now owns and wipes; `generate` draws them and
            `load` reads them.

    Raises:
        ParameterError: the seed is not a `Secret` of 32 bytes.
    """

    __slots__ = ("_seed", "_verify_key")

    @keeps_no_locals
    def __init__(self, seed: Secret) -> None:
        self._verify_key = b""  # `__repr__` must work after a refusal, too
        if not isinstance(seed, Secret) or not seed or len(seed.expose()) != sign.SEED_BYTES:
            raise ParameterError(
                f"the seed of an identity must be a Secret of {sign.SEED_BYTES} bytes; "
                "Identity.generate makes one",
                Code.ARGUMENT,
            )
        self._seed = seed
        self._verify_key = sign.verify_key(seed.expose())

    @classmethod
    @keeps_no_locals
    def generate(cls, random: Callable[[int], bytes] = os.urandom) -> "Identity":
        """Makes a new identity from 32 bytes of `random`."""
        return cls(Secret(draw(random, sign.SEED_BYTES)))

    @property
    def verify_key(self) -> bytes:
        """The public key, 32 bytes, which other parties pin."""
        return self._verify_key

    @property
    def fingerprint(self) -> str:
        """A short text of the verify key that people can compare."""
        return fingerprint(self._verify_key)

    @keeps_no_locals
    def sign(self, message: bytes) -> bytes:
        """Signs a message of the application: 64 bytes, the same for the same message.

        What is signed is a fixed text and the message; `verify` checks it. Such a signature never
        passes for one of the protocol, so it is safe to sign what others choose.

        Raises:
            LocalProtocolError: the identity was wiped.
            ParameterError: the message is not bytes.
        """
        return self._sign(Purpose.APPLICATION, message)

    @staticmethod
    def verify(verify_key: bytes, message: bytes, signature: bytes) -> bool:
        """Returns whether `sign` of the identity with this verify key made the signature.

        Args:
            verify_key: 32 bytes, as pinned in a `Directory`, which refuses weak keys.
            message: what was signed.
            signature: 64 bytes; False for another length.

        Raises:
            ParameterError: one of them is not bytes.
        """
        for name, value in (("verify_key", verify_key), ("signature", signature)):
            if not isinstance(value, bytes):
                raise ParameterError(
                    f"{name} must be bytes, not {type(value).__name__}", Code.ARGUMENT
                )
        return sign.verify(verify_key, signed_bytes(Purpose.APPLICATION, message), signature)

    def _sign(self, purpose: Purpose, message: bytes) -> bytes:
        text = signed_bytes(purpose, message)
        self.require_usable()
        return sign.sign(self._seed.expose(), text)

    def require_usable(self) -> None:
        """Raises LocalProtocolError if the identity was wiped."""
        if not self._seed:
            raise LocalProtocolError("this identity was wiped; load it again", Code.WIPED)

    def wipe(self) -> None:
        """Overwrites the seed; from then on the identity signs nothing."""
        self._seed.wipe()

    @keeps_no_locals
    def save(
        self,
        path: AnyPath,
        passphrase: str | None = None,
        *,
        overwrite: bool = False,
        _cost: Cost = MODERATE,
    ) -> None:
        """Writes the identity, as a whole, to a file that only its owner may read.

        Args:
            path: name of the file.
            passphrase: seals the seed under a key that Argon2id derives from it. Without one,
                anybody who can read the file can sign as this party.
            overwrite: replace a file that exists. The key in it is then lost.

        Raises:
            IdentityError: the file exists, or cannot be written.
            LocalProtocolError: the identity was wiped.
            ParameterError: the passphrase is empty or not a text.
        """
        write_file(as_path(path), self._stored(passphrase, _cost), SECRET, overwrite=overwrite)

    @classmethod
    @keeps_no_locals
    def load(cls, path: AnyPath, passphrase: str | None = None) -> "Identity":
        """Reads the file that `save` wrote.

        Other ends of lines are accepted (CRLF, none at the end), as is other white space.

        Args:
            path: name of the file.
            passphrase: the one that it was saved with; None if there was none.

        Raises:
            IdentityError: the file cannot be read, other users may read it, it belongs to
                another user, or is altered or truncated; or the passphrase is wrong, missing, or
                given though the file has none.
            ParameterError: the passphrase is empty or not a text.
        """
        phrase = phrase_of(passphrase)
        del passphrase
        return _opened(parse(_read(path)), phrase, f"{as_path(path)}: ")

    @keeps_no_locals
    def encode(self, passphrase: str | None = None, *, _cost: Cost = MODERATE) -> bytes:
        """Returns what `save` writes to a file, for a store of secrets: ASCII text of a few lines.

        Without a passphrase, anybody who can read it can sign as this party; these bytes and all
        copies of them cannot be wiped.

        Args:
            passphrase: as for `save`.

        Raises:
            IdentityError: the system did not give the memory that the passphrase needs.
            LocalProtocolError: the identity was wiped.
            ParameterError: the passphrase is empty or not a text.
        """
        return self._stored(passphrase, _cost).expose()

    @classmethod
    @keeps_no_locals
    def decode(cls, data: bytes | bytearray | str, passphrase: str | None = None) -> "Identity":
        """Reads what `encode` returned, or the content of a file that `save` wrote.

        This is for a store of secrets, an environment variable or a pipe. The library cannot check
        who else can read it. White space may differ, as for `load`. Python can wipe neither
        bytes, text nor the environment: a `bytearray` can be overwritten afterwards.

        Args:
            data: the content, up to 1,024 bytes.
            passphrase: the one that it was encoded with; None if there was none.

        Raises:
            IdentityError: it is altered or truncated; or the passphrase is wrong, missing, or
                given though there is none.
            ParameterError: the data is neither bytes nor text; or the passphrase is empty or not a
                text.
        """
        phrase = phrase_of(passphrase)
        del passphrase
        if not isinstance(data, bytes | bytearray | str):
            raise ParameterError(
                f"an identity is decoded from bytes or text, not {type(data).__name__}",
                Code.ARGUMENT,
            )
        if isinstance(data, str):
            data = data.encode(errors="replace")  # the environment may hold half characters
        stored = wrong_size(len(data), LARGEST_IDENTITY) or parse(Secret(data))
        del data
        return _opened(stored, phrase)

    def _stored(self, passphrase: str | None, cost: Cost) -> Secret:
        """Returns the content of the file; `save` and `encode` say what it raises."""
        phrase = phrase_of(passphrase)
        del passphrase
        self.require_usable()
        if phrase is None:
            return StoredIdentity(self._verify_key, self._seed, cost, b"", b"").encode()
        stored = StoredIdentity(self._verify_key, None, cost, os.urandom(SALT_BYTES), b"")
        sealed = seal_seed(self._seed, stored, phrase)
        if isinstance(sealed, Fault):
            raise IdentityError(sealed.reason, sealed.code)
        return replace(stored, sealed=sealed).encode()

    @staticmethod
    @keeps_no_locals
    def stored_verify_key(path: AnyPath) -> bytes:
        """Returns the verify key that a file states; needs no passphrase.

        It is checked against the seed if that is not sealed; otherwise only `load` checks it.

        Raises:
            IdentityError: as for `load`.
        """
        stored = parse(_read(path))
        if isinstance(stored, StoredIdentity) and stored.seed is None:
            return stored.verify_key
        return _opened(stored, None, f"{as_path(path)}: ").verify_key

    def __repr__(self) -> str:
        return f"<Identity {self.fingerprint}>"

    def __reduce_ex__(self, _: object) -> NoReturn:
        raise TypeError("an Identity is neither copied nor pickled: use encode and decode")


@keeps_no_locals
def sign_digest(identity: Identity, digest: bytes) -> bytes:
    """Signs a digest of the protocol (32 bytes); not for applications.

    Raises:
        LocalProtocolError: the identity was wiped.
    """
    return identity._sign(Purpose.PROTOCOL, digest)


def _read(path: AnyPath) -> Secret:
    return read_file(as_path(path), LARGEST_IDENTITY, SECRET)


def _opened(stored: StoredIdentity | Fault, phrase: Secret | None, where: str = "") -> Identity:
    """Makes the identity from what was stored.

    Args:
        stored: what `parse` returned.
        phrase: the passphrase.
        where: with what the message of an error begins.

    Raises:
        IdentityError: it cannot be parsed or opened, or states another verify key.
    """
    found = stored if isinstance(stored, Fault) else _open(stored, phrase)
    if isinstance(found, Fault):
        raise IdentityError(f"{where}{found.reason}", found.code)
    return found


def _open(stored: StoredIdentity, phrase: Secret | None) -> Identity | Fault:
    """Makes the identity from what was stored, or returns why it cannot."""
    seed = seed_of(stored, phrase)
    if isinstance(seed, Fault):
        return seed
    identity = Identity(seed)
    if identity.verify_key != stored.verify_key:
        return Fault(f"the verify key does not belong to the seed; {REMEDY}", Code.CORRUPT)
    return identity
