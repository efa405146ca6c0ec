"""/openapi.json: the routes and the msgspec types of their bodies and answers as one OpenAPI 3.1 document."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import msgspec

from tsengine import __version__
from tsengine.server.http.asgi import JSON
from tsengine.server.routing import TOKEN_TEXTS, Call, Route

SECURITY: dict[str, list[dict[str, list[str]]]] = {
    "none": [],
    "account": [{"account": []}],
    "device": [{"device": []}],
    "device read": [{"device": []}],
    "device write": [{"device": []}],
    "local": [{"account": []}, {}],
    "any": [{"device": []}, {"account": []}],
    "gateway": [{"authorization": []}, {"account": []}],
    "tip": [{"tagotip": []}],
}

STATUS_TEXTS = {
    400: "Something in the request is wrong; the message says what",
    401: "No token, or an unknown, expired or unfit one",
    403: "Not from here",
    404: "It does not exist",
    413: "The body is too large",
    415: "The body's encoding is unknown",
    429: "Too many requests; Retry-After says how long to wait",
    503: "The store is busy or its disk is full; nothing was stored, try again after Retry-After",
}

FAILURE = {
    "type": "object",
    "description": "What every refusal looks like.",
    "properties": {
        "status": {"const": False},
        "message": {"type": "string"},
        "field_errors": {"type": "object", "additionalProperties": {"type": "array", "items": {"type": "string"}}},
    },
    "required": ["status", "message"],
}

_FIELD = re.compile(r"\{(\w+)(?::\w+)?\}")


def document(routes: Iterable[Route]) -> bytes:
    """Return the description of these routes as JSON."""
    routes = tuple(routes)
    schemas, components = _schemas(routes)
    paths = {
        _FIELD.sub(r"{\1}", route.path): {
            **_path_fields(route.path),
            **{method: _operation(route, method, call, schemas) for method, call in route.calls.items()},
        }
        for route in routes
    }
    return msgspec.json.encode(
        {
            "openapi": "3.1.0",
            "info": {
                "title": "tsengine",
                "version": __version__,
                "description": "Device data over HTTP, compatible with TagoIO's API. Every success is `{status: true, result}`, every "
                "refusal `{status: false, message}` with a 4xx status, or 503 when nothing was stored and trying again helps.",
            },
            "tags": [{"name": group} for group in dict.fromkeys(route.group for route in routes)],
            "paths": paths,
            "components": {
                "responses": {str(status): _refusal(text) for status, text in STATUS_TEXTS.items()},
                "schemas": {**components, "Failure": FAILURE},
                "securitySchemes": {
                    "account": {"type": "apiKey", "in": "header", "name": "account-token", "description": TOKEN_TEXTS["account"]},
                    "device": {"type": "apiKey", "in": "header", "name": "device-token", "description": "A token of a device."},
                    "authorization": {"type": "apiKey", "in": "header", "name": "network-token", "description": "An authorization token."},
                    "tagotip": {"type": "http", "scheme": "TagoTiP", "description": "The hash of an authorization token."},
                },
            },
        }
    )


def statuses(route: Route, call: Call) -> list[int]:
    """Return the statuses with which a call may be refused."""
    found = {400, 503, *call.errors}
    if call.need != "none":
        found |= {401, 429}
    if "{" in route.path:
        found.add(404)
    if call.body is not None:
        found |= {413, 415}
    return sorted(found)


def _types(call: Call) -> list[Any]:
    """Return the msgspec types that a call names."""
    answers = call.answer if isinstance(call.answer, tuple) else (call.answer,)
    return [type_ for type_ in (*answers, call.body, *(query.type for query in call.query)) if type_ is not None]


def _schemas(routes: Iterable[Route]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the schema of every type, by what `repr` says of it, and the named ones that they refer to."""
    types = {repr(type_): type_ for route in routes for call in route.calls.values() for type_ in _types(call)}
    found, components = msgspec.json.schema_components(types.values(), ref_template="#/components/schemas/{name}")
    return dict(zip(types, found, strict=True)), components


def _operation(route: Route, method: str, call: Call, schemas: dict[str, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": "_".join((method, *re.findall(r"\w+", route.path))),
        "summary": call.summary,
        "description": " ".join(text for text in (call.text, TOKEN_TEXTS[call.need]) if text),
        "tags": [route.group],
        "security": SECURITY[call.need],
        "responses": {
            str(call.status): _success(call, schemas),
            **{str(status): _refused(call, status) for status in statuses(route, call)},
        },
    }
    if call.query:
        operation["parameters"] = [
            {
                "name": query.name,
                "in": "query",
                "description": query.text,
                "required": query.is_required,
                "schema": schemas[repr(query.type)],
            }
            for query in call.query
        ]
    if call.body is not None:
        operation["requestBody"] = {"content": {media: {"schema": _body(call, media, schemas)} for media in call.accepts}}
    return operation


def _body(call: Call, media: str, schemas: dict[str, Any]) -> dict[str, Any]:
    return schemas[repr(call.body)] if media == JSON else {}


def _success(call: Call, schemas: dict[str, Any]) -> dict[str, Any]:
    if call.answer is None:
        return {"description": "Done"}
    if call.media != JSON:
        return {"description": "Done", "content": {call.media: {"schema": {"type": "string"}}}}
    if isinstance(call.answer, tuple):
        result: dict[str, Any] = {"anyOf": [schemas[repr(type_)] for type_ in call.answer]}
    else:
        result = schemas[repr(call.answer)]
    if call.is_bare:
        return {"description": "Done", "content": {JSON: {"schema": result}}}
    envelope = {
        "type": "object",
        "properties": {"status": {"const": True}, "result": result, "message": {"type": "string"}},
        "required": ["status", "result"],
    }
    return {"description": "Done", "content": {JSON: {"schema": envelope}}}


def _refused(call: Call, status: int) -> dict[str, Any]:
    if call.is_text:
        return {"description": STATUS_TEXTS[status], "content": {call.media: {"schema": {"type": "string"}}}}
    return {"$ref": f"#/components/responses/{status}"}


def _refusal(text: str) -> dict[str, Any]:
    return {"description": text, "content": {JSON: {"schema": {"$ref": "#/components/schemas/Failure"}}}}


def _path_fields(path: str) -> dict[str, Any]:
    fields = [
        {"name": name, "in": "path", "required": True, "description": name.replace("_", " "), "schema": {"type": "string"}}
        for name in _FIELD.findall(path)
    ]
    return {"parameters": fields} if fields else {}
