"""The vectors as files: their names, their text, and what differs on the disk."""

import json
from pathlib import Path
from typing import Any

from .edges import edge_cases
from .forge import PLAIN, ROUNDS, Forge
from .offers import accepted, refused
from .play import play
from .refused_inputs import refused_inputs
from .repeated import repeated_to_clients, repeated_to_the_server
from .rotated_offers import accepted_rotated, refused_rotated
from .rotated_refusals import ROTATED, rotated_by_the_server, rotated_inputs
from .rotated_rounds import rotated_cases
from .rounds import cases
from .sparse_offers import accepted_sparse, refused_sparse
from .sparse_refusals import sparse_by_clients, sparse_by_the_server
from .sparse_rounds import sparse_cases
from .to_clients import by_clients
from .to_server import by_the_server
from .written import describe

DIRECTORY = Path(__file__).parents[1] / "vectors" / "v1"


def files() -> dict[str, str]:
    """All vectors: the text of each file by its name."""
    played = (*cases(), *edge_cases(), *sparse_cases(), *rotated_cases())
    runs = {case.name: play(case) for case in played}
    forges = {name: Forge(runs[name]) for name in (*ROUNDS, *ROTATED)}
    offered = runs[PLAIN].session
    found: dict[str, Any] = {name: describe(run) for name, run in runs.items()}
    found["accepted-offers"] = accepted(offered)
    found["refused-offers"] = list(refused(offered))
    found["refused-by-clients"] = [one.describe() for one in by_clients(forges)]
    found["refused-by-the-server"] = [one.describe() for one in by_the_server(forges)]
    found["refused-inputs"] = refused_inputs(forges)
    found["repeated-to-clients"] = repeated_to_clients(forges)
    found["repeated-to-the-server"] = repeated_to_the_server(forges)
    found["sparse-accepted-offers"] = accepted_sparse(offered)
    found["sparse-refused-offers"] = list(refused_sparse(offered))
    found["sparse-refused-by-clients"] = [one.describe() for one in sparse_by_clients(forges)]
    found["sparse-refused-by-the-server"] = [one.describe() for one in sparse_by_the_server(forges)]
    found["rotated-accepted-offers"] = accepted_rotated(offered)
    found["rotated-refused-offers"] = list(refused_rotated(offered))
    found["rotated-refused-inputs"] = rotated_inputs(forges)
    found["rotated-refused-by-the-server"] = [
        one.describe() for one in rotated_by_the_server(forges)
    ]
    return {f"{name}.json": text(value) for name, value in found.items()}


def differing(directory: Path, wanted: dict[str, str]) -> list[str]:
    """Names of files that are missing, too many, or not of exactly these bytes."""
    there = {path.name: path.read_bytes() for path in directory.glob("*")}
    return sorted(
        name
        for name in there.keys() | wanted.keys()
        if name not in wanted or there.get(name) != wanted[name].encode("ascii")
    )


def text(value: Any) -> str:
    """JSON for people: one line for each list or object of plain values, if it is not too long."""
    return _lines(value, "") + "\n"


def _lines(value: Any, indent: str) -> str:
    if not isinstance(value, dict | list):
        return json.dumps(value)
    items = value.values() if isinstance(value, dict) else value
    flat = json.dumps(value)
    plain = not any(isinstance(item, dict | list) for item in items)
    if (plain and (isinstance(value, list) or len(flat) < 100)) or not value:
        return flat
    deeper = indent + " "
    if isinstance(value, dict):
        inner = [f"{json.dumps(key)}: {_lines(item, deeper)}" for key, item in value.items()]
    else:
        inner = [_lines(item, deeper) for item in value]
    opened, closed = "{}" if isinstance(value, dict) else "[]"
    return f"{opened}\n{deeper}" + f",\n{deeper}".join(inner) + f"\n{indent}{closed}"
