"""An input that comes in chunks, and its vector in pieces: for inputs larger than memory."""

from collections.abc import Iterator
from typing import Final, TypeGuard, cast

import numpy as np
from numpy.typing import ArrayLike

from ..arithmetic.field import Field
from ..codes import Code
from ..errors import RangeError
from ..events import Randomness
from .codec import Codec, Encoded, VectorParams

# Elements of a piece of an input that comes in chunks: a multiple of 8, and enough for threads.
PIECE: Final = 2**18
_END: Final = object()


def encode_pieces(
    codec: Codec,
    params: VectorParams,
    values: ArrayLike | Iterator[ArrayLike],
    weight: int,
    random: Randomness,
) -> Iterator[Encoded]:
    """Encodes an input that is one array or comes in chunks, and yields its vector in pieces.

    Each piece but the last has a multiple of 8 elements, so that it packs into whole bytes. It is
    valid until the next one is asked for, which may be written into the same memory. An array is
    one piece. Of chunks one is held at a time, and a piece of at most `PIECE` elements:
    small chunks are gathered, and large ones cut.

    Raises:
        RangeError: the input is unusable, which may turn out after some pieces.
    """
    if not is_chunked(values):
        yield codec.encode(cast("ArrayLike", values), weight, random)
        return
    encoder = codec.encoder(weight, random)
    piece = np.empty(min(PIECE, params.vector_length), Field(params.field_bits).dtype)
    done = filled = clipped = 0  # values so far, elements in the piece, and clipped ones of these
    while (chunk := next(values, _END)) is not _END:
        array = encoder.read(cast("ArrayLike", chunk))
        del chunk  # while the next one is made, the caller's memory is free
        if done + array.size > params.length:
            raise RangeError(
                f"an input must have {params.length} values, and its chunks have more: "
                f"{done + array.size} so far",
                Code.SHAPE,
            )
        while array.size:
            count = min(array.size, piece.size - filled)
            clipped += encoder.encode(array[:count], done, piece[filled : filled + count])
            done, filled, array = done + count, filled + count, array[count:]
            if filled == piece.size:
                yield Encoded(piece, clipped)
                filled = clipped = 0
        del array
    if done != params.length:
        raise RangeError(
            f"an input must have {params.length} values, and its chunks have {done} in all",
            Code.SHAPE,
        )
    rest = filled + params.vector_length - params.length
    encoder.finish(piece[filled:rest])
    if rest:
        yield Encoded(piece[:rest], clipped)


def is_chunked(values: object) -> TypeGuard[Iterator[ArrayLike]]:
    """Returns whether an input comes in chunks: an iterator that is no array itself.

    (NumPy's `array.flat` is both.)
    """
    return hasattr(values, "__next__") and not hasattr(values, "__array__")
