"""Exports of a device to a CSV file of the account and imports from one, and the list of both: they run as jobs."""

from __future__ import annotations

import re
from typing import Any

import falcon.asgi
import msgspec

from tsengine.aio import AsyncDevice
from tsengine.errors import InputError
from tsengine.server.dates import iso_ms_of, to_us
from tsengine.server.envelope import Refusal, wrong_body
from tsengine.server.filestore import parts_of
from tsengine.server.jobs import Job, new_job
from tsengine.server.routes.described import JobRow, Scheduled
from tsengine.server.routes.devices import PROFILE_ID, require_chunks
from tsengine.server.routing import Call, Route
from tsengine.server.service import Service, answer
from tsengine.server.wire import decode_body
from tsengine.types import Chunk, to_datetime

SUFFIX = ".csv"
ENVIRONMENT = "main"
"""What `$ENVIRONMENT$` stands for: this server knows no environments."""

_CHUNK_ID = re.compile(r"-?\d{1,12}_-?\d{1,12}", re.ASCII)


class BackupBody(msgspec.Struct):
    """Where to write; absent: `device/<id>/<milliseconds>.csv`."""

    file_address: str | None = None
    headers: bool | None = None
    chunk_id: str | None = None


class RestoreBody(msgspec.Struct):
    """What to read."""

    file_address: str


class Backup:
    """/device/:id/data/backup: a whole mutable device."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def on_post(self, req: falcon.asgi.Request, resp: falcon.asgi.Response, device_id: str) -> None:
        self._service.gate.account(req.scope["headers"])
        device = await self._service.device(device_id)
        body = decode_body(await self._service.body(req), BackupBody)
        if device.info.type == "immutable":
            raise Refusal(400, f"An immutable device is backed up chunk by chunk: POST /device/{device.id}/chunk/backup")
        answer(resp, await schedule_backup(self._service, device, body, None))


class ChunkBackup:
    """/device/:id/chunk/backup, and its old name /chunk/copy: one chunk of an immutable device."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def on_post(self, req: falcon.asgi.Request, resp: falcon.asgi.Response, device_id: str) -> None:
        self._service.gate.account(req.scope["headers"])
        device = await self._service.device(device_id)
        body = decode_body(await self._service.body(req), BackupBody)
        require_chunks(device)
        if not body.chunk_id:
            raise wrong_body("chunk_id", "Required")
        if not _CHUNK_ID.fullmatch(body.chunk_id):
            raise wrong_body("chunk_id", "is no id of a chunk; GET /device/:id/chunk lists them")
        for chunk in await device.chunks():
            if chunk.id == body.chunk_id:
                answer(resp, await schedule_backup(self._service, device, body, chunk))
                return
        raise Refusal(404, f"The device has no chunk {body.chunk_id}")


class Restore:
    """/device/:id/data/restore: add the points of a CSV file."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def on_post(self, req: falcon.asgi.Request, resp: falcon.asgi.Response, device_id: str) -> None:
        self._service.gate.account(req.scope["headers"])
        device = await self._service.device(device_id)
        address = decode_body(await self._service.body(req), RestoreBody).file_address
        await self._service.run(schedule_restore, self._service, device, address)
        answer(resp, "Data import added to the queue successfully!")


class DeviceJobs:
    """/device/:id/jobs (ours): exports and imports of a device, newest first."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response, device_id: str) -> None:
        self._service.gate.account(req.scope["headers"])
        device = await self._service.device(device_id)
        answer(resp, [shown(job) for job in self._service.jobs.of(device.id)])


async def schedule_backup(service: Service, device: AsyncDevice, body: BackupBody, chunk: Chunk | None) -> dict[str, Any]:
    """Queue an export and return the answer to it.

    Raises:
        Refusal: 400, the address is no path; 429, too many jobs wait.
    """
    now_us = service.now_us()
    address = expanded(body.file_address or "device/$DEVICE$/$TIMESTAMP$", device.id, chunk, now_us)
    job = new_job("backup", device.id, address, now_us)
    job.headers = body.headers is not False
    if chunk is not None:
        job.chunk_id, job.start_us, job.end_us = chunk.id, to_us(chunk.start), to_us(chunk.end)
    await service.run(service.jobs.add, job)
    scheduled = {"file_address": address, "status": "scheduled", "job": job.id}
    return scheduled if chunk is None else {"chunk_id": chunk.id, **scheduled}


def schedule_restore(service: Service, device: AsyncDevice, address: str) -> None:
    """Queue an import.

    Raises:
        NotFoundError: there is no such file. Refusal: 400, it is too large; 429, too many jobs wait.
    """
    address = "/".join(parts_of(address))
    opened = service.files.open(address)
    opened.file.close()
    if opened.size_bytes > service.settings.max_file:
        raise Refusal(400, f"The file has {opened.size_bytes} bytes; an import takes at most {service.settings.max_file} (max_file)")
    service.jobs.add(new_job("restore", device.id, address, service.now_us()))


def expanded(template: str, device_id: str, chunk: Chunk | None, now_us: int) -> str:
    """Return the path that a template stands for: without slashes at its ends, with .csv.

    Raises:
        Refusal: 400; it is no path.
    """
    today = f"{to_datetime(now_us):%Y-%m-%d}"
    start, end = (today, today) if chunk is None else (f"{chunk.start:%Y-%m-%d}", f"{chunk.end:%Y-%m-%d}")
    words = {
        "$DEVICE$": device_id,
        "$CHUNK$": "" if chunk is None else chunk.id,
        "$FROM$": start,
        "$TO$": end,
        "$CHUNK_START$": start,
        "$CHUNK_END$": end,
        "$TIMESTAMP$": str(now_us // 1000),
        "$ORGID$": PROFILE_ID,
        "$ENVIRONMENT$": ENVIRONMENT,
    }
    for word, text in words.items():
        template = template.replace(word, text)
    try:
        address = "/".join(parts_of(template))
        if not address.endswith(SUFFIX):
            address += SUFFIX
        parts_of(address)
    except InputError as error:
        raise wrong_body("file_address", str(error)) from None
    return address


def shown(job: Job) -> dict[str, Any]:
    """Return a job as the list shows it."""
    return {
        "id": job.id,
        "type": job.type,
        "state": job.state,
        "message": job.message,
        "rows": job.rows,
        "file_address": job.file_address,
        "chunk_id": job.chunk_id,
        "created_at": iso_ms_of(job.created_us),
        "started_at": iso_ms_of(job.started_us),
        "finished_at": iso_ms_of(job.finished_us),
    }


BACKUP = Call(
    summary="Export a chunk to a CSV file",
    need="account",
    text="It runs as a job; GET /device/{device_id}/jobs tells when it is done.",
    body=BackupBody,
    answer=Scheduled,
    errors=(429,),
)

ROUTES = (
    Route(
        "/device/{device_id}/data/backup",
        Backup,
        "Export and import",
        post=msgspec.structs.replace(BACKUP, summary="Export a mutable device to a CSV file"),
    ),
    Route("/device/{device_id}/chunk/backup", ChunkBackup, "Export and import", post=BACKUP),
    Route("/device/{device_id}/chunk/copy", ChunkBackup, "Export and import", post=msgspec.structs.replace(BACKUP, summary="Its old name")),
    Route(
        "/device/{device_id}/data/restore",
        Restore,
        "Export and import",
        post=Call(
            summary="Add the points of a CSV file to a device",
            need="account",
            text="It runs as a job; the whole file is checked before its first point is stored.",
            body=RestoreBody,
            errors=(429,),
        ),
    ),
    Route(
        "/device/{device_id}/jobs",
        DeviceJobs,
        "Export and import",
        get=Call(summary="List the exports and imports of a device", need="account", answer=list[JobRow]),
    ),
)
