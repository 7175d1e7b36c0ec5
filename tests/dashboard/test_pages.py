"""The dashboard as a visitor without scripts uses it."""

from __future__ import annotations

import asyncio
import re
import time
from urllib.parse import quote

import pytest

from tests.dashboard.visitor import Visitor
from tests.support.cloud import Cloud
from tests.support.routes import routes_of

pytestmark = pytest.mark.asyncio(loop_scope="module")
PAGES = ("", "instances", "images", "networks", "volumes", "key_pairs", "flows", "flows/last", "projects")


async def admin(cloud: Cloud) -> Visitor:
    visitor = await Visitor(cloud).log_in("admin", cloud.env.secrets.passwords["admin"])
    assert visitor.status == 200 and "Overview" in visitor.page
    return visitor


async def member(cloud: Cloud, name: str) -> Visitor:
    """A visitor with a project of that name."""
    await cloud.new_project(name)
    visitor = await Visitor(cloud).log_in(name, "secret")
    assert "Overview" in visitor.page
    return visitor


async def launched(visitor: Visitor, name: str) -> str:
    """A server from the form; its id."""
    await visitor.go("/dashboard/instances")
    form = visitor.form("/dashboard/instances")
    image = re.search(r'value="([0-9a-f-]{36})">tiny', visitor.page)
    network = re.search(r'value="([0-9a-f-]{36})">lan', visitor.page)
    assert image and network and "csrfmiddlewaretoken" in form.fields
    await visitor.submit("/dashboard/instances", name=name, flavor="c1", image=image[1], network=network[1], key="")
    until = time.monotonic() + 15
    while "ACTIVE" not in visitor.page:
        assert time.monotonic() < until, visitor.page
        await asyncio.sleep(0.05)
        await visitor.go("/dashboard/instances")
    found = re.search(r"/instances/([0-9a-f-]{36})/stop", visitor.page)
    assert found
    return found[1]


async def test_the_login_page_is_what_tempest_reads(cloud: Cloud) -> None:
    visitor = await Visitor(cloud).go("/dashboard/")
    assert visitor.status == 200 and "id_username" in visitor.page
    (form,) = visitor.forms()
    assert form.action == "/dashboard/auth/login"
    assert set(form.fields) == {"csrfmiddlewaretoken", "region", "username", "password", "domain"}
    assert form.fields["region"] == "RegionOne" and form.fields["domain"] == "Default"


@pytest.mark.parametrize(("user", "password"), [("admin", "wrong"), ("nobody", "secret"), ("", ""), ("a" * 3000, "x"),
                                                ("<script>", "'\"><script>"), ("\x00", "\x00")])
async def test_wrong_passwords_are_told_and_nothing_more(cloud: Cloud, user: str, password: str) -> None:
    visitor = await Visitor(cloud).log_in(user, password)
    assert visitor.status == 401 and "wrong" in visitor.page and "<script>" not in visitor.page
    assert all(not name.startswith("cloudseed_") for name in visitor.cookies)
    assert "id_username" in (await visitor.go("/dashboard/instances")).page


async def test_strangers_see_the_login_alone(cloud: Cloud) -> None:
    (mount,) = cloud.service("dashboard").mounts
    for route in routes_of(mount.app):
        path = "/dashboard" + re.sub(r"{\w+}", "x", route.path)
        if path.startswith(("/dashboard/static", "/dashboard/auth/login")):
            continue
        for method, fields in (("GET", None), ("POST", {"csrfmiddlewaretoken": "x"})):
            answer = await Visitor(cloud).send(method, path, fields)
            assert answer.status == (401 if path.endswith("logout") else 303), (method, path, answer)


async def test_every_page_opens(cloud: Cloud) -> None:
    visitor = await admin(cloud)
    for name in PAGES:
        await visitor.go(f"/dashboard/{name}")
        assert visitor.status == 200 and "<h1>" in visitor.page and "Log out" in visitor.page, (name, visitor.page)
        policy = visitor.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy
        assert visitor.headers["cache-control"] == "no-store"
        assert " style=" not in visitor.page and "javascript:" not in visitor.page and " on" not in re.sub(
            r">[^<]*<", "><", visitor.page).lower().replace(' content="', "")


async def test_a_servers_life(cloud: Cloud) -> None:
    visitor = await member(cloud, "life")
    server_id = await launched(visitor, "mine <b>bold</b>")
    assert "mine &lt;b&gt;bold" in visitor.page and "<b>bold" not in visitor.page
    await visitor.go("/dashboard/networks")
    assert "mine &lt;b&gt;" in visitor.page and "<svg" in visitor.page and "10.9.0.0/24" in visitor.page
    await visitor.go("/dashboard/instances")
    form = visitor.form(f"{server_id}/console")
    answer = await visitor.send("POST", form.action, form.fields)
    assert answer.status == 303 and answer.headers["location"].startswith("/console/vnc_lite.html?path=console")
    await visitor.submit(f"{server_id}/stop")
    until = time.monotonic() + 15
    while "SHUTOFF" not in (await visitor.go("/dashboard/instances")).page:
        assert time.monotonic() < until
        await asyncio.sleep(0.05)
    await visitor.submit(f"{server_id}/delete")
    while server_id in (await visitor.go("/dashboard/instances")).page:
        assert time.monotonic() < until
        await asyncio.sleep(0.05)


async def test_key_pairs(cloud: Cloud) -> None:
    visitor = await member(cloud, "keys")
    await visitor.go("/dashboard/key_pairs")
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE0Y5Yp3Jf6tTqfGxSFo3o9zs8nhS3XDdKqX1dQ6YdZJ me"
    await visitor.submit("/dashboard/key_pairs", name="laptop", public_key=key)
    assert visitor.status == 200 and "laptop" in visitor.page
    await visitor.submit("/dashboard/key_pairs/laptop/delete")
    assert "There are no key pairs yet." in visitor.page
    await visitor.submit("/dashboard/key_pairs", name="bad", public_key="no key")
    assert visitor.status == 400 and "Bad Request" in visitor.page


async def test_log_out_revokes_the_token(cloud: Cloud) -> None:
    visitor = await admin(cloud)
    kept = dict(visitor.cookies)
    await visitor.submit("/auth/logout")
    assert "id_username" in visitor.page
    visitor.cookies = kept  # as a thief would
    assert "id_username" in (await visitor.go("/dashboard/")).page


@pytest.mark.parametrize("cookie", ["", "x", "gAAAAA" + "A" * 200, "A" * 20000, "\xff", "null"])
async def test_no_cookie_but_ours_opens(cloud: Cloud, cookie: str) -> None:
    visitor = Visitor(cloud)
    visitor.cookies["cloudseed_8080"] = cookie
    assert "id_username" in (await visitor.go("/dashboard/instances")).page


async def test_forms_of_other_sites_are_refused(cloud: Cloud) -> None:
    visitor = await member(cloud, "forms")
    other = await admin(cloud)
    await visitor.go("/dashboard/key_pairs")
    await other.go("/dashboard/key_pairs")
    form = visitor.form("/dashboard/key_pairs")
    for token in ("", "x", other.form("/dashboard/key_pairs").fields["csrfmiddlewaretoken"]):
        refused = await visitor.send("POST", form.action, {**form.fields, "csrfmiddlewaretoken": token, "name": "x"})
        assert refused.status == 403
    refused = await visitor.send("POST", form.action, form.fields, {"origin": "http://evil.example"})
    assert refused.status == 403
    # a login that another site prepared (with its own account) is none either
    fresh = Visitor(cloud)
    mine = await Visitor(cloud).go("/dashboard/")
    fields = {**mine.forms()[0].fields, "username": "forms", "password": "secret"}
    assert (await fresh.send("POST", "/dashboard/auth/login", fields)).status == 403


async def test_a_user_enters_his_other_projects_and_no_others(cloud: Cloud) -> None:
    visitor = await member(cloud, "first")
    client, user = await cloud.login("admin"), await cloud.new_project("second")
    me = (await client.get("/identity/v3/users?name=first")).json()["users"][0]["id"]
    role = (await client.get("/identity/v3/roles?name=member")).json()["roles"][0]["id"]
    path = f"/identity/v3/projects/{user.project_id}/users/{me}/roles/{role}"
    assert (await client.put(path)).status == 204
    await visitor.go("/dashboard/projects")
    await visitor.submit("/dashboard/projects", project=user.project_id)
    assert ">second</a>" in visitor.page
    await visitor.go("/dashboard/projects")
    foreign = (await client.get("/identity/v3/projects?name=admin")).json()["projects"][0]["id"]
    form = visitor.form("/dashboard/projects")
    refused = await visitor.send("POST", form.action, {**form.fields, "project": foreign})
    assert refused.status in (303, 401) and "set-cookie" not in refused.headers


async def test_flows_are_seen_by_their_own_project_and_admins(cloud: Cloud) -> None:
    visitor, stranger, boss = await member(cloud, "flowing"), await member(cloud, "nosy"), await admin(cloud)
    await launched(visitor, "seen")
    await visitor.go("/dashboard/flows")
    found = re.search(r'href="(/dashboard/flows/[0-9a-f]{32})">POST /dashboard/instances<', visitor.page)
    assert found, visitor.page
    for who in (visitor, boss):
        await who.go(found[1])
        assert who.status == 200 and "browser->&gt;dashboard" not in who.page
        assert "dashboard-&gt;&gt;nova-api: POST /compute/v2.1/servers" in who.page
        assert "Step 3: Send API request to nova-api" in who.page
        drawn = await who.send("GET", f"{found[1]}/picture.svg")
        assert drawn.headers["content-type"] == "image/svg+xml" and b"nova-conductor" in drawn.body
        assert (await who.send("GET", f"{found[1]}/state")).status == 200
    for path in (found[1], f"{found[1]}/picture.svg", f"{found[1]}/state"):
        assert (await stranger.send("GET", path)).status == 404
    await stranger.go("/dashboard/flows")
    assert found[1] not in stranger.page
    await stranger.go("/dashboard/flows/last")
    assert "POST /compute/v2.1/servers" not in stranger.page


async def test_another_projects_servers_are_out_of_reach(cloud: Cloud) -> None:
    owner, stranger = await member(cloud, "owning"), await member(cloud, "reaching")
    server_id = await launched(owner, "guarded")
    await stranger.go("/dashboard/key_pairs")
    token = stranger.form("/dashboard/key_pairs").fields["csrfmiddlewaretoken"]
    for action in ("delete", "stop", "console"):
        answer = await stranger.send("POST", f"/dashboard/instances/{server_id}/{action}",
                                     {"csrfmiddlewaretoken": token})
        assert answer.status == 404
    assert "guarded" in (await owner.go("/dashboard/instances")).page


@pytest.mark.parametrize("path", ["instances/..%2F..%2Fidentity/delete", "instances/../delete", "flows/../../x",
                                  "instances/%00/delete", "flows/" + "a" * 3000, "flows/%25", "static/../service.py",
                                  "static/", "nothing", "images/..%2f/delete", "flows/0000/picture.svg"])
async def test_nonsense_is_not_found(cloud: Cloud, path: str) -> None:
    visitor = await admin(cloud)
    await visitor.go("/dashboard/key_pairs")
    token = visitor.form("/dashboard/key_pairs").fields["csrfmiddlewaretoken"]
    for method, fields in (("GET", None), ("POST", {"csrfmiddlewaretoken": token})):
        for written in (path, quote(path)):
            answer = await visitor.send(method, f"/dashboard/{written}", fields)
            assert answer.status in (404, 405, 403), (method, written, answer)


async def test_looking_at_pages_makes_no_flows(cloud: Cloud) -> None:
    visitor = await member(cloud, "looking")
    before = (await visitor.go("/dashboard/flows")).page.count("<tr>")
    for _ in range(5):
        await visitor.go("/dashboard/instances")
    assert (await visitor.go("/dashboard/flows")).page.count("<tr>") == before


@pytest.mark.parametrize(("path", "fields"), [
    ("instances", {"name": "\x00", "flavor": "c1", "image": "x", "network": ""}),
    ("instances", {"name": "n" * 300, "flavor": "../..", "image": "", "network": "\x00", "key": "nobody's"}),
    ("instances", {}), ("key_pairs", {"name": "\x00/..", "public_key": "\ud83d"}), ("key_pairs", {}),
    ("volumes", {"name": "v", "size": "many"}), ("volumes", {"size": "-1"}), ("volumes", {"size": "9" * 400}),
    ("volumes", {"size": "\u0663"}), ("projects", {}), ("projects", {"project": "../../x"})])
async def test_no_form_makes_a_bug(cloud: Cloud, path: str, fields: dict[str, str]) -> None:
    visitor = await admin(cloud)
    await visitor.go(f"/dashboard/{path}")
    token = visitor.forms()[0].fields["csrfmiddlewaretoken"]
    body = {key: value.encode("utf-8", "surrogatepass").decode("utf-8", "replace") for key, value in fields.items()}
    answer = await visitor.send("POST", f"/dashboard/{path}", {**body, "csrfmiddlewaretoken": token})
    assert answer.status in (303, 400, 401, 403, 404, 409), (answer.status, answer.body)


async def test_a_form_is_limited(cloud: Cloud) -> None:
    visitor = await admin(cloud)
    await visitor.go("/dashboard/key_pairs")
    token = visitor.forms()[0].fields["csrfmiddlewaretoken"]
    answer = await visitor.send("POST", "/dashboard/key_pairs", {"csrfmiddlewaretoken": token, "name": "x" * 200_000})
    assert answer.status == 413
