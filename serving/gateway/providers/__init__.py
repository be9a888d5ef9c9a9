"""Registry of LLM providers: one file and one line here for each way to call a model.

To add one, write a class like `ModelProvider` (base.py) in a new file and name it below. `provider`
in the models file is a key of this table.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ProviderKind:
    """A provider class, imported only if a model uses it, and the settings that it reads."""

    import_path: str  # module:Class
    takes_options: bool = False  # `options` in place of `base_url` and `key_variable`
    counts_tokens: bool = False  # its server may count tokens: `tokenizer: endpoint`


PROVIDERS = {
    "openai": ProviderKind(
        "serving.gateway.providers.openai:OpenAICompatibleProvider", counts_tokens=True
    ),
    "anthropic": ProviderKind("serving.gateway.providers.anthropic:AnthropicProvider"),
    "llamaindex": ProviderKind(
        "serving.gateway.providers.llamaindex:LlamaIndexProvider", takes_options=True
    ),
}
