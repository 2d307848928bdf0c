"""Looks for every secret of whole rounds in all that the library shows, stores or logs.

Searched are: `str` and `repr` of public objects and of everything that hangs on them by name,
pickles of public objects where there are any, log records of every level with their arguments,
tracebacks of every error that the library raised, messages, stored clients and servers, ledgers and
identity files.

Not searched, because secrets are meant to be there: the jobs of an unmasking when they are pickled
(they hold mask keys), the arrays of shares in a client's memory, and the shares that clients send
to the server in the last phase. Tracebacks are formatted without local variables: with them, the
frames of the arithmetic show bare bytes.
"""

import dataclasses
import logging
import re
import tempfile
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from harness import CONTEXT, MODES, SESSION
from pairwise.leak_rounds import SPARSE, EventfulRound, driven_round, search_everything
from pairwise.leak_search import LENGTH, LeakSearch, forms_in, four, searching, secret_input
from pairwise.planted_leaks import LEAKS, Patch
from pairwise.restarts import RecordingNetwork, directory_for, new_client

from secagg import (
    Aborted,
    DecodeError,
    FixedPoint,
    IdentityError,
    LocalProtocolError,
    MemoryLedger,
    Mode,
    Params,
    Phase,
    RangeError,
    RemoteProtocolError,
    Send,
    Server,
    StateError,
)
from secagg.drivers.conductor import Conductor
from secagg.machine.wire import MessageType

RAISED = {
    Aborted,
    DecodeError,
    IdentityError,
    LocalProtocolError,
    RangeError,
    RemoteProtocolError,
    StateError,
}


@pytest.mark.parametrize("mode", MODES, ids=str)
def test_nothing_shows_a_secret(mode: Mode, memory_path: Path) -> None:
    """No form of any secret in anything; and there was a lot to find, in a lot of places."""
    with searching() as search:
        search_everything(mode, search, memory_path)
        leaks = search.leaks()
    assert leaks == []
    assert len(search.secrets) > 100
    assert len(search.shares) > 100
    places = set(search.seen.values())
    assert {"log", "client", "server", "message", "ledger", "snapshot", "stored client"} <= places
    assert {"identity", "identity file", "a wiped client", "an aborted client"} <= places
    assert {"pickle of Round", "pickle of an error"} <= places
    assert b"<Secret>" in search.seen
    check_log(search.lines)
    kinds = {type(error) for error in search.errors}
    assert kinds == RAISED


def check_log(lines: Sequence[str]) -> None:
    """Each line of the log says of which round it is, and every kind of event was logged."""
    assert [line for line in lines if not re.match("[0-9a-f]{32}: ", line)] == []
    text = "\n".join(lines)
    for what in ("is suspended", "aborted: ", "dropped: refused: the training failed [training]"):
        assert what in text
    for what in ("failed: ", "the transport lost it: ConnectionError: reset", "observer raised"):
        assert what in text


def test_what_a_driver_logs_is_searched() -> None:
    """A message in its log would be found by the shares in it."""
    true = Conductor.take

    def take(self: Conductor, party: int, answer: bytes, **more: bool) -> list[Send]:
        logging.getLogger("secagg.drivers").debug("%s: took %r", self.server.session.hex(), answer)
        return true(self, party, answer, **more)

    with searching() as search, pytest.MonkeyPatch.context() as patch:
        patch.setattr(Conductor, "take", take)
        driven_round(Mode.SEMI_HONEST, search, 1)
        assert any("share in log" in leak for leak in search.leaks())


def test_nothing_shows_a_secret_on_a_sparse_graph(memory_path: Path) -> None:
    """The round alone; what identities and ledgers do is the same there."""
    with searching() as search:
        EventfulRound(SPARSE, search, memory_path, {3: Phase.MASKED_INPUT}).play()
        leaks = search.leaks()
    assert leaks == []
    assert len(search.secrets) > 40
    assert len(search.shares) > 20


@pytest.mark.parametrize("params", [*map(four, MODES), SPARSE], ids=[*map(str, MODES), "sparse"])
def test_the_round_of_this_search_is_a_good_one(params: Params, memory_path: Path) -> None:
    """It comes to the exact sum, so that every secret had its use."""
    with searching() as search:
        eventful = EventfulRound(params, search, memory_path, {3: Phase.MASKED_INPUT})
        eventful.play()
    assert eventful.network.result is not None
    total = np.sum([secret_input(party) for party in range(3)], axis=0)
    assert eventful.network.result.total.tolist() == total.tolist()
    assert eventful.server.restarts > 2


@pytest.mark.parametrize("mode", MODES, ids=str)
def test_refused_real_inputs_are_not_shown(mode: Mode) -> None:
    """Fixed point, weighted: neither a value, nor a good weight, in any error about them."""
    params = Params(4, LENGTH, FixedPoint(1.0, max_weight=10**9), threshold=3, mode=mode)
    values = np.random.default_rng(1).uniform(-1, 1, LENGTH)
    weight = 987654321
    with searching() as search:
        agreed = params.round(CONTEXT, SESSION)
        clients = {
            party: new_client(agreed, party, MemoryLedger(), search.random) for party in range(4)
        }
        network = RecordingNetwork(Server(agreed, directory_for(params)), clients).start()
        while not any(one.payload[3] == MessageType.DELIVERY for one in network.queue):
            network.deliver(network.queue.pop(0))
        clients[0].receive(next(one.payload for one in network.queue if one.receiver == 0))
        bad = [values[1:], np.append(values[1:], np.nan), np.append(values[1:], np.inf)]
        bad += [values.reshape(2, -1), values.astype(complex), values.astype(str), [*values, None]]
        for each in bad:
            with pytest.raises(RangeError):
                clients[0].submit(each, weight)
        search.keep("message", clients[0].submit(values, weight))
        search.walk("client", clients[0])
        search.secrets |= dict.fromkeys(
            (repr(value).encode() for value in values.tolist()), "value"
        )
        search.secrets |= {values.tobytes()[8:24]: "values", str(weight).encode(): "weight"}
        assert search.leaks() == []
        assert len(search.errors) == len(bad)


@cache
def found_with(plant: Callable[[Patch], None], filed: bool) -> list[str]:
    """Returns the leaks that the search finds in a round with this one planted."""
    with (
        tempfile.TemporaryDirectory() as folder,
        searching() as search,
        pytest.MonkeyPatch.context() as patch,
    ):
        plant(patch)
        drops = {3: Phase.MASKED_INPUT}
        EventfulRound(four(Mode.MALICIOUS), search, Path(folder), drops, filed).play()
        return search.leaks()


@pytest.mark.parametrize("name", LEAKS)
def test_the_search_finds_a_planted_leak(name: str) -> None:
    """Each of these would be reported, where it is."""
    plant, report = LEAKS[name]
    leaks = found_with(plant, filed="ledger" in name)
    assert any(report in leak for leak in leaks), sorted(set(leaks))[:20]


def test_the_search_is_by_content() -> None:
    """At every place of a text, however long the form; a part of one is not enough."""
    draw = np.random.default_rng(5)
    text = draw.bytes(5000)
    for size in (3, 8, 12, 60):
        there = {text[at : at + size] for at in (0, 1, 2, 333, 2021, 4097, 5000 - size)}
        absent = {each[:-1] + bytes([each[-1] ^ 1]) for each in there if size > 3}
        assert forms_in(text, there | absent) == there
    assert forms_in(b"short", [b"short", b"shorter than"]) == {b"short"}


def test_every_field_of_a_public_object_is_walked() -> None:
    """All that hangs on a client and a server by name is looked at, slots too."""
    search = LeakSearch()
    client = new_client(four(Mode.MALICIOUS).round(CONTEXT, SESSION), 0, MemoryLedger())
    search.walk("client", client)
    places = set(search.seen.values())
    for one in dataclasses.fields(client._memory):
        shown = repr(getattr(client._memory, one.name)).encode()
        walked = any(place.endswith(f"memory.{one.name}") for place in places)
        assert walked or shown in search.seen or one.name in ("held", "said"), one.name
