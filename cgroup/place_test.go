package cgroup

import (
	"reflect"
	"testing"
)

func TestPlace(t *testing.T) {
	v1 := map[string]string{"memory/ci/job/": "", "pids/ci/job/": "", "pids/ci/other/": ""}
	tests := map[string]struct {
		mode Mode
		sys  map[string]string
		own  string
		want string
	}{
		"v2, beside the own group":     {Unified, map[string]string{"user.slice/session/": ""}, "0::/user.slice/session\n", "/user.slice/x"},
		"v2, the root":                 {Unified, nil, "0::/\n", "/x"},
		"v2, below the root":           {Unified, map[string]string{"session/": ""}, "0::/session\n", "/x"},
		"v2 mount of another root":     {Unified, nil, "0::/docker/1/2\n", "/x"},
		"v1, one place":                {Legacy, v1, "2:memory:/ci/job\n1:pids:/ci/job\n", "/ci/job/x"},
		"v1, a common parent":          {Legacy, map[string]string{"memory/ci/": "", "pids/ci/": ""}, "2:memory:/ci/job\n1:pids:/ci\n", "/ci/x"},
		"v1, siblings of like names":   {Legacy, map[string]string{"memory/ci/": "", "pids/ci/": ""}, "2:memory:/ci/job\n1:pids:/ci/job2\n", "/ci/x"},
		"v1, nothing in common":        {Legacy, v1, "2:memory:/ci/job\n1:pids:/\n", "/x"},
		"v1 mount of another root":     {Legacy, map[string]string{"memory/": "", "pids/": ""}, "2:memory:/docker/1\n1:pids:/docker/1\n", "/x"},
		"hybrid, v2 tells nothing":     {Hybrid, map[string]string{"memory/ci/job/": "", "unified/ci/job/": ""}, "1:memory:/ci/job\n0::/\n", "/ci/job/x"},
		"hybrid, not in the v2 tree":   {Hybrid, map[string]string{"memory/ci/job/": "", "unified/": ""}, "1:memory:/ci/job\n0::/\n", "/x"},
		"a path that begins the other": {Legacy, map[string]string{"memory/": "", "pids/": ""}, "2:memory:/ab\n1:pids:/abc\n", "/x"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			h := fixtureHost(t, test.mode, test.sys, map[string]string{"self/cgroup": test.own})
			if got, err := h.Place("x"); err != nil || got != test.want {
				t.Errorf("Place() = %q, %v, want %q", got, err, test.want)
			}
		})
	}
	h := fixtureHost(t, Legacy, nil, map[string]string{"self/cgroup": "nonsense\n"})
	if got, err := h.Place("x"); err == nil {
		t.Errorf("nonsense gave %q", got)
	}
}

func TestPathsOpenTheSameGroup(t *testing.T) {
	paths := map[string]string{"": "/sys/fs/cgroup/unified/a", "memory": "/sys/fs/cgroup/memory/a"}
	g, err := Open(paths)
	if err != nil {
		t.Fatal(err)
	}
	if got := g.Paths(); !reflect.DeepEqual(got, paths) {
		t.Errorf("Paths() = %v", got)
	}
}
