"""Forcing the implementations of the native kernels, and loops in place of many ids, for any test.

`secagg` picks the fastest kernels that the CPU has. A test proves something about all of them with

    @implementations("aes")
    def test_stream(implementation: str) -> None: ...

and a whole run is forced with `pytest --implementation portable` (or `aes=aesni,chacha=portable`).

Implementations are ids of their own, as they may be skipped. What nobody runs alone, the widths of
the field for one, is a loop inside one test (`looped`, `every_width`).
"""

import functools
import gc
import inspect
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import pytest
from levels import amount

from secagg import Suite
from secagg.arithmetic.implementations import Family, families, forced, select
from secagg.codes import Code
from secagg.errors import ParameterError

# Widths at which the kernels change. 16 begins the 32-bit lane, is whole bytes, and rejects the
# most words; in 17 elements begin at every bit of a byte; 28 still fits that lane with the bits
# before it in its first byte, 31 does not, and is the last of which 2p fits the lane; 32 fills it.
# 33 begins the 64-bit lane; 59 is the first that may need a ninth byte; 61 is the field of shares,
# 2^61 - 1; 62 is the widest, and of its sums the fewest rows fit before a reduction.
EDGES = (16, 17, 28, 31, 32, 33, 59, 61, 62)
WIDTHS = tuple(range(16, 63)) if amount("every width of the field") else EDGES


def looped(names: str, values: Iterable[object]) -> Callable[[Callable[..., None]], Callable]:
    """Runs a test with each of the values, as `parametrize` does, but all of them as one test.

    The first that fails is named by a note on its exception.
    """
    split, cases = [name.strip() for name in names.split(",")], list(values)
    assert cases, f"{names}: a loop over nothing proves nothing"

    def decorate(test: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(test)
        def run(*args: object, **kwargs: object) -> None:
            for case in cases:
                row = case if len(split) > 1 else (case,)
                try:
                    test(*args, **kwargs, **dict(zip(split, row, strict=True)))
                except BaseException as error:  # pytest's own failures among them
                    error.add_note(f"{names} = {case!r}"[:300])
                    raise

        signature = inspect.signature(test)
        assert set(split) <= set(signature.parameters), f"{test.__name__} takes no {names}"
        left = [one for name, one in signature.parameters.items() if name not in split]
        run.__signature__ = signature.replace(parameters=left)  # what pytest has to provide
        return run

    return decorate


@contextmanager
def collected() -> Iterator[None]:
    """Collects the garbage of the block, and walks through nothing that was there before."""
    gc.freeze()
    yield
    gc.collect()


every_width = looped("bits", WIDTHS)


def family_named(name: str) -> Family:
    """Returns one family: what there is of it, and what is active."""
    return next(family for family in families() if family.name == name)


# For each family of kernels that is a cipher's, a suite whose generator it makes.
CIPHERS = {
    family.name: next(suite for suite in Suite if suite.generator == family.generator)
    for family in families()
    if family.generator
}
UNKNOWN_GENERATOR = 99


def each_kernel(suite: Suite) -> Iterator[str]:
    """Forces the usable implementations of a suite's cipher in turn, and yields their names."""
    family = next(family for family in families() if family.generator == suite.generator)
    for name in family.usable:
        with forced(family.name, name):
            yield name


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
    return pytest.mark.parametrize("implementation", _choices(family), indirect=True)


def every_cipher() -> pytest.MarkDecorator:
    """Runs a test once per implementation of every cipher, as `implementations` does.

    The test takes an argument `cipher`, a suite whose generator that implementation makes.
    """
    choices = [choice for family in CIPHERS for choice in _choices(family)]
    return pytest.mark.parametrize("cipher", choices, indirect=True)


def _choices(family: str) -> list[object]:
    found = family_named(family)
    return [
        pytest.param(
            (family, name),
            id=f"{family}-{name}",
            marks=pytest.mark.skipif(
                name not in found.usable, reason=f"this machine cannot run {family}={name}"
            ),
        )
        for name in found.compiled
    ]
