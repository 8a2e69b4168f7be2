package cgroup

import (
	"reflect"
	"testing"
)

func TestUsageIsThatOfTheMoment(t *testing.T) {
	v2, memory, pids := t.TempDir(), t.TempDir(), t.TempDir()
	writeTree(t, v2, map[string]string{"memory.current": "4096\n", "memory.peak": "8192\n", "pids.current": "3\n"})
	writeTree(t, memory, map[string]string{"memory.usage_in_bytes": "4096\n", "memory.max_usage_in_bytes": "8192\n"})
	writeTree(t, pids, map[string]string{"pids.current": "3\n"})
	for name, test := range map[string]struct {
		paths map[string]string
		want  Usage
	}{
		"v2":            {map[string]string{"": v2}, Usage{ptr[uint64](4096), ptr[uint64](3)}},
		"v1":            {map[string]string{"memory": memory, "pids": pids}, Usage{ptr[uint64](4096), ptr[uint64](3)}},
		"no controller": {map[string]string{"": t.TempDir()}, Usage{}},
		"pids alone":    {map[string]string{"pids": pids}, Usage{Pids: ptr[uint64](3)}},
	} {
		got, err := openGroup(t, test.paths).Usage()
		if err != nil || !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: %+v, %v; want %+v", name, got, err, test.want)
		}
	}
	bad := t.TempDir()
	writeTree(t, bad, map[string]string{"memory.current": "many\n"})
	if _, err := openGroup(t, map[string]string{"": bad}).Usage(); err == nil {
		t.Error("no error for a file that has no number")
	}
}
