"""The official Python client against a real server: devices of each type, data, parameters, tokens, chunks."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.request import urlopen

import pytest

from tests.server.server_process import Server

tagoio = pytest.importorskip("tagoio_sdk", reason="the official Python client is not installed")


def region(server: Server) -> dict[str, str]:
    return {"api": server.url, "sse": server.url + "/events"}


@pytest.fixture
def devices(server: Server) -> Any:
    return tagoio.Resources({"token": server.account, "region": region(server)}).devices


@pytest.fixture(params=["mutable", "immutable"])
def made(devices: Any, request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    """A device of each type, as its type, its ids and its token; removed by the client in the end."""
    body: dict[str, Any] = {
        "name": f"SDK {request.param}",
        "type": request.param,
        "connector": "62333bd36977fc001a2990c8",
        "network": "62336c32ab6e0d0012e06c04",
    }
    if request.param == "immutable":
        body |= {"chunk_period": "month", "chunk_retention": 2}
    created = devices.create(body)
    assert set(created) == {"device_id", "bucket_id", "token"}
    yield {**created, "type": request.param}
    assert devices.delete(created["device_id"]) == "Successfully Removed"


@pytest.fixture
def device(server: Server, made: dict[str, Any]) -> Any:
    return tagoio.Device({"token": made["token"], "region": region(server)})


def test_the_sdk_gets_infos(devices: Any, device: Any, made: dict[str, Any]) -> None:
    for found in (device.info(), devices.info(made["device_id"])):
        assert (found["id"], found["type"], found["last_input"]) == (made["device_id"], made["type"], None)
    device.sendData({"variable": "a", "value": 1})
    found = devices.info(made["device_id"])
    assert all(isinstance(found[name], datetime) for name in ("last_input", "created_at", "updated_at"))


def test_send_and_read(device: Any) -> None:
    moment = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)
    point = {"variable": "Temperature", "value": 55, "unit": "F", "time": moment, "location": {"lat": 42.2974279, "lng": -85.628292}}
    assert device.sendData(point) == "1 Data Added"
    assert (
        device.sendData([{"variable": "humidity", "value": 0.5}, {"variable": "on", "value": True, "metadata": {"a": 1}}]) == "2 Data Added"
    )
    (row,) = device.getData({"variables": ["temperature"], "qty": 5, "start_date": moment, "end_date": moment})
    assert (row["value"], row["unit"], row["time"]) == (55, "F", moment.replace(tzinfo=None))
    assert row["location"] == {"type": "Point", "coordinates": [-85.628292, 42.2974279]}
    assert [row["variable"] for row in device.getData({"variables": ["on", "temperature", "humidity"], "query": "last_item"})] == [
        "on",
        "temperature",
        "humidity",
    ]
    assert len(device.getData()) == 3
    assert len(device.getData({"qty": 1, "details": True, "ordination": "ascending"})) == 1


@pytest.mark.parametrize(("query", "expected"), [("count", 4), ("sum", 12.5), ("avg", 3.125)])
def test_the_sdk_gets_scalars(devices: Any, device: Any, made: dict[str, Any], query: str, expected: float) -> None:
    device.sendData([{"variable": "a", "value": value} for value in (1, 2, 4, 5.5)])
    parameters = {"query": query, "start_date": "1 day", "variables": "a"}
    assert device.getData(dict(parameters))[0]["value"] == expected
    assert devices.getDeviceData(made["device_id"], dict(parameters))[0]["value"] == expected


def test_min_max_aggregate_and_conditional(device: Any) -> None:
    device.sendData([{"variable": "a", "value": value} for value in (1, 2, 4, 5.5)])
    assert device.getData({"query": "max", "variables": ["a"]})[0]["value"] == 5.5
    assert device.getData({"query": "min", "variables": ["a"]})[0]["value"] == 1
    rows = device.getData({"query": "aggregate", "interval": "year", "function": "sum", "start_date": "1 day"})
    assert sum(row["value"] for row in rows) == 12.5
    rows = device.getData({"query": "conditional", "function": "gt", "value": 2, "start_date": "1 day"})
    assert sorted(row["value"] for row in rows) == [4, 5.5]


def test_edit_and_delete(devices: Any, device: Any, made: dict[str, Any]) -> None:
    device.sendData([{"variable": "a", "value": value} for value in range(20)])
    row = device.getData({"qty": 1})[0]
    if made["type"] == "immutable":
        for call in (lambda: device.editData({"id": row["id"], "value": "new"}), device.deleteData):
            with pytest.raises(Exception, match="immutable device"):
                call()
        return
    assert device.editData({"id": row["id"], "value": "new", "time": "2022-04-01 12:34:56"}) == "1 item(s) updated"
    assert devices.editDeviceData(made["device_id"], [{"id": row["id"], "unit": "K"}]) == "1 item(s) updated"
    (edited,) = device.getData({"ids": [row["id"]]})
    assert (edited["value"], edited["unit"], edited["time"]) == ("new", "K", datetime(2022, 4, 1, 12, 34, 56))
    assert device.deleteData({"ids": [row["id"]]}) == "1 Data Removed"
    assert device.deleteData() == "1 Data Removed"
    assert devices.deleteDeviceData(made["device_id"]) == "15 Data Removed"
    assert devices.deleteDeviceData(made["device_id"], {"variables": ["a"], "qty": 100}) == "3 Data Removed"


def test_data_through_the_account(devices: Any, made: dict[str, Any]) -> None:
    assert devices.sendDeviceData(made["device_id"], {"variable": "a", "value": 1}) == "1 Data Added"
    assert devices.getDeviceData(made["device_id"], {"qty": 1})[0]["value"] == 1
    assert devices.amount(made["device_id"]) == 1
    assert devices.emptyDeviceData(made["device_id"]) == "Data Successfully Removed"
    assert devices.amount(made["device_id"]) == 0


def test_list_and_edit(devices: Any, made: dict[str, Any]) -> None:
    change = {"name": "SDK edited", "tags": [{"key": "sdk", "value": "5"}], "visible": False, "description": None}
    assert devices.edit(made["device_id"], change) == "Successfully Updated"
    fields = ["id", "name", "type", "visible", "tags", "created_at", "last_input"]
    query = {
        "filter": {"name": "sdk ed*", "tags": [{"key": "sdk", "value": "5"}], "visible": False},
        "fields": fields,
        "orderBy": ["name", "desc"],
        "amount": 5,
        "page": 1,
    }
    (row,) = devices.listDevice(query)
    assert (row["id"], row["name"], row["type"], row["visible"]) == (made["device_id"], "SDK edited", made["type"], False)
    assert isinstance(row["created_at"], datetime)
    assert made["device_id"] in {row["id"] for row in devices.listDevice()}


def test_the_sdk_sets_parameters(devices: Any, device: Any, made: dict[str, Any]) -> None:
    id = made["device_id"]
    assert devices.paramSet(id, {"key": "threshold", "value": "25.5", "sent": False}) == "Params Successfully Updated"
    (parameter,) = devices.paramList(id)
    assert devices.paramSet(id, {"key": "threshold", "value": "30"}, parameter["id"]) == "Params Successfully Updated"
    assert device.getParameters() == [{**parameter, "value": "30"}]
    assert device.getParameters(onlyUnRead=True) == []  # the client asks for sent_status=true there
    assert device.setParameterAsRead(parameter["id"]) == "Params Successfully Updated"
    assert devices.paramList(id, True) == [{**parameter, "value": "30", "sent": True}]
    assert devices.paramList(id, False) == []
    assert devices.paramRemove(id, parameter["id"]) == "Successfully Removed"
    assert devices.paramList(id) == []


def test_the_sdk_makes_tokens(server: Server, devices: Any, made: dict[str, Any]) -> None:
    id = made["device_id"]
    token = devices.tokenCreate(id, {"name": "SDK token", "expire_time": "1 month", "permission": "read"})
    assert token["expire_date"] > datetime.now() + timedelta(days=27)
    rows = devices.tokenList(id, {"fields": ["name", "token", "permission", "expire_time", "created_at"]})
    assert [row["name"] for row in rows] == ["SDK token", "Default"]
    assert rows[1]["expire_time"] == "never" and isinstance(rows[0]["expire_time"], datetime)
    reader = tagoio.Device({"token": token["token"], "region": region(server)})
    assert reader.getData() == []
    with pytest.raises(Exception, match="Authorization denied"):
        reader.sendData({"variable": "a", "value": 1})
    assert devices.tokenDelete(token["token"]) == "Token Successfully Removed"
    with pytest.raises(Exception, match="Authorization denied"):
        reader.getData()


def test_the_sdk_lists_and_deletes_chunks(devices: Any, device: Any, made: dict[str, Any]) -> None:
    device.sendData([{"variable": "a", "value": 1}, {"variable": "a", "value": 2}])
    if made["type"] == "mutable":
        with pytest.raises(Exception, match="immutable"):
            devices.getChunk(made["device_id"])
        return
    (chunk,) = devices.getChunk(made["device_id"])
    assert chunk["amount"] == 2
    assert devices.deleteChunk(made["device_id"], chunk["id"]) == f"Chunk {chunk['id']} deleted"
    assert device.getData() == []


def test_refusals_carry_their_message(server: Server, device: Any) -> None:
    with pytest.raises(Exception, match="Invalid data at index 0: variable is required"):
        device.sendData({"value": 1})
    with pytest.raises(Exception, match="Device not found"):
        tagoio.Resources({"token": server.account, "region": region(server)}).devices.info("0" * 24)


# --- files, jobs, conversion, gateways -------------------------------------------------------------------------------------


@pytest.fixture
def resources(server: Server) -> Any:
    return tagoio.Resources({"token": server.account, "region": region(server)})


def wait_for_job(server: Server, device_id: str) -> dict[str, Any]:
    """Return the newest job of a device when it has ended."""
    while True:
        job: dict[str, Any] = server.call("GET", f"/device/{device_id}/jobs", server.account).result[0]
        if job["state"] in ("done", "failed"):
            return job


def cloud_address(path: str) -> str:
    """Return an address as the client insists on it; it takes the path from it."""
    return "https://api.tago.io" + path


def test_the_sdk_keeps_files(server: Server, resources: Any) -> None:
    files = resources.files
    assert files.list() == {"files": [], "folders": [], "usage": 0, "total": 10737.41824}
    assert files.uploadBase64([{"filename": "/a/one.txt", "file": "b25l", "public": True}]) == "Files Successfully Uploaded"
    assert files.checkPermission("/a/one.txt") == {"public": True}
    assert files.changePermission([{"file": "/a/one.txt", "public": False}]) == "Successfully Updated"
    assert files.checkPermission("/a/one.txt") == {"public": False}
    assert files.move([{"from": "/a/one.txt", "to": "/b/one.txt"}]) == "Successfully Updated"
    assert files.copy([{"from": "/b/one.txt", "to": "/b/two.txt"}]) == "Successfully Updated"
    page = files.list({"path": "/b", "quantity": 1})
    assert [file["filename"] for file in page["files"]] == ["one.txt"] and isinstance(page["files"][0]["last_modified"], datetime)
    page = files.list({"path": "/b", "quantity": 1, "paginationToken": page["pagination_token"]})
    assert [file["filename"] for file in page["files"]] == ["two.txt"]
    path = "/file/000000000000000000000001/b/two.txt"
    assert files.getFileMD5(cloud_address(path)) == hashlib.md5(b"one").hexdigest()
    signed = files.getFileURLSigned(cloud_address(path))
    with urlopen(signed) as response:
        assert response.read() == b"one"
    assert files.delete(["/b"]) == "Successfully Removed"
    assert files.list()["folders"] == []
    with pytest.raises(Exception, match="File not found: /b"):
        files.delete(["/b"])


@pytest.mark.parametrize("size", [1, 12_000_000])
def test_a_file_in_parts(server: Server, resources: Any, size: int) -> None:
    content = random.Random(size).randbytes(size)
    progress: list[float] = []
    options = {"isPublic": True, "chunkSize": 5 * 1024 * 1024, "onProgress": progress.append}
    address = resources.files.uploadFile(content, f"/parts/{size}.bin", options)["file"]
    with urlopen(address) as response:
        assert response.read() == content
    resources.files.delete(["/parts"])


def test_backup_and_restore(server: Server, resources: Any, device: Any, made: dict[str, Any]) -> None:
    device.sendData([{"variable": "a", "value": value} for value in (1.5, "text", True)])
    id = made["device_id"]
    chunk = resources.devices.getChunk(id)[0]["id"] if made["type"] == "immutable" else None
    parameters = {"deviceID": id, "file_address": "/backups/$DEVICE$/$TIMESTAMP$", "headers": True}
    scheduled = resources.devices.dataBackup(parameters, chunk)
    assert scheduled["status"] == "scheduled" and scheduled.get("chunk_id") == chunk
    assert wait_for_job(server, id)["state"] == "done"
    assert resources.devices.emptyDeviceData(id) == "Data Successfully Removed"
    restored = resources.devices.dataRestore({"deviceID": id, "file_address": scheduled["file_address"]})
    assert restored == "Data import added to the queue successfully!"
    job = wait_for_job(server, id)
    assert (job["type"], job["state"], job["rows"]) == ("restore", "done", 3)
    assert sorted(str(row["value"]) for row in device.getData()) == ["1.5", "True", "text"]
    resources.files.delete(["/backups"])


def test_statistics_and_tags(devices: Any, resources: Any, device: Any, made: dict[str, Any]) -> None:
    device.sendData({"variable": "a", "value": 1})
    rows = devices.statistics(made["device_id"], {"periodicity": "day", "start_date": "1 day"})
    assert rows[0]["device_input"] == 1 and isinstance(rows[0]["time"], datetime)
    devices.edit(made["device_id"], {"tags": [{"key": "sdk_key", "value": "1"}]})
    assert "sdk_key" in server_tags(resources)


def server_tags(resources: Any) -> list[str]:
    """Return the keys of tags; this client has no method of its own for them."""
    found: list[str] = resources.devices.doRequest({"path": "/tags/keys/device", "method": "GET"})
    return found


def test_the_sdk_makes_authorizations(resources: Any) -> None:
    service = resources.serviceAuthorization
    made = service.tokenCreate({"name": "gateway", "permission": "full", "expire_time": "1 day"})
    assert made["token"].startswith("at") and made["name"] == "gateway"
    (row,) = service.tokenList(
        {"fields": ["name", "token", "created_at", "expire_time", "last_authorization"], "filter": {"name": "gateway"}}
    )
    assert row["token"] == made["token"] and isinstance(row["created_at"], datetime) and row["last_authorization"] is None
    assert service.tokenDelete(made["token"]) == "Token Successfully Removed"


def test_the_sdk_finds_what_a_downlink_needs(server: Server, devices: Any, device: Any, made: dict[str, Any]) -> None:
    """What the client's helper for downlinks needs: a token that has a serial and was used."""
    serial = f"S-{made['device_id']}"
    token = devices.tokenCreate(made["device_id"], {"name": "with serial", "serie_number": serial})["token"]
    tagoio.Device({"token": token, "region": region(server)}).sendData({"variable": "a"})
    rows = devices.tokenList(made["device_id"], {"fields": ["name", "serie_number", "last_authorization"], "amount": 10})
    (found,) = [row for row in rows if row["serie_number"] and row["last_authorization"]]
    assert found["name"] == "with serial"
