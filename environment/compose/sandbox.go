package compose

import (
	"fmt"
	"maps"
	"net/netip"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/compose-spec/compose-go/v2/types"

	"github.com/sandboxrun/sandboxrun/cgroup"
	"github.com/sandboxrun/sandboxrun/environment/plan"
	"github.com/sandboxrun/sandboxrun/environment/probe"
	"github.com/sandboxrun/sandboxrun/internal/spelling"
)

// sandboxKey is the extension of the specification that is ours.
const sandboxKey = "x-sandbox"

// reading is what a key of x-sandbox means.
type reading = func(path []string, value any)

// keys calls the reading of each key of a mapping, by the alphabet, and refuses others.
func (c *converter) keys(path []string, value any, known map[string]reading) {
	given, ok := value.(map[string]any)
	if !ok {
		c.addf(path, "it must be a mapping of keys to values; there are %s", strings.Join(slices.Sorted(maps.Keys(known)), ", "))
		return
	}
	for _, key := range slices.Sorted(maps.Keys(given)) {
		read, ok := known[key]
		here := child(path, key)
		switch {
		case ok && given[key] == nil:
			c.addf(here, "it is empty; give a value, or leave it out")
		case ok:
			read(here, given[key])
		default:
			words := slices.Sorted(maps.Keys(known))
			hint := "there are " + strings.Join(words, ", ")
			if guess := spelling.Nearest(key, words); guess != "" {
				hint = "did you mean " + guess + "?"
			}
			c.addf(here, "the key %q is not known; %s", key, hint)
		}
	}
}

// word is a single value as text.
func (c *converter) word(path []string, value any) string {
	switch v := value.(type) {
	case string:
		if v == "" {
			c.addf(path, "it is empty; give a value, or leave it out")
		}
		return v
	case bool, int, int64, uint64, float64:
		return fmt.Sprint(v)
	}
	c.addf(path, "it must be one value, not a list or mapping")
	return ""
}

func (c *converter) yes(path []string, value any) bool {
	switch text := c.word(path, value); strings.ToLower(text) {
	case "true":
		return true
	case "false", "":
	default:
		c.addf(path, "it must be true or false, not %q", text)
	}
	return false
}

func (c *converter) whole(path []string, value any, low, high int) int {
	text := c.word(path, value)
	n, err := strconv.Atoi(text)
	if text != "" && (err != nil || n < low || n > high) {
		c.addf(path, "it must be a whole number from %d to %d, not %q", low, high, text)
		return 0
	}
	return n
}

func (c *converter) port(path []string, value any) uint16 {
	return uint16(c.whole(path, value, 1, 65535))
}

func (c *converter) span(path []string, value any) time.Duration {
	d, problem := duration(c.word(path, value))
	if problem == "" && d == 0 {
		problem = "it must be longer than nothing"
	}
	if problem != "" {
		c.addf(path, "%s", problem)
	}
	return d
}

// parsed reads a value as the command line does.
func parsed[T any](c *converter, path []string, value any, parse func(string) (T, error)) *T {
	text := c.word(path, value)
	if text == "" {
		return nil
	}
	v, err := parse(text)
	if err != nil {
		c.addf(path, "%v", err)
		return nil
	}
	return &v
}

// sandboxOfService reads x-sandbox of a service: where its root filesystem comes from, and when it is ready.
func (c *converter) sandboxOfService(path []string, s types.ServiceConfig, out *plan.ServiceRequest) {
	value, given := s.Extensions[sandboxKey]
	if !given {
		return
	}
	path = child(path, sandboxKey)
	set := func(at []string, source string) {
		if out.Image.Source != "" || out.Image.Host {
			c.addf(at, "one of image and x-sandbox's rootfs, binary, base and host is enough; leave the others out, in a later file by image: !reset null")
			return
		}
		out.Image.Source = source
	}
	c.keys(path, value, map[string]reading{
		"rootfs": func(at []string, v any) { set(at, c.hostPath(c.word(at, v))) },
		"binary": func(at []string, v any) { set(at, "binary:"+c.hostPath(c.word(at, v))) },
		"base":   func(at []string, v any) { set(at, c.base(at, c.word(at, v))) },
		"host": func(at []string, v any) {
			if c.yes(at, v) {
				set(at, "")
				out.Image.Host = true
			}
		},
		"ready":     func(at []string, v any) { out.Ready = c.probes(at, v) },
		"wall_time": func(at []string, v any) { out.Sandbox.Limits.WallTime = c.span(at, v) },
		"cpu_time":  func(at []string, v any) { out.Sandbox.Limits.CPUTime = c.span(at, v) },
	})
	out.Image.DockerDefaults = out.Image.DockerDefaults || strings.HasPrefix(out.Image.Source, "docker") || strings.HasPrefix(out.Image.Source, "oci")
}

// hostPath is meant from the project's directory.
func (c *converter) hostPath(path string) string {
	if rest, ok := strings.CutPrefix(path, "~/"); ok {
		if home, set := c.sources.variables["HOME"]; set {
			return filepath.Join(home, rest)
		}
	}
	if !filepath.IsAbs(path) {
		path = filepath.Join(c.sources.dir, path)
	}
	return filepath.Clean(path)
}

// base is any source of `bundle build`, made absolute.
func (c *converter) base(path []string, source string) string {
	kind, rest, _ := strings.Cut(source, ":")
	switch kind {
	case "docker":
		if !strings.HasPrefix(rest, "//") {
			c.addf(path, "%q is no source; write docker://NAME", source)
		}
		return source
	case "oci", "oci-archive", "docker-archive", "dir", "tar", "binary":
		return kind + ":" + c.hostPath(rest)
	}
	if source != "" {
		c.addf(path, "%q is no source; write docker://NAME, oci:DIR, oci-archive:FILE, docker-archive:FILE, dir:DIR, tar:FILE or binary:FILE", source)
	}
	return source
}

// probes reads ready: a mapping, or a list of them, all of which have to be true.
func (c *converter) probes(path []string, value any) []plan.Probe {
	items, several := value.([]any)
	if !several {
		return c.probesOf(path, value)
	}
	var out []plan.Probe
	for i, item := range items {
		out = append(out, c.probesOf(child(path, "["+strconv.Itoa(i)+"]"), item)...)
	}
	return out
}

// probesOf reads one mapping: a probe for each of its kinds, with one timeout.
func (c *converter) probesOf(path []string, value any) []plan.Probe {
	var out []plan.Probe
	var timeout time.Duration
	before := len(c.problems)
	add := func(kind plan.ProbeKind, needs string, simple func(p *plan.Probe, at []string, v any), keys func(p *plan.Probe) map[string]reading) reading {
		return func(at []string, v any) {
			p := plan.Probe{Kind: kind}
			if long, ok := v.(map[string]any); ok && keys != nil {
				c.keys(at, v, keys(&p))
				if _, given := long[needs]; !given {
					c.addf(at, "it needs a %s", needs)
				}
			} else {
				simple(&p, at, v)
			}
			out = append(out, p)
		}
	}
	port := func(p *plan.Probe, at []string, v any) { p.Port = c.port(at, v) }
	common := func(p *plan.Probe, more map[string]reading) map[string]reading {
		keys := map[string]reading{
			"port": func(at []string, v any) { p.Port = c.port(at, v) },
			"host": func(at []string, v any) { p.Host = c.word(at, v) },
		}
		maps.Copy(keys, more)
		return keys
	}
	c.keys(path, value, map[string]reading{
		"timeout": func(at []string, v any) { timeout = c.span(at, v) },
		"tcp":     add(plan.ProbeTCP, "port", port, func(p *plan.Probe) map[string]reading { return common(p, nil) }),
		"http":    add(plan.ProbeHTTP, "port", port, func(p *plan.Probe) map[string]reading { return common(p, c.httpKeys(p)) }),
		"grpc": add(plan.ProbeGRPC, "port", port, func(p *plan.Probe) map[string]reading {
			return common(p, map[string]reading{"service": func(at []string, v any) { p.GRPCService = c.word(at, v) }})
		}),
		"log": add(plan.ProbeLog, "pattern", func(p *plan.Probe, at []string, v any) { p.Pattern = c.pattern(at, v) }, func(p *plan.Probe) map[string]reading {
			return map[string]reading{
				"pattern": func(at []string, v any) { p.Pattern = c.pattern(at, v) },
				"times":   func(at []string, v any) { p.Times = c.whole(at, v, 1, 1_000_000) },
			}
		}),
		"notify": func(at []string, v any) {
			if c.yes(at, v) {
				out = append(out, plan.Probe{Kind: plan.ProbeNotify})
			}
		},
		"listen": add(plan.ProbeListen, "port", port, nil),
	})
	for i := range out {
		out[i].Timeout = timeout
		if err := probe.Check(out[i]); err != nil && len(c.problems) == before {
			c.addf(child(path, string(out[i].Kind)), "%v", err)
		}
	}
	if len(out) == 0 && timeout != 0 {
		c.addf(path, "there is nothing to wait for; write one of tcp, http, grpc, log, notify and listen")
	}
	return out
}

func (c *converter) httpKeys(p *plan.Probe) map[string]reading {
	return map[string]reading{
		"path":   func(at []string, v any) { p.Path = c.word(at, v) },
		"scheme": func(at []string, v any) { p.Scheme = c.word(at, v) },
		"status": func(at []string, v any) { p.Status = c.whole(at, v, 100, 599) },
		"headers": func(at []string, v any) {
			headers, ok := v.(map[string]any)
			if !ok {
				c.addf(at, "it must be a mapping of names to values")
				return
			}
			p.Headers = map[string]string{}
			for _, name := range slices.Sorted(maps.Keys(headers)) {
				p.Headers[name] = c.word(child(at, name), headers[name])
			}
		},
	}
}

// pattern is a regular expression of RE2.
func (c *converter) pattern(path []string, value any) string {
	text := c.word(path, value)
	if _, err := regexp.Compile(text); err != nil {
		c.addf(path, "%q is no regular expression (RE2): %v", text, err)
	}
	return text
}

// sandboxOfProject reads x-sandbox at the top of the file.
func (c *converter) sandboxOfProject(out *plan.Plan) {
	value, given := c.project.Extensions[sandboxKey]
	if !given {
		return
	}
	c.keys([]string{sandboxKey}, value, map[string]reading{
		"egress": func(at []string, v any) { out.Egress = c.egress(at, v) },
		"ttl":    func(at []string, v any) { out.TTL = c.span(at, v) },
		"limits": func(at []string, v any) { out.Limits = c.allLimits(at, v) },
	})
}

func (c *converter) egress(path []string, value any) plan.Egress {
	items, several := value.([]any)
	if !several {
		switch text := c.word(path, value); text {
		case "all":
			return plan.Egress{All: true}
		case "none", "":
			return plan.Egress{}
		default:
			items = []any{text}
		}
	}
	var out plan.Egress
	for i, item := range items {
		at := child(path, "["+strconv.Itoa(i)+"]")
		rule, problem := egressRule(c.word(at, item))
		if problem != "" {
			c.addf(at, "%s", problem)
			continue
		}
		out.Rules = append(out.Rules, rule)
	}
	return out
}

func egressRule(text string) (rule plan.EgressRule, problem string) {
	if prefix, err := netip.ParsePrefix(text); err == nil {
		return plan.EgressRule{Prefix: prefix.Masked()}, ""
	}
	if a, err := netip.ParseAddr(text); err == nil && a.Zone() == "" {
		return plan.EgressRule{Prefix: netip.PrefixFrom(a, a.BitLen())}, ""
	}
	if !isDomain(strings.TrimPrefix(text, "*.")) {
		return plan.EgressRule{}, fmt.Sprintf("%q is neither all, a subnet such as 10.0.0.0/8, an address nor a DNS name such as example.com or *.example.com", text)
	}
	return plan.EgressRule{Name: strings.ToLower(strings.TrimSuffix(text, "."))}, ""
}

// isDomain tells whether text is a name that DNS can have, with two labels or more: a single one is a service.
func isDomain(text string) bool {
	labels := strings.Split(strings.TrimSuffix(text, "."), ".")
	if len(text) > 253 || len(labels) < 2 {
		return false
	}
	return !slices.ContainsFunc(labels, func(label string) bool {
		return len(label) > 63 || strings.HasPrefix(label, "-") || strings.HasSuffix(label, "-") || !asName.allows(label)
	})
}

// allLimits are those of the environment as a whole.
func (c *converter) allLimits(path []string, value any) cgroup.Limits {
	var l cgroup.Limits
	c.keys(path, value, map[string]reading{
		"memory":      func(at []string, v any) { l.MemoryBytes = parsed(c, at, v, cgroup.ParseBytes) },
		"memory_swap": func(at []string, v any) { l.MemorySwapBytes = parsed(c, at, v, cgroup.ParseBytes) },
		"cpus":        func(at []string, v any) { l.CPUs = parsed(c, at, v, cgroup.ParseCPUs) },
		"pids":        func(at []string, v any) { l.Pids = parsed(c, at, v, cgroup.ParsePids) },
		"cpuset": func(at []string, v any) {
			if cpus := parsed(c, at, v, cgroup.ParseCpuset); cpus != nil {
				l.Cpuset = *cpus
			}
		},
	})
	return l
}
