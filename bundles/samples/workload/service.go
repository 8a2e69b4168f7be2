package main

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// notify does what sd_notify(3) does, with \n for a new line in the message.
func notify(args []string) error {
	if err := count(args, 1, 2); err != nil {
		return err
	}
	var hold time.Duration
	if len(args) == 2 {
		var err error
		if hold, err = duration(args[1]); err != nil {
			return err
		}
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: os.Getenv("NOTIFY_SOCKET"), Net: "unixgram"})
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := conn.Write([]byte(strings.ReplaceAll(args[0], `\n`, "\n"))); err != nil {
		return err
	}
	time.Sleep(hold)
	return nil
}

// activated does what sd_listen_fds_with_names(3) does.
func activated(args []string) error {
	if err := count(args, 0, 0); err != nil {
		return err
	}
	if pid := os.Getenv("LISTEN_PID"); pid != strconv.Itoa(os.Getpid()) {
		return fmt.Errorf("LISTEN_PID is %q, this is process %d", pid, os.Getpid())
	}
	listening, err := number(os.Getenv("LISTEN_FDS"))
	if err != nil {
		return err
	}
	names := strings.Split(os.Getenv("LISTEN_FDNAMES"), ":")
	for i := range listening {
		fd := 3 + i
		accepts, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
		if err != nil {
			return fmt.Errorf("descriptor %d: %w", fd, err)
		}
		name := ""
		if i < len(names) {
			name = names[i]
		}
		fmt.Printf("%d name %q listening %d\n", fd, name, accepts)
	}
	return nil
}
