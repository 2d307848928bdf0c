"""The cost model: bytes to the byte, seconds by counts."""

import dataclasses
import math

import numpy as np
import pytest

from secagg import (
    FixedPoint,
    Integers,
    Mode,
    ParameterError,
    Params,
    Phase,
    Policy,
    Suite,
)
from secagg.cost import Shape, Units, calibrate, estimate
from secagg.pairwise.parties import all_parties
from secagg.simulate import Cohort, Run

FORMAT = FixedPoint(clip=1.0, bits=12, max_weight=3)
SHAPES = {
    "complete": Params(9, 40, FORMAT),
    "malicious": Params(9, 40, FORMAT, mode=Mode.MALICIOUS),
    "sparse": Params(40, 25, Integers(0, 9), degree=8, min_survivors=38, colluders=0),
}
ONES = Units(**dict.fromkeys((field.name for field in dataclasses.fields(Units)), 1.0))


def play(params: Params, lost: int) -> Run:
    """Plays a round in which the first parties drop out after they have dealt shares."""
    server, clients = all_parties(params, Policy(params))
    values = np.zeros(params.length, np.int64)
    return Cohort(
        server,
        clients,
        dict.fromkeys(clients, lambda: (values, 1)),
        dict.fromkeys(range(lost), Phase.MASKED_INPUT),
    ).play()


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("lost", [0, 2])
def test_bytes_are_those_of_a_round(name: str, lost: int) -> None:
    """One that stays, and the server, both ways."""
    params = SHAPES[name]
    run = play(params, lost)
    assert run.result is not None
    told = estimate(Shape.of(params, lost), ONES)
    stays = params.cohort - 1
    assert (told.client.sent, told.client.received) == (run.bytes_up[stays], run.bytes_down[stays])
    assert told.server.received == sum(run.bytes_up.values())
    assert told.server.sent == sum(run.bytes_down.values())


SIGNATURES = {"sign", "verify"}
GRAPH = {"place_party", "find_neighbours", "neighbour", "check_connected"}


@pytest.mark.parametrize(
    ("name", "unused"),
    [("complete", SIGNATURES | GRAPH), ("malicious", GRAPH), ("sparse", SIGNATURES)],
)
def test_seconds_follow_the_units(name: str, unused: set[str]) -> None:
    """With all units doubled, the seconds double. With one unit larger, some phase costs more (if
    this kind of round uses the unit), and no phase costs less.
    """
    shape = Shape.of(SHAPES[name], 2)
    once = estimate(shape, ONES)
    twice = estimate(shape, Units(*(2.0 for _ in dataclasses.fields(Units))))
    assert twice.client.seconds == pytest.approx(2 * once.client.seconds)
    assert twice.server.seconds == pytest.approx(2 * once.server.seconds)
    assert len(once.client.phases) == len(SHAPES[name].mode.phases)
    for field in dataclasses.fields(Units):
        more = estimate(shape, dataclasses.replace(ONES, **{field.name: 3.0}))
        before = np.array(once.client.phases + once.server.phases)
        after = np.array(more.client.phases + more.server.phases)
        assert np.all(after >= before)
        assert np.any(after > before) == (field.name not in unused), field.name


def test_agreements_count_as_the_protocol_makes_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counts the real calls: a client makes two per neighbour, the server one per lost pair."""
    from secagg.pairwise import client_steps, derivation
    from secagg.primitives import agreement

    true, calls = agreement.agree, 0

    def counted(secret: bytes, peer: bytes) -> bytes:
        nonlocal calls
        calls += 1
        return true(secret, peer)

    monkeypatch.setattr(client_steps.agreement, "agree", counted)
    monkeypatch.setattr(derivation, "agree", counted)
    params, lost = SHAPES["complete"], 2
    play(params, lost)
    only = {field.name: 0.0 for field in dataclasses.fields(Units)}
    only |= {"pairwise_key": 1.0, "seal_share": 1.0, "open_share": 1.0}  # one each
    told = estimate(Shape.of(params, lost), Units(**only))
    assert params.cohort * told.client.seconds + told.server.seconds == calls


@pytest.mark.parametrize(("suite", "bits"), [(Suite.AES256CTR, 31), (Suite.CHACHA20, 40)])
def test_units_of_this_machine(suite: Suite, bits: int) -> None:
    """Every unit is a time; X25519 costs more than a hash."""
    units = calibrate(suite, bits, samples=5)
    assert all(math.isfinite(value) and 0 <= value < 1 for value in dataclasses.astuple(units))
    assert units.pairwise_key > units.derive_key > 0
    assert units.expand > 0


def test_a_round_without_a_result_has_no_cost() -> None:
    """More dropouts than leave a quorum."""
    params = SHAPES["complete"]
    with pytest.raises(ParameterError, match="no result"):
        Shape.of(params, params.cohort - params.quorum + 1)
