"""The mod of a node: answers the steps of a round, and trains once in it."""

import os
import sys
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, Final

from flwr.app import ConfigRecord, Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp

import secagg

from ...encoding.options import LayoutOptions
from ..common import MANY, show_log_beside, wrong
from .records import KEY, OPTIONS, arrays_of, kind_of, log, only, payload_in, record_of


class SecAggMod:
    """Makes the updates of a `ClientApp` secret: `ClientApp(mods=[secagg_mod])`.

    What is behind it trains as always, once a round; then the update is masked. It refuses a
    training in clear, and an evaluation in clear if the options have `evaluate`.

    Args:
        model: the arrays of the model by name in the node's own structure, such as a `state_dict`;
            needed in malicious mode, with the options. Without it the server's word counts.
        options: of `secagg.LayoutOptions`, the same as those of `SecAgg`.
    """

    def __init__(self, model: Any = None, **options: Any) -> None:
        if model is None and options:
            raise wrong("options without the arrays of the model: SecAggMod(model, clip=...)")
        self._model = model
        own = {"training": "flower"} | options
        self._options = None if model is None else LayoutOptions(**own)

    def __call__(self, message: Message, context: Context, call_next: Any) -> Message:
        """Answers a message of Flower, as a mod of a `ClientApp`."""
        show_log_beside("flwr")
        kind, payload, own = kind_of(message), payload_in(message), self._options
        if outer := _mod_before():
            return _error_to(message, f"secagg_mod must be the first of the mods, before {outer}")
        if kind not in ("train", "evaluate") or not isinstance(payload, bytes):
            if kind == "train" or (kind == "evaluate" and own is not None and own.evaluate):
                return _error_to(message, f"{kind} in clear, and not by SecAgg(...) at the server")
            return call_next(message, context)
        try:
            home = home_of(context)
            if home.identity is not None and own is None:
                return _error_to(message, "malicious mode needs SecAggMod(model, clip=...)")
            give = partial(self._give, message, context, call_next)
            content = RecordDict({KEY: record_of(secagg.answer(home, payload, give))})
        except secagg.SecAggError as error:
            log.error("secagg: %s [%s]", error, error.code)
            return _error_to(
                message, f"the home of this node is unusable, see its log [{error.code}]"
            )
        return Message(content, reply_to=message)

    def _give(self, *about: Any) -> tuple[Any, int]:
        """Returns update and weight; what fails is logged here, and a fixed phrase is sent."""
        try:
            return self._trained(*about)
        except secagg.Aborted:
            raise
        except Exception:
            log.exception("secagg: this node has nothing to give in this round")
            raise

    def _trained(
        self, message: Message, context: Context, call_next: Any, assignment: secagg.Assignment
    ) -> tuple[Any, int]:
        content, cohort = message.content, assignment.round.params.cohort
        said = content.config_records.pop(OPTIONS, None)
        del content[KEY]
        key, arrays = only(content.array_records, "ArrayRecord")
        old: Any = {name: array.numpy() for name, array in arrays.items()}
        agreed = self._options or LayoutOptions.from_text(str((said or {}).get("options")))
        trains = kind_of(message) == "train"
        layout, old = agreed.shaped(old, cohort, evaluates=not trains, own=self._model)
        assignment.expect(agreed.training, layout, old)
        content[key] = arrays_of(old, self._model or arrays)
        reply = call_next(message, context)
        if reply.has_error():
            raise RuntimeError(reply.error.reason)
        _, measured = only(reply.content.metric_records, "MetricRecord")
        new = only(reply.content.array_records, "ArrayRecord")[1] if trains else {}
        sent = {slot.name: measured[slot.name] for slot in layout.metrics if slot.name in measured}
        vector = layout.pack({k: v.numpy() for k, v in new.items()}, old if trains else None, sent)
        weight = measured[agreed.weight]
        return vector, int(weight) if weight == int(weight) else weight


secagg_mod: Final = SecAggMod()


def home_of(context: Context) -> secagg.Home:
    """Returns the home of a node: the folder `secagg-home` of its configuration, or one of its own.

    In Flower's simulation it is a part of the node's context. Raises StateError as `Home`.
    """
    named, attempts = (context.node_config.get(f"secagg-{each}") for each in ("home", "attempts"))
    ray = sys.modules.get("ray")  # only simulated nodes run in its actors
    if named is None and ray and ray.is_initialized() and ray.get_runtime_context().get_actor_id():
        state = context.state.setdefault(KEY, ConfigRecord())
        policy = secagg.Policy(sparse=secagg.Fractions(0.0, 0.0))
        return secagg.Home.in_mapping(state, policy=policy, keep_last=False, attempts=MANY)
    base = Path(os.environ.get("FLWR_HOME", Path.home() / ".flwr")) / "secagg"
    path = base / str(context.node_id) if named is None else Path(str(named))
    if named is None:
        base.mkdir(0o700, parents=True, exist_ok=True)
    least = 1 if (path / "identity").exists() else MANY
    return secagg.Home(path, keep_last=False, attempts=least if attempts is None else int(attempts))


def _mod_before() -> str:
    """Returns the name of a mod that was called before this one: to it the reply is masked."""
    frame: FrameType | None = sys._getframe(2)
    plumbing, others = sys._getframe(2).f_code, []
    while frame is not None and not isinstance(frame.f_locals.get("self"), ClientApp):
        others += [] if frame.f_code is plumbing else [frame.f_code.co_qualname]
        frame = frame.f_back
    return others[-1] if frame is not None and others else ""


def _error_to(message: Message, reason: str) -> Message:
    log.error("secagg: %s", reason)
    error = Error(6, f"secagg: {reason}")  # Flower's code for a precondition of a mod
    return Message(error, reply_to=message)
