"""Files: upload, list, download, move, delete, and every spelling of a path that must not lead out (contract section 7)."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import random
import stat
import threading
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

import pytest

from tests.full_disk import tmpfs
from tests.server.server_process import Reply, Server
from tsengine.errors import InputError, NotFoundError, StorageFullError
from tsengine.server.filestore import FileStore, told

PROFILE = "0" * 23 + "1"
DENIED = (401, "Authorization denied")
BOUNDARY = "b0undary"
SEED = 20_261_121


class Raw(NamedTuple):
    """An answer that need not be JSON."""

    status: int
    headers: dict[str, str]
    body: bytes


def fetch(server: Server, path: str, token: str | None = None, method: str = "GET") -> Raw:
    connection = server.connect()
    try:
        connection.request(method, path, headers={} if token is None else {"token": token})
        response = connection.getresponse()
        return Raw(response.status, {name.lower(): value for name, value in response.headers.items()}, response.read())
    finally:
        connection.close()


def download(server: Server, path: str, token: str | None = None) -> Raw:
    return fetch(server, f"/file/{PROFILE}/{quote(path)}", token)


def put(server: Server, path: str, content: bytes, *, public: bool = False) -> Reply:
    item = {"filename": path, "file": b64encode(content).decode(), "public": public}
    return server.call("POST", "/files", server.account, [item])


def listed(server: Server, path: str = "/", **query: Any) -> Any:
    return server.call("GET", "/files", server.account, query={"path": path, **query}).result


def form(server: Server, content: bytes | None = None, **fields: str) -> Reply:
    """Send a step of an upload as a form."""
    lines = b"".join(
        f'--{BOUNDARY}\r\ncontent-disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode() for name, value in fields.items()
    )
    if content is not None:
        lines += f'--{BOUNDARY}\r\ncontent-disposition: form-data; name="file"; filename="x"\r\n\r\n'.encode() + content + b"\r\n"
    lines += f"--{BOUNDARY}--\r\n".encode()
    return server.call("POST", "/files", server.account, lines, headers={"content-type": f"multipart/form-data; boundary={BOUNDARY}"})


def start(server: Server, path: str, **fields: Any) -> str:
    return str(server.call("POST", "/files", server.account, {"multipart_action": "start", "filename": path, **fields}).result)


def upload(server: Server, id: str, number: int, content: bytes) -> Any:
    etag = form(server, content, multipart_action="upload", upload_id=id, part=str(number), filename="x").result["ETag"]
    return {"ETag": etag, "PartNumber": number}


def end(server: Server, id: str, path: str, parts: Any) -> Reply:
    return server.call("POST", "/files", server.account, {"multipart_action": "end", "upload_id": id, "filename": path, "parts": parts})


@pytest.fixture(autouse=True)
def cleaned(server: Server) -> Iterator[None]:
    """Nothing is left behind by a test, neither in the tree nor in `uploads/`."""
    yield
    page = listed(server)
    names = page["folders"] + [file["filename"] for file in page["files"]]
    if names:
        server.call("DELETE", "/files", server.account, names)
    assert listed(server)["usage"] == 0
    assert [path for path in (server.folder / "uploads").glob("*") if path.name.startswith(("tmp-", "gone-"))] == []


def test_a_file_is_stored_listed_read_and_removed(server: Server) -> None:
    content = random.Random(SEED).randbytes(3_000_000)
    assert put(server, "/reports/März/a b.bin", content).result == "Files Successfully Uploaded"
    assert listed(server) == {"files": [], "folders": ["reports"], "usage": 3.0, "total": 10737.41824}
    (file,) = listed(server, "reports/März/")["files"]
    assert (file["filename"], file["size"], file["is_public"]) == ("a b.bin", 3_000_000, False)
    reply = download(server, "reports/März/a b.bin", server.account)
    assert (reply.status, reply.body, reply.headers["content-length"]) == (200, content, "3000000")
    assert reply.headers["content-type"] == "application/octet-stream"
    assert reply.headers["x-content-type-options"] == "nosniff" and reply.headers["content-security-policy"] == "sandbox"
    assert server.call("DELETE", "/files", server.account, ["/reports/März/a b.bin"]).result == "Successfully Removed"
    assert listed(server) == {"files": [], "folders": [], "usage": 0, "total": 10737.41824}
    assert download(server, "reports/März/a b.bin", server.account).status == 404


def test_everything_on_disk_is_the_owners_alone(server: Server) -> None:
    put(server, "/open/a.txt", b"1", public=True)
    put(server, "/closed/a.txt", b"1")
    start(server, "/later.txt")
    for folder in ("files", "uploads"):
        for path in [server.folder / folder, *(server.folder / folder).rglob("*")]:
            assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


def test_a_file_is_replaced_whole(server: Server) -> None:
    put(server, "/a.csv", b"x" * 100, public=True)
    put(server, "/a.csv", b"short")
    reply = download(server, "a.csv", server.account)
    assert (reply.body, reply.headers["content-type"]) == (b"short", "text/csv")
    assert listed(server)["usage"] == 5e-6
    assert download(server, "a.csv").status == 401  # the new one is private


def test_public_files_need_no_token_and_others_do(server: Server) -> None:
    put(server, "/open.txt", b"o", public=True)
    put(server, "/closed.txt", b"c")
    assert download(server, "open.txt").body == b"o"
    device = server.make("mutable")
    for token in (None, "nonsense", device.token):
        for path in ("closed.txt", "missing.txt", "folder/missing.txt"):
            reply = download(server, path, token)
            assert (reply.status, json.loads(reply.body)["message"]) == DENIED
    assert fetch(server, f"/file/{'1' * 24}/open.txt", server.account).status == 404
    permission = {"file": "/open.txt", "public": False}
    assert server.call("PUT", "/files/permission", server.account, [permission]).result == "Successfully Updated"
    assert server.call("GET", "/files/permission", server.account, query={"file": "open.txt"}).result == {"public": False}
    assert download(server, "open.txt").status == 401
    assert server.call("GET", "/files/permission", server.account).status == 400
    assert server.call("PUT", "/files/permission", server.account, [{"file": "no", "public": True}]).refusal == (404, "File not found: no")


def test_a_signed_address_opens_one_private_file_for_some_time(server: Server) -> None:
    put(server, "/a.txt", b"secret")
    put(server, "/b.txt", b"other")
    path = f"/file/{PROFILE}/a.txt"
    assert server.call("GET", path, query={"noRedirect": "true"}).refusal == DENIED
    signed = urlsplit(server.call("GET", path, server.account, query={"noRedirect": "True"}).result)
    assert signed.netloc == urlsplit(server.url).netloc
    assert fetch(server, f"{signed.path}?{signed.query}").body == b"secret"
    assert fetch(server, f"/file/{PROFILE}/b.txt?{signed.query}").status == 401
    query = dict(pair.split("=") for pair in signed.query.split("&"))
    assert int(query["expires"]) - time.time() < 901
    for wrong in ({"expires": str(int(query["expires"]) + 1)}, {"signature": "0" * 64}, {"signature": "é"}, {"expires": "9" * 50}):
        assert server.call("GET", path, query={**query, **wrong}).refusal == DENIED
    put(server, "/a.txt", b"secret", public=True)
    assert server.call("GET", path, query={"noRedirect": "true"}).result == f"{server.url}{path}"


def test_the_md5_of_a_file(server: Server) -> None:
    put(server, "/a.txt", b"secret")
    path = f"/file/{PROFILE}/a.txt"
    assert server.call("GET", path, server.account, query="md5=true&noRedirect=true").result == hashlib.md5(b"secret").hexdigest()
    assert server.call("GET", path, query="md5=true").refusal == DENIED


def test_a_list_has_pages(server: Server) -> None:
    for name in ("c", "a", "b/inner", "d", "ä"):
        put(server, f"/many/{name}", b"1")
    first = listed(server, "/many", qty=3)
    assert ([file["filename"] for file in first["files"]], first["folders"]) == (["a", "c"], ["b"])
    second = listed(server, "/many", qty=3, pagination_token=first["pagination_token"])
    assert [file["filename"] for file in second["files"]] == ["d", "ä"] and "pagination_token" not in second
    assert listed(server, "/nowhere")["files"] == listed(server, "/many/a")["files"] == []
    for query in ("qty=0", "qty=10001", "qty=x", "pagination_token=%ff%fe", "pagination_token=abc"):
        assert server.call("GET", "/files", server.account, query=query).status == 400


# --- move, copy, delete ------------------------------------------------------------------------------------------------


def test_files_and_folders_are_moved_and_copied(server: Server) -> None:
    put(server, "/a/one.txt", b"1", public=True)
    put(server, "/a/two.txt", b"22")
    assert server.call("PUT", "/files", server.account, [{"from": "/a/one.txt", "to": "/b/c/uno.txt"}]).result == "Successfully Updated"
    assert download(server, "b/c/uno.txt").body == b"1"
    assert server.call("PUT", "/files", server.account, [{"from": "a", "to": "d/e"}]).result == "Successfully Updated"
    assert listed(server)["folders"] == ["b", "d"]
    assert server.call("PUT", "/files/copy", server.account, [{"from": "d/e/two.txt", "to": "two.txt"}]).result == "Successfully Updated"
    assert download(server, "two.txt", server.account).body == download(server, "d/e/two.txt", server.account).body == b"22"
    assert listed(server)["usage"] == 5e-6
    server.call("PUT", "/files", server.account, [{"from": "two.txt", "to": "b/c/uno.txt"}, {"from": "b/c/uno.txt", "to": "b/c/uno.txt"}])
    assert download(server, "b/c/uno.txt", server.account).body == b"22"
    assert listed(server)["usage"] == 4e-6
    assert server.call("DELETE", "/files", server.account, ["b"]).result == "Successfully Removed"
    assert listed(server)["folders"] == ["d"]


@pytest.mark.parametrize(
    ("old", "new", "status"),
    [
        ("missing", "x", 404),
        ("a", "a/b/c", 400),  # into itself
        ("a/one.txt", "a", 400),  # a folder is in the way
        ("a/one.txt", "a/two.txt/x", 400),  # a file is in the way
        ("a", "a/two.txt", 400),
        ("", "x", 400),
        ("a/one.txt", "", 400),
        ("a/one.txt", "../x", 400),
        ("a/one.txt/x", "y", 404),
    ],
)
def test_what_cannot_be_moved_stays(server: Server, old: str, new: str, status: int) -> None:
    put(server, "/a/one.txt", b"1")
    put(server, "/a/two.txt", b"22")
    moves = [{"from": "a/two.txt", "to": "a/three.txt"}, {"from": old, "to": new}] if status == 404 else [{"from": old, "to": new}]
    assert server.call("PUT", "/files", server.account, moves).refusal[0] == status
    assert server.call("PUT", "/files/copy", server.account, [{"from": old, "to": new}]).refusal[0] in (400, 404)
    assert [file["filename"] for file in listed(server, "a")["files"]] == ["one.txt", "two.txt"]
    assert listed(server)["folders"] == ["a"]


def test_nothing_is_removed_when_one_is_missing(server: Server) -> None:
    put(server, "/a", b"1")
    assert server.call("DELETE", "/files", server.account, ["a", "b"]).refusal == (404, "File not found: b")
    assert server.call("DELETE", "/files", server.account, ["/"]).refusal == (400, "the path of a file is empty")
    assert server.call("DELETE", "/files", server.account, {"a": 1}).status == 400
    assert download(server, "a", server.account).body == b"1"


# --- hostile paths -----------------------------------------------------------------------------------------------------

OUTSIDE = [
    "../secret",
    "a/../../secret",
    "/../secret",
    "..",
    ".",
    "a/./b",
    "..\\secret",
    "a/..\\..\\secret",
    "a\x00b",
    "\x00",
    "a\nb",
    "a\x7fb",
    "x" * 256,
    "é" * 128,
    "/".join(["x" * 200] * 6),
    "/".join("a" for _ in range(600)),
    "",
    "///",
]


@pytest.mark.parametrize("path", OUTSIDE, ids=lambda path: repr(path[:20]))
def test_no_path_leads_out(server: Server, path: str) -> None:
    (server.folder.parent / "secret").write_text("outside")
    put(server, "/a/b", b"1")
    assert put(server, path, b"evil").refusal[0] == 400
    assert server.call("POST", "/files", server.account, {"multipart_action": "start", "filename": path}).refusal[0] == 400
    for method, route, body in (
        ("PUT", "/files", [{"from": "a/b", "to": path}]),
        ("PUT", "/files", [{"from": path, "to": "x"}]),
        ("PUT", "/files/copy", [{"from": path, "to": "x"}]),
        ("DELETE", "/files", [path]),
        ("PUT", "/files/permission", [{"file": path, "public": True}]),
    ):
        assert server.call(method, route, server.account, body).refusal[0] == 400, (method, route)
    for spelling in (quote(path), quote(path, safe=""), quote(quote(path, safe=""), safe="")):
        reply = fetch(server, f"/file/{PROFILE}/{spelling}", server.account)
        assert reply.status in (400, 404) and b"outside" not in reply.body
    if path.strip("/"):
        assert server.call("GET", "/files", server.account, query={"path": path}).refusal[0] == 400
    assert (server.folder.parent / "secret").read_text() == "outside"
    assert listed(server)["folders"] == ["a"] and listed(server)["files"] == []


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "//etc/passwd", "%2e%2e/secret", "~/x", "C:/x", "a:b", "…/x", "-rf", "*", "CON", ".hidden"]
)
def test_odd_names_stay_inside(server: Server, path: str) -> None:
    put(server, path, b"inside")
    assert download(server, path, server.account).body == b"inside"
    inside = server.folder / "files"
    assert [found.read_bytes() for found in inside.rglob("*") if found.is_file()] == [b"inside"]


def test_links_lead_nowhere(server: Server) -> None:
    outside = server.folder.parent / "outside"
    outside.mkdir(exist_ok=True)
    (outside / "secret").write_text("outside")
    put(server, "/real/a", b"1")
    tree = server.folder / "files"
    (tree / "folder").symlink_to(outside)
    (tree / "file").symlink_to(outside / "secret")
    os.mkfifo(tree / "fifo")
    for path in ("folder/secret", "file", "fifo", "folder"):
        assert download(server, path, server.account).status == 404, path
        assert server.call("PUT", "/files/permission", server.account, [{"file": path, "public": True}]).status == 404
    assert put(server, "/folder/new", b"evil").refusal[0] == 400
    assert server.call("PUT", "/files", server.account, [{"from": "real/a", "to": "folder/a"}]).refusal[0] == 400
    assert listed(server)["files"] == [] and listed(server, "folder")["files"] == []
    assert put(server, "/file", b"mine").status == 200  # takes the link's place
    assert server.call("DELETE", "/files", server.account, ["folder", "fifo", "file"]).result == "Successfully Removed"
    assert [path.name for path in outside.iterdir()] == ["secret"] and (outside / "secret").read_text() == "outside"


@pytest.mark.parametrize(
    "body",
    [
        [{"filename": "a", "file": "not base64!"}],
        [{"filename": "a", "file": "YQ==", "public": "yes"}],
        [{"filename": "a"}],
        [{"filename": 5, "file": "YQ=="}],
        ["a"],
        {"multipart_action": "upload"},
        {"multipart_action": "end", "filename": "a"},
        {"multipart_action": "end", "filename": "a", "upload_id": "0" * 32},
        {},
        5,
    ],
)
def test_a_wrong_upload_is_refused(server: Server, body: Any) -> None:
    assert server.call("POST", "/files", server.account, body).refusal[0] == 400
    assert listed(server)["files"] == []


def test_one_wrong_file_stores_none(server: Server) -> None:
    good = {"filename": "good", "file": "YQ=="}
    assert server.call("POST", "/files", server.account, [good, {"filename": "bad", "file": "!"}]).refusal[0] == 400
    assert server.call("POST", "/files", server.account, [good, {"filename": "../bad", "file": "YQ=="}]).refusal[0] == 400
    assert listed(server)["files"] == []
    assert server.call("POST", "/files", server.account, [{"filename": "a", "file": "data:text/plain;base64,YQ=="}]).status == 200
    assert download(server, "a", server.account).body == b"a"


# --- uploads in parts ----------------------------------------------------------------------------------------------------


def test_a_file_arrives_in_parts_in_any_order(server: Server) -> None:
    pieces = [random.Random(SEED + i).randbytes(1_500_000) for i in range(3)]
    id = start(server, "/big/file.bin", public=True, contentType="application/x-thing")
    third, first = upload(server, id, 3, pieces[2]), upload(server, id, 1, b"wrong")
    first, second = upload(server, id, 1, pieces[0]), upload(server, id, 2, pieces[1])
    assert first["ETag"] == hashlib.md5(pieces[0]).hexdigest()
    result = end(server, id, "big/file.bin", [third, first, {**second, "ETag": f'"{second["ETag"]}"'}]).result
    assert result == {"file": f"{server.url}/file/{PROFILE}/big/file.bin"}
    assert fetch(server, urlsplit(result["file"]).path).body == b"".join(pieces)
    assert end(server, id, "big/file.bin", [first]).refusal == (404, "Upload not found; it was ended or given up, start it again")


def test_an_upload_as_forms_only(server: Server) -> None:
    id = form(server, multipart_action="start", filename="/f.txt", public="true", contentType="text/plain").result
    part = upload(server, id, 1, b"\r\n--" + BOUNDARY.encode()[:-1] + b"\r\n")
    assert end(server, id, "/f.txt", [part]).status == 200
    assert download(server, "f.txt").body == b"\r\n--b0undar\r\n"


def test_an_empty_file_has_no_parts(server: Server) -> None:
    id = start(server, "/empty")
    assert end(server, id, "/empty", []).status == 200
    assert download(server, "empty", server.account).body == b""


def test_parts_that_were_not_sent_are_refused(server: Server) -> None:
    id = start(server, "/f")
    part = upload(server, id, 1, b"1")
    again = upload(server, id, 1, b"2")
    for parts in ([part], [again, {**again, "PartNumber": 2}], [{**again, "ETag": "x"}], [again, part]):
        assert end(server, id, "/f", parts).refusal[0] == 400
    assert end(server, id, "/g", [again]).refusal[0] == 400
    assert end(server, "0" * 32, "/f", [again]).refusal[0] == 404
    assert end(server, "../../files", "/f", [again]).refusal[0] == 404
    assert end(server, id, "/f", [again]).status == 200


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"multipart_action": "upload", "upload_id": "0" * 32, "part": "1"}, 404),
        ({"multipart_action": "upload", "upload_id": "..", "part": "1"}, 404),
        ({"multipart_action": "upload", "part": "1"}, 400),
        ({"multipart_action": "end"}, 400),
        ({}, 400),
        ({"multipart_action": "start", "filename": "x" * 9000}, 400),
    ],
)
def test_a_wrong_form_is_refused(server: Server, fields: dict[str, str], status: int) -> None:
    assert form(server, b"content", **fields).refusal[0] == status


@pytest.mark.parametrize("part", ["0", "10001", "x", "-1", "1e3", "9" * 30, "٣"])
def test_a_wrong_number_of_a_part_is_refused(server: Server, part: str) -> None:
    id = start(server, "/f")
    assert form(server, b"1", multipart_action="upload", upload_id=id, part=part).refusal == (400, "Error on Body parameters")


@pytest.mark.parametrize(
    "body",
    [b"", b"--b0undary", b"--b0undary\r\n\r\n", b"x" * 100_000, b"--b0undary\r\ncontent-disposition: form-data; name=file\r\n\r\nno end"],
)
def test_a_broken_form_is_refused(server: Server, body: bytes) -> None:
    headers = {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}
    assert server.call("POST", "/files", server.account, body, headers=headers).refusal[0] == 400
    assert server.call("POST", "/files", server.account, body, headers={"content-type": "multipart/form-data"}).refusal[0] == 400


# --- limits ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = Server(tmp_path_factory.mktemp("small") / "data", max_file=10_000, max_files=25_000, max_body=15_000)
    yield running
    assert running.stop() == 0


def test_large_files_are_refused(small: Server) -> None:
    message = "A file has at most 10000 bytes (max_file)"
    assert put(small, "/f", b"x" * 10_001).refusal == (413, message)
    assert put(small, "/f", b"x" * 20_000).refusal[0] == 413
    id = start(small, "/f")
    upload(small, id, 1, b"x" * 6_000)
    reply = form(small, b"x" * 6_000, multipart_action="upload", upload_id=id, part="2")
    assert reply.refusal == (413, message)
    upload(small, id, 1, b"x" * 9_000)  # in place of the first
    assert form(small, b"x" * 16_000, multipart_action="upload", upload_id=id, part="1").refusal[0] == 413
    assert listed(small)["files"] == []


def test_a_form_without_a_length_is_cut_off_at_the_limit(small: Server) -> None:
    connection = small.connect()
    head = f'--{BOUNDARY}\r\ncontent-disposition: form-data; name="file"\r\n\r\n'.encode()
    pieces = [head, *[b"x" * 1000] * 100]
    headers = {"token": small.account, "content-type": f"multipart/form-data; boundary={BOUNDARY}"}
    try:
        connection.request("POST", "/files", iter(pieces), headers, encode_chunked=True)
        response = connection.getresponse()
        assert (response.status, json.loads(response.read())["status"]) == (413, False)
    except (BrokenPipeError, ConnectionResetError):
        pytest.fail("the connection was dropped without an answer")
    finally:
        connection.close()


def test_all_files_together_have_a_limit(small: Server) -> None:
    for name in ("a", "b"):
        put(small, f"/{name}", b"x" * 10_000)
    reply = put(small, "/folder/c", b"x" * 10_000)
    assert reply.refusal[0] == 400 and "the limit is 25000" in reply.refusal[1]
    assert listed(small)["folders"] == []
    assert small.call("PUT", "/files/copy", small.account, [{"from": "a", "to": "c"}]).refusal[0] == 400
    put(small, "/a", b"x" * 5_000)
    assert put(small, "/c", b"x" * 10_000).status == 200
    small.call("DELETE", "/files", small.account, ["a", "b", "c"])


def test_uploads_that_are_given_up_make_room(tmp_path: Path) -> None:
    server = Server(tmp_path / "data")
    try:
        ids = [start(server, f"/{i}") for i in range(64)]
        body = {"multipart_action": "start", "filename": "/65"}
        reply = server.call("POST", "/files", server.account, body)
        assert reply.refusal == (400, "64 uploads are open; end some, or wait until they are given up")
        two_days_ago = time.time() - 2 * 86_400
        for id in ids[:3]:
            os.utime(server.folder / "uploads" / id, (two_days_ago, two_days_ago))
        assert server.call("POST", "/files", server.account, body).status == 200
        assert end(server, ids[0], "/0", []).refusal[0] == 404
        part = upload(server, ids[9], 1, b"kept")
        (server.folder / "uploads" / "tmp-left").write_bytes(b"by a kill")
        assert server.stop() == 0
        server.start()
        assert not (server.folder / "uploads" / "tmp-left").exists()
        assert end(server, ids[9], "/9", [part]).status == 200  # outlives the restart
        assert download(server, "9", server.account).body == b"kept"
        assert listed(server)["usage"] == 4e-6
    finally:
        server.stop()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    with tmpfs(tmp_path / "disk", "1m") as folder:
        yield folder


def test_a_full_disk_leaves_no_half_file(small_disk: Path) -> None:
    files = FileStore(small_disk, 10**9, threading.Lock())
    with files.temporary() as temporary:
        temporary.file.write(b"old")
        files.publish(temporary, "a/b", is_public=False)
    with pytest.raises(StorageFullError), files.temporary() as temporary, told("write", "a/b"):
        for _ in range(2_000):
            temporary.file.write(bytes(1_000))
        files.publish(temporary, "a/b", is_public=False)
    with files.open("a/b").file as file:
        assert file.read() == b"old"
    assert list(files.uploads.iterdir()) == [] and files.used_bytes() == 3
    with files.temporary() as temporary:
        temporary.file.write(bytes(600_000))
        files.publish(temporary, "c", is_public=False)
    with pytest.raises(StorageFullError):
        files.copy("c", "d")
    assert [file.name for file in files.list("/", 10).files] == ["c"] and list(files.uploads.iterdir()) == []


def test_many_threads_keep_the_count_of_bytes(tmp_path: Path) -> None:
    files = FileStore(tmp_path, 10**9, threading.Lock())

    def churn(seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(60):
            path, other = (f"{chance.choice('abc')}/{chance.choice('de')}/{chance.choice('fg')}" for _ in range(2))
            with suppress(NotFoundError, InputError):
                match chance.randrange(4):
                    case 0 | 1:
                        with files.temporary() as temporary:
                            temporary.file.write(bytes(chance.randrange(1, 1000)))
                            files.publish(temporary, path, is_public=False)
                    case 2:
                        files.move(path, other)
                    case 3:
                        files.delete(chance.choice((path, path[:3], path[:1])))

    threads = [threading.Thread(target=churn, args=(SEED + i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stored = [path for path in (tmp_path / "files").rglob("*") if path.is_file()]
    assert files.used_bytes() == sum(path.stat().st_size for path in stored)
    assert list(files.uploads.iterdir()) == []
    assert all(any(folder.iterdir()) for folder in (tmp_path / "files").rglob("*") if folder.is_dir())


def test_a_client_that_goes_away_leaves_nothing_open(server: Server) -> None:
    put(server, "/f", b"x" * 5_000_000, public=True)
    fds = Path(f"/proc/{server.process.pid}/fd")
    if not fds.exists():
        pytest.skip("this system does not show the files of a process")
    for _ in range(5):
        connection = server.connect()
        connection.request("GET", f"/file/{PROFILE}/f")
        connection.getresponse().read(10)
        connection.close()
        cut = server.connect()
        cut.putrequest("POST", "/files")
        cut.putheader("token", server.account)
        cut.putheader("content-type", f"multipart/form-data; boundary={BOUNDARY}")
        cut.putheader("content-length", "1000000")
        cut.endheaders(f'--{BOUNDARY}\r\ncontent-disposition: form-data; name="file"\r\n\r\nhalf'.encode())
        cut.close()
    deadline = time.monotonic() + 30
    while open_files(fds, server.folder):
        assert time.monotonic() < deadline, "files stay open"
        assert server.call("GET", "/health").status == 200


def open_files(fds: Path, folder: Path) -> list[str]:
    """Return the files and uploads that a process has open."""
    found = []
    for fd in fds.iterdir():
        with suppress(OSError):  # closed meanwhile
            found.append(os.readlink(fd))
    return [path for path in found if path.startswith((f"{folder}/files/", f"{folder}/uploads/"))]


def test_a_connection_serves_files_and_other_requests(server: Server) -> None:
    put(server, "/f", b"x" * 100_000, public=True)
    connection: http.client.HTTPConnection = server.connect()
    for path, size in ((f"/file/{PROFILE}/f", 100_000), ("/health", 30), (f"/file/{PROFILE}/f", 100_000)):
        connection.request("GET", path)
        body = connection.getresponse().read()
        assert len(body) == size or path == "/health"
    connection.close()
