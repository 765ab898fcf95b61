"""A platform that others reach does not start on secrets that stand in its source."""

import pytest
from pydantic import SecretStr

from api.settings import PartnerSettings, load_settings
from core.errors import SettingsError
from core.settings import load

OWN = {
    "CAAS_API_JWT_SECRET": "j" * 32,
    "CAAS_PARTNER_FACTORY_TOKEN": "own-factory-token",
    "CAAS_PARTNER_PAYMENTS_TOKEN": "own-payments-token",
    "CAAS_PARTNER_VSS_CLIENT_SECRET": "own-vss-secret",
    "CAAS_PARTNER_AUTHORITY_TOKEN": "own-authority-token",
    "CAAS_PARTNER_FACTORY_WEBHOOK_SECRET": "own-factory-webhook-secret",
    "CAAS_PARTNER_PAYMENTS_WEBHOOK_SECRET": "own-payments-webhook-secret",
    "CAAS_PARTNER_AUTHORITY_WEBHOOK_SECRET": "own-authority-webhook-secret",
}


def environment(monkeypatch: pytest.MonkeyPatch, url: str, secrets: dict[str, str]) -> None:
    monkeypatch.setenv("CAAS_API_PUBLIC_URL", url)
    for name in OWN:
        monkeypatch.delenv(name, raising=False)
    for name, value in secrets.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8000", "http://localhost:8000", "http://[::1]:8000/", "http://a.localhost"]
)  # fmt: skip
def test_on_this_machine_the_demo_secrets_will_do(monkeypatch: pytest.MonkeyPatch, url: str):
    environment(monkeypatch, url, {})
    assert load_settings().api.public_url == url


@pytest.mark.parametrize(
    "url", ["https://caas.example", "http://10.0.0.5:8000", "http://0.0.0.0:8000", "http://127.evil.example"]
)  # fmt: skip
def test_elsewhere_every_demo_secret_is_named_and_none_is_shown(
    monkeypatch: pytest.MonkeyPatch, url: str
):
    environment(monkeypatch, url, {})
    with pytest.raises(SettingsError) as refused:
        load_settings()
    assert all(name in str(refused.value) for name in OWN)
    for field in PartnerSettings.model_fields.values():
        if isinstance(field.default, SecretStr):
            assert field.default.get_secret_value() not in str(refused.value)


@pytest.mark.parametrize("left", sorted(OWN))
def test_one_left_is_enough_to_refuse(monkeypatch: pytest.MonkeyPatch, left: str):
    environment(monkeypatch, "https://caas.example", {k: v for k, v in OWN.items() if k != left})
    with pytest.raises(SettingsError, match=left):
        load_settings()


def test_with_secrets_of_its_own_it_starts(monkeypatch: pytest.MonkeyPatch):
    environment(monkeypatch, "https://caas.example", OWN)
    assert load_settings().api.jwt_secret.get_secret_value() == OWN["CAAS_API_JWT_SECRET"]


@pytest.mark.parametrize("name", sorted(set(OWN) - {"CAAS_API_JWT_SECRET"}))
def test_an_empty_secret_is_none(monkeypatch: pytest.MonkeyPatch, name: str):
    monkeypatch.setenv(name, "")
    with pytest.raises(SettingsError, match=name):
        load(PartnerSettings)
