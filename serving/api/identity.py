"""Identity of the caller.

To add a provider, write a class like the two below and add a line to `PROVIDERS`.
"""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import jwt

from core.errors import GroundworkError, InvalidInput, Unauthenticated
from core.principal import Principal
from core.settings import LOOPBACK_HOSTS, Settings

MIN_SECRET_BYTES = 32  # the key length of HMAC-SHA-256 (RFC 7518, section 3.2)


class IdentityProvider(Protocol):
    """Turns the headers of a request into a principal."""

    @property
    def name(self) -> str:
        """Name in `PROVIDERS` and in GROUNDWORK_IDENTITY."""

    @property
    def tenants(self) -> tuple[str, ...]:
        """Tenants that the page offers; empty if the provider decides the tenant."""

    def identify(self, headers: Mapping[str, str]) -> Principal:
        """Return the caller. Header names are in lower case.

        Raises:
            Unauthenticated: the headers do not prove an identity.
        """


class LocalIdentity:
    """Trusts the headers of a request. For one machine only: the service listens on loopback."""

    name = "local"

    def __init__(self, tenants: tuple[str, ...]) -> None:
        self.tenants = tenants

    @classmethod
    def from_settings(
        cls, settings: Settings, host: str, tenants: tuple[str, ...]
    ) -> "LocalIdentity":
        """Return the provider, which offers `tenants`; the first is the default.

        Raises:
            GroundworkError: the service would listen where other machines reach it.
        """
        if host not in LOOPBACK_HOSTS and not settings.published_on_loopback:
            raise GroundworkError(
                f"With GROUNDWORK_IDENTITY=local, anyone who reaches {host} could read everything."
                " Listen on 127.0.0.1, or set GROUNDWORK_IDENTITY=jwt."
            )
        return cls(tenants or (settings.tenant,))

    def identify(self, headers: Mapping[str, str]) -> Principal:
        """Read X-Groundwork-Tenant, -Groups (separated by commas), -Subject and -Team."""
        groups = headers.get("x-groundwork-groups", "").split(",")
        return Principal(
            headers.get("x-groundwork-tenant", "") or self.tenants[0],
            tuple(group.strip() for group in groups if group.strip()),
            headers.get("x-groundwork-subject", "") or "local",
            headers.get("x-groundwork-team", ""),
        )


class JwtIdentity:
    """Checks a bearer token, and reads `tenant`, `groups`, `team` and `sub` from it."""

    name = "jwt"
    tenants: tuple[str, ...] = ()

    def __init__(self, key: str, algorithm: str, audience: str) -> None:
        self._key, self._algorithm, self._audience = key, algorithm, audience

    @classmethod
    def from_settings(
        cls, settings: Settings, host: str, tenants: tuple[str, ...]
    ) -> "JwtIdentity":
        """Return the provider with the configured key.

        Raises:
            InvalidInput: the key is too short, or does not fit the algorithm.
        """
        key = settings.jwt_key.get_secret_value()
        if len(key.encode()) < MIN_SECRET_BYTES:
            raise InvalidInput(
                f"GROUNDWORK_JWT_KEY is too short. Use a key of at least {MIN_SECRET_BYTES} bytes."
            )
        try:
            jwt.get_algorithm_by_name(settings.jwt_algorithm).prepare_key(key)
        except (jwt.InvalidKeyError, ValueError, TypeError) as error:
            raise InvalidInput(
                f"GROUNDWORK_JWT_KEY is not a key for {settings.jwt_algorithm}. Correct either."
            ) from error
        return cls(key, settings.jwt_algorithm, settings.jwt_audience)

    def identify(self, headers: Mapping[str, str]) -> Principal:
        """Verify the bearer token in `Authorization`."""
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise Unauthenticated("The request has no bearer token. Sign in first.")
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                self._key,
                algorithms=[self._algorithm],
                audience=self._audience,
                options={"require": ["exp", "aud", "sub"]},
            )
        except jwt.PyJWTError as error:
            raise Unauthenticated(f"The token is not accepted ({error}). Sign in again.") from error
        tenant, groups, team = (
            claims.get("tenant"),
            claims.get("groups", []),
            claims.get("team", ""),
        )
        if not isinstance(groups, list) or not all(isinstance(group, str) for group in groups):
            raise Unauthenticated("The token's groups are not a list of names. Ask its issuer.")
        if not isinstance(tenant, str) or not isinstance(team, str):
            raise Unauthenticated("The token's tenant or team is not a name. Ask its issuer.")
        try:
            return Principal(tenant, tuple(groups), str(claims["sub"]), team)
        except InvalidInput as error:
            raise Unauthenticated(
                "The token has no valid tenant, group or team. Ask its issuer."
            ) from error


PROVIDERS: Mapping[str, Callable[[Settings, str, tuple[str, ...]], IdentityProvider]] = {
    LocalIdentity.name: LocalIdentity.from_settings,
    JwtIdentity.name: JwtIdentity.from_settings,
}


def check_provider_name(name: str) -> None:
    """Raise InvalidInput if `PROVIDERS` has no identity provider of that name."""
    if name not in PROVIDERS:
        raise InvalidInput(
            f"GROUNDWORK_IDENTITY={name} is not a known provider."
            f" Use one of: {', '.join(PROVIDERS)}."
        )


def open_identity_provider(
    settings: Settings, host: str, tenants: tuple[str, ...]
) -> IdentityProvider:
    """Return the configured provider for a service on `host` whose page offers `tenants`.

    Raises:
        GroundworkError: the provider is unknown, or can't be used with these settings.
    """
    check_provider_name(settings.identity)
    return PROVIDERS[settings.identity](settings, host, tenants)
