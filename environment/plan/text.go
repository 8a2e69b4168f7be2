package plan

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/sandboxrun/sandboxrun/bundles/service"
	"github.com/sandboxrun/sandboxrun/cgroup"
)

// Text tells people what would be done, step by step: `env up --dry-run`. Its
// form may change; programs read the JSON.
func (p *Plan) Text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "Environment %s, from %s\n", p.Name, strings.Join(p.Files, ", "))
	fmt.Fprintf(&b, "  outbound access: %s\n", p.Egress)
	if p.TTL != 0 {
		fmt.Fprintf(&b, "  ends after %s\n", p.TTL)
	}
	if limits := limitWords(p.Limits, service.Service{}); limits != "" {
		fmt.Fprintf(&b, "  all services together: %s\n", limits)
	}
	for _, n := range p.Networks {
		fmt.Fprintf(&b, "Network %s: %s\n", n.Name, n.words())
	}
	for _, v := range p.Volumes {
		fmt.Fprintf(&b, "Volume %s: %s\n", v.Name, v.words())
	}
	for _, s := range p.Secrets {
		kind, name := "Secret", s.Name
		if config, ok := strings.CutPrefix(s.Name, ConfigPrefix); ok {
			kind, name = "Config", config
		}
		fmt.Fprintf(&b, "%s %s: %s\n", kind, name, s.words())
	}
	for i, s := range p.Services {
		fmt.Fprintf(&b, "%d. %s\n", i+1, s.Name)
		s.write(&b)
	}
	return b.String()
}

// String is "none", "all" or the destinations.
func (e Egress) String() string {
	switch {
	case e.All:
		return "all"
	case len(e.Rules) == 0:
		return "none"
	}
	words := make([]string, len(e.Rules))
	for i, r := range e.Rules {
		words[i] = r.Name
		if r.Prefix.IsValid() {
			words[i] = r.Prefix.String()
		}
	}
	return strings.Join(words, ", ")
}

func (n Network) words() string {
	words := []string{"bridge " + n.Bridge}
	for i, s := range n.Subnets {
		words = append(words, s.String())
		if i < len(n.Gateways) { // a plan that was read from somewhere may have fewer
			words[i+1] += " by " + n.Gateways[i].String()
		}
	}
	if n.Internal {
		words = append(words, "internal")
	}
	if n.MTU != 0 {
		words = append(words, fmt.Sprintf("MTU %d", n.MTU))
	}
	return strings.Join(words, ", ")
}

func (v Volume) words() string {
	switch {
	case v.Source != "":
		return v.Source + " of the host"
	case v.Tmpfs:
		return strings.Join(append([]string{"in memory"}, v.Options...), ", ")
	}
	return "made, and removed at the end"
}

func (s Secret) words() string {
	switch {
	case s.File != "":
		return "file " + s.File
	case s.Variable != "":
		return "variable " + s.Variable
	}
	return fmt.Sprintf("%d bytes of the compose file", len(s.Inline))
}

// write tells of one step.
func (s Service) write(b *strings.Builder) {
	table := tabwriter.NewWriter(b, 0, 0, 1, ' ', 0)
	row := func(name string, values ...string) {
		for _, value := range slices.DeleteFunc(values, func(v string) bool { return v == "" }) {
			fmt.Fprintf(table, "     %s\t%s\n", name, value)
			name = ""
		}
	}
	row("from", s.Image.words())
	row("command", quote(slices.Concat(s.Sandbox.Entrypoint, s.Sandbox.Command)))
	for _, d := range s.DependsOn {
		row("after", d.words())
	}
	for _, h := range s.PreStart {
		row("before it", quote(h.Command))
	}
	for _, in := range s.Instances {
		row("container", in.words())
	}
	for _, shared := range []struct{ what, with string }{{"network", s.JoinNetwork}, {"processes", s.JoinPID}, {"IPC", s.JoinIPC}} {
		if shared.with != "" {
			row("shares", shared.what+" with "+shared.with)
		}
	}
	for _, p := range s.Ports {
		row("port", p.String())
	}
	row("limits", limitWords(s.Sandbox.Limits, s.Sandbox))
	for _, m := range s.Sandbox.Mounts {
		row("mount", mountWords(m))
	}
	for _, v := range s.Volumes {
		row("mount", fmt.Sprintf("%s volume %s%s", v.Target, v.Volume, readOnly(v.ReadOnly)))
	}
	for _, g := range s.Grants {
		row("mount", fmt.Sprintf("%s from %s, mode %04o", g.Target, g.Secret, g.Mode))
	}
	for _, probe := range s.Ready {
		row("ready", probe.String())
	}
	row("healthy", s.Healthcheck.words())
	if s.Restart.Policy != "no" && s.Restart.Policy != "" {
		row("restart", s.Restart.words())
	}
	for _, h := range s.PostStart {
		row("then", quote(h.Command))
	}
	for _, h := range s.PreStop {
		row("before its end", quote(h.Command))
	}
	row("output", s.Logs.words())
	row("stop", s.stopWords())
	// A strings.Builder takes everything.
	_ = table.Flush()
}

func (l Logs) words() string {
	switch {
	case l.None:
		return "not stored"
	case l == Logs{}:
		return ""
	}
	var words []string
	switch {
	case l.MaxFiles == 1:
		words = append(words, "one file")
	case l.MaxFiles > 0:
		words = append(words, fmt.Sprintf("at most %d files", l.MaxFiles))
	}
	if l.MaxSize > 0 {
		words = append(words, fmt.Sprintf("at most %d bytes each", l.MaxSize))
	}
	return strings.Join(words, ", ")
}

func (i Image) words() string {
	text := i.Source
	if i.Host {
		text = "this host's root filesystem"
	}
	if i.Platform != "" {
		text += " for " + i.Platform
	}
	if i.Pull != "" {
		text += ", pull " + i.Pull
	}
	return text
}

func (d Dependency) words() string {
	what := map[Condition]string{Started: "has started", Healthy: "is ready", Completed: "has ended with 0"}[d.Condition]
	text := d.Service + " " + what
	if d.Optional {
		text += ", if it can be"
	}
	if d.Restart {
		text += "; restarts with it"
	}
	return text
}

func (in Instance) words() string {
	words := []string{in.Name}
	for _, a := range in.Attachments {
		addresses := make([]string, len(a.Addresses))
		for i, address := range a.Addresses {
			addresses[i] = address.String()
		}
		words = append(words, fmt.Sprintf("%s %s on %s as %s", a.Interface, strings.Join(addresses, " "), a.Network, strings.Join(a.Names, " ")))
	}
	return strings.Join(words, "; ")
}

// String is "127.0.0.1:8080 to 80/tcp".
func (p Port) String() string {
	host := "a free port"
	if p.HostPort != 0 {
		host = strconv.Itoa(int(p.HostPort))
	}
	if p.HostPortEnd != 0 {
		host = fmt.Sprintf("the first free of %d-%d", p.HostPort, p.HostPortEnd)
	}
	return fmt.Sprintf("%s of %s to %d/%s", host, p.HostIP, p.Target, p.Protocol)
}

// String is "tcp 5432 within 1m0s".
func (p Probe) String() string {
	words := []string{string(p.Kind)}
	if p.Host != "" {
		words = append(words, p.Host)
	}
	if p.Port != 0 {
		words = append(words, strconv.Itoa(int(p.Port)))
	}
	for _, word := range []string{p.Path, p.GRPCService, p.Pattern} {
		if word != "" {
			words = append(words, strconv.Quote(word))
		}
	}
	if p.Timeout != 0 {
		words = append(words, "within "+p.Timeout.String())
	}
	return strings.Join(words, " ")
}

func (h *Healthcheck) words() string {
	switch {
	case h == nil:
		return ""
	case h.Disabled:
		return "never asked, even where the image would"
	}
	text := quote(h.Command)
	if h.Command == nil {
		text = "as the image says"
	}
	for _, t := range []struct {
		name  string
		value time.Duration
	}{{"every", h.Interval}, {"timeout", h.Timeout}, {"start period", h.StartPeriod}, {"start interval", h.StartInterval}} {
		if t.value != 0 {
			text += fmt.Sprintf(", %s %s", t.name, t.value)
		}
	}
	if h.Retries != 0 {
		text += fmt.Sprintf(", %d retries", h.Retries)
	}
	return text
}

func (r Restart) words() string {
	text := r.Policy
	if r.MaxAttempts != 0 {
		text += fmt.Sprintf(", at most %d times", r.MaxAttempts)
	}
	if r.Delay != 0 {
		text += fmt.Sprintf(", after %s", r.Delay)
	}
	return text
}

func (s Service) stopWords() string {
	signal := s.StopSignal
	if signal == "" {
		signal = "the image's signal or SIGTERM"
	}
	return fmt.Sprintf("%s, SIGKILL after %s", signal, s.StopGrace)
}

func mountWords(m service.Mount) string {
	source := string(m.Kind)
	if m.Source != "" {
		source += " " + m.Source
	}
	if len(m.Options) > 0 {
		source += " " + strings.Join(m.Options, ",")
	}
	return fmt.Sprintf("%s %s%s", m.Target, source, readOnly(m.ReadOnly))
}

func readOnly(yes bool) string {
	if yes {
		return ", read-only"
	}
	return ""
}

// limitWords is empty where there are none.
func limitWords(l cgroup.Limits, s service.Service) string {
	var words []string
	if l.MemoryBytes != nil {
		words = append(words, "memory "+bytesOrNone(*l.MemoryBytes))
	}
	if l.MemorySwapBytes != nil {
		words = append(words, "memory and swap "+bytesOrNone(*l.MemorySwapBytes))
	}
	if s.MemoryReservation != 0 {
		words = append(words, "memory kept "+bytesOrNone(s.MemoryReservation))
	}
	if l.CPUs != nil {
		words = append(words, fmt.Sprintf("CPUs %g", *l.CPUs))
	}
	if l.Cpuset != "" {
		words = append(words, "CPUs no. "+l.Cpuset)
	}
	if l.Pids != nil {
		words = append(words, fmt.Sprintf("processes %d", *l.Pids))
	}
	if l.WallTime != 0 {
		words = append(words, "wall time "+l.WallTime.String())
	}
	if l.CPUTime != 0 {
		words = append(words, "CPU time "+l.CPUTime.String())
	}
	return strings.Join(words, ", ")
}

func bytesOrNone(n int64) string {
	if n == cgroup.Unlimited {
		return "without a bound"
	}
	for _, unit := range []struct {
		size int64
		name string
	}{{1 << 30, "GiB"}, {1 << 20, "MiB"}, {1 << 10, "KiB"}} {
		if n >= unit.size && n%unit.size == 0 {
			return fmt.Sprintf("%d %s", n/unit.size, unit.name)
		}
	}
	return fmt.Sprintf("%d bytes", n)
}

// quote writes an argument vector as a line that a shell would read as the same.
func quote(args []string) string {
	words := make([]string, len(args))
	for i, arg := range args {
		words[i] = arg
		if arg == "" || strings.ContainsAny(arg, " \t\n\"'\\$`&|;<>()*?[]#~!{}") {
			words[i] = "'" + strings.ReplaceAll(arg, "'", `'\''`) + "'"
		}
	}
	return strings.Join(words, " ")
}
