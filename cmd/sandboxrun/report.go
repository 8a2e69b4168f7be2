package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sandboxrun/sandboxrun/internal/atomicfile"
	"github.com/sandboxrun/sandboxrun/internal/commandline"
	"github.com/sandboxrun/sandboxrun/runtime"
)

// openReport checks where the report is to go before anything is started, and
// returns the function that writes it there. An empty destination is nowhere.
func openReport(destination string, stdout io.Writer) (func(*runtime.Report) error, error) {
	switch {
	case destination == "":
		return func(*runtime.Report) error { return nil }, nil
	case destination == "-":
		return reportTo(stdout), nil
	case strings.HasPrefix(destination, "fd:"):
		file, err := openDescriptor(strings.TrimPrefix(destination, "fd:"))
		if err != nil {
			return nil, err
		}
		return reportTo(file), nil
	}
	path, err := filepath.Abs(destination)
	if err != nil {
		return nil, fmt.Errorf("make --report absolute: %w", err)
	}
	if info, err := os.Lstat(path); err == nil && !info.Mode().IsRegular() {
		// A device, pipe or link, such as /dev/stderr, is written to and never
		// replaced. What a link leads to may be somebody's log: append.
		file, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
		if err != nil {
			return nil, fmt.Errorf("cannot write a report to %q: %w; name a file in a writable directory", destination, err)
		}
		return reportTo(file), nil
	}
	if err := tryDirectory(filepath.Dir(path)); err != nil {
		return nil, fmt.Errorf("cannot write a report to %q: %w; name a file in a writable directory", destination, err)
	}
	return func(r *runtime.Report) error {
		data, err := r.JSON()
		if err == nil {
			err = atomicfile.WriteFile(path, data, 0o644)
		}
		if err != nil {
			return fmt.Errorf("write report: %w", err)
		}
		return nil
	}, nil
}

// tryDirectory makes a file and removes it: for root, permission bits tell
// little of what a filesystem allows.
func tryDirectory(dir string) error {
	file, err := os.CreateTemp(dir, ".report.*.tmp")
	if err != nil {
		return err
	}
	return errors.Join(file.Close(), os.Remove(file.Name()))
}

func openDescriptor(number string) (*os.File, error) {
	fd, err := strconv.ParseUint(number, 10, 31)
	if err != nil {
		return nil, commandline.Usagef("--report fd:%s: it must be the number of a descriptor", number)
	}
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil || flags&unix.O_ACCMODE == unix.O_RDONLY || !inherited(uintptr(fd)) {
		return nil, fmt.Errorf("cannot write a report to descriptor %d: it is not open for writing; open it before", fd)
	}
	return os.NewFile(uintptr(fd), "report"), nil
}

func reportTo(w io.Writer) func(*runtime.Report) error {
	return func(r *runtime.Report) error {
		data, err := r.JSON()
		if err == nil {
			_, err = w.Write(data)
		}
		if err != nil {
			return fmt.Errorf("write report: %w", err)
		}
		return nil
	}
}
