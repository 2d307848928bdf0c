"""Mutants: a named change of one place in the sources, and the draw of sixty."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TABLE = ROOT / "tests/mutations.json"
SEED = "secagg mutants, first draw"


@dataclass(frozen=True)
class Name:
    """The name of a mutant, on whatever lines it is.

    The occurrence is its number among those that are otherwise named alike.
    """

    path: str
    function: str
    kind: str
    original: str
    replacement: str
    occurrence: int

    @property
    def rank(self) -> str:
        """Its place in the draw, by the seed and the name alone."""
        values = [SEED, *asdict(self).values()]
        return hashlib.sha256(json.dumps(values).encode()).hexdigest()


@dataclass(frozen=True)
class Site:
    """A place in the present sources; `lines` is where what is shown begins, and its own line."""

    name: Name
    start: int
    end: int
    text: str
    lines: tuple[int, int]

    def applied(self, source: str) -> str:
        """The source with this change."""
        return source[: self.start] + self.text + source[self.end :]


class Collector:
    """Collects the sites of one file and numbers those that are alike."""

    def __init__(self, path: str, source: str) -> None:
        self.path, self.source = path, source
        self.sites: list[Site] = []
        self._seen: Counter[tuple[str, ...]] = Counter()

    def add(
        self, function: str, kind: str, whole: tuple[int, int], edit: tuple[int, int], text: str
    ) -> None:
        """Notes a change of `edit`, shown as a change of the larger `whole`."""
        before, old = self.source[whole[0] : edit[0]], self.source[slice(*whole)]
        new = before + text + self.source[edit[1] : whole[1]]
        alike = (self.path, function, kind, " ".join(old.split()), " ".join(new.split()))
        first, own = (self.source.count("\n", 0, at) + 1 for at in (whole[0], edit[0]))
        self.sites.append(Site(Name(*alike, self._seen[alike]), *edit, text, (first, own)))
        self._seen[alike] += 1


def drawn(
    sites: Iterable[Site], count: int, of_a_file: int, changes: Callable[[Site], bool]
) -> list[Name]:
    """The first in rank that change the program: two of a function, a quarter of a kind."""
    chosen: list[Name] = []
    taken: Counter[tuple[str, ...]] = Counter()
    for site in sorted(sites, key=lambda site: site.name.rank):
        name = site.name
        limits = {
            (name.path, name.function): 2,
            (name.path,): of_a_file,
            ("", name.kind): count // 4,
        }
        room = len(chosen) < count and all(taken[key] < most for key, most in limits.items())
        if room and changes(site):
            chosen.append(name)
            taken.update(limits.keys())
    return chosen


def stored(path: Path) -> list[Name]:
    """The names in a file, in the order of the table."""
    return [Name(**row) for row in json.loads(path.read_text())]


def resolved(names: Iterable[Name], sites: Iterable[Site]) -> list[Site]:
    """The sites of these names; ValueError unless the tree still has all of them."""
    wanted, known = list(names), {site.name: site for site in sites}
    if lost := [name for name in wanted if name not in known]:
        raise ValueError("not in the tree any more:\n" + "\n".join(map(str, lost)))
    return [known[name] for name in wanted]
