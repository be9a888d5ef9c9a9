"""Who is asking. A provider turns a request's headers into a principal; to add one, write a class and name it here."""

from collections.abc import Mapping
from typing import Any, Protocol

import jwt

from core.errors import GroundworkError, InvalidInput, Unauthenticated
from core.principal import Principal
from core.settings import Settings

LOOPBACK_HOSTS = ("127.0.0.1", "::1", "localhost")
MIN_SECRET_BYTES = 32  # bytes, the key length of HMAC-SHA-256 (RFC 7518, section 3.2)


class IdentityProvider(Protocol):
    """Finds out who sent a request; raises Unauthenticated when it can't."""

    @property
    def name(self) -> str:
        """`local` or `jwt`."""

    @property
    def tenants(self) -> tuple[str, ...]:
        """The tenants that the page lets a person choose from; none where a token decides."""

    def identify(self, headers: Mapping[str, str]) -> Principal:
        """The principal behind a request's headers (names in lower case)."""


class LocalIdentity:
    """Believes what the request says. For one's own machine: it answers on loopback only."""

    name = "local"

    def __init__(self, tenants: tuple[str, ...]) -> None:
        self.tenants = tenants

    def identify(self, headers: Mapping[str, str]) -> Principal:
        """From X-Groundwork-Tenant, -Groups (separated by commas), -Subject and -Team."""
        groups = headers.get("x-groundwork-groups", "").split(",")
        return Principal(
            headers.get("x-groundwork-tenant", "") or self.tenants[0],
            tuple(group.strip() for group in groups if group.strip()),
            headers.get("x-groundwork-subject", "") or "local",
            headers.get("x-groundwork-team", ""),
        )


class JwtIdentity:
    """Checks a bearer token: its signature, expiry and audience; takes `tenant`, `groups`, `team` and `sub` from it."""

    name = "jwt"
    tenants: tuple[str, ...] = ()

    def __init__(self, key: str, algorithm: str, audience: str) -> None:
        self._key, self._algorithm, self._audience = key, algorithm, audience

    def identify(self, headers: Mapping[str, str]) -> Principal:
        """See `IdentityProvider`."""
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise Unauthenticated("Sign in first: the request carries no bearer token.")
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                self._key,
                algorithms=[self._algorithm],
                audience=self._audience,
                options={"require": ["exp", "aud", "sub"]},
            )
            tenant, groups, team = (
                claims["tenant"],
                claims.get("groups", []),
                claims.get("team", ""),
            )
            if not isinstance(groups, list) or not all(isinstance(group, str) for group in groups):
                raise Unauthenticated(
                    "The token's groups are not a list of names; ask whoever issues it."
                )
            if not isinstance(tenant, str) or not isinstance(team, str):
                raise Unauthenticated(
                    "The token's tenant or team is not a name; ask whoever issues it."
                )
            return Principal(tenant, tuple(groups), str(claims["sub"]), team)
        except jwt.PyJWTError as error:
            raise Unauthenticated(f"The token is not accepted ({error}); sign in again.") from error
        except (KeyError, InvalidInput) as error:
            raise Unauthenticated(
                "The token names no valid tenant or group; ask whoever issues it."
            ) from error


def open_identity_provider(
    settings: Settings, host: str, tenants: tuple[str, ...]
) -> IdentityProvider:
    """The configured provider; `tenants` are those that `local` offers, the first when a request names none.

    Raises:
        GroundworkError: `local` on an address that others can reach, or `jwt` without a proper key.
    """
    if settings.identity == "jwt":
        key = settings.jwt_key.get_secret_value()
        if len(key.encode()) < MIN_SECRET_BYTES:
            raise InvalidInput(
                f"GROUNDWORK_JWT_KEY must hold a key of at least {MIN_SECRET_BYTES} bytes."
            )
        try:
            jwt.get_algorithm_by_name(settings.jwt_algorithm).prepare_key(key)
        except (jwt.InvalidKeyError, ValueError, TypeError) as error:
            raise InvalidInput(
                f"GROUNDWORK_JWT_KEY holds no key for {settings.jwt_algorithm}; correct one."
            ) from error
        return JwtIdentity(key, settings.jwt_algorithm, settings.jwt_audience)
    if host not in LOOPBACK_HOSTS and not settings.published_on_loopback:
        raise GroundworkError(
            f"With GROUNDWORK_IDENTITY=local anyone who reaches {host} could read everything; listen on 127.0.0.1,"
            " or set GROUNDWORK_IDENTITY=jwt."
        )
    return LocalIdentity(tenants or (settings.tenant,))
