"""Who computes? Independent pieces of work here, in processes of this machine, or on a Dask cluster.

The work (a callable) travels once to every worker, as one block of bytes; after that only the items travel, and the
results. A worker does one piece at a time with one thread: IPOPT is not thread-safe, and a sum that is split over
threads need not come out the same twice.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import dataclasses
import hashlib
import importlib.util
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from bcfl_opt.distributions import versions
from bcfl_opt.errors import BcflOptError, InputError, unknown_name
from bcfl_opt.threads import one_thread

#: Seconds that a Dask scheduler has to answer, and that one without workers has to find one.
SCHEDULER_PATIENCE = 5.0
WORKER_PATIENCE = 30.0
#: Pieces of work handed out ahead, per worker: enough that none waits, few enough that little is lost with a worker.
AHEAD = 2
#: Bytes of work that Dask's scheduler may keep for its workers.
SMALL = 1_000_000

Work = Callable[[Any], Any]


class WorkerLostError(BcflOptError, RuntimeError):
    """A worker process died, which no exception of Python's explains; what was finished before is kept."""


def results(
    executor: Any, work: Work, items: Sequence[Any], data: Sequence[Any] | None = None
) -> Iterator[tuple[int, Any]]:
    """Compute ``work(item)`` for every item; yields (position of the item, result) as they come.

    Parameters
    ----------
    executor : None or 1: here, one after the other. "processes": a process for every core; a whole number: so many
        processes; the name of a joblib backend. A ``dask.distributed.Client``, or a scheduler's address such as
        "tcp://10.0.0.5:8786": on that cluster.
    work : anything cloudpickle can carry. items : small things to tell the pieces apart.
    data : Dask's delayed objects, one an item; then ``work((item, value))`` is computed where the value is made.

    Raises
    ------
    InputError : the executor cannot be used. WorkerLostError : a worker died. Whatever ``work`` raises.
    """
    if _is_dask_client(executor):
        return _on_dask(executor, work, items, data)
    if isinstance(executor, str) and ":" in executor:
        return _at_address(executor, work, items, data)
    if data is not None:
        work, items = _WithData(work), list(zip(items, data, strict=True))
    if executor is None or (executor == 1 and not isinstance(executor, bool)):
        return _here(work, items)
    backend, number = _joblib_backend(executor)
    return _in_processes(backend, number, work, items)


@dataclasses.dataclass(frozen=True)
class _WithData:
    """Work whose items come with a delayed object, computed here and now."""

    work: Work

    def __call__(self, item: tuple[Any, Any]) -> Any:
        return self.work((item[0], item[1].compute(scheduler="synchronous")))


def _here(work: Work, items: Sequence[Any]) -> Iterator[tuple[int, Any]]:
    for position, item in enumerate(items):
        yield position, _alone(work, item)


_one_at_a_time = threading.RLock()


def _alone(work: Work, item: Any) -> Any:
    with _one_at_a_time, one_thread():
        return work(item)


# ---------------------------------------------------------------------- work on its way to workers


def _packed(work: Work) -> tuple[Any, str]:
    """The work as an array of bytes, which joblib and Dask hand to a process once, and its fingerprint."""
    import cloudpickle
    import numpy as np

    content = cloudpickle.dumps(work)
    return np.frombuffer(content, dtype=np.uint8), hashlib.sha256(content).hexdigest()


_unpacked: dict[str, Work] = {}


def _handed(content: Any) -> Any:
    return content


def _perform(content: Any, fingerprint: str, item: Any, *value: Any) -> Any:
    """In a worker: one piece of work, unpacked on first use; ``value`` is what its delayed object came to."""
    import cloudpickle

    with _one_at_a_time:
        if fingerprint not in _unpacked:
            _unpacked.clear()
            _unpacked[fingerprint] = cloudpickle.loads(memoryview(content))
        return _alone(_unpacked[fingerprint], (item, *value) if value else item)


# ---------------------------------------------------------------------- processes


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _joblib_backend(executor: Any) -> tuple[str, int]:
    if executor == "processes":
        return "loky", cores()
    if isinstance(executor, int) and not isinstance(executor, bool):
        if executor < 1:
            raise InputError(f'executor: {executor} is no number of processes; "processes" takes one for every core')
        return "loky", executor
    if isinstance(executor, str):
        from joblib.parallel import BACKENDS

        if executor.startswith("thread"):
            raise InputError(f'executor: {executor!r}: IPOPT is not thread-safe; use "processes"')
        able = [name for name, kind in BACKENDS.items() if kind.supports_return_generator and name != "threading"]
        known = ["processes", *able]
        if executor not in known:
            address = 'a whole number, a Dask Client or an address such as "tcp://host:8786" are executors too'
            raise InputError(f"{unknown_name('executor', executor, known)} And {address}.")
        return executor, cores()
    raise InputError(
        f'executor: expected None, "processes", a whole number, a dask.distributed.Client or its address, not {executor!r}'
    )


def _in_processes(backend: str, number: int, work: Work, items: Sequence[Any]) -> Iterator[tuple[int, Any]]:
    import joblib
    from joblib.externals.loky.process_executor import BrokenProcessPool, TerminatedWorkerError

    content, fingerprint = _packed(work)
    tasks = (joblib.delayed(_numbered)(position, content, fingerprint, item) for position, item in enumerate(items))
    threads = {"inner_max_num_threads": 1} if backend == "loky" else {}  # before a worker loads any BLAS
    try:
        with joblib.parallel_config(backend=backend, **threads):
            # batch_size 1: results of a batch come together, and would be lost together
            parallel = joblib.Parallel(
                n_jobs=min(number, max(len(items), 1)),
                return_as="generator_unordered",
                batch_size=1,
                pre_dispatch=f"{AHEAD}*n_jobs",
            )
            yield from parallel(tasks)
    except (BrokenProcessPool, TerminatedWorkerError) as error:
        raise WorkerLostError(
            f"a worker process died, killed for want of memory or by a crash: {_first(error)}"
        ) from error


def _numbered(position: int, content: Any, fingerprint: str, item: Any) -> tuple[int, Any]:
    return position, _perform(content, fingerprint, item)


def _first(error: BaseException) -> str:
    return str(error).strip().split("\n")[0] or type(error).__name__


# ---------------------------------------------------------------------- Dask


def _is_dask_client(executor: Any) -> bool:
    return any(
        kind.__module__.startswith("distributed.") and kind.__name__ == "Client" for kind in type(executor).__mro__
    )


@contextlib.contextmanager
def dask_client(address: str) -> Iterator[Any]:
    """A client of the scheduler at this address, or an :class:`InputError` within seconds."""
    if importlib.util.find_spec("distributed") is None:
        raise InputError(f"executor {address!r}: Dask is not installed; pip install 'bcfl_opt[dask]'")
    from distributed import Client

    # A thread of its own, because a notebook's thread runs an event loop already.
    with concurrent.futures.ThreadPoolExecutor(1) as thread:
        try:
            thread.submit(asyncio.run, _greeted(address)).result()
        except (
            Exception
        ) as error:  # what answers may be anything: a web server's greeting reads as a length to allocate
            raise InputError(
                f"executor: no Dask scheduler answers at {address!r} within {SCHEDULER_PATIENCE:g} s ({_first(error)})"
            ) from error
    client = Client(address, timeout=SCHEDULER_PATIENCE, set_as_default=False)
    try:
        yield client
    finally:
        client.close()


async def _greeted(address: str) -> None:
    """Ask who is there; raises unless it is a Dask scheduler."""
    from distributed.core import connect

    async with asyncio.timeout(SCHEDULER_PATIENCE):
        comm = await connect(address, timeout=SCHEDULER_PATIENCE)
        try:
            await comm.write({"op": "identity", "reply": True})
            answer = await comm.read()
        finally:
            comm.abort()
    if not isinstance(answer, dict) or answer.get("type") != "Scheduler":
        raise ValueError("something else does")


def _at_address(
    address: str, work: Work, items: Sequence[Any], data: Sequence[Any] | None
) -> Iterator[tuple[int, Any]]:
    with dask_client(address) as client:
        yield from _on_dask(client, work, items, data)


def checked_client(client: Any) -> Any:
    """The client, if its cluster can be used: it answers, it has workers, and they have our versions."""
    if client.asynchronous or client.status != "running":
        what = "is asynchronous" if client.asynchronous else f"is {client.status}"
        raise InputError(f"executor: the Dask client {what}; pass one that is connected and waits for results")
    try:
        client.wait_for_workers(1, timeout=WORKER_PATIENCE)
    except TimeoutError as error:
        raise InputError(
            f"executor: the Dask scheduler at {client.scheduler.address} has no workers (waited {WORKER_PATIENCE:g} s); "
            "start some, or wait for them with client.wait_for_workers(1)"
        ) from error
    here = versions()
    try:
        there = client.run(versions)
    except (ImportError, AttributeError) as error:
        raise InputError(
            f"executor: the Dask workers cannot import bcfl_opt ({_first(error)}); install it there"
        ) from error
    for worker, found in there.items():
        differ = [f"{name} {found.get(name, 'missing')}" for name in here | found if found.get(name) != here.get(name)]
        if differ:
            raise InputError(
                f"executor: the Dask worker {worker} has {', '.join(differ)}, unlike this process; the same numbers "
                "everywhere need the same versions everywhere"
            )
    return client


def _on_dask(client: Any, work: Work, items: Sequence[Any], data: Sequence[Any] | None) -> Iterator[tuple[int, Any]]:
    from distributed import CancelledError, KilledWorker, as_completed

    checked_client(client)
    content, fingerprint = _packed(work)
    if content.nbytes <= SMALL:  # a task, which a cluster that lost a worker can do again
        shared = client.submit(_handed, content, pure=False)
    else:
        shared = client.scatter(content, broadcast=True, hash=False)
    waiting = iter(enumerate(items))
    positions: dict[Any, int] = {}

    def submit() -> Any:
        for position, item in waiting:
            value = () if data is None else (client.compute(data[position]),)
            future = client.submit(_perform, shared, fingerprint, item, *value, pure=False)
            positions[future] = position
            return future
        return None

    slots = AHEAD * max(sum(client.nthreads().values()), 1)
    queue = as_completed([future for _ in range(min(slots, len(items))) if (future := submit()) is not None])
    try:
        for future in queue:
            position = positions.pop(future)
            try:
                result = future.result()
            except KilledWorker as error:
                raise WorkerLostError(
                    f"Dask workers died over the same piece of work, for want of memory or by a crash: {_first(error)}"
                ) from error
            except CancelledError as error:
                raise WorkerLostError(f"the Dask cluster gave the work up: {_first(error)}") from error
            yield position, result
            del future, result
            following = submit()
            if following is not None:
                queue.add(following)
    finally:
        client.cancel([*positions, shared])
