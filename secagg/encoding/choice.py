"""The choice of the codec that fits a format."""

from typing import Final

from ..arithmetic.field import Field
from ..codes import Code
from ..errors import ParameterError
from ..params.formats import FixedPoint, Integers
from .codec import Codec, VectorParams
from .fixed_point import FixedPointCodec
from .integers import IntegersCodec

_MOST_BYTES: Final = 2**32  # the hash that proves an input writes its length in 32 bits


def codec_for(params: VectorParams, session: bytes) -> Codec:
    """Returns the codec for the format of these parameters.

    A subclass of a format is another format, which needs a codec of its own: that of its base would
    leave out whatever it adds.

    Args:
        params: of the round.
        session: of the round, from which a rotation follows.

    Raises:
        ParameterError: no codec is registered here for the format, or a packed vector is too long
            for a message.
    """
    form = params.format
    size = Field(params.field_bits).packed_bytes(params.vector_length)
    if size >= _MOST_BYTES:
        raise ParameterError(
            f"a masked input of {params.length} values would have {size} bytes, and a message "
            "takes less than 4 GiB: lower length or bits, or sum the vector in several rounds",
            Code.HEADROOM,
        )
    if type(form) is FixedPoint:
        return FixedPointCodec(params, form)
    if type(form) is Integers:
        return IntegersCodec(params, form)
    raise ParameterError(
        f"there is no codec for the format {type(form).__name__}", Code.UNSUPPORTED
    )
