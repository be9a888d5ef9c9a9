"""The prompts' files: complete, checked, and changed only together with their version."""

import json
from pathlib import Path

import pytest

from core.errors import InvalidInput
from serving.answering.generator.prompts.template import PLACEHOLDER, PROMPT_FOLDER, load_prompt
from serving.gateway.types import Message

NAMES = sorted(file.stem for file in PROMPT_FOLDER.glob("*.md"))
# Of each version's rendering with a value of its own name in each placeholder. Whoever changes a prompt counts its
# version up, says in its changelog what is new, and adds a line; lines that stand here are never changed.
RENDERED = {
    "answer 1": "f3db90201b9ceeb7f5cc8f9973df89e89d55f5b333efdf4ec4b577311e008a76",
    "mend 1": "7789858921a7e3a03a32a4989aaf05885fb4c215347d6c0a7e8f9f94d00e6d0a",
}
HEAD = """---
name: some
version: 1
owner: us
purpose: To be read.
changelog: First version.
placeholders: [boundary, question]
---
"""
TURNS = "=== system ===\nBe brief. {{boundary}}\n=== user ===\n{{question}}\n"


@pytest.mark.parametrize("name", NAMES)
def test_a_prompt_changes_only_with_its_version(name):
    prompt = load_prompt(name)
    rendered = prompt.render(**{each: f"<{each}>" for each in prompt.head.placeholders})
    assert rendered.sha256 == RENDERED.get(prompt.label), (
        f"{name}.md was changed: count its version up, write its changelog, and add {prompt.label!r} here."
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_prompt_uses_its_placeholders_and_marks_data(name):
    """Each value stands in it, and what others wrote stands between delimiters that nobody can guess."""
    prompt = load_prompt(name)
    values = {each: f"value-of-{each}" for each in prompt.head.placeholders}
    told = "\n".join(message.content for message in prompt.render(**values).messages)
    assert all(value in told for value in values.values())
    assert not PLACEHOLDER.search(told)
    assert (
        f"<passages value-of-boundary>\n{values['passages']}\n</passages value-of-boundary>" in told
    )
    assert "JSON" in told
    assert len(prompt.instructions) < 4_000


@pytest.mark.parametrize("name", NAMES)
def test_a_schema_is_strict(name):
    """As endpoints want it that hold a model to one: every property required, nothing else allowed."""

    def objects(schema):
        if isinstance(schema, dict):
            if schema.get("type") == "object":
                yield schema
            for part in schema.values():
                yield from objects(part)

    schema = load_prompt(name).schema
    assert schema
    found = list(objects(schema))
    assert len(found) == 3
    for each in found:
        assert each["additionalProperties"] is False
        assert set(each["required"]) == set(each["properties"])


def test_what_is_put_in_is_not_looked_at_again():
    prompt = load_prompt("answer")
    rendered = prompt.render(
        boundary="b", passages="{{question}} {{boundary}}", question="What? {{passages}}"
    )
    assert "{{question}} {{boundary}}" in rendered.messages[1].content
    assert rendered.messages[1].content.endswith("What? {{passages}}")


def test_the_same_words_hash_the_same_whatever_the_boundary():
    prompt = load_prompt("answer")
    one, same = (prompt.render(boundary=each, passages="p", question="q") for each in ("a1", "b2"))
    assert one.messages != same.messages
    assert one.sha256 == same.sha256
    assert prompt.render(boundary="a1", passages="p", question="r").sha256 != one.sha256


def written(folder: Path, text: str, name: str = "some") -> str:
    (folder / f"{name}.md").write_text(text)
    return name


def test_a_file_that_is_right_is_read(tmp_path):
    prompt = load_prompt(written(tmp_path, HEAD + TURNS), tmp_path)
    assert prompt.render(boundary="B", question="Q?").messages == (
        Message("system", "Be brief. B"),
        Message("user", "Q?"),
    )
    with pytest.raises(InvalidInput, match="wrong placeholders: question"):
        prompt.render(boundary="B")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Be brief.", "a head between two lines"),
        (HEAD.replace("owner: us\n", "") + TURNS, "owner: Field required"),
        (HEAD.replace("version: 1", "version: new") + TURNS, "version:"),
        (HEAD.replace("owner: us", "owner: us\nmodel: gpt") + TURNS, "model: Extra"),
        (HEAD.replace("name: some", "name: other") + TURNS, "calls itself 'other'"),
        (HEAD.replace(", question", "") + TURNS, "differ in their placeholders: question"),
        (
            HEAD.replace("question]", "question, passages]") + TURNS,
            "differ in their placeholders: passages",
        ),
        (
            HEAD + "=== user ===\n{{question}} {{boundary}}\n=== system ===\nBe brief.\n",
            "must end with a turn of the user",
        ),
        (HEAD.replace("changelog", "schema: none.json\nchangelog") + TURNS, "schema 'none.json'"),
        (HEAD.replace("us", "[us") + TURNS, "it is not YAML"),
    ],
)
def test_a_file_that_is_wrong_is_refused_with_a_sentence(tmp_path, text, said):
    with pytest.raises(InvalidInput, match=said):
        load_prompt(written(tmp_path, text), tmp_path)


def test_a_prompt_that_is_not_there_is_named():
    with pytest.raises(InvalidInput, match="no prompt 'nonesuch'"):
        load_prompt("nonesuch")


def test_the_hash_is_of_the_turns():
    prompt = load_prompt("answer")
    values = {"boundary": "x", "passages": "p", "question": "q"}
    turns = [
        [
            turn.role,
            PLACEHOLDER.sub(lambda found: (values | {"boundary": ""})[found[1]], turn.content),
        ]
        for turn in prompt.messages
    ]
    import hashlib

    assert (
        hashlib.sha256(json.dumps(turns, ensure_ascii=False).encode()).hexdigest()
        == prompt.render(**values).sha256
    )
