package hostroot

import (
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// View is a host's root made ready for an overlay.
type View struct {
	// Lower is the root: the one lower layer.
	Lower string `json:"lower"`
	// Hidden are the paths that exist and are hidden, patterns resolved, sorted.
	Hidden []Hidden `json:"hidden"`
	// Submounts are the mount points below the root that the view does not have,
	// except those at or below what is hidden.
	Submounts []string `json:"submounts"`
}

// String is a line for each thing hidden and each one missing.
func (v View) String() string {
	var b strings.Builder
	for _, h := range v.Hidden {
		fmt.Fprintf(&b, "%s: %s (%s)\n", h.Path, h.How, h.Why)
	}
	for _, s := range v.Submounts {
		fmt.Fprintf(&b, "%s: missing (another filesystem)\n", s)
	}
	return b.String()
}

// Make fills the empty directory upper with what hides hide of the root filesystem
// root ("/" but in tests), for the overlay's upper directory. userxattr is for
// overlays with that option. mounts are the mount points of this mount
// namespace (Mounts).
//
// No link is followed, in root or in upper: a hidden path of which a directory is
// a link is hidden where it really is, if that is in the list. What does not exist
// is passed over. The error names the path.
func Make(upper, root string, hide []Hidden, userxattr bool, mounts []string) (View, error) {
	m, err := newMaker(upper, root, userxattr)
	if err != nil {
		return View{}, err
	}
	defer m.close()
	view := View{Lower: path.Clean(root), Submounts: []string{}, Hidden: []Hidden{}}
	for _, h := range hide {
		if !path.IsAbs(h.Path) || path.Clean(h.Path) != h.Path || h.Path == "/" {
			return View{}, fmt.Errorf("cannot hide %q: it is no clean absolute path below /", h.Path)
		}
		found, err := m.find(h)
		if err != nil {
			return View{}, fmt.Errorf("hide %q: %w", h.Path, err)
		}
		view.Hidden = append(view.Hidden, found...)
	}
	slices.SortFunc(view.Hidden, func(a, b Hidden) int { return strings.Compare(a.Path, b.Path) })
	view.Hidden = outermost(view.Hidden)
	for _, h := range view.Hidden {
		if err := m.hide(h); err != nil {
			return View{}, fmt.Errorf("hide %q: %w", h.Path, err)
		}
	}
	if err := m.settle(); err != nil {
		return View{}, err
	}
	view.Submounts = submounts(view, mounts)
	return view, nil
}

// outermost leaves out what lies within something that is hidden, and what comes
// twice. hidden is sorted by path.
func outermost(hidden []Hidden) []Hidden {
	var kept []Hidden
	for _, h := range hidden {
		inside := slices.ContainsFunc(kept, func(k Hidden) bool { return h.Path == k.Path || strings.HasPrefix(h.Path, k.Path+"/") })
		if !inside {
			kept = append(kept, h)
		}
	}
	return kept
}

// maker makes the hiding files.
type maker struct {
	upper, root int
	opaque      string
	times       map[string][]unix.Timespec // of directories made in upper
}

func newMaker(upper, root string, userxattr bool) (*maker, error) {
	m := &maker{upper: -1, root: -1, opaque: "trusted.overlay.opaque", times: map[string][]unix.Timespec{}}
	if userxattr {
		m.opaque = "user.overlay.opaque"
	}
	var err error
	if m.root, err = unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
		return nil, &os.PathError{Op: "open", Path: root, Err: err}
	}
	if m.upper, err = unix.Open(upper, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0); err != nil {
		m.close()
		return nil, &os.PathError{Op: "open", Path: upper, Err: err}
	}
	// The root directory that the sandbox sees is upper's.
	if err := m.dress(m.root, ".", m.upper); err != nil {
		m.close()
		return nil, &os.PathError{Op: "dress", Path: upper, Err: err}
	}
	return m, nil
}

func (m *maker) close() {
	for _, fd := range []int{m.root, m.upper} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
}

// beneath opens the directory name of a tree, through no link.
func beneath(tree int, name string, flags uint64) (int, error) {
	return unix.Openat2(tree, name, &unix.OpenHow{
		Flags:   flags | unix.O_DIRECTORY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS,
	})
}

// relative makes an absolute path one below a tree's root.
func relative(absolute string) string {
	if absolute == "/" {
		return "."
	}
	return absolute[1:]
}

// find returns what h means on this host.
func (m *maker) find(h Hidden) ([]Hidden, error) {
	parent, err := beneath(m.root, relative(path.Dir(h.Path)), unix.O_RDONLY)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		return nil, nil
	}
	if err != nil {
		return nil, os.NewSyscallError("openat2", err)
	}
	dir := os.NewFile(uintptr(parent), path.Dir(h.Path))
	defer dir.Close()
	names := []string{path.Base(h.Path)}
	if strings.ContainsAny(names[0], "*?[") {
		if names, err = matching(dir, names[0]); err != nil {
			return nil, err
		}
	}
	var found []Hidden
	for _, name := range names {
		var st unix.Stat_t
		if err := unix.Fstatat(parent, name, &st, unix.AT_SYMLINK_NOFOLLOW); errors.Is(err, unix.ENOENT) {
			continue
		} else if err != nil {
			return nil, os.NewSyscallError("fstatat", err)
		}
		real := h
		real.Path = path.Join(path.Dir(h.Path), name)
		if st.Mode&unix.S_IFMT == unix.S_IFLNK && h.How != Absent {
			continue // /var/mail -> spool/mail leads to what is hidden itself
		}
		if st.Mode&unix.S_IFMT != unix.S_IFDIR {
			real.How = Absent
		}
		found = append(found, real)
	}
	return found, nil
}

func matching(dir *os.File, pattern string) ([]string, error) {
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	if _, err := path.Match(pattern, ""); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(names, func(name string) bool {
		matched, _ := path.Match(pattern, name) // checked above
		return !matched
	}), nil
}

// hide makes what hides one path.
func (m *maker) hide(h Hidden) error {
	parentPath, base := path.Split(h.Path)
	parent, err := m.directory(path.Clean(parentPath))
	if err != nil {
		return err
	}
	defer unix.Close(parent)
	if h.How == Absent {
		return os.NewSyscallError("mknodat", unix.Mknodat(parent, base, unix.S_IFCHR, 0))
	}
	fd, err := m.enter(parent, h.Path)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.Fsetxattr(fd, m.opaque, []byte("y"), 0); err != nil {
		return fmt.Errorf("set %s: %w", m.opaque, err)
	}
	if h.How == EmptyTmp {
		if err := unix.Fchmod(fd, 0o1777); err != nil {
			return os.NewSyscallError("fchmod", err)
		}
	}
	return nil
}

// directory opens the directory name in upper, made like the root's.
func (m *maker) directory(name string) (int, error) {
	fd, err := beneath(m.upper, relative(name), unix.O_RDONLY)
	if !errors.Is(err, unix.ENOENT) {
		return fd, os.NewSyscallError("openat2", err)
	}
	parent, err := m.directory(path.Dir(name))
	if err != nil {
		return -1, err
	}
	defer unix.Close(parent)
	return m.enter(parent, name)
}

// enter makes the directory name below its parent in upper and opens it.
func (m *maker) enter(parent int, name string) (int, error) {
	base := path.Base(name)
	if err := unix.Mkdirat(parent, base, 0o700); err != nil {
		return -1, os.NewSyscallError("mkdirat", err)
	}
	fd, err := unix.Openat(parent, base, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, os.NewSyscallError("openat", err)
	}
	if err := m.dress(m.root, relative(name), fd); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// dress gives the directory fd owner and mode of the root's directory name, and
// notes its times. A merged directory shows those of the upper one.
func (m *maker) dress(root int, name string, fd int) error {
	like, err := beneath(root, name, unix.O_PATH)
	if err != nil {
		return os.NewSyscallError("openat2", err)
	}
	defer unix.Close(like)
	var st unix.Stat_t
	if err := unix.Fstat(like, &st); err != nil {
		return os.NewSyscallError("fstat", err)
	}
	// A user without rights keeps what is theirs; the modes count all the same.
	if err := unix.Fchown(fd, int(st.Uid), int(st.Gid)); err != nil && !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.EINVAL) {
		return os.NewSyscallError("fchown", err)
	}
	if err := unix.Fchmod(fd, st.Mode&0o7777); err != nil {
		return os.NewSyscallError("fchmod", err)
	}
	m.times[name] = []unix.Timespec{st.Atim, st.Mtim}
	return nil
}

// settle sets the times that the making of what is below changed.
func (m *maker) settle() error {
	for name, times := range m.times {
		err := unix.UtimesNanoAt(m.upper, name, times, unix.AT_SYMLINK_NOFOLLOW)
		if err != nil {
			return &os.PathError{Op: "utimensat", Path: "/" + name, Err: err}
		}
	}
	return nil
}

// submounts returns those of mounts that the view lacks.
func submounts(v View, mounts []string) []string {
	missing := []string{}
	prefix := strings.TrimSuffix(v.Lower, "/") + "/"
	for _, mount := range mounts {
		below, ok := strings.CutPrefix(mount, prefix)
		if !ok || below == "" {
			continue
		}
		name := "/" + below
		hidden := slices.ContainsFunc(v.Hidden, func(h Hidden) bool { return name == h.Path || strings.HasPrefix(name, h.Path+"/") })
		if !hidden {
			missing = append(missing, name)
		}
	}
	slices.Sort(missing)
	return slices.Compact(missing)
}

// Mounts returns the mount points of the calling thread's mount namespace, in
// the table's order. The process's own table is that of its first thread, which
// libcontainer may have left in a container's namespace.
func Mounts() ([]string, error) {
	data, err := os.ReadFile("/proc/thread-self/mountinfo")
	if err != nil {
		return nil, err
	}
	return parseMounts(string(data)), nil
}

// parseMounts reads the mount points of a mountinfo table (proc_pid_mountinfo(5)),
// whose blanks, tabs, newlines and backslashes are octal.
func parseMounts(table string) []string {
	var mounts []string
	for line := range strings.Lines(table) {
		fields := strings.Fields(line)
		if len(fields) >= 5 {
			mounts = append(mounts, unescape.Replace(fields[4]))
		}
	}
	return mounts
}

var unescape = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
