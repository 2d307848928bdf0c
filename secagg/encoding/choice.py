"""Which codec a format has."""

from ..params.formats import FixedPoint
from ..params.params import Params
from .codec import Codec
from .fixed_point import FixedPointCodec
from .integers import IntegersCodec


def codec_for(params: Params) -> Codec:
    """The codec of these parameters' format."""
    if isinstance(params.format, FixedPoint):
        return FixedPointCodec(params, params.format)
    return IntegersCodec(params, params.format)
