"""The plan of one round, which a driver carries out."""

from dataclasses import dataclass, field

from ..pairwise.server import Server
from ..params.params import Params


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """One round that is to be carried out.

    Attributes:
        number: of the rounds of this training, from 0; failed ones count.
        names: the cohort: party i is names[i].
        members: malicious mode: indices of the cohort in the directory of all, ascending; else
            empty.
        params: parameters of the round.
        context: what it is about: `digest(training, layout, *about, attempt)`, without a layout if
            `plan` got no `ModelLayout`; with settings, `digest(that, settings)`.
        attempt: number of the attempt on what it is about, from 0; clients need it for the context.
        server: the server of the round, for a driver.
    """

    number: int
    names: tuple[str, ...]
    members: tuple[int, ...]
    params: Params
    context: bytes
    attempt: int
    server: Server = field(repr=False)
