"""Health check of a container: exit 0 if the address answers with success, else 1 with the reason.

python ops/healthcheck.py http://127.0.0.1:8080/readyz
"""

import sys
import urllib.request

REQUEST_TIMEOUT_SECONDS = 4

address = sys.argv[1]  # of our own service

try:
    urllib.request.urlopen(address, timeout=REQUEST_TIMEOUT_SECONDS).close()  # noqa: S310
except OSError as error:  # base class of urllib's errors and of timeouts
    sys.exit(f"{address}: {error}")
