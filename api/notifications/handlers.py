"""The worker's job of notifications."""

from collections.abc import Mapping
from functools import partial

from api.deps import ApiDeps
from api.notifications import service
from core.contracts.jobs import Job, Notify
from core.jobs import Handler


def handlers(deps: ApiDeps) -> Mapping[type[Job], Handler]:
    """Job → what runs it."""
    return {Notify: partial(service.notify, deps)}
