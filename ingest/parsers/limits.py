"""Resources that one file may use. A file that exceeds one is quarantined; the run continues."""

MAX_PARSE_SECONDS = 60  # of wall time, and of processor time
MAX_MEMORY_BYTES = 512 * 1024 * 1024
"""Address space of the parsing process; the interpreter and the libraries take about 60 MB."""
MAX_OPEN_FILES = 64  # at once, the libraries' own included

MAX_TEXT_CHARACTERS = 10_000_000  # of a document: about 4,000 pages
MAX_BLOCKS = 200_000  # paragraphs, headings, lists, tables and pieces of code of a document
MAX_DOCUMENT_PAGES = 5_000  # pages of a PDF, slides of a presentation
MAX_SHEET_CELLS = 5_000_000  # empty ones to the left of filled ones included
MAX_SHEET_ROWS = 1_048_576  # as many as Excel has
MAX_CHAPTERS = 5_000  # of an e-book

# Office files, e-books and OpenDocument files are ZIP archives.
MAX_UNPACKED_BYTES = 300_000_000
MAX_COMPRESSION_RATIO = 200  # unpacked size by size, checked from MIN_RATIO_CHECK_BYTES on
MIN_RATIO_CHECK_BYTES = 20_000_000
MAX_ARCHIVE_FILES = 10_000

MAX_MAIL_BOUNDARY_LINES = 20_000  # lines that look like a border between parts
MAX_ATTACHMENTS = 100  # of a message, those of attached messages included
MAX_ATTACHMENT_DEPTH = 3  # messages within messages

MAX_OCR_PAGES = 50  # scanned pages of a file that are read
OCR_PAGE_TIMEOUT_SECONDS = 30
