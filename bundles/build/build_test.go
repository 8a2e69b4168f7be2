package build_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sandboxrun/sandboxrun/bundles"
	"github.com/sandboxrun/sandboxrun/bundles/build"
	"github.com/sandboxrun/sandboxrun/bundles/service"
	"github.com/sandboxrun/sandboxrun/internal/lockfile"
	"github.com/sandboxrun/sandboxrun/rootfs/manifest"
	"github.com/sandboxrun/sandboxrun/rootfs/overlay"
	"github.com/sandboxrun/sandboxrun/rootfs/store"
)

// machine is a store with one image and a place for bundles, which are unmounted
// at the end.
type machine struct {
	store *store.Store
	image store.Image
	state string
	dir   string
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: overlay mounts")
	}
	root := t.TempDir()
	st, err := store.Open(filepath.Join(root, "data"))
	if err != nil {
		t.Fatal(err)
	}
	m := &machine{store: st, state: filepath.Join(root, "state"), dir: filepath.Join(root, "bundles")}
	if err := os.Mkdir(m.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for i, files := range []map[string]string{
		{"etc/passwd": "root:x:0:0::/root:/bin/sh\napp:x:7:8::/srv:/bin/sh\n", "etc/shared": "low", "data/seed": "s", "data/link": "->seed", "tmp/": ""},
		{"etc/shared": "high"},
	} {
		m.image.Layers = append(m.image.Layers, m.layer(t, fmt.Sprint("layer", i), files))
	}
	// The same layer again, as images have it.
	m.image.Layers = append(m.image.Layers, m.image.Layers[1])
	m.image.Reference = "example.org/app:1"
	m.image.Config = manifest.Config{OS: "linux", Architecture: "amd64", Config: manifest.Execution{
		Cmd: []string{"/bin/app"}, User: "app", Volumes: map[string]struct{}{"/data": {}},
	}}
	t.Cleanup(func() { m.clean(t) })
	return m
}

// layer stores a layer of these files; "->" makes a link, and a name that ends in
// a slash a directory.
func (m *machine) layer(t *testing.T, name string, files map[string]string) store.Layer {
	t.Helper()
	layer, err := m.store.MakeLayer(t.Context(), manifest.DigestOf([]byte(name)), "", func(dir string) (store.Layer, error) {
		for path, content := range files {
			at := filepath.Join(dir, path)
			if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
				return store.Layer{}, err
			}
			var err error
			switch target, isLink := strings.CutPrefix(content, "->"); {
			case isLink:
				err = os.Symlink(target, at)
			case strings.HasSuffix(path, "/"):
				err = os.Mkdir(at, 0o777)
			default:
				err = os.WriteFile(at, []byte(content), 0o640)
			}
			if err != nil {
				return store.Layer{}, err
			}
		}
		return store.Layer{DiffID: manifest.DigestOf([]byte(name)), Form: "overlay", Blob: manifest.DigestOf([]byte(name))}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return layer
}

func (m *machine) clean(t *testing.T) {
	t.Helper()
	dirs, _ := filepath.Glob(m.dir + "/*")
	for _, dir := range dirs {
		if err := build.Remove(context.Background(), m.store, dir); err != nil && !errors.Is(err, build.ErrNotBuilt) {
			t.Errorf("remove: %v", err)
		}
	}
	m.nothingLeft(t)
}

// nothingLeft fails the test for anything but the store's own.
func (m *machine) nothingLeft(t *testing.T) {
	t.Helper()
	for _, pattern := range []string{m.dir + "/*", m.dir + "/.*.tmp", m.store.Root() + "/bundles/*/*", m.store.Root() + "/leases/*", m.state + "/secrets/*"} {
		found, _ := filepath.Glob(pattern)
		for _, path := range found {
			t.Errorf("left: %s", path)
		}
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, m.dir) {
			t.Errorf("left mounted: %s", line)
			if err := exec.Command("umount", "-l", strings.Fields(line)[4]).Run(); err != nil {
				t.Error(err)
			}
		}
	}
}

func (m *machine) source() build.Source {
	return build.Source{
		Text: "test:", DockerDefaults: true,
		Load: func(context.Context) (store.Image, error) { return m.image, nil },
	}
}

func (m *machine) options(name string) build.Options {
	return build.Options{Dir: filepath.Join(m.dir, name), StateRoot: m.state, Lookup: os.LookupEnv}
}

func (m *machine) build(t *testing.T, name string, svc service.Service) build.Result {
	t.Helper()
	r, err := build.Build(t.Context(), m.store, m.source(), svc, m.options(name))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestBuildMakesABundleThatIsMountedAndRemoved(t *testing.T) {
	m := newMachine(t)
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("hush"), 0o600); err != nil {
		t.Fatal(err)
	}
	svc := service.Service{
		Name:    "db",
		Secrets: []service.Secret{{Name: "key", File: secret, Target: "/run/secrets/key", UID: -1, GID: -1}},
		Source:  service.Source{Files: []service.File{{Content: "mine", Target: "/etc/mine", UID: 7, GID: 8, Mode: 0o600}, {Path: secret, Target: "/etc/shared"}}},
		Mounts:  []service.Mount{{Kind: service.Volume, Source: "named", Target: "/etc"}},
	}
	r := m.build(t, "box", svc)
	rootfs := filepath.Join(r.Dir, "rootfs")
	for path, want := range map[string]string{
		"/rootfs/etc/shared": "hush", "/rootfs/etc/mine": "mine", "/rootfs/data/seed": "s",
		"/volumes/_data/seed": "s", "/volumes/_data/link": "s", "/volumes/named/mine": "mine", "/secrets/key": "hush",
	} {
		if got := read(t, r.Dir+path); got != want {
			t.Errorf("%s is %q, want %q", path, got, want)
		}
	}
	config := read(t, filepath.Join(r.Dir, "config.json"))
	if strings.Contains(config, "hush") || strings.Contains(read(t, filepath.Join(r.Dir, "bundle.json")), "hush") {
		t.Error("the secret is in the bundle's files")
	}
	for path, want := range map[string]fs.FileMode{"": 0o711, "/config.json": 0o600, "/bundle.json": 0o600, "/secrets/key": 0o400, "/rootfs/etc/mine": 0o600, "/etc/hosts": 0o644} {
		if info, err := os.Stat(r.Dir + path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%q has mode %v, %v; want %v", path, info.Mode(), err, want)
		}
	}
	bundle, err := bundles.Load(r.Dir)
	if err != nil || bundle.Spec.Process.User.UID != 7 {
		t.Fatalf("load: %+v, %v", bundle, err)
	}

	if err := os.WriteFile(rootfs+"/written", []byte("w"), 0o644); err != nil {
		t.Fatal(err)
	}
	// Where roots are copies, a reboot takes the secrets only.
	if r.Record.Method == overlay.Kernel {
		if err := unix.Unmount(rootfs, 0); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.RemoveAll(m.state); err != nil {
		t.Fatal(err)
	}
	for _, want := range []bool{true, false} {
		mounted, err := build.Mount(t.Context(), m.store, r.Dir, m.options("box"))
		if err != nil || mounted != want {
			t.Errorf("mount again: %v, %v; want %v", mounted, err, want)
		}
	}
	if read(t, rootfs+"/written") != "w" || read(t, rootfs+"/etc/shared") != "hush" || read(t, r.Dir+"/secrets/key") != "hush" {
		t.Error("after a reboot the bundle is another one")
	}
	if err := build.Remove(t.Context(), m.store, r.Dir); err != nil {
		t.Error(err)
	}
	m.nothingLeft(t)
	if err := build.Remove(t.Context(), m.store, r.Dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("remove again: %v", err)
	}
	if read(t, filepath.Join(m.image.Layers[0].Dir, "etc/shared")) != "low" {
		t.Error("the layer of the store was changed")
	}
}

func TestBuildIsReproducible(t *testing.T) {
	m := newMachine(t)
	svc := service.Service{
		Name: "x", Labels: map[string]string{"a": "1", "b": "2", "c": "3"}, Sysctls: map[string]string{"net.core.somaxconn": "1", "kernel.msgmax": "9000"},
		Mounts: []service.Mount{{Kind: service.Volume, Target: "/v"}, {Kind: service.Tmpfs, Target: "/a/b"}, {Kind: service.Tmpfs, Target: "/a"}},
	}
	first := m.build(t, "first", svc)
	second := m.build(t, "second-with-a-longer-name", svc)
	if read(t, first.Dir+"/config.json") != read(t, second.Dir+"/config.json") {
		t.Error("two builds from the same give two config.json")
	}
}

func TestBuildRefusesWhatIsThere(t *testing.T) {
	m := newMachine(t)
	if err := errors.Join(os.Mkdir(m.dir+"/empty", 0o755), os.Mkdir(m.dir+"/full", 0o755), os.WriteFile(m.dir+"/full/x", nil, 0o644)); err != nil {
		t.Fatal(err)
	}
	m.build(t, "empty", service.Service{})
	for name, want := range map[string]string{"empty": "bundle remove", "full": "name another directory", "full/x": "name another directory", "none/x": "make the directory"} {
		_, err := build.Build(t.Context(), m.store, m.source(), service.Service{}, m.options(name))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
	if err := build.Remove(t.Context(), m.store, m.dir+"/full"); !errors.Is(err, build.ErrNotBuilt) {
		t.Errorf("remove of what is no bundle: %v", err)
	}
	if err := os.RemoveAll(m.dir + "/full"); err != nil {
		t.Fatal(err)
	}
}

func TestAFailedBuildLeavesNothing(t *testing.T) {
	m := newMachine(t)
	broken := errors.New("broken")
	tests := map[string]func(*build.Source, *service.Service, *build.Options){
		"load": func(s *build.Source, _ *service.Service, _ *build.Options) {
			s.Load = func(context.Context) (store.Image, error) { return store.Image{}, broken }
		},
		"file": func(_ *build.Source, s *service.Service, _ *build.Options) {
			s.Source.Files = []service.File{{Path: "/none/x", Target: "/x"}}
		},
		"user":    func(_ *build.Source, s *service.Service, _ *build.Options) { s.User = "nobody-here" },
		"set":     func(_ *build.Source, _ *service.Service, o *build.Options) { o.Set = []string{"nope=1"} },
		"invalid": func(_ *build.Source, _ *service.Service, o *build.Options) { o.Set = []string{"process.cwd=x"} },
		"bind": func(_ *build.Source, s *service.Service, _ *build.Options) {
			s.Mounts = []service.Mount{{Kind: service.Bind, Source: "/none/y", Target: "/y"}}
		},
		"secret": func(_ *build.Source, s *service.Service, _ *build.Options) {
			s.Secrets = []service.Secret{{Name: "k", Variable: "NONE_SUCH", Target: "/k"}}
		},
		"layer": func(s *build.Source, _ *service.Service, _ *build.Options) {
			s.Load = func(context.Context) (store.Image, error) {
				return store.Image{Layers: []store.Layer{{Dir: "/none/z"}}, Config: m.image.Config}, nil
			}
		},
	}
	for name, spoil := range tests {
		t.Run(name, func(t *testing.T) {
			source, svc, o := m.source(), service.Service{}, m.options("box")
			spoil(&source, &svc, &o)
			if _, err := build.Build(t.Context(), m.store, source, svc, o); err == nil {
				t.Error("it succeeded")
			}
			m.nothingLeft(t)
		})
	}
}

// TestSweepUndoesABuildThatWasKilled: the process ends in the middle of loading,
// which is where a real one spends its time, and after everything is mounted.
func TestSweepUndoesABuildThatWasKilled(t *testing.T) {
	m := newMachine(t)
	r := m.build(t, "box", service.Service{})
	// As a build looks that was killed before it gave the bundle its name.
	staging := filepath.Join(m.dir, ".box."+r.Record.ID+".tmp")
	if err := os.Rename(r.Dir, staging); err != nil {
		t.Fatal(err)
	}
	m.writeIntent(t, r, staging, false)
	lock, err := lockfile.TryLock(m.unfinished(r.Record.ID + ".lock"))
	if err != nil {
		t.Fatal(err)
	}
	if removed, err := build.Sweep(m.store); err != nil || removed != nil {
		t.Fatalf("what somebody works on is swept: %q, %v", removed, err)
	}
	if err := lock.Release(); err != nil {
		t.Fatal(err)
	}
	if removed, err := build.Sweep(m.store); err != nil || !slices.Equal(removed, []string{r.Dir}) {
		t.Fatalf("Sweep: %q, %v", removed, err)
	}
	m.nothingLeft(t)
}

func TestSweepRemovesAnIntentThatIsNotWhole(t *testing.T) {
	m := newMachine(t)
	r := m.build(t, "box", service.Service{})
	err := errors.Join(
		os.WriteFile(m.unfinished("."+r.Record.ID+".json.123.tmp"), nil, 0o600),
		os.WriteFile(m.unfinished(r.Record.ID+".lock"), nil, 0o600),
	)
	if err != nil {
		t.Fatal(err)
	}
	if removed, err := build.Sweep(m.store); err != nil || removed != nil {
		t.Errorf("Sweep: %q, %v", removed, err)
	}
	if left, err := os.ReadDir(m.unfinished("")); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

func TestSweepFinishesWhatWasKilledLate(t *testing.T) {
	m := newMachine(t)
	kept, gone := m.build(t, "kept", service.Service{}), m.build(t, "gone", service.Service{})
	// Named but not forgotten, and a removal in its middle.
	m.writeIntent(t, kept, m.dir+"/.x", false)
	m.writeIntent(t, gone, "", true)
	if err := os.Remove(gone.Dir + "/config.json"); err != nil {
		t.Fatal(err)
	}
	removed, err := build.Sweep(m.store)
	if err != nil || !slices.Equal(removed, []string{gone.Dir}) {
		t.Errorf("Sweep: %q, %v", removed, err)
	}
	if !build.IsMounted(kept.Dir, kept.Record) {
		t.Error("a bundle that was complete is gone")
	}
}

func (m *machine) unfinished(name string) string {
	return filepath.Join(m.store.Root(), "bundles", "unfinished", name)
}

func (m *machine) writeIntent(t *testing.T, r build.Result, staging string, removing bool) {
	t.Helper()
	text := fmt.Sprintf(`{"version":1,"id":%q,"dir":%q,"staging":%q,"stateRoot":%q,"removing":%v}`, r.Record.ID, r.Dir, staging, m.state, removing)
	err := errors.Join(os.WriteFile(m.unfinished(r.Record.ID+".json"), []byte(text), 0o600), os.WriteFile(m.unfinished(r.Record.ID+".lock"), nil, 0o600))
	if err != nil {
		t.Fatal(err)
	}
}

func TestRemoveRefusesABundleInUse(t *testing.T) {
	m := newMachine(t)
	r := m.build(t, "box", service.Service{})
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Fatal(err)
	}
	// A process in a mount namespace of its own whose root is the bundle's.
	command := exec.Command("unshare", "--mount", "sh", "-c", `mkdir -p "$0/lib" "$0/lib64" "$0/usr" && mount --rbind /usr "$0/usr" && mount --rbind /lib "$0/lib" && mount --rbind /lib64 "$0/lib64" && echo ready && exec chroot "$0" `+sleep+` 60`, r.Dir+"/rootfs")
	out, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		command.Process.Kill() //nolint:errcheck // it may be gone
		command.Wait()         //nolint:errcheck // killed
		if err := build.Remove(context.Background(), m.store, r.Dir); err != nil {
			t.Error(err)
		}
	})
	if _, err := out.Read(make([]byte, 6)); err != nil {
		t.Fatal(err)
	}
	root := fmt.Sprintf("/proc/%d/root", command.Process.Pid)
	for deadline := time.Now().Add(10 * time.Second); ; <-time.After(5 * time.Millisecond) {
		if at, err := os.Readlink(root); err != nil || time.Now().After(deadline) {
			t.Fatalf("no chroot: %q, %v", at, err)
		} else if at != "/" {
			break
		}
	}
	if err := build.Remove(t.Context(), m.store, r.Dir); !errors.Is(err, build.ErrInUse) {
		t.Errorf("remove: %v, want ErrInUse", err)
	}
	if !build.IsMounted(r.Dir, r.Record) {
		t.Error("it was unmounted all the same")
	}
}

// TestRemoveNeedsNoSpace removes where not even the note of a removal fits: to remove
// is how people make room.
func TestRemoveNeedsNoSpace(t *testing.T) {
	m := newMachine(t)
	r := m.build(t, "box", service.Service{})
	unfinished := filepath.Join(m.store.Root(), "bundles", "unfinished")
	if err := unix.Mount("full", unfinished, "tmpfs", 0, "size=4k,mode=0700"); err != nil {
		t.Fatal(os.NewSyscallError("mount", err))
	}
	defer func() {
		if err := unix.Unmount(unfinished, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	}()
	if err := os.WriteFile(filepath.Join(unfinished, "filling"), make([]byte, 4096), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(unfinished, "more"), []byte{0}, 0o600); !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("there is space: %v", err)
	}
	if err := build.Remove(t.Context(), m.store, r.Dir); err != nil {
		t.Errorf("on a full disk: %v", err)
	}
	if _, err := os.Lstat(r.Dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the bundle is there: %v", err)
	}
}
