"""The docstring of a function opens with a verb in the third person: "Returns", "Draws", "Rejects".

Properties are exempt, since they name a thing, and so are references ("See `Codec`").
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PROPERTIES = {"property", "cached_property", "functools.cached_property"}
# Words with the ending of such a verb that are none, or that would rather be read as a noun.
NOUNS = {
    *("Always", "Bytes", "Coordinates", "Elements", "Keys", "Masks", "Pairs", "Parties", "Rows"),
    *("Seconds", "Seeds", "Shares", "This", "Values", "Whose"),
}


def other_openings(source: str) -> Iterator[tuple[int, str]]:
    """Yields line number and first line of each docstring that opens with no such verb."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        text = ast.get_docstring(node)
        if not text or PROPERTIES & {ast.unparse(each) for each in node.decorator_list}:
            continue
        opening = text.split()[0].rstrip(".,:;")
        if opening != "See" and (opening in NOUNS or not re.fullmatch("[A-Z][a-z]+s", opening)):
            yield node.lineno, text.splitlines()[0]


def test_docstrings_of_functions_open_with_a_verb() -> None:
    """Everywhere but in tests, whose docstrings say what they prove."""
    paths = [path for top in ("secagg", "fl", "benchmarks") for path in (ROOT / top).rglob("*.py")]
    assert len(paths) > 100
    wrong = [
        f"{path.relative_to(ROOT)}:{line}: {text}"
        for path in sorted(paths)
        for line, text in other_openings(path.read_text())
    ]
    assert not wrong, "\n".join(wrong)


def test_other_openings_are_found() -> None:
    """A noun, a question and an adverb are; a property, a verb and a reference are not."""
    source = '''
def masks():
    """The masks of a round."""
def valid():
    """Whether the signature fits."""
class Graph:
    def shares(self):
        """Shares of a seed."""
    async def connected(self):
        """Always."""
    @property
    def size(self):
        """The number of parties."""
    def draw(self):
        """Draws a seed."""
    def encode(self):
        """See `Codec`."""
    def bare(self):
        pass
'''
    assert sorted(text for _, text in other_openings(source)) == [
        "Always.",
        "Shares of a seed.",
        "The masks of a round.",
        "Whether the signature fits.",
    ]
