"""Exit 0 when the service in this container is ready."""

import os
import sys
import urllib.error
import urllib.request

try:
    urllib.request.urlopen(f"http://127.0.0.1:{os.environ['ORDERLOOP_PORT']}/readyz", timeout=2)
except (urllib.error.URLError, OSError) as error:
    sys.exit(f"not ready: {error}")
