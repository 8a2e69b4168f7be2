package security_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// liveMounts is how often a mount is added and removed beside a racing program.
const liveMounts = 60

// TestLiveMountsThroughLinks: links of a hostile image at the place where a mount
// is added to the running sandbox. It lands inside, or is refused.
func TestLiveMountsThroughLinks(t *testing.T) {
	up := strings.Repeat("../", 20)
	for _, c := range []struct {
		name    string
		target  func(aim string) string
		refused string // part of the error; "" if it must land inside
	}{
		{"absolute", func(aim string) string { return aim }, ""},
		{"upwards", func(aim string) string { return up + aim[1:] }, ""},
		{"to the root", func(string) string { return "/" }, "container's root"},
		{"to the parent", func(string) string { return "../../.." }, "container's root"},
		{"into proc", func(string) string { return "/proc/sys" }, "proc"},
		{"to a link of the kernel", func(string) string { return "/proc/1/root" }, "link"},
		{"to a descriptor", func(string) string { return "/proc/1/fd/0" }, "link"},
		{"to itself", func(string) string { return "data" }, "link"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBox(t, writableRoot)
			aim, source := b.hostDir("aim"), b.hostDir("source")
			touch(t, filepath.Join(aim, "still-here"))
			touch(t, filepath.Join(source, "from-the-volume"))
			b.mkdir(aim[1:]) // where the link leads inside
			b.symlink(c.target(aim), "data")
			b.start()
			before := hostMounts()
			o := b.call("mounts", "add", b.id, source, "/data")
			if refused := o.code != 0; refused != (c.refused != "") || !strings.Contains(o.stderr, c.refused) {
				t.Errorf("want refused for %q: %v", c.refused, o)
			}
			if names := namesIn(t, aim); len(names) != 1 || names[0] != "still-here" {
				t.Errorf("the host's directory has %v", names)
			}
			if now := hostMounts(); len(now) != len(before) {
				t.Errorf("the host has %d mounts, and had %d", len(now), len(before))
			}
		})
	}
}

// TestRacingLiveMounts is CVE-2021-30465 against a sandbox that runs: its program
// swaps a directory with a link that names a directory of the host, as often as
// it can, while mounts are added and removed below that name.
func TestRacingLiveMounts(t *testing.T) {
	b := newBox(t, writableRoot, withArgs("/bin/attacker", "exchange", "/race/target", "/race/link"))
	aim, source := b.hostDir("aim"), b.hostDir("source")
	touch(t, filepath.Join(source, "from-the-volume"))
	b.mkdir("race/target")
	b.symlink(aim, "race/link")
	// Where the link leads inside.
	b.mkdir(aim[1:])
	racer := b.start()
	before := hostMounts()
	added, removed, throughLink := 0, 0, 0
	for range liveMounts {
		if o := b.call("mounts", "add", b.id, source, "/race/target/new", "ro"); o.code == 0 {
			added++
		}
		if o := b.call("mounts", "remove", "--destination", "/race/target/new", b.id); o.code == 0 {
			removed++
		}
		if names := namesIn(t, aim); len(names) > 0 {
			t.Fatalf("the race was lost: the host's directory has %v", names)
		}
		if now := hostMounts(); len(now) != len(before) {
			t.Fatalf("the race was lost: the host has %d mounts, and had %d", len(now), len(before))
		}
	}
	if names := namesIn(t, filepath.Join(b.rootfs, aim)); len(names) > 0 {
		throughLink = 1
	}
	t.Logf("%d added, %d removed of %d; %s", added, removed, liveMounts, racer.finish())
	if added == 0 || removed == 0 || throughLink == 0 {
		t.Errorf("the race was never on: %d added, %d removed, through the link %d", added, removed, throughLink)
	}
}

// TestMasksDoNotComeOff: an operator who removes a mount is led to a mask.
func TestMasksDoNotComeOff(t *testing.T) {
	b := newBox(t, writableRoot, func(spec *specs.Spec) { spec.Linux.MaskedPaths = []string{"/sys/firmware"} })
	source := b.hostDir("source")
	b.mkdir("data/firmware")
	b.symlink("/sys", "link")
	b.start()
	if o := b.call("mounts", "add", b.id, source, "/data/firmware"); o.code != 0 {
		t.Fatal(o)
	}
	o := b.call("mounts", "remove", "--destination", "/link/firmware", b.id)
	if o.code == 0 || !strings.Contains(o.stderr, "was not added") {
		t.Errorf("the mask could be removed: %v", o)
	}
	if o := b.call("mounts", "remove", "--destination", "/data/firmware", b.id); o.code != 0 {
		t.Error(o)
	}
}
