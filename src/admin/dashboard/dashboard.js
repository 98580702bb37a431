// The dashboard: asks the management API for everything it shows, and keeps what was typed when that does not answer.

const api = document.documentElement.dataset.api;
const $ = (id) => document.getElementById(id);
const MINUTES = ['idle_session_lifetime', 'session_lifetime', 'idle_ephemeral_session_lifetime', 'ephemeral_session_lifetime'];
const REFRESH = 5000;
const PAGE = 50;

let token = sessionStorage.getItem('tenure-token');
let limits = { max_idle_lifetime_in_minutes: Infinity, max_lifetime_in_minutes: Infinity };
/** What the server said last, by the id of the field. */
let known = {};
let shown = PAGE;
let failures = 0;
let timer;
/** The server's clock minus ours. */
let skew = 0;

class Refused extends Error {}
class Away extends Error {}

async function ask(method, path, body) {
  let response;
  try {
    response = await fetch(api + path, {
      method,
      headers: { authorization: `Bearer ${token}`, ...(body && { 'content-type': 'application/json' }) },
      body: body && JSON.stringify(body),
      cache: 'no-store',
    });
  } catch {
    throw new Away('The server cannot be reached.');
  }
  const date = Date.parse(response.headers.get('date'));
  if (date) skew = date + 500 - Date.now();
  const answer = await response.json().catch(() => ({}));
  if (response.ok) return answer;
  if (response.status === 401) {
    leave('This token is not accepted any more. Enter another one.');
    throw new Refused('');
  }
  if (response.status >= 500) throw new Away(answer.message || 'The server has trouble.');
  throw new Refused(answer.message || `The server refused: ${response.status}`);
}

// Messages

function say(message, isPassing) {
  $('alert').hidden = !message;
  $('alert').textContent = message;
  $('alert').classList.toggle('away-for-now', Boolean(isPassing));
}

function failed(error) {
  if (error instanceof Away) {
    failures += 1;
    $('connection').textContent = 'Not connected';
    say(`${error.message} What you typed is kept; trying again.`, true);
  } else if (error instanceof Refused) {
    if (error.message) say(error.message);
  } else {
    throw error;
  }
}

function reached() {
  $('connection').textContent = `As of ${new Date().toLocaleTimeString()}`;
  if (failures) say('');
  failures = 0;
}

// Token

function leave(message) {
  clearTimeout(timer);
  token = null;
  sessionStorage.removeItem('tenure-token');
  $('board').hidden = true;
  $('leave').hidden = true;
  $('enter').hidden = false;
  $('connection').textContent = '';
  say(message || '');
  $('token').focus();
}

async function open() {
  try {
    await refreshSettings();
  } catch (error) {
    if (token) {
      failed(error);
      timer = setTimeout(open, REFRESH);
    }
    if (!(error instanceof Away)) return;
  }
  if (!token) return;
  sessionStorage.setItem('tenure-token', token);
  $('enter').hidden = true;
  $('board').hidden = false;
  $('leave').hidden = false;
  if (!failures) refresh();
}

$('enter').addEventListener('submit', (event) => {
  event.preventDefault();
  token = $('token').value.trim();
  $('token').value = '';
  // A token must fit into a header.
  if (!/^[\x21-\x7e]+$/.test(token)) return leave('A token has no spaces and no letters beyond ASCII.');
  say('');
  open();
});
$('leave').addEventListener('click', () => leave('The token is forgotten.'));

// Settings

const minutesOf = (hours) => Math.round(hours * 60 * 6000) / 6000;
const fieldValue = (id) => $(id).value.trim();
const isTouched = (id) => id in known && fieldValue(id) !== known[id];
const anyTouched = () => Object.keys(known).some(isTouched);

async function refreshSettings() {
  const [settings, caps] = await Promise.all([ask('GET', '/tenants/settings'), ask('GET', '/tenants/session-limits')]);
  take(settings, caps);
}

function take(settings, caps) {
  const next = {};
  for (const id of MINUTES) next[id] = String(minutesOf(settings[id]));
  next.mode = settings.session_cookie.mode;
  limits = caps;
  next.max_sessions = caps.max_sessions === null ? '' : String(caps.max_sessions);
  next.overflow = caps.overflow;
  for (const [id, value] of Object.entries(next)) {
    // What is being changed here stays; the rest follows the server.
    if (!isTouched(id)) $(id).value = value;
    known[id] = value;
  }
  notes();
}

function words(minutes) {
  if (!(minutes >= 1)) return `${Math.round(minutes * 60)} seconds`;
  const parts = [];
  for (const [name, size] of [['day', 1440], ['hour', 60], ['minute', 1]]) {
    const count = Math.floor(minutes / size);
    minutes -= count * size;
    if (count) parts.push(`${count} ${name}${count > 1 ? 's' : ''}`);
  }
  return parts.join(' ') || 'less than a minute';
}

/** What is to be said below a field: the kind, and the words. */
function judge(id) {
  const text = fieldValue(id);
  if (id === 'max_sessions') {
    if (text === '') return ['', 'As many as they like.'];
    if (!/^[1-9]\d{0,8}$/.test(text)) return ['wrong', 'A whole number from 1, or nothing.'];
    return ['', text === '1' ? 'One at a time.' : 'Live at the same time.'];
  }
  if (!isTouched(id) && known[id] === text && !/^\d+$/.test(text)) return ['', words(Number(text))];
  if (!/^[1-9]\d{0,8}$/.test(text)) return ['wrong', 'A whole number of minutes, at least 1.'];
  const minutes = Number(text);
  if (minutes > 525600) return ['wrong', 'At most 525,600 minutes, which is a year.'];
  const isIdle = $(id).dataset.bound === 'idle';
  const most = isIdle ? limits.max_idle_lifetime_in_minutes : limits.max_lifetime_in_minutes;
  if (minutes > most) return ['limit', `${words(minutes)}: the limit of ${words(most)} counts instead.`];
  const partner = Number(fieldValue($(id).dataset.partner || id));
  if (isIdle && partner && minutes > partner) return ['limit', `${words(minutes)}: the maximum lifetime ends it first.`];
  return ['', words(minutes)];
}

function notes() {
  for (const id of [...MINUTES, 'max_sessions']) {
    const [kind, text] = judge(id);
    const note = $(`${id}-note`);
    note.textContent = text;
    note.className = `note ${kind}`;
    $(id).setAttribute('aria-invalid', String(kind === 'wrong'));
  }
  $('undo').hidden = !anyTouched();
}

$('settings').addEventListener('input', () => {
  $('saved').textContent = '';
  notes();
});

$('undo').addEventListener('click', () => {
  for (const [id, value] of Object.entries(known)) $(id).value = value;
  notes();
  $('saved').textContent = 'As the server has it.';
  $('save').focus();
});

$('settings').addEventListener('submit', async (event) => {
  event.preventDefault();
  const wrong = [...MINUTES, 'max_sessions'].find((id) => judge(id)[0] === 'wrong');
  if (wrong) {
    $('saved').textContent = 'Not saved: see the field in red.';
    return $(wrong).focus();
  }
  const changes = {};
  for (const id of MINUTES) if (isTouched(id)) changes[`${id}_in_minutes`] = Number(fieldValue(id));
  if (isTouched('mode')) changes.session_cookie = { mode: $('mode').value };
  const isCapped = isTouched('max_sessions') || isTouched('overflow');
  if (!Object.keys(changes).length && !isCapped) {
    $('saved').textContent = 'Nothing was changed.';
    return;
  }
  $('save').disabled = true;
  $('saved').textContent = 'Saving…';
  try {
    let settings = Object.keys(changes).length ? await ask('PATCH', '/tenants/settings', changes) : null;
    const cap = { max_sessions: fieldValue('max_sessions') ? Number(fieldValue('max_sessions')) : null, overflow: $('overflow').value };
    const caps = isCapped ? await ask('PUT', '/tenants/session-limits', cap) : limits;
    settings ??= await ask('GET', '/tenants/settings');
    known = {};
    take(settings, caps);
    reached();
    $('saved').textContent = 'Saved, and in force.';
  } catch (error) {
    $('saved').textContent = 'Not saved.';
    failed(error);
  }
  $('save').disabled = false;
});

// Sessions

function countdown(time) {
  const left = Math.max(0, Date.parse(time.dateTime) - Date.now() - skew) / 1000;
  const whole = Math.floor(left);
  const [days, hours, minutes, seconds] = [whole / 86400, (whole / 3600) % 24, (whole / 60) % 60, whole % 60].map(Math.floor);
  const two = (number) => String(number).padStart(2, '0');
  time.textContent = left <= 0 ? 'over' : days ? `${days} d ${two(hours)} h` : `${two(hours)}:${two(minutes)}:${two(seconds)}`;
  time.classList.toggle('soon', left < 60);
}

function deviceOf({ device }) {
  const agent = device.last_user_agent || '';
  const find = (pairs) => (pairs.find(([pattern]) => pattern.test(agent)) || [])[1];
  const browser = find([[/Edg\//, 'Edge'], [/OPR\//, 'Opera'], [/Firefox\//, 'Firefox'], [/Chrom(e|ium)\//, 'Chrome'], [/Safari\//, 'Safari'], [/curl\//, 'curl'], [/python/i, 'Python']]);
  const system = find([[/iPhone|iPad/, 'iOS'], [/Android/, 'Android'], [/Windows/, 'Windows'], [/Mac OS X/, 'macOS'], [/Linux/, 'Linux']]);
  return [browser, system].filter(Boolean).join(' on ') || agent.slice(0, 40) || 'Unknown';
}

function element(name, text, properties = {}) {
  const made = Object.assign(document.createElement(name), properties);
  if (text !== undefined) made.textContent = text;
  return made;
}

function row(session) {
  const line = element('tr');
  line.dataset.id = session.id;
  const cell = (label) => {
    const made = element('td');
    if (label) made.dataset.label = label;
    line.append(made);
    return made;
  };
  cell().append(element('span', session.user_id || 'anonymous', { className: 'user' }), element('small', session.id));
  cell('Device').append(document.createTextNode(''), element('small'));
  cell('Mode').textContent = session.cookie.mode === 'persistent' ? 'Persistent' : 'Non-persistent';
  cell('Ends when idle').append(element('time'));
  cell('Ends at the latest').append(element('time'));
  const revoke = element('button', 'Revoke', { type: 'button', className: 'danger' });
  revoke.setAttribute('aria-label', `Revoke the session of ${session.user_id || 'an anonymous visitor'}, ${session.id}`);
  revoke.addEventListener('click', () => revokeOne(session));
  cell().append(revoke);
  return line;
}

function fill(line, session) {
  const [, device, , idle, absolute] = line.cells;
  device.firstChild.textContent = deviceOf(session);
  device.lastChild.textContent = session.device.last_ip || '';
  for (const [cell, at] of [[idle, session.idle_expires_at], [absolute, session.expires_at]]) {
    const time = cell.firstChild;
    time.dateTime = at;
    time.title = new Date(at).toLocaleString();
    countdown(time);
  }
}

/** Rows stay the same elements while their sessions do, so that focus stays where it is. */
function showSessions(sessions, isMore) {
  const rows = $('rows');
  const old = new Map([...rows.rows].map((line) => [line.dataset.id, line]));
  let place = rows.firstElementChild;
  for (const session of sessions) {
    const line = old.get(session.id) || row(session);
    old.delete(session.id);
    fill(line, session);
    if (line === place) place = place.nextElementSibling;
    else rows.insertBefore(line, place);
  }
  for (const line of old.values()) line.remove();
  const search = fieldValue('q');
  const count = `${sessions.length}${isMore ? ' or more' : ''} live session${sessions.length === 1 && !isMore ? '' : 's'}`;
  const text = search ? `${count} of users like “${search}”` : count;
  if ($('count').textContent !== text) $('count').textContent = text;
  $('more').hidden = !isMore;
  const users = new Set(sessions.map((session) => session.user_id));
  const only = search && users.size === 1 ? [...users][0] : null;
  $('revoke-user').hidden = !only;
  $('revoke-user').dataset.user = only || '';
  $('revoke-user').textContent = only ? `Revoke all of ${only}` : '';
}

async function refreshSessions() {
  const search = fieldValue('q');
  const sessions = [];
  let from;
  do {
    const query = new URLSearchParams({ take: String(Math.min(100, shown - sessions.length)) });
    if (search) query.set('q', search);
    if (from) query.set('from', from);
    const page = await ask('GET', `/sessions?${query}`);
    sessions.push(...page.sessions);
    from = page.next;
  } while (from && sessions.length < shown);
  if (search === fieldValue('q')) showSessions(sessions, Boolean(from));
}

async function sure(title, text) {
  const dialog = $('sure');
  $('sure-title').textContent = title;
  $('sure-text').textContent = text;
  dialog.returnValue = 'no';
  dialog.showModal();
  await new Promise((done) => dialog.addEventListener('close', done, { once: true }));
  return dialog.returnValue === 'yes';
}

async function revoke(path, method, done) {
  try {
    await ask(method, path);
    say('');
    $('count').textContent = done;
    await refreshSessions();
    $('q').focus();
  } catch (error) {
    failed(error);
  }
}

async function revokeOne(session) {
  const who = session.user_id || 'an anonymous visitor';
  if (await sure(`Revoke this session of ${who}?`, `${deviceOf(session)} is signed out at its next request.`)) {
    await revoke(`/sessions/${encodeURIComponent(session.id)}`, 'DELETE', 'The session is revoked.');
  }
}

$('revoke-user').addEventListener('click', async ({ target }) => {
  const user = target.dataset.user;
  if (await sure(`Revoke all sessions of ${user}?`, 'Every device is signed out at its next request.')) {
    await revoke(`/users/${encodeURIComponent(user)}/sessions`, 'DELETE', `All sessions of ${user} are revoked.`);
  }
});

let typing;
$('q').addEventListener('input', () => {
  clearTimeout(typing);
  shown = PAGE;
  typing = setTimeout(() => refreshSessions().then(reached, failed), 200);
});
$('search').addEventListener('submit', (event) => event.preventDefault());
$('more').addEventListener('click', () => {
  shown += PAGE;
  refreshSessions().then(reached, failed);
});

// Events

async function refreshEvents() {
  const { events } = await ask('GET', '/session-events?take=50');
  const lines = events.map((event) => {
    const line = element('li');
    const time = element('time', new Date(event.at).toLocaleTimeString(), { dateTime: event.at, title: new Date(event.at).toLocaleString() });
    const what = event.event.replaceAll('_', ' ') + (event.reason && event.event === 'ended' ? `: ${event.reason.replaceAll('_', ' ')}` : '');
    const who = [event.user, event.sid, event.event === 'ended' ? '' : event.reason].filter(Boolean).join(' · ');
    line.append(time, element('span', what), element('span', who, { className: 'who' }));
    return line;
  });
  $('events').replaceChildren(...(lines.length ? lines : [element('li', 'Nothing yet.')]));
}

// Refresh everything regularly while the page is visible

async function refresh() {
  clearTimeout(timer);
  if (!token) return;
  try {
    await Promise.all([refreshSettings(), refreshSessions(), refreshEvents()]);
    reached();
  } catch (error) {
    failed(error);
  }
  clearTimeout(timer);
  // Back off while the server does not answer.
  if (token) timer = setTimeout(refresh, document.hidden ? 60000 : REFRESH * Math.min(6, 1 + failures));
}

document.addEventListener('visibilitychange', () => {
  if (!document.hidden && token && !$('board').hidden) refresh();
});
setInterval(() => document.querySelectorAll('#rows time').forEach(countdown), 1000);

if (token) open();
else leave();
