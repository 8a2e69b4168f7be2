package main

import (
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

func burn(args []string) error {
	if err := count(args, 1, 2); err != nil {
		return err
	}
	wanted, err := duration(args[0])
	if err != nil {
		return err
	}
	threads := 1
	if len(args) == 2 {
		if threads, err = number(args[1]); err != nil {
			return err
		}
	}
	runtime.GOMAXPROCS(max(threads, 1))
	start := time.Now()
	var burning sync.WaitGroup
	for range threads {
		burning.Go(func() {
			var sum uint64
			for time.Since(start) < wanted {
				sum ^= spin(sum | 1)
			}
			runtime.KeepAlive(sum)
		})
	}
	burning.Wait()
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		return fmt.Errorf("getrusage: %w", err)
	}
	cpu := time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
	fmt.Printf("wall_seconds %.3f\ncpu_seconds %.3f\n", time.Since(start).Seconds(), cpu.Seconds())
	return nil
}

// spin takes well below a millisecond.
//
//go:noinline
func spin(x uint64) uint64 {
	for range 50_000 {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
	}
	return x
}

func hog(args []string) error {
	if err := count(args, 1, 2); err != nil {
		return err
	}
	bytes, err := size(args[0])
	if err != nil {
		return err
	}
	var hold time.Duration
	if len(args) == 2 {
		if hold, err = duration(args[1]); err != nil {
			return err
		}
	}
	if bytes > 0 {
		// Not the Go heap: exactly as many pages as asked for.
		memory, err := unix.Mmap(-1, 0, int(bytes), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
		if err != nil {
			return fmt.Errorf("map %d bytes: %w", bytes, err)
		}
		for i := 0; i < len(memory); i += unix.Getpagesize() {
			memory[i] = 1
		}
	}
	fmt.Printf("touched_bytes %d\n", bytes)
	time.Sleep(hold)
	return nil
}

func cpus(args []string) error {
	if err := count(args, 0, 0); err != nil {
		return err
	}
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return fmt.Errorf("sched_getaffinity: %w", err)
	}
	var list []string
	for cpu := 0; len(list) < set.Count(); cpu++ {
		if set.IsSet(cpu) {
			list = append(list, strconv.Itoa(cpu))
		}
	}
	fmt.Printf("count %d\ncpus %s\n", len(list), strings.Join(list, ","))
	return nil
}
