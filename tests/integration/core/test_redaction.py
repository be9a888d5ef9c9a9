"""Redaction of answers and quotes by the setting GROUNDWORK_REDACT."""

from dataclasses import replace

import pytest

from core.principal import Principal
from core.services import Services
from serving.answering.pipeline import stream_answer


@pytest.mark.parametrize(
    ("policy", "is_shown"), [("logs", True), ("prompts", True), ("answers", False)]
)
def test_answers_and_quotes_are_redacted_only_by_the_setting_answers(
    sample_services: Services, policy: str, is_shown: bool
) -> None:
    settings = sample_services.settings.model_copy(update={"redact": policy})
    services = replace(sample_services, settings=settings)
    question = "Where do requests about personal data go to?"
    events = repr(list(stream_answer(services, Principal("alder"), question)))
    assert ("privacy@alder.example" in events) == is_shown
    assert ("[EMAIL]" in events) != is_shown
