"""The model gateway as a LlamaIndex LLM, with its routing, deadlines, fallback and budgets.

    llm = GatewayLLM(gateway, Principal("alder"), purpose="report")
    llm.complete("...")  # or chat, stream_chat, structured_predict
    index.as_query_engine(llm=llm)

The text is a model's, without citations and unverified;
`serving.answering.pipeline.answer_question` verifies. The gateway raises its own errors:
OverBudget, NoModelAvailable, ModelFailed.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, TypeVar

from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    ChatResponseAsyncGen,
    ChatResponseGen,
    CompletionResponse,
    CompletionResponseGen,
    LLMMetadata,
    MessageRole,
)
from llama_index.core.bridge.pydantic import BaseModel, Field, PrivateAttr, ValidationError
from llama_index.core.llms import CustomLLM
from llama_index.core.llms.callbacks import llm_chat_callback, llm_completion_callback
from llama_index.core.prompts import PromptTemplate

from core.principal import Principal
from serving.gateway.types import Message, ModelFailed, ModelReply, ModelRequest, Models, Role, Tier

StructuredOutput = TypeVar("StructuredOutput", bound=BaseModel)

MESSAGE_ROLES: dict[MessageRole, Role] = {
    MessageRole.SYSTEM: "system",
    MessageRole.DEVELOPER: "system",
    MessageRole.ASSISTANT: "assistant",
    MessageRole.CHATBOT: "assistant",
}  # any other role counts as the user's


class GatewayLLM(CustomLLM):
    """The models of the gateway, used by one principal."""

    purpose: str = Field(default="llamaindex", description="Purpose of the calls in usage records.")
    tier: Tier = Field(default="balanced", description="Tier to try first.")
    max_tokens: int = Field(default=512, description="Maximum length of a reply, in tokens.")
    context_window: int = Field(
        default=8192, description="Window that LlamaIndex fills with prompts, in tokens."
    )

    _models: Models = PrivateAttr()
    _principal: Principal = PrivateAttr()

    def __init__(self, models: Models, principal: Principal, **fields: Any) -> None:
        super().__init__(**fields)
        self._models, self._principal = models, principal

    @classmethod
    def class_name(cls) -> str:
        """See `BaseComponent`."""
        return "GatewayLLM"

    @property
    def metadata(self) -> LLMMetadata:
        """The properties that LlamaIndex plans prompts with."""
        return LLMMetadata(
            context_window=self.context_window,
            num_output=self.max_tokens,
            is_chat_model=True,
            model_name="gateway",
        )

    @llm_chat_callback()
    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """Return a whole reply. Keywords in use: `schema`, `max_tokens`, `temperature`."""
        reply = self._request_reply(messages, kwargs)
        return _build_chat_response(reply, "".join(reply), None)

    @llm_chat_callback()
    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseGen:
        """Return a reply in pieces. Closing the generator ends the call."""
        reply = self._request_reply(messages, kwargs)

        def pieces() -> ChatResponseGen:
            text = ""
            try:
                for piece in reply:
                    text += piece
                    yield _build_chat_response(reply, text, piece)
            finally:
                reply.close()

        return pieces()

    @llm_completion_callback()
    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """Return a whole reply to a prompt."""
        return _build_completion(self.chat([ChatMessage(content=prompt)], **kwargs))

    @llm_completion_callback()
    def stream_complete(
        self, prompt: str, formatted: bool = False, **kwargs: Any
    ) -> CompletionResponseGen:
        """Return a reply to a prompt in pieces."""
        responses = self.stream_chat([ChatMessage(content=prompt)], **kwargs)
        return (_build_completion(response) for response in responses)

    @llm_chat_callback()
    async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """Run `chat` in a thread."""
        return await asyncio.to_thread(self.chat, messages, **kwargs)

    @llm_chat_callback()
    async def astream_chat(
        self, messages: Sequence[ChatMessage], **kwargs: Any
    ) -> ChatResponseAsyncGen:
        """Run `stream_chat` in threads."""
        responses = await asyncio.to_thread(self.stream_chat, messages, **kwargs)

        async def pieces() -> ChatResponseAsyncGen:
            try:
                while (response := await asyncio.to_thread(next, responses, None)) is not None:
                    yield response
            finally:
                await asyncio.to_thread(responses.close)

        return pieces()

    @llm_completion_callback()
    async def acomplete(
        self, prompt: str, formatted: bool = False, **kwargs: Any
    ) -> CompletionResponse:
        """Run `complete` in a thread."""
        return await asyncio.to_thread(self.complete, prompt, **kwargs)

    def structured_predict(
        self,
        output_cls: type[StructuredOutput],
        prompt: PromptTemplate,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> StructuredOutput:
        """Return a reply as an `output_cls`. Models that support JSON schemas get its schema.

        Raises:
            ModelFailed: the reply has another shape.
        """
        messages = prompt.format_messages(llm=self, **prompt_args)
        schema = output_cls.model_json_schema()
        response = self.chat(messages, schema=schema, **(llm_kwargs or {}))
        try:
            return output_cls.model_validate_json(response.message.content or "")
        except ValidationError as error:
            raise ModelFailed(
                f"The reply is not a {output_cls.__name__}. Try again, or use a stronger tier."
            ) from error

    def _request_reply(
        self, messages: Sequence[ChatMessage], options: dict[str, Any]
    ) -> ModelReply:
        turns = [
            Message(MESSAGE_ROLES.get(message.role, "user"), message.content or "")
            for message in messages
        ]
        request = ModelRequest(
            turns,
            self._principal,
            self.purpose,
            tier=self.tier,
            schema=options.get("schema"),
            max_tokens=options.get("max_tokens", self.max_tokens),
            temperature=options.get("temperature", 0.0),
        )
        return self._models.stream(request)


def _build_chat_response(reply: ModelReply, text: str, delta: str | None) -> ChatResponse:
    tokens = {}
    if reply.usage:
        tokens["prompt_tokens"] = reply.usage.input_tokens
        tokens["completion_tokens"] = reply.usage.output_tokens
    return ChatResponse(
        message=ChatMessage(role=MessageRole.ASSISTANT, content=text),
        delta=delta,
        raw={"model": reply.model},
        additional_kwargs=tokens,
    )


def _build_completion(response: ChatResponse) -> CompletionResponse:
    return CompletionResponse(
        text=response.message.content or "",
        delta=response.delta,
        raw=response.raw,
        additional_kwargs=response.additional_kwargs,
    )
