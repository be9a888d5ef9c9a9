"""Entry of the parsers: media types, encodings, languages, and reasons for refused files."""

import json
import time
import zipfile
from contextlib import suppress
from io import BytesIO

import docx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import UnreadableFile
from ingest.parsers.file_parser import parse_file
from ingest.parsers.media_type import detect_media_type
from ingest.parsers.registry import FORMATS, Format
from tests.support.fixtures_documents import Drawn, docx_bytes, pdf
from tests.support.parsing import read, refusal_reason


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"\xff\xd8\xff\xe0" + bytes(600), "picture. Put it into a PDF"),
        (b"\0\0\0 ftypM4A " + bytes(600), "sound or film. Ingest a transcript"),
        (b"\x1f\x8b\x08" + bytes(600), "archive, or built like one. Unpack"),
        (
            b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
            + "__properties_version1.0".encode("utf-16-le")
            + bytes(600),
            "Outlook message. Save it as",
        ),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "old Office format. Save it as"),
    ],
)
def test_refusal_of_unsupported_type_names_the_fix(data: bytes, says: str) -> None:
    with pytest.raises(UnreadableFile, match=says) as refused:
        parse_file("a.bin", data)
    assert refused.value.reason == "not-a-document"


@pytest.mark.parametrize(
    ("name", "data", "kind"),
    [
        ("a.txt", b"%PDF-1.7 ...", "application/pdf"),
        ("a.bin", b"\n <!DOCTYPE html><p>x", "text/html"),
        ("a", b"<html lang=en>", "text/html"),
        ("a.txt", b'<?xml version="1.0"?>\n<html xmlns="x"><p>y', "text/html"),
        ("a.svg", b'<?xml version="1.0"?><svg/>', "application/xml"),
        ("a.MD", b"# x", "text/markdown"),
        ("a.md", b"A PDF begins with %PDF-1.7", "text/markdown"),
        ("a.docx", b"# Leave\n\nTwo weeks.", "text/markdown"),
        ("a.pdf", b"Just words.", "text/plain"),
        ("a", b'{"a": 1}', "application/json"),
        ("a", b'{"a": 1}\n{"a": 2}\n', "application/jsonl"),
        ("mail", b"From: a\nTo: b\nSubject: c\n\nFrom me.", "message/rfc822"),
        ("feed.xml", b'<rss version="2.0"><channel>', "application/xml"),
        ("table", b"a,b,c\n" * 6, "text/csv"),
        ("a.py", b"# a comment\nimport os", "text/plain"),
        ("a.log", b"\x89PNG\r\n\x1a\n", "application/octet-stream"),
        ("notes", "Grüße".encode("utf-16"), "text/plain"),
        ("a.log", "Grüße".encode("latin-1"), "text/plain"),
        ("a.md", bytes(range(256)) * 4, "application/octet-stream"),
        ("a.txt", b"{\\rtf1 x}", "application/rtf"),
    ],
)
def test_media_type_comes_from_content_then_from_suffix(name, data, kind):
    assert detect_media_type(name, data) == kind


def test_zip_type_comes_from_its_parts():
    assert detect_media_type("renamed.zip", docx_bytes(docx.Document())).endswith(
        "wordprocessingml.document"
    )
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("mimetype", "application/epub+zip")
    assert detect_media_type("book", buffer.getvalue()) == "application/epub+zip"


def test_unreadable_file_has_a_reason():
    assert refusal_reason("a.md", b"") == "empty"
    assert refusal_reason("a.md", b" \n ") == "empty"
    assert refusal_reason("a.html", b"<html><script>1</script></html>") == "no-text"
    assert refusal_reason("a.bin", bytes(range(256)) * 9) == "not-a-document"
    assert (
        refusal_reason("a.doc", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600))
        == "not-a-document"
    )
    assert refusal_reason("a.docx", docx_bytes(docx.Document())[:900]) == "corrupt"
    assert refusal_reason("a.pdf", b"%PDF-1.4\n" + b"x" * 200) == "corrupt"
    assert refusal_reason("a.pdf", pdf([[Drawn("secret", 700)]], password="p")) == "encrypted"
    assert refusal_reason("a.pdf", pdf([[], []])) == "no-text"


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252"]
)
def test_text_in_common_encodings_is_decoded(encoding):
    text = "Die Größe der Prüfköpfe beträgt 12 mm; für Außenbereiche gilt § 4. " * 3
    assert read("a.txt", text.encode(encoding)).text == text.strip()


@pytest.mark.parametrize("file_format", FORMATS, ids=lambda entry: entry.suffixes[0])
@settings(deadline=None)  # The first example imports the format's library.
@given(
    data=st.binary(max_size=200)
    | st.text("*-=`:.|+ \n\\\\{}\\u12aé<>[]\"',;#", max_size=200).map(str.encode)
)
def test_parsers_raise_only_unreadable_file_on_random_bytes(
    file_format: Format, data: bytes
) -> None:
    start = b"{\\rtf1 " if file_format.media_type == "application/rtf" else b""
    with suppress(UnreadableFile):
        parse_file(f"file{file_format.suffixes[0]}", start + data)


@pytest.mark.parametrize(
    ("name", "piece"),
    [
        ("a.md", "{{<"),
        ("a.md", "<a"),
        ("a.md", "> "),
        ("a.md", "![["),
        ("a.md", "<div hidden>"),
        ("a.html", "<div>"),
        ("a.html", "<b>"),
        ("a.html", '<p style="display '),
        ("a.rst", "**a"),
        ("a.rst", "- a\n"),
        ("a.csv", '"'),
        ("a.rtf", "{\\rtf1 "),
        ("a.eml", "Subject: =?utf-8?q?x?= "),
    ],
)
def test_time_grows_linearly_with_hostile_text(name, piece):
    begin = time.process_time()
    with suppress(UnreadableFile):
        parse_file(name, (piece * (60_000 // len(piece)) + "end").encode())
    assert time.process_time() - begin < 3


PROSE = {
    "en": "The pump is cleaned by hand, and the filter has to be changed at the end of each "
    "month. You can find the "
    "parts for it in the store, which is open from eight to five.",
    "de": "Die Pumpe wird von Hand gereinigt, und der Filter ist am Ende des Monats zu "
    "wechseln. Die Teile sind im "
    "Lager, das von acht bis fünf auch für Gäste offen ist.",
    "fr": "La pompe est nettoyée à la main et le filtre est changé à la fin du mois. Vous "
    "trouvez les pièces dans le "
    "magasin, qui est ouvert pour tous les clients avec une carte.",
    "es": "La bomba se limpia a mano y el filtro se cambia al final de cada mes. Las piezas "
    "están en el almacén, que "
    "está abierto para los clientes con una tarjeta, pero no los lunes.",
    "nb": "Pumpen rengjøres for hånd, og filteret skal skiftes ved slutten av måneden. Det er "
    "ikke så vanskelig, men "
    "du vil ha hjelp av en som kan det, og det skal være av den nye typen.",
    "ru": "Насос чистят вручную, и фильтр меняют в конце месяца. Детали лежат на складе, это "
    "для всех, но не все "
    "могут так просто войти: он открыт с восьми и не для гостей, как это может быть при заказе.",
    "ja": "ポンプは手で洗います。フィルターは毎月の終わりに交換してください。"
    "部品は倉庫にあります。八時から五時まで開いています。",
    "zh": "水泵需要手工清洗。每个月底应当更换滤芯。零件存放在仓库里,仓库从早上八点到下午五点开放,"
    "所有客户都可以进入领取。",
}


@pytest.mark.parametrize("code", PROSE)
def test_language_of_prose_is_detected(code):
    assert read("a.txt", PROSE[code]).metadata["language"] == code


@pytest.mark.parametrize(
    "text", ["Too short to tell.", "a1 b2 c3 " * 40, "def f(x): return x\n" * 20, "Heron 200 " * 40]
)
def test_short_text_and_code_have_no_language(text):
    assert "language" not in read("a.txt", text).metadata


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("a.md", f"---\nlanguage: de-AT\n---\n{PROSE['en']}"),
        ("a.html", f"<html lang=de-AT><p>{PROSE['en']}"),
        ("a.json", json.dumps({"language": "de-AT", "text": PROSE["en"]})),
    ],
)
def test_declared_language_wins(name, source):
    assert read(name, source).metadata["language"] == "de-AT"


def test_dates_and_versions_become_metadata():
    assert read("a.md", "---\ndate: 2026-03-01\nversion: 2.1\n---\nText.").metadata == {
        "date": "2026-03-01",
        "version": 2.1,
    }
    page = (
        '<head><meta name=date content=2026-03-01><meta name=version content="2.1"></head><p>Text.'
    )
    assert read("a.html", page).metadata == {"date": "2026-03-01", "version": "2.1"}
    assert read("a.json", '{"version": 3, "modified": "2026-03-01", "a": "b"}').metadata == {
        "version": 3,
        "modified": "2026-03-01",
    }


@pytest.mark.parametrize("value", [".nan", "-.inf", "0x" + "f" * 100])
def test_metadata_is_always_valid_json(value):
    metadata = read("a.md", f"---\na: {value}\n---\nText.").metadata
    assert json.loads(json.dumps(metadata, allow_nan=False)) == metadata
