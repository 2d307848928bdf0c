"""The implementations of the native kernels: compiled, usable on this machine, and active."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ..codes import Code
from ..errors import ParameterError
from .binding import check, ffi, lib
from .generators import Generator


@dataclass(frozen=True, slots=True)
class Family:
    """A group of kernels that are chosen together.

    Attributes:
        name: "field", "pack", "aes", ...
        compiled: implementations in the compiled module, the portable one first.
        usable: those that this CPU and operating system can run.
        active: the one in use.
        generator: the keystream generator, if the kernels are those of a cipher; else None.
    """

    name: str
    compiled: tuple[str, ...]
    usable: tuple[str, ...]
    active: str
    generator: Generator | None


def _text(value: object) -> str:
    return ffi.string(value).decode()  # type: ignore[arg-type]


def families() -> tuple[Family, ...]:
    """Returns all kernel families of the compiled module."""
    found = []
    for number in range(lib.sa_family_count()):
        indices = range(lib.sa_implementation_count(number))
        names = tuple(_text(lib.sa_implementation_name(number, index)) for index in indices)
        usable = tuple(
            names[index] for index in indices if lib.sa_implementation_usable(number, index)
        )
        name = _text(lib.sa_family_name(number))
        active, generator = names[lib.sa_active(number)], lib.sa_family_generator(number) or None
        found.append(Family(name, names, usable, active, generator))
    return tuple(found)


def cpu_features() -> dict[str, bool]:
    """Returns by name whether CPU and operating system have each feature that kernels need."""
    return {
        _text(lib.sa_cpu_feature_name(bit)): bool(lib.sa_cpu_feature_present(bit))
        for bit in range(lib.sa_cpu_feature_count())
    }


def select(family: str, implementation: str) -> None:
    """Makes an implementation the active one of its family, for the whole process.

    Raises:
        ParameterError: there is no such family or implementation, or this machine cannot run it.
    """
    for number, found in enumerate(families()):
        if found.name == family:
            if implementation not in found.usable:
                raise ParameterError(
                    f"on this machine {family} has {', '.join(found.usable)}, not {implementation}",
                    Code.UNSUPPORTED,
                )
            check(lib.sa_select(number, found.compiled.index(implementation)), "select")
            return
    raise ParameterError(f"there is no kernel family {family}", Code.UNSUPPORTED)


@contextmanager
def forced(family: str, implementation: str) -> Iterator[None]:
    """Makes an implementation active while the context lasts, for tests and measurements."""
    before = {found.name: found.active for found in families()}
    select(family, implementation)
    try:
        yield
    finally:
        select(family, before[family])
