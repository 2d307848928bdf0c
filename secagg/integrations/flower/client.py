"""The mod of a node: answers the steps of a round, and trains once in it."""

import os
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

from flwr.app import ConfigRecord, Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp

import secagg

from ...encoding.options import LayoutOptions
from ..common import MANY, caller_before, failures_logged, home_in, wrong
from .messages import OPTIONS, in_order, log, told_in
from .records import KEY, arrays_of, numbers, only, packed, payload_in


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
        self._model, self._options = model, None
        if not isinstance(model, Mapping | None):
            raise wrong(f"model must be arrays by name, not {type(model).__name__}")
        if model is not None:
            self._options = LayoutOptions(**({"training": "flower"} | options))
            self._options.layout(model, 2)  # raises if they do not fit
        elif options:
            raise wrong("options without the arrays of the model: SecAggMod(model, clip=...)")

    def __call__(self, message: Message, context: Context, call_next: Any) -> Message:
        """Answers a message of Flower, as a mod of a `ClientApp`."""
        payload, own = payload_in(message), self._options
        kind = message.metadata.message_type.split(".")[0]
        if outer := caller_before(ClientApp):
            return _error_to(message, f"secagg_mod must be the first of the mods, before {outer}")
        if kind not in ("train", "evaluate") or not isinstance(payload, bytes):
            if kind == "query" or (kind == "evaluate" and not (own and own.evaluate)):
                return call_next(message, context)
            return _error_to(message, f"{kind} in clear, and not by SecAgg(...) at the server")
        try:
            home = home_of(context)
            if (home.identity is None) != (own is None):
                log.error("secagg: home %s, identity %s", home.path, home.identity)
                return _error_to(message, "an identity or SecAggMod(model, ...) is missing")
            give = failures_logged(log)(partial(self._give, message, context, call_next))
            content = RecordDict({KEY: packed(secagg.answer(home, payload, give))})
        except (secagg.SecAggError, ValueError, OSError) as error:
            log.error("secagg: %s", error)
            return _error_to(message, "this node cannot use its home, see its log")
        return Message(content, reply_to=message)

    def _give(
        self, message: Message, context: Context, call_next: Any, assignment: secagg.Assignment
    ) -> tuple[Any, int]:
        content, own = message.content, self._model
        trains = message.metadata.message_type.startswith("train")
        said, _ = content.pop(OPTIONS, {}), content.pop(KEY)
        try:
            agreed = self._options or LayoutOptions.from_text(str(said.get("text")))
            key, arrays = only(content.array_records, "ArrayRecord")
            cohort = assignment.round.params.cohort
            layout, old = agreed.shaped(numbers(arrays), cohort, evaluates=not trains, own=own)
        except Exception as error:  # no failure of the training, which was not called
            raise secagg.Aborted(str(error), secagg.Code.POLICY_CONTEXT) from None
        settings = None if own is None else told_in(message, context.run_config)
        assignment.expect(agreed.training, layout, old, settings=settings)
        message.content = content if own is None else in_order(content)
        message.content[key] = arrays_of(old, arrays if own is None else own)
        reply = call_next(message, context)  # of an error the content raises below
        _, measured = only(reply.content.metric_records, "MetricRecord")
        new = numbers(only(reply.content.array_records, "ArrayRecord")[1]) if trains else {}
        sent = {slot.name: measured[slot.name] for slot in layout.metrics if slot.name in measured}
        return layout.pack(new, old if trains else None, sent), agreed.weight_in(measured)


secagg_mod: Final = SecAggMod()


def home_of(context: Context) -> secagg.Home:
    """Returns the home of a node, see `home_in`; in Flower's simulation a part of its context."""
    ray, named = sys.modules.get("ray"), "secagg-home" in context.node_config
    if ray and ray.is_initialized() and ray.get_runtime_context().get_actor_id() and not named:
        state, sparse = context.state.setdefault(KEY, ConfigRecord()), secagg.Fractions(0.0, 0.0)
        policy = secagg.Policy(sparse=sparse)
        return secagg.Home.in_mapping(state, policy=policy, keep_last=False, attempts=MANY)
    base = Path(os.environ.get("FLWR_HOME", Path.home() / ".flwr"))
    return home_in(context.node_config, base / "secagg" / str(context.node_id))


def _error_to(message: Message, reason: str) -> Message:
    log.error("secagg: %s", reason)
    # Flower's code for a precondition of a mod
    return Message(Error(6, f"secagg: {reason}"), reply_to=message)
