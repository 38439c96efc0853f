#!/bin/sh
# Records transcripts anew: run it as root on a machine (a VM of Debian 12, say) whose kernel has
# ip_vs, its schedulers and ip_vs_pe_sip, with an interface dummy0 and these lines in /etc/hosts:
#
#   10.0.0.77 vip.example.org vip
#   192.168.0.77 rs.example.org rs
#   2001:db8::77 v6.example.org
#   10.0.0.78 a-really-long-host-name.with-a-long-domain.example.org
#
# It takes the commands out of old transcripts and writes new ones into a folder:
#
#   record.sh NEW OLD...
#
# The table is cleared before each file. Do not run it where ip_vs carries traffic.
set -u
new=$1
shift
mkdir -p "$new"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Runs the command line in $line on the input in $work/in.
answer() {
    [ -n "$pending" ] || return 0
    pending=
    printf '$ %s\n' "$line"
    sed 's/^/< /' "$work/in"
    eval "set -f; ipvsadm $line" <"$work/in" >"$work/out" 2>"$work/err"
    code=$?
    sed 's/^/1> /' "$work/out"
    sed 's/^/2> /' "$work/err"
    echo "= $code"
}

for old; do
    ipvsadm -C
    ipvsadm --set 900 120 300
    ipvsadm --stop-daemon master 2>/dev/null
    ipvsadm --stop-daemon backup 2>/dev/null
    pending=
    while IFS= read -r row; do
        case $row in
        '#'*) printf '%s\n' "$row" ;;
        '$'*)
            answer
            line=${row#?}
            line=${line# }
            pending=1
            : >"$work/in"
            ;;
        '<'*)
            input=${row#?}
            printf '%s\n' "${input# }" >>"$work/in"
            ;;
        esac
    done <"$old" >"$new/${old##*/}"
    answer >>"$new/${old##*/}"
done
