"""Values of documents and of filters, drawn from one list, so that they meet."""

from hypothesis import strategies as st

from retrieval.filters import FIELDS, METADATA_PREFIX

HOSTILE = (
    "x') OR 1=1 --",
    "'; drop table document; --",
    '"quoted"',
    "100%",
    "%(tenant)s",
    "%s",
    "{vectors}",
    "{}",
    "\\",
    "$1",
    "$$x$$",
    "E'\\047'",
    "line\nbreak",
    "naïve café",
    "Ωmega",
    "日本語",
    "🦦",
    "\u202eright to left",
    "a_b",
    "\x7f",
)
TEXTS = (
    "",
    "a",
    "A",
    "ab",
    "abc",
    "b",
    "B",
    "en",
    "de",
    "5",
    "5.0",
    "true",
    "null",
    "[]",
    *HOSTILE,
)
NUMBERS = (0, -1, 1, 5, 5.0, 0.1, 0.30000000000000004, 1e20, -2.5, 2**53 + 1, 2**62, 1e-9)
DATES = (
    "2024-02-29",
    "2024-03-01",
    "2024-03-01T00:00:00Z",
    "2024-03-01T09:30",
    "2024-03-01T09:30:00.000001",
    "2024-03-01T23:30:00-02:00",
    "2024-03-02 01:00:00+14:00",
    "1999-12-31",
    "9998-12-31",
)
NOT_DATES = (
    "2024-02-30",
    "2024-13-01",
    "2024-3-1",
    "20240301",
    "2024-03-01T25:00",
    "0000-01-01",
    "2024-03-01T10:00:60Z",
    "now",
)
KEYS = ("a", "b", "tags", "it's", 'say "x"', "{0}", "%s", "a.b", "日本")
scalars = st.sampled_from((*TEXTS, *NUMBERS, *DATES, *NOT_DATES, True, False))
texts = st.sampled_from((*TEXTS, *DATES)) | st.text(
    st.characters(exclude_characters="\x00İ", exclude_categories=("Cs", "Cn")), max_size=3
)
metadata_fields = st.sampled_from([METADATA_PREFIX + key for key in KEYS])
any_field = st.sampled_from([*FIELDS]) | metadata_fields
