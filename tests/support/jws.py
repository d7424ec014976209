"""Tokens put together by hand, as no library would make them."""

import base64
import functools
import hashlib
import hmac
import json
import time
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

type PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


@functools.cache
def rsa_key(name: str = "", size: int = 2_048) -> rsa.RSAPrivateKey:
    """Return a key, by each name another one."""
    return rsa.generate_private_key(65_537, size)


@functools.cache
def ec_key(name: str = "", curve: type[ec.EllipticCurve] = ec.SECP256R1) -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(curve())


def public_pem(key: PrivateKey) -> bytes:
    return key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def public_jwk(key: PrivateKey, kid: str | None = None, **more: Any) -> dict[str, Any]:
    algorithm = RSAAlgorithm if isinstance(key, rsa.RSAPrivateKey) else ECAlgorithm
    jwk: dict[str, Any] = json.loads(algorithm.to_jwk(key.public_key()))  # type: ignore[arg-type]
    return {**jwk, **({} if kid is None else {"kid": kid}), **more}


def part(content: object) -> str:
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def signed(header: object, claims: object, key: bytes | PrivateKey) -> str:
    """Sign as the key is made for, whatever the header says: a secret with HMAC, others as RS256 and ES256 do."""
    text = f"{part(header)}.{part(claims)}"
    return f"{text}.{part(_signature(text.encode(), key))}"


def _signature(text: bytes, key: bytes | PrivateKey) -> bytes:
    if isinstance(key, bytes):
        return hmac.new(key, text, hashlib.sha256).digest()
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(text, padding.PKCS1v15(), hashes.SHA256())
    size = (key.key_size + 7) // 8
    r, s = decode_dss_signature(key.sign(text, ec.ECDSA(hashes.SHA256())))
    return r.to_bytes(size) + s.to_bytes(size)


def claims(**changed: Any) -> dict[str, Any]:
    """Return claims that are good for an hour, without those that are None."""
    whole = {"sub": "ann", "scope": "images:write", "exp": int(time.time()) + 3_600, **changed}
    return {name: value for name, value in whole.items() if value is not None}
