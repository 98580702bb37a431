"""The official client from PyPI, unchanged except for the base URL.

Every call, errors, paging, and names that need encoding.
"""

import sys
import urllib.parse
import urllib.request

from auth0.management import Auth0
from auth0.management.errors import BadRequestError, ForbiddenError, NotFoundError, UnauthorizedError

origin = sys.argv[1]
client = Auth0(base_url=origin + "/api/v2", token="root-root-root-root", max_retries=0)


def login(user):
    form = urllib.parse.urlencode({"user": user, "remember": "1"}).encode()
    request = urllib.request.Request(origin + "/login", form, {"Accept": "application/json", "User-Agent": "test/1"})
    return urllib.request.urlopen(request).headers["Set-Cookie"].split(";")[0]


def me(cookie):
    try:
        return urllib.request.urlopen(urllib.request.Request(origin + "/me", headers={"Cookie": cookie})).status
    except urllib.error.HTTPError as error:
        return error.code


def refused(kind, call):
    try:
        call()
    except kind as error:
        return error.body
    raise AssertionError(f"{kind} was expected")


settings = client.tenants.settings.get()
assert settings.session_lifetime == 168 and settings.session_cookie.mode == "persistent", settings
settings = client.tenants.settings.update(session_lifetime_in_minutes=90, idle_session_lifetime=1)
assert settings.session_lifetime == 1.5 and settings.idle_session_lifetime == 1, settings
settings = client.tenants.settings.update(
    session_cookie={"mode": "non-persistent"}, allowed_logout_urls=["https://*.example.com/"]
)
assert settings.session_cookie.mode == "non-persistent" and settings.session_lifetime == 1.5
assert settings.allowed_logout_urls == ["https://*.example.com/"]
some = client.tenants.settings.get(fields="session_lifetime", include_fields=True)
assert some.session_lifetime == 1.5 and some.idle_session_lifetime is None
settings = client.tenants.settings.update(friendly_name="Demo", flags={"enable_sso": True})
assert settings.friendly_name == "Demo" and settings.flags.enable_sso and settings.session_lifetime == 1.5, settings
error = refused(BadRequestError, lambda: client.tenants.settings.update(session_lifetime=0))
assert error["errorCode"] == "invalid_body" and error["statusCode"] == 400, error
refused(BadRequestError, lambda: client.tenants.settings.update(session_lifetime=1, session_lifetime_in_minutes=60))
client.tenants.settings.update(session_cookie={"mode": "persistent"}, session_lifetime=168, idle_session_lifetime=72)

user = "auth0|507f/1 \u00fc"
cookies = [login(user) for _ in range(5)]
sessions = list(client.users.sessions.list(user, take=2))
assert len(sessions) == 5 and {session.user_id for session in sessions} == {user}
assert list(client.users.sessions.list("nobody")) == []
one = client.sessions.get(sessions[0].id)
assert one.id == sessions[0].id and one.device.initial_user_agent == "test/1" and one.cookie.mode == "persistent"
assert one.expires_at > one.idle_expires_at > one.created_at
changed = client.sessions.update(one.id, session_metadata={"risk": "low"})
assert changed.session_metadata == {"risk": "low"} and changed.expires_at == one.expires_at
error = refused(BadRequestError, lambda: client.sessions.update(one.id, session_metadata={"k": "x" * 256}))
assert error["errorCode"] == "invalid_body"

client.sessions.revoke(sessions[0].id)
assert me(cookies[0]) == 401 and me(cookies[1]) == 200
error = refused(NotFoundError, lambda: client.sessions.get(sessions[0].id))
assert error["errorCode"] == "inexistent_session" and error["message"] == "The session does not exist."
refused(NotFoundError, lambda: client.sessions.revoke(sessions[0].id))
client.sessions.delete(sessions[0].id)
client.sessions.delete(sessions[1].id)
assert me(cookies[1]) == 401 and me(cookies[2]) == 200
client.users.sessions.delete(user)
assert [me(cookie) for cookie in cookies] == [401] * 5
assert list(client.users.sessions.list(user)) == []

stranger = Auth0(base_url=origin + "/api/v2", token="wrong", max_retries=0)
assert refused(UnauthorizedError, stranger.tenants.settings.get)["errorCode"] == "invalid_token"
reader = Auth0(base_url=origin + "/api/v2", token="reader-reader-reader", max_retries=0)
assert list(reader.users.sessions.list(user)) == []
error = refused(ForbiddenError, lambda: reader.users.sessions.delete(user))
assert error["message"] == "Insufficient scope, expected any of: delete:sessions", error
print("all as it should be")
