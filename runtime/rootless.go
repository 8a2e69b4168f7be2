package runtime

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/moby/sys/userns"
	"github.com/opencontainers/cgroups/systemd"
)

// detectRootless is what RootlessAuto means: for others than root, and for the
// root of a user namespace, as there is no telling what that may do with cgroups.
// With systemd it is known: the owner of the bus is its manager's user.
func detectRootless(systemdCgroup bool) bool {
	if os.Geteuid() != 0 {
		return true
	}
	if !userns.RunningInUserNS() {
		return false
	}
	if !systemdCgroup {
		return true
	}
	owner, err := systemd.DetectUID()
	return err == nil && owner != 0
}

// adviceDelegate is for those whose containers have no cgroup.
const adviceDelegate = "have cgroups delegated, by --systemd-cgroup on a host with cgroup v2 and systemd, or be root"

// explainNoCgroup takes an operation's failure, and tells it as ErrNoCgroup where
// that is why: the container is one of an ordinary user without a delegated cgroup.
func (c *Container) explainNoCgroup(verb string, failure error) error {
	group, err := c.openGroup()
	if err != nil || group != nil && len(group.Existing()) > 0 {
		return failure
	}
	advice := adviceDelegate
	if group == nil {
		advice = "it was made with --cgroup-manager disabled; make it with another"
	}
	return explained{fmt.Sprintf("cannot %s container %q: %v; %s", verb, c.id, ErrNoCgroup, advice), errors.Join(ErrNoCgroup, failure)}
}

// knob is a setting of the host that keeps ordinary users from making user
// namespaces.
type knob struct {
	file  string // below /proc/sys
	value string // that forbids
	texts []string
	does  string
	fix   string
	// perhaps: there may be another reason, so the failure's own words are told too.
	perhaps bool
}

// knobs are in the order in which they are looked at. Where AppArmor restricts
// user namespaces, making one succeeds, and what needs a right in it fails (Ubuntu
// 23.10, "Restricted unprivileged user namespaces"): that may have other reasons.
var knobs = []knob{
	{
		"user/max_user_namespaces", "0", []string{unshareFailure},
		"so nobody can make a user namespace", "have root run `sysctl user.max_user_namespaces=10000`, or take a bundle without one as root", false,
	},
	{
		"kernel/unprivileged_userns_clone", "0", []string{unshareFailure},
		"so only root can make a user namespace", "have root run `sysctl kernel.unprivileged_userns_clone=1`, or be root", false,
	},
	{
		"kernel/apparmor_restrict_unprivileged_userns", "1", []string{"permission denied", "operation not permitted"},
		"so a user namespace of an ordinary user may do nothing unless AppArmor knows the program",
		"have root load an AppArmor profile for sandboxrun with `userns,`, or run `sysctl kernel.apparmor_restrict_unprivileged_userns=0`, or be root", true,
	},
}

const unshareFailure = "failed to unshare user namespace"

// explainUserNamespace says which knob made the start of a container with a user
// namespace of its own fail, if one did. sysctls is /proc/sys.
func explainUserNamespace(err error, sysctls string) error {
	var program *StartError
	if errors.As(err, &program) {
		return err
	}
	text := strings.ToLower(err.Error())
	for _, k := range knobs {
		if !containsAny(text, k.texts) {
			continue
		}
		value, readErr := os.ReadFile(filepath.Join(sysctls, k.file))
		if readErr != nil || strings.TrimSpace(string(value)) != k.value {
			continue
		}
		name := strings.ReplaceAll(k.file, "/", ".")
		told := fmt.Sprintf("cannot start: %s is %s on this host, %s; %s", name, k.value, k.does, k.fix)
		if k.perhaps {
			told += " (" + err.Error() + ")"
		}
		return explained{told, err}
	}
	if strings.Contains(text, unshareFailure) {
		return explained{fmt.Sprintf("cannot start: this host allows no further user namespace; "+
			"check user.max_user_namespaces and the seccomp profile that sandboxrun itself runs under, or be root (%s)", err), err}
	}
	return err
}

func containsAny(text string, parts []string) bool {
	for _, part := range parts {
		if strings.Contains(text, part) {
			return true
		}
	}
	return false
}

// explainRoot tells a permission error of the state root as one.
func (r *Runtime) explainRoot(err error) error {
	var path *fs.PathError
	if !errors.Is(err, fs.ErrPermission) || !errors.As(err, &path) || !strings.HasPrefix(path.Path, r.cfg.Root) {
		return err
	}
	return r.cannotKeepState(err)
}

// cannotKeepState points out the variable to a user whose session lacks it, as
// after su.
func (r *Runtime) cannotKeepState(err error) error {
	advice := "give a writable directory with --root"
	if os.Geteuid() != 0 && os.Getenv("XDG_RUNTIME_DIR") == "" {
		advice = "set XDG_RUNTIME_DIR, as a login does, or " + advice
	}
	return fmt.Errorf("cannot keep state in %q: %w; %s", r.cfg.Root, err, advice)
}
