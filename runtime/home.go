package runtime

import (
	"bufio"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/cyphar/filepath-securejoin/pathrs-lite"
	"golang.org/x/sys/unix"
)

// maxAccounts bounds the account file of a container in bytes.
const maxAccounts = 1 << 20

// withHome returns env with HOME set from the account file below root, as a
// login would, unless it is set. Without it libcontainer's init looks there
// itself, and waits for ever where a hostile image or program has put a FIFO.
func withHome(env []string, root string, uid int) []string {
	if hasHome(env) {
		return env
	}
	return append(slices.Clip(env), "HOME="+homeOf(root, uid))
}

// withoutWaiting returns env with HOME set to "/" if root's account file is one
// that libcontainer's init would wait for. Otherwise init looks up HOME itself:
// unlike us it sees the file that the bundle may mount there.
func withoutWaiting(env []string, root string) []string {
	handle, err := pathrs.OpenInRoot(root, "etc/passwd")
	if err != nil {
		return env
	}
	defer handle.Close()
	if info, err := handle.Stat(); err == nil && info.Mode().IsRegular() || hasHome(env) {
		return env
	}
	return append(slices.Clip(env), "HOME=/")
}

func hasHome(env []string) bool {
	return slices.ContainsFunc(env, func(variable string) bool { return strings.HasPrefix(variable, "HOME=") })
}

// homeOf returns "/" for a user without an account, as libcontainer does, and
// where the file is anything but a regular one. The path is the container's to
// choose: it is resolved below root and opened without waiting.
func homeOf(root string, uid int) string {
	handle, err := pathrs.OpenInRoot(root, "etc/passwd")
	if err != nil {
		return "/"
	}
	defer handle.Close()
	if info, err := handle.Stat(); err != nil || !info.Mode().IsRegular() {
		return "/"
	}
	file, err := pathrs.Reopen(handle, os.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC)
	if err != nil {
		return "/"
	}
	defer file.Close()
	return homeIn(file, uid)
}

// homeIn reads accounts in the form of passwd(5).
func homeIn(accounts io.Reader, uid int) string {
	lines := bufio.NewScanner(io.LimitReader(accounts, maxAccounts))
	for lines.Scan() {
		fields := strings.Split(lines.Text(), ":")
		if len(fields) >= 6 && fields[2] == strconv.Itoa(uid) && fields[5] != "" && !strings.ContainsRune(fields[5], 0) {
			return fields[5]
		}
	}
	return "/"
}
