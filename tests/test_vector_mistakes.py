"""Mistakes of another implementation, planted in the reference model: the vectors show each.

The files named with a mistake are the only ones that do. A mistake is one function replaced.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import pytest
import reference
from levels import amount
from reference import Rotated, arithmetic, rotated
from reference.protocol import Parameters, Random
from reference.repetition import Accepted
from replay import (
    ACCEPTED,
    BY_CLIENTS,
    BY_SERVER,
    EVERY,
    INPUTS,
    MODEL_REPEATS,
    REPEATED,
    ROTATED,
    ROUNDS,
    TO_CLIENTS,
    TO_SERVER,
    Tape,
    Vector,
    f64,
    model_confronts_input,
    model_offers,
    model_refuses,
    replay_model,
    session_of,
    values_of,
)
from wire_v1.edges import OTHER_ORDERS

PRODUCTS = "semi-honest-03-large-products"
ABOVE = "semi-honest-02-above-levels"
ORDER = "semi-honest-02-order-of-operations"
SPARSE_LANES = "sparse-10-late-dropouts"
LANES = "semi-honest-02-field-of-32-bits"
SIGNERS = "malicious-04-all-signatures"
FIRST, OF_FOUR = "semi-honest-05-wrong-share-of-the-first", "semi-honest-05-wrong-shares-of-four"
TWICE = "semi-honest-02-rejected-twice-aes", "semi-honest-02-rejected-twice-chacha"

R_PLAIN, R_SLOTS, R_ONE = (
    "rotated-03-plain",
    "rotated-04-slots-and-weights",
    "rotated-03-one-transform",
)
R_TWO = "rotated-02-two-transforms", "rotated-05-signed", "rotated-03-skellam"
ONE_TURN = R_ONE, "rotated-03-discrete-gaussian"
TURNED = *ONE_TURN, *R_TWO
AGAIN, TO_ZERO = "rotated-03-rounded-again", "rotated-02-towards-zero"
R_SUMS, R_OFFERS = "rotated-refused-by-the-server", "rotated-accepted-offers"

REFUSED_INPUTS = "refused-inputs"
ENCODE, SEED = Parameters.encode_input, reference.Server.seed
SIGNS, PASSES, ENTRY = rotated.signs, rotated.passes, rotated.entry
POSSIBLE, DRAWN_FOR = rotated.possible, rotated.drawn_for

Function = Callable[..., Any]


def uncapped(x: float, u: float, clip: float, levels: int) -> int:
    return math.floor(arithmetic.on_the_grid(x, u, clip, levels))


def unchecked(suite: int, key: bytes, bits: int, i: int) -> int:
    return arithmetic.words(suite, key, i + 1, 4, 0, 1)[0] % 2**bits


def next_nonce(suite: int, key: bytes, bits: int, i: int) -> int:
    value = unchecked(suite, key, bits, i)
    return value if value < arithmetic.prime(bits) else next_nonce(suite, key, bits, i + 1)


def narrow(bits: int) -> int:
    return 4 if bits < 32 else 8


def wide(bits: int) -> int:
    return 4 if bits <= 33 else 8


def uncorrected(self: reference.Server, v: int) -> bytes:
    """Rebuilds from the first t shares."""
    return self.checked(v, arithmetic.rebuild(self.held(v), self.session.parameters.threshold))


def less_corrected(self: reference.Server, v: int) -> bytes:
    """Corrects floor((r - t)/2) shares, and none at r = t + 1."""
    of_four = len(self.held(v)) == self.session.parameters.threshold + 1
    return uncorrected(self, v) if of_four else SEED(self, v)


def exactly_so_many(self: reference.Party, signers: list[int]) -> bool:
    return len(signers) == self.session.parameters.threshold


def drawn_first(
    self: Parameters, values: Sequence[float], weight: int, random: Random, session: bytes = b""
) -> object:
    """Draws the rounding key before it looks at the input."""
    drawn = [] if isinstance(self.format, reference.Integers) else [random(32)]
    return ENCODE(self, values, weight, lambda n: drawn.pop() if drawn else random(n), session)


def clipped(self: Parameters, values: Sequence[float], weight: int) -> bool:
    """Takes what is not finite, or is out of range, as if it were clipped."""
    return len(values) == self.length and 1 <= weight <= getattr(self.format, "max_weight", 1)


def overflowing(values: Sequence[float], clip: float) -> list[float]:
    norm = math.sqrt(math.fsum(value * value for value in values))
    return [value * min(1.0, clip / norm) for value in values]


def weighed_first(f: Rotated, x: Sequence[float], weight: int) -> list[float]:
    return rotated.shortened([value * (weight / f.max_weight) for value in x], f.clip)


def high_bits_first(suite: int, key: bytes, nonce: int, m: int) -> list[int]:
    signs = SIGNS(suite, key, nonce, (m + 7) // 8 * 8)
    return [signs[i ^ 7] for i in range(m)]


def from_one_nonce(suite: int, session: bytes, nonce: int, m: int) -> list[int]:
    return SIGNS(suite, session, 0, m)


def once_only(m: int, suite: int, session: bytes) -> object:
    return PASSES(m, suite, session)[:1]


def other_second_signs(change: Callable[[list[int], int], list[int]]) -> Function:
    """The signs of the second pass, given these and where the second transform begins."""

    def passes(m: int, suite: int, session: bytes) -> object:
        return [(at, to, change(s, at) if at else s) for at, to, s in PASSES(m, suite, session)]

    return passes


def by_sequency(r: int, c: int) -> int:
    return ENTRY(r ^ r >> 1, c)


def too_narrow(self: Rotated, cohort: int) -> int:
    return (cohort * self.peak - 1).bit_length()


def masked(f: Rotated, cohort: int, elements: Sequence[int]) -> list[int]:
    d = f.digit_bits(cohort)
    return [e >> d * slot & (1 << d) - 1 for e in elements for slot in range(f.slots)]


def within_m(f: Rotated, length: int, found: Sequence[int], survivors: int) -> bool:
    return POSSIBLE(f, length, found[:length], survivors)


def downwards(f: Rotated, x: Sequence[float]) -> list[int]:
    return [math.floor(value * f.scale) for value in x]


def to_the_nearest(f: Rotated, x: Sequence[float]) -> list[int]:
    return [round(value * f.scale) for value in x]


def same_words(suite: int, key: bytes, attempt: int, length: int) -> list[float]:
    return DRAWN_FOR(suite, key, 0, length)


def never(self: Accepted, message: bytes) -> None:
    """Answers no repetition."""


def always(self: Accepted, message: bytes) -> bytes | None:
    return self.answer


def once(self: Accepted, message: bytes) -> bytes | None:
    answer = self.answer if message == self.messages[-1] else None
    self.answer = None if answer else self.answer
    return answer


def newly_last(self: Accepted, message: bytes) -> bytes | None:
    answer = self.answer if message == self.messages[-1] else None
    self.messages.append(message)
    return answer


def still(self: Accepted) -> None:
    """Keeps the answer when the client aborts."""


def counted_twice(take: Function, self: reference.Server, name: str, u: int, data: bytes) -> None:
    before = self.masked.get(u)
    take(self, name, u, data)
    if name == "masked input" and before is not None:
        self.masked[u] = self.session.add(before, self.masked[u])


def refused(take: Function, self: reference.Server, name: str, u: int, data: bytes) -> None:
    taken = {"advertise keys": self.entries, "share keys": self.commitments}
    if u in taken.get(name, ()):
        raise ValueError("sent before")
    take(self, name, u, data)


# (what is wrong, where it is planted, what stands there then, the files that show it)
MISTAKES: list[tuple[str, object, str, Function, tuple[str, ...]]] = [
    ("weight * level in doubles", arithmetic, "weigh", lambda w, q: int(float(w) * q), (PRODUCTS,)),
    ("no minimum with levels", arithmetic, "level", uncapped, (ABOVE,)),
    *((order, arithmetic, "on_the_grid", other, (ORDER,)) for order, other in OTHER_ORDERS.items()),
    ("64-bit words from 32 bits on", arithmetic, "word_size", narrow, (LANES, SPARSE_LANES)),
    ("32-bit words up to 33 bits", arithmetic, "word_size", wide, (ORDER,)),
    ("a new word is not compared with p", arithmetic, "redraw", unchecked, TWICE),
    ("a next nonce, not a next word", arithmetic, "redraw", next_nonce, TWICE),
    ("an input out of range is clipped", Parameters, "takes", clipped, (REFUSED_INPUTS,)),
    (
        "a refused input draws randomness",
        Parameters,
        "encode_input",
        drawn_first,
        (REFUSED_INPUTS,),
    ),
    ("exactly t signers", reference.Party, "enough_signers", exactly_so_many, (SIGNERS,)),
    ("no share is corrected", reference.Server, "seed", uncorrected, (FIRST, OF_FOUR)),
    ("none is corrected at t + 1", reference.Server, "seed", less_corrected, (OF_FOUR,)),
    ("a repetition is never answered", Accepted, "again", never, (TO_CLIENTS,)),
    ("a repetition is always answered", Accepted, "again", always, (TO_CLIENTS,)),
    ("a repetition is answered once", Accepted, "again", once, (TO_CLIENTS,)),
    ("an earlier one counts as the last", Accepted, "again", newly_last, (TO_CLIENTS,)),
    ("an answer after an abort", Accepted, "abort", still, (TO_CLIENTS,)),
    ("squares that no double holds", rotated, "shortened", overflowing, (R_PLAIN,)),
    ("the weight before the clip", rotated, "weighed", weighed_first, (R_SLOTS,)),
    ("a set bit is plus", rotated, "SET", 1, ONE_TURN),
    ("signs from high bits down", rotated, "signs", high_bits_first, TURNED),
    ("the same signs twice", rotated, "signs", from_one_nonce, R_TWO),
    ("one transform", rotated, "passes", once_only, R_TWO),
    (
        "second signs for what is transformed",
        rotated,
        "passes",
        other_second_signs(lambda s, at: [1] * at + s[at:]),
        R_TWO,
    ),
    (
        "second signs from the transform on",
        rotated,
        "passes",
        other_second_signs(lambda s, at: s[-at:] + s[:-at]),
        R_TWO,
    ),
    ("rows by sequency", rotated, "entry", by_sequency, TURNED),
    ("words of one attempt", rotated, "drawn_for", same_words, (AGAIN,)),
    ("fifteen attempts", rotated, "TRIES", 15, (AGAIN,)),
    ("seventeen attempts", rotated, "TRIES", 17, (TO_ZERO,)),
    ("one attempt", rotated, "TRIES", 1, (AGAIN,)),
    ("below the bound", rotated, "within", lambda q, b: sum(v * v for v in q) < b, (AGAIN,)),
    ("no bound", rotated, "within", lambda _q, _b: True, (AGAIN, TO_ZERO)),
    ("downwards", rotated, "towards_zero", downwards, (TO_ZERO,)),
    ("to the nearest", rotated, "towards_zero", to_the_nearest, (TO_ZERO,)),
    ("ceil(log2) digits", Rotated, "digit_bits", too_narrow, (R_OFFERS,)),
    ("the last digit is cut off", rotated, "apart", masked, (R_SUMS,)),
    ("digits beyond m are not looked at", rotated, "possible", within_m, (R_SUMS,)),
    ("a masked input counts twice", reference.Server, "accept", counted_twice, (TO_SERVER,)),
    ("a repetition is refused", reference.Server, "accept", refused, (TO_SERVER,)),
]


def encodes(vector: Vector) -> None:
    """Inputs become the elements that are listed, and their sum the result: what is quick."""
    session, result = session_of(vector), vector["result"]
    parameters = session.parameters
    for got in vector["derived"]:
        if got["encoded"]:
            tape, given = Tape(vector, got["index"]), values_of(vector, got["index"])
            del tape.left[:4]  # those of the steps before
            made = parameters.encode_input(*given, tape, session.session)
            assert [str(element) for element in made] == got["encoded"]
    if "field_sum" in result:
        summed, survivors = [int(x) for x in result["field_sum"]], len(result["survivors"])
        assert parameters.possible(summed, survivors)
        total, mean = parameters.decode_sum(summed, survivors, session.session)
        assert mean is None or (total, mean) == (f64(result["total"]), f64(result["mean"]))


def refuses(refusal: Vector) -> None:
    """The model still does."""
    assert model_refuses(refusal)


NEW = {PRODUCTS, ABOVE, ORDER, LANES, FIRST, OF_FOUR, SIGNERS, *TWICE}
# The other rounds that are played whole below level long: those in which the function matters.
WHOLE: dict[str, Callable[[Vector], bool]] = {
    "redraw": lambda vector: bool(vector["rejected"]),
    "word_size": lambda vector: 31 <= vector["params"]["field_bits"] <= 34,
    "enough_signers": lambda vector: "malicious-05" in vector["name"],
    "seed": lambda vector: "wrong-share" in vector["name"] or "late-dropouts" in vector["name"],
}


def plays(place: object, name: str) -> Iterable[tuple[str, Callable[[], object]]]:
    """Returns what may show a mistake in this function, by files; at level long, everything."""
    everything, matters = bool(amount("vectors made anew")), WHOLE.get(name, lambda _: False)
    turned = place in (rotated, Rotated)
    for file, vector in ROUNDS.items():
        if everything or (file in NEW and not turned) or matters(vector):
            yield file, partial(replay_model, vector)
        elif place in (arithmetic, Parameters) or (turned and file.startswith(ROTATED)):
            yield file, partial(encodes, vector)
    if everything or place in (Accepted, reference.Server):
        for file, scripts in REPEATED.items():
            yield from ((file, partial(MODEL_REPEATS[file], script)) for script in scripts)
    if everything or place is Rotated:
        offers = [one for one in ACCEPTED if one["params"]["format"]["name"] == "rotated"]
        yield from ((R_OFFERS, partial(model_offers, one)) for one in offers)
    if everything or name in {"apart", "possible"}:
        lies = [one for _, one in EVERY if one["name"].startswith(ROTATED) and "round" in one]
        yield from ((R_SUMS, partial(refuses, one)) for one in lies)
    if (everything and not turned) or place is Parameters:  # own inputs follow: as in the rounds
        yield from ((REFUSED_INPUTS, partial(model_confronts_input, one)) for one in INPUTS)


def wrong(plays: Iterable[tuple[str, Callable[[], object]]]) -> set[str]:
    """The names of those that fail."""
    found = set()
    for name, play in plays:
        try:
            play()
        except (AssertionError, ValueError, OverflowError):
            found.add(name)
    return found


def taken(of: str) -> set[str]:
    """The refusals in these files that the model takes."""
    return {one["name"] for file, one in EVERY if file == of and not model_refuses(one)}


@pytest.fixture(scope="module")
def taken_before() -> set[str]:
    """The refusals that the model takes without a mistake."""
    return taken(BY_CLIENTS) | taken(BY_SERVER)


@pytest.mark.parametrize(
    ("place", "name", "replacement", "files"),
    [pytest.param(*mistake[1:], id=mistake[0]) for mistake in MISTAKES],
)
def test_a_mistake_shows(
    place: object,
    name: str,
    replacement: Function,
    files: tuple[str, ...],
    taken_before: set[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In the files made for it, each of them, and in no other: without them it would survive."""
    if name == "accept":
        replacement = of_a_server(replacement)
    monkeypatch.setattr(place, name, replacement)
    assert wrong(plays(place, name)) == set(files)
    if place in (Accepted, reference.Server, reference.Party):
        assert taken(BY_SERVER if place is reference.Server else BY_CLIENTS) <= taken_before


def of_a_server(replacement: Function) -> Function:
    """A mistake in a method that goes on to call the right one."""
    take = reference.Server.accept

    def accept(self: reference.Server, name: str, u: int, data: bytes) -> None:
        replacement(take, self, name, u, data)

    return accept
