"""Searches for secrets in all that the library shows, stores or logs while `searching`."""

import base64
import logging
import pickle
import traceback
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import pytest
from harness import seeded

from secagg import Integers, Mode, Params, SecAggError, Send, Work
from secagg.arithmetic.field import Field
from secagg.machine.wire import MessageType
from secagg.primitives.secret import Secret
from secagg.sharing import shamir

LENGTH = 8
FORMAT = Integers(-(10**12), 10**12)
PHRASE = "an unmistakable pass phrase"
WIDTH = 12  # bytes of a secret that are enough to know it by


def secret_input(party: int) -> np.ndarray:
    """Returns values of twelve digits, so that each is a canary by itself."""
    draw = np.random.default_rng(party)
    return draw.integers(10**11, 10**12, LENGTH) * draw.choice([-1, 1], LENGTH)


def four(mode: Mode) -> Params:
    """Returns parameters of four parties with long values."""
    return Params(4, LENGTH, FORMAT, threshold=3, mode=mode)


def written_forms(secret: bytes) -> set[bytes]:
    """Returns the forms in which the beginning or the end of a secret may be written."""
    forms: set[bytes] = set()
    for piece in (secret[:WIDTH], secret[-WIDTH:]):
        numbers = [str(byte) for byte in piece]
        texts = {
            piece.hex(),
            piece.hex().upper(),
            repr(piece)[2:-1],
            repr(piece.decode("latin-1"))[1:-1],
            ", ".join(numbers),
            " ".join(numbers),
            base64.b64encode(piece).decode(),
            base64.urlsafe_b64encode(piece).decode(),
        }
        forms |= {piece, *(text.encode() for text in texts)}
    forms |= {str(int.from_bytes(secret, order)).encode() for order in ("little", "big")}  # type: ignore[arg-type]
    return forms


def forms_in(text: bytes, forms: Iterable[bytes]) -> set[bytes]:
    """Returns those of many forms that a text contains: `form in text` for each is far slower.

    The numbers that every eight bytes of the text make are looked up in a table, which has those
    that begin a form, and few others.
    """
    by_begin: dict[bytes, list[bytes]] = {}
    found = set()
    for form in forms:
        if len(form) >= 8:
            by_begin.setdefault(form[:8], []).append(form)
        elif form in text:
            found.add(form)
    begins_one = np.zeros(2**20, bool)
    begins_one[_hashes(b"".join(by_begin))] = True
    for offset in range(8):
        for place in 8 * np.flatnonzero(begins_one[_hashes(text[offset:])]) + offset:
            for form in by_begin.get(text[place : place + 8], ()):
                if text.startswith(form, place):
                    found.add(form)
    return found


def _hashes(text: bytes) -> np.ndarray:
    """Returns 20 bits for every eight bytes, one after the other."""
    return (np.frombuffer(text, "<u8", len(text) // 8) * np.uint64(0x9E3779B97F4A7C15)) >> 44


class LeakSearch:
    """All secrets that were made, and all that could show them."""

    def __init__(self) -> None:
        self.secrets: dict[bytes, str] = {PHRASE.encode(): "passphrase"}
        self.shares: dict[bytes, str] = {}
        self.seen: dict[bytes, str] = {}  # what may hold no secret at all
        self.answers: dict[bytes, str] = {}  # what may hold shares
        self.errors: list[BaseException] = []
        self.lines: list[str] = []  # of the log
        self._random = 0

    def random(self, size: int) -> bytes:
        """Returns randomness, and keeps it as a secret."""
        self._random += 1
        drawn = seeded(("canary", self._random))(size)
        self.secrets.setdefault(drawn, "randomness")
        return drawn

    def look(self, where: str, thing: object) -> None:
        """Keeps a thing as it is printed and pickled."""
        self.keep(where, thing)
        try:
            pickled = pickle.dumps(thing)
        except Exception:  # whatever keeps a thing from being pickled is fine
            return
        if not isinstance(thing, Work):
            self.keep(f"pickle of {where}", pickled, _shares_belong(thing))

    def walk(self, where: str, thing: object) -> None:
        """Keeps an object as it is shown, and everything that hangs on it but arrays and jobs."""
        self.look(where, thing)
        self._hanging_on(where, thing, 3)

    def _hanging_on(self, where: str, thing: object, depth: int) -> None:
        for name, value in _parts(thing):
            if isinstance(value, np.ndarray) or name in ("held", "job"):
                continue
            self.keep(f"{where}.{name}", value, name == "said")
            if depth and type(value).__module__.startswith("secagg"):
                self._hanging_on(f"{where}.{name}", value, depth - 1)

    def keep(self, where: str, thing: object, answer: bool = False) -> None:
        store = self.answers if answer or _shares_belong(thing) else self.seen
        for each in (thing, str(thing).encode(), repr(thing).encode()):
            if isinstance(each, bytes):
                store.setdefault(each, where)

    def emit(self, record: logging.LogRecord) -> None:
        """Keeps a log record."""
        self.lines.append(record.getMessage())
        self.keep("log", record.getMessage())
        self.keep("log", vars(record))
        self.keep("log", record.args)

    def leaks(self) -> list[str]:
        """Returns every secret that was found, and its place."""
        for number, values in enumerate(map(secret_input, range(4))):
            self.secrets |= dict.fromkeys(
                (str(abs(int(value))).encode() for value in values), f"input {number}"
            )
            self.secrets |= dict.fromkeys(
                (values.tobytes()[:32], _packed(values)[:32]), f"input {number}"
            )
        for error in self.errors:
            text = "".join(traceback.format_exception(error))
            self.keep(f"traceback of {type(error).__name__}", text)
            self.look(f"a {type(error).__name__}", error)
        keys = [
            (form, name) for secret, name in self.secrets.items() for form in written_forms(secret)
        ]
        shares = [
            (form, name) for share, name in self.shares.items() for form in written_forms(share)
        ]
        quiet, all_of_it = _joined(self.seen), _joined({**self.seen, **self.answers})
        names = dict(keys) | dict(shares)
        found = forms_in(all_of_it, [form for form, _ in keys])
        found |= forms_in(quiet, [form for form, _ in shares])
        return [
            f"{names[form]} in {where}"
            for form in found
            for text, where in {**self.answers, **self.seen}.items()
            if form in text
        ]


def _packed(values: np.ndarray) -> bytes:
    field = Field(four(Mode.SEMI_HONEST).field_bits)
    return field.pack((values - FORMAT.low).astype(field.dtype))


def _shares_belong(thing: object) -> bool:
    """Returns whether a thing is the message with which a client gives shares, or its event."""
    message = thing.payload if isinstance(thing, Send) else thing
    return isinstance(message, bytes) and message[:4] == b"SA\1" + bytes([MessageType.UNMASK])


def _joined(texts: Mapping[bytes, str]) -> bytes:
    return b"\n\n\n".join(texts)


def _parts(thing: object) -> Iterator[tuple[str, object]]:
    yield from getattr(thing, "__dict__", {}).items()
    for kind in type(thing).__mro__:
        for name in getattr(kind, "__slots__", ()):
            if hasattr(thing, name) and name != "_data":
                yield name, getattr(thing, name)


@contextmanager
def searching() -> Iterator[LeakSearch]:
    """Records all that is made, raised and logged meanwhile."""
    search = LeakSearch()
    true_secret, true_error, true_deal = Secret.__init__, SecAggError.__init__, shamir.deal

    def secret(self: Secret, data: bytes) -> None:
        true_secret(self, data)
        if 16 <= len(data) <= 32:  # a whole identity file is no canary
            search.secrets.setdefault(bytes(data), "secret")

    def error(self: SecAggError, *args: object) -> None:
        true_error(self, *args)
        search.errors.append(self)

    def deal(*args: object) -> np.ndarray:
        shares = true_deal(*args)  # type: ignore[arg-type]
        search.shares |= dict.fromkeys((row.astype("<u8").tobytes() for row in shares), "share")
        packed = shamir.pack_shares(shares)
        for begin in range(0, len(packed), shamir.SHARE_BYTES):
            search.shares[packed[begin : begin + shamir.SHARE_BYTES]] = "packed share"
        return shares

    handler = logging.Handler(logging.DEBUG)
    handler.emit = search.emit  # type: ignore[method-assign]
    log = logging.getLogger("secagg")
    level = log.level
    log.setLevel(logging.DEBUG)
    log.addHandler(handler)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Secret, "__init__", secret)
        patch.setattr(SecAggError, "__init__", error)
        patch.setattr(shamir, "deal", deal)
        try:
            yield search
        finally:
            log.removeHandler(handler)
            log.setLevel(level)
