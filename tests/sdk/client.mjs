// The official client from npm, unchanged except for the base URL: every call, errors, paging, and
// names that need encoding.

import assert from 'node:assert/strict';
import { createRequire } from 'node:module';

const [origin, modules] = process.argv.slice(2);
const { ManagementClient } = createRequire(`${modules}/`)('auth0');

// The client takes a domain and puts https:// before it.
const fetchThere = globalThis.fetch;
globalThis.fetch = (url, options) => fetchThere(String(url).replace('https://demo.example', origin), options);
const clientOf = (token) => new ManagementClient({ domain: 'demo.example', token, maxRetries: 0 });
const client = clientOf('root-root-root-root');

const login = async (user) => {
  const body = new URLSearchParams({ user, remember: '1' });
  const response = await fetchThere(`${origin}/login`, { method: 'POST', body, headers: { accept: 'application/json' } });
  return response.headers.get('set-cookie').split(';')[0];
};
const me = async (cookie) => (await fetchThere(`${origin}/me`, { headers: { cookie } })).status;
const refused = async (status, call) => {
  try {
    await call();
  } catch (error) {
    assert.equal(error.statusCode, status);
    return error.body;
  }
  assert.fail(`${status} was expected`);
};

let settings = await client.tenants.settings.get();
assert.equal(settings.session_lifetime, 168);
settings = await client.tenants.settings.update({ session_lifetime_in_minutes: 90, session_cookie: { mode: 'non-persistent' } });
assert.deepEqual([settings.session_lifetime, settings.session_cookie], [1.5, { mode: 'non-persistent' }]);
const some = await client.tenants.settings.get({ fields: 'session_lifetime', include_fields: true });
assert.deepEqual(some, { session_lifetime: 1.5 });
settings = await client.tenants.settings.update({ friendly_name: 'Demo', flags: { enable_sso: true } });
assert.deepEqual([settings.friendly_name, settings.flags, settings.session_lifetime], ['Demo', { enable_sso: true }, 1.5]);
assert.equal((await refused(400, () => client.tenants.settings.update({ session_lifetime: 0 }))).errorCode, 'invalid_body');
await client.tenants.settings.update({ session_lifetime: 168, session_cookie: null });

const user = 'auth0|507f/1 \u00fc';
const cookies = [];
for (let i = 0; i < 5; i += 1) cookies.push(await login(user));
const sessions = [];
for await (const session of await client.users.sessions.list(user, { take: 2 })) sessions.push(session);
assert.equal(sessions.length, 5);
assert.ok(sessions.every((session) => session.user_id === user));
const one = await client.sessions.get(sessions[0].id);
assert.equal(one.cookie.mode, 'persistent');
const changed = await client.sessions.update(one.id, { session_metadata: { risk: 'low' } });
assert.deepEqual([changed.session_metadata, changed.expires_at], [{ risk: 'low' }, one.expires_at]);
assert.equal((await client.sessions.update(one.id, { session_metadata: null })).session_metadata, null);

await client.sessions.revoke(sessions[0].id);
assert.deepEqual([await me(cookies[0]), await me(cookies[1])], [401, 200]);
assert.equal((await refused(404, () => client.sessions.get(sessions[0].id))).errorCode, 'inexistent_session');
await refused(404, () => client.sessions.revoke(sessions[0].id));
await client.sessions.delete(sessions[0].id);
await client.sessions.delete(sessions[1].id);
assert.equal(await me(cookies[1]), 401);
await client.users.sessions.delete(user);
for (const cookie of cookies) assert.equal(await me(cookie), 401);

assert.equal((await refused(401, () => clientOf('wrong').tenants.settings.get())).errorCode, 'invalid_token');
const insufficient = await refused(403, () => clientOf('reader-reader-reader').users.sessions.delete(user));
assert.equal(insufficient.message, 'Insufficient scope, expected any of: delete:sessions');
console.log('all as it should be');
