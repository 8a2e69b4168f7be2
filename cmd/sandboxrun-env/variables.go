package main

import (
	"cmp"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/sandboxrun/sandboxrun/environment/control"
	"github.com/sandboxrun/sandboxrun/environment/plan"
)

// nameVariable tells a test which environment it is in.
const nameVariable = "SANDBOXRUN_ENV"

// variableName is a service's name as part of a variable's: upper case, with _ for
// what a variable's name cannot have.
func variableName(service string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		case r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
			return r
		}
		return '_'
	}, service)
}

// endpoint is where a port of a service is reached.
type endpoint struct {
	host     string
	port     uint16
	target   uint16
	protocol string
}

// hostEndpoints are the ports of each service as they were opened on the host.
func hostEndpoints(status control.Status) map[string][]endpoint {
	found := map[string][]endpoint{}
	for _, i := range status.Instances {
		for _, p := range i.Ports {
			host := p.HostIP
			if ip := net.ParseIP(host); ip == nil || ip.IsUnspecified() {
				host = "127.0.0.1"
			}
			found[i.Service] = append(found[i.Service], endpoint{host, p.HostPort, p.Target, p.Protocol})
		}
	}
	return found
}

// innerEndpoints are the same as seen from beside the services: by their names.
func innerEndpoints(p *plan.Plan) map[string][]endpoint {
	found := map[string][]endpoint{}
	for _, s := range p.Services {
		for _, port := range s.Ports {
			found[s.Name] = append(found[s.Name], endpoint{s.Name, port.Target, port.Target, port.Protocol})
		}
	}
	return found
}

// variables are what env test gives its command, NAME=VALUE, sorted: the first
// port of each service as SERVICE_HOST and SERVICE_PORT, and each as
// SERVICE_TARGET_ADDR (SERVICE_TARGET_UDP_ADDR). A service without ports has none.
func variables(name string, services map[string][]endpoint) []string {
	all := []string{nameVariable + "=" + name}
	for service, ports := range services {
		prefix := variableName(service)
		seen := map[string]bool{}
		for i, p := range ports {
			if i == 0 {
				all = append(all, prefix+"_HOST="+p.host, prefix+"_PORT="+strconv.Itoa(int(p.port)))
			}
			key := fmt.Sprintf("%s_%d_ADDR", prefix, p.target)
			if p.protocol == "udp" {
				key = fmt.Sprintf("%s_%d_UDP_ADDR", prefix, p.target)
			}
			if !seen[key] {
				seen[key] = true
				all = append(all, key+"="+net.JoinHostPort(p.host, strconv.Itoa(int(p.port))))
			}
		}
	}
	slices.SortFunc(all, func(a, b string) int { return cmp.Compare(a, b) })
	return all
}
