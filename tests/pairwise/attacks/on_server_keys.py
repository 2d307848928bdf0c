"""Attacks of lying clients on a server: advertised keys, and shares for another roster."""

import dataclasses
from collections.abc import Callable

from harness import SESSION, SteppedRound, client_of, seeded, state_of
from pairwise.attacks.lying_clients import started_network, tampered_round, verdict
from pairwise.attacks.lying_server import body, signed_entry
from pairwise.attacks.on_client_keys import LOW_ORDER, NON_CANONICAL
from pairwise.attacks.registry import on_server, tight

import secagg
from secagg import Policy
from secagg.machine.wire import HEADER_BYTES, MessageType
from secagg.pairwise.messages import AdvertiseKeys, PublicKeys


@on_server
def client_with_another_context() -> str:
    """A client that aggregates another model: everybody else's sum must not suffer."""
    params = tight(4, threshold=3)
    network = started_network(params)
    stray = client_of(params.round(bytes(32), SESSION), 3, Policy(), seeded("stray"))
    network.clients = {**network.clients, 3: stray}
    network.queue = [one for one in network.queue if one.sender != 3]
    network.send_up(3, stray.start())
    return verdict(network.run(), (0, 1, 2))


@on_server
def shares_for_another_roster() -> str:
    """A client believes in another key of a peer: its shares must not be forwarded.

    It takes whatever it is told, signed or not.
    """
    stepped = SteppedRound(tight(4, threshold=3))
    stepped.clients[3]._steps.authentication.entry_valid = lambda *entry: True  # type: ignore[method-assign]
    stepped.to_server(stepped.advertise())
    other = bytearray(stepped.outbox[3])
    other[HEADER_BYTES + 1] ^= 1  # a bit of party 0's channel key
    stepped.outbox[3] = bytes(other)
    stepped.to_server(stepped.answers())
    if 3 not in stepped.dropped:
        return "shares under another roster were forwarded"
    return verdict(stepped.finish(stepped.answers((0, 1, 2))), (0, 1, 2))


def _advertised(name: str, change: Callable[[dict[int, PublicKeys]], PublicKeys]) -> str:
    """Lets party 3 advertise keys made from everybody's; the others' sum must not suffer."""
    params = tight(4, threshold=3)

    def changed(messages: dict[int, bytes]) -> dict[int, bytes]:
        read = {party: AdvertiseKeys.read(body(data), params) for party, data in messages.items()}
        own = change({party: message.keys for party, message in read.items()})
        lie = AdvertiseKeys(read[3].h0, signed_entry(params, read[3].h0, 3, own))
        return {**messages, 3: lie.encode(SESSION)}

    network = tampered_round(params, MessageType.ADVERTISE_KEYS, changed)
    if 3 in network.server._memory.roster:
        return f"{name} was forwarded; {verdict(network, (0, 1, 2)) or 'the sum is exact'}"
    return verdict(network, (0, 1, 2))


@on_server
def advertised_twice() -> str:
    """Keys of another party, or one key in both roles."""
    cases: dict[str, Callable[[dict[int, PublicKeys]], PublicKeys]] = {
        "a copied entry": lambda all_keys: all_keys[2],
        "a copied channel key": lambda all_keys: dataclasses.replace(
            all_keys[3], channel=all_keys[0].channel
        ),
        "a copied mask key": lambda all_keys: dataclasses.replace(
            all_keys[3], mask=all_keys[0].mask
        ),
        "a mask key as channel key": lambda all_keys: dataclasses.replace(
            all_keys[3], channel=all_keys[1].mask
        ),
        "a channel key as mask key": lambda all_keys: dataclasses.replace(
            all_keys[3], mask=all_keys[1].channel
        ),
        "one key in both roles": lambda all_keys: dataclasses.replace(
            all_keys[3], mask=all_keys[3].channel
        ),
    }
    for name, change in cases.items():
        if gain := _advertised(name, change):
            return gain
    return ""


@on_server
def advertised_weak() -> str:
    """Keys of low order and second encodings."""
    for name, key in {**LOW_ORDER, **NON_CANONICAL}.items():
        for role in ("channel", "mask"):

            def change(
                all_keys: dict[int, PublicKeys], role: str = role, key: bytes = key
            ) -> PublicKeys:
                return dataclasses.replace(all_keys[3], **{role: key})

            if gain := _advertised(f"a {role} key {name}", change):
                return gain
    return ""


@on_server
def dropped_party_goes_on() -> str:
    """A party that was dropped for its keys sends good ones."""
    stepped = SteppedRound(tight(4, threshold=3))
    messages = stepped.advertise()
    read = AdvertiseKeys.read(body(messages[3]), stepped.params)
    stepped.to_server({3: AdvertiseKeys(bytes(32), read.keys).encode(SESSION)})
    assert 3 in stepped.dropped
    before = state_of(stepped.server)
    try:
        stepped.server.receive(3, messages.pop(3))
    except secagg.RemoteProtocolError:
        assert state_of(stepped.server) == before
        return verdict(stepped.finish(messages), (0, 1, 2))
    return "a dropped party came back"
