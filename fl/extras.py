"""Packages of the `fl` extra, asked for when they are used and not before."""

from collections.abc import Iterator
from contextlib import contextmanager

from secagg import Code, SecAggError


class MissingExtraError(SecAggError):
    """A package of the `fl` extra is not installed; the text says which, and what to type."""


@contextmanager
def extra() -> Iterator[None]:
    """Wraps the import of such packages.

    Raises:
        MissingExtraError: in place of the ImportError.
    """
    try:
        yield
    except ImportError as error:
        package = (error.name or str(error)).partition(".")[0]
        raise MissingExtraError(
            f"{package} is missing: pip install 'secagg[fl]'", Code.MISSING_EXTRA
        ) from None
