"""Redaction: secrets and personal data are found by their form, and little else."""

import itertools
from collections.abc import Iterator

import pytest

from core.principal import Principal
from core.redaction import SENSITIVE_KINDS, Pseudonyms, find_entities, redact
from serving.answering.guardrails.redaction import RedactingModels
from serving.gateway.types import Message, ModelRequest, Models

# Built from pieces, so that no scanner of this repository takes them for real ones.
SECRETS = {
    "aws": "AKIA" + "IOSFODNN7EXAMPLE",
    "github": "ghp_" + "a1B2" * 9,
    "github, fine-grained": "github_pat_" + "11ABCDEFG0" * 4,
    "gitlab": "glpat-" + "x9Yz" * 5,
    "google": "AIza" + "SyA1b2C" * 5,
    "slack": "xoxb-" + "123456789012-abcdefGHIJKL",
    "openai": "sk-" + "proj-" + "Zx81" * 8,
    "anthropic": "sk-ant-" + "api03-" + "Qw12" * 10,
    "stripe": "sk_" + "live_" + "4eC39HqLyjWDarjt",
    "jwt": "eyJ" + "hbGciOiJIUzI1NiJ9" + ".eyJ" + "zdWIiOiIxMjM0In0" + ".dozjgNryP4J3jVmNHl0w5N",
    "pem": "-----BEGIN "
    + "RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEA\nabc/def+ghi=\n-----END "
    + "RSA PRIVATE KEY-----",
}


@pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS.keys())
def test_a_key_with_a_vendors_prefix_is_found_anywhere(secret: str) -> None:
    for text in (
        f"use {secret} for that",
        f'{{"value": "{secret}"}}',
        f"?value={secret}&x=1",
        f"\n{secret}\n",
    ):
        assert secret not in redact(text).text
        assert redact(text).text.count("[SECRET]") == 1
        assert redact(text).text.replace("[SECRET]", secret) == text


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("password=hunter2", "password=[SECRET]"),
        ('"api_key": "abcdef"', '"api_key": "[SECRET]"'),
        ("my password is Tr0ub4dor&3.", "my password is [SECRET]."),
        ("postgresql://app:s3cret@db:5432/x", "postgresql://[SECRET]@db:5432/x"),
        ("Authorization: Basic dXNlcjpwYXNz", "Authorization: [SECRET]"),
        ("the key for it: 9fJ2kLmQ8rTzX5vBnC7w", "the key for it: [SECRET]"),
        ("card 4111 1111 1111 1111, please", "card [CARD], please"),
        ("IBAN GB82 WEST 1234 5698 7654 32 to us", "IBAN [IBAN] to us"),
        ("de89370400440532013000", "[IBAN]"),
        ("SSN 123-45-6789", "SSN [NATIONAL_ID]"),
        ("DNI 12345678Z", "DNI [NATIONAL_ID]"),
        ("CF RSSMRA85T10A562S", "CF [NATIONAL_ID]"),
        ("PESEL: 44051401359", "PESEL: [NATIONAL_ID]"),
        ("CPF 529.982.247-25", "CPF [NATIONAL_ID]"),
        ("BSN 111222333", "BSN [NATIONAL_ID]"),
        ("NHS number 943 476 5919", "NHS number [NATIONAL_ID]"),
        ("Steuer-ID 86095742719", "Steuer-ID [NATIONAL_ID]"),
        ("SIN 046 454 286", "SIN [NATIONAL_ID]"),
        ("personnummer 811218-9876", "personnummer [NATIONAL_ID]"),
        ("NINO AB123456C", "NINO [NATIONAL_ID]"),
        ("1 84 12 76 451 089 46", "[NATIONAL_ID]"),
        ("mail jö.b+x@sub.example.co.uk!", "mail [EMAIL]!"),
        ("call +44 20 7946 0958 or (555) 234-5678", "call [PHONE] or [PHONE]"),
        ("from 203.0.113.7:443 and 2001:db8::1", "from [IP]:443 and [IP]"),
        ("at 00:1A:2b:3c:4D:5e", "at [MAC]"),
        ("born on 4 May 1987", "born on [BIRTH_DATE]"),
        ("see https://example.org/a?b=c.", "see [URL]."),
        ("he turned 58; a 62-year-old", "he turned [AGE]; a [AGE]-year-old"),
        (
            "my driver's license number is F162823540116",
            "my driver's license number is [DRIVER_LICENSE]",
        ),
    ],
)
def test_an_entity_with_a_form_is_replaced(text: str, redacted: str) -> None:
    assert redact(text).text == redacted


@pytest.mark.parametrize(
    "text",
    [
        "The password must have 12 characters.",
        "token: a sequence of letters",
        "secret = $SECRET",
        "password=<yours>",
        "card 4111 1111 1111 1112",
        "IBAN GB82 WEST 1234 5698 7654 33",
        "666-12-3456",
        "000-12-3456",
        "900-12-3456",
        "version 1.2.3.4",
        "127.0.0.1:8080",
        "see §2.3.2.2",
        "std::vector at 12:30:45",
        "ISBN 978-3-16-148410-0",
        "invoice 20260012345",
        "part number 4471-2200-13",
        "ERR-4711",
        "1,234,567 of 9,876,543",
        "5f2b7f4e-8f7c-4a5e-9d3c-0a1b2c3d4e5f",
        "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "0.1234567 0.7654321",
        "characters 1787-1893",
        "a@b",
        "SR141716A",
        "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16",
    ],
)
def test_similar_text_is_not_an_entity(text: str) -> None:
    """Wrong check digits, numbers that no authority issues, and numbers of other things."""
    assert [text[slice(*one.span)] for one in find_entities(text, SENSITIVE_KINDS)] == []


def test_entities_are_in_order_and_do_not_overlap() -> None:
    text = (
        "Mail ann@example.com from https://user:pw1@example.com/x, born 1/2/1980, "
        "call 0161 496 0000 or +44 161 4960000"
    )
    entities = find_entities(text)
    assert all(a.span.end <= b.span.start for a, b in itertools.pairwise(entities))
    assert {entity.kind for entity in entities} >= {"EMAIL", "SECRET", "BIRTH_DATE", "PHONE"}


def test_equal_values_have_equal_pseudonyms_and_are_restored() -> None:
    pseudonyms = Pseudonyms()
    hidden = pseudonyms.hide("Does a@x.org or b@x.org answer for a@x.org?")
    assert hidden == "Does <EMAIL_1> or <EMAIL_2> answer for <EMAIL_1>?"
    assert pseudonyms.hide("b@x.org does.") == "<EMAIL_2> does."
    restored = pseudonyms.restore("<EMAIL_2>, not <EMAIL_1>, and never <EMAIL_3>.")
    assert restored == "b@x.org, not a@x.org, and never <EMAIL_3>."


def test_a_model_reads_pseudonyms_and_its_reply_has_the_values() -> None:
    """A pseudonym may arrive in pieces. Those that the request does not have stay."""
    models = Echo()
    request = ModelRequest(
        [Message("user", "Is a@x.org or b@x.org right?")], Principal("alder"), "answer"
    )
    reply = RedactingModels(models).stream(request)
    assert "".join(reply) == "Is a@x.org or b@x.org right? 1 < 2 <EMAIL_3>"
    assert models.read == "Is <EMAIL_1> or <EMAIL_2> right?"


class Echo(Models):
    """A model that repeats what it reads, character by character."""

    model, usage, read = "echo", None, ""

    def stream(self, request: ModelRequest) -> "Echo":
        self.read = request.messages[0].content
        return self

    def __iter__(self) -> Iterator[str]:
        yield from f"{self.read} 1 < 2 <EMAIL_3>"

    def close(self) -> None:
        """Nothing to close."""
