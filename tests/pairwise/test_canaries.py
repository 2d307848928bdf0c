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
from pathlib import Path

import numpy as np
import pytest
from harness import CONTEXT, MODES, SESSION
from pairwise.leak_rounds import SPARSE, Whole, everything
from pairwise.leak_search import LENGTH, Watch, four, secret_input, watching
from pairwise.mortal import Recorded, fresh, pins
from pairwise.planted_leaks import LEAKS, Patch

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
    Server,
    StateError,
)
from secagg.wire import MessageType

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
def test_nothing_shows_a_secret(mode: Mode, tmp_path: Path) -> None:
    """No form of any secret in anything; and there was a lot to find, in a lot of places."""
    with watching() as watch:
        everything(mode, watch, tmp_path)
        leaks = watch.leaks()
    assert leaks == []
    assert len(watch.secrets) > 100
    assert len(watch.shares) > 100
    places = set(watch.seen.values())
    assert {"log", "client", "server", "message", "ledger", "snapshot", "stored client"} <= places
    assert {"identity", "identity file", "a wiped client", "an aborted client"} <= places
    assert {"pickle of Round", "pickle of an error"} <= places
    assert b"<Secret>" in watch.seen
    kinds = {type(error) for error in watch.errors}
    assert kinds == RAISED


def test_nothing_shows_a_secret_on_a_sparse_graph(tmp_path: Path) -> None:
    """The round alone; what identities and ledgers do is the same there."""
    with watching() as watch:
        Whole(SPARSE, watch, tmp_path, {3: Phase.MASKED_INPUT}).play()
        leaks = watch.leaks()
    assert leaks == []
    assert len(watch.secrets) > 40
    assert len(watch.shares) > 20


@pytest.mark.parametrize("params", [*map(four, MODES), SPARSE], ids=[*map(str, MODES), "sparse"])
def test_the_round_of_this_search_is_a_good_one(params: Params, tmp_path: Path) -> None:
    """It comes to the exact sum, so that every secret had its use."""
    with watching() as watch:
        whole = Whole(params, watch, tmp_path, {3: Phase.MASKED_INPUT})
        whole.play()
    assert whole.network.result is not None
    total = np.sum([secret_input(party) for party in range(3)], axis=0)
    assert whole.network.result.total.tolist() == total.tolist()
    assert whole.server.lives > 2


@pytest.mark.parametrize("mode", MODES, ids=str)
def test_refused_real_inputs_are_not_shown(mode: Mode) -> None:
    """Fixed point, weighted: neither a value, nor a good weight, in any error about them."""
    params = Params(4, LENGTH, FixedPoint(1.0, max_weight=10**9), threshold=3, mode=mode)
    values = np.random.default_rng(1).uniform(-1, 1, LENGTH)
    weight = 987654321
    with watching() as watch:
        agreed = params.round(CONTEXT, SESSION)
        clients = {party: fresh(agreed, party, MemoryLedger(), watch.random) for party in range(4)}
        network = Recorded(Server(agreed, pins(params)), clients).start()
        while not any(one.payload[3] == MessageType.DELIVERY for one in network.queue):
            network.deliver(network.queue.pop(0))
        clients[0].receive(next(one.payload for one in network.queue if one.receiver == 0))
        bad = [values[1:], np.append(values[1:], np.nan), np.append(values[1:], np.inf)]
        bad += [values.reshape(2, -1), values.astype(complex), values.astype(str), [*values, None]]
        for each in bad:
            with pytest.raises(RangeError):
                clients[0].submit(each, weight)
        watch._keep("message", clients[0].submit(values, weight))
        watch.walk("client", clients[0])
        watch.secrets |= dict.fromkeys((repr(value).encode() for value in values.tolist()), "value")
        watch.secrets |= {values.tobytes()[8:24]: "values", str(weight).encode(): "weight"}
        assert watch.leaks() == []
        assert len(watch.errors) == len(bad)


@pytest.mark.parametrize("name", LEAKS)
def test_the_search_finds_a_planted_leak(name: str, tmp_path: Path, monkeypatch: Patch) -> None:
    """Each of these would be reported, where it is."""
    plant, report = LEAKS[name]
    with watching() as watch, monkeypatch.context() as patch:
        plant(patch)
        filed = "ledger" in name
        Whole(four(Mode.MALICIOUS), watch, tmp_path, {3: Phase.MASKED_INPUT}, filed).play()
        leaks = watch.leaks()
    assert any(report in leak for leak in leaks), sorted(set(leaks))[:20]


def test_every_field_of_a_public_object_is_walked() -> None:
    """What hangs on a client and a server by name is all looked at, slots too."""
    watch = Watch()
    client = fresh(four(Mode.MALICIOUS).round(CONTEXT, SESSION), 0, MemoryLedger())
    watch.walk("client", client)
    places = set(watch.seen.values())
    for one in dataclasses.fields(client._memory):
        shown = repr(getattr(client._memory, one.name)).encode()
        walked = any(place.endswith(f"memory.{one.name}") for place in places)
        assert walked or shown in watch.seen or one.name in ("held", "said"), one.name
