"""Numbers to field elements and back: one codec a format."""

from ..params.formats import FixedPoint
from ..params.params import Params
from .codec import Codec, Decoded, Encoded
from .fixed_point import FixedPointCodec
from .integers import IntegersCodec

__all__ = ["Codec", "Decoded", "Encoded", "codec_for"]


def codec_for(params: Params) -> Codec:
    """The codec of these parameters' format."""
    if isinstance(params.format, FixedPoint):
        return FixedPointCodec(params, params.format)
    return IntegersCodec(params, params.format)
