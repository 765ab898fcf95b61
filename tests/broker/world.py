"""A Mosquitto with every door open, who may come in, and who may not."""

import os
import resource
import secrets
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from caas.brokers import Doors, plan_broker
from core.passwords import PasswordFile
from gateway.registry.ca import init_authority, write_crl, write_server
from gateway.registry.x509 import Authority, Revoked, new_authority, pem, serial_of
from tests.broker.raw import Identity, Raw
from tests.broker_fixtures import DEADLINE_S, PREFIX, SERVICES, free_port, wait_until

WEEK = timedelta(days=7)
A, B = "VF1AURXRA00000017", "VF1AURXRA00000025"
GONE = "VF1AURXRA00000033"


def topic(vin: str, leaf: str) -> str:
    return f"{PREFIX}/{vin}/{leaf}"


@dataclass
class World:
    """The running broker. Vehicles A and B have a certificate and a secret each."""

    folder: Path
    authority: Authority
    services: int
    plain: int
    certificates: int
    secret_door: int
    secrets: dict[str, str]
    max_connections: int
    pid: int = 0
    revoked: list[Revoked] = field(default_factory=list[Revoked])
    # On the list, and taken from the password file, before the broker started.
    revoked_certificate: Identity = field(default_factory=Identity)
    revoked_secret: Identity = field(default_factory=Identity)

    @property
    def ca_dir(self) -> Path:
        return self.folder / "ca"

    @property
    def ca(self) -> Path:
        return self.ca_dir / "ca.crt"

    @property
    def log(self) -> Path:
        return self.folder / "log" / "mosquitto.log"

    def certificate(
        self,
        name: str,
        *,
        authority: Authority | None = None,
        self_signed: bool = False,
        ends: timedelta = WEEK,
        revoked: bool = False,
    ) -> Identity:
        """A client certificate with that common name, of our authority if nothing else is said."""
        now = datetime.now(UTC)
        key = ec.generate_private_key(ec.SECP256R1())
        signer = authority or self.authority
        if self_signed:
            signer = new_authority(name, now)
            key, made = signer.key, signer.certificate
        else:
            made = issue_any(signer, name, key, now - 2 * WEEK, now + ends)
        stem = self.folder / secrets.token_hex(4)
        identity = Identity(stem.with_suffix(".crt"), stem.with_suffix(".key"))
        assert identity.cert is not None
        assert identity.key is not None
        identity.cert.write_bytes(pem(made))
        identity.key.write_bytes(pem(key))
        if revoked:
            self.revoke(made)
        return identity

    def revoke(self, certificate: x509.Certificate) -> None:
        """As the gateway does it, for the broker that is running."""
        now = datetime.now(UTC)
        self.revoked.append(Revoked(serial_of(certificate), now))
        write_crl(self.ca_dir, self.authority, self.revoked, now, WEEK)

    def revoke_file(self, path: Path) -> None:
        """The same, of a certificate on disk."""
        self.revoke(x509.load_pem_x509_certificate(path.read_bytes()))

    def memory(self) -> int:
        """How much memory the broker has asked for, in bytes."""
        pages = Path(f"/proc/{self.pid}/statm").read_text(encoding="ascii").split()[0]
        return int(pages) * resource.getpagesize()

    def by_secret(self, vin: str, secret: str | None = None) -> Identity:
        return Identity(user=vin, secret=secret or self.secrets[vin])

    def at_certificates(self, identity: Identity) -> Raw:
        return Raw(self.certificates, ca=self.ca, identity=identity)

    def at_secrets(self, identity: Identity) -> Raw:
        return Raw(self.secret_door, ca=self.ca, identity=identity)

    def service(self, name: str, client_id: str | None = None) -> Raw:
        """A connected service, at the internal door."""
        raw = Raw(self.services, identity=self.by_secret(name))
        assert raw.connect(client_id or f"{name}-{secrets.token_hex(4)}") == 0
        return raw


def issue_any(
    authority: Authority,
    name: str,
    key: ec.EllipticCurvePrivateKey,
    starts: datetime,
    ends: datetime,
) -> x509.Certificate:
    """What a careless authority would sign: any common name."""
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(authority.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(starts)
        .not_valid_after(ends)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()),
            critical=False,
        )
        .sign(authority.key, hashes.SHA256())
    )


@contextmanager
def running(folder: Path, *, max_connections: int = 50) -> Generator[World]:
    """The world, up; ended afterwards."""
    now = datetime.now(UTC)
    authority = init_authority(folder / "ca", now, WEEK)
    write_server(folder / "ca", folder / "ca", ["127.0.0.1"], now)
    ports = [free_port() for _ in range(4)]
    world = World(folder, authority, *ports, secrets={}, max_connections=max_connections)
    passwords = PasswordFile(folder / "passwords")
    for name in (*SERVICES, A, B):
        world.secrets[name] = secrets.token_hex(16)
        passwords.set(name, world.secrets[name])
    passwords.set(GONE, "its old secret")
    passwords.write({name: hashed for name, hashed in passwords.read().items() if name != GONE})
    world.revoked_secret = Identity(user=GONE, secret="its old secret")
    world.revoked_certificate = world.certificate(A, revoked=True)
    plan = plan_broker(
        folder,
        host="127.0.0.1",
        port=world.services,
        passwords=passwords.path,
        prefix=PREFIX,
        prefer="mosquitto",
        doors=Doors(
            plain=world.plain,
            certificates=world.certificates,
            secrets=world.secret_door,
            ca_dir=world.ca_dir,
            log=world.log,
            max_connections=max_connections,
        ),
    )
    process = subprocess.Popen(plan.argv, env={**os.environ, **plan.env})
    world.pid = process.pid
    try:
        wait_until(lambda: _answers(world, process), "the broker answers")
        yield world
    finally:
        process.terminate()
        process.wait(DEADLINE_S)


def _answers(world: World, process: subprocess.Popen[bytes]) -> bool:
    assert process.poll() is None, world.log.read_text()
    try:
        world.service("svc-monitor").__exit__()
    except OSError:
        return False
    return True
