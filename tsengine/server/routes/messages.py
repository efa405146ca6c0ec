"""POST /analysis/services/mqtt/publish: a message of the account to a device, as TagoIO's SDK sends it."""

from __future__ import annotations

import base64
import binascii

import falcon.asgi
import msgspec

from tsengine.errors import InputError
from tsengine.server.envelope import wrong_body
from tsengine.server.routing import Call, Route
from tsengine.server.service import Service, answer
from tsengine.server.wire import decode_body


class MessageBody(msgspec.Struct):
    """A message. `bucket` is an old name of `device`; `qos` and `retain` are taken and change nothing.

    Attributes:
        message: text; with `payload_type` "buffer" Base64 of bytes.
    """

    topic: str
    message: str
    device: str = ""
    bucket: str = ""
    payload_type: str = "string"
    qos: int = 0
    retain: bool = False


class Messages:
    """/analysis/services/mqtt/publish."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def on_post(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        self._service.gate.account(req.scope["headers"])
        body = decode_body(await self._service.body(req), MessageBody)
        device = await self._service.device(body.device or body.bucket)
        try:
            payload = base64.b64decode(body.message, validate=True) if body.payload_type == "buffer" else body.message.encode()
            self._service.engine.engine.publish(device.id, body.topic, payload)
        except (binascii.Error, UnicodeEncodeError):
            raise wrong_body("message", "must be text, or Base64 for a buffer") from None
        except InputError as error:
            raise wrong_body("topic", str(error)) from None
        answer(resp, "Message Successfully Published")


ROUTES = (
    Route(
        "/analysis/services/mqtt/publish",
        Messages,
        "MQTT",
        post=Call(
            summary="Send a message to the MQTT clients of a device",
            need="account",
            body=MessageBody,
            text="It reaches the clients that subscribe to the topic at this moment; nothing is kept.",
            errors=(404,),
        ),
    ),
)
