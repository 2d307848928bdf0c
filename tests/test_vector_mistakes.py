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
from reference import arithmetic
from reference.protocol import Parameters, Random
from reference.repetition import Accepted
from replay import (
    BY_CLIENTS,
    BY_SERVER,
    EVERY,
    INPUTS,
    MODEL_REPEATS,
    REPEATED,
    ROUNDS,
    TO_CLIENTS,
    TO_SERVER,
    Vector,
    model_confronts_input,
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

REFUSED_INPUTS = "refused-inputs"
ENCODE, SEED = Parameters.encode_input, reference.Server.seed

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


def drawn_first(self: Parameters, values: Sequence[float], weight: int, random: Random) -> object:
    """Draws the rounding key before it looks at the input."""
    key = random(32) if isinstance(self.format, reference.FixedPoint) else b""
    return ENCODE(self, values, weight, lambda _: key)


def clipped(self: Parameters, values: Sequence[float], weight: int) -> bool:
    """Takes what is not finite, or is out of range, as if it were clipped."""
    return len(values) == self.length and 1 <= weight <= getattr(self.format, "max_weight", 1)


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
    ("a masked input counts twice", reference.Server, "accept", counted_twice, (TO_SERVER,)),
    ("a repetition is refused", reference.Server, "accept", refused, (TO_SERVER,)),
]


def encodes(vector: Vector) -> None:
    """The inputs of a round become the elements that are listed: the part that is quick."""
    for got in vector["derived"]:
        random = vector["parties"][got["index"]]["random"]
        if got["encoded"]:
            key = bytes.fromhex(random[-1]["bytes"])
            parameters, given = session_of(vector).parameters, values_of(vector, got["index"])
            made = parameters.encode_input(*given, lambda _, key=key: key)
            assert [str(element) for element in made] == got["encoded"]


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
    for file, vector in ROUNDS.items():
        if everything or file in NEW or matters(vector):
            yield file, partial(replay_model, vector)
        elif place in (arithmetic, Parameters):
            yield file, partial(encodes, vector)
    if everything or place in (Accepted, reference.Server):
        for file, scripts in REPEATED.items():
            yield from ((file, partial(MODEL_REPEATS[file], script)) for script in scripts)
    if everything or place is Parameters:
        yield from ((REFUSED_INPUTS, partial(model_confronts_input, one)) for one in INPUTS)


def wrong(plays: Iterable[tuple[str, Callable[[], object]]]) -> set[str]:
    """The names of those that fail."""
    found = set()
    for name, play in plays:
        try:
            play()
        except (AssertionError, ValueError):
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
