"""The places in the C core that a mutant may change, found by a small tokenizer."""

import re
from collections.abc import Iterator
from pathlib import Path

from sites import Collector, Site

ELSEWHERE = ("_neon", "_armv8")  # what this kind of machine does not compile
TOKEN = re.compile(
    r"(?P<skip>\s+|/\*.*?\*/|//[^\n]*|^[ \t]*\#(?:[^\n]*\\\n)*[^\n]*)"
    r"|(?P<string>\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*')"
    r"|(?P<number>\.?[0-9](?:[eEpP][+-]|[\w.])*)"
    r"|(?P<name>[A-Za-z_]\w*)"
    r"|(?P<sign><<=|>>=|->|\+\+|--|<<|>>|[-+*/%&|^<>=!]=|&&|\|\||.)",
    re.DOTALL | re.MULTILINE,
)
KINDS = {
    "comparison": "< <= <= < > >= >= > == != != ==",
    "and/or": "&& || || &&",
    "bits": "& | | & &= |= |= &= << >> >> <<",
    "plus/minus": "+ - - + += -= -= +=",
}
SWAPS = {
    sign: (kind, other)
    for kind, words in KINDS.items()
    for sign, other in zip(words.split()[::2], words.split()[1::2], strict=True)
}
# Instructions by their intrinsics, and statuses.
NAMES = [
    (r"(_mm\d*)_add_(epi\d+)", r"\1_sub_\2"),
    (r"(_mm\d*)_sub_(epi\d+)", r"\1_add_\2"),
    (r"(_mm\d*)_and_(\w+)", r"\1_or_\2"),
    (r"(_mm\d*)_or_(\w+)", r"\1_and_\2"),
    (r"(_mm\d*)_min_(\w+)", r"\1_max_\2"),
    (r"SA_(ERANGE|EARG|EDECODE)", "SA_OK"),
]
OPENING, CLOSING = {"(": ")", "[": "]", "{": "}"}, {")": "(", "]": "[", "}": "{"}
WORDS = {"if", "while", "for", "switch", "return", "sizeof", "else", "case", "do", "_Static_assert"}
BEFORE_TERNARY = {"return", ",", "=", ";", "?", ":", "(", "[", "{", "+=", "-=", "|=", "&="}


class Scanner:
    """Finds the sites in one file: inside of functions only."""

    def __init__(self, path: str, source: str) -> None:
        self.found = Collector(path, source)
        self._tokens = [match for match in TOKEN.finditer(source) if match.lastgroup != "skip"]
        self._texts = [match.group() for match in self._tokens]
        self._pairs: dict[int, int] = {}
        stack = []
        for i, text in enumerate(self._texts):
            if text in OPENING:
                stack.append(i)
            elif text in CLOSING:
                j = stack.pop()
                self._pairs[i], self._pairs[j] = j, i

    def _functions(self) -> Iterator[tuple[str, int, int]]:
        """Name, opening and closing brace of every function."""
        i = 0
        while i < len(self._texts):
            if self._texts[i] == "{" and self._texts[i - 1] == ")":
                last = self._pairs[i - 1] - 1
                first = self._pairs[last] - 1 if self._texts[last] == ")" else last
                yield "".join(self._texts[first : last + 1]), i, self._pairs[i]
            i = self._pairs[i] + 1 if self._texts[i] in OPENING else i + 1

    def scan(self) -> list[Site]:
        """All sites of the file."""
        for name, first, last in self._functions():
            start = first + 1
            for i in range(first + 1, last):
                if self._texts[i - 1] in {"{", "}", ";"} and not self._in_parens(i, first):
                    start = i
                if self._texts[start] not in {"_Static_assert", "__asm__"}:
                    self._token(name, start, i)
        return self.found.sites

    def _in_parens(self, i: int, first: int) -> bool:
        return any(
            self._texts[j] in "([" and self._pairs[j] > i
            for j in range(first, i)
            if self._texts[j] in OPENING
        )

    def _add(self, name: str, kind: str, start: int, edit: tuple[int, int], text: str) -> None:
        """Notes a change of the tokens from one to another, shown within their statement."""
        end, inner = start, 0
        while inner or self._texts[end] not in ";{}":
            inner += (self._texts[end] in "([") - (self._texts[end] in ")]")
            end += 1
        end -= self._texts[end] in "{}"
        whole = (self._tokens[start].start(), self._tokens[max(end, edit[1])].end())
        place = (self._tokens[edit[0]].start(), self._tokens[edit[1]].end())
        self.found.add(name, kind, whole, place, text)

    def _negate(self, name: str, start: int, first: int, last: int) -> None:
        if first <= last:
            inside = slice(self._tokens[first].start(), self._tokens[last].end())
            text = f"!({self.found.source[inside]})"
            self._add(name, "condition", start, (first, last), text)

    def _token(self, name: str, start: int, i: int) -> None:
        text, kind, one = self._texts[i], self._tokens[i].lastgroup, (i, i)
        before = self._texts[i - 1]
        operand = self._tokens[i - 1].lastgroup in {"name", "number"} or before in ")]"
        if text in {"if", "while"}:
            self._negate(name, start, i + 2, self._pairs[i + 1] - 1)
        elif text == "for":
            close = self._pairs[i + 1]
            stops = [j for j in range(i, close) if self._texts[j] == ";"]
            self._negate(name, start, stops[0] + 1, stops[1] - 1)
        elif text == "?":
            j = i - 1
            while self._texts[j] not in BEFORE_TERNARY:
                j = self._pairs[j] - 1 if self._texts[j] in CLOSING else j - 1
            self._negate(name, start, j + 1, i - 1)
        elif kind == "number" and re.fullmatch(r"(0[xX][0-9a-fA-F]+|\d+)[uUlL]*", text):
            digits, suffix = re.fullmatch(r"(0[xX][0-9a-fA-F]+|\d+)(\w*)", text).groups()  # type: ignore[union-attr]
            for other in {int(digits, 0) + 1, max(int(digits, 0) - 1, 0)} - {int(digits, 0)}:
                shown = f"{other:#x}" if digits[:2] in {"0x", "0X"} else str(other)
                self._add(name, "bound", start, one, shown + suffix)
        elif text in SWAPS and operand and before not in WORDS:
            self._add(name, SWAPS[text][0], start, one, SWAPS[text][1])
        elif kind == "name":
            self._name(name, start, i)

    def _name(self, name: str, start: int, i: int) -> None:
        text = self._texts[i]
        for pattern, other in NAMES:
            if re.fullmatch(pattern, text):
                self._add(name, "label", start, (i, i), re.sub(pattern, other, text))
        if text in WORDS or self._texts[i - 1] not in {";", "{", "}", ")", "else", ":"}:
            return
        j = i + 1
        while self._texts[j] in {".", "->"}:
            j += 2
        if self._texts[j] == "(" and self._texts[self._pairs[j] + 1] == ";":
            self._add(name, "call", start, (i, self._pairs[j] + 1), "(void)0;")


def sites(root: Path) -> list[Site]:
    """All places in the sources that this kind of machine compiles and runs."""
    found = []
    for path in sorted((root / "native").glob("*.[ch]")):
        if not path.stem.endswith(ELSEWHERE) and path.name != "api.h":
            found += Scanner(str(path.relative_to(root)), path.read_text()).scan()
    return found
