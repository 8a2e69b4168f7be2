package runtime

import (
	"testing"

	"github.com/opencontainers/runc/libcontainer"

	"github.com/sandboxrun/sandboxrun/cgroup"
)

// The program's process ID is 41 where it is known, and PID 1 is nsinit's.
func TestMainProcessOOM(t *testing.T) {
	log, err := cgroup.OpenOOMLog()
	if err != nil {
		t.Skipf("needs the kernel's log: %v", err)
	}
	defer log.Close()
	if !log.SamePIDs() {
		t.Skip("needs the host's PID namespace, as the kernel's log does")
	}
	program, child := cgroup.Victim{Pid: 41, Comm: "program"}, cgroup.Victim{Pid: 42, Comm: "program"}
	kills := func(n uint64) *uint64 { return &n }
	for name, tt := range map[string]struct {
		known   int
		kills   *uint64
		victims []cgroup.Victim
		want    bool
	}{
		"no controller":              {41, nil, []cgroup.Victim{}, false},
		"no kill":                    {41, kills(0), []cgroup.Victim{}, false},
		"the program":                {41, kills(1), []cgroup.Victim{program}, true},
		"a child":                    {41, kills(1), []cgroup.Victim{child}, false},
		"a child, then the program":  {41, kills(2), []cgroup.Victim{child, program}, true},
		"a child and one unknown":    {41, kills(2), []cgroup.Victim{child}, true},
		"one unknown":                {41, kills(1), nil, true},
		"a child, program not known": {0, kills(1), []cgroup.Victim{child}, true},
	} {
		s := &supervisor{
			opts:      &RunOptions{CreateOptions: CreateOptions{Init: true}},
			report:    newReport("c", "/b"),
			container: &Container{init: &Process{lp: &libcontainer.Process{}, belowPID1: tt.known}},
			oomLog:    log,
		}
		s.report.OOM = cgroup.OOMStats{Kills: tt.kills, Victims: tt.victims}
		if got := s.mainProcessOOM(); got != tt.want {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
	}
}
