package plan

import (
	"cmp"

	"github.com/sandboxrun/sandboxrun/rootfs/manifest"
)

// CheckOf returns the check that an instance has: the service's, filled up with
// what its image says, as docker does (moby, runconfig/merge.go); nil for none.
// What neither says stays zero and has the defaults of the fields.
func (s Service) CheckOf(image *manifest.Healthcheck) *Healthcheck {
	var h Healthcheck
	if s.Healthcheck != nil {
		h = *s.Healthcheck
	}
	if h.Disabled {
		return nil
	}
	if image != nil {
		if h.Command == nil {
			h.Command = CheckCommand(image.Test)
		}
		h.Interval = cmp.Or(h.Interval, image.Interval)
		h.Timeout = cmp.Or(h.Timeout, image.Timeout)
		h.StartPeriod = cmp.Or(h.StartPeriod, image.StartPeriod)
		h.Retries = cmp.Or(h.Retries, image.Retries)
	}
	if len(h.Command) == 0 {
		return nil
	}
	return &h
}

// CheckCommand returns the command of a healthcheck's test: CMD and arguments, or
// CMD-SHELL and a line. Anything else, NONE included, is no command: nil.
func CheckCommand(test []string) []string {
	switch {
	case len(test) > 1 && test[0] == "CMD":
		return test[1:]
	case len(test) == 2 && test[0] == "CMD-SHELL":
		return []string{"/bin/sh", "-c", test[1]}
	}
	return nil
}
