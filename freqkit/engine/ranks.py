"""The processes that share a search: started by torchrun, on one machine or many, with a GPU each or on CPUs.

Every rank reads the images once, draws the same masks and walks through the same calls; only tiles are shared. A
call's tiles are cut into runs of neighbours, long ones first (guided self-scheduling, Polychronopoulos and Kuck 1987),
and a rank takes the next run by one atomic `add` on the TCPStore that torch.distributed has anyway: no files to claim
with (a claim of a dead rank would outlive it, and network file systems disagree about who came first), one message
for several tiles, nothing left over after a restart. Which rank computes a tile is not on record and does not matter:
a tile is the same wherever it is computed, and rank 0 adds all in their own order.

A rank appends what it computes to a journal of its own (`journal-3.bin`). When a call's tiles are done the others send
their records to rank 0, which appends them to `journal.bin`, adds up, and tells all the result. So a rank that dies
takes nothing with it: torchrun restarts the ranks, rank 0 first takes in every journal that it finds, and only what is
missing is computed.
"""

import contextlib
import ctypes
import json
import os
import socket
import sys
import time
from datetime import timedelta

import numpy as np

from freqkit.engine import lifeline
from freqkit.errors import UsageError, torchrun

PATIENCE = timedelta(hours=6)  # a rank waits so long for another that lives
_PIECE = 1 << 26  # bytes sent at once


class RankLost(RuntimeError):
    """Another rank failed or died, so that this one cannot go on either.

    `spoken`: the other rank is known to tell why.
    """

    def __init__(self, sentence, spoken=False):
        self.spoken = spoken
        super().__init__(sentence)


class Alone:
    """One process: the same calls, answered at once."""

    rank, size, first, launcher = 0, 1, True, None

    def agree(self, value):
        """Rank 0's `value` (JSON), on every rank."""
        return value

    def agree_arrays(self, arrays):
        """Rank 0's dict of numpy arrays, on every rank; the others may give None."""
        return arrays

    def facts(self, value):
        """Every rank's `value` (JSON) as a list by rank, on every rank."""
        return [value]

    def all_well(self, make):
        """`make()` on this rank, once every rank has come so far."""
        return make()

    def failed(self):
        """Whether this rank is the first to fail, so that it is its place to speak."""
        return True


_current = Alone()
_quiet, _joined = False, False


def joined():
    """Whether this process has ever been one of several ranks."""
    return _joined


def quiet():
    """Whether another rank has told, or will tell, why this one left `join` by an exception."""
    return _quiet


def current():
    """The ranks of this process: `Alone` outside `join`."""
    return _current


def expected():
    """How many processes torchrun started with this one; 1 without it."""
    return torchrun()[1]


@contextlib.contextmanager
def join():
    """Join the other processes that torchrun started; alone when there are none.

    Inside, `Scorer.score`, `Scorer.race` and `RunDirectory` are collective: every rank must call them in the same
    order with the same arguments, as the searches do.

    Example:
        >>> with join() as ranks:
        ...     ranks.rank, ranks.size
        (0, 1)
    """
    global _current, _quiet, _joined
    if isinstance(_current, Ranks):
        yield _current
        return
    _joined = expected() > 1
    try:
        _current = Ranks() if _joined else Alone()
        _current.launcher = _launcher()
        yield _current
        if isinstance(_current, Ranks):
            _current.barrier()
            _current.well = True
    except BaseException as error:
        _quiet = getattr(error, "spoken", False) or not _current.failed()
        raise
    finally:
        leaving, _current = _current, Alone()
        if isinstance(leaving, Ranks):
            leaving.close()


@contextlib.contextmanager
def _stdout_apart():
    """What is printed below Python goes to stderr: gloo of torch 2.10 says on stdout who has come, before any JSON."""
    library = ctypes.CDLL(None)
    sys.stdout.flush()
    try:
        kept = os.dup(1)
    except OSError:  # closed: nothing can be printed there
        yield
        return
    try:
        library.fflush(None)
        os.dup2(2, 1)
        yield
        library.fflush(None)
    finally:
        os.dup2(kept, 1)
        os.close(kept)


class Ranks:
    """This process among the others; see `join`. Collectives run on gloo: what is exchanged lies on the CPU."""

    launcher = None

    def __init__(self):
        import torch.distributed as dist

        self.rank, self.size, _ = torchrun()
        self.first, self.well, self.waits, self.calls = self.rank == 0, False, None, 0
        by_hand = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
        self.hosting, self.lifeline = self.first and by_hand, None
        host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        try:
            store = dist.TCPStore(
                host, port, self.size, is_master=self.hosting, timeout=timedelta(seconds=lifeline.JOINING),
                wait_for_workers=False, multi_tenant=True,
            )  # fmt: skip
            # On one machine the agent's store outlives a restart, with the addresses of the dead in it. (Several
            # machines count their restarts apart, but get a new store each time.)
            attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") if _one_machine() else "any"
            self.store = dist.PrefixStore(f"freqkit/{attempt}", store)
            if by_hand:
                self.lifeline = lifeline.Lifeline(self.store, self.rank, self.size, host, lambda: self.waits)
            with self._waiting(), _stdout_apart():
                dist.init_process_group(
                    "gloo", store=self.store, rank=self.rank, world_size=self.size, timeout=PATIENCE
                )
        except Exception as error:
            if self.lifeline is not None:
                self.lifeline.close(False)
            sentence = f"rank {self.rank} of {self.size} could not reach the others: {_one_line(error)}"
            raise RankLost(sentence, getattr(error, "spoken", False)) from error

    @contextlib.contextmanager
    def _waiting(self):
        """What waits for other ranks, and may wait in vain."""
        outer, self.waits = self.waits, self.waits or time.monotonic()
        try:
            yield
        finally:
            self.waits = outer

    # ---- collectives ----------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _together(self):
        try:
            with self._waiting():
                yield
        except RuntimeError as error:
            raise RankLost(
                f"rank {self.rank} lost another rank, which failed or was killed; what was scored is kept."
            ) from error

    def barrier(self):
        import torch.distributed as dist

        with self._together():
            dist.barrier()

    def _broadcast(self, data):
        """Rank 0's bytes, on every rank."""
        import torch
        import torch.distributed as dist

        with self._together():
            length = torch.tensor([len(data) if self.first else 0])
            dist.broadcast(length, 0)
            whole = bytearray(data) if self.first else bytearray(int(length))
            for at in range(0, len(whole), _PIECE):
                dist.broadcast(torch.frombuffer(whole, dtype=torch.uint8, offset=at)[:_PIECE], 0)
        return bytes(whole)

    def _gather(self, data, take):
        """Calls `take(rank, bytes)` on rank 0 for what every other rank gave, in their order, piece by piece."""
        import torch
        import torch.distributed as dist

        with self._together():
            lengths = [torch.zeros(1, dtype=torch.int64) for _ in range(self.size)] if self.first else None
            dist.gather(torch.tensor([len(data)]), lengths, 0)
            if not self.first:
                for at in range(0, len(data), _PIECE):
                    dist.send(torch.frombuffer(bytearray(data[at : at + _PIECE]), dtype=torch.uint8), 0)
                return
            for rank in range(1, self.size):
                whole = bytearray(int(lengths[rank]))
                for at in range(0, len(whole), _PIECE):
                    dist.recv(torch.frombuffer(whole, dtype=torch.uint8, offset=at)[:_PIECE], rank)
                take(rank, bytes(whole))

    def agree(self, value):
        return json.loads(self._broadcast(json.dumps(value).encode() if self.first else b""))

    def agree_arrays(self, arrays):
        head, body = b"", b""
        if self.first:
            arrays = {name: np.ascontiguousarray(value) for name, value in arrays.items()}
            head = [[name, value.dtype.str, list(value.shape)] for name, value in arrays.items()]
            body = b"".join(value.tobytes() for value in arrays.values())
        head = self.agree(head if self.first else None)
        body, at, result = self._broadcast(body), 0, {}
        for name, dtype, shape in head:
            value = np.frombuffer(body, dtype, int(np.prod(shape, dtype=np.int64)), at).reshape(shape)
            result[name] = value.copy()
            at += value.nbytes
        return result

    def facts(self, value):
        got = [value]
        self._gather(json.dumps(value).encode(), lambda rank, data: got.append(json.loads(data)))
        return self.agree(got if self.first else None)

    def all_well(self, make):
        """`make()` on this rank; when it fails on any, every rank raises."""
        result, error = None, None
        try:
            result = make()
        except Exception as caught:
            error = caught
        failures = self.facts(None if error is None else str(error))
        if error is not None:
            raise error
        for rank, failure in enumerate(failures):
            if failure is not None:
                raise RankLost(f"rank {rank} failed: {failure}", spoken=True)
        return result

    # ---- tiles ----------------------------------------------------------------------------------------------

    def claim(self, count):
        """Numbers of 0...count - 1, each given to one rank, as they are asked for."""
        self.calls += 1
        chunks = runs(count, self.size)
        while (number := self._next()) < len(chunks):
            yield from range(*chunks[number])

    def _next(self):
        with self._together():
            return self.store.add(f"claim/{self.calls}", 1) - 1

    def done(self, amount=None):
        """Tell that `amount` is done; with None, how much all ranks have told in this call."""
        return self.store.add(f"done/{self.calls}", amount or 0)

    def collect(self, journal):
        """Move the records of the other ranks' journals to rank 0's."""

        def take(rank, data):
            journal.append(data, f"rank {rank}'s records")

        self._gather(b"" if self.first else journal.records(), take)
        if self.first:
            journal.flush()
        self.barrier()
        if not self.first:
            journal.clear()

    # ---- the end --------------------------------------------------------------------------------------------

    def failed(self):
        try:
            with self._waiting():
                count = self.store.add("failed", 1)
            end = time.monotonic() + 2
            # Without torchrun's agent the store dies with rank 0: let the others ask it who was first.
            while self.hosting and self.store.add("failed", 0) < self.size and time.monotonic() < end:
                time.sleep(0.02)
            return count == 1
        except Exception:
            return True  # the store is gone: better twice than not at all

    def close(self):
        import torch.distributed as dist

        with contextlib.suppress(Exception), self._waiting():  # a group with dead members may refuse
            dist.destroy_process_group()
        if self.lifeline is not None:
            self.lifeline.close(self.well)


def runs(count, ranks):
    """Runs of neighbours [(first, last + 1), ...] that cover 0...count - 1: each half of a fair share of what is left.

    Example:
        >>> runs(20, 2)
        [(0, 5), (5, 9), (9, 12), (12, 14), (14, 16), (16, 17), (17, 18), (18, 19), (19, 20)]
    """
    chunks, at = [], 0
    while at < count:
        length = max(1, -(-(count - at) // (2 * ranks)))
        chunks.append((at, min(at + length, count)))
        at += length
    return chunks


def share(tiles, compute, *, journal, progress, check, layout=None, counted=False):
    """Compute tiles, or read them from the journal, and give them in their order.

    Args:
        tiles: list of (name, forwards, what); names are the journal's keys.
        compute: called with `what`; gives a dict of numpy arrays.
        journal: a `freqkit.engine.Journal`, or None.
        progress: told of every tile.
        check: None, or called after every tile; may raise.
        layout: called with `what`; what a record of the journal must hold, see `Journal.get`. None: anything.
        counted: whether records tell the forwards they took; else their names do.

    Yields:
        (what, arrays, whether it was read from the journal), in the order of `tiles`; on rank 0 alone.
    """
    ranks = current()
    if ranks.size == 1:
        for name, amount, what in tiles:
            arrays = journal.get(name, layout and layout(what)) if journal is not None else None
            is_resumed = arrays is not None
            if not is_resumed:
                arrays = compute(what)
                if journal is not None:
                    journal.put(name, forwards=amount if counted else None, **arrays)
            progress.advance(amount, resumed=is_resumed)
            yield what, arrays, is_resumed
            if check is not None:
                check()
        return
    with contextlib.ExitStack() as stack:
        if journal is None:
            journal = stack.enter_context(_passing_journal())
        todo = ranks.agree([i for i, (name, *_) in enumerate(tiles) if name not in journal])
        if read := sum(amount for _, amount, _ in tiles) - sum(tiles[i][1] for i in todo):
            progress.advance(read, resumed=True)
        told = _Told(ranks, progress)
        for i in ranks.claim(len(todo)):
            name, amount, what = tiles[todo[i]]
            journal.put(name, forwards=amount if counted else None, **compute(what))
            told.add(amount)
            if check is not None:
                check()
        told.add(0, now=True)
        ranks.collect(journal)
        told.finish(sum(tiles[i][1] for i in todo))
        if not ranks.first:
            return
        missing = set(todo)
        for i, (name, _, what) in enumerate(tiles):
            yield what, journal.get(name, layout and layout(what)), i not in missing


def resumed(journal, names, layout=None):
    """What rank 0's journal holds under some of its `names`, on every rank: dict of name -> dict of numpy arrays.

    `layout` is called with a name and tells what its record must hold, see `Journal.get`; None: anything.

    Between calls of `share`, that journal alone has what an earlier session, or another rank, wrote.

    Example:
        >>> import tempfile
        >>> from freqkit.engine import Journal
        >>> with Journal(tempfile.mkdtemp() + "/journal") as journal:
        ...     journal.put("a", correct=[1, 2])
        ...     list(resumed(journal, ["a", "b"]))
        ['a']
    """
    group, held = current(), {}
    if group.first and journal is not None:
        held = {
            f"{name} {what}": value
            for name in names
            if name in journal
            for what, value in journal.get(name, layout and layout(name)).items()
            if layout is None or what in layout(name)
        }
    found = {}
    for key, value in group.agree_arrays(held).items():
        name, what = key.split(" ")
        found.setdefault(name, {})[what] = value
    return found


class _Told:
    """What all ranks have done, shown by rank 0; a message a second at most."""

    def __init__(self, ranks, progress, every=1.0):
        self.ranks, self.progress, self.every = ranks, progress, every
        self.waiting, self.shown, self.spoke = 0, 0, time.monotonic()

    def add(self, amount, now=False):
        self.waiting += amount
        if now or time.monotonic() - self.spoke >= self.every:
            with self.ranks._together():
                self._show(self.ranks.done(self.waiting))
            self.waiting, self.spoke = 0, time.monotonic()

    def finish(self, total):
        self._show(total)

    def _show(self, done):
        if self.ranks.first and done > self.shown:
            self.progress.advance(done - self.shown)
            self.shown = done


@contextlib.contextmanager
def _passing_journal():
    """A journal for one call of a search that keeps none."""
    import tempfile

    from freqkit.engine.journal import Journal

    with tempfile.TemporaryDirectory() as folder, Journal(os.path.join(folder, "journal.bin")) as journal:
        yield journal


def on_first(make, follow=None):
    """The JSON that `make()` gives on rank 0, on every rank; the others may `follow` it, and may fail in it."""
    ranks = current()
    decided = ranks.agree(ranks.all_well(lambda: make() if ranks.first else None))
    if follow is not None and ranks.size > 1:
        ranks.all_well(lambda: None if ranks.first else follow(decided))
    return decided


def about_this_rank(device):
    """What run.json says of a rank."""
    import torch

    return {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "device": str(device),
        "threads": torch.get_num_threads(),
    }


def same_everywhere(identity, explain):
    """Raise on the ranks whose identity differs from rank 0's; `explain(theirs)` names the difference."""
    ranks = current()
    theirs = ranks.agree(identity)

    def compare():
        if theirs != identity:
            raise UsageError(f"all ranks must be given the same; this one differs in {explain(theirs)}.")

    ranks.all_well(compare)


def _launcher():
    """The torchrun that started this process, by host, process number and time of birth; None without one.

    It outlives the restarts of its processes, so a run that it began is its own to continue.
    """
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return None
    parent = os.getppid()
    try:
        with open(f"/proc/{parent}/stat", encoding="ascii", errors="replace") as file:
            born = file.read().rpartition(")")[2].split()[19]
    except OSError:
        born = "?"
    return f"{socket.gethostname()}/{parent}/{born}"


def _one_machine():
    return os.environ.get("GROUP_WORLD_SIZE", "1") == "1"


def _one_line(error):
    return (str(error).splitlines() or [""])[0][:200]
