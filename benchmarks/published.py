"""Figures that others published, with their sources; none was measured by this repository."""

from dataclasses import dataclass
from typing import Final

INPUT_BITS: Final = 16
EXPANSIONS: Final = ((2**10, 2**20), (2**14, 2**24))  # n, m


def paper_bits(n: int, m: int) -> int:
    """Returns the bits that a client of Bonawitz et al. 2017 sends and receives, by their count.

    They count 256 bits per key and share, one bit per party for the survivors, and coordinates
    modulo the least number that holds the sum of n inputs of 16 bits.
    """
    coordinate = (n * (2**INPUT_BITS - 1)).bit_length()
    return 2 * n * 256 + (5 * n - 4) * 256 + n + m * coordinate


@dataclass(frozen=True, slots=True)
class Timing:
    """Published times of a round with vectors of 100,000 coordinates.

    Attributes:
        source: a key of `SOURCES`.
        clients: number of clients n.
        client: seconds of one client.
        server: fraction of dropouts -> seconds of the server.
    """

    source: str
    clients: int
    client: float
    server: dict[float, float]


PAPER: Final = "Bonawitz et al. 2017"
PYTHON: Final = "fault-tolerant-secure-agg"
SOURCES: Final = {
    PAPER: "its Table 3, in Java on one thread; recalled, not checked against the paper",
    PYTHON: "MohamadMansouri/fault-tolerant-secure-agg on GitHub, SecAgg in pure Python: means of "
    "its CSV files for ccs17/highdim, 16-bit inputs, t = 2n/3, 2.3 GHz Xeon",
}
TIMINGS: Final = (
    Timing(PYTHON, 100, 9.46, {0.0: 10.66, 0.1: 100.76, 0.3: 280.34}),
    Timing(PYTHON, 300, 27.77, {0.0: 35.69, 0.1: 876.00, 0.3: 2527.92}),
    Timing(PYTHON, 600, 57.87, {0.0: 100.65, 0.1: 4303.12, 0.3: 11715.03}),
    Timing(PAPER, 500, 0.849, {0.0: 2.018, 0.1: 62.239, 0.3: 143.389}),
    Timing(PAPER, 1000, 1.699, {0.0: 4.887, 0.1: 180.875, 0.3: 413.767}),
)

# Speed-up of LightSecAgg's server over those of SecAgg and SecAgg+, from the last masked input to
# the sum: So et al. 2022, recalled, not checked against the paper.
GAINS: Final = {"SecAgg": 13.0, "SecAgg+": 4.0}

# Degree and threshold of a randomly permuted Harary graph, security 2^-40, failure 2^-20, as a
# production implementation of SecAgg+ documents and tests them; the thresholds are upper bounds:
# (n, corrupt, dropout, whether the server is semi-malicious, degree, threshold).
GRAPHS: Final = (
    (10, 0.33, 0.33, False, 8, 4),
    (100, 0.05, 0.05, False, 12, 6),
    (100, 0.3, 0.3, True, 92, 62),
    (100, 0.45, 0.45, False, 92, 46),
    (1_000, 0.05, 0.05, False, 30, 17),
    (1_000, 0.05, 0.05, True, 52, 37),
    (1_000, 0.05, 0.33, False, 72, 24),
    (1_000, 0.05, 0.33, True, 398, 223),
    (1_000, 0.33, 0.0, False, 38, 36),
    (1_000, 0.33, 0.05, False, 78, 60),
    (1_000, 0.33, 0.05, True, 132, 109),
    (10_000, 0.33, 0.33, False, 422, 221),
    (100_000, 0.05, 0.05, False, 36, 21),
)
