"""The judge of a round with lying clients on a bad network.

It asks which shares are true in the messages that the server took, and what sum the masked inputs
in them make.
"""

from collections.abc import Collection

import numpy as np
from harness import SESSION, input_of
from pairwise.attacks import body
from pairwise.schedules.bad_network import BadNetwork
from pairwise.schedules.client_lies import read_shares_message
from pairwise.schedules.network_plan import TO_SERVER
from pairwise.schedules.replayed_client import correctable, dealt_shares
from reference.graph import pieces

import secagg
from secagg import Phase
from secagg.arithmetic.field import Field
from secagg.machine.wire import MessageType, header
from secagg.pairwise.messages import MaskedInput, Unmask
from secagg.sharing import shamir


class NetworkJudge:
    """Judges a round on a bad network by the books that it kept.

    Args:
        net: the network, at the end of the round.
    """

    def __init__(self, net: BadNetwork) -> None:
        self.net, self.params = net, net.params

    def _shares(self) -> dict[int, tuple[int, set[int]]]:
        """Returns, by dealer, the number of shares that were taken, and who gave wrong ones."""
        books: dict[int, tuple[int, set[int]]] = {}
        answers = {
            holder: Unmask.read(body(message), self.params)
            for holder, message in self.net.taken[TO_SERVER[4]].items()
        }
        for dealer in self.net.u2:
            true = dealt_shares(
                self.net.setups[dealer], self.net.graph.holders(dealer, self.net.u1)
            )
            count, wrong = 0, set()
            for holder, answer in answers.items():
                if dealer in answer.dealers:
                    row = list(answer.dealers).index(dealer)
                    share = shamir.pack_shares(answer.shares[row : row + 1])
                    count += 1
                    if true.get(share) != (dealer in self.net.u3, holder):
                        wrong.add(holder)
            books[dealer] = (count, wrong)
        return books

    def _carried(self) -> list[int]:
        """Returns the sum of the survivors' accepted messages, as field elements."""
        modulus = Field(self.params.field_bits).modulus
        total = np.zeros(self.params.vector_length, object)
        for party in self.net.u3:
            true = MaskedInput.read(
                body(self.net.true_messages[party, TO_SERVER[2]]), self.params
            ).packed
            sent = MaskedInput.read(body(self.net.taken[TO_SERVER[2]][party]), self.params).packed
            low: int = self.params.format.low  # type: ignore[union-attr]
            own = np.array([int(x) - low for x in inputs_of(party, self.params.length)], object)
            moved = self.net.elements(sent).astype(object) - self.net.elements(true).astype(object)
            total = total + own + moved
        return [int(x) % modulus for x in total]

    def _unmaskable(self) -> bool:
        """Returns whether the shares that were taken must be enough."""
        t = self.params.threshold
        for dealer, (count, wrong) in self._shares().items():
            if count < t or len(wrong) > correctable(count, t):
                return False
            if dealer in self.net.u3:
                true = read_shares_message(
                    self.net, dealer, self.net.true_messages[dealer, TO_SERVER[1]]
                ).commitment
                if (
                    read_shares_message(
                        self.net, dealer, self.net.taken[TO_SERVER[1]][dealer]
                    ).commitment
                    != true
                ):
                    return False
        return True

    def verdict(self) -> list[str]:
        """Returns everything that is not as promised."""
        found = [*self.net.complaints, *self._judge_form()]
        if (self.net.result is None) == (self.net.failure is None):
            found.append("neither a sum nor a failure, or both")
        elif self.net.result is not None:
            found += self._judge_sum(self.net.result)
        else:
            found += self._judge_failure()
        return found

    def _judge_form(self) -> list[str]:
        """Checks that all that was taken is of this round, well formed, and its sender's."""
        found = []
        for kind, messages in self.net.taken.items():
            for party, message in messages.items():
                true = self.net.true_messages.get((party, kind))
                named = self.net.roster_digests.get(party) if kind == TO_SERVER[1] else None
                if kind in self.net.transcripts and message[20:52] != (
                    named or self.net.transcripts[kind]
                ):
                    found.append(f"took another transcript of party {party}")
                if message == true:
                    continue
                sound = message[:20] == header(kind, SESSION)
                if kind == MessageType.UNMASK:
                    read = Unmask.read(body(message), self.params)
                    sound &= read.encode(SESSION, self.params.cohort) == message
                elif true is not None:
                    sound &= len(message) == len(true)
                if not sound:
                    found.append(f"took a malformed message of party {party}")
                if kind == MessageType.MASKED_INPUT and (party, message) not in self.net.proved:
                    found.append(f"took an input that party {party} did not prove")
        return found

    def _judge_sum(self, result: secagg.Result) -> list[str]:
        found = []
        low: int = self.params.format.low  # type: ignore[union-attr]
        if (
            result.survivors != self.net.u3
            or not set(self.net.u3) <= self.net.taken[TO_SERVER[2]].keys()
        ):
            return ["the survivors are not those whose input was taken"]
        if [int(x) - low * len(self.net.u3) for x in result.total] != self._carried():
            found.append("a wrong sum")
        if len(result.survivors) < self.params.quorum:
            found.append("a sum below the quorum")
        missing = [p for p in self.net.setups if self.net.served(p) and p not in result.survivors]
        missing = [p for p in missing if p not in self.net.copied and p not in self.net.aborted()]
        if missing:
            found.append(f"honest parties {missing} left out")
        books, t = self._shares(), self.params.threshold
        if all(len(wrong) <= correctable(count, t) for count, wrong in books.values()):
            pairs = sorted((dealer, one) for dealer, (_, wrong) in books.items() for one in wrong)
            if list(result.disputes) != pairs:
                found.append(f"disputes {result.disputes} instead of {pairs}")
        return found

    def _judge_failure(self) -> list[str]:
        assert self.net.failure is not None
        phase = self.net.failed_in
        if phase is None:
            return ["failed before it began"]
        kind = TO_SERVER[list(Phase).index(phase)]
        present = self.net.taken[kind].keys() - self.net.dropped.keys()
        late = phase in (Phase.CONSISTENCY, Phase.UNMASK)
        if len(present) < (self.params.threshold if late else self.params.quorum):
            return []
        if phase is Phase.MASKED_INPUT and self._hopeless(present):
            return []
        if phase is not Phase.UNMASK:
            return [f"failed with enough messages: {self.net.failure.reason}"]
        if self._unheld(present):
            return []
        if not self._unmaskable():
            return self._judge_disputes(self.net.failure.disputes)
        high: int = self.params.format.high - self.params.format.low  # type: ignore[union-attr]
        if max(self._carried()) > high * len(self.net.u3):
            return []
        return [f"failed though it could unmask: {self.net.failure.reason}"]

    def _unheld(self, left: Collection[int]) -> bool:
        """Returns whether too few holders are left of a seed; on a sparse graph only."""
        return any(
            len(self.net.graph.holders(p, left)) < self.params.threshold for p in self.net.u2
        )

    def _hopeless(self, u3: Collection[int]) -> bool:
        """Returns whether the graph leaves no way from U3 to a sum."""
        near = {one: self.net.graph.neighbours(one, u3) for one in self.net.setups}
        return self._unheld(u3) or len(pieces(u3, near)) > 1

    def _judge_disputes(self, disputes: tuple[tuple[int, int], ...]) -> list[str]:
        """Checks that no dispute is between two honest, undisturbed parties."""
        odd = self.net.schedule.liars | self.net.harmed
        if any({dealer, holder} & odd for dealer, holder in disputes):
            return []
        return [f"only honest parties in the disputes {disputes}"]


def inputs_of(party: int, length: int) -> list[int]:
    """Returns the input that a party submits."""
    return [int(x) for x in input_of(party, length)]
