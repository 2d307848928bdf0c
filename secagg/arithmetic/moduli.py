"""The prime moduli of the field: p(b) is the largest prime below 2^b, for b in 16..62."""

from typing import Final

from ..codes import Code
from ..errors import ParameterError
from ..numeric import as_int, brief

MIN_BITS: Final = 16
MAX_BITS: Final = 62

# 2^b - p(b) for b = 16, 17, ..., 62.
# fmt: off
_DELTAS: Final = (
    15, 1, 5, 1, 3, 9, 3, 15, 3, 39, 5, 39, 57, 3, 35, 1,
    5, 9, 41, 31, 5, 25, 45, 7, 87, 21, 11, 57, 17, 55, 21, 115,
    59, 81, 27, 129, 47, 111, 33, 55, 5, 13, 27, 55, 93, 1, 57,
)
# fmt: on
MODULI: Final = {MIN_BITS + i: (1 << MIN_BITS + i) - delta for i, delta in enumerate(_DELTAS)}


def width(bits: object) -> int:
    """Returns the width of a field as an int; ParameterError unless it is one in 16..62."""
    found = as_int(bits)
    if found is None or not MIN_BITS <= found <= MAX_BITS:
        raise ParameterError(
            f"a field must have {MIN_BITS} to {MAX_BITS} bits, not {brief(bits)}", Code.ARGUMENT
        )
    return found


def modulus(bits: int) -> int:
    """Returns the largest prime below 2**bits; ParameterError unless bits is in 16..62."""
    return MODULI[width(bits)]


def least_bits(largest: int) -> int:
    """Returns the smallest width of a field that holds 0..largest without overflow.

    Raises:
        ParameterError: that takes more than 62 bits.
    """
    for bits, prime in MODULI.items():
        if largest < prime:
            return bits
    raise ParameterError(
        f"a sum can take {largest + 1} values, which need more than {MAX_BITS} bits: "
        "lower the cohort, the precision, the range or the greatest weight",
        Code.HEADROOM,
    )
