package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"
)

// counter goes on until it is killed: its count is all that it has in memory.
func counter(args []string) error {
	interval, err := intervalOf(args)
	if err != nil {
		return err
	}
	for n := 1; ; n++ {
		fmt.Println(n)
		time.Sleep(interval)
	}
}

// talk is a counter that sends each number to itself through one connection, and
// prints what arrives.
func talk(args []string) (retErr error) {
	interval, err := intervalOf(args)
	if err != nil {
		return err
	}
	// CRIU does not save multipath TCP, which is what Go listens for.
	var config net.ListenConfig
	config.SetMultipathTCP(false)
	listener, err := config.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer func() { retErr = errors.Join(retErr, listener.Close()) }()
	out, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		return err
	}
	in, err := listener.Accept()
	if err != nil {
		return err
	}
	lines := bufio.NewReader(in)
	for n := 1; ; n++ {
		if _, err := fmt.Fprintln(out, n); err != nil {
			return err
		}
		line, err := lines.ReadString('\n')
		if err != nil {
			return err
		}
		fmt.Println("heard", strings.TrimSpace(line))
		time.Sleep(interval)
	}
}

func intervalOf(args []string) (time.Duration, error) {
	if err := count(args, 0, 1); err != nil {
		return 0, err
	}
	if len(args) == 0 {
		return 100 * time.Millisecond, nil
	}
	return duration(args[0])
}
