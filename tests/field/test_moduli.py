"""The table of primes, recomputed from nothing but the definition, and the choice of a width."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from refusals import refused
from support import looped

from secagg import Code, Field, ParameterError
from secagg.arithmetic.binding import ffi, lib
from secagg.arithmetic.moduli import MAX_BITS, MIN_BITS, least_bits, modulus

WIDTHS = range(16, 63)
VECTORS = Path(__file__).parents[1] / "vectors" / "arithmetic_vectors.json"
KNOWN: dict[str, str] = json.loads(VECTORS.read_text())["primes"]


def is_prime(n: int) -> bool:
    """Miller-Rabin; with the first twelve primes as bases a proof below 3.18e23 (Sorenson 2015)."""
    bases = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37)
    if any(n % base == 0 for base in bases):
        return n in bases
    odd, twos = n - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    for base in bases:
        x = pow(base, odd, n)
        chain = [pow(x, 1 << k, n) for k in range(twos)]
        if x != 1 and n - 1 not in chain:
            return False
    return True


def test_the_primality_test_knows_primes_from_pseudoprimes() -> None:
    """The judge of the table is itself judged: by a sieve, and by numbers that fool weak tests."""
    sieve = [True] * 5000
    for n in range(2, 5000):
        if sieve[n]:
            sieve[2 * n :: n] = [False] * len(sieve[2 * n :: n])
    assert [is_prime(n) for n in range(2, 5000)] == sieve[2:]
    # Strong pseudoprimes to many of the bases (Jaeschke 1993), and Carmichael numbers.
    for composite in (3215031751, 3474749660383, 341550071728321, 825265, 321197185):
        assert not is_prime(composite)


@looped("bits", WIDTHS)
def test_each_modulus_is_the_largest_prime_below_its_power_of_two(bits: int) -> None:
    """p(b) is prime, and no number between it and 2^b is."""
    p = modulus(bits)
    assert p < 1 << bits
    assert is_prime(p)
    assert not any(is_prime(n) for n in range(p + 1, 1 << bits))


@looped("bits", WIDTHS)
def test_the_core_and_the_vectors_have_the_same_table(bits: int) -> None:
    """The C table and the third party's vectors agree with the Python one."""
    out = ffi.new("uint64_t *")
    assert lib.sa_modulus(out, bits) == lib.SA_OK
    assert out[0] == modulus(bits) == int(KNOWN[str(bits)])


@pytest.mark.parametrize("bits", [-1, 0, 1, 15, 63, 64, 1000])
def test_other_widths_are_refused(bits: int) -> None:
    """There is no field outside 16..62 bits, in Python and in C."""
    with refused(ParameterError, Code.ARGUMENT, match=f"16 to 62 bits, not {bits}"):
        modulus(bits)
    with pytest.raises(ParameterError):
        Field(bits)
    assert lib.sa_modulus(ffi.new("uint64_t *"), bits) == lib.SA_EARG


def test_least_bits_at_the_edges() -> None:
    """A sum as large as p - 1 fits a width; one of p needs the next, though it has as many bits."""
    assert (WIDTHS[0], WIDTHS[-1]) == (MIN_BITS, MAX_BITS)
    assert least_bits(0) == least_bits(1) == 16
    for bits in WIDTHS:
        assert least_bits(modulus(bits) - 1) == bits
        if bits < 62:
            assert least_bits(modulus(bits)) == bits + 1


@pytest.mark.parametrize("largest", [modulus(62), 1 << 62, 1 << 64, 1 << 100])
def test_no_width_holds_more_than_62_bits(largest: int) -> None:
    """A sum that could wrap around in the widest field is refused with the number in question."""
    with refused(ParameterError, Code.HEADROOM):
        least_bits(largest)


@given(st.integers(0, modulus(62) - 1))
def test_least_bits_is_least(largest: int) -> None:
    """The width chosen holds the sum, and the next smaller one does not."""
    bits = least_bits(largest)
    assert largest < modulus(bits)
    assert bits == 16 or largest >= modulus(bits - 1)
