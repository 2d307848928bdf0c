"""Expecting a refusal by its code: wording may change, the reason may not."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import pytest

from secagg import Code
from secagg.errors import SecAggError

E = TypeVar("E", bound=SecAggError)


@contextmanager
def refused(
    kind: type[E], code: Code, match: str | None = None
) -> Iterator[pytest.ExceptionInfo[E]]:
    """Expects an exception of this kind with this code.

    Args:
        kind: the class, or one above it.
        code: the reason.
        match: a pattern for what the sentence must name: a party, a number, a file.
    """
    with pytest.raises(kind, match=match) as caught:
        yield caught
    assert caught.value.code is code


class Endless(list[Any]):
    """A list too long to be looked at: only its length may be asked for."""

    def __init__(self, length: int) -> None:
        super().__init__([0] * length)

    def __iter__(self) -> Iterator[Any]:
        pytest.fail("read before its length was checked")

    def __repr__(self) -> str:
        pytest.fail("printed before its length was checked")
