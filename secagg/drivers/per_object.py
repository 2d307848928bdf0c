"""Remembers something of an object for as long as the object lives."""

import weakref
from contextlib import suppress
from typing import Generic, TypeVar

T = TypeVar("T")


class PerObject(Generic[T]):
    """Values by object, whether equal or not, hashable or not.

    Of an object that cannot be referenced weakly nothing is remembered.
    """

    def __init__(self) -> None:
        self._values: dict[int, T] = {}

    def get(self, owner: object) -> T | None:
        """Returns the value of an object; None if there is none."""
        return self._values.get(id(owner))

    def put(self, owner: object, value: T) -> None:
        """Sets it."""
        with suppress(TypeError):
            if id(owner) not in self._values:
                weakref.finalize(owner, self._values.pop, id(owner), None).atexit = False
            self._values[id(owner)] = value
