"""The mode of a round: which kind of server the clients are protected against."""

from enum import IntEnum

from ..events import Phase


class Mode(IntEnum):
    """The kind of server that clients are protected against.

    A semi-honest server follows the protocol and remembers everything. A malicious one may do
    anything; clients then sign with long-lived keys that the others have pinned.
    """

    SEMI_HONEST = 0
    MALICIOUS = 1

    def __str__(self) -> str:
        return self.name.lower().replace("_", "-")

    @property
    def phases(self) -> tuple[Phase, ...]:
        """The phases of a round in this mode, in order."""
        consistency = (Phase.CONSISTENCY,) if self is Mode.MALICIOUS else ()
        return (
            *(Phase.ADVERTISE_KEYS, Phase.SHARE_KEYS, Phase.MASKED_INPUT),
            *consistency,
            Phase.UNMASK,
        )
