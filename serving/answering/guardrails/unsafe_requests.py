"""What is not answered whatever the documents say: requests that would do harm, and what is no question of them.

Rules that a person can read, each with its name and the sentence that the asker gets. They ask for a form of words (how
do I, write me, show me all) together with its object, since the object alone is often a proper question: who built the
first atomic bomb, what the password policy says. tests/test_requests.py holds what must be refused and what must not.
"""

import re
import unicodedata
from dataclasses import dataclass

from core.text.invisible import decode_tag_characters, remove_invisible
from serving.answering.types import Refusal, RefusalCode

_HOW_TO = (
    r"(?:how (?:do|can|could|would|should|to|might)\b(?: (?:i|we|you|one|someone|somebody|they))?(?: \w+ly)?"
    r"|teach (?:me|us)(?: how)? to|show (?:me|us) how to|help (?:me|us)(?: to)?|explain how to|tell (?:me|us) how to"
    r"|(?:i|we) (?:want|need|would like|'d like) to|what(?: is|'s) the (?:best|easiest|quickest) way to|steps to"
    r"|(?:give|write|provide|list)(?: me| us)? (?:\w+[ -]){0,4}(?:instructions?|steps|guide|recipe|tutorial|plan)"
    r"(?: (?:for|on|of|to|how to))*|can you|could you|please|best way to|ways to)"
)
_MAKE_STEM = r"(?:mak|build|construct|synthesi[sz]|produc|assembl|creat|cook|prepar|brew|mix|print|develop|writ|cod|program)"
_MAKE = rf"(?:{_MAKE_STEM}(?:e|ing|ting)?|build(?:ing)?|construct(?:ing)?|assemble|cook(?:ing)?|print(?:ing)?|get|obtain|buy)"
_WEAPON = (
    r"(?:(?:pipe|nail|car|dirty|petrol|fertili[sz]er|home-?made|improvised|nuclear|atomic|letter|suicide) ?-?bombs?"
    r"|bombs?|explosives?|explosive devices?|molotov(?: cocktails?)?|grenades?|land ?mines?|sarin|ricin|vx(?: gas)?"
    r"|nerve (?:agents?|gas)|mustard gas|anthrax|chemical weapons?|biological weapons?|bioweapons?|ghost guns?"
    r"|silencers?|(?:untraceable|3d.printed) (?:guns?|firearms?|weapons?)|methamphetamine|crystal meth|fentanyl|heroin)"
)
_MALWARE = (
    r"(?:malware|ransomware|spyware|keyloggers?|root ?kits?|trojans?|trojan horses?|computer (?:virus(?:es)?|worms?)"
    r"|botnets?|(?:zero-?day )?exploits?|phishing (?:e-?mails?|pages?|sites?|kits?|campaigns?|messages?)|virus(?:es)?"
    r"|back ?doors?|logic bombs?|ddos attacks?)"
)
_NOT_DEFENSIVE = (
    r"(?! (?:reports?|awareness|trainings?|simulations?|tests?|polic(?:y|ies)|incidents?|filters?|scan\w*|detect\w*"
    r"|protect\w*|prevent\w*|removal|response|alerts?|analys[ei]s|sample|signatures?|definitions?))"
)
_CREDENTIAL = (
    r"(?:passwords?|pass ?phrases?|api[ -]?keys?|secret keys?|private keys?|access (?:tokens?|keys?)|credentials?"
    r"|log-?ins?|bearer tokens?|pins?|secrets?|connection strings?)"
)


@dataclass(frozen=True, slots=True)
class RequestRule:
    """A kind of request that is refused: with which code, by which forms of words, and what the asker is told."""

    name: str
    code: RefusalCode
    patterns: tuple[re.Pattern[str], ...]
    reason: str


def _compile_rule(name: str, code: RefusalCode, reason: str, *patterns: str) -> RequestRule:
    return RequestRule(
        name, code, tuple(re.compile(pattern, re.IGNORECASE) for pattern in patterns), reason
    )


REQUEST_RULES = (
    _compile_rule(
        "self-harm",
        "unsafe_request",
        "This is nothing that documents should answer; if you think of harming yourself, call your local emergency"
        " number or a crisis line now, or talk to someone you trust.",
        r"\b(?:kill|hang|harm|hurt|cut|poison|drown|shoot) myself\b",
        r"\b(?:commit(?:ting)? suicide|end(?:ing)? my (?:own )?life|take my own life)\b"
        r"(?=.*\b(?:how|way|painless|me|i|my)\b)",
        rf"{_HOW_TO} (?:commit suicide|self-?harm|die painlessly|overdose)\b|\bpainless(?:ly)? (?:suicide|way to die)\b",
    ),
    _compile_rule(
        "weapons and drugs",
        "unsafe_request",
        "How to make weapons, explosives or drugs is not answered here, whatever the documents say.",
        rf"{_HOW_TO}[^.?!]{{0,25}}\b{_MAKE}\b[^.?!]{{0,30}}\b{_WEAPON}\b",
        rf"\b(?:instructions?|recipe|steps|guide|blueprints?|tutorial) (?:for|to|on) (?:\w+ )?"
        rf"{_MAKE} [^.?!]{{0,20}}{_WEAPON}\b",
        rf"^\W*(?:please )?(?:make|build|synthesi[sz]e|design) (?:me |us )?(?:an? |some )?{_WEAPON}\b",
    ),
    _compile_rule(
        "malware and break-ins",
        "unsafe_request",
        "How to attack systems or people is not answered here; for protecting them, ask about that.",
        rf"(?:{_HOW_TO}|^\W*)[^.?!]{{0,25}}\b(?:{_MAKE}|plant|spread|deploy|install|send|launch|distribute)\b"
        rf"[^.?!]{{0,25}}\b{_MALWARE}\b{_NOT_DEFENSIVE}"
        r"(?<!anti-virus)(?<!anti virus)(?<!antivirus)(?!.*\b(?:against|without)\b)",
        r"\b(?:hack|break|phish|brute-?force) (?:into|in to|my way into)?\s*(?:[\w'-]+ ){0,3}"
        r"(?:accounts?|e-?mails?|servers?|networks?|phones?|wi-?fi|computers?|systems?|passwords?)\b",
        rf"{_HOW_TO} (?:crack|steal|guess|sniff|phish)\b[^.?!]{{0,30}}\b{_CREDENTIAL}\b",
    ),
    _compile_rule(
        "the service's own instructions",
        "unsafe_request",
        "What the service itself is told is not shown; ask about the documents.",
        r"\b(?:system|hidden|initial|original|internal|secret|developer|meta) ?-?(?:prompts?|instructions|messages?)\b"
        r"(?=.*\b(?:your|you)\b)|\b(?:your|you)\b[^.?!]{0,40}\b(?:system|hidden|initial|original|secret|developer)"
        r" ?-?(?:prompts?|instructions|messages?|rules)\b",
        r"\b(?:show|print|reveal|repeat|tell|give|output|display|dump|leak|share|write|quote|translate|encode"
        r"|summari[sz]e)\b[^.?!]{0,30}\b(?:the|this) (?:system|hidden) prompt\b"
        r"|\bwhat(?: is|'s| was| does) (?:the|this) system prompt\b",
        r"\b(?:what|which|show|print|repeat|reveal|list|tell|translate|encode|summari[sz]e)\b"
        r"[^.?!]{0,40}\byour (?:\w+ )?(?:prompt|instructions|guidelines)\b",
        r"\b(?:repeat|print|output|copy|write out|show)\b[^.?!]{0,30}\b(?:everything|all|the (?:text|words|lines?))\b"
        r"[^.?!]{0,15}\babove\b",
        r"\b(?:ignore|disregard|forget|override|bypass)\b[^.?!]{0,25}\b(?:previous|prior|earlier|above|your|all|system)\b"
        r"[^.?!]{0,25}\b(?:instructions?|rules|guidelines|prompts?|restrictions|guardrails|safety|training)\b",
        r"\byou are now (?:an? |in )?(?:dan|unrestricted|jailbroken|developer mode|free of)\b|\bdo anything now\b"
        r"|\b(?:enter|enable|activate|switch to) (?:developer|god|debug|jailbreak|dan) mode\b",
    ),
    _compile_rule(
        "others' data",
        "unsafe_request",
        "What belongs to other tenants or to others' accounts is not shown; ask about the documents that you may read.",
        r"\b(?:other|another|all(?: the)?|every|any|each|different) (?:\w+ )?tenants?(?:'s?|s')? (?:\w+ ){0,2}"
        r"(?:data|documents?|files?|rows?|records?|secrets?|answers?|questions?|passages?|contents?|papers?|prices?)\b",
        r"\b(?:data|documents?|files?|rows?|records?|secrets?|passages?|contents?|everything|anything|all)\b[^.?!]{0,25}"
        r"\b(?:of|from|for|in|belonging to|across) (?:the )?(?:other|another|all|every|any|each) (?:\w+ )?tenants?\b",
        r"\b(?:switch|change|set|act|log ?in|impersonate|pretend)\b[^.?!]{0,25}\btenants?\b[^.?!]{0,40}"
        r"\b(?:show|list|give|tell|read|print|dump)\b",
        r"\b(?:bypass|circumvent|disable|turn off|get around|evade|ignore)\b[^.?!]{0,25}\b(?:row[- ]level security"
        r"|access (?:control|rules|checks?)|permissions?|tenant isolation|readers?'? restrictions?|authori[sz]ation)\b",
        rf"\b(?:list|show|give|dump|print|export|reveal|tell|send|get|find|share|leak)\b(?: me| us)?[^.?!]{{0,20}}"
        rf"\b(?:all|every|everyone's|everybody's|other people's|others'|users'|employees'|customers'|colleagues')"
        rf" (?:\w+ ){{0,3}}{_CREDENTIAL}\b",
        r"\b(?:what(?: is|'s| are)|show|give|tell|reveal|print|find|get|send)\b(?: me| us)?[^.?!]{0,20}"
        r"\b(?:his|her|their|someone(?: else)?'s|somebody(?: else)?'s|my (?:boss|manager|colleague|coworker)'s?"
        r"|the (?:ceo|cfo|director|boss|manager|admin|administrator)'s?|your|(?-i:[A-Z][a-z]+(?: [A-Z][a-z]+)?)'s)"
        r" (?:\w+ ){0,2}(?:passwords?|pass ?phrases?|api[ -]?keys?|private keys?|credentials?|pin|log-?in)\b"
        r"(?!-?\s?(?:polic|rule|reset|manager|requirement))",
        r"\b(?:drop|truncate|delete from|union select|select \* from|insert into)\b"
        r"\s+(?:table\s+)?\w+(?=\s*(?:;|--|where|$))",
    ),
    _compile_rule(
        "what is hidden from the asker",
        "may_not_know",
        "Whether there are documents that you may not read is told to nobody; ask about their subject, and what you may"
        " read is searched.",
        r"\b(?:documents?|files?|papers?|passages?|records?|anything|something|information|notes?|minutes|folders?|pages?)"
        r"\b[^.?!]{0,40}\b(?:(?:i|we)(?: (?:may|must|am|are)|'m|'re) not(?: (?:allowed|permitted|supposed) to)?"
        r" (?:see|read|access|find|know)|(?:are |is |being |kept )?(?:hidden|withheld|restricted|secret|concealed)"
        r" from (?:me|us|my (?:team|group|department)))\b",
        r"\b(?:what|which|who(?:se)?|how many|is there|are there|does)\b[^.?!]{0,60}\b(?:only|just) (?:\w+ )?(?:the )?"
        r"(?:other groups?|(?:\w+ ){0,2}group|managers?|directors?|hr|the board|finance) (?:can|may|is allowed to"
        r"|are allowed to) (?:see|read|access|open)\b",
        r"\b(?:what|which (?:documents?|files?|papers?|folders?))\b[^.?!]{0,20}"
        r"\b(?:am i|are we) not (?:allowed|permitted|supposed) to (?:see|read|know|access|open|find)\b",
    ),
    _compile_rule(
        "writing to order",
        "out_of_scope",
        "This asks for a piece of writing; the service answers questions from the documents.",
        r"^\W*(?:please |can you |could you |would you )?(?:write|compose|draft|create|make up|invent|sing|recite|tell)"
        r"(?: me| us)? (?:an? |some |the )?(?:\w+ ){0,2}(?:poems?|haikus?|sonnets?|limericks?|songs?|lyrics|jokes?|rap"
        r"|fairy ?tales?|bedtime stor(?:y|ies)|short stor(?:y|ies)|love letters?|riddles?)\b",
    ),
    _compile_rule(
        "small talk",
        "out_of_scope",
        "Ask a question of the documents; there is no more to talk about here.",
        r"^\W*(?:hi|hello|hey|good (?:morning|afternoon|evening|night)|thanks?|thank you(?: very much| so much)?|bye"
        r"|goodbye|how are you(?: doing)?(?: today)?|what's up|who are you|what are you|what can you do"
        r"|are you (?:an? )?(?:human|robot|bot|ai|chatgpt|sentient|real))(?: there| all)?\W*$",
        r"\bweather\b[^.?!]{0,20}\b(?:today|tomorrow|tonight|right now|this weekend|outside)\b",
        r"^\W*(?:what(?: is|'s) the (?:time|date)(?: now| today)?|what time is it(?: now)?"
        r"|what day is it(?: today)?)\W*$",
    ),
)


def find_broken_rule(question: str) -> RequestRule | None:
    """The first rule that a question falls under, also by what is written in it with characters that show nothing."""
    read = unicodedata.normalize(
        "NFKC", f"{remove_invisible(question)} {decode_tag_characters(question)}"
    ).replace("’", "'")
    read = " ".join(read.split())
    return next(
        (rule for rule in REQUEST_RULES if any(pattern.search(read) for pattern in rule.patterns)),
        None,
    )


def refuse_request(question: str) -> Refusal | None:
    """The refusal of a question that no document is looked at for."""
    rule = find_broken_rule(question)
    return Refusal(rule.code, rule.reason, ()) if rule else None
