package hostroot_test

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sandboxrun/sandboxrun/rootfs/hostroot"
	"github.com/sandboxrun/sandboxrun/rootfs/overlay"
	"golang.org/x/sys/unix"
)

func requireRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root to mount")
	}
}

// host makes a root filesystem with secrets in it.
func host(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	for _, name := range []string{
		"etc/passwd", "etc/shadow", "etc/shadow-", "etc/gshadow", "etc/ssh/ssh_host_rsa_key", "etc/ssh/ssh_config", "etc/ssl/private/key.pem",
		"etc/ssl/certs/ca.pem", "etc/sudoers", "etc/sudoers.d/x", "etc/boto.cfg", "root/.ssh/id", "home/u/.ssh/id", "run/secret", "tmp/x", "var/tmp/x",
		"var/lib/docker/x", "var/lib/postgresql/x", "var/lib/dpkg/status", "var/log/syslog", "usr/bin/prog", "boot/vmlinuz", "srv/x", "swapfile",
	} {
		file := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, err := range []error{
		os.Symlink("/run", root+"/var/run"), os.Symlink("spool/mail", root+"/var/mail"), os.Symlink("usr/bin", root+"/bin"),
		os.Chmod(root+"/root", 0o700), os.Chown(root+"/etc", 3, 4), os.Chmod(root+"/tmp", 0o755),
		os.Symlink("/home/u/.ssh/id", root+"/etc/crypttab"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestViewHidesSecrets(t *testing.T) {
	requireRoot(t)
	root, dir := host(t), t.TempDir()
	r := overlay.Root{Target: dir + "/target", Upper: dir + "/upper", Work: dir + "/work", Layers: []string{root}}
	for _, path := range []string{r.Target, r.Upper, r.Work} {
		if err := os.Mkdir(path, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	mounts := []string{"/", root, root + "/usr/share", root + "/proc", root + "/run/lock", root + "/home", root + "/a b"}
	view, err := hostroot.Make(r.Upper, root, hostroot.Default(), false, mounts)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"/a b", "/proc", "/usr/share"}; !slices.Equal(view.Submounts, want) {
		t.Errorf("submounts %q, want %q", view.Submounts, want)
	}
	if err := overlay.Mount(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	defer overlay.Remove(r.Target, r.Upper, r.Work)
	var seen []string
	err = filepath.WalkDir(r.Target, func(name string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			seen = append(seen, strings.TrimPrefix(name, r.Target+"/"))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"bin", "etc/passwd", "etc/ssh/ssh_config", "etc/ssl/certs/ca.pem", "usr/bin/prog", "var/lib/dpkg/status", "var/mail", "var/run"}
	if !slices.Equal(seen, want) {
		t.Errorf("seen %q, want %q\n%s", seen, want, view)
	}
	requireLike(t, r.Target+"/root", 0o700, 0, 0)
	requireLike(t, r.Target+"/etc", 0o755, 3, 4)
	requireLike(t, r.Target+"/tmp", 0o1777, 0, 0)
	requireSameTime(t, root+"/etc", r.Target+"/etc")
	if err := os.WriteFile(r.Target+"/run/new", nil, 0o600); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(root + "/run/new"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the host was written to: %v", err)
	}
}

func requireLike(t *testing.T, name string, mode uint32, uid, gid uint32) {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Lstat(name, &st); err != nil {
		t.Fatal(err)
	}
	if st.Mode&0o7777 != mode || st.Uid != uid || st.Gid != gid {
		t.Errorf("%s is %04o %d:%d, want %04o %d:%d", name, st.Mode&0o7777, st.Uid, st.Gid, mode, uid, gid)
	}
}

func requireSameTime(t *testing.T, a, b string) {
	t.Helper()
	first, err := os.Lstat(a)
	if err != nil {
		t.Fatal(err)
	}
	second, err := os.Lstat(b)
	if err != nil {
		t.Fatal(err)
	}
	if !first.ModTime().Equal(second.ModTime()) {
		t.Errorf("%s is of %s, %s of %s", a, first.ModTime(), b, second.ModTime())
	}
}

// TestViewOfThisHost mounts this machine's root with an upper directory that lies
// within it, as bundles have it.
func TestViewOfThisHost(t *testing.T) {
	requireRoot(t)
	dir := t.TempDir()
	r := overlay.Root{Target: dir + "/target", Upper: dir + "/upper", Work: dir + "/work", Layers: []string{"/"}}
	for _, path := range []string{r.Target, r.Upper, r.Work} {
		if err := os.Mkdir(path, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	mounts, err := hostroot.Mounts()
	if err != nil {
		t.Fatal(err)
	}
	view, err := hostroot.Make(r.Upper, "/", hostroot.Default(), false, mounts)
	if err != nil {
		t.Fatal(err)
	}
	if err := overlay.Mount(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	defer overlay.Remove(r.Target, r.Upper, r.Work)
	for _, h := range view.Hidden {
		entries, err := os.ReadDir(r.Target + h.Path)
		if h.How == hostroot.Absent && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s shows: %v", h.Path, err)
		}
		if h.How != hostroot.Absent && (err != nil || len(entries) > 0) {
			t.Errorf("%s has %v, %v", h.Path, entries, err)
		}
	}
	if _, err := os.Lstat(r.Target + "/usr/bin/env"); err != nil {
		t.Error(err)
	}
}

func TestMakeRefuses(t *testing.T) {
	requireRoot(t)
	for _, bad := range []string{"", "/", "etc", "/etc/../root", "/etc/"} {
		_, err := hostroot.Make(t.TempDir(), t.TempDir(), []hostroot.Hidden{{Path: bad, How: hostroot.Absent}}, false, nil)
		if err == nil || !strings.Contains(err.Error(), "no clean absolute path") {
			t.Errorf("%q: got %v", bad, err)
		}
	}
}

func TestDefaultIsWellFormed(t *testing.T) {
	hidden := hostroot.Default()
	seen := map[string]bool{}
	for _, h := range hidden {
		if !path.IsAbs(h.Path) || path.Clean(h.Path) != h.Path || seen[h.Path] || h.Why == "" {
			t.Errorf("%+v", h)
		}
		if _, err := path.Match(h.Path, ""); err != nil || strings.ContainsAny(path.Dir(h.Path), "*?[") {
			t.Errorf("%q: %v", h.Path, err)
		}
		seen[h.Path] = true
	}
	for _, must := range []string{"/root", "/home", "/etc/shadow*", "/etc/gshadow*", "/etc/ssh/ssh_host_*", "/run", "/var/lib/docker", "/var/lib/containerd",
		"/var/lib/sandboxrun", "/var/lib/kubelet", "/var/log", "/var/spool", "/etc/ssl/private", "/etc/sudoers", "/boot", "/mnt", "/media", "/srv", "/tmp", "/var/tmp"} {
		if !seen[must] {
			t.Errorf("%s is not hidden", must)
		}
	}
}
