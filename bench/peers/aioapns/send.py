"""Sends COUNT pushes with aioapns, IN_FLIGHT at once; or, with `jwt`, prints a provider token for those who make none.

Needs APNS_ADDRESS, APNS_CA, APNS_TOPIC, APNS_KEY, APNS_KEY_ID, APNS_TEAM_ID and APNS_BODY (file). Prints one JSON
object as bench/peers/src/main.rs does.
"""

import asyncio
import json
import os
import ssl
import sys
import time

env = os.environ


def provider_token():
    import jwt

    with open(env["APNS_KEY"]) as key:
        return jwt.encode(
            {"iss": env["APNS_TEAM_ID"], "iat": int(time.time())},
            key.read(),
            algorithm="ES256",
            headers={"kid": env["APNS_KEY_ID"]},
        )


async def main():
    from aioapns import APNs, NotificationRequest, PushType, connection

    host, port = env["APNS_ADDRESS"].split(":")
    # It knows Apple's own address only.
    connection.APNsProductionClientProtocol.APNS_SERVER = host
    connection.APNsTLSClientProtocol.APNS_PORT = int(port)
    with open(env["APNS_KEY"]) as key:
        key = key.read()
    context = ssl.create_default_context(cafile=env["APNS_CA"])
    # RFC 9113 §3.2 wants it, and the simulator insists.
    context.set_alpn_protocols(["h2"])
    client = APNs(
        key=key,
        key_id=env["APNS_KEY_ID"],
        team_id=env["APNS_TEAM_ID"],
        topic=env["APNS_TOPIC"],
        use_sandbox=False,
        max_connections=1,
        ssl_context=context,
    )
    with open(env["APNS_BODY"]) as body:
        message = json.load(body)
    # With as many as the connection takes it turns in circles until one is over.
    count, in_flight = int(env["COUNT"]), int(env["IN_FLIGHT"]) // 2

    async def push(number):
        request = NotificationRequest(
            device_token=f"{number:064x}", message=message, time_to_live=0, priority=10, push_type=PushType.ALERT
        )
        answer = await client.send_notification(request)
        if not answer.is_successful:
            raise SystemExit(f"a push was not accepted: {answer.status} {answer.description}")

    await push(0)
    begun, cpu = time.monotonic(), time.process_time()
    numbers = iter(range(1, count + 1))

    async def work():
        for number in numbers:
            await push(number)

    await asyncio.gather(*(work() for _ in range(in_flight)))
    told = {
        "accepted": count,
        "seconds": time.monotonic() - begun,
        "cpu_us": (time.process_time() - cpu) * 1e6,
    }
    print(json.dumps(told), flush=True)


if sys.argv[1:] == ["jwt"]:
    print(provider_token())
else:
    asyncio.run(main())
