"""Forcing the implementations of the native kernels, for any test.

`secagg` picks the fastest kernels that the CPU has. A test proves something about all of them with

    @implementations("aes")
    def test_stream(implementation: str) -> None: ...

and a whole run is forced with `pytest --implementation portable` (or `aes=aesni,chacha=portable`).
"""

import pytest

from secagg.codes import Code
from secagg.errors import ParameterError
from secagg.implementations import Family, families, select


def family_named(name: str) -> Family:
    """What there is of one family, and what is active."""
    return next(family for family in families() if family.name == name)


def select_all(choice: str) -> None:
    """Forces what `--implementation` asks for: "portable", or "family=name,family=name".

    "portable" is the first of each family, whatever it is called: plain C for any machine.

    Raises:
        ParameterError: this machine does not have it.
    """
    if choice == "portable":
        for family in families():
            select(family.name, family.compiled[0])
        return
    for part in choice.split(","):
        name, _, implementation = part.partition("=")
        if not implementation:
            raise ParameterError(f"{part!r} is neither `portable` nor `family=name`", Code.ARGUMENT)
        select(name, implementation)


def implementations(family: str) -> pytest.MarkDecorator:
    """Runs a test once an implementation; those that the machine lacks show up as skipped.

    The test takes an argument `implementation`, the name. The choice made before is restored.
    """
    found = family_named(family)
    return pytest.mark.parametrize(
        "implementation",
        [
            pytest.param(
                (family, name),
                id=f"{family}-{name}",
                marks=pytest.mark.skipif(
                    name not in found.usable, reason=f"this machine cannot run {family}={name}"
                ),
            )
            for name in found.compiled
        ],
        indirect=True,
    )
