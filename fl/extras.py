"""Imports of the packages of the `fl` extra, which happen only when they are used."""

from collections.abc import Iterator
from contextlib import contextmanager

from secagg import Code, SecAggError


class MissingExtraError(SecAggError):
    """A package of the `fl` extra is not installed; the message says how to install it."""


@contextmanager
def extra() -> Iterator[None]:
    """Turns the ImportError of a missing package of the extra into `MissingExtraError`.

    Raises:
        MissingExtraError: the block could not import a package.
    """
    try:
        yield
    except ImportError as error:
        package = (error.name or str(error)).partition(".")[0]
        raise MissingExtraError(
            f"{package} is not installed; run pip install 'secagg[fl]'", Code.MISSING_EXTRA
        ) from None
