# Uploads through tunnels of the kernel's own, from namespace `director`, to a web server in
# namespace `server` that lb-agent has prepared. Prints a line for each tunnel: `ok` or `BAD`.
set -e

director() { /bin/ip netns exec director "$@"; }
server() { /bin/ip netns exec server "$@"; }

mkdir -p /var/run/netns bpf www/cgi-bin
# Outside /sys: `ip netns exec` gives each command a /sys of its own.
mount -t bpf bpf bpf
/bin/ip netns add director
/bin/ip netns add server
/bin/ip link add d0 type veth peer name s0
/bin/ip link set d0 netns director name eth0
/bin/ip link set s0 netns server name eth0
for host in director server; do
    /bin/ip -n $host link set lo up
    /bin/ip -n $host link set eth0 up
done
/bin/ip -n director address add 10.0.0.2/24 dev eth0
/bin/ip -n director address add fd00::2/64 dev eth0 nodad
/bin/ip -n server address add 10.0.0.11/24 dev eth0
/bin/ip -n server address add fd00::11/64 dev eth0 nodad

# What is posted to it, it answers with the sum of.
printf '#!/bin/sh\necho\nsha256sum\n' >www/cgi-bin/sum
chmod +x www/cgi-bin/sum
dd if=/dev/urandom of=data bs=1k count=300 2>/dev/null
sum=$(sha256sum <data)
server httpd -p '[::]:80' -h www

server lb-agent real-server --vip 10.0.0.100 fd00::100 --interface eth0 \
    --decapsulate ipip,gre,gue --xdp-mode "$MODE" --pin-path "$PWD"/bpf/real-server

upload() {
    printf 'POST /cgi-bin/sum HTTP/1.0\r\nContent-Length: %s\r\n\r\n' "$(wc -c <data)"
    cat data
}

# The inner packet's version, and the tunnel as `ip link add` takes it.
through() {
    version=$1
    shift
    /bin/ip -n director link add name tunnel0 "$@"
    /bin/ip -n director link set tunnel0 up
    if [ "$version" = 4 ]; then
        vip=10.0.0.100
        /bin/ip -n director route replace $vip/32 dev tunnel0 src 10.0.0.2
    else
        vip=fd00::100
        /bin/ip -n director -6 route replace $vip/128 dev tunnel0 src fd00::2
    fi
    if upload | director timeout 60 nc $vip 80 | grep -q "$sum"; then
        echo "ok $version in $*"
    else
        echo "BAD $version in $*"
    fi
    /bin/ip -n director link del tunnel0
}

v4='local 10.0.0.2 remote 10.0.0.11'
v6='local fd00::2 remote fd00::11'
gue='encap gue encap-sport auto encap-dport 6080'
# Nothing asks for these by itself.
modprobe fou
modprobe fou6
through 4 type ipip $v4
through 6 type sit $v4
through 4 type gre $v4
through 6 type gre $v4 ocsum
# With a limit of encapsulations in a destination options header, and without.
through 4 type ip6tnl mode any $v6
through 6 type ip6tnl mode any $v6 encaplimit none
through 4 type ip6gre $v6 ocsum
through 6 type ip6gre $v6
through 4 type ipip $v4 $gue
through 4 type ipip $v4 $gue encap-csum
through 6 type sit $v4 $gue
through 4 type ip6tnl mode any $v6 $gue

server lb-agent real-server --check -o json
server lb-agent real-server --undo >/dev/null
