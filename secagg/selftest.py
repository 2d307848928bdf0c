"""Known-answer tests for every implementation of every kernel, and one sum by the protocol.

The answers of the keystreams are published ones; the others come from an independent big-integer
model (`tests/reference`). They detect a broken build or CPU; they say nothing about the design.
"""

import hashlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from .arithmetic.binding import lib
from .arithmetic.field import Field
from .arithmetic.generators import Generator
from .arithmetic.implementations import families, forced
from .arithmetic.noise import sum_squares
from .arithmetic.rotation import Rotation, norm
from .encoding.choice import codec_for
from .errors import SecAggError
from .events import Phase
from .noise.samplers import sampler
from .params.formats import FixedPoint, Integers
from .params.params import Params
from .primitives import prg
from .sharing import rebuilding, shamir
from .simulate import secure_sum

_KEY: Final = bytes(range(32))


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of one test: its name, the implementation, and whether the answer was right."""

    name: str
    implementation: str
    passed: bool


def _short(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()


@dataclass(frozen=True, slots=True)
class _Cipher:
    """Known answers of one generator.

    Attributes:
        name: as it is shown.
        generator: its number in the native core.
        at: key, nonce and counter of a published keystream.
        keystream: that keystream, in hex.
        masks: digests of mask elements 5..1004, in fields of 20 and of 61 bits.
    """

    name: str
    generator: Generator
    at: tuple[bytes, int, int]
    keystream: str
    masks: tuple[str, str]

    def gives_keystream(self) -> bool:
        """Checks the keystream."""
        key, nonce, counter = self.at
        wanted = bytes.fromhex(self.keystream)
        return prg.stream(self.generator, key, len(wanted), nonce, counter) == wanted

    def gives_masks(self) -> bool:
        """Checks masks of a narrow and of a wide field."""
        got = (
            _short(field.pack(field.uniform(_KEY, 1000, self.generator, start=5)))
            for field in (Field(20), Field(61))
        )
        return tuple(got) == self.masks


_CIPHERS: Final = {
    # NIST SP 800-38A, F.5.5.
    "aes": _Cipher(
        "AES-256-CTR",
        lib.SA_AES256CTR,
        (
            bytes.fromhex("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4"),
            0xF0F1F2F3F4F5F6F7,
            0xF8F9FAFBFCFDFEFF,
        ),
        "0bdf7df1591716335e9a8b15c860c502",
        ("a343b08c2b11387bd71c6e063ae4bc78", "fb1c613ba81a3466a51362a78065b102"),
    ),
    # RFC 8439, 2.3.2: its 96-bit nonce is the high half of our counter, then our nonce.
    "chacha": _Cipher(
        "ChaCha20",
        lib.SA_CHACHA20,
        (_KEY, 0x4A000000, 0x0900000000000001),
        "10f1e7e4d13b5915500fdd1fa32071c4c7d1f4c733c068030422aa9ac3d46c4e"
        "d2826446079faa0914c2d705d98b02a2b5129cd1de164eb9cbd083e8a2503c4e",
        ("2ae7d78e8901268fb2e095a1f84eb53c", "5a0ace9993b0df34992e188602c65c08"),
    ),
}


def _field() -> bool:
    for bits in (20, 61):
        field = Field(bits)
        p = field.modulus
        a, b = field.vector([0, 1, p - 1, p // 2]), field.vector([p - 1, p - 1, p - 1, p - 2])
        if field.add(a, b).tolist() != [p - 1, 0, p - 2, (p // 2 + p - 2) % p]:
            return False
        if field.sub(a, b).tolist() != [1, 2, 0, (p // 2 - p + 2) % p]:
            return False
        if field.scale(a, p - 2).tolist() != [0, p - 2, 2, p // 2 * (p - 2) % p]:
            return False
    return True


def _pack() -> bool:
    field = Field(17)
    values = field.vector([1, 2, 131070])
    packed = field.pack(values)
    total = field.unpack_add(field.zeros(3), packed)
    return packed.hex() == "01000400f8ff07" and total.tolist() == values.tolist()


def _quantize() -> bool:
    params = Params(3, 1000, FixedPoint(clip=4.0, bits=20))
    values = np.array([i / 100 - 5.2 for i in range(1000)])
    encoded = codec_for(params, bytes(16)).encode(values, 1, lambda _: _KEY)
    right = _short(encoded.vector.astype("<u4").tobytes()) == "d0bfa100b3ba42210c22c69ca391c696"
    return right and encoded.clipped == 199


def _rotate() -> bool:
    """Checks a rotation of integers in which nothing is rounded, and its inverse."""
    values = np.arange(1100, dtype=np.float32) % 15 - 7
    rotation, x = Rotation(lib.SA_AES256CTR, _KEY), values.copy()
    rotation.forward(x)
    right = _short((x * 1024).astype("<i4").tobytes()) == "e6e5cbb9e015a9d86c82d56807dc87e6"
    rotation.backward(x)
    return right and x.tolist() == values.tolist() and norm(x) == math.sqrt(20575)


def _noise() -> bool:
    """Checks noise of a table that is scanned and of one that is searched, and its squares."""
    field, middle = Field(40), 2000
    for kind, sigma, answer, squares in (
        (1, 7, "d592da39f5c9b5ecedb37ca1469e4a84", 52_072),
        (1, 150, "7dbfdad30b039cc76b781821161c99ed", 23_936_308),
        (2, 150, "06ddb981ed9fede2139ff7d554c7ae1c", 24_591_039),
    ):
        vector = field.vector([middle] * 1000)
        sampler(kind, sigma**2 << 16).add(field, vector, lib.SA_AES256CTR, _KEY)
        if _short(field.pack(vector)) != answer or sum_squares(vector, middle) != squares:
            return False
    return True


def _shamir() -> bool:
    seed, holders = bytes(range(16)), range(7)
    shares = shamir.deal([seed], 4, holders, lib.SA_AES256CTR, _KEY)
    if _short(shamir.pack_shares(shares)) != "33b862618d28a79b358d3af093ececa1":
        return False
    shares[5] ^= np.uint64(1)
    rebuilt = rebuilding.Rebuilder(4, holders).rebuild(shares, lambda _, found: found == seed)
    return rebuilt.seeds == [seed] and np.flatnonzero(rebuilt.wrong).tolist() == [5]


def _protocol() -> bool:
    drops = {1: Phase.MASKED_INPUT, 4: Phase.UNMASK}
    updates = [np.arange(100) * party for party in range(6)]
    done = secure_sum(updates, Integers(0, 1000), drops=drops, threshold=4)
    total: list[int] = np.asarray(done.total).tolist()
    return total == [(0 + 2 + 3 + 4 + 5) * i for i in range(100)]


_CHECKS: Final[dict[str, dict[str, Callable[[], bool]]]] = {
    **{
        family: {f"{one.name} stream": one.gives_keystream, f"{one.name} masks": one.gives_masks}
        for family, one in _CIPHERS.items()
    },
    "field": {"field arithmetic": _field, "masks in the field": _CIPHERS["aes"].gives_masks},
    "pack": {"packing": _pack},
    "quantize": {"quantization": _quantize},
    "rotate": {"rotation": _rotate},
    "noise": {"noise": _noise},
    "shamir": {"Shamir sharing": _shamir},
}


def run() -> Iterator[Outcome]:
    """Runs every test on every implementation that this machine can run."""
    for family in families():
        for implementation in family.usable:
            for name, test in _CHECKS[family.name].items():
                with forced(family.name, implementation):
                    yield Outcome(name, f"{family.name}/{implementation}", _passes(test))
    yield Outcome("sum with dropouts", "protocol", _passes(_protocol))


def _passes(test: Callable[[], bool]) -> bool:
    try:
        return test()
    except SecAggError:
        return False
