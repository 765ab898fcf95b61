"""The partners' HTTP clients, made from the settings; adapters of the nouns speak through them."""

import asyncio
from dataclasses import dataclass

from api.partners.http import PartnerClient, RetryPlan
from api.partners.vss_auth import ClientCredentials
from api.settings import PartnerSettings


@dataclass(frozen=True, slots=True)
class Partners:
    """One client per outside system."""

    factory: PartnerClient
    payments: PartnerClient
    vss: PartnerClient
    authority: PartnerClient

    async def close(self) -> None:
        await asyncio.gather(
            *(c.close() for c in (self.factory, self.payments, self.vss, self.authority))
        )


def build_partners(settings: PartnerSettings) -> Partners:
    """Clients with the timeouts and retries of DOMAIN 20; none connects before its first call."""
    return Partners(
        factory=PartnerClient(
            "factory",
            settings.factory_url,
            timeout_s=settings.factory_timeout_s,
            retry=RetryPlan(settings.factory_network_waits_s, settings.factory_server_waits_s),
            bearer=settings.factory_token.get_secret_value(),
        ),
        payments=PartnerClient(
            "payments",
            settings.payments_url,
            timeout_s=settings.payments_timeout_s,
            retry=RetryPlan(settings.payments_waits_s, settings.payments_waits_s),
            bearer=settings.payments_token.get_secret_value(),
        ),
        # Who calls decides about retries: a purchase makes one live call, a renewal waits longer.
        vss=PartnerClient(
            "vss",
            settings.vss_url,
            timeout_s=settings.vss_timeout_s,
            auth=ClientCredentials(
                f"{settings.vss_url.rstrip('/')}/oauth/token",
                settings.vss_client_id,
                settings.vss_client_secret.get_secret_value(),
            ),
        ),
        authority=PartnerClient(
            "authority",
            settings.authority_url,
            timeout_s=settings.authority_timeout_s,
            bearer=settings.authority_token.get_secret_value(),
        ),
    )
