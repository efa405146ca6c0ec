"""Files over HTTP: upload (base64, or in parts), list, download, move, copy, delete, by the account; public ones are read by anyone.

A private file can be read without the account token through a signed address, which ends after some minutes.
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
import mimetypes
from base64 import b64decode
from typing import Any, Literal
from urllib.parse import quote

import falcon.asgi
import msgspec
from msgspec import UNSET, UnsetType

from tsengine.errors import NotFoundError
from tsengine.limits import COPY_BYTES
from tsengine.server.dates import iso_ms_of
from tsengine.server.envelope import Refusal, denied, wrong_body, wrong_query
from tsengine.server.filestore import Opened, Temporary, not_found, parts_of, told
from tsengine.server.http.asgi import too_large
from tsengine.server.routes.described import FileList
from tsengine.server.routes.devices import PROFILE_ID
from tsengine.server.routes.queries import Arguments
from tsengine.server.routing import Call, Query, Route
from tsengine.server.service import Service, answer
from tsengine.server.uploads import UploadedPart
from tsengine.server.wire import decode_body

SIGNED_S = 900
"""How long a signed address works, seconds."""

PAGE_FILES, PAGE_FILES_MAX = 300, 10_000
"""Names in one page of a folder."""

FORM = "multipart/form-data"
FIELD_BYTES_MAX = 8192
"""Longest field of a form but for the file, bytes."""

FILE_HEADERS = {"x-content-type-options": "nosniff", "content-security-policy": "sandbox", "access-control-allow-origin": "*"}
"""A file is never a page that runs scripts here."""


class EncodedFile(msgspec.Struct):
    """A whole file, in base64."""

    filename: str
    file: str
    public: bool | None = None


class UploadBody(msgspec.Struct):
    """A step of an upload in parts, but for the parts themselves, which come as forms."""

    multipart_action: Literal["start", "end"]
    filename: str
    public: bool | None = None
    upload_id: str | UnsetType = UNSET
    parts: list[UploadedPart] | UnsetType = UNSET


class Move(msgspec.Struct, rename={"old": "from", "new": "to"}):
    """A path and its new one."""

    old: str
    new: str


class Permission(msgspec.Struct):
    """Whether a file is public."""

    file: str
    public: bool


class Publicity(msgspec.Struct):
    """Whether a file is public."""

    public: bool


class Files:
    """/files: upload, list, move, delete."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        self._service.gate.account(req.scope["headers"])
        arguments = Arguments(req.query_string)
        path, following = arguments.one("path") or "/", arguments.one("pagination_token")
        limit = arguments.whole("qty", PAGE_FILES, 1, PAGE_FILES_MAX)
        answer(resp, await self._service.run(listed, self._service, path, limit, following))

    async def on_post(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        self._service.gate.account(req.scope["headers"])
        if (req.content_type or "").lower().startswith(FORM):
            answer(resp, await self._take_form(req))
            return
        body = await self._service.body(req)
        if body.lstrip()[:1] == b"[":
            files = decode_body(body, list[EncodedFile])
            await self._service.run(store_encoded, self._service, files)
            answer(resp, "Files Successfully Uploaded")
            return
        step = decode_body(body, UploadBody)
        if step.multipart_action == "start":
            answer(resp, await self._service.run(self._service.uploads.start, step.filename, bool(step.public)))
            return
        if step.upload_id is UNSET or step.parts is UNSET:
            raise wrong_body("upload_id" if step.upload_id is UNSET else "parts", "Required")
        path = await self._service.run(self._service.uploads.end, step.upload_id, step.filename, step.parts)
        answer(resp, {"file": address_of(req, path)})

    async def on_put(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        self._service.gate.account(req.scope["headers"])
        moves = decode_body(await self._service.body(req), list[Move])
        await self._service.run(move_all, self._service, moves)
        answer(resp, "Successfully Updated")

    async def on_delete(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        self._service.gate.account(req.scope["headers"])
        paths = decode_body(await self._service.body(req), list[str])
        await self._service.run(delete_all, self._service, paths)
        answer(resp, "Successfully Removed")

    async def _take_form(self, req: falcon.asgi.Request) -> Any:
        """Carry out a step that comes as a form; return its result."""
        fields: dict[str, str] = {}
        left = self._service.settings.max_body
        if req.content_length is not None and req.content_length > left:
            raise too_large(left)
        md5 = hashlib.md5(usedforsecurity=False)
        with self._service.files.temporary() as temporary:
            async for part in await req.get_media():
                content = bytearray()
                async for piece in part.stream:
                    content += piece
                    left -= len(piece)
                    if left < 0:
                        raise too_large(self._service.settings.max_body)
                    if part.name != "file" and len(content) > FIELD_BYTES_MAX:
                        raise wrong_body(str(part.name), f"a field has at most {FIELD_BYTES_MAX} bytes")
                    if part.name == "file" and len(content) >= COPY_BYTES:
                        await self._service.run(write, temporary, md5, bytes(content))
                        content.clear()
                if part.name == "file":
                    await self._service.run(write, temporary, md5, bytes(content))
                else:
                    fields[str(part.name)] = text_of(bytes(content), str(part.name))
            return await self._step(fields, temporary, md5.hexdigest())

    async def _step(self, fields: dict[str, str], temporary: Temporary, md5: str) -> Any:
        match fields.get("multipart_action"):
            case "start":
                is_public = fields.get("public", "").lower() == "true"
                return await self._service.run(self._service.uploads.start, required(fields, "filename"), is_public)
            case "upload":
                number = required(fields, "part")
                if not (number.isascii() and number.isdecimal() and len(number) <= 9):
                    raise wrong_body("part", "part must be a number")
                await self._service.run(self._service.uploads.add, required(fields, "upload_id"), int(number), temporary, md5)
                return {"ETag": md5}
        raise wrong_body("multipart_action", "must be start or upload in a form; end comes as JSON")


class Copies:
    """/files/copy: copy files."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def on_put(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        self._service.gate.account(req.scope["headers"])
        copies = decode_body(await self._service.body(req), list[Move])
        await self._service.run(copy_all, self._service, copies)
        answer(resp, "Successfully Updated")


class Permissions:
    """/files/permission: whether files are public."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        self._service.gate.account(req.scope["headers"])
        path = Arguments(req.query_string).one("file")
        if path is None:
            raise wrong_query("file", "Required")
        answer(resp, Publicity(await self._service.run(self._service.files.publicity, path)))

    async def on_put(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        self._service.gate.account(req.scope["headers"])
        permissions = decode_body(await self._service.body(req), list[Permission])
        await self._service.run(change_all, self._service, permissions)
        answer(resp, "Successfully Updated")


class File:
    """/file/:profile/:path: read one."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response, profile: str, path: str) -> None:
        arguments = Arguments(req.query_string)
        may_read = self._service.gate.is_account(req.scope["headers"]) or self._is_signed(path, arguments)
        try:
            opened = await self._service.run(self._service.files.open, path)
        except NotFoundError:
            opened = None
        if not may_read and (opened is None or not opened.is_public):  # what is private looks like what is not there
            if opened is not None:
                opened.file.close()
            raise denied()
        if opened is None or profile != PROFILE_ID:
            raise not_found(path)
        if arguments.flag("md5"):
            with opened.file:
                answer(resp, await self._service.run(md5_of, opened))
        elif arguments.flag("noRedirect"):
            opened.file.close()
            answer(resp, address_of(req, path) if opened.is_public else self._signed(req, path))
        else:
            resp.content_type = mimetypes.guess_type(path)[0] or "application/octet-stream"
            resp.content_length = opened.size_bytes
            for name, value in FILE_HEADERS.items():
                resp.set_header(name, value)
            resp.stream = Content(self._service, opened)

    def _signed(self, req: falcon.asgi.Request, path: str) -> str:
        expires = str(self._service.now_us() // 1_000_000 + SIGNED_S)
        return f"{address_of(req, path)}?expires={expires}&signature={self._signature(path, expires)}"

    def _is_signed(self, path: str, arguments: Arguments) -> bool:
        expires, signature = arguments.one("expires"), arguments.one("signature")
        if not expires or not signature or not (expires.isascii() and expires.isdecimal() and len(expires) <= 12):
            return False
        is_true = hmac.compare_digest(signature.encode("utf-8", "replace"), self._signature(path, expires).encode())
        return is_true and int(expires) >= self._service.now_us() // 1_000_000

    def _signature(self, path: str, expires: str) -> str:
        return self._service.gate.sign("/".join((*parts_of(path), expires)))


class Content:
    """The bytes of an open file, as Falcon sends them; closed by it in the end, however that comes."""

    def __init__(self, service: Service, opened: Opened) -> None:
        self._service = service
        self._file = opened.file

    def __aiter__(self) -> Content:
        return self

    async def __anext__(self) -> bytes:
        piece = await self._service.run(self._file.read, COPY_BYTES)
        if not piece:
            raise StopAsyncIteration
        return piece

    async def close(self) -> None:
        self._file.close()


def listed(service: Service, path: str, limit: int, following: str | None) -> dict[str, Any]:
    """Return a page of a folder. Usage and total are megabytes."""
    page = service.files.list(path, limit, following)
    shown: dict[str, Any] = {
        "files": [
            {
                "filename": file.name,
                "size": file.size_bytes,
                "last_modified": iso_ms_of(int(file.modified_s * 1_000_000)),
                "is_public": file.is_public,
            }
            for file in page.files
        ],
        "folders": page.folders,
        "usage": round(service.files.used_bytes() / 1e6, 6),
        "total": service.files.limit_bytes / 1e6,
    }
    if page.following is not None:
        shown["pagination_token"] = page.following
    return shown


def store_encoded(service: Service, files: list[EncodedFile]) -> None:
    """Store files that came in base64; all are checked before the first one is stored."""
    contents = []
    for index, file in enumerate(files):
        parts_of(file.filename)
        try:
            content = b64decode(file.file.partition(";base64,")[2] or file.file, validate=True)
        except (binascii.Error, ValueError):
            raise wrong_body(f"[{index}].file", "must be base64") from None
        if len(content) > service.settings.max_file:
            raise Refusal(413, f"A file has at most {service.settings.max_file} bytes (max_file)")
        contents.append(content)
    for file, content in zip(files, contents, strict=True):
        with service.files.temporary() as temporary:
            with told("write", file.filename):
                temporary.file.write(content)
            service.files.publish(temporary, file.filename, is_public=bool(file.public))


def move_all(service: Service, moves: list[Move]) -> None:
    require_all(service, [move.old for move in moves], [move.new for move in moves])
    for move in moves:
        service.files.move(move.old, move.new)


def copy_all(service: Service, copies: list[Move]) -> None:
    require_all(service, [copy.old for copy in copies], [copy.new for copy in copies])
    for copy in copies:
        service.files.copy(copy.old, copy.new)


def delete_all(service: Service, paths: list[str]) -> None:
    require_all(service, paths)
    for path in paths:
        service.files.delete(path)


def change_all(service: Service, permissions: list[Permission]) -> None:
    for permission in permissions:
        service.files.publicity(permission.file)
    for permission in permissions:
        service.files.set_public(permission.file, permission.public)


def require_all(service: Service, paths: list[str], others: list[str] | None = None) -> None:
    """Raise before anything is changed, if a path is none, or there is nothing."""
    for path in others or ():
        parts_of(path)
    for path in paths:
        if not service.files.exists(path):
            raise not_found(path)


def write(temporary: Temporary, md5: Any, content: bytes) -> None:
    md5.update(content)
    with told("write", temporary.path):
        temporary.file.write(content)


def md5_of(opened: Opened) -> str:
    return hashlib.file_digest(opened.file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def text_of(content: bytes, name: str) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise wrong_body(name, "must be UTF-8") from None


def required(fields: dict[str, str], name: str) -> str:
    if not fields.get(name):
        raise wrong_body(name, "Required")
    return fields[name]


def address_of(req: falcon.asgi.Request, path: str) -> str:
    """Return the address of a file, as the client reached this server."""
    return f"{req.prefix}/file/{PROFILE_ID}/{quote('/'.join(parts_of(path)))}"


ROUTES = (
    Route(
        "/files",
        Files,
        "Files",
        get=Call(
            summary="List a folder",
            need="account",
            query=(
                Query("path", str, "The folder; / when absent"),
                Query("qty", int, f"Names of a page, {PAGE_FILES} when absent"),
                Query("pagination_token", str, "From the page before"),
            ),
            answer=FileList,
        ),
        post=Call(
            summary="Upload files in base64, or a file in parts",
            need="account",
            text="Parts: start (the answer is the upload's id), upload each part as a form (the answer has its ETag), end.",
            body=list[EncodedFile] | UploadBody,
            accepts=("application/json", FORM),
            answer=(str, dict[str, str]),
            errors=(404,),
        ),
        put=Call(summary="Move or rename files and folders", need="account", body=list[Move], errors=(404,)),
        delete=Call(summary="Delete files and folders", need="account", body=list[str], errors=(404,)),
    ),
    Route("/files/copy", Copies, "Files", put=Call(summary="Copy files", need="account", body=list[Move], errors=(404,))),
    Route(
        "/files/permission",
        Permissions,
        "Files",
        get=Call(
            summary="Tell whether a file is public",
            need="account",
            query=(Query("file", str, "The file", is_required=True),),
            answer=Publicity,
            errors=(404,),
        ),
        put=Call(summary="Make files public or private", need="account", body=list[Permission], errors=(404,)),
    ),
    Route(
        "/file/{profile}/{path:path}",
        File,
        "Files",
        get=Call(
            summary="Read a file",
            need="account",
            text="A public file needs no token; others can also be read by a signed address.",
            query=(
                Query("noRedirect", bool, "Answer with an address that works for 15 minutes"),
                Query("md5", bool, "Answer with the file's MD5"),
                Query("expires", str, "Of a signed address"),
                Query("signature", str, "Of a signed address"),
            ),
            media="application/octet-stream",
        ),
    ),
)
