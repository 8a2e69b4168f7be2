package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

func tty(args []string) error {
	if err := count(args, 0, 1); err != nil {
		return err
	}
	if len(args) == 1 && args[0] != "winch" {
		return fmt.Errorf("%w: %q is not \"winch\"", errUsage, args[0])
	}
	changed := make(chan os.Signal, 1)
	if len(args) == 1 {
		// Before the first size is printed: no change is lost after it.
		signal.Notify(changed, unix.SIGWINCH)
	}
	for fd := range 3 {
		if size, err := unix.IoctlGetWinsize(fd, unix.TIOCGWINSZ); err == nil {
			fmt.Printf("%d tty rows %d columns %d\n", fd, size.Row, size.Col)
		} else {
			fmt.Printf("%d no tty (%s)\n", fd, unix.ErrnoName(err.(unix.Errno)))
		}
	}
	if len(args) == 0 {
		return nil
	}
	for range changed {
		size, err := unix.IoctlGetWinsize(0, unix.TIOCGWINSZ)
		if err != nil {
			return fmt.Errorf("read window size: %w", err)
		}
		fmt.Printf("rows %d columns %d\n", size.Row, size.Col)
	}
	return nil
}

func status(args []string) error {
	if err := count(args, 0, 0); err != nil {
		return err
	}
	wanted := []string{
		"Uid", "Gid", "Groups", "Umask", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb",
		"NoNewPrivs", "Seccomp", "Seccomp_filters", "SigIgn", "SigBlk",
	}
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(line, ":")
		if slices.Contains(wanted, name) {
			fmt.Printf("%s %s\n", name, strings.Join(strings.Fields(value), " "))
		}
	}
	return nil
}

// fds lists by raw system calls: an os.File would open an epoll descriptor of the
// Go runtime, which is none that was inherited.
func fds(args []string) error {
	if err := count(args, 0, 0); err != nil {
		return err
	}
	directory, err := unix.Open("/proc/self/fd", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open /proc/self/fd: %w", err)
	}
	defer unix.Close(directory)
	var open []int
	buffer := make([]byte, 4096)
	for {
		n, err := unix.Getdents(directory, buffer)
		if err != nil {
			return fmt.Errorf("read /proc/self/fd: %w", err)
		}
		if n == 0 {
			break
		}
		_, _, entries := unix.ParseDirent(buffer[:n], -1, nil)
		for _, entry := range entries {
			if fd, err := strconv.Atoi(entry); err == nil && fd != directory {
				open = append(open, fd)
			}
		}
	}
	slices.Sort(open)
	target := make([]byte, 4096)
	for _, fd := range open {
		n, err := unix.Readlink("/proc/self/fd/"+strconv.Itoa(fd), target)
		if err != nil {
			return fmt.Errorf("read target of descriptor %d: %w", fd, err)
		}
		fmt.Println(fd, string(target[:n]))
	}
	return nil
}

func serve(args []string) error {
	if err := count(args, 1, 1); err != nil {
		return err
	}
	listener, err := net.Listen("tcp", args[0])
	if err != nil {
		return err
	}
	fmt.Println("listening", listener.Addr())
	server := &http.Server{
		ReadHeaderTimeout: 10 * time.Second,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			hostname, err := os.Hostname()
			if err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
			fmt.Fprintf(w, "pid %d\nhostname %s\n", os.Getpid(), hostname)
		}),
	}
	return server.Serve(listener)
}

func get(args []string) error {
	if err := count(args, 1, 1); err != nil {
		return err
	}
	client := &http.Client{Timeout: 10 * time.Second}
	response, err := client.Get(args[0])
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if _, err := io.Copy(os.Stdout, response.Body); err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", args[0], response.Status)
	}
	return nil
}
