package egress

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"github.com/sandboxrun/sandboxrun/network/names"
)

// Policy says what may be reached outside. The zero value lets nothing out.
type Policy struct {
	// All lets everything out; Prefixes and Names are empty then.
	All bool
	// Prefixes are destinations.
	Prefixes []netip.Prefix
	// Names are DNS names; whatever they resolve to when a service asks may be reached from then on. "*.example.com" are all
	// names below example.com.
	Names []string
}

// None says that nothing is let out, so that neither half of this package is needed.
func (p Policy) None() bool { return !p.All && len(p.Prefixes)+len(p.Names) == 0 }

// Validate says what is wrong with a policy.
func (p Policy) Validate() error {
	if p.All && len(p.Prefixes)+len(p.Names) > 0 {
		return fmt.Errorf("cannot let out all and %d rules besides: the rules would mean nothing; give one or the other",
			len(p.Prefixes)+len(p.Names))
	}
	for _, prefix := range p.Prefixes {
		switch {
		case !prefix.IsValid():
			return fmt.Errorf("cannot let out to %q: it is no prefix; write 192.0.2.0/24", prefix)
		case prefix.Addr().Is4In6():
			return fmt.Errorf("cannot let out to %s: it is IPv4 written as IPv6; write it as IPv4", prefix)
		case prefix != prefix.Masked():
			return fmt.Errorf("cannot let out to %s: it has bits beyond its length; write %s, or %s/%d for one host",
				prefix, prefix.Masked(), prefix.Addr(), prefix.Addr().BitLen())
		}
	}
	for _, name := range p.Names {
		if err := validateName(strings.TrimPrefix(name, "*.")); err != nil {
			return fmt.Errorf("cannot let out to %q: %w", name, err)
		}
	}
	return nil
}

// hostName is what has addresses in the DNS: letters, digits and '-' (RFC 1123), and '_', which some have all the same.
var hostName = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?)*\.?$`)

func validateName(name string) error {
	if names.ValidateName(strings.TrimSuffix(name, ".")) != nil || !hostName.MatchString(name) {
		return errors.New("it is no DNS name; write example.com, or *.example.com for the names below it")
	}
	if !strings.Contains(strings.TrimSuffix(name, "."), ".") {
		return errors.New("a name of one part is never asked outside; write it in full")
	}
	return nil
}

// AllowsName says whether a name may be asked outside: with All each, else those of Names. An address that is let out is no
// reason to ask for names, by which data can leave as well.
func (p Policy) AllowsName(name string) bool {
	if p.All {
		return true
	}
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	return slices.ContainsFunc(p.Names, func(allowed string) bool {
		allowed = strings.ToLower(strings.TrimSuffix(allowed, "."))
		if below, wildcard := strings.CutPrefix(allowed, "*"); wildcard {
			return strings.HasSuffix(name, below) && len(name) > len(below)
		}
		return name == allowed
	})
}
