"""`secagg.integrations.nvflare`: sums over NVFlare's calls; a site that fails costs itself only.

Most tests call sites in this process, through NVFlare's own proxies: only the wire between them is
ours. Those of level long run the jobs of examples/nvflare.
"""

import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import children
import numpy as np
import pytest
from documents import programs
from levels import runs_at

import secagg
from secagg import Code, Phase

pytest.importorskip("nvflare", reason="the extra `nvflare` is not installed")

from nvflare.apis.signal import Signal
from nvflare.collab import CollabCallError, collab
from nvflare.collab.api._invocation import _InvocationDispatcher
from nvflare.collab.api.app import ClientApp, ServerApp
from nvflare.collab.api.exceptions import RunAborted
from nvflare.collab.api.proxy import Proxy

from secagg.integrations.nvflare import SecureSite, run_round

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "nvflare"
TRAINING = "over nvflare"
FORM = secagg.FixedPoint(clip=8.0, bits=20, max_weight=100)
MODEL = {"w": np.zeros((2, 3)), "b": np.ones(1, np.float32)}
METRICS = {"loss": secagg.Range(0.0, 10.0)}
LAYOUT = secagg.ModelLayout.of(MODEL, FORM, cohort=5, metrics=METRICS)
NAMES = [f"site-{number}" for number in range(1, 6)]
BAD = "site-3"


class Site(SecureSite):
    """A site that adds its number to each value, with its number as loss and weight."""

    training, layout = TRAINING, LAYOUT

    def __init__(self, name: str) -> None:
        self.number = int(name[-1])
        self.trained = 0

    def train(self, model):
        self.trained += 1
        for array in model.values():
            np.add(array, self.number, out=array)  # in place: the model is the site's own
        return model, {"loss": float(self.number)}, self.number


class Coordinator:
    """A server object, as NVFlare wants one."""

    @collab.main
    def run(self) -> None:
        """Runs nothing: tests call `run_round`."""


class Wire(_InvocationDispatcher):
    """Calls a site in this process, in the thread of the caller; may change what it answers."""

    def __init__(self, site: object, change: Callable[..., object], abort: Signal) -> None:
        super().__init__(abort)
        self.site = site
        self.change = change

    def call_target_in_group(self, gcc, func_name, *args, **kwargs):
        try:
            gcc.set_result(self.change(getattr(self.site, func_name), **kwargs))
        except Exception as error:
            # Of what a site raises, NVFlare brings the text.
            own = isinstance(error, CollabCallError | RunAborted)
            gcc.set_exception(error if own else CollabCallError(BAD, func_name, str(error)))


def honest(answer: Callable[..., object], payload: bytes) -> object:
    return answer(payload=payload)


class Group:
    """The proxies of five sites, of which one is or behaves differently."""

    def __init__(self, odd: Callable[[str], object] = Site, change=honest) -> None:
        self.sites = {name: (odd if name == BAD else Site)(name) for name in NAMES}
        self.abort = Signal()
        self.proxies = [
            self._proxy(name, Wire(site, change if name == BAD else honest, self.abort))
            for name, site in self.sites.items()
        ]

    def _proxy(self, name: str, wire: Wire) -> Proxy:
        at_server, interface = ServerApp(Coordinator()), ClientApp(wire.site).get_collab_interface()
        proxy = Proxy(at_server, name, name, wire, interface[""])
        for child in filter(None, interface):
            proxy.add_child(child, Proxy(at_server, f"{name}.{child}", "", wire, interface[child]))
        return proxy

    def run(self, rounds: secagg.Rounds, **more):
        return run_round(rounds, self.proxies, LAYOUT, MODEL, **more)


def plain(numbers: list[int]) -> float:
    """Returns the weighted mean of what sites of these numbers add."""
    return float(np.average(numbers, weights=numbers))


def require_sum_of(numbers: list[int], ended: tuple) -> None:
    model, metrics, outcome = ended
    assert isinstance(outcome, secagg.Completed), outcome
    assert model["w"] == pytest.approx(np.full((2, 3), plain(numbers)), abs=1e-4)
    assert model["b"] == pytest.approx(1 + plain(numbers), abs=1e-4)
    assert model["b"].dtype == np.float32
    assert metrics["loss"] == pytest.approx(plain(numbers), abs=1e-4)
    assert outcome.result.weight == sum(numbers)


def test_the_next_model_is_the_federated_average() -> None:
    group, rounds = Group(), secagg.Rounds(TRAINING, FORM)
    ended = group.run(rounds)
    require_sum_of([1, 2, 3, 4, 5], ended)
    assert rounds.history[-1].cohort == rounds.history[-1].survivors == tuple(NAMES)
    old = {**ended[0], "b": ended[0]["b"].astype(np.float64)}  # the same model, in another form
    model, _, outcome = run_round(rounds, group.proxies, LAYOUT, old)  # homes go on
    assert isinstance(outcome, secagg.Completed)
    assert model["w"] == pytest.approx(2 * ended[0]["w"], abs=1e-4)
    assert [site.trained for site in group.sites.values()] == [2] * 5
    assert (MODEL["w"] == 0).all()


# -- what a site may be, or do -----------------------------------------------------------------


class WithoutMethod:
    """A site that knows nothing of secure sums."""

    def __init__(self, name: str) -> None:
        """Takes what a site takes."""

    @collab.publish
    def other(self) -> None:
        """Is there, so that the object is one of NVFlare's."""


class WithoutLayout(SecureSite):
    """A site that forgot one of its words."""

    training = TRAINING

    def __init__(self, name: str) -> None:
        """Takes what a site takes."""


def giving(train: Callable[..., object]) -> type[Site]:
    return type("Odd", (Site,), {"train": train})


def of_layout(model: dict[str, np.ndarray], **more: object) -> type[Site]:
    layout = secagg.ModelLayout.of(model, FORM, cohort=5, metrics=METRICS)
    return type("Odd", (Site,), {"layout": layout} | more)


def raises(self, model) -> None:
    raise RuntimeError("no data today: patient 17")


def homeless(self) -> secagg.Home:
    raise OSError("/srv/hospital/secagg is not mounted")


def forgetful(self) -> secagg.Home:
    """Returns a home that forgets everything: each call is as in a new process."""
    return secagg.Home.in_memory(store=Forgetting())


class Forgetting(secagg.MemoryStore):
    """A store that was put back to an older state: there is nothing in it."""

    def get(self, *args: object) -> None:
        return None


def nan(self, model):
    model["w"][0, 0] = np.nan
    return model, {"loss": 0.0}, 1


ODD_SITES = {
    "without the method": (WithoutMethod, "gone", ""),
    "training that raises": (giving(raises), "refused", "training"),
    "a training that exits": (giving(lambda self, model: sys.exit(3)), "refused", "training"),
    "nothing to give": (giving(lambda self, model: None), "refused", "no_input"),
    "a vector in place of a triple": (
        giving(lambda self, model: model["w"]),
        "refused",
        "training",
    ),
    "NaN": (giving(nan), "refused", "training"),
    "no such metric": (giving(lambda s, model: (model, {"l": 1.0}, 1)), "refused", "training"),
    "weight too large": (giving(lambda s, m: (m, {"loss": 1.0}, 101)), "refused", "training"),
    "a larger layout": (of_layout({**MODEL, "w": np.zeros((3, 3))}), "refused", "policy_context"),
    "another shape": (of_layout({**MODEL, "w": np.zeros((3, 2))}), "refused", "policy_context"),
    "another training": (of_layout(MODEL, training="x"), "refused", "policy_context"),
    "no layout": (WithoutLayout, "gone", ""),
    "no home": (type("Odd", (Site,), {"home": homeless}), "gone", ""),
    "a home put back": (type("Odd", (Site,), {"home": forgetful}), "refused", ""),  # of one payload
}


@pytest.mark.parametrize("case", ODD_SITES)
def test_an_odd_site_costs_itself(case: str) -> None:
    odd, dropped, refused = ODD_SITES[case]
    rounds = secagg.Rounds(TRAINING, FORM)
    require_sum_of([1, 2, 4, 5], Group(odd).run(rounds))
    assert rounds.history[-1].dropped == {BAD: dropped}
    assert rounds.history[-1].refused == ({BAD: refused} if refused else {})


def other_version(answer, payload) -> bytes:
    data = bytearray(answer(payload=payload))
    data[2] += 1
    return bytes(data)


class FirstAgain:
    """Answers every payload with what it answered to the first one."""

    def __init__(self) -> None:
        self.first: object = None

    def __call__(self, answer, payload) -> object:
        self.first = self.first or answer(payload=payload)
        return self.first


def timed_out(answer, payload) -> None:
    raise CollabCallError(BAD, "secagg_answer", TimeoutError("after 60 seconds"))


ANSWERS = {
    "nothing": (lambda answer, payload: b"", "gone"),
    "None": (lambda answer, payload: None, "malformed"),
    "an array": (lambda answer, payload: np.zeros(3), "malformed"),
    "a text": (lambda answer, payload: "done", "malformed"),
    "garbage": (lambda answer, payload: b"garbage", "malformed"),
    "cut off": (lambda answer, payload: answer(payload=payload)[:-1], "malformed"),
    "another version": (other_version, "version"),
    "of an earlier phase": (FirstAgain(), "timeout"),
    "too late": (timed_out, "timeout"),
}


@pytest.mark.parametrize("case", ANSWERS)
def test_an_odd_answer_costs_the_site_that_sent_it(
    case: str, caplog: pytest.LogCaptureFixture
) -> None:
    change, dropped = ANSWERS[case]
    rounds = secagg.Rounds(TRAINING, FORM)
    with caplog.at_level("INFO", "secagg"):
        require_sum_of([1, 2, 4, 5], Group(change=change).run(rounds))
    assert rounds.history[-1].dropped == {BAD: dropped}
    assert f"{BAD} " in caplog.text


def test_a_payload_that_comes_twice_is_answered_once() -> None:
    def twice(answer, payload):
        first, second = answer(payload=payload), answer(payload=payload)
        assert first == second
        return second

    group = Group(change=twice)
    require_sum_of([1, 2, 3, 4, 5], group.run(secagg.Rounds(TRAINING, FORM)))
    assert group.sites[BAD].trained == 1


def test_a_round_with_too_few_sites_keeps_the_model() -> None:
    group, rounds = Group(), secagg.Rounds(TRAINING, FORM, attempts=9, tries=1)
    for name in NAMES[:3]:
        group.sites[name].train = raises.__get__(group.sites[name])
    model, metrics, outcome = group.run(rounds)
    assert isinstance(outcome, secagg.Failed)
    assert (model["w"] == 0).all()
    assert metrics == {}
    assert rounds.history[-1].refused == dict.fromkeys(NAMES[:3], "training")
    for name in NAMES[:3]:
        del group.sites[name].train
    require_sum_of([1, 2, 3, 4, 5], group.run(rounds))  # about the same model


def test_the_end_of_the_job_is_no_fault_of_a_site() -> None:
    group = Group()
    wire = group.proxies[2].backend
    wire.call_target_in_group = lambda *args, **kwargs: group.abort.trigger(True)
    rounds = secagg.Rounds(TRAINING, FORM)
    with pytest.raises(RunAborted):
        group.run(rounds)
    assert rounds.history == []


def test_a_round_that_was_left_goes_on_with_the_sites_that_are_given() -> None:
    """A job has ended in it, and NVFlare has given up a site since."""
    group, rounds = Group(), secagg.Rounds(TRAINING, FORM)

    def ended(*_: object) -> None:
        raise RunAborted

    with pytest.raises(RunAborted):
        secagg.run_round(rounds, ended, NAMES, LAYOUT, LAYOUT.take(MODEL))
    require_sum_of([1, 2, 3, 4], run_round(rounds, group.proxies[:4], LAYOUT, MODEL))
    [record] = rounds.history
    assert record.dropped == {NAMES[4]: "gone"}


def test_a_model_of_another_size_is_no_failed_training() -> None:
    """Sites take part no more after three of those in malicious mode."""
    other = secagg.ModelLayout.of({"w": np.zeros(5)}, FORM, cohort=5)
    group = Group()
    for _ in range(3):
        rounds = secagg.Rounds(TRAINING, FORM)
        run_round(rounds, group.proxies, other, {"w": np.zeros(5)})
        assert set(rounds.history[-1].refused.values()) == {"policy_context"}


def test_there_is_one_sum_over_a_model(memory_path: Path) -> None:
    """The difference of two, of which one is without a site, would be that site's update."""
    group, home = Group(), secagg.Home(memory_path / "server")
    rounds = secagg.Rounds(TRAINING, FORM, attempts=10, tries=1, home=home)
    group.run(rounds)
    for again in (rounds, secagg.Rounds(TRAINING, FORM, attempts=10, tries=1, home=home)):
        with pytest.raises(secagg.AttemptsExhaustedError, match="a sum over this model before"):
            run_round(again, group.proxies[:4], LAYOUT, MODEL)
    assert len(rounds.history) == 1


def test_wrong_arguments_plan_nothing() -> None:
    rounds = secagg.Rounds(TRAINING, FORM)
    for timeouts in (0, -1.0, float("nan"), {Phase.UNMASK: "1"}, {"training": 5.0}):
        with pytest.raises(secagg.ParameterError, match=r"timeouts.* must be"):
            Group().run(rounds, timeouts=timeouts)
    for clients in (NAMES, "site-1", 5, lambda timeout: Group().proxies):
        with pytest.raises(secagg.ParameterError, match="clients must be NVFlare's"):
            run_round(rounds, clients, LAYOUT, MODEL)
    with pytest.raises(secagg.ParameterError, match="layout must be"):
        run_round(rounds, Group().proxies, 6, MODEL)
    with pytest.raises(secagg.RangeError, match="NaN"):
        run_round(rounds, Group().proxies, LAYOUT, {**MODEL, "w": np.full((2, 3), np.nan)})
    assert rounds.history == []
    require_sum_of([1, 2, 3, 4, 5], Group().run(rounds, timeouts={Phase.UNMASK: 50.0}))
    assert rounds.history[-1].number == 0


# -- what the server gets to see ---------------------------------------------------------------


def test_a_training_that_the_server_could_call_is_refused() -> None:
    with pytest.raises(secagg.ParameterError, match=r"Open\.train has @collab\.publish") as caught:

        class Open(SecureSite):
            """As sites of plain jobs are written."""

            @collab.publish
            def train(self, model):
                """Gives the server the model."""

    assert caught.value.code == Code.ARGUMENT
    interface = ClientApp(Site(BAD)).get_collab_interface()
    assert [name for each in interface.values() for name in each] == ["secagg_answer"]


def test_the_server_sees_no_text_of_a_site(caplog: pytest.LogCaptureFixture) -> None:
    said = []

    def noted(answer, payload):
        try:
            said.append(answer(payload=payload))
        except Exception as error:
            shown = error
            while shown is not None:  # as a traceback prints it
                said.append(str(shown).encode())
                shown = shown.__cause__ or (
                    None if shown.__suppress_context__ else shown.__context__
                )
            raise
        return said[-1]

    with caplog.at_level("INFO", "secagg"):
        for odd in (type("Odd", (Site,), {"home": homeless}), giving(raises)):
            Group(odd, noted).run(secagg.Rounds(TRAINING, FORM))
    assert b"see the log of the site" in said[0]
    assert not [each for each in said if b"hospital" in each or b"patient" in each]
    assert "/srv/hospital" in caplog.text


def test_no_home_is_made_where_the_job_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """NVFlare looks at all attributes of a site where its job is defined, too."""
    monkeypatch.setattr(Site, "home", homeless)
    site = Site(BAD)
    ClientApp(site)
    assert vars(site) == {"number": 3, "trained": 0}


# -- malicious mode ----------------------------------------------------------------------------


def test_homes_on_disk_hold_identities_and_pins(memory_path: Path) -> None:
    keys = {name: secagg.Identity.generate() for name in NAMES}
    pins = secagg.Directory.of([(name, key.verify_key) for name, key in keys.items()])
    keys["site-4"] = keys["site-5"]  # a site with the key of another
    for name, key in keys.items():
        (memory_path / name).mkdir(0o700)
        key.save(memory_path / name / "identity")
        pins.save(memory_path / name / "pins")
    policy = secagg.Policy(mode=secagg.Mode.MALICIOUS, min_survivors=3)

    class AtHome(Site):
        def home(self) -> secagg.Home:
            return secagg.Home(memory_path / f"site-{self.number}", policy=policy)

    group = Group()
    for proxy, name in zip(group.proxies, NAMES, strict=True):
        proxy.backend.site = AtHome(name)
    rounds = secagg.Rounds(TRAINING, FORM, directory=pins, min_survivors=3)
    require_sum_of([1, 2, 3, 5], group.run(rounds))
    assert rounds.history[-1].refused == {"site-4": "wrong_identity"}

    for proxy, name in zip(group.proxies, NAMES, strict=True):  # the job begins once more
        proxy.backend.site = AtHome(name)
    again = secagg.Rounds(TRAINING, FORM, directory=pins, min_survivors=3)
    _, _, outcome = group.run(again)  # about the same: the homes know
    assert isinstance(outcome, secagg.Failed)
    assert {*again.history[-1].refused.values()} == {"wrong_identity", "repeated_contribution"}

    plain = secagg.Rounds(TRAINING, FORM)
    _, _, outcome = group.run(plain)
    assert isinstance(outcome, secagg.Failed)
    assert {*plain.history[-1].refused.values()} <= {"policy_mode", "downgrade"}


# -- time, and whole jobs ------------------------------------------------------------------------


@runs_at("programs")
def test_a_phase_ends_however_long_nvflare_waits() -> None:
    """NVFlare's own limit begins anew with each byte that trickles in."""
    released = threading.Event()

    def trickles(answer, payload):
        message = answer(payload=payload)
        if group.sites[BAD].trained:
            released.wait(30)  # less than the default of a phase
        return message

    group, rounds = Group(change=trickles), secagg.Rounds(TRAINING, FORM)
    try:
        require_sum_of([1, 2, 4, 5], group.run(rounds, timeouts={Phase.MASKED_INPUT: 5.0}))
    finally:
        released.set()
    assert rounds.history[-1].dropped == {BAD: "timeout"}


def processes_of(folder: Path) -> list[int]:
    """Returns the processes that have a folder in their command line."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if os.fsencode(folder) in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
    return found


def listening(processes: list[int]) -> set[str]:
    """Returns the addresses, as the kernel prints them, on which processes listen."""
    sockets = set()
    for process in processes:
        with suppress(OSError):
            for fd in Path(f"/proc/{process}/fd").iterdir():
                sockets |= {*re.findall(r"socket:\[(\d+)\]", str(fd.readlink()))}
    rows = [
        line.split()
        for table in ("tcp", "tcp6")
        for line in Path("/proc/net", table).read_text().splitlines()[1:]
    ]
    return {row[1].partition(":")[0] for row in rows if row[3] == "0A" and row[9] in sockets}


@runs_at("programs")
@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="no /proc")
@pytest.mark.parametrize(
    ("program", "seconds", "lost", "last"),
    [
        ("simulate.py", 180, "refused", "site-1, site-2, site-3, site-4, site-5"),
        ("processes.py", 360, "timeout", "site-1, site-2, site-4, site-5"),
    ],
)
def test_a_job_goes_on_without_the_site_that_it_loses(
    program: str, seconds: float, lost: str, last: str, tmp_path: Path
) -> None:
    command, env = [sys.executable, program], children.environment(TMPDIR=str(tmp_path))
    addresses, until = set(), time.monotonic() + seconds
    with (tmp_path / "out").open("w+") as out:
        try:
            with children.started(command, cwd=EXAMPLE, env=env, stdout=out, stderr=out) as child:
                while child.poll() is None and time.monotonic() < until:
                    addresses |= listening([child.pid, *processes_of(tmp_path)])
                    time.sleep(0.2)
            left = processes_of(tmp_path)
        finally:
            for process in processes_of(tmp_path):
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
        out.seek(0)
        text = out.read()
    assert (child.returncode, left) == (0, []), text
    assert addresses == {"0100007F"}  # 127.0.0.1
    rounds = re.findall(
        r"^round \d: sum of (.*); dropped (.*); loss .* by at most (.*)$", text, re.M
    )
    everybody = "site-1, site-2, site-3, site-4, site-5"
    assert [each[0] for each in rounds] == [everybody, everybody.replace("site-3, ", ""), last]
    assert rounds[1][1] == f"{{'site-3': '{lost}'}}"
    assert all(float(each[2]) < 1e-6 for each in rounds)


@runs_at("programs")
def test_the_job_of_the_document_runs(tmp_path: Path) -> None:
    (tmp_path / "job.py").write_text(programs("NVFLARE.md")["job.py"])
    env = children.environment(NVFLARE_SIMULATOR_WORKSPACE_ROOT=str(tmp_path / "simulation"))
    ended = children.run([sys.executable, "job.py"], cwd=tmp_path, env=env)
    assert ended.returncode == 0, ended.stderr
    assert len(re.findall(r"^a sum of 5 {'loss': ", ended.stdout, re.M)) == 3, ended.stdout
