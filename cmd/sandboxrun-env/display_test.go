package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sandboxrun/sandboxrun/cgroup"
	"github.com/sandboxrun/sandboxrun/environment/control"
	"github.com/sandboxrun/sandboxrun/environment/plan"
)

var update = flag.Bool("update", false, "write golden files anew")

// golden compares got with testdata/NAME.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is not as it was; go test -update writes it anew. Got:\n%s", path, got)
	}
}

func shop() *plan.Plan {
	one := func(service string, depends ...string) plan.Service {
		s := plan.Service{Name: service, Attach: true, Instances: []plan.Instance{{Name: service + "-1", Index: 1}}}
		for _, d := range depends {
			s.DependsOn = append(s.DependsOn, plan.Dependency{Service: d, Condition: plan.Healthy})
		}
		return s
	}
	return &plan.Plan{Name: "shop", Services: []plan.Service{one("db"), one("migrate", "db"), one("api", "migrate"), one("web")}}
}

func start() time.Time { return time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC) }

func ptr[T any](v T) *T { return &v }

// story is a start of the shop that goes well, with one restart at the end.
func story() []control.Event {
	ms := func(n int) time.Time { return start().Add(time.Duration(n) * time.Millisecond) }
	return []control.Event{
		{At: ms(5), Kind: control.EventPhase, Phase: control.Starting},
		{At: ms(6), Kind: control.EventWaiting, Service: "migrate", Instance: "migrate-1", Detail: "db"},
		{At: ms(6), Kind: control.EventWaiting, Service: "api", Instance: "api-1", Detail: "migrate"},
		{At: ms(6), Kind: control.EventWaiting, Service: "db", Instance: "db-1"},
		{At: ms(7), Kind: control.EventCreating, Service: "db", Instance: "db-1"},
		{At: ms(7), Kind: control.EventCreating, Service: "web", Instance: "web-1"},
		{At: ms(30), Kind: control.EventStarted, Service: "web", Instance: "web-1"},
		{At: ms(30), Kind: control.EventReady, Service: "web", Instance: "web-1"},
		{At: ms(65), Kind: control.EventStarted, Service: "db", Instance: "db-1"},
		{At: ms(400), Kind: control.EventHealth, Service: "db", Instance: "db-1", Detail: "healthy"},
		{At: ms(400), Kind: control.EventReady, Service: "db", Instance: "db-1"},
		{At: ms(401), Kind: control.EventCreating, Service: "migrate", Instance: "migrate-1"},
		{At: ms(450), Kind: control.EventStarted, Service: "migrate", Instance: "migrate-1"},
		{At: ms(520), Kind: control.EventExited, Service: "migrate", Instance: "migrate-1", ExitCode: ptr(0)},
		{At: ms(521), Kind: control.EventCreating, Service: "api", Instance: "api-1"},
		{At: ms(560), Kind: control.EventStarted, Service: "api", Instance: "api-1"},
		{At: ms(700), Kind: control.EventReady, Service: "api", Instance: "api-1"},
		{At: ms(701), Kind: control.EventPhase, Phase: control.Running},
		{At: ms(2000), Kind: control.EventOOM, Service: "web", Instance: "web-1"},
		{At: ms(2001), Kind: control.EventExited, Service: "web", Instance: "web-1", ExitCode: ptr(137)},
		{At: ms(2002), Kind: control.EventRestart, Service: "web", Instance: "web-1", Detail: "after 100ms"},
		{At: ms(2120), Kind: control.EventStarted, Service: "web", Instance: "web-1"},
	}
}

func TestWithoutATerminalThereIsALineForEachEvent(t *testing.T) {
	var out bytes.Buffer
	l := newLive(&out, "shop", newTimeline(shop(), start()), false, true)
	for _, e := range story() {
		l.note(e)
	}
	golden(t, "live-plain.txt", out.Bytes())
}

func TestOnATerminalTheBlockIsPaintedOver(t *testing.T) {
	var out bytes.Buffer
	l := newLive(&out, "shop", newTimeline(shop(), start()), false, false)
	l.width = 72
	for i, e := range story() {
		l.note(e)
		if i == 10 {
			if err := l.print(func() error { out.WriteString("web-1 | hello\n"); return nil }); err != nil {
				t.Fatal(err)
			}
		}
		if e.Phase == control.Running {
			l.settle(e.At)
			for line := range strings.SplitSeq(screen(t, out.String()), "\n") {
				if len(line) >= l.width {
					t.Errorf("%q is wider than the terminal", line)
				}
			}
		}
	}
	// What is seen in the end: apply the escapes that are used.
	golden(t, "live-terminal.txt", []byte(screen(t, out.String())))
}

// screen is what a terminal shows after text.
func screen(t *testing.T, text string) string {
	t.Helper()
	lines, row := []string{""}, 0
	for text != "" {
		switch {
		case strings.HasPrefix(text, "\x1b[K"):
			lines[row], text = "", text[3:]
		case strings.HasPrefix(text, "\x1b[J"):
			lines, text = append(lines[:row:row], ""), text[3:]
		case strings.HasPrefix(text, "\x1b["):
			up, rest, _ := strings.Cut(text[2:], "A")
			n := int(up[0] - '0')
			if len(up) != 1 || n > row {
				t.Fatalf("the cursor goes up %q of %d", up, row)
			}
			row, text = row-n, rest
		case text[0] == '\r':
			text = text[1:]
		case text[0] == '\n':
			if row++; row == len(lines) {
				lines = append(lines, "")
			}
			text = text[1:]
		default:
			end := strings.IndexAny(text, "\x1b\r\n")
			lines[row], text = lines[row]+text[:end], text[end:]
		}
	}
	return strings.Join(lines, "\n")
}

func TestQuietShowsNothing(t *testing.T) {
	var out bytes.Buffer
	l := newLive(&out, "shop", newTimeline(shop(), start()), true, false)
	for _, e := range story() {
		l.note(e)
	}
	l.say("x")
	if out.Len() > 0 || l.times.ready == nil {
		t.Errorf("got %q, ready %v", out.String(), l.times.ready)
	}
}

func TestReportTellsWhatTheStartWaitedFor(t *testing.T) {
	times := newTimeline(shop(), start())
	reports := map[string][]json.RawMessage{"web-1": {json.RawMessage(`{"reason":"oom"}`)}}
	for _, e := range story() {
		times.note(e)
	}
	r := makeReport(shop(), times, reports, start().Add(3*time.Second))
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "report.json", append(data, '\n'))
}

func TestColoursAreTheServicesOwn(t *testing.T) {
	print := func(p *plan.Plan, o prefixOptions) string {
		var out bytes.Buffer
		f := newPrefixer(&out, p, o)
		for _, s := range p.Services {
			if err := f.line(s.Instances[0].Name, start(), []byte("says "+s.Name)); err != nil {
				t.Fatal(err)
			}
		}
		return out.String()
	}
	backwards := shop()
	slices.Reverse(backwards.Services)
	sorted := func(text string) string {
		lines := strings.SplitAfter(text, "\n")
		slices.Sort(lines)
		return strings.Join(lines, "")
	}
	one, other := print(shop(), prefixOptions{color: true}), print(backwards, prefixOptions{color: true})
	if sorted(one) != sorted(other) {
		t.Errorf("another order gives other colours:\n%q\n%q", one, other)
	}
	golden(t, "prefixes.txt", []byte(one+print(shop(), prefixOptions{})+print(shop(), prefixOptions{plain: true})+print(shop(), prefixOptions{timestamps: true})))
}

func TestStatusTable(t *testing.T) {
	since := start().Add(-90 * time.Second)
	list := []control.InstanceStatus{
		{Service: "db", Name: "db-1", Index: 1, State: control.Up, Ready: true, Health: "healthy", Since: &since, Addresses: map[string][]string{"default": {"10.89.0.2", "fd00::2"}, "back": {"10.89.1.2"}}},
		{Service: "web", Name: "web-1", Index: 1, State: control.Up, Since: &since, Restarts: 3, OOMKills: 2, Ports: []control.PublishedPort{{HostIP: "127.0.0.1", HostPort: 40001, Target: 80, Protocol: "tcp"}, {HostIP: "::1", HostPort: 53, Target: 53, Protocol: "udp"}}},
		{Service: "migrate", Name: "migrate-1", Index: 1, State: control.Exited, ExitCode: ptr(0), Since: &since},
		{Service: "late", Name: "late-1", Index: 1, State: control.Waiting},
	}
	var out bytes.Buffer
	if err := writeStatus(&out, list, start()); err != nil {
		t.Fatal(err)
	}
	golden(t, "ps.txt", out.Bytes())
}

func TestUsageTable(t *testing.T) {
	look := func(at time.Time, cpu float64) control.InstanceStats {
		return control.InstanceStats{
			Service: "web", Name: "web-1", At: at, Restarts: 1,
			Usage: cgroup.Usage{MemoryBytes: ptr[uint64](20 << 20), Pids: ptr[uint64](4)},
			Stats: &cgroup.Stats{
				CPU:    cgroup.CPUStats{UserSeconds: &cpu, SystemSeconds: ptr(0.5), ThrottledSeconds: ptr(0.0123)},
				Memory: cgroup.MemoryStats{PeakBytes: ptr[uint64](64 << 20)},
				OOM:    cgroup.OOMStats{Kills: ptr[uint64](2)},
			},
			Limits: cgroup.EffectiveLimits{MemoryBytes: ptr[int64](64 << 20), CPUs: ptr(0.5)},
		}
	}
	first, second := look(start(), 1), look(start().Add(2*time.Second), 1.5)
	all := []usage{usageOf(first, nil), usageOf(second, &first), usageOf(control.InstanceStats{Service: "db", Name: "db-1", Restarts: 9}, nil)}
	if got := *all[1].CPUs; got != 0.25 {
		t.Errorf("half a second in two gives %v CPUs", got)
	}
	var out bytes.Buffer
	if err := writeUsage(&out, all); err != nil {
		t.Fatal(err)
	}
	data, err := json.MarshalIndent(all[1], "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "stats.txt", append(append(out.Bytes(), data...), '\n'))
}

func TestVariablesNameEveryPort(t *testing.T) {
	status := control.Status{Instances: []control.InstanceStatus{
		{Service: "my-db.1", Ports: []control.PublishedPort{{HostIP: "0.0.0.0", HostPort: 4001, Target: 5432, Protocol: "tcp"}, {HostIP: "127.0.0.1", HostPort: 4002, Target: 53, Protocol: "udp"}}},
		{Service: "web", Ports: []control.PublishedPort{{HostIP: "::1", HostPort: 4003, Target: 80, Protocol: "tcp"}, {HostIP: "127.0.0.1", HostPort: 4004, Target: 80, Protocol: "tcp"}}},
		{Service: "silent"},
	}}
	want := []string{
		"MY_DB_1_53_UDP_ADDR=127.0.0.1:4002", "MY_DB_1_5432_ADDR=127.0.0.1:4001", "MY_DB_1_HOST=127.0.0.1", "MY_DB_1_PORT=4001", "SANDBOXRUN_ENV=shop",
		"WEB_80_ADDR=[::1]:4003", "WEB_HOST=::1", "WEB_PORT=4003",
	}
	if got := variables("shop", hostEndpoints(status)); !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	p := shop()
	p.Services[0].Ports = []plan.Port{{Target: 5432, Protocol: "tcp", HostPort: 1}}
	if got, want := variables("shop", innerEndpoints(p)), []string{"DB_5432_ADDR=db:5432", "DB_HOST=db", "DB_PORT=5432", "SANDBOXRUN_ENV=shop"}; !slices.Equal(got, want) {
		t.Errorf("inside: got %q, want %q", got, want)
	}
}
