"""Expecting a refusal by its code: wording may change, the reason may not."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

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
