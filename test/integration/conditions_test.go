package integration_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sandboxrun/sandboxrun/cgroup"
)

// condition decides the words in brackets that testscript does not know. What
// the VM is there for must hold in it: the script fails then, and is not skipped.
func condition(name string) (bool, error) {
	holds, promised, err := look(name)
	if err == nil && promised && !holds && inVM() {
		err = fmt.Errorf("the VM must have it, and has not")
	}
	return holds, err
}

func look(name string) (holds, promisedInVM bool, err error) {
	if service, ofService := strings.CutPrefix(name, "service:"); ofService {
		_, err := os.Stat(filepath.Join(shared.dir, "trees", service))
		return err == nil, false, nil
	}
	switch feature, ofCRIU := strings.CutPrefix(name, "criu:"); {
	case name == "vm":
		return inVM(), false, nil
	case name == "criu":
		return exec.Command("criu", "check").Run() == nil, true, nil
	case ofCRIU:
		return exec.Command("criu", "check", "--feature", feature).Run() == nil, true, nil
	}
	host, err := cgroup.Detect()
	if err != nil {
		return false, false, err
	}
	controller, isController := strings.CutPrefix(name, "controller:")
	switch {
	case isController:
		return hasController(host, controller), true, nil
	case name == "root":
		return os.Geteuid() == 0, true, nil
	case name == "v1":
		return host.Mode != cgroup.Unified, false, nil
	case name == "v2":
		return host.Mode == cgroup.Unified && hasController(host, "memory"), true, nil
	case name == "io-disk":
		return os.Getenv("SANDBOXRUN_IO_DISK") != "", true, nil
	case name == "swap-limit":
		return hasSwapLimit(host), false, nil
	case name == "host-pids":
		namespace, err := os.Readlink("/proc/self/ns/pid")
		return namespace == "pid:[4026531836]", true, err
	}
	return false, false, fmt.Errorf("there is no such condition; see doc.go")
}

// hasController takes the name of either cgroup version.
func hasController(host *cgroup.Host, name string) bool {
	if host.Mode == cgroup.Unified {
		if name == "blkio" {
			name = "io"
		}
		text, err := os.ReadFile(filepath.Join(host.Root, "cgroup.controllers"))
		return err == nil && slices.Contains(strings.Fields(string(text)), name)
	}
	if name == "io" {
		name = "blkio"
	}
	_, err := os.Stat(filepath.Join(host.Root, name, "cgroup.procs"))
	return err == nil
}

func hasSwapLimit(host *cgroup.Host) bool {
	name := "memory/memory.memsw.limit_in_bytes"
	if host.Mode == cgroup.Unified {
		own, err := os.ReadFile("/proc/self/cgroup")
		if err != nil {
			return false
		}
		name = filepath.Join(strings.TrimPrefix(strings.TrimSpace(string(own)), "0::"), "memory.swap.max")
	}
	_, err := os.Stat(filepath.Join(host.Root, name))
	return err == nil
}
