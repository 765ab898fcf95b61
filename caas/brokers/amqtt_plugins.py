"""amqtt plugins: our password file and access rules, re-read when they change."""

# amqtt is typed but says so with no py.typed file.
# pyright: reportMissingTypeStubs=false

import logging
from dataclasses import dataclass
from pathlib import Path

from amqtt.contexts import Action, BaseContext
from amqtt.plugins.base import BaseAuthPlugin, BaseTopicPlugin
from amqtt.session import Session

from caas.brokers.acl import parse_acl
from caas.brokers.mosquitto import acl_text
from caas.brokers.reload import Fingerprint, fingerprint
from core.passwords import PasswordFile, verify_password

log = logging.getLogger(__name__)


class PasswordPlugin(BaseAuthPlugin):
    """Lets in who is in the password file; a will must be to a topic its owner may write."""

    @dataclass
    class Config(BaseAuthPlugin.Config):
        """Where the password file is, and the topics' prefix."""

        passwords: str = ""
        prefix: str = ""

    def __init__(self, context: BaseContext) -> None:
        super().__init__(context)
        self._file = PasswordFile(Path(str(self._get_config_option("passwords"))))
        self._acl = parse_acl(acl_text(str(self._get_config_option("prefix"))))
        self._seen: Fingerprint | None = None
        self._hashes: dict[str, str] = {}

    async def authenticate(self, *, session: Session) -> bool:
        """True for a known user with the right secret, and a client id and a will of its own."""
        refused = self._refused(session)
        if refused:
            log.warning(
                "broker denied: %s, client %r, user %r, address %s",
                *(refused, session.client_id, session.username, session.remote_address),
            )
        return not refused

    def _refused(self, session: Session) -> str:
        user, secret = session.username, session.password
        hashed = self._current().get(user or "")
        if not user or not secret or hashed is None or not verify_password(secret, hashed):
            return "sign-in"
        # Another's would end that one's connection and take its session.
        if session.client_id != user and not self._acl.is_service(user):
            return "client id"
        # amqtt publishes wills without asking its topic plugins.
        if session.will_flag and not self._acl.allows(user, "write", session.will_topic or ""):
            return f"will on {session.will_topic}"
        return ""

    def _current(self) -> dict[str, str]:
        now = fingerprint(self._file.path)
        if now != self._seen:
            self._hashes, self._seen = self._file.read(), now
        return self._hashes


class AclPlugin(BaseTopicPlugin):
    """Applies ``mosquitto/acl``; refuses a SUBSCRIBE unless the rules cover all of its filter."""

    @dataclass
    class Config(BaseTopicPlugin.Config):
        """The topics' prefix."""

        prefix: str = ""

    def __init__(self, context: BaseContext) -> None:
        super().__init__(context)
        self._acl = parse_acl(acl_text(str(self._get_config_option("prefix"))))

    async def topic_filtering(
        self,
        *,
        session: Session | None = None,
        topic: str | None = None,
        action: Action | None = None,
    ) -> bool:
        """True when the session's user may do ``action`` on ``topic``."""
        if session is None or not session.username or not topic:
            return False
        access = "write" if action is Action.PUBLISH else "read"
        allowed = self._acl.allows(session.username, access, topic)
        # "receive" is asked for each message to each subscriber, and no attack.
        if not allowed and action is not Action.RECEIVE:
            log.warning(
                "broker denied: %s of %s, client %r, user %r, address %s",
                *("publish" if access == "write" else "subscribe", topic, session.client_id),
                *(session.username, session.remote_address),
            )
        return allowed
