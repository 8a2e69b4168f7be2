package integration_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

// sandbox is the ground of one script or test: its names and directories, and
// the jobs that it started.
type sandbox struct {
	tb   testing.TB
	id   string // begins all IDs
	work string
	root string // state root
	tmp  string
	env  []string
	jobs map[string]*job
}

// scripts numbers the grounds of this process.
var scripts atomic.Int32

// sandboxKey is the key of a script's *sandbox among testscript's values.
type sandboxKey struct{}

func setUpScript(env *testscript.Env) error {
	if inVM() && isOnlyNative(env.WorkDir) {
		env.T().Skip("has nothing to do with cgroups, and is tried natively")
	}
	s := newSandbox(env.T().(testing.TB), env.WorkDir, filepath.Join(env.WorkDir, ".tmp"))
	env.Values[sandboxKey{}] = s
	env.Setenv("PATH", shared.path+":"+env.Getenv("PATH"))
	env.Setenv("HOME", env.WorkDir)
	env.Vars = append(env.Vars, s.env...)
	if disk := os.Getenv("SANDBOXRUN_IO_DISK"); disk != "" {
		if err := setDisk(env, disk); err != nil {
			return err
		}
	}
	env.Defer(s.end)
	return nil
}

// setDisk tells a script of the disk that it may overwrite.
func setDisk(env *testscript.Env, disk string) error {
	var stat unix.Stat_t
	if err := unix.Stat(disk, &stat); err != nil {
		return fmt.Errorf("SANDBOXRUN_IO_DISK: stat %s: %w", disk, err)
	}
	env.Setenv("SANDBOXRUN_IO_DISK", disk)
	env.Setenv("IO_DISK_MAJOR", strconv.Itoa(int(unix.Major(stat.Rdev))))
	env.Setenv("IO_DISK_MINOR", strconv.Itoa(int(unix.Minor(stat.Rdev))))
	return nil
}

// newTestSandbox is for tests that are Go and no script.
func newTestSandbox(t *testing.T) *sandbox {
	t.Helper()
	requireRoot(t)
	work := filepath.Join(shared.dir, t.Name())
	tmp := filepath.Join(work, ".tmp")
	if err := os.MkdirAll(tmp, 0o777); err != nil {
		t.Fatal(err)
	}
	s := newSandbox(t, work, tmp)
	s.env = append(os.Environ(), append(s.env, "WORK="+work, "TMPDIR="+tmp, "PATH="+shared.path+":"+os.Getenv("PATH"))...)
	t.Cleanup(s.end)
	return s
}

func newSandbox(tb testing.TB, work, tmp string) *sandbox {
	tb.Helper()
	s := &sandbox{
		tb:   tb,
		id:   fmt.Sprintf("%s-%d", shared.nonce, scripts.Add(1)),
		work: work,
		root: filepath.Join(work, "state"),
		tmp:  tmp,
		jobs: map[string]*job{},
	}
	s.env = []string{"ID=" + s.id, "ROOT=" + s.root, "SANDBOXRUN_BIN=" + shared.binary, marker + "=" + s.id}
	return s
}

func sandboxOf(ts *testscript.TestScript) *sandbox { return ts.Value(sandboxKey{}).(*sandbox) }

// end is the last assertion of every script. It can neither be forgotten nor
// avoided: testscript runs it on every way out.
func (s *sandbox) end() {
	for name, j := range s.jobs {
		j.abandon()
		if !s.tb.Failed() {
			s.tb.Errorf("job %q was started and never finished", name)
		}
	}
	found := s.leftovers()
	if len(found) > 0 {
		s.tb.Errorf("left behind:\n\t%s", strings.Join(found, "\n\t"))
	}
	if s.tb.Failed() {
		s.keepArtefacts(found)
	}
	s.sweep()
	if err := os.RemoveAll(s.work); err != nil {
		s.tb.Errorf("remove working directory: %v", err)
	}
}

// largestArtefact bounds what is kept of a single file.
const largestArtefact = 1 << 20

func (s *sandbox) keepArtefacts(leftovers []string) {
	to := filepath.Join(shared.artefacts, filepath.FromSlash(s.tb.Name()))
	if err := s.copyArtefacts(to); err != nil {
		s.tb.Logf("cannot keep artefacts: %v", err)
		return
	}
	list := strings.Join(append(leftovers, ""), "\n")
	if err := os.WriteFile(filepath.Join(to, "leftovers"), []byte(list), 0o644); err != nil {
		s.tb.Logf("cannot keep artefacts: %v", err)
		return
	}
	s.tb.Logf("artefacts are in %s", to)
}

func (s *sandbox) copyArtefacts(to string) error {
	if err := os.RemoveAll(to); err != nil {
		return err
	}
	return filepath.WalkDir(s.work, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return nil //nolint:nilerr // it vanished
		}
		rel, err := filepath.Rel(s.work, path)
		if err != nil {
			return err
		}
		if entry.IsDir() && (entry.Name() == "rootfs" || entry.Name() == "empty") {
			return fs.SkipDir
		}
		if entry.IsDir() {
			return os.MkdirAll(filepath.Join(to, rel), 0o755)
		}
		info, err := entry.Info()
		if err != nil || !info.Mode().IsRegular() || info.Size() > largestArtefact {
			return nil //nolint:nilerr // it vanished, or is nothing to keep
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return nil //nolint:nilerr // it vanished
		}
		return os.WriteFile(filepath.Join(to, rel), data, 0o644)
	})
}
