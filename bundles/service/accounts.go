package service

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"strings"

	"github.com/cyphar/filepath-securejoin/pathrs-lite"
	"github.com/moby/sys/user"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// maxAccounts bounds an account file in bytes. The file is the image's.
const maxAccounts = 4 << 20

// Accounts are the contents of a root filesystem's account files; nil where there
// is none.
type Accounts struct {
	Passwd, Group []byte
}

// ReadAccounts reads /etc/passwd and /etc/group below rootfs. The root filesystem
// is hostile: links are followed as in a chroot, and anything but a regular file of
// at most 4 MiB is ErrAccounts.
func ReadAccounts(rootfs string) (Accounts, error) {
	root, err := os.OpenFile(rootfs, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return Accounts{}, fmt.Errorf("open root filesystem: %w", err)
	}
	defer root.Close()
	var a Accounts
	if a.Passwd, err = readAccountFile(root, "/etc/passwd"); err != nil {
		return Accounts{}, err
	}
	if a.Group, err = readAccountFile(root, "/etc/group"); err != nil {
		return Accounts{}, err
	}
	return a, nil
}

func readAccountFile(root *os.File, path string) ([]byte, error) {
	handle, err := pathrs.OpenatInRoot(root, path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read %s of the root filesystem: %w: %w", path, ErrAccounts, err)
	}
	defer handle.Close()
	info, err := handle.Stat()
	if err != nil {
		return nil, fmt.Errorf("read %s of the root filesystem: %w", path, err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("cannot read %s of the root filesystem: %w: it is no regular file; use an image that has a real one", path, ErrAccounts)
	}
	if info.Size() > maxAccounts {
		return nil, fmt.Errorf("cannot read %s of the root filesystem: %w: it is larger than %d bytes", path, ErrAccounts, maxAccounts)
	}
	file, err := pathrs.Reopen(handle, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("read %s of the root filesystem: %w", path, err)
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxAccounts))
	if err != nil {
		return nil, fmt.Errorf("read %s of the root filesystem: %w", path, err)
	}
	return data, nil
}

// Identify finds who user (user[:group], empty for root) is, as Make does for a
// service's, and the home directory. The error wraps ErrUser.
func (a Accounts) Identify(user string) (specs.User, string, error) {
	id, err := a.identify(user, nil)
	return specs.User{UID: id.uid, GID: id.gid, AdditionalGids: id.groups}, id.home, err
}

// identity is who a program runs as.
type identity struct {
	uid, gid uint32
	groups   []uint32
	home     string
}

// identify finds who spec (user[:group], empty for root) is, as docker does: names
// before numbers, numbers without an account are taken as they are, and the
// groups that list the user are supplementary unless spec names a group.
func (a Accounts) identify(spec string, add []string) (identity, error) {
	defaults := user.ExecUser{Home: "/"}
	found, err := user.GetExecUser(spec, &defaults, bytes.NewReader(a.Passwd), bytes.NewReader(a.Group))
	if err != nil {
		return identity{}, fmt.Errorf("cannot use user %q: %w in /etc/passwd and /etc/group of the root filesystem (%w); name one that is there, or a number", spec, ErrUser, err)
	}
	if !isID(found.Uid) || !isID(found.Gid) {
		return identity{}, fmt.Errorf("cannot use user %q: %w: the root filesystem gives it the number %d:%d, which no user has", spec, ErrUser, found.Uid, found.Gid)
	}
	more, err := user.GetAdditionalGroups(add, bytes.NewReader(a.Group))
	if err != nil {
		return identity{}, fmt.Errorf("cannot use group_add %q: %w in /etc/group of the root filesystem (%w); name one that is there, or a number", strings.Join(add, " "), ErrUser, err)
	}
	id := identity{uid: uint32(found.Uid), gid: uint32(found.Gid), home: found.Home}
	if id.home == "" || !strings.HasPrefix(id.home, "/") {
		id.home = "/"
	}
	seen := map[int]bool{}
	for _, gid := range append(found.Sgids, more...) {
		if !isID(gid) {
			return identity{}, fmt.Errorf("cannot use user %q: %w: the root filesystem gives a group the number %d, which none has", spec, ErrUser, gid)
		}
		if !seen[gid] && gid != found.Gid {
			id.groups = append(id.groups, uint32(gid))
		}
		seen[gid] = true
	}
	return id, nil
}

// isID tells whether n can be a user's or group's number; -1 means "no change" to
// the kernel.
func isID(n int) bool { return n >= 0 && n < math.MaxUint32 }
