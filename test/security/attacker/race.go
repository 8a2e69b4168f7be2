package main

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// exchange swaps two names of one directory until standard input ends: args are
// pairs. Between two swaps it does nothing, which is the most that a hostile
// program can do.
func exchange(args []string) error {
	over := make(chan struct{})
	go func() {
		var b [1]byte
		os.Stdin.Read(b[:]) //nolint:errcheck // the end is what is waited for
		close(over)
	}()
	for i := 0; i < len(args); i += 2 {
		if err := swap(args[i], args[i+1]); err != nil {
			return fmt.Errorf("exchange %s and %s: %w", args[i], args[i+1], err)
		}
	}
	fmt.Fprintln(os.Stdout, "ready")
	swaps := 0
	for {
		select {
		case <-over:
			fmt.Fprintln(os.Stdout, "swaps", swaps)
			return nil
		default:
		}
		for i := 0; i < len(args); i += 2 {
			if swap(args[i], args[i+1]) == nil {
				swaps++
			}
		}
		// So fast that each start meets both forms many times, and slow enough to
		// leave the other half of a small machine to the victim.
		unix.Nanosleep(&unix.Timespec{Nsec: 20_000}, nil) //nolint:errcheck // woken early is as good
	}
}

func swap(a, b string) error {
	return unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE)
}

// trustingMounts is the control of the mount tests: a runtime that looks at a
// path, finds nothing wrong, and then mounts by path, as runc did before
// CVE-2021-30465. It runs on the host in a mount namespace of its own.
// args: ROOTFS TARGET SOURCE TRIES WITNESS. The target is below ROOTFS; it prints
// how often the file WITNESS, which only SOURCE has, appeared outside.
func trustingMounts(args []string) error {
	rootfs, target, source, witness := args[0], args[1], args[2], args[4]
	tries := 0
	if _, err := fmt.Sscan(args[3], &tries); err != nil {
		return err
	}
	escapes := 0
	deadline := time.Now().Add(10 * time.Second)
	for i := 0; i < tries && time.Now().Before(deadline); i++ {
		path := filepath.Join(rootfs, target)
		// The check that is made too early.
		if info, err := os.Lstat(path); err != nil || !info.IsDir() {
			continue
		}
		if err := unix.Mount(source, path, "", unix.MS_BIND, ""); err != nil {
			continue
		}
		if _, err := os.Lstat(witness); err == nil {
			escapes++
			unix.Unmount(filepath.Dir(witness), unix.MNT_DETACH) //nolint:errcheck // the namespace ends with us
			if escapes >= 3 {
				break
			}
			continue
		}
		unix.Unmount(path, unix.MNT_DETACH) //nolint:errcheck // as above
	}
	fmt.Fprintln(os.Stdout, "escapes", escapes)
	return nil
}

// trustingMask is the control of the masked-path tests: a runtime that binds
// ROOTFS/dev/null over a path without a look at what it is, as before
// CVE-2025-31133. It prints what the masked file then says. args: NULL MASKED
func trustingMask(args []string) error {
	if err := unix.Mount(args[0], args[1], "", unix.MS_BIND, ""); err != nil {
		return err
	}
	return openAll(args[1:2])
}

// trustingSysctl is the control of the redirection tests: a runtime that writes a
// sysctl by path below a root that it does not own, as before CVE-2025-52881.
// args: ROOTFS KEY-PATH VALUE
func trustingSysctl(args []string) error {
	if err := unix.Chroot(args[0]); err != nil {
		return err
	}
	fd, err := unix.Open(args[1], unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	_, err = unix.Write(fd, []byte(args[2]))
	return err
}
