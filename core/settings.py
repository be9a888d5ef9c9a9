"""Settings: environment variables named GROUNDWORK_..., or the same lines in a file `.env`."""

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from core.errors import InvalidInput

LOOPBACK_HOSTS = ("127.0.0.1", "::1", "localhost")  # addresses that only this machine reaches


class Settings(BaseSettings):
    """All settings. docs/reference/settings.md repeats each description; a test compares them."""

    model_config = SettingsConfigDict(
        env_prefix="GROUNDWORK_",
        env_file=".env",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        use_attribute_docstrings=True,
    )

    home: Path = Path(".groundwork")
    """Folder for the embedded database and other local state."""

    database_url: str = ""
    """PostgreSQL address for the application role; empty: the embedded PostgreSQL."""

    admin_database_url: str = ""
    """PostgreSQL address of a role that may create roles and tables (migrate)."""

    tenant: str = "default"
    """Tenant of the command line, unless --tenant names another."""

    embedding_model: str = "all-MiniLM-L6-v2"
    """Embedding model: a sentence-transformers name or folder, or provider:model."""

    embedding_dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Number format of the model; auto: bfloat16 if the processor supports it."""

    reranker: str = ""
    """Cross-encoder that reorders the best hits: a name or folder; empty: none."""

    entailment: str = ""
    """Cross-encoder for entailment that also checks answers; empty: none."""

    models: str = ""
    """File that lists the language models; empty: answers quote the documents."""

    generator: str = ""
    """Answer generator: `model` or `extractive`; empty: `model` with a models file."""

    chunker: str = "structure"
    """Method that splits documents into chunks."""

    sentence_vectors: Literal["on", "off"] = "on"
    """Vectors for sentences; off: twice as fast to ingest, a little worse ranking."""

    near_duplicates: Literal["collapse", "keep"] = "collapse"
    """Passages with almost the same text; collapse: a search returns one of them."""

    cache_hours: int = Field(default=24, ge=0, le=8760)
    """Hours that an answer may be reused; 0 disables the answer cache."""

    cache_likeness: float = Field(default=1.0, ge=0.8, le=1)
    """Minimum cosine similarity for reusing a cached answer; 1 disables it."""

    suspicious_passages: Literal["demote", "drop"] = "demote"
    """Suspected prompt injections; demote: rank them last; drop: leave them out."""

    web_allowed_hosts: str = ""
    """Private hosts that the web source may fetch from."""

    conversation_days: int = Field(default=30, ge=1, le=3650)
    """Days that a conversation is kept after its last question."""

    redact: Literal["logs", "prompts", "answers"] = "logs"
    """Redact secrets and personal data in logs, in prompts too, or in answers too."""

    host: str = "127.0.0.1"
    """Address that `groundwork serve` listens on."""

    port: int = Field(default=8080, ge=1, le=65535)
    """Port that `groundwork serve` listens on."""

    identity: str = "local"
    """Callers: `local` trusts the request (loopback only), `jwt` checks a token."""

    jwt_key: SecretStr = SecretStr("")
    """Key that verifies tokens: an HS256 secret, or a public key in PEM."""

    jwt_algorithm: Literal["HS256", "RS256", "ES256"] = "HS256"
    """Algorithm of the tokens."""

    jwt_audience: str = "groundwork"
    """Audience that tokens must be issued for."""

    published_on_loopback: bool = False
    """A container's port is published on loopback only: `local` may listen on all."""


def load_settings() -> Settings:
    """Read the settings from the environment and from `.env`.

    Raises:
        InvalidInput: a variable has an invalid value; the message names it.
    """
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors()[0]
        name = "GROUNDWORK_" + "_".join(str(part) for part in first["loc"]).upper()
        raise InvalidInput(
            f"{name} has an invalid value ({first['msg']})."
            " docs/reference/settings.md lists the valid values."
        ) from error
