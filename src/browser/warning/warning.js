// Warns before a session ends, and reports its end. The server decides; this script only asks it in time.
(() => {
  const tag = document.currentScript || document.querySelector('script[src*="/tenure."]');
  const data = tag?.dataset || {};
  const base = data.endpoints || new URL(tag?.src || globalThis.tenureSource).pathname.replace(/\/[^/]*$/, '');
  const texts = Object.assign({
    idle: 'Are you still there?', idleText: 'There was no activity for a while. You will be signed out in', stay: 'Stay signed in', leave: 'Sign out',
    absolute: 'Your session ends soon', absoluteText: 'It cannot be extended. Please save your work. It ends in', close: 'Close',
    over: 'You are signed out', again: 'Sign in again', away: 'The server cannot be reached. Trying again.',
    minute: 'minute', minutes: 'minutes', second: 'second', seconds: 'seconds',
    endedIdle: 'There was no activity for too long.', endedAbsolute: 'Your session has reached its maximum lifetime.',
    endedSignedOut: 'You have signed out.', endedEvicted: 'You signed in on too many other devices.',
    endedRevoked: 'Your session was ended, by you on another device or by an administrator.',
    endedSuperseded: 'There was a newer sign-in in this browser.',
  }, JSON.parse(data.texts || '{}'));

  let session = null; // the last status of the server
  let synced = { at: 0, wall: 0, clock: 0 }; // the server's time, and both local clocks at that moment
  let timer, ticker, asking, dialog, shown, failures = 0, spoken = 0, extended = 0, fresh = false, sent = 0, seen = 0;

  // The clock that moved further: one stops while the machine sleeps, the other can be set.
  const now = () => synced.at + Math.max(Date.now() - synced.wall, performance.now() - synced.clock);
  const idleLeft = () => Date.parse(session.idle_expires_at) - now();
  const absoluteLeft = () => Date.parse(session.expires_at) - now();
  const isIdle = () => idleLeft() < absoluteLeft();
  const left = () => Math.min(idleLeft(), absoluteLeft());
  // The user has at least 20 seconds to answer (WCAG 2.2.1).
  const warning = () => 1000 * Math.max(20, Number(data.warn) || Math.min(60, session.idle_lifetime / 2));
  const channel = new BroadcastChannel(`tenure ${base}`);
  const emit = (name, detail) => document.dispatchEvent(new CustomEvent(`tenure:${name}`, { detail, cancelable: true }));

  async function call(method, path) {
    const response = await fetch(base + path, { method, cache: 'no-store' });
    if (!response.ok && response.status !== 401) throw new Error(response.status);
    return response.status === 204 ? { live: false, reason: 'signed_out' } : response.json();
  }

  function take(status) {
    failures = 0;
    say('');
    if (status.now) synced = { at: Date.parse(status.now), wall: Date.now(), clock: performance.now() };
    if (status.live && status.authenticated) {
      session = status;
      fresh = true;
      if (shown === 'over') hide();
    } else if (session) {
      end(status.reason === 'none' ? 'signed_out' : status.reason);
    }
    plan();
  }

  function send(method, path) {
    const number = ++sent;
    return call(method, path).then((status) => {
      // Ignore an answer that arrives after a later one.
      if (number < seen) return;
      seen = number;
      take(status);
    }, () => {
      failures += 1;
      // Warned all the same: what is known is known.
      if (session && !shown && left() <= warning()) warn(isIdle() ? 'idle' : 'absolute');
      say(texts.away);
      later(Math.min(30000, 1000 * 2 ** failures));
      throw new Error(texts.away);
    });
  }

  /** How the session is. Several questions at once are one. */
  function look() {
    asking ??= send('GET', '/status').catch(() => {}).finally(() => { asking = null; });
    return asking;
  }

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
    if (shown !== kind && shown !== `${kind} seen`) warn(kind);
    later(left());
  }

  /** Time has come to look: what another tab did, only the server knows. */
  function tick() {
    fresh = false;
    if (session) look();
  }

  function warn(kind) {
    if (!emit('warning', { kind, secondsLeft: Math.ceil(left() / 1000), deadline: kind === 'idle' ? session.idle_expires_at : session.expires_at })) return;
    show(kind, texts[kind], texts[`${kind}Text`], kind === 'idle' ? [[texts.stay, stay], [texts.leave, leave]] : [[texts.close, close], [texts.leave, leave]]);
    ticker = setInterval(count, 1000);
    count();
  }

  function end(reason) {
    session = null;
    clearTimeout(timer);
    hide();
    channel.postMessage('ended');
    if (!emit('ended', { reason }) || data.end === 'none') return;
    if (data.end === 'reload') return location.reload();
    show('over', texts.over, texts[`ended${reason.replace(/(^|_)(.)/g, (all, gap, letter) => letter.toUpperCase())}`] || '', [[texts.again, signIn]]);
  }

  function signIn() {
    location.assign(`${data.login || '/'}?return_to=${encodeURIComponent(location.pathname + location.search)}`);
  }

  // The dialog: modal, so the page behind is inert, and the browser gives the focus back.

  function show(kind, title, text, buttons) {
    hide();
    shown = kind;
    spoken = Infinity;
    const make = (name, words, rest) => Object.assign(document.createElement(name), { textContent: words }, rest);
    dialog = make('dialog', '', { className: 'tenure' });
    dialog.setAttribute('role', 'alertdialog');
    if (data.lang) dialog.lang = data.lang;
    dialog.setAttribute('aria-labelledby', 'tenure-title');
    dialog.setAttribute('aria-describedby', 'tenure-text');
    const row = make('p', '', { className: 'tenure-buttons' });
    buttons.forEach(([words, act], i) => {
      const button = make('button', words, { type: 'button', className: i ? '' : 'tenure-main', onclick: act, autofocus: !i });
      row.append(button);
    });
    const clock = make('p', '', { className: 'tenure-clock' });
    clock.setAttribute('aria-hidden', 'true');
    const live = make('p', '', { className: 'tenure-live' });
    live.setAttribute('role', 'status');
    const trouble = make('p', '', { className: 'tenure-trouble' });
    trouble.setAttribute('role', 'alert');
    dialog.append(make('h2', title, { id: 'tenure-title' }), make('p', text, { id: 'tenure-text' }), clock, live, trouble, row);
    const box = dialog;
    const escape = () => kind !== 'over' && buttons[0][1]();
    box.addEventListener('cancel', (event) => {
      event.preventDefault();
      escape();
    });
    // A page that was not touched yet is not asked before its dialog is closed.
    box.addEventListener('close', () => {
      if (!box.isConnected) return;
      box.showModal();
      escape();
    });
    document.body.append(dialog);
    dialog.showModal();
  }

  function hide() {
    clearInterval(ticker);
    dialog?.close();
    dialog?.remove();
    dialog = shown = null;
  }

  function say(text) {
    const place = dialog?.querySelector('.tenure-trouble');
    if (place && place.textContent !== text) place.textContent = text;
  }

  function count() {
    const seconds = Math.max(0, Math.ceil(left() / 1000));
    const of = (number, one, many) => (number ? `${number} ${number === 1 ? one : many}` : '');
    const words = [of(Math.floor(seconds / 60), texts.minute, texts.minutes), of(seconds % 60, texts.second, texts.seconds)].filter(Boolean).join(' ') || `0 ${texts.seconds}`;
    dialog.querySelector('.tenure-clock').textContent = words;
    // Read out every 20 seconds, not every one.
    if (spoken - seconds >= 20) {
      spoken = seconds;
      dialog.querySelector('.tenure-live').textContent = words;
    }
  }

  function stay() {
    return send('POST', '/extend').then(() => {
      if (!session) return;
      channel.postMessage('extended');
      emit('extended', { deadline: session.idle_expires_at });
      plan();
    }, () => {});
  }

  function leave() {
    return send('POST', '/logout').catch(() => {});
  }

  function close() {
    hide();
    shown = 'absolute seen';
  }

  /** What its user does on the page keeps a session alive: once a minute, and not over the dialog's head. */
  function active() {
    if (!session || shown || data.activity === 'off' || now() - extended < 60000) return;
    extended = now();
    stay();
  }

  channel.onmessage = look;
  for (const name of ['focus', 'pageshow', 'online']) addEventListener(name, look);
  document.addEventListener('visibilitychange', () => document.hidden || look());
  document.addEventListener('resume', look);
  for (const name of ['pointerdown', 'keydown']) document.addEventListener(name, active, { passive: true, capture: true });

  document.head.append(Object.assign(document.createElement('link'), { rel: 'stylesheet', href: `${base}/{style}` }));
  globalThis.tenure = { status: () => session, refresh: look, extend: stay, logout: leave };
  look().then(() => { extended = now(); });
})();
