"""TLS of the bus client: whom it trusts, its own certificate, and failures in plain words."""

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

from core.errors import DomainError, SettingsError
from core.settings import BusSettings

T = TypeVar("T")

# The reasons of OpenSSL that need another word, by a part of their text; the rest speak well.
_IN_WORDS = (
    ("WRONG_VERSION_NUMBER", "what answers there does not speak TLS"),
    ("UNEXPECTED_EOF_WHILE_READING", "it closed the line in the middle of the TLS handshake"),
    ("TLSV13_ALERT_CERTIFICATE_REQUIRED", "it wants a client certificate (CAAS_MQTT_CERT_FILE)"),
    ("ALERT_UNKNOWN_CA", "it does not trust the authority of our certificate"),
    ("ALERT_CERTIFICATE_EXPIRED", "it says our certificate has expired"),
    ("ALERT_CERTIFICATE_REVOKED", "it says our certificate is revoked"),
    ("ALERT_BAD_CERTIFICATE", "it refuses our certificate"),
)


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files of one client: ``ca`` (None = the system's), and its own certificate with key."""

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None

    def context(self) -> ssl.SSLContext:
        """For the next connection: files that were replaced are read again.

        SettingsError where one cannot be used.
        """
        return _context(self, *(_version(path) for path in (self.ca, self.cert, self.key)))


def tls_files(
    settings: BusSettings, cert: Path | None = None, key: Path | None = None
) -> TlsFiles | None:
    """The files the settings name, or None without TLS; ``cert`` and ``key`` go before theirs.

    SettingsError where they contradict each other, or cannot be used.
    """
    if cert is None and key is None:
        cert, key = settings.cert_file, settings.key_file
    if not settings.tls:
        if settings.ca_file or cert or key:
            raise SettingsError(
                "CAAS_MQTT_CA_FILE, _CERT_FILE and _KEY_FILE do nothing without CAAS_MQTT_TLS=true"
            )
        return None
    if (cert is None) != (key is None):
        raise SettingsError("CAAS_MQTT_CERT_FILE and CAAS_MQTT_KEY_FILE need each other")
    files = TlsFiles(settings.ca_file, cert, key)
    files.context()
    return files


def in_words(error: Exception) -> str:
    """Why a connection failed, as a person reads it."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the broker's certificate is refused: {error.verify_message}"
    if isinstance(error, DomainError):
        return error.message
    text = str(error) or type(error).__name__
    for part, words in _IN_WORDS:
        if part in text.upper().replace(" ", "_"):
            return f"the broker's TLS: {words}"
    if isinstance(error, ssl.SSLError):
        return f"the broker's TLS: {error.reason or text}"
    return text


class _Socket(ssl.SSLSocket):
    """Closes itself where the handshake fails: paho forgets it then."""

    def do_handshake(self, block: bool = False) -> None:
        try:
            super().do_handshake(block)
        except BaseException:
            self.close()
            raise


# A fleet has a context for each vehicle; one of a few services is needed again and again.
@lru_cache(maxsize=64)
def _context(files: TlsFiles, *_versions: tuple[int, int] | None) -> ssl.SSLContext:
    context = _read("CAAS_MQTT_CA_FILE", files.ca, lambda: _trusting(files.ca))
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.sslsocket_class = _Socket
    if files.cert is not None and files.key is not None:
        cert, key = files.cert, files.key
        _read("CAAS_MQTT_CERT_FILE", cert, cert.read_bytes)
        _read(
            "CAAS_MQTT_KEY_FILE (or it does not belong to CAAS_MQTT_CERT_FILE)",
            key,
            lambda: context.load_cert_chain(cert, key, password=_no_password),
        )
    return context


def _trusting(ca: Path | None) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=ca)


def _read(setting: str, path: Path | None, read: Callable[[], T]) -> T:
    try:
        return read()
    except ssl.SSLError as error:
        raise SettingsError(f"{setting}: {path} cannot be used: {error.reason or error}") from None
    except OSError as error:
        raise SettingsError(f"{setting}: cannot read {path}: {error.strerror}") from None
    except ValueError as error:
        raise SettingsError(f"{setting}: {path} cannot be used: {error}") from None


def _no_password() -> str:
    # Without this OpenSSL asks on the terminal, and a service waits for ever.
    raise ValueError("the key is encrypted; decrypt it and keep the file to its owner")


def _version(path: Path | None) -> tuple[int, int] | None:
    if path is None:
        return None
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino
