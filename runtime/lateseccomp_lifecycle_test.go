package runtime_test

import (
	"bytes"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/sandboxrun/sandboxrun/runtime"
)

// forbid is a profile that forbids some system calls and allows all others.
func forbid(calls ...string) *specs.LinuxSeccomp {
	return &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{{Names: calls, Action: specs.ActErrno}}}
}

func capabilities(names ...string) *specs.LinuxCapabilities {
	return &specs.LinuxCapabilities{Bounding: names, Effective: names, Permitted: names}
}

// rights are specs whose programs differ in what they may do.
var rights = []struct {
	name  string
	adapt func(*specs.Process)
}{
	{"root", func(*specs.Process) {}},
	{"root without capabilities", func(p *specs.Process) { p.Capabilities = capabilities() }},
	{"root with the one to load", func(p *specs.Process) { p.Capabilities = capabilities("CAP_SYS_ADMIN", "CAP_CHOWN") }},
	{"root that may get it", func(p *specs.Process) {
		p.Capabilities = capabilities("CAP_CHOWN")
		p.Capabilities.Bounding = []string{"CAP_CHOWN", "CAP_SYS_ADMIN", "CAP_SETPCAP"}
	}},
	{"root that passes on", func(p *specs.Process) {
		p.Capabilities = capabilities("CAP_CHOWN", "CAP_KILL")
		p.Capabilities.Inheritable = []string{"CAP_KILL"}
	}},
	{"user", func(p *specs.Process) { p.User = specs.User{UID: 1000, GID: 1000, AdditionalGids: []uint32{5, 7}} }},
	{"user with capabilities", func(p *specs.Process) {
		p.User = specs.User{UID: 1000, GID: 1000}
		p.Capabilities = capabilities("CAP_KILL", "CAP_NET_BIND_SERVICE")
		p.Capabilities.Inheritable = []string{"CAP_KILL"}
		p.Capabilities.Ambient = []string{"CAP_KILL"}
	}},
	{"user with the one to load", func(p *specs.Process) {
		p.User = specs.User{UID: 1000, GID: 1000}
		p.Capabilities = capabilities("CAP_SYS_ADMIN")
		p.Capabilities.Inheritable = []string{"CAP_SYS_ADMIN"}
		p.Capabilities.Ambient = []string{"CAP_SYS_ADMIN"}
	}},
	{"user who may not keep it", func(p *specs.Process) {
		p.User = specs.User{UID: 1000, GID: 1000}
		p.Capabilities = capabilities("CAP_KILL")
		p.Capabilities.Bounding = []string{"CAP_KILL", "CAP_SYS_ADMIN"}
		p.Capabilities.Inheritable = []string{"CAP_SYS_ADMIN"}
		p.Capabilities.Ambient = []string{"CAP_SYS_ADMIN"}
	}},
}

func outputOf(t *testing.T, rt *runtime.Runtime, opts runtime.CreateOptions) string {
	t.Helper()
	var out, errors bytes.Buffer
	opts.Stdout, opts.Stderr = &out, &errors
	report, err := rt.Run(t.Context(), runtime.RunOptions{CreateOptions: opts})
	if err != nil || report.ExitCode != 0 {
		t.Fatalf("Run() = code %d, %v; errors %q", report.ExitCode, err, errors.String())
	}
	return out.String()
}

// execOutput is what the program of a process prints that enters c.
func execOutput(t *testing.T, c *runtime.Container, process *specs.Process) string {
	t.Helper()
	var out, errors bytes.Buffer
	p, err := c.Exec(runtime.ExecOptions{Process: process, ProcessOptions: runtime.ProcessOptions{Stdout: &out, Stderr: &errors}})
	if err != nil {
		t.Fatal(err)
	}
	if exit, err := p.Wait(); err != nil || exit.Code != 0 {
		t.Fatalf("exit %+v, %v; errors %q", exit, err, errors.String())
	}
	return out.String()
}

// profiles are one that libcontainer can load where it wants to, and one that it
// cannot.
var profiles = map[string]*specs.LinuxSeccomp{
	"early": forbid("keyctl"),
	"late":  forbid("getcwd", "setuid", "setgroups", "chdir", "capget"),
}

// A program whose profile is loaded late finds itself as one whose profile
// libcontainer loads: same user, same five sets of capabilities, one filter, and
// no other descriptors.
func TestLateSeccompLeavesTheProgramAsItWouldBe(t *testing.T) {
	rt := newRuntime(t)
	opts := func(t *testing.T, profile string, args ...string) runtime.CreateOptions {
		o := options(t, "", args...)
		o.ID = "TestLateSeccompLeavesTheProgramAsItWouldBe" + profile
		o.Spec.Process.NoNewPrivileges = false
		o.Spec.Linux.Seccomp = profiles[profile]
		return o
	}
	entered := map[string]*runtime.Container{}
	for profile := range profiles {
		o := opts(t, profile, "sleep", "10m")
		o.ID += "entered"
		c := create(t, rt, &o)
		defer func() {
			if err := rt.Delete(t.Context(), c.ID(), true); err != nil {
				t.Error(err)
			}
		}()
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		entered[profile] = c
	}
	for _, right := range rights {
		t.Run(right.name, func(t *testing.T) {
			run, exec := map[string]string{}, map[string]string{}
			for profile := range profiles {
				o := opts(t, profile, "status")
				right.adapt(o.Spec.Process)
				run[profile] = outputOf(t, rt, o)
				exec[profile] = execOutput(t, entered[profile], o.Spec.Process)
			}
			for way, seen := range map[string]map[string]string{"run": run, "exec": exec} {
				if seen["early"] != seen["late"] {
					t.Errorf("%s: early:\n%slate:\n%s", way, seen["early"], seen["late"])
				}
				if !strings.Contains(seen["late"], "Seccomp 2\nSeccomp_filters 1\n") {
					t.Errorf("%s: no filter, or more than one:\n%s", way, seen["late"])
				}
			}
		})
	}
	t.Run("descriptors", func(t *testing.T) {
		for profile := range profiles {
			o := opts(t, profile, "fds")
			const want = "0 1 2"
			if got := descriptors(outputOf(t, rt, o)); got != want {
				t.Errorf("%s: run has %s, want %s", profile, got, want)
			}
			if got := descriptors(execOutput(t, entered[profile], o.Spec.Process)); got != want {
				t.Errorf("%s: exec has %s, want %s", profile, got, want)
			}
		}
	})
}

// descriptors are the numbers in a list of the workload's.
func descriptors(list string) string {
	var numbers []string
	for line := range strings.Lines(list) {
		number, _, _ := strings.Cut(line, " ")
		numbers = append(numbers, number)
	}
	return strings.Join(numbers, " ")
}

// While a created container waits for its start, its process has its profile and
// no right more than the program will have, and nobody can trace it.
func TestLateSeccompHoldsBeforeTheStart(t *testing.T) {
	rt := newRuntime(t)
	opts := options(t, "", "sleep", "1m")
	opts.Spec.Process.NoNewPrivileges = false
	opts.Spec.Process.User = specs.User{UID: 1000, GID: 1000}
	opts.Spec.Process.Capabilities = capabilities("CAP_KILL")
	opts.Spec.Linux.Seccomp = forbid("getcwd")
	c := create(t, rt, &opts)
	defer func() {
		if err := rt.Delete(t.Context(), c.ID(), true); err != nil {
			t.Error(err)
		}
	}()
	state, err := c.State()
	if err != nil {
		t.Fatal(err)
	}
	proc := "/proc/" + strconv.Itoa(state.Pid)
	status, err := os.ReadFile(proc + "/status")
	if err != nil {
		t.Fatal(err)
	}
	const killOnly = "0000000000000020"
	for _, line := range []string{"Seccomp:\t2", "CapPrm:\t" + killOnly, "CapEff:\t" + killOnly, "CapBnd:\t" + killOnly, "CapInh:\t0000000000000000", "CapAmb:\t0000000000000000", "NoNewPrivs:\t0"} {
		if !strings.Contains(string(status), line+"\n") {
			t.Errorf("no %q in\n%s", line, status)
		}
	}
	info, err := os.Stat(proc + "/environ")
	if err != nil {
		t.Fatal(err)
	}
	// proc(5): the files of a process that is not dumpable are root's.
	if uid := info.Sys().(*syscall.Stat_t).Uid; uid != 0 {
		t.Errorf("the waiting process belongs to user %d: it can be traced", uid)
	}
	if target, err := os.Readlink(proc + "/fd/3"); err == nil && strings.Contains(target, "sandboxrun-seccomp") {
		t.Errorf("it still holds %s", target)
	}
}

func TestProgramThatIsMissingIsToldUnderALateProfile(t *testing.T) {
	rt := newRuntime(t)
	opts := options(t, "")
	opts.Spec.Process.NoNewPrivileges = false
	opts.Spec.Process.Args = []string{"/missing"}
	opts.Spec.Linux.Seccomp = forbid("getcwd")
	var errors bytes.Buffer
	opts.Stderr = &errors
	report, err := rt.Run(t.Context(), runtime.RunOptions{CreateOptions: opts})
	if report.ExitCode != 127 || err == nil || errors.Len() > 0 {
		t.Errorf("Run() = code %d, %v; errors %q", report.ExitCode, err, errors.String())
	}
}
