"""`python -m secagg.fl`: federated averaging on real data; each round is a secure aggregation."""

import argparse
import errno
import json
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import numpy as np

from secagg import (
    AttemptsExhaustedError,
    ClippingWarning,
    Code,
    Mode,
    ParameterError,
    Params,
    SecAggError,
)
from secagg.extras import MissingExtraError, extra
from secagg.outputs import STDOUT, check_writable, write_whole
from secagg.programs import FAILED, error_line, run_program, say

from ..adaptive import QuantileClip
from ..buffered.fedbuff import FedBuff
from ..compare import compare_training
from ..data import load
from ..fedavg import FedAvg, fedavg_params, simulated_randomness
from ..history import RoundReport, Score
from ..models import Model, accuracy, loss
from ..optimizers import Optimizer, require_above_0
from ..private import Placement, Privacy, private_params
from ..scaffold import Scaffold, ScaffoldClient
from ..schedule import draw_drops
from ..training import Descent, LocalClient
from ..updates import FedClient
from . import plot, report
from .export import as_json
from .options import MODELS, MODES, NAME, OPTIMIZERS, SCAFFOLD, make_parser

# Any stream of the seed would be right. With independent draws at the default rate, about one seed
# in eight has dropouts in at most half of its rounds. With this stream, seeds 0..4 have dropouts
# in most rounds and at most one failed round, which makes a better example.
_DROPS_STREAM: Final = 5
_CLIP: Final = 4.0
_PRIVATE_CLIP: Final = 1.0  # of the L2 norm; noise grows with it
_DELTA: Final = 1e-5
_BUFFER: Final = 0.25  # of the clients, with --async
# Options that make another training as they are given; the rest is in `_facts`.
_KEPT: Final = (
    *("dataset", "split", "model", "clients", "epochs", "seed", "dropout", "mode", "optimizer"),
    *("rotate", "adaptive_clip", "dp_corrupt", "dp_dropout", "dp_scale"),
)

Show = Callable[[str], None]


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
    return run_program(NAME, lambda: _checked(argv))


def _checked(argv: Sequence[str] | None) -> int:
    parser = make_parser()
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            # Numbers that overflowed or were clipped are in the report.
            warnings.simplefilter("ignore", ClippingWarning)
            _run(parser.parse_args(argv))
    except (ParameterError, MissingExtraError) as error:
        parser.error(str(error))
    except SecAggError as error:
        say(error_line(NAME, str(error)))
        return FAILED
    return 0


def _run(args: argparse.Namespace) -> None:
    named = args.json, args.plot, args.checkpoint
    files: list[Path] = [path for path in named if path is not None]
    if args.checkpoint == STDOUT:
        raise ParameterError("--checkpoint is read as well: give it a name", Code.ARGUMENT)
    for path in files:
        check_writable(path)
    by_file: dict[Path, list[str]] = {}
    for option, path in zip(("--json", "--plot", "--checkpoint"), named, strict=True):
        if path is not None:
            by_file.setdefault(path.resolve(), []).append(option)
    if same := next((each for each in by_file.values() if len(each) > 1), None):
        raise ParameterError(
            f"{' and '.join(same)} name the same file; choose other names", Code.ARGUMENT
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

    def evaluate(model: Model) -> Score:
        test = dataset.test
        return Score(loss(architecture, model, test), accuracy(architecture, model, test))

    params, privacy, federation = _federation(
        settings, clients, start, optimizer, evaluate, checkpoint
    )
    drawn = settings.asynchronous or settings.sample is not None
    corrupt, lost = settings.dp_corrupt, settings.dp_dropout
    fractions = None if corrupt is None or lost is None else (corrupt, lost)
    if warning := report.warning(
        params, settings.dropout, settings.clients if drawn else None, fractions
    ):
        say(f"{NAME}: warning: {warning}\n")
    parameters = sum(array.size for array in start)
    with _screen(settings.rounds, to_stderr) as (show, advance):
        for line in report.intro(settings, dataset, params, parameters, privacy):
            show(line)
        reports, ended = _played(federation, settings.rounds, show, advance)
        pooled = LocalClient(architecture, dataset.pooled, descent, settings.seed)
        model = federation.model
        clients, optimizer = _with_optimizer(settings, local)
        found = compare_training(
            start, model, reports, clients, pooled, params, evaluate, optimizer
        )
        outcome = report.Outcome(
            *(settings, params, privacy, parameters, reports, found),
            attempts_used=federation.coordinator.attempts_used,
            converged=federation.converged,
            unfilled=federation.ended if isinstance(federation, FedBuff) else "",
            ended=ended,
        )
        for line in report.summary(outcome):
            show(line)
    return outcome


def _federation(
    settings: report.Settings,
    clients: list[FedClient],
    start: Model,
    optimizer: Optimizer,
    evaluate: Callable[[Model], Score],
    checkpoint: Path | None,
) -> tuple[Params, Privacy | None, FedAvg | FedBuff]:
    """Returns parameters, privacy and the training that is asked for, before its first round."""
    mode, sample = MODES[settings.mode], settings.sample
    buffer = _BUFFER if sample is None else sample
    if settings.asynchronous:
        sample = buffer
    privacy = _privacy(settings, clients, start, mode, optimizer, sample)
    if privacy is None:
        clip = _CLIP if settings.clip is None else settings.clip
        params = fedavg_params(
            *(clients, start, clip, settings.bits, mode, settings.rotate),
            sample=sample,
            optimizer=optimizer,
        )
    else:
        params = privacy.params
    rng = np.random.default_rng((settings.seed, _DROPS_STREAM))
    rate, rounds = settings.dropout, settings.rounds
    common: dict[str, Any] = {
        "params": None if privacy else params,
        "privacy": privacy,
        "optimizer": optimizer,
        "drops": [draw_drops(rng, len(clients), rate, mode) for _ in range(rounds)],
        "evaluate": evaluate,
        "random": simulated_randomness(settings.seed),
        "attempts": settings.attempts,
        "checkpoint": checkpoint,
    }
    facts = _facts(settings, params, privacy, optimizer)
    common["training"] = json.dumps(facts)
    federation: FedAvg | FedBuff
    try:
        if settings.asynchronous:
            federation = FedBuff(start, clients, buffer=buffer, sums=rounds, **common)
        else:
            federation = FedAvg(start, clients, rounds=rounds, sample=sample, **common)
    except ParameterError:
        if checkpoint is not None:
            _check_options(checkpoint, facts)
        raise
    return params, privacy, federation


def _facts(
    settings: report.Settings, params: Params, privacy: Privacy | None, optimizer: Optimizer
) -> dict[str, object]:
    """Returns the options with whose values a checkpoint goes on, defaults as they are taken."""
    return {
        **{name.replace("_", "-"): getattr(settings, name) for name in _KEPT},
        "async": settings.asynchronous,
        "sample": params.cohort,
        "server-rate": getattr(optimizer, "rate", None),
        "bits": None if privacy else report.bits(params),
        "clip": report.clip_of(params, privacy),
        "dp-epsilon": privacy and privacy.target,
        "dp-delta": privacy and privacy.delta,
        "dp-placement": privacy and privacy.placement.value,
        "rounds": privacy and privacy.rounds,  # that the noise is for; others may change
    }


def _check_options(checkpoint: Path, facts: Mapping[str, object]) -> None:
    """Raises ParameterError with the options that a checkpoint is not of, if it names any.

    The training has refused it, for another word for instance.
    """
    other: dict[str, object] = {}
    with suppress(Exception), np.load(checkpoint, allow_pickle=False) as kept:
        found = json.loads(json.loads(kept["about"].tobytes())["training"]["training"])
        other = {name: found[name] for name in facts if found[name] != facts[name]}
    if other:
        was, given = (_options({name: of[name] for name in other}) for of in (other, facts))
        raise ParameterError(
            f"{checkpoint}: the checkpoint is of a run {was}, not {given}; give the same options, "
            "or name another file",
            Code.ARGUMENT,
        ) from None


def _options(values: Mapping[str, object]) -> str:
    """Returns options as they are typed; those that are not given only if none is."""
    found = {name: of for name, of in values.items() if of is not None and of is not False}
    if not found:
        return "without " + " ".join(f"--{name}" for name in values)
    return "with " + " ".join(
        f"--{name}" if value is True else f"--{name} {value}" for name, value in found.items()
    )


def _played(
    federation: FedAvg | FedBuff, asked: int, show: Show, advance: Callable[[], None]
) -> tuple[list[RoundReport], AttemptsExhaustedError | None]:
    """Runs the rounds that are left, and shows all; returns the reports, and why there are less.

    Raises:
        ParameterError: not even one buffer was filled.
    """
    reports: list[RoundReport] = []
    ended = None

    def tell() -> None:
        """Shows what is new, of a checkpoint as well: its last round may get its score only now."""
        for each in federation.reports[len(reports) :]:
            reports.append(each)
            for line in report.row(each):
                show(line)
            advance()

    try:
        for _ in federation:
            tell()
    except AttemptsExhaustedError as error:
        ended = error
    tell()
    if len(reports) > asked:
        show(f"The file has {len(reports)} rounds already, more than --rounds {asked}.")
    if isinstance(federation, FedBuff) and federation.ended and not reports:
        raise ParameterError(f"there was no sum: {federation.ended}", Code.QUORUM)
    return reports, ended


def _with_optimizer(
    settings: report.Settings, local: Sequence[LocalClient]
) -> tuple[list[FedClient], Optimizer]:
    """Returns the clients for the optimizer that is asked for, and it.

    Raises:
        ParameterError: its rate is none, or SCAFFOLD is not for this mode.
    """
    rate = settings.server_rate
    if rate is not None:
        require_above_0("--server-rate", rate)
    if settings.optimizer != SCAFFOLD:
        make = OPTIMIZERS[settings.optimizer]
        return list(local), make() if rate is None else make(rate=rate)
    if MODES[settings.mode] is Mode.MALICIOUS:
        raise ParameterError(
            f"--optimizer {SCAFFOLD} needs --mode semi-honest: what its clients keep from round to "
            "round would let a server that lies single one of them out",
            Code.ARGUMENT,
        )
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
    sample: float | None,
) -> Privacy | None:
    """Returns the privacy that is asked for, if any.

    Raises:
        ParameterError: it is impossible, or options do not go with each other.
    """
    if settings.dp_epsilon is None:
        for name in ("delta", "placement", "corrupt", "dropout", "scale"):
            _refuse_without_privacy(f"--dp-{name}", getattr(settings, f"dp_{name}"))
        _refuse_without_privacy("--adaptive-clip", settings.adaptive_clip)
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
    clip, adaptive = _PRIVATE_CLIP if settings.clip is None else settings.clip, None
    if settings.adaptive_clip is not None:
        adaptive = QuantileClip(clip, settings.adaptive_clip)
    return private_params(
        clients,
        model,
        epsilon=settings.dp_epsilon,
        delta=_DELTA if settings.dp_delta is None else settings.dp_delta,
        rounds=settings.rounds,
        clip=None if adaptive else clip,
        adaptive=adaptive,
        placement=settings.dp_placement or Placement.DISTRIBUTED,
        corrupt=settings.dp_corrupt,
        dropout=settings.dp_dropout,
        mode=mode,
        scale=settings.dp_scale,
        sample=sample,
        optimizer=optimizer,
    )


def _refuse_without_privacy(option: str, value: object) -> None:
    if value is not None:
        raise ParameterError(
            f"{option} is about differential privacy: give --dp-epsilon as well", Code.ARGUMENT
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
