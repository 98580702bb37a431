// Warns before a session ends, and reports its end. The server decides; this script only asks it in time.
(() => {
  // Markup can shadow a property of `document` (`<img name=currentScript>`), but none of its prototype.
  const doc = (name, ...rest) => {
    const value = Reflect.get(Document.prototype, name, document);
    return rest.length ? value.apply(document, rest) : value;
  };
  // Nor can it shadow a symbol. A module has no tag, so it leaves its address here.
  const home = Symbol.for('tenure');
  const tag = doc('currentScript');
  const source = self[home] = tag?.src || self[home];
  // A sandboxed frame has no cookies.
  if (origin === 'null') return;
  const data = {};
  const texts = {
    idle: 'Are you still there?', idleText: 'There was no activity for a while. You will be signed out in', stay: 'Stay signed in', leave: 'Sign out',
    absolute: 'Your session ends soon', absoluteText: 'It cannot be extended. Please save your work. It ends in', close: 'Close',
    over: 'You are signed out', again: 'Sign in again', away: 'The server cannot be reached. Trying again.',
    minute: 'minute', minutes: 'minutes', second: 'second', seconds: 'seconds',
    endedIdle: 'There was no activity for too long.', endedAbsolute: 'Your session has reached its maximum lifetime.',
    endedSignedOut: 'You have signed out.', endedEvicted: 'You signed in on too many other devices.',
    endedRevoked: 'Your session was ended, by you on another device or by an administrator.',
    endedSuperseded: 'There was a newer sign-in in this browser.',
  };
  const given = tag?.src ? tag.dataset : Object.fromEntries(new URL(source).searchParams);
  // Always this origin, and never relative: `<base>` would move it.
  const path = new URL(given.endpoints ? `${given.endpoints}/` : source, origin).pathname.replace(/\/+[^/]*$/, '');
  const base = origin + path;
  const style = `${base}/{style}`;

  // Evaluated again: there is one instance for each path.
  const key = Symbol.for(`tenure ${path}`);
  if (self[key]) return self[key].listen(given);

  let session = null; // the last status of the server
  let wall = 0, steady = 0; // how far the server's time is ahead of both local clocks
  let timer, ticker, asking, dialog, clock, live, trouble, shown, ended, sheet, stirred;
  let failures = 0, spoken = 0, extended = 0, fresh = false, sent = 0, seen = 0, looked = 0, pause = 5000;

  // The clock that moved further: one stops while the machine sleeps, the other can be set.
  const uptime = () => performance.now();
  const now = () => Math.max(Date.now() + wall, uptime() + steady);
  const isIdle = () => Date.parse(session.idle_expires_at) < Date.parse(session.expires_at);
  const deadline = () => (isIdle() ? session.idle_expires_at : session.expires_at);
  const left = () => Date.parse(deadline()) - now();
  // The user has at least 20 seconds to answer (WCAG 2.2.1).
  const warning = () => 1000 * Math.max(20, Number(data.warn) || Math.min(60, session.idle_lifetime / 2));
  const channel = new BroadcastChannel(`tenure ${path}`);
  const emit = (name, detail) => doc('dispatchEvent', new CustomEvent(`tenure:${name}`, { detail, cancelable: true }));

  /** The first instance of this page and its frames that can be seen: it asks and shows for all of them. */
  function leader() {
    let root, at;
    // Reading from a window of another origin throws.
    for (let next = self; next !== at; next = at.parent) {
      at = next;
      try {
        at[key];
        root = at;
      } catch {}
    }
    const first = (at) => {
      try {
        if (at[key] && (at === root || at.innerWidth)) return at[key];
      } catch {}
      for (let i = 0, found; i < at.length; i += 1) if (found = first(at[i])) return found;
    };
    return first(root) || me;
  }

  async function call(method, name) {
    const response = await fetch(base + name, { method, cache: 'no-store' });
    const { ok, status } = response;
    if (!ok && status !== 401) throw status;
    return status === 204 ? { live: false, reason: 'signed_out' } : response.json();
  }

  function take(status) {
    failures = 0;
    say('');
    if (status.now) {
      wall = Date.parse(status.now) - Date.now();
      steady = wall + Date.now() - uptime();
    }
    if (status.live && status.authenticated) {
      session = status;
      fresh = true;
      if (shown === 'over') hide();
    } else if (session) {
      end(status.reason === 'none' ? 'signed_out' : status.reason);
    }
    plan();
  }

  function send(answer) {
    const number = ++sent;
    return answer.then((status) => {
      // Ignore an answer that arrives after a later one.
      if (number >= seen) {
        seen = number;
        take(status);
      }
      return status;
    }, () => {
      failures += 1;
      // Warned all the same: what is known is known.
      if (session && !shown && left() <= warning()) warn();
      say(texts.away);
      later(Math.min(30000, 1000 * 2 ** failures));
      throw 0;
    });
  }

  /** How the session is. Several questions at once are one. */
  function look() {
    looked = uptime();
    const chief = leader();
    asking ??= send(chief === me ? call('GET', '/status') : chief.look().then((status) => status || Promise.reject()))
      .catch(() => {}).finally(() => { asking = null; });
    return asking;
  }

  /** As `look`, but an answer that is under way may be older than the login. */
  const refresh = () => (asking ? asking.then(look) : look());

  function later(time) {
    clearTimeout(timer);
    // A longer timer would fire at once.
    timer = setTimeout(tick, Math.min(Math.max(time, 50), 2 ** 31 - 1));
  }

  function plan() {
    if (!session) return;
    if (left() <= 0) return fresh ? later(500) : tick();
    if (left() > warning()) {
      if (shown && shown !== 'over') hide();
      return later(left() - warning());
    }
    const kind = isIdle() ? 'idle' : 'absolute';
    if (shown !== kind && shown !== `${kind} seen`) warn();
    later(left());
  }

  /** Time has come to look: what another tab did, only the server knows. */
  function tick() {
    fresh = false;
    if (session) look();
  }

  function warn() {
    const [kind, ...first] = isIdle() ? ['idle', texts.stay, stay] : ['absolute', texts.close, close];
    if (!emit('warning', { kind, secondsLeft: Math.ceil(left() / 1000), deadline: deadline() })) return;
    show(kind, texts[kind], texts[`${kind}Text`], first, [texts.leave, leave]);
    ticker = setInterval(count, 1000);
    count();
  }

  function end(reason) {
    session = null;
    ended = reason;
    clearTimeout(timer);
    hide();
    channel.postMessage('ended');
    pause = 5000;
    stir();
    if (!emit('ended', { reason }) || data.end === 'none') return;
    if (data.end === 'reload') return location.reload();
    show('over', texts.over, texts[`ended${reason.replace(/(^|_)./g, (part) => part.slice(-1).toUpperCase())}`] || '', [texts.again, signIn]);
  }

  /** To the login page, with the parameters that `RequireSession` gives it. */
  function signIn() {
    const here = location.pathname + location.search;
    const page = (text) => new URL(text, `${origin}/${here.slice(1)}`);
    let to;
    try {
      to = page(data.login || '/');
    } catch {} // not a URL
    if (!/^https?:/.test(to)) to = page('/');
    // After `//` a login page would find a host.
    const back = /^\/(?!\/)/.test(here) ? `return_to=${encodeURIComponent(here)}&` : '';
    to.search += `${to.search ? '&' : '?'}${back}reason=${ended}`;
    location.assign(to);
  }

  // The dialog: modal, so the page behind is inert, and the browser gives the focus back.

  function make(name, text, attributes) {
    const element = doc('createElement', name);
    element.textContent = text;
    for (const each in attributes) element.setAttribute(each, attributes[each]);
    return element;
  }

  function show(kind, title, text, ...buttons) {
    hide();
    shown = kind;
    if (leader() !== me) return;
    spoken = Infinity;
    const box = dialog = make('dialog', '', { class: 'tenure', role: 'alertdialog', 'aria-labelledby': 'tenure-title', 'aria-describedby': 'tenure-text' });
    if (data.lang) box.lang = data.lang;
    clock = make('p', '', { class: 'tenure-clock', 'aria-hidden': true });
    live = make('p', '', { class: 'tenure-live', role: 'status' });
    // Here, so that the time is not seen twice without the stylesheet.
    live.style.cssText = 'position:absolute;clip-path:inset(50%)';
    trouble = make('p', '', { class: 'tenure-trouble', role: 'alert' });
    const row = make('p', '', { class: 'tenure-buttons' });
    buttons.forEach(([words, onclick], i) => row.append(Object.assign(
      make('button', words, i ? {} : { class: 'tenure-main', autofocus: '' }), { type: 'button', onclick },
    )));
    box.append(make('h2', title, { id: 'tenure-title' }), make('p', text, { id: 'tenure-text' }), clock, live, trouble, row);
    // Esc is the first button. On a page that was not touched yet, it closes without asking.
    box.oncancel = box.onclose = (event) => {
      event.preventDefault();
      if (!box.isConnected) return;
      if (!box.open) box.showModal();
      if (kind !== 'over') buttons[0][1]();
    };
    dress();
    open();
  }

  /** Beside the body, which pages swap and keep copies of. A page that removes it gets it back. */
  function open() {
    const root = doc('documentElement');
    if (!root || !dialog || dialog.isConnected) return;
    dialog.open = false;
    root.append(dialog);
    dialog.showModal();
    for (const each of [document, root]) watch.observe(each, { childList: true });
  }

  /** Adopted: no policy forbids it, and no swap of the head removes it. */
  async function dress() {
    try {
      if (!sheet) {
        const response = await fetch(style);
        if (!response.ok) return;
        sheet = await new CSSStyleSheet().replace(await response.text());
      }
      const adopted = doc('adoptedStyleSheets');
      if (!adopted.includes(sheet)) adopted.push(sheet);
    } catch {} // away; the next dialog asks again
  }

  function hide() {
    clearInterval(ticker);
    watch.disconnect();
    dialog?.close();
    dialog?.remove();
    dialog = shown = null;
  }

  function say(text) {
    if (dialog && trouble.textContent !== text) trouble.textContent = text;
  }

  function count() {
    if (!dialog) return;
    const seconds = Math.max(0, Math.ceil(left() / 1000));
    const of = (number, unit) => (number ? `${number} ${texts[number === 1 ? unit : `${unit}s`]} ` : '');
    const words = (of(Math.floor(seconds / 60), 'minute') + of(seconds % 60, 'second')).trim() || `0 ${texts.seconds}`;
    clock.textContent = words;
    // Read out every 20 seconds, not every one.
    if (spoken - seconds >= 20) {
      spoken = seconds;
      live.textContent = words;
    }
  }

  function stay() {
    return send(call('POST', '/extend')).then(() => {
      if (!session) return;
      channel.postMessage('extended');
      emit('extended', { deadline: session.idle_expires_at });
      plan();
    }, () => {});
  }

  const leave = () => send(call('POST', '/logout')).catch(() => {});

  function close() {
    hide();
    shown = 'absolute seen';
  }

  /** What its user does on the page keeps a session alive: once a minute, and not over the dialog's head. */
  function active() {
    if (!session) {
      if (uptime() - looked < 60000) return;
      pause = 5000;
      extended = 0;
      return look().then(() => (session ? active() : stir()));
    }
    if (shown || data.activity === 'off' || now() - extended < 60000) return;
    extended = now();
    stay();
  }

  // A login without a page load: scripts cannot see its cookie. So the server is asked three times, ever later, after the
  // start, an end and the first activity in a minute; and at most once a minute after other requests of the page.
  function stir() {
    if (session) return;
    clearTimeout(stirred);
    stirred = setTimeout(() => {
      if (session || doc('hidden')) return;
      pause *= 3;
      refresh().then(() => pause > 60000 || stir());
    }, looked + Math.min(pause, 60000) - uptime());
  }

  const wake = () => doc('hidden') || look();

  function listen(given) {
    Object.assign(data, given);
    Object.assign(texts, JSON.parse(given.texts || '{}'));
    const on = (names, act, capture) => names.split(' ').forEach((name) => addEventListener(name, act, capture));
    on('focus pageshow online', look);
    on('visibilitychange resume', wake, true);
    on('tenure:login', refresh, true);
    on('pointerdown keydown', active, true);
    self.tenure = api;
    if (!session) return look();
  }

  channel.onmessage = ({ data: word }) => {
    if (word !== 'here') return look();
    // A script that has just started, perhaps in a window above this one.
    if (dialog && shown !== 'over' && leader() !== me) {
      const kind = shown;
      hide();
      shown = kind;
    }
  };
  const watch = new MutationObserver(() => setTimeout(open));
  new PerformanceObserver((list) => {
    for (const { initiatorType, name } of list.getEntries()) if (/^(fetch|xml)/.test(initiatorType) && name !== style && name !== `${base}/status`) stir();
  }).observe({ type: 'resource' });
  const api = { status: () => session, refresh, extend: stay, logout: leave };
  const me = self[key] = { look, listen };
  listen(given);
  channel.postMessage('here');
  dress();
  look().then(() => {
    extended = now();
    stir();
    if (!session && !isSecureContext) console.warn('Over plain http, browsers drop Secure cookies.');
  });
})();
