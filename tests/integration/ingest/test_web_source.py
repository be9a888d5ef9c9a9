"""Ingestion from a sitemap of a site on loopback."""

from dataclasses import replace

import pytest

from core.errors import InvalidInput
from core.principal import Principal
from core.services import Services
from ingest import pipeline
from ingest.sources.web import get_web_client
from retrieval.retriever import retrieve
from tests.support.services import shared_parser_pool
from tests.support.web import Site, build_sitemap


def test_the_store_follows_a_sitemap_and_downloads_only_changed_pages(
    services: Services, site: Site
) -> None:
    """Citations contain the address. A host that is not allowed is refused."""
    address = f"{site.root}/sitemap.xml"
    with pytest.raises(InvalidInput, match="port"):
        pipeline.ingest_sources(
            services, "acme", [pipeline.build_source_spec(address)], shared_parser_pool()
        )
    settings = services.settings.model_copy(update={"web_allowed_hosts": site.host})
    allowed = replace(services, settings=settings)
    get_web_client(site.host)._delay_seconds = 0.0

    def run() -> dict[str, int]:
        return pipeline.ingest_sources(
            allowed, "acme", [pipeline.build_source_spec(address)], shared_parser_pool()
        ).counts

    site.page(
        "/sitemap.xml",
        build_sitemap(f"{site.root}/guide", f"{site.root}/pumps/", f"{site.root}/none"),
    )
    site.page(
        "/pumps/",
        "<html><body><h1>Pumps</h1><p>The north pump moves 40 litres a second.</p>",
        ETag='"p1"',
    )
    assert run() == {"added": 2, "quarantined": 1}
    (hit, *_) = retrieve(allowed, Principal("acme"), "How much does the north pump move?").hits
    assert (hit.uri, hit.path, hit.title) == (f"{site.root}/pumps/#", "pumps/", "Pumps")
    site.requests("GET")
    site.page("/sitemap.xml", build_sitemap(f"{site.root}/guide", f"{site.root}/pumps/"))
    assert run() == {"unchanged": 2, "deleted": 1}
    assert site.requests("GET") == ["/sitemap.xml"]
    site.page("/sitemap.xml", build_sitemap(f"{site.root}/guide"))
    assert run() == {"unchanged": 1, "deleted": 1}
