package probe

import (
	"errors"
	"fmt"
	"strings"

	"github.com/sandboxrun/sandboxrun/environment/plan"
)

// check says what is wrong with a probe but for its pattern.
func check(p plan.Probe) error {
	if p.Timeout < 0 {
		return fmt.Errorf("timeout %v is negative", p.Timeout)
	}
	switch p.Kind {
	case plan.ProbeLog, plan.ProbeNotify:
		return nil
	case plan.ProbeTCP, plan.ProbeListen, plan.ProbeHTTP, plan.ProbeGRPC:
	default:
		return errors.New("there is no such probe; there are tcp, http, grpc, log, notify and listen")
	}
	if p.Port == 0 {
		return errors.New("it needs a port from 1 to 65535")
	}
	if strings.ContainsFunc(p.Host, unprintable) {
		return fmt.Errorf("host %q is none", p.Host)
	}
	if p.Kind == plan.ProbeHTTP {
		return checkHTTP(p)
	}
	return nil
}

// checkHTTP keeps everything out of a request that would end a line in it.
func checkHTTP(p plan.Probe) error {
	switch {
	case p.Scheme == "https":
		return errors.New("https is not spoken here; use a tcp probe, or a healthcheck with a client of the service")
	case p.Scheme != "" && p.Scheme != "http":
		return fmt.Errorf("there is no scheme %q; there is http", p.Scheme)
	case p.Path != "" && (p.Path[0] != '/' || strings.ContainsFunc(p.Path, unprintable)):
		return fmt.Errorf("path %q does not begin with / or has a blank; escape those by %%20", p.Path)
	case p.Status != 0 && (p.Status < 200 || p.Status > 599):
		return fmt.Errorf("status %d is not in 200 to 599", p.Status)
	}
	for name, value := range p.Headers {
		switch {
		case name == "" || strings.ContainsFunc(name, notToken):
			return fmt.Errorf("%q is no name of a header", name)
		case strings.ContainsAny(value, "\r\n\x00"):
			return fmt.Errorf("the value of header %s has more than one line", name)
		}
	}
	return nil
}

// unprintable is true of control characters and blanks.
func unprintable(r rune) bool { return r <= ' ' || r == 0x7f }

// notToken is true of what a header's name cannot have (RFC 9110, 5.6.2).
func notToken(r rune) bool {
	return unprintable(r) || r > 0x7f || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r)
}
