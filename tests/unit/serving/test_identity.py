"""Identity providers accept valid tokens only, and trust requests only on loopback."""

import base64
import json
import time
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from core.errors import GroundworkError, InvalidInput, Unauthenticated
from core.principal import Principal
from core.settings import Settings
from serving.api.identity import LocalIdentity, open_identity_provider
from tests.support.tokens import GOOD, KEY, token


def settings(**changes: Any) -> Settings:
    return Settings(_env_file=None, identity="jwt", **{"jwt_key": KEY, **changes})


def identify(bearer: str, scheme: str = "Bearer") -> Principal:
    return open_identity_provider(settings(), "0.0.0.0", ()).identify(
        {"authorization": f"{scheme} {bearer}"}
    )


def unsigned(header: dict[str, str]) -> str:
    parts = [
        base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()
        for part in (header, GOOD)
    ]
    return ".".join([*parts, ""])


def test_a_valid_token_gives_tenant_groups_subject_and_team() -> None:
    assert identify(token()) == Principal("alder", ("finance", "legal"), "ada")
    assert identify(token(groups=...), scheme="bearer") == Principal("alder", (), "ada")
    assert identify(token(team="support")).team == "support"


def test_a_usage_key_identifies_the_subject_without_naming_it() -> None:
    """A renewed token does not renew a budget, and the same subject of another tenant has another
    key.
    """
    ada = Principal("alder", subject="ada")
    assert ada.usage_key == Principal("alder", ("finance",), "ada", "support").usage_key
    assert (
        len(
            {
                ada.usage_key,
                Principal("alder", subject="bea").usage_key,
                Principal("brightwater", subject="ada").usage_key,
            }
        )
        == 3
    )
    assert "ada" not in ada.usage_key


@pytest.mark.parametrize(
    "bearer",
    [
        "",
        "nonsense",
        "a.b.c",
        token(exp=time.time() - 1),
        token(exp=...),
        token(nbf=time.time() + 7200),
        token(aud="another"),
        token(aud=...),
        token(sub=...),
        token(key="another key that is long enough for HS256"),
        token(algorithm="HS512", key=KEY * 2),
        token() + "x",
        unsigned({"alg": "none", "typ": "JWT"}),
        unsigned({"alg": "HS256", "typ": "JWT"}),
        token(tenant=...),
        token(tenant=""),
        token(tenant=None),
        token(tenant=["alder"]),
        token(groups="finance"),
        token(groups=[None]),
        token(groups=["staff\x1ffinance"]),
        token(groups=[""]),
        token(team=["support"]),
        token(team="a\x00b"),
    ],
    ids=[
        "empty",
        "nonsense",
        "no json",
        "expired",
        "no expiry",
        "not yet",
        "other audience",
        "no audience",
        "no subject",
        "other key",
        "other algorithm",
        "tampered",
        "none",
        "unsigned",
        "no tenant",
        "empty tenant",
        "null tenant",
        "list of tenants",
        "one group",
        "null group",
        "group with a separator",
        "empty group",
        "list of teams",
        "unprintable team",
    ],
)
def test_a_wrong_token_is_refused(bearer: str) -> None:
    with pytest.raises(
        Unauthenticated, match=r"Sign in again\.|Ask its issuer\.|has no bearer token\."
    ):
        identify(bearer)


def test_a_request_without_a_token_is_refused() -> None:
    provider = open_identity_provider(settings(), "0.0.0.0", ())
    for headers in ({}, {"authorization": "Basic YTpi"}, {"x-groundwork-tenant": "alder"}):
        with pytest.raises(Unauthenticated):
            provider.identify(headers)


def test_a_public_key_verifies_tokens_and_can_not_sign_them() -> None:
    """A token that is signed with the public key as a shared secret is refused."""
    private = rsa.generate_private_key(65537, 2048)
    public = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    provider = open_identity_provider(
        settings(jwt_key=public.decode(), jwt_algorithm="RS256"), "0.0.0.0", ()
    )
    good = token(private, "RS256")
    assert provider.identify({"authorization": f"Bearer {good}"}).tenant == "alder"
    forged = token("x" * 40).split(".")[:2]
    for bearer in (token(), ".".join([*forged, ""]), unsigned({"alg": "none"})):
        with pytest.raises(Unauthenticated):
            provider.identify({"authorization": f"Bearer {bearer}"})
    with pytest.raises(InvalidInput, match="not a key for HS256"):
        open_identity_provider(settings(jwt_key=public.decode()), "0.0.0.0", ())


@pytest.mark.parametrize(
    "changes",
    [{"jwt_key": ""}, {"jwt_key": "k" * 31}, {"jwt_key": "no PEM " * 9, "jwt_algorithm": "RS256"}],
)
def test_a_missing_short_or_unfit_key_is_refused_at_the_start(changes: dict[str, str]) -> None:
    with pytest.raises(InvalidInput, match="GROUNDWORK_JWT_KEY"):
        open_identity_provider(settings(**changes), "127.0.0.1", ())


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "", "192.168.1.5", "example.org", "127.0.0.1.example.org"]
)
def test_local_identity_listens_on_loopback_only(host: str) -> None:
    local = Settings(_env_file=None)
    with pytest.raises(GroundworkError, match="GROUNDWORK_IDENTITY=jwt"):
        open_identity_provider(local, host, ())
    published = Settings(_env_file=None, published_on_loopback=True)
    assert open_identity_provider(published, host, ()).name == "local"


def test_a_local_request_names_its_caller() -> None:
    provider = LocalIdentity(("alder", "brightwater"))
    assert provider.identify({}) == Principal("alder")
    headers = {"x-groundwork-tenant": "brightwater", "x-groundwork-groups": "finance, legal,,"}
    assert provider.identify(headers) == Principal("brightwater", ("finance", "legal"))
    headers = {"x-groundwork-subject": "ada", "x-groundwork-team": "support"}
    assert provider.identify(headers) == Principal("alder", (), "ada", "support")
    with pytest.raises(InvalidInput):
        provider.identify({"x-groundwork-tenant": "a\x00b"})
    assert open_identity_provider(Settings(_env_file=None, tenant="mine"), "::1", ()).tenants == (
        "mine",
    )


def test_an_unknown_provider_is_refused_with_the_known_names() -> None:
    with pytest.raises(InvalidInput, match="Use one of: local, jwt"):
        open_identity_provider(Settings(_env_file=None, identity="ldap"), "127.0.0.1", ())
