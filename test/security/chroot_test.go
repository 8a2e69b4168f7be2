package security_test

import (
	"context"
	"os/exec"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// mayChroot gives a spec what it takes to climb out of a mere chroot.
func mayChroot(spec *specs.Spec) {
	caps := []string{"CAP_SYS_CHROOT"}
	spec.Process.Capabilities = &specs.LinuxCapabilities{Bounding: caps, Effective: caps, Permitted: caps}
	spec.Linux.Seccomp = nil
}

// inChroot is a command whose root directory was changed by chroot(2) to a view
// of dir, in a mount namespace whose true root is the host's.
func (b *box) inChroot(ctx context.Context, dir string, args ...string) *exec.Cmd {
	script := `mount --rbind "$1" "$0" && mount --make-rprivate "$0" && shift && exec chroot "$0" "$@"`
	command := exec.CommandContext(ctx, "unshare", append([]string{"--mount", "sh", "-c", script, b.hostDir("chroot"), dir}, args...)...)
	command.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	return command
}

// TestCallerInAChroot: a container that is made in a chroot must not have the
// host's root below its own. pivot_root leaves it there, exec would land in it,
// and CAP_SYS_CHROOT, which engines give by default, is enough to climb there.
func TestCallerInAChroot(t *testing.T) {
	b := newBox(t, mayChroot)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), lifetime)
	defer cancel()
	l := background(t, b.inChroot(ctx, "/", shared.binary, "--root", b.state, "run", b.dir, b.id))
	t.Cleanup(func() {
		l.command.Process.Kill() //nolint:errcheck // it may have ended
		<-l.ended
		b.remove()
	})
	l.ready()

	// From the host, and from the chroot.
	execs := []*exec.Cmd{
		b.command(ctx, "exec", b.id, "/bin/attacker", "climb", b.marker),
		b.inChroot(ctx, "/", shared.binary, "--root", b.state, "exec", b.id, "/bin/attacker", "climb", b.marker),
	}
	for _, command := range execs {
		if o := finish(ctx, command); o.code != 0 || o.stdout != "climb ENOENT\n" {
			t.Errorf("exec: it must climb nowhere: %v", o)
		}
	}
	b.write(withArgs("/bin/attacker", "climb", b.marker), mayChroot)
	if o := finish(ctx, b.inChroot(ctx, "/", shared.binary, "--root", b.state, "run", b.dir, b.id+"-2")); o.code != 0 || o.stdout != "climb ENOENT\n" {
		t.Errorf("run: it must climb nowhere: %v", o)
	}
}

// TestCallerInAChrootControl: the climb works where only chroot is in the way.
func TestCallerInAChrootControl(t *testing.T) {
	b := newBox(t)
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	if o := finish(ctx, b.inChroot(ctx, b.rootfs, "/bin/attacker", "climb", b.marker)); o.code != 0 || o.stdout != "climb 0\n" {
		t.Errorf("it must reach the host's root: %v", o)
	}
}
