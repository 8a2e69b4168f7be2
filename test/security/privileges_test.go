package security_test

import (
	"encoding/hex"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// TestDefaultSpecHasNoWayOut tries every step that ways out are made of in a
// sandbox of the default spec. Each has the errno that the kernel is to give, and
// where that harms nothing, the same step in a sandbox with all rights, which
// succeeds: it is the spec that refuses, not this machine.
func TestDefaultSpecHasNoWayOut(t *testing.T) {
	steps := []struct {
		name    string
		want    string // errnos that are right, by a blank
		control string // "" if the step succeeds with all rights; else why not, or that it is not tried
	}{
		{"mount tmpfs", "EPERM", ""},
		{"mount proc", "EPERM", ""},
		{"mount bind", "EPERM", ""},
		{"remount root", "EPERM", ""},
		{"make root shared", "EPERM", ""},
		{"unmount dev", "EPERM", ""},
		{"fsopen", "EPERM", ""},
		{"open_tree", "EPERM", ""},
		{"chroot", "EPERM", ""},
		{"mknod block", "EPERM", ""},
		{"mknod char", "EPERM", ""},
		{"open kernel log", "EPERM", ""},
		{"open loop device", "EPERM", "the host may have no loop device"},
		{"signal host process", "ESRCH", ""},
		{"ptrace host process", "ESRCH", ""},
		{"read host process", "ESRCH", "EFAULT, as nothing is at the address"},
		{"root of PID 1", "ENOENT", "the host's may be out of reach for anybody"},
		{"root of host process", "ENOENT", ""},
		{"setns", "EPERM", ""},
		{"make cgroup", "EROFS", ""},
		{"raise own limit", "EROFS", ""},
		{"new user namespace", "EPERM", "the host may forbid them"},
		{"new mount namespace", "EPERM", ""},
		{"unshare mounts", "EPERM", ""},
		{"clone3", "ENOSYS", "EINVAL, as its arguments are empty"},
		{"keyctl", "EPERM", ""},
		{"add_key", "EPERM", ""},
		{"bpf", "EPERM", ""},
		{"perf_event_open", "EPERM", "the host may have no counters"},
		{"userfaultfd", "EPERM", "the host may have none"},
		{"io_uring_setup", "EPERM", "EFAULT, as its arguments are empty"},
		{"kexec_load", "EPERM", "not tried"},
		{"init_module", "EPERM", "not tried"},
		{"reboot", "EPERM", "not tried"},
		{"set clock", "EPERM", "not tried"},
		{"swapon", "EPERM", "not tried"},
		{"open by handle", "EPERM", ""},
		{"set hostname", "EPERM", ""},
		{"packet socket", "EPERM", ""},
		{"vsock", "EPERM EAFNOSUPPORT", "the host may have none"},
		{"core_pattern", "EROFS", ""},
		{"sysrq-trigger", "EROFS ENOENT", "the host may have none"},
		{"kernel memory", "EMPTY ENOENT", "not tried"},
		{"keys", "EMPTY", ""},
		{"timers", "EMPTY", "the host may have none"},
		{"huge pages", "EROFS ENOENT", "the host may have none"},
		{"write root filesystem", "EROFS", ""},
	}
	b := newBox(t)
	for _, edit := range []struct {
		name         string
		mode         uint32
		major, minor uint32
	}{{"node-kmsg", unix.S_IFCHR | 0o666, 1, 11}, {"node-loop", unix.S_IFBLK | 0o666, 7, 0}} {
		b.node(edit.name, edit.mode, edit.major, edit.minor)
	}
	environment := hostFacts(t, b)

	b.write(withArgs("/bin/attacker", "escapes"), environment)
	refused := results(t, b.run())
	if len(refused) != len(steps) {
		t.Errorf("%d of %d steps were tried: %v", len(refused), len(steps), refused)
	}
	for _, s := range steps {
		if got := refused[s.name]; got == "" || !strings.Contains(" "+s.want+" ", " "+got+" ") {
			t.Errorf("%s: the kernel said %q, want %s", s.name, got, s.want)
		}
	}

	// One step a sandbox: a successful one changes what the next would find.
	for _, s := range steps {
		if s.control != "" {
			continue
		}
		b.write(mightier, withoutNamespace(specs.PIDNamespace), withArgs("/bin/attacker", "escape", s.name), environment)
		if s.name == "keys" || s.name == "add_key" {
			b.write(mightier, withArgs("/bin/attacker", "escape", s.name), environment)
		}
		if o := b.run(); o.stdout != "0" {
			t.Errorf("control of %s: with all rights the kernel said %v", s.name, o)
		}
	}
}

// hostFacts tells the attacker what it could not know: a process and a file of
// the host.
func hostFacts(t *testing.T, b *box) func(*specs.Spec) {
	t.Helper()
	victim := exec.CommandContext(t.Context(), shared.attacker, "sleep")
	victim.Dir = filepath.Dir(b.dir)
	if err := victim.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		victim.Process.Kill() //nolint:errcheck // it is waited for
		victim.Wait()         //nolint:errcheck // it was killed
	})
	handle, _, err := unix.NameToHandleAt(unix.AT_FDCWD, b.marker, 0)
	if err != nil {
		t.Fatal(err)
	}
	return func(spec *specs.Spec) {
		spec.Process.Env = append(spec.Process.Env, fmt.Sprint("VICTIM=", victim.Process.Pid), "MARKER="+b.marker,
			fmt.Sprintf("HANDLE=%d:%s", handle.Type(), hex.EncodeToString(handle.Bytes())))
	}
}

func results(t *testing.T, o outcome) map[string]string {
	t.Helper()
	if o.code != 0 {
		t.Fatal(o)
	}
	found := map[string]string{}
	for line := range strings.Lines(o.stdout) {
		name, result, _ := strings.Cut(strings.TrimSpace(line), ": ")
		found[name] = result
	}
	return found
}

// TestDefaultSpecLimitsItsProgram: what holds all the above, as the kernel tells
// it from inside, for run, its --init, and exec.
func TestDefaultSpecLimitsItsProgram(t *testing.T) {
	b := newBox(t, withArgs("/bin/attacker", "identity"))
	check := func(name string, o outcome) {
		t.Helper()
		for _, want := range []string{"NoNewPrivs 1\n", "Seccomp 2\n", "Seccomp_filters 1\n", "CapInh 0000000000000000\n", "CapAmb 0000000000000000\n",
			"CapBnd 0000000020000420\n", "CapEff 0000000020000420\n", "CapPrm 0000000020000420\n"} {
			if !strings.Contains(o.stdout, want) {
				t.Errorf("%s: not %s: %v", name, strings.TrimSpace(want), o)
			}
		}
	}
	check("run", b.run())
	check("run --init", b.run("--init"))
	b.write()
	b.start()
	check("exec", b.exec("--", "/bin/attacker", "identity"))
}
