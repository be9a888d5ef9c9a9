"""Prompt files: a few facts about the prompt, then its messages, whose texts are Jinja2 templates.

    name       the file's name without .yaml
    version    increase it with every change; test_prompts.py checks that
    owner      who reviews a change
    purpose    the task of the model, in one line
    changelog  what is new in this version, in one line
    schema     a file in the same folder with the JSON schema of the reply (optional)
    messages   a list of {role, content}; the last role is user

Values are inserted once and never rendered, so `{{ question }}` in a document stays plain text.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import yaml
from jinja2 import StrictUndefined, TemplateSyntaxError
from jinja2.meta import find_undeclared_variables
from jinja2.sandbox import ImmutableSandboxedEnvironment
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from core.errors import InvalidInput
from serving.gateway.types import Message

PROMPT_FOLDER = Path(__file__).parent
# Prompts are plain text, so nothing is escaped. Without a loader a template can include no other
# file.
JINJA = ImmutableSandboxedEnvironment(undefined=StrictUndefined, autoescape=False)
BOUNDARY_NAME = "boundary"  # a random value, left out of the hash: equal prompts have equal hashes


class PromptFile(BaseModel):
    """The content of a prompt file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    version: int = Field(ge=1)
    owner: str = Field(min_length=1)
    purpose: str = Field(min_length=1)
    changelog: str = Field(min_length=1)
    schema_file: str = Field(default="", alias="schema")
    messages: tuple[Message, ...] = Field(min_length=1)


@dataclass(frozen=True, slots=True)
class RenderedPrompt:
    """Messages for a model, and their SHA-256 (without the boundary, which is random)."""

    messages: tuple[Message, ...]
    sha256: str


@dataclass(frozen=True, slots=True)
class PromptTemplate:
    """A checked prompt file, the names of its values, and the JSON schema of the reply."""

    file: PromptFile
    placeholders: frozenset[str]
    schema: Mapping[str, Any] | None

    @property
    def label(self) -> str:
        """Return name and version as answers and logs show them: `answer 1`."""
        return f"{self.file.name} {self.file.version}"

    @property
    def instructions(self) -> str:
        """Return the prompt's own words, without any value."""
        messages = self._fill(dict.fromkeys(self.placeholders, ""))
        return "\n".join(message.content for message in messages)

    def render(self, **values: str) -> RenderedPrompt:
        """Return the messages with their values.

        Raises:
            InvalidInput: a value is missing, or the prompt does not use one.
        """
        if values.keys() != self.placeholders:
            wrong = ", ".join(sorted(values.keys() ^ self.placeholders))
            raise InvalidInput(
                f"The prompt {self.file.name!r} and its caller differ in these values: {wrong}."
            )
        hashed = self._fill({**values, BOUNDARY_NAME: ""})
        text = json.dumps([[turn.role, turn.content] for turn in hashed], ensure_ascii=False)
        return RenderedPrompt(self._fill(values), sha256(text.encode()).hexdigest())

    def _fill(self, values: Mapping[str, str]) -> tuple[Message, ...]:
        return tuple(
            Message(message.role, JINJA.from_string(message.content).render(values))
            for message in self.file.messages
        )


@cache
def load_prompt(name: str, folder: Path = PROMPT_FOLDER) -> PromptTemplate:
    """Read and check a prompt file.

    Raises:
        InvalidInput: the file is missing or wrong.
    """
    path = folder / f"{name}.yaml"
    try:
        file = PromptFile.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
        placeholders = {
            placeholder
            for message in file.messages
            for placeholder in find_undeclared_variables(JINJA.parse(message.content))
        }
    except OSError as error:
        raise InvalidInput(f"There is no prompt {name!r} in {folder}. Add {path.name}.") from error
    except yaml.YAMLError as error:
        raise InvalidInput(f"{path} is not YAML. Correct it.") from error
    except TemplateSyntaxError as error:
        raise InvalidInput(f"{path} is not a valid template: {error.message}.") from error
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(step) for step in first["loc"])
        raise InvalidInput(f"{path} is not a valid prompt: {field}: {first['msg']}.") from error
    if file.name != name:
        raise InvalidInput(f"{path} has the name {file.name!r}. Use the file's name, {name!r}.")
    if file.messages[-1].role != "user" or not all(turn.content for turn in file.messages):
        raise InvalidInput(f"{path} must end with a user message, and no message may be empty.")
    return PromptTemplate(file, frozenset(placeholders), _load_schema(folder, file))


def _load_schema(folder: Path, file: PromptFile) -> Mapping[str, Any] | None:
    if not file.schema_file:
        return None
    try:
        schema: dict[str, Any] = json.loads((folder / file.schema_file).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidInput(
            f"The schema {file.schema_file!r} of the prompt {file.name!r} can't be read."
        ) from error
    return schema
