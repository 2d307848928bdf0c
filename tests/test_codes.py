"""Codes: complete, documented, and on every exception and event that gives a reason."""

import ast
import dataclasses
import json
import pickle
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

import secagg
from secagg import Code, events
from secagg.codes import document
from secagg.errors import SecAggError

ROOT = Path(__file__).resolve().parents[1]
SOURCES = [path for top in ("secagg", "fl") for path in sorted(ROOT.glob(f"{top}/**/*.py"))]
EXCEPTIONS = [
    kind
    for kind in vars(secagg).values()
    if isinstance(kind, type) and issubclass(kind, BaseException) and not issubclass(kind, Warning)
]
# What makes an exception or an event of another name.
CARRIERS = {kind.__name__: kind.__name__ for kind in EXCEPTIONS} | {
    "MissingExtraError": "MissingExtraError",
    "Dropped": "Dropped",
    "Failed": "Failed",
    "RecoveryError": "Failed",
    "Fault": "IdentityError",
    "NoUpdateError": "RoundReport",
    "Finding": "Finding",
    "NoInputError": "Refusal",
    "decline": "Refusal",
    "UselessStateError": "StateError",
}
# What is raised with the code in a variable: bounds of a policy, a round that is not expected,
# parameters of an offer, header and lines of a directory, a database's error, a request that is
# impossible, and why a driver has a server drop a party.
PASSED_ON = {
    "Aborted": {Code.POLICY_CONTEXT, Code.POLICY_FORMAT, Code.POLICY_LENGTH},
    "Refusal": {Code.POLICY_CONTEXT, Code.POLICY_FORMAT, Code.POLICY_LENGTH},
    "ParameterError": {
        *(Code.POLICY_COHORT, Code.POLICY_LENGTH, Code.POLICY_THRESHOLD, Code.POLICY_SURVIVORS),
    },
    "DecodeError": {
        *(Code.UNSAFE_SUM, Code.UNSAFE_THRESHOLD, Code.UNSAFE_GRAPH),
        *(Code.HEADROOM, Code.ARGUMENT),
    },
    "IdentityError": {
        *(Code.WEAK_KEY, Code.DUPLICATE_KEY, Code.DUPLICATE_NAME, Code.REVOKED_KEY),
        *(Code.SYNTAX, Code.LIMIT, Code.VERSION, Code.FOREIGN_FILE, Code.CORRUPT),
    },
    "Failed": {Code.IMPOSSIBLE_SUM},
    "Dropped": {Code.GONE, Code.REFUSED, Code.MALFORMED, Code.VERSION},
    "StateError": {Code.LEDGER, Code.FOREIGN_FILE, Code.CORRUPT, Code.IO, Code.LIMIT},
    "RoundReport": {Code.DTYPE, Code.WEIGHT},
    "Finding": {Code.UNSAFE_FRACTIONS, Code.UNSAFE_SUM, Code.HEADROOM},
}


def made(tree: ast.AST) -> Iterator[tuple[ast.Call, str]]:
    """Yields every call that makes an exception or an event with a reason, and what comes of it."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = getattr(node.func, "id", getattr(node.func, "attr", ""))
        if name in CARRIERS:
            yield node, CARRIERS[name]
        elif ast.unparse(node.func) in {"reader.error", "self.error"}:
            yield node, "DecodeError"
        elif name == "_refused":
            yield node, "Run"


def codes_in(node: ast.AST) -> set[Code]:
    """Returns the codes that are named in a piece of source."""
    return {
        Code[part.attr]
        for part in ast.walk(node)
        if isinstance(part, ast.Attribute) and ast.unparse(part.value) in {"Code", "secagg.Code"}
    }


def arguments(call: ast.Call) -> list[ast.expr]:
    """Returns all arguments of a call."""
    return [*call.args, *(keyword.value for keyword in call.keywords)]


def passes_on(part: ast.expr) -> bool:
    """Returns whether an argument is a code that comes from elsewhere."""
    if isinstance(part, ast.Call) and part.args:  # cast("Code", run.code)
        part = part.args[-1]
    return ast.unparse(part).split(".")[-1] == "code"


def test_a_code_is_its_name_and_says_what_to_do() -> None:
    """Values are names in lower case; meaning and remedy are whole sentences."""
    for code in Code:
        assert code == code.name.lower()
        assert json.dumps({"code": code}) == f'{{"code": "{code}"}}'
        assert pickle.loads(pickle.dumps(code)) is code  # noqa: S301
        for text in (code.meaning, code.remedy):
            assert text[0].isupper(), text
            assert text.endswith("."), text
            assert "|" not in text


def test_the_document_is_the_table() -> None:
    """docs/CODES.md has every code, with meaning, remedy and what comes with it."""
    assert (ROOT / "docs/CODES.md").read_text() == document()


def test_every_reason_in_the_sources_has_a_code() -> None:
    """Nothing is raised, dropped or failed without one, and each comes with what it says."""
    found: dict[Code, set[str]] = defaultdict(set)
    for carrier, codes in PASSED_ON.items():
        for code in codes:
            found[code].add(carrier)
    for path in SOURCES:
        for call, carrier in made(ast.parse(path.read_text())):
            codes, text = codes_in(call), ast.unparse(call)
            if not codes and carrier == "DecodeError":
                codes = {Code.MALFORMED}  # the default of Reader.error
            assert codes or any(passes_on(part) for part in arguments(call)), (
                f"{path}:{call.lineno}: {text}"
            )
            for code in codes:
                found[code].add(carrier)
    assert {code: sorted(carriers) for code, carriers in found.items()} == {
        code: sorted(code.carriers) for code in Code
    }


@pytest.mark.parametrize("kind", EXCEPTIONS, ids=lambda kind: kind.__name__)
def test_every_public_exception_has_a_code(kind: type[SecAggError]) -> None:
    """As an attribute beside the reason, also after a journey between processes."""
    party = (3,) if issubclass(kind, secagg.RemoteProtocolError) else ()
    run = (None,) if kind is secagg.RoundFailedError else ()
    error = kind(*party, "why", Code.QUORUM, *run)
    for each in (error, pickle.loads(pickle.dumps(error))):  # noqa: S301
        assert (each.reason, each.code) == ("why", Code.QUORUM)
        assert str(each).endswith("why")


def test_every_event_with_a_reason_has_a_code() -> None:
    """Found by their fields, so that one that is added cannot forget it."""
    with_reason = {
        kind
        for kind in vars(events).values()
        if dataclasses.is_dataclass(kind)
        and "reason" in {field.name for field in dataclasses.fields(kind)}
    }
    assert with_reason == {secagg.Dropped, secagg.Failed}
    for kind in with_reason:
        assert {field.name: field.type for field in dataclasses.fields(kind)}["code"] is Code


def test_a_ledger_of_ones_own_needs_no_code() -> None:
    """Its StateError means that a claim could not be stored."""
    assert secagg.StateError("the disk is full").code is Code.LEDGER
