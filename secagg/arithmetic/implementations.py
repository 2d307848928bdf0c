"""Which implementations of the native kernels there are, run here, and are active."""

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
        compiled: implementations in the module, the portable one first.
        usable: those that this CPU and operating system can run.
        active: the one in use.
        generator: what these kernels make, where they are a cipher's; else None.
    """

    name: str
    compiled: tuple[str, ...]
    usable: tuple[str, ...]
    active: str
    generator: Generator | None


def _text(value: object) -> str:
    return ffi.string(value).decode()  # type: ignore[arg-type]


def families() -> tuple[Family, ...]:
    """All kernel families of the compiled module."""
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
    """The CPU features that kernels ask for, and whether CPU and operating system have them."""
    return {
        _text(lib.sa_cpu_feature_name(bit)): bool(lib.sa_cpu_feature_present(bit))
        for bit in range(lib.sa_cpu_feature_count())
    }


def select(family: str, implementation: str) -> None:
    """Makes one implementation of a family the active one, for the whole process.

    Raises:
        ParameterError: there is no such family or implementation, or it cannot run here.
    """
    for number, found in enumerate(families()):
        if found.name == family:
            if implementation not in found.usable:
                raise ParameterError(
                    f"{family} has {', '.join(found.usable)} here, not {implementation}",
                    Code.UNSUPPORTED,
                )
            check(lib.sa_select(number, found.compiled.index(implementation)), "select")
            return
    raise ParameterError(f"there is no kernel family {family}", Code.UNSUPPORTED)


@contextmanager
def forced(family: str, implementation: str) -> Iterator[None]:
    """Makes an implementation active for a while: for tests and measurements."""
    before = {found.name: found.active for found in families()}
    select(family, implementation)
    try:
        yield
    finally:
        select(family, before[family])
