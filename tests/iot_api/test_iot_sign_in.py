"""The other ways to say who calls: a signed request, and a certificate a proxy has checked."""

import asyncio
import hashlib
import hmac
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from typer.testing import CliRunner, Result

from caas.cli import app
from core.clock import rfc3339
from core.contracts.iot_api import request_signature
from core.errors import Invalid, SettingsError, TooMany
from core.settings import load
from gateway.iot_api import clients, keys
from gateway.iot_api.auth import Failures, fingerprint_of
from gateway.iot_api.settings import IotApiSettings
from tests.broker_fixtures import RunningBroker
from tests.iot_api.world import OTHER_VIN, VIN, World, running

STATUS = f"/iot/v1/vehicle/{VIN}/status"
PROXY_SECRET = "only-the-proxy-knows-this"


class Signed(httpx.Auth):
    """A request signed as docs/iot-api.md says; written from there, not from the code."""

    requires_request_body = True

    def __init__(self, key: keys.NewKey, *, age_s: float = 0, body: bytes | None = None) -> None:
        self.key, self.age_s, self.body = key, age_s, body

    def auth_flow(self, request: httpx.Request):
        moment = rfc3339(datetime.now(UTC) - timedelta(seconds=self.age_s))
        target = request.url.raw_path.decode()
        request_id = request.headers.get("X-Request-ID", "")
        text = f"{request.method}\n{target}\n{moment}\n{request_id}\n".encode()
        text += request.content if self.body is None else self.body
        digest = hmac.new(self.key.secret.encode(), text, hashlib.sha256).hexdigest()
        request.headers.update(
            {"X-Api-Key": self.key.key_id, "X-Timestamp": moment, "X-Signature": digest}
        )
        yield request


async def new_key(world: World, overlap_s: float = 0) -> keys.NewKey:
    async with world.room.transaction() as conn:
        return await keys.add_key(conn, "fleet-app", now=datetime.now(UTC), overlap_s=overlap_s)


async def test_a_signed_request_is_its_clients(world: World) -> None:
    await world.client()
    key = await new_key(world)
    body = {"vin": VIN, "serviceId": "PERF_BOOST_50", "duration": {"type": "PERMANENT"}}
    path, ids = f"/vehicle/{VIN}/configure", {"X-Request-ID": "signed"}
    answer = await world.http.post(path, json=body, headers=ids, auth=Signed(key))
    assert answer.status_code == 202, answer.text
    status = await world.http.get(f"/vehicle/{VIN}/status?a=%20b", auth=Signed(key))
    assert status.status_code == 200, status.text
    other = await world.http.get(f"/vehicle/{OTHER_VIN}/status", auth=Signed(key))
    assert (other.status_code, other.json()["error"]["code"]) == (403, "VEHICLE_FORBIDDEN")
    answer = await world.http.post(path, json=body, headers=ids, auth=Signed(key, body=b"{}"))
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "SIGNATURE_INVALID")
    for age_s in (301, -301):
        answer = await world.http.get(STATUS.removeprefix("/iot/v1"), auth=Signed(key, age_s=age_s))
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "REQUEST_STALE")
    unknown = keys.NewKey("nobody", "")
    answer = await world.http.get(f"/vehicle/{VIN}/status", auth=Signed(unknown))
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "SIGNATURE_INVALID")


async def test_a_signed_order_cannot_be_sent_again_as_another(world: World) -> None:
    await world.client()
    body = {"vin": VIN, "text": "Your parcel is in the boot"}
    path, key = f"/vehicle/{VIN}/display", await new_key(world)
    request = world.http.build_request("POST", path, json=body, headers={"X-Request-ID": "first"})
    signed = next(Signed(key).auth_flow(request))
    first = await world.http.send(signed)
    assert first.status_code == 202, first.text
    again = await world.http.post(path, content=signed.content, headers=signed.headers)
    assert again.json() == first.json()
    signed.headers["X-Request-ID"] = "second"
    second = await world.http.post(path, content=signed.content, headers=signed.headers)
    assert (second.status_code, second.json()["error"]["code"]) == (401, "SIGNATURE_INVALID")
    del signed.headers["X-Request-ID"]
    assert (await world.http.post(path, content=signed.content, headers=signed.headers)).is_error


def test_the_documented_signature_is_the_one_we_make() -> None:
    page = (Path(__file__).parents[2] / "docs/iot-api.md").read_text()
    example = page.partition("```text\n")[2].partition("\n```")[0]
    method, target, moment, request_id, body = example.split("\n")
    made = request_signature(
        "5f2d", method=method, target=target, moment=moment, request_id=request_id,
        body=body.encode(),
    )  # fmt: skip
    assert f"X-Signature: {made}" in page


async def test_keys_rotate_without_a_gap_and_end_with_their_client(world: World) -> None:
    await world.client()
    first = await new_key(world)
    second = await new_key(world, overlap_s=600)

    async def status(key: keys.NewKey) -> int:
        return (await world.http.get(f"/vehicle/{VIN}/status", auth=Signed(key))).status_code

    assert [await status(key) for key in (first, second)] == [200, 200]
    third = await new_key(world)
    assert [await status(key) for key in (first, second, third)] == [401, 401, 200]
    async with world.room.transaction() as conn:
        await clients.revoke(conn, "fleet-app")
    assert await status(third) == 401


async def test_a_certificate_counts_only_from_the_proxy(
    database: str,
    mosquitto_broker: RunningBroker,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pem = certificate()
    fingerprint = fingerprint_of(pem)
    assert fingerprint is not None
    async with running(
        database,
        mosquitto_broker,
        tmp_path,
        monkeypatch,
        CAAS_IOT_API_CERTIFICATE_HEADER="X-Client-Cert",
        CAAS_IOT_API_PROXY_SECRET=PROXY_SECRET,
    ) as world:
        await world.client()
        async with world.room.transaction() as conn:
            await keys.add_certificate(conn, "fleet-app", fingerprint, now=datetime.now(UTC))

        async def code(**headers: str) -> str:
            answer = await world.http.get(
                f"/vehicle/{VIN}/status",
                headers={name.replace("_", "-"): value for name, value in headers.items()},
            )
            return "ok" if answer.status_code == 200 else answer.json()["error"]["code"]

        for shown in (quote(pem), fingerprint.hex(), fingerprint.hex(":")):
            assert await code(X_Client_Cert=shown, X_Proxy_Secret=PROXY_SECRET) == "ok"
            # Whoever reaches the gateway past the proxy can write any header.
            assert await code(X_Client_Cert=shown) == "TOKEN_MISSING"
            wrong = await code(X_Client_Cert=shown, X_Proxy_Secret="guess")
            assert wrong == "PROXY_SECRET_WRONG"
        for shown in (quote(certificate()), "0" * 64, "nonsense"):
            refused = await code(X_Client_Cert=shown, X_Proxy_Secret=PROXY_SECRET)
            assert refused == "CERTIFICATE_UNKNOWN"
        async with world.room.transaction() as conn:
            await keys.remove_certificate(conn, "fleet-app", fingerprint)
        shown = fingerprint.hex()
        assert await code(X_Client_Cert=shown, X_Proxy_Secret=PROXY_SECRET) == "CERTIFICATE_UNKNOWN"


@pytest.mark.parametrize(
    "half", [{"certificate_header": "X-Client-Cert"}, {"proxy_secret": PROXY_SECRET}]
)
def test_half_of_the_certificate_settings_stops_the_start(half: dict[str, str]) -> None:
    with pytest.raises(SettingsError, match="belong together"):
        load(IotApiSettings, **half)


def test_what_failed_is_not_kept_at_full_length() -> None:
    failures, now = Failures(1), datetime(2026, 11, 24, 8, tzinfo=UTC)
    failures.count("192.0.2.1", "client " + "x" * 60_000, now)
    assert max(len(name) for _, name in failures._counts) <= 100  # pyright: ignore[reportPrivateUsage]
    with pytest.raises(TooMany):
        failures.check("192.0.2.1", "client " + "x" * 60_000, now)
    failures.check("192.0.2.1", "client x", now)


async def test_who_fails_too_often_is_not_asked_any_more(
    database: str,
    mosquitto_broker: RunningBroker,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with running(
        database,
        mosquitto_broker,
        tmp_path,
        monkeypatch,
        CAAS_IOT_API_FAILURES_PER_MINUTE="3",
    ) as world:
        headers = await world.client()

        async def guess(client_id: str) -> httpx.Response:
            form = {"grant_type": "client_credentials"}
            return await world.http.post("/oauth/token", data=form, auth=(client_id, "wrong"))

        # Seven: a minute may end among them.
        answers = [await guess("fleet-app") for _ in range(7)]
        assert [answer.status_code for answer in answers[:3]] == [401] * 3
        refused = next(answer for answer in answers if answer.status_code == 429)
        assert 1 <= int(refused.headers["Retry-After"]) <= 60
        # Nobody else is shut out, nor the client's own token.
        assert (await guess("other-app")).status_code == 401
        answer = await world.http.get(f"/vehicle/{VIN}/status", headers=headers)
        assert answer.status_code == 200


async def test_a_client_may_have_every_vehicle_of_a_model(world: World) -> None:
    headers = await world.client("aurora-app", vins=[], models=["AURORA"])
    for vin in (VIN, OTHER_VIN):
        assert (await world.http.get(f"/vehicle/{vin}/status", headers=headers)).is_success
    headers = await world.client("boreal-app", vins=[], models=["BOREAL"])
    answer = await world.http.get(f"/vehicle/{VIN}/status", headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "VEHICLE_FORBIDDEN")
    with pytest.raises(Invalid, match="AURORRA"):
        await world.client("typo-app", vins=[], models=["AURORRA"])


async def test_the_command_line_gives_keys_and_takes_certificates(
    world: World, tmp_path: Path
) -> None:
    await world.client()

    async def caas(*arguments: str) -> Result:
        return await asyncio.to_thread(CliRunner().invoke, app, ["iot", *arguments])

    made = (await caas("key", "fleet-app")).output.split()
    key = keys.NewKey(made[2], made[5])
    assert (await world.http.get(f"/vehicle/{VIN}/status", auth=Signed(key))).is_success
    made = (await caas("key", "fleet-app", "--now")).output.split()
    answer = await world.http.get(f"/vehicle/{VIN}/status", auth=Signed(key))
    assert answer.status_code == 401
    key = keys.NewKey(made[2], made[5])
    assert (await world.http.get(f"/vehicle/{VIN}/status", auth=Signed(key))).is_success
    pem, other = tmp_path / "client.pem", tmp_path / "none.pem"
    pem.write_text(certificate())
    other.write_text("nonsense")
    await world.client("other-app")
    for arguments, wanted in (
        (("fleet-app", str(pem)), "fleet-app with"),
        (("fleet-app", str(pem)), "fleet-app with"),
        (("other-app", str(pem)), "belongs to another client"),
        (("fleet-app", str(other)), "is no certificate in PEM"),
        (("nobody", str(pem)), "there is no client"),
        (("fleet-app", str(pem), "--remove"), "fleet-app without"),
        (("fleet-app", str(pem), "--remove"), "has no such certificate"),
    ):
        said = await caas("certificate", *arguments)
        assert wanted in f"{said.output} {said.exception}"


def certificate() -> str:
    """A fresh certificate in PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "fleet-app")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM).decode()
