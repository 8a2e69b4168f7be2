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
	// No span may be above: that is what the limit promises. A busy machine may
	// leave less to a span than the limit would, so one within is enough.
	const spans = 4
	var shares []float64
	for range spans {
		share, err := cpuShare(group, span)
		if err != nil {
			return err
		}
		shares = append(shares, share)
		if share > high {
			return fmt.Errorf("it used %.3f CPUs over %v, want at most %v", share, span, high)
		}
		if share >= low {
			return nil
		}
	}
	return fmt.Errorf("it used %.3f CPUs over %v each, want %v to %v", shares, span, low, high)
}

// cpuShare returns the CPUs that a group uses over a span of time.
func cpuShare(group *cgroup.Group, span time.Duration) (float64, error) {
	before, err := group.CPUUsage()
	if err != nil {
		return 0, err
	}
	began := time.Now()
	<-time.After(span)
	after, err := group.CPUUsage()
	return float64(after-before) / float64(time.Since(began)), err
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
