"""Messages from templates: first line the subject, the rest the text; English and Spanish."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, TemplateNotFound

_LANGUAGES = ("en", "es")
# Plain text: nothing to escape. What an event did not bring is empty, not an error.
_ENVIRONMENT = Environment(
    loader=PackageLoader("api.notifications", "templates"),
    autoescape=False,  # noqa: S701 - no HTML is made here
    trim_blocks=True,
    lstrip_blocks=True,
)
_MAX_DISPLAY = 120


@dataclass(frozen=True, slots=True)
class Text:
    """A message, ready to be sent."""

    subject: str
    body: str

    @property
    def short(self) -> str:
        """For push, SMS and the car's screen."""
        return self.subject[:_MAX_DISPLAY]


def render(event: str, language: str, data: Mapping[str, Any]) -> Text:
    """The message of an event; an event without template gets a general one."""
    chosen = language if language in _LANGUAGES else "en"
    try:
        template = _ENVIRONMENT.get_template(f"{chosen}/{event}.txt")
    except TemplateNotFound:
        template = _ENVIRONMENT.get_template(f"{chosen}/_general.txt")
    subject, _, body = template.render({**data, "event": event}).partition("\n")
    # A header is one line, whatever the data holds.
    return Text(" ".join(subject.split()), body.strip() + "\n")
