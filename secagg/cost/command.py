"""``python -m secagg preflight`` and ``bench``: what a planned round costs and withstands."""

import argparse
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from ..codes import Code
from ..errors import ParameterError
from ..outputs import STDOUT, check_writable, output, write_whole
from ..params.formats import MAX_FIXED_POINT_BITS, MAX_WEIGHT, FixedPoint, Format, Integers
from ..params.mode import Mode
from ..params.params import MAX_COHORT, MAX_LENGTH
from ..params.suite import Suite
from ..programs import FAILED, fraction, whole_number
from ..progress import Progress
from .bench import Measured, Plan, plan
from .preflight import DEFAULT_FORMAT, Preflight, preflight
from .report import seconds

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

MODES: Final = {str(mode): mode for mode in Mode}
SUITES: Final = {suite.name.lower(): suite for suite in Suite}
_QUIET: Final = 2.0  # seconds of work without a progress bar


def add_to(commands: "Subparsers") -> None:
    """Adds both commands to a parser; see `secagg.identity.command.add_to`."""
    text = "Say whether a round is possible, what it withstands and what it costs on this machine."
    first = commands.add_parser("preflight", help=text, description=text, allow_abbrev=False)
    _add_round(first)
    first.add_argument("--measure", action="store_true", help="also play rounds, as `bench` does")
    first.set_defaults(run=_preflight, dropouts=None)

    text = "Play rounds in this process, and show what they take beside the estimate."
    play = commands.add_parser("bench", help=text, description=text, allow_abbrev=False)
    _add_round(play)
    play.add_argument(
        "--dropouts",
        type=whole_number(0, MAX_COHORT),
        metavar="N",
        help="clients that drop out before their input; default: as many as may",
    )
    play.set_defaults(run=_bench, measure=True)


def _add_round(parser: argparse.ArgumentParser) -> None:
    add, form = parser.add_argument, DEFAULT_FORMAT
    add("--cohort", type=whole_number(2, MAX_COHORT), required=True, help="number of clients")
    add("--length", type=whole_number(1, MAX_LENGTH), required=True, help="values of an input")
    add(
        "--corrupt",
        type=fraction,
        default=0.1,
        help="fraction that colludes, at most; %(default)s",
    )
    add(
        "--dropout", type=fraction, default=0.1, help="fraction that vanishes, at most; %(default)s"
    )
    add("--expected-dropout", type=fraction, help="the usual fraction; default: half of --dropout")
    add("--mode", choices=list(MODES), default=str(Mode.SEMI_HONEST), help="default: %(default)s")
    add("--suite", choices=list(SUITES), default="aes256ctr", help="default: %(default)s")
    add("--clip", type=_clip, help=f"bound of each value; default: {form.clip:g}")
    add(
        "--bits",
        type=whole_number(1, MAX_FIXED_POINT_BITS),
        help=f"bits of each value; default: {form.bits}",
    )
    add("--max-weight", type=whole_number(1, MAX_WEIGHT), help="greatest weight; default: 1")
    add(
        "--integers",
        type=int,
        nargs=2,
        metavar=("LOW", "HIGH"),
        help="exact integers in this range, instead of --clip, --bits and --max-weight",
    )
    add(
        "--seconds",
        type=_positive,
        default=60.0,
        help="about how long rounds are played; smaller ones if need be; default: %(default)g",
    )
    add(
        "--json",
        type=output,
        metavar="FILE",
        help="file to write everything to, as JSON; - is standard output, and the table then goes "
        "to standard error",
    )


def _clip(text: str) -> float:
    try:
        return FixedPoint(clip=float(text)).clip
    except ParameterError as error:
        raise argparse.ArgumentTypeError(error.reason) from None


def _positive(text: str) -> float:
    if not 0 < (value := float(text)) < float("inf"):
        raise argparse.ArgumentTypeError(f"must be positive and finite, not {text}")
    return value


_clip.__name__ = _positive.__name__ = "number"  # as argparse calls it in its messages


def _format(options: argparse.Namespace) -> Format:
    """Returns the number format of the options; raises ParameterError if there is none."""
    given = {
        name: value
        for name in ("clip", "bits", "max_weight")
        if (value := getattr(options, name)) is not None
    }
    if options.integers is None:
        return replace(DEFAULT_FORMAT, **given)
    try:
        form = Integers(*options.integers)
    except ParameterError as error:
        raise ParameterError(f"argument --integers: {error.reason}", error.code) from None
    for name in given:
        raise ParameterError(
            f"argument --integers: not allowed with --{name.replace('_', '-')}", Code.ARGUMENT
        )
    return form


def _flown(options: argparse.Namespace) -> Preflight:
    """Returns the preflight of the options, measured if they ask for it."""
    form = _format(options)
    if options.json is not None:
        check_writable(options.json)
    found = preflight(
        options.cohort,
        options.length,
        form,
        corrupt=options.corrupt,
        dropout=options.dropout,
        expected_dropout=options.expected_dropout,
        mode=MODES[options.mode],
        suite=SUITES[options.suite],
    )
    if found.params is None or not options.measure:
        return found
    if options.dropouts is not None and options.dropouts > found.drops_before_input:
        raise ParameterError(
            f"argument --dropouts: at most {found.drops_before_input} of {options.cohort} clients "
            f"may drop out of this round, not {options.dropouts}",
            Code.ARGUMENT,
        )
    todo = plan(found.params, options.dropouts, seconds=options.seconds, units=found.units)
    return replace(found, measured=_played(todo))


def _played(todo: Plan) -> Measured:
    """Plays what is planned, with a progress bar if that takes a while."""
    if todo.seconds < _QUIET:
        return todo.run()
    progress = Progress(todo.steps)
    progress.say(f"about {seconds(todo.seconds)}")
    try:
        return todo.run(lambda text: progress(f"{text}; about {seconds(todo.seconds)} in all"))
    finally:
        progress.close()


def _preflight(options: argparse.Namespace) -> int:
    found = _flown(options)
    return _shown(options, found, str(found))


def _bench(options: argparse.Namespace) -> int:
    found = _flown(options)
    return _shown(options, found, found.measurement() if found.possible else str(found))


def _shown(options: argparse.Namespace, found: Preflight, text: str) -> int:
    """Writes the table, and JSON if asked for; returns 1 if there is no such round."""
    (sys.stderr if options.json == STDOUT else sys.stdout).write(text)
    if options.json is not None:
        write_whole(options.json, found.to_json().encode())
    return 0 if found.possible else FAILED
