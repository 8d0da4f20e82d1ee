// Sends COUNT pushes with node-apn, IN_FLIGHT at once. Needs APNS_ADDRESS, APNS_CA, APNS_TOPIC, APNS_KEY, APNS_KEY_ID,
// APNS_TEAM_ID and APNS_BODY (file). Prints one JSON object as bench/peers/src/main.rs does.

import { readFileSync } from 'node:fs';
import apn from '@parse/node-apn';

const env = process.env;
const [count, inFlight] = [Number(env.COUNT), Number(env.IN_FLIGHT)];
const [host, port] = env.APNS_ADDRESS.split(':');
const body = JSON.parse(readFileSync(env.APNS_BODY, 'utf8'));
const provider = new apn.Provider({
  token: { key: env.APNS_KEY, keyId: env.APNS_KEY_ID, teamId: env.APNS_TEAM_ID },
  address: host,
  port: Number(port),
  ca: readFileSync(env.APNS_CA),
  production: true,
});

async function push(number) {
  const note = new apn.Notification();
  note.topic = env.APNS_TOPIC;
  note.pushType = 'alert';
  note.priority = 10;
  note.expiry = 0;
  note.rawPayload = body;
  const { sent, failed } = await provider.send(note, number.toString(16).padStart(64, '0'));
  if (sent.length !== 1) throw new Error(`a push was not accepted: ${JSON.stringify(failed)}`);
}

await push(0);
const [begun, before] = [performance.now(), process.cpuUsage()];
let next = 1;
async function work() {
  while (next <= count) {
    next += 1;
    await push(next);
  }
}
await Promise.all(Array.from({ length: inFlight }, work));
const used = process.cpuUsage(before);
const told = { accepted: count, seconds: (performance.now() - begun) / 1000, cpu_us: used.user + used.system };
process.stdout.write(`${JSON.stringify(told)}\n`);
await provider.shutdown();
process.exit(0);
