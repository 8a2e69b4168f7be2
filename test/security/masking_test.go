package security_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/sandboxrun/sandboxrun/bundles"
)

const corePattern = "/proc/sys/kernel/core_pattern"

// ownDev leaves /dev to the image, in which everything may be prepared, and the
// kernel's settings to file permissions, so that a redirected mount would show.
func ownDev(spec *specs.Spec) {
	for _, destination := range []string{"/dev", "/dev/pts", "/dev/shm", "/dev/mqueue"} {
		withoutMount(destination)(spec)
	}
	spec.Root.Readonly = false
	spec.Linux.ReadonlyPaths = nil
	spec.Linux.MaskedPaths = []string{"/proc/keys", "/proc/timer_list", "/proc/version", "/proc/acpi"}
}

// masked recognises a file that /dev/null was bound over.
var masked = regexp.MustCompile(`(?m)^/proc/(keys|timer_list|version) is \[char 1:3\] says \[\] write `)

// TestMaskedPathsWithAHostileNull is CVE-2025-31133: files are masked by binding
// the sandbox's /dev/null over them, and an image may bring its own.
func TestMaskedPathsWithAHostileNull(t *testing.T) {
	for _, c := range []struct {
		name string
		null func(b *box)
	}{
		{"a link to core_pattern", func(b *box) { b.symlink(corePattern, "dev/null") }},
		{"a link to sysrq-trigger", func(b *box) { b.symlink("/proc/sysrq-trigger", "dev/null") }},
		{"a link to a link of the kernel", func(b *box) { b.symlink("/proc/self/exe", "dev/null") }},
		{"a link upwards", func(b *box) { b.symlink(strings.Repeat("../", 20)+b.marker[1:], "dev/null") }},
		{"a link to the host", func(b *box) { b.symlink(b.marker, "dev/null") }},
		{"a file", func(b *box) { b.file("dev/null", "not null\n", 0o666) }},
		{"a directory", func(b *box) { b.mkdir("dev/null") }},
		{"another device", func(b *box) { b.node("dev/null", unix.S_IFCHR|0o666, 1, 5) }},
		{"a link in the place of dev", func(b *box) { b.symlink("/proc/sys/kernel", "dev") }},
		{"a dangling link", func(b *box) { b.symlink("/nowhere", "dev/null") }},
		{"control: the right device", func(b *box) { b.node("dev/null", unix.S_IFCHR|0o666, 1, 3) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBox(t, ownDev, withArgs("/bin/attacker", "open", "/proc/keys", "/proc/timer_list", "/proc/version", corePattern))
			c.null(b)
			o := b.run()
			if strings.HasPrefix(c.name, "control") && o.code != 0 {
				t.Errorf("a sound image was refused: %v", o)
			}
			if o.code != 0 {
				return // refused
			}
			if got := len(masked.FindAllString(o.stdout, -1)); got != countStated(o.stdout) || got == 0 {
				t.Errorf("%d masked: %v", got, o)
			}
			if strings.Contains(o.stdout, markerText) || strings.Contains(o.stdout, "not null") {
				t.Errorf("a mask shows something else: %v", o)
			}
		})
	}
}

// countStated counts the masked paths that this kernel has at all.
func countStated(stdout string) int {
	return len(regexp.MustCompile(`(?m)^/proc/(keys|timer_list|version) is `).FindAllString(stdout, -1))
}

// TestMaskedPathsControl shows what a runtime that trusts /dev/null would do.
func TestMaskedPathsControl(t *testing.T) {
	b := newBox(t)
	b.symlink(corePattern, "dev/null")
	b.file("masked", "", 0o644)
	pattern, err := os.ReadFile(corePattern)
	if err != nil {
		t.Fatal(err)
	}
	first, _, _ := strings.Cut(string(pattern), "\n")
	o := onHost(t, "trusting-mask", filepath.Join(b.rootfs, "dev", "null"), filepath.Join(b.rootfs, "masked"))
	if !strings.Contains(o.stdout, fmt.Sprintf("says [%s] write [0]", first)) {
		t.Errorf("the attack does not work where nothing protects from it: %v", o)
	}
}

// TestMaskedPathsWithARacingNull is the published form: /dev is a volume shared
// with a neighbour who keeps swapping null with a link.
func TestMaskedPathsWithARacingNull(t *testing.T) {
	raceOnDev(t, "null", corePattern, func(b *box, node string) {
		if err := unix.Mknod(node, unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))); err != nil {
			b.t.Fatal(err)
		}
	}, false, func(o outcome) string {
		if got := len(masked.FindAllString(o.stdout, -1)); got != countStated(o.stdout) || got == 0 {
			return fmt.Sprintf("%d masked", got)
		}
		return ""
	})
}

// TestConsoleWithARacingFile is CVE-2025-52565: the terminal is bound to
// /dev/console before paths are masked, so a link there would make a mount
// anywhere.
func TestConsoleWithARacingFile(t *testing.T) {
	raceOnDev(t, "console", corePattern, func(b *box, node string) { touch(b.t, node) }, true, consoleElsewhere)
}

// consoleElsewhere looks for the terminal in the place that the link leads to.
func consoleElsewhere(o outcome) string {
	if regexp.MustCompile(regexp.QuoteMeta(corePattern) + ` is \[char`).MatchString(o.stdout) {
		return "the terminal was mounted over core_pattern"
	}
	return ""
}

// raceOnDev starts sandboxes whose /dev is a volume in which a neighbour swaps
// the file name, made by put, with a link to target. wrong says what a started
// sandbox shows of a lost race.
func raceOnDev(t *testing.T, name, target string, put func(b *box, path string), terminal bool, wrong func(outcome) string) {
	t.Helper()
	b := newBox(t)
	volume := b.hostDir("volume")
	for _, device := range []struct {
		name         string
		major, minor uint32
	}{{"null", 1, 3}, {"zero", 1, 5}, {"full", 1, 7}, {"random", 1, 8}, {"urandom", 1, 9}, {"tty", 5, 0}} {
		if device.name == name {
			continue
		}
		if err := unix.Mknod(filepath.Join(volume, device.name), unix.S_IFCHR|0o666, int(unix.Mkdev(device.major, device.minor))); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(volume, "pts"), 0o755); err != nil {
		t.Fatal(err)
	}
	put(b, filepath.Join(volume, name))
	if err := os.Symlink(target, filepath.Join(volume, "link")); err != nil {
		t.Fatal(err)
	}
	b.write(ownDev, bundles.WithTerminal(terminal),
		withArgs("/bin/attacker", "open", "/proc/keys", "/proc/timer_list", "/proc/version", corePattern),
		bundles.WithMounts(bind(volume, "/dev"), specs.Mount{
			Type: "devpts", Source: "devpts", Destination: "/dev/pts",
			Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"},
		}))

	neighbour := newBox(t, withArgs("/bin/attacker", "exchange", "/volume/"+name, "/volume/link"), bundles.WithMounts(bind(volume, "/volume")))
	neighbour.mkdir("volume")
	racer := neighbour.start()
	started, refusal := 0, ""
	for range raceStarts / 2 {
		o := b.run()
		if o.code != 0 {
			refusal = o.stderr
			continue
		}
		started++
		if problem := wrong(o); problem != "" {
			t.Fatalf("the race was lost: %s: %v", problem, o)
		}
	}
	t.Logf("%d of %d started; %s%s", started, raceStarts/2, racer.finish(), refusal)
	if started == 0 {
		t.Error("no start got through: the race was never on")
	}
}

// TestConsoleOfAHostileImage: links in the place of the terminal's files.
func TestConsoleOfAHostileImage(t *testing.T) {
	devpts := bundles.WithMounts(specs.Mount{
		Type: "devpts", Source: "devpts", Destination: "/dev/pts",
		Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"},
	})
	for _, c := range []struct {
		name  string
		place func(b *box)
		edit  func(*specs.Spec)
		sound bool
	}{
		{"console is a link to core_pattern", func(b *box) { b.symlink(corePattern, "dev/console") }, devpts, false},
		{"console is a link to the host", func(b *box) { b.symlink(b.marker, "dev/console") }, devpts, false},
		{"console is a link upwards", func(b *box) { b.symlink(strings.Repeat("../", 20)+b.marker[1:], "dev/console") }, devpts, false},
		{"ptmx is a link to core_pattern", func(b *box) { b.symlink(corePattern, "dev/ptmx") }, devpts, false},
		{"no devpts, pts/ptmx is a link", func(b *box) { b.symlink(corePattern, "dev/pts/ptmx") }, func(*specs.Spec) {}, false},
		{"no devpts, pts/ptmx is the host's device", func(b *box) { b.node("dev/pts/ptmx", unix.S_IFCHR|0o666, 5, 2) }, func(*specs.Spec) {}, false},
		{"no devpts, pts is a link", func(b *box) { b.symlink("/proc/sys", "dev/pts") }, func(*specs.Spec) {}, false},
		{"control: nothing is there", func(*box) {}, devpts, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBox(t, ownDev, c.edit, bundles.WithTerminal(true), withArgs("/bin/attacker", "open", "/dev/console", corePattern, "/proc/version"))
			b.node("dev/null", unix.S_IFCHR|0o666, 1, 3)
			c.place(b)
			o := b.run()
			if c.sound && (o.code != 0 || !strings.Contains(o.stdout, "/dev/console is [char 136:")) {
				t.Errorf("a sound image has no terminal: %v", o)
			}
			if problem := consoleElsewhere(o); problem != "" {
				t.Errorf("%s: %v", problem, o)
			}
			if o.code == 0 && strings.Contains(o.stdout, "/proc/version is [char 136") {
				t.Errorf("the terminal is where it should not be: %v", o)
			}
		})
	}
}

// TestSettingsAreNotRedirected is CVE-2025-52881: what the runtime writes to
// /proc goes elsewhere if the image, or the program that already runs there,
// decides what /proc is.
func TestSettingsAreNotRedirected(t *testing.T) {
	const key = "proc/sys/net/ipv4/ip_unprivileged_port_start"
	b := newBox(t, writableRoot, withoutMount("/proc"), withArgs("/bin/attacker", "sleep"), func(spec *specs.Spec) {
		spec.Linux.Sysctl = map[string]string{"net.ipv4.ip_unprivileged_port_start": "7"}
		spec.Linux.MaskedPaths, spec.Linux.ReadonlyPaths = nil, nil
		spec.Process.Args = []string{"/bin/attacker", "nap", "0s"}
		score := 500
		spec.Process.OOMScoreAdj = &score
	})
	canary := filepath.Join(b.rootfs, "canary")
	b.file("canary", "as it was", 0o666)
	// Without it the start ends too early to show anything.
	b.file("proc/sys/kernel/cap_last_cap", "40\n", 0o444)
	for _, name := range []string{key, "proc/self/oom_score_adj", "proc/self/attr/exec", "proc/thread-self/attr/exec", "proc/self/attr/keycreate"} {
		b.symlink("/canary", name)
	}
	o := b.run()
	if got := readString(t, canary); got != "as it was" {
		t.Errorf("a write was led to the image's file, which says %q: %v", got, o)
	}
	t.Logf("with a forged /proc: exit %d %s", o.code, o.stderr)

	if o := onHost(t, "trusting-sysctl", b.rootfs, "/"+key, "7"); o.code != 0 || readString(t, canary) != "7s it was" {
		t.Errorf("the attack does not work where nothing protects from it: %v", o)
	}
}

// TestExecIntoAForgedProc: a program with the right to mount covers /proc before
// an exec arrives.
func TestExecIntoAForgedProc(t *testing.T) {
	b := newBox(t, mightier, withArgs("/bin/attacker", "fake-proc", "/canary"))
	b.file("canary", "as it was", 0o666)
	b.start()
	root := hostDirectory(t)
	o := b.callWith([]*os.File{root, root, root}, "exec", b.id, "/bin/attacker", "descriptors")
	if got := readString(t, filepath.Join(b.rootfs, "canary")); got != "as it was" {
		t.Errorf("a write was led to the image's file, which says %q: %v", got, o)
	}
	for line := range strings.Lines(o.stdout) {
		if !regexp.MustCompile(`^[012] `).MatchString(line) {
			t.Errorf("a descriptor is left open: %s", line)
		}
	}
	if o.code < 0 {
		t.Error("exec hung")
	}
	t.Logf("exec into a forged /proc: exit %d %s", o.code, o.stderr)

	// The control passes a descriptor, which the attack sees without a /proc.
	o = b.callWith([]*os.File{root}, "exec", "--preserve-fds", "1", b.id, "/bin/attacker", "descriptors")
	if o.code == 0 && !strings.Contains(o.stdout, "\n3 ") {
		t.Errorf("the attack does not see an open door: %v", o)
	}
}

func readString(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
