# Downloads from virtual addresses whose server is reached through lb's tunnels, which end in the
# kernel's own. Prints a line for each tunnel: `ok` or `BAD`.
set -e

client() { /bin/ip netns exec client "$@"; }
director() { /bin/ip netns exec director env LB_SOCKET="$PWD/agent.sock" "$@"; }
server() { /bin/ip netns exec server "$@"; }

mkdir -p /var/run/netns bpf state www
# Outside /sys: `ip netns exec` gives each command a /sys of its own.
mount -t bpf bpf bpf
/bin/ip link add br0 type bridge
/bin/ip link set br0 up
number=0
for host in client director server; do
    number=$((number + 1))
    /bin/ip netns add $host
    /bin/ip link add $host type veth peer name peer
    /bin/ip link set peer netns $host name eth0
    /bin/ip link set $host master br0
    /bin/ip link set $host up
    # No wait for duplicate addresses: until it is over a host answers no neighbour.
    /bin/ip netns exec $host sh -c 'echo 0 >/proc/sys/net/ipv6/conf/eth0/accept_dad'
    /bin/ip -n $host link set lo up
    /bin/ip -n $host link set eth0 up
    /bin/ip -n $host address add 10.0.0.$number/24 dev eth0
    /bin/ip -n $host address add fd00::$number/64 dev eth0 nodad
done
/bin/ip -n director address add 10.0.0.100/32 dev eth0
/bin/ip -n director address add fd00::100/128 dev eth0 nodad

dd if=/dev/urandom of=www/data bs=1k count=300 2>/dev/null
sum=$(sha256sum <www/data)
server httpd -p '[::]:80' -h www
server sh -c 'echo 1 >/proc/sys/net/ipv4/conf/all/arp_ignore
              echo 2 >/proc/sys/net/ipv4/conf/all/arp_announce
              echo 0 >/proc/sys/net/ipv4/conf/all/rp_filter
              echo 0 >/proc/sys/net/ipv4/conf/default/rp_filter'

director lb-agent run --interface eth0 --xdp-mode generic --flows 2048 --pin-path "$PWD"/bpf/lb \
    --state-dir state --socket "$PWD/agent.sock" 2>agent.log &
tries=0
until director lb-ctl -L >/dev/null 2>&1; do
    tries=$((tries + 1))
    if [ $tries -gt 100 ]; then
        cat agent.log
        exit 1
    fi
    usleep 100000
done

# The packets' version, the server's address, how lb is to reach it, and the tunnel as `ip link add`
# takes it. Each has a port of its own: what is left of flows is not met again.
port=8000
to() {
    version=$1 address=$2 forward=$3
    shift 3
    port=$((port + 1))
    if [ "$version" = 4 ]; then vip=10.0.0.100 at=10.0.0.100:$port; else vip=fd00::100 at="[fd00::100]:$port"; fi
    server httpd -p "[::]:$port" -h www
    /bin/ip -n server link add name tunnel0 "$@"
    /bin/ip -n server link set tunnel0 up
    if [ "$version" = 4 ]; then
        /bin/ip -n server address add $vip/32 dev tunnel0
    else
        /bin/ip -n server address add $vip/128 dev tunnel0 nodad
    fi
    director lb-ctl -A -t "$at" -s rr
    director lb-ctl -a -t "$at" -r "$address" $forward
    # Without a tunnel the packets would be taken by eth0, and nothing would be wrong.
    if client timeout 60 wget -q -O - "http://$at/data" | sha256sum | grep -q "${sum%% *}" &&
        [ "$(server cat /sys/class/net/tunnel0/statistics/rx_packets)" -gt 5 ]; then
        echo "ok $version by $forward to $*"
    else
        echo "BAD $version by $forward to $*"
        director lb-ctl -L -n --stats
        director lb-ctl status
        /bin/ip -n server -s link show tunnel0
    fi
    director lb-ctl -D -t "$at"
    /bin/ip -n server link del tunnel0
}

v4='local 10.0.0.3 remote any'
to 4 10.0.0.3 -i type ipip $v4
to 6 10.0.0.3 -i type sit $v4
to 4 10.0.0.3 '-i --tun-type gre --tun-nocsum' type gre $v4
to 4 10.0.0.3 '-i --tun-type gre --tun-csum' type gre $v4 icsum
to 4 fd00::3 -i type ip6tnl mode any local fd00::3
