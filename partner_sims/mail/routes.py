"""`/mail`: the inbox as JSON and as a page, and the sinks for push and SMS."""

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, Response
from jinja2 import Environment, FileSystemLoader
from pydantic import BaseModel, ConfigDict, Field

from partner_sims.mail import service
from partner_sims.sims import SimsDep

router = APIRouter(prefix="/mail", tags=["mail"])
_PAGES = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True)
Channel = Literal["email", "push", "sms"]


class NoteIn(BaseModel):
    """A push notification or SMS; other members are kept with it."""

    model_config = ConfigDict(extra="allow")

    to: str = Field(min_length=1)
    title: str = ""
    text: str = ""


@router.get("/messages")
async def list_messages(
    sims: SimsDep,
    to: str | None = None,
    subject: str | None = None,
    channel: Channel | None = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 200,
) -> dict[str, Any]:
    """The messages whose recipient and subject contain these texts, newest first."""
    found = service.search(sims, to, subject, channel, limit)
    return {"messages": [service.view(message) for message in found]}


@router.get("/messages/{message_id}")
async def read_message(message_id: str, sims: SimsDep) -> dict[str, Any]:
    """One message."""
    return service.view(service.find(sims, message_id))


@router.get("/messages/{message_id}/raw")
async def read_raw(message_id: str, sims: SimsDep) -> Response:
    """One message as it was sent."""
    return Response(service.raw_of(sims, message_id), media_type="text/plain; charset=utf-8")


@router.get("/messages/{message_id}/attachments/{position}")
async def read_attachment(message_id: str, position: int, sims: SimsDep) -> Response:
    """An attachment, by its place in the message's list. Never shown, only saved."""
    content_type, data = service.attachment(sims, message_id, position)
    headers = {"Content-Disposition": "attachment", "X-Content-Type-Options": "nosniff"}
    return Response(data, media_type=content_type, headers=headers)


@router.delete("/messages")
async def clear(sims: SimsDep) -> dict[str, Any]:
    """Empty the inbox."""
    with sims.store.transaction():
        return {"deleted": sims.store.run("message_clear")}


@router.delete("/messages/{message_id}")
async def delete_message(message_id: str, sims: SimsDep) -> dict[str, Any]:
    """Throw one message away."""
    with sims.store.transaction():
        service.find(sims, message_id)
        return {"deleted": sims.store.run("message_delete", message_id=message_id)}


@router.post("/push", status_code=201)
async def push(body: NoteIn, request: Request, sims: SimsDep) -> dict[str, Any]:
    """Keep a push notification."""
    return _keep(sims, "push", body, await request.body())


@router.post("/sms", status_code=201)
async def sms(body: NoteIn, request: Request, sims: SimsDep) -> dict[str, Any]:
    """Keep an SMS."""
    return _keep(sims, "sms", body, await request.body())


@router.get("/", response_class=HTMLResponse)
async def inbox(sims: SimsDep, to: str | None = None, subject: str | None = None) -> HTMLResponse:
    """The inbox for people: newest first, a message opens in place."""
    messages = [service.view(found) for found in service.search(sims, to, subject, None, 200)]
    page = _PAGES.get_template("inbox.html").render(messages=messages, to=to, subject=subject)
    # Mail is other people's HTML: whatever it holds, nothing of it runs or loads from outside.
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'self'"
    return HTMLResponse(page, headers={"Content-Security-Policy": policy})


def _keep(sims: SimsDep, channel: Channel, body: NoteIn, raw: bytes) -> dict[str, Any]:
    extra = body.model_extra or {}
    text = body.text or str(extra.get("body", "")) or json.dumps(extra)
    with sims.store.transaction():
        message_id = service.keep_note(sims, channel, body.to, body.title, text, raw)
    return {"id": message_id}
