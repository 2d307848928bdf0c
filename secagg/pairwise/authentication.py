"""Authentication of messages, in which the two modes differ, behind one interface.

In semi-honest mode a masked input has a checksum, and nothing is signed. In malicious mode keys,
masked inputs and survivor sets are signed with Ed25519 keys that every party has pinned; no verify
key is ever taken from the server.
"""

from functools import cached_property
from typing import Final, Protocol

from ..codes import Code
from ..errors import ParameterError
from ..identity.directory import Directory
from ..identity.identity import Identity, sign_digest
from ..params.mode import Mode
from ..params.params import Params
from ..primitives import sign
from . import transcript
from .messages import PublicKeys

_COMPARE: Final = "compare `python -m secagg identity fingerprint FILE` of the directories"


class Authentication(Protocol):
    """Makes and checks the proofs of where a message comes from."""

    @property
    def pinned(self) -> bytes:
        """The encoded directory of pinned verify keys, which goes into h0; empty without one."""

    @property
    def bound(self) -> str:
        """The things that h0 binds; some of them differ if two parties differ in h0. For people."""

    @property
    def verify_key(self) -> bytes:
        """The verify key of this party; empty if it signs nothing."""

    def sign_entry(self, h0: bytes, party: int, entry: PublicKeys) -> PublicKeys:
        """Returns the entry as it is advertised, signed if the mode signs it."""

    def entry_valid(self, h0: bytes, party: int, entry: PublicKeys) -> bool:
        """Returns whether the entry is the one that the party advertised."""

    def prove_input(self, h2: bytes, party: int, packed: bytes | memoryview) -> bytes:
        """Returns the checksum or signature that is sent with a masked input."""

    def input_valid(self, h2: bytes, party: int, packed: bytes, proof: bytes) -> bool:
        """Returns whether the proof is right for this masked input and this sender."""

    def sign_consistency(self, h3: bytes) -> bytes:
        """Returns a signature of the survivor set."""

    def consistency_valid(self, h3: bytes, party: int, signature: bytes) -> bool:
        """Returns whether the signature of the survivor set is the party's."""


class Checksums:
    """Semi-honest mode: the transport names the sender, and a checksum detects accidents."""

    pinned = b""
    bound = "parameters, context or session"
    verify_key = b""

    def sign_entry(self, h0: bytes, party: int, entry: PublicKeys) -> PublicKeys:
        """Returns the entry unchanged."""
        return entry

    def entry_valid(self, h0: bytes, party: int, entry: PublicKeys) -> bool:
        """Returns True: nothing is signed in this mode."""
        return True

    def prove_input(self, h2: bytes, party: int, packed: bytes | memoryview) -> bytes:
        """Returns the checksum."""
        return transcript.checksum(h2, party, packed)

    def input_valid(self, h2: bytes, party: int, packed: bytes, proof: bytes) -> bool:
        """Returns whether the checksum is right."""
        return proof == transcript.checksum(h2, party, packed)

    def sign_consistency(self, h3: bytes) -> bytes:
        """Fails: this mode has no consistency step."""
        raise AssertionError("semi-honest mode has no consistency step")

    def consistency_valid(self, h3: bytes, party: int, signature: bytes) -> bool:
        """Returns False: this mode has no consistency step."""
        return False


class Signatures:
    """Malicious mode: all that other parties act on is signed.

    Args:
        directory: the pinned verify keys of the cohort.
        identity: signs; None for a server, which only verifies.
    """

    def __init__(self, directory: Directory, identity: Identity | None) -> None:
        self.pinned = b"".join(directory.verify_keys)
        self._directory = directory
        self._verify_keys = directory.verify_keys
        self._identity = identity
        self.verify_key = identity.verify_key if identity is not None else b""

    @cached_property
    def bound(self) -> str:
        """See `Authentication`. It hashes all pins, and each party can ask for it by a wrong h0."""
        return (
            f"parameters, context, session or pinned directory; {_COMPARE}, which is "
            f"{self._directory.whole.fingerprint} here"
        )

    def _sign(self, digest: bytes) -> bytes:
        if self._identity is None:
            raise AssertionError("a server signs nothing")
        return sign_digest(self._identity, digest)

    def sign_entry(self, h0: bytes, party: int, entry: PublicKeys) -> PublicKeys:
        """Returns the entry with this party's signature."""
        signature = self._sign(transcript.entry_digest(h0, party, entry))
        return PublicKeys(entry.channel, entry.mask, signature)

    def entry_valid(self, h0: bytes, party: int, entry: PublicKeys) -> bool:
        """Returns whether the signature verifies with the pinned key of the party."""
        digest = transcript.entry_digest(h0, party, entry)
        return sign.verify(self._verify_keys[party], digest, entry.signature)

    def prove_input(self, h2: bytes, party: int, packed: bytes | memoryview) -> bytes:
        """Returns the signature of the masked input."""
        return self._sign(transcript.input_digest(h2, party, packed))

    def input_valid(self, h2: bytes, party: int, packed: bytes, proof: bytes) -> bool:
        """Returns whether the signature verifies with the pinned key of the party."""
        return sign.verify(
            self._verify_keys[party], transcript.input_digest(h2, party, packed), proof
        )

    def sign_consistency(self, h3: bytes) -> bytes:
        """Returns the signature of the survivor set."""
        return self._sign(transcript.consistency_digest(h3))

    def consistency_valid(self, h3: bytes, party: int, signature: bytes) -> bool:
        """Returns whether the signature verifies with the pinned key of the party."""
        return sign.verify(self._verify_keys[party], transcript.consistency_digest(h3), signature)


def for_client(
    params: Params, index: int, identity: Identity | None, directory: Directory | None
) -> Authentication:
    """Returns the authentication of a client in the mode of these parameters.

    Raises:
        ParameterError: in malicious mode identity or directory are missing or wrong; in semi-honest
            mode they are given, and the server must not be able to make a client ignore them.
        LocalProtocolError: the identity was wiped.
    """
    if params.mode == Mode.SEMI_HONEST:
        if identity is not None or directory is not None:
            raise ParameterError(
                "an identity or a directory was given, but the round is semi-honest, where they "
                "protect nothing: take part without them, or refuse the round",
                Code.DOWNGRADE,
            )
        return Checksums()
    if not isinstance(identity, Identity):
        raise ParameterError(
            f"malicious mode needs the Identity of this party, not {type(identity).__name__}",
            Code.NO_IDENTITY,
        )
    identity.require_usable()
    checked = _fitting(params, directory)
    if checked.verify_keys[index] != identity.verify_key:
        raise ParameterError(_other_key(checked, index, identity), Code.WRONG_IDENTITY)
    return Signatures(checked, identity)


def _other_key(directory: Directory, index: int, identity: Identity) -> str:
    """Returns why a directory may have another key than that of an identity at its index."""
    text = (
        f"at index {index} the directory pins {directory.entries[index].name}, and another key "
        f"than this identity's, {identity.fingerprint}; "
    )
    if identity.verify_key not in directory.verify_keys:
        if identity.verify_key in directory.whole.verify_keys:
            return text + "that is pinned, but not one of the members selected for this round"
        return text + (
            "that is pinned nowhere: either another identity was loaded, or the directory still "
            "has an old key of this party (`python -m secagg identity pin --rotate`)"
        )
    at = directory.index_of(identity.verify_key)
    return text + (
        f"that is pinned at index {at}: use this index, or if the server gave the other one, bring "
        f"the parties into one order at all sites ({_COMPARE})"
    )


def for_server(params: Params, directory: Directory | None) -> Authentication:
    """Returns the authentication of a server; raises ParameterError as `for_client` does."""
    if params.mode == Mode.SEMI_HONEST:
        if directory is not None:
            raise ParameterError(
                "a directory was given, but the round is semi-honest and uses none: leave it out",
                Code.DOWNGRADE,
            )
        return Checksums()
    return Signatures(_fitting(params, directory), None)


def _fitting(params: Params, directory: Directory | None) -> Directory:
    if not isinstance(directory, Directory):
        raise ParameterError(
            "malicious mode needs the Directory of the cohort's verify keys, not "
            f"{type(directory).__name__}",
            Code.NO_DIRECTORY,
        )
    if len(directory.verify_keys) != params.cohort:
        raise ParameterError(
            f"the directory has {len(directory)} parties, but the cohort has {params.cohort}: one "
            f"side lacks a change of the members; {_COMPARE}",
            Code.WRONG_DIRECTORY,
        )
    return directory
