// An APNs front on Node's own HTTP/2: `node front.js KEY.pem CERT.pem`. Prints its port. What it does with a push is said
// by the number that its device token is, in hundreds; see ACTS. Ends when its standard input does.

const { readFileSync } = require('node:fs');
const http2 = require('node:http2');

const { NGHTTP2_INTERNAL_ERROR, NGHTTP2_NO_ERROR, NGHTTP2_REFUSED_STREAM, PADDING_STRATEGY_MAX } = http2.constants;
const [key, cert] = process.argv.slice(2).map((file) => readFileSync(file));
const UNREGISTERED = JSON.stringify({ reason: 'Unregistered', timestamp: 1_700_000_000_123 });

const ACTS = [
  // 0: taken. `apns-unique-id` tells how many streams were open when it came.
  (stream, open) => setTimeout(() => answer(stream, 200, `${open}`, ''), 30),
  // 100: not processed.
  (stream) => stream.close(NGHTTP2_REFUSED_STREAM),
  // 200: nobody knows.
  (stream) => stream.close(NGHTTP2_INTERNAL_ERROR),
  // 300: gone, with all that may stand around an answer.
  (stream) => {
    stream.additionalHeaders({ ':status': 103, link: '</x>; rel=preload' });
    stream.respond({ ':status': 410, 'content-type': 'application/json' }, { waitForTrailers: true });
    stream.on('wantTrailers', () => stream.sendTrailers({ 'x-checksum': 'abc' }));
    stream.end(UNREGISTERED);
  },
  // 400: gone, with a body that is shorter than it says.
  (stream) => {
    stream.respond({ ':status': 410, 'content-length': `${UNREGISTERED.length + 10}` });
    stream.end(UNREGISTERED);
  },
  // 500: a refusal that is longer than any window.
  (stream) => answer(stream, 400, '', JSON.stringify({ reason: 'BadCollapseId', padding: 'x'.repeat(300_000) })),
  // 600: the front goes away before this one, and answers those before it.
  (stream) => {
    const reason = Buffer.from('{"reason":"Shutdown"}');
    stream.session.goaway(NGHTTP2_NO_ERROR, stream.id - 2, reason);
  },
];

function answer(stream, status, id, body) {
  if (stream.destroyed) return;
  stream.respond({ ':status': status, 'apns-unique-id': id, 'content-length': `${Buffer.byteLength(body)}` });
  stream.end(body);
}

// As Apple does: one stream, and more once somebody has shown who he is.
const settings = { maxConcurrentStreams: 1 };
const server = http2.createSecureServer({ key, cert, settings, paddingStrategy: PADDING_STRATEGY_MAX });
server.on('session', (session) => {
  session.on('error', () => {});
  let [open, raised] = [0, false];
  session.on('stream', (stream, headers) => {
    open += 1;
    stream.on('error', () => {});
    stream.on('close', () => {
      open -= 1;
      if (!raised) session.settings({ maxConcurrentStreams: 1000 });
      raised = true;
    });
    stream.resume();
    stream.on('end', () => {
      const token = headers[':path'].match(/^\/3\/device\/([0-9a-f]{64})$/);
      if (!token || !headers.authorization?.startsWith('bearer ')) return answer(stream, 403, '', '{"reason":"Forbidden"}');
      ACTS[Math.floor(Number.parseInt(token[1], 16) / 100)](stream, open);
    });
  });
});
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
process.stdin.resume();
process.stdin.on('end', () => process.exit(0));
