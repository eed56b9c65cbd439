"""The containers' health check: exit status 0 if the server would take a request now, else the reason and 1."""

import os
import sys
import urllib.error
import urllib.request

url = f"http://127.0.0.1:{os.environ.get('SYNPOSE_HTTP_PORT', '8000')}/readyz"
try:
    urllib.request.urlopen(url, timeout=4).close()
except urllib.error.HTTPError as error:
    sys.exit(f"{url}: {error.code} {error.read(500).decode(errors='replace')}")
except OSError as error:
    sys.exit(f"{url}: {error}")
