"""A language model writes the answer: it is shown the passages, and every sentence it writes is held to them.

render   the question and as many passages as the model has room for, between delimiters that nobody can guess
ask      whichever model the gateway chooses, held to a JSON schema where it can be
read     each sentence as soon as it is whole, with the passages and the quotes that it names (serving/answering/generator/reply_parser.py)
find     the quotes in the passages (serving/answering/generator/quote_matching.py)

What comes out is a draft: the guardrails and serving/answering/verification/verifier.py say what of it reaches the reader.
"""

import secrets
import time
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path

from core.errors import OverBudget
from core.principal import Principal
from core.text.invisible import remove_invisible
from retrieval.types import Hit, SearchResult
from serving.answering.extractive import ExtractiveGenerator
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
from serving.gateway.gateway import estimate_tokens
from serving.gateway.types import (
    DEFAULT_CONTEXT_TOKENS,
    Message,
    ModelFailed,
    ModelRequest,
    Models,
    NoModelAvailable,
)

ANSWER_TIMEOUT_SECONDS = 30.0  # for all that is asked of models for one answer
MIN_REPAIR_SECONDS = 2.0  # below which a sentence is not mended any more
MAX_ANSWER_TOKENS = 700  # for a reply: some eight sentences with a quote each
MAX_REPAIR_TOKENS = 250
MAX_REPLY_SENTENCES = 8  # of a reply that are read; a model that goes on is repeating itself
MIN_CHARACTERS_PER_TOKEN = (
    3  # of English; rather too few, so that a prompt fits though its tokens are short
)
TOKENS_PER_MESSAGE = 8  # tokens around each turn
OMISSION_MARK = "[...]"

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


def create_generator(
    models: Models | None, principal: Principal
) -> "LLMGenerator | ExtractiveGenerator":
    """What writes an answer for somebody: a language model where a models file is named, else the documents do."""
    return (
        LLMGenerator(models, principal, context_tokens=models.context_size(principal))
        if models
        else ExtractiveGenerator()
    )


class LLMGenerator:
    """A generator on language models, for one question of one person.

    `context` is the tokens that a model takes, `sentences` how many of a reply are read, `folder` that of the prompts.
    Once it has been asked, `model` says which model wrote, and `prompt` is the SHA-256 of what it was told.
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
        self._models, self._principal, self._context, self._most = (
            models,
            principal,
            context_tokens,
            max_sentences,
        )
        self._ends = time.monotonic() + ANSWER_TIMEOUT_SECONDS
        self._template, self._mending = (
            load_prompt("answer", prompt_folder),
            load_prompt("mend", prompt_folder),
        )
        self._shown: tuple[str, ...] = ()
        self.model: str | None = None
        self.prompt = ""

    @property
    def prompt_version(self) -> str:
        """Name and version of the prompt that it writes from."""
        return self._template.label

    @property
    def fingerprint(self) -> str:
        """What its answers depend on beside evidence and code: the prompts and the models file. Models that come from
        no file may change at any time, so with them no answer is like another.
        """
        prompts = [(each.file.messages, each.schema) for each in (self._template, self._mending)]
        models = self._models.fingerprint
        return sha256(f"{prompts}\n{models}\n{self._context}\n{self._most}".encode()).hexdigest()

    @property
    def instructions(self) -> str:
        """What the models are told in our words, which no answer may repeat."""
        return f"{self._template.instructions}\n{self._mending.instructions}"

    def generate(self, evidence: SearchResult) -> Iterator[DraftSentence]:
        """The sentences of the reply, each as soon as it is whole. Closing this cancels the call."""
        rendered = self._render_answer_prompt(evidence)
        self.prompt = rendered.sha256
        for written in self._stream_sentences(
            rendered.messages, self._template, MAX_ANSWER_TOKENS, evidence.question
        ):
            yield draft_sentence(written, evidence)

    def mend(
        self, evidence: SearchResult, sentence: DraftSentence, fault: FaultCode
    ) -> DraftSentence | None:
        """Another wording of a sentence by the model that wrote it, from the passages that it names or else from all;
        None where time is short, that model does not answer, or nobody can pay for it.
        """
        if self._ends - time.monotonic() < MIN_REPAIR_SECONDS or fault not in FAULT_DESCRIPTIONS:
            return None
        cited = dict.fromkeys(
            each.hit_index for each in sentence.support if 0 <= each.hit_index < len(evidence.hits)
        )
        shown = [
            render_passage(place + 1, evidence.hits[place])
            for place in cited or range(len(self._shown))
        ]
        rendered = self._mending.render(
            boundary=create_boundary(),
            fault=FAULT_DESCRIPTIONS[fault],
            passages="\n\n".join(shown),
            question=remove_invisible(evidence.question),
            sentence=remove_invisible(sentence.text),
        )
        try:
            found = list(
                self._stream_sentences(
                    rendered.messages,
                    self._mending,
                    MAX_REPAIR_TOKENS,
                    evidence.question,
                    self.model or "",
                )
            )
        except (NoModelAvailable, ModelFailed, OverBudget):  # what is said already stays said
            return None
        return draft_sentence(found[0], evidence) if found else None

    def _render_answer_prompt(self, evidence: SearchResult) -> RenderedPrompt:
        """The prompt with the passages that there is room for."""
        passages = [
            render_passage(number, hit) for number, hit in enumerate(evidence.hits, start=1)
        ]
        empty = self._template.render(
            boundary=create_boundary(), passages="", question=remove_invisible(evidence.question)
        )
        room = (
            self._context
            - MAX_ANSWER_TOKENS
            - sum(estimate_tokens(turn.content) + TOKENS_PER_MESSAGE for turn in empty.messages)
        )
        self._shown = tuple(_fit_passages(passages, room))
        return self._template.render(
            boundary=create_boundary(),
            passages="\n\n".join(self._shown),
            question=remove_invisible(evidence.question),
        )

    def _stream_sentences(
        self,
        messages: Sequence[Message],
        prompt: PromptTemplate,
        max_tokens: int,
        question: str,
        model: str = "",
    ) -> Iterator[ReplySentence]:
        """The sentences of a reply, of `model` where one is named; whoever leaves early closes it."""
        reply = self._models.stream(
            ModelRequest(
                messages,
                self._principal,
                prompt.file.name,
                schema=prompt.schema,
                max_tokens=max_tokens,
                timeout_seconds=max(self._ends - time.monotonic(), 0.1),
                question=question,
                model=model,
            )
        )
        self.model, reading, count = reply.model, ReplyParser(), 0
        try:
            for piece in reply:
                for written in reading.feed(piece):
                    yield written
                    count += 1
                    if count == self._most:
                        return
            yield from reading.end()
        finally:
            reply.close()


def draft_sentence(reply_sentence: ReplySentence, evidence: SearchResult) -> DraftSentence:
    """A sentence with the spans that it names: its quotes where they stand, else what is nearest in those passages.

    Nothing is trusted here: what it names may be in no passage, or say something else.
    """
    found = [
        support
        for named in reply_sentence.passage_refs
        for support in _locate_support(reply_sentence.text, named, evidence)
    ]
    return DraftSentence(reply_sentence.text, tuple(dict.fromkeys(found)))


def _locate_support(
    text: str, passage_ref: PassageRef, evidence: SearchResult
) -> list[SupportingSpan]:
    place = passage_ref.passage - 1
    if not 0 <= place < len(evidence.hits):
        return []
    hit = evidence.hits[place]
    span = locate_quote(passage_ref.quote, hit)
    spans = (
        [widen_to_sentences(span, hit)]
        if span
        else find_nearest_sentences(f"{text} {passage_ref.quote}", hit)
    )
    return [SupportingSpan(place, each) for each in spans]


def render_passage(number: int, hit: Hit) -> str:
    """A passage as a model reads it: its number, where it stands, and its text, without what speaks to a machine or
    shows nothing.
    """
    above = [
        line for line in (hit.title, *hit.context.splitlines()) if line and not is_injection(line)
    ]
    head = remove_invisible(" > ".join(dict.fromkeys(above)))
    text, done = "", hit.span.start
    for each in find_injections(hit):
        text += hit.text[done - hit.span.start : each.span.start - hit.span.start] + OMISSION_MARK
        done = each.span.end
    return f"[{number}] {head}\n{remove_invisible(text + hit.text[done - hit.span.start :])}"


def create_boundary() -> str:
    """A delimiter that no document can have foreseen."""
    return secrets.token_hex(8)


def _fit_passages(passages: Sequence[str], token_budget: int) -> Iterator[str]:
    """The first passages that there is room for; of the very first as much as there is."""
    for number, passage in enumerate(passages):
        if estimate_tokens(passage) > token_budget:
            if not number:
                yield passage[: max(token_budget, 0) * MIN_CHARACTERS_PER_TOKEN].rpartition(
                    "\n" if "\n" in passage else " "
                )[0]
            return
        token_budget -= estimate_tokens(passage) + 1
        yield passage
