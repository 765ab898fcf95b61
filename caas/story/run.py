"""Tells the story on a running platform, with or without a part being killed at its turns."""

from collections.abc import Callable

from caas.demo.platform import Running
from caas.demo.secrets import STAFF_PASSWORD
from caas.story.client import Refused, TimedOut
from caas.story.sale import deliver, manufacture, sell
from caas.story.scene import Doors, Scene, kill_9
from caas.story.services import (
    buy_and_prove,
    refuse_and_not_charge,
    telemetry_is_stored,
    withdraw,
)
from caas.story.timeline import CheckFailed, Timeline
from core.errors import Invalid
from core.ids import new_id


async def tell(running: Running, timeline: Timeline, *, kill: str | None = None) -> None:
    """The whole story; a check that does not hold ends it and is in the timeline.

    ``kill``: the part that gets SIGKILL at every turn of the story; the supervisor restarts it.
    """
    if kill is not None and kill not in running.service_names:
        known = ", ".join(running.service_names)
        raise Invalid("UNKNOWN_PART", f"no part {kill!r}; there are {known}")
    mail = f"lucia.{new_id().hex[-8:]}@customers.example"
    scene = Scene(_doors(running), timeline, _striker(running, timeline, kill), mail)
    timeline.begin()
    try:
        async with scene:
            await sell(scene)
            await manufacture(scene)
            await deliver(scene)
            activation_id = await buy_and_prove(scene)
            await telemetry_is_stored(scene)
            await refuse_and_not_charge(scene)
            await withdraw(scene, activation_id)
    except CheckFailed:
        return
    except (TimedOut, Refused) as error:
        timeline.fail(str(error))


def _doors(running: Running) -> Doors:
    layout = running.layout
    return Doors(
        api=layout.url("api"),
        partners=layout.url("partners"),
        sim=layout.url("sim"),
        dsn=layout.dsn,
        staff_password=STAFF_PASSWORD,
        max_retries=int(layout.pace.settings["CAAS_OTA_MAX_RETRIES"]),
    )


def _striker(running: Running, timeline: Timeline, kill: str | None) -> Callable[[str], None]:
    def strike(turn: str) -> None:
        if kill is not None and kill_9(running.supervisor.pid(kill)):
            timeline.step(f"kill -9 of {kill} ({turn})")

    return strike
