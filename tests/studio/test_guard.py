"""Who is let in: with the token, from the studio's own pages, with little; and what a page may do."""

import pytest
from starlette.testclient import TestClient

from mctsdialog.studio import studio_app
from mctsdialog.studio._guard import MAX_BODY, Guard, is_loopback, known_hosts

QUEUE = {"reviewer": "Ana"}
PATHS = ["/", "/review", "/static/studio.js", "/api/home", "/api/review/state"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("query", ["", "?token=", "?token=wrong", "?token=t0ken-of-the-test"])
def test_without_the_token_nothing_is_given(desk, kit, path, query):
    stranger = TestClient(studio_app(desk, token=kit.TOKEN), base_url=f"http://{kit.HOST}")
    answer = stranger.get(path + query)
    assert answer.status_code == 401
    assert "printed" in answer.text
    assert stranger.post("/api/review/queue", json=QUEUE, headers={"origin": f"http://{kit.HOST}"}).status_code == 401
    wrong = {"cookie": "mctsdialog_studio=x; mctsdialog_studio_00000000=y; =;;"}
    assert stranger.get(path, headers=wrong).status_code == 401


def test_the_token_lets_in_and_goes_from_the_address(desk, kit):
    visitor = TestClient(studio_app(desk, token=kit.TOKEN), base_url=f"http://{kit.HOST}", follow_redirects=False)
    answer = visitor.get("/review", params={"token": kit.TOKEN})
    assert (answer.status_code, answer.headers["location"]) == (303, "/review")
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    assert visitor.get("/review").status_code == 200


@pytest.mark.parametrize(
    "changed",
    [
        {"origin": "http://evil.example"},
        {"origin": "http://127.0.0.1:9999"},
        {"origin": "null"},
        {"origin": ""},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"content-type": "text/plain"},
        {"content-type": "application/x-www-form-urlencoded"},
    ],
)
def test_another_pages_requests_are_refused(client, changed):
    headers = {"content-type": "application/json", **changed}
    answer = client.post("/api/review/queue", content=b'{"reviewer": "Ana"}', headers=headers)
    assert answer.status_code == 403
    assert client.post("/api/review/queue", json=QUEUE).status_code == 200


def test_another_page_cannot_read_what_pages_ask_for(client):
    assert client.get("/api/home", headers={"sec-fetch-site": "cross-site"}).status_code == 403
    assert client.get("/api/home").headers["cross-origin-resource-policy"] == "same-origin"


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8765", "127.0.0.1.evil.example", "10.0.0.1", "[::2]:1", "x" * 500]
)
def test_a_name_that_somebody_pointed_here_is_refused(client, host):
    assert client.get("/api/home", headers={"host": host}).status_code == 421


@pytest.mark.parametrize("host", ["localhost", "localhost:9", "127.0.0.1", "LOCALHOST:80", "[::1]:8765"])
def test_every_name_and_port_of_this_machine_will_do_as_a_tunnel_has_them(client, host):
    assert client.get("/api/home", headers={"host": host}).status_code == 200


def test_on_the_network_addresses_in_figures_will_do():
    assert is_loopback("127.0.0.1")
    assert is_loopback("::1")
    assert not is_loopback("0.0.0.0")
    assert "box.example" in known_hosts("box.example")
    guard = Guard(None, "t", known_hosts("0.0.0.0"), any_address=True)
    assert guard._is_known("192.168.0.9:8765")
    assert guard._is_known("[fe80::1]:1")
    assert not guard._is_known("evil.example")


def test_large_bodies_are_refused_whatever_they_say_of_their_length(client):
    headers = {"content-type": "application/json"}
    large = b'{"reviewer": "' + b"x" * MAX_BODY + b'"}'
    assert client.post("/api/review/queue", content=large, headers=headers).status_code == 413
    pieces = (large[at : at + 1000] for at in range(0, len(large), 1000))
    assert client.post("/api/review/queue", content=pieces, headers=headers).status_code == 413
    for length in ("-1", "x", "9" * 30):
        said = {**headers, "content-length": length}
        assert client.post("/api/review/queue", content=b"{}", headers=said).status_code == 413


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_other_methods_are_refused(client, method):
    assert client.request(method, "/api/home").status_code == 405


@pytest.mark.parametrize(
    "name",
    [
        "../_app.py",
        "..%2f_app.py",
        "%2e%2e/%2e%2e/cli/_main.py",
        "..%5c_app.py",
        "/etc/passwd",
        "review.html%00",
        ".",
        "",
    ],
)
def test_there_is_no_way_out_of_the_folder_of_pages(client, name):
    answer = client.get(f"/static/{name}")
    assert answer.status_code in (404, 405)
    assert b"import" not in answer.content


@pytest.mark.parametrize("path", PATHS)
def test_every_answer_has_a_strict_policy(client, path):
    headers = client.get(path).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-store"


def test_pages_hold_no_script_or_style_of_their_own(client):
    for path in ("/", "/review"):
        text = client.get(path).text
        assert "style=" not in text
        assert "<style" not in text
        assert " on" not in text.replace(" on ", "")
        assert text.count("<script") == text.count('<script type="module" src="/static/')
