"""Nested lists and dicts of arrays, taken apart in an order that all processes share."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..codes import Code
from ..errors import RangeError
from ..numeric import as_int
from .arrays import as_list, called, is_array, is_weak, read_array, shortened, unreadable

# An array, or lists, tuples and dicts of them, nested at will.
Arrays: TypeAlias = ArrayLike | Sequence["Arrays"] | Mapping[str, "Arrays"] | Mapping[int, "Arrays"]

# None for an array, ("list", node, ...), or ("dict", (key, node), ...) by ascending keys.
Node = None | tuple[Any, ...]
Path = tuple[str | int, ...]

_DEPTH: Final = 100
_INT64: Final = range(-(2**63), 2**63)


class Leaf(NamedTuple):
    """One array of a tree.

    Attributes:
        name: its path for people, such as "layers/0/weight"; "" if it is the whole tree.
        array: plain, of real numbers.
        weak: whether it was given as Python numbers, which take the kind of the other arrays.
        given: what the caller gave: the same array, unless it had to be converted.
    """

    name: str
    array: NDArray[np.generic]
    weak: bool
    given: object


class Tree:
    """Nested lists and dicts of arrays.

    Dicts are sorted by key and lists by position, so two dicts with the same items in another order
    are one tree. A tuple is a list.

    Args:
        arrays: the arrays.
        like: the structure that is expected, if one is: where it has a list, numbers in a list are
            arrays of their own.

    Attributes:
        node: the structure without the arrays; equal for two trees only if they are nested alike.
        template: the same as lists and dicts in the order given; in place of each array, its index.
        leaves: the arrays, in the order of `node`.

    Raises:
        RangeError: something in it is neither an array, a list nor a dict; a dict has keys other
            than strings, or than 64-bit integers; or it is nested more than a hundred times.
    """

    def __init__(self, arrays: Arrays, like: Node = None) -> None:
        self.leaves: Final[list[Leaf]] = []
        self.node, self.template = self._read(arrays, (), like)

    def _read(self, value: object, path: Path, like: Node) -> tuple[Node, Any]:
        name = "/".join(map(str, path))
        if len(path) > _DEPTH:
            raise RangeError(
                f"{called(name)} is nested more than {_DEPTH} times, perhaps in itself", Code.LAYOUT
            )
        plain = type(value) is np.ndarray  # asked first: most are, and other questions cost more
        if not plain and isinstance(value, Mapping) and not hasattr(value, "nnz"):  # sparse
            return self._read_dict(value, path, like)
        among = like[1:] if like is not None and like[0] == "list" else ()
        members = None if plain or (is_array(value) and not among) else as_list(value)
        if members is not None:
            likes = among if len(among) == len(members) else (None,) * len(members)
            read = [
                self._read(member, (*path, at), each)
                for at, (member, each) in enumerate(zip(members, likes, strict=True))
            ]
            return ("list", *(node for node, _ in read)), [template for _, template in read]
        self.leaves.append(Leaf(name, read_array(value, called(name)), is_weak(value), value))
        return None, len(self.leaves) - 1

    def _read_dict(self, value: Mapping[Any, object], path: Path, like: Node) -> tuple[Node, Any]:
        try:
            items = [(key, value[key]) for key in value]
        except Exception as error:  # a file that was closed, say
            raise unreadable(value, _place(path), error) from error
        keys = [_key(key, path) for key, _ in items]
        if len(set(map(type, keys))) > 1:
            raise RangeError(
                f"{_place(path)} has keys of which some are strings and some integers", Code.LAYOUT
            )
        if len(set(keys)) < len(keys):
            # Of types whose equal keys a dict keeps apart: they would hide each other's arrays.
            raise RangeError(f"{_place(path)} has two keys that mean the same", Code.LAYOUT)
        members = {key: member for key, (_, member) in zip(keys, items, strict=True)}
        likes = dict(like[1:]) if like is not None and like[0] == "dict" else {}
        read = {key: self._read(members[key], (*path, key), likes.get(key)) for key in sorted(keys)}
        node = ("dict", *((key, node) for key, (node, _) in read.items()))
        return node, {key: read[key][1] for key in keys}


def _key(key: object, path: Path) -> str | int:
    if isinstance(key, str):
        return str.__str__(key)
    number = as_int(key)
    if number is not None and number in _INT64:
        return number
    raise RangeError(
        f"{_place(path)} has the key {shortened(repr(key), 42)}, and keys must be strings, or all "
        "of them 64-bit integers",
        Code.LAYOUT,
    )


def _place(path: Path) -> str:
    return f"the dict at {called('/'.join(map(str, path)))}" if path else "the dict of arrays"


def filled(template: Any, arrays: list[NDArray[np.generic]]) -> Any:
    """Returns lists and dicts as in the template of a `Tree`, with these arrays."""
    if isinstance(template, dict):
        return {key: filled(member, arrays) for key, member in template.items()}
    if isinstance(template, list):
        return [filled(member, arrays) for member in template]
    return arrays[template]
