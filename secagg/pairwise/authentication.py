"""Who said it: what the two modes differ in, behind one interface.

In semi-honest mode a masked input carries a checksum, and nothing is signed. In malicious mode
keys, masked inputs and survivor sets are signed with Ed25519 keys that every party has pinned; a
verify key never comes from the server.
"""

from typing import Protocol

from ..codes import Code
from ..errors import ParameterError
from ..identity.directory import Directory
from ..identity.identity import Identity
from ..params.mode import Mode
from ..params.params import Params
from ..primitives import sign
from . import transcript
from .messages import PublicKeys


class Authentication(Protocol):
    """Makes and checks what shows where a message comes from."""

    @property
    def pinned(self) -> bytes:
        """The pinned verify keys, as they are hashed into h0."""

    @property
    def verify_key(self) -> bytes:
        """This party's own, where it has one."""

    def sign_entry(self, h0: bytes, party: int, entry: PublicKeys) -> PublicKeys:
        """The entry as it is advertised."""

    def entry_valid(self, h0: bytes, party: int, entry: PublicKeys) -> bool:
        """Whether the entry is the party's own."""

    def prove_input(self, h2: bytes, party: int, packed: bytes) -> bytes:
        """What is sent along with a masked input."""

    def input_valid(self, h2: bytes, party: int, packed: bytes, proof: bytes) -> bool:
        """Whether that fits the masked input and its sender."""

    def sign_consistency(self, h3: bytes) -> bytes:
        """A signature on the survivor set."""

    def consistency_valid(self, h3: bytes, party: int, signature: bytes) -> bool:
        """Whether the party signed this survivor set."""


class Checksums:
    """Semi-honest mode: the transport says who sends, a checksum finds accidents."""

    pinned = b""
    verify_key = b""

    def sign_entry(self, h0: bytes, party: int, entry: PublicKeys) -> PublicKeys:
        """The entry as it is."""
        return entry

    def entry_valid(self, h0: bytes, party: int, entry: PublicKeys) -> bool:
        """Nothing is signed, so nothing can be wrong."""
        return True

    def prove_input(self, h2: bytes, party: int, packed: bytes) -> bytes:
        """The checksum."""
        return transcript.checksum(h2, party, packed)

    def input_valid(self, h2: bytes, party: int, packed: bytes, proof: bytes) -> bool:
        """Whether the checksum fits."""
        return proof == transcript.checksum(h2, party, packed)

    def sign_consistency(self, h3: bytes) -> bytes:
        """There is no such step in this mode."""
        raise AssertionError("semi-honest mode has no consistency step")

    def consistency_valid(self, h3: bytes, party: int, signature: bytes) -> bool:
        """There is no such step in this mode."""
        return False


class Signatures:
    """Malicious mode: everything that others act on is signed.

    Args:
        directory: the pinned verify keys of the cohort.
        identity: the signer; None for a server, which only verifies.
    """

    def __init__(self, directory: Directory, identity: Identity | None) -> None:
        self.pinned = directory.encode()
        self._verify_keys = directory.verify_keys
        self._identity = identity
        self.verify_key = identity.verify_key if identity is not None else b""

    def _sign(self, digest: bytes) -> bytes:
        if self._identity is None:
            raise AssertionError("a server signs nothing")
        return self._identity.sign(digest)

    def sign_entry(self, h0: bytes, party: int, entry: PublicKeys) -> PublicKeys:
        """The entry with a signature."""
        signature = self._sign(transcript.entry_digest(h0, party, entry))
        return PublicKeys(entry.channel, entry.mask, signature)

    def entry_valid(self, h0: bytes, party: int, entry: PublicKeys) -> bool:
        """Whether the pinned key of the party verifies it."""
        digest = transcript.entry_digest(h0, party, entry)
        return sign.verify(self._verify_keys[party], digest, entry.signature)

    def prove_input(self, h2: bytes, party: int, packed: bytes) -> bytes:
        """The signature."""
        return self._sign(transcript.input_digest(h2, party, packed))

    def input_valid(self, h2: bytes, party: int, packed: bytes, proof: bytes) -> bool:
        """Whether the pinned key of the party verifies it."""
        return sign.verify(
            self._verify_keys[party], transcript.input_digest(h2, party, packed), proof
        )

    def sign_consistency(self, h3: bytes) -> bytes:
        """The signature."""
        return self._sign(transcript.consistency_digest(h3))

    def consistency_valid(self, h3: bytes, party: int, signature: bytes) -> bool:
        """Whether the pinned key of the party verifies it."""
        return sign.verify(self._verify_keys[party], transcript.consistency_digest(h3), signature)


def for_client(
    params: Params, index: int, identity: Identity | None, directory: Directory | None
) -> Authentication:
    """What a client needs in this mode.

    Raises:
        ParameterError: identity or directory are missing in malicious mode, or given in
            semi-honest mode (a server may not talk a client out of them), or do not fit.
    """
    if params.mode == Mode.SEMI_HONEST:
        if identity is not None or directory is not None:
            raise ParameterError(
                "the round is semi-honest, where identities protect nothing: take part without "
                "identity and directory, or insist on malicious mode",
                Code.DOWNGRADE,
            )
        return Checksums()
    if not isinstance(identity, Identity):
        raise ParameterError("malicious mode needs this party's Identity", Code.NO_IDENTITY)
    checked = _fitting(params, directory)
    if checked.verify_keys[index] != identity.verify_key:
        raise ParameterError(
            f"the directory has another verify key at index {index}", Code.WRONG_IDENTITY
        )
    return Signatures(checked, identity)


def for_server(params: Params, directory: Directory | None) -> Authentication:
    """What a server needs in this mode; ParameterError as in `for_client`."""
    if params.mode == Mode.SEMI_HONEST:
        if directory is not None:
            raise ParameterError("a semi-honest round has no use for a directory", Code.DOWNGRADE)
        return Checksums()
    return Signatures(_fitting(params, directory), None)


def _fitting(params: Params, directory: Directory | None) -> Directory:
    if not isinstance(directory, Directory):
        raise ParameterError(
            "malicious mode needs a Directory of the cohort's verify keys", Code.NO_DIRECTORY
        )
    if len(directory.verify_keys) != params.cohort:
        raise ParameterError(
            f"the directory has {len(directory.verify_keys)} parties, the cohort {params.cohort}",
            Code.WRONG_DIRECTORY,
        )
    return directory
