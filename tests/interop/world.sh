# Run in fresh network and mount namespaces: only a loopback, and our name server in /etc/resolv.conf, which
# getaddrinfo reads inside of ejabberd.
set -eu
ip link set lo up
resolv=$(mktemp)
echo "nameserver 127.0.2.53" >"$resolv"
mount --bind "$resolv" "$(readlink -f /etc/resolv.conf)"
rm "$resolv"
exec "$@"
