#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Have a running keepalived take up its configuration, and leave in the kernel what that has no more:
#   renew.sh PID-OF-KEEPALIVED PID-FILE-OF-ITS-CHECKER TAKEOVER [CONFIGURATION]
#
# On a reload the checker, a process of its own, removes the services that it had and that the configuration has not,
# although they may be somebody else's by now. So the checker is replaced: it stands still until keepalived has read the
# configuration and told it so, and is killed before it hears of it, which takes nothing from the kernel. keepalived
# starts another one at once, for which the kernel is made right as for a start. VRRP hears of an ordinary reload.
set -eu
main=$1 file=$2
shift 2
checker=$(cat "$file")
# A number may have been given away since.
[ "$(awk '{ print $4 }' "/proc/$checker/stat")" = "$main" ]
# Should anything go wrong, it goes on and reloads.
trap 'kill -CONT "$checker" 2>/dev/null' EXIT
trap 'exit 1' HUP INT TERM

# Whether SIGHUP, the first of the signals, waits for it.
told() { grep -q '^S[ih][gd]Pnd:.*[13579bdf]$' "/proc/$checker/status"; }

kill -STOP "$checker"
told || kill -HUP "$main"
for try in $(seq 100); do
    ! told || break
    sleep 0.1
done
told
"$@"
kill -KILL "$checker"
trap - EXIT

# keepalived waits for a while before it starts one that had not run for long.
for try in $(seq 700); do
    now=$(cat "$file" 2>/dev/null) || now=
    [ "${now:-$checker}" = "$checker" ] || exit 0
    sleep 0.1
done
echo "keepalived $main has started no other checker" >&2
exit 1
