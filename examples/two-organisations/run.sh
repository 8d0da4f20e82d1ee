#!/usr/bin/env bash
# Runs two organisations as four separate processes on loopback, with the provider simulators beside them.
#
#   ./run.sh [--empty] [BINARY]
#
# BINARY is target/release/reveille of this repository when absent. With --empty nobody wants anything yet: no settings
# are imported, and docs/first-push.md goes on from there.
#
# Everything that is made lies below state/, and is made anew at each start. Ctrl-C stops everything.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
empty=
if [ "${1:-}" = --empty ]; then
    empty=yes
    shift
fi
binary=${1:-$here/../../target/release/reveille}
patience=30 # seconds for each step
state=$here/state

die() {
    echo "run.sh: $*" >&2
    exit 1
}
[ -x "$binary" ] || die "$binary is not there: build it with \"cargo build --release\", or name another"
binary=$(cd "$(dirname "$binary")" && pwd)/$(basename "$binary")
command -v openssl >/dev/null || die "openssl is needed to make certificates"
cd "$here"

running=() # process ids, in the order of their start
stop() {
    trap - EXIT INT TERM
    # The last to start is the first to stop: nobody is left talking to a wall.
    for ((i = ${#running[@]} - 1; i >= 0; i--)); do
        kill "${running[i]}" 2>/dev/null || true
        wait "${running[i]}" 2>/dev/null || true
    done
}
trap stop EXIT
trap 'echo "stopping" >&2; exit 0' INT TERM

# start NAME COMMAND…: in the background; standard output to state/log/NAME.out, the rest to NAME.log, its number in
# NAME.pid.
start() {
    local name=$1
    shift
    "$@" </dev/null >"$state/log/$name.out" 2>"$state/log/$name.log" &
    running+=($!)
    echo $! >"$state/log/$name.pid"
    # Each says one line when it is ready.
    for ((i = 0; i < patience * 20; i++)); do
        [ -s "$state/log/$name.out" ] && return
        kill -0 $! 2>/dev/null || break
        sleep 0.05
    done
    tail -n 5 "$state/log/$name.log" >&2
    die "$name did not become ready; see state/log/$name.log"
}

# issue FILE DNS-NAME…: one certificate for both ends of mutual TLS, named in its subjectAltName.
issue() {
    local file=$state/certificates/$1 names
    names=$(printf ',DNS:%s' "$@")
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$file.key" -subj "/CN=$1" \
        -out "$file.csr" 2>/dev/null
    openssl x509 -req -in "$file.csr" -CA "$state/certificates/ca.pem" -CAkey "$state/certificates/ca.key" \
        -CAcreateserial -days 90 -out "$file.pem" -extfile <(
            echo "subjectAltName = ${names:1}"
            echo "basicConstraints = critical, CA:FALSE"
            echo "keyUsage = critical, digitalSignature"
            echo "extendedKeyUsage = serverAuth, clientAuth"
            echo "authorityKeyIdentifier = keyid"
        ) 2>/dev/null
    rm "$file.csr"
}

rm -rf "$state"
umask 077
mkdir -p "$state/certificates" "$state/log" "$state/simulators"

echo "making certificates"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 90 -subj "/CN=Example authority" \
    -addext "keyUsage = critical, keyCertSign, cRLSign" \
    -keyout "$state/certificates/ca.key" -out "$state/certificates/ca.pem" 2>/dev/null
issue home.contoso.com contoso.com
issue edge.contoso.com contoso.com
issue edge.push.example.net push.example.net
issue house.push.example.net

echo "starting the simulators of APNs and FCM"
start simulators "$binary" simulate apns fcm --dir state/simulators \
    --apns 127.0.10.5:8443 --fcm 127.0.10.5:8444 --control 127.0.10.5:8080

echo "checking the configurations"
for role in contoso-home contoso-edge publisher-edge clearinghouse; do
    "$binary" check -c $role.toml >"$state/log/$role.check" 2>&1 || { cat "$state/log/$role.check" >&2; die "$role.toml is wrong"; }
done

if [ -z "$empty" ]; then
    echo "importing what each organisation wants"
    "$binary" settings import -c contoso-home.toml --author run.sh contoso-settings.json
    "$binary" settings import -c clearinghouse.toml --author run.sh publisher-settings.json
fi

for role in clearinghouse publisher-edge contoso-edge contoso-home; do
    echo "starting $role"
    start $role "$binary" serve -c $role.toml --ready-fd 1
done

if [ -n "$empty" ]; then
    echo
    echo "ready: five processes run, and no organisation wants anything yet. docs/first-push.md goes on from here."
    echo "Ctrl-C stops everything."
    wait -n "${running[@]}" || true
    die "one of the processes has ended; see state/log"
fi

cat <<'TEXT'

ready: five processes run, each with its log in state/log.

  ./phone.py bob register           Bob's phone signs in, and is suspended
  ./phone.py alice send bob Hello   Alice writes; Bob's phone is not there, so a push goes out
  curl -s http://127.0.10.5:8080/apns/log           the push as APNs got it: a bell, without the text
  curl -s http://127.0.10.1:9090/status/users/bob   what became of it, as home knows
  ./phone.py bob fetch              Bob taps: his phone comes back and gets the message
  curl -s http://127.0.10.4:9090/status             the clearing house's lanes

Ctrl-C stops everything.
TEXT

# Whoever ends by itself ends the example.
wait -n "${running[@]}" || true
die "one of the processes has ended; see state/log"
