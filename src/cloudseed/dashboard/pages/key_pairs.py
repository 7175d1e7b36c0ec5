"""Key pairs: the public keys that new servers let in."""

from __future__ import annotations

from urllib.parse import quote

from cloudseed.dashboard.html import el
from cloudseed.dashboard.layout import PREFIX, button, field, form, table
from cloudseed.dashboard.visit import Resource, Visit, part
from cloudseed.kernel.http.app import Response


class KeyPairs(Resource):
    """/dashboard/key_pairs"""

    async def get(self, visit: Visit, resp: Response, **names: str) -> None:
        keys = [item["keypair"] for item in await visit.find("compute", "/v2.1/os-keypairs", "keypairs")]
        visit.page(resp, "Key pairs", table(
            ("Name", "Type", "Fingerprint", ""),
            [(key["name"], key["type"], el("code", key["fingerprint"]),
              button(visit, f"/key_pairs/{quote(key['name'], safe='')}/delete", "Delete", danger=True))
             for key in keys], "There are no key pairs yet."),
            el("details", el("summary", "Import a public key"), form(
                visit, "/key_pairs", "Import", field("Name", "name", required=True, maxlength=255),
                el("label", el("span", "Public key"),
                   el("textarea", name="public_key", rows=4, required=True, placeholder="ssh-ed25519 AAAA...")))))

    async def post(self, visit: Visit, resp: Response, form: dict[str, str], **names: str) -> str:
        await visit.ask("compute", "POST", "/v2.1/os-keypairs", {"keypair": {
            "name": form.get("name", ""), "public_key": form.get("public_key", "").strip()}})
        return f"{PREFIX}/key_pairs"


class DeleteKeyPair(Resource):
    """/dashboard/key_pairs/{name}/delete"""

    async def post(self, visit: Visit, resp: Response, form: dict[str, str], **names: str) -> str:
        await visit.ask("compute", "DELETE", f"/v2.1/os-keypairs/{part(names['name'])}")
        return f"{PREFIX}/key_pairs"
