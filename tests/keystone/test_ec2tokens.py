"""Signed EC2 and S3 requests become tokens, for services that ask."""

from __future__ import annotations

import base64
import datetime
import hashlib
import hmac
from typing import Any

from tests.keystone.conftest import V3, validate
from tests.support.cloud import Answer, Client, Cloud


async def _key(me: Client) -> dict[str, str]:
    answer = await me.post(f"{V3}/users/{me.user_id}/credentials/OS-EC2", {"tenant_id": me.project_id})
    made: dict[str, str] = answer.json()["credential"]
    return made


async def _s3(who: Client, key: dict[str, str], text: str, signature: str) -> Answer:
    token = base64.urlsafe_b64encode(text.encode()).decode()
    return await who.post(
        f"{V3}/s3tokens", {"credentials": {"access": key["access"], "signature": signature, "token": token}}
    )


def _v4(secret: str, text: str) -> str:
    """The example of AWS's own description, step by step."""
    key = ("AWS4" + secret).encode()
    for part in ("20300101", "us-east-1", "s3", "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


async def test_s3_signatures(cloud: Cloud, admin: Client) -> None:
    me = await cloud.new_project("demo")
    swift = await cloud.login("swift", project="service")
    key = await _key(me)
    text = "GET\n\n\nMon, 01 Jan 2030 00:00:00 GMT\n/bucket"
    right = base64.b64encode(hmac.new(key["secret"].encode(), text.encode(), hashlib.sha1).digest()).decode()
    answer = await _s3(swift, key, text, right)
    assert answer.status == 200 and answer.json()["token"]["project"]["id"] == me.project_id
    assert (await validate(admin, answer.headers["x-subject-token"])).json()["token"]["user"]["id"] == me.user_id
    assert (await _s3(swift, key, text + "x", right)).status == 401
    assert (await _s3(swift, {"access": "unknown"}, text, right)).status == 401
    assert (await _s3(me, key, text, right)).status == 403  # a signature alone is worth no token
    modern = "AWS4-HMAC-SHA256\n20300101T000000Z\n20300101/us-east-1/s3/aws4_request\n" + "0" * 64
    assert (await _s3(swift, key, modern, _v4(key["secret"], modern))).status == 200
    assert (await _s3(swift, key, modern, _v4("other", modern))).status == 401


async def test_ec2_signatures(cloud: Cloud) -> None:
    me = await cloud.new_project("demo")
    nova = await cloud.login("nova", project="service")
    key = await _key(me)

    def body(age_s: int = 0, **change: Any) -> dict[str, Any]:
        at = datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=age_s)
        params = {
            "AWSAccessKeyId": key["access"],
            "Action": "Do It",
            "SignatureMethod": "HmacSHA256",
            "SignatureVersion": "2",
            "Timestamp": at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
        query = "&".join(f"{k}={v.replace(' ', '%20').replace(':', '%3A')}" for k, v in sorted(params.items()))
        text = f"GET\nexample.org\n/services/Cloud\n{query}"
        signature = base64.b64encode(hmac.new(key["secret"].encode(), text.encode(), hashlib.sha256).digest())
        return {
            "ec2Credentials": {
                "access": key["access"],
                "signature": signature.decode(),
                "host": "Example.org",
                "verb": "GET",
                "path": "/services/Cloud",
                "params": params,
                **change,
            }
        }

    answer = await nova.post(f"{V3}/ec2tokens", body())
    assert answer.status == 200 and answer.json()["token"]["methods"] == ["ec2credential"]
    assert (await nova.post(f"{V3}/ec2tokens", body(age_s=3600))).status == 401
    assert (await nova.post(f"{V3}/ec2tokens", body(verb="DELETE"))).status == 401
    assert (await nova.post(f"{V3}/ec2tokens", body(signature="x"))).status == 401
    assert (await nova.post(f"{V3}/ec2tokens", {})).status == 400
    assert (await me.post(f"{V3}/ec2tokens", body())).status == 403
    assert (await cloud.anonymous().post(f"{V3}/ec2tokens", body())).status == 401
