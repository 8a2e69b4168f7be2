// The runtime would keep the cgroup's CPU files open to follow its limit: `fds`
// should show what was inherited, and `burn` should meet the limit, not avoid it.
//
//go:debug containermaxprocs=0
//go:debug updatemaxprocs=0

// Workload is one static program with a subcommand for each thing that a test or
// a benchmark wants a sandboxed process to do. `workload help` lists them. Results
// go to stdout as plain lines; an error is one line on stderr and exit code 1, a
// wrong use exit code 2.
package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// errUsage is wrapped by the errors of a wrong command line.
var errUsage = errors.New("wrong use")

// exitCode ends the program with that code and no message.
type exitCode int

func (e exitCode) Error() string { return "exit " + strconv.Itoa(int(e)) }

type command struct {
	name  string
	usage string
	about string
	run   func(args []string) error
}

func commands() []command {
	return []command{
		{"true", "", "exit with 0", func([]string) error { return nil }},
		{"false", "", "exit with 1", func([]string) error { return exitCode(1) }},
		{"exit", "N", "exit with N", exit},
		{"sleep", "DURATION", "sleep", sleep},
		{"env", "", "print the environment, one variable a line", env},
		{"args", "[ARG...]", "print the arguments, quoted, one a line", args},
		{"cat", "FILE...", "print files", cat},
		{"burn", "DURATION [THREADS]", "keep THREADS (1) CPUs busy; print wall and CPU seconds", burn},
		{"hog", "BYTES [DURATION]", "touch BYTES of memory, then hold it", hog},
		{"cpus", "", "print the CPUs this process may use", cpus},
		{"fork", "N [DURATION]", "start N sleeping children; print how many, and the errno that stopped it", fork},
		{"zombie", "N", "leave N orphans that exit at once; print how many zombies there are", zombie},
		{"write", "FILE BYTES [direct]", "write and sync; print bytes and seconds", write},
		{"read", "FILE [direct]", "read; print bytes and seconds", read},
		{"signal", "[trap SIGNAL exit N]", "print \"ready\", then each signal; exit with N on SIGNAL", signals},
		{"suicide", "SIGNAL", "end by SIGNAL's default action", suicide},
		{"tty", "[winch]", "tell which of 0, 1, 2 are terminals and their size; with winch, each new size", tty},
		{"status", "", "print ids, capabilities, seccomp and NoNewPrivs of /proc/self/status", status},
		{"fds", "", "list the open descriptors", fds},
		{"notify", "MESSAGE [DURATION]", "send MESSAGE to NOTIFY_SOCKET, then sleep", notify},
		{"activated", "", "list the sockets of LISTEN_FDS and their names", activated},
		{"counter", "[INTERVAL]", "print 1, 2, 3, … for ever, one every INTERVAL (0.1s)", counter},
		{"talk", "[INTERVAL]", "the same, through a TCP connection to itself", talk},
		{"http", "ADDR", "answer HTTP requests with pid and hostname", serve},
		{"get", "URL", "print what a server answers; exit with 1 unless it is well", get},
	}
}

func main() {
	err := run(os.Args[1:])
	var code exitCode
	switch {
	case err == nil:
	case errors.As(err, &code):
		os.Exit(int(code))
	case errors.Is(err, errUsage):
		fmt.Fprintln(os.Stderr, "workload:", err)
		os.Exit(2)
	default:
		fmt.Fprintln(os.Stderr, "workload:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	all := commands()
	if len(args) == 0 {
		return fmt.Errorf("%w: name a command: %s", errUsage, names(all))
	}
	if args[0] == "help" {
		for _, c := range all {
			fmt.Printf("%-30s%s\n", strings.TrimSpace(c.name+" "+c.usage), c.about)
		}
		return nil
	}
	i := slices.IndexFunc(all, func(c command) bool { return c.name == args[0] })
	if i < 0 {
		return fmt.Errorf("%w: unknown command %q: name one of %s", errUsage, args[0], names(all))
	}
	err := all[i].run(args[1:])
	if errors.Is(err, errUsage) {
		return fmt.Errorf("%w; usage: workload %s %s", err, all[i].name, all[i].usage)
	}
	return err
}

func names(all []command) string {
	list := make([]string, len(all))
	for i, c := range all {
		list[i] = c.name
	}
	return strings.Join(list, ", ")
}

// count refuses a wrong number of arguments.
func count(args []string, least, most int) error {
	if len(args) < least || len(args) > most {
		return fmt.Errorf("%w: %d arguments", errUsage, len(args))
	}
	return nil
}

func number(text string) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("%w: %q is not a number", errUsage, text)
	}
	return n, nil
}

// duration reads Go's form (1m30s) or plain seconds (0.5).
func duration(text string) (time.Duration, error) {
	if seconds, err := strconv.ParseFloat(text, 64); err == nil {
		return time.Duration(seconds * float64(time.Second)), nil
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return 0, fmt.Errorf("%w: %q is not a duration", errUsage, text)
	}
	return d, nil
}

// size reads a number of bytes, with K, M or G for powers of 1024.
func size(text string) (int64, error) {
	digits, shift := text, 0
	for i, unit := range []string{"K", "M", "G"} {
		if rest, ok := strings.CutSuffix(text, unit); ok {
			digits, shift = rest, 10*(i+1)
		}
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n < 0 || n > (1<<62)>>shift {
		return 0, fmt.Errorf("%w: %q is not a number of bytes", errUsage, text)
	}
	return n << shift, nil
}

func exit(args []string) error {
	if err := count(args, 1, 1); err != nil {
		return err
	}
	return exitWith(args[0])
}

func exitWith(text string) error {
	n, err := number(text)
	if err != nil {
		return err
	}
	if n > 255 {
		return fmt.Errorf("%w: exit codes are from 0 to 255", errUsage)
	}
	return exitCode(n)
}

func sleep(args []string) error {
	if err := count(args, 1, 1); err != nil {
		return err
	}
	d, err := duration(args[0])
	if err != nil {
		return err
	}
	time.Sleep(d)
	return nil
}

func env([]string) error {
	for _, variable := range os.Environ() {
		fmt.Println(variable)
	}
	return nil
}

func args(args []string) error {
	for _, arg := range args {
		fmt.Println(strconv.Quote(arg))
	}
	return nil
}

func cat(args []string) error {
	if err := count(args, 1, 1<<16); err != nil {
		return err
	}
	for _, name := range args {
		data, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		if _, err := os.Stdout.Write(data); err != nil {
			return err
		}
	}
	return nil
}
