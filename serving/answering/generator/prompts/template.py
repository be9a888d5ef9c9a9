"""A prompt is a file: a head of YAML between two lines of ---, then the turns, each under a line === role ===.

    name          the file's own name
    version       counts up; tests/test_prompts.py keeps each version's rendering, so that none changes unnoticed
    owner         who is asked before it changes
    purpose       what the model is to do, one line; it is the purpose in usage records too
    changelog     what is different in this version, one line
    placeholders  what {{...}} there is in the text
    schema        a file beside it with the JSON schema that the reply must have; may be left out

What is put in is never looked at again, so that a document with {{question}} in it changes nothing.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from core.errors import InvalidInput
from serving.gateway.types import Message, Role

PROMPT_FOLDER = Path(__file__).parent
PROMPT_FILE_PATTERN = re.compile(r"---\n(?P<head>.*?)\n---\n(?P<turns>=== .*)", re.DOTALL)
MESSAGE_HEADER = re.compile(r"^=== (system|user|assistant) ===\n", re.MULTILINE)
PLACEHOLDER = re.compile(r"\{\{(\w+)\}\}")
BOUNDARY_PLACEHOLDER = (
    "boundary"  # random, so it is left out of the hash: the same words to a model hash the same
)


class PromptHead(BaseModel):
    """What stands at the head of a prompt's file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    version: int = Field(ge=1)
    owner: str = Field(min_length=1)
    purpose: str = Field(min_length=1)
    changelog: str = Field(min_length=1)
    placeholders: tuple[str, ...]
    schema_file: str = Field(default="", alias="schema")


@dataclass(frozen=True, slots=True)
class RenderedPrompt:
    """What a model is told, and the SHA-256 of it (without the boundary, which is another each time)."""

    messages: tuple[Message, ...]
    sha256: str


@dataclass(frozen=True, slots=True)
class PromptTemplate:
    """A prompt's head, its turns as they stand in the file, and the JSON schema of the reply where it has one."""

    head: PromptHead
    messages: tuple[Message, ...]
    schema: Mapping[str, Any] | None

    @property
    def label(self) -> str:
        """Name and version, as answers and logs have it: answer 1."""
        return f"{self.head.name} {self.head.version}"

    @property
    def instructions(self) -> str:
        """What it says to a model in its own words."""
        return "\n".join(PLACEHOLDER.sub("", turn.content) for turn in self.messages)

    def render(self, **values: str) -> RenderedPrompt:
        """The prompt with its placeholders filled.

        Raises:
            InvalidInput: a value is missing, or there is one too many.
        """
        if values.keys() != set(self.head.placeholders):
            differing = ", ".join(sorted(values.keys() ^ set(self.head.placeholders)))
            raise InvalidInput(
                f"The prompt {self.head.name!r} is rendered with the wrong placeholders: {differing}."
            )
        messages = tuple(
            Message(turn.role, _fill_placeholders(turn.content, values)) for turn in self.messages
        )
        blank = values | {BOUNDARY_PLACEHOLDER: ""} if BOUNDARY_PLACEHOLDER in values else values
        told = json.dumps(
            [[turn.role, _fill_placeholders(turn.content, blank)] for turn in self.messages],
            ensure_ascii=False,
        )
        return RenderedPrompt(messages, sha256(told.encode()).hexdigest())


@cache
def load_prompt(name: str, folder: Path = PROMPT_FOLDER) -> PromptTemplate:
    """A prompt from its file, checked.

    Raises:
        InvalidInput: there is no such file, or it can't be used; the sentence says why.
    """
    file = folder / f"{name}.md"
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise InvalidInput(f"There is no prompt {name!r} in {folder}.") from error
    parts = PROMPT_FILE_PATTERN.fullmatch(text)
    if not parts:
        raise InvalidInput(
            f"{file} is no prompt: a head between two lines of --- must come first, then === system ===."
        )
    try:
        head = PromptHead.model_validate(yaml.safe_load(parts["head"]))
    except (ValidationError, yaml.YAMLError) as error:
        raise InvalidInput(f"The head of {file} can't be used: {_first_error(error)}.") from error
    prompt = PromptTemplate(head, _parse_messages(parts["turns"]), _load_schema(folder, head))
    _check_prompt(prompt, file)
    return prompt


def _parse_messages(text: str) -> tuple[Message, ...]:
    found = list(MESSAGE_HEADER.finditer(text))
    ends = [*(each.start() for each in found[1:]), len(text)]
    return tuple(
        Message(_parse_role(each[1]), text[each.end() : end].strip("\n"))
        for each, end in zip(found, ends, strict=True)
    )


def _parse_role(name: str) -> Role:
    return "system" if name == "system" else "user" if name == "user" else "assistant"


def _load_schema(folder: Path, head: PromptHead) -> Mapping[str, Any] | None:
    if not head.schema_file:
        return None
    try:
        schema: Mapping[str, Any] = json.loads(
            (folder / head.schema_file).read_text(encoding="utf-8")
        )
    except (OSError, ValueError) as error:
        raise InvalidInput(
            f"The schema {head.schema_file!r} of the prompt {head.name!r} can't be read."
        ) from error
    return schema


def _check_prompt(prompt: PromptTemplate, file: Path) -> None:
    """The name is the file's, there is something to say, and the head names the placeholders that are there."""
    used = {name for turn in prompt.messages for name in PLACEHOLDER.findall(turn.content)}
    if prompt.head.name != file.stem:
        raise InvalidInput(
            f"{file} calls itself {prompt.head.name!r}; a prompt has its file's name."
        )
    if (
        not prompt.messages
        or prompt.messages[-1].role != "user"
        or not all(turn.content for turn in prompt.messages)
    ):
        raise InvalidInput(f"{file} must end with a turn of the user, and no turn may be empty.")
    if used != set(prompt.head.placeholders):
        differing = ", ".join(sorted(used ^ set(prompt.head.placeholders)))
        raise InvalidInput(
            f"The head of {file} and its text differ in their placeholders: {differing}."
        )


def _fill_placeholders(text: str, values: Mapping[str, str]) -> str:
    return PLACEHOLDER.sub(lambda found: values[found[1]], text)


def _first_error(error: ValidationError | yaml.YAMLError) -> str:
    if isinstance(error, ValidationError):
        mistake = error.errors()[0]
        return f"{'.'.join(str(step) for step in mistake['loc'])}: {mistake['msg']}"
    return "it is not YAML"
