"""Exports to CSV and imports from it, as jobs that outlive the server (contract section 7)."""

from __future__ import annotations

import csv
import io
import json
import re
import signal
import threading
import time
from base64 import b64encode
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import tsengine
from tests.server.server_process import TIMEOUT_S, Made, Server, minutes_ago
from tsengine.server.envelope import Refusal
from tsengine.server.filestore import FileStore
from tsengine.server.jobs import Jobs, new_job

PROFILE = "0" * 23 + "1"
POINTS: list[dict[str, Any]] = [
    {"variable": "a", "value": 21.5, "unit": "C", "group": "g, 1", "location": {"lat": 42.3, "lng": -85.6}, "metadata": {"x": ['"', "\n"]}},
    {"variable": "a", "value": 5},
    {"variable": "a", "value": "5"},
    {"variable": "a", "value": "true"},
    {"variable": "a", "value": True},
    {"variable": "b", "value": ""},
    {"variable": "b", "unit": ""},
    {"variable": "b", "value": 'many\r\nlines, and "quotes"', "unit": '"'},
]


def jobs_of(server: Server, device: Made) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = server.call("GET", f"/device/{device.id}/jobs", server.account).result
    return found


def finished(server: Server, device: Made) -> dict[str, Any]:
    """Return the newest job of a device when it is done or has failed."""
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        job = jobs_of(server, device)[0]
        if job["state"] in ("done", "failed"):
            assert job["started_at"] <= job["finished_at"]
            return job
        assert time.monotonic() < deadline, job


def upload(server: Server, path: str, text: str | bytes) -> str:
    content = text.encode() if isinstance(text, str) else text
    server.call("POST", "/files", server.account, [{"filename": path, "file": b64encode(content).decode()}])
    return path


def download(server: Server, path: str) -> str:
    connection = server.connect()
    try:
        connection.request("GET", f"/file/{PROFILE}/{path}", headers={"token": server.account})
        response = connection.getresponse()
        assert response.status == 200
        return response.read().decode()
    finally:
        connection.close()


def backup(server: Server, device: Made, **body: Any) -> Any:
    return server.call("POST", f"/device/{device.id}/data/backup", server.account, body)


def restore(server: Server, device: Made, text: str | bytes) -> dict[str, Any]:
    """Import a text into a device and return the finished job."""
    path = upload(server, f"/in/{device.id}.csv", text)
    reply = server.call("POST", f"/device/{device.id}/data/restore", server.account, {"file_address": path})
    assert reply.result == "Data import added to the queue successfully!"
    return finished(server, device)


def rows_of(server: Server, device: Made) -> list[Any]:
    """Return what a device holds, without what an import gives anew."""
    rows = server.read(device, {"qty": 10_000, "ordination": "ascending"})
    return [{name: value for name, value in row.items() if name not in ("id", "device")} for row in rows]


# --- round trips -------------------------------------------------------------------------------------------------------


def test_a_mutable_device_is_exported_and_imported(server: Server, device: Made) -> None:
    server.send(device, *POINTS)
    scheduled = backup(server, device, file_address="/backups/$DEVICE$", headers=True).result
    assert scheduled == {"file_address": f"backups/{device.id}.csv", "status": "scheduled", "job": scheduled["job"]}
    job = finished(server, device)
    assert (job["id"], job["type"], job["state"], job["rows"], job["message"]) == (scheduled["job"], "backup", "done", len(POINTS), "")
    text = download(server, scheduled["file_address"])
    assert text.partition("\r\n")[0] == "variable,value,group,unit,location,metadata,time,id,type"
    stored = server.read(device, {"qty": 100})
    found = {row["id"]: row for row in csv.DictReader(io.StringIO(text, newline=""))}
    assert set(found) == {row["id"] for row in stored}
    assert json.loads(next(row["location"] for row in found.values() if row["location"])) == {"type": "Point", "coordinates": [-85.6, 42.3]}
    other = server.make("mutable")
    reply = server.call("POST", f"/device/{other.id}/data/restore", server.account, {"file_address": scheduled["file_address"]})
    assert reply.status == 200
    job = finished(server, other)
    assert (job["type"], job["state"], job["rows"]) == ("restore", "done", len(POINTS))
    assert rows_of(server, other) == rows_of(server, device)


def test_a_chunk_is_exported_and_imported(server: Server) -> None:
    device, other = server.make("immutable"), server.make("immutable")
    last_month = (datetime.now(UTC).replace(day=1) - timedelta(days=3)).isoformat()
    server.send(device, *({**point, "time": last_month} for point in POINTS), {"variable": "now"})
    chunks = server.call("GET", f"/device/{device.id}/chunk", server.account).result
    template = "/c/$CHUNK$_$FROM$_$TO$_$CHUNK_START$_$CHUNK_END$_$ORGID$.csv"
    for route in ("backup", "copy"):
        body = {"chunk_id": chunks[1]["id"], "file_address": template, "headers": True}
        scheduled = server.call("POST", f"/device/{device.id}/chunk/{route}", server.account, body).result
        start, end = chunks[1]["from"][:10], chunks[1]["to"][:10]
        assert scheduled["file_address"] == f"c/{chunks[1]['id']}_{start}_{end}_{start}_{end}_{PROFILE}.csv"
        assert (scheduled["chunk_id"], scheduled["status"]) == (chunks[1]["id"], "scheduled")
        job = finished(server, device)
        assert (job["rows"], job["chunk_id"], job["state"]) == (len(POINTS), chunks[1]["id"], "done")
    server.call("POST", f"/device/{other.id}/data/restore", server.account, {"file_address": scheduled["file_address"]})
    assert finished(server, other)["state"] == "done"
    # An export goes variable by variable and kind by kind, so points of one instant may come back in another order.
    assert sorted(rows_of(server, other), key=json.dumps) == sorted(rows_of(server, device)[:-1], key=json.dumps)


def test_addresses_without_and_with_words(server: Server, device: Made) -> None:
    before_ms = int(time.time() * 1000)
    address = backup(server, device).result["file_address"]
    found = re.fullmatch(rf"device/{device.id}/(\d+)\.csv", address)
    assert found is not None and before_ms <= int(found[1]) <= time.time() * 1000
    assert finished(server, device)["rows"] == 0
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    address = backup(server, device, file_address="//a/$FROM$/$TO$/$CHUNK$x$OTHER$/$ENVIRONMENT$.csv").result["file_address"]
    assert address == f"a/{today}/{today}/x$OTHER$/main.csv"
    finished(server, device)


def test_an_export_takes_the_place_of_a_file_and_may_have_no_header(server: Server, device: Made) -> None:
    upload(server, "/same.csv", "old")
    server.send(device, {"variable": "a", "value": 1})
    backup(server, device, file_address="same", headers=False)
    assert finished(server, device)["state"] == "done"
    assert download(server, "same.csv").startswith("a,1.0,")


@pytest.mark.parametrize("address", ["../x", "a/../../x", "a\x00b", "/", "x" * 300, "a/" * 600])
def test_an_export_never_leaves_the_files(server: Server, device: Made, address: str) -> None:
    assert backup(server, device, file_address=address).refusal == (400, "Error on Body parameters")
    reply = server.call("POST", f"/device/{device.id}/data/restore", server.account, {"file_address": address})
    assert reply.refusal[0] in (400, 404)
    assert jobs_of(server, device) == []


def test_an_export_to_where_a_folder_is_fails(server: Server, device: Made) -> None:
    upload(server, "/folder.csv/inner", "1")
    backup(server, device, file_address="folder.csv")
    job = finished(server, device)
    assert (job["state"], job["message"]) == ("failed", "cannot write folder.csv: a file or a folder of that name is in the way")


def test_what_cannot_be_scheduled_is_refused(server: Server) -> None:
    mutable, immutable = server.make("mutable"), server.make("immutable")
    message = f"An immutable device is backed up chunk by chunk: POST /device/{immutable.id}/chunk/backup"
    assert backup(server, immutable).refusal == (400, message)
    path = f"/device/{immutable.id}/chunk/backup"
    assert server.call("POST", f"/device/{mutable.id}/chunk/backup", server.account, {"chunk_id": "1_2"}).refusal[0] == 400
    assert server.call("POST", path, server.account, {}).refusal == (400, "Error on Body parameters")
    assert server.call("POST", path, server.account, {"chunk_id": "x"}).refusal == (400, "Error on Body parameters")
    assert server.call("POST", path, server.account, {"chunk_id": "1_2"}).refusal == (404, "The device has no chunk 1_2")
    assert server.call("POST", path, server.account, {"chunk_id": 5}).refusal[0] == 400
    path = f"/device/{mutable.id}/data/restore"
    assert server.call("POST", path, server.account, {"file_address": "missing.csv"}).refusal == (404, "File not found: missing.csv")
    assert server.call("POST", path, server.account, {}).refusal == (400, "Error on Body parameters")
    upload(server, "/dir/file", "1")
    assert server.call("POST", path, server.account, {"file_address": "dir"}).refusal[0] == 404
    assert server.call("POST", f"/device/{'0' * 24}/data/restore", server.account, {"file_address": "x"}).refusal == (
        404,
        "Device not found",
    )


# --- imports -----------------------------------------------------------------------------------------------------------


def test_a_plain_file_is_typed_by_its_cells(server: Server, any_device: Made) -> None:
    moment = minutes_ago(5)
    text = (
        "\ufeffVariable,Value,Group,Unit,Location,Metadata,Time,other\n"
        f'temp,21.50,g1,C,"{{""lat"":42.3,""lng"":-85.6}}","{{""a"": 1}}",{moment},x\n'
        f"temp,-1e3,,,,,{moment},\nstate,true,,,,,{moment},\nstate,TRUE,,,,,{moment},\nname,007,,,,,{moment},\nnone,,,,,,{moment},\n"
    )
    job = restore(server, any_device, text)
    assert (job["state"], job["rows"], job["message"]) == ("done", 6, "")
    rows = rows_of(server, any_device)
    assert [row.get("value") for row in rows] == [21.5, -1000, True, "TRUE", "007", None]
    assert rows[0] == {
        "variable": "temp",
        "value": 21.5,
        "group": "g1",
        "unit": "C",
        "location": {"type": "Point", "coordinates": [-85.6, 42.3]},
        "metadata": {"a": 1},
        "time": moment,
    }
    assert server.call("GET", f"/device/{any_device.id}", server.account).result["last_input"] is not None


def test_rows_without_a_time_are_of_the_moment_they_were_asked_for(server: Server, any_device: Made) -> None:
    job = restore(server, any_device, "variable,value\na,1\na,2\n")
    assert job["state"] == "done"
    assert {row["time"] for row in rows_of(server, any_device)} == {job["created_at"]}


def test_importing_a_file_again_adds_its_points_again(server: Server, any_device: Made) -> None:
    for count in (2, 4):
        assert restore(server, any_device, f"variable,value,time\na,1,{minutes_ago(1)}\nb,2,{minutes_ago(2)}\n")["state"] == "done"
        assert len(rows_of(server, any_device)) == count


GOOD = f"a,1,{minutes_ago(1)}\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "there is no column 'variable'"),
        ("value,time\n1,2\n", "there is no column 'variable'"),
        ("variable;value\na;1\n", "there is no column 'variable'"),
        ("variable,variable\na,b\n", "the column 'variable' is there twice"),
        (f"variable,value,time\n{GOOD}a b,1,{minutes_ago(1)}\n", "line 3: variable"),
        (f"variable,value,time\n{GOOD},1,{minutes_ago(1)}\n", "line 3: variable is required"),
        (f"variable,value,time\n{GOOD * 60_000}a,1,yesterday\n", "line 60002: time"),
        (f"variable,value,time\n{GOOD}a,1\n", "line 3: 2 cells, but the header has 3"),
        (f'variable,value,time\n{GOOD}"a,1,2\n', "line 3: not CSV"),
        (f"variable,value,time,type\na,1,{minutes_ago(1)},number\na,x,{minutes_ago(1)},number\n", "line 3: value must be a number"),
        ("variable,metadata\na,{\n", "line 2: metadata must be a JSON object"),
        ('variable,location\na,"{""lat"":91,""lng"":0}"\n', "line 2: location"),
        (b"variable,value\na,\xff\xfe\n", "line 2:"),
        (b"variable,value\na\x00,1\n", "line 2:"),
        (b"\x00\x01\x02" * 1000, "there is no column 'variable'"),
        (b"x" * 3_000_000, "line 1 is no header of a CSV file: field larger than field limit"),
        ("variable,value\na," + "x" * 6145 + "\n", "line 2: value"),
    ],
    ids=lambda text: repr(text[:30]),
)
def test_a_bad_row_names_its_line_and_stores_nothing(server: Server, any_device: Made, text: str | bytes, message: str) -> None:
    job = restore(server, any_device, text)
    assert job["state"] == "failed" and job["message"].startswith(message), job
    assert job["rows"] == 0 and rows_of(server, any_device) == []


def test_the_window_of_an_immutable_device_holds_for_imports(server: Server) -> None:
    device = server.make("immutable", chunk_period="day", chunk_retention=1)
    job = restore(server, device, f"variable,value,time\n{GOOD}a,1,2001-01-01T00:00:00Z\n")
    assert job["state"] == "failed" and re.match(r"line 3: Time must be between \S+ and \S+$", job["message"])
    assert rows_of(server, device) == []


def test_the_limit_of_registers_holds_for_imports(server: Server, device: Made) -> None:
    assert restore(server, device, "variable\n" + "a\n" * 49_999)["state"] == "done"
    job = restore(server, device, "variable\n" + "a\n" * 2)
    assert (job["state"], job["message"]) == ("failed", "The device has reached the limit of 50000 data registers")
    assert restore(server, device, "variable\na\n")["state"] == "done"
    assert server.call("GET", f"/device/{device.id}/data_amount", server.account).result == 50_000


def test_an_import_reads_the_file_as_it_was_when_it_was_asked_for(server: Server, device: Made, any_device: Made) -> None:
    many = upload(server, "/many.csv", "variable\n" + "a\n" * 40_000)
    path = upload(server, "/changing.csv", "variable,value\na,1\n")
    server.call("POST", f"/device/{device.id}/data/restore", server.account, {"file_address": many})  # keeps the worker busy
    server.call("POST", f"/device/{any_device.id}/data/restore", server.account, {"file_address": path})
    upload(server, path, "variable,value\na,2\n")
    server.call("DELETE", "/files", server.account, [path])
    assert finished(server, any_device)["state"] == "done"
    assert [row["value"] for row in rows_of(server, any_device)] == [1]
    assert finished(server, device)["rows"] == 40_000
    assert list((server.folder / "jobs").glob("*.csv")) == []


def test_a_job_of_a_device_that_was_deleted_fails_alone(server: Server, device: Made) -> None:
    first, second = server.make("mutable"), server.make("mutable")
    many = upload(server, "/many.csv", "variable\n" + "a\n" * 40_000)
    for each in (first, second, device):
        server.call("POST", f"/device/{each.id}/data/restore", server.account, {"file_address": many})
    server.call("DELETE", f"/device/{second.id}", server.account)
    assert finished(server, device)["rows"] == 40_000
    assert finished(server, first)["state"] == "done"


# --- stops, kills, limits ------------------------------------------------------------------------------------------------


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Server]:
    running = Server(tmp_path / "data", max_file=50_000_000)
    yield running
    if running.process.poll() is None:
        assert running.stop() == 0


ROWS = 400_000


def large(server: Server, name: str) -> str:
    """Put a file of many rows into the tree, as its operator may; return its path."""
    folder = server.folder / "files"
    folder.mkdir(exist_ok=True)
    start = datetime.now(UTC) - timedelta(seconds=ROWS)
    with (folder / name).open("w") as file:
        file.write("variable,value,time\n")
        file.writelines(f"v{i % 7},{i / 10},{(start + timedelta(seconds=i)):%Y-%m-%dT%H:%M:%SZ}\n" for i in range(ROWS))
    return name


def wait_until_stored(server: Server, device: Made, rows: int) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while (job := jobs_of(server, device)[0])["rows"] < rows:
        assert time.monotonic() < deadline and job["state"] in ("queued", "running"), job


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_an_import_that_was_interrupted_goes_on_and_repeats_nothing(own: Server, how: signal.Signals) -> None:
    device = own.make("immutable", chunk_period="quarter")
    own.call("POST", f"/device/{device.id}/data/restore", own.account, {"file_address": large(own, "in.csv")})
    for rows in (1, 150_000):
        wait_until_stored(own, device, rows)
        assert own.stop(how) == (0 if how == signal.SIGTERM else -signal.SIGKILL)
        own.start()
    job = finished(own, device)
    assert (job["state"], job["rows"], job["message"]) == ("done", ROWS, "")
    assert own.call("GET", f"/device/{device.id}/data_amount", own.account).result == ROWS
    total = own.call("GET", "/data", device.token, query={"query": "sum", "start_date": "30 days"}).result
    assert total == pytest.approx(sum(i / 10 for i in range(ROWS)))
    assert [path.suffix for path in (own.folder / "jobs").iterdir()] == [".json"]


@pytest.mark.slow
def test_an_export_that_was_interrupted_runs_again(own: Server) -> None:
    device = own.make("immutable", chunk_period="quarter")
    own.call("POST", f"/device/{device.id}/data/restore", own.account, {"file_address": large(own, "in.csv")})
    assert finished(own, device)["state"] == "done"
    chunks = own.call("GET", f"/device/{device.id}/chunk", own.account).result
    chunk = max(chunks, key=lambda chunk: chunk["amount"])
    own.call("POST", f"/device/{device.id}/chunk/backup", own.account, {"chunk_id": chunk["id"], "file_address": "out"})
    wait_until_stored(own, device, 1)
    own.stop(signal.SIGKILL)
    assert not (own.folder / "files" / "out.csv").exists()
    own.start()
    job = finished(own, device)
    assert (job["state"], job["rows"]) == ("done", chunk["amount"])
    with (own.folder / "files" / "out.csv").open() as file:
        assert sum(1 for _ in file) == chunk["amount"] + 1
    assert list((own.folder / "uploads").glob("tmp-*")) == []


@pytest.mark.slow
def test_the_memory_of_an_import_is_bounded(own: Server) -> None:
    status = Path(f"/proc/{own.process.pid}/status")
    if not status.exists():
        pytest.skip("this system does not show the memory of a process")

    def peak_mb() -> int:
        found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
        assert found is not None
        return int(found[1]) // 1024

    device = own.make("immutable", chunk_period="quarter")
    own.send(device, {"variable": "a"})
    before = peak_mb()
    text = "x" * 300
    (own.folder / "files").mkdir()
    with (own.folder / "files" / "big.csv").open("w") as file:
        file.write("variable,value,time\n")
        moment = minutes_ago(5)
        file.writelines(f"v,{text}{i},{moment}\n" for i in range(140_000))
    own.call("POST", f"/device/{device.id}/data/restore", own.account, {"file_address": "big.csv"})
    assert finished(own, device)["state"] == "done"
    assert peak_mb() - before < 350  # of a file of 48 MB; points wait in memory, too, until they are sealed


def test_a_file_that_is_too_large_is_refused_at_once(own: Server) -> None:
    device = own.make("mutable")
    (own.folder / "files").mkdir()
    with (own.folder / "files" / "big.csv").open("wb") as file:
        file.truncate(50_000_001)
    reply = own.call("POST", f"/device/{device.id}/data/restore", own.account, {"file_address": "big.csv"})
    assert reply.refusal == (400, "The file has 50000001 bytes; an import takes at most 50000000 (max_file)")


def test_a_job_that_ends_the_server_each_time_is_given_up(own: Server) -> None:
    device = own.make("mutable")
    restore(own, device, "variable\na\n")
    own.stop()
    (path,) = (own.folder / "jobs").glob("*.json")
    job = json.loads(path.read_bytes())
    path.write_text(json.dumps({**job, "state": "running", "starts": 3}))
    (path.parent / "damaged.json").write_text("{")
    (path.parent / "orphan.csv").write_text("variable\n")
    own.start()
    shown = finished(own, device)
    assert shown["state"] == "failed" and shown["message"].startswith("given up: it was begun 3 times")
    assert len(jobs_of(own, device)) == 1 and not (path.parent / "orphan.csv").exists()
    assert own.call("GET", f"/device/{device.id}/data_amount", own.account).result == 1


def test_the_state_of_jobs_is_the_owners_alone(own: Server) -> None:
    device = own.make("mutable")
    restore(own, device, "variable\na\n")
    for path in [own.folder / "jobs", *(own.folder / "jobs").iterdir()]:
        assert path.stat().st_mode & 0o077 == 0


def test_only_so_many_jobs_wait_and_so_many_are_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tsengine.server.jobs.JOBS_WAITING", 10)
    monkeypatch.setattr("tsengine.server.jobs.JOBS_KEPT", 7)
    with tsengine.open(tmp_path / "data", durability="os") as db:
        files = FileStore(tmp_path / "data", 10**9, db.beside)
        with files.temporary() as temporary:
            temporary.file.write(b"variable\na\n")
            files.publish(temporary, "a.csv", is_public=False)
        device = db.create_device("device", type="mutable")
        done = threading.Event()
        jobs = Jobs(db, files, lambda id, rows: done.set())
        with db.locked_state(device.number):  # the first import waits for the device
            while True:
                try:
                    jobs.add(new_job("restore", device.id, "a.csv", 1))
                except Refusal as error:
                    assert (error.status, str(error)) == (429, "10 jobs wait already; try again later")
                    break
            waiting = jobs.of(device.id)
            assert [job.state for job in waiting].count("queued") == 10
            assert len(waiting) in (10, 11)
        deadline = time.monotonic() + TIMEOUT_S
        while [job.state for job in jobs.of(device.id)] != ["done"] * 7:
            assert time.monotonic() < deadline
        assert done.is_set()
        jobs.stop()
        assert device.count() == len(waiting)
        assert len(list((tmp_path / "data" / "jobs").iterdir())) == 7
