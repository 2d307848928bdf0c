"""One round at its server, over connections that come and go."""

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor

from ..drivers.conductor import Conductor, Observer, Snapshots, require_server
from ..drivers.timeouts import DEFAULT_TIMEOUT, read_timeouts
from ..drivers.untold import note_untold, untold_outcome
from ..events import Completed, Failed, Phase
from ..interfaces import ServerMachine
from ..params.checks import require_seconds
from .companions import Companions, noting, require_one_each
from .links import Net, RoutedNet
from .round_loop import RoundLoop
from .worker import Worker, stoppable


async def serve(
    server: ServerMachine,
    net: Net,
    timeouts: float | Mapping[Phase, float] = DEFAULT_TIMEOUT,
    executor: Executor | None = None,
    store: Snapshots | None = None,
    *,
    task: bytes = b"",
    members: Sequence[int] = (),
    attempt: int = 0,
    observe: Observer | None = None,
    grace: float = 5.0,
) -> Completed | Failed:
    """Serves one round, and returns how it ended.

    A phase ends when all who can answer have, or when its time is up. A party whose connection is
    gone has `grace` seconds to come back; it then gets what it missed. A party that comes back
    later, while the phase goes on, takes part again. At the end all parties are told (`Over`).

    The machine, its jobs and the store are called in one thread, one call at a time. If this is
    cancelled, it waits for the call that runs (one job at most), also if it is cancelled again, and
    nothing of it goes on. The
    round can then be continued: `serve` again with the same server, which returns the outcome if
    there was one already; or, after the process died, with the one that `Home.resume_server`
    returns. In a round that goes on, parties have the whole phase to come back.

    Args:
        server: a new server, or one that goes on.
        net: the connections of the cohort; see `Hub.net`.
        timeouts: seconds for each phase, one number or a dict by `Phase`; a phase that is not
            in it has 60.
        executor: runs the server's jobs, as in `run_jobs`.
        store: where the state is stored at the beginning of each phase, such as a `Home`.
        task: what parties compute their input from, such as a model; b"" if they know. Every party
            that has not read it yet costs a copy in memory.
        members: indices of the cohort in the directory, ascending; empty if the cohort is the
            whole directory, or there is none.
        attempt: number of the attempt on what the round is about, from 0.
        observe: called with `PhaseEnded` and `RoundEnded`, in the machine's thread.
        grace: seconds that a party may be away; 0 drops it at once.

    With a store that keeps notes (`Home.keep_note`), task, members and attempt are stored with the
    first state; a round that goes on takes them from there.

    Raises:
        ParameterError: `server` is no server, a time is not positive and finite (`grace` may be 0),
            members or attempt are impossible, or members or `net.names` are not one for each party.
        StateError: the ledger or the store failed. The round can be continued.
        LocalProtocolError: the net named a party that does not exist, or the round is over.
        Exception: what the net raised. The round can be continued.
    """
    require_server(server)
    seconds = read_timeouts(timeouts, server.phases)
    patience = require_seconds("grace", grace)
    about = Companions.of(server, task, members, attempt)
    if isinstance(net, RoutedNet):
        require_one_each("the net", len(net.names), "names", server)
    goes_on = server.phase is not None
    with Worker() as worker:
        store, about = await worker.call(noting, server, store, about, goes_on)
        conductor = Conductor(server, executor, store, observe, stoppable(server, worker))
        conductor.outcome = untold_outcome(server)
        playing = RoundLoop(conductor, net, worker, about, seconds, patience, goes_on)
        try:
            return await playing.play()
        except BaseException:
            note_untold(server, conductor.outcome)
            raise
