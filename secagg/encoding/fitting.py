"""Models and results as a model layout takes them: what does not fit it is refused by name."""

from typing import Any, Protocol, runtime_checkable

from numpy.typing import NDArray

from ..codes import Code
from ..errors import RangeError
from ..numeric import as_int, brief
from ..params.formats import Format, Integers
from .arrays import is_one, kind_of, listed, read_array
from .layout import Layout, leaves_of
from .ranges import Mode, Slot
from .trees import Arrays, Leaf


@runtime_checkable
class Sums(Protocol):
    """The sums of a round: a `secagg.Result`, or a `SecureSum`."""

    @property
    def total(self) -> Any:
        """The sum of all inputs."""

    @property
    def weight(self) -> int:
        """The sum of their weights."""


def read_model(
    which: str, model: Arrays | None, modes: tuple[Mode, ...], slots: tuple[Slot, ...], tree: Layout
) -> list[Leaf | None]:
    """Returns the arrays of a model, None for those whose mode is not among these.

    Args:
        which: what messages call the model.
        model: may be None if no array is in one of the modes.
        modes: of the arrays that are wanted.
        slots: the arrays of the layout.
        tree: their structure.

    Raises:
        RangeError: the model does not fit the layout, or is missing though it is needed.
    """
    wanted = [slot.mode in modes for slot in slots]
    if model is None:
        if any(wanted):
            raise RangeError(f"{which} is needed, and is None", Code.LAYOUT)
        return [None] * len(wanted)
    read: list[Leaf | None] = []
    leaves = leaves_in(which, model, tree)
    for slot, leaf, needed in zip(slots, leaves, wanted, strict=True):
        if needed and slot.mode != "keep":
            require_same_kind(which, slot, leaf)
        read.append(leaf if needed else None)
    return read


def require_update(news: list[Leaf | None], olds: list[Leaf | None]) -> None:
    """Raises RangeError if an array is the same memory in both models.

    A training changes such a live array in the old model as well, so its update would be zero
    without a word. Where it is read-only (of JAX, say) nothing changed it: then it was left
    alone on purpose, unless that is so of all.
    """
    pairs = [(new, old) for new, old in zip(news, olds, strict=True) if new and old]
    pairs = [(new, old) for new, old in pairs if new.array.size]
    same = [new for new, old in pairs if is_one(new.given, new.array, old.given, old.array)]
    live = same if len(same) == len(pairs) else [x for x in same if x.array.flags.writeable]
    if live:
        raise RangeError(
            f"{listed(leaf.name for leaf in live)} of the new and the old model is in the same "
            "memory, so there is no update: copy the old model before the training (a "
            'state_dict has the live tensors), or give what is not trained the mode "keep"',
            Code.LAYOUT,
        )


def leaves_in(which: str, model: Arrays, tree: Layout) -> list[Leaf]:
    """Returns the arrays of a model; raises RangeError if it does not fit the layout."""
    try:
        return leaves_of(model, tree)
    except RangeError as error:
        raise RangeError(f"{which}: {error.reason}", error.code) from error.__cause__


def require_same_kind(which: str, slot: Slot, leaf: Leaf) -> None:
    """Raises RangeError if there are integers in place of floats, or floats of integers."""
    floats = kind_of(leaf.array.dtype) == "f" or (leaf.weak and slot.is_float)
    if floats != slot.is_float:
        raise RangeError(
            f"{which}: {slot.called} has dtype {leaf.array.dtype} instead of {slot.dtype}",
            Code.DTYPE,
        )


def read_sums(
    result: object, slots: tuple[Slot, ...], length: int, form: Format, most: int
) -> tuple[NDArray[Any], int]:
    """Returns total and weight, or the mean and 1; raises RangeError if they do not fit.

    Args:
        result: of a round, or a mean.
        slots: arrays and metrics of the layout.
        length: number of values that are sent.
        form: how they are encoded.
        most: the largest weight.
    """
    weight = 1
    whole = isinstance(result, Sums)
    if isinstance(result, Sums):
        found = as_int(result.weight)
        if found is None or not 1 <= found <= most:
            remedy = ""
            if found is not None and found > most:
                remedy = (
                    "; for results that were combined make the layout with the sum of their "
                    "cohorts: it has the same digest"
                )
            raise RangeError(
                f"a result of the weight {brief(result.weight)} does not fit the layout, in "
                f"which it lies in 1..{most}{remedy}",
                Code.WEIGHT,
            )
        weight, result = found, result.total
    total = read_array(result, "the result")
    if total.shape != (length,):
        raise RangeError(f"a result of shape ({length},) is needed, not {total.shape}", Code.SHAPE)
    sums = any(slot.mode == "sum" for slot in slots)
    if not whole and sums:
        raise RangeError(
            "a mean alone is not enough where values are added up: give the whole result, "
            "which has total and weight",
            Code.LAYOUT,
        )
    if (kind_of(total.dtype) == "f") == isinstance(form, Integers):
        raise RangeError(
            f"a total of {type(form).__name__} has not the dtype {total.dtype}",
            Code.DTYPE,
        )
    return total, weight
