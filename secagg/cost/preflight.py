"""Gathers what an operator must know before a first round: `secagg.preflight`."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Final

from ..arithmetic.field import Field
from ..codes import Code
from ..errors import ParameterError
from ..events import Phase
from ..numeric import as_float, brief
from ..params.checks import require_int
from ..params.formats import FixedPoint, Format, Integers, field_width
from ..params.mode import Mode
from ..params.params import MAX_COHORT, Params
from ..params.suite import Suite
from . import report
from .bench import Measured, physical_memory, plan
from .calibration import calibrate
from .feasible import Request, greatest
from .findings import Finding, advise, impossible
from .model import (
    Estimate,
    Memory,
    Shape,
    Side,
    Units,
    estimate,
    largest_message,
    memory,
    require_units,
)

DEFAULT_FORMAT: Final = FixedPoint(clip=8.0, bits=20)
_SAMPLES: Final = 20  # of each kernel: half a second


@dataclass(frozen=True, slots=True)
class Preflight:
    """The needs and costs of a planned round, and what it withstands.

    Attributes:
        request: what was asked for.
        expected_dropout: the fraction of dropouts that is usual.
        params: the parameters that were chosen, or None if the request is impossible.
        findings: what to know, the gravest first; if `params` is None, why.
        estimates: numbers of dropouts before the input (none, as many as usual, as many as may),
            each with the estimated cost of a round; empty if `params` is None.
        memory: bounds of the memory of each side, or None.
        units: unit costs from which it was estimated, or None.
        measured: what rounds took that were played here, or None if none were.
    """

    request: Request
    expected_dropout: float
    params: Params | None
    findings: tuple[Finding, ...]
    estimates: tuple[tuple[int, Estimate], ...] = ()
    memory: Memory | None = None
    units: Units | None = None
    measured: Measured | None = None

    @property
    def possible(self) -> bool:
        """True if there are parameters for the request."""
        return self.params is not None

    @property
    def drops_before_input(self) -> int:
        """Returns how many may drop out before their masked input, and the round still has a sum.

        On a sparse graph these are all that may drop out at any time.
        """
        params = self._chosen()
        return params.cohort - params.quorum

    @property
    def drops_after_input(self) -> int:
        """Returns how many may drop out after their masked input if none did before."""
        params = self._chosen()
        return params.cohort - (params.quorum if params.degree else params.threshold)

    @property
    def drops_after_input_at_quorum(self) -> int:
        """Returns how many may do so if `drops_before_input` did before their input."""
        params = self._chosen()
        return 0 if params.degree else params.quorum - params.threshold

    @property
    def honest_inputs(self) -> int:
        """Returns how many inputs of honest clients are under the smallest sum that is unmasked."""
        params = self._chosen()
        return params.quorum - params.colluders

    @property
    def largest_cohort(self) -> int:
        """The largest cohort whose sums fit the same field."""
        params = self._chosen()
        larger = greatest(
            MAX_COHORT + 1,
            lambda cohort: _has_width(params.format, cohort, params.field_bits),
            params.cohort + 1,
        )
        return larger or params.cohort

    def _chosen(self) -> Params:
        if self.params is None:
            reasons = " ".join(finding.text for finding in self.findings)
            raise ParameterError(f"there are no parameters: {reasons}", self.findings[0].code)
        return self.params

    def as_dict(self) -> dict[str, Any]:
        """Returns everything for JSON; keys are stable, and units are in their names."""
        asked = self.request
        found: dict[str, Any] = {
            "possible": self.possible,
            "request": {
                "cohort": asked.cohort,
                "length": asked.length,
                "format": _format(asked.format),
                "corrupt": asked.corrupt,
                "dropout": asked.dropout,
                "expected_dropout": self.expected_dropout,
                "mode": str(asked.mode),
                "suite": asked.suite.name.lower(),
            },
            "findings": [finding.as_dict() for finding in self.findings],
            "params": None,
            "limits": None,
            "sizes": None,
            "estimates": [],
            "measured": None if self.measured is None else measured_dict(self.measured),
        }
        if self.params is None or self.memory is None:
            return found
        cost = self.estimates[-1][1]
        found["params"] = params_dict(self.params)
        found["limits"] = {
            "quorum": self.params.quorum,
            "honest_inputs": self.honest_inputs,
            "drops_before_input": self.drops_before_input,
            "drops_after_input": self.drops_after_input,
            "drops_after_input_at_quorum": self.drops_after_input_at_quorum,
            "largest_cohort": self.largest_cohort,
        }
        found["sizes"] = {
            "client_sent_bytes": round(cost.client.sent),
            "client_received_bytes": round(cost.client.received),
            "largest_message_bytes": largest_message(self.params),
            "client_memory_bytes": self.memory.client,
            "server_memory_bytes": self.memory.server,
        }
        found["estimates"] = [
            {"dropouts": dropouts, **_sides(self.params.mode, each.client, each.server)}
            for dropouts, each in self.estimates
        ]
        return found

    def to_json(self) -> str:
        """Returns `as_dict` as JSON text."""
        return json.dumps(self.as_dict(), indent=2) + "\n"

    def __str__(self) -> str:
        """Returns a table for people, at most 80 letters wide."""
        return "\n".join(self._lines()) + "\n"

    def measurement(self) -> str:
        """Returns a table for people of what was measured, or "" if nothing was."""
        if self.measured is None:
            return ""
        lines = list(report.measured(self.measured))
        if self.measured.params != self.params:
            _, worst = self.estimates[-1]
            whole = self.request.cohort * worst.client.seconds + worst.server.seconds
            lines += report.wrapped(
                "These rounds are smaller than the one asked for, of which one would take about "
                f"{report.seconds(whole)} here, all parties one by one."
            )
        return "\n".join(lines) + "\n"

    def _lines(self) -> Iterator[str]:
        asked = self.request
        yield (
            f"{asked.cohort:,} clients, {asked.length:,} values each, {asked.mode} mode, "
            f"{asked.suite.name.lower()}"
        )
        yield ""
        if self.params is None:
            yield "IMPOSSIBLE"
        else:
            yield from report.pairs(self._facts(self.params))
            yield ""
            yield from report.costs(self.params.mode, self.estimates)
        if self.measured is not None:
            yield ""
            yield self.measurement().rstrip("\n")
        for finding in self.findings:
            yield ""
            yield from report.finding(
                str(finding.severity), str(finding.code), finding.text, finding.remedy
            )

    def _facts(self, params: Params) -> Iterator[tuple[str, str]]:
        q, t, n = params.quorum, params.threshold, params.cohort
        graph = f"sparse, {params.degree} neighbours each" if params.degree else "complete"
        yield "graph", graph
        yield "quorum", f"{q} of {n} inputs; a sum of fewer is never unmasked"
        of = f"{params.degree + 1} holders" if params.degree else f"{n}"
        yield "threshold", f"{t} of {of} must stay to the end"
        before, after = self.drops_before_input, self.drops_after_input
        if params.degree:
            yield "may drop out", f"{before}, at any time"
        else:
            rest = f" ({self.drops_after_input_at_quorum} if {before} did before)" if before else ""
            yield "may drop out", f"{before} before the input; {after} after it{rest}"
        yield (
            "colluders",
            f"{params.colluders} with the server; {self.honest_inputs} or more honest inputs in a "
            "sum",
        )
        more = self.largest_cohort
        limit = "any cohort" if more == MAX_COHORT else f"up to {more:,} clients"
        size = Field(params.field_bits).dtype.itemsize
        yield "field", f"{params.field_bits} bits, enough for {limit}; {size} bytes in memory"
        side = self.estimates[-1][1].client
        yield (
            "one client",
            f"sends {report.size(side.sent)}, receives {report.size(side.received)}, largest "
            f"message {report.size(largest_message(params))}",
        )
        if self.memory is not None:
            client, server = report.size(self.memory.client), report.size(self.memory.server)
            yield "memory", f"client up to {client}, server up to {server}"


def preflight(
    cohort: int,
    length: int,
    format: Format = DEFAULT_FORMAT,  # noqa: A002
    *,
    corrupt: float = 0.1,
    dropout: float = 0.1,
    expected_dropout: float | None = None,
    mode: Mode = Mode.SEMI_HONEST,
    suite: Suite = Suite.AES256CTR,
    units: Units | None = None,
    measured: bool = False,
    seconds: float = 60.0,
    memory_bytes: int | None = None,
) -> Preflight:
    """Says whether a round is possible, what it withstands, and what it costs on this machine.

    It never raises for parameters that are unsafe together: the findings then have the reasons, and
    the nearest values that are possible. It takes about half a second, which goes into timing the
    kernels, and no round is played unless `measured`.

    Args:
        cohort, length, format, corrupt, dropout, mode, suite: see `Params.for_cohort`, which
            chooses the parameters.
        expected_dropout: the fraction of parties that usually drops out; by default half of
            `dropout`, the most that may.
        units: unit costs of this machine (`secagg.cost.calibrate`); timed if left out.
        measured: also play rounds, or smaller ones if these take too long.
        seconds: about how long they may take.
        memory_bytes: memory that each side has; by default that of this machine.

    Raises:
        ParameterError: an argument has the wrong type, or a value that no other argument can mend.
        RoundFailedError: a round that was played failed, which happens on a sparse graph, seldom.
    """
    request = Request(cohort, length, format, corrupt, dropout, mode, suite)
    reasons = tuple(impossible(request))
    usual = _expected(dropout, expected_dropout)
    if units is not None:
        require_units(units)
    available = (
        physical_memory()
        if memory_bytes is None
        else require_int("memory_bytes", memory_bytes, 0, 2**64)
    )
    if reasons:
        return Preflight(request, usual, None, reasons)
    params = request.params()
    if units is None:
        units = calibrate(params.suite, params.field_bits, _SAMPLES)
    played = plan(params, seconds=seconds, units=units).run() if measured else None
    spare = params.cohort - params.quorum
    counts = sorted({0, min(round(usual * params.cohort), spare), spare})
    estimates = tuple((lost, estimate(Shape.of(params, lost), units)) for lost in counts)
    need = memory(Shape.of(params))
    found = tuple(advise(request, params, usual, estimates, need, available))
    return Preflight(request, usual, params, found, estimates, need, units, played)


def _expected(dropout: float, expected: float | None) -> float:
    """Returns the usual fraction of dropouts as a float."""
    found = as_float(dropout if expected is None else expected)
    if found is None or not 0 <= found < 1:
        raise ParameterError(
            f"expected_dropout must be a fraction of the cohort, at least 0 and below 1, not "
            f"{brief(expected)}",
            Code.ARGUMENT,
        )
    return found / 2 if expected is None else found


def _has_width(form: Format, cohort: int, bits: int) -> bool:
    try:
        return field_width(form, cohort) == bits
    except ParameterError:  # no field is wide enough
        return False


def params_dict(params: Params) -> dict[str, Any]:
    """Returns parameters for JSON."""
    return {
        "cohort": params.cohort,
        "length": params.length,
        "format": _format(params.format),
        "graph": "sparse" if params.degree else "complete",
        "degree": params.degree,
        "threshold": params.threshold,
        "min_survivors": params.min_survivors,
        "colluders": params.colluders,
        "mode": str(params.mode),
        "suite": params.suite.name.lower(),
        "field_bits": params.field_bits,
    }


def measured_dict(measured: Measured) -> dict[str, Any]:
    """Returns a measurement for JSON."""
    mode = measured.params.mode
    return {
        "params": params_dict(measured.params),
        "dropouts": measured.dropouts,
        "rounds": measured.rounds,
        "round_seconds": measured.seconds,
        **_sides(mode, measured.client, measured.server),
        "estimate": _sides(mode, measured.model.client, measured.model.server),
    }


def _sides(mode: Mode, client: Side, server: Side) -> dict[str, Any]:
    return {"client": _side(mode.phases, client), "server": _side(mode.phases, server)}


def _side(phases: tuple[Phase, ...], side: Side) -> dict[str, Any]:
    seconds = zip(phases, side.phases, strict=True)
    return {
        "cpu_seconds": side.seconds,
        "phases_cpu_seconds": {str(phase).replace(" ", "_"): each for phase, each in seconds},
        "sent_bytes": round(side.sent),
        "received_bytes": round(side.received),
    }


def _format(form: Format) -> dict[str, Any]:
    if isinstance(form, Integers):
        return {"name": "Integers", "low": form.low, "high": form.high}
    return {"name": type(form).__name__, **asdict(form)}
