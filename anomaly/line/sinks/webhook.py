"""`https://...`: a POST of JSON per verdict, signed as standardwebhooks.com says: receivers have libraries for it.

Headers: `webhook-id` (the same when it is sent twice), `webhook-timestamp` (seconds since 1970) and, with
`#secret-file=FILE`, `webhook-signature`: "v1," and the HMAC-SHA256 of "id.timestamp.body" in base64.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from email.utils import parsedate_to_datetime
from typing import Any

from anomaly.errors import SteerAnomalyError
from anomaly.line.sinks.delivery import SinkDown, SinkRefused, secret_of, split, without_password

TIMEOUT = 10.0  # s
_LATER = (408, 425, 429)  # of the 4xx those that ask for another try


class WebhookSink:
    """Posts to one address; follows no redirects, trusts no certificate that the system does not."""

    newest_only = False

    def __init__(self, url: str) -> None:
        import httpx

        parts, settings = split(url)
        if not parts.hostname:
            raise SteerAnomalyError(f"expected https://HOST/PATH, got {without_password(url)}")
        self._url, self._key = parts.geturl(), _key(secret_of(settings))
        self._client = httpx.Client(timeout=TIMEOUT, follow_redirects=False)

    def deliver(self, message: dict[str, Any]) -> None:
        """Post it. Raises `SinkDown` for no answer, 5xx and 429, `SinkRefused` for any other answer that is not 2xx."""
        import httpx

        body = json.dumps(message, ensure_ascii=False, allow_nan=False).encode()
        headers = {"content-type": "application/json"} | signed(
            str(message["id"]), int(time.time()), body, self._key
        )
        try:
            answer = self._client.post(self._url, content=body, headers=headers)
        except httpx.HTTPError as error:
            raise SinkDown(f"no answer ({type(error).__name__}: {error})") from error
        if answer.status_code in _LATER or answer.status_code >= 500:
            raise SinkDown(f"answered {answer.status_code}", _wait(answer.headers.get("retry-after")))
        if not answer.is_success:
            raise SinkRefused(f"answered {answer.status_code}")

    def idle(self) -> None:
        """Nobody asks whether we are there."""

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


def signed(id: str, timestamp: int, body: bytes, key: bytes | None) -> dict[str, str]:
    """The headers of a message; without a key no signature."""
    headers = {"webhook-id": id, "webhook-timestamp": str(timestamp)}
    if key is not None:
        content = f"{id}.{timestamp}.".encode() + body
        digest = hmac.new(key, content, hashlib.sha256).digest()
        headers["webhook-signature"] = f"v1,{base64.b64encode(digest).decode()}"
    return headers


def _key(secret: str | None) -> bytes | None:
    if secret is None:
        return None
    if secret.startswith("whsec_"):
        try:
            return base64.b64decode(secret.removeprefix("whsec_"), validate=True)
        except ValueError as error:
            raise SteerAnomalyError(
                "expected base64 after whsec_ in the secret's file; write any other secret without whsec_"
            ) from error
    return secret.encode()


def _wait(retry_after: str | None) -> float | None:
    """Seconds of a `Retry-After`: a number or a date."""
    if retry_after is None:
        return None
    if retry_after.strip().isdigit():
        return float(retry_after)
    try:
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - time.time())
    except ValueError:
        return None
