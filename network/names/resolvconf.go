package names

import (
	"net/netip"
	"strings"
)

// maxServers is how many name servers a resolver reads (MAXNS of resolv.h).
const maxServers = 3

// ParseResolvConf gives the name servers of a resolv.conf(5), with port 53: what a host's resolvers are. Lines that cannot be
// read are passed over, as resolvers do.
func ParseResolvConf(content []byte) []netip.AddrPort {
	var servers []netip.AddrPort
	for line := range strings.Lines(string(content)) {
		fields := strings.Fields(line)
		if len(fields) < 2 || fields[0] != "nameserver" || len(servers) == maxServers {
			continue
		}
		if a, err := netip.ParseAddr(fields[1]); err == nil {
			servers = append(servers, netip.AddrPortFrom(a, Port))
		}
	}
	return servers
}
