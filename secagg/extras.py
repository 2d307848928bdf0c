"""Imports of packages of extras, which happen only when they are used."""

from collections.abc import Iterator
from contextlib import contextmanager

from .codes import Code
from .errors import SecAggError
from .texts import described


class MissingExtraError(SecAggError):
    """A package of an extra is not installed; the message says how to install it."""


@contextmanager
def extra(name: str) -> Iterator[None]:
    """Turns the ImportError of a missing package into `MissingExtraError`.

    Args:
        name: the extra of `secagg` that has the package.

    Raises:
        MissingExtraError: the block could not import a package.
    """
    try:
        yield
    except ImportError as error:
        package = (error.name or str(error)).partition(".")[0]
        why = "is not installed"
        if not isinstance(error, ModuleNotFoundError):
            why = f"cannot be imported ({described(error)})"
        raise MissingExtraError(
            f"{package} {why}; run pip install 'secagg[{name}]'", Code.MISSING_EXTRA
        ) from None
