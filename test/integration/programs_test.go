package integration_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	goruntime "runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/sandboxrun/sandboxrun/bundles"
	"github.com/sandboxrun/sandboxrun/rootfs"
	"github.com/sandboxrun/sandboxrun/runtime"
	"github.com/sandboxrun/sandboxrun/test/leftovers"
)

// inCgroup2 runs a command in a mount namespace of its own in which
// /sys/fs/cgroup is cgroup v2. On a hybrid host that tree has no controllers.
func inCgroup2() {
	err := execInCgroup2(os.Args[1:])
	fmt.Fprintln(os.Stderr, "in-cgroup2:", err)
	os.Exit(125)
}

func execInCgroup2(args []string) error {
	path, err := exec.LookPath(args[0])
	if err != nil {
		return err
	}
	// The thread that calls execve(2) is the one that is left.
	goruntime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return os.NewSyscallError("unshare", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return os.NewSyscallError("mount / private", err)
	}
	if err := unix.Mount("cgroup2", "/sys/fs/cgroup", "cgroup2", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return os.NewSyscallError("mount cgroup2", err)
	}
	return syscall.Exec(path, args, os.Environ())
}

// growth is what run-in-process prints: what the process held after a tenth of
// the runs, and after all of them.
type growth struct {
	Runs        int `json:"runs"`
	Failed      int `json:"failed"`
	Descriptors struct {
		Early int `json:"early"`
		Late  int `json:"late"`
	} `json:"descriptors"`
	Threads struct {
		Early int `json:"early"`
		Late  int `json:"late"`
	} `json:"threads"`
	Goroutines struct {
		Early int `json:"early"`
		Late  int `json:"late"`
	} `json:"goroutines"`
	ResidentBytes struct {
		Early int `json:"early"`
		Late  int `json:"late"`
	} `json:"resident_bytes"`
	GrowthBytes int `json:"growth_bytes"`
}

// runInProcess runs a bundle many times, one after the other, through the
// runtime's Go API: run-in-process BUNDLE ROOT PREFIX TIMES.
func runInProcess() {
	if err := manyRuns(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "run-in-process:", err)
		os.Exit(1)
	}
}

func manyRuns(args []string, out io.Writer) error {
	times, err := strconv.Atoi(args[3])
	if err != nil {
		return err
	}
	bundle, err := bundles.Load(args[0])
	if err != nil {
		return err
	}
	if bundle.Spec.Root.Path, err = rootfs.Resolve(bundle.Dir, bundle.Spec.Root.Path); err != nil {
		return err
	}
	r, err := runtime.New(runtime.Config{Root: args[1]})
	if err != nil {
		return err
	}
	var g growth
	for i := range times {
		report, err := r.Run(context.Background(), runtime.RunOptions{CreateOptions: runtime.CreateOptions{
			ID: args[2] + "-" + strconv.Itoa(i), Bundle: bundle.Dir, Spec: bundle.Spec,
			ProcessOptions: runtime.ProcessOptions{Stdout: io.Discard, Stderr: os.Stderr},
		}})
		g.Runs++
		if err != nil || report.Reason != runtime.ReasonExited || report.ExitCode != 0 {
			g.Failed++
			fmt.Fprintln(os.Stderr, i, report.Reason, report.ExitCode, err)
		}
		if i+1 == times/10 {
			g.Descriptors.Early, g.Threads.Early, g.Goroutines.Early, g.ResidentBytes.Early = measure()
		}
	}
	g.Descriptors.Late, g.Threads.Late, g.Goroutines.Late, g.ResidentBytes.Late = measure()
	g.GrowthBytes = g.ResidentBytes.Late - g.ResidentBytes.Early
	return json.NewEncoder(out).Encode(g)
}

// measure returns what this process holds once its garbage is collected.
func measure() (descriptors, threads, goroutines, resident int) {
	goruntime.GC()
	goruntime.GC() // finalizers of the first one free more
	debug.FreeOSMemory()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		panic(err)
	}
	for line := range strings.Lines(string(status)) {
		name, value, _ := strings.Cut(line, ":")
		number, _ := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(value), " kB"))
		switch name {
		case "Threads":
			threads = number
		case "VmRSS":
			resident = number << 10
		}
	}
	return len(leftovers.Names("/proc/self/fd")), threads, goruntime.NumGoroutine(), resident
}
