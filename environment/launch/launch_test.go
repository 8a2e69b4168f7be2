package launch

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/sandboxrun/sandboxrun/cgroup"
	"github.com/sandboxrun/sandboxrun/environment"
	"github.com/sandboxrun/sandboxrun/environment/control"
	"github.com/sandboxrun/sandboxrun/environment/plan"
)

var loopback = netip.MustParseAddr("127.0.0.1")

func TestLaunchHandsOver(t *testing.T) {
	opts := testOptions(t, "whole", serve)
	secretFile := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(secretFile, []byte("hunter2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	pids := int64(200)
	opts.Plan.Limits = cgroup.Limits{Pids: &pids}
	opts.Plan.Secrets = []plan.Secret{{Name: "file", File: secretFile}, {Name: "variable", Variable: "V"}, {Name: "config:c", Inline: "text"}}
	opts.Lookup = func(name string) (string, bool) { return "value of " + name, true }
	opts.Plan.Services = []plan.Service{{Name: "web", Ports: []plan.Port{
		{HostIP: loopback, Target: 80, Protocol: "tcp"}, {HostIP: loopback, Target: 53, Protocol: "udp"},
	}}}
	l, err := Launch(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	status, err := l.Client.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	told := status.Instances[0]
	if told.Index != 1 {
		t.Errorf("the supervisor's pid is %d", told.Index)
	}
	if len(told.Ports) != 2 || told.Ports[0].HostPort == 0 || told.Ports[0].HostPort != l.Record.Ports[0].HostPort {
		t.Errorf("ports %v, recorded %v", told.Ports, l.Record.Ports)
	}
	if want := []string{"file=hunter2\n", "variable=value of V", "config:c=text"}; !slices.Equal(told.Command[:3], want) {
		t.Errorf("secrets %q, want %q", told.Command, want)
	}
	if strings.Contains(told.Command[3], "V=") {
		t.Errorf("environment %q", told.Command[3])
	}
	requireInGroups(t, told.Name, l.Record)
	requireNoSecretOnDisk(t, opts.Roots, "hunter2", "value of")
	if group, err := cgroup.Open(l.Record.Cgroups); err != nil {
		t.Error(err)
	} else if limit := group.Effective().Pids; limit == nil || *limit != 200 {
		t.Errorf("the environment's limit of processes is %v", limit)
	}
	// The socket is the host's: connecting works although nobody accepts.
	conn, err := net.Dial("tcp", netip.AddrPortFrom(loopback, told.Ports[0].HostPort).String())
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()

	if _, err := Launch(t.Context(), opts); !errors.Is(err, environment.ErrExists) {
		t.Errorf("launching again: %v", err)
	}
	if err := opts.Roots.Remove(t.Context(), opts.Plan.Name, environment.RemoveOptions{}); !errors.Is(err, environment.ErrAlive) {
		t.Errorf("removing while it is up: %v", err)
	}
	if found, err := opts.Roots.GC(t.Context(), environment.GCOptions{}); err != nil || len(found) != 0 {
		t.Errorf("gc while it is up: %v, %v", found, err)
	}
	list, err := opts.Roots.List()
	if err != nil || len(list) != 1 || !list[0].Alive || list[0].Record == nil {
		t.Errorf("list: %v, %v", list, err)
	}
	stopAndRemove(t, l)
}

// stopAndRemove ends an environment as `env down` does, and wants nothing left.
func stopAndRemove(t *testing.T, l *Launched) {
	t.Helper()
	if err := l.Client.Stop(t.Context(), control.StopRequest{Reason: "test"}, nil); err != nil {
		t.Fatal(err)
	}
	roots := l.Record.Roots
	if err := roots.Remove(t.Context(), l.Record.Name, environment.RemoveOptions{}); err != nil {
		t.Fatal(err)
	}
	<-l.Done()
	if err := l.Err(); err != nil {
		t.Errorf("the supervisor ended: %v", err)
	}
	if left, err := environment.Audit(t.Context(), l.Record, environment.RemoveOptions{}); err != nil || len(left) != 0 {
		t.Errorf("left: %v, %v", left, err)
	}
	requireNothing(t, roots)
}

func requireInGroups(t *testing.T, groups string, record *environment.Record) {
	t.Helper()
	for controller := range record.Cgroups {
		found := false
		for line := range strings.Lines(groups) {
			fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
			if slices.Contains(strings.Split(fields[1], ","), controller) {
				found = fields[2] == record.Cgroup+"/"+supervisorGroup
			}
		}
		if !found {
			t.Errorf("the supervisor is not in its group of %q:\n%s", controller, groups)
		}
	}
}

func requireNoSecretOnDisk(t *testing.T, roots environment.Roots, secrets ...string) {
	t.Helper()
	for _, root := range []string{roots.State, roots.Data} {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			data, err := os.ReadFile(path)
			for _, secret := range secrets {
				if strings.Contains(string(data), secret) {
					t.Errorf("%s has the secret %q", path, secret)
				}
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
}

func TestLaunchFails(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	takenPort := taken.Addr().(*net.TCPAddr).AddrPort()
	services := func(ports ...plan.Port) func(*Options) {
		return func(o *Options) { o.Plan.Services = []plan.Service{{Name: "web", Ports: ports}} }
	}
	tests := map[string]struct {
		behaviour string
		change    func(*Options)
		is        error
		says      string
	}{
		"stillborn":      {serve, nil, ErrSupervisor, "(exit status 3): stillborn"},
		"dies-at-once":   {dieAtOnce, nil, ErrSupervisor, "and said nothing"},
		"dies-later":     {dieLater, nil, ErrSupervisor, "the bridge is on fire"},
		"no-executable":  {serve, func(o *Options) { o.Executable = "/none" }, fs.ErrNotExist, "start the environment's supervisor"},
		"missing-secret": {serve, func(o *Options) { o.Plan.Secrets = []plan.Secret{{Name: "db", File: "/none/x"}} }, ErrSecret, `cannot read secret "db": there is no file /none/x; make it, or name another`},
		"missing-variable": {serve, func(o *Options) { o.Plan.Secrets = []plan.Secret{{Name: "config:c", Variable: "NONE"}} }, ErrSecret,
			`cannot read config "c": the variable NONE is not set; set it, or`},
		"secret-directory": {serve, func(o *Options) { o.Plan.Secrets = []plan.Secret{{Name: "db", File: "/"}} }, ErrSecret, "is a directory; name a file"},
		"large-secret":     {serve, func(o *Options) { o.Plan.Secrets = []plan.Secret{{Name: "db", File: "/dev/zero"}} }, ErrSecret, "more than 1048576 bytes"},
		"port-in-use": {serve, services(plan.Port{HostIP: loopback, HostPort: takenPort.Port(), Target: 80, Protocol: "tcp"}), ErrPortInUse,
			"cannot publish port 80/tcp of service web at " + takenPort.String() + ": launch.test (process "},
		"port-twice": {serve, services(
			plan.Port{HostIP: loopback, Target: 1, Protocol: "udp"},
			plan.Port{HostIP: loopback, HostPort: 39471, Target: 80, Protocol: "udp"},
			plan.Port{HostIP: loopback, HostPort: 39471, Target: 81, Protocol: "udp"}), ErrPortInUse, "service web of this environment has it"},
		"foreign-address": {serve, services(plan.Port{HostIP: netip.MustParseAddr("192.0.2.1"), Target: 80, Protocol: "tcp"}), nil, "this host has no such address"},
		"protocol":        {serve, services(plan.Port{HostIP: loopback, Target: 80, Protocol: "sctp"}), nil, `protocol "sctp"`},
		"name":            {serve, func(o *Options) { o.Plan.Name = "No" }, environment.ErrInvalidName, "lower-case letters"},
		"limits": {serve, func(o *Options) {
			o.Plan.Limits = cgroup.Limits{IOMax: []cgroup.IOMax{{Device: "/none", RBps: new(uint64)}}}
		}, cgroup.ErrInvalidLimit, "limits of the environment"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			opts := testOptions(t, name, test.behaviour)
			valid := opts.Plan.Name
			if test.change != nil {
				test.change(&opts)
			}
			l, err := Launch(t.Context(), opts)
			opts.Plan.Name = valid
			if err == nil {
				t.Fatalf("launched %v", l.Record)
			}
			if test.is != nil && !errors.Is(err, test.is) || !strings.Contains(err.Error(), test.says) {
				t.Errorf("error %q, want %q", err, test.says)
			}
			requireNothing(t, opts.Roots)
		})
	}
}

// TestEgress has a network namespace of its own for the host's: nothing of the real one
// is touched.
func TestEgress(t *testing.T) {
	opts := testOptions(t, "egress", serve)
	opts.Plan.Egress.All = true
	inNamespaces(t, "egress", syscall.CLONE_NEWNET, opts)
}

func TestV2(t *testing.T) {
	inNamespaces(t, "v2", syscall.CLONE_NEWNS, testOptions(t, "v2", serve))
}

func TestFullDisk(t *testing.T) {
	inNamespaces(t, "full-disk", syscall.CLONE_NEWNS, testOptions(t, "full", serve))
}

// TestPortRange takes the first free port of a range, and never one that is asked for
// by itself.
func TestPortRange(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	first := taken.Addr().(*net.TCPAddr).AddrPort().Port()
	if first > 65000 {
		t.Skip("there is no room above the port that was picked")
	}
	opts := testOptions(t, "range", serve)
	ports := func(end uint16) {
		opts.Plan.Services = []plan.Service{{Name: "web", Ports: []plan.Port{
			{HostIP: loopback, HostPort: first, HostPortEnd: end, Target: 80, Protocol: "tcp"},
			{HostIP: loopback, HostPort: first + 1, Target: 81, Protocol: "tcp"},
		}}}
	}
	ports(first + 1)
	_, err = Launch(t.Context(), opts)
	if want := fmt.Sprintf("each port up to %d is in use", first+1); !errors.Is(err, ErrPortInUse) || !strings.Contains(err.Error(), want) {
		t.Errorf("error %v, want %q", err, want)
	}
	ports(first + 20)
	l, err := Launch(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range l.Record.Ports {
		if p.Target == 80 && (p.HostPort < first+2 || p.HostPort > first+20) || p.Target == 81 && p.HostPort != first+1 {
			t.Errorf("port %+v, the range is from %d", p, first)
		}
	}
	stopAndRemove(t, l)
}

// TestPortOfAnotherEnvironment wants it named.
func TestPortOfAnotherEnvironment(t *testing.T) {
	first := testOptions(t, "first", serve)
	first.Plan.Services = []plan.Service{{Name: "web", Ports: []plan.Port{{HostIP: loopback, Target: 80, Protocol: "tcp"}}}}
	l, err := Launch(t.Context(), first)
	if err != nil {
		t.Fatal(err)
	}
	second := first
	second.Plan = &plan.Plan{Version: plan.Version, Name: testName("second"), Dir: serve}
	second.Plan.Services = []plan.Service{{Name: "api", Ports: []plan.Port{{HostIP: loopback, HostPort: l.Record.Ports[0].HostPort, Target: 80, Protocol: "tcp"}}}}
	_, err = Launch(t.Context(), second)
	if want := "environment \"" + first.Plan.Name + "\" has it"; !errors.Is(err, ErrPortInUse) || !strings.Contains(err.Error(), want) {
		t.Errorf("error %v, want %q", err, want)
	}
	stopAndRemove(t, l)
}
