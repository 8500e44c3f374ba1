"""The platform's own key (Ed25519, RFC 8032): who gets an archive can tell which platform made it.

Keys are told as 64 hex digits: one word to copy, and one that cannot be taken for an option.
"""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from core.files import sync_folder, write_atomically

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

#: Before what is signed: a signature of the same key over something else is none of a slug.
SLUGS = b"dae slug archive 1\n"
KEY_BYTES, SIGNATURE_BYTES = 32, 64


def public_key(place: Path) -> str:
    """The public half of the key at ``place``, which is made when it is not there (0600)."""
    return _private(place).public_key().public_bytes_raw().hex()


def sign(place: Path, data: bytes, says: bytes = SLUGS) -> bytes:
    """Public key and signature of ``data``, 96 bytes; the same key and data give the same signature.

    ``says``: what kind of data it is.
    """
    private = _private(place)
    return private.public_key().public_bytes_raw() + private.sign(says + data)


def signer(signed: bytes, data: bytes, says: bytes = SLUGS) -> str:
    """The public key that signed ``data``; empty when ``signed`` is no signature of it."""
    from cryptography.exceptions import InvalidSignature  # late: it is rarely needed, and large
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    key, signature = signed[:KEY_BYTES], signed[KEY_BYTES:]
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, says + data)
    except (InvalidSignature, ValueError):
        return ""
    return key.hex()


def sweep(place: Path) -> None:
    """Remove the copies of the key that a kill left beside ``place``. Only for when nobody makes one: at the start."""
    for left in place.parent.glob(f".*{place.name}.*"):
        left.unlink()


def _private(place: Path) -> Ed25519PrivateKey:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    if not place.exists():
        fresh = place.with_name(f".{place.name}.{secrets.token_hex(4)}")
        write_atomically(fresh, secrets.token_bytes(KEY_BYTES))
        try:
            with suppress(FileExistsError):  # of two who make it, one wins: no signature is of a key that is lost
                os.link(fresh, place)
            sync_folder(place.parent)
        finally:
            fresh.unlink()
    return Ed25519PrivateKey.from_private_bytes(place.read_bytes())
