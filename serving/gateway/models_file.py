"""The models file: the language models, their prices, and the rules for their use.

One YAML file, named by GROUNDWORK_MODELS. See models.example.yaml for every setting.
"""

import os
import re
from collections.abc import Hashable
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from core.errors import InvalidInput
from core.settings import LOOPBACK_HOSTS
from serving.gateway import providers
from serving.gateway.token_counters import ENDPOINT_TOKENIZER
from serving.gateway.types import Risk, Tier

VARIABLE_NAME = re.compile(r"[A-Z][A-Z0-9_]*")
TOKENS_PER_PRICE = Decimal(1_000_000)

PricePerMillion = Annotated[Decimal, Field(ge=0, max_digits=12, decimal_places=6)]
TimeoutSeconds = Annotated[float, Field(gt=0, le=600)]


class _ConfigSection(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class ModelSpec(_ConfigSection):
    """One model. `provider` is a key of `PROVIDERS`. Prices are per million tokens."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    provider: str
    model: str = Field(min_length=1, max_length=200)
    base_url: str = ""
    key_variable: str = ""
    tier: Tier
    context: int = Field(ge=512)
    input_price: PricePerMillion
    output_price: PricePerMillion
    residency: str = Field(min_length=1, max_length=40)
    risks: tuple[Risk, ...]
    json_schema: bool = False
    streaming: bool = True
    usage: bool = True
    tokenizer: str = ""
    reasoning: bool = False
    concurrency: int = Field(default=16, ge=1, le=1000)
    waiting: int = Field(default=16, ge=0, le=1000)
    options: dict[str, Any] = Field(default_factory=dict)

    @field_validator("provider")
    @classmethod
    def _check_provider(cls, value: str) -> str:
        if value not in providers.PROVIDERS:
            raise ValueError(
                f"{value!r} is not a provider. Use one of: {', '.join(providers.PROVIDERS)}"
            )
        return value

    @field_validator("base_url")
    @classmethod
    def _check_base_url(cls, value: str) -> str:
        parts = urlsplit(value)
        is_plain = parts.hostname and not parts.username and not parts.query
        if value and not (is_plain and parts.scheme in ("http", "https")):
            raise ValueError("write an address as https://host/v1, without a user and a query")
        return value.rstrip("/")

    @field_validator("key_variable")
    @classmethod
    def _check_key_variable(cls, value: str) -> str:
        if value and not VARIABLE_NAME.fullmatch(value):
            raise ValueError(
                "name the environment variable of the key, such as OPENAI_API_KEY, never the key"
            )
        return value

    @model_validator(mode="after")
    def _check_combination(self) -> "ModelSpec":
        kind = providers.PROVIDERS[self.provider]
        if self.tokenizer == ENDPOINT_TOKENIZER and not kind.counts_tokens:
            raise ValueError(
                "tokenizer: endpoint is for llama.cpp. Name a tokenizer.json, or leave it out"
            )
        if kind.takes_options:
            if ":" not in self.model or self.base_url or self.key_variable:
                raise ValueError(
                    f"for {self.provider} write model: package.module:Class, the rest as options"
                )
        elif not self.base_url:
            raise ValueError("base_url is missing")
        elif self.options:
            raise ValueError(f"the provider {self.provider} takes no options")
        if self.key_variable and not _is_safe_for_keys(self.base_url):
            raise ValueError(
                "a key is sent only over https or to this machine. Write base_url: https://..."
            )
        return self

    def compute_cost(self, input_tokens: int, output_tokens: int) -> Decimal:
        """Return the exact cost of these tokens in the file's currency."""
        price = self.input_price * input_tokens + self.output_price * output_tokens
        return price / TOKENS_PER_PRICE

    def read_api_key(self) -> str | None:
        """Return the key from the environment, None if the model needs none.

        Raises:
            InvalidInput: the variable is not set.
        """
        if not self.key_variable:
            return None
        key = os.environ.get(self.key_variable, "").strip()
        if not key:
            raise InvalidInput(
                f"The model {self.name!r} needs a key in {self.key_variable}, which is not set."
            )
        return key


class TenantPolicy(_ConfigSection):
    """Rules for a tenant's questions.

    `models` and `residency` list what is allowed; None allows all. `risk` is the minimum risk class
    of every question. `over_budget` controls whether a cheaper model may answer if the budget is
    too small for the chosen one.
    """

    models: tuple[str, ...] | None = None
    residency: tuple[str, ...] | None = None
    risk: Risk = "public"
    over_budget: Literal["cheaper", "refuse"] = "cheaper"


class Timeouts(_ConfigSection):
    """Time limits in seconds: for a connection, the first piece, between pieces, and in all."""

    connect: TimeoutSeconds = 2.0
    first: TimeoutSeconds = 8.0
    between: TimeoutSeconds = 5.0
    total: TimeoutSeconds = 30.0


class ModelsFile(_ConfigSection):
    """The whole file. A tenant without an entry in `tenants` has the policy `default`."""

    currency: str = Field(default="EUR", pattern=r"^[A-Z]{3}$")
    models: tuple[ModelSpec, ...]
    default: TenantPolicy = TenantPolicy()
    tenants: dict[str, TenantPolicy] = Field(default_factory=dict)
    patience: Timeouts = Timeouts()

    @model_validator(mode="after")
    def _check_names(self) -> "ModelsFile":
        names = [model.name for model in self.models]
        if not names:
            raise ValueError("models: list at least one, or set GROUNDWORK_MODELS to nothing")
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two models are called {name!r}; give each a name of its own")
        for policy in (self.default, *self.tenants.values()):
            for name in policy.models or ():
                if name not in names:
                    raise ValueError(
                        f"a policy allows the model {name!r}, which is not in the file"
                    )
        return self

    def policy_for(self, tenant: str) -> TenantPolicy:
        """Return the policy of a tenant."""
        return self.tenants.get(tenant, self.default)


def read_models(file: Path) -> ModelsFile:
    """Read and check the models file.

    Raises:
        InvalidInput: it does not exist, is not YAML, or has wrong values: one sentence for each
            mistake.
    """
    try:
        text = file.read_text(encoding="utf-8")
        content = yaml.load(text, Loader=_UniqueKeyLoader)  # noqa: S506 - a subclass of SafeLoader
    except OSError as error:
        raise InvalidInput(
            f"There is no models file at {file}. Correct GROUNDWORK_MODELS."
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InvalidInput(
            f"{file} is not YAML ({_describe_yaml_error(error)}). Compare models.example.yaml."
        ) from error
    try:
        return ModelsFile.model_validate(content)
    except ValidationError as error:
        mistakes = [
            f"{file}: {_format_location(content, mistake['loc'])}{_describe_mistake(mistake)}."
            for mistake in error.errors()
        ]
        raise InvalidInput("\n".join(mistakes)) from error


class _UniqueKeyLoader(yaml.SafeLoader):
    """YAML's safe loader, which alone would accept a key twice and drop the first."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        repeated = next((key for key in keys if keys.count(key) > 1), None)
        if repeated is not None:
            problem = f"{repeated} appears twice"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)
        return super().construct_mapping(node, deep)


def _is_safe_for_keys(address: str) -> bool:
    """Return true if a key travels encrypted, or stays on this machine or in its containers."""
    parts = urlsplit(address)
    host = parts.hostname or ""
    return parts.scheme == "https" or host in LOOPBACK_HOSTS or "." not in host


def _describe_yaml_error(error: yaml.YAMLError | UnicodeDecodeError) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark:
        return f"line {error.problem_mark.line + 1}: {error.problem}"
    return "it can't be read as UTF-8 text"


def _format_location(content: Any, location: tuple[int | str, ...]) -> str:
    """Return the place of a mistake, with a model's name instead of its index."""
    parts = []
    for step in location:
        content = _get_child(content, step)
        if isinstance(step, str):
            parts.append(step)
        elif isinstance(content, dict) and content.get("name"):
            parts.append(repr(content["name"]))
        else:
            parts.append(f"number {step + 1}")
    return " ".join(parts) + ": " if parts else ""


def _get_child(content: Any, key: int | str) -> Any:
    try:
        return content[key]
    except (LookupError, TypeError):
        return None


def _describe_mistake(mistake: Any) -> str:
    kind, message = mistake["type"], str(mistake["msg"])
    if kind == "missing":
        return "is missing"
    if kind == "extra_forbidden":
        return "is not a setting. models.example.yaml lists all settings"
    if kind == "model_type":
        return "is not a list of settings"
    return message.removeprefix("Value error, ").removeprefix("Input ").rstrip(".")
