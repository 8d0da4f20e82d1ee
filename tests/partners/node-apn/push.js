// Sends pushes with node-apn to an APNs simulator: one that is accepted, one to a token that is gone, one that breaks
// a rule. Needs APNS_HOST, APNS_PORT, APNS_CA (file), APNS_KEY (.p8 file), APNS_KEY_ID, APNS_TEAM_ID and APNS_CONTROL
// (URL of the control API). Ends with status 0, or with 1 and a sentence that says what differs.

import { readFileSync } from 'node:fs';
import apn from '@parse/node-apn';

const DEADLINE_MS = 30_000;
const TOPIC = 'com.example.app';
const GONE_SINCE = 1_700_000_000_123;

// Tokens of this run only, so that a simulator may serve several runs.
const run = Date.now().toString(16).padStart(12, '0');
const LIVING = `aa${run}`.padEnd(64, '0');
const GONE = `bb${run}`.padEnd(64, '0');

function need(name) {
  const value = process.env[name];
  if (!value) throw new Error(`the environment variable ${name} is not set`);
  return value;
}

function expect(what, actual, expected) {
  const [a, e] = [JSON.stringify(actual), JSON.stringify(expected)];
  if (a !== e) throw new Error(`${what} is ${a} and should be ${e}`);
}

async function control(verb, path, body) {
  const answer = await fetch(new URL(path, need('APNS_CONTROL')), {
    method: verb,
    body: body && JSON.stringify(body),
    headers: body ? { 'content-type': 'application/json' } : {},
  });
  const json = await answer.json();
  if (!answer.ok) throw new Error(`the control API answered ${verb} ${path} with ${answer.status}: ${json.error}`);
  return json;
}

function notification(priority = 10) {
  const note = new apn.Notification();
  note.topic = TOPIC;
  note.pushType = 'alert';
  note.priority = priority;
  note.expiry = 0;
  note.badge = 3;
  note.alert = { 'loc-key': 'NEW_MESSAGE' };
  note.collapseId = 'conversation-7';
  return note;
}

async function main() {
  const provider = new apn.Provider({
    token: { key: need('APNS_KEY'), keyId: need('APNS_KEY_ID'), teamId: need('APNS_TEAM_ID') },
    address: need('APNS_HOST'),
    port: Number(need('APNS_PORT')),
    ca: readFileSync(need('APNS_CA')),
    production: true,
  });
  try {
    const accepted = await provider.send(notification(), LIVING);
    expect('the list of failures of a good push', accepted.failed.map(plain), []);
    expect('the list of devices reached', accepted.sent.map((sent) => sent.device), [LIVING]);

    const seen = await control('GET', `/apns/wait?token=${LIVING}&delivered=true&timeout_ms=10000`);
    expect('the topic as recorded', seen.topic, TOPIC);
    expect('the push type as recorded', seen.push_type, 'alert');
    expect('the priority as recorded', seen.priority, 10);
    expect('the collapse id as recorded', seen.collapse_id, 'conversation-7');
    expect('the badge as recorded', seen.payload?.aps?.badge, 3);

    await control('POST', '/apns/script', {
      token: GONE,
      answers: [{ status: 410, reason: 'Unregistered', timestamp: GONE_SINCE }],
    });
    const gone = await provider.send(notification(), GONE);
    expect('the number of failures of a push to a gone token', gone.failed.length, 1);
    expect('its status', Number(gone.failed[0].status), 410);
    expect('its reason', gone.failed[0].response?.reason, 'Unregistered');
    expect('its timestamp', gone.failed[0].response?.timestamp, GONE_SINCE);

    const wrong = await provider.send(notification(7), LIVING);
    expect('the number of failures of a push with priority 7', wrong.failed.length, 1);
    expect('its reason', wrong.failed[0].response?.reason, 'BadPriority');

    // A burst on one connection, where all but the first meet the raised stream cap.
    const burst = await provider.send(notification(), Array.from({ length: 200 }, () => LIVING));
    expect('the number of pushes of a burst that were taken', burst.sent.length, 200);
  } finally {
    await provider.shutdown();
  }
}

function plain({ device, status, response, error }) {
  return { device, status, response, error: error?.message };
}

const overdue = setTimeout(() => finish(`nothing ended within ${DEADLINE_MS} ms`), DEADLINE_MS);

function finish(complaint) {
  clearTimeout(overdue);
  if (complaint) process.stderr.write(`node-apn: ${complaint}\n`);
  else process.stdout.write('node-apn: all as expected\n');
  process.exit(complaint ? 1 : 0);
}

main().then(() => finish(), (broken) => finish(broken.message));
