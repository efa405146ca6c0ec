"""POST /data as a bare ASGI function: token, body, engine, answer, and nothing else on the way.

The order of the checks is the contract's: token (401), device active (400), then those of sending.py.
"""

from __future__ import annotations

from functools import lru_cache, partial

from tsengine.server.envelope import JSON_HEADERS, Answer
from tsengine.server.http.asgi import Disconnected, Receive, Scope, Send, read_body, reply
from tsengine.server.sending import store
from tsengine.server.service import Service

PATH = b"/data"


async def post_data(scope: Scope, receive: Receive, send: Send, service: Service) -> None:
    """Answer POST /data."""
    headers = scope["headers"]
    try:
        device = service.gate.device(headers, "write")
        body = partial(read_body, headers, receive, service.settings.max_body)
        answer = added(await store(service, device, headers, body, scope))
    except Disconnected:
        return
    except Exception as error:
        answer = service.failure(error, scope["request_id"])
    await reply(send, answer)


@lru_cache(maxsize=1024)
def added(count: int) -> Answer:
    """Return the answer to a POST that stored so many points."""
    return Answer(200, JSON_HEADERS, b'{"status":true,"result":"%d Data Added"}' % count)
