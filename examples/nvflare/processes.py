"""Runs the study with a server and five sites in processes of their own; one is killed in round 2.

``python processes.py``. This is NVFlare's `PocEnv`. As NVFlare sets it up by itself, its server
listens on all interfaces; a server that is called `localhost` listens on 127.0.0.1 only.
"""

import json
import os
import socket
import sys
import tempfile
import time
from pathlib import Path

import nvflare

SITES, SECONDS = 5, 240.0


def project_of(folder: Path) -> Path:
    """Writes a project of NVFlare's whose server listens on the loopback interface only."""
    with (
        socket.create_server(("127.0.0.1", 0)) as one,
        socket.create_server(("127.0.0.1", 0)) as two,
    ):
        ports = [each.getsockname()[1] for each in (one, two)]
    participants = [
        {"name": "localhost", "type": "server", "fed_learn_port": ports[0], "admin_port": ports[1]},
        *({"name": f"site-{number + 1}", "type": "client"} for number in range(SITES)),
        {"name": "admin@nvidia.com", "type": "admin", "role": "project_admin"},
    ]
    own = Path(nvflare.__file__).with_name("lighter") / "dummy_project.yml"
    builders = own.read_text().partition("\nbuilders:")[2]  # as NVFlare's own project has them
    text = "\n".join(json.dumps({"org": "example", **each}) for each in participants)
    path = folder / "project.yml"
    path.write_text(
        "api_version: 3\nname: study\nparticipants:\n"
        + "".join(f"  - {line}\n" for line in text.splitlines())
        + f"builders:{builders}"
    )
    return path


def main() -> None:
    """Runs the job, and prints what the coordinator has found."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # NVFlare keeps notes of its own in the home directory, and starts `python3`.
        os.environ |= {
            "HOME": name,
            "NVFLARE_POC_WORKSPACE": str(folder / "poc"),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        }
        from nvflare.collab import CollabRecipe  # noqa: PLC0415
        from nvflare.recipe import PocEnv  # noqa: PLC0415
        from study import ROUNDS, Coordinator, Site  # noqa: PLC0415

        report = folder / "report.txt"
        recipe = CollabRecipe("study", Coordinator(str(report)), Site("killed"), min_clients=SITES)
        env = PocEnv(num_clients=SITES, project_conf_path=str(project_of(folder)))
        lines: list[str] = []
        until = time.monotonic() + SECONDS
        try:
            recipe.execute(env)
            while len(lines) < ROUNDS and time.monotonic() < until:
                time.sleep(0.5)
                lines = report.read_text().splitlines() if report.exists() else []
        finally:
            env.stop(clean_up=True)
    print(*lines, sep="\n")
    sys.exit(len(lines) != ROUNDS)


if __name__ == "__main__":
    main()
