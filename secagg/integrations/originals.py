"""The numbers of a model that the averages of a framework lose."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Originals:
    """The dtypes of a training's first model, and the integers of its last one.

    Frameworks average all arrays: of equal integers they make floats close to them, of float32 with
    their own state often float64. So the next model is given back what the first one had.
    """

    def __init__(self) -> None:
        self._dtypes: dict[str, np.dtype[Any]] = {}
        self._exact: dict[str, NDArray[Any]] = {}

    def note(self, model: Mapping[str, NDArray[Any]]) -> None:
        """Takes the first model, or what came of a round, by name."""
        self._dtypes = self._dtypes or {name: array.dtype for name, array in model.items()}
        exact = {name: each for name, each in model.items() if each.dtype.kind in "iub"}
        self._exact |= {name: each for name, each in exact.items() if name in self._dtypes}

    def restored(self, model: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
        """Returns a model with its integers, and its floats in their first dtypes.

        Arrays of other names, shapes or kinds stay as they are.
        """
        found: dict[str, Any] = dict(model)
        for name, array in model.items():
            exact, kind = self._exact.get(name), self._dtypes.get(name)
            if exact is not None and exact.shape == array.shape and array.dtype.kind in "fiub":
                found[name] = exact
            elif kind is not None and kind.kind == array.dtype.kind == "f":
                found[name] = array.astype(kind)
        return found
