"""Prompt files are complete, checked, and change only together with their version."""

from pathlib import Path

import pytest
from jinja2.sandbox import SecurityError

from core.errors import InvalidInput
from serving.answering.generator.prompts.template import PROMPT_FOLDER, load_prompt
from serving.gateway.types import Message

NAMES = sorted(file.stem for file in PROMPT_FOLDER.glob("*.yaml"))
# The SHA-256 of each version, rendered with `<name>` for each value. When you change a prompt,
# increase its version,
# write its changelog and add a line here. Never change an existing line.
RENDERED_HASHES = {
    "answer 1": "f3db90201b9ceeb7f5cc8f9973df89e89d55f5b333efdf4ec4b577311e008a76",
    "mend 1": "7789858921a7e3a03a32a4989aaf05885fb4c215347d6c0a7e8f9f94d00e6d0a",
}
PROMPT = """name: some
version: 1
owner: team
purpose: Test.
changelog: First version.
messages:
  - role: system
    content: Be brief. {{ boundary }}
  - role: user
    content: "{{ question }}"
"""


@pytest.mark.parametrize("name", NAMES)
def test_a_prompt_changes_only_with_its_version(name):
    prompt = load_prompt(name)
    rendered = prompt.render(**{key: f"<{key}>" for key in prompt.placeholders})
    assert rendered.sha256 == RENDERED_HASHES.get(prompt.label), (
        f"{name}.yaml has changed. Increase its version, write its changelog, and add "
        f"{prompt.label!r} here."
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_prompt_uses_its_values_and_delimits_data(name):
    prompt = load_prompt(name)
    values = {key: f"value-of-{key}" for key in prompt.placeholders}
    text = "\n".join(message.content for message in prompt.render(**values).messages)
    assert all(value in text for value in values.values())
    assert "{{" not in text
    assert (
        f"<passages value-of-boundary>\n{values['passages']}\n</passages value-of-boundary>" in text
    )
    assert "JSON" in text
    assert len(prompt.instructions) < 4_000


def object_schemas(schema):
    if isinstance(schema, dict):
        if schema.get("type") == "object":
            yield schema
        for part in schema.values():
            yield from object_schemas(part)


@pytest.mark.parametrize("name", NAMES)
def test_a_reply_schema_is_strict(name):
    """Providers accept only schemas in which every property is required and no other is allowed."""
    objects = list(object_schemas(load_prompt(name).schema))
    assert len(objects) == 3
    for schema in objects:
        assert schema["additionalProperties"] is False
        assert set(schema["required"]) == set(schema["properties"])


def test_values_are_never_rendered():
    prompt = load_prompt("answer")
    passages, question = "{{ question }} {% raw %} {{ boundary }}\n", "What? {{ passages }}\n"
    user_message = prompt.render(boundary="b", passages=passages, question=question).messages[1]
    assert passages in user_message.content
    assert user_message.content.endswith(question)


def test_the_hash_ignores_the_boundary_and_nothing_else():
    prompt = load_prompt("answer")
    first, second = (
        prompt.render(boundary=boundary, passages="p", question="q") for boundary in ("a1", "b2")
    )
    assert first.messages != second.messages
    assert first.sha256 == second.sha256
    assert prompt.render(boundary="a1", passages="p", question="r").sha256 != first.sha256


def write_prompt(folder: Path, text: str, name: str = "some") -> str:
    (folder / f"{name}.yaml").write_text(text)
    return name


def test_a_valid_file_is_loaded(tmp_path):
    prompt = load_prompt(write_prompt(tmp_path, PROMPT), tmp_path)
    assert prompt.render(boundary="B", question="Q?").messages == (
        Message("system", "Be brief. B"),
        Message("user", "Q?"),
    )
    with pytest.raises(InvalidInput, match="differ in these values: question"):
        prompt.render(boundary="B")
    with pytest.raises(InvalidInput, match="differ in these values: passages"):
        prompt.render(boundary="B", question="Q?", passages="p")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Be brief.", "not a valid prompt"),
        (PROMPT.replace("owner: team\n", ""), "owner: Field required"),
        (PROMPT.replace("version: 1", "version: new"), "version:"),
        (PROMPT.replace("owner: team", "owner: team\nmodel: gpt"), "model: Extra"),
        (PROMPT.replace("name: some", "name: other"), "has the name 'other'"),
        (PROMPT.replace("role: system", "role: narrator"), "messages.0.role"),
        (PROMPT.replace("role: user", "role: assistant"), "must end with a user message"),
        (PROMPT.replace("Be brief. {{ boundary }}", '""'), "no message may be empty"),
        (PROMPT.replace("{{ boundary }}", "{% if %}"), "not a valid template"),
        (PROMPT.replace("changelog", "schema: none.json\nchangelog"), "schema 'none.json'"),
        (PROMPT.replace("team", "[team"), "is not YAML"),
    ],
)
def test_a_wrong_file_is_refused_with_a_sentence(tmp_path, text, message):
    with pytest.raises(InvalidInput, match=message):
        load_prompt(write_prompt(tmp_path, text), tmp_path)


def test_a_template_can_not_reach_python_objects(tmp_path):
    text = PROMPT.replace("{{ boundary }}", "{{ question.__class__.__mro__ }}")
    prompt = load_prompt(write_prompt(tmp_path, text), tmp_path)
    with pytest.raises(SecurityError):
        prompt.render(question="Q?")


def test_a_missing_prompt_is_named():
    with pytest.raises(InvalidInput, match="no prompt 'nonesuch'"):
        load_prompt("nonesuch")
