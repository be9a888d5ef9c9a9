"""What a file may cost, all of it in one place. Beyond these it is put aside with its reason, and the run goes on."""

MAX_PARSE_SECONDS = 60
"""Of wall time, and of processor time, for one file."""
MAX_MEMORY_BYTES = 512 * 1024 * 1024
"""Bytes of address space of the process that reads; the interpreter and the libraries take about 60 MB of it."""
MAX_OPEN_FILES = 64
"""At once, the libraries' own included."""

MAX_TEXT_CHARACTERS = 10_000_000
"""Characters of a document's text: about 4,000 pages."""
MAX_BLOCKS = 200_000
"""Paragraphs, headings, lists, tables and pieces of code of a document."""
MAX_DOCUMENT_PAGES = 5_000
"""Pages of a PDF, slides of a presentation."""
MAX_SHEET_CELLS = 5_000_000
"""Cells of a sheet, empty ones to the left of filled ones included."""
MAX_SHEET_ROWS = 1_048_576
"""Rows of a sheet, as many as Excel has."""
MAX_CHAPTERS = 5_000
"""Chapters of an e-book."""

MAX_UNPACKED_BYTES = 300_000_000
"""Bytes that an Office file, an e-book or an OpenDocument file unpacks to."""
MAX_COMPRESSION_RATIO = 200
"""Times its size that such a file may unpack to, once that is more than `RATIO_FROM` bytes."""
MIN_RATIO_CHECK_BYTES = 20_000_000
MAX_ARCHIVE_FILES = 10_000
"""Files inside such a file."""

MAX_MAIL_BOUNDARY_LINES = 20_000
"""Lines of a message that begin as a border between its parts does."""
MAX_ATTACHMENTS = 100
"""Attachments of a message that are read, those of attached messages included."""
MAX_ATTACHMENT_DEPTH = 3
"""Messages within messages."""

MAX_OCR_PAGES = 50
"""Scanned pages of a file that are read."""
OCR_PAGE_TIMEOUT_SECONDS = 30
"""For one page."""
