"""What a route is: a path, the resource that answers it, and for each method a description that OpenAPI, /docs and tests read.

Each file of resources ends with its table `ROUTES`, and app.py joins the tables. To add a route, add a `Route` to the table of its file
(a new file's table goes into app.py's). A method that is answered but not described, or the other way round, fails at import.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import msgspec

from tsengine.server.http.asgi import JSON

METHODS = ("get", "post", "put", "delete")

Need = Literal["none", "account", "device", "device read", "device write", "any", "gateway", "tip", "local"]
"""The token that a call needs: `device` is any token of a device, `any` that or the account's, `gateway` an authorization token that
may write, or the account's, `local` the account's or none from the machine itself."""

TOKEN_TEXTS: Mapping[str, str] = {
    "none": "No token.",
    "account": "The account token.",
    "device": "Any token of a device.",
    "device read": "A device token with the permission full or read.",
    "device write": "A device token with the permission full or write.",
    "local": "The account token, or none from the machine itself.",
    "any": "The account token, or any token of a device.",
    "tip": "The hash of an authorization token: `Authorization: TagoTiP` and 16 hexadecimal digits.",
    "gateway": "An authorization token with the permission full or write, in a header or in the address, or the account token.",
}


class Query(NamedTuple):
    """A parameter of the query string. A `list[...]` may be given several times, or as `name[]=` or `name[0]=`."""

    name: str
    type: Any
    text: str
    is_required: bool = False


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One method of a route, described.

    Attributes:
        summary: one sentence in the imperative, without a full stop.
        need: the token.
        answer: a msgspec type, or a tuple of alternatives; of `result` when `media` is JSON, else of the whole body. None = no body.
        status: of success.
        text: what else there is to know.
        query: parameters of the query string.
        body: the msgspec type of a JSON body; bytes or str for one that is not JSON; None = no body.
        accepts: media types of the body; the first one is the usual one.
        media: media type of the answer.
        is_text: refusals, too, are bare text.
        errors: statuses of refusal beside those that follow from the rest (`statuses` in openapi.py): 404 for a path with a field,
            401 with a token, 413 with a body, 400 and 503 always.
        is_bare: the answer is not wrapped in `{status, result}`; any answer that is not JSON is bare.
        is_raw: answered before Falcon is asked, so its resource has no method for it.
    """

    summary: str
    need: Need
    answer: Any = str
    status: int = 200
    text: str = ""
    query: tuple[Query, ...] = ()
    body: Any = None
    accepts: tuple[str, ...] = (JSON,)
    media: str = JSON
    errors: tuple[int, ...] = ()
    is_bare: bool = False
    is_raw: bool = False
    is_text: bool = False


class Route:
    """A path, the class of its resource, made with the Service, and its described methods.

    Args:
        path: as Falcon takes it: `/device/{device_id}`.
        group: the heading under which the documentation shows it.

    Raises:
        TypeError: the resource has a method without description, or the other way round.
    """

    def __init__(self, path: str, resource: type[Any], group: str, **calls: Call) -> None:
        self.path = path
        self.resource = resource
        self.group = group
        self.calls = calls
        described = {method for method, call in calls.items() if not call.is_raw}
        offered = {method for method in METHODS if hasattr(resource, f"on_{method}")}
        if described != offered or not calls.keys() <= set(METHODS):
            raise TypeError(f"{path}: {resource.__name__} answers {sorted(offered)}, described are {sorted(described)}")
