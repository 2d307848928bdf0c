"""What decides the meaning of an input beside its numbers, and so is part of a round's context."""

from abc import ABC, abstractmethod
from typing import Any, TypeAlias

from ..params.formats import Format
from .layout import Layout
from .model_layout import ModelLayout


class Described(ABC):
    """Makes inputs from public values that both sides know, such as a `secagg.analytics.Query`.

    It serves as the shape of a round, and as a part of its context, as a `ModelLayout` does: then
    nobody gets the same data under another description.

    Attributes:
        format: how its inputs are encoded; None if any format will do.
        length: the numbers of an input, `Params.length`.
        cohort: the most clients of a round; None for any number.
    """

    __slots__ = ()

    format: Format | None
    length: int
    cohort: int | None

    @abstractmethod
    def parts(self) -> tuple[Any, ...]:
        """Returns parts, as `digest` takes them, that differ if the meaning of inputs does.

        The first is a text that no other class begins with.
        """


Shape: TypeAlias = int | Layout | ModelLayout | Described  # of the inputs of a round
