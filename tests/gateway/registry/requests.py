"""Certificate requests, as vehicles make them."""

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.x509.oid import NameOID


def request(key, common_name: str | None, *, san: str | None = None) -> bytes:
    """A request in PEM, for a common name or none, that may ask for a name it has no right to."""
    names = [] if common_name is None else [x509.NameAttribute(NameOID.COMMON_NAME, common_name)]
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(names))
    if san is not None:
        wanted = x509.SubjectAlternativeName([x509.DNSName(san)])
        builder = builder.add_extension(wanted, critical=False)
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(key, algorithm).public_bytes(serialization.Encoding.PEM)
