#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Before keepalived starts: make what an earlier one left in the kernel as keepalived will take it to be.
#
# A keepalived that stops or dies leaves its services in place, so that connections live on. One that starts
# adds them again and is content that they are there already: a real server that was inhibited (weight 0)
# would stay so, one that the configuration no longer has would stay for ever. The lines "#ipvs" of the
# configuration, in the form of ipvsadm-save(8), say how the entries of its services have to be; services of
# others are not looked at. Who is drained has a file in the folder of the line "#drains", by its address: what
# that holds is added to its weight, here as by keepalived.
set -eu
configuration=${1:-/etc/keepalived/keepalived.conf}

ipvsadm -Sn | awk '
    # Up to the real server, or up to the scheduler, a line says what it is about.
    function subject(line) {
        if (match(line, / -r [^ ]+/)) return substr(line, 1, RSTART + RLENGTH - 1)
        match(line, / -s /)
        return substr(line, 1, RSTART - 1)
    }
    function service(line) {
        sub(/^-[a-zA-Z] /, "", line)
        sub(/ -r .*/, "", line)
        return line
    }
    function weighed(line, address, change, weight) {
        if (drains == "" || !match(line, / -r [^ ]+/)) return line
        address = substr(line, RSTART + 4, RLENGTH - 4)
        sub(/:[0-9]+$/, "", address)
        gsub(/[][]/, "", address)
        if ((getline change < (drains "/" address)) < 1) change = 0
        close(drains "/" address)
        if (!match(line, / -w [0-9]+/)) return line
        weight = substr(line, RSTART + 4, RLENGTH - 4) + change
        return substr(line, 1, RSTART - 1) sprintf(" -w %.0f", weight > 0 ? weight : 0) substr(line, RSTART + RLENGTH)
    }
    FNR == NR {
        if (sub(/^#drains /, "")) drains = $0
        else if (sub(/^#ipvs /, "")) {
            $0 = weighed($0)
            wanted[subject($0)] = $0
            ours[service(subject($0))] = 1
        }
        next
    }
    {
        # ipvsadm prints a large mark as a negative number, and does not read it so.
        if ($2 == "-f" && $3 < 0) sub(" " $3 " ", " " sprintf("%.0f", $3 + 4294967296) " ")
        about = subject($0)
        if (!(service(about) in ours)) next
        if (!(about in wanted)) print "-d" substr(about, 3)
        else print (/^-A/ ? "-E" : "-e") substr(wanted[about], 3)
    }
' "$configuration" - | ipvsadm -R
