"""Nested lists and dicts of arrays as one vector, and back."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..codes import Code
from ..errors import RangeError
from .arrays import called, kind_of, listed, plain, plain_dtype, shortened
from .trees import Arrays, Leaf, Node, Tree, filled


@dataclass(frozen=True, slots=True, repr=False)
class Layout:
    """The order of an array, or of nested lists, tuples and dicts of arrays, in one vector.

    Dicts are in the order of their keys, lists in that of their positions, so all processes flatten
    alike. Two layouts are equal if structure, names and shapes are; dtypes may differ.

    Attributes:
        names: the paths of the arrays, in order, such as "layers/0/weight"; "" for a single array.
        shapes: the shapes of the arrays, in the same order.
        dtypes: the dtypes of the arrays, in the same order.
        length: number of values in all arrays together.
        node: how the arrays are nested; hashable.
    """

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    dtypes: tuple[np.dtype[Any], ...] = field(compare=False)
    length: int
    node: Node
    _template: Any = field(compare=False)  # the lists and dicts that `unflatten` returns

    @classmethod
    def of(cls, arrays: Arrays) -> "Layout":
        """Returns the layout of these arrays.

        Args:
            arrays: one array of any library, a number, or (nested) lists of numbers; or lists,
                tuples and dicts of them, nested at will, with keys that are strings, or integers.

        Raises:
            RangeError: something in it is no array of real numbers, or an array that loses its
                meaning as bare numbers (masks, units, missing values, labels); there are arrays of
                integers beside arrays of floats; or there is nothing in them.
        """
        return cls._of(Tree(arrays))

    @classmethod
    def flattened(cls, arrays: Arrays) -> "tuple[Layout, NDArray[np.generic]]":
        """Returns the layout of these arrays and their vector; reads them once, see `of`."""
        tree = Tree(arrays)
        return cls._of(tree), _joined(tree.leaves)

    @classmethod
    def _of(cls, tree: Tree) -> "Layout":
        leaves = tree.leaves
        length = sum(leaf.array.size for leaf in leaves)
        if length == 0:
            raise RangeError(
                "there is nothing to aggregate: no arrays, or only empty ones", Code.LAYOUT
            )
        return layout_of(tree, _floats(leaves))

    def __repr__(self) -> str:
        return f"Layout(<{len(self.names)} arrays>, length={self.length})"

    def flatten(self, arrays: Arrays) -> NDArray[np.generic]:
        """Joins the arrays into one new vector, shape (length,), in their common dtype.

        Numbers of Python take the kind of the other arrays. Integers stay exact: int64 and uint64
        together are one of the two. bool becomes uint8, bfloat16 and the like float32.

        Raises:
            RangeError: the arrays have other names, shapes or another structure than the layout, or
                they have no layout (see `of`).
        """
        return _joined(leaves_of(arrays, self))

    def unflatten(self, vector: NDArray[np.generic], *, own_dtypes: bool = False) -> Arrays:
        """Cuts the vector into arrays of this layout, in lists and dicts as they were given.

        Args:
            vector: shape (length,).
            own_dtypes: whether arrays that were floats come back in their own dtype, as fits a
                mean; one whose dtype does not hold the values stays wider. Without it the arrays
                are views of the vector.

        Raises:
            RangeError: the vector does not have `length` elements in one dimension.
        """
        vector = np.asarray(vector)
        if vector.shape != (self.length,):
            raise RangeError(
                f"a vector of shape ({self.length},) is needed, not {vector.shape}", Code.SHAPE
            )
        arrays = [
            part.reshape(shape)
            for part, shape in zip(np.split(vector, self._ends()[:-1]), self.shapes, strict=True)
        ]
        if own_dtypes:
            arrays = [
                _narrowed(array, dtype) if kind_of(dtype) == "f" else array
                for array, dtype in zip(arrays, self.dtypes, strict=True)
            ]
        whole: Arrays = filled(self._template, arrays)
        return whole

    def names_at(self, positions: NDArray[np.integer[Any]]) -> tuple[str, ...]:
        """Returns the names of the arrays in which these positions of the vector lie, in order."""
        found = np.searchsorted(self._ends(), positions, side="right")
        return tuple(self.names[at] for at in np.unique(found))

    def _ends(self) -> NDArray[np.int64]:
        """Returns where each array ends in the vector."""
        return np.cumsum([int(np.prod(shape, dtype=np.int64)) for shape in self.shapes])

    def _difference(self, other: "Layout") -> str:
        """Returns the first few arrays in which another layout differs, and how."""
        if self.node is None or other.node is None or self.node[0] != other.node[0]:
            return f"{_sketch(other)} instead of {_sketch(self)}"
        if self.node == other.node:  # so names may repeat: they join paths
            pairs = zip(self.names, self.shapes, other.shapes, strict=True)
            return _first(
                f"{called(name)} has shape {_text(got)} instead of {_text(shape)}"
                for name, shape, got in pairs
                if got != shape
            )
        mine, others = (dict(zip(x.names, x.shapes, strict=True)) for x in (self, other))
        found = [
            *(f"{called(name)} is missing" for name in mine if name not in others),
            *(f"{called(name)} is not in the layout" for name in others if name not in mine),
            *(
                f"{called(name)} has shape {_text(others[name])} instead of {_text(shape)}"
                for name, shape in mine.items()
                if others.get(name, shape) != shape
            ),
        ]
        if not found:
            return "names and shapes are the same, but not the nesting or the types of keys"
        return _first(found)


def layout_of(tree: Tree, floats: Iterable[np.dtype[Any]] = ()) -> Layout:
    """Returns the layout of arrays of any dtypes, and of nothing.

    Args:
        tree: the arrays.
        floats: dtypes whose common one is that of numbers of Python; without any, their own.
    """
    leaves, found = tree.leaves, [*floats]
    common = np.result_type(*found) if found else None
    return Layout(
        names=tuple(leaf.name for leaf in leaves),
        shapes=tuple(leaf.array.shape for leaf in leaves),
        dtypes=tuple(common if leaf.weak and common else leaf.array.dtype for leaf in leaves),
        length=sum(leaf.array.size for leaf in leaves),
        node=tree.node,
        _template=tree.template,
    )


def leaves_of(arrays: Arrays, layout: Layout) -> list[Leaf]:
    """Returns the arrays of a layout in its order, whatever their dtypes.

    Raises:
        RangeError: they have other names, shapes or another structure than the layout.
    """
    tree = Tree(arrays, layout.node)
    if tree.node != layout.node or any(
        leaf.array.shape != shape for leaf, shape in zip(tree.leaves, layout.shapes, strict=True)
    ):
        difference = layout._difference(layout_of(tree))
        raise RangeError(f"arrays of another layout: {difference}", Code.LAYOUT)
    return tree.leaves


def _first(differences: Iterable[str]) -> str:
    """Returns the first three of these, and how many more there are."""
    found = list(differences)
    more = f"; and {len(found) - 3} more" if len(found) > 3 else ""
    return "; ".join(found[:3]) + more


def _narrowed(array: NDArray[np.generic], dtype: np.dtype[Any]) -> NDArray[np.generic]:
    """Returns the array in this dtype of floats, if that holds its values."""
    with np.errstate(all="ignore"):
        narrow = array.astype(dtype)
    return narrow if np.isfinite(narrow).all() else array


def _text(shape: tuple[int, ...]) -> str:
    return shortened(str(shape), 25)


def _sketch(layout: Layout) -> str:
    if layout.node is None:
        return f"one array of shape {_text(layout.shapes[0])}"
    many = "s" if len(layout.names) > 1 else ""
    return f"a {layout.node[0]} of {len(layout.names)} array{many}"


def _typed(leaves: list[Leaf]) -> list[Leaf]:
    """Returns the arrays that have values and a dtype of their own."""
    return [leaf for leaf in leaves if leaf.array.size and not leaf.weak]


def _floats(leaves: list[Leaf]) -> list[np.dtype[Any]]:
    """Returns the plain dtypes of the arrays of floats that have values and a dtype of their own.

    Raises:
        RangeError: there are such arrays of floats, and others of integers.
    """
    kinds = [(leaf, kind_of(leaf.array.dtype)) for leaf in _typed(leaves)]
    floats = [plain_dtype(leaf.array.dtype) for leaf, kind in kinds if kind == "f"]
    integers = [leaf for leaf, kind in kinds if kind != "f"]
    if floats and integers:
        raise RangeError(
            f"{listed(leaf.name for leaf in integers)} of {integers[0].array.dtype} beside arrays "
            "of floats: integers would be clipped and rounded like them; leave them out, sum them "
            "in a round of their own with Integers, or use secagg.ModelLayout, in which they keep "
            "their old values or have a range of their own",
            Code.DTYPE,
        )
    return floats


def _joined(leaves: list[Leaf]) -> NDArray[np.generic]:
    """Returns the arrays as one new vector, in a dtype that holds all their values."""
    floats = _floats(leaves)
    parts = [plain(leaf.array).reshape(-1) for leaf in leaves]
    if floats:
        dtype = np.result_type(*floats)
    else:
        if _typed(leaves):  # of integers, so the numbers of Python are such too
            parts = [_whole(leaf.name, part) for leaf, part in zip(leaves, parts, strict=True)]
        dtype = _exact_dtype([part for part in parts if part.size])
    with np.errstate(over="ignore"):  # to infinity, which formats refuse
        return np.concatenate(parts, dtype=dtype, casting="unsafe")


def _whole(name: str, part: NDArray[np.generic]) -> NDArray[np.generic]:
    """Returns Python floats as integers; raises RangeError if they are not whole."""
    if part.dtype.kind != "f":
        return part
    with np.errstate(invalid="ignore"):
        whole = part.astype(np.int64)
    if not np.array_equal(whole, part):
        raise RangeError(
            f"{called(name)} holds Python floats beside arrays of integers, and not all of them "
            "are whole 64-bit numbers",
            Code.DTYPE,
        )
    return whole


def _exact_dtype(parts: list[NDArray[np.generic]]) -> np.dtype[Any]:
    """Returns the common dtype; it is one of integers if all of them are.

    NumPy would take float64 for int64 and uint64 together.
    """
    dtype = np.result_type(*(part.dtype for part in parts))
    if dtype.kind != "f" or any(part.dtype.kind == "f" for part in parts):
        return dtype
    low, high = min(int(part.min()) for part in parts), max(int(part.max()) for part in parts)
    if high < 2**63:
        return np.dtype(np.int64)
    if low >= 0:
        return np.dtype(np.uint64)
    raise RangeError(
        "the arrays have integers below 0 and others of 2**63 or more, which no format takes",
        Code.OUT_OF_RANGE,
    )
