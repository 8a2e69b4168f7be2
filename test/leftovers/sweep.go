package leftovers

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// KillAll kills what find finds until it finds nothing, for ten seconds at most.
// What is frozen in groups is thawed first: it could not die.
func KillAll(find func() []Process, groups func() []string) error {
	var errs []error
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); <-time.After(5 * time.Millisecond) {
		rest := find()
		if len(rest) == 0 {
			break
		}
		for _, dir := range groups() {
			os.WriteFile(filepath.Join(dir, "freezer.state"), []byte("THAWED"), 0) //nolint:errcheck // v1 only
		}
		for _, p := range rest {
			errs = append(errs, p.Kill())
		}
	}
	return errors.Join(errs...)
}

// Unmount takes away mounts that were reported already, the last first.
func Unmount(mounts []Mount) {
	for _, m := range slices.Backward(mounts) {
		unix.Unmount(m.Point, unix.MNT_DETACH) //nolint:errcheck // reported already
	}
}

// RemoveCgroups removes groups that were reported already, the last first.
func RemoveCgroups(dirs []string) {
	for _, dir := range slices.Backward(dirs) {
		os.Remove(dir) //nolint:errcheck // reported already
	}
}
