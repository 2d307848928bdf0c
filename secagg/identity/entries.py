"""The entries of a directory: names with verify keys, and revoked keys, checked one by one."""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from ..codes import Code
from ..errors import ParameterError
from ..params.params import MAX_COHORT
from ..primitives import sign
from ..primitives.agreement import WeakKeyError

NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")


@lru_cache(maxsize=2 * MAX_COHORT)  # a full directory: pinned and revoked keys
def _is_strong(key: bytes) -> bool:
    try:
        sign.check_verify_key(key)
    except WeakKeyError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class Entry:
    """One pinned party.

    Attributes:
        name: 1..64 ASCII letters, digits and ._@-; the first is a letter or a digit.
        verify_key: 32 bytes.
    """

    name: str
    verify_key: bytes


class Rules:
    """The rules of one directory, checked line by line: nothing is there twice or is revoked."""

    def __init__(self) -> None:
        self.count = 0
        self._names: set[str] = set()
        self._pinned: set[bytes] = set()
        self._revoked: set[bytes] = set()

    def revoke(self, key: bytes) -> None:
        _check_key("a revoked key", key)
        if key in self._revoked:
            raise ParameterError(f"the key {_short(key)} is revoked twice", Code.DUPLICATE_KEY)
        if key in self._pinned:
            raise ParameterError(
                f"the revoked key {_short(key)} is pinned as well", Code.REVOKED_KEY
            )
        if len(self._revoked) == MAX_COHORT:
            raise ParameterError(
                f"a directory has at most {MAX_COHORT} revoked keys: leave out those of parties "
                "that have left for good",
                Code.LIMIT,
            )
        self._revoked.add(key)

    def pin(self, name: str, key: bytes) -> None:
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise ParameterError(
                "a name has 1 to 64 ASCII letters, digits and ._@-, and begins with a letter or "
                f"a digit; this one is {str(name)[:80]!r}",
                Code.ARGUMENT,
            )
        if name.lower() in self._names:
            raise ParameterError(
                f"two parties are called {name}: names must differ in more than upper and lower "
                "case",
                Code.DUPLICATE_NAME,
            )
        _check_key(f"the key of {name}", key)
        if key in self._revoked:
            raise ParameterError(
                f"the key of {name} is revoked: make a new identity", Code.REVOKED_KEY
            )
        if key in self._pinned:
            raise ParameterError(f"the key of {name} is pinned twice", Code.DUPLICATE_KEY)
        if self.count == MAX_COHORT:
            raise ParameterError(f"a directory has at most {MAX_COHORT} entries", Code.LIMIT)
        self.count += 1
        self._names.add(name.lower())
        self._pinned.add(key)


def _check_key(what: str, key: object) -> None:
    if not isinstance(key, bytes) or not _is_strong(key):
        raise ParameterError(
            f"{what} is not an Ed25519 verify key: it is malformed, or of low order",
            Code.WEAK_KEY,
        )


def _short(key: bytes) -> str:
    """Returns the beginning of a verify key, enough to find it in a file."""
    return f"{key[:8].hex()}..."
