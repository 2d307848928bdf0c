"""The registries of attacks, and the mode in which an attack plays its rounds."""

from collections.abc import Callable
from contextvars import ContextVar, copy_context

import harness

from secagg import Mode, Params

CLIENT_ATTACKS: dict[str, Callable[[], str]] = {}
SERVER_ATTACKS: dict[str, Callable[[], str]] = {}
Attack = Callable[[], str]


def on_client(attack: Attack) -> Attack:
    """Registers an attack of a lying server on a client."""
    CLIENT_ATTACKS[attack.__name__] = attack
    return attack


def on_server(attack: Attack) -> Attack:
    """Registers an attack of lying clients on an honest server."""
    SERVER_ATTACKS[attack.__name__] = attack
    return attack


MODE: ContextVar[Mode] = ContextVar("mode", default=Mode.SEMI_HONEST)


def in_mode(mode: Mode, attack: Attack) -> str:
    """Returns the gain of an attack in this mode."""
    context = copy_context()
    context.run(MODE.set, mode)
    return context.run(attack)


def integers(cohort: int, length: int = 4, **more: object) -> Params:
    """Returns `harness.integers` in the mode of the attack."""
    return harness.integers(cohort, length, mode=MODE.get(), **more)


def tight(cohort: int, length: int = 1, **more: object) -> Params:
    """Returns `harness.tight` in the mode of the attack."""
    return harness.tight(cohort, length, mode=MODE.get(), **more)


def least_threshold(cohort: int) -> int:
    """Returns the least threshold in the mode of the attack."""
    return (2 * cohort // 3 if MODE.get() is Mode.MALICIOUS else cohort // 2) + 1
