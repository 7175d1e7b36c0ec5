"""What some rules of security ask of passwords: too many wrong ones lock an account, old ones do not come back.

Both are off by default, as upstream's are: settings `lockout_failure_attempts`, `lockout_duration_s` and
`unique_last_password_count`.
"""

from __future__ import annotations

import datetime

import sqlalchemy as sa

from cloudseed.kernel.db import Tx, utcnow
from cloudseed.keystone.directory import Record
from cloudseed.keystone.errors import Invalid, Unauthenticated
from cloudseed.keystone.models import login_failures, past_passwords
from cloudseed.keystone.state import Keystone


async def check_lockout(ks: Keystone, user: Record | None, right: bool) -> None:
    """After a password was verified: count a wrong one, forget the count after a right one.

    Raises Unauthenticated while the account is locked, which says no more than a wrong password does.
    """
    if user is None or not ks.config.lockout_failure_attempts or user.options.get("ignore_lockout_failure_attempts"):
        return
    async with ks.db.read() as tx:
        row = await tx.first(sa.select(login_failures).where(login_failures.c.user_id == user.id))
    over = row is None or _is_over(ks, row.last_at)
    if row is not None and not over and row.attempts >= ks.config.lockout_failure_attempts:
        raise Unauthenticated(f"user {user.id} is locked out after {row.attempts} wrong passwords")
    if right and row is not None:
        async with ks.db.write() as tx:
            await unlock(tx, user.id)
    if not right:
        await _count(ks, user.id, afresh=over and row is not None and row.attempts >=
                     ks.config.lockout_failure_attempts)


def _is_over(ks: Keystone, last_at: datetime.datetime) -> bool:
    lasts_s = ks.config.lockout_duration_s
    return lasts_s > 0 and last_at + datetime.timedelta(seconds=lasts_s) <= utcnow()


async def _count(ks: Keystone, user_id: str, *, afresh: bool) -> None:
    """One more wrong password; `afresh`: the first one since a lock was over."""
    counted = sa.update(login_failures).where(login_failures.c.user_id == user_id).values(
        attempts=1 if afresh else login_failures.c.attempts + 1, last_at=utcnow())
    try:
        async with ks.db.write() as tx:
            if not (await tx.execute(counted)).rowcount:
                await tx.execute(sa.insert(login_failures).values(user_id=user_id, attempts=1, last_at=utcnow()))
    except sa.exc.IntegrityError:  # another one was first, or the user is gone
        async with ks.db.write() as tx:
            await tx.execute(counted)


async def unlock(tx: Tx, user_id: str) -> None:
    await tx.execute(sa.delete(login_failures).where(login_failures.c.user_id == user_id))


async def check_history(ks: Keystone, user: Record, new: str) -> None:
    """Refuse a password that is one of the user's last.  Raises Invalid, with upstream's text."""
    kept = ks.config.unique_last_password_count
    if not kept:
        return
    async with ks.db.read() as tx:
        rows = await tx.all(sa.select(past_passwords.c.password_hash).where(past_passwords.c.user_id == user.id)
                            .order_by(past_passwords.c.id.desc()).limit(kept - 1))
    for hashed in (user.password_hash, *(row.password_hash for row in rows)):
        if hashed is not None and await ks.passwords.verify(new, hashed):
            raise Invalid("Password validation error: The new password cannot be identical to a previous password. "
                          f"The total number which includes the new password must be unique is {kept}.")


async def keep(ks: Keystone, tx: Tx, user: Record) -> None:
    """Before a user gets another password: keep the hash of this one for as long as it may not come back."""
    kept = ks.config.unique_last_password_count - 1
    if kept < 1 or user.password_hash is None:
        return
    await tx.execute(sa.insert(past_passwords).values(user_id=user.id, password_hash=user.password_hash))
    newest = sa.select(past_passwords.c.id).where(past_passwords.c.user_id == user.id).order_by(
        past_passwords.c.id.desc()).limit(kept)
    recent = [row.id for row in await tx.all(newest)]
    await tx.execute(sa.delete(past_passwords).where(past_passwords.c.user_id == user.id,
                                                     past_passwords.c.id.not_in(recent)))
