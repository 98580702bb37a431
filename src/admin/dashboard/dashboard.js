// The dashboard: asks the management API for everything it shows, and keeps what was typed when that does not answer.

// Relative to the page's own address, so that a proxy may put any prefix before it.
const api = new URL(document.documentElement.dataset.api, location.origin + location.pathname.replace(/\/*$/, '/')).href;
const $ = (id) => document.getElementById(id);
const MINUTES = ['idle_session_lifetime', 'session_lifetime', 'idle_ephemeral_session_lifetime', 'ephemeral_session_lifetime'];
const REFRESH = 5000;
/** How many sessions a page of the table has. */
const PAGE = matchMedia('(max-width: 44rem)').matches ? 10 : 25;
/** How many sessions are loaded, to be sorted and counted. */
const MOST = 1000;
const EVENTS = 20;
const MOST_EVENTS = 100;
const NAMES = {
  session_cookie: 'Default cookie mode', max_sessions: 'Sessions per user', overflow: 'Over the cap', allowed_logout_urls: 'Allowed sign-out URLs',
};

let token = sessionStorage.getItem('tenure-token');
let limits = { max_idle_lifetime_in_minutes: Infinity, max_lifetime_in_minutes: Infinity };
/** What the server said last, by the id of the field. */
let known = {};
/** What the token allows. */
let scopes = new Set();
/** The sessions that were loaded last, whether there are more, and the first one that is shown. */
let sessions = [];
let isMore = false;
let first = 0;
let sorting = ['login', 'descending'];
let shownEvents = EVENTS;
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
    leave($('board').hidden
      ? 'The server does not know this token. Check that it was copied whole.'
      : 'The server no longer accepts this token. Enter another one.');
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
  for (const id of ['board', 'leave', 'sections']) $(id).hidden = true;
  $('enter').hidden = false;
  $('connection').textContent = '';
  say(message || '');
  $('token').focus();
}

async function open() {
  try {
    await refreshRights();
  } catch (error) {
    if (token) {
      failed(error);
      timer = setTimeout(open, REFRESH);
    }
    return;
  }
  if (!token) return;
  sessionStorage.setItem('tenure-token', token);
  $('enter').hidden = true;
  for (const id of ['board', 'leave', 'sections']) $(id).hidden = false;
  if (!failures) refresh();
}

const may = (scope) => scopes.has(scope);

/** Shows what the token may read, and lets change what it may change. */
async function refreshRights() {
  const caller = await ask('GET', '/caller');
  scopes = new Set(caller.scopes);
  const [settings, live] = [may('read:tenant_settings'), may('read:sessions')];
  const [saves, revokes] = [may('update:tenant_settings'), may('delete:sessions')];
  $('settings').hidden = !settings;
  for (const id of ['live', 'recent']) $(id).hidden = !live;
  for (const link of document.querySelectorAll('#sections a')) link.hidden = $(link.hash.slice(1)).hidden;
  for (const fields of document.querySelectorAll('.setting')) fields.disabled = !saves;
  $('save').hidden = !saves;
  $('everybody').hidden = !revokes;
  $('table').classList.toggle('read-only', !revokes);
  const lacks = [[settings, 'see the settings'], [!settings || saves, 'change the settings'], [live, 'see sessions and events'], [!live || revokes, 'revoke sessions']];
  const cannot = lacks.filter(([granted]) => !granted).map(([, what]) => what);
  const isReadOnly = settings && live && !saves && !revokes;
  $('rights').hidden = !cannot.length;
  $('rights').textContent = isReadOnly
    ? 'This token is read-only: it can neither change the settings nor revoke sessions.'
    : `This token cannot ${cannot.join(', or ')}.`;
}

$('enter').addEventListener('submit', (event) => {
  event.preventDefault();
  token = $('token').value.trim();
  $('token').value = '';
  // A token must fit into a header.
  if (!/^[\x21-\x7e]+$/.test(token)) return leave('A token has no spaces, and only ASCII letters.');
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
  $('undo').hidden = !anyTouched() || !may('update:tenant_settings');
}

$('settings').addEventListener('input', () => {
  $('saved').textContent = '';
  notes();
});

$('undo').addEventListener('click', () => {
  for (const [id, value] of Object.entries(known)) $(id).value = value;
  notes();
  $('saved').textContent = 'Back to what is in force.';
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
    // A shorter lifetime binds live sessions, too.
    if (may('read:sessions')) Promise.all([refreshSessions(), refreshEvents()]).catch(failed);
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
  time.textContent = left <= 0 ? 'Over' : days ? `${days} d ${two(hours)} h` : `${two(hours)}:${two(minutes)}:${two(seconds)}`;
  time.classList.toggle('soon', left < 60);
}

const deviceOf = ({ device }) => device.description;
const whoOf = (session) => session.user_id || 'an anonymous visitor';

/** "5 min ago", for the moment of a login or an activity. */
function age(time) {
  const minutes = Math.floor(Math.max(0, Date.now() + skew - Date.parse(time.dateTime)) / 60000);
  const [days, hours] = [minutes / 1440, minutes / 60].map(Math.floor);
  time.textContent = !minutes ? 'Just now' : days ? `${days} d ago` : hours ? `${hours} h ago` : `${minutes} min ago`;
}

const tick = (time) => (time.dataset.kind === 'age' ? age : countdown)(time);

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
  cell().append(element('span', session.user_id || 'Anonymous', { className: session.user_id ? 'user' : 'user anonymous' }), element('small', session.id));
  cell('Device').append(document.createTextNode(''), element('small'));
  for (const [label, kind] of [['Signed in', 'age'], ['Last activity', 'age'], ['Ends when idle', 'countdown'], ['Ends at the latest', 'countdown']]) {
    const time = element('time');
    time.dataset.kind = kind;
    cell(label).append(time);
  }
  const revoke = element('button', 'Revoke', { type: 'button', className: 'danger' });
  revoke.setAttribute('aria-label', `Revoke the session of ${whoOf(session)}, ${session.id}`);
  revoke.addEventListener('click', () => revokeOne(session));
  const last = cell();
  last.className = 'revoke';
  last.append(revoke);
  return line;
}

function fill(line, session) {
  const [, device, ...times] = line.cells;
  device.firstChild.textContent = deviceOf(session);
  const mode = session.cookie.mode === 'persistent' ? 'Persistent' : 'Non-persistent';
  device.lastChild.textContent = [mode, session.device.bound && 'bound', session.device.last_ip].filter(Boolean).join(' · ');
  const moments = [session.authenticated_at || session.created_at, session.last_interacted_at, session.idle_expires_at, session.expires_at];
  moments.forEach((at, index) => {
    const time = times[index].firstChild;
    time.dateTime = at;
    time.title = new Date(at).toLocaleString();
    tick(time);
  });
}

const KEYS = {
  user: (session) => (session.user_id || '\uffff').toLowerCase(),
  login: (session) => session.authenticated_at || session.created_at,
  active: (session) => session.last_interacted_at,
  idle: (session) => session.idle_expires_at,
  absolute: (session) => session.expires_at,
};

function sorted() {
  const [column, direction] = sorting;
  const key = KEYS[column];
  const sign = direction === 'ascending' ? 1 : -1;
  const compare = (one, other) => (one < other ? -1 : Number(one > other));
  return [...sessions].sort((one, other) => sign * compare(key(one), key(other)) || compare(one.id, other.id));
}

function sortBy(column, direction) {
  sorting = [column, direction];
  first = 0;
  showSessions();
}

const plural = (count, one, many) => `${count.toLocaleString()} ${count === 1 ? one : many}`;

/** What the table has, in words: sessions, users, visitors. */
function totals() {
  const search = fieldValue('q');
  const users = new Set(sessions.map((session) => session.user_id).filter(Boolean));
  const anonymous = sessions.filter((session) => !session.user_id).length;
  const count = `${isMore ? 'The oldest ' : ''}${plural(sessions.length, 'live session', 'live sessions')}`;
  if (search) return `${count} of users like “${search}”`;
  const parts = [count, plural(users.size, 'user', 'users'), anonymous && `${anonymous.toLocaleString()} anonymous`];
  return parts.filter(Boolean).join(' · ') + (isMore ? '. There are more: search for a user.' : '');
}

/** Rows stay the same elements while their sessions do, so that focus stays where it is. */
function showSessions() {
  first = Math.max(0, Math.min(first, Math.floor((sessions.length - 1) / PAGE) * PAGE));
  const page = sorted().slice(first, first + PAGE);
  const rows = $('rows');
  const old = new Map([...rows.rows].map((line) => [line.dataset.id, line]));
  let place = rows.firstElementChild;
  for (const session of page) {
    const line = old.get(session.id) || row(session);
    old.delete(session.id);
    fill(line, session);
    if (line === place) place = place.nextElementSibling;
    else rows.insertBefore(line, place);
  }
  for (const line of old.values()) line.remove();

  const search = fieldValue('q');
  const text = sessions.length ? totals() : '';
  if ($('count').textContent !== text) $('count').textContent = text;
  $('table').hidden = !sessions.length;
  $('no-sessions').hidden = Boolean(sessions.length);
  $('no-sessions').textContent = search
    ? `No live session of a user like “${search}”.`
    : 'No live sessions. A session appears here when somebody signs in.';
  $('pages').hidden = sessions.length <= PAGE;
  $('range').textContent = `${first + 1} to ${first + page.length} of ${sessions.length}`;
  $('previous').disabled = !first;
  $('next').disabled = first + PAGE >= sessions.length;
  $('sorting').hidden = !sessions.length;
  $('sort').value = sorting.join(' ');
  for (const head of document.querySelectorAll('th[data-sort]')) {
    if (head.dataset.sort === sorting[0]) head.setAttribute('aria-sort', sorting[1]);
    else head.removeAttribute('aria-sort');
  }
  const users = new Set(sessions.map((session) => session.user_id));
  const only = may('delete:sessions') && search && users.size === 1 ? [...users][0] : null;
  $('revoke-user').hidden = !only;
  $('revoke-user').dataset.user = only || '';
  $('revoke-user').textContent = only ? `Revoke all of ${only}` : '';
}

async function refreshSessions() {
  const search = fieldValue('q');
  const found = [];
  let from;
  do {
    const query = new URLSearchParams({ take: '100' });
    if (search) query.set('q', search);
    if (from) query.set('from', from);
    const page = await ask('GET', `/sessions?${query}`);
    found.push(...page.sessions);
    from = page.next;
  } while (from && found.length < MOST);
  if (search !== fieldValue('q')) return;
  sessions = found;
  isMore = Boolean(from);
  showSessions();
}

/** Asks before something is done; if it is for everybody, a word has to be typed. */
async function sure(title, text, action, isForEverybody = false) {
  const dialog = $('sure');
  $('sure-title').textContent = title;
  $('sure-text').textContent = text;
  $('sure-yes').textContent = action;
  $('sure-word').hidden = !isForEverybody;
  $('sure-typed').value = '';
  $('sure-yes').disabled = isForEverybody;
  dialog.returnValue = 'no';
  dialog.showModal();
  if (isForEverybody) $('sure-typed').focus();
  await new Promise((done) => dialog.addEventListener('close', done, { once: true }));
  return dialog.returnValue === 'yes';
}

const isTyped = () => $('sure-word').hidden || fieldValue('sure-typed').toLowerCase() === 'everybody';
$('sure-typed').addEventListener('input', () => {
  $('sure-yes').disabled = !isTyped();
});
// Enter in the field is the answer that its button gives: not that of the first button.
$('sure-typed').addEventListener('keydown', (event) => {
  if (event.key !== 'Enter') return;
  event.preventDefault();
  if (isTyped()) $('sure').close('yes');
});

async function revoke(path, body, done) {
  try {
    await ask('DELETE', path, body);
    say('');
    await refreshSessions();
    $('count').textContent = done;
    refreshEvents().catch(failed);
    $('q').focus();
  } catch (error) {
    failed(error);
  }
}

async function revokeOne(session) {
  if (await sure(`Revoke this session of ${whoOf(session)}?`, `${deviceOf(session)} is signed out at its next request.`, 'Revoke')) {
    await revoke(`/sessions/${encodeURIComponent(session.id)}`, null, 'The session is revoked.');
  }
}

$('revoke-user').addEventListener('click', async ({ target }) => {
  const user = target.dataset.user;
  if (await sure(`Revoke all sessions of ${user}?`, 'Every device is signed out at its next request.', 'Revoke all')) {
    await revoke(`/users/${encodeURIComponent(user)}/sessions`, null, `All sessions of ${user} are revoked.`);
  }
});

$('everybody').addEventListener('click', async () => {
  const text = 'All sessions of all users are revoked, your own on this site too. Everybody has to sign in again. Anonymous sessions stay.';
  if (await sure('Sign everybody out?', text, 'Sign everybody out', true)) {
    await revoke('/sessions', { everybody: true }, 'Everybody is signed out.');
  }
});

let typing;
$('q').addEventListener('input', () => {
  clearTimeout(typing);
  first = 0;
  typing = setTimeout(() => refreshSessions().then(reached, failed), 200);
});
$('search').addEventListener('submit', (event) => event.preventDefault());
for (const [id, step] of [['previous', -PAGE], ['next', PAGE]]) {
  $(id).addEventListener('click', () => {
    first += step;
    showSessions();
    $('live').scrollIntoView();
  });
}
$('sort').addEventListener('change', () => sortBy(...$('sort').value.split(' ')));
for (const head of document.querySelectorAll('th[data-sort]')) {
  head.firstElementChild.addEventListener('click', () => {
    const column = head.dataset.sort;
    const usual = ['login', 'active'].includes(column) ? 'descending' : 'ascending';
    const other = usual === 'ascending' ? 'descending' : 'ascending';
    sortBy(column, sorting[0] === column && sorting[1] === usual ? other : usual);
  });
}

// Events

const WHAT = {
  created: 'Session started', authenticated: 'Sign-in', rotated: 'Token replaced', clamped: 'Sign-in clamped to a limit', refused: 'Sign-in refused',
  store_failed: 'Store failed', signed_out_everywhere: 'All sessions of a user revoked', everybody_signed_out: 'Everybody signed out',
  setting_changed: 'Setting changed', clocks_apart: 'Clocks disagree', clocks_agree: 'Clocks agree again', secret_reused: 'Old token came back',
};
const WHY = {
  idle: 'idle', absolute: 'maximum lifetime', signed_out: 'signed out', revoked: 'revoked', evicted: 'over the cap', superseded: 'newer sign-in',
};
const inWords = (text) => text.replaceAll('_', ' ').replace(/^./, (letter) => letter.toUpperCase());

function whatOf({ event, reason }) {
  if (event === 'ended') return `Ended: ${WHY[reason] || inWords(reason).toLowerCase()}`;
  return WHAT[event] || inWords(event);
}

/** The value of a setting, as the form has it. */
function valueOf(setting, value) {
  if (value === null) return setting === 'max_sessions' ? 'no cap' : 'nothing';
  if (MINUTES.includes(setting)) return words(minutesOf(value));
  if (setting === 'session_cookie') return value.mode;
  const text = typeof value === 'string' ? value : JSON.stringify(value);
  return text.length > 80 ? `${text.slice(0, 80)}…` : text;
}

function detailsOf(event) {
  const { setting, from, to, by, user, sid, reason } = event;
  const label = document.querySelector(`label[for="${CSS.escape(setting || '')}"]`)?.textContent || NAMES[setting] || setting;
  const change = setting && `${label}: ${valueOf(setting, from)} → ${valueOf(setting, to)}`;
  return [change, user, sid, event.event === 'ended' ? '' : reason, by && `by ${by}`].filter(Boolean).join(' · ');
}

function whenOf(at) {
  const date = new Date(at);
  const isToday = date.toDateString() === new Date().toDateString();
  return isToday ? date.toLocaleTimeString() : date.toLocaleString([], { dateStyle: 'short', timeStyle: 'short' });
}

async function refreshEvents() {
  const { events } = await ask('GET', `/session-events?take=${MOST_EVENTS}`);
  // A login is one event here, not two.
  const wanted = events.filter((event) => event.event !== 'created' || !event.user);
  const lines = wanted.slice(0, shownEvents).map((event) => {
    const line = element('li');
    const time = element('time', whenOf(event.at), { dateTime: event.at, title: new Date(event.at).toLocaleString() });
    line.append(time, element('span', whatOf(event), { className: 'what' }), element('span', detailsOf(event), { className: 'who' }));
    return line;
  });
  $('events').replaceChildren(...lines);
  $('events').hidden = !lines.length;
  $('no-events').hidden = Boolean(lines.length);
  $('no-events').textContent = 'No events yet. Sign-ins, ends of sessions and changed settings appear here.';
  $('more').hidden = wanted.length <= shownEvents;
}

$('more').addEventListener('click', () => {
  shownEvents = MOST_EVENTS;
  refreshEvents().then(reached, failed);
});

// Refresh everything regularly while the page is visible

async function refresh() {
  clearTimeout(timer);
  if (!token) return;
  try {
    await refreshRights();
    const live = may('read:sessions') ? [refreshSessions(), refreshEvents()] : [];
    await Promise.all([...live, ...(may('read:tenant_settings') ? [refreshSettings()] : [])]);
    reached();
  } catch (error) {
    failed(error);
  }
  clearTimeout(timer);
  // Back off while the server does not answer, and with many sessions to load.
  const pause = REFRESH * Math.min(6, 1 + failures + sessions.length / 200);
  if (token) timer = setTimeout(refresh, document.hidden ? 60000 : pause);
}

document.addEventListener('visibilitychange', () => {
  if (!document.hidden && token && !$('board').hidden) refresh();
});
setInterval(() => document.querySelectorAll('#rows time').forEach(tick), 1000);

if (token) open();
else leave();
