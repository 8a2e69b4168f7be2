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

// ways are how a program comes to run.
var ways = []struct {
	name string
	run  func(*testing.T, *runtime.Runtime, runtime.CreateOptions) string
}{
	{"run", func(t *testing.T, rt *runtime.Runtime, opts runtime.CreateOptions) string {
		return outputOf(t, rt, opts)
	}},
	{"exec", func(t *testing.T, rt *runtime.Runtime, opts runtime.CreateOptions) string {
		process := *opts.Spec.Process
		opts.Spec.Process.Args = []string{"/bin/workload", "sleep", "1m"}
		c := create(t, rt, &opts)
		defer func() {
			if err := rt.Delete(t.Context(), c.ID(), true); err != nil {
				t.Error(err)
			}
		}()
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		var out, errors bytes.Buffer
		p, err := c.Exec(runtime.ExecOptions{Process: &process, ProcessOptions: runtime.ProcessOptions{Stdout: &out, Stderr: &errors}})
		if err != nil {
			t.Fatal(err)
		}
		if exit, err := p.Wait(); err != nil || exit.Code != 0 {
			t.Fatalf("exit %+v, %v; errors %q", exit, err, errors.String())
		}
		return out.String()
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

// A program whose profile is loaded late finds itself as one whose profile
// libcontainer loads: same user, same five sets of capabilities, one filter, and
// no other descriptors.
func TestLateSeccompLeavesTheProgramAsItWouldBe(t *testing.T) {
	rt := newRuntime(t)
	for i, right := range rights {
		for _, way := range ways {
			t.Run(right.name+" by "+way.name, func(t *testing.T) {
				seen := func(profile *specs.LinuxSeccomp, command string) string {
					opts := options(t, "", command)
					opts.ID = "TestLateSeccomp" + strconv.Itoa(i) + way.name
					opts.Spec.Process.NoNewPrivileges = false
					opts.Spec.Linux.Seccomp = profile
					right.adapt(opts.Spec.Process)
					return way.run(t, rt, opts)
				}
				early := seen(forbid("keyctl"), "status")
				late := seen(forbid("getcwd", "setuid", "setgroups", "chdir", "capget"), "status")
				if early != late {
					t.Errorf("early:\n%slate:\n%s", early, late)
				}
				if !strings.Contains(late, "Seccomp 2\nSeccomp_filters 1\n") {
					t.Errorf("no filter, or more than one:\n%s", late)
				}
				if got, want := descriptors(seen(forbid("getcwd"), "fds")), descriptors(seen(forbid("keyctl"), "fds")); got != want {
					t.Errorf("descriptors %s, early %s", got, want)
				}
			})
		}
	}
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
