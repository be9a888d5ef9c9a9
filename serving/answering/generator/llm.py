"""Answer generator on a language model: it shows passages and checks each returned quote.

render    the question and as many passages as fit the model, between random delimiters
call      whichever model the gateway selects, with a JSON schema if the endpoint supports one
parse     each sentence once it is complete, with its passages and quotes (reply_parser.py)
locate    the quotes in the passages (quote_matching.py)

The result is a draft. Guardrails and ../verification/verifier.py decide what reaches the reader.
"""

import secrets
import time
from collections.abc import Generator, Iterator, Sequence
from hashlib import sha256
from pathlib import Path

from core.errors import OverBudget
from core.principal import Principal
from core.text.invisible import remove_invisible
from core.token_estimate import MIN_CHARACTERS_PER_TOKEN, estimate_tokens
from retrieval.types import Hit, SearchResult
from serving.answering.generator.answer_generator import AnswerGenerator
from serving.answering.generator.prompts.template import (
    PROMPT_FOLDER,
    PromptTemplate,
    RenderedPrompt,
    load_prompt,
)
from serving.answering.generator.quote_matching import (
    find_nearest_sentences,
    locate_quote,
    widen_to_sentences,
)
from serving.answering.generator.reply_parser import PassageRef, ReplyParser, ReplySentence
from serving.answering.guardrails.prompt_injection import find_injections, is_injection
from serving.answering.types import DraftSentence, FaultCode, SupportingSpan
from serving.gateway.types import (
    DEFAULT_CONTEXT_TOKENS,
    ModelFailed,
    ModelRequest,
    Models,
    NoModelAvailable,
)

ANSWER_TIMEOUT_SECONDS = 30.0  # for all model calls of one answer
MIN_REPAIR_SECONDS = 2.0  # no repair is tried if less time is left
MAX_ANSWER_TOKENS = 700  # of a reply: about eight sentences with a quote each
MAX_REPAIR_TOKENS = 250
MAX_REPLY_SENTENCES = 8  # a model that writes more is repeating itself
TOKENS_PER_MESSAGE = 8  # overhead of each message
OMISSION_MARK = "[...]"

# These texts are part of the repair prompt: a change here is a change of the prompt.
FAULT_DESCRIPTIONS: dict[FaultCode, str] = {
    "no_evidence": "no passage carries it",
    "unsupported": "no sentence of the passages says all of this",
    "number": "a number differs from the passage, or stands in none",
    "unit": "what a number counts differs from the passage",
    "name": "a name stands in none of the passages",
    "negation": "a negation was added or left out",
    "bound": "what limits a number (at most, at least, about) differs from the passage",
    "modality": "it says so more or less firmly than the passage, or of more or less",
    "opposite": "a word is the opposite of what the passage has",
    "entailment": "it does not follow from the passage",
}


class LLMGenerator(AnswerGenerator):
    """Generator on language models.

    `context_tokens` is the size of the model's context, prompt and reply together. `max_sentences`
    limits how much of a reply is read.
    """

    name = "model"

    def __init__(
        self,
        models: Models,
        principal: Principal,
        *,
        context_tokens: int = DEFAULT_CONTEXT_TOKENS,
        max_sentences: int = MAX_REPLY_SENTENCES,
        prompt_folder: Path = PROMPT_FOLDER,
    ) -> None:
        self._models, self._principal = models, principal
        self._context_tokens, self._max_sentences = context_tokens, max_sentences
        self._deadline = time.monotonic() + ANSWER_TIMEOUT_SECONDS
        self._answer_template = load_prompt("answer", prompt_folder)
        self._repair_template = load_prompt("mend", prompt_folder)
        self._shown_passages: tuple[str, ...] = ()

    @property
    def prompt_version(self) -> str:
        """Name and version of the answer prompt."""
        return self._answer_template.label

    @property
    def instructions(self) -> str:
        """Text of both prompts, which no answer may repeat."""
        return f"{self._answer_template.instructions}\n{self._repair_template.instructions}"

    @property
    def fingerprint(self) -> str:
        """Hash of prompts, models and limits."""
        templates = (self._answer_template, self._repair_template)
        prompts = [(template.file.messages, template.schema) for template in templates]
        limits = f"{self._context_tokens}\n{self._max_sentences}"
        return sha256(f"{prompts}\n{self._models.fingerprint}\n{limits}".encode()).hexdigest()

    def generate(self, evidence: SearchResult) -> Generator[DraftSentence]:
        """Yield the sentences of the model as they arrive, with their quotes located."""
        rendered = self._render_answer_prompt(evidence)
        self.prompt = rendered.sha256
        request = self._build_request(
            self._answer_template, rendered, MAX_ANSWER_TOKENS, evidence.question
        )
        for reply_sentence in self._stream_sentences(request):
            yield draft_sentence(reply_sentence, evidence)

    def repair_sentence(
        self, evidence: SearchResult, sentence: DraftSentence, fault: FaultCode
    ) -> DraftSentence | None:
        """Ask the same model to reword a sentence, from the passages it cites, or else from all.

        Return None if time is short, that model does not answer, or the budget is used up.
        """
        if (
            self._deadline - time.monotonic() < MIN_REPAIR_SECONDS
            or fault not in FAULT_DESCRIPTIONS
        ):
            return None
        hit_indexes = dict.fromkeys(
            support.hit_index
            for support in sentence.support
            if 0 <= support.hit_index < len(evidence.hits)
        )
        passages = [
            render_passage(index + 1, evidence.hits[index])
            for index in hit_indexes or range(len(self._shown_passages))
        ]
        rendered = self._repair_template.render(
            boundary=create_boundary(),
            fault=FAULT_DESCRIPTIONS[fault],
            passages="\n\n".join(passages),
            question=remove_invisible(evidence.question),
            sentence=remove_invisible(sentence.text),
        )
        request = self._build_request(
            self._repair_template, rendered, MAX_REPAIR_TOKENS, evidence.question, self.model or ""
        )
        try:
            replies = list(self._stream_sentences(request))
        except (NoModelAvailable, ModelFailed, OverBudget):
            return None  # sentences already sent stay valid
        return draft_sentence(replies[0], evidence) if replies else None

    def _render_answer_prompt(self, evidence: SearchResult) -> RenderedPrompt:
        question = remove_invisible(evidence.question)
        empty = self._answer_template.render(
            boundary=create_boundary(), passages="", question=question
        )
        overhead = sum(
            estimate_tokens(message.content) + TOKENS_PER_MESSAGE for message in empty.messages
        )
        token_budget = self._context_tokens - MAX_ANSWER_TOKENS - overhead
        passages = [
            render_passage(number, hit) for number, hit in enumerate(evidence.hits, start=1)
        ]
        self._shown_passages = tuple(_fit_passages(passages, token_budget))
        return self._answer_template.render(
            boundary=create_boundary(),
            passages="\n\n".join(self._shown_passages),
            question=question,
        )

    def _build_request(
        self,
        template: PromptTemplate,
        rendered: RenderedPrompt,
        max_tokens: int,
        question: str,
        model: str = "",
    ) -> ModelRequest:
        return ModelRequest(
            rendered.messages,
            self._principal,
            template.file.name,
            schema=template.schema,
            max_tokens=max_tokens,
            timeout_seconds=max(self._deadline - time.monotonic(), 0.1),
            question=question,
            model=model,
        )

    def _stream_sentences(self, request: ModelRequest) -> Iterator[ReplySentence]:
        reply = self._models.stream(request)
        self.model, parser, count = reply.model, ReplyParser(), 0
        try:
            for piece in reply:
                for sentence in parser.feed(piece):
                    yield sentence
                    count += 1
                    if count == self._max_sentences:
                        return
            yield from parser.end()
        finally:
            reply.close()


def draft_sentence(reply_sentence: ReplySentence, evidence: SearchResult) -> DraftSentence:
    """Return a sentence with the spans it cites: its quotes, else the nearest sentences.

    Nothing is verified here: a passage number may be wrong, and a quote may say something else.
    """
    support: list[SupportingSpan] = []
    for passage_ref in reply_sentence.passage_refs:
        support += _locate_support(reply_sentence.text, passage_ref, evidence)
    return DraftSentence(reply_sentence.text, tuple(dict.fromkeys(support)))


def _locate_support(
    text: str, passage_ref: PassageRef, evidence: SearchResult
) -> list[SupportingSpan]:
    hit_index = passage_ref.passage - 1
    if not 0 <= hit_index < len(evidence.hits):
        return []
    hit = evidence.hits[hit_index]
    span = locate_quote(passage_ref.quote, hit)
    if span:
        return [SupportingSpan(hit_index, widen_to_sentences(span, hit))]
    nearest = find_nearest_sentences(f"{text} {passage_ref.quote}", hit)
    return [SupportingSpan(hit_index, span) for span in nearest]


def render_passage(number: int, hit: Hit) -> str:
    """Return a passage for a prompt, without planted instructions and hidden characters."""
    lines = [hit.title, *hit.context.splitlines()]
    headings = dict.fromkeys(line for line in lines if line and not is_injection(line))
    text, end = "", hit.span.start
    for injection in find_injections(hit):
        text += hit.text[end - hit.span.start : injection.span.start - hit.span.start]
        text += OMISSION_MARK
        end = injection.span.end
    text += hit.text[end - hit.span.start :]
    return f"[{number}] {remove_invisible(' > '.join(headings))}\n{remove_invisible(text)}"


def create_boundary() -> str:
    """Return a delimiter that no document can have foreseen."""
    return secrets.token_hex(8)


def _fit_passages(passages: Sequence[str], token_budget: int) -> Iterator[str]:
    """Yield the first passages that fit the budget; cut the very first if it is too long."""
    for index, passage in enumerate(passages):
        tokens = estimate_tokens(passage)
        if tokens > token_budget:
            if index == 0:
                cut = passage[: max(token_budget, 0) * MIN_CHARACTERS_PER_TOKEN]
                yield cut.rpartition("\n" if "\n" in passage else " ")[0]
            return
        token_budget -= tokens + 1
        yield passage
