"""Signed tokens for tests of identity."""

import time
from typing import Any

import jwt

KEY = "a key for tests that is long enough for HS256"
GOOD: dict[str, Any] = {
    "tenant": "alder",
    "groups": ["finance", "legal"],
    "sub": "ada",
    "aud": "groundwork",
    "exp": time.time() + 7200,
}


def token(key: Any = KEY, algorithm: str = "HS256", **changes: Any) -> str:
    claims = {name: value for name, value in (GOOD | changes).items() if value is not ...}
    return jwt.encode(claims, key, algorithm)
