package main

import (
	"net/http"
	"os"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// hogMemory uses memory until the kernel ends the process.
func hogMemory(*http.Request) (any, error) {
	var all [][]byte
	for {
		chunk := make([]byte, 1<<20)
		for i := 0; i < len(chunk); i += os.Getpagesize() {
			chunk[i] = 1
		}
		all = append(all, chunk)
		runtime.KeepAlive(all)
	}
}

// hogCPU computes on two threads for a second, and answers with the CPU time
// that the process got and the time that passed, in seconds.
func hogCPU(*http.Request) (any, error) {
	begin, before := time.Now(), cpuTime()
	var threads sync.WaitGroup
	for range 2 {
		threads.Go(func() {
			for n := 0; n%1024 != 0 || time.Since(begin) < time.Second; n++ {
			}
		})
	}
	threads.Wait()
	return map[string]float64{"cpu": (cpuTime() - before).Seconds(), "wall": time.Since(begin).Seconds()}, nil
}

func cpuTime() time.Duration {
	var usage syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &usage) // it cannot fail for RUSAGE_SELF
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// hogPids starts processes until it cannot, and answers with how many it could
// and why there are no more. The processes do nothing but wait to be killed: a
// Go program in each would have several threads, which count too, and one that
// cannot start a thread crashes.
func hogPids(*http.Request) (any, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var started []int
	var why syscall.Errno
	for why == 0 && len(started) < 1000 {
		pid, _, errno := syscall.RawSyscall(syscall.SYS_CLONE, uintptr(syscall.SIGCHLD), 0, 0)
		if errno == 0 && pid == 0 {
			for {
				syscall.RawSyscall(syscall.SYS_PAUSE, 0, 0, 0)
			}
		}
		if why = errno; errno == 0 {
			started = append(started, int(pid))
		}
	}
	for _, pid := range started {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	for _, pid := range started {
		if _, err := syscall.Wait4(pid, nil, 0, nil); err != nil {
			return nil, err
		}
	}
	return map[string]any{"started": len(started), "error": why.Error()}, nil
}
