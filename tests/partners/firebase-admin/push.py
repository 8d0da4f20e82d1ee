"""Sends messages with firebase-admin to an FCM simulator: one that is taken, one to a token that is gone.

Needs FCM_URL (https://HOST:PORT of the simulator), FCM_KEY_FILE (service account file whose token_uri is the
simulator's), FCM_CONTROL (URL of the control API), and REQUESTS_CA_BUNDLE (the simulator's authority). Ends with
status 0, or with 1 and a sentence that says what differs.
"""

import json
import os
import sys
import time
import urllib.parse
import urllib.request
import warnings

# The client announces that `token` will give way to `fid`; both are taken today.
warnings.filterwarnings("ignore", category=DeprecationWarning)

import firebase_admin
from firebase_admin import credentials, messaging


class Differs(Exception):
    """Something is not as it should be."""


def need(name):
    value = os.environ.get(name)
    if not value:
        raise Differs(f"the environment variable {name} is not set")
    return value


def expect(what, actual, expected):
    if actual != expected:
        raise Differs(f"{what} is {actual!r} and should be {expected!r}")


def control(verb, path, body=None):
    url = urllib.parse.urljoin(need("FCM_CONTROL"), path)
    data = None if body is None else json.dumps(body).encode()
    # The control API is on loopback: never through a proxy.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(urllib.request.Request(url, data=data, method=verb), timeout=20) as answer:
        return json.load(answer)


def message(token):
    return messaging.Message(
        token=token,
        data={"push": "01J"},
        android=messaging.AndroidConfig(priority="high", ttl=30, collapse_key="conversation-7"),
        apns=messaging.APNSConfig(headers={"apns-priority": "5"}),
    )


def main():
    need("REQUESTS_CA_BUNDLE")
    # Where the library would send to; it has no option for it.
    messaging._MessagingService.FCM_URL = need("FCM_URL") + "/v1/projects/{0}/messages:send"
    app = firebase_admin.initialize_app(credentials.Certificate(need("FCM_KEY_FILE")))

    # Tokens of this run only, so that a simulator may serve several runs.
    run = f"{time.time_ns():x}"
    living, gone = f"living:{run}", f"gone:{run}"

    name = messaging.send(message(living), app=app)
    project = app.project_id
    expect("the beginning of the message name", name.startswith(f"projects/{project}/messages/"), True)
    seen = control("GET", f"/fcm/wait?token={urllib.parse.quote(living)}&delivered=true&timeout_ms=10000")
    expect("the name as recorded", seen["name"], name)
    expect("the priority as recorded", seen["priority"], "HIGH")
    expect("the time to live as recorded", seen["ttl"], "30s")
    expect("the collapse key as recorded", seen["collapse_key"], "conversation-7")
    expect("the data as recorded", seen["message"]["data"], {"push": "01J"})

    control("POST", "/fcm/script", {"token": gone, "answers": [{"code": "UNREGISTERED"}]})
    try:
        messaging.send(message(gone), app=app)
    except messaging.UnregisteredError:
        pass
    else:
        raise Differs("a message to a gone token was taken")

    control("POST", "/fcm/script", {"token": gone, "answers": [{"code": "SENDER_ID_MISMATCH"}]})
    try:
        messaging.send(message(gone), app=app)
    except messaging.SenderIdMismatchError:
        pass
    else:
        raise Differs("a message to another project's token was taken")

    dry = messaging.send(message(living), dry_run=True, app=app)
    expect("the name of a dry run", dry, f"projects/{project}/messages/fake_message_id")


if __name__ == "__main__":
    try:
        main()
    except Exception as broken:
        sys.stderr.write(f"firebase-admin: {broken}\n")
        sys.exit(1)
    sys.stdout.write("firebase-admin: all as expected\n")
