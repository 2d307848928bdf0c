"""The things that adapters have in common."""

import logging
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Final, TypeVar

from ..codes import Code
from ..encoding.model_layout import ModelLayout
from ..encoding.trees import Arrays
from ..errors import Aborted, AttemptsExhaustedError, ParameterError, RangeError
from ..events import Completed, Failed
from ..home.home import Home
from ..params.checks import whole
from ..rounds.asked import AskNamed, run_round
from ..rounds.rounds import Rounds

T = TypeVar("T")

PAUSE: Final = 0.3  # seconds between two looks into a mailbox

# Attempts at the same in semi-honest mode: a round without a sum has shown nothing to a server that
# follows the protocol. After a sum there must be no other over the same, see `summed_once`.
MANY: Final = 2**32 - 1


def wrong(text: str) -> ParameterError:
    """Returns an error of whoever calls an adapter."""
    return ParameterError(text, Code.ARGUMENT)


def same(values: Iterable[T], what: str) -> T:
    """Returns the value that all parties of a round get; raises ParameterError if they differ."""
    first, *others = values
    if any(each != first for each in others):
        raise wrong(f"all parties of a round must get the same {what}")
    return first


def chain_of(outermost: object, name: str) -> list[Any]:
    """Returns an object and those that it wraps, each of which is an attribute of the one before.

    Args:
        outermost: the first one.
        name: of the attribute.
    """
    chain = [outermost]
    while hasattr(chain[-1], name):
        chain.append(getattr(chain[-1], name))
    return chain


def those_like(pattern: re.Pattern[str], objects: Iterable[object]) -> list[str]:
    """Returns the names of the classes of these objects that are like a pattern, or their bases."""
    kinds = [type(each) for each in objects]
    return [
        kind.__name__ for kind in kinds if any(pattern.search(each.__name__) for each in kind.mro())
    ]


def raise_to(least: int, owner: object, *names: str, log: logging.Logger) -> None:
    """Sets those of these attributes that are below a number to it, and logs it."""
    for name in names:
        if getattr(owner, name, least) < least:
            setattr(owner, name, least)
            log.info("secagg: %s=%d of %s, for a sum", name, least, type(owner).__name__)


def summed_once(
    rounds: Rounds,
    ask: AskNamed,
    present: Sequence[str],
    layout: ModelLayout,
    model: Arrays,
    **options: Any,
) -> Completed | Failed:
    """Gets a sum by `run_round`, unless these rounds had one about the same layout and model.

    Two sums over one model, of which one is without a party, differ by that party's update.

    Raises:
        AttemptsExhaustedError: there was a sum, also if it was one that honest parties cannot have.
        Exception: as of `run_round`.
    """
    if rounds.had_sum(layout, model):
        raise AttemptsExhaustedError(
            "there was a sum over this model before: the difference of two could show a single "
            "update; go on with a model that came of the sum",
            Code.ATTEMPTS_EXHAUSTED,
        )
    return run_round(rounds, ask, present, layout, model, **options)


def packed_update(layout: ModelLayout, given: Any, old: Arrays) -> tuple[Any, Any] | None:
    """Returns the input and weight of what a training gave: (model, metrics, weight), or None.

    Raises:
        RangeError: it gave something else; or as of `ModelLayout.pack`.
    """
    match given:
        case None:
            return None
        case (new, metrics, weight):
            return layout.pack(new, old, metrics), weight
        case tuple() | list():
            found = f"a {type(given).__name__} of {len(given)}"
        case _:
            found = type(given).__name__
    raise RangeError(
        f"a training must return (model, metrics, weight), or None, not {found}", Code.SHAPE
    )


def show_log_beside(framework: str) -> logging.Logger:
    """Shows secagg's log where a framework's is, unless the application has set up logging itself.

    Args:
        framework: the name of the framework's logger, whose handlers are shared.

    Returns:
        The framework's logger.
    """
    ours, theirs = logging.getLogger("secagg"), logging.getLogger(framework)
    if not logging.getLogger().handlers and len(ours.handlers) == 1:  # that of the library
        ours.setLevel(logging.INFO)
        for handler in theirs.handlers:
            ours.addHandler(handler)
    return theirs


@contextmanager
def failures_logged(log: logging.Logger) -> Iterator[None]:
    """Logs on this machine, with its traceback, what fails while an input is made.

    The server gets a fixed phrase. A refusal of the round is no failure.
    """
    try:
        yield
    except Aborted:
        raise
    except Exception:
        log.exception("secagg: there is nothing to give in this round")
        raise


def home_in(config: Mapping[str, object], usual: Path) -> Home:
    """Returns the home that the configuration of a site names.

    Args:
        config: the operator's. `secagg-home` is the folder, `secagg-attempts` as `Home(attempts=)`:
            one if the folder has an identity, and else no limit.
        usual: the folder where none is named; it is made, with its parents.

    Raises:
        ParameterError: one of the two is unusable.
        StateError, IdentityError: as of `Home`.
        OSError: the usual folder cannot be made.
    """
    named, attempts = config.get("secagg-home"), config.get("secagg-attempts")
    if named is None:
        usual.parent.mkdir(0o700, parents=True, exist_ok=True)
    elif not named or not isinstance(named, str | Path):
        raise wrong(f"secagg-home must be the path of this site's home, as text, not {named!r}")
    path = usual if named is None else Path(named)
    if attempts is None:
        attempts = 1 if (path / "identity").exists() else MANY
    # Another run may train with this home.
    return Home(path, keep_last=False, attempts=whole("secagg-attempts", attempts), wait=600.0)


def polled(
    waiting: dict[str, str],
    pull: Callable[[list[str]], Iterable[Any]],
    read: Callable[[Any], tuple[str, object]],
    seconds: float,
    pause: float = PAUSE,
) -> Iterator[tuple[str, object]]:
    """Yields answers by name as they lie in a mailbox, until all are there or the time is up.

    Args:
        waiting: the names by the ids of the messages that are to be answered; empty at the end.
        pull: returns what is there for these ids.
        read: returns of one of them the id that it answers, and the answer.
        seconds: until when; it is called at least once.
        pause: seconds between two calls.
    """
    until = time.monotonic() + seconds
    while waiting:
        for message, answer in map(read, pull(list(waiting))):
            if message in waiting:
                yield waiting.pop(message), answer
        if time.monotonic() > until:
            return
        time.sleep(pause if waiting else 0)


def caller_before(entry: type) -> str:
    """Returns the first function that an object of a class has called on the way to the caller.

    The caller is one of a chain of functions that a framework puts around each other by one wrapper
    of its own, which does not count. "" if the caller is the first, or is not called through such
    an object.

    Args:
        entry: the class whose object calls the chain.
    """
    frame: FrameType | None = sys._getframe(2)
    wrapper, others = sys._getframe(2).f_code, []
    while frame is not None and not isinstance(frame.f_locals.get("self"), entry):
        others += [] if frame.f_code is wrapper else [frame.f_code.co_qualname]
        frame = frame.f_back
    return others[-1] if frame is not None and others else ""
