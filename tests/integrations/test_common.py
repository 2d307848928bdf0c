"""The things that adapters share, without a framework."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from refusals import refused

import secagg
from secagg import Code, LayoutOptions, ParameterError, Range, RangeError
from secagg.drivers.envelope import Hello
from secagg.integrations.common import (
    MANY,
    caller_before,
    failures_logged,
    home_in,
    packed_update,
    polled,
    same,
    show_log_beside,
)
from secagg.integrations.originals import Originals
from secagg.rounds.peers import PeerNames

MODEL = {"w": np.zeros((2, 3), np.float32), "n": np.array(7)}
OPTIONS = LayoutOptions(
    clip=0.5,
    arrays={"w": Range(-1, 2), "n": "keep"},
    metrics={"loss": Range(0, 10), "right": Range(0, 100, "sum", exact=True)},
    evaluate={"accuracy": Range(0, 1)},
)


# -- what both sides agree on -------------------------------------------------------------------


def test_options_come_back_from_their_text() -> None:
    again = LayoutOptions.from_text(OPTIONS.to_text())
    assert again == OPTIONS
    for evaluates in (False, True):
        (one, _), (other, _) = (
            each.shaped(MODEL, 5, evaluates=evaluates) for each in (OPTIONS, again)
        )
        assert (one, secagg.digest(one)) == (other, secagg.digest(other))
    numpy = LayoutOptions(clip=np.float32(0.5), bits=np.int64(18))  # type: ignore[arg-type]
    assert LayoutOptions.from_text(numpy.to_text()).format == numpy.format


@given(st.one_of(st.text(), st.recursive(st.none() | st.integers(), st.lists).map(json.dumps)))
def test_a_text_of_a_peer_is_options_or_refused(text: str) -> None:
    with pytest.raises(RangeError):
        LayoutOptions.from_text(text)


@pytest.mark.parametrize(
    "changed",
    [
        {"clip": "much"},
        {"clip": None},
        {"metrics": {"loss": [0, 10]}},
        {"metrics": {"loss": {"low": 3, "high": 1}}},
        {"evaluate": 5},
        {"more": 1},
        {"training": 5},
        {"training": ""},
        {"arrays": {"w": {"low": 0}}},
    ],
)
def test_other_texts_are_refused(changed: dict[str, Any]) -> None:
    text = json.dumps(json.loads(OPTIONS.to_text()) | changed)
    with pytest.raises((RangeError, ParameterError)):
        LayoutOptions.from_text(text).shaped(MODEL, 5)


def test_options_are_split_from_others() -> None:
    assert LayoutOptions.split({"clip": 1.0, "bits": 8, "least": 4}) == (
        LayoutOptions(clip=1.0, bits=8),
        {"least": 4},
    )
    with refused(ParameterError, Code.ARGUMENT, match="clip is missing"):
        LayoutOptions.split({"least": 4})


def test_models_get_back_what_averages_lose() -> None:
    first = {"w": np.ones(3, np.float32), "n": np.array(2**53 + 1), "mask": np.array([True, False])}
    kept = Originals()
    assert kept.restored(first).keys() == first.keys()  # knows nothing yet
    kept.note(first)
    average = {name: np.asarray(each * 0.3 + each * 0.7, float) for name, each in first.items()}
    found = kept.restored(average | {"other": np.zeros(2)})
    for name, each in first.items():
        assert (found[name].dtype, found[name].shape) == (each.dtype, each.shape)
    assert found["n"] == 2**53 + 1
    assert found["mask"].tolist() == [True, False]
    kept.note(first | {"n": np.array(8)})
    assert kept.restored(average)["n"] == 8


# -- who is who ----------------------------------------------------------------------------------

KEYS = {name: secagg.Identity.generate().verify_key for name in ("a", "b", "c")}
PINS = secagg.Directory.of(KEYS.items())


class Peers:
    """Peers that say a key when they are asked; None for an error."""

    def __init__(self, **keys: bytes | None) -> None:
        self.keys, self.asked = keys, []

    def __call__(self, peers: list[str]) -> Iterator[tuple[str, object]]:
        self.asked += peers
        for peer in peers:
            key = self.keys[peer]
            yield peer, OSError("no\nroute") if key is None else secagg.seal(Hello(verify_key=key))


def test_names_of_the_transport_go_before_words_of_peers() -> None:
    names = PeerNames(PINS)
    peers = Peers(p=KEYS["b"])
    assert names.of(["1", "p"], {"1": "a", "p": ""}, peers) == {"1": "a", "p": "b"}
    known = {"1": "a", "2": "b", "p": ""}
    assert names.of(["1", "2", "p"], known, peers) == {"1": "a", "2": "b"}
    assert peers.asked == ["p"]  # once


def test_a_peer_that_was_not_reached_is_asked_again(caplog: pytest.LogCaptureFixture) -> None:
    names, peers = PeerNames(PINS), Peers(p=None, q=b"no key of these".ljust(32))
    known = {"p": "", "q": "mallory"}
    assert names.of(["p", "q"], known, peers) == {}
    assert "'p' is not invited: no route" in caplog.text
    assert "'q' is not invited: it has no key of its own, pinned here" in caplog.text
    assert names.of(["p"], known, lambda peers: ()) == {}
    assert "'p' is not invited: it did not say its key" in caplog.text
    peers.keys["p"] = KEYS["c"]
    assert names.of(["p", "q"], known, peers) == {"p": "c"}
    assert peers.asked == ["p", "q", "p"]


def test_a_name_that_is_there_twice_is_asked_for() -> None:
    peers = Peers(x=KEYS["a"], y=KEYS["b"])
    found = PeerNames(PINS).of(["x", "y"], {"x": "b", "y": "b"}, peers)
    assert found == {"x": "a", "y": "b"}


def test_what_a_training_may_return() -> None:
    layout = OPTIONS.layout(MODEL, 3)
    old, metrics = layout.take(MODEL), {"loss": 1.0, "right": 5}
    packed = packed_update(layout, (MODEL, metrics, 7), old)
    assert packed is not None
    assert (packed[0].shape, packed[1]) == ((layout.length,), 7)
    assert packed_update(layout, None, old) is None
    for wrong, found in (
        ((MODEL, metrics), "a tuple of 2"),
        ([], "a list of 0"),
        (MODEL, "dict"),
        (np.zeros(3), "ndarray"),
    ):
        with refused(RangeError, Code.SHAPE, match=f"not {found}$"):
            packed_update(layout, wrong, old)


# -- homes, mailboxes, logs ----------------------------------------------------------------------


def test_the_home_that_a_configuration_names(tmp_path: Path) -> None:
    usual = tmp_path / "framework" / "secagg" / "17"
    assert home_in({}, usual).path == usual
    assert home_in({"secagg-home": str(tmp_path / "own")}, usual).attempts == MANY
    secagg.Identity.generate().save(tmp_path / "own" / "identity")
    assert home_in({"secagg-home": str(tmp_path / "own")}, usual).attempts == 1
    assert (
        home_in({"secagg-home": str(tmp_path / "own"), "secagg-attempts": 3}, usual).attempts == 3
    )
    for home in ("", 5, True, 0.0):
        with pytest.raises(ParameterError, match="secagg-home must be the path"):
            home_in({"secagg-home": home}, usual)
    for attempts in ("three", 0):
        with pytest.raises(ParameterError):
            home_in({"secagg-attempts": attempts}, usual)


def test_a_home_in_a_mapping_goes_on_with_it() -> None:
    carried: dict[str, Any] = {}
    params = secagg.Params(3, 2, secagg.Integers(0, 9))
    server = secagg.Server(params.round(), None)

    def exchange(phase: secagg.Phase, messages: Any) -> Iterator[tuple[int, bytes]]:
        for party, message in messages.items():
            mine = carried.setdefault(str(party), {})
            home = secagg.Home.in_mapping(mine, keep_last=False)  # a new one for each message
            yield party, secagg.answer(home, message, lambda a: [a.index, 1], index=party)

    outcome = secagg.lockstep(server, exchange)
    assert isinstance(outcome, secagg.Completed)
    assert outcome.result.total.tolist() == [3, 3]
    with refused(ParameterError, Code.ARGUMENT, match="key"):
        secagg.Home.in_memory(key=b"short")


def test_a_mailbox_is_emptied_until_all_is_there_or_the_time_is_up() -> None:
    boxes = [[], [("2", "two"), ("9", "stray")], [("1", "one")]]
    looks: list[list[str]] = []

    def pull(ids: list[str]) -> list[tuple[str, str]]:
        looks.append(ids)
        return boxes[len(looks) - 1]

    waiting = {"1": "ada", "2": "bell"}
    found = list(polled(waiting, pull, lambda each: each, 100.0, pause=0.0))
    assert found == [("bell", "two"), ("ada", "one")]
    assert (looks, waiting) == ([["1", "2"], ["1", "2"], ["1"]], {})
    looks.clear()
    assert list(polled({"1": "ada"}, pull, lambda each: each, 0.0, pause=0.0)) == []


def test_all_must_get_the_same() -> None:
    assert same(["x", "x"], "word") == "x"
    with refused(ParameterError, Code.ARGUMENT, match="the same word"):
        same(["x", "y"], "word")


class App:
    """A framework that calls functions in functions."""

    def call(self, *functions: Any) -> Any:
        def wrapped(at: int) -> Any:
            return functions[at](lambda: wrapped(at + 1))

        return wrapped(0)


def test_the_function_before_is_found() -> None:
    def outer(following: Any) -> Any:
        return following()

    def ours(following: Any) -> str:
        return caller_before(App)

    assert App().call(ours) == ""
    assert "outer" in App().call(outer, ours)
    assert ours(None) == ""  # called by nobody's object


def test_logs_appear_beside_the_framework_s(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[logging.LogRecord] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            shown.append(record)

    theirs, ours, root = (logging.getLogger(name) for name in ("a framework", "secagg", None))
    monkeypatch.setattr(theirs, "handlers", [Handler()])
    monkeypatch.setattr(ours, "handlers", [logging.NullHandler()])
    monkeypatch.setattr(ours, "level", ours.level)
    show_log_beside("a framework")
    assert len(ours.handlers) == 1  # pytest has set up logging
    monkeypatch.setattr(root, "handlers", [])
    for _ in range(2):
        assert show_log_beside("a framework") is theirs
    logging.getLogger("secagg.rounds").warning("a line")
    assert [record.getMessage() for record in shown] == ["a line"]
    with pytest.raises(ZeroDivisionError), failures_logged(theirs):
        _ = 1 / 0
    assert shown[-1].exc_info is not None
    with pytest.raises(secagg.Aborted), failures_logged(theirs):
        raise secagg.Aborted("another round", Code.POLICY_CONTEXT)
    assert len(shown) == 2
