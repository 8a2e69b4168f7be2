package integration_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/sandboxrun/sandboxrun/cgroup"
)

// cmdCPUShare measures at a running container: figures over its whole life hold
// its start as well, which takes long in an emulated machine.
func cmdCPUShare(_ *testscript.TestScript, s *sandbox, args []string) error {
	if len(args) != 4 {
		return errArguments
	}
	span, err1 := time.ParseDuration(args[1])
	low, err2 := strconv.ParseFloat(args[2], 64)
	high, err3 := strconv.ParseFloat(args[3], 64)
	if err := errors.Join(err1, err2, err3); err != nil {
		return err
	}
	group, err := s.group(args[0])
	if err != nil {
		return err
	}
	before, err := group.CPUUsage()
	if err != nil {
		return err
	}
	began := time.Now()
	<-time.After(span)
	after, err := group.CPUUsage()
	if err != nil {
		return err
	}
	if share := float64(after-before) / float64(time.Since(began)); share < low || share > high {
		return fmt.Errorf("it used %.3f CPUs over %v, want %v to %v", share, span, low, high)
	}
	return nil
}

// group opens a container's cgroup by the record that the runtime keeps of it.
func (s *sandbox) group(id string) (*cgroup.Group, error) {
	data, err := os.ReadFile(filepath.Join(s.root, "containers", id, "sandboxrun.json"))
	if err != nil {
		return nil, err
	}
	var record struct{ Cgroups map[string]string }
	if err := json.Unmarshal(data, &record); err != nil {
		return nil, err
	}
	return cgroup.Open(record.Cgroups)
}
