"""Fixtures of the tests of serving."""

import pytest

from bench.fake_models import FakeProvider, answer_well
from core.http import HttpPool
from serving.gateway.gateway import Gateway
from serving.gateway.models_file import ModelsFile
from serving.gateway.providers.base import open_provider
from tests.support.gateway import LENIENT


@pytest.fixture
def open_models():
    """A function that opens gateways; their connections are closed after the test."""
    pool = HttpPool()

    def make(*entries, meter=None, patience=LENIENT, **file):
        models_file = ModelsFile.model_validate(
            {"models": entries, "patience": patience.model_dump(), **file}
        )
        return Gateway(
            models_file,
            {model.name: open_provider(model, pool) for model in models_file.models},
            meter,
        )

    yield make
    pool.close()


@pytest.fixture
def start_provider():
    """A function that starts providers on loopback; they are closed after the test."""
    providers = []

    def make(name="alpha", behave=answer_well):
        providers.append(FakeProvider(name, behave))
        return providers[-1]

    yield make
    for provider in providers:
        provider.close()
