"""The description of the routes: it is complete, it is valid, and it says what the server does."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from jsonschema_rs import meta

from tests.server import routes_page
from tests.server.server_process import Server
from tsengine.server import openapi
from tsengine.server.app import ROUTES
from tsengine.server.openapi import statuses
from tsengine.server.routing import Call, Route


class Silly:
    """A resource that offers more than its route says."""

    async def on_get(self) -> None: ...

    async def on_delete(self) -> None: ...


@pytest.fixture(scope="module")
def document(server: Server) -> Any:
    reply = server.call("GET", "/openapi.json")
    assert reply.status == 200
    return reply.body


def test_the_page_of_routes_is_current() -> None:
    assert routes_page.PAGE.read_text() == routes_page.page(), "run `python -m tests.server.routes_page`"


def test_a_method_without_description_does_not_start() -> None:
    with pytest.raises(TypeError, match=r"described are \['get'\]"):
        Route("/silly", Silly, "Silly", get=Call(summary="Do it", need="none"))
    with pytest.raises(TypeError, match="Silly answers"):
        Route(
            "/silly",
            Silly,
            "Silly",
            get=Call(summary="", need="none"),
            delete=Call(summary="", need="none"),
            put=Call(summary="", need="none"),
        )


def test_every_route_is_in_the_document(document: Any) -> None:
    expected = {(re.sub(r":\w+}", "}", route.path), method) for route in ROUTES for method in route.calls}
    found = {(path, method) for path, item in document["paths"].items() for method in item if method != "parameters"}
    assert found == expected
    assert len(
        {operation["operationId"] for item in document["paths"].values() for name, operation in item.items() if name != "parameters"}
    ) == len(expected)


def test_the_document_is_openapi_3_1(document: Any) -> None:
    assert document["openapi"].startswith("3.1.")
    schemathesis.openapi.from_dict(document).validate()


def test_the_document_refers_only_to_what_it_has(document: Any) -> None:
    text = str(document)
    for kind, name in set(re.findall(r"#/components/(\w+)/(\w+)", text)):
        assert name in document["components"][kind], name


def test_every_schema_is_json_schema(document: Any) -> None:
    schemas = [*document["components"]["schemas"].values()]
    for item in document["paths"].values():
        for operation in item.values():
            for part in operation if isinstance(operation, list) else operation.get("parameters", []):
                schemas.append(part["schema"])
    assert len(schemas) > 50
    for schema in schemas:
        meta.validate({"$schema": "https://json-schema.org/draft/2020-12/schema", **schema})


def test_the_page_needs_nothing_from_elsewhere(server: Server) -> None:
    connection = server.connect()
    connection.request("GET", "/docs")
    response = connection.getresponse()
    page = response.read()
    connection.close()
    assert (response.status, response.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "default-src 'none'" in response.headers["content-security-policy"]
    assert len(page) < 30_000
    assert not re.search(rb"https?://|//[a-z]+\.|@import|<link|<img|src=", page)
    assert page.count(b"<script>") == 1 and b"innerHTML" not in page


@pytest.mark.skipif(shutil.which("node") is None, reason="node, which reads the page's script, is not installed")
def test_the_script_of_the_page_is_javascript(tmp_path: Path) -> None:
    page = (Path(openapi.__file__).parent / "docs.html").read_text()
    script = tmp_path / "docs.js"
    script.write_text(page.split("<script>")[1].split("</script>")[0])
    subprocess.run(["node", "--check", script], check=True)


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.path)
def test_every_refusal_has_a_reason(route: Route) -> None:
    for call in route.calls.values():
        found = statuses(route, call)
        assert {400, 503} <= set(found) and (401 in found) == (call.need != "none")
        assert call.summary and not call.summary.endswith(".")
