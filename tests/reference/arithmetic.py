"""Numbers: primes, streams, masks, packing, shares and quantization (docs/WIRE.md)."""

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

Share = tuple[int, int, int]
LIMBS = (slice(0, 7), slice(7, 14), slice(14, 16))  # WIRE.md "Shares"
SHARE_BITS = 61
WITNESSES = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37)  # decide every number below 3.18e23


def is_prime(n: int) -> bool:
    """Miller-Rabin, which is a proof for n < 2^64 with these witnesses (Sorenson, Webster)."""
    if n < 2 or any(n % w == 0 for w in WITNESSES):
        return n in WITNESSES
    twos = ((n - 1) & (1 - n)).bit_length() - 1
    for witness in WITNESSES:
        x = pow(witness, (n - 1) >> twos, n)
        if x != 1 and all(pow(x, 1 << k, n) != n - 1 for k in range(twos)):
            return False
    return True


@cache
def prime(bits: int) -> int:
    """WIRE.md "Values": p(b), the largest prime below 2^b."""
    return next(n for n in range((1 << bits) - 1, 1, -1) if is_prime(n))


@dataclass(frozen=True)
class Generator:
    """The generator of a suite: its block for (key, nonce, counter), and the bytes of one."""

    block: Callable[[bytes, int, int], bytes]
    size: int


GENERATORS: dict[int, Generator] = {}  # by suite, WIRE.md "Streams"


@lru_cache(2**14)
def chacha20_block(key: bytes, nonce: int, counter: int) -> bytes:
    """RFC 8439 section 2.3, with the original 64-bit counter and 64-bit nonce."""
    tail = counter.to_bytes(8, "little") + nonce.to_bytes(8, "little")
    raw = b"expand 32-byte k" + key + tail
    initial = [int.from_bytes(raw[i : i + 4], "little") for i in range(0, 64, 4)]
    s = list(initial)

    def half(a: int, b: int, d: int, rotation: int) -> None:
        s[a] = (s[a] + s[b]) & 0xFFFFFFFF
        x = s[d] ^ s[a]
        s[d] = (x << rotation | x >> (32 - rotation)) & 0xFFFFFFFF

    def quarter(a: int, b: int, c: int, d: int) -> None:
        half(a, b, d, 16)
        half(c, d, b, 12)
        half(a, b, d, 8)
        half(c, d, b, 7)

    for _ in range(10):
        for i in range(4):
            quarter(i, 4 + i, 8 + i, 12 + i)
        for i in range(4):
            quarter(i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4)
    words = ((x + y) & 0xFFFFFFFF for x, y in zip(s, initial, strict=True))
    return b"".join(w.to_bytes(4, "little") for w in words)


GENERATORS[2] = Generator(chacha20_block, 64)


@lru_cache(2**14)
def aes256_block(key: bytes, nonce: int, counter: int) -> bytes:
    """One block of AES-256 in counter mode, its input being `nonce || counter` in big-endian."""
    ecb = Cipher(algorithms.AES256(key), modes.ECB()).encryptor()  # noqa: S305
    return ecb.update(nonce.to_bytes(8, "big") + counter.to_bytes(8, "big"))


GENERATORS[1] = Generator(aes256_block, 16)


def stream(suite: int, key: bytes, nonce: int, counter: int, nbytes: int) -> bytes:
    """WIRE.md "Streams": `nbytes` bytes from the beginning of block `counter`."""
    generator = GENERATORS[suite]
    blocks = range(counter, counter + -(-nbytes // generator.size))
    return b"".join(generator.block(key, nonce, c) for c in blocks)[:nbytes]


def words(suite: int, key: bytes, nonce: int, width: int, start: int, count: int) -> list[int]:
    """Words start .. start + count - 1, of `width` bytes, of the stream at `nonce`."""
    counter, skip = divmod(start * width, GENERATORS[suite].size)
    data = stream(suite, key, nonce, counter, skip + count * width)[skip:]
    return [int.from_bytes(data[i : i + width], "little") for i in range(0, len(data), width)]


def mask(suite: int, key: bytes, bits: int, start: int, count: int) -> list[int]:
    """WIRE.md "Streams, masks, masked input": elements start .. start + count - 1 of a mask."""
    low, p = (1 << bits) - 1, prime(bits)
    drawn = [word & low for word in words(suite, key, 0, word_size(bits), start, count)]
    return [v if v < p else redraw(suite, key, bits, i) for i, v in enumerate(drawn, start)]


def redraw(suite: int, key: bytes, bits: int, i: int) -> int:
    """Element i of a mask if word i at nonce 0 is rejected: from words 0, 1, ... at nonce i + 1."""
    size, low, p = word_size(bits), (1 << bits) - 1, prime(bits)
    drawn = (words(suite, key, i + 1, size, at, 1)[0] & low for at in itertools.count())
    return next(value for value in drawn if value < p)


def word_size(bits: int) -> int:
    """The bytes of the words that masks of this width are made of."""
    return 4 if bits <= 32 else 8


def pack(values: Sequence[int], bits: int) -> bytes:
    """WIRE.md "Values": packed vector, the least significant bit first."""
    number = sum(value << (i * bits) for i, value in enumerate(values))
    return number.to_bytes((len(values) * bits + 7) // 8, "little")


def unpack(data: bytes, count: int, bits: int) -> list[int]:
    """The inverse of `pack`; refuses a wrong length, padding bits and elements not below p(b)."""
    number = int.from_bytes(data, "little")
    if len(data) != (count * bits + 7) // 8 or number >> (count * bits):
        raise ValueError("not a canonical packed vector")
    values = [number >> (i * bits) & ((1 << bits) - 1) for i in range(count)]
    if any(value >= prime(bits) for value in values):
        raise ValueError("an element is not below p(b)")
    return values


def share(
    secret: bytes, coefficients: Sequence[Sequence[int]], t: int, points: Iterable[int]
) -> dict[int, Share]:
    """WIRE.md "Shares": of a 16-byte seed; coefficients[j][k - 1] is that of x^k for limb j."""
    p = prime(SHARE_BITS)
    polynomials = [
        [int.from_bytes(secret[limb], "little"), *higher]
        for limb, higher in zip(LIMBS, coefficients, strict=True)
    ]
    if len(secret) != 16 or any(len(polynomial) != t for polynomial in polynomials):
        raise ValueError("a 16-byte secret and three polynomials of degree t - 1 are needed")
    shares = {}
    for x in points:
        a, b, c = (sum(f * x**k for k, f in enumerate(poly)) % p for poly in polynomials)
        shares[x] = (a, b, c)
    return shares


def rebuild(shares: dict[int, Share], t: int) -> bytes:
    """The seed by Lagrange interpolation at 0 over F(2^61 - 1), from the t lowest points."""
    p, points = prime(SHARE_BITS), sorted(shares)[:t]
    if len(points) < t:
        raise ValueError("fewer than t shares")
    secret = b""
    for j, limb in enumerate(LIMBS):
        value = 0
        for x in points:
            others = [z for z in points if z != x]
            above = math.prod(others)
            below = math.prod(z - x for z in others)
            value += shares[x][j] * above * pow(below, -1, p)
        size = limb.stop - limb.start
        if value % p >> (8 * size):
            raise ValueError("the shares do not meet in a seed")
        secret += (value % p).to_bytes(size, "little")
    return secret


def quantize(
    x: Sequence[float],
    clip: float,
    bits: int,
    weight: int,
    max_weight: int,
    suite: int,
    rounding_key: bytes,
) -> list[int]:
    """WIRE.md "Encoded input", fixed point: the elements and, when max_weight > 1, the weight."""
    levels, drawn = (1 << bits) - 1, words(suite, rounding_key, 0, 4, 0, len(x))
    out = [
        weigh(weight, level(min(max(value, -clip), clip), word * 2.0**-32, clip, levels))
        for value, word in zip(x, drawn, strict=True)
    ]
    return [*out, weight] if max_weight > 1 else out


def level(x: float, u: float, clip: float, levels: int) -> int:
    """q_i of a clamped x."""
    return min(math.floor(on_the_grid(x, u, clip, levels)), levels)


def on_the_grid(x: float, u: float, clip: float, levels: int) -> float:
    """(x + clip) * scale + u: each operation is rounded, in this order."""
    return (x + clip) * (float(levels) / (2.0 * clip)) + u


def weigh(weight: int, q: int) -> int:
    """An element, which may be above 2^53."""
    return weight * q
