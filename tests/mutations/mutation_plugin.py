"""A pytest plugin for `trial.py`: selects and orders tests, and notes what happens.

MUTATION_PLAN names a JSON file: `record` to note durations; else `only`, the tests to run in order,
or `without`, those to leave out, and `usual`, the seconds of each. MUTATION_NOTES is for the notes.
"""

import faulthandler
import json
import os
import resource
from collections import defaultdict
from collections.abc import Generator
from pathlib import Path
from typing import Any, Final

import pytest
from coverage import Coverage
from hypothesis import Phase, settings

PLAN: Final[dict[str, Any]] = json.loads(Path(os.environ["MUTATION_PLAN"]).read_text())
NOTES: Final = Path(os.environ["MUTATION_NOTES"])
MEMORY: Final = 12 << 30  # a mutant may ask for any amount


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Recorder() if PLAN.get("record") else Judge())


class Recorder:
    """Notes the seconds of every test, and has coverage keep the tests apart."""

    def __init__(self) -> None:
        self._seconds: defaultdict[str, float] = defaultdict(float)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> None:
        """Not later: one test becomes a user who may not write to coverage's file."""
        if whole := Coverage.current():
            whole.switch_context(item.nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._seconds[report.nodeid] += report.duration
        if report.when == "teardown" and "PYTEST_XDIST_WORKER" not in os.environ:
            with NOTES.open("a") as file:
                file.write(json.dumps([report.nodeid, self._seconds[report.nodeid]]) + "\n")


class Judge:
    """Runs what is planned; notes the first failure, and the last test in case the run dies."""

    def __init__(self) -> None:
        self._notes: dict[str, Any] = {"begun": 0, "last": ""}
        self._file = NOTES.open("w")  # a test that is another user could not open it
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    def _note(self, **news: object) -> None:
        self._notes.update(news)
        self._file.seek(0)
        self._file.write(json.dumps(self._notes))
        self._file.truncate()
        self._file.flush()

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection(self) -> None:
        """The first example that fails is enough: hypothesis makes none smaller."""
        settings.register_profile("mutant", settings(), phases=[Phase.explicit, Phase.generate])
        settings.load_profile("mutant")

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        if "only" in PLAN:
            places = {name: place for place, name in enumerate(PLAN["only"])}
            items[:] = [item for item in items if item.nodeid in places]
            items.sort(key=lambda item: places[item.nodeid])
        else:
            done = set(PLAN["without"])
            items[:] = [item for item in items if item.nodeid not in done]

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """Ends the process when one test takes far longer than usual."""
        self._note(begun=self._notes["begun"] + 1, last=item.nodeid)
        with NOTES.with_suffix(".late").open("w") as late:
            seconds = 60 + 5 * PLAN["usual"].get(item.nodeid, 0)
            faulthandler.dump_traceback_later(seconds, exit=True, file=late)
            try:
                return (yield)
            finally:
                faulthandler.cancel_dump_traceback_later()

    def _judge(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        if report.failed and "how" not in self._notes:
            crash = getattr(report.longrepr, "reprcrash", None)
            why = crash.message if crash else "".join(report.longreprtext.splitlines()[-1:])
            how = "collection" if isinstance(report, pytest.CollectReport) else "failed"
            self._note(how=how, last=report.nodeid, why=why[:300])

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._judge(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self._judge(report)
