"""Who the browser is: his token, sealed in a cookie that only this cloud can open.

Nothing is kept here, so a restart logs nobody out; to log out revokes the token itself, so a stolen cookie is worth
nothing afterwards.  `csrf` is in every form and must come back with it: another site can make a browser send the
cookie (SameSite=Strict forbids even that), but cannot know what is in it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import time

import msgspec
from cryptography.fernet import Fernet, InvalidToken

from cloudseed.kernel.errors import Forbidden

CSRF_FIELD = "csrfmiddlewaretoken"  # as browsers' scripts and Tempest know it from Horizon
_LOGIN_S = 3600


class BadForm(Forbidden):
    template = "This form is too old, or comes from another site: load the page again and repeat."


class Session(msgspec.Struct, frozen=True):
    """What the cookie holds.  `expires_at`: the token's end, Unix time."""

    token: str
    expires_at: float
    csrf: str = msgspec.field(default_factory=lambda: secrets.token_urlsafe(18))

    def check(self, form: dict[str, str]) -> None:
        """Raise BadForm unless the form was made for this session."""
        if not hmac.compare_digest(form.get(CSRF_FIELD, "").encode(), self.csrf.encode()):
            raise BadForm()


class Seal:
    """Makes and opens cookies with a key of this cloud's own."""

    def __init__(self, secret: str) -> None:
        key = hashlib.blake2b(b"dashboard sessions", key=secret.encode()[:64], digest_size=32).digest()
        self._fernet = Fernet(base64.urlsafe_b64encode(key))
        self._key = key

    def close(self, session: Session) -> str:
        """The cookie's value."""
        return self._fernet.encrypt(msgspec.json.encode(session)).decode()

    def open(self, cookie: str | None) -> Session | None:
        """The session, or None when there is none, it is over, or the cookie is not ours."""
        if not cookie or len(cookie) > 8192:
            return None
        try:
            session = msgspec.json.decode(self._fernet.decrypt(cookie.encode()), type=Session)
        except (InvalidToken, msgspec.DecodeError, UnicodeEncodeError):
            return None
        return session if session.expires_at > time.time() else None

    def login_form(self, nonce: str, now: float | None = None) -> str:
        """What the login form carries, for a browser whose cookie holds `nonce`: there is no session yet."""
        at = str(int(time.time() if now is None else now))
        return f"{at}.{hmac.new(self._key, f'{at}.{nonce}'.encode(), 'sha256').hexdigest()}"

    def check_login(self, nonce: str, given: str) -> None:
        """Raise BadForm unless this browser got the form within the last hour."""
        at = given.partition(".")[0]
        fresh = at.isascii() and at.isdecimal() and len(at) < 12 and -60 < time.time() - int(at) < _LOGIN_S
        if not nonce or not fresh or not hmac.compare_digest(self.login_form(nonce, int(at)).encode(), given.encode()):
            raise BadForm()
