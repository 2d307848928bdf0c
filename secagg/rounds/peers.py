"""The names of peers in a directory, where the transport has other ids for them."""

import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Final

from ..drivers.envelope import hello_in
from ..identity.directory import Directory
from ..numeric import brief
from ..texts import one_line

_log: Final = logging.getLogger("secagg.rounds")


class PeerNames:
    """Which peer has which name in a directory: by the transport's word, or by the peer's own.

    A name decides nothing but who is invited as whom: without the key of a name nobody can act for
    it, and whoever says a wrong one costs the round that one input.

    Args:
        directory: the verify keys of all who may take part.
    """

    def __init__(self, directory: Directory) -> None:
        self._keys = {each.verify_key: each.name for each in directory.entries}
        self._asked: dict[str, str] = {}

    def of(
        self,
        peers: Collection[str],
        known: Mapping[str, str],
        ask: Callable[[list[str]], Iterable[tuple[str, object]]],
    ) -> dict[str, str]:
        """Returns the names of these peers, as far as they have one of their own.

        Args:
            peers: ids of those who are to take part.
            known: the names of all who are connected, by id, as the transport has authenticated
                them; any other text, such as "", if it knows none. Of a name that is there twice
                neither peer is believed, and both are asked.
            ask: sends b"" to peers, and yields id and answer: `secagg.answer` greets.
        """
        names: dict[str, str] = {}
        twice = {name for name, times in Counter(known.values()).items() if times > 1}
        for peer in known:  # before a word of any peer
            self._take(names, peer, "" if known[peer] in twice else known[peer])
        for peer in known:
            self._take(names, peer, self._asked.get(peer, ""))
        unknown = [peer for peer in peers if peer not in names and peer not in self._asked]
        silent = dict.fromkeys(unknown, "it did not say its key")
        for peer, answer in ask(unknown) if unknown else ():
            hello = hello_in(answer)
            if peer in unknown and hello is not None:  # one that was not reached is asked again
                self._asked[peer] = self._keys.get(hello.verify_key, "")
                self._take(names, peer, self._asked[peer])
                del silent[peer]
            elif peer in silent and isinstance(answer, BaseException):
                silent[peer] = one_line(str(answer))
        for peer in peers:
            if peer not in names:
                why = silent.get(peer, "it has no key of its own, pinned here")
                _log.warning("%s is not invited: %s", brief(peer), why)
        return {peer: names[peer] for peer in peers if peer in names}

    def _take(self, names: dict[str, str], peer: str, name: str) -> None:
        """Gives a peer a name of the directory, unless one of them has that of the other."""
        if name in self._keys.values() and peer not in names and name not in names.values():
            names[peer] = name
