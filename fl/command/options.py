"""The options of `python -m secagg.fl`."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Final, NoReturn

from secagg import Mode
from secagg.outputs import output
from secagg.programs import error_line, fraction, say, whole_number

from ..data import DATASETS, SPLITS
from ..models import MLP, Architecture, Softmax
from ..optimizers import Adagrad, Adam, Average, Momentum, Optimizer, Yogi
from ..private import Placement

NAME: Final = "secagg.fl"
MODELS: Final[dict[str, Callable[[int, int], Architecture]]] = {"softmax": Softmax, "mlp": MLP}
MODES: Final = {str(mode): mode for mode in reversed(Mode)}
OPTIMIZERS: Final[dict[str, Callable[..., Optimizer]]] = {
    "average": Average,
    "momentum": Momentum,
    "adam": Adam,
    "yogi": Yogi,
    "adagrad": Adagrad,
}
SCAFFOLD: Final = "scaffold"
_MOST_ROUNDS: Final = 100_000


class _Parser(argparse.ArgumentParser):
    """An argument parser that answers a bad option with one line and exit code 2."""

    def error(self, message: str) -> NoReturn:
        say(error_line(NAME, message))
        raise SystemExit(2)


class _Help(argparse.ArgumentDefaultsHelpFormatter):
    """Shows the default of each option that has one."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default is None or action.default is False:
            return action.help
        return super()._get_help_string(action)


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line, which ends the program on a bad option."""
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
        choices=[*OPTIMIZERS, SCAFFOLD],
        default="average",
        help="what the server makes of the mean update; scaffold corrects the steps of clients, "
        "too, counts all updates alike, and needs --mode semi-honest",
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
        "--async",
        dest="asynchronous",
        action="store_true",
        help="each client trains at its own pace; the model changes when so many are ready as "
        "--sample says, by default a quarter of them; --rounds are these sums",
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
    add(
        "--adaptive-clip",
        type=float,
        nargs="?",
        const=0.5,
        metavar="QUANTILE",
        help="with --dp-epsilon: the clip follows this quantile of the updates' L2 norms, by "
        "default 0.5, by a noisy mean of one bit per client; --clip is that of the first round",
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


def sample_size(text: str) -> float:
    """Returns a number of clients, or a share of them.

    Raises:
        ArgumentTypeError: it is neither.
    """
    try:
        return int(text) if text.isdecimal() else float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"must be a number of clients, or a share such as 0.25, not {text!r}"
        ) from None
