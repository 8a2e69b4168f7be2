package security_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/sandboxrun/sandboxrun/bundles"
)

// raceStarts is how often a sandbox is started beside a program that races it.
const raceStarts = 60

// hostDir makes a directory outside the root filesystem.
func (b *box) hostDir(name string) string {
	b.t.Helper()
	path := filepath.Join(filepath.Dir(b.dir), name)
	if err := os.MkdirAll(path, 0o755); err != nil {
		b.t.Fatal(err)
	}
	return path
}

// TestMountTargetsThatAreSymlinks: links in a hostile image at the places of
// mounts (CVE-2021-30465, CVE-2019-16884, CVE-2023-28642, CVE-2023-27561). Either
// the mount lands inside, or the start is refused. The host's directory that the
// links aim at has a file in it, which a mount there would hide.
func TestMountTargetsThatAreSymlinks(t *testing.T) {
	up := strings.Repeat("../", 20)
	for _, c := range []struct {
		name, place string
		target      func(b *box, aim string) string
	}{
		{"absolute", "data", func(_ *box, aim string) string { return aim }},
		{"upwards", "data", func(_ *box, aim string) string { return up + aim[1:] }},
		{"to the root", "data", func(*box, string) string { return "/" }},
		{"to the parent", "data", func(*box, string) string { return ".." }},
		{"in the middle", "data", func(_ *box, aim string) string { return filepath.Dir(aim) }},
		{"to a link of the kernel", "data", func(*box, string) string { return "/proc/1/root" }},
		{"to a descriptor", "data", func(*box, string) string { return "/proc/self/fd/3" }},
		{"to itself", "data", func(*box, string) string { return "data" }},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBox(t)
			aim, source := b.hostDir("aim"), b.hostDir("source")
			touch(t, filepath.Join(aim, "still-here"))
			touch(t, filepath.Join(source, "from-the-volume"))
			destination := "/data"
			if c.name == "in the middle" {
				destination = "/data/aim"
			}
			b.symlink(c.target(b, aim), c.place)
			// The second mount takes its source from where the first must not be.
			b.write(withArgs("/bin/attacker", "reach", b.marker), bundles.WithMounts(bind(source, destination), bind(aim, "/seen")))
			o := b.run()
			if strings.Contains(o.stdout, markerText) {
				t.Errorf("the host's file system was reached: %v", o)
			}
			if o.code == 0 && !strings.Contains(o.stdout, "done") {
				t.Errorf("the attack did not run: %v", o)
			}
			if names := namesIn(t, aim); len(names) != 1 || names[0] != "still-here" {
				t.Errorf("the runtime made %v on the host", names)
			}
		})
	}
}

// TestNothingIsMountedOverProc: what is at /proc decides whether the runtime's
// later steps are real.
func TestNothingIsMountedOverProc(t *testing.T) {
	for _, c := range []struct {
		name    string
		image   func(b *box)
		mounts  func(b *box) []specs.Mount
		refused bool
	}{
		{"proc is a link to a directory", func(b *box) { b.mkdir("elsewhere"); b.symlink("elsewhere", "proc") }, nil, true},
		{"proc is a link to the root", func(b *box) { b.symlink("/", "proc") }, nil, true},
		{"proc is a link upwards", func(b *box) { b.symlink("../../../../../../../../../..", "proc") }, nil, true},
		{"sys is a link", func(b *box) { b.mkdir("elsewhere"); b.symlink("elsewhere", "sys") }, nil, true},
		{"a volume over proc", nil, func(b *box) []specs.Mount { return []specs.Mount{bind(b.hostDir("volume"), "/proc")} }, true},
		{"a volume inside proc", nil, func(b *box) []specs.Mount { return []specs.Mount{bind(b.hostDir("volume"), "/proc/self/attr")} }, true},
		{"a tmpfs over proc", nil, func(*box) []specs.Mount {
			return []specs.Mount{{Type: "tmpfs", Source: "tmpfs", Destination: "/proc"}}
		}, true},
		{"a volume over a link to proc", func(b *box) { b.symlink("/proc", "data") },
			func(b *box) []specs.Mount { return []specs.Mount{bind(b.hostDir("volume"), "/data")} }, true},
		{"a volume over a link into proc", func(b *box) { b.symlink("/proc/sys", "data") },
			func(b *box) []specs.Mount { return []specs.Mount{bind(b.hostDir("volume"), "/data")} }, true},
		// CVE-2023-27561: the volume is the whole root, and its proc is a link.
		{"a volume as root with proc as a link", nil, func(b *box) []specs.Mount {
			volume := b.hostDir("volume")
			if err := os.Symlink("elsewhere", filepath.Join(volume, "proc")); err != nil {
				b.t.Fatal(err)
			}
			if err := os.MkdirAll(filepath.Join(volume, "elsewhere"), 0o755); err != nil {
				b.t.Fatal(err)
			}
			return []specs.Mount{bind(volume, "/")}
		}, true},
		{"control: proc is a directory and the volume elsewhere", func(b *box) { b.mkdir("data") },
			func(b *box) []specs.Mount { return []specs.Mount{bind(b.hostDir("volume"), "/data")} }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBox(t)
			if c.image != nil {
				c.image(b)
			}
			var mounts []specs.Mount
			if c.mounts != nil {
				mounts = c.mounts(b)
			}
			b.write(withArgs("/bin/attacker", "identity"), func(spec *specs.Spec) {
				if len(mounts) > 0 && mounts[0].Destination == "/" {
					spec.Mounts = append(mounts, spec.Mounts...)
				} else {
					spec.Mounts = append(spec.Mounts, mounts...)
				}
			})
			o := b.run()
			if refused := o.code != 0; refused != c.refused {
				t.Errorf("refused: %v: %v", refused, o)
			}
			if c.refused && !strings.Contains(o.stderr, "mount") {
				t.Errorf("it failed for another reason: %v", o)
			}
		})
	}
}

// TestRacingMountTargets is CVE-2021-30465 itself. A volume is shared with a
// hostile neighbour who keeps swapping a directory of it with a link that leads
// to the host's directory "sources". The victim mounts "bait" there; were the
// link followed, the bait's own link to the host's root would take the place of
// sources/next, and the victim's next mount would show the host.
func TestRacingMountTargets(t *testing.T) {
	b := newBox(t)
	volume, bait, sources := b.hostDir("volume"), b.hostDir("bait"), b.hostDir("sources")
	for _, dir := range []string{filepath.Join(volume, "target"), filepath.Join(sources, "next")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/", filepath.Join(bait, "next")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(sources, filepath.Join(volume, "link")); err != nil {
		t.Fatal(err)
	}
	b.mkdir("volume")
	b.mkdir("next")
	b.write(withArgs("/bin/attacker", "reach", b.marker), bundles.WithMounts(
		bind(volume, "/volume"), bind(bait, "/volume/target"), bind(filepath.Join(sources, "next"), "/next")))

	neighbour := newBox(t, withArgs("/bin/attacker", "exchange", "/volume/target", "/volume/link"), bundles.WithMounts(bind(volume, "/volume")))
	neighbour.mkdir("volume")
	racer := neighbour.start()
	started := 0
	for range raceStarts {
		o := b.run()
		if o.code < 0 || strings.Contains(o.stdout, markerText) {
			t.Fatalf("the race was lost: %v", o)
		}
		if o.code == 0 {
			started++
		}
		for _, dir := range []string{sources, bait, volume} {
			if names := namesIn(t, dir); len(names) > 2 {
				t.Fatalf("the runtime made something in %s: %v", dir, names)
			}
		}
	}
	t.Logf("%d of %d started; %s", started, raceStarts, racer.finish())
	if started == 0 {
		t.Error("no start got through: the race was never on")
	}
}

// TestRacingMountTargetsControl shows that the race can be won, against a mounter
// that trusts paths.
func TestRacingMountTargetsControl(t *testing.T) {
	b := newBox(t)
	bait, sources := b.hostDir("bait"), b.hostDir("sources")
	touch(t, filepath.Join(bait, "witness"))
	b.mkdir("target")
	b.symlink(sources, "link")
	racer := background(t, exec.CommandContext(t.Context(), shared.attacker, "exchange",
		filepath.Join(b.rootfs, "target"), filepath.Join(b.rootfs, "link")))
	racer.ready()
	o := onHost(t, "trusting-mounts", b.rootfs, "target", bait, "1000000", filepath.Join(sources, "witness"))
	t.Log(o, racer.finish())
	if o.code != 0 || !strings.HasPrefix(o.stdout, "escapes ") || strings.HasPrefix(o.stdout, "escapes 0") {
		t.Errorf("the race cannot be won here, so TestRacingMountTargets shows nothing: %v", o)
	}
}

// TestMountsStayInTheSandbox: what a sandbox with all rights mounts does not come
// back to the host, whatever its root's propagation.
func TestMountsStayInTheSandbox(t *testing.T) {
	for _, propagation := range []string{"", "private", "slave", "rslave"} {
		b := newBox(t, mightier, withArgs("/bin/attacker", "escape", "mount tmpfs"), func(spec *specs.Spec) {
			spec.Linux.RootfsPropagation = propagation
		})
		before := hostMounts()
		if o := b.run(); o.stdout != "0" {
			t.Errorf("%q: the sandbox could not mount, so this shows nothing: %v", propagation, o)
		}
		if now := hostMounts(); strings.Count(strings.Join(now, "\n"), b.dir) != strings.Count(strings.Join(before, "\n"), b.dir) {
			t.Errorf("%q: mounts came back to the host", propagation)
		}
	}
}

func touch(t *testing.T, path string) {
	t.Helper()
	fd, err := unix.Open(path, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_CLOEXEC, 0o644)
	if err != nil {
		t.Fatal(fmt.Errorf("make %s: %w", path, err))
	}
	unix.Close(fd)
}

func namesIn(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names
}
