package runtime

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/runc/libcontainer"
	"golang.org/x/sys/unix"
)

// CRIUOptions are what a checkpoint and its restore have in common. CRIU, the
// program, does the work (https://criu.org); it needs root. Most members have to
// be the same for both.
type CRIUOptions struct {
	// ImageDir is the absolute path of the directory of CRIU's images. Whoever
	// can write there decides what a restored program does, and with which
	// rights.
	ImageDir string
	// WorkDir is the absolute path of the directory of CRIU's log and
	// statistics, "" for ImageDir. It is made if it is missing.
	WorkDir string
	// TCPEstablished keeps established TCP connections.
	TCPEstablished bool
	// ExternalUnixSockets allows connections by unix sockets to processes
	// outside the container.
	ExternalUnixSockets bool
	// ShellJob allows a session or a terminal of outside the container.
	ShellJob bool
	// FileLocks allows locks on files that others share.
	FileLocks bool
	// LazyPages leaves memory where it is until it is asked for (userfaultfd(2)).
	LazyPages bool
	// AutoDedup drops pages of parent images that newer ones replace.
	AutoDedup bool
	// CgroupsMode is how CRIU itself deals with cgroups: CgroupsSoft, …; "" is
	// CRIU's default, which is soft. Those of the container are made by us.
	CgroupsMode string
}

// CgroupsModes are the values of CRIUOptions.CgroupsMode but "", as
// https://criu.org/CGroups has them.
func CgroupsModes() []string { return []string{"soft", "full", "strict", "ignore"} }

// libcontainer returns the options in libcontainer's form. As with runc, the
// network is not CRIU's: it is empty after a restore but for lo.
func (o *CRIUOptions) libcontainer() *libcontainer.CriuOpts {
	return &libcontainer.CriuOpts{
		ImagesDirectory:         o.ImageDir,
		WorkDirectory:           o.logDir(),
		TcpEstablished:          o.TCPEstablished,
		ExternalUnixConnections: o.ExternalUnixSockets,
		ShellJob:                o.ShellJob,
		FileLocks:               o.FileLocks,
		LazyPages:               o.LazyPages,
		AutoDedup:               o.AutoDedup,
		ManageCgroupsMode:       o.CgroupsMode,
		EmptyNs:                 unix.CLONE_NEWNET,
		StatusFd:                -1,
	}
}

func (o *CRIUOptions) logDir() string {
	if o.WorkDir != "" {
		return o.WorkDir
	}
	return o.ImageDir
}

// oldestCRIU is the first major version that can be asked for its version.
const oldestCRIU = 3

// requireCRIU looks for a criu that can be asked at all.
func requireCRIU(ctx context.Context) error {
	path, version := criu(ctx)
	if path == "" {
		return fmt.Errorf("%w; install it (Debian: apt-get install criu)", ErrNoCRIU)
	}
	major, _, _ := strings.Cut(version, ".")
	if number, err := strconv.Atoi(major); err == nil && number < oldestCRIU {
		return explained{fmt.Sprintf("%s is too old (version %s); install version %d.0 or newer", path, version, oldestCRIU), ErrNoCRIU}
	}
	return nil
}

// explainCRIU adds what CRIU's log says. libcontainer knows only that CRIU
// failed.
func explainCRIU(err error, log string, since time.Time) error {
	if strings.HasPrefix(err.Error(), versionCheckFailed) {
		return explained{"criu does not work on this kernel; see what `criu check` says, and install a newer one (" + err.Error() + ")", err}
	}
	info, statErr := os.Stat(log)
	if statErr != nil || info.ModTime().Before(since) {
		return err // CRIU got nowhere; the log, if any, is of another time
	}
	said := err.Error()
	if told := lastCRIUError(log); told != "" && strings.HasPrefix(said, criuFailed) {
		said = told
	}
	if strings.Contains(said, "iptables-restore") {
		said += "; criu needs iptables to hold a network back, install it (Debian: apt-get install iptables)"
	}
	return explained{fmt.Sprintf("%s; see %s", said, log), err}
}

// versionCheckFailed is libcontainer's, and has no sentinel; criu says nothing
// else where it does not know the kernel.
const versionCheckFailed = "CRIU version check failed"

// criuFailed begins the error of libcontainer that says that CRIU failed, and
// not we.
const criuFailed = "criu failed"

// lastCRIUError returns the last error in the log that tells something, "" if
// there is none. A line is "(SECONDS) Error (SOURCE:LINE): TEXT".
func lastCRIUError(log string) string {
	file, err := os.Open(log)
	if err != nil {
		return ""
	}
	defer file.Close()
	last := ""
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		_, rest, found := strings.Cut(lines.Text(), "Error (")
		_, text, told := strings.Cut(rest, "): ")
		if found && told && !isCRIUEpilogue(text) {
			last = text
		}
	}
	return last
}

// isCRIUEpilogue tells errors that only say that there was one before, or that
// CRIU survives.
func isCRIUEpilogue(text string) bool {
	for _, part := range []string{"FAILED", "failed with ", "exited, status=", "killed by signal ", "cgroupd: ", "Can't setup RLIMIT"} {
		if strings.Contains(text, part) {
			return true
		}
	}
	return false
}

// isQuotedCRIULog tells libcontainer's quotations of CRIU's log: a head, lines
// with their number, "..." for gaps, and "---".
func isQuotedCRIULog(message string) bool {
	if message == "..." || strings.HasPrefix(message, "---") {
		return true
	}
	number, _, found := strings.Cut(message, ":")
	_, err := strconv.Atoi(number)
	return found && err == nil
}

// makePrivateDir makes a directory that only its owner can look into: there
// will be the memory of programs in it.
func makePrivateDir(path string) error {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return fmt.Errorf("make directory: %w", err)
	}
	return nil
}

func checkAbsolute(paths ...string) error {
	for _, path := range paths {
		if path != "" && !filepath.IsAbs(path) {
			return fmt.Errorf("path %q is not absolute", path)
		}
	}
	return nil
}

var errNoImageDir = errors.New("no image directory is named")
