// Two users of contoso.com with JsSIP over WebSocket: both register, one writes, the other answers.
//
// node phones.js URL CA ORIGIN USER:PASSWORD USER:PASSWORD TEXT
// Prints one line of JSON: what each sent and received, and how the WebSockets ended after both had signed out.

import { readFileSync } from 'node:fs';
import JsSIP from 'jssip';
import { WebSocket } from 'ws';

const [url, caFile, origin, first, second, text] = process.argv.slice(2);
const ca = caFile === '-' ? undefined : readFileSync(caFile);
const sockets = [];

// What a browser gives to a page.
globalThis.WebSocket = class extends WebSocket {
  constructor(address, protocols) {
    super(address, protocols, { ca, origin, servername: 'home.contoso.com' });
    sockets.push(this);
  }
};

const deadline = setTimeout(() => finish({ failed: 'not over in time' }, 1), 20_000);

function finish(told, status) {
  clearTimeout(deadline);
  process.stdout.write(`${JSON.stringify(told)}\n`, () => process.exit(status));
}

function phone(account) {
  const [user, password] = account.split(':');
  const received = [];
  let arrived = () => {};
  const ua = new JsSIP.UA({
    sockets: [new JsSIP.WebSocketInterface(url)],
    uri: `sip:${user}@contoso.com`,
    password,
    register: true,
  });
  ua.on('newMessage', ({ originator, message, request }) => {
    if (originator !== 'remote') return;
    received.push(request.body);
    message.accept();
    arrived();
  });
  const registered = new Promise((resolve, reject) => {
    ua.on('registered', ({ response }) => resolve(response.status_code));
    ua.on('registrationFailed', ({ cause, response }) => reject(new Error(`${user}: ${cause} ${response?.status_code}`)));
    ua.on('disconnected', ({ code, reason }) => reject(new Error(`${user}: closed ${code} ${reason ?? ''}`)));
  });
  const send = (to, body) => new Promise((resolve, reject) => {
    ua.sendMessage(`sip:${to}@contoso.com`, body, {
      eventHandlers: {
        succeeded: ({ response }) => resolve(response.status_code),
        failed: ({ cause, response }) => reject(new Error(`${user}: ${cause} ${response?.status_code}`)),
      },
    });
  });
  const hear = () => new Promise((resolve) => {
    arrived = resolve;
    if (received.length > 0) resolve();
  });
  const leave = () => new Promise((resolve) => {
    ua.on('unregistered', resolve);
    ua.unregister();
  });
  ua.start();
  return { user, received, registered, send, hear, leave };
}

try {
  const [one, other] = [phone(first), phone(second)];
  const registered = await Promise.all([one.registered, other.registered]);
  const sent = [await one.send(other.user, text)];
  await other.hear();
  // Not in ASCII, so that bytes and characters differ.
  sent.push(await other.send(one.user, `${text} — ja, gehört ✓`));
  await one.hear();
  await Promise.all([one.leave(), other.leave()]);
  const closed = sockets.map((socket) => new Promise((resolve) => socket.on('close', resolve)));
  sockets.forEach((socket) => socket.close(1000));
  const told = { registered, sent, received: [other.received, one.received], protocol: sockets[0].protocol };
  finish({ ...told, closed: await Promise.all(closed) }, 0);
} catch (error) {
  finish({ failed: error.message }, 1);
}
