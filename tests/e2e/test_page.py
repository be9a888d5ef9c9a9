"""The page in a real Chromium, with the real service and the sample documents.

To renew the picture of the README:
PAGE_IMAGE=docs/images/page.png pytest tests/e2e/test_page.py -k cited
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.services import Services
from serving.api.app import build_api
from serving.api.identity import LocalIdentity
from tests.support.browser import Browser, find_browser, open_browser
from tests.support.services import serve_api

ASKED = "How many days of annual leave can I carry over into next year?"


@pytest.fixture(scope="module")
def address(sample_services: Services) -> Iterator[str]:
    """Serve the sample on a free port."""
    with serve_api(build_api(sample_services, LocalIdentity(("alder", "brightwater")))) as address:
        yield f"{address}/"


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Open one tab for the module."""
    program = find_browser()
    if program is None:
        pytest.skip("no Chromium here (Debian's package is called chromium)")
    with open_browser(program, tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture(params=[(1280, 900, False), (390, 844, True)], ids=["desktop", "phone"])
def page(tab: Browser, address: str, request: pytest.FixtureRequest) -> Browser:
    """Open the page at the width of a desktop and of a phone."""
    width, height, mobile = request.param
    tab.resize(width, height, mobile=mobile)
    tab.open("about:blank")
    tab.open(address)
    tab.evaluate("localStorage.clear()")
    tab.open(address)
    tab.wait_until("document.querySelector('#tenant').options.length === 2")
    return tab


def ask(page: Browser, question: str) -> None:
    """Type a question and send it, as a person does."""
    page.evaluate(f"document.querySelector('#question').value = {question!r}")
    page.evaluate("document.querySelector('#ask').requestSubmit()")


def test_a_cited_sentence_leads_to_its_highlighted_quote(page: Browser, tmp_path: Path) -> None:
    ask(page, ASKED)
    page.wait_until("document.querySelector('#answer a[href*=\"#document=\"]')")
    answer = page.evaluate("document.querySelector('#answer').innerText")
    assert "5 unused days" in answer
    page.evaluate("document.querySelector('#answer a[href*=\"#document=\"]').click()")
    page.wait_until("document.querySelector('#reader mark')")
    marked = page.evaluate(
        "[...document.querySelectorAll('#reader mark')].map(mark => mark.textContent).join(' ')"
    )
    assert "Up to 5 unused days" in marked
    page.wait_until(
        "document.querySelector('#reader mark').getBoundingClientRect().top < innerHeight"
    )
    page.save_screenshot(tmp_path / "quote.png")
    if "PAGE_IMAGE" in os.environ and page.evaluate("innerWidth > 1000"):
        page.save_screenshot(Path(os.environ["PAGE_IMAGE"]))  # the picture of the README
    assert (tmp_path / "quote.png").stat().st_size > 10_000


def test_a_refusal_is_shown_as_one(page: Browser) -> None:
    ask(page, "Who won the football world cup in 1998?")
    page.wait_until("document.querySelector('#answer').innerText.length > 20")
    assert page.evaluate("document.querySelector('[data-stage=\"failed\"]').hidden")
    assert not page.evaluate("document.querySelector('#answer a[href*=\"#document=\"] mark')")


def test_another_tenant_sees_nothing_of_the_first(page: Browser) -> None:
    page.evaluate(
        "(() => { const tenant = document.querySelector('#tenant'); tenant.value = 'brightwater';"
        " tenant.dispatchEvent(new Event('change', {bubbles: true})); })()"
    )
    ask(page, ASKED)
    page.wait_until("document.querySelector('#answer').innerText.length > 20")
    assert "5 unused days" not in page.evaluate("document.body.innerText")


def test_nothing_is_wider_than_the_page(page: Browser) -> None:
    ask(page, ASKED)
    page.wait_until("document.querySelector('#answer a[href*=\"#document=\"]')")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def fill(page: Browser, field: str, value: str) -> None:
    """Type into a field, as a person does."""
    page.evaluate(
        f"(() => {{ const field = document.querySelector({field!r}); field.value = {value!r};"
        " field.dispatchEvent(new Event('input', {bubbles: true})); })()"
    )


def test_a_question_can_be_narrowed_down(page: Browser) -> None:
    """A folder and a metadata value narrow it; one click removes both."""
    page.evaluate("document.querySelector('#narrow').open = true")
    fill(page, "#within-path", "people/")
    fill(page, "#within-key", "status")
    fill(page, "#within-value", "superseded")
    assert "in people/, status is superseded" in page.evaluate(
        "document.querySelector('.narrowed').innerText"
    )
    ask(page, ASKED)
    page.wait_until("document.querySelector('#answer a[href*=\"#document=\"]')")
    assert "8 unused days" in page.evaluate("document.querySelector('#answer').innerText")
    paths = page.evaluate(
        "[...document.querySelectorAll('#sources .path')].map(path => path.textContent)"
    )
    assert set(paths) == {"people/annual-leave-policy-2023.md"}
    assert "narrowed down" in page.evaluate("document.querySelector('#account').textContent")
    page.evaluate("document.querySelector('#narrow-clear').click()")
    assert page.evaluate("document.querySelector('.narrowed').innerText").strip() == ""
    fill(page, "#within-path", "no such folder/")
    ask(page, ASKED)
    page.wait_until("document.querySelector('.refusal-reason')")
    assert "filter lets pass" in page.evaluate(
        "document.querySelector('.refusal-reason').textContent"
    )


def test_the_scores_are_drawn_and_labelled(page: Browser) -> None:
    """Each passage has a bar whose parts add up to its score, and a label for screen readers."""
    fill(page, "#within-path", "people/")
    ask(page, ASKED)
    page.wait_until("document.querySelector('#answer a[href*=\"#document=\"]')")
    page.evaluate("document.querySelector('#why').open = true")
    page.wait_until("document.querySelectorAll('.hits li').length === 10")
    scores = page.evaluate(
        "[...document.querySelectorAll('.hit-score')].map(score => Number(score.textContent))"
    )
    assert scores == sorted(scores, reverse=True)
    labels = page.evaluate(
        "[...document.querySelectorAll('.stack')].map(bar => bar.getAttribute('aria-label'))"
    )
    for score, label in zip(scores, labels, strict=True):
        whole, *shares = map(float, re.findall(r"-?\d\.\d+", label))
        assert whole == score
        assert sum(shares) == pytest.approx(score, abs=0.002)
    widths = page.evaluate(
        "[...document.querySelectorAll('.stack')].map(bar => "
        "[...bar.querySelectorAll('rect:not(.bar-ground)')]"
        ".reduce((sum, piece) => sum + Number(piece.getAttribute('width')), 0))"
    )
    assert widths[0] == pytest.approx(100, abs=1.5)
    assert widths == sorted(widths, reverse=True)
    how = page.evaluate("document.querySelector('.how').innerText")
    for said in ("40 documents", "posting_pkey", "all-MiniLM-L6-v2", "Narrowed to", "search"):
        assert said in how
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.evaluate("document.querySelector('.hits a').click()")
    page.wait_until("document.querySelector('#reader mark')")


def test_a_conversation_continues_until_a_new_one_starts(page: Browser, tmp_path: Path) -> None:
    """The page shows the standalone form of a follow-up question, until the button starts a new
    conversation.
    """
    ask(page, "How deep can I lower a Heron 200?")
    page.wait_until("document.querySelector('#answer a[href*=\"#document=\"]')")
    assert page.evaluate("document.querySelector('#asked-as').hidden")
    ask(page, "What about the Heron 210?")
    page.wait_until("!document.querySelector('#asked-as').hidden")
    assert "How deep can I lower a Heron 210?" in page.evaluate(
        "document.querySelector('#asked-as').textContent"
    )
    page.wait_until("document.querySelector('#answer').innerText.includes('200 m')")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.save_screenshot(tmp_path / "conversation.png")
    page.evaluate("document.querySelector('#conversation-new').click()")
    assert page.evaluate("document.querySelector('#conversation').hidden")
    ask(page, "What about the Heron 210?")
    page.wait_until("document.querySelector('#answer').innerText.length > 20")
    assert page.evaluate("document.querySelector('#asked-as').hidden")


def test_a_problem_is_one_sentence(page: Browser) -> None:
    ask(page, "x " * 1_500)
    page.wait_until("!document.querySelector('[data-stage=\"failed\"]').hidden")
    assert "characters" in page.evaluate("document.querySelector('#problem-detail').textContent")
