"""The examples of metrics: they run, and their labels are phases and codes, never who or which."""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import children
import pytest
from levels import runs_at

from secagg import Code, Mode

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
ALLOWED = {
    "phase": set(map(str, Mode.SEMI_HONEST.phases)),
    "direction": {"up", "down"},
    "code": set(map(str, Code)),
    "outcome": {"completed", *map(str, Code)},
}

Series = tuple[str, dict[str, str], float]


def printed_by(name: str) -> str:
    """Returns what an example prints; it must not complain."""
    ended = children.run([sys.executable, "-W", "error", EXAMPLES / name])
    assert (ended.returncode, ended.stderr) == (0, "")
    return ended.stdout


def of_prometheus() -> Iterator[Series]:
    """Every sample of the text format but buckets."""
    text = printed_by("metrics_prometheus.py")
    for name, labels, value in re.findall(r"^(secagg_\w+)\{(.*?)\} (\S+)$", text, re.MULTILINE):
        found = dict(re.findall(r'(\w+)="(.*?)"', labels))
        if "le" not in found:
            yield name, found, float(value)


def of_opentelemetry() -> Iterator[Series]:
    """Every point of the exporter's last report."""
    report: Any = json.loads(printed_by("metrics_opentelemetry.py"))
    for metric in report["resource_metrics"][0]["scope_metrics"][0]["metrics"]:
        for point in metric["data"]["data_points"]:
            yield metric["name"], point["attributes"], point.get("value", point.get("sum"))


@runs_at("programs")
@pytest.mark.parametrize(
    ("package", "series"),
    [("prometheus_client", of_prometheus), ("opentelemetry.sdk", of_opentelemetry)],
)
def test_labels_are_few(package: str, series: Any) -> None:
    """One of five is lost, all bytes are counted, and nothing names a round or a party."""
    pytest.importorskip(package, reason=f"{package} is not installed (extra `test`)")
    points = list(series())
    for name, labels, _ in points:
        for label, value in labels.items():
            assert value in ALLOWED[label], (name, label, value)
    lost = [value for _, labels, value in points if labels.get("code") == "gone"]
    assert lost[0] == 1
    ends = [labels for _, labels, _ in points if "outcome" in labels]
    assert {each["outcome"] for each in ends} == {"completed"}
    up = {
        labels["phase"]: value
        for name, labels, value in points
        if labels.get("direction") == "up" and "created" not in name
    }
    assert set(up) == ALLOWED["phase"]
    assert all(value > 100 for value in up.values())
