"""Runs the study in NVFlare's simulation environment: five sites, one of which fails in round 2.

``python simulate.py``. All its sockets are on the loopback interface.
"""

import sys
import tempfile
from pathlib import Path

from nvflare.collab import CollabRecipe
from nvflare.recipe import SimEnv
from study import ROUNDS, Coordinator, Site


def main() -> None:
    """Runs the job, and prints what the coordinator has found."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.txt")
        recipe = CollabRecipe("study", Coordinator(str(report)), Site("raises"), min_clients=5)
        recipe.execute(SimEnv(num_clients=5, workspace_root=folder, log_config="concise"))
        lines = report.read_text().splitlines()
    print(*lines, sep="\n")
    sys.exit(len(lines) != ROUNDS)


if __name__ == "__main__":
    main()
