"""Parameters and offers: defaults, every refusal, and one encoding for each."""

import math
import struct

import pytest
from harness import model_of
from hypothesis import given
from hypothesis import strategies as st
from reference import protocol
from refusals import refused

from secagg import (
    Code,
    DecodeError,
    FixedPoint,
    Integers,
    Mode,
    ParameterError,
    Params,
    Rotated,
    Round,
    Suite,
)
from secagg.arithmetic.moduli import least_bits, modulus
from secagg.machine.wire import Reader
from secagg.params.formats import read_format
from secagg.params.rotated import Noise, least_bound, least_tail

SESSION = bytes(range(16))
CONTEXT = bytes(range(100, 132))

fixed_points = st.builds(
    FixedPoint,
    clip=st.floats(2.0**-900, 2.0**900),
    bits=st.integers(1, 32),
    max_weight=st.integers(1, 2**14 - 1),
)


@st.composite
def integer_formats(draw: st.DrawFn, cohort: int) -> Integers:
    """Ranges whose total fits the field and int64."""
    end = (2**63 - 1) // cohort
    width = draw(st.integers(1, (modulus(62) - 1) // cohort))
    low = draw(st.integers(-end, end - width))
    return Integers(low, low + width)


@st.composite
def rotated_formats(draw: st.DrawFn, cohort: int = 2, length: int = 1) -> Rotated:
    """With and without noise, such that a cohort's sums fit the field."""
    ends = st.floats(2.0**-250, 2.0**250)
    noise, rotation = draw(st.sampled_from(Noise)), draw(st.booleans())
    if not noise:
        peak = draw(st.integers(1, 2**16 - 1))
        slots = draw(st.integers(1, 61 // (cohort * peak).bit_length()))
        weight = draw(st.integers(1, 2**32 - 1))
        fields = {"peak": peak, "slots": slots, "max_weight": weight}
        return Rotated(clip=draw(ends), scale=draw(ends), rotation=rotation, **fields)
    scale = draw(st.floats(2.0**-200, 2.0**200))
    clip = draw(st.floats(2.0**-30, 2.0**30)) / scale
    steps = draw(st.integers(1, 2**50))
    return Rotated(
        clip=clip,
        scale=scale,
        rotation=rotation,
        noise=noise,
        peak=draw(st.integers(1, 2**31 - 1)),
        bound=draw(st.integers(least_bound(clip, scale), 2**64 - 1)),
        variance_steps=steps,
        tail=draw(st.integers(least_tail(noise, steps, cohort, length), 2**60)),
    )


@st.composite
def possible_params(draw: st.DrawFn) -> Params:
    """Any parameters that are possible."""
    n = draw(st.integers(2, 2**16))
    threshold = draw(st.integers(n // 2 + 1, n))
    min_survivors = draw(st.integers(1, n))
    quorum = max(threshold, min_survivors)
    return Params(
        cohort=n,
        length=draw(st.integers(1, 2**32)),
        format=draw(fixed_points if n * (2**46) < modulus(62) else integer_formats(n)),
        threshold=threshold,
        min_survivors=min_survivors,
        colluders=draw(st.integers(0, min(threshold - 1, quorum - 2))),
        suite=draw(st.sampled_from(Suite)),
    )


@st.composite
def rotated_params(draw: st.DrawFn) -> Params:
    """Any with format 3."""
    n, length = draw(st.integers(2, 2**10)), draw(st.integers(1, 2**32))
    return Params(n, length, draw(rotated_formats(n, length)))


rounds = st.builds(
    Round,
    possible_params() | rotated_params(),
    st.binary(min_size=32, max_size=32),
    st.binary(min_size=16, max_size=16),
)


def some_rounds() -> list[Round]:
    """One of each format."""
    skellam = {"noise": Noise.SKELLAM, "variance_steps": 2**16}
    noise = Rotated(clip=4.0, scale=2.0, peak=8, bound=64, tail=40, **skellam)
    return [
        Params(10, 1000, FixedPoint(1.5, 20, 500)).round(CONTEXT, SESSION),
        Params(3, 7, Integers(-5, 1000), suite=Suite.CHACHA20).round(CONTEXT, SESSION),
        Params(3, 7, noise).round(CONTEXT, SESSION),
    ]


# -- defaults ---------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [2, 3, 4, 5, 6, 7, 10, 99, 100, 101, 1000, 65536])
def test_defaults(n: int) -> None:
    """Two thirds rebuild a seed, as many must survive, and a third may collude."""
    params = Params(n, 5, Integers(0, 1))
    assert params.threshold == math.floor(2 * n / 3) + 1
    assert params.min_survivors == params.quorum == params.threshold
    assert params.colluders == min(n // 3, params.quorum - 2)
    assert params.quorum - params.colluders >= 2
    assert (params.mode, params.suite) == (Mode.SEMI_HONEST, Suite.AES256CTR)
    # A default spelled out is the same parameters.
    assert params == Params(n, 5, Integers(0, 1), params.threshold, 0, params.colluders)


def test_every_cohort_has_defaults() -> None:
    """No size of a cohort up to a thousand is refused with its defaults."""
    for n in range(2, 1001):
        assert Params(n, 1, Integers(0, 1)).quorum >= n // 2 + 1


def test_the_quorum_is_the_greater_of_the_two() -> None:
    """Less than the threshold has no effect; more does."""
    assert Params(10, 1, Integers(0, 1), threshold=7, min_survivors=3).quorum == 7
    assert Params(10, 1, Integers(0, 1), threshold=6, min_survivors=9).quorum == 9
    # A greater quorum allows more colluders, up to the threshold.
    assert Params(10, 1, Integers(0, 1), threshold=6, min_survivors=10, colluders=5)


def test_the_vector_holds_the_weight() -> None:
    """One element more where inputs are weighted."""
    assert Params(5, 9, FixedPoint(1.0)).vector_length == 9
    assert Params(5, 9, FixedPoint(1.0, max_weight=2)).vector_length == 10
    assert Params(5, 9, Integers(-1, 1)).vector_length == 9


@given(possible_params())
def test_the_field_is_the_least_that_holds_the_sum(params: Params) -> None:
    """n times the largest element is below p(b), and not below p(b - 1)."""
    most = params.cohort * params.format.largest
    assert params.field_bits == least_bits(most)
    assert most < modulus(params.field_bits)


def test_a_sum_as_large_as_the_modulus_takes_one_bit_more() -> None:
    """So does the distance of the largest sum from the least one."""
    for cohort, bits in ((modulus(16) - 1, 16), (modulus(16), 17)):
        for format_ in (Integers(0, 1), Integers(-1, 0)):
            assert Params(cohort, 1, format_).field_bits == bits


# -- formats ----------------------------------------------------------------------------------


def test_fixed_point_numbers() -> None:
    """Levels, step and scale of a grid."""
    fixed = FixedPoint(2.0, 8, 10)
    assert (fixed.levels, fixed.largest, fixed.weighted) == (255, 2550, True)
    assert (fixed.step, fixed.scale) == (4.0 / 255, 255 / 4.0)
    plain = FixedPoint(3)
    assert (plain.clip, plain.bits, plain.max_weight, plain.weighted) == (3.0, 20, 1, False)
    assert isinstance(plain.clip, float)
    assert (Integers(-3, 9).largest, Integers(-3, 9).weighted) == (12, False)


PLAIN = {"clip": 1.0, "scale": 2.0, "peak": 4}
IMPOSSIBLE_FORMATS: dict[str, tuple[type, dict[str, object], str]] = {
    "clip 0": (FixedPoint, {"clip": 0.0}, "clip"),
    "clip -0": (FixedPoint, {"clip": -0.0}, "clip"),
    "clip -1": (FixedPoint, {"clip": -1.0}, "clip"),
    "clip NaN": (FixedPoint, {"clip": math.nan}, "clip"),
    "clip infinite": (FixedPoint, {"clip": math.inf}, "clip"),
    "clip too small": (FixedPoint, {"clip": math.nextafter(2.0**-900, 0)}, "clip"),
    "clip too large": (FixedPoint, {"clip": math.nextafter(2.0**900, math.inf)}, "clip"),
    "clip beyond floats": (FixedPoint, {"clip": 10**400}, "clip"),
    "clip of text": (FixedPoint, {"clip": "1"}, "clip"),
    "clip None": (FixedPoint, {"clip": None}, "clip"),
    "clip True": (FixedPoint, {"clip": True}, "clip"),
    "clip complex": (FixedPoint, {"clip": 1j}, "clip"),
    "bits 0": (FixedPoint, {"clip": 1.0, "bits": 0}, "bits"),
    "bits 33": (FixedPoint, {"clip": 1.0, "bits": 33}, "bits"),
    "bits 8.0": (FixedPoint, {"clip": 1.0, "bits": 8.0}, "bits"),
    "bits True": (FixedPoint, {"clip": 1.0, "bits": True}, "bits"),
    "max_weight 0": (FixedPoint, {"clip": 1.0, "max_weight": 0}, "max_weight"),
    "max_weight -1": (FixedPoint, {"clip": 1.0, "max_weight": -1}, "max_weight"),
    "max_weight 2^32": (FixedPoint, {"clip": 1.0, "max_weight": 2**32}, "max_weight"),
    "an empty range": (Integers, {"low": 5, "high": 5}, "below"),
    "a range backwards": (Integers, {"low": 5, "high": 4}, "below"),
    "low beyond int64": (Integers, {"low": -(2**63) - 1, "high": 0}, "low"),
    "high beyond int64": (Integers, {"low": 0, "high": 2**63}, "high"),
    "low 0.0": (Integers, {"low": 0.0, "high": 3}, "low"),
    "high None": (Integers, {"low": 0, "high": None}, "high"),
    "low False": (Integers, {"low": False, "high": 3}, "low"),
    "a bound without noise": (Rotated, {**PLAIN, "bound": 1}, r"bound must be in 0\.\.0"),
    "noise without a tail": (Rotated, {**PLAIN, "noise": 1, "bound": 4}, r"tail must be in 1\.\."),
    "a scale of 0": (Rotated, {**PLAIN, "scale": 0.0}, "scale"),
}


@pytest.mark.parametrize("what", IMPOSSIBLE_FORMATS)
def test_impossible_formats_are_refused(what: str) -> None:
    """Each by name, at construction."""
    kind, arguments, name = IMPOSSIBLE_FORMATS[what]
    with refused(ParameterError, Code.ARGUMENT, match=name):
        kind(**arguments)


def test_the_widest_formats() -> None:
    """The ends of every range are possible."""
    for clip in (2.0**-900, 2.0**900, 1):
        for bits in (1, 32):
            fixed = FixedPoint(clip, bits)
            assert math.isfinite(fixed.scale)
            assert fixed.scale > 0
            assert 0 < fixed.step < math.inf
    FixedPoint(1.0, 1, 2**32 - 1)
    Integers(-(2**63), 2**63 - 1)


@given(fixed_points | integer_formats(2) | rotated_formats())
def test_formats_encode_as_the_reference_models(fmt: FixedPoint | Integers | Rotated) -> None:
    """The bytes of docs/WIRE.md, and back."""
    model = model_of(fmt).encode()
    assert fmt.encode() == model
    reader = Reader(model, 3)
    assert read_format(reader) == fmt
    reader.end()


@pytest.mark.parametrize("code", [0, 4, 255])
def test_unknown_formats_are_refused(code: int) -> None:
    """By number, naming the party."""
    with refused(DecodeError, Code.UNSUPPORTED, match=f"party 4: unknown format {code}"):
        read_format(Reader(bytes([code]) + bytes(20), 4))


@pytest.mark.parametrize(
    "data",
    [
        struct.pack("<BdBI", 1, math.nan, 20, 1),
        struct.pack("<BdBI", 1, math.inf, 20, 1),
        struct.pack("<BdBI", 1, 0.0, 20, 1),
        struct.pack("<BdBI", 1, -1.0, 20, 1),
        struct.pack("<BdBI", 1, 1.0, 0, 1),
        struct.pack("<BdBI", 1, 1.0, 33, 1),
        struct.pack("<BdBI", 1, 1.0, 20, 0),
        struct.pack("<Bqq", 2, 5, 5),
        struct.pack("<Bqq", 2, 5, -5),
    ],
)
def test_impossible_formats_do_not_decode(data: bytes) -> None:
    """A format that cannot be constructed cannot be received."""
    with refused(DecodeError, Code.ARGUMENT):
        read_format(Reader(data, 0))


# -- parameters -------------------------------------------------------------------------------

UNIT = Integers(0, 1)
IMPOSSIBLE: dict[str, tuple[dict[str, object], str]] = {
    "cohort 1": ({"cohort": 1}, "cohort"),
    "cohort 0": ({"cohort": 0}, "cohort"),
    "cohort -5": ({"cohort": -5}, "cohort"),
    "cohort 65537": ({"cohort": 65537}, "cohort"),
    "cohort 10.0": ({"cohort": 10.0}, "cohort"),
    "cohort True": ({"cohort": True}, "cohort"),
    "cohort of text": ({"cohort": "10"}, "cohort"),
    "length 0": ({"length": 0}, "length"),
    "length -1": ({"length": -1}, "length"),
    "length 2^32 + 1": ({"length": 2**32 + 1}, "length"),
    "length 1.5": ({"length": 1.5}, "length"),
    "half a threshold": ({"threshold": 5}, "threshold"),
    "threshold 1": ({"threshold": 1}, "threshold"),
    "threshold -1": ({"threshold": -1}, "threshold"),
    "threshold above": ({"threshold": 11}, "threshold"),
    "threshold 7.0": ({"threshold": 7.0}, "threshold"),
    "min_survivors -1": ({"min_survivors": -1}, "min_survivors"),
    "min_survivors above": ({"min_survivors": 11}, "min_survivors"),
    "colluders -2": ({"colluders": -2}, "colluders"),
    "colluders at the threshold": ({"threshold": 7, "colluders": 7}, "colluders"),
    "one honest input": ({"threshold": 7, "colluders": 6}, "one honest input"),
    "one honest input of all": (
        {"cohort": 2, "threshold": 2, "colluders": 1},
        "one honest input",
    ),
    "a mode of its number": ({"mode": 0}, "mode"),
    "a suite of its number": ({"suite": 1}, "suite"),
    "another suite": ({"suite": Mode.SEMI_HONEST}, "suite"),
    "no mode": ({"mode": None}, "mode"),
    "no format": ({"format": None}, "format"),
    "a format of text": ({"format": "integers"}, "format"),
    "a format's class": ({"format": FixedPoint}, "format"),
    "a sum beyond the field": ({"format": FixedPoint(1.0, 32, 2**32 - 1)}, "62 bits"),
    "integers beyond the field": ({"format": Integers(0, 2**59)}, "62 bits"),
    "a total beyond int64": ({"format": Integers(2**60, 2**60 + 1)}, "64-bit"),
    "a total below int64": ({"format": Integers(-(2**60) - 1, -(2**60))}, "64-bit"),
}


@pytest.mark.parametrize("what", IMPOSSIBLE)
def test_impossible_parameters_are_refused(what: str) -> None:
    """Each names what is wrong, at construction."""
    changes, name = IMPOSSIBLE[what]
    arguments = {"cohort": 10, "length": 4, "format": UNIT, **changes}
    with pytest.raises(ParameterError, match=name):
        Params(**arguments)  # type: ignore[arg-type]


def test_the_widest_parameters() -> None:
    """The ends of every range are possible."""
    Params(2**16, 2**32, FixedPoint(1.0, 32, 2**14 - 1))
    Params(10, 1, UNIT, threshold=6)
    Params(10, 1, UNIT, threshold=10, min_survivors=10, colluders=8)
    Params(10, 1, UNIT, threshold=7, min_survivors=1, colluders=5)
    Params(2, 1, UNIT, colluders=0)
    edge = (modulus(62) - 1) // 10
    assert Params(10, 1, Integers(0, edge)).field_bits == 62
    with refused(ParameterError, Code.HEADROOM):
        Params(10, 1, Integers(0, edge + 1))


def test_parameters_do_not_change() -> None:
    """They are hashed and agreed on: frozen, and equal by value."""
    params = Params(10, 4, UNIT)
    for name in ("cohort", "threshold", "format"):
        with pytest.raises(AttributeError):
            setattr(params, name, 3)
    with pytest.raises(AttributeError):
        params.format.low = 1  # type: ignore[union-attr, misc]
    assert params == Params(10, 4, Integers(0, 1))
    assert hash(params) == hash(Params(10, 4, Integers(0, 1)))


@given(possible_params() | rotated_params())
def test_parameters_encode_as_the_reference_models(params: Params) -> None:
    """The bytes of docs/WIRE.md."""
    model = protocol.Parameters(
        int(params.suite),
        int(params.mode),
        *(params.cohort, params.threshold, params.min_survivors, params.colluders),
        params.length,
        model_of(params.format),
    )
    assert params.encode() == model.encode()
    assert params.quorum == model.quorum
    assert params.field_bits == model.field_bits
    assert params.vector_length == model.vector_length


# -- rounds and offers ------------------------------------------------------------------------


def test_a_round_draws_its_session() -> None:
    """Sixteen fresh bytes each time, or the ones given; the context is zero unless given."""
    params = Params(10, 4, UNIT)
    drawn = {params.round().session for _ in range(100)}
    assert len(drawn) == 100
    assert {len(session) for session in drawn} == {16}
    assert params.round().context == bytes(32)
    assert params.round(CONTEXT, SESSION) == Round(params, CONTEXT, SESSION)


@pytest.mark.parametrize(
    ("context", "session", "name"),
    [
        (CONTEXT[:31], SESSION, "context"),
        (CONTEXT + b"x", SESSION, "context"),
        (b"", SESSION, "context"),
        ("c" * 32, SESSION, "context"),
        (bytearray(32), SESSION, "context"),
        (None, SESSION, "context"),
        (CONTEXT, SESSION[:15], "session"),
        (CONTEXT, SESSION + b"x", "session"),
        (CONTEXT, 16, "session"),
    ],
)
def test_impossible_rounds_are_refused(context: bytes, session: bytes, name: str) -> None:
    """Contexts and sessions of other lengths or types."""
    params = Params(10, 4, UNIT)
    with refused(ParameterError, Code.ARGUMENT, match=name):
        Round(params, context, session)
    with refused(ParameterError, Code.ARGUMENT, match=name):
        params.round(context, session)


def test_an_offer_byte_by_byte() -> None:
    """One whole offer written out from docs/WIRE.md."""
    params = Params(10, 1000, FixedPoint(1.5, 20, 500), 7, 8, 3, suite=Suite.CHACHA20)
    assert params.round(CONTEXT, SESSION).encode() == (
        b"SA\x01\x10" + SESSION + CONTEXT + b"\x02\x00"
        b"\x0a\0\0\0" + b"\x07\0\0\0" + b"\x08\0\0\0" + b"\x03\0\0\0"
        b"\xe8\x03\0\0\0\0\0\0" + b"\x01" + bytes(6) + b"\xf8\x3f" + b"\x14" + b"\xf4\x01\0\0"
    )


@given(rounds)
def test_offers_round_trip(offered: Round) -> None:
    """Decoding gives the same round, from bytes of any type."""
    data = offered.encode()
    assert Round.decode(data) == offered
    assert Round.decode(bytearray(data)) == offered  # type: ignore[arg-type]
    assert Round.decode(memoryview(data)) == offered  # type: ignore[arg-type]


def decodes_canonically(data: bytes) -> Round | None:
    """The round, which has no other encoding; None if the bytes are refused."""
    try:
        decoded = Round.decode(data)
    except DecodeError as error:
        assert error.party == -1  # noqa: PT017
        assert str(error).startswith("the server: ")  # noqa: PT017
        return None
    assert decoded.encode() == data
    return decoded


@pytest.mark.parametrize("offered", some_rounds(), ids=["fixed point", "integers", "rotated"])
def test_altered_offers(offered: Round) -> None:
    """Any bit flipped, any byte set: refused, or another round that has this encoding only."""
    data = offered.encode()
    accepted = 0
    for place in range(len(data)):
        for value in {0, 1, 0x7F, 0x80, 0xFF, *(data[place] ^ 1 << bit for bit in range(8))}:
            if value == data[place]:
                continue
            altered = data[:place] + bytes([value]) + data[place + 1 :]
            decoded = decodes_canonically(altered)
            assert decoded != offered
            accepted += decoded is not None
            if place < 4:
                assert decoded is None
    assert accepted > 16 * 8  # sessions, contexts and more: the check above had work


@pytest.mark.parametrize("offered", some_rounds(), ids=["fixed point", "integers", "rotated"])
def test_truncated_and_extended_offers(offered: Round) -> None:
    """Every prefix and every extension is refused."""
    data = offered.encode()
    for length in range(len(data)):
        assert decodes_canonically(data[:length]) is None
    for extra in (b"\0", b"\xff", data, bytes(1000)):
        assert decodes_canonically(data + extra) is None
        assert decodes_canonically(extra + data) is None


@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    """Nothing but DecodeError leaves the decoder, with and without a header that fits."""
    decodes_canonically(data)
    decodes_canonically(b"SA\x01\x10" + bytes(48) + data)
    decodes_canonically(b"SA\x01\x10" + bytes(48) + b"\x01\x00" + data)


@given(rounds, st.data())
def test_offers_with_foreign_fields(offered: Round, data: st.DataObject) -> None:
    """Fields of any value: possible parameters or a DecodeError, never another exception."""
    raw = bytearray(offered.encode())
    at, size = data.draw(st.sampled_from([*FIELDS.values()]))
    raw[at : at + size] = data.draw(
        st.binary(min_size=size, max_size=size)
        | st.sampled_from([bytes(size), b"\xff" * size, (1).to_bytes(size, "little")])
    )
    decodes_canonically(bytes(raw))


# Where they begin in an offer, and their bytes.
FIELDS = {
    "suite": (52, 1),
    "mode": (53, 1),
    "cohort": (54, 4),
    "threshold": (58, 4),
    "min_survivors": (62, 4),
    "colluders": (66, 4),
    "length": (70, 8),
    "format": (78, 1),
    "clip or low": (79, 8),
}

FOREIGN: dict[str, tuple[int, bytes, Code, str]] = {
    "the mark for the default threshold": (58, bytes(4), Code.ARGUMENT, "threshold"),
    "the mark for the default survivors": (62, bytes(4), Code.ARGUMENT, "min_survivors"),
    "the mark for the default colluders": (66, b"\xff" * 4, Code.UNSAFE_THRESHOLD, "colluders"),
    "suite 0": (52, b"\0", Code.UNSUPPORTED, "Suite"),
    "suite 3": (52, b"\x03", Code.UNSUPPORTED, "Suite"),
    "mode 3": (53, b"\3", Code.UNSUPPORTED, "Mode"),
    "a cohort of 1": (54, b"\1\0\0\0", Code.ARGUMENT, "cohort"),
    "a cohort of 2^32 - 1": (54, b"\xff" * 4, Code.ARGUMENT, "cohort"),
    "a length of 0": (70, bytes(8), Code.ARGUMENT, "length"),
    "a length of 2^64 - 1": (70, b"\xff" * 8, Code.ARGUMENT, "length"),
    "a clip of NaN": (79, struct.pack("<d", math.nan), Code.ARGUMENT, "clip"),
    "format 9": (78, b"\x09", Code.UNSUPPORTED, "9"),
    "another message": (3, b"\x11", Code.MALFORMED, "server"),
    "a message of a client": (3, b"\x01", Code.MALFORMED, "server"),
    "a later version": (2, b"\x02", Code.VERSION, "2"),
    "no magic": (0, b"sa", Code.MALFORMED, "server"),
}


@pytest.mark.parametrize("what", FOREIGN)
def test_impossible_offers_say_why(what: str) -> None:
    """With the code; the server is named, and the field or the value."""
    at, value, code, named = FOREIGN[what]
    data = bytearray(some_rounds()[0].encode())
    data[at : at + len(value)] = value
    with refused(DecodeError, code, match=named) as caught:
        Round.decode(bytes(data))
    assert caught.value.party == -1
