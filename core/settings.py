"""The settings, all of them: environment variables named GROUNDWORK_..., or the same lines in a file called `.env`."""

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from core.errors import InvalidInput


class Settings(BaseSettings):
    """Few on purpose. Every field is described in docs/reference/settings.md; a test holds the two together."""

    model_config = SettingsConfigDict(
        env_prefix="GROUNDWORK_",
        env_file=".env",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
    )

    home: Path = Field(
        default=Path(".groundwork"), description="Folder for the embedded database and local state."
    )
    database_url: str = Field(
        default="",
        description="PostgreSQL address for the application role; empty: the embedded one.",
    )
    admin_database_url: str = Field(
        default="", description="PostgreSQL address that may create roles and tables (migrate)."
    )
    tenant: str = Field(
        default="default",
        description="Tenant that the command line works in unless --tenant says otherwise.",
    )
    embedding_model: str = Field(
        default="all-MiniLM-L6-v2",
        description="A sentence-transformers folder or name; the default's weights are a package.",
    )
    embedding_dtype: Literal["auto", "float32", "bfloat16"] = Field(
        default="auto",
        description="auto: bfloat16 where the processor computes in it, else float32.",
    )
    reranker: str = Field(
        default="",
        description="A cross-encoder that reorders the best hits, as a folder or name; empty: none.",
    )
    entailment: str = Field(
        default="",
        description="A cross-encoder for natural language inference that also checks answers; empty: none.",
    )
    models: str = Field(
        default="",
        description="The file that names the language models; empty: none, answers quote the documents.",
    )
    chunker: str = Field(default="structure", description="How text is cut.")
    sentence_vectors: Literal["on", "off"] = Field(
        default="on",
        description="off: no vector for each sentence, so that an ingest costs half as much.",
    )
    near_duplicates: Literal["collapse", "keep"] = Field(
        default="collapse",
        description="collapse: of passages that say almost the same, one stands for all in a search.",
    )
    cache_hours: int = Field(
        default=24, ge=0, le=8760, description="How long an answer may be given again; 0: never."
    )
    cache_likeness: float = Field(
        default=1.0,
        ge=0.8,
        le=1,
        description="Cosine from which another question counts as the same and gets its answer; 1: never.",
    )
    suspicious_passages: Literal["demote", "drop"] = Field(
        default="demote",
        description="demote: a passage with a planted instruction goes behind the others; drop: it is left out.",
    )
    web_allowed_hosts: str = Field(
        default="",
        description="Hosts that pages may be fetched from though they are not on the public internet.",
    )
    conversation_days: int = Field(
        default=30,
        ge=1,
        le=3650,
        description="Days that a conversation is kept after its last question.",
    )
    redact: Literal["logs", "prompts", "answers"] = Field(
        default="logs",
        description="Where secrets and personal data are taken out: logs (always), prompts, or prompts and answers.",
    )
    host: str = Field(
        default="127.0.0.1", description="Address that `groundwork serve` listens on."
    )
    port: int = Field(
        default=8080, ge=1, le=65535, description="Port that `groundwork serve` listens on."
    )
    identity: Literal["local", "jwt"] = Field(
        default="local",
        description="Who is asking: `local` believes the request (loopback only), `jwt` checks a token.",
    )
    jwt_key: SecretStr = Field(
        default=SecretStr(""),
        description="Key for tokens: an HS256 secret, or a public key in PEM.",
    )
    jwt_algorithm: Literal["HS256", "RS256", "ES256"] = Field(
        default="HS256", description="Algorithm of the tokens."
    )
    jwt_audience: str = Field(
        default="groundwork", description="Audience that a token must be for."
    )
    published_on_loopback: bool = Field(
        default=False,
        description="True where a container's port is published on loopback only: `local` may then listen wide.",
    )


def load_settings() -> Settings:
    """The settings from the environment and `.env`.

    Raises:
        InvalidInput: a variable holds what can't be used; the sentence names it.
    """
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors()[0]
        name = "GROUNDWORK_" + "_".join(str(part) for part in first["loc"]).upper()
        raise InvalidInput(
            f"{name} can't be used: {first['msg']}; docs/reference/settings.md says what it may be."
        ) from error
