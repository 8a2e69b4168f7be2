package main

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/sandboxrun/sandboxrun/environment/plan"
)

// colors are those of prefixes, in order of the services: as ANSI numbers that can
// be read on light and dark ground.
func colors() []string { return []string{"36", "33", "32", "35", "34", "96", "93", "92", "95", "94"} }

// prefixer writes lines of output with the name of their instance before them. A
// service has the same colour whenever it is the same file, whatever comes first.
type prefixer struct {
	out        io.Writer
	plain      bool // without names
	timestamps bool
	width      int
	color      map[string]string // by instance; empty without colours
}

func newPrefixer(out io.Writer, p *plan.Plan, o prefixOptions) *prefixer {
	f := &prefixer{out: out, plain: o.plain, timestamps: o.timestamps, color: map[string]string{}}
	var services []string
	for _, s := range p.Services {
		services = append(services, s.Name)
	}
	slices.Sort(services)
	for _, s := range p.Services {
		for _, i := range s.Instances {
			if !s.Attach && !o.all {
				continue
			}
			f.width = max(f.width, len(i.Name))
			if o.color {
				palette := colors()
				f.color[i.Name] = palette[slices.Index(services, s.Name)%len(palette)]
			}
		}
	}
	return f
}

// prefixOptions say how lines look.
type prefixOptions struct {
	plain, timestamps, color bool
	// all counts services too that are not attached.
	all bool
}

// line writes one line of an instance; text has no newline.
func (f *prefixer) line(instance string, at time.Time, text []byte) error {
	var b bytes.Buffer
	if !f.plain {
		if c := f.color[instance]; c != "" {
			fmt.Fprintf(&b, "\x1b[%sm%-*s |\x1b[0m ", c, f.width, instance)
		} else {
			fmt.Fprintf(&b, "%-*s | ", f.width, instance)
		}
	}
	if f.timestamps {
		b.WriteString(at.UTC().Format("2006-01-02T15:04:05.000000000Z") + " ")
	}
	b.Write(text)
	b.WriteByte('\n')
	_, err := f.out.Write(b.Bytes())
	return err
}
