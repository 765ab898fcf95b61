"""GET /notifications: the customer's in-app messages."""

from datetime import datetime
from uuid import UUID

from fastapi import APIRouter

from api.deps import Deps
from api.identity.deps import CustomerCaller
from api.identity.schemas import CamelModel
from api.notifications import repository

router = APIRouter(tags=["notifications"])


class NotificationOut(CamelModel):
    message_id: UUID
    event: str
    vin: str | None
    activation_id: UUID | None
    subject: str
    body: str
    created_at: datetime


class NotificationsOut(CamelModel):
    notifications: list[NotificationOut]


@router.get("/notifications")
async def list_notifications(caller: CustomerCaller, deps: Deps) -> NotificationsOut:
    """What the customer was told inside the app, newest first."""
    async with deps.database.transaction() as conn:
        rows = await repository.of_customer(conn, caller.customer)
    return NotificationsOut(notifications=[NotificationOut.model_validate(row) for row in rows])
