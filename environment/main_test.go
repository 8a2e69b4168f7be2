package environment

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sandboxrun/sandboxrun/bundles/build"
	"github.com/sandboxrun/sandboxrun/bundles/service"
	"github.com/sandboxrun/sandboxrun/cgroup"
	"github.com/sandboxrun/sandboxrun/environment/control"
	"github.com/sandboxrun/sandboxrun/rootfs/manifest"
	"github.com/sandboxrun/sandboxrun/rootfs/store"
)

func TestMain(m *testing.M) {
	code := m.Run()
	for _, pattern := range []string{"/sys/fs/cgroup/*/sandboxrun-env-", "/sys/fs/cgroup/sandboxrun-env-"} {
		if left, _ := filepath.Glob(pattern + testName("*")); len(left) > 0 {
			fmt.Fprintf(os.Stderr, "cgroups left behind: %v\n", left)
			code = 1
		}
	}
	os.Exit(code)
}

// testName is a name that no test of another process has.
func testName(name string) string { return fmt.Sprintf("envtest%d-%s", os.Getpid(), name) }

// remains is what an environment consists of, made step by step as a launch and a
// supervisor make it, up to any step.
type remains struct {
	t      *testing.T
	roots  Roots
	name   string
	paths  Paths
	record *Record
	group  *cgroup.Group
	// processes were put into the control groups.
	processes []*exec.Cmd
	// elsewhere is a file to which a hostile service made links.
	elsewhere string
}

func newRemains(t *testing.T, name string) *remains {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("cgroups and mounts need root")
	}
	r := &remains{t: t, roots: testRoots(t), name: testName(name)}
	r.paths = r.roots.Of(r.name)
	r.elsewhere = filepath.Join(t.TempDir(), "elsewhere")
	r.write(filepath.Join(r.elsewhere, "file"))
	host, err := cgroup.Detect()
	if err != nil {
		t.Fatal(err)
	}
	path, err := host.Place("sandboxrun-env-" + r.name)
	if err != nil {
		t.Fatal(err)
	}
	r.group, err = host.Group(path)
	if err != nil {
		t.Fatal(err)
	}
	r.record = testRecord(r.roots, r.name)
	r.record.Cgroup, r.record.Cgroups, r.record.Ports = path, r.group.Paths(), nil
	t.Cleanup(func() {
		if err := r.roots.Remove(context.Background(), r.name, RemoveOptions{}); err != nil {
			t.Errorf("remove after the test: %v", err)
		}
		for _, p := range r.processes {
			_ = p.Wait() // killed
		}
		if _, err := os.Stat(filepath.Join(r.elsewhere, "file")); err != nil {
			t.Errorf("what is elsewhere was removed: %v", err)
		}
	})
	return r
}

func (r *remains) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *remains) write(path string) {
	r.t.Helper()
	r.must(os.MkdirAll(filepath.Dir(path), 0o700))
	r.must(os.WriteFile(path, []byte("x"), 0o600))
}

// step is one that can be the last before everybody is killed.
type step struct {
	name string
	make func(r *remains)
}

// steps are in the order of a launch.
var steps = []step{
	{"lock", func(r *remains) { r.write(r.paths.Lock) }},
	{"half a record", func(r *remains) { r.write(filepath.Join(r.paths.Dir, ".environment.json.123.tmp")) }},
	{"record", func(r *remains) { r.must(r.record.Write()) }},
	{"a directory", func(r *remains) { r.must(os.MkdirAll(r.paths.Data, 0o700)) }},
	{"control socket", func(r *remains) {
		listener, err := control.Listen(r.paths.Control)
		r.must(err)
		r.must(listener.Close())
	}},
	{"first cgroup", func(r *remains) {
		for _, dir := range r.record.Cgroups {
			r.must(os.MkdirAll(dir, 0o755))
			break
		}
	}},
	{"cgroups", func(r *remains) {
		for _, dir := range r.record.Cgroups {
			r.must(os.MkdirAll(filepath.Join(dir, "web-1"), 0o755))
		}
	}},
	{"message", func(r *remains) { r.write(r.paths.Messages) }},
	{"process", func(r *remains) { r.process() }},
	{"logs", func(r *remains) { r.write(filepath.Join(r.paths.Logs, "web-1.log")) }},
	{"report", func(r *remains) { r.write(filepath.Join(r.paths.Reports, "web-1.json")) }},
	{"container's state", func(r *remains) { r.write(filepath.Join(r.paths.Containers, "containers", "web-1", "state.json")) }},
	{"volumes", func(r *remains) {
		dir := filepath.Join(r.paths.Volumes, "data")
		r.write(filepath.Join(dir, "deep", "er", "file"))
		r.must(os.Symlink(r.elsewhere, filepath.Join(dir, "link")))
		r.must(os.Chmod(dir, 0))
		r.must(os.Symlink(filepath.Join(r.elsewhere, "file"), filepath.Join(r.paths.Volumes, "link to a file")))
	}},
	{"a bundle's intent", func(r *remains) { r.intent() }},
	{"something in bundles", func(r *remains) { r.write(filepath.Join(r.paths.Bundles, "web-0", "file")) }},
	{"bundle", func(r *remains) { r.bundle("web-1") }},
	{"frozen", func(r *remains) { r.freeze() }},
}

// process starts a program in the control groups.
func (r *remains) process() {
	r.t.Helper()
	cmd := exec.Command("sleep", "1000")
	r.must(cmd.Start())
	r.processes = append(r.processes, cmd)
	for controller, dir := range r.record.Cgroups {
		if controller == "cpuset" {
			continue // it has no CPUs yet
		}
		r.must(os.WriteFile(filepath.Join(dir, "web-1", "cgroup.procs"), []byte(strconv.Itoa(cmd.Process.Pid)), 0))
	}
}

func (r *remains) freeze() {
	r.t.Helper()
	if dir := r.record.Cgroups["freezer"]; dir != "" {
		r.must(os.WriteFile(filepath.Join(dir, "freezer.state"), []byte("FROZEN"), 0))
		return
	}
	r.must(os.WriteFile(filepath.Join(r.record.Cgroups[""], "cgroup.freeze"), []byte("1"), 0))
}

// intent is what a build leaves in the store that is killed right at its beginning.
func (r *remains) intent() {
	r.t.Helper()
	_, err := store.Open(r.roots.Data)
	r.must(err)
	const id = "0123456789abcdef"
	unfinished := filepath.Join(r.roots.Data, "bundles", "unfinished", id)
	r.write(unfinished + ".lock")
	r.must(os.WriteFile(unfinished+".json", fmt.Appendf(nil, `{"version":1,"id":%q,"dir":%q,"staging":%q,"stateRoot":%q}`,
		id, filepath.Join(r.paths.Bundles, "web-9"), filepath.Join(r.paths.Bundles, ".web-9.tmp"), r.roots.State), 0o600))
	r.write(filepath.Join(r.roots.Data, "bundles", id, "upper", "file"))
}

// bundle builds one and takes its mount away, as the end of a mount namespace does.
func (r *remains) bundle(name string) {
	r.t.Helper()
	st, err := store.Open(r.roots.Data)
	r.must(err)
	digest := manifest.DigestOf([]byte(name))
	layer, err := st.MakeLayer(r.t.Context(), digest, "", func(dir string) (store.Layer, error) {
		return store.Layer{DiffID: digest, Form: "overlay", Blob: digest}, os.MkdirAll(filepath.Join(dir, "etc"), 0o755)
	})
	r.must(err)
	image := store.Image{Reference: "example.org/x:1", Layers: []store.Layer{layer}}
	image.Config = manifest.Config{OS: "linux", Architecture: "amd64", Config: manifest.Execution{Cmd: []string{"/x"}}}
	dir := filepath.Join(r.paths.Bundles, name)
	r.must(os.MkdirAll(r.paths.Bundles, 0o700))
	_, err = build.Build(r.t.Context(), st, build.Source{Text: "test:", Load: func(context.Context) (store.Image, error) { return image, nil }},
		service.Service{}, build.Options{Dir: dir, StateRoot: r.roots.State, Lookup: os.LookupEnv})
	r.must(err)
	r.must(unix.Unmount(filepath.Join(dir, "rootfs"), unix.MNT_DETACH))
}

// nothing asserts that nothing of the environment is left, by Audit and by looking.
func (r *remains) nothing(opts RemoveOptions) {
	r.t.Helper()
	left, err := Audit(r.t.Context(), r.record, opts)
	if err != nil || len(left) > 0 {
		r.t.Errorf("left: %v, %v", left, err)
	}
	for _, dir := range r.group.Existing() {
		r.t.Errorf("left: %s", dir)
	}
	for _, pattern := range []string{
		"environments/*", "environments/.*", "environment-locks/*", "environment-locks/.*", "secrets/*", "bundles/*/*", "leases/*",
	} {
		for _, root := range []string{r.roots.State, r.roots.Data} {
			found, _ := filepath.Glob(filepath.Join(root, pattern))
			for _, path := range found {
				if opts.KeepVolumes && strings.HasPrefix(path, r.paths.Data) {
					continue
				}
				r.t.Errorf("left: %s", path)
			}
		}
	}
}
