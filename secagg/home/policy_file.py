"""The policy of a home, read from a file that people write: JSON with the fields of `Policy`.

    {
      "mode": "malicious", "min_survivors": 6, "max_length": 1000000,
      "format": {"FixedPoint": {"clip": 8.0, "bits": 20}}
    }

`mode` and `suite` are names, `context` is 64 hexadecimal digits, `sparse` has `corrupt` and
`dropout`, `privacy` the fields of `secagg.noise.Demand`; `format` and `params` may be lists of
those that are allowed.
"""

import json
import math
from collections.abc import Callable, Mapping
from inspect import signature
from pathlib import Path
from typing import Any, Final, NoReturn

from ..codes import Code
from ..errors import ParameterError
from ..noise.demand import Demand
from ..numeric import brief
from ..params.formats import FixedPoint, Format, Integers
from ..params.fractions import Fractions
from ..params.mode import Mode
from ..params.params import Params
from ..params.policy import Policy
from ..params.rotated import Rotated
from ..params.suite import Suite
from ..permissions import PINS
from .stores import read_private

_LARGEST: Final = 2**20  # bytes
_FORMATS: Final = {kind.__name__: kind for kind in (FixedPoint, Integers, Rotated)}
_MODES: Final = {str(mode): mode for mode in Mode}
_SUITES: Final = {suite.name: suite for suite in Suite}


def read_policy(path: Path) -> Policy:
    """Reads the policy of a home.

    Raises:
        StateError: the file cannot be read, or others may write to it.
        ParameterError: it is no JSON, or a field is unknown or has a wrong value; the message names
            the file and the field.
    """
    content = read_private(path, _LARGEST, PINS).expose()
    try:
        found = json.loads(
            content.decode("utf-8-sig"),
            object_pairs_hook=_object,
            parse_float=_number,
            parse_constant=_number,
        )
        policy: Policy = _made(Policy, "the policy", found)
    except ParameterError as error:
        raise ParameterError(f"{path}: {error.reason}", error.code) from None
    except (ValueError, RecursionError) as error:
        raise ParameterError(f"{path}: this is no JSON: {error}", Code.SYNTAX) from None
    return policy


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Makes an object of JSON; a field that is there twice would silently be the last one."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        _refuse(f"the field {brief(twice)} is there twice")
    return found


def _number(text: str) -> float:
    """Reads a number; JSON has none that is not finite, as one that is too large would be."""
    if not math.isfinite(number := float(text)):
        _refuse(f"{text} is no finite number; to demand nothing, leave the field out")
    return number


def _made(kind: Callable[..., Any], what: str, found: object) -> Any:
    """Makes an object of the library from an object of JSON with the same fields.

    A field that the library refuses is named in its own message.
    """
    if not isinstance(found, dict):
        _refuse(f"{what} must be an object, {{...}}, not {brief(found)}")
    names = signature(kind).parameters
    for name in found:
        if name not in names:
            _refuse(f"{what} has no field {brief(name)}; its fields are {', '.join(names)}")
    for name, field in names.items():
        if field.default is field.empty and name not in found:
            _refuse(f"{what} lacks the field {name!r}")
    values = {
        name: _READERS[name](name, value) if name in _READERS and value is not None else value
        for name, value in found.items()
    }
    return kind(**values)


def _one_of(choices: Mapping[str, Any]) -> Callable[[str, object], Any]:
    """Returns the reader of a field with one of these names as value."""

    def read(name: str, value: object) -> Any:
        if not isinstance(value, str) or value not in choices:
            _refuse(f"{name} must be one of {', '.join(choices)}, not {brief(value)}")
        return choices[value]

    return read


def _several(read: Callable[[str, object], Any]) -> Callable[[str, object], Any]:
    """Returns the reader of a field with one value, or a list of those that are allowed."""
    return lambda name, value: (
        tuple(read(name, each) for each in value) if isinstance(value, list) else read(name, value)
    )


def _read_context(name: str, value: object) -> bytes:
    try:
        return bytes.fromhex(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        _refuse(f"{name} must be 64 hexadecimal digits, not {brief(value)}")


def _read_format(name: str, value: object) -> Format:
    if not isinstance(value, dict) or len(value) != 1 or not value.keys() <= _FORMATS.keys():
        _refuse(
            f'{name} must be {{"FixedPoint": {{...}}}}, {{"Integers": {{...}}}} or '
            f'{{"Rotated": {{...}}}}, not {brief(value)}'
        )
    ((kind, values),) = value.items()
    made: Format = _made(_FORMATS[kind], f"{name} {kind}", values)
    return made


def _refuse(reason: str) -> NoReturn:
    raise ParameterError(reason, Code.SYNTAX)


_READERS: Final[Mapping[str, Callable[[str, object], Any]]] = {
    "mode": _one_of(_MODES),
    "suite": _one_of(_SUITES),
    "context": _read_context,
    "sparse": lambda name, value: _made(Fractions, name, value),
    "privacy": lambda name, value: _made(Demand, name, value),
    "format": _several(_read_format),
    "params": _several(lambda name, value: _made(Params, name, value)),
}
