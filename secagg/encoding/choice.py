"""The choice of the codec that fits a format."""

from ..codes import Code
from ..errors import ParameterError
from ..params.formats import FixedPoint, Integers
from .codec import Codec, VectorParams
from .fixed_point import FixedPointCodec
from .integers import IntegersCodec


def codec_for(params: VectorParams) -> Codec:
    """Returns the codec for the format of these parameters.

    A subclass of a format is another format, which needs a codec of its own: that of its base would
    leave out whatever it adds.

    Raises:
        ParameterError: no codec is registered here for the format.
    """
    form = params.format
    if type(form) is FixedPoint:
        return FixedPointCodec(params, form)
    if type(form) is Integers:
        return IntegersCodec(params, form)
    raise ParameterError(
        f"there is no codec for the format {type(form).__name__}", Code.UNSUPPORTED
    )
