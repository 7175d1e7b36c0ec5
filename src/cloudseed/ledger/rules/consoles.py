"""Nothing opens a console whose server is gone."""

from __future__ import annotations

from collections.abc import Iterator

from cloudseed.ledger.violations import Picture, Violation, held, rule


@rule
def console_tokens_end_with_their_server(picture: Picture) -> Iterator[Violation]:
    """A token that still lives names a server that exists."""
    servers = held(picture, "nova", "servers")
    if servers is None:
        return
    living = {server["id"] for server in servers}
    for token in held(picture, "nova", "console_tokens") or []:
        if token["expires_at"] > picture["taken_at"] and token["server_id"] not in living:
            yield Violation(
                "console-token-leaked", token["digest"],
                f"a token for the {token['kind']} console of server {token['server_id']}, which is gone",
                "it opens nothing and ends by itself within console_token_ttl_s; report it as a bug",
            )  # fmt: skip
