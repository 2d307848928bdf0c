"""The structure of the models of a training, in the words of the party that takes them."""

from typing import Final

import numpy as np

from secagg import Code, ParameterError, Params

from .models import Model
from .optimizers import Optimizer
from .steps import summed_by

_FLOATS: Final = (np.float16, np.float32, np.float64)  # their bytes are determined by their values


class Template:
    """The shapes and dtypes of a model's arrays; no model of another structure is taken.

    The context of a round tells structures apart. If the server chose the structure, it could send
    equal numbers in many (reshaped, joined, with an empty array more, in another dtype), and would
    get a sum over each.

    Args:
        model: arrays of these shapes and dtypes; their values do not count.
        params: parameters of the rounds; their length must be that of the model, or what the
            optimizer sums for such a model.
        optimizer: of the training.
        bits: how many bits of each client are summed beside that (`AdaptiveClip`).

    Raises:
        ParameterError: the model is no list of arrays of float16, float32 or float64, or has
            another length than the parameters.
    """

    def __init__(self, model: Model, params: Params, optimizer: Optimizer, bits: int = 0) -> None:
        arrays = _listed(model)
        # The type of a number is the dtype without its byte order, which a copy makes native.
        self._arrays: Final = [(array.shape, array.dtype.type) for array in arrays]
        if any(number not in _FLOATS for _, number in self._arrays):
            kinds = ", ".join(str(array.dtype) for array in arrays)
            raise ParameterError(
                f"a model must be a list of arrays of floats (16, 32 or 64 bits), not of {kinds}",
                Code.DTYPE,
            )
        length = sum(array.size for array in arrays)
        if (summed := summed_by(optimizer, length) + bits) != params.length:
            more = f", and {summed} are summed with it" if summed != length else ""
            raise ParameterError(
                f"the model has {length} values{more}, and params.length is {params.length}; "
                "make params with this length",
                Code.SHAPE,
            )

    def take(self, model: Model) -> Model:
        """Returns a copy of a model, as a list of plain arrays in native byte order.

        Raises:
            ParameterError: the model has another structure or another dtype, or a value that is
                not finite.
        """
        arrays = _listed(model)
        if len(arrays) != len(self._arrays):
            raise ParameterError(
                f"the model has {len(arrays)} arrays instead of {len(self._arrays)}", Code.SHAPE
            )
        taken = []
        for at, (array, (shape, number)) in enumerate(zip(arrays, self._arrays, strict=True)):
            if array.shape != shape:
                raise ParameterError(
                    f"array {at} of the model has shape {array.shape} instead of {shape}",
                    Code.SHAPE,
                )
            if array.dtype.type is not number:
                raise ParameterError(
                    f"array {at} of the model has dtype {array.dtype} instead of {number.__name__}",
                    Code.DTYPE,
                )
            taken.append(np.array(array, number))
            if not np.isfinite(taken[-1]).all():
                raise ParameterError(
                    f"array {at} of the model has a value that is NaN or infinite", Code.NOT_FINITE
                )
        return taken


def _listed(model: Model) -> Model:
    """Returns the arrays of a model, which may come from a peer, without converting any."""
    if not isinstance(model, list | tuple):
        raise ParameterError(
            f"a model must be a list of arrays, not {type(model).__name__}", Code.DTYPE
        )
    for at, array in enumerate(model):
        if isinstance(array, np.ma.MaskedArray):
            raise ParameterError(
                f"a model must be a list of plain arrays, and item {at} is masked: fill it",
                Code.DTYPE,
            )
        if not isinstance(array, np.ndarray):
            raise ParameterError(
                f"a model must be a list of NumPy arrays, and item {at} is of the type "
                f"{type(array).__name__}: convert it with np.asarray, also a single number",
                Code.DTYPE,
            )
    return list(model)
