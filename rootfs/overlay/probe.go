package overlay

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Ability is what Probe found.
type Ability struct {
	// Method is the best that works.
	Method Method
	// Filesystem of the directory, such as "ext4".
	Filesystem string
	// Refused says of every better method why it does not work.
	Refused []Refusal
}

// Refusal says why a method does not work.
type Refusal struct {
	Method Method
	Why    error
}

// String is one line for people: "copy on tmpfs (overlay: …; reflink: …)".
func (a Ability) String() string {
	s := fmt.Sprintf("%s on %s", a.Method, a.Filesystem)
	if len(a.Refused) == 0 {
		return s
	}
	whys := make([]string, len(a.Refused))
	for i, r := range a.Refused {
		whys[i] = fmt.Sprintf("%s: %v", r.Method, r.Why)
	}
	return s + " (" + strings.Join(whys, "; ") + ")"
}

// Probe tries the methods in dir, an existing directory of the filesystem that
// roots will be on, best first, by doing each on a small tree that it removes
// again. A user without rights probes within the user and mount namespace that
// the root will be mounted in. The error wraps ErrNoMethod.
func Probe(ctx context.Context, dir string) (a Ability, retErr error) {
	if a.Filesystem, retErr = filesystem(dir); retErr != nil {
		return Ability{}, retErr
	}
	temp, err := os.MkdirTemp(dir, ".probe-")
	if err != nil {
		return Ability{}, fmt.Errorf("probe %q: %w", dir, err)
	}
	defer func() { retErr = errors.Join(retErr, Remove(temp, "", "")) }()
	for _, method := range methods {
		err := try(ctx, method, filepath.Join(temp, string(method)))
		if err == nil {
			a.Method = method
			return a, nil
		}
		a.Refused = append(a.Refused, Refusal{method, err})
	}
	return Ability{}, fmt.Errorf("%w: %s", ErrNoMethod, a)
}

// try makes a root of two layers, of which the upper deletes a file of the lower,
// writes to it and looks at what is there.
func try(ctx context.Context, method Method, dir string) (retErr error) {
	r := Root{
		Target: dir + "/target", Layers: []string{dir + "/low", dir + "/high"}, Upper: dir + "/upper", Work: dir + "/work", Method: method,
	}
	for _, path := range []string{r.Target, r.Layers[0] + "/d", r.Layers[1], r.Upper, r.Work} {
		if err := os.MkdirAll(path, 0o700); err != nil {
			return err
		}
	}
	for _, file := range []string{"/low/gone", "/low/d/kept"} {
		if err := os.WriteFile(dir+file, []byte("x"), 0o600); err != nil {
			return err
		}
	}
	if err := unix.Mknod(dir+"/high/gone", unix.S_IFCHR, 0); err != nil {
		return os.NewSyscallError("mknod of a whiteout", err)
	}
	if err := Mount(ctx, r); err != nil {
		return err
	}
	defer func() { retErr = errors.Join(retErr, Unmount(r.Target)) }()
	if _, err := os.Lstat(r.Target + "/gone"); !errors.Is(err, os.ErrNotExist) {
		return errors.New("a deleted file shows")
	}
	if err := os.Remove(r.Target + "/d/kept"); err != nil {
		return err
	}
	// A directory in the place of one that was deleted needs the opaque xattr, which
	// a filesystem may refuse.
	if err := os.Remove(r.Target + "/d"); err != nil {
		return err
	}
	return os.Mkdir(r.Target+"/d", 0o700)
}

// filesystems that roots are likely to be on, by their magic (statfs(2)).
var filesystems = map[int64]string{
	unix.EXT4_SUPER_MAGIC: "ext4", unix.XFS_SUPER_MAGIC: "xfs", unix.BTRFS_SUPER_MAGIC: "btrfs", unix.TMPFS_MAGIC: "tmpfs",
	unix.OVERLAYFS_SUPER_MAGIC: "overlay", unix.NFS_SUPER_MAGIC: "nfs", unix.F2FS_SUPER_MAGIC: "f2fs", unix.FUSE_SUPER_MAGIC: "fuse",
	0x2fc12fc1: "zfs", unix.V9FS_MAGIC: "9p",
}

func filesystem(dir string) (string, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return "", &os.PathError{Op: "statfs", Path: dir, Err: err}
	}
	if name, ok := filesystems[int64(st.Type)]; ok { //nolint:unconvert // narrower on other architectures
		return name, nil
	}
	return fmt.Sprintf("filesystem %#x", st.Type), nil
}

// fuseProgram is looked for in PATH.
const fuseProgram = "fuse-overlayfs"

// mountFuse has fuse-overlayfs mount the root; it stays in the background until
// the root is unmounted. Its options have no way to quote a comma or colon.
func (r *Root) mountFuse(ctx context.Context) error {
	program, err := exec.LookPath(fuseProgram)
	if err != nil {
		return fmt.Errorf("cannot find %s in PATH; install it", fuseProgram)
	}
	layers := make([]string, 0, len(r.Layers))
	for i := len(r.Layers) - 1; i >= 0; i-- {
		layers = append(layers, r.Layers[i])
	}
	for _, path := range append([]string{r.Upper, r.Work}, layers...) {
		if strings.ContainsAny(path, ",:\\") {
			return fmt.Errorf("cannot name %q to %s: it has a comma, colon or backslash; choose another data root", path, fuseProgram)
		}
	}
	options := "lowerdir=" + strings.Join(layers, ":")
	if r.Upper != "" {
		options += ",upperdir=" + r.Upper + ",workdir=" + r.Work
	}
	if r.readOnly() {
		options += ",ro"
	}
	if r.Volatile {
		options += ",volatile"
	}
	output, err := exec.CommandContext(ctx, program, "-o", options, r.Target).CombinedOutput()
	if err != nil {
		return errors.Join(fmt.Errorf("%s: %w: %s", fuseProgram, err, strings.TrimSpace(string(output))), Unmount(r.Target))
	}
	return nil
}
