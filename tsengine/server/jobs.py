"""Jobs: exports of a device to a CSV file and imports from one, one after the other in a thread of their own.

Life of a job: queued -> running -> done or failed. Each step is written to `jobs/<id>.json` in the store, durable, before the next
one begins, so that a job outlives the server: what a stop or a kill interrupted is queued again at the next start. Both kinds
bear that. An export writes a temporary file that takes its place at the end. An import works on a hard link to the file as it was
when it was asked for, checks all of it before it stores the first point, and notes each batch, so that it
goes on after the last one that arrived. A job that has brought the server down three times is given up.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import msgspec

from tsengine.core.os.file import sync_folder
from tsengine.engine.engine import Engine
from tsengine.errors import NotFoundError, TsengineError
from tsengine.ids import new_id
from tsengine.limits import IMPORT_ROWS, JOBS_KEPT, JOBS_WAITING
from tsengine.server.envelope import Refusal
from tsengine.server.filestore import FileStore, told
from tsengine.transfer import Import, check_import, export_tagoio

logger = logging.getLogger("tsengine.server")

STARTS_MAX = 3
"""How often a job is begun before it is given up: something in it may end the process."""

BUSY_RETRY_S = 60

SWITCH_S = 0.0005
"""How long a job may keep other threads of Python from running while they wait, seconds: requests go on beside it."""

State = Literal["queued", "running", "done", "failed"]


class Job(msgspec.Struct, kw_only=True):
    """One job, as its file has it.

    Attributes:
        file_address: path of the file that is written or read.
        chunk_id, start_us, end_us: the chunk that is exported, and its first and last microsecond; None = everything.
        headers: an export begins with the columns' names.
        rows: points exported or stored so far.
        message: why it failed, or what is to be known besides.
        starts: how often it was begun.
    """

    id: str
    type: Literal["backup", "restore"]
    device: str
    file_address: str
    created_us: int
    chunk_id: str | None = None
    start_us: int | None = None
    end_us: int | None = None
    headers: bool = True
    state: State = "queued"
    rows: int = 0
    message: str = ""
    started_us: int | None = None
    finished_us: int | None = None
    starts: int = 0


class Stopping(Exception):
    """The server stops: the job is left as it is, and goes on at the next start."""


class Jobs:
    """The jobs of one server.

    Args:
        engine: where points come from and go to.
        files: where files come from and go to.
        saw_input: called with a device's id and the number of points that were imported into it.
    """

    def __init__(self, engine: Engine, files: FileStore, saw_input: Callable[[str, int], None]) -> None:
        self._engine, self._files, self._saw_input = engine, files, saw_input
        self._folder = engine.path / "jobs"
        self._jobs: dict[str, Job] = {}
        self._queue: deque[Job] = deque()
        self._adding = threading.Lock()  # held while files are written
        self._condition = threading.Condition()  # of what is in memory; never held for long, the event loop asks
        self._is_stopping = False
        self._thread: threading.Thread | None = None
        self._load()

    def add(self, job: Job) -> None:
        """Queue a job; of an import the file is kept as it is now.

        Raises:
            NotFoundError: there is no file to import. Refusal: 429, too many jobs wait. StorageError.
        Durability: on disk on return.
        """
        with self._adding:
            if len(self._queue) >= JOBS_WAITING:
                raise Refusal(429, f"{JOBS_WAITING} jobs wait already; try again later", retry_after_s=BUSY_RETRY_S)
            with told("create", self._folder):
                self._folder.mkdir(mode=0o700, exist_ok=True)
            try:
                if job.type == "restore":
                    self._files.link(job.file_address, self._source(job))
                self._save(job)
            except BaseException:
                self._source(job).unlink(missing_ok=True)
                raise
            with self._condition:
                self._jobs[job.id] = job
                self._queue.append(job)
                self._start()
                self._condition.notify()

    def of(self, device_id: str) -> list[Job]:
        """Return the jobs of a device, newest first."""
        with self._condition:
            return [job for job in reversed(self._jobs.values()) if job.device == device_id]

    def stop(self) -> None:
        """Interrupt what runs, and return when the thread has ended; the jobs go on at the next start."""
        with self._condition:
            self._is_stopping = True
            self._condition.notify()
        if self._thread is not None:
            self._thread.join()

    # --- the thread --------------------------------------------------------------------------------------------------

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="tsengine-jobs", daemon=True)
            self._thread.start()

    def _work(self) -> None:
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._is_stopping or self._queue)
                if self._is_stopping:
                    return
                job = self._queue.popleft()
            usual_s = sys.getswitchinterval()
            sys.setswitchinterval(SWITCH_S)
            try:
                self._carry_out(job)
            except Stopping:
                return
            except (TsengineError, OSError) as error:  # its state could not be written
                logger.error("job %s: %s", job.id, error)
            finally:
                sys.setswitchinterval(usual_s)

    def _carry_out(self, job: Job) -> None:
        job.starts += 1
        job.state, job.started_us = "running", self._engine.clock.now_us()
        problem = ""
        try:
            self._save(job)
            if job.starts > STARTS_MAX:
                raise Refusal(400, f"given up: it was begun {STARTS_MAX} times, and the server ended each time before it was done")
            (self._export if job.type == "backup" else self._import)(job)
        except (TsengineError, Refusal) as error:
            problem = str(error)
        except OSError as error:
            problem = error.strerror or str(error)
        except Stopping:
            raise
        except Exception:
            logger.exception("unforeseen error in job %s", job.id)
            problem = "Internal error; the server's log has the cause"
        ended = msgspec.structs.replace(
            job, state="failed" if problem else "done", message=problem, finished_us=self._engine.clock.now_us()
        )
        self._save(ended)
        self._let_go(ended)
        with self._condition:  # whoever sees that it ended finds everything in its place
            self._jobs[job.id] = ended
            self._forget_old()

    def _export(self, job: Job) -> None:
        device = self._engine.device(job.device)

        def noted(rows: int) -> None:
            job.rows = rows
            self._go_on()

        with self._files.temporary() as temporary:
            job.rows = export_tagoio(device, temporary.file, start=job.start_us, end=job.end_us, headers=job.headers, progress=noted)
            self._files.publish(temporary, job.file_address, is_public=False)

    def _import(self, job: Job) -> None:
        device = self._engine.device(job.device)
        source = self._source(job)
        if not source.exists():
            raise NotFoundError(f"File not found: {job.file_address}")
        work = Import(self._engine, device, source, format="csv", resume=True, default_time_us=job.created_us, state=self._progress(job))
        if not work.stored:  # an import that goes on was checked before it began
            check_import(
                self._engine, device, source, rows_max=IMPORT_ROWS, default_time_us=job.created_us, progress=lambda *_: self._go_on()
            )

        def noted(done: int, total: int) -> None:
            job.rows = work.stored
            self._go_on()

        try:
            job.rows = work.run(noted)
        except TsengineError as error:
            job.rows = work.stored
            if work.stored:  # somebody else filled the device, or its window moved on, after the check
                raise Refusal(400, f"stopped after {work.stored} points, which are stored: {error}") from error
            raise
        self._saw_input(job.device, job.rows)

    def _go_on(self) -> None:
        if self._is_stopping:
            raise Stopping

    # --- files -------------------------------------------------------------------------------------------------------

    def _source(self, job: Job) -> Path:
        return self._folder / f"{job.id}.csv"

    def _progress(self, job: Job) -> Path:
        return self._folder / f"{job.id}.progress"

    def _save(self, job: Job) -> None:
        with self._engine.beside:
            write_small(self._folder / f"{job.id}.json", msgspec.json.encode(job))

    def _load(self) -> None:
        """Read the jobs of earlier runs; those that were not done are queued again."""
        found: list[Job] = []
        for path in self._folder.glob("*.json") if self._folder.is_dir() else ():
            try:
                found.append(msgspec.json.decode(path.read_bytes(), type=Job))
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                logger.error("the job in %s cannot be read, it is left out: %s", path, error)
        for job in sorted(found, key=lambda job: (job.created_us, job.id)):
            self._jobs[job.id] = job
            if job.state in ("queued", "running"):
                job.state = "queued"
                self._queue.append(job)
        for path in self._folder.glob("*.csv"):  # what a kill kept from being written, or from being let go
            owner = self._jobs.get(path.stem)
            if owner is None:
                path.unlink()
            elif owner.state in ("done", "failed"):
                self._let_go(owner)
        if self._queue:
            self._start()

    def _let_go(self, job: Job) -> None:
        """Remove what only the import of a job needed."""
        for path in (self._source(job), self._progress(job)):
            path.unlink(missing_ok=True)

    def _forget_old(self) -> None:
        """Forget the oldest finished jobs beyond JOBS_KEPT."""
        finished = [job for job in self._jobs.values() if job.state in ("done", "failed")]
        for job in finished[: max(0, len(finished) - JOBS_KEPT)]:
            del self._jobs[job.id]
            (self._folder / f"{job.id}.json").unlink(missing_ok=True)


def new_job(kind: Literal["backup", "restore"], device_id: str, file_address: str, now_us: int) -> Job:
    return Job(id=new_id(), type=kind, device=device_id, file_address=file_address, created_us=now_us)


def write_small(path: Path, content: bytes) -> None:
    """Write a small file whole or not at all, in place of what is there. Durability: on disk on return."""
    temporary = path.with_suffix(".tmp")
    with told("write", path):
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with open(fd, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
