"""The choice of the codec that fits a format."""

from ..params.formats import FixedPoint
from .codec import Codec, VectorParams
from .fixed_point import FixedPointCodec
from .integers import IntegersCodec


def codec_for(params: VectorParams) -> Codec:
    """Returns the codec for the format of these parameters."""
    if isinstance(params.format, FixedPoint):
        return FixedPointCodec(params, params.format)
    return IntegersCodec(params, params.format)
