package runtime

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/opencontainers/runc/libcontainer"

	// Without this import libcontainer refuses device rules on cgroup v2.
	_ "github.com/opencontainers/cgroups/devices"

	"github.com/sandboxrun/sandboxrun/internal/lockfile"
)

// DefaultRoot is where root keeps the state of its containers.
const DefaultRoot = "/run/sandboxrun"

// Rootless says whether cgroup permission errors may be ignored, as they must
// be where an ordinary user has no delegated cgroup.
type Rootless int

// The values of Rootless.
const (
	RootlessAuto Rootless = iota // yes for other users than root, and inside a user namespace
	RootlessYes
	RootlessNo
)

// Config says where and how a Runtime works.
type Config struct {
	// Root is the absolute path of the state root. It is made (mode 0700)
	// with the first container.
	Root string
	// SystemdCgroup leaves the making of cgroups to systemd.
	SystemdCgroup bool
	// NoCgroups makes containers without a cgroup: they stay in the caller's,
	// have no limits and no figures, cannot be paused or updated, and need a PID
	// namespace of their own.
	NoCgroups bool
	Rootless  Rootless
	// Logger gets a debug record for each step. Nil discards.
	Logger *slog.Logger
}

// Runtime is a handle on one state root. It holds no state of its own beside
// its configuration, so any number of handles and processes may work on one
// root at once. All methods are safe for concurrent use.
type Runtime struct {
	cfg      Config
	log      *slog.Logger
	rootless func() bool
	settle   func() // settleCgroups, once
	profiles *convertedProfiles
}

// New checks cfg and returns a handle. It touches nothing on disk.
func New(cfg Config) (*Runtime, error) {
	if !filepath.IsAbs(cfg.Root) || filepath.Clean(cfg.Root) == "/" {
		return nil, fmt.Errorf("cannot use %q as state root: it must be an absolute path below /; give another --root", cfg.Root)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	cfg.Root = filepath.Clean(cfg.Root)
	rootless := sync.OnceValue(func() bool { return detectRootless(cfg.SystemdCgroup) })
	r := &Runtime{cfg: cfg, log: cfg.Logger, rootless: rootless, profiles: &convertedProfiles{}}
	r.settle = sync.OnceFunc(r.settleCgroups)
	return r, nil
}

func (r *Runtime) containersDir() string     { return filepath.Join(r.cfg.Root, "containers") }
func (r *Runtime) stateDir(id string) string { return filepath.Join(r.containersDir(), id) }
func (r *Runtime) lockPath(id string) string { return filepath.Join(r.cfg.Root, "locks", id) }
func (r *Runtime) lockContainer(id string) (*lockfile.Lock, error) {
	return lockfile.TryLock(r.lockPath(id))
}

// makeRoot makes the directories of the state root.
func (r *Runtime) makeRoot() error {
	for _, dir := range []string{r.containersDir(), filepath.Dir(r.lockPath("id"))} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return r.cannotKeepState(err)
		}
	}
	return nil
}

// NoCgroups reports whether containers are made without a cgroup.
func (r *Runtime) NoCgroups() bool { return r.cfg.NoCgroups }

// SystemdCgroup reports whether systemd makes the cgroups.
func (r *Runtime) SystemdCgroup() bool { return r.cfg.SystemdCgroup }

// RootlessCgroups reports whether cgroup permission errors are to be ignored.
func (r *Runtime) RootlessCgroups() bool {
	switch r.cfg.Rootless {
	case RootlessYes:
		return true
	case RootlessNo:
		return false
	default:
		return r.rootless()
	}
}

// Load returns the container with the given ID. Its error wraps ErrNotFound
// if there is none, or only the remains of an interrupted create.
func (r *Runtime) Load(id string) (*Container, error) {
	if !ValidID(id) {
		return nil, fmt.Errorf("container %q: %w", id, ErrInvalidID)
	}
	lc, err := libcontainer.Load(r.containersDir(), id)
	if err != nil {
		return nil, fmt.Errorf("load container %q: %w", id, r.explainRoot(err))
	}
	return &Container{runtime: r, id: id, lc: lc}, nil
}

// List returns the state of every container under the root, sorted by ID. A
// container that vanishes meanwhile is left out. One that cannot be read is
// left out too, and its error is part of the joined error; the states are
// valid nevertheless.
func (r *Runtime) List() ([]State, error) {
	ids, err := subdirectories(r.containersDir())
	if err != nil {
		return nil, fmt.Errorf("list containers: %w", r.explainRoot(err))
	}
	states := []State{}
	var problems []error
	for _, id := range ids {
		c, err := r.Load(id)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		var state State
		if err == nil {
			state, err = c.State()
		}
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			problems = append(problems, err)
			continue
		}
		states = append(states, state)
	}
	return states, errors.Join(problems...)
}

// ValidID reports whether id may name a container: ASCII letters, digits, "_",
// "+", "-" and ".", but not "." or "..".
func ValidID(id string) bool {
	if id == "" || id == "." || id == ".." || len(id) > maxIDLength {
		return false
	}
	return !strings.ContainsFunc(id, func(c rune) bool {
		return !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune("_+-.", c))
	})
}

// maxIDLength leaves room for the prefix of the cgroup's name in NAME_MAX.
const maxIDLength = 255 - len(cgroupPrefix)

// subdirectories returns the sorted names of the directories in dir; none if
// dir does not exist.
func subdirectories(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	return names, nil
}
