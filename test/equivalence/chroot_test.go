package equivalence_test

import (
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// requireTrueRoot skips the test in a chroot: there runc leaves the host's root
// below a container's, and its exec would run the cases on the host.
func requireTrueRoot(t *testing.T) {
	t.Helper()
	changed := make(chan bool)
	failed := make(chan error, 1)
	go func() {
		defer close(changed)
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		var before, after unix.Statx_t
		const mask = unix.STATX_INO | unix.STATX_MNT_ID
		namespace, err := unix.Open("/proc/thread-self/ns/mnt", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err == nil {
			defer unix.Close(namespace)
			err = unix.Statx(unix.AT_FDCWD, "/", 0, mask, &before)
		}
		if err == nil {
			err = unix.Unshare(unix.CLONE_FS)
		}
		if err == nil {
			// Joining the namespace that one is in already leads to its root.
			err = unix.Setns(namespace, unix.CLONE_NEWNS)
		}
		if err == nil {
			err = unix.Statx(unix.AT_FDCWD, "/", 0, mask, &after)
		}
		if err != nil {
			failed <- err
			return
		}
		changed <- before.Mnt_id != after.Mnt_id || before.Ino != after.Ino
	}()
	if <-changed {
		t.Skip("the root was changed by chroot: there runc's exec runs in the host's root, which no test may")
	}
	select {
	case err := <-failed:
		t.Fatal("find out whether this is a chroot:", err)
	default:
	}
}
