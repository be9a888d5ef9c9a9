"""What a file may cost, all of it in one place. Beyond these it is put aside with its reason, and the run goes on."""

SECONDS = 60
"""Of wall time, and of processor time, for one file."""
MEMORY = 512 * 1024 * 1024
"""Bytes of address space of the process that reads; the interpreter and the libraries take about 60 MB of it."""
OPEN_FILES = 64
"""At once, the libraries' own included."""

TEXT = 10_000_000
"""Characters of a document's text: about 4,000 pages."""
BLOCKS = 200_000
"""Paragraphs, headings, lists, tables and pieces of code of a document."""
PAGES = 5_000
"""Pages of a PDF, slides of a presentation."""
CELLS = 5_000_000
"""Cells of a sheet, empty ones to the left of filled ones included."""
ROWS = 1_048_576
"""Rows of a sheet, as many as Excel has."""
CHAPTERS = 5_000
"""Chapters of an e-book."""

UNPACKED = 300_000_000
"""Bytes that an Office file, an e-book or an OpenDocument file unpacks to."""
RATIO = 200
"""Times its size that such a file may unpack to, once that is more than `RATIO_FROM` bytes."""
RATIO_FROM = 20_000_000
MEMBERS = 10_000
"""Files inside such a file."""

MAIL_PARTS = 20_000
"""Lines of a message that begin as a border between its parts does."""
ATTACHMENTS = 100
"""Attachments of a message that are read, those of attached messages included."""
ATTACHMENT_DEPTH = 3
"""Messages within messages."""

OCR_PAGES = 50
"""Scanned pages of a file that are read."""
OCR_SECONDS = 30
"""For one page."""
