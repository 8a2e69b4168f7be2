package names

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"
)

// maxServers is how many name servers a resolver reads (MAXNS of resolv.h).
const maxServers = 3

// ResolvConf gives the content of an instance's /etc/resolv.conf. Without options it has ndots:0, as docker's: a name is
// asked as it is before search domains are tried. Servers beyond three are left out: no resolver reads them.
func ResolvConf(servers []netip.Addr, search, options []string) []byte {
	var b bytes.Buffer
	for _, s := range servers[:min(len(servers), maxServers)] {
		fmt.Fprintf(&b, "nameserver %s\n", s)
	}
	if len(search) > 0 {
		fmt.Fprintf(&b, "search %s\n", strings.Join(search, " "))
	}
	if len(options) == 0 {
		options = []string{"ndots:0"}
	}
	fmt.Fprintf(&b, "options %s\n", strings.Join(options, " "))
	return b.Bytes()
}

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
