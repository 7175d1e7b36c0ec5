"""Signatures of EC2 and S3 requests (AWS signature versions 2 and 4), checked with the secret of an EC2 key.

Sources: AWS's public descriptions, "Signature Version 2 signing process" and "Create a signed AWS API request".
The S3 middleware sends the string to sign, so that only the key is derived here; EC2's sends the request.
"""

from __future__ import annotations

import base64
import binascii
import datetime
import hashlib
import hmac
import re
from collections.abc import Mapping
from urllib.parse import quote

from cloudseed.kernel.db import utcnow

MAX_AGE_S = 900  # of a signed request, keystone's auth_ttl of 15 minutes
_V4 = "AWS4-HMAC-SHA256"
_TERM = re.compile(r"Credential=[^/]+/(?P<scope>[^,\s]+),\s*SignedHeaders=(?P<headers>[^,\s]+),"
                   r"\s*Signature=(?P<sign>\w+)")


def _sha256(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


def _derived_key(secret: str, scope: list[str]) -> bytes:
    """Version 4's key for date/region/service/aws4_request."""
    key = f"AWS4{secret}".encode()
    for part in scope:
        key = _sha256(key, part)
    return key


def _same(wanted: str, given: str) -> bool:
    return hmac.compare_digest(wanted.encode(), given.encode())


def check_s3(secret: str, token: str, signature: str) -> bool:
    """`token`: the string to sign in URL-safe base64, as swift's s3api sends it."""
    try:
        text = base64.urlsafe_b64decode(token.encode()).decode()
    except (binascii.Error, ValueError):
        return False
    if text.startswith(_V4):
        lines = text.split("\n")
        if len(lines) != 4:
            return False
        return _same(_sha256(_derived_key(secret, lines[2].split("/")), text).hex(), signature)
    wanted = base64.b64encode(hmac.new(secret.encode(), text.encode(), hashlib.sha1).digest()).decode()
    return _same(wanted, signature)


def is_fresh(params: Mapping[str, str], headers: Mapping[str, str]) -> bool:
    """Whether the request was signed within the last minutes, and not in the future.  One without a time is not."""
    fields = {**{k.lower(): v for k, v in headers.items()}, **{k.lower(): v for k, v in params.items()}}
    text = fields.get("x-amz-date") or fields.get("timestamp") or fields.get("date") or ""
    for form in ("%Y%m%dT%H%M%SZ", "%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%M:%S.%fZ"):
        try:
            moment = datetime.datetime.strptime(text, form).replace(tzinfo=datetime.UTC)
        except ValueError:
            continue
        return abs((utcnow() - moment).total_seconds()) <= MAX_AGE_S
    return False


def _canonical_query(params: Mapping[str, str], without: str) -> str:
    return "&".join(f"{quote(key, safe='-_.~')}={quote(params[key], safe='-_.~')}"
                    for key in sorted(params) if key != without)


def check_ec2(secret: str, *, signature: str, host: str, verb: str, path: str, params: Mapping[str, str],
              headers: Mapping[str, str], body_hash: str) -> bool:
    """A signed EC2 request, as its middleware describes it.  Versions 2 and 4; older ones are not safe."""
    lower = {key.lower(): value for key, value in headers.items()}
    if lower.get("authorization", "").startswith(_V4) or params.get("X-Amz-Algorithm") == _V4:
        return _check_v4(secret, signature, verb, path, params, lower, body_hash)
    if params.get("SignatureVersion") != "2":
        return False
    digest = {"HmacSHA256": hashlib.sha256, "HmacSHA1": hashlib.sha1}.get(params.get("SignatureMethod", "HmacSHA256"))
    if digest is None:
        return False
    text = f"{verb}\n{host.lower()}\n{path}\n{_canonical_query(params, 'Signature')}"
    return _same(base64.b64encode(hmac.new(secret.encode(), text.encode(), digest).digest()).decode(), signature)


def _check_v4(secret: str, signature: str, verb: str, path: str, params: Mapping[str, str],
              headers: Mapping[str, str], body_hash: str) -> bool:
    match = _TERM.search(headers.get("authorization", ""))
    if match is not None:
        scope, signed, query = match["scope"].split("/"), match["headers"], ""
        if verb != "POST":
            query = _canonical_query(params, "Signature")
        if not _same(match["sign"], signature):
            return False
    else:
        scope = params.get("X-Amz-Credential", "").split("/")[1:]
        signed, query = params.get("X-Amz-SignedHeaders", ""), _canonical_query(params, "X-Amz-Signature")
    moment = headers.get("x-amz-date") or params.get("X-Amz-Date", "")
    names = sorted(signed.lower().split(";"))
    if len(scope) != 4 or not moment.startswith(scope[0]) or any(name not in headers for name in names):
        return False
    lines = "".join(f"{name}:{' '.join(headers[name].split())}\n" for name in names)
    request = f"{verb}\n{path}\n{query}\n{lines}\n{';'.join(names)}\n{body_hash}"
    text = f"{_V4}\n{moment}\n{'/'.join(scope)}\n{hashlib.sha256(request.encode()).hexdigest()}"
    return _same(_sha256(_derived_key(secret, scope), text).hex(), signature)
