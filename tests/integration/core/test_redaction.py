"""Secrets and personal data are found by their form, and hardly anything else is."""

from dataclasses import replace

import pytest

from core.principal import Principal
from core.services import Services
from serving.answering.pipeline import stream_answer


@pytest.mark.parametrize(
    ("policy", "shown"), [("logs", True), ("prompts", True), ("answers", False)]
)
def test_answers_and_quotes_are_masked_where_the_policy_says_so(
    sample_services: Services, policy: str, shown: bool
) -> None:
    """On their way and as a whole."""
    services = replace(
        sample_services, settings=sample_services.settings.model_copy(update={"redact": policy})
    )
    events = list(
        stream_answer(services, Principal("alder"), "Where do requests about personal data go to?")
    )
    said = repr(events)
    assert ("privacy@alder.example" in said) == shown
    assert ("[EMAIL]" in said) != shown
