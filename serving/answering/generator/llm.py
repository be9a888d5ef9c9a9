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
from core.text.invisible import visible
from retrieval.types import Evidence, Hit
from serving.answering.extractive import Extractive
from serving.answering.generator.prompts.prompt import HERE, Prompt, Rendered, load_prompt
from serving.answering.generator.quote_matching import located, nearest, widened
from serving.answering.generator.reply_parser import Named, Reading, Written
from serving.answering.guardrails.prompt_injection import planted, speaks_to_a_machine
from serving.answering.guardrails.redaction import behind
from serving.answering.types import DraftSentence, Fault, Support
from serving.gateway.gateway import Gateway, estimate
from serving.gateway.types import Message, ModelFailed, ModelRequest, Models, NoModelAvailable

SECONDS = 30.0  # for all that is asked of models for one answer
LEAST_SECONDS = 2.0  # below which a sentence is not mended any more
ANSWER_TOKENS = 700  # for a reply: some eight sentences with a quote each
MEND_TOKENS = 250
MOST_SENTENCES = 8  # of a reply that are read; a model that goes on is repeating itself
CONTEXT = 4_096  # tokens, of a model that is not known better
CHARACTERS_A_TOKEN = 3  # of English; rather too few, so that a prompt fits though its tokens are short
A_TURN = 8  # tokens around each turn
GAP = "[...]"

WRONG: dict[Fault, str] = {
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


def generator(models: Models | None, principal: Principal) -> "Writer | Extractive":
    """What writes an answer for somebody: a language model where a models file is named, else the documents do."""
    return Writer(models, principal, context=room(models, principal)) if models else Extractive()


def room(models: Models, principal: Principal) -> int:
    """The tokens that the largest model takes that somebody's tenant may ask, prompt and reply together."""
    gateway = behind(models)
    if not isinstance(gateway, Gateway):
        return CONTEXT
    allowed = gateway.file.policy(principal.tenant).models
    sizes = [model.context for model in gateway.file.models if allowed is None or model.name in allowed]
    return max(sizes, default=CONTEXT)


class Writer:
    """A generator on language models, for one question of one person.

    `context` is the tokens that a model takes, `sentences` how many of a reply are read, `folder` that of the prompts.
    Once it has been asked, `model` says which model wrote, and `prompt` is the SHA-256 of what it was told.
    """

    name = "model"

    def __init__(
        self, models: Models, principal: Principal, *, context: int = CONTEXT, sentences: int = MOST_SENTENCES,
        folder: Path = HERE,
    ) -> None:  # fmt: skip
        self._models, self._principal, self._context, self._most = models, principal, context, sentences
        self._ends = time.monotonic() + SECONDS
        self._template, self._mending = load_prompt("answer", folder), load_prompt("mend", folder)
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
        prompts = [(each.turns, each.schema) for each in (self._template, self._mending)]
        gateway = behind(self._models)
        models = gateway.file.model_dump_json() if isinstance(gateway, Gateway) else secrets.token_hex()
        return sha256(f"{prompts}\n{models}\n{self._context}\n{self._most}".encode()).hexdigest()

    @property
    def instructions(self) -> str:
        """What the models are told in our words, which no answer may repeat."""
        return f"{self._template.instructions}\n{self._mending.instructions}"

    def generate(self, evidence: Evidence) -> Iterator[DraftSentence]:
        """The sentences of the reply, each as soon as it is whole. Closing this cancels the call."""
        rendered = self._render(evidence)
        self.prompt = rendered.sha256
        for written in self._read(rendered.messages, self._template, ANSWER_TOKENS, evidence.question):
            yield drafted(written, evidence)

    def mend(self, evidence: Evidence, sentence: DraftSentence, fault: Fault) -> DraftSentence | None:
        """Another wording of a sentence by the model that wrote it, from the passages that it names or else from all;
        None where time is short, that model does not answer, or nobody can pay for it.
        """
        if self._ends - time.monotonic() < LEAST_SECONDS or fault not in WRONG:
            return None
        cited = dict.fromkeys(each.hit for each in sentence.support if 0 <= each.hit < len(evidence.hits))
        shown = [shown_passage(place + 1, evidence.hits[place]) for place in cited or range(len(self._shown))]
        rendered = self._mending.render(
            boundary=boundary(), fault=WRONG[fault], passages="\n\n".join(shown), question=visible(evidence.question),
            sentence=visible(sentence.text),
        )  # fmt: skip
        try:
            found = list(self._read(rendered.messages, self._mending, MEND_TOKENS, evidence.question, self.model or ""))
        except (NoModelAvailable, ModelFailed, OverBudget):  # what is said already stays said
            return None
        return drafted(found[0], evidence) if found else None

    def _render(self, evidence: Evidence) -> Rendered:
        """The prompt with the passages that there is room for."""
        passages = [shown_passage(number, hit) for number, hit in enumerate(evidence.hits, start=1)]
        empty = self._template.render(boundary=boundary(), passages="", question=visible(evidence.question))
        room = self._context - ANSWER_TOKENS - sum(estimate(turn.content) + A_TURN for turn in empty.messages)
        self._shown = tuple(_fitting(passages, room))
        return self._template.render(
            boundary=boundary(), passages="\n\n".join(self._shown), question=visible(evidence.question)
        )

    def _read(
        self, messages: Sequence[Message], prompt: Prompt, most: int, question: str, model: str = ""
    ) -> Iterator[Written]:
        """The sentences of a reply, of `model` where one is named; whoever leaves early closes it."""
        reply = self._models.stream(
            ModelRequest(
                messages, self._principal, prompt.head.name, schema=prompt.schema, max_tokens=most,
                seconds=max(self._ends - time.monotonic(), 0.1), question=question, model=model,
            )
        )  # fmt: skip
        self.model, reading, count = reply.model, Reading(), 0
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


def drafted(written: Written, evidence: Evidence) -> DraftSentence:
    """A sentence with the spans that it names: its quotes where they stand, else what is nearest in those passages.

    Nothing is trusted here: what it names may be in no passage, or say something else.
    """
    found = [support for named in written.evidence for support in _supports(written.text, named, evidence)]
    return DraftSentence(written.text, tuple(dict.fromkeys(found)))


def _supports(text: str, named: Named, evidence: Evidence) -> list[Support]:
    place = named.passage - 1
    if not 0 <= place < len(evidence.hits):
        return []
    hit = evidence.hits[place]
    span = located(named.quote, hit)
    spans = [widened(span, hit)] if span else nearest(f"{text} {named.quote}", hit)
    return [Support(place, each) for each in spans]


def shown_passage(number: int, hit: Hit) -> str:
    """A passage as a model reads it: its number, where it stands, and its text, without what speaks to a machine or
    shows nothing.
    """
    above = [line for line in (hit.title, *hit.context.splitlines()) if line and not speaks_to_a_machine(line)]
    head = visible(" > ".join(dict.fromkeys(above)))
    text, done = "", hit.span.start
    for each in planted(hit):
        text += hit.text[done - hit.span.start : each.span.start - hit.span.start] + GAP
        done = each.span.end
    return f"[{number}] {head}\n{visible(text + hit.text[done - hit.span.start :])}"


def boundary() -> str:
    """A delimiter that no document can have foreseen."""
    return secrets.token_hex(8)


def _fitting(passages: Sequence[str], room: int) -> Iterator[str]:
    """The first passages that there is room for; of the very first as much as there is."""
    for number, passage in enumerate(passages):
        if estimate(passage) > room:
            if not number:
                yield passage[: max(room, 0) * CHARACTERS_A_TOKEN].rpartition("\n" if "\n" in passage else " ")[0]
            return
        room -= estimate(passage) + 1
        yield passage
