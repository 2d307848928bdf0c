"""docs/CONSORTIUM.md, played: its commands are run, and the texts that it quotes appear.

Every site has a folder of its own with key, pins and ledger; all that it does to them goes through
the commands. Rounds are played by real clients and a real server.
"""

import contextlib
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from harness import Network, input_of, integers
from refusals import refused

from secagg import (
    Client,
    Code,
    DecodeError,
    Directory,
    Dropped,
    Failed,
    Identity,
    IdentityError,
    MemoryLedger,
    Mode,
    ParameterError,
    Policy,
    Round,
    Server,
    SqliteLedger,
    StateError,
)
from secagg.__main__ import main

TEXT = (Path(__file__).resolve().parents[1] / "docs/CONSORTIUM.md").read_text()
MEMBERS = ("north", "east", "south", "west", "mid")


@dataclass
class Site:
    """One member, or the operator of the server: a folder, and what is loaded from it."""

    home: Path

    @property
    def name(self) -> str:
        return self.home.name

    @property
    def key(self) -> str:
        """The verify key of its own, as the others get it."""
        return Identity.stored_verify_key(self.home / "key").hex()

    @property
    def pins(self) -> Directory:
        return Directory.load(self.home / "pins")

    def identity(self, *arguments: str) -> None:
        """Runs `python -m secagg identity` in its folder."""
        with contextlib.chdir(self.home):
            assert main(["identity", *arguments]) == 0


@dataclass
class Outcome:
    """The end of a round: texts and codes by the name of the site where they appear."""

    survivors: list[str] = field(default_factory=list)
    at_home: dict[str, ParameterError] = field(default_factory=dict)
    at_server: dict[str, Dropped] = field(default_factory=dict)
    failure: Failed | None = None


class Consortium:
    """All sites after the first set-up."""

    def __init__(self, root: Path, names: Iterable[str] = MEMBERS) -> None:
        self.root = root
        self.server = self.add("server")
        self.members = {name: self.add(name) for name in names}
        for site in self.sites():
            for name, member in self.members.items():
                site.identity("pin", "pins", name, member.key)

    def add(self, name: str) -> Site:
        """Makes a folder, and a key in it."""
        site = Site(self.root / name)
        site.home.mkdir(0o700)
        if name != "server":
            site.identity("new", "key")
        return site

    def sites(self, late: str = "") -> list[Site]:
        """All sites but the one that is late."""
        return [each for each in (self.server, *self.members.values()) if each.name != late]

    def join(self, name: str, late: str = "") -> None:
        """A member joins; it begins with a copy of pins that are up to date."""
        newcomer = self.add(name)
        for site in self.sites(late):
            site.identity("pin", "pins", name, newcomer.key)
        source = self.members["north"] if late == "server" else self.server
        shutil.copy(source.home / "pins", newcomer.home)
        self.members[name] = newcomer

    def drop(self, name: str, how: str, late: str = "") -> None:
        """A member leaves, or is revoked."""
        del self.members[name]
        for site in self.sites(late):
            site.identity("pin", how, "pins", name)

    def rotate(self, name: str, late: str = "") -> None:
        """A member replaces its key."""
        member = self.members[name]
        (member.home / "key").unlink()
        member.identity("new", "key")
        for site in self.sites(late):
            site.identity("pin", "--rotate", "pins", name, member.key)

    def play(self, away: Iterable[str] = (), invited: Sequence[int] = ()) -> Outcome:
        """Plays a round to which the server invites all that its own directory names, or these."""
        outcome = Outcome()

        def cohort(site: Site) -> Directory:
            return site.pins.select(invited) if invited else site.pins

        names = [entry.name for entry in cohort(self.server).entries]
        agreed = integers(len(names), mode=Mode.MALICIOUS).round(os.urandom(32))
        clients: dict[int, Client] = {}
        for index, name in enumerate(names):
            if name in away or name not in self.members:
                continue
            site = self.members[name]
            try:
                clients[index] = Client(
                    Round.decode(agreed.encode()),
                    index,
                    Policy(mode=Mode.MALICIOUS, context=agreed.context),
                    identity=Identity.load(site.home / "key"),
                    directory=cohort(site),
                    ledger=SqliteLedger(site.home / "ledger"),
                )
            except ParameterError as error:
                outcome.at_home[name] = error
        network = Network(Server(agreed, cohort(self.server)), clients).start().run()
        drops = [event for event in network.events if isinstance(event, Dropped)]
        outcome.at_server = {names[drop.party]: drop for drop in drops}
        outcome.failure = network.failure
        if network.result is not None:
            survivors = network.result.survivors
            assert list(network.result.total) == list(sum(map(input_of, survivors)))
            outcome.survivors = [names[party] for party in survivors]
        assert (network.aborts, network.refusals) == ({}, [])
        return outcome


@pytest.fixture
def consortium(memory_path: Path, capsys: pytest.CaptureFixture[str]) -> Consortium:
    """Five members and a server, who all trust each other's keys."""
    return Consortium(memory_path)


def quoted(text: str) -> bool:
    """Returns whether the document has a text, whatever its line breaks and the numbers in it."""
    return " ".join(text.split()) in " ".join(TEXT.split())


# ---- members come, go and are away --------------------------------------------------------


def test_all_take_part(consortium: Consortium) -> None:
    """After the first set-up, and after each change that all sites made."""
    assert consortium.play().survivors == [*MEMBERS]
    consortium.join("coast")
    assert consortium.play().survivors == [*MEMBERS, "coast"]
    consortium.rotate("north")
    assert consortium.play().survivors == [*MEMBERS, "coast"]
    consortium.drop("west", "--leave")
    consortium.drop("south", "--revoke")
    assert consortium.play().survivors == ["north", "east", "mid", "coast"]
    assert len({site.pins.fingerprint for site in consortium.sites()}) == 1


def test_a_member_is_away(consortium: Consortium) -> None:
    """One of five may be, without a change anywhere; two end the round."""
    outcome = consortium.play(away=["west"])
    assert outcome.survivors == ["north", "east", "south", "mid"]
    assert outcome.at_server["west"].code is Code.TIMEOUT
    outcome = consortium.play(away=["west", "mid"])
    assert outcome.failure is not None
    assert outcome.failure.code is Code.QUORUM
    assert consortium.play().survivors == [*MEMBERS]


def test_members_are_away_for_long(consortium: Consortium) -> None:
    """Two of five are not invited: nobody waits for them, and the other three are the cohort."""
    east = consortium.members["east"]
    east.pins.join("old", Identity.generate().verify_key).revoke("old").save(east.home / "pins")
    outcome = consortium.play(invited=(1, 2, 4))
    assert outcome.survivors == ["east", "south", "mid"]
    assert outcome.at_server == {}
    assert consortium.play(invited=(0, 1, 2, 3)).survivors == ["north", "east", "south", "west"]


def test_a_site_that_is_late_cannot_select(consortium: Consortium) -> None:
    """Its pins have no such member; or another one at that place, and the text leads to them."""
    consortium.join("coast", late="east")
    outcome = consortium.play(invited=(0, 1, 2, 3, 5))
    assert outcome.survivors == ["north", "south", "west", "coast"]
    assert outcome.at_home["east"].code is Code.WRONG_DIRECTORY
    assert quoted(str(outcome.at_home["east"]).split(":")[0])
    shutil.copy(consortium.server.home / "pins", consortium.members["east"].home)
    consortium.rotate("south", late="east")
    outcome = consortium.play(invited=(0, 1, 2, 3, 5))
    assert outcome.at_server["east"].code is Code.CONTEXT
    assert consortium.server.pins.fingerprint in outcome.at_server["east"].reason


def test_a_client_that_is_not_in_the_cohort(consortium: Consortium) -> None:
    """Whatever index it was told: it is pinned, but not a member of this round."""
    west, agreed = consortium.members["west"], integers(3, mode=Mode.MALICIOUS).round(bytes(32))
    more = {"identity": Identity.load(west.home / "key"), "ledger": MemoryLedger()}
    with refused(ParameterError, Code.WRONG_IDENTITY, match="not one of the members selected"):
        Client(agreed, 1, directory=west.pins.select((0, 1, 2)), **more)  # type: ignore[arg-type]


def test_a_revoked_key_stays_out(
    consortium: Consortium, capsys: pytest.CaptureFixture[str]
) -> None:
    """A left one comes back, at the last index."""
    keys = {name: consortium.members[name].key for name in ("west", "south")}
    consortium.drop("west", "--leave")
    consortium.drop("south", "--revoke")
    consortium.server.identity("pin", "pins", "west", keys["west"])
    assert consortium.server.pins.entries[-1].name == "west"
    with pytest.raises(SystemExit):
        consortium.server.identity("pin", "pins", "south", keys["south"])
    text = "the key of south is revoked: make a new identity"
    assert text in capsys.readouterr().err
    assert quoted(text)


def leaves(consortium: Consortium, late: str) -> None:
    consortium.drop("west", "--leave", late)


def is_revoked(consortium: Consortium, late: str) -> None:
    consortium.drop("west", "--revoke", late)


def joins(consortium: Consortium, late: str) -> None:
    consortium.join("coast", late)


def rotates(consortium: Consortium, late: str) -> None:
    consortium.rotate("south", late)


FEWER = "the directory has 5 parties, but the cohort has 6"
MORE = "the directory has 5 parties, but the cohort has 4"
OTHER_ROUND = (
    "works on another round (h0): it has other parameters, context, session or pinned directory"
)
NOWHERE = "that is pinned nowhere"
ELSEWHERE = "that is pinned at index"


@pytest.mark.parametrize(
    ("change", "late", "code", "text"),
    [
        (joins, "east", Code.WRONG_DIRECTORY, FEWER),
        (leaves, "east", Code.WRONG_DIRECTORY, MORE),
        (is_revoked, "east", Code.WRONG_DIRECTORY, MORE),
        (rotates, "east", Code.CONTEXT, OTHER_ROUND),
        (rotates, "south", Code.WRONG_IDENTITY, NOWHERE),
    ],
)
def test_one_site_is_late(
    consortium: Consortium,
    change: Callable[[Consortium, str], None],
    late: str,
    code: Code,
    text: str,
) -> None:
    """It stays out of the round, its operator or the server's reads why, and the others go on."""
    change(consortium, late)
    outcome = consortium.play()
    assert_blamed(consortium, outcome, late, code, text)
    shutil.copy(consortium.server.home / "pins", consortium.members[late].home)
    assert consortium.play().survivors == [*consortium.members]


def assert_blamed(
    consortium: Consortium, outcome: Outcome, late: str, code: Code, text: str
) -> None:
    """Checks that one member is out, with a text that leads to the pins, and is in the document."""
    assert outcome.survivors == [name for name in consortium.members if name != late]
    if code is Code.CONTEXT:
        assert list(outcome.at_server) == [late]
        found, reason = outcome.at_server[late].code, outcome.at_server[late].reason
        assert consortium.server.pins.fingerprint in reason
    else:
        assert list(outcome.at_home) == [late]
        found, reason = outcome.at_home[late].code, str(outcome.at_home[late])
    assert found is code
    assert text in reason
    assert quoted(text)
    assert "python -m secagg identity" in reason
    assert consortium.members[late].pins.fingerprint != consortium.server.pins.fingerprint


@pytest.mark.parametrize(
    ("change", "code", "text"),
    [
        (joins, Code.WRONG_DIRECTORY, "the directory has 6 parties, but the cohort has 5"),
        (leaves, Code.WRONG_DIRECTORY, "the directory has 4 parties, but the cohort has 5"),
        (rotates, Code.CONTEXT, OTHER_ROUND),
    ],
)
def test_the_server_is_late(
    consortium: Consortium, change: Callable[[Consortium, str], None], code: Code, text: str
) -> None:
    """There is no sum, and everybody has the same text."""
    change(consortium, "server")
    outcome = consortium.play()
    assert outcome.failure is not None
    assert outcome.failure.code is Code.QUORUM
    if code is Code.CONTEXT:
        assert {drop.code for drop in outcome.at_server.values()} == {code}
        assert all(text in drop.reason for drop in outcome.at_server.values())
        assert outcome.at_server.keys() == consortium.members.keys()
    else:
        assert {error.code for error in outcome.at_home.values()} == {code}
        assert all(text in str(error) for error in outcome.at_home.values())


# ---- mistakes in the pins of one site -----------------------------------------------------


def swapped(pins: Directory, first: int, second: int) -> Directory:
    entries = list(pins.entries)
    entries[first], entries[second] = entries[second], entries[first]
    return Directory(tuple(entries))


@pytest.mark.parametrize(
    ("mistake", "code", "text"),
    [
        (lambda pins: swapped(pins, 2, 4), Code.CONTEXT, OTHER_ROUND),
        (lambda pins: swapped(pins, 1, 4), Code.WRONG_IDENTITY, ELSEWHERE),
        (
            lambda pins: pins.rotate("mid", Identity.generate().verify_key),
            Code.CONTEXT,
            OTHER_ROUND,
        ),
        (
            lambda pins: pins.rotate("east", Identity.generate().verify_key),
            Code.WRONG_IDENTITY,
            NOWHERE,
        ),
        (
            lambda pins: pins.leave("mid"),
            Code.WRONG_DIRECTORY,
            "the directory has 4 parties, but the cohort has 5",
        ),
    ],
)
def test_other_pins_at_one_site(
    consortium: Consortium, mistake: Callable[[Directory], Directory], code: Code, text: str
) -> None:
    """In another order, another key of somebody, somebody missing: the text leads to the pins."""
    east = consortium.members["east"]
    mistake(east.pins).save(east.home / "pins")
    assert_blamed(consortium, consortium.play(), "east", code, text)


# ---- versions that differ -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("at", "code", "text"),
    [
        (2, Code.VERSION, "wire version 9, this library speaks version 1"),
        (52, Code.UNSUPPORTED, "unusable parameters: 9 is not a valid Suite"),
        (78, Code.UNSUPPORTED, "unknown format 9"),
    ],
)
def test_an_offer_of_another_library(at: int, code: Code, text: str) -> None:
    """The client says which number it does not know."""
    offer = bytearray(integers(5, mode=Mode.MALICIOUS).round(bytes(32)).encode())
    offer[at] = 9
    with refused(DecodeError, code, match=re.escape(text)):
        Round.decode(bytes(offer))
    assert quoted(text)


def test_state_and_files_of_another_library(consortium: Consortium) -> None:
    """Stored state, a key and pins have versions of their own."""
    north = consortium.members["north"]
    ledger = SqliteLedger(north.home / "ledger")
    me, key = Identity.load(north.home / "key"), bytes(32)
    agreed = integers(5, mode=Mode.MALICIOUS).round(bytes(32))
    client = Client(agreed, 0, identity=me, directory=north.pins, ledger=ledger)
    client.start()
    stored = client.suspend(key)
    layout = len("secagg client")
    later = stored[:layout] + bytes([stored[layout] + 1]) + stored[layout + 1 :]
    with refused(StateError, Code.VERSION) as caught:
        Client.resume(later, key, ledger, identity=me, directory=north.pins)
    assert quoted(str(caught.value))
    with refused(StateError, Code.WRONG_DIRECTORY) as caught:
        Client.resume(stored, key, ledger, identity=me, directory=swapped(north.pins, 1, 2))
    assert quoted(str(caught.value))
    for name, load in (("key", Identity.load), ("pins", Directory.load)):
        path = north.home / name
        path.write_text(path.read_text().replace(" v1\n", " v2\n", 1))
        with refused(IdentityError, Code.VERSION) as caught:
            load(path)
        assert quoted(str(caught.value).removeprefix(f"{path}: "))


# ---- the commands of the document ---------------------------------------------------------


def test_the_commands_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From top to bottom, at the site north; each leaves what the next one needs."""
    lines = [
        line
        for block in re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)
        for line in block.splitlines()
    ]
    keys = {
        f"${name.upper()}": Identity.generate().verify_key.hex() for name in [*MEMBERS, "coast"]
    }
    monkeypatch.chdir(tmp_path)
    for line in lines:
        words = [keys.get(word, word) for word in shlex.split(line, comments=True)]
        if words[0] == "cd":
            monkeypatch.chdir(words[1])
        elif words[:3] == ["python", "-m", "secagg"]:
            assert main(words[3:]) == 0, line
        else:
            subprocess.run(words, check=True)
        if words[3:5] == ["identity", "new"]:
            own = "$NORTH" if words[5] == "key" else "$NEW"
            keys[own] = Identity.stored_verify_key(words[5]).hex()
    pins = Directory.load("pins")
    assert [entry.name for entry in pins.entries] == ["north", "east", "mid", "coast"]
    assert len(pins.revoked) == 2
    assert pins.index_of(Identity.load("key").verify_key) == 0
    assert SqliteLedger("ledger")
