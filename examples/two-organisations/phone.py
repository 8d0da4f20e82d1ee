#!/usr/bin/env python3
"""A SIP client in one page, to try the example with: standard library only, over plain TCP to Contoso's home.

  ./phone.py bob register          signs in with a device token for APNs, and is suspended at once
  ./phone.py alice send bob TEXT   writes a message
  ./phone.py bob fetch             signs in, prints what was kept, and is suspended again

A phone has one token, made from its user's name. Another one (hexadecimal, as Apple's are) may follow "register" and
"fetch".
"""
import hashlib
import os
import socket
import sys
import tomllib
import uuid

HOME = ("127.0.10.1", 5060)
DOMAIN = "contoso.com"
APP = "DEMOTEAM01.org.reveille.demo.remote"
PATIENCE_SECS = 5


class Line:
    """One TCP connection that carries SIP messages."""

    def __init__(self):
        self.socket = socket.create_connection(HOME, PATIENCE_SECS)
        self.at = "%s:%d" % self.socket.getsockname()
        self.bytes = b""

    def send(self, first, headers, body=b""):
        lines = [first, *headers, f"Content-Length: {len(body)}", "", ""]
        self.socket.sendall("\r\n".join(lines).encode() + body)

    def read(self):
        """The first line, the header fields as (name, value) and the body of the next message."""
        while b"\r\n\r\n" not in self.bytes:
            self.more()
        head, self.bytes = self.bytes.split(b"\r\n\r\n", 1)
        first, *lines = head.decode().strip().split("\r\n")
        fields = [(name.strip().lower(), value.strip()) for name, value in (line.split(":", 1) for line in lines)]
        length = int(dict(fields).get("content-length", 0))
        while len(self.bytes) < length:
            self.more()
        body, self.bytes = self.bytes[:length], self.bytes[length:]
        return first, fields, body

    def more(self):
        got = self.socket.recv(65536)
        if not got:
            sys.exit("the home has closed the connection")
        self.bytes += got


def password(user):
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "users.toml"), "rb") as file:
        return tomllib.load(file)["users"][user]["password"]


def digest(user, method, uri, challenge):
    """RFC 7616 with MD5, which every registrar knows."""
    given = dict(part.strip().split("=", 1) for part in challenge.removeprefix("Digest ").split(","))
    realm, nonce = given["realm"].strip('"'), given["nonce"].strip('"')

    def h(text):
        return hashlib.md5(text.encode()).hexdigest()

    cnonce = uuid.uuid4().hex
    proof = h(f"{h(f'{user}:{realm}:{password(user)}')}:{nonce}:00000001:{cnonce}:auth:{h(f'{method}:{uri}')}")
    return (f'Digest username="{user}", realm="{realm}", nonce="{nonce}", uri="{uri}", algorithm=MD5, qop=auth, '
            f'nc=00000001, cnonce="{cnonce}", response="{proof}"')


def ask(line, user, method, uri, to, extra, body=b""):
    """Sends a request, answers the challenge, and returns the final first line and what came in between."""
    call, tag, proof, before = uuid.uuid4().hex, uuid.uuid4().hex[:8], [], []
    for sequence in (1, 2):
        line.send(f"{method} {uri} SIP/2.0", [
            f"Via: SIP/2.0/TCP {line.at};branch=z9hG4bK{uuid.uuid4().hex};rport", "Max-Forwards: 70",
            f"From: <sip:{user}@{DOMAIN}>;tag={tag}", f"To: <sip:{to}>", f"Call-ID: {call}",
            f"CSeq: {sequence} {method}", *extra, *proof], body)
        while True:
            message = line.read()
            if not message[0].startswith("SIP/2.0"):
                before.append(message)
            elif not message[0].startswith("SIP/2.0 1"):
                break
        challenges = [(name, value) for name, value in message[1]
                      if name in ("www-authenticate", "proxy-authenticate") and "algorithm=MD5" in value]
        if not challenges:
            break
        name, challenge = challenges[0]
        answer = {"www-authenticate": "Authorization", "proxy-authenticate": "Proxy-Authorization"}[name]
        proof = [f"{answer}: {digest(user, method, uri, challenge)}"]
    print(f"{method}: {message[0].removeprefix('SIP/2.0 ')}")
    if not message[0].startswith("SIP/2.0 2"):
        sys.exit(1)
    return before


def sign_in(line, user, token=None):
    token = token or hashlib.sha256(user.encode()).hexdigest()
    device = uuid.uuid5(uuid.NAMESPACE_URL, f"sip:{user}@{DOMAIN}")
    contact = (f'<sip:{user}@{line.at};transport=tcp;pn-provider=apns;pn-param={APP};pn-prid={token}:remote>'
               f';+sip.instance="<urn:uuid:{device}>"')
    return ask(line, user, "REGISTER", f"sip:{DOMAIN}", f"{user}@{DOMAIN}", [f"Contact: {contact}", "Expires: 600"])


def show(line, message):
    """Prints one message and says that it arrived."""
    first, fields, body = message
    keep = ("via", "from", "to", "call-id", "cseq")
    line.send("SIP/2.0 200 OK", [f"{name}: {value}" for name, value in fields if name in keep])
    print(f"{dict(fields)['from'].split(';')[0]}: {body.decode()}")


def main(args):
    match args:
        case [user, "register", *token] if len(token) < 2:
            sign_in(Line(), user, *token)
        case [user, "send", other, *words] if words:
            ask(Line(), user, "MESSAGE", f"sip:{other}@{DOMAIN}", f"{other}@{DOMAIN}",
                ["Content-Type: text/plain"], " ".join(words).encode())
        case [user, "fetch", *token] if len(token) < 2:
            line = Line()
            for message in sign_in(line, user, *token):
                show(line, message)
            # Whatever is kept comes at once; a second of silence means that nothing more does.
            line.socket.settimeout(1)
            try:
                while True:
                    show(line, line.read())
            except TimeoutError:
                pass
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
