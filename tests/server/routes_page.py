"""docs/routes.md, made from the table of routes: `python -m tests.server.routes_page` writes it, test_openapi.py compares."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tsengine.server.app import ROUTES
from tsengine.server.openapi import document
from tsengine.server.routing import TOKEN_TEXTS, Call

PAGE = Path(__file__).resolve().parents[2] / "docs" / "routes.md"

HEAD = """\
# Routes of the server

What each route needs, takes and answers. `python -m tests.server.routes_page` writes this page from the table that the server itself
reads; a test compares. A running server shows the same, with a curl line each, at `/docs`, and as OpenAPI at `/openapi.json`. How it all
plays together is in [server.md](server.md), what is promised and where that is tested in [contract.md](contract.md).

An answer is the `result` of `{"status": true, "result": ...}`, unless it says *bare*. Any route may answer 400, 401 (where it needs a
token), 404 (where its path has a field), 413, 415, 429 and 503; see [Answers](server.md#answers).
"""


def text_of(schema: dict[str, Any]) -> str:
    """Say in words what a JSON schema allows."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(text_of(option) for option in schema["anyOf"]))
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {text_of(schema.get('items', {}))}"
    bounds = [f"{word} {schema[key]}" for key, word in (("minimum", "from"), ("maximum", "to")) if key in schema]
    return " ".join([{"string": "text", None: "anything"}.get(schema.get("type"), str(schema.get("type"))), *bounds])


def table(heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> Iterator[str]:
    yield ""
    yield f"| {' | '.join(heads)} |"
    yield "|---" * len(heads) + "|"
    yield from (f"| {' | '.join(row)} |" for row in rows)


def answer_of(call: Call, operation: dict[str, Any]) -> str:
    response = operation["responses"][str(call.status)]
    if call.answer is None:
        return "nothing"
    if call.media != "application/json":
        return f"`{call.media}`, bare"
    schema = response["content"][call.media]["schema"]
    return f"{text_of(schema)}, bare" if call.is_bare else text_of(schema["properties"]["result"])


def page() -> str:
    described = json.loads(document(ROUTES))
    lines = [HEAD]
    seen: dict[str, str] = {}
    for group in dict.fromkeys(route.group for route in ROUTES):
        lines.append(f"## {group}\n")
        for route in ROUTES:
            for method, call in route.calls.items() if route.group == group else ():
                path = route.path.replace(":path", "")
                operation = described["paths"][path][method]
                name = f"{method.upper()} {path}"
                lines.append(f"### {name}\n")
                lines.append(f"{call.summary}. {call.text}".rstrip() + "\n")
                lines.append(f"- Token: {TOKEN_TEXTS[call.need]}")
                if "requestBody" in operation:
                    schema = operation["requestBody"]["content"].get("application/json", {}).get("schema")
                    lines.append(f"- Body: {text_of(schema) if schema else ', '.join(f'`{media}`' for media in call.accepts)}")
                lines.append(f"- Answer: {call.status}, {answer_of(call, operation)}")
                queries = operation.get("parameters", [])
                key = json.dumps(queries)
                if queries and key in seen:
                    lines.append(f"- Query: as {seen[key]}")
                elif queries:
                    seen[key] = name
                    rows = [(f"`{q['name']}`", text_of(q["schema"]), q["description"] + " (required)" * q["required"]) for q in queries]
                    lines += table(("query", "type", "meaning"), rows)
                lines.append("")
    lines.append("## Objects\n")
    for name, schema in sorted(described["components"]["schemas"].items()):
        lines.append(f"### {name}\n")
        if schema.get("description"):
            lines.append(schema["description"].split("\n\n")[0].replace("\n", " "))
        required = schema.get("required", [])
        fields = [
            (f"`{field}`", text_of(inner) + " (required)" * (field in required)) for field, inner in schema.get("properties", {}).items()
        ]
        lines += [*table(("field", "type"), fields), ""]
    return "\n".join(lines).rstrip() + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
