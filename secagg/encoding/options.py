"""Options that all sides of a training agree on about its layouts, also as text."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from ..codes import Code
from ..errors import ParameterError, RangeError
from ..numeric import as_float, as_int, brief
from ..params.formats import FixedPoint
from .model_layout import ModelLayout
from .ranges import Mode, Range
from .trees import Arrays


@dataclass(frozen=True, slots=True, kw_only=True)
class LayoutOptions:
    """The options from which both sides of an adapter make the layouts of a training.

    Attributes:
        clip: the largest change of a number of the model in one round; larger ones are clipped.
        bits: of the grid -clip..clip, see `FixedPoint`.
        max_weight: the largest weight of a party, such as its number of examples.
        arrays: ranges of single arrays, see `ModelLayout.of`.
        metrics: the range of each training metric that is summed; others do not leave the party.
        evaluate: the range of each metric of an evaluation that is summed; None if evaluation is
            in clear.
        training: a word for the training, with which its contexts begin.
        weight: the name of the metric that is the weight of an update.
    """

    clip: float
    bits: int = 20
    max_weight: int = 100_000
    arrays: Mapping[str, Range | float | Mode] | None = None
    metrics: Mapping[str, Range] | None = None
    evaluate: Mapping[str, Range] | None = None
    training: str = "training"
    weight: str = "num-examples"

    def __post_init__(self) -> None:
        """Checks what can be checked without a model; raises ParameterError."""
        self.to_text()
        for name in ("training", "weight"):
            text = getattr(self, name)
            if not isinstance(text, str) or not text:
                raise ParameterError(f"{name} must be a word, not {brief(text)}", Code.ARGUMENT)
        for name in ("metrics", "evaluate"):
            given = getattr(self, name)
            if not isinstance(given, Mapping | None) or (name == "evaluate" and given == {}):
                raise ParameterError(
                    f"{name} must be a dict of Ranges by the names of metrics, such as "
                    f'{{"loss": Range(0, 10)}}, not {brief(given)}; None for none',
                    Code.ARGUMENT,
                )
            if given:
                self._of_metrics(given, 2)

    @property
    def format(self) -> FixedPoint:
        """The format of the rounds; raises ParameterError if the options have none."""
        return FixedPoint(clip=self.clip, bits=self.bits, max_weight=self.max_weight)

    def layout(self, model: Arrays, cohort: int) -> ModelLayout:
        """Returns the layout of an update of the model; raises as `ModelLayout.of`."""
        return ModelLayout.of(
            model, self.format, cohort=cohort, arrays=self.arrays, metrics=self.metrics
        )

    def _of_metrics(self, metrics: Mapping[str, Range] | None, cohort: int) -> ModelLayout:
        return ModelLayout.of({}, self.format, cohort=cohort, metrics=metrics)

    def shaped(
        self, model: Arrays, cohort: int, *, evaluates: bool = False, own: Arrays | None = None
    ) -> tuple[ModelLayout, Any]:
        """Returns the layout of a round, and the model of the server as this side takes it.

        Args:
            model: what the server has sent.
            cohort: the most parties of the round.
            evaluates: whether the round is about the metrics of an evaluation alone.
            own: the arrays in this side's own structure, which then counts; their values do not.

        Raises:
            RangeError, ParameterError: as of `ModelLayout.of` and `ModelLayout.take`.
        """
        layout = self.layout(model if own is None else own, cohort)
        taken = layout.take(model)
        if evaluates:
            layout = self._of_metrics(self.evaluate, cohort)
        return layout, taken

    def weight_in(self, metrics: Mapping[str, Any]) -> Any:
        """Returns the weight of an update, which is among its metrics; a whole float as an int.

        Raises:
            RangeError: it is not among them.
        """
        if self.weight not in metrics:
            raise RangeError(
                f"the metrics have no {self.weight!r}, the weight of the update", Code.WEIGHT
            )
        weight, real = metrics[self.weight], as_float(metrics[self.weight])
        return int(weight) if real is not None and real.is_integer() else weight

    @classmethod
    def split(cls, given: Mapping[str, Any]) -> tuple["LayoutOptions", dict[str, Any]]:
        """Returns the options that are among keyword arguments, and the other arguments.

        Raises:
            ParameterError: `clip` is missing.
        """
        if "clip" not in given:
            raise ParameterError(
                "clip is missing, the largest change of a number of the model in one round, such "
                "as clip=1.0",
                Code.ARGUMENT,
            )
        ours = {name: given[name] for name in cls.names() if name in given}
        return cls(**ours), {name: given[name] for name in given if name not in ours}

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Returns the names of the options."""
        return tuple(each.name for each in fields(cls))

    def to_text(self) -> str:
        """Returns the options as JSON; raises ParameterError for a range that is no Range."""
        given = {name: getattr(self, name) for name in self.names()}
        return json.dumps(given, default=_plain)

    @classmethod
    def from_text(cls, text: str) -> "LayoutOptions":
        """Reads what `to_text` wrote; the text may be a peer's.

        Raises:
            RangeError: it is something else.
            ParameterError: a range in it is none.
        """
        try:
            given: dict[str, Any] = json.loads(text)
            for kind in ("arrays", "metrics", "evaluate"):
                if given[kind] is not None:
                    given[kind] = {
                        name: Range(**spec) if isinstance(spec, dict) else spec
                        for name, spec in given[kind].items()
                    }
            return cls(**given)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            raise RangeError("these are no options of layouts", Code.LAYOUT) from None


def _plain(spec: object) -> object:
    if isinstance(spec, Range):
        return asdict(spec)
    if isinstance(spec, Mapping):
        return dict(spec)
    whole, real = as_int(spec), as_float(spec)
    if real is not None:
        return real if whole is None else whole
    raise ParameterError(
        f"options of layouts have numbers, texts and Ranges, not {type(spec).__name__}",
        Code.ARGUMENT,
    )
