"""The cohort of each round: who of those present is invited, and with which parameters."""

import logging
import secrets
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

from ..codes import Code
from ..encoding.described import Described, Shape
from ..encoding.layout import Layout
from ..encoding.model_layout import ModelLayout
from ..errors import ParameterError
from ..identity.directory import Directory
from ..numeric import brief
from ..params.checks import require_int, require_kind, whole
from ..params.formats import Format
from ..params.mode import Mode
from ..params.params import MAX_COHORT, Params
from ..params.rotated import Rotated
from ..params.suite import Suite

_log: Final = logging.getLogger("secagg.rounds")

_MOST_STRANGERS: Final = 1000  # names that a log tells of


class Cohorts:
    """Draws the cohorts of a training's rounds, and makes their parameters.

    Attributes:
        least: the smallest cohort.
        mode: of the rounds.

    Its arguments are those of `Rounds`.

    Raises:
        ParameterError: an argument is wrong, or `least` or `most` parties have no safe parameters.
    """

    def __init__(
        self,
        format: Format,  # noqa: A002
        *,
        directory: Directory | None,
        mode: Mode | None,
        suite: Suite,
        corrupt: float | None,
        dropout: float | None,
        threshold: int,
        min_survivors: int,
        colluders: int,
        least: int | None,
        most: int | None,
    ) -> None:
        if mode is None:
            mode = Mode.SEMI_HONEST if directory is None else Mode.MALICIOUS
        if directory is not None:
            require_kind("directory", directory, Directory, "`Directory.load` reads one")
        if (mode == Mode.MALICIOUS) != (directory is not None):
            raise ParameterError(
                "malicious mode needs a directory of pinned keys, and semi-honest mode uses none",
                Code.NO_DIRECTORY if directory is None else Code.DOWNGRADE,
            )
        if (corrupt is None) != (dropout is None):
            raise ParameterError("give both corrupt and dropout, or neither", Code.ARGUMENT)
        if corrupt is not None and (threshold, min_survivors, colluders) != (0, 0, -1):
            raise ParameterError(
                "give the fractions corrupt and dropout, or the numbers threshold, min_survivors "
                "and colluders, not both",
                Code.ARGUMENT,
            )
        if isinstance(format, Rotated) and format.noisy:
            defaults = corrupt is None and (threshold, min_survivors, colluders) == (0, 0, -1)
            if least is None or defaults:
                raise ParameterError(
                    "with noise, privacy depends on the thresholds and on the size of the cohort: "
                    "give Rounds those of the plan, `Rounds(training, plan.form, "
                    "**plan.for_rounds)`",
                    Code.ARGUMENT,
                )
        everybody = MAX_COHORT if directory is None else len(directory)
        if least is None:  # so many that there can be a sum
            least = max(3, whole("threshold", threshold), whole("min_survivors", min_survivors))
        self.least: Final = require_int("least", least, 2, everybody)
        self._most = everybody if most is None else require_int("most", most, least, MAX_COHORT)
        self._format = format
        self._directory = directory
        self._indices = {
            entry.name: index for index, entry in enumerate(directory.entries if directory else ())
        }
        self.mode: Final = mode
        self._suite = suite
        self._fractions = None if corrupt is None or dropout is None else (corrupt, dropout)
        self._counts = threshold, min_survivors, colluders
        for cohort in {self.least, self.least if most is None else self._most}:
            self._params(cohort, 1)  # refused now, not in the first round
        self._strangers: set[str] = set()  # of which the log has told

    def eligible(self, names: Iterable[str]) -> list[str]:
        """Returns those of these names that can be invited, and logs each of the others once."""
        if self._directory is None:
            return list(names)
        known = []
        for name in names:
            if name in self._indices:
                known.append(name)
            elif name not in self._strangers and len(self._strangers) < _MOST_STRANGERS:
                self._strangers.add(name)
                _log.warning(
                    "%s is not in the directory, and not invited: pin its key", brief(name)
                )
        return known

    def missing(self, names: Iterable[str]) -> list[str]:
        """Returns the names in the directory that are not among these; none without a directory."""
        there = set(names)
        return [name for name in self._indices if name not in there]

    def draw(
        self, present: Sequence[str], shape: Shape
    ) -> tuple[tuple[str, ...], tuple[int, ...], Params]:
        """Returns the names of a cohort, their indices in the directory, and its parameters.

        Raises:
            ParameterError: as for `Rounds.plan`.
        """
        names, members = self._cohort(present, self._most_for(shape))
        return names, members, self._params(len(names), self._length(shape))

    def have_members(self, names: tuple[str, ...], members: tuple[int, ...]) -> bool:
        """Returns whether the parties of these names still have these indices."""
        return self._directory is None or members == tuple(map(self._indices.get, names))

    def select(self, members: tuple[int, ...]) -> Directory | None:
        """Returns the directory of a cohort."""
        return None if self._directory is None else self._directory.select(members)

    def _most_for(self, shape: Shape) -> int:
        """Returns how many parties are invited at most; refuses a layout that is for fewer."""
        if not isinstance(shape, ModelLayout | Described) or shape.cohort is None:
            return self._most
        if shape.cohort < self.least:
            raise ParameterError(
                f"the layout is for cohorts of up to {shape.cohort}, and the smallest cohort is "
                f"{self.least}: make it for more",
                Code.LAYOUT,
            )
        return min(self._most, shape.cohort)

    def _cohort(self, present: Sequence[str], most: int) -> tuple[tuple[str, ...], tuple[int, ...]]:
        """Returns names and indices in the directory of those who are invited."""
        listed = isinstance(present, Iterable) and not isinstance(present, str)
        names = list(present) if listed else []
        if not listed or not all(isinstance(name, str) for name in names):
            raise ParameterError(
                f"present must be a list of names, not {brief(present)}", Code.ARGUMENT
            )
        for name, times in Counter(names).items():
            if times > 1:
                raise ParameterError(f"{brief(name)} is present {times} times", Code.DUPLICATE_NAME)
        if self._directory is not None:
            unknown = [name for name in names if name not in self._indices]
            if unknown:
                raise ParameterError(
                    f"no party in the directory is called {brief(unknown[0])}: pin its key, or "
                    "leave it out",
                    Code.UNKNOWN_NAME,
                )
            names.sort(key=self._indices.__getitem__)
        if len(names) < self.least:
            raise ParameterError(
                f"{len(names)} parties are present, and the smallest cohort is {self.least}: wait "
                "until more are there",
                Code.QUORUM,
            )
        if len(names) > most:
            drawn = secrets.SystemRandom().sample(range(len(names)), most)
            names = [names[at] for at in sorted(drawn)]
        return tuple(names), tuple(self._indices[name] for name in names if self._indices)

    def _length(self, shape: Shape) -> int:
        """Returns the coordinates of an input; refuses a layout that was made for other rounds."""
        if isinstance(shape, int) or not isinstance(shape, Layout | ModelLayout | Described):
            return whole("shape, if it is no layout,", shape)
        if not isinstance(shape, Layout) and shape.format not in (None, self._format):
            raise ParameterError(
                f"the layout or query is for {shape.format}, and these rounds are for "
                f"{self._format}",
                Code.LAYOUT,
            )
        return shape.length

    def _params(self, cohort: int, length: int) -> Params:
        if self._fractions is not None:
            corrupt, dropout = self._fractions
            return Params.for_cohort(
                cohort,
                length,
                self._format,
                corrupt=corrupt,
                dropout=dropout,
                mode=self.mode,
                suite=self._suite,
            )
        threshold, min_survivors, colluders = self._counts
        return Params(
            cohort=cohort,
            length=length,
            format=self._format,
            threshold=threshold,
            min_survivors=min_survivors,
            colluders=colluders,
            mode=self.mode,
            suite=self._suite,
        )
