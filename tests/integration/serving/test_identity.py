"""Identity over HTTP: the token decides, and nothing else does."""

from fastapi.testclient import TestClient

from core.services import Services
from serving.api.app import build_api
from serving.api.identity import JwtIdentity
from tests.support.tokens import KEY, token


def test_over_http_only_the_token_decides(sample_services: Services) -> None:
    """Headers of `local` and query parameters are ignored, and no response lists the tenants."""
    client = TestClient(build_api(sample_services, JwtIdentity(KEY, "HS256", "groundwork")))
    for request in (client.get("/v1/me"), client.post("/v1/ask", json={"question": "Why?"})):
        assert request.status_code == 401
        assert request.headers["content-type"] == "application/problem+json"
        assert request.headers["www-authenticate"] == "Bearer"
        assert request.json()["type"] == "urn:groundwork:unauthenticated"
    headers = {"Authorization": f"Bearer {token()}", "X-Groundwork-Tenant": "brightwater"}
    assert client.get("/v1/me?tenant=brightwater", headers=headers).json() == {
        "tenant": "alder",
        "groups": ["finance", "legal"],
        "identity": "jwt",
        "tenants": [],
    }
    elsewhere = {**headers, "Host": "groundwork.example.org"}
    assert client.get("/v1/me", headers=elsewhere).status_code == 200
