"""`python -m secagg.fl`: federated averaging on real data; each round is a secure aggregation."""

import argparse
import errno
import json
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NoReturn

import numpy as np

from secagg import (
    AttemptsExhaustedError,
    ClippingWarning,
    Code,
    Mode,
    ParameterError,
    SecAggError,
)
from secagg.extras import MissingExtraError, extra
from secagg.outputs import STDOUT, check_writable, output, write_whole
from secagg.programs import FAILED, error_line, fraction, run_program, say, whole_number

from . import plot, report
from .compare import compare_training
from .data import DATASETS, SPLITS, load
from .export import as_json
from .fedavg import FedAvg, fedavg_params, simulated_randomness
from .history import Score
from .models import MLP, Architecture, Model, Softmax, accuracy, loss
from .optimizers import Adagrad, Adam, Average, Momentum, Optimizer, Yogi
from .private import Placement, Privacy, private_params
from .scaffold import Scaffold, ScaffoldClient
from .schedule import draw_drops
from .training import Descent, LocalClient
from .updates import FedClient

MODELS: Final[dict[str, Callable[[int, int], Architecture]]] = {"softmax": Softmax, "mlp": MLP}
MODES: Final = {str(mode): mode for mode in reversed(Mode)}
OPTIMIZERS: Final[dict[str, Callable[..., Optimizer]]] = {
    "average": Average,
    "momentum": Momentum,
    "adam": Adam,
    "yogi": Yogi,
    "adagrad": Adagrad,
}
_SCAFFOLD: Final = "scaffold"
# Any stream of the seed would be right. With independent draws at the default rate, about one seed
# in eight has dropouts in at most half of its rounds. With this stream, seeds 0..4 have dropouts
# in most rounds and at most one failed round, which makes a better example.
_DROPS_STREAM: Final = 5
_MOST_ROUNDS: Final = 100_000
_NAME: Final = "secagg.fl"
_CLIP: Final = 4.0
_PRIVATE_CLIP: Final = 1.0  # of the L2 norm; noise grows with it
_DELTA: Final = 1e-5

Show = Callable[[str], None]


class _Parser(argparse.ArgumentParser):
    """An argument parser that answers a bad option with one line and exit code 2."""

    def error(self, message: str) -> NoReturn:
        say(error_line(_NAME, message))
        raise SystemExit(2)


class _Help(argparse.ArgumentDefaultsHelpFormatter):
    """Shows the default of each option that has one."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default is None or action.default is False:
            return action.help
        return super()._get_help_string(action)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m secagg.fl",
        description="Federated averaging on real data, in which each round is a secure "
        "aggregation, compared with plain FedAvg and central training. All parties run in this "
        "process: it protects nobody.",
        formatter_class=_Help,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--dataset", choices=list(DATASETS), default="breast_cancer", help="data set")
    add("--model", choices=list(MODELS), default="softmax", help="kind of model")
    add("--clients", type=whole_number(3), default=10, help="size of the cohort, at least 3")
    add(
        "--rounds",
        type=whole_number(1, _MOST_ROUNDS),
        default=20,
        help="rounds of federated averaging",
    )
    add(
        "--dropout",
        type=fraction,
        default=0.1,
        help="how probably a client drops out of a round",
    )
    add(
        "--bits",
        type=int,
        help="bits per quantized parameter: 1..32, by default 20; with --rotate 1..16, default 8",
    )
    add(
        "--clip",
        type=float,
        help="bound of each value of an update, by default 4; with --rotate or --dp-epsilon of its "
        "L2 norm, by default 4 and 1",
    )
    add(
        "--rotate",
        action="store_true",
        help="clip the L2 norm of an update and rotate it, so that few bits are enough",
    )
    add(
        "--split",
        choices=list(SPLITS),
        default="uneven",
        help="how examples are dealt to clients: with uneven sizes and skewed labels, evenly, or "
        "so that each knows few labels (shards)",
    )
    add("--epochs", type=whole_number(1), default=10, help="local epochs per round")
    add(
        "--optimizer",
        choices=[*OPTIMIZERS, _SCAFFOLD],
        default="average",
        help="what the server makes of the mean update; scaffold corrects the steps of clients, "
        "too, and counts all updates alike",
    )
    add(
        "--server-rate",
        type=float,
        help="rate of the optimizer, by default 1, or 0.1 of adam, yogi and adagrad; with average "
        "and scaffold what the mean update is multiplied by",
    )
    add(
        "--sample",
        type=sample_size,
        help="clients drawn for each round: a number, at least 3, or a share such as 0.25; by "
        "default all",
    )
    add(
        "--checkpoint",
        type=Path,
        metavar="FILE.npz",
        help="file that is written after each round; if it is there, the training goes on from it",
    )
    add(
        "--dp-epsilon",
        type=float,
        help="differential privacy of each client's updates over all rounds: with this epsilon, "
        "0.001 to 32. Every client with examples then counts once",
    )
    add("--dp-delta", type=float, help="with --dp-epsilon: delta, by default 1e-5")
    add(
        "--dp-placement",
        choices=[str(each) for each in Placement],
        help="with --dp-epsilon: who adds the noise, by default distributed (a part by each "
        "client); by the trusted server (central), enough by each client (local), or nobody (none)",
    )
    add(
        "--dp-corrupt",
        type=fraction,
        help="with --dp-epsilon: which fraction of the clients may collude with the server, by "
        "default a third; together with --dp-dropout",
    )
    add(
        "--dp-dropout",
        type=fraction,
        help="with --dp-epsilon: which fraction of the clients may drop out of a round, by default "
        "a third",
    )
    add(
        "--dp-scale",
        type=float,
        help="with --dp-epsilon: levels per unit of an update; by default as many as cost 1 %% of "
        "noise",
    )
    add(
        "--mode", choices=list(MODES), default="malicious", help="kind of server to protect against"
    )
    add(
        "--attempts",
        type=whole_number(1),
        default=3,
        help="malicious mode: how often clients give their update of one model, whatever becomes "
        "of the rounds; the server may learn as many sums over it",
    )
    add("--seed", type=whole_number(0), default=0, help="seed of all random draws")
    add(
        "--json",
        type=output,
        metavar="FILE",
        help="file to write the results to, as JSON; a number that is not finite becomes null; - "
        "is standard output, and the table then goes to standard error",
    )
    add(
        "--plot",
        type=output,
        metavar="FILE.png",
        help="file to draw the results to: .png, .svg, .pdf, .jpg or .jpeg, without an ending "
        "PNG; - as for --json",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Returns:
        exit code: 0, also if the training converged before the last round, or some rounds failed; 1
        if the run or all rounds failed, or it ended early because no attempt on a model was left
        after failed rounds (results and files are then those of the rounds so far).

    Raises:
        SystemExit: with 2 for bad options and a missing extra; with 1 if output or a file cannot be
            written, 130 after Ctrl-C, and 141, without a word, if nobody reads the output any more
            (`| head`). Each failure is one line on standard error.
    """
    return run_program(_NAME, lambda: _checked(argv))


def _checked(argv: Sequence[str] | None) -> int:
    parser = _parser()
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            # Numbers that overflowed or were clipped are in the report.
            warnings.simplefilter("ignore", ClippingWarning)
            _run(parser.parse_args(argv))
    except (ParameterError, MissingExtraError) as error:
        parser.error(str(error))
    except SecAggError as error:
        say(error_line(_NAME, str(error)))
        return FAILED
    return 0


def _run(args: argparse.Namespace) -> None:
    named = args.json, args.plot, args.checkpoint
    files: list[Path] = [path for path in named if path is not None]
    if args.checkpoint == STDOUT:
        raise ParameterError("--checkpoint is read as well: give it a name", Code.ARGUMENT)
    for path in files:
        check_writable(path)
    if len({path.resolve() for path in files}) < len(files):
        raise ParameterError(
            "--json, --plot and --checkpoint name the same file; choose other names", Code.ARGUMENT
        )
    ending = None if args.plot is None else plot.require(args.plot)
    apart = ("json", "plot", "checkpoint")
    asked = {name: value for name, value in vars(args).items() if name not in apart}
    outcome = simulate(report.Settings(**asked), STDOUT in files, args.checkpoint)
    if args.json is not None:
        text = json.dumps(as_json(outcome), indent=2, allow_nan=False) + "\n"
        write_whole(args.json, text.encode())
    if ending is not None:
        write_whole(args.plot, plot.draw(outcome, ending))
    if outcome.ended is not None:
        raise outcome.ended
    last = outcome.reports[-1]
    if last.code is not None and all(each.failed for each in outcome.reports):
        raise SecAggError(f"all rounds failed, the last one because {last.reason}", last.code)


def sample_size(text: str) -> float:
    """Returns a number of clients, or a share of them."""
    return int(text) if text.isdecimal() else float(text)


def simulate(
    settings: report.Settings, to_stderr: bool = False, checkpoint: Path | None = None
) -> report.Outcome:
    """Trains in all three ways, and prints each round when it ends.

    Args:
        settings: what is asked for.
        to_stderr: whether to print on standard error rather than on standard output.
        checkpoint: a file with which the training goes on, or None.

    Raises:
        ParameterError: the settings are impossible; raised before any training.
        MissingExtraError: scikit-learn or rich is not installed.
    """
    dataset = load(settings.dataset, settings.clients, settings.seed, split=settings.split)
    architecture = MODELS[settings.model](dataset.features, dataset.classes)
    start, descent = architecture.init(settings.seed), Descent(epochs=settings.epochs)
    local = [LocalClient(architecture, split, descent, settings.seed) for split in dataset.clients]
    clients, optimizer = _with_optimizer(settings, local)
    mode = MODES[settings.mode]
    privacy = _privacy(settings, clients, start, mode, optimizer)
    if privacy is None:
        clip = _CLIP if settings.clip is None else settings.clip
        params = fedavg_params(
            *(clients, start, clip, settings.bits, mode, settings.rotate),
            sample=settings.sample,
            optimizer=optimizer,
        )
    else:
        params = privacy.params
    rng = np.random.default_rng((settings.seed, _DROPS_STREAM))
    rate, everybody = settings.dropout, len(clients)

    def evaluate(model: Model) -> Score:
        test = dataset.test
        return Score(loss(architecture, model, test), accuracy(architecture, model, test))

    federation = FedAvg(
        start,
        clients,
        params=None if privacy else params,
        privacy=privacy,
        optimizer=optimizer,
        sample=settings.sample,
        checkpoint=checkpoint,
        rounds=settings.rounds,
        drops=[draw_drops(rng, everybody, rate, mode) for _ in range(settings.rounds)],
        evaluate=evaluate,
        random=simulated_randomness(settings.seed),
        attempts=settings.attempts,
    )
    ended = None
    if warning := report.warning(params, settings.dropout):
        say(f"{_NAME}: warning: {warning}\n")
    with _screen(settings.rounds, to_stderr) as (show, advance):
        for line in report.intro(settings, dataset, params, privacy):
            show(line)
        reports = list(federation.reports)  # of a checkpoint
        for each in reports:
            advance()
            for line in report.row(each):
                show(line)
        try:
            for each in federation:
                reports.append(each)
                for line in report.row(each):
                    show(line)
                advance()
        except AttemptsExhaustedError as error:
            ended = error
        pooled = LocalClient(architecture, dataset.pooled, descent, settings.seed)
        model = federation.model
        clients, optimizer = _with_optimizer(settings, local)
        found = compare_training(
            start, model, reports, clients, pooled, params, evaluate, optimizer
        )
        used, converged = federation.coordinator.attempts_used, federation.converged
        outcome = report.Outcome(settings, params, privacy, reports, found, used, converged, ended)
        for line in report.summary(outcome):
            show(line)
    return outcome


def _with_optimizer(
    settings: report.Settings, local: Sequence[LocalClient]
) -> tuple[list[FedClient], Optimizer]:
    """Returns the clients for the optimizer that is asked for, and it.

    Raises:
        ParameterError: its rate is none, or SCAFFOLD has no weight for examples to count.
    """
    rate = settings.server_rate
    if settings.optimizer != _SCAFFOLD:
        make = OPTIMIZERS[settings.optimizer]
        return list(local), make() if rate is None else make(rate=rate)
    counts = [each.steps for each in local]
    equal, typical = len(set(counts)) == 1, max(1, round(sum(counts) / len(counts)))
    scaffold = Scaffold(
        local[0].descent.rate,
        steps=typical if equal else None,
        typical=None if equal else typical,
        rate=1.0 if rate is None else rate,
    )
    return [ScaffoldClient(each, scaffold) for each in local], scaffold


def _privacy(
    settings: report.Settings,
    clients: Sequence[FedClient],
    model: Model,
    mode: Mode,
    optimizer: Optimizer,
) -> Privacy | None:
    """Returns the privacy that is asked for, if any.

    Raises:
        ParameterError: it is impossible, or options do not go with each other.
    """
    if settings.dp_epsilon is None:
        for name in ("delta", "placement", "corrupt", "dropout", "scale"):
            if getattr(settings, f"dp_{name}") is not None:
                raise ParameterError(
                    f"--dp-{name} is about differential privacy: give --dp-epsilon as well",
                    Code.ARGUMENT,
                )
        return None
    if settings.rotate or settings.bits is not None:
        raise ParameterError(
            "with --dp-epsilon updates are rotated, and their bits follow from the noise: leave "
            "--rotate and --bits out",
            Code.ARGUMENT,
        )
    if (settings.dp_corrupt is None) != (settings.dp_dropout is None):
        raise ParameterError(
            "--dp-corrupt and --dp-dropout are given together or not at all", Code.ARGUMENT
        )
    return private_params(
        clients,
        model,
        epsilon=settings.dp_epsilon,
        delta=_DELTA if settings.dp_delta is None else settings.dp_delta,
        rounds=settings.rounds,
        clip=_PRIVATE_CLIP if settings.clip is None else settings.clip,
        placement=settings.dp_placement or Placement.DISTRIBUTED,
        corrupt=settings.dp_corrupt,
        dropout=settings.dp_dropout,
        mode=mode,
        scale=settings.dp_scale,
        sample=settings.sample,
        optimizer=optimizer,
    )


@contextmanager
def _screen(rounds: int, to_stderr: bool) -> Iterator[tuple[Show, Callable[[], None]]]:
    """Yields functions that print a line above a progress bar, and that advance the bar.

    If the output is not a terminal, there is no bar.
    """
    with extra("fl"):
        from rich.console import Console  # noqa: PLC0415  (of the extra)
        from rich.progress import (  # noqa: PLC0415
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

    class Screen(Console):
        def on_broken_pipe(self) -> None:  # later versions of rich end the program here
            self.quiet = True
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))

    console = Screen(stderr=to_stderr, markup=False, highlight=False, emoji=False)
    plain = not console.is_terminal or console.is_dumb_terminal
    columns = TextColumn("round"), MofNCompleteColumn(), BarColumn(), TimeRemainingColumn()

    def show(line: str) -> None:
        console.print(line, soft_wrap=True)

    # Without a drawing thread, whose errors would be lost or end in a traceback.
    with Progress(
        *columns, console=console, transient=True, disable=plain, auto_refresh=False
    ) as progress:
        task = progress.add_task("rounds", total=rounds)

        def advance() -> None:
            progress.advance(task)
            progress.refresh()

        yield show, advance
