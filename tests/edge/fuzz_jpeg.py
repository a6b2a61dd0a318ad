"""Pictures that atheris makes of real ones, each decoded in this process, whose coverage leads it, and by a service.

python fuzz_jpeg.py ADDRESS CAMERA TOKEN CORPUS -runs=20000 -seed=7
"""

from __future__ import annotations

import http.client
import sys
from collections import Counter
from urllib.parse import urlsplit

import atheris

with atheris.instrument_imports(include=["shelfgap_edge"]):
    from shelfgap_edge.errors import FrameError
    from shelfgap_edge.image import decode_jpeg, read_jpeg_size

MAX_PIXELS, MAX_BYTES = 1_000_000, 262_144  # as the service is told
statuses: Counter[int] = Counter()


def decodes(data: bytes) -> bool:
    try:
        read_jpeg_size(data, max_pixels=MAX_PIXELS, max_body_bytes=MAX_BYTES)
        frame = decode_jpeg(data, (320, 320), max_pixels=MAX_PIXELS)
    except FrameError:
        return False
    assert frame.pixels.ndim == 3, "not rows, columns and channels"
    return True


def main() -> None:
    address, camera, token, *options = sys.argv[1:]
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=300)
    headers = {"Content-Type": "image/jpeg", "Authorization": f"Bearer {token}"}

    def one(data: bytes) -> None:
        connection.request("POST", f"/v1/cameras/{camera}/frames?wait=1", data, headers)
        response = connection.getresponse()
        response.read()
        if response.getheader("connection") == "close":
            connection.close()
        statuses[response.status] += 1
        assert response.status in ((200,) if decodes(data) else (413, 422)), response.status
        if sum(statuses.values()) % 100 == 0:
            print(f"statuses {dict(statuses)}", flush=True)  # the fuzzer leaves without a last word

    atheris.Setup([sys.argv[0], *options], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
