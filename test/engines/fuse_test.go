package engines

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"testing"
)

// TestFuseOverlay: a bundle of an ordinary user, who may mount by fuse-overlayfs
// only, is built, run and removed, and nothing stays mounted or running.
func TestFuseOverlay(t *testing.T) {
	requireVM(t)
	before := machineNow()
	// fusermount3 looks there, and the image has none, as few machines have none.
	if err := os.Symlink("/proc/self/mounts", "/etc/mtab"); err == nil {
		defer os.Remove("/etc/mtab")
	} else if !errors.Is(err, fs.ErrExist) {
		t.Fatal(err)
	}
	tester := &syscall.Credential{Uid: 1000, Gid: 1000}
	dir, err := os.MkdirTemp("/tmp", "f") //nolint:usetesting // open to the user
	if err != nil {
		t.Fatal(err)
	}
	defer removeTree(t, dir)
	makeFiles(t, tester, map[string]string{dir + "/": "", dir + "/s.yaml": "command: [/bin/workload, status]\n"})
	c := client{
		argv: []string{sandboxrun(t), "--root", dir + "/state", "--data-root", dir + "/data"},
		env:  []string{"PATH=" + os.Getenv("PATH"), "HOME=/home/tester"}, as: tester,
	}
	bundle, rootfs := dir+"/b", fromEnvironment(t, "SANDBOXRUN_BUNDLES", "workload", "rootfs")
	if got := c.succeeds(t, "bundle", "build", "--format", "json", "--service", dir+"/s.yaml", "--output", bundle, "dir:"+rootfs); !strings.Contains(got, `"method":"fuse-overlayfs"`) {
		t.Errorf("build says %s", got)
	}
	if !strings.Contains(strings.Join(mountPoints(), "\n"), bundle+"/rootfs") {
		t.Errorf("nothing is mounted at %s/rootfs: %q", bundle, mountPoints())
	}
	if got := c.succeeds(t, "run", bundle, "fuse"); !strings.Contains(got, "Uid 0 ") {
		t.Errorf("the program says %q", got)
	}
	c.succeeds(t, "bundle", "remove", bundle)
	if _, err := os.Lstat(bundle); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the bundle is still there: %v", err)
	}
	removeTree(t, dir)
	before.requireSame(t)
}
