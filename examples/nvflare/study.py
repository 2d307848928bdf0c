"""States what the sites have agreed on, and has the two classes of the job."""

import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from nvflare.collab import collab

import secagg
from secagg.integrations.nvflare import SecureSite, run_round

Model = dict[str, NDArray[np.float64]]

TRAINING, FEATURES, ROUNDS = "nvflare example 1", 20, 3
FORMAT = secagg.FixedPoint(clip=1.0, bits=24, max_weight=1000)
FIRST: Model = {"weights": np.zeros(FEATURES), "bias": np.zeros(1)}
LAYOUT = secagg.ModelLayout.of(FIRST, FORMAT, cohort=10, metrics={"loss": secagg.Range(0.0, 100.0)})
FAILING, FAILS_IN = "site-3", 2  # the site that is lost, and the round


def fitted(site: str, model: Model) -> tuple[Model, dict[str, float], int]:
    """Returns the model after one step on a site's own data, its loss, and how many rows it has."""
    number = int(site.removeprefix("site-"))
    random = np.random.default_rng(number)
    rows = 50 * number
    x = random.normal(size=(rows, FEATURES))
    y = x @ np.linspace(-1.0, 1.0, FEATURES) + 0.5 + random.normal(scale=0.1, size=rows)
    error = x @ model["weights"] + model["bias"] - y
    new = {
        "weights": model["weights"] - 0.2 * x.T @ error / rows,
        "bias": model["bias"] - 0.2 * error.mean(keepdims=True),
    }
    return new, {"loss": float(np.square(error).mean())}, rows


class Site(SecureSite):
    """A site of the study.

    Args:
        lost: how the failing site fails: "raises", or "killed", as a machine that loses power.
    """

    training, layout = TRAINING, LAYOUT

    def __init__(self, lost: str = "raises") -> None:
        self.lost = lost
        self.round = 0

    def train(self, model: Any) -> tuple[Any, dict[str, float], int]:
        """Returns the new model, the loss, and the weight; nobody sees them but the sum."""
        self.round += 1
        if (collab.site_name, self.round) == (FAILING, FAILS_IN):
            if self.lost == "killed":
                kill_this_site()
            raise RuntimeError("the data cannot be read")
        return fitted(collab.site_name, model)


class Coordinator:
    """Asks for one sum per round, and compares it with a plain average.

    Args:
        report: the file for what it has found.
    """

    def __init__(self, report: str) -> None:
        self.report = report

    @collab.main
    def run(self) -> None:
        """Runs all rounds."""
        rounds = secagg.Rounds(TRAINING, FORMAT, attempts=10)
        model: Any = FIRST
        for number in range(1, ROUNDS + 1):
            old = model
            model, metrics, outcome = run_round(rounds, collab.clients, LAYOUT, old, timeouts=15)
            record = rounds.history[-1]
            if isinstance(outcome, secagg.Failed):
                self._tell(f"round {number} failed: {outcome.reason} [{outcome.code}]")
                continue
            plain = plain_average(record.survivors, old)
            off = max(np.abs(model[name] - plain[name]).max() for name in FIRST)
            self._tell(
                f"round {number}: sum of {', '.join(sorted(record.survivors))}; "
                f"dropped {record.dropped or 'nobody'}; loss {metrics['loss']:.3f}; "
                f"bias {model['bias'][0]:.5f}; plain average {plain['bias'][0]:.5f}, "
                f"all values differ by at most {off:.0e}"
            )

    def _tell(self, line: str) -> None:
        with Path(self.report).open("a") as file:
            file.write(f"{line}\n")


def plain_average(names: tuple[str, ...], old: Model) -> Model:
    """Returns the federated average in the clear; that only an example can compute."""
    given = [fitted(name, old) for name in names]
    weights = [weight for _, _, weight in given]
    return {
        name: np.average([new[name] for new, _, _ in given], axis=0, weights=weights)
        for name in old
    }


def kill_this_site() -> None:
    """Kills the processes of this site in NVFlare's multi-process environment.

    They are its start script, the process that this one is a child of, and this one.
    """
    parent = os.getppid()
    ps = ["ps", "-o", "ppid=", "-p", str(parent)]
    script = int(subprocess.run(ps, capture_output=True, check=True).stdout)  # noqa: S603
    for process in (script, parent, os.getpid()):
        os.kill(process, signal.SIGKILL)
