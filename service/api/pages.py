"""Pages of lists: sizes, and tokens that carry where the last page ended and what the list was of."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json

from ..errors import InvalidField, InvalidPageToken

DEFAULT_SIZE = 100
LARGEST_SIZE = 1000

_DIGEST_BYTES = 8
_LONGEST_KEY = 256  # bytes; an owner and an id are shorter


def page_size(asked: int) -> int:
    """Returns how many entries a page has. Raises InvalidField for a negative number."""
    if asked < 0:
        raise InvalidField("page_size", "0 or more", asked)
    return min(asked or DEFAULT_SIZE, LARGEST_SIZE)


def page_token(after: str, *filters: object) -> str:
    """Returns the token of the page that follows the entry `after`; "" stands for the end."""
    if not after:
        return ""
    key = after.encode()
    return base64.urlsafe_b64encode(_digest(key, filters) + key).decode().rstrip("=")


def page_start(token: str, *filters: object) -> str:
    """Returns the entry after which the page of `token` begins. Raises InvalidPageToken for one of another list."""
    if not token:
        return ""
    try:
        data = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        digest, key = data[:_DIGEST_BYTES], data[_DIGEST_BYTES:]
        after = key.decode()
    except (binascii.Error, ValueError):
        raise InvalidPageToken from None
    if not 0 < len(key) <= _LONGEST_KEY or digest != _digest(key, filters):
        raise InvalidPageToken
    return after


def _digest(key: bytes, filters: tuple[object, ...]) -> bytes:
    """Returns what ties a token to its list. It guards against mistakes; forging one would gain nothing."""
    canonical = json.dumps(filters, sort_keys=True).encode()
    return hashlib.sha256(canonical + b"\0" + key).digest()[:_DIGEST_BYTES]
