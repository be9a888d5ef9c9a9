"""Examples of docs/guides/extend.md that need the sample's database."""

import serving.answering.generator.registry
from tests.support.doc_examples import Example


def test_generator_example_answers_with_verified_quotes(
    sample_services, embedder, home, monkeypatch
):
    monkeypatch.setenv("GROUNDWORK_DATABASE_URL", sample_services.settings.database_url)
    monkeypatch.setenv("GROUNDWORK_HOME", str(home))
    monkeypatch.setenv("GROUNDWORK_GENERATOR", "first-sentences")
    monkeypatch.setattr("core.services.load_embedder", lambda name, dtype: embedder)
    example = Example("Answer generator", monkeypatch)
    example.install(serving.answering.generator.registry, "GENERATORS")
    example.run()
