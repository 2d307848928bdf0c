"""The toolbox of lying clients: rounds of an honest server whose messages are tampered with."""

from collections.abc import Callable, Iterable, Mapping

import numpy as np
from harness import CONTEXT, SESSION, Message, Network, client_of, expected_sum, seeded, server_of
from pairwise.attacks.lying_server import body

from secagg import SERVER, Params, Phase
from secagg.machine.wire import MessageType
from secagg.pairwise.messages import MaskedInput, Unmask
from secagg.pairwise.transitions import PHASES


def verdict(network: Network, least: Iterable[int] = ()) -> str:
    """Returns "" for the exact sum of the survivors, these among them; else what went wrong."""
    result = network.result
    if result is None:
        return f"the round failed: {network.failure.reason if network.failure else 'no end'}"
    params = network.server.round.params
    if len(result.survivors) < params.quorum:
        return f"a sum of {len(result.survivors)} inputs"
    if result.total.tolist() != expected_sum(result.survivors, params.length):
        return "a wrong sum"
    missing = set(least) - set(result.survivors)
    return f"honest parties {sorted(missing)} left out" if missing else ""


def started_network(
    params: Params, label: object = "", drops: Mapping[int, Phase] | None = None
) -> Network:
    """Returns a started network of honest parties."""
    agreed = params.round(CONTEXT, SESSION)
    clients = {
        party: client_of(agreed, party, random=seeded((label, party)))
        for party in range(params.cohort)
    }
    return Network(server_of(agreed), clients, drops or {}).start()


def tampered_round(
    params: Params,
    kind: MessageType,
    change: Callable[[dict[int, bytes]], Mapping[int, bytes]],
    drops: Mapping[int, Phase] | None = None,
) -> Network:
    """Plays a round in which the messages of one kind are changed before they reach the server.

    Args:
        change: from all messages of this kind by sender to those that are sent instead.
    """
    network = started_network(params, drops=drops)
    caught: dict[int, bytes] = {}
    while network.queue or not caught:
        if not network.queue:  # somebody is silent
            network.take_events(network.server.deadline(PHASES[network.server.state]))
        message = network.queue.pop(0)
        if message.receiver == SERVER and message.payload[3] == kind:
            caught[message.sender] = message.payload
        else:
            network.deliver(message)
    network.queue += [
        Message(party, SERVER, payload) for party, payload in change(dict(caught)).items()
    ]
    return network.run()


def read_masked_input(message: bytes, params: Params) -> MaskedInput:
    """Reads a masked input."""
    return MaskedInput.read(body(message), params)


def with_wrong_shares(message: bytes, params: Params, dealers: Iterable[int], by: int = 1) -> bytes:
    """Returns an unmask message with the shares of these dealers wrong."""
    answer = Unmask.read(body(message), params)
    shares = answer.shares.copy()
    for dealer in dealers:
        row = list(answer.dealers).index(dealer)
        shares[row] = (shares[row] + np.uint64(by)) % np.uint64(2**61 - 1)
    return Unmask(answer.dealers, shares).encode(message[4:20], params.cohort)
