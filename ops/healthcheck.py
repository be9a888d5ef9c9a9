"""A container's health check: exit 0 when the address answers with success, else 1 with the reason.

python ops/healthcheck.py http://127.0.0.1:8080/readyz
"""

import sys
import urllib.request

REQUEST_TIMEOUT_SECONDS = 4

try:
    urllib.request.urlopen(sys.argv[1], timeout=REQUEST_TIMEOUT_SECONDS).close()
except OSError as error:  # urllib's errors and time-outs are all of this kind
    sys.exit(f"{sys.argv[1]}: {error}")
